//! What a run is told: by the variables of lt-ami-refresher, and by a payload, whose keys are read by the
//! same rules and take their place.

use std::fmt;
use std::time::Duration;

use lifecycle_core::Error;
use lifecycle_core::config::{self, Parser, Variables, digits, duration, list, truth};

/// Variable: the instance whose backups are looked for, as the `Name` tag has it.
pub const EC2_INSTANCE_NAME: &str = "EC2_INSTANCE_NAME";
/// Variable: the launch template's id.
pub const LAUNCH_TEMPLATE_ID: &str = "LAUNCH_TEMPLATE_ID";
/// Variable: the launch template's name, in place of its id.
pub const LAUNCH_TEMPLATE_NAME: &str = "LAUNCH_TEMPLATE_NAME";
/// Variable: ids of the security groups of new versions.
pub const SG_IDS: &str = "SG_IDS";
/// Variable: what names of backup images begin with.
pub const AMI_NAME_PREFIXES: &str = "AMI_NAME_PREFIXES";
/// Variable: the version that a new one is based on.
pub const SOURCE_VERSION: &str = "SOURCE_VERSION";
/// Variable: age past which the newest image is an error.
pub const MAX_IMAGE_AGE: &str = "MAX_IMAGE_AGE";
/// Variable: how many of the newest versions are kept.
pub const KEEP_VERSIONS: &str = "KEEP_VERSIONS";
/// Variable: whether groups that run another version are refreshed.
pub const INSTANCE_REFRESH: &str = "INSTANCE_REFRESH";

/// What AWS Backup's images are named: as its documentation and public samples have it, and as the variable's
/// first users wrote it. Filters of images are case-sensitive.
const PREFIXES: [&str; 2] = ["AWSbackup_", "AwsBackup_"];

/// Under which names the same things are told.
pub(crate) struct Keys {
    /// Whether they are a payload's, which has the variables behind it.
    pub(crate) in_payload: bool,
    pub(crate) instance: &'static str,
    pub(crate) template_id: &'static str,
    pub(crate) template_name: &'static str,
    pub(crate) groups: &'static str,
    pub(crate) prefixes: &'static str,
    pub(crate) source: &'static str,
    pub(crate) max_age: &'static str,
    pub(crate) keep: &'static str,
    pub(crate) refresh: &'static str,
}

/// The variables.
pub(crate) const VARIABLES: Keys = Keys {
    in_payload: false,
    instance: EC2_INSTANCE_NAME,
    template_id: LAUNCH_TEMPLATE_ID,
    template_name: LAUNCH_TEMPLATE_NAME,
    groups: SG_IDS,
    prefixes: AMI_NAME_PREFIXES,
    source: SOURCE_VERSION,
    max_age: MAX_IMAGE_AGE,
    keep: KEEP_VERSIONS,
    refresh: INSTANCE_REFRESH,
};

/// The function's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The deployed function's name, in the metric.
    pub function: String,
    /// What a run goes by that is told nothing else.
    pub settings: Settings,
}

impl Config {
    /// Reads every variable before it refuses one. What a payload can supply may be missing.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with every bad variable.
    pub fn parse(variables: &Variables) -> Result<Self, Error> {
        let mut parser = Parser::new(variables);
        let config = Self {
            function: parser.get(config::FUNCTION_NAME, crate::NAME.to_owned(), str::parse),
            settings: Settings::read(&mut parser, &VARIABLES, Settings::default()),
        };
        parser.finish(config)
    }
}

/// What a run goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The `Name` tag of the images.
    pub instance: Option<String>,
    /// The launch template.
    pub template: Option<Template>,
    /// The security groups of new versions, each once; `None` keeps the source version's.
    pub groups: Option<Vec<String>>,
    /// What the images' names begin with.
    pub prefixes: Vec<String>,
    /// The version that a new one is based on.
    pub source: Source,
    /// Age past which the newest image is an error.
    pub max_age: Option<Duration>,
    /// How many of the newest versions are kept.
    pub keep: Option<usize>,
    /// Whether groups that run another version are refreshed.
    pub refresh: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            instance: None,
            template: None,
            groups: None,
            prefixes: PREFIXES.map(str::to_owned).into(),
            source: Source::Default,
            max_age: None,
            keep: None,
            refresh: false,
        }
    }
}

impl Settings {
    /// Reads what is told under these names; what is not is as in `otherwise`.
    pub(crate) fn read(parser: &mut Parser<'_>, keys: &Keys, otherwise: Self) -> Self {
        let id = parser.get(keys.template_id, None, |text| template_id(text).map(Some));
        let name = parser.get(keys.template_name, None, |text| filled(text).map(Template::Name).map(Some));
        if parser.is_set(keys.template_id) && parser.is_set(keys.template_name) {
            let why =
                format!("set together with {}: one of the two names the launch template", keys.template_id);
            parser.refuse(keys.template_name, why);
        }
        Self {
            instance: parser.get(keys.instance, otherwise.instance, |text| filled(text).map(Some)),
            template: id.or(name).or(otherwise.template),
            groups: parser.get(keys.groups, otherwise.groups, |text| group_ids(text).map(Some)),
            prefixes: parser.get(keys.prefixes, otherwise.prefixes, list),
            source: parser.get(keys.source, otherwise.source, source),
            max_age: parser.get(keys.max_age, otherwise.max_age, |text| duration(text).map(Some)),
            keep: parser.get(keys.keep, otherwise.keep, |text| count(text).map(Some)),
            refresh: parser.get(keys.refresh, otherwise.refresh, truth),
        }
    }
}

/// A launch template, as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// By its id.
    Id(String),
    /// By its name.
    Name(String),
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(text) | Self::Name(text) => f.write_str(text),
        }
    }
}

/// A version, as it was named: the one that a new one is based on, or that a group launches from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `$Default`: the one that is the default now.
    Default,
    /// `$Latest`: the newest.
    Latest,
    /// This one.
    Number(i64),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("$Default"),
            Self::Latest => f.write_str("$Latest"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

fn filled(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn template_id(text: &str) -> Result<Template, String> {
    if is_id(text, "lt-") {
        return Ok(Template::Id(text.to_owned()));
    }
    Err(format!("{text:?} is not the id of a launch template, such as lt-0123456789abcdef0"))
}

fn group_ids(text: &str) -> Result<Vec<String>, String> {
    let mut ids: Vec<String> = Vec::new();
    for id in list(text)? {
        if !is_id(&id, "sg-") {
            return Err(format!(
                "{id:?} is not the id of a security group, such as sg-0123456789abcdef0 (names don't work in a VPC)"
            ));
        }
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn is_id(text: &str, prefix: &str) -> bool {
    let rest = text.strip_prefix(prefix);
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// A version as a variable or a group says it.
pub(crate) fn source(text: &str) -> Result<Source, String> {
    match text {
        "$Default" => Ok(Source::Default),
        "$Latest" => Ok(Source::Latest),
        _ => {
            let number = digits(text).filter(|number| *number > 0);
            number
                .map(Source::Number)
                .ok_or_else(|| format!("{text:?} is none of $Default, $Latest and a number"))
        }
    }
}

fn count(text: &str) -> Result<usize, String> {
    digits(text).ok_or_else(|| format!("{text:?} is not a number of versions"))
}
