//! How many functions run at once: the account's limit, the parts of it that are reserved, and what becomes of
//! an event that finds no room.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use lifecycle_lab::{Code, Function, Lab, RunError, What};
use serde_json::{Value, json};

const START: &str = "2026-11-21T08:00:00Z";

/// Longer than all tests.
const FOREVER: Duration = Duration::from_secs(24 * 3_600);

fn lab() -> Lab {
    Lab::new(START.parse().unwrap(), 1)
}

/// Adds a function whose runs take so long. Returns the seconds at which they began.
fn add(lab: &Lab, name: &str, takes: Duration) -> Arc<Mutex<Vec<i64>>> {
    let begun: Arc<Mutex<Vec<i64>>> = Arc::default();
    let (noted, clock) = (begun.clone(), lab.clone());
    let handler = move |_: Value, _| {
        let start: DateTime<Utc> = START.parse().unwrap();
        noted.lock().unwrap().push((clock.now() - start).num_seconds());
        let clock = clock.clone();
        async move {
            clock.sleep(takes).await;
            Ok(json!("done"))
        }
    };
    let code = Code::handler(handler);
    lab.add_function(Function { name: name.to_owned(), time_limit: FOREVER, code });
    begun
}

/// Sends so many events at once.
fn send(lab: &Lab, function: &str, events: usize) {
    for n in 0..events {
        let (lab, function) = (lab.clone(), function.to_owned());
        tokio::spawn(async move { lab.invoke_async(&function, json!({ "n": n })).await });
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_finds_no_room_is_tried_again_after_pauses_that_double() {
    let lab = lab();
    lab.limit_concurrency(1);
    let mut moments = lab.observe();
    let begun = add(&lab, "f", Duration::from_secs(20));
    send(&lab, "f", 2);
    lab.sleep(Duration::from_secs(60)).await;
    // 1, 2, 4, 8 and 16 s: the fifth try comes when the first run is over.
    assert_eq!(*begun.lock().unwrap(), [0, 31]);
    let mut throttled = 0;
    while let Ok(moment) = moments.try_recv() {
        if let What::Throttled { function, payload } = moment.what {
            assert_eq!((function.as_str(), payload), ("f", json!({ "n": 1 })));
            throttled += 1;
        }
    }
    assert_eq!(throttled, 5);
    assert_eq!(lab.failures(), []);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_finds_no_room_for_six_hours_is_kept() {
    let lab = lab();
    lab.limit_concurrency(0);
    let begun = add(&lab, "f", Duration::ZERO);
    lab.invoke_async("f", json!({})).await;
    let waited = (lab.now() - START.parse::<DateTime<Utc>>().unwrap()).num_minutes();
    // The next try, after the longest pause of five minutes, would be too late.
    assert!((355..=360).contains(&waited), "it was given up after {waited} minutes");
    assert_eq!(*begun.lock().unwrap(), [] as [i64; 0]);
    let [failure] = lab.failures().try_into().unwrap();
    assert_eq!((&failure.error, failure.attempts), (&RunError::TooOld, 0));
    assert_eq!(failure.record()["requestContext"]["condition"], "EventAgeExceeded");
    assert_eq!(failure.record().get("responseContext"), None);
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_function_without_concurrency_is_kept_at_once_and_has_no_response() {
    let lab = lab();
    lab.reserve_concurrency("f", 0);
    let begun = add(&lab, "f", Duration::ZERO);
    lab.invoke_async("f", json!({ "n": 1 })).await;
    assert_eq!((lab.now() - START.parse::<DateTime<Utc>>().unwrap()).num_milliseconds(), 33);
    assert_eq!(*begun.lock().unwrap(), [] as [i64; 0]);
    let [failure] = lab.failures().try_into().unwrap();
    assert_eq!(
        failure.record(),
        json!({
            "version": "1.0",
            "timestamp": "2026-11-21T08:00:00.033Z",
            "requestContext": {
                "requestId": failure.request_id,
                "functionArn": "arn:aws:lambda:us-east-1:123456789012:function:f:$LATEST",
                "condition": "ZeroReservedConcurrency",
                "approximateInvokeCount": 0,
            },
            "requestPayload": { "n": 1 },
        })
    );
    assert_eq!(lab.invoke("f", json!({}), 1).await, Err(RunError::NoRoom), "a single invocation is refused");
}

#[tokio::test(start_paused = true)]
async fn a_function_has_what_is_reserved_for_it_and_the_others_share_the_rest() {
    let lab = lab();
    lab.limit_concurrency(5);
    lab.reserve_concurrency("own", 2);
    let took = Duration::from_secs(3_600);
    let [own, one, other] = ["own", "one", "other"].map(|name| add(&lab, name, took));
    send(&lab, "own", 3);
    send(&lab, "one", 2);
    send(&lab, "other", 2);
    lab.sleep(Duration::from_secs(600)).await;
    let counts = [own, one, other].map(|begun| begun.lock().unwrap().len());
    assert_eq!(counts, [2, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_single_invocation_that_finds_no_room_is_refused() {
    let lab = lab();
    lab.limit_concurrency(1);
    add(&lab, "f", Duration::from_secs(20));
    send(&lab, "f", 1);
    lab.sleep(Duration::from_secs(1)).await;
    assert_eq!(lab.invoke("f", json!({}), 1).await, Err(RunError::NoRoom));
    lab.sleep(Duration::from_secs(20)).await;
    assert_eq!(lab.invoke("f", json!({}), 1).await, Ok(json!("done")));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_killed_leaves_its_room() {
    let lab = lab();
    lab.limit_concurrency(1);
    let code = Code::handler(|_, _| std::future::pending());
    lab.add_function(Function { name: "f".to_owned(), time_limit: Duration::from_secs(5), code });
    for _ in 0..2 {
        let late = lab.invoke("f", json!({}), 1).await;
        assert_eq!(late, Err(RunError::TimedOut(Duration::from_secs(5))));
    }
}
