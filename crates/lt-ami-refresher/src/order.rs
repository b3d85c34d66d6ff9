//! Reads the order of a run from a scheduled event, a payload of this function, or an event about an image. The
//! payload's keys are the variables in another spelling and follow the same rules.

use std::fmt;

use chrono::{DateTime, Utc};
use lambda_kit::config::Parser;
use lambda_kit::event::{Event, invalid, strict};
use lambda_kit::{Error, Variables};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::{Config, Keys, Settings, TemplateKey, VARIABLES};

/// The keys of the payload.
const PAYLOAD: Keys = Keys {
    in_payload: true,
    instance: "instanceName",
    template_id: "launchTemplateId",
    template_name: "launchTemplateName",
    security_groups: "securityGroupIds",
    prefixes: "amiNamePrefixes",
    source: "sourceVersion",
    max_age: "maxImageAge",
    keep: "keepVersions",
    refresh: "instanceRefresh",
};

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
    /// The `Name` tag of the images.
    pub instance: String,
    /// The launch template.
    pub template: TemplateKey,
    /// The other settings. Instance and template are moved out of them.
    pub settings: Settings,
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
        let Value::Object(object) = payload else {
            return Err(invalid(".", "not a JSON object"));
        };
        if !object.contains_key("detail-type") {
            let settings = overridden(&object, config)?;
            return Order::new(settings, None, &PAYLOAD).map(Box::new).map(Self::Run);
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
        match (settings.instance.take(), settings.template.take()) {
            (Some(instance), Some(template)) => Ok(Self { instance, template, settings, announced }),
            (instance, template) => Err(missing(instance.is_none(), template.is_none(), keys)),
        }
    }
}

/// The error of an order without instance or template.
fn missing(instance: bool, template: bool, keys: &Keys) -> Error {
    let one_of = |keys: &Keys| format!("{} or {}", keys.template_id, keys.template_name);
    let mut lines = Vec::new();
    for (is_missing, name, variable) in [
        (instance, keys.instance.to_owned(), VARIABLES.instance.to_owned()),
        (template, one_of(keys), one_of(&VARIABLES)),
    ] {
        if is_missing {
            let why = match keys.in_payload {
                true => format!("missing, and {variable} is not set"),
                false => "not set, and this event can't replace it".to_owned(),
            };
            lines.push(format!("{name}: {why}"));
        }
    }
    if keys.in_payload { of_payload(&lines) } else { Error::InvalidConfig(lines) }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the newest image of {:?} for {}", self.instance, self.template)?;
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
    invalid(path, reason)
}

/// The value in the spelling of the variable. `None` for `null`, which overrides nothing.
fn text(key: &str, value: &Value) -> Result<Option<String>, Error> {
    let Keys {
        in_payload: _,
        instance,
        template_id,
        template_name,
        security_groups,
        prefixes,
        source,
        max_age,
        keep,
        refresh,
    } = PAYLOAD;
    let keys =
        [instance, template_id, template_name, security_groups, prefixes, source, max_age, keep, refresh];
    if !keys.contains(&key) {
        let key: String = key.chars().take(40).collect();
        return Err(invalid(&key, format!("unknown; the keys of a payload are {}", keys.join(", "))));
    }
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if key == security_groups || key == prefixes => {
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
