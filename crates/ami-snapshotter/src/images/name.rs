//! The name of an image. EC2 refuses a name that another image of the account has, so two runs for one wait can't
//! take two images.

use std::iter;

use lifecycle_core::pending::Activity;
use lifecycle_core::{ActionToken, Wait};
use sha2::{Digest, Sha256};

/// Maximum of characters of a group's name, and of an instance's id, in an image's name. With prefix and hash the
/// name stays below EC2's maximum of 128.
const MAX_NAME_PART_CHARS: usize = 45;

/// The possible names of the image of `wait`, in order of preference. Every run for the wait begins with the same
/// name, so EC2 refuses a second image. If an earlier wait of the instance has that name, the next names contain the
/// scaling activity, which the event's run and the sweep know, or else the token, which only the event's run knows.
pub(super) fn names(wait: &Wait, activity: Option<&Activity>) -> Vec<String> {
    let more = [activity.map(|activity| activity.id.as_str()), wait.token.as_ref().map(ActionToken::expose)];
    let keys = iter::once("").chain(more.into_iter().flatten().filter(|key| !key.is_empty()));
    let (group, instance) = (name_part(&wait.group), name_part(&wait.instance));
    let hash = |key: &str| {
        let digest = Sha256::digest([wait.group.as_str(), &wait.hook, &wait.instance, key].join("\n"));
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    keys.map(|key| format!("lifecycle/{group}/{instance}/{}", hash(key))).collect()
}

/// Keeps the characters that an image's name can contain.
fn name_part(text: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    text.chars().take(MAX_NAME_PART_CHARS).map(|c| if legal(c) { c } else { '-' }).collect()
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
            let first = names(&wait, activity.as_ref());
            for name in &first {
                prop_assert!((3..=128).contains(&name.len()), "{}", name.len());
                prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c)));
            }
            prop_assert_eq!(&first, &names(&wait, activity.as_ref()));
            let other = Wait { hook: wait.hook.clone() + "x", ..wait };
            prop_assert!(names(&other, activity.as_ref()).iter().all(|name| !first.contains(name)));
        }
    }

    #[test]
    fn the_event_and_the_sweep_find_the_same_name() {
        let event = Wait {
            group: "web".to_owned(),
            hook: "snap".to_owned(),
            instance: "i-1".to_owned(),
            token: Some(ActionToken::from("t".to_owned())),
        };
        let sweep = Wait { token: None, ..event.clone() };
        let activity = activity("a");
        assert_eq!(names(&event, Some(&activity))[0], names(&sweep, Some(&activity))[0]);
        assert_eq!(names(&event, None)[0], names(&sweep, Some(&activity))[0]);
        assert_eq!(names(&event, Some(&activity))[1], names(&sweep, Some(&activity))[1]);
    }
}
