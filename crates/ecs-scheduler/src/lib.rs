//! ecs-scheduler: scales ECS services to zero outside working hours, and back to their own size.
//!
//! It registers a service's scalable target as 0/0, and remembers the bounds from before in a tag of the target. A run handles
//! all its targets at the same time, and a failed target does not stop the others.
//!
//! This module is a run from the payload to the answer. `order` reads the payload, `hours` the clock, `plan` decides about one
//! target, `targets` makes the AWS calls.
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
pub mod config;
pub mod hours;
pub mod order;
pub mod plan;
mod targets;

use std::fmt;
use std::slice;
use std::time::Duration;

use aws_types::SdkConfig;
use futures::StreamExt;
use futures::stream;
use lambda_kit::calls::CountCalls;
use lambda_kit::runtime::with_timeouts_and_retries;
use lambda_kit::{Answer, Error, Function, Invocation, Outcome, Output, Payload, Received};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::{debug, warn};

pub use config::{Config, NAME};

use action::Action;
use order::Order;
use plan::{Capacity, Rules, Tags, Verdict, Wanted};
use targets::{Target, Targets};

/// Minimum time for each target: a call that hangs and a second one. After all targets, those with transient errors
/// share the rest of the run.
const MIN_TARGET_TIME: Duration = Duration::from_secs(2);

/// Maximum of targets that are handled concurrently, each with one call at a time. AWS publishes no rate for these
/// calls, and public reports show throttles at a handful of concurrent calls. More would turn into retries, fewer
/// would take longer.
const MAX_CONCURRENT_TARGETS: usize = 5;

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
        Self::Own { name: "TargetsFailed", message: error.to_string() }
    }
}

/// The function's state, which lives as long as the process.
#[derive(Debug)]
pub struct Context {
    config: Config,
    targets: Targets,
}

/// The result of one target, for the answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TargetResult {
    resource_id: String,
    result: Verdict,
    /// `null` if the target was not registered.
    before: Option<Capacity>,
    after: Option<Capacity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Function for Context {
    const NAME: &'static str = NAME;
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;
    type Message = Order;

    fn new(config: Config, sdk: &SdkConfig, _: Output) -> Self {
        let settings = aws_sdk_applicationautoscaling::config::Builder::from(&with_timeouts_and_retries(sdk));
        let client =
            aws_sdk_applicationautoscaling::Client::from_conf(settings.interceptor(CountCalls).build());
        Self { targets: Targets::new(client, &config), config }
    }

    fn read(&self, payload: Value) -> Result<Payload<Order>, Error> {
        Ok(Payload::One(Received::new(payload, |payload| Order::read(payload, &self.config))))
    }

    async fn handle(&self, order: Order, invocation: &Invocation) -> Result<Answer, Error> {
        // Accept.
        debug!("accepted: {order}");

        // Observe: the targets. Decide: their wanted state.
        let targets = self.targets.find(&order.resources, invocation).await?;
        let (wanted, reason) = self.wanted(&order, &targets, invocation);
        let rules = Rules {
            wanted,
            capacity: self.config.capacity,
            remember: self.config.remember,
            now: invocation.now(),
        };

        // Carry out. A toggle changes its first target last, because that target decides the direction. So a retry
        // after a kill has the same direction.
        let (first, others) = targets.split_at(usize::from(order.action == Action::Toggle));
        let others = self.handle_all(others, &rules, &order, invocation).await;
        let mut handled = self.handle_all(first, &rules, &order, invocation).await;
        handled.extend(others);

        // Report.
        let all = handled.len();
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for result in handled {
            match result {
                Ok(result) => done.push(result),
                Err(error) => failed.push(error),
            }
        }
        if !failed.is_empty() {
            return Err(TargetsFailed { all, failed }.into());
        }
        let mut answer =
            Answer::new(SCHEDULED).with("action", order.action.as_str()).with("wanted", wanted.as_str());
        if order.dry_run {
            answer = answer.with("dryRun", true);
        }
        Ok(answer.with("reason", format!("{reason}: {}", summary(&done))).with("targets", json!(done)))
    }
}

impl Context {
    /// The wanted state of the targets, and the reason.
    fn wanted(&self, order: &Order, targets: &[Target], invocation: &Invocation) -> (Wanted, String) {
        match (order.action, &self.config.hours) {
            (Action::Start, _) => (Wanted::On, "asked to start".to_owned()),
            (Action::Stop, _) => (Wanted::Off, "asked to stop".to_owned()),
            (Action::Converge, Some(hours)) => {
                let (on, why) = hours.at(invocation.now());
                (if on { Wanted::On } else { Wanted::Off }, why)
            }
            // An order to converge always has hours.
            (Action::Toggle | Action::Converge, _) => {
                let first = targets.first();
                let name = first.map(|target| target.resource.as_str()).unwrap_or_default();
                match first.and_then(Target::capacity).filter(|capacity| *capacity != Capacity::OFF) {
                    Some(capacity) => (Wanted::Off, format!("{name} was on, at {capacity}")),
                    None => (Wanted::On, format!("{name} was off")),
                }
            }
        }
    }

    /// Handles these targets concurrently and returns the results in order. Each target has a share of the run, so
    /// that a few stuck targets don't delay the others. Then the targets with transient errors share the rest of the
    /// run.
    async fn handle_all(
        &self,
        targets: &[Target],
        rules: &Rules,
        order: &Order,
        invocation: &Invocation,
    ) -> Vec<Result<TargetResult, String>> {
        let share = |rounds: usize| {
            let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
            (invocation.time_left() / rounds).max(MIN_TARGET_TIME)
        };
        let rounds = targets.len().div_ceil(MAX_CONCURRENT_TARGETS);
        let mut handled = self.tend_each(targets, rules, order, invocation, share(rounds + 1)).await;

        let passing = |result: &Result<_, Error>| result.as_ref().is_err_and(Error::is_transient);
        let again: Vec<usize> = (0..handled.len()).filter(|index| passing(&handled[*index])).collect();
        let failed: Vec<Target> = again.iter().map(|index| targets[*index].clone()).collect();
        if !failed.is_empty() {
            let rounds = failed.len().div_ceil(MAX_CONCURRENT_TARGETS);
            let retried = self.tend_each(&failed, rules, order, invocation, share(rounds)).await;
            // A second transient failure, perhaps for lack of time, adds nothing to the first.
            let telling = again.into_iter().zip(retried).filter(|(_, result)| !passing(result));
            for (index, result) in telling {
                handled[index] = result;
            }
        }
        let named = |(target, result): (&Target, Result<_, Error>)| {
            result.map_err(|error| format!("{}: {}", target.resource, error.chain()))
        };
        targets.iter().zip(handled).map(named).collect()
    }

    async fn tend_each(
        &self,
        targets: &[Target],
        rules: &Rules,
        order: &Order,
        invocation: &Invocation,
        share: Duration,
    ) -> Vec<Result<TargetResult, Error>> {
        let tend = |(index, target)| async move {
            let limited = invocation.at_most(share);
            (index, invocation.guard(self.tend(target, rules, order, &limited)).await)
        };
        let work: Vec<_> = targets.iter().enumerate().map(tend).collect();
        let mut handled: Vec<_> = stream::iter(work).buffer_unordered(MAX_CONCURRENT_TARGETS).collect().await;
        handled.sort_by_key(|(index, _)| *index);
        handled.into_iter().map(|(_, result)| result).collect()
    }

    async fn tend(
        &self,
        target: &Target,
        rules: &Rules,
        order: &Order,
        invocation: &Invocation,
    ) -> Result<TargetResult, Error> {
        let mut target = target.clone();
        let tags = match &target.registered {
            Some(registered) if rules.need_tags(target.capacity()) => {
                self.targets.tags(registered, invocation).await?
            }
            _ => Tags::default(),
        };
        if rules.may_be_outrun(target.capacity(), &tags) {
            let again = self.targets.find(slice::from_ref(&target.resource), invocation).await?;
            target = again.into_iter().next().unwrap_or(target);
        }
        let before = target.capacity();
        let plan = rules.plan(before, &tags);
        if plan.odd {
            let reason = plan.reason.as_deref().unwrap_or_default();
            warn!(resource.id = target.resource, "{}: {reason}", target.resource);
        }
        match order.dry_run {
            true => debug!(resource.id = target.resource, "{}: a dry run, so not changed", target.resource),
            false => self.targets.carry_out(&plan, &target, invocation).await?,
        }
        Ok(TargetResult {
            resource_id: target.resource,
            result: plan.verdict,
            before,
            after: plan.register.or(before),
            reason: plan.reason,
        })
    }
}

/// The number of targets per result: `2 stopped, 1 unchanged`.
fn summary(done: &[TargetResult]) -> String {
    let count = |verdict: &Verdict| {
        let count = done.iter().filter(|target| target.result == *verdict).count();
        (count > 0).then(|| format!("{count} {}", verdict.as_str()))
    };
    Verdict::ALL.iter().filter_map(count).collect::<Vec<_>>().join(", ")
}
