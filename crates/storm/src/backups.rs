//! The account's launch template, and AWS Backup, which makes images of its server. Some backups fail, take hours, or
//! fit no instance type of the template. An operator also creates versions by hand.

use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{InstanceType, RequestLaunchTemplateData};
use fleet::runtime::sdk_config;
use lifecycle_lab::Lab;
use lifecycle_lab::ec2::{Image, ImageScript, ImageState};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::options::Faults;
use crate::weather::ill;

/// The server's `Name` tag, and the launch template's name.
pub(crate) const SHOP: &str = "shop";

/// The beginning of the names of backups.
pub(crate) const BACKUP_PREFIX: &str = "AwsBackup_";

/// The version that stays in use because groups name it by its number.
pub(crate) const PINNED_VERSION: u64 = 1;

/// The description of versions that are created by hand.
pub(crate) const BY_HAND_DESCRIPTION: &str = "by hand";

/// The time between two backups. A storm of a few hours has some.
const BACKUP_INTERVAL: Duration = Duration::from_secs(2 * 3_600);

/// Shortest and longest time of a backup, in seconds: usually, and of a backup with a problem, which others
/// overtake.
const BACKUP_SECONDS: std::ops::Range<u64> = 300..2_400;
const SLOW_BACKUP_SECONDS: std::ops::Range<u64> = 7_200..36_000;

/// Backups of each server that AWS Backup keeps.
const MAX_BACKUPS: usize = 4;

/// The types of instances that versions name; both fit the images of the first server alone.
const TYPES: [InstanceType; 2] = [InstanceType::T3Micro, InstanceType::T3Small];

/// The template, and the servers that backups are made of.
pub(crate) struct Backups {
    lab: Lab,
    ec2: Client,
    random: StdRng,
    /// Of the right architecture, and of the wrong one. Both have the tag.
    servers: [String; 2],
    /// Share of backups that something is wrong with.
    ill: f64,
}

impl Backups {
    pub(crate) async fn new(lab: &Lab, seed: u64, faults: Faults) -> anyhow::Result<Self> {
        let name = || ("Name".to_owned(), SHOP.to_owned());
        let of_backup = || ("aws:backup:source-resource".to_owned(), "i-0123456789abcdef0".to_owned());
        let (servers, image) = lab.world(|world| {
            let yesterday = world.now() - Duration::from_secs(24 * 3_600);
            let image = Image {
                tags: [name(), of_backup()].into(),
                ..Image::new(&format!("{BACKUP_PREFIX}first"), yesterday)
            };
            let servers =
                ["x86_64", "arm64"].map(|architecture| world.add_instance(architecture, [name()].into()));
            (servers, world.add_image(image))
        });
        let ec2 = Client::new(&sdk_config(lab, "operator"));
        let first = RequestLaunchTemplateData::builder().image_id(image).instance_type(TYPES[0].clone());
        let create = ec2.create_launch_template().launch_template_name(SHOP);
        create.launch_template_data(first.build()).send().await?;
        let random = StdRng::seed_from_u64(seed ^ 0xbac_0b5);
        Ok(Self { lab: lab.clone(), ec2, random, servers, ill: ill(faults) })
    }

    /// Makes one backup after the other, for as long as the storm lasts.
    pub(crate) async fn run(mut self, lasts: Duration) {
        let until = self.lab.now() + lasts;
        while self.lab.now() + BACKUP_INTERVAL < until {
            self.lab.sleep(BACKUP_INTERVAL).await;
            if self.random.random_bool(0.2) {
                // Throttled: another time.
                let _ = self.make_by_hand().await;
            }
            let server = &self.servers[usize::from(self.random.random_bool(self.ill))];
            let takes = if self.random.random_bool(self.ill) { SLOW_BACKUP_SECONDS } else { BACKUP_SECONDS };
            let pending = Duration::from_secs(self.random.random_range(takes));
            let fails = self.random.random_bool(self.ill);
            let failure = fails.then(|| "Client.InternalError: the backup failed".to_owned());
            self.lab.world(|world| {
                world.ec2.set_image_script(server, ImageScript { pending, failure });
                world.backup(server)
            });
            self.expire().await;
        }
    }

    /// AWS Backup deletes the oldest recovery points of each server.
    async fn expire(&self) {
        for server in &self.servers {
            let kept = self.lab.world(|world| {
                let images = world.ec2.images().into_iter().rev();
                let of_server = images.filter(|image| image.source_instance.as_ref() == Some(server));
                let available = of_server.filter(|image| image.state == ImageState::Available);
                available.skip(MAX_BACKUPS).map(|image| image.id.clone()).collect::<Vec<_>>()
            });
            for image in kept {
                let _ = self.ec2.deregister_image().image_id(image).send().await;
            }
        }
    }

    /// Somebody tries another type of instances, sometimes for all groups.
    async fn make_by_hand(&mut self) -> anyhow::Result<()> {
        let wanted = TYPES[self.random.random_range(0..TYPES.len())].clone();
        let data = RequestLaunchTemplateData::builder().instance_type(wanted).build();
        let create = self.ec2.create_launch_template_version().launch_template_name(SHOP);
        let create = create.source_version("$Default").version_description(BY_HAND_DESCRIPTION);
        let made = create.launch_template_data(data).send().await?;
        let number = made.launch_template_version.and_then(|version| version.version_number);
        if let Some(number) = number.filter(|_| self.random.random_bool(0.5)) {
            let modify = self.ec2.modify_launch_template().launch_template_name(SHOP);
            modify.default_version(number.to_string()).send().await?;
        }
        Ok(())
    }
}
