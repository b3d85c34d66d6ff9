//! Faults of calls and events: scripted one by one, or drawn by probability from a seed.

use std::collections::{BTreeMap, VecDeque};
use std::str::FromStr;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::aws::error::ApiError;
use crate::aws::scalable_targets;
use crate::aws::world::{ACCOUNT, uuid};

/// A fault of a call to AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallFault {
    /// AWS's shared token bucket is empty.
    Throttle,
    /// HTTP 500 `InternalFailure`, or the service's own name for it.
    ServerError,
    /// Another update of the resource is pending. Auto Scaling answers HTTP 500 `ResourceContention`.
    /// Application Auto Scaling answers 400 `ConcurrentUpdateException`, except for its tag actions. All
    /// other actions have no such error, and run the call.
    Contention,
    /// HTTP 403 `AccessDenied`, or the service's own name for it.
    AccessDenied,
    /// AWS never answers.
    Hang,
    /// The connection is cut before the call takes effect.
    CutBefore,
    /// The connection is cut after the call took effect: the answer is lost.
    CutAfter,
    /// The calling function is killed before the call takes effect.
    KillBefore,
    /// The calling function is killed after the call took effect.
    KillAfter,
    /// AWS refuses the call with this code, for example `InvalidDocument`, and AWS's text where one is known.
    Refused(&'static str),
}

/// Refusals that do not come by themselves, with AWS's texts from its documentation or public logs.
const REFUSALS: [(&str, &str); 14] = [
    ("AMIQuotaExceeded", "You have reached your quota of AMIs."),
    ("AuthFailure", "AWS was not able to validate the provided access credentials"),
    (
        "ConcurrentCreateImageNoRebootLimitExceeded",
        "The maximum number of concurrent CreateImage requests for the instance has been reached. Wait for the \
         current CreateImage requests to complete, and then retry your request.",
    ),
    (
        "ConcurrentSnapshotLimitExceeded",
        "Maximum allowed in-progress snapshots for a single volume exceeded.",
    ),
    ("ExpiredToken", "The security token included in the request is expired"),
    ("ExpiredTokenException", "The security token included in the request is expired"),
    ("InvalidAMIID.NotFound", "The image id does not exist"),
    ("InvalidDocument", "The specified SSM document doesn't exist."),
    ("InvalidInstanceId", "Instances not in a valid state for account"),
    (
        "PendingSnapshotLimitExceeded",
        "You've reached the limit on the number of Amazon EBS snapshots that you can have in the pending state.",
    ),
    ("RequestExpired", "Request has expired."),
    (
        "SnapshotCreationPerVolumeRateExceeded",
        "The maximum per volume CreateSnapshot request rate has been exceeded. Use an increasing or variable sleep \
         interval between requests.",
    ),
    (
        "SnapshotLimitExceeded",
        "You've reached the limit on the number of Amazon EBS snapshots that you can create.",
    ),
    (
        "UnsupportedPlatformType",
        "The document doesn't support the platform type of the given managed node IDs.",
    ),
];

/// A fault of an event on its way to one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventFault {
    /// It never arrives.
    Lost,
    /// It arrives twice.
    Doubled,
    /// It arrives minutes late.
    Delayed,
    /// It arrives a few seconds late, so that a later one can overtake it.
    Reordered,
}

const CALL_FAULTS: [(&str, CallFault); 9] = [
    ("throttle", CallFault::Throttle),
    ("5xx", CallFault::ServerError),
    ("contention", CallFault::Contention),
    ("access-denied", CallFault::AccessDenied),
    ("hang", CallFault::Hang),
    ("cut", CallFault::CutBefore),
    ("answer-lost", CallFault::CutAfter),
    ("kill", CallFault::KillBefore),
    ("kill-after", CallFault::KillAfter),
];

const EVENT_FAULTS: [(&str, EventFault); 4] = [
    ("event-lost", EventFault::Lost),
    ("event-doubled", EventFault::Doubled),
    ("event-delayed", EventFault::Delayed),
    ("event-reordered", EventFault::Reordered),
];

/// Faults by probability: `throttle=0.1,event-lost=0.02`. Names: `throttle`, `5xx`, `contention`,
/// `access-denied`, `hang`, `cut`, `answer-lost`, `kill`, `kill-after`, `event-lost`, `event-doubled`,
/// `event-delayed`, `event-reordered`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chaos {
    calls: BTreeMap<CallFault, f64>,
    events: BTreeMap<EventFault, f64>,
}

impl FromStr for Chaos {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut chaos = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is not name=probability"))?;
            let probability = value.parse().ok().filter(|p| (0.0..=1.0).contains(p));
            let probability =
                probability.ok_or_else(|| format!("{value:?} is not a probability from 0 to 1"))?;
            if let Some((_, fault)) = CALL_FAULTS.iter().find(|(known, _)| *known == name) {
                chaos.calls.insert(*fault, probability);
            } else if let Some((_, fault)) = EVENT_FAULTS.iter().find(|(known, _)| *known == name) {
                chaos.events.insert(*fault, probability);
            } else {
                let names =
                    CALL_FAULTS.iter().map(|(name, _)| name).chain(EVENT_FAULTS.iter().map(|(name, _)| name));
                let names = names.copied().collect::<Vec<_>>().join(", ");
                return Err(format!("{name:?} is no fault; faults are {names}"));
            }
        }
        Ok(chaos)
    }
}

/// Decides which fault comes next.
#[derive(Debug)]
pub struct Faults {
    random: StdRng,
    chaos: Chaos,
    scripts: BTreeMap<String, VecDeque<CallFault>>,
    standing: BTreeMap<String, CallFault>,
    kills: BTreeMap<(String, u64), CallFault>,
    event_scripts: BTreeMap<String, VecDeque<EventFault>>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            // Not the world's stream of random numbers: a fault must not change the world's ids.
            random: StdRng::seed_from_u64(seed ^ 0xfa_017),
            chaos: Chaos::default(),
            scripts: BTreeMap::new(),
            standing: BTreeMap::new(),
            kills: BTreeMap::new(),
            event_scripts: BTreeMap::new(),
        }
    }

    /// Sets the faults by probability from now on, for the calls of functions and for all events.
    pub fn chaos(&mut self, chaos: Chaos) {
        self.chaos = chaos;
    }

    /// The next calls of `action` (`CompleteLifecycleAction`) meet these faults, one each.
    pub fn script(&mut self, action: &str, faults: impl IntoIterator<Item = CallFault>) {
        self.scripts.entry(action.to_owned()).or_default().extend(faults);
    }

    /// Every call of `action` is refused with `AccessDenied`.
    pub fn deny(&mut self, action: &str) {
        self.always(action, Some(CallFault::AccessDenied));
    }

    /// Every call of `action` from now on meets this fault, if it meets no other; `None` ends that.
    pub fn always(&mut self, action: &str, fault: Option<CallFault>) {
        match fault {
            Some(fault) => self.standing.insert(action.to_owned(), fault),
            None => self.standing.remove(action),
        };
    }

    /// Whether every call of `action` is refused with `AccessDenied`.
    pub(crate) fn is_denied(&self, action: &str) -> bool {
        self.standing.get(action) == Some(&CallFault::AccessDenied)
    }

    /// The `n`-th call (from 1) that `function` makes meets this fault.
    pub fn at_call(&mut self, function: &str, n: u64, fault: CallFault) {
        self.kills.insert((function.to_owned(), n), fault);
    }

    /// The next deliveries of events of this detail-type meet these faults, one each.
    pub fn script_events(&mut self, detail_type: &str, faults: impl IntoIterator<Item = EventFault>) {
        self.event_scripts.entry(detail_type.to_owned()).or_default().extend(faults);
    }

    /// The fault of a call. `nth` counts the calls of that function, from 1.
    pub(crate) fn of_call(&mut self, function: Option<&str>, nth: u64, action: &str) -> Option<CallFault> {
        if let Some(fault) = function.and_then(|function| self.kills.remove(&(function.to_owned(), nth))) {
            return Some(fault);
        }
        if let Some(fault) = self.scripts.get_mut(action).and_then(VecDeque::pop_front) {
            return Some(fault);
        }
        if let Some(fault) = self.standing.get(action) {
            return Some(*fault);
        }
        function?;
        draw(&mut self.random, &self.chaos.calls)
    }

    pub(crate) fn of_event(&mut self, detail_type: &str) -> Option<EventFault> {
        let scripted = self.event_scripts.get_mut(detail_type).and_then(VecDeque::pop_front);
        scripted.or_else(|| draw(&mut self.random, &self.chaos.events))
    }

    /// An id for something outside AWS's state: a run or a message.
    pub(crate) fn uuid(&mut self) -> String {
        uuid(&mut self.random)
    }

    /// A random factor between 0 and 1, for the duration of something.
    pub(crate) fn share(&mut self) -> f64 {
        self.random.random()
    }
}

fn draw<F: Copy>(random: &mut StdRng, probabilities: &BTreeMap<F, f64>) -> Option<F> {
    probabilities.iter().find(|(_, probability)| random.random_bool(**probability)).map(|(fault, _)| *fault)
}

impl CallFault {
    /// The error with which AWS answers instead of running the call. `None` for faults that are not answers.
    pub(crate) fn answer(self, caller: &str, service: &str, action: &str) -> Option<ApiError> {
        let denied = || {
            format!(
                "User: arn:aws:sts::{}:assumed-role/{caller}/{caller} is not authorized to perform: \
                 {service}:{action} because no identity-based policy allows the {service}:{action} action",
                ACCOUNT
            )
        };
        let with = |status, code, message: &str| ApiError { status, code, message: message.to_owned() };
        match (service, self) {
            (_, Self::Refused(code)) => {
                let text = REFUSALS.iter().find(|(known, _)| *known == code).map_or("", |(_, text)| text);
                Some(with(if code == "AuthFailure" { 401 } else { 400 }, code, text))
            }
            ("ec2", Self::Throttle) => Some(with(503, "RequestLimitExceeded", "Request limit exceeded.")),
            ("ec2", Self::ServerError) => Some(with(500, "InternalError", "An internal error has occurred")),
            ("ec2", Self::AccessDenied) => {
                let message = format!("You are not authorized to perform this operation. {}", denied());
                Some(with(403, "UnauthorizedOperation", &message))
            }
            ("lambda", Self::Throttle) => Some(with(429, "TooManyRequestsException", "Rate exceeded")),
            ("lambda", Self::ServerError) => {
                Some(with(500, "ServiceException", "The AWS Lambda service encountered an internal error."))
            }
            ("lambda", Self::AccessDenied) => Some(with(403, "AccessDeniedException", &denied())),
            ("tagging", Self::Throttle) => Some(ApiError::new("ThrottledException", "Rate exceeded")),
            ("ssm" | "ecs" | "application-autoscaling", Self::Throttle) => {
                Some(ApiError::new("ThrottlingException", "Rate exceeded"))
            }
            ("ssm", Self::ServerError) => Some(ApiError {
                status: 500,
                code: "InternalServerError",
                message: "An error occurred on the server side.".to_owned(),
            }),
            ("ecs", Self::ServerError) => {
                Some(with(500, "ServerException", "Service Unavailable. Please try again later."))
            }
            ("application-autoscaling" | "tagging", Self::ServerError) => {
                Some(with(500, "InternalServiceException", "The service encountered an internal error."))
            }
            ("ssm" | "ecs" | "tagging" | "application-autoscaling", Self::AccessDenied) => {
                Some(ApiError::new("AccessDeniedException", denied()))
            }
            ("application-autoscaling", Self::Contention) if !action.contains("Tag") => {
                Some(scalable_targets::concurrent_update())
            }
            (_, Self::Throttle) => Some(ApiError::throttling()),
            (_, Self::ServerError) => Some(ApiError {
                status: 500,
                code: "InternalFailure",
                message: "An internal error has occurred. Retry the request.".to_owned(),
            }),
            ("autoscaling", Self::Contention) => Some(ApiError {
                status: 500,
                code: "ResourceContention",
                message:
                    "You already have a pending update to an Auto Scaling resource (for example, a group, \
                          instance, or load balancer)."
                        .to_owned(),
            }),
            (_, Self::AccessDenied) => {
                Some(ApiError { status: 403, code: "AccessDenied", message: denied() })
            }
            _ => None,
        }
    }
}
