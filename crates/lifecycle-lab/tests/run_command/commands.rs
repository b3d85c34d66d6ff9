//! Commands: delivery, timeouts, ends, and the events that say so.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_command_reaches_the_agent_after_a_second_and_ends_when_it_has_run() {
    let scene = Scene::of(1).await;
    scene.script(10, 0);

    let command =
        scene.order().comment("a comment").timeout_seconds(60).send().await.unwrap().command.unwrap();
    assert_eq!(command.status, Some(CommandStatus::Pending));
    assert_eq!(command.status_details.as_deref(), Some("Pending"));
    assert_eq!(command.comment.as_deref(), Some("a comment"));
    assert_eq!(command.timeout_seconds, Some(60));
    assert_eq!(command.instance_ids(), [scene.ids[0].clone()]);
    assert_eq!(command.parameters.unwrap()["commands"], ["systemctl stop application"]);
    let lasts = command.expires_after.unwrap().secs() - command.requested_date_time.unwrap().secs();
    assert_eq!(lasts, 60 + 3_600, "the delivery timeout and AWS-RunShellScript's own time");

    let id = command.command_id.unwrap();
    assert_eq!(id.len(), 36);
    scene.sleep(5).await;
    let running = scene.get(&id).await;
    assert_eq!(running.status, Some(CommandInvocationStatus::InProgress));
    assert_eq!((running.response_code, running.execution_end_date_time.as_deref()), (-1, Some("")));
    scene.sleep(10).await;
    let ended = scene.get(&id).await;
    assert_eq!(ended.status, Some(CommandInvocationStatus::Success));
    assert_eq!((ended.response_code, ended.comment.as_deref()), (0, Some("a comment")));
    assert!(ended.execution_start_date_time.unwrap().starts_with("2026-03-01T12:00:"));
    assert_eq!(ended.execution_elapsed_time.as_deref(), Some("PT10S"));
    assert_eq!(scene.course(), ("Success", Some(1), Some(11)));
}

#[tokio::test(start_paused = true)]
async fn commands_that_exit_with_an_error_have_failed() {
    let scene = Scene::of(1).await;
    let script = Script { exit_code: 3, output: "stopping".to_owned(), ..Script::default() };
    scene.set(|run, id| run.set_script(id, script));

    let id = scene.send().await;
    scene.sleep(5).await;

    let ended = scene.get(&id).await;
    assert_eq!(ended.status, Some(CommandInvocationStatus::Failed));
    assert_eq!((ended.response_code, ended.status_details.as_deref()), (3, Some("Failed")));
    assert_eq!(ended.standard_output_content.as_deref(), Some("stopping"));
    assert_eq!(ended.standard_error_content.as_deref(), Some("failed to run commands: exit status 3"));
}

#[tokio::test(start_paused = true)]
async fn commands_that_outlast_the_execution_timeout_time_out() {
    let scene = Scene::of(1).await;
    scene.script(61, 0);

    let id = id(scene.order().parameters("executionTimeout", vec!["60".to_owned()]).send().await.unwrap());
    scene.sleep(100).await;

    let ended = scene.get(&id).await;
    assert_eq!(ended.status, Some(CommandInvocationStatus::TimedOut));
    assert_eq!((ended.response_code, ended.status_details.as_deref()), (137, Some("ExecutionTimedOut")));
    assert_eq!(scene.course(), ("ExecutionTimedOut", Some(1), Some(61)));
    let command = scene.ssm.list_commands().send().await.unwrap().commands.unwrap().remove(0);
    assert_eq!(command.status, Some(CommandStatus::Failed), "the command of an invocation that is TimedOut");
    assert_eq!(command.status_details.as_deref(), Some("Failed"));
    assert_eq!((command.error_count, command.delivery_timed_out_count), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn commands_that_fill_the_execution_timeout_succeed() {
    let scene = Scene::of(1).await;
    scene.script(60, 0);

    scene.order().parameters("executionTimeout", vec!["60".to_owned()]).send().await.unwrap();
    scene.sleep(100).await;

    assert_eq!(scene.course(), ("Success", Some(1), Some(61)));
}

#[tokio::test(start_paused = true)]
async fn a_command_to_a_dead_agent_is_in_progress_for_a_moment_and_then_delayed_until_both_timeouts_have_passed()
 {
    let mut scene = Scene::of(1).await;
    for ping in [Ping::Silent, Ping::ConnectionLost, Ping::Inactive] {
        scene.agent(ping);
        let order = scene.order().timeout_seconds(30).parameters("executionTimeout", vec!["5".to_owned()]);
        let id = id(order.send().await.unwrap());
        let looked = async |after: u64| {
            scene.sleep(after).await;
            let got = scene.get(&id).await;
            (got.status.unwrap().as_str().to_owned(), got.status_details.unwrap())
        };
        let both = |status: &str, details: &str| (status.to_owned(), details.to_owned());
        assert_eq!(looked(0).await, both("InProgress", "InProgress"), "and no agent has it");
        assert_eq!(looked(3).await, both("Pending", "Delayed"));
        assert_eq!(looked(43).await, both("Pending", "Delayed"), "11 s after ExpiresAfter");
        assert_eq!(looked(5).await, both("TimedOut", "DeliveryTimedOut"));

        let ended = scene.get(&id).await;
        assert_eq!((ended.response_code, ended.execution_end_date_time.as_deref()), (-1, Some("")));
        let plugin = scene.listed(&id).await.command_plugins.unwrap().remove(0);
        assert_eq!((plugin.response_code, plugin.status_details.as_deref()), (-1, Some("DeliveryTimedOut")));
        assert_eq!((plugin.response_start_date_time, plugin.response_finish_date_time), (None, None));
        assert_eq!(plugin.output_s3_region.as_deref(), Some(""));
        let command =
            scene.ssm.list_commands().command_id(&id).send().await.unwrap().commands.unwrap().remove(0);
        assert_eq!(command.status, Some(CommandStatus::TimedOut));
        assert_eq!(command.status_details.as_deref(), Some("DeliveryTimedOut"));
        let counts = (command.error_count, command.delivery_timed_out_count, command.completed_count);
        assert_eq!(counts, (0, 1, 1));
        scene.agent(Ping::Online);
        scene.sleep(60).await;
        assert_eq!(scene.course(), ("DeliveryTimedOut", None, Some(50)), "it is never run");
        assert_eq!(scene.statuses(), ["Pending", "InProgress", "Pending", "TimedOut"]);
    }
}

#[tokio::test(start_paused = true)]
async fn every_status_is_told_by_an_event_without_the_comment() {
    let mut scene = Scene::of(1).await;

    let id = id(scene.order().comment("a comment").timeout_seconds(30).send().await.unwrap());
    scene.sleep(10).await;

    let events = scene.events();
    assert!(!json!(events).to_string().contains("a comment"));
    let requested = scene.lab.world(|world| world.run_command.commands()[0].requested);
    let text =
        |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let exact = format!("{}Z", requested.format("%Y-%m-%dT%H:%M:%S%.9f").to_string().trim_end_matches('0'));
    let told: Vec<_> = events.iter().map(|event| (&event["detail-type"], &event["detail"])).collect();
    let of_invocation = |status: &str| {
        json!({
            "command-id": id,
            "document-name": "AWS-RunShellScript",
            "instance-id": scene.ids[0],
            "requested-date-time": if status == "Success" { text(requested) } else { exact.clone() },
            "status": status,
        })
    };
    assert_ne!(exact, text(requested), "the same time, with fractions of different lengths");
    let of_command = json!({
        "command-id": id,
        "document-name": "AWS-RunShellScript",
        "expire-after": text(requested + chrono::TimeDelta::seconds(3_630)),
        "parameters": { "commands": ["systemctl stop application"] },
        "requested-date-time": text(requested),
        "status": "Success",
    });
    let (invocation, command) = (json!(INVOCATION_EVENT), json!(COMMAND_EVENT));
    assert_eq!(
        told,
        [
            (&invocation, &of_invocation("Pending")),
            (&invocation, &of_invocation("InProgress")),
            (&invocation, &of_invocation("Success")),
            (&command, &of_command),
        ]
    );
    let instance = format!("arn:aws:ec2:us-east-1:123456789012:instance/{}", scene.ids[0]);
    assert!(events.iter().all(|event| event["resources"] == json!([instance])), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn onlookers_see_every_status() {
    let mut scene = Scene::of(1).await;

    let id = scene.send().await;
    scene.sleep(10).await;

    let mut seen = Vec::new();
    while let Ok(moment) = scene.moments.try_recv() {
        if let What::Seen(Sight::Command { instance, command, status }) = moment.what {
            assert_eq!((instance, command), (scene.ids[0].clone(), id.clone()));
            seen.push(status);
        }
    }
    assert_eq!(seen, ["Pending", "InProgress", "Success"]);
}

#[tokio::test(start_paused = true)]
async fn a_command_on_several_instances_ends_with_the_last_of_them() {
    let mut scene = Scene::of(3).await;
    let script = Script { duration: Duration::from_secs(60), exit_code: 1, ..Script::default() };
    scene.lab.world(|world| world.run_command.set_script(&scene.ids[1], script));

    let order = scene.order().instance_ids(&scene.ids[1]).instance_ids(&scene.ids[2]);
    let id = id(order.send().await.unwrap());
    scene.sleep(30).await;
    let command = async || {
        let listed = scene.ssm.list_commands().command_id(&id).send().await.unwrap();
        listed.commands.unwrap().remove(0)
    };
    let running = command().await;
    assert_eq!(running.status, Some(CommandStatus::InProgress));
    assert_eq!((running.target_count, running.completed_count, running.error_count), (3, 2, 0));
    scene.sleep(60).await;

    let ended = command().await;
    assert_eq!(ended.status, Some(CommandStatus::Failed));
    assert_eq!((ended.target_count, ended.completed_count, ended.error_count), (3, 3, 1));
    let events = scene.events();
    assert_eq!(events.iter().filter(|event| event["detail-type"] == COMMAND_EVENT).count(), 1);
    let last = events.last().unwrap();
    assert_eq!(
        (last["detail"]["status"].as_str(), last["resources"].as_array().unwrap().len()),
        (Some("Failed"), 3)
    );
}
