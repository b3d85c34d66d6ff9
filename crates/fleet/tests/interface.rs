//! What all five functions have in common: whose events count, and how long a log can get.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet::list::FUNCTIONS;
use lambda_kit::{Function, Invocation, Output, Running};
use lifecycle_lab::{ACCOUNT, Lab, REGION};
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;

/// The largest payload that Lambda takes, less its quotes and names.
const SIX_MB: usize = 6_000_000;

/// What the functions write about one message at most: each a line about it, one about a failure or a record, and one
/// at ERROR. A message of an error has 4 KB at most.
const MAX_LOG: usize = 12_000;

/// What is logged on standard error.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Invokes a function; the answer or the error's name, and what it wrote to standard output and to the log.
async fn play<F: Function>(lab: &Lab, payload: Value) -> (Result<Value, &'static str>, String, String) {
    let (sender, mut lines) = unbounded_channel();
    let variables = match F::NAME {
        "ecs-scheduler" => [("RESOURCE_IDS", "service/shop/web")].into_iter().collect(),
        "lt-ami-refresher" => {
            [("EC2_INSTANCE_NAME", "web"), ("LAUNCH_TEMPLATE_NAME", "web")].into_iter().collect()
        }
        _ => [("AUTO_SCALING_GROUPS", "web")].into_iter().collect(),
    };
    let running = Running::<F>::new(&variables, &lab.sdk_config(F::NAME), Output::Channel(sender)).unwrap();
    running.set_arn(&format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", F::NAME));
    let log = Log::default();
    let written = log.clone();
    let format =
        tracing_subscriber::fmt().with_writer(move || written.clone()).with_max_level(tracing::Level::INFO);
    let guard = tracing::subscriber::set_default(format.finish());
    let invocation = Invocation::new(lab.now(), Duration::from_secs(30));
    let answer = running.invoke(payload, &invocation).await.map_err(|error| error.name());
    drop(guard);
    let lines: Vec<String> = std::iter::from_fn(|| lines.try_recv().ok()).collect();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    (answer, lines.join("\n"), log)
}

/// The five, each played with every payload.
async fn each(
    payloads: &[Value],
    check: impl Fn(&str, &Value, &(Result<Value, &'static str>, String, String), &Lab),
) {
    let mut played = 0;
    macro_rules! functions {
        ($($function:ident)*) => {$(
            for payload in payloads {
                let lab = Lab::new("2026-11-21T08:00:00Z".parse().unwrap(), 1);
                let result = play::<$function::Context>(&lab, payload.clone()).await;
                check($function::NAME, payload, &result, &lab);
            }
            played += 1;
        )*};
    }
    functions!(launch_logger terminate_drainer ami_snapshotter lt_ami_refresher ecs_scheduler);
    assert_eq!(played, FUNCTIONS.len());
}

fn scheduled(account: &str, region: &str) -> Value {
    json!({
        "version": "0", "id": "1", "detail-type": "Scheduled Event", "source": "aws.events", "account": account,
        "time": "2026-11-21T08:00:00Z", "region": region, "resources": [], "detail": {},
    })
}

#[tokio::test(start_paused = true)]
async fn events_of_another_account_or_region_are_refused_without_a_call() {
    let mut launch = launch();
    launch["region"] = json!("us-west-2");
    let payloads = [scheduled("210987654321", REGION), scheduled(ACCOUNT, "us-west-2"), launch];
    each(&payloads, |function, payload, (answer, lines, _), lab| {
        assert_eq!(*answer, Err("UnsupportedEvent"), "{function}: {payload}");
        let foreign = if payload["region"] == REGION { "210987654321" } else { "us-west-2" };
        for named in [ACCOUNT, REGION, foreign] {
            assert!(lines.contains(named), "{function}: {named} is not in {lines}");
        }
        assert!(lab.calls().is_empty(), "{function}: {:#?}", lab.calls());
    })
    .await;
}

fn launch() -> Value {
    serde_json::from_str(include_str!("../../../events/launch-logger/launch.json")).unwrap()
}

/// Payloads of six megabytes that try to get into the log.
fn long_payloads() -> Vec<Value> {
    let long = "x".repeat(SIX_MB);
    let mut payloads = vec![
        json!(long),
        json!([long]),
        json!({ &long: 1 }),
        json!({ "action": long }),
        json!({ "action": "reconcile", "more": long }),
        json!({ "Event": long }),
        json!({ "source": long, "detail-type": "x", "time": "2026-11-21T08:00:00Z", "detail": {} }),
        json!({ "source": "x", "detail-type": long, "time": "2026-11-21T08:00:00Z", "detail": {} }),
        json!({ "source": "x", "detail-type": "x", "time": long, "detail": {} }),
        json!({ "Records": [{ "messageId": "m", "body": long }] }),
        json!({ "Records": [{ "messageId": long, "body": "{}" }] }),
        json!({ "Records": [{ "messageId": "m", "body": json!({ &long: 1 }).to_string() }] }),
        json!([{ "messageId": "m", "body": json!({ "Event": long }).to_string() }]),
        json!({ "requestContext": {}, "requestPayload": { "detail-type": long } }),
        json!({ "instanceName": long }),
        json!({ "launchTemplateName": long, "sourceVersion": long }),
        json!({ "securityGroupIds": [long] }),
        json!({ "resourceIds": [long] }),
    ];
    for field in ["id", "account", "region", "time"] {
        let mut event = launch();
        event[field] = json!(long);
        payloads.push(event);
    }
    let detail = launch()["detail"].as_object().unwrap().clone();
    for field in detail.keys() {
        let mut event = launch();
        event["detail"][field] = json!(long);
        payloads.push(event);
    }
    let mut event = launch();
    event["resources"] = json!(vec!["x"; SIX_MB / 4]);
    payloads.push(event);
    payloads
}

#[tokio::test(start_paused = true)]
async fn a_payload_of_six_megabytes_makes_a_log_of_some_kilobytes() {
    each(&long_payloads(), |function, payload, (answer, lines, log), _| {
        let payload: String = payload.to_string().chars().take(200).collect();
        assert!(!lines.is_empty(), "{function}: nothing was written about {payload}");
        let length = lines.len() + log.len();
        assert!(length < MAX_LOG, "{function}: {length} bytes about {payload}, answered {answer:?}");
    })
    .await;
}
