//! The tags of scalable targets: how many, how long, which characters.

use std::collections::BTreeMap;

use super::ScalableTargets;
use crate::aws::error::ApiError;

/// Most tags of one target, those that are there included.
const MAX_TAGS: usize = 50;

/// Longest key, in characters.
const MAX_KEY_CHARS: usize = 128;

/// Longest value, in characters.
const MAX_VALUE_CHARS: usize = 256;

impl ScalableTargets {
    /// Refuses keys and values that AWS does not take. An empty value is refused although the API's model
    /// allows it: so says a public log.
    pub(super) fn check_tags(&self, tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
        for (key, value) in tags {
            self.check_key(key)?;
            if value.trim().is_empty() {
                return Err(invalid("Tag values cannot be empty or blank"));
            }
            if value.chars().count() > MAX_VALUE_CHARS {
                return Err(invalid(format!(
                    "Tag values cannot have more than {MAX_VALUE_CHARS} characters"
                )));
            }
            self.check_characters("values", value)?;
        }
        Ok(())
    }

    /// Refuses a key that AWS does not take.
    pub(super) fn check_key(&self, key: &str) -> Result<(), ApiError> {
        if key.trim().is_empty() || key.chars().count() > MAX_KEY_CHARS {
            return Err(invalid(format!("Tag keys must have from 1 to {MAX_KEY_CHARS} characters")));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid("Caller is an end user and not allowed to mutate system tags"));
        }
        self.check_characters("keys", key)
    }

    fn check_characters(&self, what: &str, text: &str) -> Result<(), ApiError> {
        let common = |letter: char| letter.is_alphanumeric() || letter == ' ' || "_.:/=+-@".contains(letter);
        if self.strict_tags && !text.chars().all(common) {
            return Err(invalid(format!(
                "Tag {what} can only contain letters, numbers, spaces, and the following characters: _ . : / = + - @"
            )));
        }
        Ok(())
    }
}

/// Adds tags, or replaces their values.
pub(super) fn add(to: &mut BTreeMap<String, String>, tags: BTreeMap<String, String>) -> Result<(), ApiError> {
    let new = tags.keys().filter(|key| !to.contains_key(*key)).count();
    if to.len() + new > MAX_TAGS {
        let text = format!("A scalable target cannot have more than {MAX_TAGS} tags");
        return Err(ApiError::new("TooManyTagsException", text));
    }
    to.extend(tags);
    Ok(())
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationException", message)
}
