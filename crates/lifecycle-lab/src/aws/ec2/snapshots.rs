//! The snapshots of images: `DescribeSnapshots`, `DeleteSnapshot`. The lab has only those of its own account.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::filters::{self, Filter};
use super::tags::tag_set;
use super::{Answer, Ec2, Image, Tags, done, page, well_formed};
use crate::aws::error::ApiError;
use crate::aws::request::Text;
use crate::aws::world::{ACCOUNT, World, timestamp};

/// The size of a volume, in GiB, where nothing says another.
pub(super) const SIZE: u32 = 8;

/// A snapshot.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its id.
    pub id: String,
    /// The volume that it was taken of.
    pub volume: String,
    /// The volume's size, in GiB.
    pub size: u32,
    /// `pending`, `completed` or `error`.
    pub state: &'static str,
    /// When it was begun, which is the point in time that it shows.
    pub started: DateTime<Utc>,
    /// Its tags.
    pub tags: Tags,
    /// Its description.
    pub description: String,
}

impl Ec2 {
    /// The snapshot of this id.
    pub fn snapshot(&self, id: &str) -> Option<&Snapshot> {
        self.snapshots.get(id)
    }

    /// Every snapshot of this account.
    pub fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.snapshots.values()
    }

    /// The ids of the registered images that use a snapshot, the newest first.
    pub(super) fn users_of(&self, snapshot: &str) -> Vec<&str> {
        let uses = |image: &&Image| {
            image.is_registered() && image.devices.iter().any(|device| device.snapshot == snapshot)
        };
        let mut users: Vec<_> = self.images.values().filter(uses).collect();
        users.sort_by_key(|image| std::cmp::Reverse(image.created));
        users.into_iter().map(|image| image.id.as_str()).collect()
    }
}

pub(super) fn find_mut<'a>(world: &'a mut World, id: &str) -> Result<&'a mut Snapshot, ApiError> {
    well_formed("InvalidSnapshotID.Malformed", "snap", id)?;
    world.ec2.snapshots.get_mut(id).ok_or_else(|| unknown(id))
}

pub(super) fn unknown(id: &str) -> ApiError {
    ApiError::new("InvalidSnapshot.NotFound", format!("The snapshot '{id}' does not exist."))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeSnapshots {
    #[serde(rename = "SnapshotId", default)]
    ids: Vec<String>,
    #[serde(rename = "Owner", default)]
    owners: Vec<String>,
    #[serde(rename = "Filter", default)]
    filters: Vec<Filter>,
    max_results: Option<Text<usize>>,
    next_token: Option<String>,
}

const FILTERS: [&str; 7] =
    ["description", "owner-id", "snapshot-id", "start-time", "status", "volume-id", "volume-size"];

pub(super) fn describe(world: &mut World, describe: DescribeSnapshots) -> Answer {
    let DescribeSnapshots { ids, owners, filters, max_results, next_token } = describe;
    filters::check(&filters, &FILTERS)?;
    for id in &ids {
        find_mut(world, id)?;
    }
    let own = owners.is_empty() || owners.iter().any(|owner| owner == "self" || owner == ACCOUNT);
    let wanted = world.ec2.snapshots.values().filter(|snapshot| {
        own && (ids.is_empty() || ids.contains(&snapshot.id))
            && filters::pass(&filters, &snapshot.tags, |field| vec![value_of(snapshot, field)])
    });
    let items = wanted.map(|snapshot| (&snapshot.id, snapshot));
    page("snapshotSet", items, snapshot_json, world.ec2.page_size, max_results, next_token)
}

fn value_of(snapshot: &Snapshot, field: &str) -> String {
    match field {
        "description" => snapshot.description.clone(),
        "owner-id" => ACCOUNT.to_owned(),
        "snapshot-id" => snapshot.id.clone(),
        "start-time" => timestamp(snapshot.started),
        "status" => snapshot.state.to_owned(),
        "volume-id" => snapshot.volume.clone(),
        _ => snapshot.size.to_string(),
    }
}

fn snapshot_json(snapshot: &Snapshot) -> Value {
    json!({
        "snapshotId": snapshot.id,
        "volumeId": snapshot.volume,
        "status": snapshot.state,
        "startTime": timestamp(snapshot.started),
        "progress": if snapshot.state == "completed" { "100%" } else { "0%" },
        "ownerId": ACCOUNT,
        "volumeSize": snapshot.size,
        "description": snapshot.description,
        "encrypted": false,
        "storageTier": "standard",
        "tagSet": tag_set(&snapshot.tags),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeleteSnapshot {
    snapshot_id: String,
}

pub(super) fn delete(world: &mut World, delete: DeleteSnapshot) -> Answer {
    let id = delete.snapshot_id;
    find_mut(world, &id)?;
    let users = world.ec2.users_of(&id).join(", ");
    if !users.is_empty() {
        let text = format!("The snapshot {id} is currently in use by {users}");
        return Err(ApiError::new("InvalidSnapshot.InUse", text));
    }
    world.ec2.snapshots.remove(&id);
    done()
}
