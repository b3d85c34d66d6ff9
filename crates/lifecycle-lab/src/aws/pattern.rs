//! EventBridge's event patterns: exact values, `prefix`, `suffix`, `wildcard`, `anything-but`, `exists` and
//! `equals-ignore-case`. Another operator is an error when the pattern is read, never a silent match.
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html>

use serde_json::{Map, Value};

/// An event pattern.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern(Vec<(String, Field)>);

#[derive(Debug, Clone, PartialEq)]
enum Field {
    /// An object inside the event.
    Nested(Pattern),
    /// One of these must match.
    AnyOf(Vec<Test>),
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Equals(Value),
    EqualsIgnoreCase(String),
    Prefix(String),
    Suffix(String),
    /// What stands between the asterisks.
    Wildcard(Vec<String>),
    AnythingBut(Vec<Test>),
    Exists(bool),
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event pattern, {path}: {reason}")]
pub struct PatternError {
    path: String,
    reason: String,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Where it has no such form, or an operator that the lab does not know.
    pub fn parse(pattern: &Value) -> Result<Self, PatternError> {
        parse_object(pattern, "$")
    }

    /// Whether an event matches. Fields that the pattern does not name don't matter; a field of the
    /// event that is an array matches if one of its items does.
    pub fn matches(&self, event: &Value) -> bool {
        self.0.iter().all(|(name, field)| {
            let value = event.get(name);
            match field {
                Field::Nested(pattern) => {
                    let empty = Value::Object(Map::new());
                    pattern.matches(value.unwrap_or(&empty))
                }
                Field::AnyOf(tests) => tests.iter().any(|test| test.accepts(value)),
            }
        })
    }
}

impl Test {
    fn accepts(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            // Only leaves exist: EventBridge does not see an object as a value.
            (Self::Exists(wanted), value) => *wanted == value.is_some_and(|value| !value.is_object()),
            (_, None) => false,
            (Self::AnythingBut(tests), Some(Value::Array(items))) => {
                items.iter().any(|item| !tests.iter().any(|test| test.accepts(Some(item))))
            }
            (test, Some(Value::Array(items))) => items.iter().any(|item| test.accepts(Some(item))),
            (Self::AnythingBut(tests), value) => !tests.iter().any(|test| test.accepts(value)),
            (Self::Equals(wanted), Some(value)) => wanted == value,
            (Self::EqualsIgnoreCase(wanted), Some(Value::String(text))) => {
                wanted.to_lowercase() == text.to_lowercase()
            }
            (Self::Prefix(prefix), Some(Value::String(text))) => text.starts_with(prefix),
            (Self::Suffix(suffix), Some(Value::String(text))) => text.ends_with(suffix),
            (Self::Wildcard(pieces), Some(Value::String(text))) => has_pieces(text, pieces),
            _ => false,
        }
    }
}

fn parse_object(pattern: &Value, path: &str) -> Result<Pattern, PatternError> {
    let object = match pattern.as_object() {
        Some(object) if !object.is_empty() => object,
        _ => return wrong(path, "expected an object with at least one field"),
    };
    let fields = object.iter().map(|(name, value)| {
        let path = format!("{path}.{name}");
        let field = match value {
            _ if name.starts_with('$') => {
                return wrong(&path, "an operator that lifecycle-lab does not model");
            }
            Value::Array(tests) if tests.is_empty() => return wrong(&path, "an empty list matches nothing"),
            Value::Array(tests) => {
                let tests = tests.iter().map(|test| parse_test(test, &path));
                Field::AnyOf(tests.collect::<Result<_, _>>()?)
            }
            Value::Object(_) => Field::Nested(parse_object(value, &path)?),
            _ => return wrong(&path, "a value must be in a list"),
        };
        Ok((name.clone(), field))
    });
    Ok(Pattern(fields.collect::<Result<_, _>>()?))
}

fn parse_test(test: &Value, path: &str) -> Result<Test, PatternError> {
    let Some(object) = test.as_object() else {
        return if test.is_array() {
            wrong(path, "a list in a list")
        } else {
            Ok(Test::Equals(test.clone()))
        };
    };
    let mut operators = object.iter();
    let (Some((operator, operand)), None) = (operators.next(), operators.next()) else {
        return wrong(path, "expected exactly one operator");
    };
    let text = || match operand {
        Value::String(text) => Ok(text.clone()),
        _ => wrong(path, &format!("{operator} takes a text")),
    };
    match operator.as_str() {
        "prefix" => Ok(Test::Prefix(text()?)),
        "suffix" => Ok(Test::Suffix(text()?)),
        "wildcard" => wildcard(&text()?).map(Test::Wildcard).or_else(|reason| wrong(path, &reason)),
        "equals-ignore-case" => Ok(Test::EqualsIgnoreCase(text()?)),
        "exists" => {
            operand.as_bool().map(Test::Exists).ok_or(()).or_else(|()| wrong(path, "exists takes a boolean"))
        }
        "anything-but" => {
            let tests = match operand {
                Value::Array(items) => {
                    items.iter().map(|item| parse_test(item, path)).collect::<Result<_, _>>()?
                }
                one => vec![parse_test(one, path)?],
            };
            Ok(Test::AnythingBut(tests))
        }
        other => wrong(path, &format!("lifecycle-lab does not model the operator {other}")),
    }
}

/// The pieces of a text between its asterisks; `\*` and `\\` mean the characters themselves.
fn wildcard(text: &str) -> Result<Vec<String>, String> {
    let (mut pieces, mut piece) = (Vec::new(), String::new());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '*' if characters.peek() == Some(&'*') => return Err("two asterisks in a row".to_owned()),
            '*' => pieces.push(std::mem::take(&mut piece)),
            '\\' => match characters.next() {
                Some(literal @ ('*' | '\\')) => piece.push(literal),
                _ => return Err("a backslash stands before * and \\ only".to_owned()),
            },
            literal => piece.push(literal),
        }
    }
    pieces.push(piece);
    Ok(pieces)
}

/// Whether these pieces stand in the text in their order, the first at its beginning and the last at its end.
fn has_pieces(text: &str, pieces: &[String]) -> bool {
    let [first, inner @ .., last] = pieces else {
        return pieces.first().is_none_or(|only| only == text);
    };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else {
        return false;
    };
    for piece in inner {
        match rest.split_once(piece.as_str()) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last.as_str())
}

fn wrong<T>(path: &str, reason: &str) -> Result<T, PatternError> {
    Err(PatternError { path: path.to_owned(), reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(pattern: Value, event: Value, expected: bool) {
        let pattern_text = pattern.to_string();
        assert_eq!(Pattern::parse(&pattern).unwrap().matches(&event), expected, "{pattern_text} on {event}");
    }

    fn refused(pattern: Value, reason: &str) {
        let error = Pattern::parse(&pattern).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn a_value_matches_any_of_the_list() {
        check(json!({"a": ["x", "y"]}), json!({"a": "y", "b": 1}), true);
        check(json!({"a": ["x", "y"]}), json!({"a": "z"}), false);
        check(json!({"a": ["x"]}), json!({}), false);
        check(json!({"a": [1, null, true]}), json!({"a": null}), true);
    }

    #[test]
    fn fields_are_joined_by_and_and_values_are_case_sensitive() {
        check(json!({"a": ["x"], "b": {"c": ["d"]}}), json!({"a": "x", "b": {"c": "d"}}), true);
        check(json!({"a": ["x"], "b": {"c": ["d"]}}), json!({"a": "x", "b": {"c": "e"}}), false);
        check(json!({"a": ["X"]}), json!({"a": "x"}), false);
        check(json!({"a": [{"equals-ignore-case": "X"}]}), json!({"a": "x"}), true);
    }

    #[test]
    fn an_array_in_the_event_matches_if_one_item_does() {
        check(json!({"a": ["x"]}), json!({"a": ["w", "x"]}), true);
        check(json!({"a": [{"prefix": "x"}]}), json!({"a": ["w", "xy"]}), true);
        check(json!({"a": ["x"]}), json!({"a": []}), false);
    }

    #[test]
    fn prefixes_and_suffixes_match_texts_only() {
        check(json!({"a": [{"prefix": "aws."}]}), json!({"a": "aws.ec2"}), true);
        check(json!({"a": [{"prefix": "aws."}]}), json!({"a": "ec2"}), false);
        check(json!({"a": [{"suffix": ".png"}]}), json!({"a": "x.png"}), true);
        check(json!({"a": [{"prefix": "1"}]}), json!({"a": 12}), false);
    }

    #[test]
    fn an_asterisk_stands_for_any_characters() {
        let fits = |wildcard: &str, text: &str, expected| {
            check(json!({"a": [{"wildcard": wildcard}]}), json!({ "a": text }), expected);
        };
        fits("web", "web", true);
        fits("web", "web-1", false);
        fits("web-*", "web-1", true);
        fits("web-*", "web-", true);
        fits("web-*", "my-web-1", false);
        fits("*", "", true);
        fits("*-a-*-a", "x-a-a", false);
        fits("*-a-*-a", "x-a--a", true);
        fits(r"we\*", "we*", true);
        fits(r"we\*", "web", false);
        refused(json!({"a": [{"wildcard": "a**"}]}), "two asterisks in a row");
        refused(json!({"a": [{"wildcard": r"a\b"}]}), "a backslash");
    }

    #[test]
    fn anything_but_needs_the_field_and_takes_values_and_prefixes() {
        check(json!({"a": [{"anything-but": "x"}]}), json!({"a": "y"}), true);
        check(json!({"a": [{"anything-but": ["x", "y"]}]}), json!({"a": "y"}), false);
        check(json!({"a": [{"anything-but": {"prefix": "x"}}]}), json!({"a": "xy"}), false);
        check(json!({"a": [{"anything-but": {"prefix": "x"}}]}), json!({"a": "yx"}), true);
        check(json!({"a": [{"anything-but": "x"}]}), json!({}), false);
    }

    #[test]
    fn exists_sees_leaves_only() {
        check(json!({"a": [{"exists": true}]}), json!({"a": null}), true);
        check(json!({"a": [{"exists": false}]}), json!({}), true);
        check(json!({"a": {"b": [{"exists": false}]}}), json!({}), true);
        check(json!({"a": [{"exists": true}]}), json!({"a": {"b": 1}}), false);
    }

    #[test]
    fn a_wrong_pattern_is_refused_with_its_path() {
        refused(json!({}), "$: expected an object");
        refused(json!({"a": "x"}), "$.a: a value must be in a list");
        refused(json!({"a": {"b": []}}), "$.a.b: an empty list");
        refused(
            json!({"a": [{"numeric": [">", 0]}]}),
            "$.a: lifecycle-lab does not model the operator numeric",
        );
        refused(json!({"$or": [{"a": ["x"]}]}), "$.$or: an operator");
        refused(json!({"a": [{"prefix": 1}]}), "prefix takes a text");
        refused(json!({"a": [{"prefix": "x", "suffix": "y"}]}), "exactly one operator");
    }
}
