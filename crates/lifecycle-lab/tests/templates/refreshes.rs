//! Instance refreshes of groups that launch from a template.

use std::time::Duration;

use aws_sdk_autoscaling::operation::start_instance_refresh::builders::StartInstanceRefreshFluentBuilder;
use aws_sdk_autoscaling::types::{InstanceRefresh, RefreshPreferences};
use lifecycle_lab::World;

use crate::scene::*;

impl Scene {
    fn refresh(&self, skip_matching: bool) -> StartInstanceRefreshFluentBuilder {
        let preferences =
            RefreshPreferences::builder().min_healthy_percentage(0).skip_matching(skip_matching);
        let start = self.autoscaling.start_instance_refresh().auto_scaling_group_name(GROUP);
        start.preferences(preferences.build())
    }

    /// The group's refreshes, the newest first.
    async fn refreshes(&self) -> Vec<InstanceRefresh> {
        let describe = self.autoscaling.describe_instance_refreshes().auto_scaling_group_name(GROUP);
        describe.send().await.unwrap().instance_refreshes.unwrap_or_default()
    }

    /// Waits for the end of the newest refresh.
    async fn refreshed(&self) -> InstanceRefresh {
        for _ in 0..100 {
            let refresh = self.refreshes().await.remove(0);
            if refresh.end_time().is_some() {
                return refresh;
            }
            self.sleep(10).await;
        }
        panic!("the refresh does not end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_replaces_all_instances_with_the_version_that_the_group_follows() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    scene.group_of(3, "$Default").await;
    let newer = scene.add_image("newer", |_| {});
    let version = scene.version(&id, scene.data().image_id(&newer)).await;
    scene.set_default(&id, version).await;

    let started = scene.refresh(false).send().await.unwrap();
    let again = scene.refresh(false).send().await.unwrap_err().into_service_error();
    assert!(again.is_instance_refresh_in_progress_fault(), "{again:?}");
    let refresh = scene.refreshed().await;

    assert_eq!(refresh.instance_refresh_id().unwrap(), started.instance_refresh_id().unwrap());
    assert_eq!(refresh.status().unwrap().as_str(), "Successful");
    assert_eq!(refresh.percentage_complete(), Some(100));
    assert_eq!(scene.running().await, vec![(newer, "2".to_owned()); 3]);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_skips_matching_leaves_what_is_new_already() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    let old = scene.group_of(1, "$Latest").await;
    let newer = scene.add_image("newer", |_| {});
    scene.version(&id, scene.data().image_id(&newer)).await;
    scene.set_desired(2).await;
    let both = scene.in_service(2).await;

    scene.refresh(true).send().await.unwrap();
    let refresh = scene.refreshed().await;

    assert_eq!(refresh.status().unwrap().as_str(), "Successful");
    assert_eq!(refresh.preferences().unwrap().skip_matching(), Some(true));
    let now = scene.in_service(2).await;
    assert!(now.contains(&both[1]) && !now.contains(&old[0]), "{now:?}");
    scene.refresh(true).send().await.unwrap();
    let nothing = scene.refreshed().await;
    assert_eq!((nothing.instances_to_update(), nothing.percentage_complete()), (Some(0), Some(100)));
    assert_eq!(scene.in_service(2).await, now);
    let ids: Vec<_> =
        scene.refreshes().await.into_iter().map(|one| one.instance_refresh_id.unwrap()).collect();
    assert_eq!(ids, [nothing.instance_refresh_id().unwrap(), refresh.instance_refresh_id().unwrap()]);
    let describe = scene.autoscaling.describe_instance_refreshes().auto_scaling_group_name(GROUP);
    let one = describe.instance_refresh_ids(&ids[1]).send().await.unwrap();
    assert_eq!(one.instance_refreshes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_fails_when_nothing_can_be_launched() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    let old = scene.group_of(2, "$Latest").await;
    scene.version(&id, scene.data().image_id("ami-0000000000000000f")).await;

    scene.refresh(false).send().await.unwrap();
    let refresh = scene.refreshed().await;

    assert_eq!(refresh.status().unwrap().as_str(), "Failed");
    let reason = "The image id '[ami-0000000000000000f]' does not exist. Launching EC2 instance failed.";
    assert_eq!(refresh.status_reason(), Some(reason));
    let emptied = |world: &World| old.iter().all(|id| world.autoscaling.instance(id).is_none());
    assert!(
        scene.lab.until(Duration::from_secs(600), emptied).await,
        "all went at once, as the refresh was told"
    );
    scene.version(&id, scene.data()).await;
    scene.in_service(2).await;
    assert_eq!(scene.refreshes().await[0].status().unwrap().as_str(), "Failed", "and stays so");
    scene.refresh(false).send().await.unwrap();
    assert_eq!(scene.refreshed().await.status().unwrap().as_str(), "Successful");
}

#[tokio::test(start_paused = true)]
async fn a_group_has_its_new_source_when_the_refresh_to_it_has_succeeded() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    let old = scene.group_of(1, "1").await;
    scene.version(&id, scene.data()).await;
    let desired = aws_sdk_autoscaling::types::DesiredConfiguration::builder();
    let desired = desired.launch_template(named("web", "2")).build();
    scene.refresh(false).desired_configuration(desired).send().await.unwrap();
    let group = async || {
        let groups = scene.autoscaling.describe_auto_scaling_groups().send().await.unwrap();
        let group = groups.auto_scaling_groups()[0].clone();
        let versions =
            group.instances().iter().map(|one| one.launch_template().unwrap().version().unwrap().to_owned());
        (group.launch_template().unwrap().version().unwrap().to_owned(), versions.collect::<Vec<_>>())
    };
    let replaced = |world: &World| {
        world.autoscaling.instances().any(|one| one.state == "Pending" && !old.contains(&one.id))
    };
    assert!(scene.lab.until(Duration::from_secs(600), replaced).await);
    let (of_group, of_instances) = group().await;
    assert_eq!(of_group, "1", "while the refresh runs");
    assert!(of_instances.contains(&"2".to_owned()), "{of_instances:?}");

    assert_eq!(scene.refreshed().await.status().unwrap().as_str(), "Successful");
    assert_eq!(group().await.0, "2");
}

#[tokio::test(start_paused = true)]
async fn a_root_volume_replacement_brings_the_image_of_the_desired_configuration() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    let old = scene.group_of(1, "1").await;
    let image = scene.add_image("next", |_| {});
    scene.version(&id, scene.data().image_id(&image)).await;
    let desired = aws_sdk_autoscaling::types::DesiredConfiguration::builder();
    let desired = desired.launch_template(named("web", "2")).build();
    let strategy = aws_sdk_autoscaling::types::RefreshStrategy::from("ReplaceRootVolume");
    let start = scene.refresh(false).strategy(strategy).desired_configuration(desired);
    start.send().await.unwrap();
    assert_eq!(scene.refreshed().await.status().unwrap().as_str(), "Successful");

    assert_eq!(scene.in_service(1).await, old);
    let groups = scene.autoscaling.describe_auto_scaling_groups().send().await.unwrap();
    let instance = &groups.auto_scaling_groups()[0].instances()[0];
    assert_eq!(instance.image_id(), Some(&*image));
    assert_eq!(instance.launch_template().unwrap().version(), Some("2"));
    assert_eq!(scene.lab.world(|world| world.ec2.instance(&old[0]).unwrap().image.clone()), image);
}
