//! What is refused and how, pages, and that a seed is a whole history.

use crate::scene::*;

#[tokio::test(start_paused = true)]
async fn what_the_lab_does_not_model_it_refuses_by_name() {
    let scene = Scene::empty();

    let action = scene.aws.describe_policies().send().await;
    let parameter = scene.create([]).max_instance_lifetime(86_400).send().await;

    let lab = |text: &str| ("LabNotModelled".to_owned(), format!("lifecycle-lab does not model {text}"));
    assert_eq!(refusal(action), lab("autoscaling:DescribePolicies"));
    assert_eq!(refusal(parameter), lab("the parameter MaxInstanceLifetime of CreateAutoScalingGroup"));
}

#[tokio::test(start_paused = true)]
async fn a_missing_parameter_is_named() {
    let (scene, _) = Scene::in_service(0, [terminating("drain")]).await;

    let size = scene.aws.set_desired_capacity().auto_scaling_group_name(GROUP).send().await;
    let group = scene.aws.put_lifecycle_hook().lifecycle_hook_name("drain").send().await;
    let complete = scene.aws.complete_lifecycle_action().auto_scaling_group_name(GROUP);
    let result = complete.lifecycle_hook_name("drain").instance_id("i-1").send().await;

    let missing = |name: &str| {
        validation(format!(
            "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
        ))
    };
    assert_eq!(refusal(size), missing("desiredCapacity"));
    assert_eq!(refusal(group), missing("autoScalingGroupName"));
    assert_eq!(refusal(result), missing("lifecycleActionResult"));
}

#[tokio::test(start_paused = true)]
async fn unknown_groups_and_instances_are_refused() {
    let scene = Scene::empty();

    let group = scene.aws.describe_lifecycle_hooks().auto_scaling_group_name("none").send().await;
    let instance = scene.aws.set_instance_health().instance_id("i-1").health_status("Unhealthy").send().await;
    let hook = scene.complete("boot", "i-1", "CONTINUE").await;

    let no_group = "AutoScalingGroup name not found - AutoScalingGroup 'none' not found";
    assert_eq!(refusal(group), validation(no_group));
    let update = scene.aws.update_auto_scaling_group().auto_scaling_group_name("none").send().await;
    assert_eq!(refusal(update), validation("AutoScalingGroup name not found - null"));
    let no_instance = "Instance Id not found - No managed instance found for instance ID: i-1";
    assert_eq!(refusal(instance), validation(no_instance));
    assert_eq!(refusal(hook), validation("No active Lifecycle Action found with instance ID i-1"));
}

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_once() {
    let (scene, _) = Scene::in_service(0, []).await;

    let again = refusal(scene.create([]).send().await);

    let text = "AutoScalingGroup by this name already exists - A group with the name web already exists";
    assert_eq!(again, ("AlreadyExists".to_owned(), text.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_desired_capacity_stays_between_minimum_and_maximum() {
    let scene = Scene::empty();
    scene.create([]).min_size(1).max_size(2).send().await.unwrap();
    let set =
        |desired| scene.aws.set_desired_capacity().auto_scaling_group_name(GROUP).desired_capacity(desired);

    let above = "New SetDesiredCapacity value 3 is above max value 2 for the AutoScalingGroup.";
    assert_eq!(refusal(set(3).send().await), validation(above));
    let below = "New SetDesiredCapacity value 0 is below min value 1 for the AutoScalingGroup.";
    assert_eq!(refusal(set(0).send().await), validation(below));
}

#[tokio::test(start_paused = true)]
async fn long_lists_come_in_pages() {
    let scene = Scene::empty();
    scene.create([]).max_size(51).desired_capacity(51).send().await.unwrap();
    scene.create([]).auto_scaling_group_name("a").send().await.unwrap();
    scene.create([]).auto_scaling_group_name("b").send().await.unwrap();
    scene.any_in("InService").await;

    let first = scene.aws.describe_auto_scaling_groups().max_records(2).send().await.unwrap();
    let names: Vec<_> =
        first.auto_scaling_groups().iter().map(|group| group.auto_scaling_group_name()).collect();
    assert_eq!(names, [Some("a"), Some("b")]);
    let second = scene.aws.describe_auto_scaling_groups().max_records(2);
    let second = second.set_next_token(first.next_token).send().await.unwrap();
    let names: Vec<_> =
        second.auto_scaling_groups().iter().map(|group| group.auto_scaling_group_name()).collect();
    assert_eq!((names, second.next_token()), (vec![Some("web")], None));

    for n in 0..48 {
        scene.create([]).auto_scaling_group_name(format!("more-{n}")).send().await.unwrap();
    }
    let groups = scene.aws.describe_auto_scaling_groups();
    assert_eq!(
        groups.clone().send().await.unwrap().auto_scaling_groups().len(),
        50,
        "unless more are asked for"
    );
    assert_eq!(groups.max_records(100).send().await.unwrap().auto_scaling_groups().len(), 51);

    let instances = scene.aws.describe_auto_scaling_instances().send().await.unwrap();
    assert_eq!(instances.auto_scaling_instances().len(), 50, "AWS's longest page of instances");
    let all = scene.aws.describe_auto_scaling_instances().into_paginator().items().send();
    let all = all.collect::<Result<Vec<_>, _>>().await.unwrap();
    assert_eq!(all.len(), 51);

    let wrong = scene.aws.describe_auto_scaling_groups().next_token("nonsense").send().await;
    assert_eq!(refusal(wrong).0, "InvalidNextToken");
}

/// An hour of a busy group: its first instances, and everything that happens.
async fn busy_hour(seed: u64) -> (Vec<String>, Vec<String>) {
    let scene = Scene::seeded(seed);
    scene.lab.world(|world| world.delays.boot = std::time::Duration::from_secs(20));
    let hooks = [launching("boot"), terminating("drain")];
    scene.create(hooks).desired_capacity(3).send().await.unwrap();
    let ids = scene.all_in_service(3).await;
    scene.lab.world(|world| world.fail_instance(&ids[0]));
    scene.terminate(&ids[1]).await;
    scene.aws.put_warm_pool().auto_scaling_group_name(GROUP).send().await.unwrap();
    scene.sleep(3600).await;
    (ids, scene.moments().iter().map(|moment| format!("{moment:?}")).collect())
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_replays_exactly_and_another_does_not() {
    let (ids, history) = busy_hour(7).await;

    assert!(history.len() > 100, "{}", history.len());
    assert_eq!((ids.clone(), history), busy_hour(7).await);
    assert!(busy_hour(8).await.0.iter().all(|id| !ids.contains(id)));
}
