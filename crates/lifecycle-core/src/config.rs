//! Configuration from variables: read from an injected source, and every variable is looked at before
//! the first error is returned. Reading the real environment is `runtime`'s work.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::Error;

/// Lambda's own variable: the name that the function was deployed under.
pub const FUNCTION_NAME: &str = "AWS_LAMBDA_FUNCTION_NAME";

/// The variables of a function, by name.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
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

    /// The variable `name`, or `default` where it is not set. A value that `T` does not accept is
    /// remembered as an error, and [`Parser::finish`] will refuse the configuration.
    pub fn get<T>(&mut self, name: &str, default: T) -> T
    where
        T: FromStr,
        T::Err: Display,
    {
        let Some(value) = self.variables.0.get(name) else {
            return default;
        };
        value.parse().unwrap_or_else(|error| {
            self.errors.push(format!("{name}: {error}"));
            default
        })
    }

    /// The configuration, if no variable was wrong.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with a line for every bad variable.
    pub fn finish<C>(self, config: C) -> Result<C, Error> {
        if self.errors.is_empty() { Ok(config) } else { Err(Error::InvalidConfig(self.errors)) }
    }
}
