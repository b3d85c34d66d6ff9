//! One version for one image, based on the version that it should be based on.

use aws_sdk_ec2::types::{LaunchTemplatesMonitoringRequest as Monitoring, RequestLaunchTemplateData as Data};
use expect_test::expect;
use lifecycle_lab::faults::CallFault;
use serde_json::json;

use super::common::{HOUR, MINUTE, Scene, backup, sample};
use super::{check, check_calls, check_refusal};

#[tokio::test(start_paused = true)]
async fn the_newest_backup_becomes_the_default_version() {
    let scene = Scene::new().await;
    check(&scene, &[], sample("scheduled"), expect![[r#"
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
          SetDefaultVersion=2
          => ok
        POST autoscaling DescribeAutoScalingGroups
          MaxRecords=100
          => ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"version-created","reason":"changes ImageId"}
        metric: "version-created"
    "#]]).await;
    assert_eq!(scene.versions(), ["1: OLD", "2: NEW"]);
    let mut expected = scene.version(1);
    expected["ImageId"] = json!(scene.new);
    assert_eq!((scene.default_version(), scene.version(2)), (2, expected));
}

#[tokio::test(start_paused = true)]
async fn a_template_that_is_up_to_date_costs_three_calls_and_no_write() {
    let scene = Scene::new().await;
    scene.play(&[], json!({})).await;
    check_calls(&scene, &[], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeAutoScalingGroups: ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"up-to-date","reason":"nothing to change"}
        metric: "up-to-date"
    "#]]).await;
    let named = [("LAUNCH_TEMPLATE_ID", scene.template.as_str())];
    check_calls(&scene, &named, sample("scheduled"), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeAutoScalingGroups: ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"up-to-date","reason":"nothing to change"}
        metric: "up-to-date"
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_not_the_default_yet_is_not_made_again() {
    let scene = Scene::new().await;
    scene.lab.faults().script("ModifyLaunchTemplate", [CallFault::AccessDenied]);
    check_calls(&scene, &[], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: UnauthorizedOperation
        AwsError: ModifyLaunchTemplate failed: UnauthorizedOperation: You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/lt-ami-refresher/lt-ami-refresher is not authorized to perform: ec2:ModifyLaunchTemplate because no identity-based policy allows the ec2:ModifyLaunchTemplate action (request lt-ami-refresher-7)
        metric: "AwsError"
    "#]]).await;
    assert_eq!(scene.default_version(), 1);
    check_calls(&scene, &[], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        ModifyLaunchTemplate: ok
        DescribeAutoScalingGroups: ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"version-created","reason":"changes ImageId"}
        metric: "version-created"
    "#]]).await;
    assert_eq!(
        (scene.default_version(), scene.versions()),
        (2, vec!["1: OLD".to_owned(), "2: NEW".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_default_that_was_moved_back_comes_again_without_another_version() {
    let scene = Scene::new().await;
    scene.play(&[], json!({})).await;
    scene.make_default(1).await;
    scene.play(&[], json!({})).await;
    assert_eq!((scene.default_version(), scene.versions().len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_was_deleted_is_made_again() {
    let scene = Scene::new().await;
    for number in [2, 3, 4] {
        scene.play(&[], json!({})).await;
        assert_eq!(scene.default_version(), number);
        // EC2 still remembers the token.
        scene.make_default(1).await;
        scene.delete_version(number).await;
        scene.lab.sleep(HOUR).await;
    }
    check_calls(&scene, &[], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: InvalidLaunchTemplateId.VersionNotFound
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: InvalidLaunchTemplateId.VersionNotFound
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: InvalidLaunchTemplateId.VersionNotFound
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: ok
        DescribeAutoScalingGroups: ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":5,"outcome":"version-created","reason":"changes ImageId"}
        metric: "version-created"
    "#]]).await;
    assert_eq!(scene.versions(), ["1: OLD", "5: NEW"]);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_says_exactly_what_is_wanted_is_used_whoever_made_it() {
    let scene = Scene::new().await;
    let made = scene.add_version(1, Data::builder().image_id(&scene.new)).await;
    scene.add_version(1, Data::builder().key_name("draft")).await;
    scene.play(&[], json!({})).await;
    assert_eq!(
        (scene.default_version(), scene.writes()),
        (made, vec!["ModifyLaunchTemplate: ok".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_draft_of_somebody_else_is_not_made_the_default() {
    let scene = Scene::new().await;
    scene.add_version(1, Data::builder().image_id(&scene.new).key_name("draft")).await;
    scene.play(&[], json!({})).await;
    assert_eq!(scene.versions(), ["1: OLD", "2: NEW", "3: NEW"]);
    assert_eq!((scene.default_version(), &scene.version(3)["KeyName"]), (3, &json!("operator")));
}

#[tokio::test(start_paused = true)]
async fn settings_of_a_new_default_are_kept_from_then_on() {
    let scene = Scene::new().await;
    scene.play(&[], json!({})).await;
    let changed = scene.add_version(2, Data::builder().key_name("changed")).await;
    scene.make_default(changed).await;
    backup(&scene.lab, scene.lab.now() - MINUTE);
    scene.play(&[], json!({})).await;
    assert_eq!((scene.default_version(), &scene.version(4)["KeyName"]), (4, &json!("changed")));
}

#[tokio::test(start_paused = true)]
async fn another_source_version_is_inherited_from() {
    let scene = Scene::new().await;
    scene.add_version(1, Data::builder().key_name("second")).await;
    scene.add_version(1, Data::builder().key_name("third")).await;
    for (source, key) in [("2", "second"), ("$Latest", "third"), ("$Default", "operator")] {
        scene.make_default(1).await;
        scene.play(&[("SOURCE_VERSION", source)], json!({})).await;
        let default = scene.default_version();
        assert_eq!((&scene.version(default)["KeyName"], default > 3), (&json!(key), true), "{source}");
        scene.make_default(1).await;
        scene.delete_version(default).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_version_that_does_not_exist_is_refused() {
    let scene = Scene::new().await;
    check_refusal(
        &scene,
        &[("SOURCE_VERSION", "7")],
        expect![[r#"
        UnusableTemplate: web has no version 7 to base one on
    "#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_answers_the_difference_and_writes_nothing() {
    let scene = Scene::new().await;
    let groups = scene.admin.clone();
    let variables = [("SG_IDS", groups.as_str()), ("KEEP_VERSIONS", "1"), ("INSTANCE_REFRESH", "true")];
    scene.add_group("web", "$Default", 1).await;
    let dry = json!({ "dryRun": true });
    check_calls(&scene, &variables, dry.clone(), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        DescribeAutoScalingGroups: ok
        answer: {"difference":{"ImageId":{"from":"OLD","to":"NEW"},"SecurityGroupIds":{"from":["SG-WEB"],"to":["SG-ADMIN"]}},"dryRun":true,"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"version-created","reason":"changes ImageId, SecurityGroupIds"}
        metric: "version-created"
    "#]]).await;
    assert_eq!((scene.writes(), scene.default_version()), (Vec::<String>::new(), 1));

    let played = scene.play_calls(&[("SG_IDS", "sg-0123456789abcdef0")], dry.clone()).await;
    assert!(played.contains("UnusableTemplate: the security group"), "{played}");

    // The real run, and a dry one after it.
    scene.play(&variables, json!({ "dryRun": false })).await;
    assert_eq!(scene.default_version(), 2);
    let before = scene.writes();
    check_calls(&scene, &variables, dry.clone(), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeAutoScalingGroups: ok
        answer: {"difference":{},"dryRun":true,"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"up-to-date","reason":"nothing to change"}
        metric: "up-to-date"
    "#]]).await;

    // A version that exists would become the default.
    scene.make_default(1).await;
    let played = scene.play_calls(&variables, dry).await;
    assert!(played.contains(r#""launch_template.version":2,"outcome":"version-created""#), "{played}");
    assert_eq!((scene.writes(), scene.default_version()), (before, 1));
}

/// Adds a version with a setting that is newer than the SDK. Returns its number.
async fn add_newer(
    scene: &Scene,
    data: aws_sdk_ec2::types::builders::RequestLaunchTemplateDataBuilder,
) -> i64 {
    scene.lab.world(|world| world.ec2.newer_settings.insert("MetricCategoryIds".to_owned()));
    let create = scene.ec2.create_launch_template_version().launch_template_id(&scene.template);
    let create =
        create.launch_template_data(data.monitoring(Monitoring::builder().enabled(true).build()).build());
    let create = create.customize().mutate_request(|request| {
        let body = String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap();
        let newer = "&LaunchTemplateData.Monitoring.MetricCategoryIds.1=mc-1";
        *request.body_mut() = (body + newer).into();
    });
    create.send().await.unwrap().launch_template_version.unwrap().version_number.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_setting_that_is_newer_than_the_sdk_survives_and_makes_another_version() {
    // An earlier run's version has the new image without the setting, and then the operator adds it.
    let scene =
        Scene::with(|scene| scene.data().monitoring(Monitoring::builder().enabled(true).build())).await;
    scene.play(&[], json!({})).await;
    let newer = add_newer(&scene, scene.data()).await;
    scene.make_default(newer).await;
    scene.play(&[], json!({})).await;
    assert_eq!(scene.versions(), ["1: OLD", "2: NEW", "3: OLD", "4: NEW"]);
    assert_eq!(scene.default_version(), 4);
    assert_eq!(scene.version(4)["Monitoring"], json!({ "Enabled": "true", "MetricCategoryIds": ["mc-1"] }));
}

#[tokio::test(start_paused = true)]
async fn a_setting_that_is_newer_than_the_sdk_is_never_lost_where_the_version_is_said_anew() {
    let scene = Scene::new().await;
    let newer = add_newer(&scene, scene.bare().security_groups("web")).await;
    scene.make_default(newer).await;
    for payload in [json!({}), json!({ "dryRun": true })] {
        let played = scene.play_calls(&[], payload).await;
        let expected = "UnusableTemplate: version 2 has settings that this build does not know and that the new version \
                        would lose: Monitoring.MetricCategoryIds; update the function";
        assert!(played.contains(expected), "{played}");
    }
    assert_eq!((scene.writes(), scene.default_version()), (Vec::<String>::new(), 2));
    // The operator says the groups by their ids, and the setting is inherited.
    let newer = add_newer(&scene, scene.data()).await;
    scene.make_default(newer).await;
    scene.play(&[], json!({})).await;
    assert_eq!((scene.default_version(), scene.versions().len()), (4, 4));
    assert_eq!(scene.version(4)["Monitoring"]["MetricCategoryIds"], json!(["mc-1"]));
}
