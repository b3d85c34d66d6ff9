//! The payloads: the samples, what is refused, and what an empty one means.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use common::{API, Scene, WEB, play, sample};
use expect_test::expect;
use serde_json::json;

/// Every sample of `events/ecs-scheduler`, and what becomes of `web` and `api` in the afternoon.
const SAMPLES: [(&str, &str, [&str; 2]); 15] = [
    ("converge-dry-run", "scheduled", ["2/6", "1/4"]),
    ("converge", "scheduled", ["2/6", "1/4"]),
    ("dry-run", "scheduled", ["2/6", "1/4"]),
    ("foreign-resource-refused", "InvalidPayload", ["2/6", "1/4"]),
    ("lifecycle-event-refused", "UnsupportedEvent", ["2/6", "1/4"]),
    ("no-resource-refused", "InvalidPayload", ["2/6", "1/4"]),
    ("scheduled", "scheduled", ["0/0", "0/0"]),
    ("scheduler", "scheduled", ["0/0", "0/0"]),
    ("some-services", "scheduled", ["2/6", "0/0"]),
    ("start", "scheduled", ["2/6", "1/4"]),
    ("stop", "scheduled", ["0/0", "0/0"]),
    ("toggle", "scheduled", ["0/0", "0/0"]),
    ("unknown-action-refused", "InvalidPayload", ["2/6", "1/4"]),
    ("unknown-key-refused", "InvalidPayload", ["2/6", "1/4"]),
    ("unknown-resource-refused", "InvalidPayload", ["2/6", "1/4"]),
];

#[tokio::test(start_paused = true)]
async fn every_sample_is_dealt_with_as_documented() {
    for (name, outcome, bounds) in SAMPLES {
        let scene = Scene::afternoon().await;
        let played = play(&scene, &[("WORKING_HOURS", "MON-FRI 09:00-18:00")], sample(name)).await;
        assert!(played.contains(&format!("metric: \"{outcome}\"")), "{name}: {played}");
        assert_eq!([scene.bounds(WEB), scene.bounds(API)], bounds, "{name}");
    }
    let mut files: Vec<_> =
        testkit::events(ecs_scheduler::NAME).read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(
        files,
        SAMPLES.map(|(name, ..)| testkit::events(ecs_scheduler::NAME).join(name).with_extension("json"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_wrong_payload_is_named_with_its_path() {
    let scene = Scene::afternoon().await;
    let mut errors = String::new();
    for payload in [
        json!(null),
        json!(["stop"]),
        json!("stop"),
        json!({ "action": "restart" }),
        json!({ "action": 1 }),
        json!({ "Action": "stop" }),
        json!({ "action": "stop", "dryrun": true }),
        json!({ "dryRun": "true" }),
        json!({ "resourceIds": WEB }),
        json!({ "resourceIds": [] }),
        json!({ "resourceIds": [WEB, 7] }),
        json!({ "resourceIds": [WEB, "shop/api"] }),
        json!({ "action": "converge" }),
        json!({ "action": "reconcile" }),
        json!({ "Records": [] }),
        json!({ "detail-type": "Scheduled Event" }),
    ] {
        let played = play(&scene, &[], payload.clone()).await;
        errors += &format!("{payload}\n  {}\n", played.lines().next().unwrap());
    }
    expect![[r#"
        null
          InvalidPayload: .: not a JSON object
        ["stop"]
          InvalidPayload: .: not a JSON object
        "stop"
          InvalidPayload: .: not a JSON object
        {"action":"restart"}
          InvalidPayload: action: "restart" is not start, stop, toggle or converge
        {"action":1}
          InvalidPayload: action: invalid type: integer `1`, expected a string
        {"Action":"stop"}
          InvalidPayload: Action: unknown field `Action`, expected one of `action`, `resourceIds`, `dryRun`
        {"action":"stop","dryrun":true}
          InvalidPayload: dryrun: unknown field `dryrun`, expected one of `action`, `resourceIds`, `dryRun`
        {"dryRun":"true"}
          InvalidPayload: dryRun: invalid type: string, expected a boolean
        {"resourceIds":"service/shop/web"}
          InvalidPayload: resourceIds: invalid type: string, expected a sequence
        {"resourceIds":[]}
          InvalidPayload: resourceIds: is empty
        {"resourceIds":["service/shop/web",7]}
          InvalidPayload: resourceIds[1]: invalid type: integer `7`, expected a string
        {"resourceIds":["service/shop/web","shop/api"]}
          InvalidPayload: resourceIds[1]: "shop/api" is not service/CLUSTER/SERVICE
        {"action":"converge"}
          InvalidPayload: action: converge needs WORKING_HOURS, which is not set
        {"action":"reconcile"}
          InvalidPayload: action: "reconcile" is not start, stop, toggle or converge
        {"Records":[]}
          InvalidPayload: Records: unknown field `Records`, expected one of `action`, `resourceIds`, `dryRun`
        {"detail-type":"Scheduled Event"}
          InvalidPayload: source: missing
    "#]]
    .assert_eq(&errors);
    assert!(scene.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_empty_payload_means_the_configured_action() {
    for (action, bounds) in [("start", "2/6"), ("stop", "0/0"), ("toggle", "0/0")] {
        let scene = Scene::afternoon().await;
        play(&scene, &[("ACTION", action)], json!({})).await;
        assert_eq!(scene.bounds(WEB), bounds, "{action}");
    }
}
