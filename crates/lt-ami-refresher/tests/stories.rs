//! Days of a site that backs up its web server at night and scales out by day, in the lab and under paused time: the
//! instances are really launched from what the function made.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use aws_sdk_ec2::types::RequestLaunchTemplateData as Data;
use common::{HOUR, MINUTE, Scene};
use expect_test::expect;
use lifecycle_lab::What;
use lifecycle_lab::faults::EventFault;
use serde_json::json;

const AMI_EVENT: &str = "EC2 AMI State Change";
const BACKUP_EVENT: &str = "Backup Job State Change";

/// The site: a group `web` with one instance, whose `Name` comes from the template.
async fn site(variables: &[(&str, &str)]) -> Scene {
    let scene = Scene::new().await;
    scene.add_group("web", "$Default", 1).await;
    scene.deploy(variables);
    scene.add_rules();
    scene
}

/// AWS Backup takes an image of an instance of the group. Returns its id.
fn back_up(scene: &Scene) -> String {
    scene.lab.world(|world| {
        let instance = world.autoscaling.instances().find(|one| one.group == "web").unwrap().id.clone();
        world.backup(&instance).unwrap()
    })
}

/// The group scales as its scheduled action says.
async fn scale(scene: &Scene, size: u32) {
    scene.lab.world(|world| world.run_scheduled_action("web", size));
    scene.settle("web", size.try_into().unwrap()).await;
}

/// Which image the default version has.
fn default_image(scene: &Scene) -> String {
    scene.version(scene.default_version())["ImageId"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn every_day_scales_out_from_last_nights_backup() {
    let scene = site(&[("KEEP_VERSIONS", "3")]).await;
    for day in 0..5 {
        scene.lab.sleep(13 * HOUR).await;
        let backup = back_up(&scene);
        scene.lab.sleep(HOUR).await;
        assert_eq!(default_image(&scene), backup, "day {day}: {:#?}", scene.calls());

        scene.lab.sleep(9 * HOUR).await;
        scale(&scene, 4).await;
        let images = scene.images("web");
        assert_eq!(images.iter().filter(|image| **image == backup).count(), 3, "day {day}: {images:?}");
        scene.lab.sleep(HOUR).await;
        scale(&scene, 1).await;
    }
    // Two events told of each backup, at the same moment, and both together made one version.
    assert_eq!(scene.default_version(), 6);
    let kept: Vec<_> = scene.versions().iter().map(|version| version[..1].to_owned()).collect();
    assert_eq!(kept, ["4", "5", "6"]);
    assert_eq!(scene.lab.failures(), []);
}

#[tokio::test(start_paused = true)]
async fn what_two_events_of_one_backup_cost() {
    let scene = site(&[]).await;
    back_up(&scene);
    scene.lab.sleep(HOUR).await;
    expect![[r#"
        DescribeImages: ok
        DescribeImages: ok
        DescribeImages: ok
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstanceTypes: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        DescribeLaunchTemplateVersions: ok
        CreateLaunchTemplateVersion: ok
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: ok
        ModifyLaunchTemplate: ok
        DescribeAutoScalingGroups: ok
        DescribeAutoScalingGroups: ok
    "#]]
    .assert_eq(&(scene.calls().join("\n") + "\n"));
}

#[tokio::test(start_paused = true)]
async fn events_that_are_lost_are_made_up_for_by_the_daily_run() {
    let scene = site(&[]).await;
    for event in [AMI_EVENT, BACKUP_EVENT] {
        scene.lab.faults().script_events(event, [EventFault::Lost; 4]);
    }
    scene.lab.schedule(24 * HOUR, lt_ami_refresher::NAME, common::sample("scheduled"));
    let backup = back_up(&scene);
    scene.lab.sleep(23 * HOUR).await;
    assert_eq!(scene.calls(), Vec::<String>::new());
    scene.lab.sleep(2 * HOUR).await;
    assert_eq!(default_image(&scene), backup);
}

#[tokio::test(start_paused = true)]
async fn events_that_come_twice_late_or_in_any_order_make_one_version() {
    for faults in [[EventFault::Doubled, EventFault::Doubled], [EventFault::Delayed, EventFault::Doubled]] {
        let scene = site(&[("INSTANCE_REFRESH", "true")]).await;
        scene.lab.faults().script_events(AMI_EVENT, [faults[0]]);
        scene.lab.faults().script_events(BACKUP_EVENT, [faults[1]; 2]);
        let mut moments = scene.lab.observe();
        let backup = back_up(&scene);
        scene.lab.sleep(6 * HOUR).await;
        assert_eq!((scene.versions().len(), default_image(&scene)), (2, backup.clone()));
        assert_eq!(scene.images("web"), [backup]);
        let moments = std::iter::from_fn(|| moments.try_recv().ok());
        let met = moments.filter(|moment| matches!(moment.what, What::Faulted(..))).count();
        assert_eq!(met, 3, "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn running_instances_are_replaced_where_that_is_asked_for() {
    let scene = site(&[("INSTANCE_REFRESH", "true")]).await;
    scale(&scene, 3).await;
    let backup = back_up(&scene);
    scene.lab.sleep(6 * HOUR).await;
    scene.settle("web", 3).await;
    assert_eq!(scene.images("web"), [backup.clone(), backup.clone(), backup]);
    let refreshes = scene.writes().iter().filter(|call| *call == "StartInstanceRefresh: ok").count();
    assert_eq!(refreshes, 1, "{:#?}", scene.calls());
}

/// The failure that the function exists for: a version that names its security groups works in the default VPC
/// and in no other.
#[tokio::test(start_paused = true)]
async fn a_template_that_names_its_groups_fails_at_launch_and_the_function_mends_it() {
    let scene = site(&[]).await;
    let named = scene.ec2.create_launch_template_version().launch_template_id(&scene.template);
    let named = named.launch_template_data(scene.bare().security_groups("web").build());
    named.send().await.unwrap();
    scene.make_default(2).await;
    scene.lab.world(|world| world.run_scheduled_action("web", 2));
    scene.lab.sleep(10 * MINUTE).await;
    let activities = scene.autoscaling.describe_scaling_activities().auto_scaling_group_name("web");
    let activities = activities.send().await.unwrap().activities.unwrap();
    let failed = activities.iter().find_map(|activity| activity.status_message()).unwrap();
    assert_eq!(
        failed,
        "The parameter groupName cannot be used with the parameter subnet. Launching EC2 instance failed."
    );

    let groups = json!({ "securityGroupIds": [scene.web] });
    assert_eq!(scene.invoke(groups).await.unwrap()["outcome"], "version-created");
    scene.lab.sleep(HOUR).await;
    scene.settle("web", 2).await;
    assert!(scene.images("web").contains(&scene.new));
    assert_eq!(scene.version(3)["KeyName"], "operator");
}

/// Whatever is wrong with a version, groups go on launching from the one before.
#[tokio::test(start_paused = true)]
async fn a_version_that_is_refused_leaves_the_group_as_it_was() {
    let scene = site(&[]).await;
    let groups = scene.admin.clone();
    scene.lab.world(|world| world.remove_security_group(&groups));
    let error = scene.invoke(json!({ "securityGroupIds": [groups] })).await.unwrap_err();
    assert_eq!(error.error_type(), "UnusableTemplate");
    scale(&scene, 3).await;
    assert_eq!(scene.images("web"), [scene.old.clone(), scene.old.clone(), scene.old.clone()]);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_pinned_keeps_its_version_whatever_is_pruned() {
    let scene = site(&[("KEEP_VERSIONS", "1")]).await;
    scene.add_group("legacy", "1", 1).await;
    for _ in 0..3 {
        back_up(&scene);
        scene.lab.sleep(HOUR).await;
    }
    let numbers: Vec<_> = scene.versions().iter().map(|version| version[..1].to_owned()).collect();
    assert_eq!(numbers, ["1", "4"]);
    let set = scene.autoscaling.set_desired_capacity().auto_scaling_group_name("legacy").desired_capacity(2);
    set.send().await.unwrap();
    scene.settle("legacy", 2).await;
}

/// A backup of a bigger disk than the template's: refused, until somebody corrects the template.
#[tokio::test(start_paused = true)]
async fn a_disk_that_has_grown_is_noticed_before_a_launch_fails() {
    use aws_sdk_ec2::types::{
        LaunchTemplateBlockDeviceMappingRequest as Mapping, LaunchTemplateEbsBlockDeviceRequest as Ebs,
    };
    let disk = |size| {
        let mapping =
            Mapping::builder().device_name("/dev/xvda").ebs(Ebs::builder().volume_size(size).build());
        Data::builder().block_device_mappings(mapping.build())
    };
    let scene = site(&[]).await;
    let small = scene.add_version(1, disk(8)).await;
    scene.make_default(small).await;
    let mut image = common::backup_named("AwsBackup_grown", scene.lab.now() - MINUTE);
    image.devices[0].size = 20;
    let image = scene.lab.world(|world| world.add_image(image));
    let error = scene.invoke(json!({})).await.unwrap_err().error_message();
    assert_eq!(
        error.replace(&image, "IMAGE"),
        "the template's 8 GiB for /dev/xvda are less than the 20 GiB of IMAGE"
    );
    let grown = scene.add_version(small, disk(20)).await;
    scene.make_default(grown).await;
    scene.invoke(json!({})).await.unwrap();
    scale(&scene, 2).await;
    assert!(scene.images("web").contains(&image));
}
