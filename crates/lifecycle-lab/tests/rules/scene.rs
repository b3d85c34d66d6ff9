//! One group in a lab, whose instances boot at once, and short words for what tests do with it and see
//! of it.

use std::cell::RefCell;
use std::fmt::Debug;
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_autoscaling::operation::complete_lifecycle_action::CompleteLifecycleActionError;
use aws_sdk_autoscaling::operation::create_auto_scaling_group::builders::CreateAutoScalingGroupFluentBuilder;
use aws_sdk_autoscaling::types::builders::LifecycleHookSpecificationBuilder;
use aws_sdk_autoscaling::types::{Activity, LifecycleHookSpecification};
use chrono::{DateTime, TimeDelta, Utc};
use lifecycle_lab::autoscaling::{Instance, Wait};
use lifecycle_lab::{Lab, Moment, Sight, What};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

pub(crate) const GROUP: &str = "web";
pub(crate) const LAUNCH_EVENT: &str = "EC2 Instance-launch Lifecycle Action";
pub(crate) const TERMINATE_EVENT: &str = "EC2 Instance-terminate Lifecycle Action";

/// Longer than anything takes that a test waits for.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);

pub(crate) fn seconds(seconds: i64) -> TimeDelta {
    TimeDelta::seconds(seconds)
}

pub(crate) fn epoch() -> DateTime<Utc> {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) aws: Client,
    moments: RefCell<(UnboundedReceiver<Moment>, Vec<Moment>)>,
}

impl Scene {
    /// An empty account.
    pub(crate) fn empty() -> Self {
        Self::seeded(7)
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        let lab = Lab::new(epoch(), seed);
        lab.world(|world| world.delays.boot = Duration::ZERO);
        let aws = Client::new(&lab.sdk_config("operator"));
        let moments = RefCell::new((lab.observe(), Vec::new()));
        Self { lab, aws, moments }
    }

    /// An account with the group, its hooks, and as many instances in service as desired, past hooks
    /// that were completed with `CONTINUE`.
    pub(crate) async fn in_service(
        desired: i32,
        hooks: impl IntoIterator<Item = LifecycleHookSpecificationBuilder>,
    ) -> (Self, Vec<String>) {
        let scene = Self::empty();
        scene.create(hooks).desired_capacity(desired).send().await.unwrap();
        let ids = scene.all_in_service(desired).await;
        (scene, ids)
    }

    /// Completes what launches wait for, until so many instances are in service.
    pub(crate) async fn all_in_service(&self, count: i32) -> Vec<String> {
        loop {
            let ids = self.instances(|instance| instance.state == "InService");
            if ids.len() == count as usize {
                return ids;
            }
            self.continue_all("Pending:Wait").await;
            self.sleep(1).await;
        }
    }

    /// Completes every wait of the instances in `state` with `CONTINUE`.
    pub(crate) async fn continue_all(&self, state: &str) {
        for id in self.instances(|instance| instance.state == state) {
            for hook in self.waits(&id).into_iter().map(|wait| wait.hook.name) {
                self.complete(&hook, &id, "CONTINUE").await.unwrap();
            }
        }
    }

    /// A request for the group, of 0 to 10 instances in one zone.
    pub(crate) fn create(
        &self,
        hooks: impl IntoIterator<Item = LifecycleHookSpecificationBuilder>,
    ) -> CreateAutoScalingGroupFluentBuilder {
        let hooks: Vec<_> = hooks.into_iter().map(|hook| hook.build()).collect();
        self.aws
            .create_auto_scaling_group()
            .auto_scaling_group_name(GROUP)
            .min_size(0)
            .max_size(10)
            .availability_zones("us-east-1a")
            .launch_configuration_name("web")
            .set_lifecycle_hook_specification_list(Some(hooks).filter(|hooks| !hooks.is_empty()))
    }

    pub(crate) async fn set_desired(&self, desired: i32) {
        let set = self.aws.set_desired_capacity().auto_scaling_group_name(GROUP).desired_capacity(desired);
        set.send().await.unwrap();
    }

    /// Asks for the termination of an instance that the group replaces.
    pub(crate) async fn terminate(&self, id: &str) {
        let terminate = self.aws.terminate_instance_in_auto_scaling_group().instance_id(id);
        terminate.should_decrement_desired_capacity(false).send().await.unwrap();
    }

    pub(crate) async fn complete(
        &self,
        hook: &str,
        id: &str,
        result: &str,
    ) -> Result<(), SdkError<CompleteLifecycleActionError>> {
        let complete = self.aws.complete_lifecycle_action().auto_scaling_group_name(GROUP);
        let complete = complete.lifecycle_hook_name(hook).instance_id(id).lifecycle_action_result(result);
        complete.send().await.map(drop)
    }

    pub(crate) async fn heartbeat(&self, hook: &str, id: &str) -> bool {
        let heartbeat = self.aws.record_lifecycle_action_heartbeat().auto_scaling_group_name(GROUP);
        heartbeat.lifecycle_hook_name(hook).instance_id(id).send().await.is_ok()
    }

    /// Sends a heartbeat every so many seconds until one is refused, or two hundred were sent.
    pub(crate) async fn heartbeats(&self, hook: &str, id: &str, every: u64) {
        for _ in 0..200 {
            if !self.heartbeat(hook, id).await {
                return;
            }
            self.sleep(every).await;
        }
    }

    pub(crate) async fn sleep(&self, seconds: u64) {
        self.lab.sleep(Duration::from_secs(seconds)).await;
    }

    pub(crate) fn instances(&self, fits: impl Fn(&Instance) -> bool) -> Vec<String> {
        self.lab.world(|world| {
            let fitting = world.autoscaling.instances().filter(|instance| fits(instance));
            fitting.map(|instance| instance.id.clone()).collect()
        })
    }

    /// The state of an instance; `gone` when Auto Scaling no longer knows it.
    pub(crate) fn state(&self, id: &str) -> &'static str {
        self.lab.world(|world| world.autoscaling.instance(id).map_or("gone", |instance| instance.state))
    }

    /// Waits for an instance to be in this state. Returns its id.
    pub(crate) async fn any_in(&self, state: &str) -> String {
        self.await_instances(&format!("any {state}"), |instance| instance.state == state).await
    }

    /// Waits for this instance to be in this state.
    pub(crate) async fn reaches(&self, id: &str, state: &str) {
        self.await_instances(&format!("{id} {state}"), |instance| {
            instance.id == id && instance.state == state
        })
        .await;
    }

    async fn await_instances(&self, what: &str, fits: impl Fn(&Instance) -> bool) -> String {
        let mut found = None;
        let look = |world: &lifecycle_lab::World| {
            found =
                world.autoscaling.instances().find(|instance| fits(instance)).map(|found| found.id.clone());
            found.is_some()
        };
        self.lab.until(PATIENCE, look).await;
        found.unwrap_or_else(|| panic!("never {what}: {:#?}", self.instances(|_| true)))
    }

    pub(crate) async fn is_gone(&self, id: &str) {
        let gone = self.lab.until(PATIENCE, |world| world.autoscaling.instance(id).is_none()).await;
        assert!(gone, "{id} stays {}", self.state(id));
    }

    pub(crate) fn waits(&self, id: &str) -> Vec<Wait> {
        self.lab.world(|world| {
            let instance = world.autoscaling.instance(id);
            instance.into_iter().flat_map(|instance| instance.waits.values().cloned()).collect()
        })
    }

    pub(crate) fn wait(&self, id: &str, hook: &str) -> Wait {
        self.waits(id).into_iter().find(|wait| wait.hook.name == hook).unwrap()
    }

    /// Everything that happened so far.
    pub(crate) fn moments(&self) -> Vec<Moment> {
        let (receiver, moments) = &mut *self.moments.borrow_mut();
        while let Ok(moment) = receiver.try_recv() {
            moments.push(moment);
        }
        moments.clone()
    }

    /// When which instance came into which state.
    fn states(&self) -> Vec<(DateTime<Utc>, String, &'static str)> {
        let states = self.moments().into_iter().filter_map(|moment| match moment.what {
            What::Seen(Sight::State { instance, state, .. }) => Some((moment.at, instance, state)),
            _ => None,
        });
        states.collect()
    }

    /// Every state of an instance, in order.
    pub(crate) fn path(&self, id: &str) -> Vec<&'static str> {
        let states = self.states().into_iter().filter(|(_, instance, _)| instance == id);
        states.map(|(_, _, state)| state).collect()
    }

    /// When each instance came into this state, in order.
    pub(crate) fn times(&self, state: &str) -> Vec<DateTime<Utc>> {
        self.states().into_iter().filter(|(_, _, seen)| *seen == state).map(|(at, _, _)| at).collect()
    }

    /// When an instance last came into this state.
    pub(crate) fn entered(&self, id: &str, state: &str) -> DateTime<Utc> {
        let states = self.states();
        let last = states.iter().rfind(|(_, instance, seen)| instance == id && *seen == state);
        last.unwrap_or_else(|| panic!("{id} was never {state}: {:?}", self.path(id))).0
    }

    /// When this action was last answered.
    pub(crate) fn called(&self, action: &str) -> DateTime<Utc> {
        let moments = self.moments();
        let called = |moment: &&Moment| matches!(&moment.what, What::Called(call) if call.action == action);
        moments.iter().rfind(called).unwrap().at
    }

    /// Every event and notification that left AWS.
    pub(crate) fn sent(&self) -> Vec<Value> {
        let sent = self.moments().into_iter().filter_map(|moment| match moment.what {
            What::Sent(message) => Some(message),
            _ => None,
        });
        sent.collect()
    }

    /// The events of this detail-type.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        self.sent().into_iter().filter(|message| message["detail-type"] == kind).collect()
    }

    /// The group's scaling activities, newest first.
    pub(crate) async fn activities(&self) -> Vec<Activity> {
        let describe = self.aws.describe_scaling_activities().auto_scaling_group_name(GROUP);
        describe.send().await.unwrap().activities.unwrap_or_default()
    }

    /// The causes of the group's scaling activities, oldest first, their times hidden.
    pub(crate) async fn causes(&self) -> Vec<String> {
        let activities = self.activities().await;
        activities.iter().rev().map(|activity| timeless(activity.cause().unwrap())).collect()
    }
}

pub(crate) fn launching(name: &str) -> LifecycleHookSpecificationBuilder {
    hook(name, "autoscaling:EC2_INSTANCE_LAUNCHING")
}

pub(crate) fn terminating(name: &str) -> LifecycleHookSpecificationBuilder {
    hook(name, "autoscaling:EC2_INSTANCE_TERMINATING")
}

fn hook(name: &str, transition: &str) -> LifecycleHookSpecificationBuilder {
    LifecycleHookSpecification::builder()
        .lifecycle_hook_name(name)
        .lifecycle_transition(transition)
        .heartbeat_timeout(300)
}

/// `At 2026-03-01T12:00:03Z an instance …` becomes `At T an instance …`.
pub(crate) fn timeless(text: &str) -> String {
    let is_time = |word: &str| DateTime::parse_from_rfc3339(word).is_ok();
    text.split(' ').map(|word| if is_time(word) { "T" } else { word }).collect::<Vec<_>>().join(" ")
}

/// AWS's error code and text.
pub(crate) fn refusal<T: Debug, E: ProvideErrorMetadata + Debug, R: Debug>(
    result: Result<T, SdkError<E, R>>,
) -> (String, String) {
    let error = result.unwrap_err();
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    (text(error.code()), text(error.message()))
}

/// A `ValidationError` with this text.
pub(crate) fn validation(text: impl Into<String>) -> (String, String) {
    ("ValidationError".to_owned(), text.into())
}
