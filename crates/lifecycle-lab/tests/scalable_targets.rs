//! The rules of Application Auto Scaling's scalable targets, one test for each, through real SDK clients:
//! registration and its clamp, tags, pages, throttles and faults.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use aws_sdk_applicationautoscaling::Client;
use aws_sdk_applicationautoscaling::config::retry::RetryConfig;
use aws_sdk_applicationautoscaling::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_applicationautoscaling::operation::deregister_scalable_target::{
    DeregisterScalableTargetError, DeregisterScalableTargetOutput,
};
use aws_sdk_applicationautoscaling::operation::register_scalable_target::builders::RegisterScalableTargetFluentBuilder;
use aws_sdk_applicationautoscaling::types::{
    ScalableDimension, ScalableTarget, ScalingActivity, ServiceNamespace, SuspendedState,
};
use lifecycle_lab::ecs::Scheduling;
use lifecycle_lab::faults::CallFault;
use lifecycle_lab::{Bucket, Lab, Sight, What};

const RESOURCE: &str = "service/demo/web";

/// A cluster `demo` with the services `web`, `api` and, a daemon, `logs`.
struct Scene {
    lab: Lab,
    client: Client,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new("2026-03-02T18:00:00Z".parse().unwrap(), 7);
        lab.world(|world| {
            world.add_service("demo", "web", Scheduling::Replica, 2).unwrap();
            world.add_service("demo", "api", Scheduling::Replica, 2).unwrap();
            world.add_service("demo", "logs", Scheduling::Daemon, 0).unwrap();
        });
        let config = aws_sdk_applicationautoscaling::config::Builder::from(&lab.sdk_config("operator"));
        // A refusal is a test's subject here, never something to try again.
        let client = Client::from_conf(config.retry_config(RetryConfig::disabled()).build());
        Self { lab, client }
    }

    /// A registration of `web` without bounds.
    fn register(&self) -> RegisterScalableTargetFluentBuilder {
        self.register_of(RESOURCE)
    }

    fn register_of(&self, resource: &str) -> RegisterScalableTargetFluentBuilder {
        let register = self.client.register_scalable_target().service_namespace(ServiceNamespace::Ecs);
        register.scalable_dimension(ScalableDimension::EcsServiceDesiredCount).resource_id(resource)
    }

    /// Registers `web` with these bounds. Returns the target's ARN.
    async fn registered(&self, min: i32, max: i32) -> String {
        let registered = self.register().min_capacity(min).max_capacity(max).send().await.unwrap();
        registered.scalable_target_arn.unwrap()
    }

    async fn target(&self) -> ScalableTarget {
        let describe = self.client.describe_scalable_targets().service_namespace(ServiceNamespace::Ecs);
        let targets = describe.resource_ids(RESOURCE).send().await.unwrap().scalable_targets.unwrap();
        let [target]: [ScalableTarget; 1] = targets.try_into().unwrap();
        target
    }

    async fn tags(&self, arn: &str) -> HashMap<String, String> {
        self.client.list_tags_for_resource().resource_arn(arn).send().await.unwrap().tags.unwrap()
    }

    fn resize(&self, desired: u32) {
        self.lab.world(|world| world.set_desired_count("demo", "web", desired)).unwrap();
    }

    /// The desired count of `web`.
    fn desired(&self) -> u32 {
        self.lab.world(|world| world.ecs.service("demo", "web").unwrap().desired)
    }

    /// The desired count of `web` a second later, when the bounds of a registration are in effect.
    async fn soon(&self) -> u32 {
        self.lab.sleep(Duration::from_secs(1)).await;
        self.desired()
    }

    async fn deregister(
        &self,
    ) -> Result<DeregisterScalableTargetOutput, SdkError<DeregisterScalableTargetError>> {
        let deregister = self.client.deregister_scalable_target().service_namespace(ServiceNamespace::Ecs);
        let deregister = deregister.scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
        deregister.resource_id(RESOURCE).send().await
    }

    /// The activities, the newest first: `Setting desired count to 0.`, its cause, its state and its message.
    async fn activities(&self) -> Vec<String> {
        let describe = self.client.describe_scaling_activities().service_namespace(ServiceNamespace::Ecs);
        let found = describe.resource_id(RESOURCE).send().await.unwrap().scaling_activities.unwrap();
        let line = |one: &ScalingActivity| {
            let message = one.status_message().unwrap_or("-");
            format!("{} {}: {} {message}", one.description, one.cause, one.status_code)
        };
        found.iter().map(line).collect()
    }
}

/// The code and the text of a refusal.
fn refusal<T: Debug, E: ProvideErrorMetadata + Debug>(result: Result<T, SdkError<E>>) -> String {
    let error = result.unwrap_err();
    format!("{}: {}", error.code().unwrap_or_default(), error.message().unwrap_or_default())
}

fn code<T: Debug, E: ProvideErrorMetadata + Debug>(result: Result<T, SdkError<E>>) -> String {
    result.unwrap_err().code().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_target_is_described_as_it_was_registered() {
    let scene = Scene::new();

    let arn = scene.registered(1, 3).await;

    let (region_and_account, id) = arn.split_once(":scalable-target/").unwrap();
    assert_eq!(region_and_account, "arn:aws:application-autoscaling:us-east-1:123456789012");
    assert!(id.len() == 36 && id.chars().all(|letter| letter.is_ascii_alphanumeric()), "{id}");
    let target = scene.target().await;
    assert_eq!(target.scalable_target_arn(), Some(arn.as_str()));
    assert_eq!(target.service_namespace, ServiceNamespace::Ecs);
    assert_eq!(target.scalable_dimension, ScalableDimension::EcsServiceDesiredCount);
    assert_eq!((target.min_capacity, target.max_capacity), (1, 3));
    assert_eq!(target.resource_id, RESOURCE);
    let suspended = target.suspended_state.unwrap();
    assert_eq!(suspended.dynamic_scaling_in_suspended, Some(false));
    assert!((0..60).contains(&(scene.lab.now().timestamp() - target.creation_time.secs())));
}

#[tokio::test(start_paused = true)]
async fn a_first_registration_needs_both_bounds_and_an_update_none() {
    let scene = Scene::new();

    let refused = refusal(scene.register().max_capacity(3).send().await);
    assert_eq!(refused, "ValidationException: Minimum capacity must be specified");
    let refused = refusal(scene.register().min_capacity(1).send().await);
    assert_eq!(refused, "ValidationException: Maximum capacity must be specified");
    let arn = scene.registered(1, 3).await;

    for (min, max, then) in [(None, Some(6), (1, 6)), (Some(0), None, (0, 6)), (None, None, (0, 6))] {
        let update = scene.register().set_min_capacity(min).set_max_capacity(max).send().await.unwrap();
        assert_eq!(update.scalable_target_arn, Some(arn.clone()), "updated in place");
        let target = scene.target().await;
        assert_eq!((target.min_capacity, target.max_capacity), then, "{min:?} {max:?}");
    }
    // What stays counts too.
    let refused = refusal(scene.register().min_capacity(7).send().await);
    assert_eq!(refused, "ValidationException: Maximum capacity cannot be less than minimum capacity");
}

#[tokio::test(start_paused = true)]
async fn every_registration_pulls_the_desired_count_into_the_bounds() {
    // The count before, the bounds that are passed, the count after.
    let cases = [
        (2, (Some(0), Some(0)), 0),
        (0, (Some(1), Some(3)), 1),
        (2, (Some(1), Some(3)), 2),
        (9, (Some(1), Some(3)), 3),
        (9, (None, None), 3),
        (0, (None, None), 1),
        (9, (None, Some(5)), 5),
        (0, (Some(2), None), 2),
    ];
    for (before, (min, max), after) in cases {
        let scene = Scene::new();
        scene.registered(1, 3).await;
        scene.resize(before);

        scene.register().set_min_capacity(min).set_max_capacity(max).send().await.unwrap();

        assert_eq!(scene.soon().await, after, "{before} {min:?} {max:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bounds_are_in_effect_half_a_second_after_the_answer() {
    let scene = Scene::new();
    scene.registered(0, 0).await;
    assert_eq!(scene.desired(), 2);

    scene.lab.sleep(Duration::from_millis(490)).await;
    assert_eq!(scene.desired(), 2);
    scene.lab.sleep(Duration::from_millis(10)).await;

    assert_eq!(scene.desired(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deregistration_stops_a_clamp_that_has_not_begun_and_no_other() {
    for (behind, desired) in [(100, 2), (200, 0)] {
        let scene = Scene::new();
        scene.registered(0, 0).await;
        scene.lab.sleep(Duration::from_millis(behind)).await;

        scene.deregister().await.unwrap();

        assert_eq!(scene.soon().await, desired, "{behind} ms after the registration");
    }
}

#[tokio::test(start_paused = true)]
async fn the_bounds_of_the_last_of_several_registrations_count() {
    for ((min, max), desired) in [((5, 6), 3), ((0, 1), 1), ((0, 3), 2)] {
        let scene = Scene::new();
        scene.registered(min, max).await;
        scene.lab.sleep(Duration::from_millis(200)).await;

        scene.registered(0, 3).await;

        assert_eq!(scene.soon().await, desired, "{min}/{max}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_deployment_holds_no_bounds_back() {
    let scene = Scene::new();
    scene.lab.world(|world| {
        world.delays.task_start = Duration::MAX;
        world.scalable_targets.deployments_hold_scale_in = true;
    });
    scene.lab.sleep(Duration::from_secs(60)).await;

    scene.registered(0, 0).await;

    assert_eq!(scene.soon().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_replaces_another_holds_scale_in_back_where_the_scene_says_so() {
    for (hold, asleep) in [(false, 0), (true, 2)] {
        let scene = Scene::new();
        scene.lab.world(|world| world.scalable_targets.deployments_hold_scale_in = hold);
        scene.lab.sleep(Duration::from_secs(60)).await;
        scene.lab.world(|world| world.begin_deployment("demo", "web")).unwrap();

        scene.registered(0, 0).await;
        assert_eq!(scene.soon().await, asleep);
        scene.registered(5, 6).await;
        assert_eq!(scene.soon().await, 5, "scale-out goes through");

        // What was held back does not come by itself when the deployment is over.
        scene.registered(0, 1).await;
        scene.lab.sleep(Duration::from_secs(600)).await;
        assert_eq!(scene.desired(), if hold { 5 } else { 1 });
        scene.registered(0, 1).await;
        assert_eq!(scene.soon().await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_registration_needs_none_of_the_callers_permissions_for_ecs() {
    let scene = Scene::new();
    for action in ["DescribeServices", "UpdateService"] {
        scene.lab.faults().deny(action);
    }

    scene.registered(0, 0).await;

    assert_eq!(scene.soon().await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_activity_tells_what_bounds_did_and_who_undid_it() {
    let scene = Scene::new();
    scene.lab.sleep(Duration::from_secs(60)).await;
    scene.registered(1, 3).await;
    assert_eq!(scene.soon().await, 2);
    assert!(scene.activities().await.is_empty(), "nothing had to change");

    scene.registered(0, 0).await;
    scene.lab.sleep(Duration::from_millis(200)).await;
    let stop = "Setting desired count to 0. maximum capacity was set to 0:";
    assert_eq!(scene.activities().await, [format!("{stop} Pending -")]);
    scene.lab.sleep(Duration::from_secs(2)).await;
    let set = "Successfully set desired count to 0. Waiting for change to be fulfilled by ecs.";
    assert_eq!(scene.activities().await, [format!("{stop} InProgress {set}")]);
    scene.lab.sleep(Duration::from_secs(60)).await;
    let done = "Successfully set desired count to 0. Change successfully fulfilled by ecs.";
    assert_eq!(scene.activities().await, [format!("{stop} Successful {done}")]);

    scene.registered(1, 3).await;
    scene.lab.sleep(Duration::from_secs(2)).await;
    scene.resize(2);
    scene.lab.sleep(Duration::from_secs(20)).await;
    scene.deregister().await.unwrap();
    let start = "Setting desired count to 1. minimum capacity was set to 1: Overridden Successfully set desired count \
                 to 1. Found it was later changed to 2.";
    let told = [start.to_owned(), format!("{stop} Successful {done}")];
    assert_eq!(scene.activities().await, told, "activities outlive their target");

    // One activity undoes another.
    scene.registered(3, 3).await;
    scene.lab.sleep(Duration::from_secs(2)).await;
    scene.registered(0, 0).await;
    scene.lab.sleep(Duration::from_secs(60)).await;
    let undone = "Setting desired count to 3. minimum capacity was set to 3: Overridden Successfully set desired count \
                  to 3. Found it was later changed to 0.";
    assert_eq!(scene.activities().await[..2], [format!("{stop} Successful {done}"), undone.to_owned()]);
}

#[tokio::test(start_paused = true)]
async fn a_first_registration_pulls_too() {
    let scene = Scene::new();
    scene.resize(9);

    scene.registered(0, 0).await;

    assert_eq!(scene.soon().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_leaves_the_bounds_and_stays_outside_until_the_next_registration() {
    let scene = Scene::new();
    scene.registered(0, 0).await;
    scene.soon().await;

    scene.resize(4);
    scene.lab.sleep(Duration::from_secs(3_600)).await;
    assert_eq!(scene.desired(), 4);
    let suspended = SuspendedState::builder().scheduled_scaling_suspended(true).build();
    scene.register().suspended_state(suspended).send().await.unwrap();

    assert_eq!(scene.soon().await, 0, "a suspension does not stop the clamp");
}

#[tokio::test(start_paused = true)]
async fn a_suspension_stays_until_it_is_lifted() {
    let scene = Scene::new();
    scene.registered(1, 3).await;
    let suspended = |state: SuspendedState| {
        let one = |suspended: Option<bool>| suspended.unwrap();
        (
            one(state.dynamic_scaling_in_suspended),
            one(state.dynamic_scaling_out_suspended),
            one(state.scheduled_scaling_suspended),
        )
    };

    let both = SuspendedState::builder().dynamic_scaling_in_suspended(true).scheduled_scaling_suspended(true);
    scene.register().suspended_state(both.build()).send().await.unwrap();
    scene.registered(1, 4).await;
    assert_eq!(suspended(scene.target().await.suspended_state.unwrap()), (true, false, true));
    let lifted = SuspendedState::builder().scheduled_scaling_suspended(false).build();
    scene.register().suspended_state(lifted).send().await.unwrap();

    assert_eq!(suspended(scene.target().await.suspended_state.unwrap()), (true, false, false));
}

#[tokio::test(start_paused = true)]
async fn a_role_is_taken_and_the_service_linked_role_is_used() {
    let scene = Scene::new();
    let with = |role: &str| scene.register().min_capacity(1).max_capacity(3).role_arn(role).send();

    with("arn:aws:iam::123456789012:role/scaling").await.unwrap();

    assert_eq!(
        scene.target().await.role_arn,
        "arn:aws:iam::123456789012:role/aws-service-role/ecs.application-autoscaling.amazonaws.com/\
         AWSServiceRoleForApplicationAutoScaling_ECSService"
    );
    assert_eq!(refusal(with("scaling").await), "ValidationException: 'scaling' is not a valid ARN");
    let empty = refusal(with("").await);
    assert!(
        empty.starts_with("ValidationException: 1 validation error detected: Value '' at 'roleARN'"),
        "{empty}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_a_target_is_refused_in_aws_words() {
    let scene = Scene::new();
    scene.lab.world(|world| world.add_cluster("empty"));
    let unsupported = "Unsupported service namespace, resource type or scalable dimension";
    let cases = [
        ("service/demo/nobody", "ECS service doesn't exist: service/demo/nobody"),
        ("service/empty/web", "ECS service doesn't exist: service/empty/web"),
        ("service/nowhere/web", "ECS service doesn't exist: service/nowhere/web"),
        ("service/web", unsupported),
        ("service/demo/web/1", unsupported),
        ("service//web", unsupported),
        ("service/demo/", unsupported),
        ("service/demo/we b", unsupported),
        ("table/demo", unsupported),
        ("web", unsupported),
    ];
    for (resource, text) in cases {
        let refused = refusal(scene.register_of(resource).min_capacity(0).max_capacity(0).send().await);
        assert_eq!(refused, format!("ValidationException: {text}"), "{resource}");
    }
    let daemon = scene.register_of("service/demo/logs").min_capacity(0).max_capacity(0);
    let refused = refusal(daemon.send().await);
    assert!(refused.starts_with("ValidationException: ") && refused.contains("DAEMON"), "{refused}");
    let other = ScalableDimension::DynamoDbTableReadCapacityUnits;
    let refused = refusal(scene.register().scalable_dimension(other).send().await);
    assert_eq!(refused, format!("ValidationException: {unsupported}"));
    let other = ServiceNamespace::from("ECS");
    let refused = refusal(scene.register().service_namespace(other).send().await);
    assert!(refused.contains("Value 'ECS' at 'serviceNamespace' failed to satisfy constraint"), "{refused}");
    let bounds = scene.register().min_capacity(-1).max_capacity(3);
    assert_eq!(refusal(bounds.send().await), "ValidationException: Minimum capacity cannot be less than 0");
    assert_eq!(scene.lab.world(|world| world.scalable_targets.history().len()), 0);
}

#[tokio::test(start_paused = true)]
async fn updates_within_the_window_of_another_are_refused() {
    let scene = Scene::new();
    scene.lab.world(|world| world.delays.target_update = Duration::from_secs(5));

    scene.registered(1, 3).await;
    assert_eq!(
        refusal(scene.register().min_capacity(0).send().await),
        "ConcurrentUpdateException: You already have a pending update to an Auto Scaling resource."
    );
    assert_eq!(code(scene.deregister().await), "ConcurrentUpdateException");
    scene.register_of("service/demo/api").min_capacity(1).max_capacity(3).send().await.unwrap();
    assert_eq!(scene.target().await.min_capacity, 1, "it can be described meanwhile");

    scene.lab.sleep(Duration::from_secs(5)).await;
    scene.registered(0, 3).await;
    scene.lab.sleep(Duration::from_secs(5)).await;
    scene.deregister().await.unwrap();
    assert_eq!(
        refusal(scene.deregister().await),
        "ObjectNotFoundException: No scalable target found for service namespace: ecs, resource ID: \
         service/demo/web, scalable dimension: ecs:service:DesiredCount"
    );
    assert_eq!(scene.desired(), 2, "the service stays as it is");
}

#[tokio::test(start_paused = true)]
async fn targets_come_in_pages() {
    let scene = Scene::new();
    let describe = || scene.client.describe_scalable_targets().service_namespace(ServiceNamespace::Ecs);
    for n in 0..53 {
        let name = format!("s{n:02}");
        scene.lab.world(|world| world.add_service("demo", &name, Scheduling::Replica, 1)).unwrap();
        let register = scene.register_of(&format!("service/demo/{name}"));
        register.min_capacity(1).max_capacity(3).send().await.unwrap();
    }

    let first = describe().send().await.unwrap();
    assert_eq!(first.scalable_targets().len(), 50);
    let second = describe().set_next_token(first.next_token).send().await.unwrap();
    assert_eq!((second.scalable_targets().len(), second.next_token()), (3, None));
    let mut pages = describe().max_results(20).into_paginator().send();
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await {
        sizes.push(page.unwrap().scalable_targets().len());
    }
    assert_eq!(sizes, [20, 20, 13]);

    let some = describe().resource_ids("service/demo/s07").resource_ids("service/demo/nobody").send().await;
    let some = some.unwrap().scalable_targets.unwrap();
    let ids: Vec<_> = some.iter().map(|target| target.resource_id.as_str()).collect();
    assert_eq!(ids, ["service/demo/s07"], "what is not registered is no error");
    assert_eq!(code(describe().next_token("beyond").send().await), "InvalidNextTokenException");
    assert_eq!(code(describe().max_results(51).send().await), "ValidationException");
    let too_many = (0..51).map(|n| format!("service/demo/s{n}")).collect();
    assert_eq!(code(describe().set_resource_ids(Some(too_many)).send().await), "ValidationException");
    let dimension = describe().scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
    assert_eq!(code(dimension.clone().send().await), "ValidationException", "it needs a resource id");
    dimension.resource_ids("service/demo/s07").send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn tags_are_added_replaced_and_removed() {
    let scene = Scene::new();
    let register = scene.register().min_capacity(1).max_capacity(3).tags("team", "blue");
    let arn = register.send().await.unwrap().scalable_target_arn.unwrap();

    let tag = scene.client.tag_resource().resource_arn(&arn);
    tag.tags("lifecycle/remembered", "min=1:max=3").tags("team", "green").send().await.unwrap();
    assert_eq!(
        scene.tags(&arn).await,
        HashMap::from([
            ("lifecycle/remembered".to_owned(), "min=1:max=3".to_owned()),
            ("team".to_owned(), "green".to_owned()),
        ])
    );
    let untag = scene.client.untag_resource().resource_arn(&arn);
    untag.tag_keys("lifecycle/remembered").tag_keys("never-there").send().await.unwrap();
    assert_eq!(scene.tags(&arn).await, HashMap::from([("team".to_owned(), "green".to_owned())]));

    assert_eq!(
        refusal(scene.register().tags("team", "red").send().await),
        "ValidationException: The scalable target that you tried to tag already exists. To update tags on an \
         existing scalable target, use the TagResource API."
    );
    scene.registered(0, 0).await;
    assert_eq!(scene.tags(&arn).await.len(), 1, "a registration leaves tags alone");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_registered_again_is_another_one_without_tags() {
    let scene = Scene::new();
    let first = scene.registered(1, 3).await;
    scene.client.tag_resource().resource_arn(&first).tags("team", "blue").send().await.unwrap();
    scene.deregister().await.unwrap();

    let second = scene.registered(1, 3).await;

    assert_ne!(first, second);
    assert!(scene.tags(&second).await.is_empty());
    let list = scene.client.list_tags_for_resource().resource_arn(&first).send().await;
    assert_eq!(refusal(list), "ResourceNotFoundException: Scalable Target not found");
}

#[tokio::test(start_paused = true)]
async fn a_target_from_before_arns_can_carry_no_tags_until_it_is_registered_anew() {
    let scene = Scene::new();
    scene.registered(2, 6).await;
    scene.lab.world(|world| world.scalable_targets.forget_arn(RESOURCE));
    assert_eq!(scene.target().await.scalable_target_arn, None);

    let updated = scene.register().min_capacity(1).send().await.unwrap();
    assert_eq!(updated.scalable_target_arn, None);
    assert_eq!(scene.target().await.scalable_target_arn, None);
    let tags = scene.client.list_tags_for_resource().resource_arn("").send().await;
    assert_eq!(code(tags), "ValidationException");

    scene.deregister().await.unwrap();
    let arn = scene.registered(2, 6).await;
    scene.client.tag_resource().resource_arn(&arn).tags("team", "blue").send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_to_tag_with_nothing_is_refused() {
    let scene = Scene::new();
    let arn = scene.registered(1, 3).await;

    let tag = scene.client.tag_resource().resource_arn(&arn).set_tags(Some(HashMap::new()));
    assert_eq!(refusal(tag.send().await), "ValidationException: Tags cannot be empty");
    let untag = scene.client.untag_resource().resource_arn(&arn).set_tag_keys(Some(Vec::new()));
    assert_eq!(refusal(untag.send().await), "ValidationException: TagKeys cannot be null or empty");
}

#[tokio::test(start_paused = true)]
async fn tags_that_break_a_rule_are_refused() {
    let scene = Scene::new();
    let arn = scene.registered(1, 3).await;
    let tag = |key: &str, value: &str| scene.client.tag_resource().resource_arn(&arn).tags(key, value).send();
    let (key, value) = ("k".repeat(128), "ä".repeat(256));
    tag(&key, &value).await.unwrap();
    let cases = [
        ("".to_owned(), "x".to_owned(), "Tag keys must have from 1 to 128 characters"),
        (format!("{key}k"), "x".to_owned(), "Tag keys must have from 1 to 128 characters"),
        ("k".to_owned(), format!("{value}ä"), "Tag values cannot have more than 256 characters"),
        ("k".to_owned(), " ".to_owned(), "Tag values cannot be empty or blank"),
        ("aws:k".to_owned(), "x".to_owned(), "Caller is an end user and not allowed to mutate system tags"),
        ("AWS:k".to_owned(), "x".to_owned(), "Caller is an end user and not allowed to mutate system tags"),
    ];
    for (key, value, text) in cases {
        assert_eq!(refusal(tag(&key, &value).await), format!("ValidationException: {text}"));
    }
    let system = scene.client.untag_resource().resource_arn(&arn).tag_keys("aws:k");
    assert_eq!(code(system.send().await), "ValidationException");

    for n in 1..50 {
        tag(&format!("k{n}"), "x").await.unwrap();
    }
    assert_eq!(
        refusal(tag("k50", "x").await),
        "TooManyTagsException: A scalable target cannot have more than 50 tags"
    );
    tag("k1", "a new value is no new tag").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn tags_hold_only_what_every_service_takes_unless_the_scene_says_otherwise() {
    let scene = Scene::new();
    let arn = scene.registered(1, 3).await;
    let tag = |value: &str| scene.client.tag_resource().resource_arn(&arn).tags("k", value).send();

    tag("min=1 max:3_äé.+-@/9").await.unwrap();

    for value in ["a,b", "a;b", "{}", "a\tb"] {
        assert_eq!(code(tag(value).await), "ValidationException", "{value:?}");
    }
    scene.lab.world(|world| world.scalable_targets.strict_tags = false);
    tag("a,b").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn arns_of_nothing_are_refused() {
    let scene = Scene::new();
    let unknown = "arn:aws:application-autoscaling:us-east-1:123456789012:scalable-target/0ec5";
    let list = |arn: &str| scene.client.list_tags_for_resource().resource_arn(arn).send();

    assert_eq!(refusal(list(unknown).await), "ResourceNotFoundException: Scalable Target not found");
    let tag = scene.client.tag_resource().resource_arn(unknown).tags("k", "x");
    assert_eq!(code(tag.send().await), "ResourceNotFoundException");
    let untag = scene.client.untag_resource().resource_arn(unknown).tag_keys("k");
    assert_eq!(code(untag.send().await), "ResourceNotFoundException");
    assert_eq!(
        code(list("arn:aws:ecs:us-east-1:123456789012:service/demo/web").await),
        "ValidationException"
    );
    assert_eq!(code(list(RESOURCE).await), "ValidationException");
}

#[tokio::test(start_paused = true)]
async fn all_actions_share_one_bucket() {
    let scene = Scene::new();
    scene.lab.world(|world| world.scalable_targets.bucket = Some(Bucket::new(2.0, 0.1)));

    let arn = scene.registered(1, 3).await;
    scene.tags(&arn).await;
    assert_eq!(refusal(scene.register().send().await), "ThrottlingException: Rate exceeded");
    let list = scene.client.list_tags_for_resource().resource_arn(&arn).send();
    assert_eq!(code(list.await), "ThrottlingException");
    scene.lab.sleep(Duration::from_secs(10)).await;
    scene.registered(1, 3).await;

    let bucket = scene.lab.world(|world| world.scalable_targets.bucket.clone().unwrap());
    assert_eq!((bucket.served, bucket.refused), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn faults_have_this_services_codes() {
    let scene = Scene::new();
    let arn = scene.registered(1, 3).await;
    let cases = [
        (CallFault::Throttle, "ThrottlingException", 400),
        (CallFault::ServerError, "InternalServiceException", 500),
        (CallFault::AccessDenied, "AccessDeniedException", 400),
        (CallFault::Contention, "ConcurrentUpdateException", 400),
    ];
    for (fault, expected, status) in cases {
        scene.lab.faults().script("RegisterScalableTarget", [fault]);
        let error = scene.register().min_capacity(0).max_capacity(0).send().await.unwrap_err();
        assert_eq!(error.raw_response().unwrap().status().as_u16(), status, "{fault:?}");
        assert_eq!(error.code(), Some(expected), "{fault:?}");
        assert_eq!(scene.soon().await, 2, "{fault:?}");
    }
    scene.lab.faults().script("ListTagsForResource", [CallFault::Contention]);
    scene.tags(&arn).await;
    scene.lab.faults().script("RegisterScalableTarget", [CallFault::CutAfter]);
    scene.register().min_capacity(0).max_capacity(0).send().await.unwrap_err();
    assert_eq!(scene.soon().await, 0, "the answer was lost, the registration was not");
}

#[tokio::test(start_paused = true)]
async fn registrations_are_seen_and_kept() {
    let scene = Scene::new();
    let mut moments = scene.lab.observe();

    scene.registered(1, 3).await;
    scene.lab.sleep(Duration::from_secs(3_600)).await;
    scene.registered(0, 0).await;

    let mut seen = Vec::new();
    while let Ok(moment) = moments.try_recv() {
        if let What::Seen(Sight::Target { resource, min, max }) = moment.what {
            seen.push((moment.at, resource, min, max));
        }
    }
    let kept = scene.lab.world(|world| world.scalable_targets.history().to_vec());
    let kept: Vec<_> = kept.into_iter().map(|one| (one.at, one.resource, one.min, one.max)).collect();
    assert_eq!(kept, seen);
    let bounds: Vec<_> = kept.iter().map(|(_, resource, min, max)| (resource.as_str(), *min, *max)).collect();
    assert_eq!(bounds, [(RESOURCE, 1, 3), (RESOURCE, 0, 0)]);
    assert_eq!((kept[1].0 - kept[0].0).num_minutes(), 60);
}

#[tokio::test(start_paused = true)]
async fn what_the_lab_does_not_play_it_refuses_by_name() {
    let scene = Scene::new();

    let policies = scene.client.describe_scaling_policies().service_namespace(ServiceNamespace::Ecs);
    assert_eq!(
        refusal(policies.send().await),
        "LabNotModelled: lifecycle-lab does not model application-autoscaling:DescribeScalingPolicies"
    );
    let tables = scene.client.describe_scalable_targets().service_namespace(ServiceNamespace::Dynamodb);
    assert_eq!(
        refusal(tables.send().await),
        "LabNotModelled: lifecycle-lab does not model the service namespace dynamodb"
    );
}
