//! Which image is found, and what the news of images lead to.

use expect_test::expect;
use lifecycle_lab::ec2::{Image, ImageState};
use serde_json::json;

use super::common::{HOUR, MINUTE, Scene, available, backup, sample};
use super::{check, check_calls, check_refusal};

#[tokio::test(start_paused = true)]
async fn no_image_is_an_error_that_names_what_was_looked_for() {
    let scene = Scene::new().await;
    check_refusal(&scene, &[("EC2_INSTANCE_NAME", "api")], expect![[r#"
        NoImageFound: this account has no available image whose tag Name is "api" and whose name begins with AWSbackup_ or AwsBackup_ (case-sensitive)
    "#]]).await;
    check_refusal(&scene, &[("AMI_NAME_PREFIXES", "nightly-")], expect![[r#"
        NoImageFound: this account has no available image whose tag Name is "web" and whose name begins with nightly- (case-sensitive)
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
        let mut image = Image::new("AwsBackup_i-0123_newer", now);
        image.tags.insert("Name".to_owned(), "web".to_owned());
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
    let mut newest = Image::new("AwsBackup_newest", scene.lab.now());
    newest.id = "ami-fffffffffffffffff".to_owned();
    newest.tags.insert("Name".to_owned(), "web".to_owned());
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
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: ok
        DescribeAutoScalingGroups: ok
        answer: {"image.created":"2026-11-21T03:00:00Z","image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"version-created","reason":"version 2 of LT has NEW (AwsBackup_i-0123_1795230000)"}
        metric: "version-created"
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn the_news_of_another_instances_image_is_ignored_after_one_call() {
    let scene = Scene::new().await;
    let mut image = Image::new("AwsBackup_i-0456", scene.lab.now() - MINUTE);
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
            answer: {"image.id":"ami-0123456789abcdef0","outcome":"ignored","reason":"ami-0123456789abcdef0 is not an available backup of \"web\""}
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
    let mut image = Image::new("AwsBackup_i-0123_newer", now - MINUTE);
    image.tags.insert("Name".to_owned(), "web".to_owned());
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
        answer: {"image.id":"ami-0123456789abcdef0","outcome":"ignored","reason":"ami-0123456789abcdef0 is not an available backup of \"web\""}
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
        InvalidPayload: imageAge: unknown; the keys of a payload are instanceName, launchTemplateId, launchTemplateName, securityGroupIds, amiNamePrefixes, sourceVersion, maxImageAge, keepVersions, instanceRefresh
        metric: "InvalidPayload"
    "#]]).await;
}
