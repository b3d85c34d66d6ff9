//! The end of a group.

use aws_sdk_autoscaling::types::AutoScalingGroup;

use crate::scene::*;

async fn described(scene: &Scene) -> AutoScalingGroup {
    scene.aws.describe_auto_scaling_groups().send().await.unwrap().auto_scaling_groups.unwrap().remove(0)
}

async fn is_deleted(scene: &Scene) {
    let gone = std::time::Duration::from_secs(3600);
    assert!(scene.lab.until(gone, |world| world.autoscaling.group(GROUP).is_none()).await);
}

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
    let deleted = scene.lab.now();
    let group = described(&scene).await;
    assert_eq!((group.status(), group.max_size()), (Some("Delete in progress"), Some(0)));
    is_deleted(&scene).await;
    let lasted = (scene.lab.now() - deleted).num_seconds();
    assert!((5..=17).contains(&lasted), "{lasted}");
}

#[tokio::test(start_paused = true)]
async fn force_delete_runs_the_terminating_hooks() {
    let scene = Scene::empty();
    let create = scene.create([terminating("drain").heartbeat_timeout(30)]).min_size(1).desired_capacity(1);
    create.new_instances_protected_from_scale_in(true).send().await.unwrap();
    let id = scene.any_in("InService").await;
    let delete = scene.aws.delete_auto_scaling_group().auto_scaling_group_name(GROUP).force_delete(true);
    delete.clone().send().await.unwrap();

    assert_eq!(scene.state(&id), "InService");
    let group = described(&scene).await;
    assert_eq!(group.status(), Some("Delete in progress"));
    assert_eq!([group.min_size(), group.max_size(), group.desired_capacity()], [Some(0); 3]);
    let again = refusal(scene.create([]).send().await);
    let text = "AutoScalingGroup by this name already exists and is pending delete";
    assert_eq!(again, ("AlreadyExists".to_owned(), text.to_owned()));

    scene.reaches(&id, "Terminating:Wait").await;
    assert_eq!(scene.events(TERMINATE_EVENT).len(), 1, "the protected instance too");
    delete.send().await.unwrap();
    assert!(scene.heartbeat("drain", &id).await, "the wait goes on while the group is being deleted");
    scene.is_gone(&id).await;
    assert_eq!(
        scene.entered(&id, "Terminating:Proceed") - scene.called("RecordLifecycleActionHeartbeat"),
        seconds(30)
    );
    assert_eq!(
        scene.causes().await[1],
        format!(
            "At T a user request force deleted AutoScaling group changing the desired capacity from 1 to 0.  At T an \
             instance was taken out of service in response to a difference between desired and actual capacity, \
             shrinking the capacity from 1 to 0.  At T instance {id} was selected for termination."
        )
    );
    is_deleted(&scene).await;
    scene.create([]).send().await.unwrap();
    scene.sleep(60).await;
    assert_eq!(
        described(&scene).await.status(),
        None,
        "the new group has nothing to do with the old one's end"
    );
}

#[tokio::test(start_paused = true)]
async fn force_delete_takes_waiting_and_pooled_instances_past_their_hooks() {
    let (scene, ids) = Scene::in_service(1, [launching("boot"), terminating("drain")]).await;
    let put = scene.aws.put_warm_pool().auto_scaling_group_name(GROUP);
    put.min_size(1).max_group_prepared_capacity(0).send().await.unwrap();
    let pooled = scene.any_in("Warmed:Pending:Wait").await;
    scene.terminate(&ids[0]).await;
    scene.reaches(&ids[0], "Terminating:Wait").await;
    let waiting = scene.any_in("Pending:Wait").await;

    let delete = scene.aws.delete_auto_scaling_group().auto_scaling_group_name(GROUP).force_delete(true);
    delete.send().await.unwrap();
    scene.reaches(&pooled, "Warmed:Terminating:Wait").await;
    scene.reaches(&waiting, "Terminating:Wait").await;

    assert_eq!(scene.events(TERMINATE_EVENT).len(), 3, "who waits already waits on");
    for id in [&ids[0], &pooled, &waiting] {
        scene.complete("drain", id, "CONTINUE").await.unwrap();
    }
    is_deleted(&scene).await;
    assert_eq!(scene.instances(|_| true), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_force_deleted_while_an_instance_detaches_goes_too() {
    let (scene, ids) = Scene::in_service(1, []).await;
    let detach = scene.aws.detach_instances().auto_scaling_group_name(GROUP).instance_ids(&ids[0]);
    detach.should_decrement_desired_capacity(true).send().await.unwrap();
    scene.lab.world(|world| world.delays.react = std::time::Duration::ZERO);
    let delete = scene.aws.delete_auto_scaling_group().auto_scaling_group_name(GROUP).force_delete(true);
    delete.send().await.unwrap();
    is_deleted(&scene).await;

    assert_eq!(scene.path(&ids[0])[2..], ["Detaching", "Detached"]);
}

#[tokio::test(start_paused = true)]
async fn activities_of_deleted_groups_are_described_on_request() {
    let (scene, _) = Scene::in_service(1, []).await;
    let delete = scene.aws.delete_auto_scaling_group().auto_scaling_group_name(GROUP);
    delete.force_delete(true).send().await.unwrap();
    is_deleted(&scene).await;
    scene.create([]).send().await.unwrap();
    let describe = scene.aws.describe_scaling_activities().auto_scaling_group_name(GROUP);

    let now = describe.clone().send().await.unwrap();
    let ever = describe.include_deleted_groups(true).send().await.unwrap();

    assert_eq!((now.activities().len(), ever.activities().len()), (0, 2), "nor are they the new group's");
    assert_eq!(ever.activities()[0].auto_scaling_group_state(), Some("Deleted"));
}
