//! What a command's comment remembers: whose drain it is. Status events don't carry it, but
//! `ListCommandInvocations` does. Run Command allows 100 characters; names of groups and hooks can have
//! 255 each, so where they don't fit their hash stands for them, and the group's hooks are compared.

use lifecycle_core::{Transition, Wait};
use sha2::{Digest, Sha256};

/// Run Command's limit: 100 characters. Counted in bytes here, which is never more.
const LIMIT: usize = 100;

/// First word of a comment, by transition.
const MARKS: [(&str, Transition); 2] =
    [("launching", Transition::Launching), ("terminating", Transition::Terminating)];

/// Stands for the token in a command that the sweep started: AWS tells it none.
const NO_TOKEN: &str = "-";

/// A comment that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comment {
    /// Which way the instance is going.
    pub(crate) transition: Transition,
    /// The token; `None` where the sweep sent the command.
    pub(crate) token: Option<String>,
    names: Names,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    Whole { group: String, hook: String },
    Hash(String),
}

/// The comment of a drain: the transition, the function's hash, the token, hook and group.
pub(crate) fn write(function: &str, transition: &Transition, wait: &Wait) -> String {
    let mark = MARKS.iter().find(|(_, known)| known == transition).map_or("other", |(mark, _)| mark);
    let token = wait.token.as_deref().unwrap_or(NO_TOKEN);
    let beginning = format!("{mark} {} {token}", hash(&[function], 4));
    let whole = format!("{beginning} {} {}", wait.hook, wait.group);
    if whole.len() <= LIMIT {
        return whole;
    }
    format!("{beginning} #{}", hash(&[&wait.group, &wait.hook], 8))
}

impl Comment {
    /// Reads a comment; `None` where it is not one of this function's.
    pub(crate) fn read(function: &str, comment: &str) -> Option<Self> {
        let mut words = comment.splitn(4, ' ');
        let mark = words.next()?;
        let (_, transition) = MARKS.iter().find(|(known, _)| *known == mark)?;
        words.next().filter(|function_hash| *function_hash == hash(&[function], 4))?;
        let token = words.next()?;
        let names = words.next()?;
        Some(Self {
            transition: transition.clone(),
            token: (token != NO_TOKEN).then(|| token.to_owned()),
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

    /// Group and hook, where they fitted.
    pub(crate) fn names(&self) -> Option<(&str, &str)> {
        match &self.names {
            Names::Whole { group, hook } => Some((group, hook)),
            Names::Hash(_) => None,
        }
    }

    /// Whether these are the group and the hook.
    pub(crate) fn is_about(&self, group: &str, hook: &str) -> bool {
        match &self.names {
            Names::Whole { group: ours, hook: our_hook } => ours == group && our_hook == hook,
            Names::Hash(ours) => *ours == hash(&[group, hook], 8),
        }
    }
}

/// The first `bytes` of a SHA-256, in hexadecimal: the same in every version of this function, as long
/// as commands are under way that an older one sent.
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
        ) {
            let wait = Wait { group, hook, instance: "i-1".to_owned(), token };
            let text = write("drainer", &Transition::Terminating, &wait);
            prop_assert!(text.len() <= LIMIT);
            let comment = Comment::read("drainer", &text).unwrap();
            prop_assert_eq!(&comment.token, &wait.token);
            prop_assert_eq!(&comment.transition, &Transition::Terminating);
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
        fn a_foreign_comment_is_none_and_no_panic(text in ".{0,100}") {
            prop_assert_eq!(Comment::read("drainer", &text), None);
        }
    }
}
