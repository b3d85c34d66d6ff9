//! The variables of ecs-scheduler.

use std::collections::BTreeSet;

use aws_sdk_applicationautoscaling::types::{ScalableDimension, ServiceNamespace};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use lambda_kit::Configuration;
use lambda_kit::config::{Parser, digits, list, truth};
use lambda_kit::error::cut;

use crate::action::Action;
use crate::hours::{self, WorkingHours};
use crate::plan::Capacity;

/// The name of the crate, the binary and the template.
pub const NAME: &str = "ecs-scheduler";

/// Variable: the services, `service/CLUSTER/SERVICE` or `service/CLUSTER/*`, separated by commas.
pub const RESOURCE_IDS: &str = "RESOURCE_IDS";
/// Variable: the key of a tag on the services, in place of [`RESOURCE_IDS`]. Its value has the service's hours.
pub const DISCOVER_TAG: &str = "DISCOVER_TAG";
/// Variable: Application Auto Scaling's namespace of the resources.
pub const SERVICE_NAMESPACE: &str = "SERVICE_NAMESPACE";
/// Variable: the scalable dimension.
pub const SCALABLE_DIMENSION: &str = "SCALABLE_DIMENSION";
/// Variable: the role that Application Auto Scaling uses.
pub const ROLEARN: &str = "ROLEARN";
/// Variable: minimum when on, without a remembered capacity.
pub const MIN_CAPACITY: &str = "MIN_CAPACITY";
/// Variable: maximum when on, without a remembered capacity.
pub const MAX_CAPACITY: &str = "MAX_CAPACITY";
/// Variable: the capacity of a stopped service.
pub const SLEEP_CAPACITY: &str = "SLEEP_CAPACITY";
/// Variable: whether a stop remembers the capacity.
pub const REMEMBER_CAPACITY: &str = "REMEMBER_CAPACITY";
/// Variable: the action of a payload that names none.
pub const ACTION: &str = "ACTION";
/// Variable: the hours in which services should be on.
pub const WORKING_HOURS: &str = "WORKING_HOURS";
/// Variable: the time zone of the hours.
pub const TIMEZONE: &str = "TIMEZONE";
/// Variable: dates on which no window begins.
pub const HOLIDAYS: &str = "HOLIDAYS";

/// Maximum of characters of a tag's key.
const MAX_TAG_KEY_CHARS: usize = 128;

/// The function's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The deployed name of the function, for the metric.
    pub function: String,
    /// The resources, each once. `service/CLUSTER/*` stands for all of a cluster. Empty with `discover`.
    pub resources: Vec<String>,
    /// The key of the tag that the services carry.
    pub discover: Option<String>,
    /// The namespace of the resources.
    pub namespace: ServiceNamespace,
    /// The scalable dimension.
    pub dimension: ScalableDimension,
    /// The role to pass with each registration.
    pub role: Option<String>,
    /// The capacity of a started target without a remembered capacity.
    pub capacity: Capacity,
    /// The capacity of a stopped target.
    pub sleep: Capacity,
    /// Whether a stop remembers the capacity.
    pub remember: bool,
    /// The action of a payload that names none.
    pub action: Action,
    /// When services should be on. Always set if `action` is `converge`, unless each service's tag says it.
    pub hours: Option<WorkingHours>,
    /// The time zone of hours that name none.
    pub zone: TimeZone,
    /// Dates on which no window begins.
    pub holidays: BTreeSet<Date>,
}

impl Config {
    /// Whether the targets are those of ECS services.
    pub fn is_ecs(&self) -> bool {
        self.namespace == ServiceNamespace::Ecs
    }

    /// Whether this id is one that the variables name: itself, or as a part of `service/CLUSTER/*`.
    pub fn names(&self, id: &str) -> bool {
        let all = id.rsplit_once('/').map(|(cluster, _)| format!("{cluster}/*"));
        self.resources.iter().any(|known| known == id || self.is_ecs() && Some(known) == all.as_ref())
    }
}

impl Configuration for Config {
    fn read(parser: &mut Parser<'_>) -> Self {
        let namespace = parser.get(SERVICE_NAMESPACE, "ecs", |text| {
            ServiceNamespace::try_parse(text).map_err(|_| one_of(text, ServiceNamespace::values()))
        });
        let dimension = parser.get(SCALABLE_DIMENSION, "ecs:service:DesiredCount", |text| {
            ScalableDimension::try_parse(text).map_err(|_| one_of(text, ScalableDimension::values()))
        });
        let resources = parser.optional(RESOURCE_IDS, |text| {
            let ids = list(text)?;
            ids.iter().try_for_each(|id| check_resource(&namespace, id))?;
            Ok::<_, String>(each_once(ids))
        });
        let resources = resources.unwrap_or_default();
        let discover = parser.optional(DISCOVER_TAG, tag_key);
        let min = parser.get(MIN_CAPACITY, "1", capacity);
        let max = parser.get(MAX_CAPACITY, "3", capacity);
        let windows = parser.optional(WORKING_HOURS, hours::windows);
        let zone = parser.get(TIMEZONE, "UTC", hours::zone);
        let holidays = parser.optional(HOLIDAYS, hours::holidays).unwrap_or_default();
        let config = Self {
            function: parser.function(NAME),
            resources,
            discover,
            role: parser.optional(ROLEARN, role),
            capacity: Capacity { min, max },
            sleep: parser.get(SLEEP_CAPACITY, "0/0", sleep),
            remember: parser.get(REMEMBER_CAPACITY, "true", truth),
            action: parser.get(ACTION, "toggle", str::parse),
            hours: windows.map(|windows| WorkingHours {
                windows,
                zone: zone.clone(),
                holidays: holidays.clone(),
            }),
            zone,
            holidays,
            namespace,
            dimension,
        };

        // Conflicts between variables.
        match (parser.is_set(RESOURCE_IDS), parser.is_set(DISCOVER_TAG)) {
            (false, false) => parser.refuse(
                RESOURCE_IDS,
                format!(
                    "not set; set it to the services, as service/CLUSTER/SERVICE, or {DISCOVER_TAG} to the key of their tag"
                ),
            ),
            (true, true) => parser.refuse(RESOURCE_IDS, format!("set beside {DISCOVER_TAG}; set one of them")),
            _ => {}
        }
        if parser.is_set(DISCOVER_TAG) && !config.is_ecs() {
            parser.refuse(
                DISCOVER_TAG,
                format!("{SERVICE_NAMESPACE} {} has no ECS services", config.namespace),
            );
        }
        if !config.dimension.as_str().starts_with(&format!("{}:", config.namespace)) {
            let why = format!(
                "{} is not a dimension of {SERVICE_NAMESPACE} {}",
                config.dimension, config.namespace
            );
            parser.refuse(SCALABLE_DIMENSION, why);
        }
        if min > max {
            parser.refuse(MIN_CAPACITY, format!("{min} is more than {MAX_CAPACITY} {max}"));
        }
        if config.capacity == Capacity::OFF {
            parser.refuse(MAX_CAPACITY, "0 is off, so no service would ever start");
        } else if config.capacity == config.sleep {
            let why = format!(
                "{} is {MIN_CAPACITY} and {MAX_CAPACITY}, so no service would ever start",
                config.sleep
            );
            parser.refuse(SLEEP_CAPACITY, why);
        }
        let has_hours = parser.is_set(WORKING_HOURS) || parser.is_set(DISCOVER_TAG);
        if config.action == Action::Converge && !has_hours {
            parser.refuse(WORKING_HOURS, format!("not set, and {ACTION} is converge"));
        }
        config
    }

    fn function(&self) -> &str {
        &self.function
    }
}

/// Removes duplicates: two concurrent changes of one target would conflict.
pub(crate) fn each_once(ids: Vec<String>) -> Vec<String> {
    let mut known = BTreeSet::new();
    ids.into_iter().filter(|id| known.insert(id.clone())).collect()
}

/// Checks a resource id. An id that AWS refuses would fail the call for all others.
pub(crate) fn check_resource(namespace: &ServiceNamespace, id: &str) -> Result<(), String> {
    let is_name = |name: &str| {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        !name.is_empty() && name.chars().all(fits)
    };
    let is_service = || match id.split('/').collect::<Vec<_>>()[..] {
        ["service", cluster, service] => is_name(cluster) && (is_name(service) || service == "*"),
        _ => false,
    };
    match namespace {
        ServiceNamespace::Ecs if !is_service() => {
            Err(format!("{:?} is not service/CLUSTER/SERVICE", cut(id)))
        }
        _ if id.is_empty() => Err("an id is empty".to_owned()),
        _ => Ok(()),
    }
}

fn capacity(text: &str) -> Result<i32, String> {
    digits(text).ok_or_else(|| format!("{text:?} is not a number of tasks"))
}

/// A capacity as `min/max`.
fn sleep(text: &str) -> Result<Capacity, String> {
    let wrong = || format!("{text:?} is not a minimum and a maximum of tasks, such as 0/0 or 1/2");
    let (min, max) = text.split_once('/').ok_or_else(wrong)?;
    let capacity = Capacity { min: digits(min).ok_or_else(wrong)?, max: digits(max).ok_or_else(wrong)? };
    if capacity.min > capacity.max {
        return Err(format!("the minimum of {text:?} is more than its maximum"));
    }
    Ok(capacity)
}

fn tag_key(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=MAX_TAG_KEY_CHARS => Ok(text.to_owned()),
        _ => Err(format!("{:?} is not the key of a tag, 1 to {MAX_TAG_KEY_CHARS} characters", cut(text))),
    }
}

fn role(text: &str) -> Result<String, String> {
    let parts: Vec<_> = text.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, "iam", "", _, role] if role.starts_with("role/") => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not the ARN of a role")),
    }
}

fn one_of(text: &str, values: &[&str]) -> String {
    format!("{text:?} is not one of {}", values.join(", "))
}
