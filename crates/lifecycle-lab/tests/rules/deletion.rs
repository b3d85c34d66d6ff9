//! The end of a group.

use crate::scene::*;

#[tokio::test(start_paused = true)]
async fn a_group_with_instances_is_not_deleted_without_force() {
    let (scene, ids) = Scene::in_service(1, []).await;
    let delete = scene.aws.delete_auto_scaling_group().auto_scaling_group_name(GROUP);

    let refused = refusal(delete.clone().send().await);

    let text = "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) \
                still in the group.";
    assert_eq!(refused, ("ResourceInUse".to_owned(), text.to_owned()));
    assert_eq!(scene.state(&ids[0]), "InService");

    scene.set_desired(0).await;
    scene.is_gone(&ids[0]).await;
    delete.send().await.unwrap();
    let groups = scene.aws.describe_auto_scaling_groups().send().await.unwrap();
    assert_eq!(groups.auto_scaling_groups()[0].status(), Some("Delete in progress"));
    scene.sleep(2).await;
    assert!(scene.aws.describe_auto_scaling_groups().send().await.unwrap().auto_scaling_groups().is_empty());
}

#[tokio::test(start_paused = true)]
async fn force_delete_takes_instances_waits_and_pool_with_it() {
    let hooks = [launching("boot"), terminating("drain")];
    let (scene, ids) = Scene::in_service(2, hooks).await;
    scene.aws.put_warm_pool().auto_scaling_group_name(GROUP).min_size(1).send().await.unwrap();
    scene.terminate(&ids[0]).await;
    scene.reaches(&ids[0], "Terminating:Wait").await;
    scene.any_in("Warmed:Pending:Wait").await;
    scene.any_in("Pending:Wait").await;

    let delete = scene.aws.delete_auto_scaling_group().auto_scaling_group_name(GROUP).force_delete(true);
    delete.clone().send().await.unwrap();
    let late = refusal(scene.complete("drain", &ids[0], "CONTINUE").await);
    assert_eq!(late, validation(format!("No active Lifecycle Action found with instance ID {}", ids[0])));
    let groups = scene.aws.describe_auto_scaling_groups().send().await.unwrap();
    assert_eq!(groups.auto_scaling_groups()[0].status(), Some("Delete in progress"));
    let again = refusal(scene.create([]).send().await);
    let text = "AutoScalingGroup by this name already exists and is pending delete";
    assert_eq!(again, ("AlreadyExists".to_owned(), text.to_owned()));

    scene.sleep(3).await;
    delete.send().await.unwrap();
    scene.sleep(4).await;
    assert_eq!(scene.instances(|_| true), Vec::<String>::new());
    scene.create([]).send().await.unwrap();
    scene.sleep(60).await;
    let groups = scene.aws.describe_auto_scaling_groups().send().await.unwrap();
    assert_eq!(
        groups.auto_scaling_groups().len(),
        1,
        "the new group has nothing to do with the old one's end"
    );
}

#[tokio::test(start_paused = true)]
async fn activities_of_deleted_groups_are_described_on_request() {
    let (scene, _) = Scene::in_service(1, []).await;
    let delete = scene.aws.delete_auto_scaling_group().auto_scaling_group_name(GROUP);
    delete.force_delete(true).send().await.unwrap();
    scene.sleep(60).await;
    let describe = scene.aws.describe_scaling_activities().auto_scaling_group_name(GROUP);

    let now = describe.clone().send().await.unwrap();
    let ever = describe.include_deleted_groups(true).send().await.unwrap();

    assert_eq!((now.activities().len(), ever.activities().len()), (0, 1));
}
