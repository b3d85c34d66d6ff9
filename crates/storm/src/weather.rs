//! Disturbs an account: groups grow and shrink, are refreshed and redeployed, instances fail one by one or with their
//! zone, agents stop. It acts as AWS and its operators and knows nothing of the functions. The lab makes the faults
//! of calls and events.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{InstanceReusePolicy, WarmPoolState};
use chrono::{DateTime, Utc};
use fleet::runtime::sdk_config;
use lifecycle_lab::ec2::ImageScript;
use lifecycle_lab::run_command::{Ping, Script};
use lifecycle_lab::{Lab, World, scenarios};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;

use crate::options::Faults;

/// Shortest and longest pause between two changes of the weather, in seconds.
const PAUSE_SECONDS: Range<u64> = 60..420;

/// The same, as long as fewer instances were launched than planned.
const SHORT_PAUSE_SECONDS: Range<u64> = 10..60;

/// The time after which CloudFormation rolls back a group that does not succeed.
const ROLL_BACK_TIMEOUT: Duration = Duration::from_secs(20 * 60);

/// An operator's pause before the retry of a throttled call.
const RETRY_INTERVAL: Duration = Duration::from_secs(20);

/// Groups of which each replaces the one before it.
pub(crate) struct Family {
    name: String,
    generation: u32,
    /// The last generation that was tried.
    tried: u32,
    /// Most instances of a generation.
    pub(crate) largest: u32,
    /// Whether there is a warm pool, and if so, whether instances return to it when the group shrinks.
    pub(crate) pool: Option<bool>,
    deployment: Option<JoinHandle<()>>,
}

impl Family {
    pub(crate) fn new(name: String, largest: u32, pool: Option<bool>) -> Self {
        Self { name, generation: 1, tried: 1, largest, pool, deployment: None }
    }

    /// The group in service.
    pub(crate) fn current(&self) -> String {
        format!("{}-{}", self.name, self.generation)
    }

    /// Whether no deployment is under way. One that has ended decides which group is in service.
    fn is_calm(&mut self, lab: &Lab) -> bool {
        if self.deployment.as_ref().is_some_and(|deployment| !deployment.is_finished()) {
            return false;
        }
        self.deployment = None;
        let tried = format!("{}-{}", self.name, self.tried);
        if lab.world(|world| world.autoscaling.group(&tried).is_some()) {
            self.generation = self.tried;
        }
        true
    }
}

/// The possible disturbances of an account.
#[derive(Clone, Copy)]
enum Act {
    ScaleOut,
    ScaleIn,
    Refresh,
    Replace,
    RollBack,
    Fail,
    LoseZone,
    Reclaim,
    Rebalance,
    Expire,
    LoseAgent,
}

impl Act {
    fn as_str(self) -> &'static str {
        match self {
            Self::ScaleOut => "scale-outs",
            Self::ScaleIn => "scale-ins",
            Self::Refresh => "instance refreshes",
            Self::Replace => "deployments",
            Self::RollBack => "roll-backs",
            Self::Fail => "failed instances",
            Self::LoseZone => "lost zones",
            Self::Reclaim => "Spot reclaims",
            Self::Rebalance => "rebalances",
            Self::Expire => "expired lifetimes",
            Self::LoseAgent => "lost agents",
        }
    }
}

/// Something that befell an account.
pub(crate) struct Disturbance {
    pub(crate) at: DateTime<Utc>,
    /// Things of its kind, in words.
    pub(crate) what: &'static str,
    /// The group; `None` if all groups are affected.
    pub(crate) group: Option<String>,
}

/// Acts with their weights.
const ACTS: [(Act, u32); 11] = [
    (Act::ScaleOut, 24),
    (Act::ScaleIn, 16),
    (Act::Refresh, 4),
    (Act::Replace, 4),
    (Act::RollBack, 3),
    (Act::Fail, 20),
    (Act::LoseZone, 2),
    (Act::Reclaim, 4),
    (Act::Rebalance, 6),
    (Act::Expire, 5),
    (Act::LoseAgent, 12),
];

/// The weather over one account.
pub(crate) struct Weather {
    lab: Lab,
    operator: Client,
    random: StdRng,
    instances: u32,
    families: Vec<Family>,
    launched: Arc<AtomicU64>,
}

impl Weather {
    /// `launched` counts the instances that were launched, of which there shall be `instances` in all.
    pub(crate) fn new(
        lab: &Lab,
        seed: u64,
        instances: u32,
        families: Vec<Family>,
        launched: Arc<AtomicU64>,
    ) -> Self {
        Self {
            lab: lab.clone(),
            operator: Client::new(&sdk_config(lab, "operator")),
            random: StdRng::seed_from_u64(seed ^ 0x57_0a14),
            instances,
            families,
            launched,
        }
    }

    /// Lets something happen, if fewer instances than this share of all were launched so far, and then some
    /// time pass. What happened is returned.
    pub(crate) async fn blow(&mut self, share: f64) -> Option<Disturbance> {
        let mut disturbance = None;
        let launched = self.launched.load(Ordering::Relaxed) as f64;
        let wanted = f64::from(self.instances) * share.clamp(0.02, 1.0);
        if launched < wanted {
            let mut left = self.random.random_range(0..ACTS.iter().map(|(_, weight)| weight).sum());
            let act = ACTS.iter().find(|(_, weight)| {
                let found = left < *weight;
                left = left.saturating_sub(*weight);
                found
            });
            if let Some((act, _)) = act {
                disturbance = self.play(*act).await;
            }
        }
        let pause = self.random.random_range(if launched < 0.9 * wanted {
            SHORT_PAUSE_SECONDS
        } else {
            PAUSE_SECONDS
        });
        self.lab.sleep(Duration::from_secs(pause)).await;
        disturbance
    }

    /// Plays it, if the group that is chosen lets it.
    async fn play(&mut self, act: Act) -> Option<Disturbance> {
        let at = self.lab.now();
        // The last family is the only one of its kind, and gets more than its share.
        let last = self.families.len() - 1;
        let chosen = if self.random.random_bool(0.3) { last } else { self.random.random_range(0..=last) };
        let lab = self.lab.clone();
        let family = &mut self.families[chosen];
        let calm = family.is_calm(&lab);
        let (group, largest) = (family.current(), family.largest);
        let desired = lab.world(|world| world.autoscaling.group(&group).map_or(0, |group| group.desired));
        match act {
            Act::ScaleOut if calm => {
                let to = (desired + self.random.random_range(1..=largest.div_ceil(2))).min(largest);
                self.scale(&group, to).await;
            }
            Act::ScaleIn if calm && desired > 1 => {
                let to = self.random.random_range(1..desired);
                self.scale(&group, to).await;
            }
            Act::Refresh if calm => {
                let start = self.operator.start_instance_refresh().auto_scaling_group_name(&group);
                // Throttled, or one runs already: another time.
                let _ = start.send().await;
            }
            Act::Replace | Act::RollBack if calm && desired > 0 => {
                let family = &mut self.families[chosen];
                family.tried += 1;
                let new = format!("{}-{}", family.name, family.tried);
                let rolled_back = matches!(act, Act::RollBack);
                let (operator, pool, group) = (self.operator.clone(), family.pool, group.clone());
                let deployment = async move {
                    if rolled_back {
                        return roll_back(lab, group, new).await;
                    }
                    if pool.is_some() {
                        delete_pool(&lab, &operator, &group).await;
                    }
                    replace(&lab, &group, &new).await;
                    if let Some(reuse) = pool {
                        put_pool(&lab, &operator, &new, largest, reuse).await;
                    }
                };
                family.deployment = Some(tokio::spawn(deployment));
            }
            Act::Fail => {
                let how = self.random.random_range(0..3);
                if let Some(id) = self.one_in_service(&group) {
                    lab.world(|world| fail(world, &id, how));
                }
            }
            Act::LoseZone => self.lose_zone(),
            Act::Reclaim => {
                if let Some(id) = self.one_in_service(&group) {
                    lab.world(|world| world.reclaim_spot(&id));
                }
            }
            Act::Rebalance => {
                let zones = self.random.random_bool(0.5);
                if let Some(id) = self.one_in_service(&group) {
                    lab.world(|world| match zones {
                        true => world.rebalance_zones(&id),
                        false => world.recommend_rebalance(&id),
                    });
                }
            }
            Act::Expire => {
                if let Some(id) = self.one_in_service(&group) {
                    lab.world(|world| world.expire_lifetime(&id));
                }
            }
            Act::LoseAgent => self.lose_agent(),
            _ => return None,
        }
        let everywhere = matches!(act, Act::LoseZone | Act::LoseAgent);
        Some(Disturbance { at, what: act.as_str(), group: (!everywhere).then_some(group) })
    }

    /// An alarm, a schedule or an operator changes the desired capacity.
    async fn scale(&mut self, group: &str, to: u32) {
        match self.random.random_range(0..3) {
            0 => self.lab.world(|world| world.raise_alarm(group, "load", "follow-load", to)),
            1 => self.lab.world(|world| world.run_scheduled_action(group, to)),
            _ => {
                let desire = self.operator.set_desired_capacity().auto_scaling_group_name(group);
                // Throttled: nothing happens.
                let _ = desire.desired_capacity(to.cast_signed()).send().await;
            }
        }
    }

    fn one_in_service(&mut self, group: &str) -> Option<String> {
        let mut ids = self.in_service(|_| true);
        ids.retain(|(_, of)| of == group);
        (!ids.is_empty()).then(|| ids.swap_remove(self.random.random_range(0..ids.len())).0)
    }

    /// Ids and groups of instances in service, in zones that are wanted.
    fn in_service(&self, zone: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        self.lab.world(|world| {
            let all = world.autoscaling.instances();
            let here = all.filter(|one| one.state == "InService" && zone(&one.zone));
            here.map(|one| (one.id.clone(), one.group.clone())).collect()
        })
    }

    /// Everything in one Availability Zone fails within seconds.
    fn lose_zone(&mut self) {
        let zone = ["us-east-1a", "us-east-1b", "us-east-1c"][self.random.random_range(0..3)];
        let how = self.random.random_range(0..3);
        for (id, _) in self.in_service(|here| here == zone) {
            self.lab.world(|world| fail(world, &id, how));
        }
    }

    /// The agent of some instance is not heard of for minutes, or never again.
    fn lose_agent(&mut self) {
        let ids: Vec<_> = self.lab.world(|world| {
            let all = world.autoscaling.instances();
            all.filter(|one| ["InService", "Terminating:Wait"].contains(&one.state))
                .map(|one| one.id.clone())
                .collect()
        });
        if ids.is_empty() {
            return;
        }
        let id = ids[self.random.random_range(0..ids.len())].clone();
        self.lab.world(|world| world.run_command.set_agent(&id, Ping::ConnectionLost));
        if self.random.random_bool(0.5) {
            let (lab, silence) = (self.lab.clone(), self.random.random_range(10..1_800));
            tokio::spawn(async move {
                lab.sleep(Duration::from_secs(silence)).await;
                lab.world(|world| world.run_command.set_agent(&id, Ping::Online));
            });
        }
    }

    /// Ends every deployment, for which there are `limit`, and every group.
    pub(crate) async fn settle(&mut self, limit: Duration) {
        for family in &mut self.families {
            if let Some(deployment) = family.deployment.take() {
                let _ = tokio::time::timeout(limit, deployment).await;
            }
        }
        let groups: Vec<_> = self
            .families
            .iter()
            .flat_map(|family| (1..=family.tried).map(|generation| format!("{}-{generation}", family.name)))
            .collect();
        self.lab.world(|world| groups.iter().for_each(|group| world.run_scheduled_action(group, 0)));
        for group in &groups {
            delete_pool(&self.lab, &self.operator, group).await;
        }
    }
}

fn fail(world: &mut World, id: &str, how: u32) {
    match how {
        0 => world.fail_instance(id),
        1 => world.fail_status_check(id),
        _ => world.fail_load_balancer_check(id),
    }
}

/// A stack update replaces a group.
async fn replace(lab: &Lab, old: &str, new: &str) {
    let _ = scenarios::replace_group(lab, old, new).await;
    delete_one(lab, old, new).await;
}

/// A stack update fails and is rolled back.
async fn roll_back(lab: Lab, old: String, new: String) {
    let _ = scenarios::roll_back_group(&lab, &old, &new, ROLL_BACK_TIMEOUT).await;
    delete_one(&lab, &new, &old).await;
}

/// Where AWS throttles CloudFormation in the middle of a deletion, CloudFormation tries again.
async fn delete_one(lab: &Lab, loser: &str, other: &str) {
    let lives = |name: &str| lab.world(|world| world.autoscaling.group(name).is_some());
    while lives(loser) && lives(other) {
        lab.sleep(RETRY_INTERVAL).await;
        let _ = scenarios::delete_group(lab, loser).await;
    }
}

/// Gives a group a warm pool of running instances for half of its size, and tries again where AWS throttles.
pub(crate) async fn put_pool(lab: &Lab, operator: &Client, group: &str, largest: u32, reuse: bool) {
    let policy = InstanceReusePolicy::builder().reuse_on_scale_in(reuse).build();
    let put = operator.put_warm_pool().auto_scaling_group_name(group).pool_state(WarmPoolState::Running);
    let put =
        put.instance_reuse_policy(policy).max_group_prepared_capacity(largest.div_ceil(2).cast_signed());
    let exists = || lab.world(|world| world.autoscaling.group(group).is_some());
    while exists() && put.clone().send().await.is_err() {
        lab.sleep(RETRY_INTERVAL).await;
    }
}

/// Deletes a group's warm pool, and tries again where AWS throttles.
async fn delete_pool(lab: &Lab, operator: &Client, group: &str) {
    let delete = operator.delete_warm_pool().auto_scaling_group_name(group);
    let exists = || lab.world(|world| world.autoscaling.group(group).is_some());
    while exists() && delete.clone().send().await.is_err() {
        lab.sleep(RETRY_INTERVAL).await;
    }
}

/// Share of instances and backups that something is wrong with.
pub(crate) fn ill(faults: Faults) -> f64 {
    match faults {
        Faults::None => 0.0,
        Faults::Light => 0.03,
        Faults::Heavy => 0.1,
    }
}

/// Decides how each instance will be: its agent, its drain, its image.
pub(crate) struct Fate {
    random: StdRng,
    /// Share of instances that something is wrong with.
    ill: f64,
}

impl Fate {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        Self { random: StdRng::seed_from_u64(seed ^ 0xfa_7e), ill: ill(faults) }
    }

    pub(crate) fn decide(&mut self, lab: &Lab, instance: &str) {
        let random = &mut self.random;
        let ill = |random: &mut StdRng| random.random_bool(self.ill);
        let duration = if ill(random) {
            // Some of these take longer than a drain may.
            random.random_range(300..3_600)
        } else {
            random.random_range(2..240)
        };
        let script = Script {
            duration: Duration::from_secs(duration),
            exit_code: i32::from(ill(random)),
            ..Script::default()
        };
        let unregistered = ill(random);
        let image = ImageScript {
            pending: Duration::from_secs(random.random_range(30..2_400)),
            failure: ill(random).then(|| "Client.InternalError: the snapshot failed".to_owned()),
        };
        lab.world(|world| {
            world.run_command.set_script(instance, script);
            world.ec2.set_image_script(instance, image);
            if unregistered {
                world.run_command.set_agent(instance, Ping::Unregistered);
            }
        });
    }
}
