//! The clock of a wait, and how it is ended.

use crate::scene::*;

#[tokio::test(start_paused = true)]
async fn a_heartbeat_restarts_the_timer_at_its_full_length() {
    let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;
    scene.terminate(&ids[0]).await;
    scene.reaches(&ids[0], "Terminating:Wait").await;
    scene.sleep(200).await;

    assert!(scene.heartbeat("drain", &ids[0]).await);
    let heartbeat = scene.called("RecordLifecycleActionHeartbeat");
    scene.is_gone(&ids[0]).await;

    assert_eq!(scene.entered(&ids[0], "Terminating:Proceed") - heartbeat, seconds(300));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_one_hundred_heartbeat_timeouts_whatever_its_heartbeats() {
    let scene = Scene::empty();
    scene.create([launching("boot").heartbeat_timeout(30)]).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("Pending:Wait").await;
    let started = scene.wait(&id, "boot").started;

    scene.heartbeats("boot", &id, 20).await;

    assert_eq!(scene.entered(&id, "Terminating") - started, seconds(3000));
}

#[tokio::test(start_paused = true)]
async fn no_wait_outlasts_48_hours() {
    let scene = Scene::empty();
    scene.create([launching("boot").heartbeat_timeout(7200)]).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("Pending:Wait").await;
    let started = scene.wait(&id, "boot").started;

    scene.heartbeats("boot", &id, 3600).await;

    assert_eq!(scene.entered(&id, "Terminating") - started, seconds(48 * 3600));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_nobody_completes_ends_with_the_default_result() {
    for (result, next) in [("CONTINUE", "Pending:Proceed"), ("ABANDON", "Terminating")] {
        let scene = Scene::empty();
        let hook = launching("boot").heartbeat_timeout(45).default_result(result);
        scene.create([hook]).desired_capacity(1).send().await.unwrap();
        let id = scene.any_in("Pending:Wait").await;

        scene.sleep(60).await;

        assert_eq!(scene.path(&id)[..3], ["Pending", "Pending:Wait", next], "{result}");
        assert_eq!(scene.entered(&id, next) - scene.entered(&id, "Pending:Wait"), seconds(45), "{result}");
    }
}

#[tokio::test(start_paused = true)]
async fn completing_an_ended_action_answers_no_active_lifecycle_action() {
    let scene = Scene::empty();
    scene.create([launching("boot")]).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("Pending:Wait").await;
    let token = scene.wait(&id, "boot").token;
    scene.complete("boot", &id, "CONTINUE").await.unwrap();

    let by_instance = scene.complete("boot", &id, "CONTINUE").await;
    let complete = scene.aws.complete_lifecycle_action().auto_scaling_group_name(GROUP);
    let complete = complete.lifecycle_hook_name("boot").lifecycle_action_result("CONTINUE");
    let by_token = complete.clone().lifecycle_action_token(&token).send().await;
    let by_both = complete.lifecycle_action_token(&token).instance_id(&id).send().await;
    let heartbeat = scene.aws.record_lifecycle_action_heartbeat().auto_scaling_group_name(GROUP);
    let heartbeat = heartbeat.lifecycle_hook_name("boot").instance_id(&id).send().await;

    let no_instance = validation(format!("No active Lifecycle Action found with instance ID {id}"));
    let no_token = validation(format!("No active Lifecycle Action found with token {token}"));
    assert_eq!(refusal(by_instance), no_instance);
    assert_eq!(refusal(by_token), no_token);
    assert_eq!(refusal(by_both), no_token);
    assert_eq!(refusal(heartbeat), no_instance);
}

#[tokio::test(start_paused = true)]
async fn the_token_names_exactly_one_wait() {
    let scene = Scene::empty();
    scene.create([launching("a"), launching("b")]).desired_capacity(2).send().await.unwrap();
    scene.any_in("Pending:Wait").await;
    let ids = scene.instances(|_| true);
    let token = scene.wait(&ids[0], "a").token;
    let complete = |hook: &str| {
        let complete = scene.aws.complete_lifecycle_action().auto_scaling_group_name(GROUP);
        complete.lifecycle_hook_name(hook).lifecycle_action_token(&token).lifecycle_action_result("CONTINUE")
    };
    let not_this = validation(format!("No active Lifecycle Action found with token {token}"));

    assert_eq!(refusal(complete("b").send().await), not_this, "another hook");
    assert_eq!(refusal(complete("a").instance_id(&ids[1]).send().await), not_this, "another instance");
    assert_eq!(refusal(complete("a").auto_scaling_group_name("other").send().await), not_this);
    complete("a").send().await.unwrap();

    let hooks = |id: &str| scene.waits(id).into_iter().map(|wait| wait.hook.name).collect::<Vec<_>>();
    assert_eq!(hooks(&ids[0]), ["b"]);
    assert_eq!(hooks(&ids[1]), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_completion_names_a_token_or_an_instance() {
    let (scene, _) = Scene::in_service(1, [terminating("drain")]).await;
    let complete = scene.aws.complete_lifecycle_action().auto_scaling_group_name(GROUP);
    let complete = complete.lifecycle_hook_name("drain").lifecycle_action_result("CONTINUE");

    let neither = refusal(complete.send().await);

    assert_eq!(neither, validation("Either LifecycleActionToken or InstanceId must be specified"));
}

#[tokio::test(start_paused = true)]
async fn a_state_can_be_shown_after_it_is_over() {
    let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;
    scene.terminate(&ids[0]).await;
    scene.reaches(&ids[0], "Terminating:Wait").await;
    scene.lab.world(|world| world.delays.state_visible = std::time::Duration::from_secs(2));
    scene.sleep(2).await;
    let shown = async || {
        let describe =
            scene.aws.describe_auto_scaling_instances().instance_ids(&ids[0]).send().await.unwrap();
        describe.auto_scaling_instances()[0].lifecycle_state().unwrap().to_owned()
    };

    scene.complete("drain", &ids[0], "CONTINUE").await.unwrap();
    assert_eq!((shown().await, scene.state(&ids[0])), ("Terminating:Wait".to_owned(), "Terminating:Proceed"));
    let again = refusal(scene.complete("drain", &ids[0], "CONTINUE").await);
    assert_eq!(again, validation(format!("No active Lifecycle Action found with instance ID {}", ids[0])));
    scene.sleep(2).await;
    assert_eq!(shown().await, "Terminating:Proceed");
}

#[tokio::test(start_paused = true)]
async fn an_action_can_be_seen_before_it_can_be_completed() {
    let scene = Scene::empty();
    scene.lab.world(|world| world.delays.acceptance = std::time::Duration::from_secs(2));
    scene.create([launching("boot")]).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("Pending:Wait").await;
    assert_eq!(scene.events(LAUNCH_EVENT).len(), 1);

    let early = refusal(scene.complete("boot", &id, "CONTINUE").await);
    assert_eq!(early, validation(format!("No active Lifecycle Action found with instance ID {id}")));

    scene.sleep(2).await;
    scene.complete("boot", &id, "CONTINUE").await.unwrap();
    scene.reaches(&id, "InService").await;
}
