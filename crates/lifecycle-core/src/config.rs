//! Configuration from variables: read from an injected source, and every variable is looked at before
//! the first error is returned. Reading the real environment is `runtime`'s work.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use crate::Error;

/// Lambda's own variable: the name that the function was deployed under.
pub const FUNCTION_NAME: &str = "AWS_LAMBDA_FUNCTION_NAME";

/// The variables of a function, by name. `None` is a value that is no UTF-8.
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

/// Reads variables and gathers what is wrong with them.
pub struct Parser<'a> {
    variables: &'a Variables,
    errors: Vec<String>,
}

impl<'a> Parser<'a> {
    /// A parser of these variables that has found no error yet.
    pub fn new(variables: &'a Variables) -> Self {
        Self { variables, errors: Vec::new() }
    }

    /// The variable `name`, or `default` where it is not set. A value that `read` does not accept is
    /// remembered as an error, and [`Parser::finish`] will refuse the configuration.
    pub fn get<T, E: Display>(
        &mut self,
        name: &str,
        default: T,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> T {
        let read = match self.variables.0.get(name) {
            None => return default,
            Some(None) => Err("is not UTF-8".to_owned()),
            Some(Some(value)) => read(value).map_err(|error| error.to_string()),
        };
        read.unwrap_or_else(|error| {
            self.errors.push(format!("{name}: {error}"));
            default
        })
    }

    /// Whether the variable `name` is there at all.
    pub fn is_set(&self, name: &str) -> bool {
        self.variables.0.contains_key(name)
    }

    /// Remembers that `name` is wrong in a way that its own value does not show: it is missing, or does
    /// not go together with another one.
    pub fn refuse(&mut self, name: &str, why: impl Display) {
        self.errors.push(format!("{name}: {why}"));
    }

    /// The configuration, if no variable was wrong.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with a line for every bad variable.
    pub fn finish<C>(self, config: C) -> Result<C, Error> {
        if self.errors.is_empty() { Ok(config) } else { Err(Error::InvalidConfig(self.errors)) }
    }
}

/// A number of digits only: `parse` would take a sign too. `None` where it is none, or too large.
pub fn digits<T: FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// A duration with its unit: `90s`, `55m`, `2h`, `30d`.
///
/// # Errors
/// The text is not one.
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

/// A duration of `shortest` to `longest`.
///
/// # Errors
/// As [`duration`], or it lies outside.
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

/// `true` or `false`.
///
/// # Errors
/// The text is neither.
pub fn truth(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
}

/// A list separated by commas; spaces around its items don't matter.
///
/// # Errors
/// It is empty, or an item is.
pub fn list(text: &str) -> Result<Vec<String>, String> {
    let items: Vec<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
    if items.iter().any(String::is_empty) { Err(format!("{text:?} has an empty item")) } else { Ok(items) }
}

/// Names, and beginnings of names, which are written with a `*` at their end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    whole: Vec<String>,
    beginnings: Vec<String>,
}

impl Names {
    /// The same with one more whole name, whatever characters it has.
    #[must_use]
    pub fn and(mut self, name: Option<String>) -> Self {
        self.whole.extend(name);
        self
    }

    /// Whether nothing was named.
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.beginnings.is_empty()
    }

    /// Whether `name` is one of them.
    pub fn contain(&self, name: &str) -> bool {
        self.whole.iter().any(|known| known == name)
            || self.beginnings.iter().any(|beginning| name.starts_with(beginning))
    }

    /// The names, if all of them are whole.
    pub fn whole(&self) -> Option<&[String]> {
        self.beginnings.is_empty().then_some(self.whole.as_slice())
    }
}

/// Reads [`Names`].
///
/// # Errors
/// As [`list`], or a `*` stands elsewhere than at the end.
pub fn names(text: &str) -> Result<Names, String> {
    let mut names = Names::default();
    for name in list(text)? {
        match name.strip_suffix('*') {
            _ if name.trim_end_matches('*').contains('*') || name.ends_with("**") => {
                return Err(format!("{name:?}: a * can stand at the end only"));
            }
            Some(beginning) => names.beginnings.push(beginning.to_owned()),
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
    fn names_are_whole_or_beginnings() {
        let some = names("web, api-*").unwrap();
        assert!(some.contain("web") && some.contain("api-1") && some.contain("api-"));
        assert!(!some.contain("web-1") && !some.contain("ap"));
        assert_eq!(some.whole(), None);
        assert_eq!(names("a,b").unwrap().whole(), Some(&["a".to_owned(), "b".to_owned()][..]));
        assert!(names("*").unwrap().contain("anything"));
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
        parser.get("A", Duration::ZERO, duration);
        assert_eq!(parser.get("B", 0, str::parse::<u32>), 7);
        assert_eq!(parser.get("D", 4, str::parse::<u32>), 4);
        parser.get("C", Names::default(), names);
        assert!(parser.is_set("C") && !parser.is_set("D"));
        parser.refuse("D", "not set");
        let error = parser.finish(()).unwrap_err().chain();
        assert!(error.starts_with("A: \"soon\" is not a duration") && error.contains("; C: "), "{error}");
        assert!(error.ends_with("; D: not set"), "{error}");
    }
}
