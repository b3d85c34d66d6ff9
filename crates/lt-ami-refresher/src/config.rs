//! The settings of a run: from the variables of lt-ami-refresher, and from a payload, whose keys follow the same
//! rules and override the variables.

use std::fmt;
use std::time::Duration;

use lambda_kit::Configuration;
use lambda_kit::config::{Parser, digits, duration, list, truth};

/// The name of the crate, the binary and the template.
pub const NAME: &str = "lt-ami-refresher";

/// Variable: the `Name` tag of the images.
pub const EC2_INSTANCE_NAME: &str = "EC2_INSTANCE_NAME";
/// Variable: the instance of which the images were made.
pub const SOURCE_INSTANCE_ID: &str = "SOURCE_INSTANCE_ID";
/// Variable: where images come from.
pub const IMAGE_SOURCE: &str = "IMAGE_SOURCE";
/// Variable: tags of the images.
pub const IMAGE_TAGS: &str = "IMAGE_TAGS";
/// Variable: the launch template's id.
pub const LAUNCH_TEMPLATE_ID: &str = "LAUNCH_TEMPLATE_ID";
/// Variable: the launch template's name, instead of its id.
pub const LAUNCH_TEMPLATE_NAME: &str = "LAUNCH_TEMPLATE_NAME";
/// Variable: security group ids of new versions.
pub const SG_IDS: &str = "SG_IDS";
/// Variable: prefixes of the images' names.
pub const AMI_NAME_PREFIXES: &str = "AMI_NAME_PREFIXES";
/// Variable: the version that a new one is based on.
pub const SOURCE_VERSION: &str = "SOURCE_VERSION";
/// Variable: maximum age of the newest image. An older one is an error.
pub const MAX_IMAGE_AGE: &str = "MAX_IMAGE_AGE";
/// Variable: how many of the newest versions to keep.
pub const KEEP_VERSIONS: &str = "KEEP_VERSIONS";
/// Variable: whether to refresh groups that run another version.
pub const INSTANCE_REFRESH: &str = "INSTANCE_REFRESH";

/// The prefixes of AWS Backup's image names: the one in its documentation and public samples, and the one of the
/// variable's first users. Filters of images are case-sensitive.
const DEFAULT_AMI_NAME_PREFIXES: [&str; 2] = ["AWSbackup_", "AwsBackup_"];

/// The largest `KEEP_VERSIONS`: EC2's maximum of 10,000 versions leaves room for one more.
const MAX_KEPT_VERSIONS: usize = 9_999;

/// The names of the settings, in the variables or in a payload.
pub(crate) struct Keys {
    /// Whether these are the keys of a payload, whose missing keys fall back to the variables.
    pub(crate) in_payload: bool,
    pub(crate) instance: &'static str,
    pub(crate) source_instance: &'static str,
    pub(crate) image_source: &'static str,
    pub(crate) image_tags: &'static str,
    pub(crate) template_id: &'static str,
    pub(crate) template_name: &'static str,
    pub(crate) security_groups: &'static str,
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
    source_instance: SOURCE_INSTANCE_ID,
    image_source: IMAGE_SOURCE,
    image_tags: IMAGE_TAGS,
    template_id: LAUNCH_TEMPLATE_ID,
    template_name: LAUNCH_TEMPLATE_NAME,
    security_groups: SG_IDS,
    prefixes: AMI_NAME_PREFIXES,
    source: SOURCE_VERSION,
    max_age: MAX_IMAGE_AGE,
    keep: KEEP_VERSIONS,
    refresh: INSTANCE_REFRESH,
};

/// The function's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The deployed name of the function, for the metric.
    pub function: String,
    /// Defaults for a run whose payload overrides nothing.
    pub settings: Settings,
}

impl Configuration for Config {
    fn read(parser: &mut Parser<'_>) -> Self {
        // The defaults, for `{"action":"describe"}`.
        let defaults = Settings::default();
        parser.describe(IMAGE_SOURCE, defaults.image_source.to_string());
        parser.describe(SOURCE_VERSION, defaults.source.to_string());
        parser.describe(INSTANCE_REFRESH, "false");
        let settings = Settings::read(parser, &VARIABLES, defaults);
        let prefixes = settings.prefixes().join(",");
        if !parser.is_set(AMI_NAME_PREFIXES) && !prefixes.is_empty() {
            parser.describe(AMI_NAME_PREFIXES, prefixes);
        }
        Self { function: parser.function(NAME), settings }
    }

    fn function(&self) -> &str {
        &self.function
    }
}

/// The settings of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The `Name` tag of the images.
    pub instance: Option<String>,
    /// The instance of which the images were made.
    pub source_instance: Option<String>,
    /// Where images come from.
    pub image_source: ImageSource,
    /// Tags that the images must have: keys and values.
    pub image_tags: Vec<(String, String)>,
    /// The launch template.
    pub template: Option<TemplateKey>,
    /// The security groups of new versions, each once; `None` keeps the source version's.
    pub security_groups: Option<Vec<String>>,
    /// The prefixes of the images' names, if they are set. [`Settings::prefixes`] has those in force.
    pub prefixes: Option<Vec<String>>,
    /// The version that a new one is based on.
    pub source: Source,
    /// Maximum age of the newest image.
    pub max_age: Option<Duration>,
    /// How many of the newest versions to keep.
    pub keep: Option<usize>,
    /// Whether to refresh groups that run another version.
    pub refresh: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            instance: None,
            source_instance: None,
            image_source: ImageSource::AwsBackup,
            image_tags: Vec::new(),
            template: None,
            security_groups: None,
            prefixes: None,
            source: Source::Default,
            max_age: None,
            keep: None,
            refresh: false,
        }
    }
}

impl Settings {
    /// Reads the settings with these names. A missing one is taken from `defaults`.
    pub(crate) fn read(parser: &mut Parser<'_>, keys: &Keys, defaults: Self) -> Self {
        let id = parser.optional(keys.template_id, template_id);
        let name = parser.optional(keys.template_name, |text| filled(text).map(TemplateKey::Name));
        if parser.is_set(keys.template_id) && parser.is_set(keys.template_name) {
            let why = format!("set together with {}: set only one of the two", keys.template_id);
            parser.refuse(keys.template_name, why);
        }
        Self {
            instance: parser.optional(keys.instance, filled).or(defaults.instance),
            source_instance: parser.optional(keys.source_instance, instance_id).or(defaults.source_instance),
            image_source: parser.optional(keys.image_source, image_source).unwrap_or(defaults.image_source),
            image_tags: parser.optional(keys.image_tags, tags).unwrap_or(defaults.image_tags),
            template: id.or(name).or(defaults.template),
            security_groups: parser
                .optional(keys.security_groups, security_group_ids)
                .or(defaults.security_groups),
            prefixes: parser.optional(keys.prefixes, list).or(defaults.prefixes),
            source: parser.optional(keys.source, source).unwrap_or(defaults.source),
            max_age: parser.optional(keys.max_age, duration).or(defaults.max_age),
            keep: parser.optional(keys.keep, count).or(defaults.keep),
            refresh: parser.optional(keys.refresh, truth).unwrap_or(defaults.refresh),
        }
    }

    /// The prefixes of the images' names in force: by default those of AWS Backup for its images, and none for others.
    pub fn prefixes(&self) -> Vec<String> {
        match (&self.prefixes, &self.image_source) {
            (Some(prefixes), _) => prefixes.clone(),
            (None, ImageSource::AwsBackup) => DEFAULT_AMI_NAME_PREFIXES.map(str::to_owned).into(),
            (None, _) => Vec::new(),
        }
    }
}

/// Where images come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// `aws-backup`: AWS Backup made them, as AWS's own tag says.
    AwsBackup,
    /// `tagged`: own images, whoever made them.
    Tagged,
    /// `ssm:NAME`: the image that this SSM parameter names.
    Parameter(String),
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AwsBackup => f.write_str("aws-backup"),
            Self::Tagged => f.write_str("tagged"),
            Self::Parameter(name) => write!(f, "ssm:{name}"),
        }
    }
}

/// How a setting names a launch template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateKey {
    /// By its id.
    Id(String),
    /// By its name.
    Name(String),
}

impl fmt::Display for TemplateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(text) | Self::Name(text) => f.write_str(text),
        }
    }
}

/// How a setting or a group names a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `$Default`: the default version.
    Default,
    /// `$Latest`: the newest version.
    Latest,
    /// The version with this number.
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

fn instance_id(text: &str) -> Result<String, String> {
    if is_id(text, "i-") {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not the id of an instance, such as i-0123456789abcdef0"))
}

fn image_source(text: &str) -> Result<ImageSource, String> {
    let name = |name: &&str| !name.is_empty() && !name.contains(char::is_whitespace);
    match (text, text.strip_prefix("ssm:").filter(name)) {
        ("aws-backup", _) => Ok(ImageSource::AwsBackup),
        ("tagged", _) => Ok(ImageSource::Tagged),
        (_, Some(name)) => Ok(ImageSource::Parameter(name.to_owned())),
        _ => Err(format!("{text:?} is not aws-backup, tagged or ssm: with the name of a parameter")),
    }
}

fn tags(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut tags: Vec<(String, String)> = Vec::new();
    for pair in list(text)? {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| format!("{pair:?} is not a key and a value, such as Role=web"))?;
        if tags.iter().any(|(other, _)| other == key) {
            return Err(format!("{key:?} is named twice, and an image has each key once"));
        }
        tags.push((key.to_owned(), value.to_owned()));
    }
    Ok(tags)
}

fn template_id(text: &str) -> Result<TemplateKey, String> {
    if is_id(text, "lt-") {
        return Ok(TemplateKey::Id(text.to_owned()));
    }
    Err(format!("{text:?} is not the id of a launch template, such as lt-0123456789abcdef0"))
}

fn security_group_ids(text: &str) -> Result<Vec<String>, String> {
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

/// Parses the version in a variable or in a group.
pub(crate) fn source(text: &str) -> Result<Source, String> {
    match text {
        "$Default" => Ok(Source::Default),
        "$Latest" => Ok(Source::Latest),
        _ => {
            let number = digits(text).filter(|number| *number > 0);
            number.map(Source::Number).ok_or_else(|| format!("{text:?} is not $Default, $Latest or a number"))
        }
    }
}

fn count(text: &str) -> Result<usize, String> {
    let number = digits(text).filter(|number| (1..=MAX_KEPT_VERSIONS).contains(number));
    number.ok_or_else(|| format!("{text:?} is not a number of versions from 1 to {MAX_KEPT_VERSIONS}"))
}
