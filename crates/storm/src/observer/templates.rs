//! The invariants of the launch template: its default version can be launched, follows the newest backup and is never
//! created twice, and versions in use are never deleted.

use chrono::{DateTime, Utc};
use lifecycle_lab::ec2::{LaunchTemplate, TemplateVersion};
use lifecycle_lab::{Call, Run, RunError, World};
use serde_json::Value;

use super::{Observer, RunSeen, life};
use crate::backups::{BY_HAND_DESCRIPTION, PINNED_VERSION, SHOP};
use crate::invariant::Invariant;
use crate::scene::KEEP_VERSIONS;

/// What instances of the template's types need.
const ARCHITECTURE: &str = "x86_64";

impl Observer {
    pub(super) fn see_backup(&mut self, at: DateTime<Utc>, image: &str, state: &'static str) {
        self.template.available.remove(image);
        let what = match state {
            "available" => {
                self.template.available.insert(image.to_owned(), at);
                "backup available"
            }
            "failed" => "backup failed",
            _ => return,
        };
        *self.tally.templates.entry(what).or_default() += 1;
    }

    /// A version was made or deleted.
    pub(super) fn see_version(&mut self, number: u64, state: &'static str) {
        let deleted = state == "deleted";
        let what = if deleted { "version deleted" } else { "version made" };
        *self.tally.templates.entry(what).or_default() += 1;
        let invariant = if deleted { Invariant::VersionsInUseStay } else { Invariant::OneVersion };
        self.check(invariant);
        let wrong = self.lab.world(|world| {
            let template = template(world)?;
            if deleted {
                let newer = template.versions.range(number..).count();
                let used =
                    number == PINNED_VERSION || number == template.default_version || newer < KEEP_VERSIONS;
                return used.then(|| format!("version {number} of {SHOP} was deleted, and is in use"));
            }
            let made = template.versions.get(&number)?;
            let mut others = template.versions.values().filter(|other| other.number != number);
            let twin = others.find(|other| other.data == made.data && !is_by_hand(other))?;
            (!is_by_hand(made)).then(|| format!("version {number} of {SHOP} says what {} does", twin.number))
        });
        if let Some(what) = wrong {
            self.violate(invariant, what);
        }
    }

    /// The template has another default version.
    pub(super) fn see_default(&mut self, number: u64) {
        *self.tally.templates.entry("new default").or_default() += 1;
        self.check(Invariant::DefaultCanBeLaunched);
        let wrong = self.lab.world(|world| {
            let Some(version) = template(world).and_then(|template| template.versions.get(&number)) else {
                return Some(format!("version {number} of {SHOP} became the default and does not exist"));
            };
            let image = image_of(version);
            let usable = world.ec2.image(image).is_some_and(|found| {
                found.state == lifecycle_lab::ec2::ImageState::Available && found.architecture == ARCHITECTURE
            });
            (!usable && !is_by_hand(version)).then(|| {
                format!("version {number} of {SHOP} became the default, and {image} can't be launched")
            })
        });
        if let Some(what) = wrong {
            self.violate(Invariant::DefaultCanBeLaunched, what);
        }
    }

    /// Somebody but a function called EC2.
    pub(super) fn touched(&mut self, at: DateTime<Utc>, call: &Call) {
        if ["ModifyLaunchTemplate", "CreateLaunchTemplateVersion"].contains(&call.action.as_str()) {
            self.template.touched = Some(at);
        }
    }

    /// A run of lt-ami-refresher has ended. If nothing disturbed it and nobody else changed the template
    /// meanwhile, the newest backup that was available when it began is the default's image now; one that the
    /// template's instances can't be launched from must be refused.
    pub(super) fn check_template(
        &mut self,
        at: DateTime<Utc>,
        seen: &RunSeen,
        run: &Run,
        result: &Result<Value, RunError>,
    ) {
        let meanwhile = |time: &DateTime<Utc>| *time >= seen.started;
        // No other run is under way: its concurrency is 1.
        let changed = self.template.touched.as_ref().is_some_and(meanwhile)
            || self.template.available.values().any(meanwhile);
        // News of an image that is no backup of the server, or is not available, is rightly ignored.
        let ignored = result.as_ref().is_ok_and(|answer| {
            let image = answer["image.id"].as_str().unwrap_or_default();
            answer["outcome"] == "ignored" && !self.template.available.contains_key(image)
        });
        if !seen.undisturbed || changed || ignored && run.payload.get("detail").is_some() {
            return;
        }
        self.check(Invariant::DefaultFollowsBackup);
        *self.tally.templates.entry("default checked after a run").or_default() += 1;
        let wrong = self.lab.world(|world| {
            let template = template(world)?;
            let images = self.template.available.keys().filter_map(|id| world.ec2.image(id));
            // To the second, as AWS shows it; at the same second no two backups are made.
            let newest = images.max_by_key(|image| image.created)?;
            let default = template.versions.get(&template.default_version).map(image_of);
            let fits = newest.architecture == ARCHITECTURE;
            if fits != result.is_ok() || fits != (default == Some(newest.id.as_str())) {
                let answer = life::answer(result);
                return Some(format!(
                    "an undisturbed run left {default:?} as the image of {SHOP}'s default version, where the newest \
                     backup, {} of {}, {} be launched: {answer}",
                    newest.id,
                    newest.created,
                    if fits { "can" } else { "can't" }
                ));
            }
            // Besides the newest ones, the default, the pinned one, and those that instances run from.
            let count = template.versions.keys().filter(|number| !is_run_from(world, template, **number)).count();
            (fits && count > KEEP_VERSIONS + 2).then(|| format!("{SHOP} still has {count} versions at {at}"))
        });
        if let Some(what) = wrong {
            self.violate(Invariant::DefaultFollowsBackup, what);
        }
    }
}

fn template(world: &World) -> Option<&LaunchTemplate> {
    world.ec2.launch_template(SHOP)
}

/// Whether an instance of a group was launched from this version.
fn is_run_from(world: &World, template: &LaunchTemplate, number: u64) -> bool {
    let number = number.to_string();
    world.autoscaling.instances().filter_map(|instance| world.ec2.instance(&instance.id)).any(|instance| {
        let tag = |key: &str| instance.tags.get(&format!("aws:ec2launchtemplate:{key}"));
        tag("id") == Some(&template.id) && tag("version") == Some(&number)
    })
}

fn image_of(version: &TemplateVersion) -> &str {
    version.data["ImageId"].as_str().unwrap_or_default()
}

fn is_by_hand(version: &TemplateVersion) -> bool {
    version.description.as_deref() == Some(BY_HAND_DESCRIPTION)
}
