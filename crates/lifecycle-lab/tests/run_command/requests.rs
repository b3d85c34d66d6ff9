//! Requests: what is refused, documents with steps, and commands that really run.

use super::*;

#[tokio::test(start_paused = true)]
async fn requests_that_aws_refuses_are_refused() {
    let scene = Scene::of(1).await;
    let order = || scene.order();

    assert!(order().comment("ä".repeat(100)).send().await.is_ok());
    assert_eq!(
        refusal(order().comment("x".repeat(101)).send().await),
        (
            "ValidationException".to_owned(),
            format!(
                "1 validation error detected: Value '{}' at 'comment' failed to satisfy constraint: Member must \
                 have length less than or equal to 100",
                "x".repeat(101)
            )
        )
    );
    assert_eq!(code(order().timeout_seconds(29).send().await), "ValidationException");
    assert_eq!(code(order().document_name("AWS-StopApplication").send().await), "InvalidDocument");
    assert!(order().document_name("AWS-RunPowerShellScript").send().await.is_ok());
    let parameters = |name: &str, values: &[&str]| {
        order().parameters(name, values.iter().map(|value| (*value).to_owned()).collect()).send()
    };
    assert!(parameters("executionTimeout", &["172800"]).await.is_ok());
    assert_eq!(code(parameters("executionTimeout", &["172801"]).await), "InvalidParameters");
    assert_eq!(code(parameters("executionTimeout", &["1h"]).await), "InvalidParameters");
    assert_eq!(code(parameters("comands", &["true"]).await), "InvalidParameters");
    assert_eq!(code(order().set_parameters(None).send().await), "InvalidParameters");
}

#[tokio::test(start_paused = true)]
async fn what_the_lab_does_not_model_it_refuses_by_name() {
    let scene = Scene::of(1).await;

    let member = scene.order().max_errors("1").send().await;
    let parameter = scene.order().parameters("workingDirectory", vec!["/".to_owned()]).send().await;
    let action = scene.ssm.list_documents().send().await;

    let lab = |text: &str| ("LabNotModelled".to_owned(), format!("lifecycle-lab does not model {text}"));
    assert_eq!(refusal(member), lab("the parameter MaxErrors of SendCommand"));
    assert_eq!(refusal(parameter), lab("the document's parameter workingDirectory"));
    assert_eq!(refusal(action), lab("ssm:ListDocuments"));
}

#[tokio::test(start_paused = true)]
async fn commands_are_really_run_where_the_script_says_so() {
    let scene = Scene::of(1).await;
    scene.set(|run, id| run.set_script(id, Script { shell: true, ..Script::default() }));
    let run = async |commands: &[&str]| {
        let commands = commands.iter().map(|line| (*line).to_owned()).collect();
        let order = scene.order().set_parameters(None).parameters("commands", commands);
        let id = id(order.send().await.unwrap());
        scene.sleep(10).await;
        scene.get(&id).await
    };

    let ran = run(&["word=hello", "echo $word $((40 + 2))", "echo oops >&2"]).await;
    assert_eq!((ran.status, ran.response_code), (Some(CommandInvocationStatus::Success), 0));
    assert_eq!(ran.standard_output_content.as_deref(), Some("hello 42\n"));
    assert_eq!(ran.standard_error_content.as_deref(), Some("oops\n"));
    let failed = run(&["exit 7"]).await;
    assert_eq!((failed.status, failed.response_code), (Some(CommandInvocationStatus::Failed), 7));
    let long = run(&["head -c 5000 /dev/zero | tr '\\0' x"]).await;
    assert_eq!(long.standard_output_content.map(|text| text.len()), Some(2_500));
    assert_eq!(scene.course(), ("Success", Some(1), Some(3)), "how long it takes is the script's");
}

#[tokio::test(start_paused = true)]
async fn a_document_of_several_steps_shows_an_exit_code_for_each() {
    let scene = Scene::of(1).await;
    let step = |name: &str, skipped| Step { name: name.to_owned(), skipped };
    let steps = vec![step("stopOnWindows", true), step("stopOnLinux", false)];
    scene.lab.world(|world| {
        world.run_command.put_document("stop", Document { parameters: vec!["group".to_owned()], steps });
    });
    scene.script(5, 7);
    let order =
        || scene.ssm.send_command().document_name("stop").instance_ids(&scene.ids[0]).timeout_seconds(30);
    let order = |name: &str| {
        order().parameters("executionTimeout", vec!["60".to_owned()]).parameters(name, vec![String::new()])
    };
    assert_eq!(code(order("colour").send().await), "InvalidParameters");
    let command = order("group").send().await.unwrap().command.unwrap();
    let lasts = command.expires_after.unwrap().secs() - command.requested_date_time.unwrap().secs();
    assert_eq!(lasts, 30 + 2 * 60, "the steps' timeouts add up");
    let id = command.command_id.unwrap();
    scene.sleep(10).await;

    let listed = scene.listed(&id).await;
    assert_eq!(
        (listed.status.unwrap().as_str(), listed.status_details.as_deref()),
        ("Failed", Some("Failed"))
    );
    let plugins: Vec<_> = listed.command_plugins.unwrap();
    let told =
        plugins.iter().map(|one| (one.name().unwrap(), one.status().unwrap().as_str(), one.response_code()));
    assert_eq!(told.collect::<Vec<_>>(), [("stopOnWindows", "Success", 0), ("stopOnLinux", "Failed", 7)]);
    let get = |plugin: Option<&str>| {
        let get = scene.ssm.get_command_invocation().command_id(&id).instance_id(&scene.ids[0]);
        get.set_plugin_name(plugin.map(str::to_owned)).send()
    };
    assert_eq!(code(get(None).await), "InvalidPluginName");
    assert_eq!(code(get(Some("aws:runShellScript")).await), "InvalidPluginName");
    assert_eq!(get(Some("stopOnWindows")).await.unwrap().response_code, 0);
    assert_eq!(get(Some("stopOnLinux")).await.unwrap().response_code, 7);
}

#[tokio::test(start_paused = true)]
async fn a_script_may_go_by_the_text_of_the_command_and_end_it_as_never_run() {
    let scene = Scene::of(1).await;
    let ends = |ends| Script { ends: Some(ends), ..Script::default() };
    for (details, status, code) in [
        ("Undeliverable", CommandInvocationStatus::Failed, -1),
        ("InvalidPlatform", CommandInvocationStatus::Failed, -1),
        ("Terminated", CommandInvocationStatus::Failed, 0),
        ("DeliveryTimedOut", CommandInvocationStatus::TimedOut, -1),
    ] {
        scene.set(|run, _| run.match_script("systemctl", ends(details)));
        let id = id(scene.short_order().send().await.unwrap());
        scene.sleep(110).await;
        let got = scene.get(&id).await;
        assert_eq!((got.status, got.status_details.as_deref()), (Some(status), Some(details)));
        assert_eq!(got.response_code, code, "{details}");
    }
}
