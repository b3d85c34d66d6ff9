//! Conversions of values that all AWS services share.

use aws_smithy_types::DateTime as AwsTime;
use chrono::{DateTime, Utc};

/// Converts a time of the SDK.
pub fn time(time: &AwsTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.secs(), time.subsec_nanos())
}

/// Escapes a text for a filter, so that the filter matches only this text. In filters, `*` and `?` are wildcards.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html>
pub fn literal(text: &str) -> String {
    text.chars().fold(String::new(), |mut value, c| {
        if "*?\\".contains(c) {
            value.push('\\');
        }
        value.push(c);
        value
    })
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn a_literal_has_no_wildcards() {
        assert_eq!(literal(r"web*?\1"), r"web\*\?\\1");
    }
}
