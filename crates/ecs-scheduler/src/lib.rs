//! ecs-scheduler: ECS services sleep outside working hours and wake as they were. It registers their
//! scalable targets as 0/0 and back, and remembers in between, in a tag of the target, what was there
//! before. All targets of a run are tended together, and none of them waits for another's failure.
//!
//! This module is a run from the payload to the answer; `order` reads the payload, `hours` the clock,
//! `plan` decides about one target, `targets` makes the AWS calls.

pub mod config;
pub mod hours;
pub mod order;
pub mod plan;
mod targets;

use std::io;
use std::slice;
use std::time::Duration;

use aws_types::SdkConfig;
use futures::StreamExt;
use futures::stream;
use lifecycle_core::dispatch::{About, conclude};
use lifecycle_core::event;
use lifecycle_core::runtime::tuned;
use lifecycle_core::{Answer, Error, Invocation, Outcome, Output};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::{info, warn};

pub use config::Config;

use order::{Action, Order};
use plan::{Capacity, Rules, Tags, Verdict, Wanted};
use targets::{Target, Targets};

/// The function's name, as crate, binary and template carry it.
pub const NAME: &str = "ecs-scheduler";

/// The least time for a target, before those that failed in passing get what is left: a call that hangs and
/// another one.
const SHORTEST_SHARE: Duration = Duration::from_secs(2);

/// Targets that are tended at the same time, each with one call under way. AWS publishes no rate for
/// these calls, and public reports tell of throttles at a handful at once: more would turn into retries,
/// fewer would only take longer.
const AT_ONCE: usize = 5;

/// What lives as long as the process: the configuration, one client, standard output.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where metrics go.
    pub output: Output,
    config: Config,
    targets: Targets,
}

/// How one target was dealt with, for the answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TargetResult {
    resource_id: String,
    result: Verdict,
    /// `null` where it was not registered.
    before: Option<Capacity>,
    after: Option<Capacity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Context {
    /// A context that writes to standard output and speaks to AWS as `sdk` says.
    ///
    /// # Errors
    /// Standard output could not be opened.
    pub fn new(config: Config, sdk: &SdkConfig) -> io::Result<Self> {
        let client = aws_sdk_applicationautoscaling::Client::new(&tuned(sdk));
        Ok(Self { output: Output::stdout()?, targets: Targets::new(client, &config), config })
    }

    /// Handles whatever Lambda delivers: a payload of ours, or a scheduled event.
    ///
    /// # Errors
    /// What Lambda should run again, or keep: see [`Error`].
    pub async fn invoke(&self, payload: Value, invocation: &Invocation) -> Result<Value, Error> {
        let about = About { wait: None, time: event::time(&payload) };
        let order = Order::read(payload, &self.config);
        let work = order.map(|order| self.handle(order, invocation));
        let function = &self.config.function;
        Ok(json!(conclude(function, about, work, invocation, &self.output).await?))
    }

    async fn handle(&self, order: Order, invocation: &Invocation) -> Result<Answer, Error> {
        // Accept.
        info!("accepted: {order}");

        // Prepare: what is there, and what should be.
        let targets = self.targets.find(&order.resources, invocation).await?;
        let (wanted, reason) = self.wanted(&order, &targets, invocation);
        let rules = Rules {
            wanted,
            capacity: self.config.capacity,
            remember: self.config.remember,
            now: invocation.now(),
        };

        // Act: what a toggle goes by is changed last, so that a run that was killed midway goes the same
        // way again.
        let (first, others) = targets.split_at(usize::from(order.action == Action::Toggle));
        let others = self.tend_all(others, &rules, &order, invocation).await;
        let mut tended = self.tend_all(first, &rules, &order, invocation).await;
        tended.extend(others);

        // Report.
        let all = tended.len();
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for result in tended {
            match result {
                Ok(result) => done.push(result),
                Err(error) => failed.push(error),
            }
        }
        if !failed.is_empty() {
            return Err(Error::TargetsFailed { all, failed });
        }
        let answer = Answer { outcome: Outcome::Scheduled, fields: Default::default() };
        let mut answer = answer.with("action", order.action.as_str()).with("wanted", wanted.as_str());
        if order.dry_run {
            answer = answer.with("dryRun", true);
        }
        Ok(answer.with("reason", format!("{reason}: {}", summary(&done))).with("targets", json!(done)))
    }

    /// What the targets should be, and why.
    fn wanted(&self, order: &Order, targets: &[Target], invocation: &Invocation) -> (Wanted, String) {
        match (order.action, &self.config.hours) {
            (Action::Start, _) => (Wanted::On, "asked to start".to_owned()),
            (Action::Stop, _) => (Wanted::Off, "asked to stop".to_owned()),
            (Action::Converge, Some(hours)) => {
                let (on, why) = hours.at(invocation.now());
                (if on { Wanted::On } else { Wanted::Off }, why)
            }
            // Without hours there is no order to converge.
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

    /// Tends these targets together; the results come in their order. Each has its share of the run, so that
    /// a few that AWS does not let be changed hold up no others; then those share the rest of it.
    async fn tend_all(
        &self,
        targets: &[Target],
        rules: &Rules,
        order: &Order,
        invocation: &Invocation,
    ) -> Vec<Result<TargetResult, String>> {
        let share = |rounds: usize| {
            let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
            (invocation.time_left() / rounds).max(SHORTEST_SHARE)
        };
        let rounds = targets.len().div_ceil(AT_ONCE);
        let mut tended = self.tend_each(targets, rules, order, invocation, share(rounds + 1)).await;

        let passing = |result: &Result<_, Error>| result.as_ref().is_err_and(Error::is_transient);
        let again: Vec<usize> = (0..tended.len()).filter(|index| passing(&tended[*index])).collect();
        let failed: Vec<Target> = again.iter().map(|index| targets[*index].clone()).collect();
        if !failed.is_empty() {
            let rounds = failed.len().div_ceil(AT_ONCE);
            let retried = self.tend_each(&failed, rules, order, invocation, share(rounds)).await;
            // What failed in passing again, perhaps for want of time, says no more than the first failure.
            let telling = again.into_iter().zip(retried).filter(|(_, result)| !passing(result));
            for (index, result) in telling {
                tended[index] = result;
            }
        }
        let named = |(target, result): (&Target, Result<_, Error>)| {
            result.map_err(|error| format!("{}: {}", target.resource, error.chain()))
        };
        targets.iter().zip(tended).map(named).collect()
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
        let mut tended: Vec<_> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
        tended.sort_by_key(|(index, _)| *index);
        tended.into_iter().map(|(_, result)| result).collect()
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
            true => info!(resource.id = target.resource, "{}: a dry run, so not changed", target.resource),
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

/// How many targets were dealt with how: `2 stopped, 1 unchanged`.
fn summary(done: &[TargetResult]) -> String {
    let count = |verdict: &Verdict| {
        let count = done.iter().filter(|target| target.result == *verdict).count();
        (count > 0).then(|| format!("{count} {}", verdict.as_str()))
    };
    Verdict::ALL.iter().filter_map(count).collect::<Vec<_>>().join(", ")
}
