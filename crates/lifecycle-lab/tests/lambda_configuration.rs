//! The rules of Lambda's function configuration, one test for each, through a real SDK client, and as the
//! processes of functions see them.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::operation::get_function_configuration::GetFunctionConfigurationOutput;
use aws_sdk_lambda::operation::update_function_configuration::builders::UpdateFunctionConfigurationFluentBuilder;
use aws_sdk_lambda::types::Environment;
use lifecycle_lab::faults::CallFault;
use lifecycle_lab::{Code, Function, Lab};
use serde_json::json;

const ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:f";

/// A lab with the function `f`, whose variables are `AA=1` and `BB=2`.
struct Scene {
    lab: Lab,
    lambda: Client,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new("2026-03-01T12:00:00Z".parse().unwrap(), 7);
        lab.add_function(Function {
            name: "f".to_owned(),
            time_limit: Duration::from_secs(30),
            code: Code::handler(|_, _| async { Ok(json!(null)) }),
        });
        lab.world(|world| world.set_variables("f", [("AA", "1"), ("BB", "2")]));
        let sdk = lab.sdk_config("operator");
        // A refusal is a test's subject here, never something to try again.
        let config =
            aws_sdk_lambda::config::Builder::from(&sdk).retry_config(RetryConfig::disabled()).build();
        Self { lab, lambda: Client::from_conf(config) }
    }

    async fn get(&self) -> GetFunctionConfigurationOutput {
        self.lambda.get_function_configuration().function_name("f").send().await.unwrap()
    }

    fn update(&self, variables: &[(&str, &str)]) -> UpdateFunctionConfigurationFluentBuilder {
        self.lambda.update_function_configuration().function_name("f").environment(environment(variables))
    }

    /// The variables as a run that begins now sees them.
    fn live(&self) -> Vec<String> {
        self.lab.world(|world| world.functions.get("f").unwrap().live.keys().cloned().collect())
    }

    async fn sleep(&self, seconds: u64) {
        self.lab.sleep(Duration::from_secs(seconds)).await;
    }
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Environment::builder().set_variables(Some(variables.collect())).build()
}

fn names(configuration: &GetFunctionConfigurationOutput) -> Vec<String> {
    let variables = configuration.environment().and_then(|environment| environment.variables());
    let mut names: Vec<_> = variables.into_iter().flatten().map(|(name, _)| name.clone()).collect();
    names.sort();
    names
}

/// The status, the code and the text of a refusal.
fn refusal<T: Debug, E: ProvideErrorMetadata + Debug>(
    result: Result<T, SdkError<E>>,
) -> (u16, String, String) {
    let error = result.unwrap_err();
    let status = error.raw_response().unwrap().status().as_u16();
    (status, error.code().unwrap_or_default().to_owned(), error.message().unwrap_or_default().to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_function_has_a_configuration_by_name_by_arn_and_by_a_part_of_the_arn() {
    let scene = Scene::new();
    let get = |name: &str| scene.lambda.get_function_configuration().function_name(name);
    for name in ["f", "f:$LATEST", "function:f", "123456789012:function:f", ARN, &format!("{ARN}:$LATEST")] {
        let configuration = get(name).send().await.unwrap();
        assert_eq!(configuration.function_arn(), Some(ARN), "{name}");
    }
    get("f").qualifier("$LATEST").send().await.unwrap();

    let configuration = scene.get().await;
    assert_eq!(names(&configuration), ["AA", "BB"]);
    assert_eq!((configuration.timeout(), configuration.memory_size()), (Some(30), Some(128)));
    assert_eq!(configuration.state().unwrap().as_str(), "Active");
    assert_eq!(configuration.last_update_status().unwrap().as_str(), "Successful");
    assert_eq!(configuration.last_modified(), Some("2026-03-01T12:00:00.000+0000"));
    let function = scene.lambda.get_function().function_name("f").send().await.unwrap();
    let revision = function.configuration().unwrap().revision_id().unwrap();
    assert_eq!(revision, configuration.revision_id().unwrap());

    let missing =
        |name: &str| (404, "ResourceNotFoundException".to_owned(), format!("Function not found: {name}"));
    let unknown = "arn:aws:lambda:us-east-1:123456789012:function:g";
    assert_eq!(refusal(get("g").send().await), missing(unknown));
    assert_eq!(refusal(get("f").qualifier("7").send().await), missing(&format!("{ARN}:7")));
    let update = scene.lambda.update_function_configuration().function_name("g");
    assert_eq!(refusal(update.send().await), missing(unknown));
}

#[tokio::test(start_paused = true)]
async fn an_update_replaces_all_variables_and_runs_see_them_when_it_is_over() {
    let scene = Scene::new();
    let before = scene.get().await;

    let answer = scene.update(&[("CC", "3")]).send().await.unwrap();
    assert_eq!(answer.last_update_status().unwrap().as_str(), "InProgress");
    let during = scene.get().await;
    assert_eq!(names(&during), ["CC"], "what is not passed is gone");
    assert_eq!(during.revision_id(), answer.revision_id());
    assert_eq!(scene.live(), ["AA", "BB"]);

    scene.sleep(3).await;
    let after = scene.get().await;
    assert_eq!(after.last_update_status().unwrap().as_str(), "Successful");
    assert_eq!((names(&after), scene.live()), (vec!["CC".to_owned()], vec!["CC".to_owned()]));
    assert_ne!(before.revision_id(), during.revision_id());
    assert_ne!(during.revision_id(), after.revision_id(), "the end of an update is a change too");

    let update = scene.lambda.update_function_configuration().function_name("f").description("new");
    update.send().await.unwrap();
    scene.sleep(3).await;
    let described = scene.get().await;
    assert_eq!((described.description(), names(&described)), (Some("new"), names(&after)));
    scene.update(&[]).send().await.unwrap();
    assert!(scene.get().await.environment().is_none());
}

#[tokio::test(start_paused = true)]
async fn while_an_update_runs_another_one_conflicts() {
    let scene = Scene::new();
    scene.lab.world(|world| world.delays.function_update = Duration::from_secs(60));
    scene.update(&[("CC", "3")]).send().await.unwrap();

    scene.sleep(58).await;
    let text = format!(
        "The operation cannot be performed at this time. An update is in progress for resource: {ARN}"
    );
    let conflict = (409, "ResourceConflictException".to_owned(), text);
    assert_eq!(refusal(scene.update(&[("DD", "4")]).send().await), conflict);
    scene.sleep(2).await;
    scene.update(&[("DD", "4")]).send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_revision_guards_an_update() {
    let scene = Scene::new();
    let first = scene.get().await.revision_id.unwrap();
    scene.update(&[("CC", "3")]).revision_id(&first).send().await.unwrap();
    scene.sleep(3).await;

    let late = scene.update(&[("DD", "4")]).revision_id(&first).send().await;
    let text = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to \
                retrieve the latest Revision Id";
    assert_eq!(refusal(late), (412, "PreconditionFailedException".to_owned(), text.to_owned()));
    assert_eq!(names(&scene.get().await), ["CC"]);
    let now = scene.get().await.revision_id.unwrap();
    scene.update(&[("DD", "4")]).revision_id(now).send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn variables_have_limits_and_reserved_names() {
    let scene = Scene::new();
    let cannot = "Lambda was unable to configure your environment variables because the environment variables you \
                  have provided";
    let reserved = |names: &str| {
        format!(
            "{cannot} contains reserved keys that are currently not supported for modification. Reserved keys used in \
             this request: {names}"
        )
    };
    let most = "v".repeat(4_096 - r#"{"BIG":""}"#.len());
    scene.update(&[("BIG", &most)]).send().await.unwrap();
    scene.sleep(3).await;
    let more = format!("{most}v");
    for (variables, code, text) in [
        (vec![("AWS_REGION", "x"), ("AA", "1")], "InvalidParameterValueException", reserved("AWS_REGION")),
        (
            vec![("_HANDLER", "x"), ("AWS_SESSION_TOKEN", "x")],
            "InvalidParameterValueException",
            reserved("AWS_SESSION_TOKEN, _HANDLER"),
        ),
        (vec![("BIG", &more)], "InvalidParameterValueException", format!("{cannot} exceeded the 4KB limit.")),
        (vec![("A-B", "x")], "ValidationException", "1 validation error detected".to_owned()),
    ] {
        let (status, found, message) = refusal(scene.update(&variables).send().await);
        assert_eq!((status, found.as_str()), (400, code));
        assert!(message.starts_with(&text), "{message}");
    }
    assert_eq!(names(&scene.get().await), ["BIG"]);
    scene.update(&[("AWS_ENDPOINT_URL_EC2", "http://x")]).send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn variables_that_aws_can_not_decrypt_are_an_error_in_the_answer() {
    let scene = Scene::new();
    let error = ("AccessDeniedException", "Lambda was unable to decrypt your environment variables");
    scene.lab.world(|world| world.functions.set_decryption_error("f", Some(error)));

    let environment = scene.get().await.environment.unwrap();
    assert!(environment.variables().is_none());
    let found = environment.error().unwrap();
    assert_eq!((found.error_code(), found.message()), (Some(error.0), Some(error.1)));

    scene.lab.world(|world| world.functions.set_decryption_error("f", None));
    assert_eq!(names(&scene.get().await), ["AA", "BB"]);
}

#[tokio::test(start_paused = true)]
async fn faults_have_lambdas_own_codes() {
    let scene = Scene::new();
    let denied = "User: arn:aws:sts::123456789012:assumed-role/operator/operator is not authorized to perform: \
                  lambda:GetFunctionConfiguration because no identity-based policy allows the \
                  lambda:GetFunctionConfiguration action";
    for (fault, status, code, text) in [
        (CallFault::Throttle, 429, "TooManyRequestsException", "Rate exceeded"),
        (
            CallFault::ServerError,
            500,
            "ServiceException",
            "The AWS Lambda service encountered an internal error.",
        ),
        (CallFault::AccessDenied, 403, "AccessDeniedException", denied),
    ] {
        scene.lab.faults().script("GetFunctionConfiguration", [fault]);
        let get = scene.lambda.get_function_configuration().function_name("f").send().await;
        assert_eq!(refusal(get), (status, code.to_owned(), text.to_owned()));
    }
    scene.lab.faults().script("GetFunctionConfiguration", [CallFault::Contention]);
    scene.get().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_lab_does_not_model_it_refuses_by_name() {
    let scene = Scene::new();
    let (_, code, text) = refusal(scene.lambda.list_functions().send().await);
    let expected = ("LabNotModelled", "lifecycle-lab does not model lambda:GET /2015-03-31/functions");
    assert_eq!((code.as_str(), text.trim_end_matches('/')), expected);
    let (_, _, text) = refusal(scene.update(&[]).timeout(60).send().await);
    assert_eq!(text, "lifecycle-lab does not model the parameter Timeout of UpdateFunctionConfiguration");
}

#[tokio::test(start_paused = true)]
async fn a_transcript_shows_method_action_and_parameters() {
    let scene = Scene::new();
    let lambda = Client::new(&scene.lab.sdk_config("g"));
    lambda.get_function_configuration().function_name(ARN).send().await.unwrap();
    let update = lambda.update_function_configuration().function_name("f");
    update.environment(environment(&[("AA", "2")])).send().await.unwrap();

    assert_eq!(
        scene.lab.transcript("g"),
        format!(
            "GET lambda GetFunctionConfiguration\n  FunctionName={ARN}\n  => ok\nPUT lambda \
             UpdateFunctionConfiguration\n  Environment.Variables.AA=2\n  FunctionName=f\n  => ok\n"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn deploying_a_function_anew_forgets_its_configuration() {
    let scene = Scene::new();
    let old = scene.get().await;
    scene.lab.add_function(Function {
        name: "f".to_owned(),
        time_limit: Duration::from_secs(60),
        code: Code::handler(|_, _| async { Ok(json!(null)) }),
    });
    let new = scene.get().await;
    assert_eq!((new.timeout(), new.environment().is_some()), (Some(60), false));
    assert_ne!(new.revision_id(), old.revision_id());
}

#[tokio::test]
async fn a_process_sees_the_variables_that_it_was_started_with() {
    let scene = Scene::new();
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("greeter");
    // Answers each event with a variable and the process's id.
    let script = r#"#!/bin/bash
connect() { exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API/://}"; }
while connect; do
    printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: x\r\n\r\n' >&3
    while read -r line <&3; do
        line=${line%$'\r'}
        case $line in
            '') break ;;
            lambda-runtime-aws-request-id:*) id=${line##*: } ;;
        esac
    done
    answer="[\"$GREETING\", $$]"
    connect
    printf 'POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s' \
        "$id" "${#answer}" "$answer" >&3
    read -r line <&3
done
"#;
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    scene.lab.add_function(Function {
        name: "f".to_owned(),
        time_limit: Duration::from_secs(10),
        code: Code::Binary { path, variables: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]) },
    });
    assert_eq!(names(&scene.get().await), ["GREETING"]);
    let run = || async {
        let answer = scene.lab.invoke("f", json!({}), 1).await.unwrap();
        (answer[0].as_str().unwrap().to_owned(), answer[1].as_u64().unwrap())
    };

    let (greeting, first) = run().await;
    assert_eq!(greeting, "hello");
    scene.lab.world(|world| world.delays.function_update = Duration::from_secs(3_600));
    scene.update(&[("GREETING", "goodbye")]).send().await.unwrap();
    assert_eq!(run().await, ("hello".to_owned(), first), "the update is under way");
    scene.lab.skip(Duration::from_secs(3_600));
    let (greeting, second) = run().await;
    assert_eq!(greeting, "goodbye");
    assert_ne!(first, second);
    assert_eq!(run().await, (greeting, second));
}
