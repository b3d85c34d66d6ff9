//! An account with an image that can be launched, and short words for what tests do with templates and
//! groups.

use std::cell::RefCell;
use std::fmt::Debug;
use std::time::Duration;

use aws_sdk_autoscaling::operation::create_auto_scaling_group::builders::CreateAutoScalingGroupFluentBuilder;
use aws_sdk_autoscaling::types::{Activity, LaunchTemplateSpecification};
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::builders::RequestLaunchTemplateDataBuilder;
use aws_sdk_ec2::types::{
    Filter, InstanceType, LaunchTemplateVersion, RequestLaunchTemplateData, ResponseLaunchTemplateData,
};
use lifecycle_lab::ec2::Image;
use lifecycle_lab::{Lab, Moment, Sight, What, World};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

pub(crate) const GROUP: &str = "web";

pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) autoscaling: aws_sdk_autoscaling::Client,
    /// An image that every instance type of the architecture `x86_64` can launch.
    pub(crate) image: String,
    moments: RefCell<(UnboundedReceiver<Moment>, Vec<Moment>)>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let lab = Lab::new("2026-03-01T12:00:00Z".parse().unwrap(), 7);
        lab.world(|world| world.delays.boot = Duration::ZERO);
        let sdk = lab.sdk_config("operator");
        // A refusal is a test's subject here, never something to try again.
        let config = aws_sdk_ec2::config::Builder::from(&sdk).retry_config(RetryConfig::disabled()).build();
        let moments = RefCell::new((lab.observe(), Vec::new()));
        let ec2 = aws_sdk_ec2::Client::from_conf(config);
        let autoscaling = aws_sdk_autoscaling::Client::new(&sdk);
        let mut scene = Self { lab, ec2, autoscaling, image: String::new(), moments };
        scene.image = scene.add_image("base", |_| {});
        scene
    }

    /// An available image from an hour ago, with a change.
    pub(crate) fn add_image(&self, name: &str, change: impl FnOnce(&mut Image)) -> String {
        self.lab.world(|world| {
            let mut image = Image::new(name, world.now() - Duration::from_secs(3600));
            change(&mut image);
            world.add_image(image)
        })
    }

    /// Parameters from which an instance can be launched.
    pub(crate) fn data(&self) -> RequestLaunchTemplateDataBuilder {
        RequestLaunchTemplateData::builder().image_id(&self.image).instance_type(InstanceType::T3Micro)
    }

    /// Creates the template `web`. Returns its id.
    pub(crate) async fn template(&self, data: RequestLaunchTemplateDataBuilder) -> String {
        self.template_named("web", data).await
    }

    pub(crate) async fn template_named(&self, name: &str, data: RequestLaunchTemplateDataBuilder) -> String {
        let create = self.ec2.create_launch_template().launch_template_name(name);
        let created = create.launch_template_data(data.build()).send().await.unwrap();
        created.launch_template.unwrap().launch_template_id.unwrap()
    }

    /// Adds a version that is based on no other. Returns its number.
    pub(crate) async fn version(&self, template: &str, data: RequestLaunchTemplateDataBuilder) -> i64 {
        let create = self.ec2.create_launch_template_version().launch_template_id(template);
        let created = create.launch_template_data(data.build()).send().await.unwrap();
        created.launch_template_version.unwrap().version_number.unwrap()
    }

    pub(crate) async fn set_default(&self, template: &str, version: i64) {
        let modify = self.ec2.modify_launch_template().launch_template_id(template);
        modify.default_version(version.to_string()).send().await.unwrap();
    }

    /// One version of a template.
    pub(crate) async fn describe(&self, template: &str, version: &str) -> LaunchTemplateVersion {
        let describe = self.ec2.describe_launch_template_versions().launch_template_id(template);
        let versions = describe.versions(version).send().await.unwrap().launch_template_versions.unwrap();
        let [version] = versions.try_into().unwrap();
        version
    }

    pub(crate) async fn data_of(&self, template: &str, version: &str) -> ResponseLaunchTemplateData {
        self.describe(template, version).await.launch_template_data.unwrap()
    }

    /// A request for the group `web`, of 0 to 9 instances, in the default VPC.
    pub(crate) fn group(&self) -> CreateAutoScalingGroupFluentBuilder {
        let group = self.autoscaling.create_auto_scaling_group().auto_scaling_group_name(GROUP);
        group.min_size(0).max_size(9).availability_zones("us-east-1a")
    }

    /// Creates the group `web` of so many instances that follows a version of the template `web`.
    pub(crate) async fn group_of(&self, desired: i32, version: &str) -> Vec<String> {
        let group = self.group().launch_template(named("web", version)).desired_capacity(desired);
        group.send().await.unwrap();
        self.in_service(desired as usize).await
    }

    pub(crate) async fn set_desired(&self, desired: i32) {
        let set = self.autoscaling.set_desired_capacity().auto_scaling_group_name(GROUP);
        set.desired_capacity(desired).send().await.unwrap();
    }

    /// Waits until so many instances are in service. Returns their ids, the oldest first.
    pub(crate) async fn in_service(&self, count: usize) -> Vec<String> {
        let serving = |world: &World| -> Vec<String> {
            let all = world.autoscaling.instances().filter(|instance| instance.state == "InService");
            all.map(|instance| instance.id.clone()).collect()
        };
        let limit = Duration::from_secs(3600);
        let reached = self.lab.until(limit, |world| serving(world).len() == count).await;
        assert!(reached, "never {count} in service: {:#?}", self.lab.world(|world| serving(world)));
        self.lab.world(|world| serving(world))
    }

    pub(crate) async fn sleep(&self, seconds: u64) {
        self.lab.sleep(Duration::from_secs(seconds)).await;
    }

    /// The group's scaling activities, newest first.
    pub(crate) async fn activities(&self) -> Vec<Activity> {
        let describe = self.autoscaling.describe_scaling_activities().auto_scaling_group_name(GROUP);
        describe.send().await.unwrap().activities.unwrap_or_default()
    }

    /// The image and the template's version of each instance that EC2 runs, by launch time.
    pub(crate) async fn running(&self) -> Vec<(String, String)> {
        let describe = self.ec2.describe_instances().filters(filter("instance-state-name", &["running"]));
        let reservations = describe.send().await.unwrap().reservations.unwrap_or_default();
        let mut instances: Vec<_> = reservations.into_iter().flat_map(|one| one.instances.unwrap()).collect();
        instances.sort_by_key(|instance| instance.launch_time);
        let running = instances.into_iter().map(|instance| {
            let tags = instance.tags.unwrap_or_default();
            let version = tags.iter().find(|tag| tag.key() == Some("aws:ec2launchtemplate:version"));
            (instance.image_id.unwrap(), version.unwrap().value().unwrap().to_owned())
        });
        running.collect()
    }

    /// Everything that happened so far.
    fn moments(&self) -> Vec<Moment> {
        let (receiver, moments) = &mut *self.moments.borrow_mut();
        while let Ok(moment) = receiver.try_recv() {
            moments.push(moment);
        }
        moments.clone()
    }

    /// Every event that left AWS.
    pub(crate) fn events(&self) -> Vec<Value> {
        let sent = self.moments().into_iter().filter_map(|moment| match moment.what {
            What::Sent(event) => Some(event),
            _ => None,
        });
        sent.collect()
    }

    /// What was seen of templates, one line each.
    pub(crate) fn sights(&self) -> Vec<String> {
        let seen = self.moments().into_iter().filter_map(|moment| match moment.what {
            What::Seen(Sight::TemplateVersion { name, version, state, .. }) => {
                Some(format!("{name} {version} {state}"))
            }
            What::Seen(Sight::TemplateDefault { name, version, .. }) => {
                Some(format!("{name} default {version}"))
            }
            _ => None,
        });
        seen.collect()
    }
}

/// A template by name, and a version of it.
pub(crate) fn named(name: &str, version: &str) -> LaunchTemplateSpecification {
    LaunchTemplateSpecification::builder().launch_template_name(name).version(version).build()
}

pub(crate) fn filter(name: &str, values: &[&str]) -> Filter {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}

/// The code and the text of a refusal.
pub(crate) fn refusal<T: Debug, E: ProvideErrorMetadata + Debug>(
    result: Result<T, SdkError<E>>,
) -> (String, String) {
    let error = result.unwrap_err();
    (error.code().unwrap_or_default().to_owned(), error.message().unwrap_or_default().to_owned())
}

pub(crate) fn refused(code: &str, text: impl Into<String>) -> (String, String) {
    (code.to_owned(), text.into())
}
