//! Configuration from variables. The parser reads an injected source and checks every variable before it returns the
//! errors, all of them together. Only `runtime` reads the real environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::Error;

/// Variable that Lambda sets: the deployed name of the function.
pub const FUNCTION_NAME: &str = "AWS_LAMBDA_FUNCTION_NAME";

/// The variables of a function by name. The value is `None` if it is not UTF-8.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, Option<String>>);

impl Variables {
    /// The variables of an environment.
    pub fn of_environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let named = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self(named.map(|(name, value)| (name, value.into_string().ok())).collect())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), Some(value.into()))).collect())
    }
}

/// Reads variables, collects the errors, and keeps the values in force.
pub struct Parser<'a> {
    variables: &'a Variables,
    errors: Vec<String>,
    in_force: Map<String, Value>,
}

impl<'a> Parser<'a> {
    /// A parser of these variables.
    pub fn new(variables: &'a Variables) -> Self {
        Self { variables, errors: Vec::new(), in_force: Map::new() }
    }

    /// The deployed name of the function, or `default` outside of Lambda.
    pub fn function(&mut self, default: &str) -> String {
        let name = self.read(FUNCTION_NAME, |text| Ok::<_, String>(text.to_owned())).flatten();
        name.unwrap_or_else(|| default.to_owned())
    }

    /// The variable `name`, or `default`, in the variable's spelling, if it is not set. If `read` rejects the value,
    /// the parser keeps the error for [`Parser::finish`].
    pub fn get<T, E: Display>(
        &mut self,
        name: &str,
        default: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> T {
        self.describe(name, default);
        self.optional(name, &read).unwrap_or_else(|| match read(default) {
            Ok(value) => value,
            Err(error) => panic!("the default of {name}: {error}"),
        })
    }

    /// The variable `name`, if it is set. Errors are kept as in [`Parser::get`].
    pub fn optional<T, E: Display>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if !self.in_force.contains_key(name) {
            self.describe(name, Value::Null);
        }
        let value = self.read(name, read)?;
        if let Some(Some(text)) = self.variables.0.get(name) {
            self.describe(name, text.as_str());
        }
        value
    }

    /// The variable, if it is set, and in it nothing if the value is bad.
    fn read<T, E: Display>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        let read = match self.variables.0.get(name)? {
            None => Err("is not UTF-8".to_owned()),
            Some(value) => read(value).map_err(|error| error.to_string()),
        };
        Some(read.map_err(|error| self.errors.push(format!("{name}: {error}"))).ok())
    }

    /// Sets the value of `name` that `{"action":"describe"}` answers: for secrets, and for defaults that are no text.
    pub fn describe(&mut self, name: &str, value: impl Into<Value>) {
        self.in_force.insert(name.to_owned(), value.into());
    }

    /// Whether the variable `name` is set.
    pub fn is_set(&self, name: &str) -> bool {
        self.variables.0.contains_key(name)
    }

    /// Adds an error that the value alone does not show: the variable is missing, or conflicts with another one.
    pub fn refuse(&mut self, name: &str, why: impl Display) {
        self.errors.push(format!("{name}: {why}"));
    }

    /// The configuration, if there was no error, and the values in force by variable, each in the variable's
    /// spelling, `null` where there is none.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with one line per bad variable.
    pub fn finish<C>(self, config: C) -> Result<(C, Map<String, Value>), Error> {
        if self.errors.is_empty() {
            Ok((config, self.in_force))
        } else {
            Err(Error::InvalidConfig(self.errors))
        }
    }
}

/// Parses a number of digits only; `parse` alone would also accept a sign. `None` if the text is not a number or the
/// number is too large.
pub fn digits<T: FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Parses a duration with its unit: `90s`, `55m`, `2h`, `30d`.
///
/// # Errors
/// The text is not a duration.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration with a unit, such as 90s, 55m, 2h or 30d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number = digits::<u64>(number);
    number.and_then(|number| number.checked_mul(seconds)).map(Duration::from_secs).ok_or_else(wrong)
}

/// Parses a duration between `shortest` and `longest`.
///
/// # Errors
/// The text is not a duration, or the duration is out of range.
pub fn duration_within(shortest: Duration, longest: Duration) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let found = duration(text)?;
        if (shortest..=longest).contains(&found) {
            Ok(found)
        } else {
            Err(format!("{text:?} is not within {} s and {} s", shortest.as_secs(), longest.as_secs()))
        }
    }
}

/// Parses `true` or `false`.
///
/// # Errors
/// The text is neither.
pub fn truth(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
}

/// Parses a list separated by commas. Spaces around items are ignored.
///
/// # Errors
/// The list or an item is empty.
pub fn list(text: &str) -> Result<Vec<String>, String> {
    let items: Vec<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
    if items.iter().any(String::is_empty) { Err(format!("{text:?} has an empty item")) } else { Ok(items) }
}

/// Names and prefixes of names. A prefix is written with a `*` at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    whole: Vec<String>,
    prefixes: Vec<String>,
}

impl Names {
    /// Adds a full name. A `*` in it is a plain character.
    #[must_use]
    pub fn and(mut self, name: Option<String>) -> Self {
        self.whole.extend(name);
        self
    }

    /// Whether there is neither a name nor a prefix.
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.prefixes.is_empty()
    }

    /// Whether `name` matches.
    pub fn contain(&self, name: &str) -> bool {
        self.whole.iter().any(|known| known == name)
            || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }

    /// Whether one prefix matches both names. A bare `*` connects nothing.
    pub fn connect(&self, one: &str, other: &str) -> bool {
        let prefixes = self.prefixes.iter().filter(|prefix| !prefix.is_empty());
        prefixes.into_iter().any(|prefix| one.starts_with(prefix) && other.starts_with(prefix))
    }

    /// The names, if there are no prefixes.
    pub fn whole(&self) -> Option<&[String]> {
        self.prefixes.is_empty().then_some(self.whole.as_slice())
    }
}

/// Parses [`Names`].
///
/// # Errors
/// The text is not a list, or a `*` is not at the end of a name.
pub fn names(text: &str) -> Result<Names, String> {
    let mut names = Names::default();
    for name in list(text)? {
        match name.strip_suffix('*') {
            _ if name.trim_end_matches('*').contains('*') || name.ends_with("**") => {
                return Err(format!("{name:?}: a * can stand at the end only"));
            }
            Some(prefix) => names.prefixes.push(prefix.to_owned()),
            None => names.whole.push(name),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_digits_only() {
        assert_eq!((digits("0"), digits("007"), digits("255")), (Some(0_u8), Some(7), Some(255)));
        for text in ["", "+1", "-1", "1.5", " 1", "1 ", "256", "\u{0661}"] {
            assert_eq!(digits::<u8>(text), None, "{text:?}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, seconds) in [("90s", 90), ("55m", 3_300), ("2h", 7_200), ("30d", 2_592_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in [
            "",
            "s",
            "90",
            "1.5h",
            "-1s",
            "+1s",
            "1 h",
            "1w",
            "99999999999999999999s",
            "9999999999999999999d",
            "1\u{fc}",
        ] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_are_whole_or_prefixes() {
        let some = names("web, api-*").unwrap();
        assert!(some.contain("web") && some.contain("api-1") && some.contain("api-"));
        assert!(!some.contain("web-1") && !some.contain("ap"));
        assert_eq!(some.whole(), None);
        assert_eq!(names("a,b").unwrap().whole(), Some(&["a".to_owned(), "b".to_owned()][..]));
        assert!(names("*").unwrap().contain("anything"));
        assert!(names("web-*,api-*").unwrap().connect("web-1", "web-2"));
        for some in ["*", "web-1,web-2", "web-1*,web-2*", "api-*"] {
            assert!(!names(some).unwrap().connect("web-1", "web-2"), "{some}");
        }
        let literal = Names::default().and(Some("we*".to_owned()));
        assert!(literal.contain("we*") && !literal.contain("web") && literal.whole().is_some());
        for text in ["", "a,", "a,,b", "a*b", "a**"] {
            assert!(names(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_bad_variable_is_named_at_once() {
        let variables = [("A", "soon"), ("B", "7"), ("C", "")].into_iter().collect();
        let mut parser = Parser::new(&variables);
        parser.get("A", "0s", duration);
        assert_eq!(parser.get("B", "0", str::parse::<u32>), 7);
        assert_eq!(parser.get("D", "4", str::parse::<u32>), 4);
        assert_eq!(parser.optional("C", names), None);
        assert!(parser.is_set("C") && !parser.is_set("D"));
        parser.refuse("D", "not set");
        let error = parser.finish(()).unwrap_err().chain();
        assert!(error.starts_with("A: \"soon\" is not a duration") && error.contains("; C: "), "{error}");
        assert!(error.ends_with("; D: not set"), "{error}");
    }

    #[test]
    fn the_values_in_force_are_spelled_as_in_the_variables() {
        let variables = [("B", "90s"), ("C", "web,api-*")].into_iter().collect();
        let mut parser = Parser::new(&variables);
        assert_eq!(parser.function("drainer"), "drainer");
        assert_eq!(parser.get("A", "2m", duration), Duration::from_secs(120));
        parser.get("B", "2m", duration);
        assert!(parser.optional("C", names).is_some() && parser.optional("D", names).is_none());
        let ((), in_force) = parser.finish(()).unwrap();
        let expected = serde_json::json!({ "A": "2m", "B": "90s", "C": "web,api-*", "D": null });
        assert_eq!(Value::from(in_force), expected);
    }
}
