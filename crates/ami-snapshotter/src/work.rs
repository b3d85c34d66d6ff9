//! The work for one wait, the same for lifecycle events, image events and reconcile: observe what `plan` asks for,
//! carry out its steps until the work ends, and make the report from that end.
//!
//! AWS calls: those of `current`, `images`, `lifecycle_core::action` and `lifecycle_core::pending`; here
//! `autoscaling:DescribeAutoScalingInstances`.

use std::future::Future;
use std::time::Duration;

use aws_types::SdkConfig;
use chrono::{DateTime, Utc};
use lambda_kit::calls::CountCalls;
use lambda_kit::{Answer, Error, Invocation, Output};
use lifecycle_core::outcome::{ALREADY_FINISHED, COMPLETED};
use lifecycle_core::pending::{Activity, Asgs, Found, MAX_WAIT_AGE};
use lifecycle_core::reconcile::Did;
use lifecycle_core::{Actions, Reconciler, Transition, Wait};
use tracing::{debug, error, warn};

use crate::cause::Termination;
use crate::config::Config;
use crate::current::Current;
use crate::images::{Images, Taken};
use crate::outcome::{IMAGE_PENDING, IMAGE_REQUESTED};
use crate::plan::{self, Alarm, End, Ending, Instance, Look, Observed, Step};

/// The pause before the cause is read again, after the SDK's own attempts. An empty token bucket gets a token or two.
const CAUSE_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The clients and the configuration for the work.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) config: Config,
    pub(crate) current: Current,
    pub(crate) images: Images,
    pub(crate) reconciler: Reconciler,
    output: Output,
    autoscaling: aws_sdk_autoscaling::Client,
    asgs: Asgs,
    actions: Actions,
}

/// A wait, and the run that handles it.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) observed: Observed,
    /// When AWS sent the event that led here.
    pub(crate) announced: Option<DateTime<Utc>>,
    /// The wait as reconcile found it.
    pub(crate) found: Option<Found>,
    pub(crate) invocation: Invocation,
}

/// The result of the work for a wait.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) wait: Wait,
    pub(crate) end: End,
    pub(crate) did: Did,
}

impl Work {
    pub(crate) fn new(config: Config, sdk: &SdkConfig, ec2: aws_sdk_ec2::Client, output: Output) -> Self {
        let autoscaling = aws_sdk_autoscaling::config::Builder::from(sdk).interceptor(CountCalls).build();
        let autoscaling = aws_sdk_autoscaling::Client::from_conf(autoscaling);
        let lambda = aws_sdk_lambda::config::Builder::from(sdk).interceptor(CountCalls).build();
        let (asgs, actions) = (Asgs::new(autoscaling.clone()), Actions::new(autoscaling.clone()));
        Self {
            output,
            reconciler: Reconciler::new(
                asgs.clone(),
                actions.clone(),
                config.hooks.clone(),
                Transition::Terminating,
            ),
            current: Current::new(aws_sdk_lambda::Client::from_conf(lambda), asgs.clone(), &config.function),
            images: Images::new(ec2, &config.function, config.no_reboot),
            autoscaling,
            asgs,
            actions,
            config,
        }
    }

    /// Observes, decides and carries out until the work for the wait ends.
    pub(crate) async fn run(&self, mut case: Case) -> Result<Done, Error> {
        loop {
            let step = plan::decide(&case.observed, &self.config, case.invocation.now());
            if let Step::Look(what) = step {
                self.observe(what, &mut case).await?;
            } else if let Some((end, did)) = self.carry_out(step, &mut case).await? {
                return Ok(Done { wait: case.observed.wait, end, did });
            }
        }
    }

    async fn observe(&self, what: Look, case: &mut Case) -> Result<(), Error> {
        let observed = &mut case.observed;
        let wait = &observed.wait;
        match what {
            Look::Running => {
                let (instance, since) = ([wait.instance.as_str()].into(), observed.began - MAX_WAIT_AGE);
                let mut running = self.asgs.running_activities(&wait.group, &instance, since).await?;
                observed.running = Some(running.remove(&wait.instance));
            }
            Look::EarlierImages => observed.earlier_images = Some(self.images.of_group(&wait.group).await?),
            Look::Stored => observed.stored = Some(self.current.stored().await?),
            Look::Termination => {
                let activity = self.terminating_activity(wait, observed.began, &case.invocation).await;
                observed.termination = Some(Termination::of(activity));
            }
            Look::Images => observed.images = Some(self.images.of_group(&wait.group).await?),
            Look::Instance => observed.instance = Some(self.instance(wait, &case.invocation).await),
        }
        Ok(())
    }

    /// The scaling activity of a termination, which shows its cause. Transient errors are retried, because a planned
    /// termination needs no image. If the activity can't be read, the cause is unknown.
    async fn terminating_activity(
        &self,
        wait: &Wait,
        began: DateTime<Utc>,
        invocation: &Invocation,
    ) -> Option<Activity> {
        let ask = async {
            loop {
                match self.asgs.termination(&wait.group, &wait.instance, began - MAX_WAIT_AGE, began).await {
                    Err(error) if error.is_transient() => {
                        warn!(
                            asg.name = wait.group,
                            "the cause can't be read yet, retrying: {}",
                            error.chain()
                        );
                        tokio::time::sleep(CAUSE_RETRY_INTERVAL).await;
                    }
                    read => return read,
                }
            }
        };
        in_time(invocation, "DescribeScalingActivities", ask).await.unwrap_or_else(|error| {
            warn!(asg.name = wait.group, "the scaling activities can't be read: {}", error.chain());
            None
        })
    }

    /// The instance as its group sees it. If that can't be read, the instance counts as terminating.
    async fn instance(&self, wait: &Wait, invocation: &Invocation) -> Instance {
        let describe = async {
            let answer = self.autoscaling.describe_auto_scaling_instances().instance_ids(&wait.instance);
            answer.send().await.map_err(|error| Error::aws("DescribeAutoScalingInstances", &error))
        };
        let answer = match in_time(invocation, "DescribeAutoScalingInstances", describe).await {
            Ok(answer) => answer,
            Err(error) => {
                debug!(error = error.chain(), "the launch template version is not known");
                return Instance::default();
            }
        };
        let instance = answer.auto_scaling_instances().first();
        let state = instance.and_then(|instance| instance.lifecycle_state());
        let template = instance.and_then(|instance| instance.launch_template()).and_then(|template| {
            let (id, version) = (template.launch_template_id()?, template.version()?);
            Some(format!("{id}:{version}"))
        });
        Instance { serves: state.is_some_and(|state| !state.contains("Terminat")), template }
    }

    /// Carries out a step. Its effect is a new observation, or the end of the work.
    async fn carry_out(&self, step: Step, case: &mut Case) -> Result<Option<(End, Did)>, Error> {
        let (observed, invocation) = (&mut case.observed, &case.invocation);
        let wait = &observed.wait;
        match step {
            Step::Look(_) => {}
            Step::Store => {
                observed.group_stored = Some(self.current.store(&wait.group, invocation).await?);
            }
            Step::Prolong => observed.prolonged = Some(self.actions.heartbeat(wait, invocation).await?),
            Step::Take { termination, template } => {
                let template = template.as_deref();
                let taken =
                    self.images.take(wait, observed.began, &termination, template, invocation).await?;
                if let Taken::Now(id) = &taken {
                    debug!(
                        asg.name = wait.group,
                        hook.name = wait.hook,
                        instance.id = wait.instance,
                        action.id = wait.id(),
                        image.id = id,
                        cause = termination.cause.as_str(),
                        "{}: requested {id}, because its termination was unplanned ({})",
                        wait.instance,
                        termination.cause
                    );
                }
                observed.taken = Some(taken);
            }
            Step::End(end) => {
                if let Some(alarm) = &end.alarm {
                    self.raise(alarm, &end, wait);
                }
                let did = self.end(&end.ending, case).await?;
                return Ok(Some((end, did)));
            }
        }
        Ok(None)
    }

    /// Carries out the end of the work.
    async fn end(&self, ending: &Ending, case: &Case) -> Result<Did, Error> {
        let (wait, invocation) = (&case.observed.wait, &case.invocation);
        match (ending, &case.found) {
            (Ending::Complete(result), _) => {
                Ok(self.actions.complete(wait, *result, case.announced, invocation).await?.into())
            }
            (Ending::AwaitPending { keep_alive: true }, Some(found)) => {
                self.reconciler.keep_alive(found, invocation).await
            }
            (Ending::AwaitRequested, _) => Ok(Did::Started),
            (Ending::AwaitPending { .. } | Ending::Leave(_), _) => Ok(Did::Waits),
            (Ending::Over, _) => Ok(Did::AlreadyFinished),
        }
    }

    /// Reports a problem. An image that could not be made is an error in log and metric, although the event is
    /// answered.
    fn raise(&self, alarm: &Alarm, end: &End, wait: &Wait) {
        match alarm {
            Alarm::Skipped => {
                let reason = end.reason.as_deref().unwrap_or_default();
                warn!(asg.name = wait.group, instance.id = wait.instance, "{}: {reason}", wait.instance);
            }
            Alarm::Failed { name, why } => {
                error!(
                    asg.name = wait.group,
                    hook.name = wait.hook,
                    instance.id = wait.instance,
                    action.id = wait.id(),
                    error.type = name,
                    "{}: no image could be made, so ON_FAILURE decides: {why}",
                    wait.instance
                );
            }
        }
    }
}

impl Done {
    /// The report: the answer about the wait.
    pub(crate) fn answer(self) -> Answer {
        let Self { wait, end, did } = self;
        let answer = match end.ending {
            Ending::Complete(result) if did == Did::Completed => {
                wait.answer(COMPLETED).with("action.result", result.as_str())
            }
            Ending::Complete(_) | Ending::Over => wait.answer(ALREADY_FINISHED),
            Ending::AwaitRequested => wait.answer(IMAGE_REQUESTED),
            Ending::AwaitPending { .. } => wait.answer(IMAGE_PENDING),
            Ending::Leave(outcome) => wait.answer(outcome),
        };
        let fields = [
            ("group", end.group.map(|group| group.as_str().to_owned())),
            ("reason", end.reason),
            ("image.id", end.image),
            ("cause", end.cause.map(|cause| cause.to_string())),
        ];
        let known = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
        known.fold(answer, |answer, (name, value)| answer.with(name, value))
    }
}

/// Limits a call that the work can do without to a quarter of the time that is left.
async fn in_time<T>(
    invocation: &Invocation,
    call: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let limit = invocation.time_left() / 4;
    let late = |_| Err(Error::Timeout(format!("{call} did not answer within {limit:?}")));
    tokio::time::timeout(limit, work).await.unwrap_or_else(late)
}
