//! What the tests share: a lab with a launch template and the backups of an instance, the function deployed in
//! it, and the samples.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(dead_code, reason = "each test binary uses a part")]

use std::time::Duration;

use aws_sdk_ec2::types::builders::RequestLaunchTemplateDataBuilder;
use aws_sdk_ec2::types::{
    InstanceType, LaunchTemplateTagSpecificationRequest, RequestLaunchTemplateData, ResourceType, Tag,
};
use chrono::{DateTime, Utc};
use lifecycle_lab::ec2::Image;
use lifecycle_lab::{Lab, RunError};
use lt_ami_refresher::{Context, NAME};
use serde_json::{Value, json};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// The VPC where the instances are, not the default one.
pub(crate) const VPC: &str = "vpc-0a0b0c0d0e0f00001";

/// A launch template `web` whose only version has yesterday's backup of the instance `web`; today's is there.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) autoscaling: aws_sdk_autoscaling::Client,
    /// The launch template's id.
    pub(crate) template: String,
    /// Yesterday's backup.
    pub(crate) old: String,
    /// Today's.
    pub(crate) new: String,
    pub(crate) subnet: String,
    /// The security group `web` of the VPC, which the version names.
    pub(crate) web: String,
    /// The security group `admin` of the same VPC.
    pub(crate) admin: String,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(|scene| scene.data()).await
    }

    /// The same, with this first version.
    pub(crate) async fn with(data: impl FnOnce(&Self) -> RequestLaunchTemplateDataBuilder) -> Self {
        let lab = Lab::new("2026-11-21T08:00:00Z".parse().unwrap(), 5);
        Self::inside(lab, data).await
    }

    /// The same in this lab.
    pub(crate) async fn inside(
        lab: Lab,
        data: impl FnOnce(&Self) -> RequestLaunchTemplateDataBuilder,
    ) -> Self {
        let today = lab.now() - 5 * HOUR;
        let (old, new) = (today - 24 * HOUR, today);
        let mut scene = Self {
            ec2: aws_sdk_ec2::Client::new(&lab.sdk_config("operator")),
            autoscaling: aws_sdk_autoscaling::Client::new(&lab.sdk_config("operator")),
            template: String::new(),
            old: backup(&lab, old),
            new: backup(&lab, new),
            subnet: lab.world(|world| world.add_subnet(VPC, "us-east-1a")),
            web: lab.world(|world| world.add_security_group("web", VPC)),
            admin: lab.world(|world| world.add_security_group("admin", VPC)),
            lab,
        };
        let create = scene.ec2.create_launch_template().launch_template_name("web");
        let created = create.launch_template_data(data(&scene).build()).send().await.unwrap();
        scene.template = created.launch_template.unwrap().launch_template_id.unwrap();
        scene
    }

    /// What the first version says.
    pub(crate) fn data(&self) -> RequestLaunchTemplateDataBuilder {
        self.bare().security_group_ids(&self.web)
    }

    /// The same without security groups.
    pub(crate) fn bare(&self) -> RequestLaunchTemplateDataBuilder {
        let tags = Tag::builder().key("Name").value("web").build();
        let tags =
            LaunchTemplateTagSpecificationRequest::builder().resource_type(ResourceType::Instance).tags(tags);
        RequestLaunchTemplateData::builder()
            .image_id(&self.old)
            .instance_type(InstanceType::T3Micro)
            .key_name("operator")
            .user_data("IyEvYmluL3No")
            .tag_specifications(tags.build())
    }

    /// Adds a version that says what the source says, but for this. Returns its number.
    pub(crate) async fn add_version(&self, source: i64, data: RequestLaunchTemplateDataBuilder) -> i64 {
        let create = self.ec2.create_launch_template_version().launch_template_id(&self.template);
        let create = create.source_version(source.to_string()).launch_template_data(data.build());
        create.send().await.unwrap().launch_template_version.unwrap().version_number.unwrap()
    }

    pub(crate) async fn make_default(&self, version: i64) {
        let modify = self.ec2.modify_launch_template().launch_template_id(&self.template);
        modify.default_version(version.to_string()).send().await.unwrap();
    }

    pub(crate) async fn delete_version(&self, version: i64) {
        let delete = self.ec2.delete_launch_template_versions().launch_template_id(&self.template);
        delete.versions(version.to_string()).send().await.unwrap();
    }

    /// A group in the VPC that launches from the template, with this many instances in service.
    pub(crate) async fn add_group(&self, name: &str, version: &str, size: i32) {
        let from = aws_sdk_autoscaling::types::LaunchTemplateSpecification::builder();
        let from = from.launch_template_id(&self.template).version(version).build();
        let create = self.autoscaling.create_auto_scaling_group().auto_scaling_group_name(name);
        let create = create.launch_template(from).vpc_zone_identifier(&self.subnet);
        create.min_size(0).max_size(9).desired_capacity(size).send().await.unwrap();
        self.settle(name, size).await;
    }

    /// Waits until the group has this many instances in service, and no other ones.
    pub(crate) async fn settle(&self, group: &str, size: i32) {
        let size = usize::try_from(size).unwrap();
        let settled = |world: &lifecycle_lab::World| {
            let states: Vec<_> =
                world.autoscaling.instances().filter(|one| one.group == group).map(|one| one.state).collect();
            states.len() == size && states.iter().all(|state| *state == "InService")
        };
        assert!(self.lab.until(HOUR, settled).await, "{group} has never had {size} instances");
    }

    /// The images of the group's instances.
    pub(crate) fn images(&self, group: &str) -> Vec<String> {
        self.lab.world(|world| {
            let members = world.autoscaling.instances().filter(|one| one.group == group);
            let instances = members.filter_map(|one| world.ec2.instance(&one.id));
            instances.map(|instance| instance.image.clone()).collect()
        })
    }

    /// The number of the default version.
    pub(crate) fn default_version(&self) -> i64 {
        self.lab.world(|world| world.ec2.launch_template("web").unwrap().default_version.try_into().unwrap())
    }

    /// What a version says: `{"ImageId": "ami-…"}`.
    pub(crate) fn version(&self, number: i64) -> Value {
        self.lab.world(|world| {
            let template = world.ec2.launch_template("web").unwrap();
            template.versions[&number.try_into().unwrap()].data.clone()
        })
    }

    /// The numbers and images of all versions: `1: ami-…`.
    pub(crate) fn versions(&self) -> Vec<String> {
        self.lab.world(|world| {
            let versions = world.ec2.launch_template("web").unwrap().versions.values();
            let image = |data: &Value| self.plain(data["ImageId"].as_str().unwrap());
            versions.map(|version| format!("{}: {}", version.number, image(&version.data))).collect()
        })
    }

    /// The function with these variables, in this process, with the rules of its template.
    pub(crate) fn deploy(&self, variables: &[(&str, &str)]) {
        testkit::deploy::<Context>(&self.lab, &with_names(variables), MINUTE);
    }

    /// The rules of the function's template.
    pub(crate) fn add_rules(&self) {
        for (source, kinds) in [
            ("aws.ec2", json!(["EC2 AMI State Change"])),
            ("aws.backup", json!(["Backup Job State Change", "Copy Job State Change"])),
        ] {
            self.lab.add_rule(&json!({ "source": [source], "detail-type": kinds }), NAME).unwrap();
        }
    }

    /// Invokes the deployed function once.
    pub(crate) async fn invoke(&self, payload: Value) -> Result<Value, RunError> {
        self.lab.invoke(NAME, payload, 1).await
    }

    /// The function's calls so far: `DescribeImages: ok`.
    pub(crate) fn calls(&self) -> Vec<String> {
        testkit::calls(&self.lab, NAME)
    }

    /// Those of them that would have changed something.
    pub(crate) fn writes(&self) -> Vec<String> {
        let reads = |call: &String| call.starts_with("Describe") || call.starts_with("Get");
        self.calls().into_iter().filter(|call| !reads(call)).collect()
    }

    /// A text with names in the place of random ids.
    pub(crate) fn plain(&self, text: &str) -> String {
        let names = [
            (&self.template, "LT"),
            (&self.old, "OLD"),
            (&self.new, "NEW"),
            (&self.web, "SG-WEB"),
            (&self.admin, "SG-ADMIN"),
        ];
        let mut text = text.to_owned();
        for (id, name) in names.into_iter().filter(|(id, _)| !id.is_empty()) {
            text = text.replace(id.as_str(), name);
        }
        // The function's own token is the digits of a hash; the SDK's is a UUID.
        let lines = text.split_inclusive('\n').map(|line| match line.strip_prefix("  ClientToken=") {
            Some(token) if token.contains('-') => "  ClientToken=of the SDK\n",
            _ => line,
        });
        lines.collect()
    }

    /// Invokes the function with a minute's time and describes everything that it did.
    pub(crate) async fn play(&self, variables: &[(&str, &str)], payload: Value) -> String {
        let before = self.lab.transcript(NAME).len();
        let played = testkit::play::<Context>(&self.lab, &with_names(variables), payload, MINUTE).await;
        assert_eq!(played.lines.len(), 1, "one line for one run");
        let outcome = played.outcome();
        let end = played.end.map_or_else(|error| error, |answer| format!("answer: {answer}"));
        let conversation = self.lab.transcript(NAME);
        self.plain(&format!(
            "{}{end}
metric: {outcome}
",
            &conversation[before..]
        ))
    }

    /// The same, of the calls only their names and outcomes.
    pub(crate) async fn play_calls(&self, variables: &[(&str, &str)], payload: Value) -> String {
        let before = self.calls().len();
        let played = self.play(variables, payload).await;
        let calls: String = self.calls()[before..].iter().map(|call| format!("{call}\n")).collect();
        let end = played.lines().skip_while(|line| line.starts_with("POST") || line.starts_with(' '));
        calls + &end.map(|line| format!("{line}\n")).collect::<String>()
    }
}

/// A backup of the instance `web`. Returns its id.
pub(crate) fn backup(lab: &Lab, created: DateTime<Utc>) -> String {
    let image = backup_named(&format!("AwsBackup_i-0123_{}", created.timestamp()), created);
    lab.world(|world| world.add_image(image))
}

/// A backup of the instance `web` with this name, with the tags that AWS Backup gives to it.
pub(crate) fn backup_named(name: &str, created: DateTime<Utc>) -> Image {
    let mut image = Image::new(name, created);
    image.tags.insert("Name".to_owned(), "web".to_owned());
    image.tags.insert("aws:backup:source-resource".to_owned(), "i-0123".to_owned());
    image
}

/// The event that this image is available.
pub(crate) fn available(image: &str, time: DateTime<Utc>) -> Value {
    json!({
        "source": "aws.ec2",
        "detail-type": "EC2 AMI State Change",
        "time": time,
        "detail": { "ImageId": image, "State": "available" },
    })
}

/// The variables, with the instance and the template `web` where they say no other.
pub(crate) fn with_names<'a>(variables: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let all = [("EC2_INSTANCE_NAME", "web"), ("LAUNCH_TEMPLATE_NAME", "web")];
    let named = variables.iter().any(|(name, _)| *name == "LAUNCH_TEMPLATE_ID");
    let all = all.into_iter().filter(|(name, _)| !(named && *name == "LAUNCH_TEMPLATE_NAME"));
    all.chain(variables.iter().copied()).collect()
}

/// A sample of `events/lt-ami-refresher`.
pub(crate) fn sample(name: &str) -> Value {
    testkit::sample(NAME, name)
}
