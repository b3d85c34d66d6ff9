//! What the answers about groups, their tags and their activities have in them.

use aws_sdk_autoscaling::types::{Filter, Tag};
use lifecycle_lab::World;

use crate::scene::*;

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).propagate_at_launch(true).build()
}

#[tokio::test(start_paused = true)]
async fn a_group_has_every_field_that_aws_answers() {
    let scene = Scene::empty();
    let create = scene.create([]).desired_capacity(1).health_check_type("ELB").health_check_grace_period(90);
    create.tags(tag("team", "blue")).send().await.unwrap();
    scene.any_in("InService").await;

    let describe = scene.aws.describe_auto_scaling_groups().set_auto_scaling_group_names(Some(Vec::new()));
    let groups = describe.send().await.unwrap();
    let [group] = groups.auto_scaling_groups() else { panic!("an empty list means all: {groups:?}") };
    let transcript = scene.lab.transcript("operator");
    assert!(transcript.contains("AutoScalingGroupNames=\n"), "the SDK sends the empty list: {transcript}");
    let triggers = group.instance_lifecycle_policy().unwrap().retention_triggers().unwrap();
    assert_eq!(triggers.terminate_hook_abandon().unwrap().as_str(), "terminate");
    assert_eq!(group.availability_zone_ids(), ["use1-az6"]);
    assert_eq!(group.termination_policies(), ["Default"]);
    assert!(group.service_linked_role_arn().unwrap().ends_with("/AWSServiceRoleForAutoScaling"));
    let strategy = group.availability_zone_distribution().unwrap().capacity_distribution_strategy().unwrap();
    assert_eq!(strategy.as_str(), "balanced-best-effort");
    let reservation = group.capacity_reservation_specification().unwrap();
    assert_eq!(reservation.capacity_reservation_preference().unwrap().as_str(), "default");
    assert_eq!((group.health_check_type(), group.health_check_grace_period()), (Some("ELB"), Some(90)));
    assert_eq!(group.warm_pool_size(), None, "only with a pool");
    let lists = [
        group.load_balancer_names.as_ref().map(Vec::len),
        group.target_group_arns.as_ref().map(Vec::len),
        group.traffic_sources.as_ref().map(Vec::len),
        group.enabled_metrics.as_ref().map(Vec::len),
        group.suspended_processes.as_ref().map(Vec::len),
    ];
    assert_eq!(lists, [Some(0); 5], "empty lists are there");
    let instance = &group.instances()[0];
    assert_eq!(instance.availability_zone_id(), Some("use1-az6"));
    assert!(instance.instance_type().is_some());
    let tags = group.tags();
    assert_eq!((tags[0].key(), tags[0].value()), (Some("team"), Some("blue")));
    assert_eq!((tags[0].resource_id(), tags[0].resource_type()), (Some("web"), Some("auto-scaling-group")));
}

#[tokio::test(start_paused = true)]
async fn tags_of_a_group_are_set_and_removed_and_instances_get_them() {
    let scene = Scene::empty();
    scene.create([]).tags(tag("team", "blue")).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("InService").await;
    let of_instance = |world: &mut World| world.ec2.instance(&id).unwrap().tags.clone();
    let tags = scene.lab.world(of_instance);
    assert_eq!(tags["team"], "blue");
    assert_eq!(tags["aws:autoscaling:groupName"], "web");

    let of_group = Tag::builder().resource_id("web").resource_type("auto-scaling-group").key("team");
    let create = scene.aws.create_or_update_tags().tags(of_group.clone().value("red").build());
    create.send().await.unwrap();
    let shown = async || {
        let groups = scene.aws.describe_auto_scaling_groups().send().await.unwrap();
        groups.auto_scaling_groups()[0]
            .tags()
            .iter()
            .map(|tag| tag.value().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(shown().await, ["red"]);
    scene.aws.delete_tags().tags(of_group.build()).send().await.unwrap();
    assert_eq!(shown().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn nobody_but_aws_sets_tags_that_begin_with_aws() {
    let scene = Scene::empty();
    let refused = refusal(scene.create([]).tags(tag("aws:cloudformation:stack-id", "mine")).send().await);
    assert_eq!(refused.0, "ValidationError");

    scene.create([]).send().await.unwrap();
    scene.lab.world(|world| world.tag_as_stack_resource(GROUP, "shop", "Fleet"));
    let groups = scene.aws.describe_auto_scaling_groups().send().await.unwrap();
    let tags = groups.auto_scaling_groups()[0].tags();
    let keys: Vec<_> = tags.iter().filter_map(|tag| tag.key()).collect();
    let expected = ["logical-id", "stack-id", "stack-name"].map(|key| format!("aws:cloudformation:{key}"));
    assert_eq!(keys, expected);
    assert_eq!(tags[0].value(), Some("Fleet"));
    assert!(
        tags[1].value().unwrap().starts_with("arn:aws:cloudformation:us-east-1:123456789012:stack/shop/")
    );
}

#[tokio::test(start_paused = true)]
async fn activities_are_filtered_by_start_and_status() {
    let (scene, _) = Scene::in_service(1, []).await;
    scene.sleep(3600).await;
    scene.set_desired(2).await;
    scene.any_in("Pending").await;
    let second = scene.times("Pending")[1];
    let found = async |name: &str, values: Vec<String>| {
        let filter = Filter::builder().name(name).set_values(Some(values)).build();
        let describe = scene.aws.describe_scaling_activities().auto_scaling_group_name(GROUP);
        describe.filters(filter).send().await.map(|found| found.activities.unwrap_or_default().len())
    };
    let written = second.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let elsewhere = second.with_timezone(&chrono::FixedOffset::east_opt(8 * 3600).unwrap());

    assert_eq!(
        found("StartTimeLowerBound", vec![written.clone()]).await.unwrap(),
        1,
        "the bound is inclusive"
    );
    assert_eq!(found("StartTimeLowerBound", vec![elsewhere.to_rfc3339()]).await.unwrap(), 1, "any zone");
    assert_eq!(found("StartTimeUpperBound", vec![written]).await.unwrap(), 2, "inclusive too");
    assert_eq!(found("StartTimeUpperBound", vec!["2026-03-01T12:30:00Z".to_owned()]).await.unwrap(), 1);
    assert_eq!(found("Status", vec!["Successful".to_owned()]).await.unwrap(), 1);
    assert_eq!(found("Status", vec!["Successful".to_owned(), "InProgress".to_owned()]).await.unwrap(), 2);

    let text = "The filter configuration isn't valid. The specified timestamp isn't valid.";
    for wrong in ["2026-03-01T12:30:00", "1772368200", "20260301T123000Z"] {
        assert_eq!(
            refusal(found("StartTimeLowerBound", vec![wrong.to_owned()]).await),
            validation(text),
            "{wrong}"
        );
    }
}
