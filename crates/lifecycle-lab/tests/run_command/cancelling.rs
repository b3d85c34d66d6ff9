//! Commands that are cancelled.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_running_command_that_is_cancelled_is_killed_a_moment_later() {
    let mut scene = Scene::of(1).await;
    let script =
        Script { duration: Duration::from_secs(60), output: "so far".to_owned(), ..Script::default() };
    scene.set(|run, id| run.set_script(id, script));

    let id = scene.send().await;
    scene.sleep(5).await;
    let cancel = || scene.ssm.cancel_command().command_id(&id);
    cancel().instance_ids(&scene.ids[0]).send().await.unwrap();
    assert_eq!(scene.get(&id).await.status, Some(CommandInvocationStatus::InProgress));
    scene.sleep(3).await;
    let cancelled = scene.get(&id).await;
    assert_eq!(cancelled.status, Some(CommandInvocationStatus::Cancelled));
    assert_eq!(
        (cancelled.response_code, cancelled.standard_output_content.as_deref()),
        (137, Some("so far"))
    );
    let command = scene.ssm.list_commands().send().await.unwrap().commands.unwrap().remove(0);
    assert_eq!((command.status, command.error_count), (Some(CommandStatus::Cancelled), 0));
    // Once more is no error, and changes nothing.
    cancel().send().await.unwrap();
    scene.sleep(120).await;

    let (status, started, ended) = scene.course();
    assert_eq!((status, started), ("Cancelled", Some(1)));
    assert!((6..=7).contains(&ended.unwrap()), "{ended:?}");
    assert_eq!(code(cancel().instance_ids("i-1").send().await), "InvalidInstanceId");
    let unknown = "00000000-0000-4000-8000-000000000000";
    let other = scene.ssm.cancel_command().command_id(unknown).send().await;
    let text = format!("Command id {unknown} does not exist.");
    assert_eq!(refusal(other), ("InvalidCommandId".to_owned(), text));
    assert_eq!(scene.statuses(), ["Pending", "InProgress", "Cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_cancelled_while_it_waits_is_never_run_and_has_the_response_code_minus_one() {
    let scene = Scene::of(1).await;
    for wait in [0, 20] {
        scene.agent(Ping::ConnectionLost);
        let id = scene.send().await;
        scene.sleep(wait).await;
        scene.ssm.cancel_command().command_id(&id).send().await.unwrap();
        scene.agent(Ping::Online);
        scene.sleep(10).await;

        let (status, started, ended) = scene.course();
        assert_eq!((status, started), ("Cancelled", None));
        assert!(ended.unwrap() <= 2 + wait as i64, "{ended:?}");
        let got = scene.get(&id).await;
        assert_eq!((got.status, got.response_code), (Some(CommandInvocationStatus::Cancelled), -1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_command_is_cancelling_as_long_as_its_agent_does_not_answer() {
    let scene = Scene::of(1).await;
    scene.script(60, 0);
    let id = scene.send().await;
    scene.sleep(5).await;
    scene.agent(Ping::Silent);
    scene.ssm.cancel_command().command_id(&id).send().await.unwrap();
    scene.sleep(600).await;
    assert_eq!(scene.get(&id).await.status, Some(CommandInvocationStatus::Cancelling));
    scene.agent(Ping::Online);
    scene.sleep(1).await;
    let got = scene.get(&id).await;
    assert_eq!((got.status, got.response_code), (Some(CommandInvocationStatus::Cancelled), 137));
}
