//! The variables of ecs-scheduler.

use std::collections::BTreeSet;

use aws_sdk_applicationautoscaling::types::{ScalableDimension, ServiceNamespace};
use jiff::tz::TimeZone;
use lifecycle_core::Error;
use lifecycle_core::config::{self, Parser, Variables, digits, list, truth};

use crate::hours::{self, WorkingHours};
use crate::order::Action;
use crate::plan::Capacity;

/// Variable: the services, `service/CLUSTER/SERVICE`, separated by commas.
pub const RESOURCE_IDS: &str = "RESOURCE_IDS";
/// Variable: Application Auto Scaling's name of the service that the resources belong to.
pub const SERVICE_NAMESPACE: &str = "SERVICE_NAMESPACE";
/// Variable: what of a resource is scaled.
pub const SCALABLE_DIMENSION: &str = "SCALABLE_DIMENSION";
/// Variable: the role that Application Auto Scaling acts in.
pub const ROLEARN: &str = "ROLEARN";
/// Variable: least capacity when on and nothing was remembered.
pub const MIN_CAPACITY: &str = "MIN_CAPACITY";
/// Variable: greatest capacity when on and nothing was remembered.
pub const MAX_CAPACITY: &str = "MAX_CAPACITY";
/// Variable: whether a stop remembers the capacity that it found.
pub const REMEMBER_CAPACITY: &str = "REMEMBER_CAPACITY";
/// Variable: what a payload without an action means.
pub const ACTION: &str = "ACTION";
/// Variable: windows in which services should be on.
pub const WORKING_HOURS: &str = "WORKING_HOURS";
/// Variable: whose clock the windows mean.
pub const TIMEZONE: &str = "TIMEZONE";
/// Variable: days on which no window begins.
pub const HOLIDAYS: &str = "HOLIDAYS";

/// The function's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The deployed function's name, in the metric.
    pub function: String,
    /// The resources, each once.
    pub resources: Vec<String>,
    /// The service that they belong to.
    pub namespace: ServiceNamespace,
    /// What of them is scaled.
    pub dimension: ScalableDimension,
    /// The role that is passed with each registration.
    pub role: Option<String>,
    /// What a target is given when it comes on and nothing was remembered.
    pub capacity: Capacity,
    /// Whether a stop remembers the capacity that it found.
    pub remember: bool,
    /// What a payload without an action means.
    pub action: Action,
    /// When services should be on; always there where `action` is `converge`.
    pub hours: Option<WorkingHours>,
}

impl Config {
    /// Reads every variable before it refuses one.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with every bad variable.
    pub fn parse(variables: &Variables) -> Result<Self, Error> {
        let mut parser = Parser::new(variables);
        let namespace = parser.get(SERVICE_NAMESPACE, ServiceNamespace::Ecs, |text| {
            ServiceNamespace::try_parse(text).map_err(|_| one_of(text, ServiceNamespace::values()))
        });
        let dimension = parser.get(SCALABLE_DIMENSION, ScalableDimension::EcsServiceDesiredCount, |text| {
            ScalableDimension::try_parse(text).map_err(|_| one_of(text, ScalableDimension::values()))
        });
        let resources = parser.get(RESOURCE_IDS, Vec::new(), |text| {
            let ids = list(text)?;
            ids.iter().try_for_each(|id| check_resource(&namespace, id))?;
            Ok::<_, String>(each_once(ids))
        });
        let min = parser.get(MIN_CAPACITY, 1, capacity);
        let max = parser.get(MAX_CAPACITY, 3, capacity);
        let windows = parser.get(WORKING_HOURS, None, |text| hours::windows(text).map(Some));
        let zone = parser.get(TIMEZONE, TimeZone::UTC, hours::zone);
        let holidays = parser.get(HOLIDAYS, BTreeSet::new(), hours::holidays);
        let config = Self {
            function: parser.get(config::FUNCTION_NAME, crate::NAME.to_owned(), str::parse),
            resources,
            role: parser.get(ROLEARN, None, |text| role(text).map(Some)),
            capacity: Capacity { min, max },
            remember: parser.get(REMEMBER_CAPACITY, true, truth),
            action: parser.get(ACTION, Action::Toggle, str::parse),
            hours: windows.map(|windows| WorkingHours { windows, zone, holidays }),
            namespace,
            dimension,
        };

        // What goes wrong together.
        if !parser.is_set(RESOURCE_IDS) {
            parser.refuse(RESOURCE_IDS, "not set; it names the services, as service/CLUSTER/SERVICE");
        }
        if !config.dimension.as_str().starts_with(&format!("{}:", config.namespace)) {
            let why = format!("{} is not of the {SERVICE_NAMESPACE} {}", config.dimension, config.namespace);
            parser.refuse(SCALABLE_DIMENSION, why);
        }
        if min > max {
            parser.refuse(MIN_CAPACITY, format!("{min} is more than the {MAX_CAPACITY} {max}"));
        }
        if config.capacity == Capacity::OFF {
            parser.refuse(MAX_CAPACITY, "0 is off: nothing would ever start");
        }
        if config.action == Action::Converge && !parser.is_set(WORKING_HOURS) {
            parser.refuse(WORKING_HOURS, format!("not set, and {ACTION} is converge"));
        }
        parser.finish(config)
    }
}

/// Leaves out what is named twice: two changes of one target at once would refuse each other.
pub(crate) fn each_once(ids: Vec<String>) -> Vec<String> {
    let mut known = BTreeSet::new();
    ids.into_iter().filter(|id| known.insert(id.clone())).collect()
}

/// Checks a resource's id. One that AWS refuses would spoil the look at all the others.
pub(crate) fn check_resource(namespace: &ServiceNamespace, id: &str) -> Result<(), String> {
    let is_name = |name: &str| {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        !name.is_empty() && name.chars().all(fits)
    };
    let is_service = || match id.split('/').collect::<Vec<_>>()[..] {
        ["service", cluster, service] => is_name(cluster) && is_name(service),
        _ => false,
    };
    match namespace {
        ServiceNamespace::Ecs if !is_service() => Err(format!("{id:?} is not service/CLUSTER/SERVICE")),
        _ if id.is_empty() => Err("an id is empty".to_owned()),
        _ => Ok(()),
    }
}

fn capacity(text: &str) -> Result<i32, String> {
    digits(text).ok_or_else(|| format!("{text:?} is no number of tasks"))
}

fn role(text: &str) -> Result<String, String> {
    let parts: Vec<_> = text.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, "iam", "", _, role] if role.starts_with("role/") => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not the ARN of a role")),
    }
}

fn one_of(text: &str, values: &[&str]) -> String {
    format!("{text:?} is none of {}", values.join(", "))
}
