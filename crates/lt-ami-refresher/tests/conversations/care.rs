//! Looking after the template: versions that go, groups that are refreshed or warned about.

use aws_sdk_ec2::types::RequestLaunchTemplateData as Data;
use expect_test::expect;
use lifecycle_lab::What;
use lifecycle_lab::faults::CallFault;
use serde_json::json;

use super::common::{HOUR, Scene};
use super::{check, check_calls};

#[tokio::test(start_paused = true)]
async fn old_versions_go_but_never_one_that_is_needed() {
    let scene = Scene::new().await;
    for _ in 0..5 {
        scene.add_version(1, Data::builder().key_name("x")).await;
    }
    scene.add_group("pinned", "3", 0).await;
    check(&scene, &[("KEEP_VERSIONS", "2")], json!({}), expect![[r#"
        POST ec2 DescribeImages
          Filter.1.Name=state
          Filter.1.Value.1=available
          Filter.2.Name=tag-key
          Filter.2.Value.1=aws:backup:source-resource
          Filter.3.Name=tag:Name
          Filter.3.Value.1=web
          Filter.4.Name=name
          Filter.4.Value.1=AWSbackup_*
          Filter.4.Value.2=AwsBackup_*
          MaxResults=200
          Owner.1=self
          => ok
        POST ec2 DescribeLaunchTemplateVersions
          LaunchTemplateName=web
          LaunchTemplateVersion.1=$Default
          LaunchTemplateVersion.2=$Latest
          => ok
        POST ec2 DescribeInstanceTypes
          InstanceType.1=t3.micro
          => ok
        POST ec2 DescribeSecurityGroups
          Filter.1.Name=group-id
          Filter.1.Value.1=SG-WEB
          => ok
        POST ec2 DescribeLaunchTemplateVersions
          Filter.1.Name=image-id
          Filter.1.Value.1=NEW
          LaunchTemplateId=LT
          => ok
        POST ec2 CreateLaunchTemplateVersion
          ClientToken=85f8a37aeadaa22a13a2c935d23e52f6e3244942c15278d433dfc14c3be460e3
          LaunchTemplateData.ImageId=NEW
          LaunchTemplateId=LT
          SourceVersion=1
          VersionDescription=AwsBackup_i-0123_1795230000 (NEW), created 2026-11-21T03:00:00Z; based on version 1
          => ok
        POST ec2 ModifyLaunchTemplate
          ClientToken=of the SDK
          LaunchTemplateId=LT
          SetDefaultVersion=7
          => ok
        POST autoscaling DescribeAutoScalingGroups
          MaxRecords=100
          => ok
        POST ec2 DescribeLaunchTemplateVersions
          LaunchTemplateId=LT
          MaxResults=200
          => ok
        POST ec2 DescribeInstances
          Filter.1.Name=tag:aws:ec2launchtemplate:id
          Filter.1.Value.1=LT
          Filter.2.Name=instance-state-name
          Filter.2.Value.1=pending
          Filter.2.Value.2=running
          Filter.2.Value.3=stopping
          Filter.2.Value.4=stopped
          MaxResults=200
          => ok
        POST ec2 DeleteLaunchTemplateVersions
          LaunchTemplateId=LT
          LaunchTemplateVersion.1=1
          LaunchTemplateVersion.2=2
          LaunchTemplateVersion.3=4
          LaunchTemplateVersion.4=5
          => ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":7,"outcome":"version-created","reason":"changes ImageId","versions_deleted":[1,2,4,5],"warnings":["pinned is pinned to version 3 of LT: it never launches from a new version"]}
        metric: "version-created"
    "#]]).await;
    assert_eq!(scene.versions(), ["3: OLD", "6: OLD", "7: NEW"]);
    // Up to date, and still something to delete.
    scene.add_version(7, Data::builder().key_name("x")).await;
    check_calls(&scene, &[("KEEP_VERSIONS", "1")], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeAutoScalingGroups: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstances: ok
        DeleteLaunchTemplateVersions: ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":7,"outcome":"up-to-date","reason":"nothing to change","versions_deleted":[6],"warnings":["pinned is pinned to version 3 of LT: it never launches from a new version"]}
        metric: "up-to-date"
    "#]]).await;
    assert_eq!(scene.versions(), ["3: OLD", "7: NEW", "8: NEW"]);
}

#[tokio::test(start_paused = true)]
async fn three_hundred_versions_go_in_two_calls() {
    let scene = Scene::new().await;
    for _ in 0..300 {
        scene.add_version(1, Data::builder().key_name("x")).await;
    }
    let played = scene.play_calls(&[("KEEP_VERSIONS", "1")], json!({})).await;
    assert_eq!(played.matches("DeleteLaunchTemplateVersions: ok").count(), 2, "{played}");
    assert_eq!(scene.versions(), ["302: NEW"]);
}

#[tokio::test(start_paused = true)]
async fn groups_that_run_another_version_are_refreshed_once() {
    let scene = Scene::new().await;
    scene.add_group("web", "$Default", 2).await;
    scene.add_group("empty", "$Default", 0).await;
    scene.add_group("pinned", "1", 1).await;
    check_calls(&scene, &[("INSTANCE_REFRESH", "true")], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: ok
        DescribeAutoScalingGroups: ok
        StartInstanceRefresh: ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"version-created","reason":"changes ImageId","refreshes_started":["web"],"warnings":["pinned is pinned to version 1 of LT: it never launches from a new version"]}
        metric: "version-created"
    "#]]).await;
    // It runs: left alone.
    check_calls(&scene, &[("INSTANCE_REFRESH", "true")], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeAutoScalingGroups: ok
        StartInstanceRefresh: InstanceRefreshInProgress
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"up-to-date","reason":"nothing to change","warnings":["pinned is pinned to version 1 of LT: it never launches from a new version"]}
        metric: "up-to-date"
    "#]]).await;
    scene.lab.sleep(2 * HOUR).await;
    scene.settle("web", 2).await;
    assert_eq!(scene.images("web"), [scene.new.clone(), scene.new.clone()]);
    // It is done: nothing to refresh.
    check_calls(&scene, &[("INSTANCE_REFRESH", "true")], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeAutoScalingGroups: ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"up-to-date","reason":"nothing to change","warnings":["pinned is pinned to version 1 of LT: it never launches from a new version"]}
        metric: "up-to-date"
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_look_at_the_groups_the_version_is_made_all_the_same() {
    let scene = Scene::new().await;
    scene.lab.faults().script("DescribeAutoScalingGroups", [CallFault::AccessDenied; 2]);
    check_calls(&scene, &[], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: ok
        DescribeAutoScalingGroups: AccessDenied
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"version-created","reason":"changes ImageId","warnings":["can't read which groups use the new version: DescribeAutoScalingGroups failed: AccessDenied: User: arn:aws:sts::123456789012:assumed-role/lt-ami-refresher/lt-ami-refresher is not authorized to perform: autoscaling:DescribeAutoScalingGroups because no identity-based policy allows the autoscaling:DescribeAutoScalingGroups action (request lt-ami-refresher-8)"]}
        metric: "version-created"
    "#]]).await;
    // But versions are deleted only after one.
    check_calls(&scene, &[("KEEP_VERSIONS", "1")], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeAutoScalingGroups: AccessDenied
        AwsError: DescribeAutoScalingGroups failed: AccessDenied: User: arn:aws:sts::123456789012:assumed-role/lt-ami-refresher/lt-ami-refresher is not authorized to perform: autoscaling:DescribeAutoScalingGroups because no identity-based policy allows the autoscaling:DescribeAutoScalingGroups action (request lt-ami-refresher-11)
        metric: "AwsError"
    "#]]).await;
    assert_eq!(scene.versions().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_does_not_stop_the_others_and_is_an_error() {
    let scene = Scene::new().await;
    scene.add_group("api", "$Default", 1).await;
    scene.add_group("web", "$Default", 1).await;
    scene.lab.faults().script("StartInstanceRefresh", [CallFault::AccessDenied]);
    check_calls(&scene, &[("INSTANCE_REFRESH", "true")], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: ok
        DescribeAutoScalingGroups: ok
        StartInstanceRefresh: AccessDenied
        StartInstanceRefresh: ok
        AwsError: StartInstanceRefresh failed: AccessDenied: User: arn:aws:sts::123456789012:assumed-role/lt-ami-refresher/lt-ami-refresher is not authorized to perform: autoscaling:StartInstanceRefresh because no identity-based policy allows the autoscaling:StartInstanceRefresh action (request lt-ami-refresher-9)
        metric: "AwsError"
    "#]]).await;
    check_calls(&scene, &[("INSTANCE_REFRESH", "true")], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeAutoScalingGroups: ok
        StartInstanceRefresh: ok
        StartInstanceRefresh: InstanceRefreshInProgress
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"up-to-date","reason":"nothing to change","refreshes_started":["api"]}
        metric: "up-to-date"
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn versions_that_instances_run_from_stay_until_the_instances_are_gone() {
    let scene = Scene::new().await;
    // Launched from version 1, which the group no longer names.
    scene.add_group("web", "$Default", 1).await;
    for _ in 0..3 {
        scene.add_version(1, Data::builder().key_name("x")).await;
    }
    check_calls(&scene, &[("KEEP_VERSIONS", "1")], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: ok
        DescribeAutoScalingGroups: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstances: ok
        DeleteLaunchTemplateVersions: ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":5,"outcome":"version-created","reason":"changes ImageId","versions_deleted":[2,3,4]}
        metric: "version-created"
    "#]]).await;
    assert_eq!(scene.versions(), ["1: OLD", "5: NEW"]);
    let set = scene.autoscaling.set_desired_capacity().auto_scaling_group_name("web");
    set.desired_capacity(0).send().await.unwrap();
    scene.settle("web", 0).await;
    scene.play(&[("KEEP_VERSIONS", "1")], json!({})).await;
    assert_eq!(scene.versions(), ["5: NEW"]);
}

#[tokio::test(start_paused = true)]
async fn versions_that_instances_of_no_group_run_from_stay() {
    let scene = Scene::new().await;
    scene.add_group("web", "$Default", 1).await;
    for _ in 0..3 {
        scene.add_version(1, Data::builder().key_name("x")).await;
    }
    scene.make_default(3).await;
    let set = scene.autoscaling.set_desired_capacity().auto_scaling_group_name("web");
    set.desired_capacity(2).send().await.unwrap();
    scene.settle("web", 2).await;
    let instances =
        scene.lab.world(|world| world.autoscaling.instances().map(|one| one.id.clone()).collect());
    let detach = scene.autoscaling.detach_instances().auto_scaling_group_name("web");
    let detach = detach.set_instance_ids(Some(instances)).should_decrement_desired_capacity(true);
    detach.send().await.unwrap();
    scene.settle("web", 0).await;
    scene.play(&[("KEEP_VERSIONS", "1")], json!({})).await;
    assert_eq!(scene.versions(), ["1: OLD", "3: OLD", "5: NEW"]);
}

#[tokio::test(start_paused = true)]
async fn the_source_version_stays() {
    let scene = Scene::new().await;
    for _ in 0..3 {
        scene.add_version(1, Data::builder().key_name("x")).await;
    }
    let variables = [("KEEP_VERSIONS", "1"), ("SOURCE_VERSION", "2")];
    scene.play(&variables, json!({})).await;
    assert_eq!(scene.versions(), ["2: OLD", "5: NEW"]);
    // The payload's source stays too, and the one of the runs without it.
    scene.add_version(2, Data::builder().key_name("y")).await;
    scene.add_version(2, Data::builder().key_name("z")).await;
    scene.play(&variables, json!({ "sourceVersion": 6 })).await;
    assert_eq!(scene.versions(), ["2: OLD", "5: NEW", "6: OLD", "7: OLD"]);
}

#[tokio::test(start_paused = true)]
async fn in_a_full_template_old_versions_go_first() {
    let scene = Scene::new().await;
    for _ in 0..4 {
        scene.add_version(1, Data::builder().key_name("x")).await;
    }
    scene.lab.world(|world| world.ec2.versions_per_template = 5);
    check_calls(&scene, &[], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        CreateLaunchTemplateVersion: VersionLimitExceeded
        AwsError: CreateLaunchTemplateVersion failed: VersionLimitExceeded: The maximum number of versions for the launch template LT has been reached. (request lt-ami-refresher-6)
        metric: "AwsError"
    "#]]).await;
    assert_eq!((scene.versions().len(), scene.default_version()), (5, 1));
    check_calls(&scene, &[("KEEP_VERSIONS", "3")], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        CreateLaunchTemplateVersion: VersionLimitExceeded
        DescribeAutoScalingGroups: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstances: ok
        DeleteLaunchTemplateVersions: ok
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: ok
        DescribeAutoScalingGroups: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstances: ok
        DeleteLaunchTemplateVersions: ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":6,"outcome":"version-created","reason":"changes ImageId","versions_deleted":[2,1,3]}
        metric: "version-created"
    "#]]).await;
    assert_eq!((scene.versions().len(), scene.default_version()), (3, 6));
}

#[tokio::test(start_paused = true)]
async fn where_all_versions_of_a_full_template_would_stay_one_goes_for_the_new_one() {
    let scene = Scene::new().await;
    for _ in 0..4 {
        scene.add_version(1, Data::builder().key_name("x")).await;
    }
    scene.lab.world(|world| world.ec2.versions_per_template = 5);
    scene.play(&[("KEEP_VERSIONS", "4")], json!({})).await;
    assert_eq!((scene.versions().len(), scene.default_version()), (4, 6));
}

/// EC2 refuses a deletion as a whole where the default is among the versions.
#[tokio::test(start_paused = true)]
async fn a_version_that_becomes_the_default_meanwhile_stays_and_the_others_go() {
    let scene = Scene::new().await;
    for _ in 0..3 {
        scene.add_version(1, Data::builder().key_name("x")).await;
    }
    let mut moments = scene.lab.observe();
    let operator = async {
        while let Some(moment) = moments.recv().await {
            if matches!(&moment.what, What::Called(call) if call.action == "DescribeAutoScalingGroups") {
                scene.make_default(3).await;
                return;
            }
        }
    };
    let variables = [("KEEP_VERSIONS", "1")];
    let (played, ()) = tokio::join!(scene.play_calls(&variables, json!({})), operator);
    let deletions = "DeleteLaunchTemplateVersions: InvalidParameterValue\nDescribeLaunchTemplateVersions: ok\n\
                     DeleteLaunchTemplateVersions: ok\n";
    assert!(played.contains(deletions) && played.contains(r#""versions_deleted":[1,2,4]"#), "{played}");
    assert_eq!(
        (scene.versions(), scene.default_version()),
        (vec!["3: OLD".to_owned(), "5: NEW".to_owned()], 3)
    );
}
