//! Disturbs an account: groups grow and shrink, are refreshed and redeployed, instances fail one by one or with their
//! zone, agents stop. It acts as AWS and its operators and knows nothing of the functions. The lab makes the faults
//! of calls and events.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{InstanceReusePolicy, RefreshStrategy, WarmPoolState};
use chrono::{DateTime, SecondsFormat, Utc};
use fleet::operator;
use fleet::runtime::sdk_config;
use lifecycle_lab::autoscaling::{Hook, HookResult, Transition};
use lifecycle_lab::ec2::{Image, ImageScript};
use lifecycle_lab::faults::CallFault;
use lifecycle_lab::run_command::{Ping, Script};
use lifecycle_lab::{ACCOUNT, Lab, REGION, World, scenarios};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::options::Faults;
use crate::scene::{APPS, DRAIN, FOREIGN, FOREIGN_GROUP, is_foreign, leaves_images};

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
    /// Whether its group is one of a pair, and is never replaced.
    stays: bool,
    deployment: Option<JoinHandle<()>>,
}

impl Family {
    pub(crate) fn new(name: String, largest: u32, pool: Option<bool>) -> Self {
        Self { name, generation: 1, tried: 1, largest, pool, stays: false, deployment: None }
    }

    /// A group of a pair, which both stay.
    pub(crate) fn of_pair(name: String, largest: u32) -> Self {
        Self { stays: true, ..Self::new(name, largest, None) }
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
    SilenceAgent,
    RestartAgent,
    RefuseCommands,
    ForeignCommands,
    ForeignEvent,
    ForeignGroup,
    ForgeTags,
    ReplaceRootVolumes,
    ForceDelete,
    DeleteHook,
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
            Self::SilenceAgent => "silent agents",
            Self::RestartAgent => "restarted agents",
            Self::RefuseCommands => "refused commands",
            Self::ForeignCommands => "thousand commands of others",
            Self::ForeignEvent => "events of others",
            Self::ForeignGroup => "changes to the group of others",
            Self::ForgeTags => "forged tags",
            Self::ReplaceRootVolumes => "root volume replacements",
            Self::ForceDelete => "deleted groups",
            Self::DeleteHook => "deleted hooks",
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
const ACTS: [(Act, u32); 21] = [
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
    (Act::LoseAgent, 8),
    (Act::SilenceAgent, 8),
    (Act::RestartAgent, 6),
    (Act::RefuseCommands, 2),
    (Act::ForeignCommands, 2),
    (Act::ForeignEvent, 3),
    (Act::ForeignGroup, 4),
    (Act::ForgeTags, 4),
    (Act::ReplaceRootVolumes, 3),
    (Act::ForceDelete, 2),
    (Act::DeleteHook, 2),
];

/// Most commands of others in an account. The lab searches all of them at each list.
const MAX_FOREIGN_COMMANDS: u32 = 5_000;

/// Commands of others that come at once.
const FOREIGN_COMMANDS: u32 = 1_000;

/// Shortest and longest time without a deleted hook, until an operator puts it back, in seconds.
const WITHOUT_HOOK_SECONDS: Range<u64> = 60..900;

/// The weather over one account.
pub(crate) struct Weather {
    lab: Lab,
    operator: Client,
    random: StdRng,
    instances: u32,
    faults: Faults,
    families: Vec<Family>,
    /// Commands and other things of others so far.
    foreign_commands: u32,
    foreign: u32,
    launched: Arc<AtomicU64>,
}

impl Weather {
    /// `launched` counts the instances that were launched, of which there shall be `instances` in all.
    pub(crate) fn new(
        lab: &Lab,
        seed: u64,
        instances: u32,
        faults: Faults,
        families: Vec<Family>,
        launched: Arc<AtomicU64>,
    ) -> Self {
        Self {
            lab: lab.clone(),
            operator: Client::new(&sdk_config(lab, "operator")),
            random: StdRng::seed_from_u64(seed ^ 0x57_0a14),
            instances,
            faults,
            families,
            foreign_commands: 0,
            foreign: 0,
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
        // The families of ami-snapshotter are few, and get more than their share.
        let count = self.families.len();
        let first = self.families.iter().position(|family| leaves_images(&family.current())).unwrap_or(0);
        let from = if self.random.random_bool(0.3) { first } else { 0 };
        let chosen = self.random.random_range(from..count);
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
            Act::ReplaceRootVolumes if calm && family.pool.is_none() => {
                let start = self.operator.start_instance_refresh().auto_scaling_group_name(&group);
                // Throttled, or a refresh runs already: another time.
                let _ = start.strategy(RefreshStrategy::ReplaceRootVolume).send().await;
            }
            Act::ForceDelete if calm && desired > 0 && !family.stays => {
                family.tried += 1;
                let new = format!("{}-{}", family.name, family.tried);
                let (operator, pool) = (self.operator.clone(), family.pool);
                let after = Duration::from_secs(self.random.random_range(30..900));
                family.deployment = Some(tokio::spawn(async move {
                    tokio::join!(
                        replace(&lab, &group, &new),
                        force_delete(&lab, &operator, &group, &new, after)
                    );
                    if let Some(reuse) = pool {
                        put_pool(&lab, &operator, &new, largest, reuse).await;
                    }
                }));
                return Some(Disturbance {
                    at,
                    what: act.as_str(),
                    group: Some(self.families[chosen].current()),
                });
            }
            Act::DeleteHook if calm => {
                let without = Duration::from_secs(self.random.random_range(WITHOUT_HOOK_SECONDS));
                let hooks = lab.world(|world| {
                    world
                        .autoscaling
                        .group(&group)
                        .map(|found| found.hooks.values().cloned().collect::<Vec<_>>())
                });
                let mut hooks = hooks.filter(|hooks| !hooks.is_empty())?;
                let hook = hooks.swap_remove(self.random.random_range(0..hooks.len()));
                let (operator, name) = (self.operator.clone(), group.clone());
                let family = &mut self.families[chosen];
                family.deployment =
                    Some(tokio::spawn(
                        async move { drop_hook(&lab, &operator, &name, &hook, without).await },
                    ));
            }
            Act::Replace | Act::RollBack if calm && desired > 0 && !family.stays => {
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
            Act::SilenceAgent => {
                let id = self.one_in(|state| ["InService", "Terminating:Wait"].contains(&state))?;
                let silence = Duration::from_secs(self.random.random_range(60..1_800));
                lab.world(|world| world.silence_agent(&id, silence));
            }
            Act::RestartAgent => {
                let id = self.one_in(|state| state == "Terminating:Wait")?;
                lab.world(|world| world.restart_agent(&id));
            }
            Act::RefuseCommands if self.faults != Faults::None => {
                let times = self.random.random_range(1..6);
                lab.faults().script("SendCommand", vec![CallFault::AccessDenied; times]);
            }
            Act::ForeignCommands if self.foreign_commands < MAX_FOREIGN_COMMANDS => {
                self.foreign_commands += FOREIGN_COMMANDS;
                let (now, document) = (lab.now(), "AWS-RunShellScript");
                let since = now - Duration::from_secs(3_600);
                lab.world(|world| {
                    world.run_command.add_foreign_commands(document, FOREIGN_COMMANDS, since, now)
                });
            }
            Act::ForeignEvent => {
                let id = self.one_in_service(&group).filter(|_| group.starts_with(APPS))?;
                self.foreign_event(&group, &id);
            }
            Act::ForeignGroup => {
                let to = self.random.random_range(0..=3);
                lab.world(|world| world.run_scheduled_action(FOREIGN_GROUP, to));
            }
            Act::ForgeTags => {
                let dies = |state: &str| state == "Terminating:Wait";
                let (id, of) = self.all_in(dies).into_iter().find(|(_, of)| leaves_images(of))?;
                self.forge(&of, &id);
            }
            _ => return None,
        }
        let everywhere = matches!(
            act,
            Act::LoseZone
                | Act::LoseAgent
                | Act::SilenceAgent
                | Act::RestartAgent
                | Act::RefuseCommands
                | Act::ForeignCommands
                | Act::ForeignGroup
                | Act::ForgeTags
        );
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
            let own = all.filter(|one| !is_foreign(&one.group));
            let here = own.filter(|one| one.state == "InService" && zone(&one.zone));
            here.map(|one| (one.id.clone(), one.group.clone())).collect()
        })
    }

    /// Ids and groups of instances in a state.
    fn all_in(&self, fits: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        self.lab.world(|world| {
            let all = world.autoscaling.instances().filter(|one| fits(one.state) && !is_foreign(&one.group));
            all.map(|one| (one.id.clone(), one.group.clone())).collect()
        })
    }

    fn one_in(&mut self, fits: impl Fn(&str) -> bool) -> Option<String> {
        let mut ids = self.all_in(fits);
        (!ids.is_empty()).then(|| ids.swap_remove(self.random.random_range(0..ids.len())).0)
    }

    /// An event of another account or Region, with the names of a group and of an instance of this one.
    fn foreign_event(&mut self, group: &str, id: &str) {
        self.foreign += 1;
        let (account, region) = match self.random.random_bool(0.5) {
            true => ("999999999999", REGION),
            false => (ACCOUNT, "eu-west-1"),
        };
        let uuid = format!("00000000-0000-4000-8000-{:012}", self.foreign);
        self.lab.publish(json!({
            "version": "0",
            "id": uuid,
            "detail-type": "EC2 Instance-terminate Lifecycle Action",
            "source": "aws.autoscaling",
            "account": account,
            "time": self.lab.now().to_rfc3339_opts(SecondsFormat::Secs, true),
            "region": region,
            "resources": [],
            "detail": {
                "LifecycleActionToken": uuid,
                "AutoScalingGroupName": group,
                "LifecycleHookName": DRAIN,
                "EC2InstanceId": id,
                "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
                "Origin": "AutoScalingGroup",
                "Destination": "EC2",
                "Action": "Terminate",
            },
        }));
    }

    /// Somebody else makes an image of an instance, and gives it the tags of ami-snapshotter's images.
    fn forge(&mut self, group: &str, id: &str) {
        self.foreign += 1;
        let tags = [
            ("lifecycle/function", ami_snapshotter::NAME),
            ("lifecycle/group", group),
            ("lifecycle/hook", "dying"),
            ("lifecycle/instance", id),
        ];
        let image = Image {
            source_instance: Some(id.to_owned()),
            tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..Image::new(&format!("{FOREIGN}{}", self.foreign), self.lab.now())
        };
        self.lab.world(|world| world.add_image(image));
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
        let all = groups.iter().map(String::as_str).chain([FOREIGN_GROUP]);
        self.lab.world(|world| all.for_each(|group| world.run_scheduled_action(group, 0)));
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

/// Somebody deletes the old group, with its instances, in the middle of its replacement.
async fn force_delete(lab: &Lab, operator: &Client, old: &str, new: &str, after: Duration) {
    lab.sleep(after).await;
    let lives = |name: &str| lab.world(|world| world.autoscaling.group(name).is_some());
    let delete = operator.delete_auto_scaling_group().auto_scaling_group_name(old).force_delete(true);
    // A group whose successor was never made stays.
    while lives(old) && lives(new) && delete.clone().send().await.is_err() {
        lab.sleep(RETRY_INTERVAL).await;
    }
}

/// A hook is deleted with its waits, and put back after a while.
async fn drop_hook(lab: &Lab, operator: &Client, group: &str, hook: &Hook, without: Duration) {
    let delete =
        operator.delete_lifecycle_hook().auto_scaling_group_name(group).lifecycle_hook_name(&hook.name);
    if delete.send().await.is_err() {
        // Throttled: another time.
        return;
    }
    lab.sleep(without).await;
    let transition = match hook.transition {
        Transition::Launching => "LAUNCHING",
        Transition::Terminating => "TERMINATING",
    };
    let result = match hook.default_result {
        HookResult::Continue => "CONTINUE",
        HookResult::Abandon => "ABANDON",
    };
    let heartbeat = i32::try_from(hook.heartbeat_timeout.as_secs()).unwrap_or(i32::MAX);
    let put = || operator::hook(operator, group, &hook.name, transition, heartbeat, result);
    let exists = || lab.world(|world| world.autoscaling.group(group).is_some());
    while exists() && put().await.is_err() {
        lab.sleep(RETRY_INTERVAL).await;
    }
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

/// How long images are pending that never get ready: longer than every hook.
const FOR_EVER: Duration = Duration::from_secs(30 * 24 * 3_600);

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
        let usual = Duration::from_secs(random.random_range(30..2_400));
        let image = ImageScript {
            pending: if ill(random) && random.random_bool(0.3) { FOR_EVER } else { usual },
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
