//! The name of an image. EC2 refuses a name that another image of the account has, so two runs for one wait can't
//! take two images. Names can't be changed, so a name also shows that this function gave it.

use std::iter;

use lifecycle_core::pending::Activity;
use lifecycle_core::{ActionToken, Wait};
use sha2::{Digest, Sha256};

use crate::image::tag_value;

/// The start of every name.
pub(super) const PREFIX: &str = "lifecycle/";

/// Maximum of characters of a group's name, and of an instance's id, in an image's name. With prefix, mark and hash the
/// name stays below EC2's maximum of 128.
const MAX_GROUP_CHARS: usize = 45;
const MAX_INSTANCE_CHARS: usize = 40;

/// Characters of an activity's id or of a token in a name.
const KEY_CHARS: usize = 8;

/// The mark of a second image.
const SECOND: &str = "2";

/// The possible names of the image of `wait`, in order of preference: the first image's, or the second's after a failed
/// one. Every run for the wait begins with the same name, so EC2 refuses a second image. If an earlier wait of the
/// instance, or another owner, has that name, the next names contain the scaling activity, which the event's run and
/// the sweep know, or else the token, which only the event's run knows.
pub(super) fn names(wait: &Wait, activity: Option<&Activity>, is_second: bool) -> Vec<String> {
    let more = [activity.map(|activity| activity.id.as_str()), wait.token.as_ref().map(ActionToken::expose)];
    let key =
        |text: &str| -> String { text.chars().filter(char::is_ascii_alphanumeric).take(KEY_CHARS).collect() };
    let keys = more.into_iter().flatten().map(key).filter(|key| !key.is_empty());
    let marks = iter::once(String::new()).chain(keys).map(|key| match is_second {
        false => key,
        true if key.is_empty() => SECOND.to_owned(),
        true => format!("{key}.{SECOND}"),
    });
    marks.map(|mark| name(wait, &mark)).collect()
}

/// The start of the names of a group's images.
pub(super) fn of_group(group: &str) -> String {
    format!("{PREFIX}{}/", name_part(group, MAX_GROUP_CHARS))
}

/// Whether this function gives `name` to an image of `wait`.
pub(super) fn is_of(text: &str, wait: &Wait) -> bool {
    let (start, _) = text.rsplit_once('/').unwrap_or_default();
    let last = text.get(start.len() + 1..).unwrap_or_default();
    let (mark, _) = last.rsplit_once('-').unwrap_or_default();
    name(wait, mark) == text
}

fn name(wait: &Wait, mark: &str) -> String {
    let Wait { group, hook, instance, .. } = wait;
    // The image's tags have these values, so its name can be checked against them.
    let text = [group, hook, instance].map(|name| tag_value(name)).join("\n");
    let digest = Sha256::digest(format!("{text}\n{mark}"));
    let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let mark = if mark.is_empty() { String::new() } else { format!("{mark}-") };
    format!("{}{}/{mark}{hash}", of_group(group), name_part(instance, MAX_INSTANCE_CHARS))
}

/// Keeps the characters that an image's name can contain. A slash separates the parts.
fn name_part(text: &str, most: usize) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || "()[] .-'@_/".contains(c);
    text.chars().take(most).map(|c| if legal(c) { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn activity(id: &str) -> Activity {
        Activity { id: id.to_owned(), began: DateTime::UNIX_EPOCH, transition: None, cause: String::new() }
    }

    proptest! {
        #[test]
        fn names_are_legal_and_each_wait_has_its_own(
            group in "\\PC{1,255}",
            hook in "[A-Za-z0-9/_-]{1,255}",
            instance in "i-[0-9a-f]{17}|\\PC{1,300}",
            token in option::of("[0-9a-f-]{36}"),
            id in option::of("[0-9a-f-]{36}"),
        ) {
            let wait = Wait { group, hook, instance, token: token.map(ActionToken::from) };
            let activity = id.as_deref().map(activity);
            let all = |wait: &Wait| {
                [false, true].map(|is_second| names(wait, activity.as_ref(), is_second)).concat()
            };
            let names = all(&wait);
            for name in &names {
                prop_assert!((3..=128).contains(&name.len()), "{}", name.len());
                prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c)));
                prop_assert!(is_of(name, &wait), "{name}");
            }
            prop_assert_eq!(&names, &all(&wait));
            let other = Wait { hook: wait.hook.clone() + "x", ..wait };
            prop_assert!(all(&other).iter().all(|name| !names.contains(name)));
            prop_assert!(names.iter().all(|name| !is_of(name, &other)));
        }
    }

    fn event() -> Wait {
        Wait {
            group: "web".to_owned(),
            hook: "snap".to_owned(),
            instance: "i-1".to_owned(),
            token: Some(ActionToken::from("t".to_owned())),
        }
    }

    #[test]
    fn the_event_and_the_sweep_find_the_same_names() {
        let event = event();
        let sweep = Wait { token: None, ..event.clone() };
        let activity = activity("a");
        for is_second in [false, true] {
            let [of_event, of_sweep] = [&event, &sweep].map(|wait| names(wait, Some(&activity), is_second));
            assert_eq!(of_event[..2], of_sweep[..]);
            assert_eq!(names(&event, None, is_second)[0], of_sweep[0]);
        }
        assert_ne!(names(&event, None, false)[0], names(&event, None, true)[0]);
    }

    #[test]
    fn no_other_name_is_the_functions() {
        let first = &names(&event(), None, false)[0];
        let hash = first.rsplit('/').next().unwrap();
        let others = [
            String::new(),
            "lifecycle/web/i-1/".to_owned(),
            format!("lifecycle/web/i-1/2-{hash}"),
            format!("lifecycle/web/i-2/{hash}"),
            format!("x{first}"),
            format!("{first}x"),
        ];
        for other in others {
            assert!(!is_of(&other, &event()), "{other}");
        }
    }
}
