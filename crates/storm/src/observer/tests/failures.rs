//! Tests of the invariants of reports, with functions that report nothing, or what is no failure.

use std::time::Duration;

use fleet::functions;
use lambda_kit::Variables;
use lifecycle_lab::Lab;
use serde_json::json;

use super::{Stage, check, drainer, play};

/// The metric `Failures`, as a function writes it.
fn report(lab: &Lab, word: &str, instance: &str) {
    let line = json!({ "level": "WARN", "failure": word, "Failures": 1, "instance.id": instance });
    lab.log(terminate_drainer::NAME, line.to_string());
}

#[test]
fn who_does_not_report_a_failed_drain_is_accused() {
    for (reports, count) in [(false, 1), (true, 0)] {
        let accused = play(async {
            let stage = Stage::new(Vec::new()).await;
            functions::deploy_launch_logger(&stage.lab, "app-*", "in").unwrap();
            stage.deploy_sender("mute", Some(Duration::from_secs(90)));
            stage.at_deaths("mute");
            stage.group("app-1").await;
            let (id, lab) = (stage.instance(), stage.lab.clone());
            tokio::spawn(async move {
                lab.sleep(Duration::from_secs(200)).await;
                if reports {
                    report(&lab, "drain-failed", &id);
                }
            });
            stage.die_with(1).await;
            stage.accused().await
        });
        assert_eq!(accused.len(), count, "{accused:?}");
        assert!(accused.iter().all(|one| one.contains("its failure was not reported")), "{accused:?}");
    }
}

#[test]
fn who_reports_a_drain_that_did_not_fail_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        functions::deploy_launch_logger(&stage.lab, "app-*", "in").unwrap();
        drainer(&stage.lab, terminate_drainer::NAME, &Variables::default());
        stage.group("app-1").await;
        let id = stage.instance();
        stage.die().await;
        report(&stage.lab, "drain-failed", &id);
        stage.accused().await
    });
    check(&accused, "reported a failure that is none");
}

#[test]
fn a_word_that_nobody_knows_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        report(&stage.lab, "all-is-lost", "i-0123456789abcdef0");
        stage.accused().await
    });
    check(&accused, "reported a failure without a known word");
}
