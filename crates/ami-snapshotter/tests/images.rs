//! What becomes of images that fail, that are refused, that never end, and that are not the function's.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use ami_snapshotter::NAME;
use aws_sdk_ec2::types::Tag;
use chrono::TimeDelta;
use common::{IMAGE_EVENT, Scene, Setting, TERMINATION_EVENT};
use lifecycle_lab::ec2::{Image, ImageState};
use lifecycle_lab::faults::CallFault::{AccessDenied, Refused, Throttle};
use lifecycle_lab::faults::EventFault;
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn sweep() -> Value {
    json!({ "action": "reconcile" })
}

/// A scene whose sweep alone does the work.
async fn swept(heartbeat: i32) -> Scene {
    Setting { rules: false, heartbeat, ..Setting::default() }.swept().scene().await
}

#[tokio::test(start_paused = true)]
async fn nothing_is_prolonged_for_an_image_that_is_throttled_for_good() {
    for (rules, on_failure) in [(false, "CONTINUE"), (true, "ABANDON")] {
        let setting = Setting { rules, heartbeat: 3_600, instances: 2, ..Setting::default() }.swept();
        let scene = setting.with("ON_FAILURE", on_failure).scene().await;
        scene.lab.faults().always("CreateImage", Some(Throttle));
        scene.fail();
        let waited = scene.released(48 * HOUR).await.unwrap();
        // The sweep answers before the hook's end, when no other sweep would come before it.
        assert!((3_600 - 320..3_600).contains(&waited), "{waited}: {:#?}", scene.calls());
        assert_eq!(scene.heartbeats(), 0);
        assert_eq!(scene.completions(), [on_failure]);
        let failures = scene.failures();
        let (last, earlier) = failures.split_last().unwrap();
        assert_eq!(last, "image-refused");
        // One in each sweep of the second half.
        assert!((4..=6).contains(&earlier.len()), "{failures:?}");
        assert!(earlier.iter().all(|failure| failure == "sweep-incomplete"), "{failures:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_ec2_refuses_only_for_now_is_taken_when_it_no_longer_refuses() {
    for code in [
        "ConcurrentCreateImageNoRebootLimitExceeded",
        "SnapshotCreationPerVolumeRateExceeded",
        "ConcurrentSnapshotLimitExceeded",
        "PendingSnapshotLimitExceeded",
        "RequestExpired",
        "AuthFailure",
        "RequestLimitExceeded",
    ] {
        for rules in [true, false] {
            let setting = Setting { rules, heartbeat: 3_600, ..Setting::default() }.swept();
            let scene = setting.scene().await;
            scene.lab.faults().always("CreateImage", Some(Refused(code)));
            scene.fail();
            scene.waits().await;
            scene.lab.sleep(20 * MINUTE).await;
            assert_eq!((scene.completions().len(), scene.heartbeats()), (0, 0), "{code}");
            assert_eq!(scene.failures(), [""; 0], "{code}: half of the hook's timeout is left");
            let refused = format!("CreateImage: {code}");
            assert!(scene.calls().contains(&refused), "{code}: {:#?}", scene.calls());

            scene.lab.faults().always("CreateImage", None);
            assert!(scene.released(HOUR).await.unwrap() < 600, "{code}");
            assert_eq!(
                (scene.completions(), scene.images().len()),
                (vec!["CONTINUE".to_owned()], 1),
                "{code}"
            );
            assert_eq!(scene.failures(), [""; 0], "{code}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn expired_credentials_are_an_error_of_the_event() {
    let scene = Setting { rules: false, ..Setting::default() }.scene().await;
    let event = scene.termination().await;
    scene.lab.faults().script("CreateImage", [Refused("RequestExpired")]);
    let error = scene.invoke(event.clone()).await.unwrap_err();
    assert_eq!(error.error_type(), "AwsError");
    assert!(error.error_message().contains("RequestExpired"), "{error:?}");
    assert_eq!((scene.state(), scene.images().len()), ("Terminating:Wait", 0));
    assert_eq!(scene.invoke(event).await.unwrap()["outcome"], "image-requested");
}

#[tokio::test(start_paused = true)]
async fn quotas_and_denials_go_by_on_failure_at_once() {
    let quotas = ["AMIQuotaExceeded", "SnapshotLimitExceeded"].map(Refused);
    for fault in quotas.into_iter().chain([AccessDenied]) {
        let scene = Setting::default().with("ON_FAILURE", "ABANDON").scene().await;
        scene.lab.faults().always("CreateImage", Some(fault));
        scene.fail();
        assert!(scene.released(HOUR).await.unwrap() < 5, "{fault:?}");
        assert_eq!(
            (scene.completions(), scene.failures()),
            (vec!["ABANDON".to_owned()], vec!["image-refused".to_owned()])
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_has_failed_is_taken_once_more() {
    for lost in [&[][..], &[TERMINATION_EVENT], &[IMAGE_EVENT], &[TERMINATION_EVENT, IMAGE_EVENT]] {
        let scene = Setting { heartbeat: 3_600, ..Setting::default() }.swept().scene().await;
        for kind in lost {
            scene.lab.faults().script_events(kind, [EventFault::Lost; 3]);
        }
        scene.script(20 * 60, Some("Server.InternalError"));
        scene.fail();
        let one = |world: &lifecycle_lab::World| !world.ec2.images().is_empty();
        assert!(scene.lab.until(HOUR, one).await);
        scene.script(10 * 60, None);
        let waited = scene.released(2 * HOUR).await.unwrap();
        assert!((1_800..2_700).contains(&waited), "{lost:?}: {waited}");
        let images = scene.images();
        let states: Vec<_> = images.iter().map(|image| image.state).collect();
        assert_eq!(states, [ImageState::Failed, ImageState::Available], "{lost:?}: {:#?}", scene.calls());
        assert_ne!(images[0].name, images[1].name);
        assert_eq!(images[0].tags["lifecycle/cause"], images[1].tags["lifecycle/cause"]);
        assert_eq!(
            (scene.completions(), scene.failures()),
            (vec!["CONTINUE".to_owned()], vec![]),
            "{lost:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn failed_images_use_up_no_limit() {
    let setting = Setting { instances: 11, ..Setting::default() }.with("MAX_IMAGES_PER_HOUR", "3");
    let scene = setting.scene().await;
    let ids: Vec<String> =
        scene.lab.world(|world| world.autoscaling.instances().map(|one| one.id.clone()).collect());
    let (last, failing) = ids.split_last().unwrap();
    let failure = Some("Server.InternalError".to_owned());
    for id in failing {
        scene.lab.world(|world| {
            let script =
                lifecycle_lab::ec2::ImageScript { pending: Duration::from_secs(9), failure: failure.clone() };
            world.ec2.set_image_script(id, script);
            world.fail_instance(id);
        });
        scene.lab.sleep(3 * MINUTE).await;
    }
    scene.lab.world(|world| world.fail_instance(last));
    scene.lab.sleep(20 * MINUTE).await;
    let of_last = |image: &&Image| image.source_instance.as_ref() == Some(last);
    let (all, good) = scene.lab.world(|world| {
        let images = world.ec2.images();
        (
            images.len(),
            images.into_iter().filter(of_last).filter(|image| image.state == ImageState::Available).count(),
        )
    });
    assert_eq!((all, good), (21, 1));
    assert_eq!(scene.failures(), ["image-failed"; 10]);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_pending_for_ever_ends_by_image_timeout() {
    for (complete_on, on_failure) in
        [("available", "CONTINUE"), ("available", "ABANDON"), ("timeout", "CONTINUE")]
    {
        let setting = Setting { heartbeat: 7_200, ..Setting::default() }.swept();
        let setting = setting.with("IMAGE_TIMEOUT", "90m").with("COMPLETE_ON", complete_on);
        let scene = setting.with("ON_FAILURE", on_failure).scene().await;
        scene.script(1_000_000, None);
        scene.fail();
        let waited = scene.released(49 * HOUR).await.unwrap();
        assert!((5_400..5_720).contains(&waited), "{complete_on}: {waited}");
        assert_eq!(
            (scene.completions(), scene.failures()),
            (vec![on_failure.to_owned()], vec!["image-failed".to_owned()])
        );
        assert_eq!(scene.heartbeats() > 0, complete_on == "available");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_pending_at_the_hooks_global_end_is_told() {
    // 100 times the heartbeat timeout: 50 minutes for a hook of 30 s, which no sweep could keep alive.
    let scene =
        Setting { heartbeat: 600, ..Setting::default() }.swept().with("IMAGE_TIMEOUT", "30d").scene().await;
    scene.script(1_000_000, None);
    scene.fail();
    let waited = scene.released(49 * HOUR).await.unwrap();
    assert!((60_000 - 330..60_000).contains(&waited), "{waited}");
    assert_eq!(
        (scene.completions(), scene.failures()),
        (vec!["CONTINUE".to_owned()], vec!["image-failed".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn with_requested_an_image_that_fails_later_is_only_told() {
    let scene = Setting::default().with("COMPLETE_ON", "requested").scene().await;
    scene.script(600, Some("Server.InternalError"));
    scene.fail();
    assert!(scene.released(HOUR).await.unwrap() < 5);
    scene.lab.sleep(HOUR).await;
    assert_eq!((scene.images().len(), scene.failures()), (1, vec!["image-failed".to_owned()]));
    assert_eq!(scene.lab.failures(), []);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_ec2_says_is_gone_is_no_failure() {
    for rules in [true, false] {
        let setting = Setting { rules, ..Setting::default() }.swept().with("ON_FAILURE", "ABANDON");
        let scene = setting.scene().await;
        scene.lab.world(|world| world.terminate_in_ec2(&scene.instance));
        let waited = scene.released(HOUR).await.unwrap();
        assert!(waited < 310, "{waited}");
        assert_eq!((scene.completions(), scene.failures()), (vec!["CONTINUE".to_owned()], vec![]));
        assert_eq!((scene.images().len(), scene.lab.failures()), (0, vec![]));
        assert!(
            scene.calls().contains(&"CreateImage: InvalidParameterValue".to_owned()),
            "{:#?}",
            scene.calls()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn ten_deaths_in_one_batch_keep_the_limit_exactly() {
    let setting = Setting { instances: 10, rules: false, ..Setting::default() };
    let scene = setting.with("MAX_IMAGES_PER_HOUR", "2").scene().await;
    let mut moments = scene.lab.observe();
    let ids: Vec<String> =
        scene.lab.world(|world| world.autoscaling.instances().map(|one| one.id.clone()).collect());
    for id in &ids {
        scene.lab.world(|world| world.fail_instance(id));
    }
    let wait = |world: &lifecycle_lab::World| {
        world.autoscaling.instances().filter(|one| one.state == "Terminating:Wait").count() == ids.len()
    };
    assert!(scene.lab.until(HOUR, wait).await);
    let mut records = Vec::new();
    for id in &ids {
        let event = testkit::lifecycle_event(&mut moments).await;
        records.push(json!({ "messageId": id, "body": event.to_string() }));
    }
    // One of the two attempts is throttled once.
    scene.lab.faults().script("CreateImage", [Throttle]);
    let answer = scene.invoke(json!({ "Records": records })).await.unwrap();
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert_eq!(scene.lab.world(|world| world.ec2.images().len()), 2);
    scene.lab.sleep(MINUTE).await;
    assert_eq!((scene.completions().len(), scene.failures()), (8, vec!["image-skipped".to_owned(); 8]));
    assert!(scene.calls().contains(&"CreateImage: RequestLimitExceeded".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_comes_twice_at_once_gets_its_image_although_it_is_the_last_of_the_hour() {
    let setting = Setting { rules: false, ..Setting::default() }.with("MAX_IMAGES_PER_HOUR", "1");
    let scene = setting.scene().await;
    let event = scene.termination().await;
    let (first, second) = tokio::join!(scene.invoke(event.clone()), scene.invoke(event));
    let mut outcomes = [first.unwrap()["outcome"].clone(), second.unwrap()["outcome"].clone()];
    outcomes.sort_by_key(Value::to_string);
    assert_eq!(outcomes, ["image-pending", "image-requested"]);
    assert_eq!(scene.lab.world(|world| world.ec2.images().len()), 1);
    assert_eq!((scene.completions(), scene.failures()), (vec![], vec![]));
}

/// Tags of the function's on images that it did not make.
fn forged(scene: &Scene) -> Image {
    let mut image = Image::new("forged", scene.lab.now());
    for (key, value) in
        [("function", NAME), ("group", "web"), ("hook", "dying"), ("instance", scene.instance.as_str())]
    {
        image.tags.insert(format!("lifecycle/{key}"), value.to_owned());
    }
    image
}

#[tokio::test(start_paused = true)]
async fn forged_evidence_counts_for_nothing() {
    for swept in [false, true] {
        let setting = Setting { rules: false, ..Setting::default() }.with("MAX_IMAGES_PER_HOUR", "2");
        let scene = setting.with("IMAGE_RETENTION", "30d").scene().await;
        let event = scene.termination().await;
        let forged = forged(&scene);
        let ids: Vec<String> = scene.lab.world(|world| {
            let one = |n: usize| Image { name: format!("forged-{n}"), ..forged.clone() };
            // Of this instance, of another one, and an old one.
            let of = |n, source: &str| Image { source_instance: Some(source.to_owned()), ..one(n) };
            let old = Image { created: forged.created - TimeDelta::days(90), ..one(0) };
            let names = (1..=10).map(one).chain([old, of(11, &scene.instance), of(12, "i-2")]);
            names.map(|image| world.add_image(image)).collect()
        });
        scene.lab.sleep(Duration::from_secs(2)).await;
        // An event of such an image completes nothing.
        let ended = |id: &str| {
            json!({
                "source": "aws.ec2", "detail-type": IMAGE_EVENT, "time": scene.lab.now(),
                "account": "123456789012", "region": "us-east-1",
                "detail": { "ImageId": id, "State": "available", "RequestId": "1", "ErrorMessage": "" },
            })
        };
        for id in &ids {
            assert_eq!(scene.invoke(ended(id)).await.unwrap()["outcome"], "ignored");
        }
        if swept {
            assert_eq!(scene.invoke(sweep()).await.unwrap()["started"], 1);
        } else {
            assert_eq!(scene.invoke(event).await.unwrap()["outcome"], "image-requested");
        }
        scene.lab.sleep(5 * MINUTE).await;
        let answer = scene.invoke(sweep()).await.unwrap();
        assert_eq!((&answer["images_removed"], &answer["completed"]), (&json!([]), &json!(1)), "{answer}");
        scene.lab.world(|world| {
            assert!(ids.iter().all(|id| world.ec2.image(id).unwrap().state == ImageState::Available));
            assert_eq!(world.ec2.images().len(), ids.len() + 1);
        });
        scene.lab.sleep(MINUTE).await;
        assert_eq!(scene.failures(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_the_name_or_the_tag_of_an_image_suppresses_none() {
    // The name is taken by an image of nobody's instance.
    let scene = Setting { rules: false, ..Setting::default() }.scene().await;
    let event = scene.termination().await;
    assert_eq!(scene.invoke(event.clone()).await.unwrap()["outcome"], "image-requested");
    let [first] = &scene.images()[..] else { panic!("{:#?}", scene.calls()) };
    scene.lab.world(|world| world.add_image(Image { source_instance: None, ..first.clone() }));
    scene.lab.sleep(Duration::from_secs(2)).await;
    let again = scene.invoke(event).await.unwrap();
    assert_eq!((&again["outcome"], scene.images().len()), (&json!("image-requested"), 1), "{again}");
    let [second] = &scene.images()[..] else { panic!("{:#?}", scene.calls()) };
    assert!(second.id != first.id && second.name != first.name, "{} {}", first.name, second.name);

    // Somebody gives the function's image the tag of another function.
    let scene = Setting::default().swept().scene().await;
    scene.lab.faults().script_events(IMAGE_EVENT, [EventFault::Lost]);
    scene.fail();
    scene.waits().await;
    scene.lab.sleep(Duration::from_secs(5)).await;
    let image = scene.images()[0].id.clone();
    let another = Tag::builder().key("lifecycle/function").value("another").build();
    scene.ec2().create_tags().resources(image).tags(another).send().await.unwrap();
    let waited = scene.released(HOUR).await.unwrap();
    assert!(waited < 900, "{waited}: {:#?}", scene.calls());
    assert_eq!(scene.images().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_foreign_images_cost_nothing() {
    let calls = async |foreign: usize| {
        let setting = Setting { rules: false, ..Setting::default() }.with("IMAGE_RETENTION", "30d");
        let scene = setting.scene().await;
        let event = scene.termination().await;
        let image = forged(&scene);
        scene.lab.world(|world| {
            for n in 0..foreign {
                world.add_image(Image { name: format!("foreign-{n}"), ..image.clone() });
            }
        });
        scene.lab.sleep(2 * MINUTE).await;
        let before = scene.calls().len();
        scene.invoke(event).await.unwrap();
        scene.invoke(sweep()).await.unwrap();
        let calls = scene.calls();
        assert_eq!(scene.images().len(), 1, "{calls:#?}");
        calls[before..].to_vec()
    };
    assert_eq!(calls(10_000).await, calls(0).await);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_image_that_ec2_does_not_show_yet_is_asked_for_again() {
    let setting = || Setting { rules: false, ..Setting::default() };
    let ready = async |scene: &Scene| {
        let event = scene.termination().await;
        scene.script(0, None);
        scene.invoke(event).await.unwrap();
        json!({
            "source": "aws.ec2", "detail-type": IMAGE_EVENT, "time": scene.lab.now(),
            "account": "123456789012", "region": "us-east-1",
            "detail": { "ImageId": scene.images()[0].id, "State": "available", "RequestId": "1" },
        })
    };
    // Once, and then it is there.
    let scene = setting().scene().await;
    let event = ready(&scene).await;
    scene.lab.sleep(Duration::from_secs(2)).await;
    scene.lab.faults().script("DescribeImages", [Refused("InvalidAMIID.NotFound")]);
    assert_eq!(scene.invoke(event).await.unwrap()["outcome"], "completed");

    // For longer than a run asks: the event is run again.
    let scene = setting().scene().await;
    let event = ready(&scene).await;
    scene.lab.faults().always("DescribeImages", Some(Refused("InvalidAMIID.NotFound")));
    let error = scene.invoke(event.clone()).await.unwrap_err();
    assert!(error.error_message().contains("InvalidAMIID.NotFound"), "{error:?}");
    // After a minute it is an image of somebody else, who removed it.
    scene.lab.sleep(MINUTE).await;
    let answer = scene.invoke(event).await.unwrap();
    assert_eq!(answer["outcome"], "ignored", "{answer}");
    scene.lab.sleep(MINUTE).await;
    assert_eq!(scene.failures(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_build_that_removed_its_failed_image_rings_nothing() {
    let scene = Setting::default().scene().await;
    let foreign = scene.lab.world(|world| world.add_image(Image::new("build", world.now())));
    scene.lab.sleep(MINUTE).await;
    scene.ec2().deregister_image().image_id(&foreign).send().await.unwrap();
    let event = json!({
        "source": "aws.ec2", "detail-type": IMAGE_EVENT, "time": scene.lab.now(),
        "account": "123456789012", "region": "us-east-1",
        "detail": { "ImageId": foreign, "State": "failed", "RequestId": "1" },
    });
    assert_eq!(scene.invoke(event).await.unwrap()["outcome"], "ignored");
    scene.lab.sleep(MINUTE).await;
    assert_eq!((scene.failures(), scene.lab.failures()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn extra_tags_are_on_the_image_and_on_its_snapshots() {
    let scene = Setting::default().with("EXTRA_TAGS", "CostCenter=42,Url=a=b").scene().await;
    scene.fail();
    scene.released(HOUR).await.unwrap();
    let [image] = &scene.images()[..] else { panic!() };
    assert_eq!((&*image.tags["CostCenter"], &*image.tags["Url"]), ("42", "a=b"));
    let tags = scene.lab.world(|world| world.ec2.snapshot(&image.devices[0].snapshot).unwrap().tags.clone());
    assert_eq!(tags, image.tags);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_can_not_be_dealt_with_is_told_although_others_are() {
    let scene = swept(1_800).await;
    common::create_group(&scene.operator, "api", 1, 1_800, false).await;
    scene.lab.sleep(5 * MINUTE).await;
    scene.fail();
    scene.waits().await;
    // The first of the hook's two questions.
    scene.lab.faults().always("DescribeLifecycleHooks", Some(AccessDenied));
    let error = scene.invoke(sweep()).await;
    assert!(error.is_err(), "nothing else was done: {error:?}");
    scene.lab.faults().always("DescribeLifecycleHooks", None);
    assert!(scene.released(HOUR).await.unwrap() < 900);
    assert_eq!(scene.images().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_death_whose_stored_groups_can_not_be_read_goes_by_its_cause() {
    for fault in [Throttle, AccessDenied] {
        for rules in [true, false] {
            let setting = Setting { rules, ..Setting::default() }.with("AUTO_SCALING_GROUPS", "web");
            // An event fails where the role may not read them, and the sweep takes over.
            let swept = !rules || fault == AccessDenied;
            let scene = if swept { setting.swept() } else { setting }.scene().await;
            scene.lab.faults().always("GetFunctionConfiguration", Some(fault));
            scene.fail();
            assert!(scene.released(HOUR).await.unwrap() < 1_200, "{:#?}", scene.calls());
            assert_eq!((scene.images().len(), scene.completions()), (1, vec!["CONTINUE".to_owned()]));
            scene.lab.sleep(MINUTE).await;
            let told = scene.failures();
            assert!(told.iter().all(|failure| failure == "sweep-incomplete"), "{told:?}");
            assert_eq!(told.is_empty(), !swept);
            assert!(swept || scene.lab.failures().is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_disabled_is_ready_and_one_of_somebody_else_takes_no_place() {
    for is_own in [true, false] {
        let scene = Setting { rules: false, ..Setting::default() }.scene().await;
        let event = scene.termination().await;
        scene.invoke(event.clone()).await.unwrap();
        let [first] = &scene.images()[..] else { panic!("{:#?}", scene.calls()) };
        let source_instance = first.source_instance.clone().filter(|_| is_own);
        let disabled = Image { state: ImageState::Disabled, source_instance, ..first.clone() };
        scene.lab.world(|world| world.add_image(disabled));
        scene.lab.sleep(Duration::from_secs(2)).await;
        let again = scene.invoke(event).await.unwrap();
        let outcome = if is_own { "completed" } else { "image-requested" };
        assert_eq!(again["outcome"], outcome, "{again}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_prolonged_for_images_that_somebody_deregisters() {
    for (most, limit, failure) in [("1000", 6 * HOUR, "image-failed"), ("10", HOUR, "image-skipped")] {
        let scene = Setting::default().swept().with("MAX_IMAGES_PER_HOUR", most).scene().await;
        scene.script(1_000_000, None);
        scene.fail();
        scene.waits().await;
        let began = scene.lab.now();
        while scene.state().ends_with(":Wait") {
            scene.lab.sleep(5 * MINUTE).await;
            for image in scene.images().iter().filter(|image| image.state == ImageState::Pending) {
                scene.ec2().deregister_image().image_id(&image.id).send().await.unwrap();
            }
        }
        let held = (scene.lab.now() - began).to_std().unwrap();
        assert!(held < limit + 10 * MINUTE, "{held:?}");
        assert_eq!(scene.failures(), [failure]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_told_is_not_told_again_while_another_hook_holds_the_instance() {
    let setting = Setting { rules: false, ..Setting::default() }.swept();
    let scene = setting.with("LIFECYCLE_HOOKS", "dying").scene().await;
    let ours = json!({ "source": ["aws.autoscaling"], "detail": { "LifecycleHookName": ["dying"] } });
    scene.lab.add_rule(&ours, NAME).unwrap();
    let drain =
        scene.operator.put_lifecycle_hook().auto_scaling_group_name("web").lifecycle_hook_name("drain");
    let drain = drain.lifecycle_transition("autoscaling:EC2_INSTANCE_TERMINATING").heartbeat_timeout(7_200);
    drain.default_result("CONTINUE").send().await.unwrap();
    scene.lab.faults().always("CreateImage", Some(AccessDenied));
    scene.fail();
    scene.waits().await;
    scene.lab.sleep(100 * MINUTE).await;
    assert!(scene.state().ends_with(":Wait"), "the other hook holds it: {}", scene.state());
    assert_eq!(scene.failures().iter().filter(|failure| *failure == "image-refused").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_process_knows_that_a_long_wait_was_prolonged() {
    let setting = Setting::default().swept().with("ON_FAILURE", "ABANDON");
    let variables = setting.variables.clone();
    let scene = setting.scene().await;
    scene.script(2 * 3_600, None);
    scene.fail();
    scene.waits().await;
    scene.lab.sleep(40 * MINUTE).await;
    common::deploy(&scene.lab, &variables, Duration::from_secs(30));
    scene.lab.faults().always("DescribeImages", Some(Throttle));
    scene.lab.sleep(6 * MINUTE).await;
    scene.lab.faults().always("DescribeImages", None);
    assert!(scene.released(3 * HOUR).await.is_some());
    assert_eq!((scene.images().len(), scene.completions()), (1, vec!["CONTINUE".to_owned()]));
}
