//! The lines that a function writes about its messages: one about each, one about each failure, and none that is longer
//! than what they are about.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::time::Duration;

use aws_types::SdkConfig;
use lambda_kit::config::Parser;
use lambda_kit::{Answer, Configuration, Error, Failure, Function, Invocation, Outcome, Output};
use lambda_kit::{Payload, Received, Running, Warning};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::unbounded_channel;

const BROKEN: Failure = Failure::new("broken");
const BENT: Failure = Failure::new("bent");

struct Config(String);

impl Configuration for Config {
    fn read(parser: &mut Parser<'_>) -> Self {
        parser.get("LENGTH", "90s", lambda_kit::config::duration);
        Self(parser.function("tester"))
    }

    fn function(&self) -> &str {
        &self.0
    }
}

/// Does what the payload says under `do`.
struct Tester;

impl Function for Tester {
    const NAME: &'static str = "tester";
    const VERSION: &'static str = "1.2.3";
    type Config = Config;
    type Message = Value;

    fn new(_: Config, _: &SdkConfig, _: Output) -> Self {
        Self
    }

    fn read(&self, payload: Value) -> Result<Payload<Value>, Error> {
        let about = json!({ "asg.name": "web" }).as_object().cloned().unwrap();
        Ok(Payload::One(Received { about, ..Received::new(payload, Ok) }))
    }

    async fn handle(&self, message: Value, _: &Invocation) -> Result<Answer, Error> {
        let done = Answer::new(Outcome::completing("done")).with("asg.name", "web");
        let warning = |failure, text: &str| Warning { failure, text: text.to_owned(), about: Map::new() };
        match message["do"].as_str().unwrap_or_default() {
            "fail" => Ok(done.failure(BROKEN, "it broke").with("later", 1)),
            "sweep" => {
                let warnings = [(BROKEN, "one"), (BENT, "two"), (BROKEN, "three")];
                Ok(done.failures(warnings.map(|(failure, text)| warning(failure, text)).into()))
            }
            "refuse" => Err(Error::UnsupportedEvent("x".repeat(1_000_000))),
            "panic" => panic!("seven is not eight"),
            _ => Ok(done),
        }
    }
}

/// Invokes the function, which knows its ARN if there is one; the answer or the error's name, and its lines.
async fn play(arn: Option<&str>, payload: Value) -> (Result<Value, &'static str>, Vec<Value>) {
    let (sender, mut lines) = unbounded_channel();
    let variables = [("LENGTH", "2m")].into_iter().collect();
    let running = Running::<Tester>::new(&variables, &SdkConfig::builder().build(), Output::Channel(sender));
    let running = running.unwrap();
    arn.into_iter().for_each(|arn| running.set_arn(arn));
    let invocation = Invocation::new("2026-11-21T08:00:00Z".parse().unwrap(), Duration::from_secs(10));
    let answer = running.invoke(payload, &invocation).await.map_err(|error| error.name());
    let lines = std::iter::from_fn(|| lines.try_recv().ok());
    (answer, lines.map(|line| serde_json::from_str(&line).unwrap()).collect())
}

fn event(kind: &str) -> Value {
    json!({ "do": kind, "detail-type": "Test", "time": "2026-11-21T07:59:59Z", "account": "123456789012", "region": "us-east-1" })
}

#[tokio::test(start_paused = true)]
async fn the_line_about_an_event_holds_everything_and_is_its_metric() {
    let (answer, lines) = play(None, event("")).await;
    assert_eq!(answer.unwrap(), json!({ "outcome": "done", "asg.name": "web" }));
    let expected = json!({
        "level": "INFO",
        "function": "tester",
        "outcome": "done",
        "asg.name": "web",
        "duration_ms": 0,
        "calls": {},
        "Outcomes": 1,
        "EventToCompletion": 1_000,
        "_aws": {
            "Timestamp": 1_795_248_000_000_u64,
            "CloudWatchMetrics": [{
                "Namespace": "LifecycleFunctions",
                "Dimensions": [["function", "outcome"]],
                "Metrics": [
                    { "Name": "Outcomes", "Unit": "Count" },
                    { "Name": "EventToCompletion", "Unit": "Milliseconds" },
                ],
            }],
        },
    });
    assert_eq!(lines, [expected]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_a_warning_line_of_its_own_and_the_metric_failures() {
    let (answer, lines) = play(None, event("fail")).await;
    let expected = json!({ "outcome": "done", "asg.name": "web", "failure": "broken", "later": 1 });
    assert_eq!(answer.unwrap(), expected);
    let [warning, handled] = &lines[..] else { panic!("{lines:#?}") };
    let expected = json!({
        "timestamp": "2026-11-21T08:00:00.000Z",
        "level": "WARN",
        "message": "it broke",
        "function": "tester",
        "failure": "broken",
        "asg.name": "web",
        "Failures": 1,
        "_aws": {
            "Timestamp": 1_795_248_000_000_u64,
            "CloudWatchMetrics": [{
                "Namespace": "LifecycleFunctions",
                "Dimensions": [["function", "failure"], ["function"]],
                "Metrics": [{ "Name": "Failures", "Unit": "Count" }],
            }],
        },
    });
    assert_eq!(*warning, expected);
    assert_eq!((&handled["level"], &handled["failure"]), (&json!("INFO"), &json!("broken")));
}

#[tokio::test(start_paused = true)]
async fn the_failures_of_a_sweep_are_counted_by_word_and_told_one_by_one() {
    let (answer, lines) = play(None, json!({ "do": "sweep" })).await;
    assert_eq!(answer.unwrap()["failures"], json!({ "broken": 2, "bent": 1 }));
    let told: Vec<_> =
        lines.iter().map(|line| (&line["level"], &line["failure"], &line["message"])).collect();
    let warn = |failure, text| (json!("WARN"), json!(failure), json!(text));
    let expected = [warn("broken", "one"), warn("bent", "two"), warn("broken", "three")];
    assert_eq!(told[..3], expected.each_ref().map(|(level, failure, text)| (level, failure, text)));
    assert_eq!((lines.len(), &lines[3]["failures"]["broken"]), (4, &json!(2)));
}

#[tokio::test(start_paused = true)]
async fn an_error_has_a_line_with_its_subject_and_at_most_4_kb_of_message() {
    let (answer, lines) = play(None, event("refuse")).await;
    assert_eq!(answer, Err("UnsupportedEvent"));
    let [line] = &lines[..] else { panic!("{lines:#?}") };
    assert_eq!((&line["outcome"], &line["asg.name"]), (&json!("UnsupportedEvent"), &json!("web")));
    let length = line["error"].as_str().unwrap().len();
    assert!((4_000..=4_096).contains(&length), "{length}");

    let (answer, lines) = play(None, event("panic")).await;
    assert_eq!((answer, &lines[0]["error"]), (Err("Panic"), &json!("seven is not eight")));
}

#[tokio::test(start_paused = true)]
async fn an_event_of_another_account_or_region_is_refused_before_it_is_handled() {
    let home = "arn:aws:lambda:us-east-1:123456789012:function:tester";
    let elsewhere = "arn:aws:lambda:eu-central-1:123456789012:function:tester";
    let other = "arn:aws:lambda:us-east-1:210987654321:function:tester";
    for (arn, payload, refused) in [
        (Some(home), event("fail"), false),
        (Some(elsewhere), event("fail"), true),
        (Some(other), event("fail"), true),
        (Some(other), json!({ "AccountId": "123456789012" }), true),
        (Some(elsewhere), json!({ "AccountId": "123456789012" }), false),
        (Some(other), json!({ "do": "sweep" }), false),
        (Some("function-arn"), event("fail"), false),
        (None, event("fail"), false),
    ] {
        let (answer, lines) = play(arn, payload.clone()).await;
        if !refused {
            assert_eq!(answer.unwrap()["outcome"], "done", "{arn:?} {payload}");
            continue;
        }
        assert_eq!(answer, Err("UnsupportedEvent"), "{arn:?} {payload}");
        let [line] = &lines[..] else { panic!("{lines:#?}") };
        let error = line["error"].as_str().unwrap();
        for named in [
            "account 123456789012",
            arn.unwrap().split(':').nth(3).unwrap(),
            arn.unwrap().split(':').nth(4).unwrap(),
        ] {
            assert!(error.contains(named), "{named} is not in {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_description_is_the_configuration_in_force_and_writes_no_line() {
    let (answer, lines) = play(None, json!({ "action": "describe" })).await;
    let expected = json!({
        "outcome": "described",
        "function": "tester",
        "version": "1.2.3",
        "configuration": { "LENGTH": "2m" },
    });
    assert_eq!((answer.unwrap(), lines), (expected, vec![]));
}
