//! Decides what to do with one target: a pure function of the wanted state, the target, its service and their tags.
//!
//! `memory` has the capacity and the text that remembers it, `keep` the tags of operators.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use lambda_kit::Failure;
use lambda_kit::error::cut;
use serde::{Serialize, Serializer};

use crate::keep::{KEEP_ASLEEP_UNTIL, KEEP_AWAKE_UNTIL, Keep, Until};
pub use crate::memory::{Capacity, Found, MAX_TASKS, Memory};

/// Tag: what a stop found, as [`Memory`] spells it.
pub const REMEMBERED: &str = "lifecycle/remembered";
/// Tag: since when a service does not follow its target (RFC 3339).
pub const NOT_IN_EFFECT: &str = "lifecycle/not-in-effect";
/// Tag, with discovered services: the deployed function that put the target to sleep.
pub const FUNCTION: &str = "lifecycle/function";

/// A sleeping service woke with the configured capacity because no memory was there.
pub const MEMORY_MISSING: Failure = Failure::new("memory-missing");
/// A service does not follow its target.
pub const NOT_FOLLOWING: Failure = Failure::new("not-in-effect");
/// A tag is unreadable or unlikely.
pub const TAG_DOUBTFUL: Failure = Failure::new("tag-doubtful");

/// How long a service may take to follow its target. A deployment ends within this time, and a service that is not
/// back in its bounds by then needs somebody.
const EFFECT_TIMEOUT: TimeDelta = TimeDelta::minutes(30);

/// The wanted state of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Any capacity but a sleeping one.
    On,
    /// A sleeping capacity.
    Off,
}

impl Wanted {
    /// As the answer spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// The rules that apply to all targets of a run.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Whether the run converges. Then the tags of operators are stronger than `wanted`, and the effect counts.
    pub converge: bool,
    /// The capacity of a started target without a remembered capacity.
    pub capacity: Capacity,
    /// The capacity of a stopped target.
    pub sleep: Capacity,
    /// Whether stops remember the capacity and starts restore it.
    pub remember: bool,
    /// With discovered services, the deployed name of the function: stops write it into the tag [`FUNCTION`].
    pub function: Option<String>,
    /// The current time.
    pub now: DateTime<Utc>,
}

/// A target and its service, as the run saw them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The target's bounds. `None` means not registered.
    pub target: Option<Capacity>,
    /// Whether the target can carry tags. One that was registered before March 2023 may have no ARN, and so none.
    pub has_arn: bool,
    /// The target's tags.
    pub tags: Tags,
    /// The service.
    pub service: Service,
    /// Whether the configuration or the payload names the service in full.
    pub named: bool,
    /// Whether this function put the target to sleep and the service has lost the tag that names it.
    pub lost: bool,
}

/// The ECS service of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Service {
    /// The resource is no ECS service.
    #[default]
    NotEcs,
    /// ECS did not answer, or denied the question.
    Unseen,
    /// ECS has no active service of this name.
    Missing,
    /// The service.
    Active {
        /// Its desired count.
        count: i32,
        /// The operator's tags on the service.
        keep: Keep,
        /// Whether it carries the tag that names services.
        discovered: bool,
        /// Whether it runs one task on each instance, and so can't be scaled.
        daemon: bool,
    },
}

impl Service {
    /// The desired count, if it is known.
    pub fn count(&self) -> Option<i32> {
        match self {
            Self::Active { count, .. } => Some(*count),
            _ => None,
        }
    }
}

/// The tags of a target that decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags {
    /// The value of [`REMEMBERED`].
    pub remembered: Option<String>,
    /// The value of [`NOT_IN_EFFECT`].
    pub not_in_effect: Option<String>,
    /// The value of [`FUNCTION`].
    pub function: Option<String>,
    /// The value of `lifecycle/toggle`.
    pub toggle: Option<String>,
    /// The operator's tags.
    pub keep: Keep,
}

impl Tags {
    /// The memory, if there is a readable one.
    pub fn memory(&self) -> Option<Memory> {
        self.remembered.as_deref().and_then(Memory::parse)
    }
}

/// The result of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The target was off and is now on.
    Started,
    /// The target was on and is now off.
    Stopped,
    /// The target was already in the wanted state.
    Unchanged,
    /// The target was already in the wanted state, and its service was not: it was registered again.
    RegisteredAgain,
    /// The target should be off, but a tag keeps it awake.
    KeptAwake,
    /// The target should be on, but a tag keeps it asleep.
    KeptAsleep,
}

impl Verdict {
    /// All results.
    pub const ALL: [Self; 6] = [
        Self::Started,
        Self::Stopped,
        Self::Unchanged,
        Self::RegisteredAgain,
        Self::KeptAwake,
        Self::KeptAsleep,
    ];

    /// As the answer spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Unchanged => "unchanged",
            Self::RegisteredAgain => "registered-again",
            Self::KeptAwake => "kept-awake",
            Self::KeptAsleep => "kept-asleep",
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The calls for a target, in this order: write tags, register or restore, remove tags. A run that is killed between
/// two of them may leave an obsolete memory, but never loses one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The result of the target.
    pub verdict: Verdict,
    /// The tags to write. A target that does not exist yet is registered with them, in the same call.
    pub tags: Vec<(&'static str, String)>,
    /// The capacity to register.
    pub register: Option<Capacity>,
    /// The desired count to restore, before the target is deregistered.
    pub restore: Option<i32>,
    /// The tags to remove.
    pub forget: Vec<&'static str>,
    /// The reason, if it is not obvious.
    pub reason: Option<String>,
    /// What an operator should look at.
    pub failures: Vec<(Failure, String)>,
}

impl Plan {
    fn new(verdict: Verdict) -> Self {
        Self {
            verdict,
            tags: Vec::new(),
            register: None,
            restore: None,
            forget: Vec::new(),
            reason: None,
            failures: Vec::new(),
        }
    }

    fn because(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::new(verdict) }
    }

    fn doubt(&mut self, why: impl Into<String>) {
        self.failures.push((TAG_DOUBTFUL, why.into()));
    }
}

impl Rules {
    /// Whether the target is off. `None` if the service's count is not known and only it would tell.
    pub fn is_off(&self, seen: &Observed) -> Option<bool> {
        let Some(capacity) = seen.target else {
            return match seen.service {
                Service::NotEcs | Service::Missing => Some(true),
                _ => seen.service.count().map(|count| count == 0),
            };
        };
        let asleep = seen.tags.memory().map(|memory| memory.asleep);
        Some([Some(Capacity::OFF), Some(self.sleep), asleep].contains(&Some(capacity)))
    }

    /// Whether a target that is off without a memory may have been started by another run since, which removed the
    /// memory. Then it must be read again before a start.
    pub fn may_be_outrun(&self, wanted: Wanted, seen: &Observed) -> bool {
        let sleeps = seen.has_arn && self.is_off(seen) == Some(true);
        wanted == Wanted::On && self.remember && sleeps && seen.tags.remembered.is_none()
    }

    /// The plan for a target.
    ///
    /// # Errors
    /// Why the target can't be brought into this state.
    pub fn plan(&self, wanted: Wanted, seen: &Observed) -> Result<Plan, String> {
        let tagged = seen.tags.keep.is_set();
        let keep = match &seen.service {
            Service::Active { keep, .. } if !tagged => keep,
            _ => &seen.tags.keep,
        };
        let awake = keep.awake(self.now);
        let asleep = keep.asleep(self.now);

        // A stop and a start leave what a tag keeps, and a run that converges obeys the tag.
        let kept = match (wanted, &awake, &asleep) {
            (Wanted::Off, Some(awake), _) => Some((Wanted::On, Verdict::KeptAwake, awake)),
            (Wanted::On, None, Some(asleep)) => Some((Wanted::Off, Verdict::KeptAsleep, asleep)),
            _ => None,
        };
        let mut plan = match &kept {
            None => self.toward(wanted, seen)?,
            Some((instead, ..)) if self.converge => self.toward(*instead, seen)?,
            Some(_) => Plan::new(Verdict::Unchanged),
        };
        if let Some((instead, verdict, until)) = &kept {
            let is_so = self.is_off(seen).is_none_or(|off| off == (*instead == Wanted::Off));
            if plan.verdict == Verdict::Unchanged && is_so {
                plan.verdict = *verdict;
            }
            if is_so || self.converge {
                let reason = plan.reason.take().map(|reason| format!("; {reason}")).unwrap_or_default();
                plan.reason = Some(format!("{}{reason}", until.text));
            }
        }

        // Of a stop or a start only the tag that could have left it alone is looked at.
        let relevant = |until: &Option<Until>, of: Wanted| {
            until.as_ref().filter(|_| self.converge || wanted == of).and_then(|until| until.doubt.clone())
        };
        plan.failures.extend(
            [relevant(&awake, Wanted::Off), relevant(&asleep, Wanted::On)]
                .into_iter()
                .flatten()
                .map(|doubt| (TAG_DOUBTFUL, doubt)),
        );
        if let Some(text) = &seen.tags.remembered
            && self.remember
            && seen.tags.memory().is_none()
        {
            plan.doubt(unreadable_memory(text));
        }
        if seen.lost && plan.verdict == Verdict::Started {
            plan.doubt("this function put it to sleep, and the service has lost the tag that names it");
        }
        Ok(plan)
    }

    /// The plan for a target that should be in this state, whatever its operator's tags say.
    fn toward(&self, wanted: Wanted, seen: &Observed) -> Result<Plan, String> {
        let Some(capacity) = seen.target else {
            return self.without_target(wanted, seen);
        };
        let is_off = self.is_off(seen) == Some(true);
        let merged = seen.tags.memory().filter(|_| !is_off && self.remember);
        let merged = merged.and_then(|memory| memory.merged(capacity));
        match wanted {
            Wanted::On if is_off => Ok(self.start(capacity, seen)),
            Wanted::On => match merged {
                Some(Memory { found: Found::Bounds(found), .. }) => Ok(self.restored(
                    found,
                    seen,
                    "the remembered minimum, and the maximum that was registered meanwhile",
                )),
                _ => Ok(self.unchanged(wanted, capacity, seen)),
            },
            Wanted::Off if is_off => Ok(self.unchanged(wanted, capacity, seen)),
            Wanted::Off => self.stop(merged.map_or(Found::Bounds(capacity), |memory| memory.found), seen),
        }
    }

    fn without_target(&self, wanted: Wanted, seen: &Observed) -> Result<Plan, String> {
        match (wanted, &seen.service) {
            (_, Service::Missing) => Err("ECS has no active service of this name".to_owned()),
            (_, Service::Active { daemon: true, .. }) => {
                Err("it is a daemon service, which can't be scaled: it runs one task on each instance"
                    .to_owned())
            }
            (Wanted::Off, _) if !self.remember && seen.service != Service::NotEcs => Ok(Plan::because(
                Verdict::Unchanged,
                "it has no target, and its desired count is not remembered",
            )),
            (_, Service::Unseen) => Err("it has no target, and its desired count can't be read".to_owned()),
            (Wanted::On, Service::Active { count: 1.., .. }) => Ok(Plan::new(Verdict::Unchanged)),
            (Wanted::On, Service::Active { .. }) if !seen.named => {
                Ok(Plan::because(Verdict::Unchanged, "nothing was remembered, so its owner keeps it at 0"))
            }
            (Wanted::On, service) => {
                let reason = "the configured capacity: the target was not registered";
                Ok(match self.remember && *service != Service::NotEcs {
                    true => self.unremembered(seen, reason),
                    false => self.started(self.capacity, seen, reason),
                })
            }
            (Wanted::Off, Service::Active { count: 1.., .. } | Service::NotEcs) => {
                let found = seen.service.count().map_or(Found::Bounds(self.capacity), Found::Desired);
                let memory = Memory { found, asleep: self.sleep };
                Ok(Plan {
                    tags: self.tags(Some(memory).filter(|_| self.remember), &Tags::default()),
                    register: Some(self.sleep),
                    ..Plan::because(Verdict::Stopped, "the target was not registered")
                })
            }
            (Wanted::Off, Service::Active { .. }) => Ok(Plan::new(Verdict::Unchanged)),
        }
    }

    /// The plan for a target that is off.
    fn start(&self, capacity: Capacity, seen: &Observed) -> Plan {
        let text = seen.tags.remembered.as_deref().filter(|_| self.remember);
        match (text.and_then(Memory::parse), text) {
            (Some(Memory { found: Found::Desired(count), asleep }), _) if asleep == capacity => {
                let mut plan = Plan::because(Verdict::Started, "the desired count that the stop found");
                plan.restore = Some(Self::capped(count, &mut plan.failures));
                plan
            }
            // Somebody has registered the target meanwhile, so it stays.
            (Some(Memory { found: Found::Desired(count), .. }), _) => {
                let found = Capacity { min: count, max: count.max(self.capacity.max) };
                self.restored(found, seen, "the desired count that the stop found is the minimum")
            }
            (Some(Memory { found: Found::Bounds(found), .. }), _) => {
                let idle = if found.min == 0 { "; with a minimum of 0 no task starts by itself" } else { "" };
                self.restored(found, seen, format!("the capacity that the stop found{idle}"))
            }
            (None, Some(unreadable)) => {
                let why = unreadable_memory(unreadable);
                self.started(self.capacity, seen, format!("the configured capacity: {why}"))
            }
            (None, None) if self.remember && seen.has_arn => {
                self.unremembered(seen, "the configured capacity: nothing was remembered")
            }
            (None, None) => self.started(self.capacity, seen, "the configured capacity"),
        }
    }

    /// A start with this remembered capacity.
    fn restored(&self, found: Capacity, seen: &Observed, reason: impl Into<String>) -> Plan {
        let mut failures = Vec::new();
        let capacity = Capacity { min: Self::capped(found.min, &mut failures), ..found };
        Plan { failures, ..self.started(capacity, seen, reason) }
    }

    fn started(&self, capacity: Capacity, seen: &Observed, reason: impl Into<String>) -> Plan {
        let memory = seen.tags.remembered.as_ref().map(|_| REMEMBERED);
        let function = seen.tags.function.as_ref().map(|_| FUNCTION);
        Plan {
            register: Some(capacity),
            forget: memory.into_iter().chain(function).chain(self.outdated(seen)).collect(),
            ..Plan::because(Verdict::Started, reason)
        }
    }

    /// A start without the memory that should be there.
    fn unremembered(&self, seen: &Observed, reason: &str) -> Plan {
        let mut plan = self.started(self.capacity, seen, reason);
        let why = format!("woken as {}, the configured capacity: nothing was remembered", self.capacity);
        plan.failures.push((MEMORY_MISSING, why));
        plan
    }

    /// The plan for a target that is on.
    fn stop(&self, found: Found, seen: &Observed) -> Result<Plan, String> {
        let lost = seen.target != Some(self.capacity);
        if self.remember && !seen.has_arn && lost {
            return Err(format!(
                "not stopped, because it would not come back as it is: it was registered before targets had ARNs and can \
                 carry no tags, so {} would be lost; deregister the target and register it again",
                seen.target.map(|capacity| capacity.to_string()).unwrap_or_default()
            ));
        }
        let memory = Memory { found, asleep: self.sleep };
        let tags = match seen.has_arn {
            true => self.tags(Some(memory).filter(|_| self.remember), &seen.tags),
            false => Vec::new(),
        };
        let memory = seen.tags.remembered.as_ref().filter(|_| !self.remember).map(|_| REMEMBERED);
        Ok(Plan {
            tags,
            register: Some(self.sleep),
            forget: memory.into_iter().chain(self.outdated(seen)).collect(),
            ..Plan::new(Verdict::Stopped)
        })
    }

    /// The tags that a stop writes, without those that are there.
    fn tags(&self, memory: Option<Memory>, there: &Tags) -> Vec<(&'static str, String)> {
        let memory = memory.filter(|memory| there.memory() != Some(*memory));
        let function = self.function.as_ref().filter(|name| there.function.as_ref() != Some(name));
        let memory = memory.map(|memory| (REMEMBERED, memory.to_string()));
        memory.into_iter().chain(function.map(|name| (FUNCTION, name.clone()))).collect()
    }

    /// The plan for a target that is in the wanted state. A run that converges also looks at the service.
    fn unchanged(&self, wanted: Wanted, capacity: Capacity, seen: &Observed) -> Plan {
        let mut plan = Plan::new(Verdict::Unchanged);
        let Some(count) = seen.service.count().filter(|_| self.converge) else {
            return plan;
        };
        let aside = match wanted {
            Wanted::Off => (count > capacity.max).then_some("above the maximum"),
            Wanted::On => (count < capacity.min).then_some("below the minimum"),
        };
        let Some(aside) = aside else {
            plan.forget = seen.tags.not_in_effect.as_ref().map(|_| NOT_IN_EFFECT).into_iter().collect();
            return plan;
        };
        plan.verdict = Verdict::RegisteredAgain;
        plan.register = Some(capacity);
        let why = format!("the service is at {count} tasks, {aside} of {capacity}");
        let since =
            seen.tags.not_in_effect.as_deref().and_then(|since| DateTime::parse_from_rfc3339(since).ok());
        match since.filter(|since| *since <= self.now) {
            Some(since) if self.now - since.to_utc() >= EFFECT_TIMEOUT => {
                let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
                plan.failures.push((NOT_FOLLOWING, format!("{why}, since {since}")));
            }
            Some(_) => {}
            None if seen.has_arn => {
                plan.tags.push((NOT_IN_EFFECT, self.now.to_rfc3339_opts(SecondsFormat::Secs, true)));
            }
            None => {}
        }
        plan.reason = Some(why);
        plan
    }

    /// A remembered count, at most ECS's quota.
    fn capped(count: i32, failures: &mut Vec<(Failure, String)>) -> i32 {
        if count > MAX_TASKS {
            let why = format!("{REMEMBERED} has {count} tasks, and ECS allows {MAX_TASKS} in a service");
            failures.push((TAG_DOUBTFUL, why));
        }
        count.min(MAX_TASKS)
    }

    /// The tags that a change makes obsolete: those of the operator whose time is over, and that of the effect.
    fn outdated(&self, seen: &Observed) -> Vec<&'static str> {
        let keep = &seen.tags.keep;
        let until = [(&keep.awake_until, KEEP_AWAKE_UNTIL), (&keep.asleep_until, KEEP_ASLEEP_UNTIL)];
        let past = |(until, key): (&Option<String>, &'static str)| {
            until.as_ref().filter(|until| Keep::is_past(until, self.now)).map(|_| key)
        };
        let effect = seen.tags.not_in_effect.as_ref().map(|_| NOT_IN_EFFECT);
        until.into_iter().filter_map(past).chain(effect).collect()
    }
}

fn unreadable_memory(text: &str) -> String {
    format!("{REMEMBERED}={:?} is not a remembered capacity", cut(text))
}
