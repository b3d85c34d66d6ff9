//! One account of a storm: its groups and services, the functions and their triggers, from the first launch to the
//! end of the last instance.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::LaunchTemplateSpecification;
use fleet::functions;
use fleet::operator;
use fleet::runtime::sdk_config;
use lambda_kit::Variables;
use lifecycle_lab::autoscaling::Bucket;
use lifecycle_lab::ecs::Scheduling;
use lifecycle_lab::{Lab, Moment, Sight, What};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::backups::{Backups, PINNED_VERSION, SHOP};
use crate::observer::{Observer, Scene, Violation};
use crate::options::Faults;
use crate::recording::{Lanes, Recording};
use crate::scene::{
    APPS, BLOG, DELIVERY_TIMEOUT, DRAIN, DRAIN_SWEEP, DRAIN_TIMEOUT, FOREIGN_GROUP, IMAGE_HOOKS, IMAGE_SWEEP,
    IMAGE_TIMEOUT, KEEP_VERSIONS, LAUNCH_SWEEP, PAIR, RECORD, is_foreign, leaves_images,
};
use crate::tally::Tally;
use crate::weather::{Family, Fate, Weather, put_pool};

/// A Monday, two hours before the services' working hours: in every storm of half a day, they wake and fall
/// asleep.
const START: &str = "2026-05-04T07:00:00Z";

/// How often the sweeps and ecs-scheduler run.
const SWEEP_INTERVAL: Duration = Duration::from_secs(300);

/// The sweeps' time limit.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(120);

/// terminate-drainer's time limit for an event.
const DRAINER_TIMEOUT: Duration = Duration::from_secs(60);

/// launch-logger's time limit, and the interval of its sweep.
const LOGGER_TIMEOUT: Duration = Duration::from_secs(30);
const LAUNCH_SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Timeout of terminate-drainer's hooks, in seconds: three sweeps.
const HEARTBEAT_TIMEOUT: i32 = 900;

/// Timeouts of launch-logger's hooks, in seconds, by turns. The shortest leaves its sweep two runs: it leaves a
/// launch to its event for a minute.
const LAUNCH_TIMEOUTS: [i32; 2] = [180, 900];

/// Timeout of the hooks of others, in seconds. Nobody answers them.
const FOREIGN_TIMEOUT: i32 = 600;

/// How often lt-ami-refresher runs on its schedule.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3_600);

/// Most runs of all functions at once under heavy faults: Lambda's limit in some new accounts.
const MAX_CONCURRENCY: u32 = 10;

/// A variable in ami-snapshotter's configuration that does not belong to the function.
const OTHER_VARIABLE: (&str, &str) = ("OWNER", "the people who run the blog");

const CLUSTER: &str = "shop";

/// The services, each with the minimum and the maximum of its scalable target.
const SERVICES: [(&str, i32, i32); 3] = [("web", 3, 6), ("api", 2, 4), ("jobs", 1, 2)];

/// The services' working hours, in UTC. The observer computes the same hours with code of its own.
const HOURS: &str = "MON-FRI 09:00-18:00";

/// Longest time after the storm in which all waits must end: many times the longest drain, the longest image
/// and all retries.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

/// One part of the storm.
pub(crate) struct Account {
    /// About how many instances live in it.
    pub(crate) instances: u32,
    pub(crate) seed: u64,
    pub(crate) faults: Faults,
    /// How long the weather lasts.
    pub(crate) lasts: Duration,
    /// What to record for a page, if one is asked for.
    pub(crate) record: Option<Lanes>,
}

/// What came of an account.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) violations: Vec<Violation>,
    pub(crate) recording: Option<Recording>,
}

impl Account {
    /// Lives it. `launched` counts the instances of all accounts.
    pub(crate) async fn live(&self, launched: &AtomicU64) -> anyhow::Result<Outcome> {
        let lab = Lab::new(START.parse()?, self.seed);
        let began = lab.now();
        let counted = Arc::new(AtomicU64::new(0));
        let mut observer = Observer::new(&lab, scene());
        observer.recording = self.record.map(|lanes| Recording::new(began, self.lasts, lanes));
        let observer = Arc::new(Mutex::new(observer));
        let fate = Fate::new(self.seed, self.faults);
        tokio::spawn(watch(lab.clone(), lab.observe(), observer.clone(), fate, counted.clone()));

        let backups = Backups::new(&lab, self.seed, self.faults).await?;
        let families = self.set_the_scene(&lab).await?;
        deploy(&lab)?;
        self.let_things_go_wrong(&lab)?;
        let mut weather =
            Weather::new(&lab, self.seed, self.instances, self.faults, families, counted.clone());
        tokio::spawn(backups.run(self.lasts));
        let mut told = 0;
        while lab.now() - began < chrono::TimeDelta::from_std(self.lasts)? {
            let share = (lab.now() - began).as_seconds_f64() / self.lasts.as_secs_f64();
            if let Some(disturbance) = weather.blow(share).await {
                let mut observer = observer.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(recording) = &mut observer.recording {
                    recording.weather(disturbance);
                }
            }
            let now = counted.load(Ordering::Relaxed);
            launched.fetch_add(now - told, Ordering::Relaxed);
            told = now;
        }
        weather.settle(SETTLE_TIMEOUT).await;
        // Whatever is left then is the observer's to tell.
        lab.until(SETTLE_TIMEOUT, |world| world.autoscaling.instances().next().is_none()).await;
        // Runs that are under way end, and what they did is seen.
        lab.sleep(SWEEP_INTERVAL * 2).await;
        lab.remove_functions();
        let mut observer = observer.lock().unwrap_or_else(PoisonError::into_inner);
        launched.fetch_add(counted.load(Ordering::Relaxed) - told, Ordering::Relaxed);
        let (tally, violations) = observer.finish(lab.now() - began, lab.failures().len());
        Ok(Outcome { tally, violations, recording: observer.recording.take() })
    }

    async fn set_the_scene(&self, lab: &Lab) -> anyhow::Result<Vec<Family>> {
        let operator = Client::new(&sdk_config(lab, "operator"));
        // Each group lives through some ten times its size; so few at once keep a storm light.
        let largest = (self.instances / 15).clamp(2, 40);
        let apps = (self.instances / 50).clamp(1, 5);
        let mut families: Vec<_> = (1..=apps)
            .map(|number| Family::new(format!("{APPS}{number}"), largest, pool_of(number)))
            .collect();
        families.push(Family::new(BLOG.trim_end_matches('-').to_owned(), largest, None));
        // Small ones: their groups share the time of the others.
        families.extend(
            ["blue", "green"].map(|colour| Family::of_pair(format!("{PAIR}{colour}"), largest.div_ceil(4))),
        );
        for (n, family) in families.iter().enumerate() {
            let group = family.current();
            let version = match n % 2 {
                _ if leaves_images(&group) => PINNED_VERSION.to_string(),
                0 => "$Default".to_owned(),
                _ => "$Latest".to_owned(),
            };
            create(&operator, &group, &version, family.largest).await?;
            if leaves_images(&group) {
                let (born, dying) = (operator::LAUNCH_HEARTBEAT, operator::TERMINATION_HEARTBEAT);
                operator::hook(&operator, &group, "born", "LAUNCHING", born, "CONTINUE").await?;
                operator::hook(&operator, &group, "dying", "TERMINATING", dying, "CONTINUE").await?;
            } else {
                let launch = LAUNCH_TIMEOUTS[n % LAUNCH_TIMEOUTS.len()];
                operator::hook(&operator, &group, RECORD, "LAUNCHING", launch, "ABANDON").await?;
                operator::hook(&operator, &group, DRAIN, "TERMINATING", HEARTBEAT_TIMEOUT, "CONTINUE")
                    .await?;
            }
            if let Some(reuse) = family.pool {
                put_pool(lab, &operator, &group, family.largest, reuse).await;
            }
        }
        create(&operator, FOREIGN_GROUP, "$Latest", 3).await?;
        for (hook, transition) in [("theirs-in", "LAUNCHING"), ("theirs-out", "TERMINATING")] {
            operator::hook(&operator, FOREIGN_GROUP, hook, transition, FOREIGN_TIMEOUT, "CONTINUE").await?;
        }
        let targets = aws_sdk_applicationautoscaling::Client::new(&sdk_config(lab, "operator"));
        lab.world(|world| {
            world.add_cluster(CLUSTER);
            SERVICES.iter().try_for_each(|(name, min, _)| {
                world.add_service(CLUSTER, name, Scheduling::Replica, min.unsigned_abs())
            })
        })?;
        for (name, min, max) in SERVICES {
            operator::register(&targets, &resource(name), (min, max)).await?;
        }
        Ok(families)
    }

    /// From now on calls and events meet faults, and AWS throttles. AWS publishes none of these numbers.
    fn let_things_go_wrong(&self, lab: &Lab) -> anyhow::Result<()> {
        let (chaos, bucket) = match self.faults {
            Faults::None => ("", Bucket::new(100.0, 10.0)),
            Faults::Light => (
                "throttle=0.01,5xx=0.005,contention=0.005,hang=0.001,cut=0.002,answer-lost=0.002,kill=0.002,\
                 kill-after=0.002,event-lost=0.01,event-doubled=0.02,event-delayed=0.01,event-reordered=0.02",
                Bucket::new(100.0, 10.0),
            ),
            Faults::Heavy => (
                "throttle=0.03,5xx=0.02,contention=0.01,access-denied=0.001,hang=0.005,cut=0.01,answer-lost=0.01,\
                 kill=0.01,kill-after=0.01,event-lost=0.08,event-doubled=0.08,event-delayed=0.08,event-reordered=0.08",
                Bucket::new(20.0, 2.0),
            ),
        };
        lab.faults().chaos(chaos.parse().map_err(anyhow::Error::msg)?);
        for function in [lt_ami_refresher::NAME, ecs_scheduler::NAME] {
            // As docs/ecs-scheduler.md advises.
            lab.reserve_concurrency(function, 1);
        }
        if self.faults == Faults::Heavy {
            lab.limit_concurrency(MAX_CONCURRENCY);
        }
        lab.world(|world| {
            world.autoscaling.bucket = Some(bucket.clone());
            world.scalable_targets.bucket = Some(bucket);
            if self.faults == Faults::Heavy {
                world.delays.acceptance = Duration::from_millis(300);
                world.delays.activity_visible = Duration::from_secs(1);
                world.delays.command_listed = Duration::from_millis(500);
                world.delays.image_visible = Duration::from_secs(1);
                world.delays.function_update = Duration::from_secs(5);
            }
        });
        Ok(())
    }
}

/// Follows everything that happens, and decides the fate of each instance when it is born.
async fn watch(
    lab: Lab,
    mut moments: UnboundedReceiver<Moment>,
    observer: Arc<Mutex<Observer>>,
    mut fate: Fate,
    launched: Arc<AtomicU64>,
) {
    while let Some(moment) = moments.recv().await {
        let mut observer = observer.lock().unwrap_or_else(PoisonError::into_inner);
        if let What::Seen(Sight::State { group, instance, .. }) = &moment.what
            && !is_foreign(group)
            && !observer.knows(instance)
        {
            launched.fetch_add(1, Ordering::Relaxed);
            fate.decide(&lab, instance);
        }
        observer.see(&moment);
    }
}

/// The facts for the observer: the operators' intentions for the account.
fn scene() -> Scene {
    Scene {
        services: SERVICES
            .map(|(name, min, max)| (resource(name), (min.unsigned_abs(), max.unsigned_abs())))
            .into(),
        variables: vec![OTHER_VARIABLE],
    }
}

/// A group without instances that launches from this version of the template.
async fn create(operator: &Client, group: &str, version: &str, largest: u32) -> anyhow::Result<()> {
    let zones = ["us-east-1a", "us-east-1b", "us-east-1c"].map(str::to_owned);
    let create = operator.create_auto_scaling_group().auto_scaling_group_name(group);
    let template = LaunchTemplateSpecification::builder().launch_template_name(SHOP).version(version);
    let create = create.launch_template(template.build()).set_availability_zones(Some(zones.into()));
    create.min_size(0).max_size(largest.cast_signed()).send().await?;
    Ok(())
}

/// Some of the application's groups have a warm pool; to some of these, instances return.
fn pool_of(number: u32) -> Option<bool> {
    match number {
        2 => Some(true),
        3 => Some(false),
        _ => None,
    }
}

/// The functions with their triggers.
fn deploy(lab: &Lab) -> anyhow::Result<()> {
    let reconcile = serde_json::json!({ "action": "reconcile" });

    let apps = format!("{APPS}*");

    let variables: Variables = {
        use launch_logger::{AUTO_SCALING_GROUPS, LIFECYCLE_HOOKS};
        [(AUTO_SCALING_GROUPS, apps.as_str()), (LIFECYCLE_HOOKS, RECORD)].into_iter().collect()
    };
    for name in [launch_logger::NAME, LAUNCH_SWEEP] {
        functions::deploy::<launch_logger::Context>(lab, name, LOGGER_TIMEOUT, &variables)?;
    }
    let launches = functions::answering_for(&apps, RECORD);
    functions::add_rules(lab, launch_logger::NAME, launch_logger::NAME, &launches)?;
    lab.schedule(LAUNCH_SWEEP_INTERVAL, LAUNCH_SWEEP, reconcile.clone());

    let variables: Variables = {
        use terminate_drainer::config::{
            AUTO_SCALING_GROUPS, DELIVERY_TIMEOUT as DELIVERY, DRAIN_TIMEOUT as DRAIN,
        };
        let (drain, delivery) = (seconds(DRAIN_TIMEOUT), seconds(DELIVERY_TIMEOUT));
        [(AUTO_SCALING_GROUPS, apps.as_str()), (DRAIN, &drain), (DELIVERY, &delivery)].into_iter().collect()
    };
    functions::deploy::<terminate_drainer::Context>(
        lab,
        terminate_drainer::NAME,
        DRAINER_TIMEOUT,
        &variables,
    )?;
    let drains = functions::answering_for(&apps, DRAIN);
    functions::add_rules(lab, terminate_drainer::NAME, terminate_drainer::NAME, &drains)?;
    functions::deploy::<terminate_drainer::Context>(lab, DRAIN_SWEEP, SWEEP_TIMEOUT, &variables)?;
    lab.schedule(SWEEP_INTERVAL, DRAIN_SWEEP, reconcile.clone());

    // The generations of the blog are one succession, and each group of the pair is one of its own.
    let groups = format!("{BLOG}*,{PAIR}blue-1,{PAIR}green-1");
    let pending = seconds(IMAGE_TIMEOUT);
    let variables = {
        use ami_snapshotter::config::{AUTO_SCALING_GROUPS, LIFECYCLE_HOOKS};
        [
            (AUTO_SCALING_GROUPS, groups.as_str()),
            (LIFECYCLE_HOOKS, IMAGE_HOOKS),
            ("IMAGE_TIMEOUT", &pending),
            OTHER_VARIABLE,
        ]
    };
    functions::deploy_ami_snapshotter(lab, ami_snapshotter::NAME, &variables)?;
    let lives = functions::answering_for(&groups, IMAGE_HOOKS);
    functions::add_rules(lab, ami_snapshotter::NAME, ami_snapshotter::NAME, &lives)?;
    functions::deploy_ami_snapshotter(lab, IMAGE_SWEEP, &variables)?;
    lab.schedule(SWEEP_INTERVAL, IMAGE_SWEEP, reconcile);

    let variables: Variables = {
        use lt_ami_refresher::config::{EC2_INSTANCE_NAME, KEEP_VERSIONS as KEEP, LAUNCH_TEMPLATE_NAME};
        let keep = KEEP_VERSIONS.to_string();
        [(EC2_INSTANCE_NAME, SHOP), (LAUNCH_TEMPLATE_NAME, SHOP), (KEEP, keep.as_str())].into_iter().collect()
    };
    functions::deploy_lt_ami_refresher(lab, &variables, REFRESH_INTERVAL)?;

    let resources = SERVICES.map(|(name, ..)| resource(name)).join(",");
    let variables: Variables = {
        use ecs_scheduler::config::{ACTION, RESOURCE_IDS, WORKING_HOURS};
        [(RESOURCE_IDS, resources.as_str()), (ACTION, "converge"), (WORKING_HOURS, HOURS)]
            .into_iter()
            .collect()
    };
    functions::deploy_ecs_scheduler(lab, &variables)?;
    functions::on_schedule(lab, ecs_scheduler::NAME, SWEEP_INTERVAL)
}

/// A duration as variables write it.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

fn resource(service: &str) -> String {
    format!("service/{CLUSTER}/{service}")
}
