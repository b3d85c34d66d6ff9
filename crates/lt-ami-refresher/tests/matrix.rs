//! The fault matrix: every call of the runs that follow a backup meets every fault, with the run's news told once,
//! twice at the same time, or not at all. Whatever happens: one version for one image, a default that exists and that
//! instances can be launched from, every other setting as it was; and at the latest with the daily run all is as
//! without the fault.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest as Interface,
    RequestLaunchTemplateData as Data,
};
use common::{HOUR, Scene, available, backup};
use lifecycle_lab::Outcome;
use lifecycle_lab::faults::CallFault::{self, *};
use lt_ami_refresher::NAME;
use serde_json::{Value, json};
use tokio::runtime::Builder;

const FAULTS: [CallFault; 8] =
    [Throttle, ServerError, Hang, CutBefore, CutAfter, AccessDenied, KillBefore, KillAfter];

/// Calls that meet a fault. With groups by their ids they are image, images, versions, instance type, security groups,
/// versions, create, modify, groups, versions, instances, refresh; and in the next run, when no instance of the first
/// version is left: images, versions, groups, versions, instances, delete. Without the event there is no call for its
/// image. With a parameter there are two calls more: for the parameter, in place of the event's image, and for the VPCs;
/// and one in the next run.
fn calls(shape: Shape, deliveries: usize) -> u64 {
    match (shape, deliveries) {
        (Shape::Parameter, _) => 20,
        (_, 0) => 17,
        _ => 18,
    }
}

/// What the template's first version is like.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Ids,
    Interfaces,
    Names,
    /// As `Ids`, with groups of two VPCs, and the image comes from an SSM parameter.
    Parameter,
}

/// Plays the matrix; the news of the backup comes as often as each of `deliveries` says. Returns how many
/// stories met their fault, after having seen that each action met one.
fn check(shape: Shape, deliveries: &[usize]) -> usize {
    let mut met = BTreeSet::new();
    let mut stories = 0;
    for &deliveries in deliveries {
        for nth in 1..=calls(shape, deliveries) {
            for fault in FAULTS {
                let story = format!("{shape:?}, call {nth} {fault:?}, told {deliveries} times");
                // A runtime of its own, so that nothing of one story goes on in the next.
                let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
                met.extend(runtime.block_on(play_story(shape, nth, fault, deliveries, &story)));
                stories += 1;
            }
        }
    }
    let mut actions = vec![
        "CreateLaunchTemplateVersion",
        "DeleteLaunchTemplateVersions",
        "DescribeAutoScalingGroups",
        "DescribeImages",
        "DescribeInstanceTypes",
        "DescribeInstances",
        "DescribeLaunchTemplateVersions",
        "DescribeSecurityGroups",
        "ModifyLaunchTemplate",
    ];
    if !matches!(shape, Shape::Names) {
        actions.push("StartInstanceRefresh");
    }
    if matches!(shape, Shape::Parameter) {
        actions.extend(["DescribeSecurityGroupVpcAssociations", "GetParameter"]);
        actions.sort_unstable();
    }
    assert_eq!(met.iter().map(String::as_str).collect::<Vec<_>>(), actions);
    stories
}

/// Returns the actions that met a fault.
async fn play_story(
    shape: Shape,
    nth: u64,
    fault: CallFault,
    deliveries: usize,
    story: &str,
) -> BTreeSet<String> {
    let scene = Scene::with(|scene| match shape {
        Shape::Ids | Shape::Parameter => scene.data(),
        Shape::Names => scene.bare().security_groups("web"),
        Shape::Interfaces => {
            let interface = Interface::builder().device_index(0).groups(&scene.web);
            scene.bare().network_interfaces(interface.associate_public_ip_address(true).build())
        }
    })
    .await;
    if !matches!(shape, Shape::Names) {
        scene.add_group("web", "$Default", 1).await;
    }
    // A draft, with which the first version is one too many as soon as there is the new one.
    scene.add_version(1, Data::builder().key_name("draft")).await;
    let first = scene.version(1);
    let mut groups = scene.admin.clone();
    if matches!(shape, Shape::Parameter) {
        let shared = scene.lab.world(|world| {
            let shared = world.add_security_group("shared", "vpc-0a0b0c0d0e0f00002");
            world.associate_security_group(&shared, common::VPC);
            shared
        });
        groups = format!("{groups},{shared}");
    }
    let put = |image: &str| {
        scene.lab.world(|world| world.parameters.insert("golden".to_owned(), image.to_owned()));
    };
    put(&scene.new);
    let source = if matches!(shape, Shape::Parameter) { "ssm:golden" } else { "aws-backup" };
    let variables = [("KEEP_VERSIONS", "2"), ("INSTANCE_REFRESH", "true"), ("IMAGE_SOURCE", source)];
    scene.deploy(&[&variables[..], &[("SG_IDS", &groups)]].concat());
    scene.lab.faults().at_call(NAME, nth, fault);

    // The news, with Lambda's retries.
    let news = available(&scene.new, scene.lab.now());
    let runs = (0..deliveries).map(|_| run(&scene, &news));
    futures::future::join_all(runs).await;
    check_template(&scene, &first, story);

    // The daily runs.
    for _ in 0..2 {
        scene.lab.sleep(12 * HOUR).await;
        run(&scene, &json!({})).await;
        check_template(&scene, &first, story);
    }
    assert_eq!(scene.versions(), ["2: OLD", "3: NEW"], "{story}: {:#?}", scene.calls());
    assert_eq!(scene.default_version(), 3, "{story}: {:#?}", scene.calls());
    if matches!(shape, Shape::Names) {
        // Only now instances can be launched from the template.
        scene.add_group("web", "$Default", 1).await;
    }
    scene.settle("web", 1).await;
    assert_eq!(scene.images("web"), [scene.new.as_str()], "{story}: {:#?}", scene.calls());

    // A fault that no call met proves nothing.
    let unmet = [Outcome::OK, Outcome::Answered(Err("InstanceRefreshInProgress"))];
    let calls = scene.lab.calls().into_iter().filter(|call| call.caller == NAME);
    let met: BTreeSet<_> =
        calls.filter(|call| !unmet.contains(&call.outcome)).map(|call| call.action).collect();
    assert!(!met.is_empty(), "{story}: {:#?}", scene.calls());

    // And the day after.
    let newest = backup(&scene.lab, scene.lab.now() - common::MINUTE);
    put(&newest);
    run(&scene, &json!({})).await;
    let version = scene.version(4);
    assert_eq!((scene.default_version(), &version["ImageId"]), (4, &json!(newest)), "{story}");
    met
}

/// A run as Lambda does it: three times where it fails, a minute and two minutes later.
async fn run(scene: &Scene, payload: &Value) {
    for pause in 0..3 {
        scene.lab.sleep(pause * common::MINUTE).await;
        if scene.invoke(payload.clone()).await.is_ok() {
            return;
        }
    }
}

/// What is true at any moment.
fn check_template(scene: &Scene, first: &Value, story: &str) {
    let calls = scene.calls();
    let versions = scene.versions();
    let of_new = versions.iter().filter(|version| version.ends_with(": NEW")).count();
    assert!(of_new <= 1, "{story}: {versions:?}, {calls:#?}");
    let default = scene.default_version();
    assert!(
        versions.iter().any(|version| version.starts_with(&format!("{default}: "))),
        "{story}: {calls:#?}"
    );
    if default == 1 {
        return;
    }
    let (mut first, mut now) = (first.clone(), scene.version(default));
    for data in [&mut first, &mut now] {
        let data = data.as_object_mut().unwrap();
        for changed in ["ImageId", "SecurityGroupId", "SecurityGroup"] {
            data.remove(changed);
        }
        if let Some(interface) = data.get_mut("NetworkInterface") {
            interface[0].as_object_mut().unwrap().remove("SecurityGroupId");
        }
    }
    assert_eq!(now, first, "{story}: {calls:#?}");
    assert_eq!(scene.version(default)["SecurityGroup"], Value::Null, "{story}: {calls:#?}");
}

#[test]
fn with_groups_by_their_ids_one_version_is_made() {
    assert_eq!(check(Shape::Ids, &[0, 1, 2]), 424);
}

#[test]
fn with_groups_in_interfaces_one_version_is_made() {
    assert_eq!(check(Shape::Interfaces, &[1]), 144);
}

#[test]
fn with_groups_by_their_names_one_version_is_made() {
    assert_eq!(check(Shape::Names, &[1, 2]), 288);
}

#[test]
fn with_the_image_of_a_parameter_one_version_is_made() {
    assert_eq!(check(Shape::Parameter, &[1]), 160);
}
