//! Reads the order of a run from a scheduled event, a payload of this function, or an event about an image. The
//! payload's keys are the variables in another spelling and follow the same rules.

use std::fmt;

use chrono::{DateTime, Utc};
use lambda_kit::config::Parser;
use lambda_kit::event::{Event, invalid, strict};
use lambda_kit::{Error, Variables};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::{Config, ImageSource, Keys, Settings, TemplateKey, VARIABLES};

/// The keys of the payload.
const PAYLOAD: Keys = Keys {
    in_payload: true,
    instance: "instanceName",
    source_instance: "sourceInstanceId",
    image_source: "imageSource",
    image_tags: "imageTags",
    template_id: "launchTemplateId",
    template_name: "launchTemplateName",
    security_groups: "securityGroupIds",
    prefixes: "amiNamePrefixes",
    source: "sourceVersion",
    max_age: "maxImageAge",
    keep: "keepVersions",
    refresh: "instanceRefresh",
};

/// The key of a payload that asks for a run which writes nothing.
const DRY_RUN: &str = "dryRun";

/// What to do with a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A run.
    Run(Box<Order>),
    /// No run, with the reason.
    Ignore(String),
}

/// The order of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The launch template.
    pub template: TemplateKey,
    /// The other settings. The template is moved out of them.
    pub settings: Settings,
    /// Whether to answer what a run would do, and to write nothing.
    pub dry_run: bool,
    /// The image of the event, if an image's event started the run.
    pub announced: Option<Announced>,
}

/// An image that an event names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The image's id.
    pub id: String,
    /// The time of the event.
    pub time: DateTime<Utc>,
}

impl Request {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`Error::InvalidPayload`] with the path of the field, [`Error::InvalidConfig`] if a variable is missing that
    /// this kind of payload can't replace, or [`Error::UnsupportedEvent`].
    pub fn read(payload: Value, config: &Config) -> Result<Self, Error> {
        let Value::Object(mut object) = payload else {
            return Err(invalid(".", "not a JSON object"));
        };
        if !object.contains_key("detail-type") {
            let dry_run = match object.remove(DRY_RUN) {
                None | Some(Value::Null) => false,
                Some(Value::Bool(dry_run)) => dry_run,
                Some(_) => return Err(invalid(DRY_RUN, "is neither true nor false")),
            };
            let order = Order::new(overridden(&object, config)?, None, &PAYLOAD)?;
            return Ok(Self::Run(Box::new(Order { dry_run, ..order })));
        }
        let event: Event = strict(Value::Object(object))?;
        let announced = if event.is_scheduled() {
            None
        } else {
            match read_event(&event)? {
                EventContent::Image(id) => Some(Announced { id, time: event.time }),
                EventContent::Backup => None,
                EventContent::Nothing(why) => return Ok(Self::Ignore(why)),
                EventContent::Unknown => return Err(unsupported(&event)),
            }
        };
        Order::new(config.settings.clone(), announced, &VARIABLES).map(Box::new).map(Self::Run)
    }
}

impl Order {
    /// Makes the order. The error names missing settings by these keys.
    fn new(mut settings: Settings, announced: Option<Announced>, keys: &Keys) -> Result<Self, Error> {
        let missing = missing_of_images(&settings);
        match settings.template.take() {
            Some(template) if missing.is_none() => Ok(Self { template, settings, dry_run: false, announced }),
            template => Err(incomplete(missing, template.is_none(), keys)),
        }
    }
}

/// Names of settings of which one must be set.
type OneOf = fn(&Keys) -> Vec<&'static str>;

/// The settings of which one must say which images are meant, if none does.
fn missing_of_images(settings: &Settings) -> Option<OneOf> {
    let of_instance = settings.instance.is_some() || settings.source_instance.is_some();
    match settings.image_source {
        ImageSource::AwsBackup if !of_instance => Some(|keys| vec![keys.instance, keys.source_instance]),
        ImageSource::Tagged if !of_instance && settings.image_tags.is_empty() => {
            Some(|keys| vec![keys.instance, keys.source_instance, keys.image_tags])
        }
        _ => None,
    }
}

/// The error of an order that does not say which images are meant, or has no template.
fn incomplete(images: Option<OneOf>, template: bool, keys: &Keys) -> Error {
    let of_template: OneOf = |keys| vec![keys.template_id, keys.template_name];
    let mut lines = Vec::new();
    for names in images.into_iter().chain(template.then_some(of_template)) {
        let [here, variables] = [keys, &VARIABLES].map(|keys| names(keys).join(" or "));
        let why = match keys.in_payload {
            true => format!("missing, and {variables} is not set"),
            false => "not set, and this event can't replace it".to_owned(),
        };
        lines.push(format!("{here}: {why}"));
    }
    if keys.in_payload { of_payload(&lines) } else { Error::InvalidConfig(lines) }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { instance, source_instance, image_source, .. } = &self.settings;
        let named = [instance, source_instance].into_iter().flatten().map(String::as_str);
        let named = named.collect::<Vec<_>>().join(", ");
        write!(f, "the newest image of {image_source} ({named}) for {}", self.template)?;
        match &self.announced {
            Some(announced) => write!(f, ", because of {}", announced.id),
            None => Ok(()),
        }
    }
}

/// The settings with the payload's overrides.
fn overridden(payload: &Map<String, Value>, config: &Config) -> Result<Settings, Error> {
    let mut variables = Vec::new();
    for (key, value) in payload {
        if let Some(text) = text(key, value)? {
            variables.push((key.as_str(), text));
        }
    }
    let variables: Variables = variables.into_iter().collect();
    let mut parser = Parser::new(&variables);
    let settings = Settings::read(&mut parser, &PAYLOAD, config.settings.clone());
    match parser.finish(settings) {
        Err(Error::InvalidConfig(lines)) => Err(of_payload(&lines)),
        read => Ok(read?.0),
    }
}

/// The error of a payload with wrong keys. Each line is `key: why`, and the first key is the path.
fn of_payload(lines: &[String]) -> Error {
    let lines = lines.join("; ");
    let (path, reason) = lines.split_once(": ").unwrap_or((".", &lines));
    Error::InvalidPayload { path: path.to_owned(), reason: reason.to_owned() }
}

/// The value in the spelling of the variable. `None` for `null`, which overrides nothing.
fn text(key: &str, value: &Value) -> Result<Option<String>, Error> {
    let Keys {
        in_payload: _,
        instance,
        source_instance,
        image_source,
        image_tags,
        template_id,
        template_name,
        security_groups,
        prefixes,
        source,
        max_age,
        keep,
        refresh,
    } = PAYLOAD;
    let keys = [
        instance,
        source_instance,
        image_source,
        image_tags,
        template_id,
        template_name,
        security_groups,
        prefixes,
        source,
        max_age,
        keep,
        refresh,
    ];
    if !keys.contains(&key) {
        let key: String = key.chars().take(40).collect();
        let keys = keys.join(", ");
        let reason = format!("unknown; the keys of a payload are {keys}, {DRY_RUN}");
        return Err(Error::InvalidPayload { path: key, reason });
    }
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if [security_groups, prefixes, image_tags].contains(&key) => {
            items.iter().map(Value::as_str).collect::<Option<Vec<_>>>().map(|items| items.join(","))
        }
        Value::Number(number) if key == source || key == keep => Some(number.to_string()),
        Value::Bool(truth) if key == refresh => Some(truth.to_string()),
        _ => None,
    };
    text.map(Some).ok_or_else(|| invalid(key, format!("takes no {}", kind(value))))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "object",
        Value::Array(_) => "such list",
        Value::Number(_) => "number",
        _ => "true or false",
    }
}

/// An event about images.
enum EventContent {
    /// This image is available.
    Image(String),
    /// A backup has ended. The event does not name its image.
    Backup,
    /// An event to ignore, with the reason.
    Nothing(String),
    /// An event that this function does not handle.
    Unknown,
}

/// Shapes: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitor-ami-events.html> and
/// <https://docs.aws.amazon.com/aws-backup/latest/devguide/eventbridge.html>.
fn read_event(event: &Event) -> Result<EventContent, Error> {
    match (event.source.as_str(), event.detail_type.as_str()) {
        ("aws.ec2", "EC2 AMI State Change") => {
            let change: ImageChange = event.detail()?;
            Ok(match change.state.as_str() {
                "available" => EventContent::Image(change.image_id),
                state => EventContent::Nothing(format!("{} is {state}, not available", change.image_id)),
            })
        }
        ("aws.backup", "Backup Job State Change") => {
            let job: JobChange = event.detail()?;
            Ok(job.news(event.resources().iter().find_map(|arn| image_id(arn))))
        }
        ("aws.backup", "Copy Job State Change") => {
            let job: JobChange = event.detail()?;
            // The event's resources are the source of the copy.
            let copy = job.destination_recovery_point_arn.as_str().and_then(image_id);
            Ok(job.news(copy))
        }
        _ => Ok(EventContent::Unknown),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageChange {
    image_id: String,
    state: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobChange {
    state: String,
    resource_type: Option<String>,
    /// The destination of a copy; an empty object without one.
    #[serde(default)]
    destination_recovery_point_arn: Value,
}

impl JobChange {
    /// The content of the job's event, with its image, if known.
    fn news(&self, image: Option<String>) -> EventContent {
        match (self.state.as_str(), self.resource_type.as_deref()) {
            ("COMPLETED", None | Some("EC2")) => image.map_or(EventContent::Backup, EventContent::Image),
            ("COMPLETED", Some(other)) => {
                EventContent::Nothing(format!("a backup of {other} makes no image"))
            }
            (state, _) => EventContent::Nothing(format!("the job is {state}, not COMPLETED")),
        }
    }
}

/// The image of an ARN such as `arn:aws:ec2:us-east-1::image/ami-0123456789abcdef0`.
fn image_id(arn: &str) -> Option<String> {
    let (_, id) = arn.split_once(":image/")?;
    Some(id.to_owned())
}

fn unsupported(event: &Event) -> Error {
    Error::UnsupportedEvent(format!(
        "{} handles scheduled events, payloads of its own, and state changes of images and of backup jobs, not {event}; \
         correct the rule that sent it",
        crate::config::NAME
    ))
}
