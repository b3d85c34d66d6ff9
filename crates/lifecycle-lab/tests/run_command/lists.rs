//! What is shown of commands: invocations, pages, filters, details and output.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_invocation_is_there_at_once_unless_a_test_says_otherwise() {
    let scene = Scene::of(1).await;
    let at_once = scene.get(&scene.send().await).await;
    assert_eq!(at_once.status, Some(CommandInvocationStatus::InProgress));
    assert_eq!(at_once.execution_start_date_time, None);
    assert_eq!(at_once.execution_elapsed_time, None);
    assert_eq!((at_once.execution_end_date_time.as_deref(), at_once.response_code), (Some(""), -1));

    scene.lab.world(|world| world.delays.command_visible = Duration::from_millis(500));

    let id = scene.send().await;
    let get = |id: &str| scene.ssm.get_command_invocation().command_id(id).instance_id(&scene.ids[0]).send();
    let early = get(&id).await.unwrap_err();
    assert!(early.into_service_error().is_invocation_does_not_exist());
    scene.lab.sleep(Duration::from_millis(500)).await;

    assert_eq!(get(&id).await.unwrap().status, Some(CommandInvocationStatus::InProgress));
    let other = get("00000000-0000-4000-8000-000000000000").await;
    assert_eq!(code(other), "InvocationDoesNotExist");
}

#[tokio::test(start_paused = true)]
async fn lists_show_a_command_after_a_second_or_what_a_test_sets() {
    for (set, lag) in [(None, 1_000), (Some(500), 500), (Some(5_000), 5_000)] {
        let scene = Scene::of(1).await;
        let listed = async || {
            let commands = scene.ssm.list_commands().send().await.unwrap().commands().len();
            let invocations = scene.ssm.list_command_invocations().send().await.unwrap();
            (commands, invocations.command_invocations().len())
        };
        if let Some(set) = set {
            scene.lab.world(|world| world.delays.command_listed = Duration::from_millis(set));
        }
        scene.send().await;
        scene.lab.sleep(Duration::from_millis(lag - 300)).await;
        assert_eq!(listed().await, (0, 0), "{lag}");
        scene.lab.sleep(Duration::from_millis(300)).await;
        assert_eq!(listed().await, (1, 1), "{lag}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_command_sent_twice_is_two_commands() {
    let scene = Scene::of(1).await;

    let ids = [scene.send().await, scene.send().await];
    scene.sleep(10).await;

    assert_ne!(ids[0], ids[1]);
    let truth = scene.lab.world(|world| world.run_command.commands().to_vec());
    assert_eq!(truth.iter().map(|command| command.id.as_str()).collect::<Vec<_>>(), ids);
    assert!(truth.iter().all(|command| command.invocations[0].started.is_some()));
}

#[tokio::test(start_paused = true)]
async fn invocations_come_in_pages_newest_first() {
    let scene = Scene::of(1).await;
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.insert(0, scene.send().await);
    }
    scene.sleep(1).await;

    let list = scene.ssm.list_command_invocations().instance_id(&scene.ids[0]).max_results(2);
    let mut pages = list.into_paginator().send();
    let mut sizes = Vec::new();
    let mut listed = Vec::new();
    while let Some(page) = pages.next().await {
        let invocations = page.unwrap().command_invocations.unwrap();
        sizes.push(invocations.len());
        listed.extend(invocations.into_iter().map(|invocation| invocation.command_id.unwrap()));
    }
    assert_eq!((sizes, listed), (vec![2, 2, 1], sent.clone()));

    let commands = scene.ssm.list_commands().max_results(3).send().await.unwrap();
    let listed = commands.commands().iter().map(|command| command.command_id().unwrap());
    assert_eq!(listed.collect::<Vec<_>>(), sent[..3]);
    let rest = scene.ssm.list_commands().set_next_token(commands.next_token).send().await.unwrap();
    assert_eq!((rest.commands().len(), rest.next_token), (2, None));

    let most = scene.ssm.list_command_invocations().max_results(51).send().await;
    assert_eq!(code(most), "ValidationException");
    let token = scene.ssm.list_commands().next_token("nonsense").send().await;
    assert_eq!(code(token), "InvalidNextToken");
}

#[tokio::test(start_paused = true)]
async fn invocations_are_filtered() {
    let scene = Scene::of(2).await;
    scene.lab.world(|world| world.run_command.add_document("stop-application"));
    scene.agent(Ping::ConnectionLost);
    let order = scene.order().timeout_seconds(30).parameters("executionTimeout", vec!["5".to_owned()]);
    let lost = id(order.send().await.unwrap());
    scene.sleep(60).await;
    let between = scene.lab.now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    scene.sleep(60).await;
    let run = id(scene.order_on(&scene.ids[1]).document_name("stop-application").send().await.unwrap());
    scene.sleep(60).await;

    let list = async |key, value: &str| {
        let list = scene.ssm.list_command_invocations().filters(filter(key, value)).send().await;
        let invocations = list.unwrap().command_invocations.unwrap();
        invocations.into_iter().map(|invocation| invocation.command_id.unwrap()).collect::<Vec<_>>()
    };
    use CommandFilterKey::{DocumentName, InvokedAfter, InvokedBefore, Status};
    assert_eq!(list(InvokedAfter, &between).await, [run.as_str()]);
    assert_eq!(list(InvokedBefore, &between).await, [lost.as_str()]);
    assert_eq!(list(Status, "Success").await, [run.as_str()]);
    assert_eq!(list(Status, "TimedOut").await, [lost.as_str()]);
    assert_eq!(list(Status, "DeliveryTimedOut").await, [lost.as_str()]);
    assert_eq!(list(Status, "Failed").await, [""; 0]);
    assert_eq!(list(DocumentName, "stop-application").await, [run.as_str()]);

    let both = scene.ssm.list_command_invocations().command_id(&run).instance_id(&scene.ids[0]);
    assert!(both.send().await.unwrap().command_invocations().is_empty());
    let commands = scene.ssm.list_commands().filters(filter(Status, "TimedOut")).send().await.unwrap();
    assert_eq!(commands.commands()[0].command_id(), Some(lost.as_str()));
    let list = |key, value| scene.ssm.list_command_invocations().filters(filter(key, value)).send();
    assert_eq!(code(list(InvokedAfter, "2026-03-01T12:00:00.5Z").await), "ValidationException");
    assert_eq!(code(list("Colour".into(), "red").await), "InvalidFilterKey");
}

#[tokio::test(start_paused = true)]
async fn details_tell_of_the_plugin() {
    let scene = Scene::of(1).await;
    let script = Script { output: "stopped".to_owned(), ..Script::default() };
    scene.set(|run, id| run.set_script(id, script));
    let id = scene.send().await;
    scene.sleep(10).await;

    let list = || scene.ssm.list_command_invocations().command_id(&id);
    let brief = list().send().await.unwrap();
    assert!(brief.command_invocations()[0].command_plugins().is_empty());
    let detailed = list().details(true).send().await.unwrap();
    let [plugin] = detailed.command_invocations()[0].command_plugins() else { panic!("{detailed:?}") };

    assert_eq!(plugin.name(), Some("aws:runShellScript"));
    assert_eq!((plugin.response_code(), plugin.output()), (0, Some("stopped")));
    let time = |time: Option<&aws_sdk_ssm::primitives::DateTime>| {
        let text = time.unwrap().fmt(DateTimeFormat::DateTime).unwrap();
        text.parse::<chrono::DateTime<chrono::Utc>>().unwrap()
    };
    let truth = scene.truth();
    let to_millisecond = |left: chrono::DateTime<chrono::Utc>,
                          right: Option<chrono::DateTime<chrono::Utc>>| {
        assert_eq!(left.timestamp_millis(), right.unwrap().timestamp_millis());
    };
    to_millisecond(time(plugin.response_start_date_time()), truth.started);
    to_millisecond(time(plugin.response_finish_date_time()), truth.ended);
}

#[tokio::test(start_paused = true)]
async fn an_invocations_end_is_its_start_and_whole_seconds_where_the_list_has_the_true_end() {
    let scene = Scene::of(1).await;
    scene.set(|run, id| {
        run.set_script(id, Script { duration: Duration::from_millis(5_700), ..Script::default() });
    });
    let id = scene.send().await;
    scene.sleep(10).await;

    let got = scene.get(&id).await;
    let time = |text: Option<String>| text.unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let (start, end) = (time(got.execution_start_date_time), time(got.execution_end_date_time));
    assert_eq!(got.execution_elapsed_time.as_deref(), Some("PT5.7S"));
    assert_eq!((end - start).num_milliseconds(), 5_000);
    let listed = scene.listed(&id).await;
    let plugin = &listed.command_plugins()[0];
    let lasted = plugin.response_finish_date_time().unwrap().as_secs_f64()
        - plugin.response_start_date_time().unwrap().as_secs_f64();
    assert!((5.69..5.71).contains(&lasted), "{lasted}");
    let requested = scene.lab.world(|world| world.run_command.commands()[0].requested);
    let late = listed.requested_date_time.unwrap().as_secs_f64() - requested.timestamp_micros() as f64 / 1e6;
    assert!((0.07..0.09).contains(&late), "{late} s after the command");
}

#[tokio::test(start_paused = true)]
async fn a_plugins_output_has_the_errors_behind_a_line() {
    let scene = Scene::of(1).await;
    let script = Script { exit_code: 3, output: "stopping\n".to_owned(), ..Script::default() };
    scene.set(|run, id| run.set_script(id, script));
    let id = scene.send().await;
    scene.sleep(10).await;

    let plugin = scene.listed(&id).await.command_plugins.unwrap().remove(0);
    let output = "stopping\n\n----------ERROR-------\nfailed to run commands: exit status 3";
    assert_eq!(plugin.output.as_deref(), Some(output));
    assert_eq!(plugin.output_s3_region.as_deref(), Some("us-east-1"));
}

#[tokio::test(start_paused = true)]
async fn a_command_says_where_its_whole_output_is() {
    let scene = Scene::of(1).await;
    let logs = CloudWatchOutputConfig::builder().cloud_watch_output_enabled(true);
    let order = scene.order().output_s3_bucket_name("bucket").output_s3_key_prefix("drains");
    let order = order.cloud_watch_output_config(logs.cloud_watch_log_group_name("/drains").build());
    let command = order.send().await.unwrap().command.unwrap();
    assert_eq!(command.output_s3_bucket_name.as_deref(), Some("bucket"));
    assert_eq!(command.output_s3_key_prefix.as_deref(), Some("drains"));
    scene.sleep(10).await;

    let id = command.command_id.unwrap();
    let got = scene.get(&id).await;
    let url = format!("https://s3.us-east-1.amazonaws.com/bucket/drains/{id}");
    assert_eq!(got.standard_output_url, Some(url));
    let logs = got.cloud_watch_output_config.unwrap();
    assert_eq!(logs.cloud_watch_log_group_name.as_deref(), Some("/drains"));
}

#[tokio::test(start_paused = true)]
async fn forty_thousand_foreign_commands_fill_pages_and_filters_leave_them_out() {
    let scene = Scene::of(1).await;
    scene.sleep(12 * 3_600).await;
    let now = scene.lab.now();
    scene.lab.world(|world| {
        let run = &mut world.run_command;
        run.add_document("stop");
        run.add_foreign_commands("AWS-RunShellScript", 40_000, now - chrono::TimeDelta::hours(12), now);
        run.add_foreign_commands("other", 100, now - chrono::TimeDelta::hours(24), now);
        world.delays.page = Duration::from_millis(80);
    });
    let id = id(scene.order().document_name("stop").send().await.unwrap());
    scene.sleep(10).await;

    let began = scene.lab.now();
    let list = || scene.ssm.list_command_invocations();
    let first = list().send().await.unwrap();
    assert_eq!((first.command_invocations().len(), first.next_token()), (50, Some("50")));
    assert_eq!(first.command_invocations()[0].command_id(), Some(id.as_str()), "the newest comes first");
    let passed = (scene.lab.now() - began).num_milliseconds();
    assert!((80 + 30..80 + 65).contains(&passed), "{passed} ms");

    let count = async |filters: Vec<CommandFilter>| {
        let mut pages = list().set_filters(Some(filters)).into_paginator().send();
        let (mut sum, mut count) = (0, 0);
        while let Some(page) = pages.next().await {
            sum += page.unwrap().command_invocations().len();
            count += 1;
        }
        (sum, count)
    };
    use CommandFilterKey::{DocumentName, InvokedAfter};
    assert_eq!(count(vec![filter(DocumentName, "stop")]).await, (1, 1));
    assert_eq!(count(vec![filter(DocumentName, "other")]).await, (100, 2));
    let since = (now - chrono::TimeDelta::hours(3)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let (some, pages) =
        count(vec![filter(DocumentName, "AWS-RunShellScript"), filter(InvokedAfter, &since)]).await;
    assert!((9_995..=10_005).contains(&some), "{some}");
    assert!((200..=201).contains(&pages), "{pages}");
    let own = list().instance_id(&scene.ids[0]).send().await.unwrap();
    assert_eq!((own.command_invocations().len(), own.next_token()), (1, None));
    let own = list().command_id(&id).send().await.unwrap();
    assert_eq!((own.command_invocations().len(), own.next_token()), (1, None));
    let unknown = list().command_id("00000000-0000-4000-8000-000000000000").send().await.unwrap();
    assert!(unknown.command_invocations().is_empty(), "an unknown command is an empty list");
    assert_eq!(scene.lab.world(|world| world.run_command.commands().len()), 1, "the truth has ours only");
}
