//! ecs-scheduler: scales ECS services to zero outside working hours, and back to their own size.
//!
//! It registers a service's scalable target as 0/0, and remembers the bounds from before in a tag of the target. A run
//! handles all its targets at the same time, and a failed target does not stop the others.
//!
//! This module is a run from the payload to the answer. `order` reads the payload, `scope` finds the services, `hours`
//! reads the clock, `plan` decides about one target, `targets` and `services` make the AWS calls.
//!
//! ```
//! use ecs_scheduler::hours::{self, WorkingHours};
//!
//! let hours = WorkingHours {
//!     windows: hours::windows("MON-FRI 09:00-18:00")?,
//!     zone: hours::zone("Asia/Seoul")?,
//!     holidays: hours::holidays("2026-12-25")?,
//! };
//! // 08:00 UTC is 17:00 in Seoul.
//! assert!(hours.at("2026-12-24T08:00:00Z".parse().unwrap()).0);
//! assert!(!hours.at("2026-12-25T08:00:00Z".parse().unwrap()).0);
//! # Ok::<(), String>(())
//! ```

pub mod action;
mod call;
pub mod config;
pub mod hours;
pub mod keep;
pub mod memory;
pub mod order;
pub mod plan;
mod scope;
mod services;
mod targets;
pub mod toggle;

use std::collections::BTreeMap;
use std::fmt;
use std::slice;
use std::time::Duration;

use aws_types::SdkConfig;
use futures::StreamExt;
use futures::stream;
use lambda_kit::runtime::with_timeouts_and_retries;
use lambda_kit::{Answer, Error, Failure, Function, Invocation, Outcome, Output, Payload, Received, Warning};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tracing::{debug, warn};

pub use config::{Config, NAME};

use action::Action;
use call::MAX_CONCURRENT_TARGETS;
use order::Order;
use plan::{Capacity, Found, Observed, Plan, Rules, Service, Tags, Verdict, Wanted};
use scope::{Item, SIDE_SHARE, Scope};
use services::Services;
use targets::{Registered, Targets};
use toggle::TOGGLE;

/// Minimum time for each target: a call that hangs and a second one. After all targets, those with transient errors
/// share the rest of the run.
const MIN_TARGET_TIME: Duration = Duration::from_secs(2);

/// Every target is in its wanted state. The word is part of the contract.
const SCHEDULED: Outcome = Outcome::completing("scheduled");

/// Bytes of an error's message for the reasons of failed targets. The rest of its 4 KB is for names alone.
const MAX_REASONS_BYTES: usize = 2_500;

/// Some targets failed. All others were handled.
#[derive(Debug, thiserror::Error)]
pub struct TargetsFailed {
    /// The number of all targets.
    pub all: usize,
    /// The failures: the target's name, a colon and the reason.
    pub failed: Vec<String>,
}

impl fmt::Display for TargetsFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { all, failed } = self;
        write!(f, "{} of {all} targets failed", failed.len())?;
        let (mut bytes, mut separator) = (0, ": ");
        for failure in failed {
            bytes += failure.len();
            let name = failure.split_once(": ").map_or(failure.as_str(), |(name, _)| name);
            let shown = if bytes > MAX_REASONS_BYTES { name } else { failure };
            write!(f, "{separator}{shown}")?;
            separator = "; ";
        }
        Ok(())
    }
}

impl From<TargetsFailed> for Error {
    fn from(error: TargetsFailed) -> Self {
        own(error.to_string())
    }
}

fn own(message: String) -> Error {
    Error::Own { name: "TargetsFailed", message }
}

/// The function's state, which lives as long as the process.
#[derive(Debug)]
pub struct Context {
    config: Config,
    targets: Targets,
    services: Services,
}

/// The work on one target.
#[derive(Debug, Clone)]
struct Task {
    resource: String,
    registered: Option<Registered>,
    service: Service,
    /// The tags, if they are read already.
    tags: Option<Tags>,
    named: bool,
    lost: bool,
    wanted: Wanted,
}

/// The result of one target, for the answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TargetResult {
    resource_id: String,
    result: Verdict,
    /// `null` if the target was not registered.
    before: Option<Capacity>,
    /// `null` if the target is not registered any more.
    after: Option<Capacity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
    #[serde(skip)]
    failures: Vec<(Failure, String)>,
}

impl Function for Context {
    const NAME: &'static str = NAME;
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;
    type Message = Order;

    fn new(config: Config, sdk: &SdkConfig, _: Output) -> Self {
        for gap in config.hours.iter().flat_map(|hours| hours::gaps(&hours.windows)) {
            warn!("{}: {}", config::WORKING_HOURS, hours::gap_text(&gap));
        }
        let sdk = with_timeouts_and_retries(sdk);
        Self { targets: Targets::new(&sdk, &config), services: Services::new(&sdk), config }
    }

    fn read(&self, payload: Value) -> Result<Payload<Order>, Error> {
        Ok(Payload::One(Received::new(payload, |payload| Order::read(payload, &self.config))))
    }

    async fn handle(&self, order: Order, invocation: &Invocation) -> Result<Answer, Error> {
        // Accept.
        debug!("accepted: {order}");
        let Scope { items, mut failed, tagged } =
            Scope::of(&order, &self.config, &self.services, invocation).await?;
        let skipped = failed.len();
        let rules = self.rules(&order, invocation);

        // Observe: the targets, and the services. Without the services, targets are handled all the same.
        let everywhere = self.config.discover.is_some() && order.resources.is_none();
        let resources: Vec<String> = items.iter().map(|item| item.resource.clone()).collect();
        let registered = match everywhere {
            true => self.targets.all(invocation).await?,
            false => self.targets.find(&resources, invocation).await?,
        };
        let (mut seen, mut unseen) = self.describe(&resources, invocation).await;
        let mut tasks = Vec::new();
        for Item { resource, named, hours } in items {
            let service = seen.remove(&resource).unwrap_or_default();
            // Between the list and the look, its owner deleted it.
            if !named && service == Service::Missing {
                continue;
            }
            let on = hours.is_none_or(|hours| hours.at(invocation.now()).0);
            tasks.push(Task {
                registered: registered.get(&resource).cloned(),
                wanted: if on { Wanted::On } else { Wanted::Off },
                resource,
                service,
                tags: None,
                named,
                lost: false,
            });
        }

        // Decide: the wanted state of each.
        let (wanted, reason) = self.wanted(&order, &mut tasks, &rules, &unseen, invocation).await?;
        for task in &mut tasks {
            task.wanted = wanted.unwrap_or(task.wanted);
        }
        if everywhere && wanted != Some(Wanted::Off) {
            let others: Vec<_> =
                registered.into_iter().filter(|(resource, _)| !tagged.contains(resource)).collect();
            let (lost, errors, error) = self.lost(others, &rules, invocation).await;
            tasks.extend(lost);
            failed.extend(errors);
            unseen = unseen.or(error);
        }

        // Carry out. A toggle changes its first target last: where no target can keep the direction in a tag, a
        // retry after a kill looks at the first target and has the same direction.
        let all = tasks.len() + failed.len();
        let (first, others) = tasks.split_at(usize::from(order.action == Action::Toggle).min(tasks.len()));
        let others = self.handle_all(others, &rules, &order, invocation).await;
        let mut handled = self.handle_all(first, &rules, &order, invocation).await;
        handled.extend(others);

        // Report.
        let mut done = Vec::new();
        for result in handled {
            match result {
                Ok(result) => done.push(result),
                Err(error) => failed.push(error),
            }
        }
        // First those that were handled, in their order.
        failed.rotate_left(skipped);
        let warnings = done.iter().flat_map(warnings).collect();
        let error = match (failed.is_empty(), unseen) {
            (true, None) => None,
            (true, Some(unseen)) => Some(unseen),
            (false, None) => Some(TargetsFailed { all, failed }.into()),
            (false, Some(unseen)) => {
                Some(own(format!("{}; {}", TargetsFailed { all, failed }, unseen.chain())))
            }
        };
        if let Some(error) = error {
            return Err(Error::Partial { failed: Box::new(error), warnings });
        }
        let mut answer = Answer::new(SCHEDULED).with("action", order.action.as_str());
        if let Some(wanted) = wanted {
            answer = answer.with("wanted", wanted.as_str());
        }
        if order.dry_run {
            answer = answer.with("dryRun", true);
        }
        let answer = answer.with("reason", format!("{reason}: {}", summary(&done)));
        // A run without work, every five minutes, has a short line.
        let changed: Vec<_> = done.iter().filter(|target| target.result != Verdict::Unchanged).collect();
        let answer = answer.with("targets", json!(done)).logged("targets", json!(changed));
        Ok(answer.failures(warnings))
    }
}

impl Context {
    fn rules(&self, order: &Order, invocation: &Invocation) -> Rules {
        Rules {
            converge: order.action == Action::Converge,
            capacity: self.config.capacity,
            sleep: self.config.sleep,
            remember: self.config.remember,
            function: self.config.discover.as_ref().map(|_| self.config.function.clone()),
            now: invocation.now(),
        }
    }

    /// The services of these resources, and the error of the first call that failed. It has a part of the run's time
    /// only, because the targets can be handled without.
    async fn describe(
        &self,
        resources: &[String],
        invocation: &Invocation,
    ) -> (BTreeMap<String, Service>, Option<Error>) {
        if !self.config.is_ecs() {
            return Default::default();
        }
        let limited = invocation.at_most(invocation.time_left() / SIDE_SHARE);
        self.services.describe(resources, self.config.discover.as_deref(), &limited).await
    }

    /// The wanted state of all targets, and the reason. `None` if each has its own.
    async fn wanted(
        &self,
        order: &Order,
        tasks: &mut [Task],
        rules: &Rules,
        unseen: &Option<Error>,
        invocation: &Invocation,
    ) -> Result<(Option<Wanted>, String), Error> {
        match (order.action, &self.config.hours) {
            (Action::Start, _) => Ok((Some(Wanted::On), "asked to start".to_owned())),
            (Action::Stop, _) => Ok((Some(Wanted::Off), "asked to stop".to_owned())),
            (Action::Toggle, _) => {
                let (wanted, why) = self.direction(order, tasks, rules, unseen, invocation).await?;
                Ok((Some(wanted), why))
            }
            (Action::Converge, Some(hours)) if self.config.discover.is_none() => {
                let (on, why) = hours.at(invocation.now());
                Ok((Some(if on { Wanted::On } else { Wanted::Off }), why))
            }
            (Action::Converge, _) => Ok((None, "by the hours in their tags".to_owned())),
        }
    }

    /// The direction of a toggle: the opposite of the first target's state. A repeat of the same run finds the
    /// direction of the first attempt in a tag, which is written before anything else changes.
    async fn direction(
        &self,
        order: &Order,
        tasks: &mut [Task],
        rules: &Rules,
        unseen: &Option<Error>,
        invocation: &Invocation,
    ) -> Result<(Wanted, String), Error> {
        let arns = tasks.iter().map(|task| task.arn().map(str::to_owned)).collect();
        let mut carrier = None;
        for (index, read) in self.all_tags(arns, invocation).await.into_iter().enumerate() {
            let read = read.transpose();
            if let Ok(tags) = &read {
                tasks[index].tags = tags.clone();
            }
            // A stop made this target, and the start removes it.
            let made =
                |tags: &Tags| tags.memory().is_some_and(|memory| matches!(memory.found, Found::Desired(_)));
            let carries = match &read {
                Ok(Some(tags)) => !made(tags),
                Ok(None) => false,
                Err(_) => true,
            };
            if carries && carrier.is_none() {
                carrier = Some(read.map(|_| index));
            }
        }
        let id = order.event.as_deref().or(invocation.request_id());
        let earlier = |id| {
            let toggles = tasks.iter().filter_map(|task| task.tags.as_ref()?.toggle.as_deref());
            toggles.filter_map(|tag| toggle::direction(tag, id)).next()
        };
        if let Some(wanted) = id.and_then(earlier) {
            return Ok((wanted, format!("a repeat of a toggle that goes {}", wanted.as_str())));
        }
        let carrier = carrier.transpose()?;
        let Some(first) = tasks.first() else {
            return Ok((Wanted::On, "there is nothing to toggle".to_owned()));
        };
        let seen = first.seen(first.tags.clone().unwrap_or_default());
        let name = &first.resource;
        let (wanted, why) = match (rules.is_off(&seen), seen.target) {
            (Some(true), _) => (Wanted::On, format!("{name} was off")),
            (Some(false), Some(capacity)) => (Wanted::Off, format!("{name} was on, at {capacity}")),
            (Some(false), None) => (Wanted::Off, format!("{name} was on")),
            (None, _) => {
                let why = unseen.as_ref().map(Error::chain).unwrap_or_default();
                return Err(own(format!(
                    "{name} decides the direction of the toggle, and can't be read: {why}"
                )));
            }
        };
        if let (Some(id), Some(arn), false) =
            (id, carrier.and_then(|index| tasks[index].arn()), order.dry_run)
        {
            self.targets.tag(arn, &[(TOGGLE, toggle::value(id, wanted))], invocation).await?;
        }
        Ok((wanted, why))
    }

    /// The tags of these targets: `None` for one without an ARN, and one that is gone.
    async fn all_tags(
        &self,
        arns: Vec<Option<String>>,
        invocation: &Invocation,
    ) -> Vec<Option<Result<Tags, Error>>> {
        let read = |arn: Option<String>| async move {
            match arn {
                Some(arn) => self.targets.tags(&arn, invocation).await.transpose(),
                None => None,
            }
        };
        let reads: Vec<_> = arns.into_iter().map(read).collect();
        stream::iter(reads).buffered(MAX_CONCURRENT_TARGETS).collect().await
    }

    /// The targets that this function put to sleep and whose service exists but has lost the tag that names it. Also
    /// what could not be read, and the error of ECS.
    async fn lost(
        &self,
        others: Vec<(String, Registered)>,
        rules: &Rules,
        invocation: &Invocation,
    ) -> (Vec<Task>, Vec<String>, Option<Error>) {
        let limited = invocation.at_most(invocation.time_left() / SIDE_SHARE);
        // What sleeps has a sleeping minimum, also if only its maximum was registered since.
        let may_sleep = |found: &Registered| [0, rules.sleep.min].contains(&found.capacity.min);
        let others: Vec<_> = others.into_iter().filter(|(_, found)| may_sleep(found)).collect();
        let arns = others.iter().map(|(_, found)| found.arn.clone()).collect();
        let (mut asleep, mut errors) = (Vec::new(), Vec::new());
        for ((resource, registered), tags) in others.into_iter().zip(self.all_tags(arns, &limited).await) {
            match tags {
                Some(Ok(tags)) if tags.function == rules.function => {
                    asleep.push((resource, registered, tags))
                }
                Some(Err(error)) => errors.push(format!("{resource}: {}", error.chain())),
                _ => {}
            }
        }
        if asleep.is_empty() {
            return (Vec::new(), errors, None);
        }
        let resources: Vec<_> = asleep.iter().map(|(resource, ..)| resource.clone()).collect();
        let (mut seen, error) = self.describe(&resources, invocation).await;
        let lost = asleep.into_iter().filter_map(|(resource, registered, tags)| {
            let service = seen.remove(&resource)?;
            matches!(service, Service::Active { discovered: false, .. }).then(|| Task {
                resource,
                registered: Some(registered),
                service,
                tags: Some(tags),
                named: false,
                lost: true,
                wanted: Wanted::On,
            })
        });
        (lost.collect(), errors, error)
    }

    /// Handles these targets concurrently and returns the results in order. Each target has a share of the run, so
    /// that a few stuck targets don't delay the others. Then the targets with transient errors share the rest of the
    /// run.
    async fn handle_all(
        &self,
        tasks: &[Task],
        rules: &Rules,
        order: &Order,
        invocation: &Invocation,
    ) -> Vec<Result<TargetResult, String>> {
        let share = |rounds: usize| {
            let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
            (invocation.time_left() / rounds).max(MIN_TARGET_TIME)
        };
        let rounds = tasks.len().div_ceil(MAX_CONCURRENT_TARGETS);
        let mut handled = self.tend_each(tasks, rules, order, invocation, share(rounds + 1)).await;

        let passing = |result: &Result<_, Error>| result.as_ref().is_err_and(Error::is_transient);
        let again: Vec<usize> = (0..handled.len()).filter(|index| passing(&handled[*index])).collect();
        let failed: Vec<Task> = again.iter().map(|index| tasks[*index].clone()).collect();
        if !failed.is_empty() {
            let rounds = failed.len().div_ceil(MAX_CONCURRENT_TARGETS);
            let retried = self.tend_each(&failed, rules, order, invocation, share(rounds)).await;
            // A second transient failure, perhaps for lack of time, adds nothing to the first.
            let telling = again.into_iter().zip(retried).filter(|(_, result)| !passing(result));
            for (index, result) in telling {
                handled[index] = result;
            }
        }
        let named = |(task, result): (&Task, Result<_, Error>)| {
            result.map_err(|error| format!("{}: {}", task.resource, error.chain()))
        };
        tasks.iter().zip(handled).map(named).collect()
    }

    async fn tend_each(
        &self,
        tasks: &[Task],
        rules: &Rules,
        order: &Order,
        invocation: &Invocation,
        share: Duration,
    ) -> Vec<Result<TargetResult, Error>> {
        let tend = |(index, task): (usize, &Task)| {
            let task = task.clone();
            async move {
                let limited = invocation.at_most(share);
                (index, invocation.guard(self.tend(task, rules, order, &limited)).await)
            }
        };
        let work: Vec<_> = tasks.iter().enumerate().map(tend).collect();
        let mut handled: Vec<_> = stream::iter(work).buffer_unordered(MAX_CONCURRENT_TARGETS).collect().await;
        handled.sort_by_key(|(index, _)| *index);
        handled.into_iter().map(|(_, result)| result).collect()
    }

    async fn tend(
        &self,
        mut task: Task,
        rules: &Rules,
        order: &Order,
        invocation: &Invocation,
    ) -> Result<TargetResult, Error> {
        let mut seen = self.observe(&mut task, invocation).await?;
        if rules.may_be_outrun(task.wanted, &seen) {
            self.look_again(&mut task, invocation).await?;
            seen = task.seen(seen.tags);
        }
        let mut plan = rules.plan(task.wanted, &seen).map_err(own)?;
        match order.dry_run {
            true => debug!(resource.id = task.resource, "{}: a dry run, so not changed", task.resource),
            false => {
                let done = self.carry_out(&plan, &task, invocation).await;
                if let Err(error) = done {
                    // Another run may have registered the target meanwhile. Its tags tell what to do now.
                    if task.registered.is_some() {
                        return Err(error);
                    }
                    self.look_again(&mut task, invocation).await?;
                    if task.registered.is_none() {
                        return Err(error);
                    }
                    seen = self.observe(&mut task, invocation).await?;
                    plan = rules.plan(task.wanted, &seen).map_err(own)?;
                    self.carry_out(&plan, &task, invocation).await?;
                }
            }
        }
        Ok(TargetResult {
            resource_id: task.resource,
            result: plan.verdict,
            before: seen.target,
            after: plan.register.or(seen.target).filter(|_| plan.restore.is_none()),
            reason: plan.reason,
            failure: plan.failures.first().map(|(failure, _)| failure.as_str()),
            failures: plan.failures,
        })
    }

    /// The task's target with its tags. If the target is gone, it is looked at again.
    async fn observe(&self, task: &mut Task, invocation: &Invocation) -> Result<Observed, Error> {
        if let Some(tags) = task.tags.take() {
            return Ok(task.seen(tags));
        }
        let Some(arn) = task.arn() else {
            return Ok(task.seen(Tags::default()));
        };
        if let Some(tags) = self.targets.tags(arn, invocation).await? {
            return Ok(task.seen(tags));
        }
        self.look_again(task, invocation).await?;
        let tags = match task.arn() {
            Some(arn) => self.targets.tags(arn, invocation).await?,
            None => None,
        };
        Ok(task.seen(tags.unwrap_or_default()))
    }

    /// Reads the target and its service again.
    async fn look_again(&self, task: &mut Task, invocation: &Invocation) -> Result<(), Error> {
        let resource = slice::from_ref(&task.resource);
        let registered = self.targets.find(resource, invocation).await?.remove(&task.resource);
        let (mut services, _) = self.describe(resource, invocation).await;
        task.service = services.remove(&task.resource).unwrap_or_default();
        task.registered = registered;
        Ok(())
    }

    /// Carries out the plan and stops at the first call that fails.
    async fn carry_out(&self, plan: &Plan, task: &Task, invocation: &Invocation) -> Result<(), Error> {
        let resource = &task.resource;
        let is_new = task.registered.is_none();
        // Only targets with an ARN have a plan for their tags.
        let arn = task.arn().unwrap_or_default();
        if !plan.tags.is_empty() && !is_new {
            self.targets.tag(arn, &plan.tags, invocation).await?;
        }
        if let Some(capacity) = plan.register {
            let tags = if is_new { plan.tags.as_slice() } else { &[] };
            self.targets.register(resource, capacity, tags, invocation).await?;
        }
        if let Some(count) = plan.restore {
            // A count above the remembered one is the operator's.
            if task.service.count().is_none_or(|now| now < count) {
                self.services.set_count(resource, count, invocation).await?;
            }
            self.targets.deregister(resource, invocation).await?;
        }
        if !plan.forget.is_empty() && !is_new {
            self.targets.untag(arn, &plan.forget, invocation).await?;
        }
        Ok(())
    }
}

impl Task {
    fn arn(&self) -> Option<&str> {
        self.registered.as_ref()?.arn.as_deref()
    }

    fn seen(&self, tags: Tags) -> Observed {
        Observed {
            target: self.registered.as_ref().map(|registered| registered.capacity),
            has_arn: self.arn().is_some(),
            tags,
            service: self.service.clone(),
            named: self.named,
            lost: self.lost,
        }
    }
}

/// The failures of a target, as the run tells them.
fn warnings(result: &TargetResult) -> impl Iterator<Item = Warning> {
    let resource = &result.resource_id;
    result.failures.iter().map(move |(failure, why)| Warning {
        failure: *failure,
        text: format!("{resource}: {why}"),
        about: Map::from_iter([("resourceId".to_owned(), resource.as_str().into())]),
    })
}

/// The number of targets per result: `2 stopped, 1 unchanged`.
fn summary(done: &[TargetResult]) -> String {
    let count = |verdict: &Verdict| {
        let count = done.iter().filter(|target| target.result == *verdict).count();
        (count > 0).then(|| format!("{count} {}", verdict.as_str()))
    };
    Verdict::ALL.iter().filter_map(count).collect::<Vec<_>>().join(", ")
}
