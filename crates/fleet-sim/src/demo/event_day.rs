//! An event day with lt-ami-refresher: the nightly backup of a web server becomes the default of its group's launch
//! template, and the scheduled scale-out launches from it; then an operator creates a version by hand. It has a lab
//! of its own, so that no other function's sweeps run through the night.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_sdk_autoscaling::types::LaunchTemplateSpecification;
use aws_sdk_ec2::types::builders::RequestLaunchTemplateDataBuilder;
use aws_sdk_ec2::types::{
    InstanceType, LaunchTemplateTagSpecificationRequest, RequestLaunchTemplateData, ResourceType, Tag,
};
use chrono::{DateTime, TimeDelta, Utc};
use fleet::functions::{DAY, deploy_lt_ami_refresher};
use fleet::timeline::{Story, Timeline, View};
use lifecycle_lab::ec2::{Image, ImageScript, LaunchTemplate};
use lifecycle_lab::{Lab, World};
use lt_ami_refresher::NAME;
use lt_ami_refresher::config::{EC2_INSTANCE_NAME, LAUNCH_TEMPLATE_NAME};
use serde_json::json;

use super::stage::{JOURNEY, WAIT_TIMEOUT, in_service, reach};

/// The site's instances, their group, launch template and security group.
const WEB: &str = "web";

/// Not the default VPC.
const VPC: &str = "vpc-0a0b0c0d0e0f00001";

/// The morning before: lt-ami-refresher is deployed then, and so its daily run is at 06:00.
const START: &str = "2026-11-26T06:00:00Z";

/// When the backup is made that the group launches from at first, when that of the event day is, and when that
/// day's scheduled actions are.
const LAST_BACKUP: &str = "2026-11-26T03:00:00Z";
const BACKUP: &str = "2026-11-27T03:00:00Z";
const SCALE_OUT: &str = "2026-11-27T08:00:00Z";
const SCALE_IN: &str = "2026-11-27T18:00:00Z";

/// What the backup takes.
const BACKUP_TAKES: Duration = Duration::from_secs(720);

/// The group's size at night and during the event.
const NIGHT: usize = 1;
const EVENT: usize = 3;

/// In this time a group that could not launch launches again: the next daily run fits in, and the longest pause
/// between two tries, a quarter of an hour.
const NEXT_DAY: Duration = Duration::from_secs(24 * 3_600);

const EVENT_DAY: Story = Story {
    number: 4,
    title: "lt-ami-refresher: the group scales out from last night's backup",
    look: "Look at Friday, 03:12: the finished backup becomes the launch template's default version.",
    states: &["Pending", "InService", "Terminating"],
};

/// A group in a VPC that launches from the default version of its launch template.
struct Site {
    lab: Lab,
    ec2: aws_sdk_ec2::Client,
    /// The backup of the night before.
    old: String,
    security_group: String,
}

/// Plays the event day and draws it. An error names the state that was expected and not reached.
pub(crate) async fn play(seed: u64, view: View) -> anyhow::Result<()> {
    let lab = Lab::new(START.parse()?, seed);
    let site = Site::new(&lab).await?;
    deploy_lt_ami_refresher(
        &lab,
        &[(EC2_INSTANCE_NAME, WEB), (LAUNCH_TEMPLATE_NAME, WEB)].into_iter().collect(),
        DAY,
    )?;
    let mut timeline = Timeline::follow(&lab, view);
    timeline.story(EVENT_DAY);
    let played = async {
        let new = site.event_day(&mut timeline).await?;
        site.version_by_hand(&mut timeline, &new).await
    };
    let played = played.await;
    if played.is_err() {
        // Prints every line that led to the error, not only the summary.
        timeline.finish();
    }
    played
}

impl Site {
    async fn new(lab: &Lab) -> anyhow::Result<Self> {
        let mut image = Image::new("AwsBackup_of-the-night-before", LAST_BACKUP.parse()?);
        image.tags.insert("Name".to_owned(), WEB.to_owned());
        image.tags.insert("aws:backup:source-resource".to_owned(), "i-0123456789abcdef0".to_owned());
        let (old, security_group, subnet) = lab.world(|world| {
            let security_group = world.add_security_group(WEB, VPC);
            (world.add_image(image), security_group, world.add_subnet(VPC, "us-east-1a"))
        });
        let ec2 = aws_sdk_ec2::Client::new(&lab.sdk_config("operator"));
        let site = Self { lab: lab.clone(), ec2, old, security_group };

        let first = site.version(&site.old, InstanceType::T3Micro).security_group_ids(&site.security_group);
        let create = site.ec2.create_launch_template().launch_template_name(WEB);
        create.launch_template_data(first.build()).send().await?;
        let launches_from = LaunchTemplateSpecification::builder().launch_template_name(WEB);
        let autoscaling = aws_sdk_autoscaling::Client::new(&lab.sdk_config("operator"));
        let create = autoscaling.create_auto_scaling_group().auto_scaling_group_name(WEB);
        let create = create.launch_template(launches_from.version("$Default").build());
        let create = create.vpc_zone_identifier(subnet).min_size(0).max_size(i32::try_from(EVENT)?);
        create.desired_capacity(i32::try_from(NIGHT)?).send().await?;
        Ok(site)
    }

    /// A version of the launch template, without security groups.
    fn version(&self, image: &str, instance_type: InstanceType) -> RequestLaunchTemplateDataBuilder {
        let name = Tag::builder().key("Name").value(WEB).build();
        let tags = LaunchTemplateTagSpecificationRequest::builder().resource_type(ResourceType::Instance);
        RequestLaunchTemplateData::builder()
            .image_id(image)
            .instance_type(instance_type)
            .tag_specifications(tags.tags(name).build())
    }

    /// From the night before to the evening. Returns the event day's backup.
    async fn event_day(&self, timeline: &mut Timeline) -> anyhow::Result<String> {
        let lab = &self.lab;
        timeline.headline(
            "A group in a VPC launches from the default version of its launch template, whose image is the backup of the \
             night before. lt-ami-refresher is deployed with its rule and a daily run at 06:00.",
        );
        self.settle(timeline, NIGHT).await?;

        let backup_at = self.sleep_until(BACKUP).await?;
        timeline.headline(&format!(
            "{}: the nightly backup, which takes {} min. Its events wake lt-ami-refresher, and the template follows.",
            backup_at.format("%A, %H:%M"),
            BACKUP_TAKES.as_secs() / 60
        ));
        let script = ImageScript { pending: BACKUP_TAKES, failure: None };
        let new = lab.world(|world| {
            let server = world.autoscaling.instances().next()?.id.clone();
            world.ec2.set_image_script(&server, script);
            world.backup(&server)
        });
        let new = new.context("expected an instance to back up")?;
        timeline.name(&new, "new");
        reach(lab, "a second default version", WAIT_TIMEOUT, |world| {
            template(world).is_some_and(|template| template.default_version == 2)
        })
        .await?;
        timeline.catch_up();
        let after = timeline.reached(&new, "available").map(|available| lab.now() - available);
        ensure!(
            after.is_some_and(|after| after <= JOURNEY),
            "expected that the backup's event wakes {NAME}, found the new default {after:?} after it"
        );

        let scale_out_at = self.sleep_until(SCALE_OUT).await?;
        self.follows(&new)?;
        timeline.headline(&format!(
            "{}: the scheduled scale-out from {NIGHT} to {EVENT} launches from the new image.",
            scale_out_at.format("%A, %H:%M")
        ));
        lab.world(|world| world.run_scheduled_action(WEB, EVENT as u32));
        self.settle(timeline, EVENT).await?;
        let images = self.images();
        let launched = images.iter().filter(|(_, image)| *image == new).count();
        ensure!(
            launched == EVENT - NIGHT
                && images.iter().filter(|(_, image)| *image == self.old).count() == NIGHT,
            "expected {NIGHT} of {} and the others of {new}, found {images:?}",
            self.old
        );

        let scale_in_at = self.sleep_until(SCALE_IN).await?;
        timeline.headline(&format!(
            "{}: scale-in returns to {NIGHT}. The oldest instances go first, so what stays has the new image.",
            scale_in_at.format("%A, %H:%M")
        ));
        lab.world(|world| world.run_scheduled_action(WEB, NIGHT as u32));
        self.settle(timeline, NIGHT).await?;
        let images = self.images();
        ensure!(
            images.iter().all(|(_, image)| *image == new),
            "expected only instances of {new}, found {images:?}"
        );
        Ok(new)
    }

    /// A version that names its security group, from which no instance can be launched into the VPC, and what the
    /// function makes of it: two lines in place of a drawing.
    async fn version_by_hand(&self, timeline: &mut Timeline, image: &str) -> anyhow::Result<()> {
        let lab = &self.lab;
        timeline.outcome("The scale-out launched from the new image.");
        timeline.headline(
            "For the next event an operator creates version 3 by hand, for t3.small, with the security group by its name:",
        );
        let by_hand = self.version(image, InstanceType::T3Small).security_groups(WEB).build();
        let create = self.ec2.create_launch_template_version().launch_template_name(WEB);
        create.launch_template_data(by_hand).send().await?;
        self.ec2.modify_launch_template().launch_template_name(WEB).default_version("3").send().await?;
        lab.world(|world| world.run_scheduled_action(WEB, EVENT as u32));
        let failure = |world: &World| {
            let mut activities = world.autoscaling.activities().iter().rev();
            activities
                .find(|activity| activity.status == "Failed")
                .and_then(|activity| activity.message.clone())
        };
        reach(lab, "a launch that fails", WAIT_TIMEOUT, |world| failure(world).is_some()).await?;
        let failure = lab.world(|world| failure(world)).unwrap_or_default();
        ensure!(
            failure.starts_with("The parameter groupName cannot be used with the parameter subnet."),
            "expected that the security group's name is refused, found {failure:?}"
        );
        timeline.note(&format!("by hand: {failure}"));

        let settled = |world: &World| in_service(world) == EVENT;
        reach(lab, "the launches of the day after", NEXT_DAY, settled).await?;
        let fourth = self.template(|template| template.versions.get(&4).cloned()).flatten();
        let fourth = fourth.with_context(|| format!("expected a version 4 by {NAME}"))?;
        ensure!(
            fourth.data["SecurityGroupId"] == json!([self.security_group])
                && fourth.data["SecurityGroup"].is_null()
                && fourth.data["InstanceType"] == "t3.small",
            "expected the security group's id in place of its name, found {}",
            fourth.data
        );
        let daily_run = START.parse::<DateTime<Utc>>()?.time();
        ensure!(
            (TimeDelta::zero()..=JOURNEY).contains(&(fourth.created.time() - daily_run)),
            "expected version 4 from the daily run, found it made at {}",
            fourth.created
        );
        let launched = lab.world(|world| {
            let instances = world.autoscaling.instances().filter_map(|one| world.ec2.instance(&one.id));
            let version = instances.filter_map(|one| one.tags.get("aws:ec2launchtemplate:version"));
            version.filter(|version| *version == "4").count()
        });
        ensure!(launched == EVENT - NIGHT, "expected the new instances from version 4, found {launched}");
        ensure!(lab.failures().is_empty(), "expected no failed event, found {:?}", lab.failures());
        timeline.note(&format!(
            "by lt-ami-refresher's daily run: version 4 has {} in its place, and its {} instances are InService",
            self.security_group, launched
        ));
        timeline
            .outcome("Version 3, made by hand, could not launch. The daily run made version 4, which did.");
        Ok(())
    }

    /// Checks that there are two versions, although two events report the backup, and that the second one
    /// differs in its image alone.
    fn follows(&self, new: &str) -> anyhow::Result<()> {
        let versions = self.template(|template| {
            template.versions.values().map(|version| version.data.clone()).collect::<Vec<_>>()
        });
        let versions = versions.unwrap_or_default();
        let [first, second] = versions.as_slice() else {
            anyhow::bail!("expected two versions, found {versions:?}");
        };
        let mut expected = first.clone();
        expected["ImageId"] = json!(new);
        ensure!(*second == expected, "expected {new} in a version that says {expected}, found {second}");
        Ok(())
    }

    /// Waits until the group has so many instances, all in service; the viewer will know them by their image.
    async fn settle(&self, timeline: &mut Timeline, size: usize) -> anyhow::Result<()> {
        let settled =
            |world: &World| in_service(world) == size && world.autoscaling.instances().count() == size;
        reach(&self.lab, &format!("{size} instances in service"), WAIT_TIMEOUT, settled).await?;
        for (id, image) in self.images() {
            timeline.name(&id, if image == self.old { "old image" } else { "new image" });
        }
        Ok(())
    }

    /// The instances and their images.
    fn images(&self) -> Vec<(String, String)> {
        self.lab.world(|world| {
            let instances = world.autoscaling.instances().filter_map(|one| world.ec2.instance(&one.id));
            instances.map(|instance| (instance.id.clone(), instance.image.clone())).collect()
        })
    }

    fn template<T>(&self, read: impl FnOnce(&LaunchTemplate) -> T) -> Option<T> {
        self.lab.world(|world| template(world).map(read))
    }

    async fn sleep_until(&self, time: &str) -> anyhow::Result<DateTime<Utc>> {
        let time: DateTime<Utc> = time.parse()?;
        self.lab.sleep((time - self.lab.now()).to_std()?).await;
        Ok(time)
    }
}

fn template(world: &World) -> Option<&LaunchTemplate> {
    world.ec2.launch_template(WEB)
}
