//! The comment of a command, which identifies its wait. Status events don't contain it, but `ListCommandInvocations`
//! does. Run Command allows 100 characters, and the names of group and hook have up to 255 each. If the names don't
//! fit, the comment holds their hash, and the reader compares it with the group's hooks.

use lifecycle_core::{ActionToken, Transition, Wait};
use sha2::{Digest, Sha256};

/// Run Command's maximum of 100 characters, counted in bytes to be safe.
const MAX_COMMENT_BYTES: usize = 100;

/// The first word of a comment: the transition, and whether the commands are sent a second time.
const MARKS: [(&str, Transition, bool); 4] = [
    ("launching", Transition::Launching, false),
    ("launching-again", Transition::Launching, true),
    ("terminating", Transition::Terminating, false),
    ("terminating-again", Transition::Terminating, true),
];

/// The token's placeholder in a command of the sweep, which has no token.
const TOKEN_PLACEHOLDER: &str = "-";

/// A parsed comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comment {
    /// Which way the instance is going.
    pub(crate) transition: Transition,
    /// Whether the commands were sent a second time, because they were not delivered.
    pub(crate) again: bool,
    /// The token; `None` if the sweep sent the command.
    pub(crate) token: Option<ActionToken>,
    names: Names,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    Whole { group: String, hook: String },
    Hash(String),
}

/// Writes the comment: transition, hash of the function's name, token, hook and group.
pub(crate) fn write(function: &str, transition: &Transition, again: bool, wait: &Wait) -> String {
    let mark = MARKS.iter().find(|(_, known, second)| known == transition && *second == again);
    let mark = mark.map_or("other", |(mark, ..)| mark);
    let token = wait.token.as_ref().map_or(TOKEN_PLACEHOLDER, ActionToken::expose);
    let beginning = format!("{mark} {} {token}", hash(&[function], 4));
    let whole = format!("{beginning} {} {}", wait.hook, wait.group);
    if whole.len() <= MAX_COMMENT_BYTES {
        return whole;
    }
    format!("{beginning} #{}", hash(&[&wait.group, &wait.hook], 8))
}

impl Comment {
    /// The comment of a command for `wait`, with whole names.
    pub(crate) fn of(transition: &Transition, again: bool, wait: &Wait) -> Self {
        let names = Names::Whole { group: wait.group.clone(), hook: wait.hook.clone() };
        Self { transition: transition.clone(), again, token: wait.token.clone(), names }
    }

    /// Parses a comment. `None` if it is not this function's.
    pub(crate) fn read(function: &str, comment: &str) -> Option<Self> {
        let mut words = comment.splitn(4, ' ');
        let mark = words.next()?;
        let (_, transition, again) = MARKS.iter().find(|(known, ..)| *known == mark)?;
        words.next().filter(|function_hash| *function_hash == hash(&[function], 4))?;
        let token = words.next()?;
        let names = words.next()?;
        Some(Self {
            transition: transition.clone(),
            again: *again,
            token: (token != TOKEN_PLACEHOLDER).then(|| ActionToken::from(token.to_owned())),
            // A hook's name has no space and no #.
            names: match (names.strip_prefix('#'), names.split_once(' ')) {
                (Some(hash), _) => Names::Hash(hash.to_owned()),
                (None, Some((hook, group))) => {
                    Names::Whole { group: group.to_owned(), hook: hook.to_owned() }
                }
                (None, None) => return None,
            },
        })
    }

    /// Group and hook, if they fit into the comment.
    pub(crate) fn names(&self) -> Option<(&str, &str)> {
        match &self.names {
            Names::Whole { group, hook } => Some((group, hook)),
            Names::Hash(_) => None,
        }
    }

    /// Whether the comment names this group and hook.
    pub(crate) fn is_about(&self, group: &str, hook: &str) -> bool {
        match &self.names {
            Names::Whole { group: ours, hook: our_hook } => ours == group && our_hook == hook,
            Names::Hash(ours) => *ours == hash(&[group, hook], 8),
        }
    }
}

/// The first `bytes` of a SHA-256 in hexadecimal. It must stay the same in all versions of this function, because an
/// older version may have sent a command that still runs.
fn hash(texts: &[&str], bytes: usize) -> String {
    let digest = Sha256::digest(texts.join("\n"));
    digest.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_drain_is_recognized_whatever_its_names(
            group in "[ -~]{1,255}|\\PC{1,255}",
            hook in "[A-Za-z0-9/_-]{1,255}",
            token in option::of("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
            again in any::<bool>(),
        ) {
            let wait = Wait { group, hook, instance: "i-1".to_owned(), token: token.map(ActionToken::from) };
            let text = write("drainer", &Transition::Terminating, again, &wait);
            prop_assert!(text.len() <= MAX_COMMENT_BYTES);
            let comment = Comment::read("drainer", &text).unwrap();
            prop_assert_eq!(&comment.token, &wait.token);
            prop_assert_eq!((&comment.transition, comment.again), (&Transition::Terminating, again));
            prop_assert!(comment.is_about(&wait.group, &wait.hook));
            let (other_group, other_hook) = (wait.group.clone() + "x", wait.hook.clone() + "x");
            let mixed_up = comment.is_about(&wait.group, &other_hook) || comment.is_about(&other_group, &wait.hook);
            prop_assert!(!mixed_up);
            if let Some(names) = comment.names() {
                prop_assert_eq!(names, (wait.group.as_str(), wait.hook.as_str()));
            }
            prop_assert_eq!(Comment::read("another", &text), None);
        }

        #[test]
        fn a_foreign_comment_is_none_and_no_panic(
            text in ".{0,100}|(launching|terminating) [0-9a-f]{8} [0-9a-f-]{1,36} #?[a-z]{1,9} \\PC{0,40}",
        ) {
            prop_assert_eq!(Comment::read("drainer", &text), None);
        }
    }
}
