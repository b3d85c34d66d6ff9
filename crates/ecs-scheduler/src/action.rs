//! The actions of a run.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// An action for all targets of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Action {
    /// Start them.
    Start,
    /// Stop them.
    Stop,
    /// Start or stop them, the opposite of the first target's present state.
    Toggle,
    /// Start or stop them by the working hours.
    Converge,
}

impl Action {
    /// The spelling in the payload and the variable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Toggle => "toggle",
            Self::Converge => "converge",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Start, Self::Stop, Self::Toggle, Self::Converge];
        let found = all.into_iter().find(|action| action.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is not start, stop, toggle or converge"))
    }
}

impl TryFrom<String> for Action {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
