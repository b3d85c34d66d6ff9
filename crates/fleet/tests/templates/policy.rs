//! IAM's side: a role's policy, and whether it allows a request. Only what our templates use of IAM: `Allow`,
//! wildcards, and the operators below; another one is a panic.

use std::collections::{BTreeMap, BTreeSet};

use lifecycle_lab::REGION;
use serde_json::Value;

use fleet::template::Stack;

/// What IAM is asked about: an action on a resource, and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `autoscaling:CompleteLifecycleAction`.
    pub(crate) action: String,
    /// The ARN, or `*` where AWS has none for the action.
    pub(crate) resource: String,
    /// Condition keys and their values.
    pub(crate) context: BTreeMap<String, Vec<String>>,
}

impl Request {
    pub(crate) fn new(action: &str, resource: impl Into<String>) -> Self {
        let request = Self { action: action.to_owned(), resource: resource.into(), context: BTreeMap::new() };
        request.with("aws:RequestedRegion", [REGION])
    }

    /// The same with a value for a condition key.
    pub(crate) fn with<V: Into<String>>(mut self, key: &str, values: impl IntoIterator<Item = V>) -> Self {
        self.context.insert(key.to_owned(), values.into_iter().map(Into::into).collect());
        self
    }
}

/// The policy that a template gives its function.
pub(crate) struct Policy(Vec<Statement>);

struct Statement {
    id: String,
    actions: Vec<String>,
    resources: Vec<String>,
    condition: Value,
}

impl Policy {
    /// The policy named `function` of the role `Role`.
    pub(crate) fn of(stack: &Stack) -> Self {
        let policies = &stack.resources["Role"]["Properties"]["Policies"];
        let policy = policies.as_array().unwrap().iter().find(|policy| policy["PolicyName"] == "function");
        let statements = policy.unwrap()["PolicyDocument"]["Statement"].as_array().unwrap();
        let read = |statement: &Value| {
            assert_eq!(statement["Effect"], "Allow");
            Statement {
                id: statement["Sid"].as_str().unwrap().to_owned(),
                actions: one_or_many(&statement["Action"]),
                resources: one_or_many(&statement["Resource"]),
                condition: statement["Condition"].clone(),
            }
        };
        Self(statements.iter().map(read).collect())
    }

    /// Everything that it grants: `Groups: autoscaling:CompleteLifecycleAction on arn:…`.
    pub(crate) fn grants(&self) -> BTreeSet<String> {
        self.each().map(|(statement, action, resource)| grant(statement, action, resource)).collect()
    }

    /// The grants that allow a request.
    pub(crate) fn allow(&self, request: &Request) -> BTreeSet<String> {
        let matching = self.each().filter(|(statement, action, resource)| {
            **action == request.action && fits(resource, &request.resource) && statement.applies(request)
        });
        matching.map(|(statement, action, resource)| grant(statement, action, resource)).collect()
    }

    /// The actions that it grants on every resource, whatever it is.
    pub(crate) fn unscoped(&self) -> BTreeSet<String> {
        let open =
            self.each().filter(|(statement, _, resource)| *resource == "*" && statement.condition.is_null());
        open.map(|(_, action, _)| action.clone()).collect()
    }

    fn each(&self) -> impl Iterator<Item = (&Statement, &String, &String)> {
        self.0.iter().flat_map(|statement| {
            let pairs = statement
                .actions
                .iter()
                .flat_map(|action| statement.resources.iter().map(move |resource| (action, resource)));
            pairs.map(move |(action, resource)| (statement, action, resource))
        })
    }
}

impl Statement {
    fn applies(&self, request: &Request) -> bool {
        self.condition.as_object().into_iter().flatten().all(|(operator, keys)| {
            keys.as_object().unwrap().iter().all(|(key, wanted)| {
                let (found, wanted) = (request.context.get(key), one_or_many(wanted));
                let like = |found: &String| wanted.iter().any(|wanted| fits(wanted, found));
                match operator.as_str() {
                    "StringEquals" | "Bool" => {
                        found.is_some_and(|found| found.iter().any(|one| wanted.contains(one)))
                    }
                    "StringLike" | "ArnLike" => found.is_some_and(|found| found.iter().any(like)),
                    "ForAllValues:StringEquals" => {
                        found.into_iter().flatten().all(|one| wanted.contains(one))
                    }
                    other => panic!("this test does not know the operator {other}"),
                }
            })
        })
    }
}

fn grant(statement: &Statement, action: &str, resource: &str) -> String {
    format!("{}: {action} on {resource}", statement.id)
}

fn one_or_many(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap().to_owned()).collect(),
        one => vec![one.as_str().unwrap().to_owned()],
    }
}

/// Whether a text is what a pattern says, in which `*` stands for any characters.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((beginning, rest)) => text.strip_prefix(beginning).is_some_and(|text| {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| fits(rest, &text[at..]))
        }),
    }
}

#[test]
fn an_asterisk_stands_for_any_characters() {
    for (pattern, text, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("arn:*:b:*/web", "arn:aws:b:x/web", true),
        ("arn:*:b:*/web", "arn:aws:b:x/web-2", false),
        ("arn:*:b:*/web*", "arn:aws:b:x/web-2", true),
        ("*", "", true),
    ] {
        assert_eq!(fits(pattern, text), expected, "{pattern} and {text}");
    }
}
