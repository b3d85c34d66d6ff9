//! The tag that keeps the direction of a toggle, so that a repeat of the same run goes the same way. Pure.

use crate::plan::Wanted;

/// Tag: the last toggle, as the run's id and its direction: `53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa:stop`.
pub const TOGGLE: &str = "lifecycle/toggle";

/// Maximum of characters of an id. EventBridge and Lambda use 36, and the value of a tag can have 256.
const MAX_ID_CHARS: usize = 200;

/// The value of the tag.
pub fn value(id: &str, wanted: Wanted) -> String {
    let word = match wanted {
        Wanted::On => "start",
        Wanted::Off => "stop",
    };
    format!("{}:{word}", fitting(id))
}

/// The direction of the run with this id, if the tag is of this run.
pub fn direction(tag: &str, id: &str) -> Option<Wanted> {
    [Wanted::On, Wanted::Off].into_iter().find(|wanted| tag == value(id, *wanted))
}

/// An id in the characters that AWS allows in tags.
fn fitting(id: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_.:/=+@".contains(letter);
    id.chars().take(MAX_ID_CHARS).map(|letter| if fits(letter) { letter } else { '_' }).collect()
}
