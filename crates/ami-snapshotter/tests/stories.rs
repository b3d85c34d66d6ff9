//! Launches and terminations from beginning to end, in the lab's time.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use ami_snapshotter::NAME;
use aws_sdk_autoscaling::types::InstanceReusePolicy;
use chrono::TimeDelta;
use common::{IMAGE_EVENT, LAUNCH_EVENT, OTHER_VARIABLE, Scene, Setting, TERMINATION_EVENT, create_group};
use lifecycle_lab::World;
use lifecycle_lab::ec2::{Image, ImageState};
use lifecycle_lab::faults::CallFault::{AccessDenied, CutAfter, ServerError, Throttle};
use lifecycle_lab::faults::EventFault;
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

type Way = fn(&mut World, &str);

#[tokio::test(start_paused = true)]
async fn each_way_to_die_gets_an_image_or_a_reason() {
    let ways: [(&str, Way, Option<&str>); 9] = [
        ("EC2 health check", |world, id| world.fail_instance(id), Some("health-check-ec2")),
        ("status check", |world, id| world.fail_status_check(id), Some("health-check-ec2")),
        ("load balancer", |world, id| world.fail_load_balancer_check(id), Some("health-check-elb")),
        (
            "alarm",
            |world, _| world.raise_alarm("web", "user request", "in response to a user request", 0),
            Some("scaling-policy"),
        ),
        ("rebalance", |world, id| world.recommend_rebalance(id), Some("rebalance")),
        ("zones", |world, id| world.rebalance_zones(id), Some("rebalance")),
        ("schedule", |world, _| world.run_scheduled_action("web", 0), None),
        ("lifetime", |world, id| world.expire_lifetime(id), None),
        ("user", |_, _| (), None),
    ];
    for (way, act, image) in ways {
        let scene = Setting::default().scene().await;
        scene.lab.world(|world| act(world, &scene.instance));
        if way == "user" {
            let set = scene.operator.set_desired_capacity().auto_scaling_group_name("web");
            set.desired_capacity(0).send().await.unwrap();
        }
        let waited = scene.released(HOUR).await.unwrap();
        let images = scene.images();
        match image {
            Some(cause) => {
                assert_eq!(images.len(), 1, "{way}: {:#?}", scene.calls());
                assert_eq!(images[0].tags["lifecycle/cause"], cause, "{way}: {:?}", images[0].tags);
                assert!((180..190).contains(&waited), "{way}: {waited}");
            }
            None => {
                assert!(images.is_empty(), "{way}: {images:?}");
                assert!(waited < 5, "{way}: {waited}");
            }
        }
        assert_eq!(scene.completions(), ["CONTINUE"], "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn image_and_snapshots_say_what_they_are_evidence_of() {
    let scene = Setting::default().scene().await;
    scene.fail();
    scene.released(HOUR).await.unwrap();
    let [image] = &scene.images()[..] else { panic!() };
    let tag = |key: &str| image.tags.get(key).map_or("", String::as_str);
    assert_eq!(tag("lifecycle/group"), "web");
    assert_eq!(tag("lifecycle/hook"), "dying");
    assert_eq!(tag("lifecycle/instance"), scene.instance);
    assert_eq!(tag("lifecycle/action").len(), 36);
    assert_eq!(tag("lifecycle/cause"), "health-check-ec2");
    assert!(tag("lifecycle/cause-text").contains("in response to an EC2 health check"), "{:?}", image.tags);
    assert!(tag("lifecycle/time").starts_with("2026-11-21T08:"), "{:?}", image.tags);
    assert_eq!(image.no_reboot, Some(true));
    let snapshots = scene.lab.world(|world| {
        image
            .devices
            .iter()
            .map(|device| world.ec2.snapshot(&device.snapshot).unwrap().tags.clone())
            .collect::<Vec<_>>()
    });
    assert_eq!(snapshots, std::slice::from_ref(&image.tags));
}

#[tokio::test(start_paused = true)]
async fn a_replaced_group_goes_through_without_images() {
    let setting = Setting { launching_hook: true, ..Setting::default() }.fresh().succession();
    let scene = setting.with("SKIP_CAUSES", "none").scene().await;
    assert_eq!(scene.variable("CURRENT_ASG_NAME").as_deref(), Some("web"));
    assert!(lifecycle_lab::scenarios::replace_group(&scene.lab, "web", "web-2").await.unwrap());
    assert_eq!(scene.variable("CURRENT_ASG_NAME").as_deref(), Some("web-2"));
    assert_eq!(scene.variable(OTHER_VARIABLE.0).as_deref(), Some(OTHER_VARIABLE.1));
    assert!(scene.images().is_empty());
    assert_eq!(scene.completions(), ["CONTINUE"]);
    assert_eq!((scene.lab.failures(), scene.failures()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn after_a_roll_back_the_old_group_is_the_one_in_service() {
    let setting = Setting { launching_hook: true, ..Setting::default() }.fresh().swept().succession();
    let scene = setting.scene().await;
    let lab = &scene.lab;
    assert!(
        lifecycle_lab::scenarios::roll_back_group(lab, "web", "web-2", Duration::from_secs(600))
            .await
            .unwrap()
    );
    assert!(scene.images().is_empty());
    // The sweep finds that the stored group is gone.
    lab.sleep(Duration::from_secs(301)).await;
    assert_eq!(scene.variable("CURRENT_ASG_NAME"), None);
    assert_eq!(scene.variable(OTHER_VARIABLE.0).as_deref(), Some(OTHER_VARIABLE.1));
    scene.fail();
    scene.released(HOUR).await.unwrap();
    assert_eq!(scene.images().len(), 1, "{:#?}", scene.calls());
    // The replacement's launch puts the old group back.
    lab.sleep(HOUR).await;
    assert_eq!(scene.variable("CURRENT_ASG_NAME").as_deref(), Some("web"));
}

#[tokio::test(start_paused = true)]
async fn a_late_launch_of_the_old_group_does_not_put_it_back() {
    let setting = Setting { launching_hook: true, rules: false, ..Setting::default() }.fresh();
    let scene = setting.succession().scene().await;
    let mut launches = Vec::new();
    for group in ["web", "web-2"] {
        if group == "web-2" {
            create_group(&scene.operator, group, 1, 1_800, true).await;
        }
        launches.push(launch_event(group));
    }
    let outcome = async |event: &Value| scene.invoke(event.clone()).await.unwrap()["outcome"].clone();
    assert_eq!(outcome(&launches[0]).await, "group-stored");
    scene.lab.sleep(Duration::from_secs(60)).await;
    assert_eq!(outcome(&launches[1]).await, "group-stored");
    scene.lab.sleep(Duration::from_secs(60)).await;
    assert_eq!(outcome(&launches[0]).await, "group-unchanged");
    assert_eq!(outcome(&launches[1]).await, "group-unchanged");
    assert_eq!(scene.variable("CURRENT_ASG_NAME").as_deref(), Some("web-2"));
    assert!(scene.completions().is_empty(), "launching actions are left to their timeout");
}

fn launch_event(group: &str) -> Value {
    json!({
        "version": "0", "id": "1", "detail-type": LAUNCH_EVENT, "source": "aws.autoscaling",
        "account": "123456789012", "time": "2026-11-21T08:10:00Z", "region": "us-east-1", "resources": [],
        "detail": {
            "LifecycleActionToken": "87654321-4321-4321-4321-210987654321",
            "AutoScalingGroupName": group, "LifecycleHookName": "born", "EC2InstanceId": "i-0123456789abcdef0",
            "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
        },
    })
}

#[tokio::test(start_paused = true)]
async fn two_groups_that_launch_at_once_end_with_the_younger_one_and_every_other_variable() {
    for update in [0, 5] {
        let setting = Setting { rules: false, ..Setting::default() }.fresh().succession();
        let scene = setting.scene().await;
        scene.lab.world(|world| world.delays.function_update = Duration::from_secs(update));
        scene.lab.sleep(Duration::from_secs(60)).await;
        create_group(&scene.operator, "web-2", 1, 1_800, false).await;
        let (old, new) = (launch_event("web"), launch_event("web-2"));
        let (first, second, third) =
            tokio::join!(scene.invoke(old.clone()), scene.invoke(new), scene.invoke(old));
        for answer in [first, second, third] {
            answer.unwrap();
        }
        assert_eq!(scene.variable("CURRENT_ASG_NAME").as_deref(), Some("web-2"), "{:#?}", scene.calls());
        assert_eq!(scene.variable(OTHER_VARIABLE.0).as_deref(), Some(OTHER_VARIABLE.1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_launch_is_completed_only_where_that_is_wanted() {
    let setting =
        Setting { launching_hook: true, ..Setting::default() }.fresh().with("COMPLETE_LAUNCH", "true");
    let scene = setting.scene().await;
    assert_eq!(scene.completions(), ["CONTINUE"]);
    assert_eq!(scene.variable("CURRENT_ASG_NAME").as_deref(), Some("web"));
}

#[tokio::test(start_paused = true)]
async fn variables_that_lambda_does_not_show_are_never_overwritten_and_an_image_is_taken() {
    let scene = Setting { launching_hook: true, ..Setting::default() }.scene().await;
    scene.lab.world(|world| {
        let error = Some(("AccessDeniedException", "Lambda was unable to decrypt the environment variables"));
        world.functions.set_decryption_error(NAME, error);
    });
    let error = scene.invoke(launch_event("web-2")).await.unwrap_err();
    assert_eq!(error.error_type(), "AwsError");
    assert!(error.error_message().contains("AccessDeniedException"), "{error:?}");
    scene.fail();
    scene.released(HOUR).await.unwrap();
    assert_eq!(scene.images().len(), 1);
    assert_eq!(scene.variable(OTHER_VARIABLE.0).as_deref(), Some(OTHER_VARIABLE.1));
}

#[tokio::test(start_paused = true)]
async fn with_no_stored_group_every_unplanned_termination_gets_an_image() {
    let scene = Setting::default().fresh().scene().await;
    scene.fail();
    scene.released(HOUR).await.unwrap();
    assert_eq!(scene.images().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn complete_on_says_when_the_instance_is_released() {
    for (complete_on, seconds, outcome) in [
        ("available", 480..485, "image-requested"),
        ("requested", 0..2, "completed"),
        ("timeout", 1_799..1_802, "image-requested"),
    ] {
        let setting = Setting::default().with("COMPLETE_ON", complete_on).swept();
        let scene = setting.scene().await;
        scene.script(480, None);
        let mut moments = scene.lab.observe();
        scene.fail();
        let waited = scene.released(HOUR).await.unwrap();
        assert!(seconds.contains(&waited), "{complete_on}: {waited}, {:#?}", scene.calls());
        let mut outcomes = Vec::new();
        while let Ok(moment) = moments.try_recv() {
            if let lifecycle_lab::What::Ended(run, Ok(answer)) = moment.what
                && run.payload["detail-type"] == TERMINATION_EVENT
            {
                outcomes.push(answer["outcome"].clone());
            }
        }
        assert_eq!(outcomes, [outcome], "{complete_on}");
        let heartbeats = scene.calls().iter().filter(|call| call.starts_with("RecordLifecycle")).count();
        assert_eq!(heartbeats > 0, complete_on == "available", "{complete_on}: {heartbeats}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_fails_or_is_refused_goes_by_on_failure_and_is_told() {
    for (on_failure, refused) in
        [("CONTINUE", true), ("ABANDON", true), ("CONTINUE", false), ("ABANDON", false)]
    {
        let scene = Setting::default().with("ON_FAILURE", on_failure).scene().await;
        if refused {
            scene.lab.faults().deny("CreateImage");
        } else {
            scene.script(60, Some("Client.InternalError: the snapshot failed"));
        }
        scene.fail();
        scene.released(HOUR).await.unwrap();
        assert_eq!(scene.completions(), [on_failure], "{:#?}", scene.calls());
        assert_eq!(scene.failures(), [if refused { "image-refused" } else { "image-failed" }]);
        assert_eq!(scene.images().len(), if refused { 0 } else { 2 });
        assert_eq!(scene.lab.failures(), [], "the action is answered");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_image_is_kept_alive_by_the_sweep_and_released_when_it_is_ready() {
    let scene = Setting { heartbeat: 900, ..Setting::default() }.swept().scene().await;
    scene.script(4 * 3_600, None);
    scene.fail();
    let waited = scene.released(5 * HOUR).await.unwrap();
    assert!((14_400..14_410).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn whatever_event_is_lost_the_sweep_does_the_same() {
    for lost in [&[TERMINATION_EVENT][..], &[IMAGE_EVENT], &[TERMINATION_EVENT, IMAGE_EVENT]] {
        let scene = Setting::default().swept().scene().await;
        for kind in lost {
            scene.lab.faults().script_events(kind, [EventFault::Lost; 3]);
        }
        scene.fail();
        let waited = scene.released(HOUR).await.unwrap();
        assert!(waited < 900, "{lost:?}: {waited}");
        assert_eq!(scene.images().len(), 1, "{lost:?}: {:#?}", scene.calls());
        assert_eq!(scene.completions(), ["CONTINUE"], "{lost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_comes_after_the_sweep_finds_the_sweeps_image_and_its_action() {
    let scene = Setting { rules: false, ..Setting::default() }.scene().await;
    let event = scene.termination().await;
    let swept = scene.invoke(json!({ "action": "reconcile" })).await.unwrap();
    assert_eq!((&swept["outcome"], &swept["started"]), (&json!("swept"), &json!(1)), "{swept}");
    // The image is not visible yet, and the names are the same.
    let answer = scene.invoke(event.clone()).await.unwrap();
    assert_eq!(answer["outcome"], "image-pending", "{answer}");
    scene.lab.sleep(Duration::from_secs(200)).await;
    assert_eq!(scene.invoke(event).await.unwrap()["outcome"], "completed");
    assert_eq!(scene.images().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn above_max_images_per_hour_instances_go_without_image_and_the_answer_says_so() {
    let setting = Setting { instances: 6, ..Setting::default() }.with("MAX_IMAGES_PER_HOUR", "2");
    let scene = setting.scene().await;
    let ids: Vec<String> =
        scene.lab.world(|world| world.autoscaling.instances().map(|one| one.id.clone()).collect());
    for id in &ids {
        scene.lab.world(|world| world.fail_instance(id));
        scene.lab.sleep(Duration::from_secs(120)).await;
    }
    let of_day = |world: &mut World| world.ec2.images().len();
    assert_eq!(scene.lab.world(of_day), 2);
    scene.lab.sleep(HOUR).await;
    assert_eq!(scene.completions().len(), 6);
    assert_eq!(scene.failures(), ["image-skipped"; 4]);
    // An hour later there is room again.
    let next = scene.lab.world(|world| world.autoscaling.instances().next().unwrap().id.clone());
    scene.lab.world(|world| world.fail_instance(&next));
    scene.lab.sleep(Duration::from_secs(600)).await;
    assert_eq!(scene.lab.world(of_day), 3);
}

#[tokio::test(start_paused = true)]
async fn a_return_to_the_warm_pool_gets_no_image() {
    for swept in [false, true] {
        let setting = Setting { instances: 2, rules: !swept, ..Setting::default() };
        let scene = setting.swept().with("LIFECYCLE_HOOKS", "dying").scene().await;
        let reuse = InstanceReusePolicy::builder().reuse_on_scale_in(true).build();
        let pool = scene.operator.put_warm_pool().auto_scaling_group_name("web").instance_reuse_policy(reuse);
        pool.send().await.unwrap();
        let set = scene.operator.set_desired_capacity().auto_scaling_group_name("web").desired_capacity(1);
        set.send().await.unwrap();
        scene.lab.sleep(Duration::from_secs(900)).await;
        assert_eq!(scene.completions(), ["CONTINUE"], "swept {swept}: {:#?}", scene.calls());
        assert_eq!(scene.lab.world(|world| world.ec2.images().len()), 0, "swept {swept}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_cannot_read_why_takes_the_image() {
    let scene = Setting { rules: false, ..Setting::default() }.swept().scene().await;
    scene.lab.faults().deny("DescribeScalingActivities");
    scene.fail();
    let waited = scene.released(HOUR).await.unwrap();
    assert!(waited < 900, "{waited}");
    let [image] = &scene.images()[..] else { panic!("{:#?}", scene.calls()) };
    assert_eq!(image.tags["lifecycle/cause"], "unknown");
}

#[tokio::test(start_paused = true)]
async fn an_image_without_tags_is_not_that_of_a_later_wait_of_the_same_instance() {
    let scene = Setting { rules: false, heartbeat: 7_200, ..Setting::default() }.scene().await;
    let mut event = scene.termination().await;
    assert_eq!(scene.invoke(event.clone()).await.unwrap()["outcome"], "image-requested");
    scene.lab.sleep(HOUR).await;
    let [first] = &scene.images()[..] else { panic!("{:#?}", scene.calls()) };
    let ec2 = aws_sdk_ec2::Client::new(&scene.lab.sdk_config("operator"));
    ec2.delete_tags().resources(&first.id).send().await.unwrap();

    // As after a time in the warm pool: the same instance waits again, under another token.
    event["time"] = json!(scene.lab.now());
    event["detail"]["LifecycleActionToken"] = "87654321-4321-4321-4321-210987654321".into();
    let answer = scene.invoke(event).await.unwrap();
    assert_eq!(answer["outcome"], "image-requested", "{answer}");
    let ids: Vec<_> = scene.images().into_iter().map(|image| image.id).collect();
    assert_eq!((ids.len(), answer["image.id"] == json!(first.id)), (2, false), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_second_delivery_after_a_replacement_leaves_the_image_its_time() {
    let scene = Setting { rules: false, ..Setting::default() }.succession().scene().await;
    let event = scene.termination().await;
    assert_eq!(scene.invoke(event.clone()).await.unwrap()["outcome"], "image-requested");
    create_group(&scene.operator, "web-2", 0, 1_800, false).await;
    assert_eq!(scene.invoke(launch_event("web-2")).await.unwrap()["outcome"], "group-stored");
    scene.lab.sleep(Duration::from_secs(60)).await;
    assert_eq!(scene.invoke(event.clone()).await.unwrap()["outcome"], "image-pending");
    scene.lab.sleep(Duration::from_secs(180)).await;
    assert_eq!(scene.invoke(event).await.unwrap()["outcome"], "completed");
}

#[tokio::test(start_paused = true)]
async fn old_images_go_with_their_snapshots_unless_somebody_uses_them() {
    let setting = Setting { instances: 3, ..Setting::default() }.with("IMAGE_RETENTION", "30d");
    let scene = setting.scene().await;
    let lab = &scene.lab;
    let instances: Vec<String> =
        lab.world(|world| world.autoscaling.instances().map(|one| one.id.clone()).collect());
    for instance in &instances {
        lab.world(|world| world.fail_instance(instance));
    }
    lab.sleep(HOUR).await;
    let taken: Vec<Image> = lab.world(|world| world.ec2.images().into_iter().cloned().collect());
    assert_eq!(taken.len(), 3, "{:#?}", scene.calls());

    // Each gets another age, and the instances were launched from the oldest one.
    let aged = |image: &Image, days| Image { created: lab.now() - TimeDelta::days(days), ..image.clone() };
    let (old, young) = (&taken[0].id, &taken[2].id);
    let used = &lab.world(|world| {
        world.add_image(aged(&taken[0], 31));
        world.add_image(aged(&taken[2], 29));
        world.add_image(Image { id: world.ec2.default_image.clone(), ..aged(&taken[1], 400) })
    });
    // Whoever may write tags makes no image the function's: a copy has another name, a retagged one another source, and
    // another function's has another tag.
    let not_own = lab.world(|world| {
        let own = aged(&taken[0], 400);
        let copy = Image { id: String::new(), name: "copy".to_owned(), ..own.clone() };
        let retagged = Image { source_instance: None, name: own.name.clone() + "x", ..copy.clone() };
        let foreign_source = Image { source_instance: None, ..copy.clone() };
        let mut anothers = Image { id: String::new(), ..own.clone() };
        anothers.tags.insert("lifecycle/function".to_owned(), "another".to_owned());
        [copy, retagged, foreign_source, anothers].map(|image| world.add_image(image))
    });

    let answer = scene.invoke(json!({ "action": "reconcile" })).await.unwrap();
    assert_eq!(answer["images_removed"], json!([old]), "{answer}");
    assert_eq!(answer["snapshots_removed"], 0, "its snapshot is that of the copies too: {answer}");
    assert_eq!(answer["images_in_use"], json!([used]), "{answer}");
    assert_eq!(answer["failures"], Value::Null, "{answer}");
    lab.world(|world| {
        assert_eq!(world.ec2.image(old).unwrap().state, ImageState::Deregistered);
        for id in not_own.iter().chain([used, young]) {
            assert_eq!(world.ec2.image(id).unwrap().state, ImageState::Available);
        }
    });

    // Without copies the snapshots go as well.
    lab.world(|world| world.add_image(aged(&taken[2], 31)));
    let answer = scene.invoke(json!({ "action": "reconcile" })).await.unwrap();
    assert_eq!(
        (&answer["images_removed"], &answer["snapshots_removed"]),
        (&json!([young]), &json!(1)),
        "{answer}"
    );
    let snapshot = taken[2].devices[0].snapshot.clone();
    assert!(lab.world(|world| world.ec2.snapshot(&snapshot).is_none()));
}

/// A scene with `count` old images of its instance that the function took.
async fn with_old_images(count: usize) -> Scene {
    let setting = Setting { rules: false, time_limit: MINUTE, ..Setting::default() };
    let scene = setting.with("IMAGE_RETENTION", "30d").scene().await;
    let event = scene.termination().await;
    scene.invoke(event).await.unwrap();
    let own = scene.images()[0].clone();
    let created = scene.lab.now() - TimeDelta::days(90);
    scene.lab.world(|world| {
        for n in 0..count {
            let id = format!("ami-{n:017x}");
            world.add_image(Image { id, created, state: ImageState::Available, ..own.clone() });
        }
    });
    scene
}

#[tokio::test(start_paused = true)]
async fn a_retention_that_fails_for_many_images_is_told_for_a_few() {
    let scene = with_old_images(300).await;
    scene.lab.faults().deny("DeregisterImage");
    let answer = scene.invoke(json!({ "action": "reconcile" })).await.unwrap();
    assert_eq!(answer["failures"], json!({ "retention-failed": 10 }), "{answer}");
    assert!(answer.to_string().len() < 10_000, "{answer}");
    // Each sweep begins with another image.
    scene.lab.sleep(7 * MINUTE).await;
    let again = scene.invoke(json!({ "action": "reconcile" })).await.unwrap();
    assert_ne!(again["retention_failed"], answer["retention_failed"]);
}

#[tokio::test(start_paused = true)]
async fn an_old_image_in_use_is_looked_for_in_many_templates_once_an_hour() {
    for (templates, sweeps) in [(40, 3), (60, 2)] {
        let scene = with_old_images(1).await;
        let data = aws_sdk_ec2::types::RequestLaunchTemplateData::builder();
        let data = data.image_id(format!("ami-{:017x}", 0)).build();
        for n in 0..templates {
            let template = scene.ec2().create_launch_template().launch_template_name(format!("other-{n}"));
            template.launch_template_data(data.clone()).send().await.unwrap();
        }
        for minutes in [0, 50, 20] {
            scene.lab.sleep(minutes * MINUTE).await;
            let answer = scene.invoke(json!({ "action": "reconcile" })).await.unwrap();
            assert_eq!(answer["images_in_use"], json!([format!("ami-{:017x}", 0)]), "{answer}");
        }
        let looks = scene.calls().iter().filter(|call| *call == "DescribeLaunchTemplates: ok").count();
        assert_eq!(looks, sweeps, "{templates} templates");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retention_that_is_refused_is_told_in_every_sweep() {
    for denied in ["DeregisterImage", "DescribeLaunchTemplates", "DescribeImages"] {
        let scene = Setting::default().with("IMAGE_RETENTION", "30d").scene().await;
        scene.fail();
        scene.lab.sleep(HOUR).await;
        let [image] = &scene.images()[..] else { panic!("{:#?}", scene.calls()) };
        let old = Image { created: scene.lab.now() - TimeDelta::days(31), ..image.clone() };
        scene.lab.world(|world| world.add_image(old));
        scene.lab.faults().deny(denied);
        for sweeps in 1..=2 {
            let answer = scene.invoke(json!({ "action": "reconcile" })).await.unwrap();
            assert_eq!(answer["failures"], json!({ "retention-failed": 1 }), "{denied}: {answer}");
            scene.lab.sleep(Duration::from_secs(1)).await;
            assert_eq!(scene.failures(), vec!["retention-failed"; sweeps], "{denied}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_in_passing_costs_time_and_nothing_else() {
    for action in [
        "GetFunctionConfiguration",
        "DescribeScalingActivities",
        "DescribeImages",
        "DescribeAutoScalingInstances",
        "CreateImage",
        "CompleteLifecycleAction",
    ] {
        for fault in [Throttle, ServerError, CutAfter, AccessDenied] {
            if fault == AccessDenied && action == "CreateImage" {
                continue;
            }
            let scene = Setting::default().scene().await;
            scene.lab.faults().script(action, [fault]);
            scene.fail();
            let waited = scene.released(HOUR).await.unwrap();
            assert!(waited < 300, "{action} {fault:?}: {waited}");
            assert_eq!(scene.images().len(), 1, "{action} {fault:?}: {:#?}", scene.calls());
            assert_eq!(scene.completions(), ["CONTINUE"], "{action} {fault:?}: {:#?}", scene.calls());
            let met = |call: &String| call.starts_with(&format!("{action}: ")) && !call.ends_with(": ok");
            assert!(scene.calls().iter().any(met), "{action} {fault:?}: {:#?}", scene.calls());
        }
    }
}
