//! Texts in the filters of EC2's `Describe…` calls, whose values are patterns:
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html>.

/// A text as a filter's value, which matches this text only: `*` and `?` would stand for others.
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
