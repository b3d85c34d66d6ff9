//! The launch template in the hands of a function that does wrong.

use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{InstanceType, RequestLaunchTemplateData};
use lt_ami_refresher::NAME;
use serde_json::json;

use super::{Stage, check, play};
use crate::storm::Faults;
use crate::storm::backups::{Backups, SHOP};

/// There is a backup of a server of this architecture, and then this function runs once in lt-ami-refresher's
/// place, with EC2's client and the backup's id.
fn after<F: Future<Output = ()> + Send + 'static>(
    architecture: &'static str,
    run: impl Fn(Client, String) -> F + Send + Sync + 'static,
) -> Vec<String> {
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
        stage.accused().await
    })
}

/// Makes a version with this image.
async fn make(client: &Client, image: &str) {
    let data = RequestLaunchTemplateData::builder().image_id(image).instance_type(InstanceType::T3Micro);
    let create = client.create_launch_template_version().launch_template_name(SHOP);
    create.launch_template_data(data.build()).send().await.unwrap();
}

async fn make_default(client: &Client, version: &str) {
    let modify = client.modify_launch_template().launch_template_name(SHOP);
    modify.default_version(version).send().await.unwrap();
}

#[test]
fn who_follows_the_newest_backup_is_not_accused() {
    let accused = after("x86_64", async |client, image| {
        make(&client, &image).await;
        make_default(&client, "2").await;
    });
    assert!(accused.is_empty(), "{accused:?}");
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
    assert!(accused.iter().any(|one| one.contains("can't be launched")), "{accused:?}");
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

#[test]
fn who_deletes_a_version_that_is_in_use_is_accused() {
    let accused = after("x86_64", async |client, image| {
        make(&client, &image).await;
        make_default(&client, "2").await;
        client
            .delete_launch_template_versions()
            .launch_template_name(SHOP)
            .versions("1")
            .send()
            .await
            .unwrap();
    });
    check(&accused, "version 1 of shop was deleted, and is in use");
}
