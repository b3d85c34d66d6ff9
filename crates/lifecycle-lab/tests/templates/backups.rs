//! Backups of instances, and what AWS Backup tells of them.

use std::time::Duration;

use aws_sdk_ec2::types::{LaunchTemplateTagSpecificationRequest, ResourceType, Tag};
use lifecycle_lab::ec2::ImageScript;
use serde_json::json;

use crate::scene::*;

/// A group of one instance with the name `shop`; its id.
async fn shop() -> (Scene, String) {
    let scene = Scene::new();
    let tag = Tag::builder().key("Name").value("shop").build();
    let tags =
        LaunchTemplateTagSpecificationRequest::builder().resource_type(ResourceType::Instance).tags(tag);
    scene.template(scene.data().tag_specifications(tags.build())).await;
    let id = scene.group_of(1, "$Latest").await.remove(0);
    (scene, id)
}

#[tokio::test(start_paused = true)]
async fn a_backup_is_an_image_with_the_instances_tags_that_is_pending_first() {
    let (scene, instance) = shop().await;
    let image = scene.lab.world(|world| world.backup(&instance)).unwrap();
    let describe = async || {
        scene.sleep(1).await;
        let images = scene.ec2.describe_images().owners("self").filters(filter("name", &["AwsBackup_*"]));
        images.send().await.unwrap().images.unwrap().remove(0)
    };

    let pending = describe().await;
    assert_eq!((pending.image_id(), pending.state().unwrap().as_str()), (Some(&*image), "pending"));
    let name = pending.name().unwrap();
    assert!(name.starts_with(&format!("AwsBackup_{instance}_")) && name.len() == 66, "{name}");
    let tags: Vec<_> = pending.tags().iter().map(|tag| (tag.key().unwrap(), tag.value().unwrap())).collect();
    assert_eq!(tags, [("Name", "shop"), ("aws:backup:source-resource", &*instance)]);
    scene.sleep(180).await;
    assert_eq!(describe().await.state().unwrap().as_str(), "available");
    assert_eq!(scene.lab.world(|world| world.ec2.instance(&instance).unwrap().reboots), 0);
    assert_eq!(scene.lab.world(|world| world.backup("i-0000000000000000f")), None);
}

#[tokio::test(start_paused = true)]
async fn a_backup_is_told_by_ec2_and_by_aws_backup() {
    let (scene, instance) = shop().await;
    let begun = scene.lab.now();
    let image = scene.lab.world(|world| world.backup(&instance)).unwrap();
    scene.sleep(200).await;

    let events = scene.events();
    let told = |event: &serde_json::Value| {
        let state = [&event["detail"]["state"], &event["detail"]["State"]].map(|state| state.as_str());
        let detail_type = event["detail-type"].as_str().unwrap().to_owned();
        (detail_type, state.into_iter().flatten().collect::<String>())
    };
    let (backup, ami) = ("Backup Job State Change", "EC2 AMI State Change");
    let last: Vec<_> = events[events.len() - 3..].iter().map(told).collect();
    assert_eq!(
        last,
        [(backup, "RUNNING"), (ami, "available"), (backup, "COMPLETED")]
            .map(|(kind, state)| (kind.to_owned(), state.to_owned()))
    );
    let event = events.last().unwrap();
    assert_eq!(event["source"], "aws.backup");
    assert_eq!(event["resources"], json!([format!("arn:aws:ec2:us-east-1::image/{image}")]));
    let iso = |seconds: i64| {
        let time = begun + chrono::TimeDelta::seconds(seconds);
        time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    };
    let mut detail = event["detail"].clone();
    let job = detail["backupJobId"].take();
    assert_eq!(job.as_str().map(str::len), Some(36));
    assert_eq!(
        detail,
        json!({
            "backupJobId": null,
            "backupVaultArn": "arn:aws:backup:us-east-1:123456789012:backup-vault:Default",
            "backupVaultName": "Default",
            "bytesTransferred": "0",
            "creationDate": iso(0),
            "iamRoleArn": "arn:aws:iam::123456789012:role/service-role/AWSBackupDefaultServiceRole",
            "resourceArn": format!("arn:aws:ec2:us-east-1:123456789012:instance/{instance}"),
            "resourceType": "EC2",
            "state": "COMPLETED",
            "completionDate": iso(180),
            "startBy": iso(8 * 3600),
            "percentDone": 100,
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_backup_can_fail() {
    let (scene, instance) = shop().await;
    let script = ImageScript { pending: Duration::from_secs(5), failure: Some("no space".to_owned()) };
    scene.lab.world(|world| {
        world.ec2.set_image_script(&instance, script);
        world.backup(&instance)
    });
    scene.sleep(10).await;

    let event = scene.events().pop().unwrap();
    assert_eq!(event["detail"]["state"], "FAILED");
    assert_eq!(event["detail"]["statusMessage"], "no space");
    assert_eq!(event["resources"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn an_instance_outside_of_every_group_is_backed_up_with_its_architecture() {
    let scene = Scene::new();
    let tags = || [("Name".to_owned(), "server".to_owned())].into();
    let server = scene.lab.world(|world| world.add_instance("arm64", tags()));
    let described = scene.ec2.describe_instances().instance_ids(&server).send().await.unwrap();
    let described = described.reservations()[0].instances()[0].clone();
    assert_eq!(described.tags()[0].value(), Some("server"));
    assert!(scene.lab.world(|world| world.autoscaling.instance(&server).is_none()));
    let image = scene.lab.world(|world| world.backup(&server)).unwrap();
    let architecture = scene.lab.world(|world| world.ec2.image(&image).unwrap().architecture.clone());
    assert_eq!(architecture, "arm64");
}
