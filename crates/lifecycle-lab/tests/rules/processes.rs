//! Suspended processes.

use aws_sdk_autoscaling::types::SuspendedProcess;

use crate::scene::*;

async fn suspend(scene: &Scene, process: &str) {
    let suspend = scene.aws.suspend_processes().auto_scaling_group_name(GROUP).scaling_processes(process);
    suspend.send().await.unwrap();
}

async fn resume(scene: &Scene, process: &str) {
    let resume = scene.aws.resume_processes().auto_scaling_group_name(GROUP).scaling_processes(process);
    resume.send().await.unwrap();
}

async fn suspended(scene: &Scene) -> Vec<SuspendedProcess> {
    let groups = scene.aws.describe_auto_scaling_groups().send().await.unwrap();
    groups.auto_scaling_groups()[0].suspended_processes().to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_group_shows_what_is_suspended_and_since_when() {
    let (scene, _) = Scene::in_service(0, []).await;
    suspend(&scene, "Terminate").await;

    let shown = suspended(&scene).await;
    assert_eq!(shown[0].process_name(), Some("Terminate"));
    let at = scene.called("SuspendProcesses").to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    assert_eq!(shown[0].suspension_reason(), Some(&*format!("User suspended at {at}")));
    resume(&scene, "Terminate").await;
    assert!(suspended(&scene).await.is_empty());

    scene.aws.suspend_processes().auto_scaling_group_name(GROUP).send().await.unwrap();
    assert_eq!(suspended(&scene).await.len(), 9, "all, where none is named");
    let wrong = scene.aws.suspend_processes().auto_scaling_group_name(GROUP).scaling_processes("Dance");
    assert_eq!(refusal(wrong.send().await).0, "ValidationError");
}

#[tokio::test(start_paused = true)]
async fn while_terminations_are_suspended_a_sick_instance_stays_and_its_activity_comes_later() {
    let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;
    suspend(&scene, "Terminate").await;
    scene.aws.set_instance_health().instance_id(&ids[0]).health_status("Unhealthy").send().await.unwrap();
    scene.sleep(3600).await;
    let describe = scene.aws.describe_auto_scaling_instances().send().await.unwrap();
    let seen = &describe.auto_scaling_instances()[0];
    assert_eq!((seen.lifecycle_state(), seen.health_status()), (Some("InService"), Some("UNHEALTHY")));
    assert_eq!(scene.activities().await.len(), 1);

    resume(&scene, "Terminate").await;
    scene.reaches(&ids[0], "Terminating:Wait").await;
    let cause = "At T an instance was taken out of service in response to a user health-check.";
    assert_eq!(scene.causes().await[1], cause);
}

#[tokio::test(start_paused = true)]
async fn while_terminations_are_suspended_nothing_is_scaled_in() {
    let (scene, ids) = Scene::in_service(1, []).await;
    suspend(&scene, "Terminate").await;
    scene.set_desired(0).await;
    scene.sleep(3600).await;
    assert_eq!(scene.state(&ids[0]), "InService");

    resume(&scene, "Terminate").await;
    scene.is_gone(&ids[0]).await;
}

#[tokio::test(start_paused = true)]
async fn while_launches_are_suspended_hooks_run_and_nothing_is_replaced() {
    let scene = Scene::empty();
    scene.create([launching("boot"), terminating("drain")]).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("Pending:Wait").await;
    suspend(&scene, "Launch").await;
    scene.complete("boot", &id, "ABANDON").await.unwrap();
    scene.reaches(&id, "Terminating:Wait").await;
    scene.complete("drain", &id, "CONTINUE").await.unwrap();
    scene.is_gone(&id).await;
    scene.sleep(3600).await;
    assert_eq!(scene.instances(|_| true), Vec::<String>::new());

    resume(&scene, "Launch").await;
    scene.all_in_service(1).await;
}

#[tokio::test(start_paused = true)]
async fn while_launches_are_suspended_nothing_comes_back_from_standby() {
    let (scene, ids) = Scene::in_service(1, []).await;
    let standby = scene.aws.enter_standby().auto_scaling_group_name(GROUP).instance_ids(&ids[0]);
    standby.should_decrement_desired_capacity(true).send().await.unwrap();
    scene.reaches(&ids[0], "Standby").await;
    suspend(&scene, "Launch").await;

    let exit = scene.aws.exit_standby().auto_scaling_group_name(GROUP).instance_ids(&ids[0]);
    let text =
        "Cannot move instances out of Standby for AutoScalingGroup web while the Launch process is suspended";
    assert_eq!(refusal(exit.send().await), validation(text));
}
