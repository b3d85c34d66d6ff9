//! The replacement of root volumes: the instance lives on, past the hooks of both transitions.

use aws_sdk_autoscaling::types::RefreshStrategy;
use serde_json::json;

use crate::scene::*;

/// A group of so many instances whose root volumes are being replaced.
async fn replacing(desired: i32) -> (Scene, Vec<String>) {
    let (scene, ids) = Scene::in_service(desired, [launching("boot"), terminating("drain")]).await;
    let start = scene.aws.start_instance_refresh().auto_scaling_group_name(GROUP);
    start.strategy(RefreshStrategy::from("ReplaceRootVolume")).send().await.unwrap();
    (scene, ids)
}

#[tokio::test(start_paused = true)]
async fn an_instance_gets_another_root_volume_and_lives_on() {
    let (scene, ids) = replacing(1).await;
    let id = &ids[0];
    scene.reaches(id, "ReplacingRootVolume:Wait").await;
    let ec2 = || scene.lab.world(|world| world.ec2.instance(id).unwrap().state.as_str());
    assert_eq!(ec2(), "running");
    scene.complete("drain", id, "CONTINUE").await.unwrap();
    scene.reaches(id, "Pending:Wait").await;
    assert_eq!(ec2(), "running");
    scene.complete("boot", id, "CONTINUE").await.unwrap();
    scene.reaches(id, "InService").await;
    scene.sleep(3600).await;

    assert_eq!(
        scene.path(id)[4..],
        [
            "ReplacingRootVolume",
            "ReplacingRootVolume:Wait",
            "ReplacingRootVolume:Proceed",
            "RootVolumeReplaced",
            "Pending",
            "Pending:Wait",
            "Pending:Proceed",
            "InService",
        ]
    );
    assert_eq!(scene.instances(|_| true), ids, "the group launches nothing meanwhile");
    let path = ["Origin", "Destination", "Action", "EC2InstanceId"];
    for event in [scene.events(TERMINATE_EVENT).remove(0), scene.events(LAUNCH_EVENT).remove(1)] {
        let seen = path.map(|field| event["detail"][field].clone());
        let expected = ["AutoScalingGroup", "AutoScalingGroup", "ReplaceRootVolume", id];
        assert_eq!(json!(seen), json!(expected), "{event}");
    }
    let describe = scene.aws.describe_instance_refreshes().auto_scaling_group_name(GROUP);
    let refresh = describe.send().await.unwrap().instance_refreshes.unwrap().remove(0);
    assert_eq!(refresh.status().unwrap().as_str(), "Successful");
    for how in ["Started", "Succeeded"] {
        assert_eq!(scene.events(&format!("EC2 Auto Scaling Instance Refresh {how}")).len(), 1, "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_hooks_nothing_waits() {
    let (scene, ids) = Scene::in_service(1, []).await;
    scene.lab.world(|world| world.replace_root_volume(&ids[0]));
    scene.reaches(&ids[0], "InService").await;

    let path = ["ReplacingRootVolume", "RootVolumeReplaced", "Pending", "InService"];
    assert_eq!(scene.path(&ids[0])[2..], path);
}

#[tokio::test(start_paused = true)]
async fn instances_are_replaced_one_after_another() {
    let (scene, ids) = replacing(2).await;
    for id in &ids {
        scene.reaches(id, "ReplacingRootVolume:Wait").await;
        assert_eq!(scene.instances(|one| one.state == "InService").len(), 1);
        scene.complete("drain", id, "CONTINUE").await.unwrap();
        scene.reaches(id, "Pending:Wait").await;
        scene.complete("boot", id, "CONTINUE").await.unwrap();
        scene.reaches(id, "InService").await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_preparation_does_not_stop_the_replacement() {
    let (scene, ids) = replacing(1).await;
    scene.reaches(&ids[0], "ReplacingRootVolume:Wait").await;
    scene.complete("drain", &ids[0], "ABANDON").await.unwrap();

    scene.reaches(&ids[0], "Pending:Wait").await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_abandoned_after_its_replacement_is_terminated_and_replaced() {
    let (scene, ids) = replacing(1).await;
    scene.reaches(&ids[0], "ReplacingRootVolume:Wait").await;
    scene.complete("drain", &ids[0], "CONTINUE").await.unwrap();
    scene.reaches(&ids[0], "Pending:Wait").await;
    scene.complete("boot", &ids[0], "ABANDON").await.unwrap();
    scene.reaches(&ids[0], "Terminating:Wait").await;

    let new = scene.any_in("Pending:Wait").await;
    assert_ne!(new, ids[0]);
    let last = scene.events(TERMINATE_EVENT).remove(1)["detail"].take();
    assert_eq!([&last["Action"], &last["Destination"]], ["Terminate", "EC2"]);
}

#[tokio::test(start_paused = true)]
async fn a_group_with_a_warm_pool_replaces_no_root_volumes() {
    let (scene, _) = Scene::in_service(1, []).await;
    scene.aws.put_warm_pool().auto_scaling_group_name(GROUP).send().await.unwrap();
    let start = scene.aws.start_instance_refresh().auto_scaling_group_name(GROUP);

    let refused = refusal(start.strategy(RefreshStrategy::from("ReplaceRootVolume")).send().await);

    assert_eq!(refused.0, "ValidationError");
}
