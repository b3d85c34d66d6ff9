//! Filters of lists: exact and case-sensitive, with `*` for any text and `?` for any character, which a
//! backslash takes literally. Values of one filter are joined by "or", filters by "and".

use serde::Deserialize;

use super::Tags;
use crate::aws::error::ApiError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Filter {
    name: String,
    #[serde(rename = "Value", default)]
    values: Vec<String>,
}

/// Most values of all filters of one call.
const MAX_VALUES: usize = 200;

/// Refuses a filter that the lab does not play, and too many values; `tag:KEY` and `tag-key` it always plays.
pub(super) fn check(filters: &[Filter], known: &[&str]) -> Result<(), ApiError> {
    if filters.iter().map(|filter| filter.values.len()).sum::<usize>() > MAX_VALUES {
        let text = "The maximum number of filter values specified on a single call is 200";
        return Err(ApiError::new("FilterLimitExceeded", text));
    }
    let unknown = filters.iter().find(|Filter { name, .. }| {
        !name.starts_with("tag:") && name != "tag-key" && !known.contains(&name.as_str())
    });
    unknown.map_or(Ok(()), |filter| Err(ApiError::not_modelled(format!("the filter {}", filter.name))))
}

/// Whether a thing with these tags, and with these values in its other fields, passes all filters.
pub(super) fn pass(filters: &[Filter], tags: &Tags, field: impl Fn(&str) -> Vec<String>) -> bool {
    filters.iter().all(|Filter { name, values: wanted }| {
        let found = match name.strip_prefix("tag:") {
            Some(key) => tags.get(key).cloned().into_iter().collect(),
            None if name == "tag-key" => tags.keys().cloned().collect(),
            None => field(name),
        };
        found.iter().any(|value| wanted.iter().any(|pattern| like(pattern, value)))
    })
}

fn like(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    let Some(mut step) = rest.next() else {
        return text.is_empty();
    };
    let mut left = text.chars();
    match step {
        '*' => loop {
            if like(rest.as_str(), left.as_str()) {
                return true;
            }
            if left.next().is_none() {
                return false;
            }
        },
        '?' => left.next().is_some() && like(rest.as_str(), left.as_str()),
        _ => {
            if step == '\\' {
                step = rest.next().unwrap_or(step);
            }
            left.next() == Some(step) && like(rest.as_str(), left.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn a_pattern_is_the_whole_text_in_its_own_case_with_wildcards() {
        for (pattern, text, expected) in [
            ("AwsBackup_*", "AwsBackup_i-1_2", true),
            ("AwsBackup_*", "AWSbackup_i-1_2", false),
            ("AwsBackup", "AwsBackup_", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("?", "ä", true),
            ("?", "", false),
            ("??", "a", false),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            (r"a\?b\\", r"a?b\", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(like(pattern, text), expected, "{pattern} {text}");
        }
    }
}
