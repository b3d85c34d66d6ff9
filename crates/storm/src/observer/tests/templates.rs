//! Tests of the launch template's invariants with a faulty function.

use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{InstanceType, RequestLaunchTemplateData};
use fleet::operator;
use lt_ami_refresher::NAME;
use serde_json::json;

use super::{Stage, check, play};
use crate::backups::{Backups, SHOP};
use crate::options::Faults;
use crate::tally::Tally;

/// There is a backup of a server of this architecture, and then this function runs once in lt-ami-refresher's
/// place, with EC2's client and the backup's id.
fn after<F: Future<Output = ()> + Send + 'static>(
    architecture: &'static str,
    run: impl Fn(Client, String) -> F + Send + Sync + 'static,
) -> Vec<String> {
    judged_after(architecture, run).0
}

/// The same, and what the observer counted.
fn judged_after<F: Future<Output = ()> + Send + 'static>(
    architecture: &'static str,
    run: impl Fn(Client, String) -> F + Send + Sync + 'static,
) -> (Vec<String>, Tally) {
    play(async move {
        let stage = Stage::new(Vec::new()).await;
        Backups::new(&stage.lab, 7, Faults::None).await.unwrap();
        let image = stage.lab.world(|world| {
            let server = world.add_instance(architecture, [("Name".to_owned(), SHOP.to_owned())].into());
            world.backup(&server).unwrap()
        });
        stage.lab.sleep(Duration::from_secs(600)).await;
        let client = Client::new(&stage.lab.sdk_config(NAME));
        stage.deploy(NAME, move |_| run(client.clone(), image.clone()));
        stage.lab.invoke_async(NAME, json!({})).await;
        stage.judged().await
    })
}

/// Makes a version with this image.
async fn make(client: &Client, image: &str) {
    make_of(client, image, InstanceType::T3Micro).await;
}

async fn make_of(client: &Client, image: &str, instance_type: InstanceType) {
    let data = RequestLaunchTemplateData::builder().image_id(image).instance_type(instance_type);
    let create = client.create_launch_template_version().launch_template_name(SHOP);
    create.launch_template_data(data.build()).send().await.unwrap();
}

async fn make_default(client: &Client, version: &str) {
    let modify = client.modify_launch_template().launch_template_name(SHOP);
    modify.default_version(version).send().await.unwrap();
}

#[test]
fn who_follows_the_newest_backup_is_not_accused() {
    let (accused, tally) = judged_after("x86_64", async |client, image| {
        make(&client, &image).await;
        make_default(&client, "2").await;
    });
    assert!(accused.is_empty(), "{accused:?}");
    assert_eq!(tally.templates.get("default checked after a run"), Some(&1), "{tally:?}");
}

#[test]
fn who_does_not_follow_the_newest_backup_is_accused() {
    let accused = after("x86_64", async |_, _| {});
    check(&accused, "an undisturbed run left");
}

#[test]
fn who_follows_a_backup_that_the_instances_can_not_be_launched_from_is_accused() {
    let accused = after("arm64", async |client, image| {
        make(&client, &image).await;
        make_default(&client, "2").await;
    });
    assert_eq!(accused.len(), 2, "{accused:?}");
    assert!(accused[0].contains("became the default, and"), "{accused:?}");
    assert!(accused[1].contains("an undisturbed run left"), "{accused:?}");
}

#[test]
fn who_makes_a_version_twice_is_accused() {
    let accused = after("x86_64", async |client, image| {
        make(&client, &image).await;
        make(&client, &image).await;
        make_default(&client, "3").await;
    });
    check(&accused, "version 3 of shop says what 2 does");
}

/// Versions 2 to 5, the second of which is the default, and then this one is deleted.
fn delete(version: &'static str) -> Vec<String> {
    after("x86_64", move |client, image| async move {
        for instance_type in
            [InstanceType::T3Micro, InstanceType::T3Small, InstanceType::T3Medium, InstanceType::T3Large]
        {
            make_of(&client, &image, instance_type).await;
        }
        make_default(&client, "2").await;
        let delete = client.delete_launch_template_versions().launch_template_name(SHOP);
        delete.versions(version).send().await.unwrap();
    })
}

#[test]
fn who_deletes_the_pinned_version_or_one_of_the_newest_is_accused() {
    check(&delete("1"), "version 1 of shop was deleted, and is in use");
    check(&delete("3"), "version 3 of shop was deleted, and is in use");
}

#[test]
fn a_launch_that_fails_is_a_violation() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        Backups::new(&stage.lab, 7, Faults::None).await.unwrap();
        let template = aws_sdk_autoscaling::types::LaunchTemplateSpecification::builder();
        let template = template.launch_template_name(SHOP).version("1").build();
        let create = stage.operator.create_auto_scaling_group().auto_scaling_group_name("app-1");
        let create = create.launch_template(template).availability_zones("us-east-1a");
        create.min_size(0).max_size(1).send().await.unwrap();
        let image = stage.lab.world(|world| world.ec2.images()[0].id.clone());
        Client::new(&stage.lab.sdk_config("operator"))
            .deregister_image()
            .image_id(image)
            .send()
            .await
            .unwrap();
        operator::desire(&stage.operator, "app-1", 1).await.unwrap();
        stage.lab.sleep(Duration::from_secs(300)).await;
        stage.accused().await
    });
    assert!(!accused.is_empty(), "nobody is accused");
    assert!(accused.iter().all(|one| one.contains("a launch of app-1 failed")), "{accused:?}");
}
