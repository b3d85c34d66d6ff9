//! Which image is found, and what the news of images lead to.

use expect_test::expect;
use lifecycle_lab::ec2::{Image, ImageState};
use serde_json::json;

use super::common::{HOUR, MINUTE, Scene, available, backup, backup_named, sample};
use super::{check, check_calls, check_refusal};

#[tokio::test(start_paused = true)]
async fn no_image_is_an_error_that_names_what_was_looked_for() {
    let scene = Scene::new().await;
    check_refusal(&scene, &[("EC2_INSTANCE_NAME", "api")], expect![[r#"
        NoImageFound: this account has no available image with AWS Backup's tag aws:backup:source-resource and whose tag Name is "api" and whose name begins with AWSbackup_ or AwsBackup_ (case-sensitive)
    "#]]).await;
    check_refusal(&scene, &[("AMI_NAME_PREFIXES", "nightly-")], expect![[r#"
        NoImageFound: this account has no available image with AWS Backup's tag aws:backup:source-resource and whose tag Name is "web" and whose name begins with nightly- (case-sensitive)
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn an_old_image_is_an_error_even_if_the_template_has_it() {
    let scene = Scene::new().await;
    check_refusal(&scene, &[("MAX_IMAGE_AGE", "4h")], expect![[r#"
        StaleImage: the newest image, NEW (AwsBackup_i-0123_1795230000), was created at 2026-11-21T03:00:00Z, 5 h 0 min ago. Its maximum age is 4 h 0 min: check why the backups have stopped
    "#]]).await;
    scene.play(&[("MAX_IMAGE_AGE", "6h")], json!({})).await;
    scene.lab.sleep(2 * HOUR).await;
    let played = scene.play(&[("MAX_IMAGE_AGE", "6h")], json!({})).await;
    assert!(played.contains("StaleImage: the newest image, NEW"), "{played}");
}

#[tokio::test(start_paused = true)]
async fn only_own_images_that_are_available_count() {
    let scene = Scene::new().await;
    let now = scene.lab.now();
    let add = |change: fn(&mut Image)| {
        let mut image = backup_named("AwsBackup_i-0123_newer", now);
        change(&mut image);
        scene.lab.world(|world| world.add_image(image));
    };
    add(|image| image.owner = "999999999999".to_owned());
    add(|image| image.state = ImageState::Pending);
    add(|image| image.state = ImageState::Failed);
    add(|image| image.name = "awsbackup_i-0123".to_owned());
    add(|image| drop(image.tags.insert("Name".to_owned(), "Web".to_owned())));
    add(|image| image.deprecated = Some(image.created));
    scene.play(&[], json!({})).await;
    assert_eq!(scene.versions(), ["1: OLD", "2: NEW"]);
}

#[tokio::test(start_paused = true)]
async fn the_newest_of_five_thousand_images_is_found_on_the_last_page() {
    let scene = Scene::new().await;
    scene.lab.world(|world| world.ec2.page_size = 100);
    let (first, day) = (scene.lab.now() - 24 * HOUR, chrono::TimeDelta::seconds(1));
    for n in 0..4_998 {
        backup(&scene.lab, first - day * n);
    }
    // Pages come in the order of ids.
    let mut newest = backup_named("AwsBackup_newest", scene.lab.now());
    newest.id = "ami-fffffffffffffffff".to_owned();
    scene.lab.world(|world| world.add_image(newest));
    scene.play(&[], json!({})).await;
    assert_eq!(scene.versions(), ["1: OLD", "2: ami-fffffffffffffffff"]);
    let pages = scene.calls().iter().filter(|call| *call == "DescribeImages: ok").count();
    assert_eq!(pages, 51);
}

#[tokio::test(start_paused = true)]
async fn the_news_of_an_image_costs_one_call_more() {
    let scene = Scene::new().await;
    check_calls(&scene, &[], available(&scene.new, scene.lab.now()), expect![[r#"
        DescribeImages: ok
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: ok
        DescribeAutoScalingGroups: ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"version-created","reason":"changes ImageId"}
        metric: "version-created"
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn the_news_of_another_instances_image_is_ignored_after_one_call() {
    let scene = Scene::new().await;
    let mut image = backup_named("AwsBackup_i-0456", scene.lab.now() - MINUTE);
    image.tags.insert("Name".to_owned(), "api".to_owned());
    image.id = "ami-0123456789abcdef0".to_owned();
    scene.lab.world(|world| world.add_image(image));
    check(
        &scene,
        &[],
        sample("image-available"),
        expect![[r#"
            POST ec2 DescribeImages
              ImageId.1=ami-0123456789abcdef0
              Owner.1=self
              => ok
            answer: {"image.id":"ami-0123456789abcdef0","outcome":"ignored","reason":"ami-0123456789abcdef0 is not an available image with AWS Backup's tag aws:backup:source-resource and whose tag Name is \"web\" and whose name begins with AWSbackup_ or AwsBackup_"}
            metric: "ignored"
        "#]],
    )
    .await;
    check_calls(
        &scene,
        &[],
        sample("image-deregistered"),
        expect![[r#"
        answer: {"outcome":"ignored","reason":"ami-0123456789abcdef0 is deregistered, not available"}
        metric: "ignored"
    "#]],
    )
    .await;
    check_calls(
        &scene,
        &[],
        sample("backup-running"),
        expect![[r#"
        answer: {"outcome":"ignored","reason":"the job is RUNNING, not COMPLETED"}
        metric: "ignored"
    "#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn news_that_are_ahead_of_the_image_are_told_again() {
    let scene = Scene::new().await;
    let now = scene.lab.now();
    let mut image = backup_named("AwsBackup_i-0123_newer", now - MINUTE);
    image.state = ImageState::Pending;
    image.id = "ami-0123456789abcdef0".to_owned();
    let image = scene.lab.world(|world| world.add_image(image));
    check_calls(
        &scene,
        &[],
        available(&image, now),
        expect![[r#"
        DescribeImages: ok
        Timeout: ami-0123456789abcdef0 is still pending although its event says it is available
        metric: "Timeout"
    "#]],
    )
    .await;
    scene.lab.sleep(HOUR).await;
    check_calls(&scene, &[], available(&image, now), expect![[r#"
        DescribeImages: ok
        answer: {"image.id":"ami-0123456789abcdef0","outcome":"ignored","reason":"ami-0123456789abcdef0 is not an available image with AWS Backup's tag aws:backup:source-resource and whose tag Name is \"web\" and whose name begins with AWSbackup_ or AwsBackup_"}
        metric: "ignored"
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_function_is_not_for_is_refused() {
    let scene = Scene::new().await;
    check(&scene, &[], sample("instance-state-refused"), expect![[r#"
        UnsupportedEvent: lt-ami-refresher handles scheduled events, payloads of its own, and state changes of images and of backup jobs, not an event "EC2 Instance State-change Notification" of "aws.ec2"; correct the rule that sent it
        metric: "UnsupportedEvent"
    "#]]).await;
    check(&scene, &[], sample("unknown-key-refused"), expect![[r#"
        InvalidPayload: imageAge: unknown; the keys of a payload are instanceName, sourceInstanceId, imageSource, imageTags, launchTemplateId, launchTemplateName, securityGroupIds, amiNamePrefixes, sourceVersion, maxImageAge, keepVersions, instanceRefresh, dryRun
        metric: "InvalidPayload"
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn nobodys_tag_chooses_the_image() {
    let scene = Scene::new().await;
    let now = scene.lab.now() - MINUTE;
    let add = |image: Image| scene.lab.world(|world| world.add_image(image));
    // Whoever may tag images can do this.
    let mut evil = Image::new("AwsBackup_evil", now);
    evil.tags.insert("Name".to_owned(), "web".to_owned());
    add(evil);
    // And this: a backup of another instance, tagged again.
    let retagged =
        Image { source_instance: Some("i-0456".to_owned()), ..backup_named("AwsBackup_i-0456_1", now) };
    let retagged = add(retagged);
    check_calls(&scene, &[("SOURCE_INSTANCE_ID", "i-0123")], json!({ "dryRun": true }), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        DescribeAutoScalingGroups: ok
        answer: {"difference":{"ImageId":{"from":"OLD","to":"NEW"}},"dryRun":true,"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"version-created","reason":"changes ImageId"}
        metric: "version-created"
    "#]])
        .await;
    let played = scene.play_calls(&[], json!({ "dryRun": true })).await;
    assert!(played.contains(&retagged), "{played}");
    for named in ["i-0123", "i-0456"] {
        assert!(played.contains(named), "both instances are named: {played}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backup_without_a_name_is_found_by_its_instance() {
    let scene = Scene::new().await;
    let mut image = backup_named("AwsBackup_i-0789_1", scene.lab.now() - MINUTE);
    image.tags.remove("Name");
    let image = scene.lab.world(|world| world.add_image(image));
    testkit::deploy::<lt_ami_refresher::Context>(
        &scene.lab,
        &[("SOURCE_INSTANCE_ID", "i-0789"), ("LAUNCH_TEMPLATE_NAME", "web")],
        MINUTE,
    );
    let answer = scene.invoke(json!({})).await.unwrap();
    assert_eq!((&answer["outcome"], &answer["image.id"]), (&json!("version-created"), &json!(image)));
}

#[tokio::test(start_paused = true)]
async fn tagged_images_need_no_backup() {
    let scene = Scene::new().await;
    let mut golden = Image::new("golden 7", scene.lab.now() - MINUTE);
    golden.tags.insert("Role".to_owned(), "web".to_owned());
    golden.id = "ami-0123456789abcdef0".to_owned();
    scene.lab.world(|world| world.add_image(golden));
    let variables = [("IMAGE_SOURCE", "tagged"), ("IMAGE_TAGS", "Role=web")];
    testkit::deploy::<lt_ami_refresher::Context>(
        &scene.lab,
        &[variables[0], variables[1], ("LAUNCH_TEMPLATE_NAME", "web")],
        MINUTE,
    );
    let answer = scene.invoke(json!({})).await.unwrap();
    assert_eq!(answer["image.id"], json!("ami-0123456789abcdef0"));

    // With the name as well, no image fits.
    let played = scene.play_calls(&[("IMAGE_SOURCE", "tagged"), ("IMAGE_TAGS", "Role=web")], json!({})).await;
    assert!(
        played.contains(
            r#"NoImageFound: this account has no available image whose tag Name is "web" and whose tag Role is "web" (case-sensitive)"#
        ),
        "{played}"
    );
    assert_eq!(scene.default_version(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_parameter_names_the_image_and_nothing_else_of_it_counts() {
    let scene = Scene::new().await;
    let add = |change: fn(&mut Image)| {
        let mut image = Image::new("al2023-ami-2023", scene.lab.now() - 30 * 24 * HOUR);
        image.owner = "137112412989".to_owned();
        change(&mut image);
        scene.lab.world(|world| world.add_image(image))
    };
    let put = |name: &str, value: &str| {
        scene.lab.world(|world| world.parameters.insert(name.to_owned(), value.to_owned()));
    };
    let public = add(|image| {
        image.id = "ami-0123456789abcdef0".to_owned();
        image.public = true;
    });
    let name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";
    let source = format!("ssm:{name}");
    let with = [("IMAGE_SOURCE", source.as_str())];
    // A parameter that is missing, one that names no image, and one whose image can't be used.
    check_refusal(
        &scene,
        &with,
        expect![[r#"
        AwsError: GetParameter failed: ParameterNotFound:  (request lt-ami-refresher-1)
    "#]],
    )
    .await;
    for (value, why) in [
        ("golden", "which is not the id of an image"),
        ("ami-0123456789abcdef9", "which is no available image that this account may use"),
        (
            add(|image| image.state = ImageState::Failed).as_str(),
            "which is no available image that this account may use",
        ),
    ] {
        put(name, value);
        let played = scene.play_calls(&with, json!({})).await;
        let expected = format!("UnusableTemplate: the parameter {name} names {value:?}, {why}");
        assert!(played.contains(&expected), "{played}");
    }
    put(name, &public);
    let played = scene.play_calls(&[with[0], ("MAX_IMAGE_AGE", "7d")], json!({})).await;
    assert!(played.contains("StaleImage: "), "{played}");
    assert_eq!(scene.default_version(), 1);
    check_calls(&scene, &with, json!({}), expect![[r#"
        GetParameter: ok
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: ok
        DescribeAutoScalingGroups: ok
        answer: {"image.id":"ami-0123456789abcdef0","launch_template.id":"LT","launch_template.version":2,"outcome":"version-created","reason":"changes ImageId"}
        metric: "version-created"
    "#]]).await;

    // News of another image concern it as little.
    check_calls(&scene, &with, available(&scene.new, scene.lab.now()), expect![[r#"
        GetParameter: ok
        DescribeImages: ok
        answer: {"image.id":"NEW","outcome":"ignored","reason":"ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64 names ami-0123456789abcdef0"}
        metric: "ignored"
    "#]]).await;

    // One that audit mode shows is taken, with a warning.
    put(
        name,
        &add(|image| {
            image.public = true;
            image.allowed = Some(false);
        }),
    );
    let played = scene.play_calls(&with, json!({})).await;
    assert!(
        played.contains("version-created") && played.contains("not among the account's allowed images"),
        "{played}"
    );
    assert_eq!(scene.default_version(), 3);
    // An own one never is restricted.
    put(
        name,
        &add(|image| {
            image.owner = lifecycle_lab::ACCOUNT.to_owned();
            image.allowed = Some(false);
        }),
    );
    let played = scene.play_calls(&with, json!({})).await;
    assert!(played.contains("version-created") && !played.contains("warnings"), "{played}");
}
