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
use lambda_kit::{Answer, Error, Invocation};
use lifecycle_core::outcome::{ALREADY_FINISHED, COMPLETED};
use lifecycle_core::pending::{Asgs, Found, MAX_WAIT_AGE};
use lifecycle_core::reconcile::Did;
use lifecycle_core::{Actions, Completion, Reconciler, Transition, Wait};
use tracing::{debug, warn};

use crate::cause::Termination;
use crate::config::Config;
use crate::current::Current;
use crate::image::Order;
use crate::images::{Images, Limit, Taken};
use crate::outcome::{IMAGE_PENDING, IMAGE_REQUESTED, LEFT};
use crate::plan::{self, End, Ending, Heartbeat, Instance, Look, Observed, Step};

/// The pause before a call that the work can do without is repeated, after the SDK's own attempts. An empty token bucket
/// gets a token or two.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The clients and the configuration for the work.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) config: Config,
    pub(crate) current: Current,
    pub(crate) images: Images,
    pub(crate) reconciler: Reconciler,
    limit: Limit,
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
    pub(crate) fn new(config: Config, sdk: &SdkConfig, ec2: aws_sdk_ec2::Client) -> Self {
        let autoscaling = aws_sdk_autoscaling::config::Builder::from(sdk).interceptor(CountCalls).build();
        let autoscaling = aws_sdk_autoscaling::Client::from_conf(autoscaling);
        let lambda = aws_sdk_lambda::config::Builder::from(sdk).interceptor(CountCalls).build();
        let lambda = aws_sdk_lambda::Client::from_conf(lambda);
        let (asgs, actions) = (Asgs::new(autoscaling.clone()), Actions::new(autoscaling.clone()));
        Self {
            reconciler: Reconciler::new(
                asgs.clone(),
                actions.clone(),
                config.hooks.clone(),
                Transition::Terminating,
            ),
            current: Current::new(lambda, asgs.clone(), &config.function, &config.groups),
            images: Images::new(ec2, &config),
            limit: Limit::default(),
            autoscaling,
            asgs,
            actions,
            config,
        }
    }

    /// Observes, decides and carries out until the work for the wait ends. A step that fails is an observation too.
    pub(crate) async fn run(&self, mut case: Case) -> Result<Done, Error> {
        loop {
            let step = match plan::decide(&case.observed, &self.config, case.invocation.now()) {
                Step::Look(what) => self.observe(what, &mut case).await,
                Step::Store => self.store(&mut case).await,
                Step::Take(order) => self.take(&order, &mut case).await,
                Step::Fail => {
                    let failed = case.observed.failed.take();
                    return Err(failed.unwrap_or_else(|| Error::Timeout("no step is left".to_owned())));
                }
                Step::End(end) => {
                    let did = self.end(&end.ending, &case).await?;
                    return Ok(Done { wait: case.observed.wait, end, did });
                }
            };
            case.observed.failed = step.err();
        }
    }

    async fn observe(&self, what: Look, case: &mut Case) -> Result<(), Error> {
        let (observed, invocation) = (&mut case.observed, &case.invocation);
        let wait = &observed.wait;
        match what {
            Look::Running => {
                let (instance, since) = ([wait.instance.as_str()].into(), observed.began - MAX_WAIT_AGE);
                let mut running = self.asgs.running_activities(&wait.group, &instance, since).await?;
                observed.running = Some(running.remove(&wait.instance));
                // An image's event is younger than its wait, and than an earlier image of it.
                if let Some(Some(activity)) = &observed.running {
                    observed.began = observed.began.min(activity.began);
                }
            }
            Look::EarlierImages => {
                observed.earlier_images = Some(self.images.of_instances(&[&wait.instance]).await?);
            }
            Look::Stored => {
                let read = || self.current.stored();
                let stored = patient(invocation, "GetFunctionConfiguration", wait, read).await;
                observed.stored = Some(match stored {
                    // The cause decides without them.
                    Err(error) if error.is_transient() => {
                        warn!(asg.name = wait.group, "the stored groups can't be read: {}", error.chain());
                        Vec::new()
                    }
                    stored => stored?,
                });
            }
            Look::Groups => {
                let stored = observed.stored.as_deref().unwrap_or_default();
                let read = || self.current.groups(&wait.group, stored);
                let groups = optional(invocation, "DescribeAutoScalingGroups", wait, read).await;
                observed.groups = Some(groups.map(Into::into));
            }
            Look::Termination => {
                let (since, waited) = (observed.began - MAX_WAIT_AGE, observed.began);
                let read = || self.asgs.termination(&wait.group, &wait.instance, since, waited);
                let activity = optional(invocation, "DescribeScalingActivities", wait, read).await;
                observed.termination = Some(Termination::of(activity.flatten()));
            }
            Look::Retained => {
                let read = || self.asgs.retained(&wait.group);
                let retained = optional(invocation, "DescribeScalingActivities", wait, read).await;
                let contains = |retained: lifecycle_core::pending::Retained| {
                    retained.contains(&wait.instance, observed.began)
                };
                observed.retained = Some(retained.is_some_and(contains));
            }
            Look::Images => {
                observed.images = Some(self.images.recent(&wait.group, invocation.now()).await?);
            }
            Look::Instance => observed.instance = Some(self.instance(wait, invocation).await),
        }
        Ok(())
    }

    /// The instance as its group sees it. If that can't be read, the instance counts as waiting.
    async fn instance(&self, wait: &Wait, invocation: &Invocation) -> Instance {
        let describe = async {
            let answer = self.autoscaling.describe_auto_scaling_instances().instance_ids(&wait.instance);
            answer.send().await.map_err(|error| Error::aws("DescribeAutoScalingInstances", &error))
        };
        let answer = match in_time(invocation, "DescribeAutoScalingInstances", describe).await {
            Ok(answer) => answer,
            Err(error) => {
                debug!(error = error.chain(), "the launch template version is not known");
                return Instance { serves: false, waits: true, template: None };
            }
        };
        let instance = answer.auto_scaling_instances().first();
        let state = instance.and_then(|instance| instance.lifecycle_state()).unwrap_or_default();
        let template = instance.and_then(|instance| instance.launch_template()).and_then(|template| {
            let (id, version) = (template.launch_template_id()?, template.version()?);
            Some(format!("{id}:{version}"))
        });
        Instance {
            serves: !state.is_empty() && !state.contains("Terminat"),
            waits: state.ends_with(":Wait"),
            template,
        }
    }

    async fn store(&self, case: &mut Case) -> Result<(), Error> {
        let group = &case.observed.wait.group;
        case.observed.storing = Some(self.current.store(group, &case.invocation).await?);
        Ok(())
    }

    /// Takes the image, if the group may have one more: other runs of this process take images too.
    async fn take(&self, order: &Order, case: &mut Case) -> Result<(), Error> {
        let (wait, invocation) = (&order.wait, &case.invocation);
        let listed = case.observed.images.as_deref().unwrap_or_default();
        let most = self.config.max_images_per_hour;
        let taken = match self.limit.reserve(wait, listed, most, invocation).await? {
            Err(count) => Taken::Full(count),
            Ok(place) => {
                let taken = self.images.take(order, invocation).await?;
                match &taken {
                    Taken::Now(id) => {
                        place.fill(id);
                        debug!(
                            asg.name = wait.group,
                            hook.name = wait.hook,
                            instance.id = wait.instance,
                            action.id = wait.id(),
                            image.id = id,
                            cause = order.termination.cause.as_str(),
                            "{}: requested {id}, because its termination was unplanned ({})",
                            wait.instance,
                            order.termination.cause
                        );
                    }
                    Taken::Before(image) => place.fill(&image.id),
                    _ => {}
                }
                taken
            }
        };
        case.observed.taken = Some(taken);
        Ok(())
    }

    /// Carries out the end of the work.
    async fn end(&self, ending: &Ending, case: &Case) -> Result<Did, Error> {
        let (wait, invocation) = (&case.observed.wait, &case.invocation);
        match (ending, &case.found) {
            (Ending::Complete(result), _) => {
                Ok(self.actions.complete(wait, *result, case.announced, invocation).await?.into())
            }
            (Ending::AwaitRequested(heartbeat), found) => {
                if let (Heartbeat::Now, Some(found)) = (heartbeat, found) {
                    self.reconciler.prolong(found, invocation).await?;
                }
                Ok(Did::Started)
            }
            (Ending::AwaitPending(Heartbeat::Now), Some(found)) => {
                Ok(match self.reconciler.prolong(found, invocation).await? {
                    Completion::Completed => Did::Heartbeat,
                    Completion::AlreadyFinished => Did::AlreadyFinished,
                })
            }
            (Ending::AwaitPending(Heartbeat::WhenDue), Some(found)) => {
                self.reconciler.keep_alive(found, invocation).await
            }
            (Ending::AwaitPending(_) | Ending::Leave(_) | Ending::Retry, _) => Ok(Did::Waits),
            (Ending::Over, _) => Ok(Did::AlreadyFinished),
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
            Ending::AwaitRequested(_) => wait.answer(IMAGE_REQUESTED),
            Ending::AwaitPending(_) => wait.answer(IMAGE_PENDING),
            Ending::Leave(outcome) => wait.answer(outcome),
            Ending::Retry => wait.answer(LEFT),
        };
        let fields = [
            ("group", end.group.map(|group| group.as_str().to_owned())),
            ("image.id", end.image),
            ("cause", end.cause.map(|cause| cause.to_string())),
        ];
        let known = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let answer = known.fold(answer, |answer, (name, value)| answer.with(name, value));
        let reason = end.reason.as_deref().unwrap_or_default();
        let answer = match end.failure {
            Some(failure) => answer.failure(failure, format!("{}: {reason}", wait.instance)),
            None => answer,
        };
        if reason.is_empty() { answer } else { answer.with("reason", reason) }
    }
}

/// The result of a call that the work can do without.
async fn optional<T, F: Future<Output = Result<T, Error>>>(
    invocation: &Invocation,
    call: &str,
    wait: &Wait,
    read: impl Fn() -> F,
) -> Option<T> {
    let read = patient(invocation, call, wait, read).await;
    read.map_err(|error| warn!(asg.name = wait.group, "{call} failed: {}", error.chain())).ok()
}

/// Retries a call while its error is transient, for a quarter of the time that is left.
async fn patient<T, F: Future<Output = Result<T, Error>>>(
    invocation: &Invocation,
    call: &str,
    wait: &Wait,
    read: impl Fn() -> F,
) -> Result<T, Error> {
    let ask = async {
        loop {
            match read().await {
                Err(error) if error.is_transient() => {
                    debug!(asg.name = wait.group, "{call} failed, retrying: {}", error.chain());
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                read => return read,
            }
        }
    };
    in_time(invocation, call, ask).await
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
