//! Which groups replace one another, and what a launch stores.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use ami_snapshotter::NAME;
use common::{OTHER_VARIABLE, Scene, Setting, create_group};
use lifecycle_lab::World;
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn launch(group: &str) -> Value {
    json!({
        "version": "0", "id": "1", "detail-type": common::LAUNCH_EVENT, "source": "aws.autoscaling",
        "account": "123456789012", "time": "2026-11-21T08:10:00Z", "region": "us-east-1", "resources": [],
        "detail": {
            "LifecycleActionToken": "87654321-4321-4321-4321-210987654321",
            "AutoScalingGroupName": group, "LifecycleHookName": "born", "EC2InstanceId": "i-0123456789abcdef0",
            "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
            "Origin": "EC2", "Destination": "AutoScalingGroup", "Action": "Launch",
        },
    })
}

/// A second group that serves, a minute younger.
async fn second(scene: &Scene, name: &str) {
    scene.lab.sleep(MINUTE).await;
    create_group(&scene.operator, name, 1, 1_800, false).await;
    let serves = |world: &World| {
        world.autoscaling.instances().any(|one| one.group == name && one.state == "InService")
    };
    assert!(scene.lab.until(HOUR, serves).await);
}

fn stored(scene: &Scene) -> String {
    scene.variable("CURRENT_ASG_NAME").unwrap_or_default()
}

async fn outcome(scene: &Scene, group: &str) -> Value {
    scene.invoke(launch(group)).await.unwrap()["outcome"].clone()
}

#[tokio::test(start_paused = true)]
async fn of_two_groups_that_both_stay_each_death_gets_an_image() {
    // A pair that one prefix names, and two that are named one by one.
    for (other, named) in [("web-2", "web*"), ("api", "web,api")] {
        for swept in [false, true] {
            let setting = Setting { rules: !swept, ..Setting::default() }.swept();
            let scene = setting.with("AUTO_SCALING_GROUPS", named).scene().await;
            second(&scene, other).await;
            assert_eq!(outcome(&scene, other).await, "group-stored");
            assert_eq!(stored(&scene), if named == "web*" { "web-2" } else { "web,api" });
            scene.fail();
            scene.released(HOUR).await.unwrap();
            assert_eq!(scene.images().len(), 1, "{other}, swept {swept}: {:#?}", scene.calls());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn groups_of_one_logical_id_replace_one_another_whatever_their_names() {
    for (logical_id, images) in [("Web", 0), ("Api", 1)] {
        for swept in [false, true] {
            let setting = Setting { rules: !swept, ..Setting::default() }.swept();
            let scene = setting.with("SKIP_CAUSES", "none").scene().await;
            second(&scene, "next").await;
            scene.lab.world(|world| {
                world.tag_as_stack_resource("web", "shop", "Web");
                world.tag_as_stack_resource("next", "shop", logical_id);
            });
            assert_eq!(outcome(&scene, "next").await, "group-stored");
            assert_eq!(stored(&scene), if images == 0 { "next" } else { "web,next" });
            testkit::resize(&scene.operator, "web", 0).await;
            scene.released(HOUR).await.unwrap();
            assert_eq!(scene.images().len(), images, "{logical_id}, swept {swept}: {:#?}", scene.calls());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_group_that_does_not_exist_makes_no_death_planned() {
    for rules in [true, false] {
        let setting = Setting { rules, ..Setting::default() }.swept().succession();
        let scene = setting.with("CURRENT_ASG_NAME", "web-2").with("SKIP_CAUSES", "none").scene().await;
        scene.fail();
        testkit::resize(&scene.operator, "web", 0).await;
        scene.released(HOUR).await.unwrap();
        assert_eq!(scene.images().len(), 1, "{:#?}", scene.calls());
    }
}

#[tokio::test(start_paused = true)]
async fn a_launch_of_a_group_that_does_not_exist_stores_nothing() {
    let scene = Setting { rules: false, ..Setting::default() }.fresh().scene().await;
    let answer = scene.invoke(launch("forged")).await.unwrap();
    assert_eq!((&answer["outcome"], stored(&scene).as_str()), (&json!("group-unchanged"), ""), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn with_named_groups_only_those_and_their_successions_are_stored() {
    let scene = Setting { rules: false, ..Setting::default() }
        .with("AUTO_SCALING_GROUPS", "web,web-b*")
        .scene()
        .await;
    for group in ["web-b1", "web-b2", "foreign", "stacks"] {
        second(&scene, group).await;
    }
    assert_eq!(outcome(&scene, "web-b1").await, "group-stored");
    assert_eq!(outcome(&scene, "web-b2").await, "group-stored");
    assert_eq!(outcome(&scene, "foreign").await, "group-unchanged");
    assert_eq!(stored(&scene), "web,web-b2");
    scene.lab.world(|world| {
        for group in ["web", "stacks"] {
            world.tag_as_stack_resource(group, "shop", "Web");
        }
    });
    assert_eq!(outcome(&scene, "stacks").await, "group-stored");
    assert_eq!(stored(&scene), "web-b2,stacks");
    assert_eq!(scene.variable(OTHER_VARIABLE.0).as_deref(), Some(OTHER_VARIABLE.1));
}

#[tokio::test(start_paused = true)]
async fn names_of_groups_that_exist_no_more_are_dropped_by_the_next_launch() {
    let setting = Setting { rules: false, ..Setting::default() };
    let scene = setting.with("CURRENT_ASG_NAME", "gone,web, gone-too").scene().await;
    second(&scene, "api").await;
    assert_eq!(outcome(&scene, "api").await, "group-stored");
    assert_eq!(stored(&scene), "web,api");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_has_no_room_is_told_and_its_launch_is_completed() {
    let long = "g".repeat(255);
    for (group, more) in [("a,b".to_owned(), 0), (long, 3_850)] {
        let setting = Setting { rules: false, ..Setting::default() }.with("COMPLETE_LAUNCH", "true");
        let scene = setting.scene().await;
        let other = [("TEAM", "t".repeat(more)), ("CURRENT_ASG_NAME", "web".to_owned())];
        let more = [("COMPLETE_LAUNCH", "true".to_owned())];
        scene.lab.world(|world| world.set_variables(NAME, other.into_iter().chain(more)));
        second(&scene, &group).await;
        let answer = scene.invoke(launch(&group)).await.unwrap();
        assert_eq!(
            (&answer["outcome"], &answer["failure"]),
            (&json!("already-finished"), &json!("not-stored")),
            "{answer}"
        );
        assert_eq!(answer["group"], "group-unchanged", "{answer}");
        scene.lab.sleep(MINUTE).await;
        assert_eq!((stored(&scene), scene.failures()), ("web".to_owned(), vec!["not-stored".to_owned()]));
    }
}

#[tokio::test(start_paused = true)]
async fn the_deletion_of_a_group_is_planned() {
    for swept in [false, true] {
        let setting = Setting { rules: !swept, ..Setting::default() }.swept();
        let scene = setting.scene().await;
        let delete = scene.operator.delete_auto_scaling_group().auto_scaling_group_name("web");
        delete.force_delete(true).send().await.unwrap();
        let waited = scene.released(HOUR).await.unwrap();
        assert!(waited < 310, "{waited}");
        assert_eq!(
            (scene.images().len(), scene.completions()),
            (0, vec!["CONTINUE".to_owned()]),
            "swept {swept}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_launch_ends_without_an_image() {
    for swept in [false, true] {
        let setting = Setting { rules: !swept, launching_hook: true, ..Setting::default() }.swept();
        let scene = setting.with("LIFECYCLE_HOOKS", "born,dying").scene().await;
        testkit::resize(&scene.operator, "web", 2).await;
        let waiting = |world: &World| world.autoscaling.instances().any(|one| one.state == "Pending:Wait");
        assert!(scene.lab.until(HOUR, waiting).await);
        let launching = scene.lab.world(|world| {
            world.autoscaling.instances().find(|one| one.state == "Pending:Wait").unwrap().id.clone()
        });
        let abandon = scene.operator.complete_lifecycle_action().auto_scaling_group_name("web");
        let abandon = abandon.lifecycle_hook_name("born").instance_id(&launching);
        abandon.lifecycle_action_result("ABANDON").send().await.unwrap();
        testkit::resize(&scene.operator, "web", 1).await;
        let dies = |world: &World| world.autoscaling.instance(&launching).is_none();
        let began = scene.lab.now();
        assert!(scene.lab.until(HOUR, dies).await);
        assert!((scene.lab.now() - began).num_seconds() < 500, "swept {swept}");
        assert_eq!(
            scene.lab.world(|world| world.ec2.images().len()),
            0,
            "swept {swept}: {:#?}",
            scene.calls()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_root_volume_that_is_replaced_goes_on_without_an_image() {
    for swept in [false, true] {
        let setting = Setting { rules: !swept, ..Setting::default() }.swept();
        let scene = setting.scene().await;
        scene.lab.world(|world| world.replace_root_volume(&scene.instance));
        let waited = scene.released(HOUR).await.unwrap();
        assert!(waited < 310, "swept {swept}: {waited}");
        assert_eq!(
            (scene.images().len(), scene.completions()),
            (0, vec!["CONTINUE".to_owned()]),
            "swept {swept}"
        );
        assert_eq!(scene.failures(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_was_retained_before_is_let_go() {
    use aws_sdk_autoscaling::types::{InstanceLifecyclePolicy, RetentionAction, RetentionTriggers};
    for swept in [false, true] {
        let setting = Setting { rules: !swept, ..Setting::default() }.swept();
        let scene = setting.with("ON_FAILURE", "ABANDON").with("SKIP_CAUSES", "none").scene().await;
        let triggers = RetentionTriggers::builder().terminate_hook_abandon(RetentionAction::Retain).build();
        let policy = InstanceLifecyclePolicy::builder().retention_triggers(triggers).build();
        let update = scene.operator.update_auto_scaling_group().auto_scaling_group_name("web");
        update.instance_lifecycle_policy(policy).send().await.unwrap();
        scene.lab.faults().always("CreateImage", Some(lifecycle_lab::faults::CallFault::AccessDenied));
        scene.fail();
        scene.released(HOUR).await.unwrap();
        assert_eq!(
            (scene.completions(), scene.state()),
            (vec!["ABANDON".to_owned()], "Terminating:Retained")
        );
        scene.lab.faults().always("CreateImage", None);
        let release = scene.operator.terminate_instance_in_auto_scaling_group().instance_id(&scene.instance);
        release.should_decrement_desired_capacity(false).send().await.unwrap();
        scene.released(HOUR).await.unwrap();
        assert_eq!(scene.completions(), ["ABANDON", "CONTINUE"], "swept {swept}: {:#?}", scene.calls());
        assert_eq!(scene.images().len(), 0, "swept {swept}");
    }
}
