//! Instances as EC2 sees them: running as long as Auto Scaling keeps them, also in wait states. `DescribeInstances`.

use std::mem;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::filters::{self, Filter};
use super::snapshots::SIZE;
use super::tags::tag_set;
use super::{Answer, Ec2, Launch, Tags, not_found, page, well_formed};
use crate::aws::error::ApiError;
use crate::aws::request::Text;
use crate::aws::world::{ACCOUNT, REGION, World, timestamp};

/// For how long a terminated instance is still described: usually less than an hour, AWS says.
const REMEMBERED: TimeDelta = TimeDelta::minutes(50);

/// An instance.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// The image that it was launched from.
    pub image: String,
    /// Its state.
    pub state: InstanceState,
    /// Its tags, AWS's own among them.
    pub tags: Tags,
    /// When it was launched.
    pub launched: DateTime<Utc>,
    /// Since when it runs: its launch, or its last start.
    pub runs_since: DateTime<Utc>,
    /// Its Availability Zone.
    pub zone: String,
    /// How often it was rebooted for the sake of an image.
    pub reboots: u32,
    /// What it was launched with, but for image and tags.
    pub(super) launch: Launch,
    /// When it was terminated.
    ended: Option<DateTime<Utc>>,
}

/// The state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceState {
    /// From its launch on. AWS's `pending` is short, and the lab leaves it out.
    Running,
    /// At rest in a warm pool, or failed.
    Stopped,
    /// On its way out.
    ShuttingDown,
    /// Gone.
    Terminated,
}

impl InstanceState {
    /// As AWS spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }

    /// AWS's number for it.
    fn code(self) -> u8 {
        match self {
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopped => 80,
        }
    }

    /// Whether an image can be made of it.
    pub(super) fn is_imageable(self) -> bool {
        matches!(self, Self::Running | Self::Stopped)
    }
}

impl Instance {
    /// Its subnet.
    pub(crate) fn subnet(&self) -> Option<&str> {
        self.launch.subnet.as_deref()
    }
}

impl Ec2 {
    /// The instance of this id, if EC2 still knows it.
    pub fn instance(&self, id: &str) -> Option<&Instance> {
        self.instances.get(id)
    }

    /// Brings an instance into another state. From `Terminated` no way leads back.
    pub(crate) fn set_state(&mut self, id: &str, state: InstanceState, now: DateTime<Utc>) {
        let living = self.instances.get_mut(id).filter(|one| one.state != InstanceState::Terminated);
        if let Some(instance) = living {
            if instance.state == InstanceState::Stopped && state == InstanceState::Running {
                instance.runs_since = now;
            }
            instance.state = state;
            instance.ended = (state == InstanceState::Terminated).then_some(now);
        }
    }

    /// Takes a tag from an instance.
    pub(crate) fn untag(&mut self, id: &str, key: &str) {
        if let Some(instance) = self.instances.get_mut(id) {
            instance.tags.remove(key);
        }
    }

    /// Gives an instance a root volume of this image. It is rebooted for it.
    pub(crate) fn renew_root_volume(&mut self, id: &str, image: &str) {
        if let Some(instance) = self.instances.get_mut(id) {
            instance.image = image.to_owned();
        }
    }

    /// Follows an instance into a lifecycle state of Auto Scaling's.
    pub(crate) fn follow(&mut self, id: &str, lifecycle_state: &str, now: DateTime<Utc>) {
        let state = match lifecycle_state {
            "Pending" => InstanceState::Running,
            "Warmed:Stopped" | "Warmed:Hibernated" => InstanceState::Stopped,
            "Terminating:Proceed" | "Warmed:Terminating:Proceed" => InstanceState::ShuttingDown,
            "Terminated" | "Warmed:Terminated" => InstanceState::Terminated,
            _ => return,
        };
        self.set_state(id, state, now);
    }
}

impl World {
    /// Somebody launches an instance of this architecture with these tags, outside of every group; answers its
    /// id.
    pub fn add_instance(&mut self, architecture: &str, tags: Tags) -> String {
        let id = self.id("i");
        let plain = self.ec2.plain_launch();
        let launch = Launch { architecture: architecture.to_owned(), tags, ..plain };
        self.add_launched(&id, &format!("{REGION}a"), launch);
        id
    }

    /// Auto Scaling launched an instance.
    pub(crate) fn instance_launched(&mut self, id: &str, group: &str, zone: &str, mut launch: Launch) {
        launch.tags.insert("aws:autoscaling:groupName".to_owned(), group.to_owned());
        self.add_launched(id, zone, launch);
    }

    fn add_launched(&mut self, id: &str, zone: &str, mut launch: Launch) {
        let instance = Instance {
            id: id.to_owned(),
            image: mem::take(&mut launch.image),
            state: InstanceState::Running,
            tags: mem::take(&mut launch.tags),
            launched: self.now(),
            runs_since: self.now(),
            zone: zone.to_owned(),
            reboots: 0,
            launch,
            ended: None,
        };
        self.ec2.instances.insert(id.to_owned(), instance);
    }

    /// Somebody terminates an instance in EC2, under its group: its hooks begin when a health check has
    /// noticed, but there is nothing left to make an image of.
    pub fn terminate_in_ec2(&mut self, id: &str) {
        self.fail_instance(id);
        self.ec2.set_state(id, InstanceState::Terminated, self.now());
    }

    fn forget_terminated(&mut self) {
        let now = self.now();
        self.ec2.instances.retain(|_, one| one.ended.is_none_or(|ended| ended + REMEMBERED > now));
    }
}

pub(super) fn find_mut<'a>(world: &'a mut World, id: &str) -> Result<&'a mut Instance, ApiError> {
    world.forget_terminated();
    well_formed("InvalidInstanceID.Malformed", "i", id)?;
    world.ec2.instances.get_mut(id).ok_or_else(|| unknown(&[id.to_owned()]))
}

fn unknown(ids: &[String]) -> ApiError {
    let quotes = ["'", "'"];
    not_found("InvalidInstanceID.NotFound", "The instance ID", "The instance IDs", quotes, ids)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeInstances {
    #[serde(rename = "InstanceId", default)]
    ids: Vec<String>,
    #[serde(rename = "Filter", default)]
    filters: Vec<Filter>,
    max_results: Option<Text<usize>>,
    next_token: Option<String>,
}

const FILTERS: [&str; 11] = [
    "architecture",
    "availability-zone",
    "image-id",
    "instance-id",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "launch-time",
    "root-device-type",
    "subnet-id",
    "vpc-id",
];

pub(super) fn describe(world: &mut World, describe: DescribeInstances) -> Answer {
    let DescribeInstances { ids, filters, max_results, next_token } = describe;
    world.forget_terminated();
    filters::check(&filters, &FILTERS)?;
    for id in &ids {
        well_formed("InvalidInstanceID.Malformed", "i", id)?;
    }
    let instances = &world.ec2.instances;
    let missing: Vec<_> = ids.iter().filter(|id| !instances.contains_key(*id)).cloned().collect();
    if !missing.is_empty() {
        return Err(unknown(&missing));
    }
    if !ids.is_empty() && max_results.is_some() {
        let text = "The parameter instancesSet cannot be used with the parameter maxResults";
        return Err(ApiError::new("InvalidParameterCombination", text));
    }
    let wanted = instances.values().filter(|instance| {
        (ids.is_empty() || ids.contains(&instance.id))
            && filters::pass(&filters, &instance.tags, |field| value_of(instance, field))
    });
    let items = wanted.map(|instance| (&instance.id, instance));
    let reservation_json = |instance: &Instance| {
        json!({
            "reservationId": instance.id.replacen('i', "r", 1),
            "ownerId": ACCOUNT,
            "instancesSet": [instance_json(&world.ec2, instance)],
        })
    };
    page("reservationSet", items, reservation_json, world.ec2.page_size, max_results, next_token)
}

fn value_of(instance: &Instance, field: &str) -> Vec<String> {
    let launch = &instance.launch;
    let value = match field {
        "instance-type" => return launch.instance_type.iter().cloned().collect(),
        "subnet-id" => return launch.subnet.iter().cloned().collect(),
        "vpc-id" => return launch.vpc.iter().cloned().collect(),
        "architecture" => launch.architecture.clone(),
        "availability-zone" => instance.zone.clone(),
        "image-id" => instance.image.clone(),
        "instance-id" => instance.id.clone(),
        "instance-state-code" => instance.state.code().to_string(),
        "instance-state-name" => instance.state.as_str().to_owned(),
        "launch-time" => timestamp(instance.launched),
        _ => launch.root_device_type.clone(),
    };
    vec![value]
}

fn instance_json(ec2: &Ec2, instance: &Instance) -> Value {
    let launch = &instance.launch;
    let devices = ec2.devices_of(launch);
    let mappings = devices.iter().enumerate().map(|(n, (device, _))| {
        let ebs = json!({
            "volumeId": volume(&instance.id, n),
            "status": "attached",
            "attachTime": timestamp(instance.launched),
            "deleteOnTermination": true,
        });
        json!({ "deviceName": device, "ebs": ebs })
    });
    let groups = launch.groups.iter().map(|id| {
        let name = ec2.security_group(id).map(|group| &group.name);
        json!({ "groupId": id, "groupName": name })
    });
    json!({
        "instanceId": instance.id,
        "imageId": instance.image,
        "instanceState": { "code": instance.state.code(), "name": instance.state.as_str() },
        "launchTime": timestamp(instance.launched),
        "placement": { "availabilityZone": instance.zone, "tenancy": "default" },
        "instanceType": launch.instance_type,
        "subnetId": launch.subnet,
        "vpcId": launch.vpc,
        "groupSet": groups.collect::<Vec<_>>(),
        "architecture": launch.architecture,
        "virtualizationType": launch.virtualization_type,
        "hypervisor": "xen",
        "rootDeviceType": launch.root_device_type,
        "rootDeviceName": devices.first().map(|(device, _)| device),
        "blockDeviceMapping": mappings.collect::<Vec<_>>(),
        "tagSet": tag_set(&instance.tags),
    })
}

impl Ec2 {
    /// An instance's devices and their sizes, the root device first.
    pub(super) fn devices_of(&self, launch: &Launch) -> Vec<(String, u32)> {
        let plain = || self.devices.iter().map(|device| (device.clone(), SIZE)).collect();
        launch.devices.clone().unwrap_or_else(plain)
    }
}

/// The id of an instance's volume, made of its own.
pub(super) fn volume(instance: &str, n: usize) -> String {
    format!("vol-{n:x}{}", instance.get("i-0".len()..).unwrap_or_default())
}
