//! The rules of EC2's images, snapshots, tags and instances, one test for each, through real SDK clients; and
//! the shapes of EC2's faults.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::create_image::builders::CreateImageFluentBuilder;
use aws_sdk_ec2::operation::describe_images::builders::DescribeImagesFluentBuilder;
use aws_sdk_ec2::types::{Filter, Image as Described, ResourceType, Tag, TagSpecification};
use chrono::{DateTime, Utc};
use lifecycle_lab::ec2::{Device, Ec2, Image, ImageScript, ImageState};
use lifecycle_lab::faults::CallFault;
use lifecycle_lab::{Lab, Moment, Sight, What, World};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

/// A group of instances in service, and EC2.
struct Scene {
    lab: Lab,
    ec2: Client,
    autoscaling: aws_sdk_autoscaling::Client,
    ids: Vec<String>,
    moments: UnboundedReceiver<Moment>,
}

impl Scene {
    async fn of(instances: i32) -> Self {
        let lab = Lab::new("2026-03-01T12:00:00Z".parse().unwrap(), 7);
        lab.world(|world| world.delays.boot = Duration::ZERO);
        let sdk = lab.sdk_config("operator");
        let autoscaling = aws_sdk_autoscaling::Client::new(&sdk);
        let group = autoscaling.create_auto_scaling_group().auto_scaling_group_name("web");
        let group = group.availability_zones("us-east-1a").launch_configuration_name("web");
        group.min_size(0).max_size(9).desired_capacity(instances).send().await.unwrap();
        let all_in_service = |world: &World| {
            let states = world.autoscaling.instances().map(|instance| instance.state);
            states.filter(|state| *state == "InService").count() == instances as usize
        };
        assert!(lab.until(Duration::from_secs(60), all_in_service).await);
        let ids = lab.world(|world| world.autoscaling.instances().map(|one| one.id.clone()).collect());
        // A refusal is a test's subject here, never something to try again.
        let config = aws_sdk_ec2::config::Builder::from(&sdk).retry_config(RetryConfig::disabled()).build();
        let moments = lab.observe();
        Self { ec2: Client::from_conf(config), autoscaling, ids, moments, lab }
    }

    /// A request for an image of the first instance.
    fn order(&self, name: &str) -> CreateImageFluentBuilder {
        self.ec2.create_image().instance_id(&self.ids[0]).name(name).no_reboot(true)
    }

    /// Makes an image of the first instance. Returns its id.
    async fn image(&self, name: &str) -> String {
        self.order(name).send().await.unwrap().image_id.unwrap()
    }

    async fn describe(&self, id: &str) -> Described {
        let images = self.ec2.describe_images().image_ids(id).send().await.unwrap().images.unwrap();
        let [image] = images.try_into().unwrap();
        image
    }

    /// The names of what is found, sorted.
    async fn names(&self, describe: DescribeImagesFluentBuilder) -> Vec<String> {
        let images = describe.send().await.unwrap().images.unwrap_or_default();
        let mut names: Vec<_> = images.into_iter().map(|image| image.name.unwrap()).collect();
        names.sort();
        names
    }

    fn script(&self, seconds: u64, failure: Option<&str>) {
        let script =
            ImageScript { pending: Duration::from_secs(seconds), failure: failure.map(str::to_owned) };
        self.set(|ec2| ec2.set_image_script(&self.ids[0], script));
    }

    fn set<T>(&self, set: impl FnOnce(&mut Ec2) -> T) -> T {
        self.lab.world(|world| set(&mut world.ec2))
    }

    fn add(&self, image: Image) -> String {
        self.lab.world(|world| world.add_image(image))
    }

    async fn sleep(&self, seconds: u64) {
        self.lab.sleep(Duration::from_secs(seconds)).await;
    }

    /// Terminates the first instance, and waits until it is in this state.
    async fn terminate(&self, state: &str) {
        let terminate = self.autoscaling.terminate_instance_in_auto_scaling_group();
        let terminate = terminate.instance_id(&self.ids[0]).should_decrement_desired_capacity(true);
        terminate.send().await.unwrap();
        self.reaches(state).await;
    }

    async fn reaches(&self, state: &str) {
        let there =
            |world: &World| world.autoscaling.instance(&self.ids[0]).map_or("gone", |one| one.state) == state;
        assert!(self.lab.until(Duration::from_secs(3600), there).await, "never {state}");
    }

    async fn put_hook(&self) {
        let put = self.autoscaling.put_lifecycle_hook().auto_scaling_group_name("web");
        let put = put.lifecycle_transition("autoscaling:EC2_INSTANCE_TERMINATING");
        put.lifecycle_hook_name("drain").heartbeat_timeout(300).send().await.unwrap();
    }

    /// What EC2 has sent out since the last look.
    fn events(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Ok(moment) = self.moments.try_recv() {
            match moment.what {
                What::Sent(event) if event["source"] == "aws.ec2" => events.push(event),
                _ => {}
            }
        }
        events
    }
}

/// The code and the text of a refusal.
fn refusal<T: Debug, E: ProvideErrorMetadata + Debug>(result: Result<T, SdkError<E>>) -> (String, String) {
    let error = result.unwrap_err();
    (error.code().unwrap_or_default().to_owned(), error.message().unwrap_or_default().to_owned())
}

fn refused(code: &str, text: impl Into<String>) -> (String, String) {
    (code.to_owned(), text.into())
}

fn filter(name: &str, values: &[&str]) -> Filter {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

fn tagged(kind: &str, tags: impl IntoIterator<Item = Tag>) -> TagSpecification {
    let tags = tags.into_iter().collect();
    TagSpecification::builder().resource_type(ResourceType::from(kind)).set_tags(Some(tags)).build()
}

fn tags(tags: &[Tag]) -> BTreeMap<&str, &str> {
    tags.iter().map(|tag| (tag.key().unwrap(), tag.value().unwrap())).collect()
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_image_is_pending_and_then_available_and_an_event_says_so() {
    let mut scene = Scene::of(1).await;
    scene.script(600, None);

    let id = scene.order("post-mortem").description("why").send().await.unwrap().image_id.unwrap();
    scene.sleep(1).await;
    let pending = scene.describe(&id).await;
    assert_eq!(pending.state().unwrap().as_str(), "pending");
    assert_eq!((pending.name(), pending.description()), (Some("post-mortem"), Some("why")));
    assert_eq!(pending.source_instance_id(), Some(scene.ids[0].as_str()));
    assert_eq!((pending.owner_id(), pending.public()), (Some(lifecycle_lab::ACCOUNT), Some(false)));
    assert_eq!(pending.creation_date(), Some("2026-03-01T12:00:07.000Z"), "to the second, with zeros");
    let snapshot = pending.block_device_mappings()[0].ebs().unwrap().snapshot_id().unwrap().to_owned();
    assert!(scene.events().is_empty());

    scene.sleep(600).await;
    assert_eq!(scene.describe(&id).await.state().unwrap().as_str(), "available");
    let [event] = scene.events().try_into().unwrap();
    assert_eq!(event["detail-type"], "EC2 AMI State Change");
    assert_eq!(event["resources"], json!([format!("arn:aws:ec2:us-east-1::image/{id}")]));
    let detail = &event["detail"];
    assert_eq!(detail["RequestId"].as_str().map(str::len), Some(36));
    assert_eq!((&detail["ImageId"], &detail["State"]), (&json!(id), &json!("available")));
    assert_eq!(detail["ErrorMessage"], "");
    let snapshots = scene.ec2.describe_snapshots().snapshot_ids(snapshot).send().await.unwrap();
    let [snapshot] = snapshots.snapshots() else { panic!("{snapshots:?}") };
    assert_eq!(snapshot.state().unwrap().as_str(), "completed");
    assert_eq!(
        snapshot.description(),
        Some(format!("Created by CreateImage({}) for {id}", scene.ids[0]).as_str())
    );
}

#[tokio::test(start_paused = true)]
async fn an_image_can_fail_and_says_why() {
    let mut scene = Scene::of(1).await;
    scene.script(60, Some("too many snapshots"));

    let id = scene.image("post-mortem").await;
    scene.sleep(61).await;

    let failed = scene.describe(&id).await;
    assert_eq!(failed.state().unwrap().as_str(), "failed");
    assert_eq!(failed.state_reason().unwrap().message(), Some("too many snapshots"));
    let [event] = scene.events().try_into().unwrap();
    assert_eq!(event["detail"]["State"], "failed");
    assert_eq!(event["detail"]["ErrorMessage"], "too many snapshots");
    let again = refusal(scene.order("post-mortem").send().await);
    assert_eq!(again.0, "InvalidAMIName.Duplicate", "a failed image keeps its name");
}

#[tokio::test(start_paused = true)]
async fn an_image_may_be_pending_for_ever() {
    let mut scene = Scene::of(1).await;
    let script = ImageScript { pending: Duration::MAX, failure: None };
    scene.set(|ec2| ec2.set_image_script(&scene.ids[0], script));
    let id = scene.image("post-mortem").await;
    scene.sleep(30 * 24 * 3_600).await;
    assert_eq!(scene.describe(&id).await.state().unwrap().as_str(), "pending");
    assert!(scene.events().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_next_images_of_a_name_fail_with_a_code_and_later_ones_do_not() {
    let scene = Scene::of(1).await;
    let failure = Some("Server.InternalError: the snapshot failed".to_owned());
    let fails = ImageScript { pending: Duration::from_secs(5), failure };
    scene.set(|ec2| ec2.script_images("post", [fails.clone(), fails]));
    let mut states = Vec::new();
    for name in ["other", "post-1", "post-2", "post-3"] {
        let id = scene.image(name).await;
        scene.sleep(200).await;
        let image = scene.describe(&id).await;
        let reason = image.state_reason().map(|reason| (reason.code().unwrap(), reason.message().unwrap()));
        if let Some(reason) = reason {
            assert_eq!(reason, ("Server.InternalError", "Server.InternalError: the snapshot failed"));
        }
        states.push(image.state().unwrap().as_str().to_owned());
    }
    assert_eq!(states, ["available", "failed", "failed", "available"]);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_images_of_one_instance_are_made_at_once() {
    let scene = Scene::of(2).await;
    scene.set(|ec2| ec2.images_at_once = 1);
    let backup = scene.lab.world(|world| world.backup(&scene.ids[0]).unwrap());
    let limit = refusal(scene.order("post-mortem").send().await);
    assert_eq!(limit.0, "ConcurrentCreateImageNoRebootLimitExceeded");
    let limit = refusal(scene.order("post-mortem").no_reboot(false).send().await);
    assert_eq!(limit.0, "ConcurrentSnapshotLimitExceeded");
    let other = scene.ec2.create_image().instance_id(&scene.ids[1]).name("post-mortem-2").no_reboot(true);
    assert!(other.send().await.is_ok(), "each instance has its own limit");
    scene.sleep(200).await;
    assert_eq!(scene.describe(&backup).await.state().unwrap().as_str(), "available");
    scene.image("post-mortem").await;
}

#[tokio::test(start_paused = true)]
async fn an_image_is_refused_with_the_code_that_a_test_says() {
    let scene = Scene::of(1).await;
    for code in [
        "AMIQuotaExceeded",
        "AuthFailure",
        "ConcurrentCreateImageNoRebootLimitExceeded",
        "ConcurrentSnapshotLimitExceeded",
        "PendingSnapshotLimitExceeded",
        "RequestExpired",
        "SnapshotCreationPerVolumeRateExceeded",
        "SnapshotLimitExceeded",
    ] {
        scene.lab.faults().script("CreateImage", [CallFault::Refused(code)]);
        let (told, text) = refusal(scene.order("post-mortem").send().await);
        assert_eq!((told.as_str(), text.is_empty()), (code, false));
    }
    assert!(scene.set(|ec2| ec2.images().is_empty()));
}

#[tokio::test(start_paused = true)]
async fn tags_in_the_call_need_the_permission_to_tag() {
    let scene = Scene::of(1).await;
    scene.lab.faults().deny("CreateTags");
    let order = scene.order("post-mortem").tag_specifications(tagged("image", [tag("a", "b")]));
    let (code, text) = refusal(order.send().await);
    assert_eq!(code, "UnauthorizedOperation");
    assert!(text.contains("is not authorized to perform: ec2:CreateTags"), "{text}");
    assert!(scene.set(|ec2| ec2.images().is_empty()));
    scene.image("without-tags").await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_images_of_others_come_in_pages_and_filters_leave_them_out() {
    let scene = Scene::of(1).await;
    let now = scene.lab.now();
    scene.lab.world(|world| {
        world.add_images(10_000, &Image::new("build", now));
        world.delays.page = Duration::from_millis(80);
    });
    scene.image("post-mortem").await;
    scene.sleep(1).await;
    let pages = scene.ec2.describe_images().owners("self").into_paginator().send();
    let pages = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    assert_eq!((pages.len(), pages.iter().map(|page| page.images().len()).sum::<usize>()), (11, 10_001));
    for narrow in [filter("name", &["post-*"]), filter("source-instance-id", &[&scene.ids[0]])] {
        let found = scene.ec2.describe_images().owners("self").filters(narrow).send().await.unwrap();
        assert_eq!((found.images().len(), found.next_token()), (1, None));
    }
}

#[tokio::test(start_paused = true)]
async fn anybodys_image_can_be_given_the_tags_of_a_post_mortem() {
    let scene = Scene::of(0).await;
    let ids = gallery(&scene);
    for forged in ["golden", "shared", "public"] {
        let create = scene.ec2.create_tags().resources(&ids[forged]);
        create.tags(tag("lifecycle/instance", "i-1")).send().await.unwrap();
    }
    let found = scene.ec2.describe_images().filters(filter("tag:lifecycle/instance", &["i-1"]));
    assert_eq!(scene.names(found).await, ["golden", "public", "shared"]);
    let aws = scene.ec2.create_tags().resources(&ids["golden"]);
    let aws = refusal(aws.tags(tag("aws:backup:source-resource", "i-1")).send().await);
    assert_eq!(aws.0, "InvalidParameterValue", "nobody but AWS gives such a tag");
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_shared_is_an_empty_list_and_no_error() {
    let scene = Scene::of(0).await;
    let theirs = Image {
        owner: "210987654321".to_owned(),
        shared: false,
        ..Image::new("theirs", time("2026-02-01T00:00:00Z"))
    };
    let id = scene.add(theirs);
    assert!(scene.names(scene.ec2.describe_images().image_ids(&id)).await.is_empty());
    let deregister = refusal(scene.ec2.deregister_image().image_id(&id).send().await);
    assert_eq!(deregister, refused("AuthFailure", format!("Not authorized for image:{id}")));
}

#[tokio::test(start_paused = true)]
async fn every_state_of_an_image_can_be_watched() {
    let mut scene = Scene::of(1).await;
    let id = scene.image("post-mortem").await;
    scene.sleep(181).await;
    scene.ec2.deregister_image().image_id(&id).send().await.unwrap();

    let mut seen = Vec::new();
    while let Ok(moment) = scene.moments.try_recv() {
        if let What::Seen(Sight::Image { image, name, state }) = moment.what {
            seen.push((image, name, state));
        }
    }
    let expected = ["pending", "available", "deregistered"];
    assert_eq!(seen, expected.map(|state| (id.clone(), "post-mortem".to_owned(), state)));
}

#[tokio::test(start_paused = true)]
async fn a_fresh_image_is_not_found_for_a_moment_but_its_name_is_taken() {
    let scene = Scene::of(1).await;
    scene.lab.world(|world| world.delays.image_visible = Duration::from_secs(5));

    let id = scene.image("post-mortem").await;

    let by_id = refusal(scene.ec2.describe_images().image_ids(&id).send().await);
    assert_eq!(by_id, refused("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist")));
    let by_name = scene.ec2.describe_images().owners("self").filters(filter("name", &["post-mortem"]));
    assert!(scene.names(by_name.clone()).await.is_empty());
    let tag = scene.ec2.create_tags().resources(&id).tags(tag("a", "b")).send().await;
    assert_eq!(refusal(tag).0, "InvalidAMIID.NotFound");
    let again = refusal(scene.order("post-mortem").send().await);
    let text = format!("AMI name post-mortem is already in use by AMI {id}");
    assert_eq!(again, refused("InvalidAMIName.Duplicate", text));
    scene.sleep(5).await;
    assert_eq!(scene.names(by_name).await, ["post-mortem"]);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_unique_in_its_account_while_the_image_is_registered() {
    let scene = Scene::of(1).await;
    let foreign = Image { owner: "210987654321".to_owned(), ..Image::new("theirs", scene.lab.now()) };
    scene.add(foreign);
    scene.image("theirs").await;

    let id = scene.image("ours").await;
    scene.sleep(1).await;
    assert_eq!(refusal(scene.order("ours").send().await).0, "InvalidAMIName.Duplicate");
    scene.ec2.deregister_image().image_id(&id).send().await.unwrap();
    assert_ne!(scene.image("ours").await, id);
}

#[tokio::test(start_paused = true)]
async fn a_name_has_3_to_128_legal_characters() {
    let scene = Scene::of(1).await;
    let (shortest, longest) = ("abc", "n".repeat(128));
    for name in [shortest, &longest, "a (b) [c] ./-'@_", "2026-03-01 web/i-1"] {
        scene.image(name).await;
    }
    let too_long = "n".repeat(129);
    for name in ["ab", &too_long, "a:b", "a,b", "größe", "a+b", "a\"b"] {
        let (code, text) = refusal(scene.order(name).send().await);
        assert_eq!(code, "InvalidAMIName.Malformed", "{name}");
        assert!(text.starts_with("AMI names must be between 3 and 128 characters long"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_needs_a_running_or_a_stopped_instance() {
    let scene = Scene::of(1).await;
    let of = |instance: &str| scene.ec2.create_image().instance_id(instance).name("post-mortem");

    let unknown = refusal(of("i-0000000000000000f").send().await);
    let text = "The instance ID 'i-0000000000000000f' does not exist";
    assert_eq!(unknown, refused("InvalidInstanceID.NotFound", text));
    let malformed = refusal(of("instance").send().await);
    let text = "Invalid id: \"instance\" (expecting \"i-...\")";
    assert_eq!(malformed, refused("InvalidInstanceID.Malformed", text));

    scene.put_hook().await;
    scene.terminate("Terminating:Wait").await;
    scene.image("while it waits in the hook").await;
    scene.sleep(301).await;
    scene.reaches("gone").await;
    let late = refusal(scene.order("too late").send().await);
    let text = format!(
        "Invalid value '{}' for instanceId. Instance is not in state 'running' or 'stopping' or 'stopped'",
        scene.ids[0]
    );
    assert_eq!(late, refused("InvalidParameterValue", text));
}

#[tokio::test(start_paused = true)]
async fn what_befell_an_instance_decides_whether_an_image_can_be_made_of_it() {
    type Harm = fn(&mut World, &str);
    let harms: [(Harm, &str, bool); 5] = [
        (|world, id| world.fail_instance(id), "stopped", true),
        (|world, id| world.fail_status_check(id), "running", true),
        (|world, id| world.fail_load_balancer_check(id), "running", true),
        (|world, id| world.terminate_in_ec2(id), "terminated", false),
        (|world, id| world.reclaim_spot(id), "shutting-down", false),
    ];
    for (harm, state, imageable) in harms {
        let scene = Scene::of(1).await;
        scene.put_hook().await;
        scene.lab.world(|world| harm(world, &scene.ids[0]));
        let described = scene.ec2.describe_instances().instance_ids(&scene.ids[0]).send().await.unwrap();
        let instance = &described.reservations()[0].instances()[0];
        assert_eq!(instance.state().unwrap().name().unwrap().as_str(), state);
        assert_eq!(scene.order("post-mortem").send().await.is_ok(), imageable, "{state}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_reboots_its_instance_unless_told_not_to() {
    for (no_reboot, reboots) in [(Some(true), 0), (Some(false), 1), (None, 1)] {
        let scene = Scene::of(1).await;
        let order = scene.ec2.create_image().instance_id(&scene.ids[0]).name("post-mortem");
        let id = order.set_no_reboot(no_reboot).send().await.unwrap().image_id.unwrap();

        scene.set(|ec2| {
            assert_eq!(ec2.instance(&scene.ids[0]).unwrap().reboots, reboots, "{no_reboot:?}");
            assert_eq!(ec2.image(&id).unwrap().no_reboot, Some(no_reboot == Some(true)));
        });
    }
}

#[tokio::test(start_paused = true)]
async fn image_and_snapshots_are_tagged_as_they_are_made() {
    let scene = Scene::of(1).await;
    scene.set(|ec2| ec2.devices = vec!["/dev/xvda".to_owned(), "/dev/sdb".to_owned()]);
    let order = scene.order("post-mortem");
    let order = order.tag_specifications(tagged("image", [tag("Name", "web"), tag("lifecycle/time", "")]));
    let id = order.tag_specifications(tagged("snapshot", [tag("a", "b")])).send().await.unwrap();
    let id = id.image_id.unwrap();
    scene.sleep(1).await;

    let image = scene.describe(&id).await;
    assert_eq!(tags(image.tags()), BTreeMap::from([("Name", "web"), ("lifecycle/time", "")]));
    let devices: Vec<_> = image.block_device_mappings().iter().filter_map(|one| one.device_name()).collect();
    assert_eq!(devices, ["/dev/xvda", "/dev/sdb"]);
    let snapshots = scene.ec2.describe_snapshots().owner_ids("self").filters(filter("tag:a", &["b"]));
    assert_eq!(snapshots.send().await.unwrap().snapshots().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn wrong_tags_are_refused_and_no_image_is_made() {
    let scene = Scene::of(1).await;
    let long = "k".repeat(129);
    let many = || (0..51).map(|n| tag(&format!("k{n}"), "v")).collect::<Vec<_>>();
    let cases = [
        (
            tagged("volume", [tag("a", "b")]),
            "'volume' is not a valid taggable resource type for this operation.",
        ),
        (tagged("image", [tag("", "b")]), "Tag key must not be empty"),
        (tagged("image", [tag(&long, "b")]), "Tag key exceeds the maximum length of 128 characters"),
        (
            tagged("snapshot", [tag("a", &"v".repeat(257))]),
            "Tag value exceeds the maximum length of 256 characters",
        ),
        (tagged("image", [tag("aws:a", "b")]), "Tag keys starting with 'aws:' are reserved for internal use"),
        (tagged("image", [tag("a", "b"), tag("a", "c")]), "Duplicate tag key 'a' specified."),
    ];
    for (specification, text) in cases {
        let order = scene.order("post-mortem").tag_specifications(specification);
        assert_eq!(refusal(order.send().await), refused("InvalidParameterValue", text));
    }
    let order = scene.order("post-mortem").tag_specifications(tagged("image", many()));
    assert_eq!(refusal(order.send().await).0, "TagLimitExceeded");
    assert!(scene.set(|ec2| ec2.images().is_empty()));

    let most = many().into_iter().take(50).chain([]);
    let order = scene.order("post-mortem").tag_specifications(tagged("image", most));
    order
        .tag_specifications(tagged("snapshot", [tag(&"k".repeat(128), &"v".repeat(256))]))
        .send()
        .await
        .unwrap();
}

/// Images of this account, of backups, and of others.
fn gallery(scene: &Scene) -> BTreeMap<&'static str, String> {
    let backup = |name, created| Image {
        tags: BTreeMap::from([("Name".to_owned(), "web".to_owned())]),
        ..Image::new(name, time(created))
    };
    let theirs =
        |name| Image { owner: "210987654321".to_owned(), ..Image::new(name, time("2026-02-01T00:00:00Z")) };
    let images = [
        backup("AwsBackup_i-1_a", "2026-01-01T00:00:00Z"),
        backup("AwsBackup_i-1_b", "2026-01-02T03:04:05Z"),
        Image { state: ImageState::Pending, ..backup("AwsBackup_i-1_c", "2026-01-03T00:00:00Z") },
        Image { architecture: "arm64".to_owned(), ..Image::new("golden", time("2025-01-01T00:00:00Z")) },
        Image {
            deprecated: Some(time("2025-06-01T00:00:00Z")),
            ..Image::new("old", time("2025-01-01T00:00:00Z"))
        },
        theirs("shared"),
        Image { public: true, owner_alias: Some("amazon".to_owned()), ..theirs("public") },
        Image { deprecated: Some(time("2025-06-01T00:00:00Z")), ..theirs("shared-old") },
    ];
    let names = ["a", "b", "c", "golden", "old", "shared", "public", "shared-old"];
    names.into_iter().zip(images.map(|image| scene.add(image))).collect()
}

#[tokio::test(start_paused = true)]
async fn images_are_found_by_owner_and_filters() {
    let scene = Scene::of(0).await;
    let ids = gallery(&scene);
    let (a, b, c) = ("AwsBackup_i-1_a", "AwsBackup_i-1_b", "AwsBackup_i-1_c");
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a [&'a str])], &'a [&'a str]);
    let cases: [Case<'_>; 21] = [
        (&[], &[], &[a, b, c, "golden", "old", "public", "shared"]),
        (&["self"], &[], &[a, b, c, "golden", "old"]),
        (&["210987654321"], &[], &["public", "shared"]),
        (&["amazon"], &[], &["public"]),
        (&["self", "amazon"], &[("architecture", &["arm64", "i386"])], &["golden"]),
        (&["999999999999"], &[], &[]),
        (&["self"], &[("name", &["AwsBackup_*"])], &[a, b, c]),
        (&["self"], &[("name", &["AWSbackup_*"])], &[]),
        (&["self"], &[("name", &["AwsBackup_i-1_?"]), ("state", &["available"])], &[a, b]),
        (&["self"], &[("name", &["golden", "old"])], &["golden", "old"]),
        (&["self"], &[("tag:Name", &["web"])], &[a, b, c]),
        (&["self"], &[("tag:Name", &["WEB"])], &[]),
        (&["self"], &[("tag:name", &["web"])], &[]),
        (&[], &[("tag-key", &["Name"])], &[a, b, c]),
        (&[], &[("creation-date", &["2026-01-02T03:04:05.000Z"])], &[b]),
        (&[], &[("creation-date", &["2026-01-*"])], &[a, b, c]),
        (&[], &[("is-public", &["true"])], &["public"]),
        (&[], &[("owner-id", &["210987654321"])], &["public", "shared"]),
        (&[], &[("root-device-type", &["ebs"]), ("virtualization-type", &["paravirtual"])], &[]),
        (&[], &[("image-id", &[&ids["golden"]])], &["golden"]),
        (&["self"], &[("name", &[])], &[]),
    ];
    for (owners, filters, expected) in cases {
        let mut describe = scene.ec2.describe_images();
        for owner in owners {
            describe = describe.owners(*owner);
        }
        for (name, values) in filters {
            describe = describe.filters(filter(name, values));
        }
        assert_eq!(scene.names(describe).await, expected, "{owners:?} {filters:?}");
    }

    let deprecated_too = scene.ec2.describe_images().owners("210987654321").include_deprecated(true);
    assert_eq!(scene.names(deprecated_too).await, ["public", "shared", "shared-old"]);
    let elsewhere = scene.ec2.describe_images().image_ids(&ids["golden"]).owners("amazon");
    assert!(scene.names(elsewhere).await.is_empty());
    let unknown = ["ami-0000000000000000a", "ami-0000000000000000b"];
    let missing = scene.ec2.describe_images().image_ids(unknown[0]).image_ids(unknown[1]);
    let text = format!("The image ids '[{}, {}]' do not exist", unknown[0], unknown[1]);
    assert_eq!(refusal(missing.send().await), refused("InvalidAMIID.NotFound", text));
    let malformed = refusal(scene.ec2.describe_images().image_ids("image").send().await);
    assert_eq!(malformed.0, "InvalidAMIID.Malformed");
    for id in ["ami-00000000000000000", "ami-77777777777777777"] {
        let malformed = refusal(scene.ec2.describe_images().image_ids(id).send().await);
        assert_eq!(malformed, refused("InvalidAMIID.Malformed", format!("Invalid id: \"{id}\"")));
    }
    let empty = refusal(scene.ec2.describe_images().image_ids("").send().await);
    assert_eq!(empty, refused("MissingParameter", "The request must contain the parameter ImageId"));
    let unmodelled = scene.ec2.describe_images().filters(filter("kernel-id", &["aki-1"])).send().await;
    assert_eq!(
        refusal(unmodelled),
        refused("LabNotModelled", "lifecycle-lab does not model the filter kernel-id")
    );
    let unmodelled = refusal(scene.ec2.describe_images().executable_users("self").send().await);
    assert_eq!(unmodelled.1, "lifecycle-lab does not model the parameter ExecutableBy of DescribeImages");
}

#[tokio::test(start_paused = true)]
async fn long_lists_come_in_pages_and_in_no_order() {
    let scene = Scene::of(0).await;
    let dates: Vec<_> = (1..=9).map(|day| time(&format!("2026-01-0{day}T00:00:00Z"))).collect();
    for date in &dates {
        scene.add(Image::new(&format!("image-{date}"), *date));
    }
    let all = || async {
        let pages = scene.ec2.describe_images().owners("self").into_paginator().send();
        let pages = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
        let sizes: Vec<_> = pages.iter().map(|page| page.images().len()).collect();
        let created = pages.into_iter().flat_map(|page| page.images.unwrap_or_default());
        (sizes, created.map(|image| time(image.creation_date().unwrap())).collect::<Vec<_>>())
    };

    let (sizes, created) = all().await;
    assert_eq!(sizes, [9]);
    assert_ne!(created, dates);
    assert_ne!(created, dates.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(created.iter().collect::<BTreeSet<_>>(), dates.iter().collect());

    scene.set(|ec2| ec2.page_size = 4);
    assert_eq!(all().await, (vec![4, 4, 1], created));
    scene.set(|ec2| ec2.page_size = 1_000);
    let first = scene.ec2.describe_images().max_results(5).send().await.unwrap();
    assert_eq!(first.images().len(), 5);
    let second = scene.ec2.describe_images().max_results(100).set_next_token(first.next_token);
    assert_eq!(second.send().await.unwrap().images().len(), 4);

    let few = refusal(scene.ec2.describe_images().max_results(1).send().await);
    let text = "Invalid value '1' for maxResults. Expecting a value greater than 5.";
    assert_eq!(few, refused("InvalidParameterValue", text));
    let id = scene.set(|ec2| ec2.images()[0].id.clone());
    let both = refusal(scene.ec2.describe_images().image_ids(id).max_results(9).send().await);
    let text = "The parameter imageIdsSet cannot be used with the parameter maxResults";
    assert_eq!(both, refused("InvalidParameterCombination", text));
    let values: Vec<_> = (0..201).map(|n| n.to_string()).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    let many = refusal(scene.ec2.describe_images().filters(filter("name", &values)).send().await);
    assert_eq!(many.0, "FilterLimitExceeded");
}

#[tokio::test(start_paused = true)]
async fn deregistering_leaves_the_snapshots_unless_told_otherwise() {
    let mut scene = Scene::of(1).await;
    let (kept, deleted) = (scene.image("kept").await, scene.image("deleted").await);
    scene.sleep(181).await;
    scene.events();
    let snapshot = |image: &str| scene.set(|ec2| ec2.image(image).unwrap().devices[0].snapshot.clone());
    let (of_kept, of_deleted) = (snapshot(&kept), snapshot(&deleted));
    let in_use = refusal(scene.ec2.delete_snapshot().snapshot_id(&of_kept).send().await);
    let text = format!("The snapshot {of_kept} is currently in use by {kept}");
    assert_eq!(in_use, refused("InvalidSnapshot.InUse", text));

    let deregister = |id: &str| scene.ec2.deregister_image().image_id(id);
    let without = deregister(&kept).send().await.unwrap();
    assert_eq!((without.r#return(), without.delete_snapshot_results().len()), (Some(true), 0));
    let with = deregister(&deleted).delete_associated_snapshots(true).send().await.unwrap();
    let [result] = with.delete_snapshot_results() else { panic!("{with:?}") };
    assert_eq!(result.snapshot_id(), Some(of_deleted.as_str()));
    assert_eq!(result.return_code().unwrap().as_str(), "success");

    scene.ec2.delete_snapshot().snapshot_id(&of_kept).send().await.unwrap();
    for gone in [&of_kept, &of_deleted] {
        let delete = refusal(scene.ec2.delete_snapshot().snapshot_id(gone).send().await);
        let text = format!("The snapshot '{gone}' does not exist.");
        assert_eq!(delete, refused("InvalidSnapshot.NotFound", text));
    }
    let again = refusal(deregister(&kept).send().await);
    let text = format!("The image ID '{kept}' is no longer available");
    assert_eq!(again, refused("InvalidAMIID.Unavailable", text));
    let unknown = refusal(deregister("ami-0000000000000000f").send().await);
    assert_eq!(unknown.0, "InvalidAMIID.NotFound");
    let by_id = scene.ec2.describe_images().image_ids(&kept).send().await.unwrap();
    assert!(by_id.images().is_empty(), "no error, as AWS documents for a while");
    let states: Vec<_> = scene.events().iter().map(|event| event["detail"]["State"].clone()).collect();
    assert_eq!(states, ["deregistered", "deregistered"]);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_another_image_uses_is_not_deleted_with_the_first() {
    let scene = Scene::of(0).await;
    let device = || {
        vec![Device { name: "/dev/xvda".to_owned(), snapshot: "snap-0000000000000000f".to_owned(), size: 8 }]
    };
    let now = scene.lab.now() - Duration::from_secs(60);
    let [first, second] =
        ["first", "second"].map(|name| scene.add(Image { devices: device(), ..Image::new(name, now) }));

    let third = scene.add(Image { devices: device(), ..Image::new("third", now + Duration::from_secs(9)) });
    let fourth = scene.add(Image { devices: device(), ..Image::new("fourth", now - Duration::from_secs(9)) });
    for id in [&first, &second] {
        scene.ec2.deregister_image().image_id(id).send().await.unwrap();
    }
    let in_use = refusal(scene.ec2.delete_snapshot().snapshot_id("snap-0000000000000000f").send().await);
    let text = format!("The snapshot snap-0000000000000000f is currently in use by {third}, {fourth}");
    assert_eq!(in_use, refused("InvalidSnapshot.InUse", text), "all of them, the newest first");

    let mut codes = Vec::new();
    for id in [third, fourth] {
        let deregister = scene.ec2.deregister_image().image_id(id).delete_associated_snapshots(true);
        let answer = deregister.send().await.unwrap();
        codes.push(answer.delete_snapshot_results()[0].return_code().unwrap().as_str().to_owned());
    }
    assert_eq!(codes, ["skipped", "success"]);
}

#[tokio::test(start_paused = true)]
async fn an_image_of_another_account_can_not_be_deregistered() {
    let scene = Scene::of(0).await;
    let id = gallery(&scene)["shared"].clone();
    let deregister = refusal(scene.ec2.deregister_image().image_id(&id).send().await);
    assert_eq!(deregister, refused("AuthFailure", format!("Not authorized for image:{id}")));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_deregistered_while_pending_never_becomes_available() {
    let mut scene = Scene::of(1).await;
    let id = scene.image("post-mortem").await;
    scene.sleep(1).await;
    scene.ec2.deregister_image().image_id(&id).send().await.unwrap();
    scene.sleep(600).await;

    let events = scene.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["detail"]["State"], "deregistered");
}

#[tokio::test(start_paused = true)]
async fn tags_are_added_changed_listed_and_deleted() {
    let scene = Scene::of(1).await;
    let (instance, image) = (&scene.ids[0], scene.image("post-mortem").await);
    scene.sleep(1).await;
    let create = || scene.ec2.create_tags().resources(instance).resources(&image);
    create().tags(tag("Name", "web")).tags(tag("keep", "")).send().await.unwrap();
    create().tags(tag("Name", "api")).send().await.unwrap();

    let list = |filters: Vec<Filter>| {
        let describe = scene.ec2.describe_tags().set_filters(Some(filters));
        async move {
            let tags = describe.send().await.unwrap().tags.unwrap_or_default();
            let lines = tags.iter().map(|tag| {
                let kind = tag.resource_type().unwrap().as_str();
                format!("{kind} {}={}", tag.key().unwrap(), tag.value().unwrap())
            });
            lines.collect::<Vec<_>>()
        }
    };
    assert_eq!(list(vec![filter("resource-id", &[&image])]).await, ["image Name=api", "image keep="]);
    let group = "instance aws:autoscaling:groupName=web";
    let all = [group, "instance Name=api", "instance keep="];
    assert_eq!(list(vec![filter("resource-type", &["instance"])]).await, [all[1], all[0], all[2]]);
    assert_eq!(list(vec![filter("key", &["N*"])]).await.len(), 2);

    let reserved = refusal(create().tags(tag("aws:autoscaling:groupName", "x")).send().await);
    assert_eq!(reserved.0, "InvalidParameterValue");
    let unknown = scene.ec2.create_tags().resources(instance).resources("snap-0000000000000000f");
    let unknown = refusal(unknown.tags(tag("half", "")).send().await);
    assert_eq!(unknown.0, "InvalidSnapshot.NotFound");
    assert_eq!(list(vec![filter("key", &["half"])]).await.len(), 0, "all resources are tagged or none");

    let delete = || scene.ec2.delete_tags().resources(instance);
    delete().tags(tag("Name", "web")).send().await.unwrap();
    assert_eq!(list(vec![filter("key", &["Name"])]).await.len(), 2, "another value's tag stays");
    delete().tags(tag("Name", "api")).send().await.unwrap();
    assert_eq!(list(vec![filter("resource-type", &["instance"])]).await, [group, "instance keep="]);
    delete().tags(Tag::builder().key("keep").build()).send().await.unwrap();
    delete().send().await.unwrap();
    assert_eq!(list(vec![filter("resource-type", &["instance"])]).await, [group], "AWS's own tags stay");
}

#[tokio::test(start_paused = true)]
async fn an_instance_runs_until_its_hooks_are_over() {
    let scene = Scene::of(2).await;
    scene.put_hook().await;
    let state = || async {
        let describe = scene.ec2.describe_instances().instance_ids(&scene.ids[0]);
        let described = describe.send().await.unwrap();
        let instance = &described.reservations()[0].instances()[0];
        assert_eq!(tags(instance.tags()), BTreeMap::from([("aws:autoscaling:groupName", "web")]));
        instance.state().unwrap().name().unwrap().as_str().to_owned()
    };

    assert_eq!(state().await, "running");
    scene.terminate("Terminating").await;
    assert_eq!(state().await, "running");
    scene.reaches("Terminating:Wait").await;
    assert_eq!(state().await, "running");
    scene.reaches("Terminating:Proceed").await;
    assert_eq!(state().await, "shutting-down");
    scene.reaches("gone").await;
    assert_eq!(state().await, "terminated");
    let running = scene.ec2.describe_instances().filters(filter("instance-state-name", &["running"]));
    let running = running.filters(filter("tag:aws:autoscaling:groupName", &["web"])).send().await.unwrap();
    assert_eq!(running.reservations().len(), 1);
    assert_eq!(running.reservations()[0].instances()[0].instance_id(), Some(scene.ids[1].as_str()));
    scene.sleep(3600).await;
    let gone = refusal(scene.ec2.describe_instances().instance_ids(&scene.ids[0]).send().await);
    let text = format!("The instance ID '{}' does not exist", scene.ids[0]);
    assert_eq!(gone, refused("InvalidInstanceID.NotFound", text));
}

#[tokio::test(start_paused = true)]
async fn a_detached_instance_runs_on() {
    let scene = Scene::of(1).await;
    let detach = scene.autoscaling.detach_instances().auto_scaling_group_name("web");
    let detach = detach.instance_ids(&scene.ids[0]).should_decrement_desired_capacity(true);
    detach.send().await.unwrap();
    scene.sleep(7200).await;
    scene.image("outside its group").await;
}

#[tokio::test(start_paused = true)]
async fn faults_have_ec2s_own_codes() {
    let scene = Scene::of(1).await;
    let denied = "You are not authorized to perform this operation. User: \
                  arn:aws:sts::123456789012:assumed-role/operator/operator is not authorized to perform: \
                  ec2:CreateImage because no identity-based policy allows the ec2:CreateImage action";
    for (fault, status, code, text) in [
        (CallFault::Throttle, 503, "RequestLimitExceeded", "Request limit exceeded."),
        (CallFault::ServerError, 500, "InternalError", "An internal error has occurred"),
        (CallFault::AccessDenied, 403, "UnauthorizedOperation", denied),
    ] {
        scene.lab.faults().script("CreateImage", [fault]);
        let result = scene.order("post-mortem").send().await;
        assert_eq!(result.as_ref().unwrap_err().raw_response().unwrap().status().as_u16(), status);
        assert_eq!(refusal(result), refused(code, text));
    }
    scene.lab.faults().script("CreateImage", [CallFault::Contention]);
    scene.image("post-mortem").await;
}

#[tokio::test(start_paused = true)]
async fn what_the_lab_does_not_model_it_refuses_by_name() {
    let scene = Scene::of(1).await;
    let lab = |text: &str| refused("LabNotModelled", format!("lifecycle-lab does not model {text}"));

    let action = scene.ec2.describe_volumes().send().await;
    assert_eq!(refusal(action), lab("ec2:DescribeVolumes"));
    let parameter = scene.order("post-mortem").snapshot_location("local".into()).send().await;
    assert_eq!(refusal(parameter), lab("the parameter SnapshotLocation of CreateImage"));
    let missing = refusal(scene.ec2.create_image().instance_id(&scene.ids[0]).send().await);
    assert_eq!(missing, refused("MissingParameter", "The request must contain the parameter Name"));
}

#[tokio::test(start_paused = true)]
async fn a_transcript_shows_the_parameters_as_ec2_gets_them() {
    let scene = Scene::of(0).await;
    let sdk = scene.lab.sdk_config("f");
    let describe = Client::new(&sdk).describe_images().owners("self");
    describe.filters(filter("tag:Name", &["web", "api"])).send().await.unwrap();

    assert_eq!(
        scene.lab.transcript("f"),
        "POST ec2 DescribeImages\n  Filter.1.Name=tag:Name\n  Filter.1.Value.1=web\n  Filter.1.Value.2=api\n  \
         Owner.1=self\n  => ok\n"
    );
}
