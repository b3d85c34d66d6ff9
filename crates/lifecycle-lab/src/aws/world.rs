//! The state of AWS and its clock: every modelled service, the timers that move it, and the messages that it sends.
//! Synchronous and deterministic: the same calls at the same times from the same seed give the same world. No I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::aws::autoscaling::{self, AutoScaling};
use crate::aws::ec2::{self, Ec2};
use crate::aws::ecs::{self, Ecs};
use crate::aws::lambda::{self, Configurations};
use crate::aws::run_command::{self, RunCommand};
use crate::aws::scalable_targets::{self, ScalableTargets};

/// The Region that the lab plays.
pub const REGION: &str = "us-east-1";

/// The account that the lab plays.
pub const ACCOUNT: &str = "123456789012";

/// How long things take that AWS takes its time for. All of them are settings of the lab: AWS publishes a
/// number only where one is named.
#[derive(Debug, Clone)]
pub struct Delays {
    /// From the start of an instance until its launching hooks begin; each instance takes up to half
    /// as long again.
    pub boot: Duration,
    /// From a `…:Proceed` state to the next state, where the instance lives on.
    pub proceed: Duration,
    /// From `Terminating:Proceed` until EC2 has terminated the instance; each takes up to half as long again.
    pub shutdown: Duration,
    /// From `Terminating` until the terminating hooks begin: deregistration from the load balancer and
    /// connection draining.
    pub deregistration: Duration,
    /// From a change of the capacity, or of the warm pool, until the group acts on it.
    pub react: Duration,
    /// From the end of an instance's service until the group replaces it.
    pub replace: Duration,
    /// From an instance's failure until a health check notices.
    pub health_check: Duration,
    /// From `SetInstanceHealth` until the group acts on it.
    pub user_health_check: Duration,
    /// From the start of a wait until `CompleteLifecycleAction` accepts it.
    pub acceptance: Duration,
    /// Pause before a launch after the second launch in a row that a hook abandoned; it doubles with
    /// each further one, up to 15 minutes.
    pub launch_backoff: Duration,
    /// From a task's place on an instance, or on Fargate, until it runs.
    pub task_start: Duration,
    /// From the decision to stop a task until it no longer runs.
    pub task_stop: Duration,
    /// From tasks that wait for instances until managed scaling asks the group for them. AWS's alarm
    /// takes one datapoint of one minute.
    pub capacity_alarm_high: Duration,
    /// From instances that no task needs until managed scaling lets go of them. AWS's alarm takes 15
    /// datapoints of one minute.
    pub capacity_alarm_low: Duration,
    /// From the start of a deployment that replaces another one until it has replaced its tasks. One of
    /// [`Duration::MAX`] never does.
    pub rollout: Duration,
    /// From the moment in which a service has the tasks that it should have until its deployment is `COMPLETED`. AWS
    /// was recorded to take three to seven seconds.
    pub deployment: Duration,
    /// From an update of a scalable target until the next one is accepted. AWS was recorded to accept updates that
    /// were 1.6 s apart.
    pub target_update: Duration,
    /// From the answer of `RegisterScalableTarget` until the service's desired count is in the bounds. Recorded.
    pub clamp: Duration,
    /// From the deletion of a resource until `GetResources` does not find it by its tags any more. Public reports speak
    /// of minutes to hours.
    pub tags_forgotten: Duration,
    /// From `SendCommand`, or an agent's return, until the agent has the command; and from
    /// `CancelCommand` until it has stopped it.
    pub command_delivery: Duration,
    /// From `SendCommand` until `GetCommandInvocation` finds it. The error for it is documented; in every recording
    /// the invocation was there at once.
    pub command_visible: Duration,
    /// From `SendCommand` until `ListCommands` and `ListCommandInvocations` find it: about a second in public
    /// reports. AWS calls all of Run Command eventually consistent, but gives a time for nothing.
    pub command_listed: Duration,
    /// From the start of an instance until its agent registers; each agent takes up to twice as long.
    pub agent_registration: Duration,
    /// From the last ping of an agent until AWS says `ConnectionLost`. More than 84 seconds were recorded, and a
    /// healthy agent pings every five minutes.
    pub connection_lost: Duration,
    /// How much longer a page of a list takes than another call (`List…`, `Describe…`).
    pub page: Duration,
    /// From the start of a scaling activity until `DescribeScalingActivities` finds it.
    pub activity_visible: Duration,
    /// From an instance's new lifecycle state until answers show it.
    pub state_visible: Duration,
    /// From `DeleteAutoScalingGroup` until a group without instances is gone; meanwhile its status is
    /// `Delete in progress`.
    pub group_deletion: Duration,
    /// From `CreateImage` until the image is available. AWS takes minutes to hours.
    pub image: Duration,
    /// From `CreateImage` until other actions find the image.
    pub image_visible: Duration,
    /// From `UpdateFunctionConfiguration` until invocations see the new configuration.
    pub function_update: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            boot: Duration::from_secs(20),
            proceed: Duration::from_secs(2),
            shutdown: Duration::from_secs(21),
            deregistration: Duration::from_secs(5),
            react: Duration::from_secs(5),
            replace: Duration::from_secs(2),
            health_check: Duration::from_secs(45),
            user_health_check: Duration::from_secs(15),
            acceptance: Duration::ZERO,
            launch_backoff: Duration::from_secs(30),
            task_start: Duration::from_secs(30),
            task_stop: Duration::from_secs(30),
            capacity_alarm_high: Duration::from_secs(60),
            capacity_alarm_low: Duration::from_secs(15 * 60),
            rollout: Duration::from_secs(120),
            deployment: Duration::from_secs(7),
            target_update: Duration::ZERO,
            clamp: Duration::from_millis(500),
            tags_forgotten: Duration::ZERO,
            command_delivery: Duration::from_secs(1),
            command_visible: Duration::ZERO,
            command_listed: Duration::from_secs(1),
            agent_registration: Duration::from_secs(20),
            connection_lost: Duration::from_secs(600),
            page: Duration::ZERO,
            activity_visible: Duration::ZERO,
            state_visible: Duration::ZERO,
            group_deletion: Duration::from_secs(5),
            image: Duration::from_secs(180),
            image_visible: Duration::from_millis(500),
            function_update: Duration::from_secs(3),
        }
    }
}

/// What the world sends out when something happens in it.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// An event on the account's default EventBridge bus.
    Event(Value),
    /// A hook notification to the SQS queue or SNS topic of this ARN.
    Notification {
        /// The queue's or topic's ARN.
        target: String,
        /// The message's text.
        body: Value,
    },
    /// Something that an onlooker wants to see.
    Seen(Sight),
}

/// A change that can be seen from outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Sight {
    /// An instance came into another lifecycle state.
    State {
        /// The group.
        group: String,
        /// The instance.
        instance: String,
        /// The state, as AWS spells it.
        state: &'static str,
    },
    /// A scaling activity began or ended.
    Activity(autoscaling::Activity),
    /// A command on an instance came into another status.
    Command {
        /// The instance.
        instance: String,
        /// The command's id.
        command: String,
        /// The status, as AWS spells it.
        status: &'static str,
    },
    /// An image came into another state.
    Image {
        /// The image's id.
        image: String,
        /// Its name.
        name: String,
        /// The state, as AWS spells it.
        state: &'static str,
    },
    /// A launch template got a version, or lost one.
    TemplateVersion {
        /// The template's id.
        template: String,
        /// Its name.
        name: String,
        /// The version's number.
        version: u64,
        /// `created` or `deleted`.
        state: &'static str,
    },
    /// A launch template has another default version.
    TemplateDefault {
        /// The template's id.
        template: String,
        /// Its name.
        name: String,
        /// The version's number.
        version: u64,
    },
    /// The counts of a service changed.
    Service {
        /// The cluster.
        cluster: String,
        /// The service.
        service: String,
        /// How many tasks it should have.
        desired: u32,
        /// How many run.
        running: u32,
    },
    /// A scalable target was registered or updated.
    Target {
        /// The resource: `service/CLUSTER/SERVICE`.
        resource: String,
        /// Its minimum capacity.
        min: u32,
        /// Its maximum capacity.
        max: u32,
    },
}

/// Something that will happen by itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Timer {
    AutoScaling(autoscaling::Timer),
    Ec2(ec2::Timer),
    Lambda(lambda::Timer),
    Ecs(ecs::Timer),
    ScalableTarget(scalable_targets::Timer),
    RunCommand(run_command::Timer),
}

/// Everything AWS knows.
#[derive(Debug)]
pub struct World {
    now: DateTime<Utc>,
    timers: BTreeMap<(DateTime<Utc>, u64), Timer>,
    sequence: u64,
    random: StdRng,
    /// How long things take.
    pub delays: Delays,
    /// EC2 Auto Scaling.
    pub autoscaling: AutoScaling,
    /// EC2.
    pub ec2: Ec2,
    /// The configurations of Lambda functions.
    pub functions: Configurations,
    /// ECS.
    pub ecs: Ecs,
    /// Application Auto Scaling.
    pub scalable_targets: ScalableTargets,
    /// Systems Manager Run Command.
    pub run_command: RunCommand,
    /// The values of Systems Manager's parameters, by name.
    pub parameters: BTreeMap<String, String>,
    effects: Vec<(DateTime<Utc>, Effect)>,
}

impl World {
    /// An empty account at this time.
    pub fn new(now: DateTime<Utc>, seed: u64) -> Self {
        Self {
            now,
            timers: BTreeMap::new(),
            sequence: 0,
            random: StdRng::seed_from_u64(seed),
            delays: Delays::default(),
            autoscaling: AutoScaling::default(),
            ec2: Ec2::default(),
            functions: Configurations::new(seed),
            ecs: Ecs::default(),
            scalable_targets: ScalableTargets::default(),
            run_command: RunCommand::default(),
            parameters: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    /// The time that the world has reached.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<DateTime<Utc>> {
        if self.run_command.has_agent_news() {
            return Some(self.now);
        }
        self.timers.keys().next().map(|(due, _)| *due)
    }

    /// Lets everything happen that is due by `to`, each at its own time and in order.
    pub fn advance(&mut self, to: DateTime<Utc>) {
        self.hear_agents();
        while let Some(entry) = self.timers.first_entry() {
            let (due, _) = *entry.key();
            if due > to {
                break;
            }
            let timer = entry.remove();
            self.now = self.now.max(due);
            match timer {
                Timer::AutoScaling(timer) => self.autoscaling_timer(timer),
                Timer::Ec2(timer) => self.ec2_timer(timer),
                Timer::Lambda(timer) => self.lambda_timer(timer),
                Timer::Ecs(timer) => self.ecs_timer(timer),
                Timer::ScalableTarget(timer) => self.target_timer(timer),
                Timer::RunCommand(timer) => self.run_command_timer(timer),
            }
        }
        self.now = self.now.max(to);
    }

    /// What was sent out since the last call, and when.
    pub fn take_effects(&mut self) -> Vec<(DateTime<Utc>, Effect)> {
        std::mem::take(&mut self.effects)
    }

    /// Sets a timer. Timers of one moment run in the order in which they were set. One of [`Duration::MAX`] never
    /// runs.
    pub(crate) fn after(&mut self, delay: Duration, timer: Timer) -> DateTime<Utc> {
        let due = TimeDelta::from_std(delay).ok().and_then(|delay| self.now.checked_add_signed(delay));
        let Some(due) = due else {
            return DateTime::<Utc>::MAX_UTC;
        };
        self.sequence += 1;
        self.timers.insert((due, self.sequence), timer);
        due
    }

    pub(crate) fn send(&mut self, effect: Effect) {
        self.effects.push((self.now, effect));
    }

    /// An event on the bus, in EventBridge's envelope.
    pub(crate) fn send_event(&mut self, source: &str, kind: &str, resources: Vec<String>, detail: Value) {
        let event = json!({
            "version": "0",
            "id": self.uuid(),
            "detail-type": kind,
            "source": source,
            "account": ACCOUNT,
            "time": timestamp(self.now),
            "region": REGION,
            "resources": resources,
            "detail": detail,
        });
        self.send(Effect::Event(event));
    }

    /// `delay`, or up to half as long again.
    pub(crate) fn vary(&mut self, delay: Duration) -> Duration {
        delay.mul_f64(self.random.random_range(1.0..1.5))
    }

    pub(crate) fn uuid(&mut self) -> String {
        uuid(&mut self.random)
    }

    /// An id as EC2 gives them: of instances (`i`), images (`ami`), snapshots (`snap`).
    pub(crate) fn id(&mut self, kind: &str) -> String {
        format!("{kind}-0{:016x}", self.random.random::<u64>())
    }
}

/// As AWS writes times in events and answers: UTC, to the millisecond.
pub(crate) fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// As AWS writes times in the texts of scaling activities: UTC, to the second.
pub(crate) fn second(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// A random UUID of version 4.
pub(crate) fn uuid(random: &mut StdRng) -> String {
    let bits: u128 = random.random();
    let version_4 = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{version_4:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
