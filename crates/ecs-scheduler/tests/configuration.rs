//! The variables: what they mean when they are not set, and that every bad one is named at once.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use ecs_scheduler::Config;
use ecs_scheduler::action::Action;
use ecs_scheduler::plan::Capacity;
use expect_test::{Expect, expect};
use lambda_kit::Configuration;

const ONE: (&str, &str) = ("RESOURCE_IDS", "service/shop/web");

fn parse(variables: &[(&str, &str)]) -> Result<Config, String> {
    Config::parse(&variables.iter().copied().collect()).map_err(|error| {
        assert_eq!(error.name(), "InvalidConfig");
        error.chain().replace("; ", "\n") + "\n"
    })
}

/// Compares what is wrong, one line for each, with `expected`.
fn check_wrong(variables: &[(&str, &str)], expected: Expect) {
    expected.assert_eq(&parse(variables).unwrap_err());
}

#[test]
fn only_the_resources_are_required() {
    let config = parse(&[ONE]).unwrap();
    assert_eq!(config.resources, ["service/shop/web"]);
    assert_eq!(config.namespace.as_str(), "ecs");
    assert_eq!(config.dimension.as_str(), "ecs:service:DesiredCount");
    assert_eq!((config.capacity, config.sleep), (Capacity { min: 1, max: 3 }, Capacity::OFF));
    assert_eq!((config.remember, config.action), (true, Action::Toggle));
    assert_eq!((config.role, config.hours), (None, None));
    check_wrong(
        &[],
        expect![[r#"
            RESOURCE_IDS: not set
            set it to the services, as service/CLUSTER/SERVICE, or DISCOVER_TAG to the key of their tag
        "#]],
    );
}

#[test]
fn every_variable_is_read() {
    let config = parse(&[
        ("RESOURCE_IDS", "service/shop/web, service/shop/api,service/shop/web,service/office/*"),
        ("SERVICE_NAMESPACE", "ecs"),
        ("SCALABLE_DIMENSION", "ecs:service:DesiredCount"),
        ("ROLEARN", "arn:aws-cn:iam::123456789012:role/path/scaling"),
        ("MIN_CAPACITY", "0"),
        ("MAX_CAPACITY", "12"),
        ("SLEEP_CAPACITY", "0/1"),
        ("REMEMBER_CAPACITY", "false"),
        ("ACTION", "converge"),
        ("WORKING_HOURS", "MON-FRI 09:00-18:00;SAT 10:00-12:00"),
        ("TIMEZONE", "Europe/Berlin"),
        ("HOLIDAYS", "2026-12-25,2026-12-26"),
        ("AWS_LAMBDA_FUNCTION_NAME", "night-watch"),
    ])
    .unwrap();
    assert_eq!(config.resources, ["service/shop/web", "service/shop/api", "service/office/*"], "each once");
    assert_eq!(config.role.as_deref(), Some("arn:aws-cn:iam::123456789012:role/path/scaling"));
    assert_eq!((config.capacity, config.sleep), (Capacity { min: 0, max: 12 }, Capacity { min: 0, max: 1 }));
    assert_eq!(
        (config.remember, config.action, config.function.as_str()),
        (false, Action::Converge, "night-watch")
    );
    let hours = config.hours.unwrap();
    assert_eq!(
        (hours.windows.len(), hours.zone.iana_name(), hours.holidays.len()),
        (2, Some("Europe/Berlin"), 2)
    );
}

#[test]
fn every_bad_variable_is_named_at_once() {
    check_wrong(
        &[
            ("RESOURCE_IDS", "service/shop/web,shop/api"),
            ("SERVICE_NAMESPACE", "ECS"),
            ("SCALABLE_DIMENSION", "ecs:service:Tasks"),
            ("ROLEARN", "scaling"),
            ("MIN_CAPACITY", "-1"),
            ("MAX_CAPACITY", "many"),
            ("SLEEP_CAPACITY", "none"),
            ("REMEMBER_CAPACITY", "yes"),
            ("ACTION", "Converge"),
            ("WORKING_HOURS", "MON-FRI 09:00-18:00; weekend"),
            ("TIMEZONE", "Berlin"),
            ("HOLIDAYS", "Christmas"),
        ],
        expect![[r#"
            SERVICE_NAMESPACE: "ECS" is not one of appstream, cassandra, comprehend, custom-resource, dynamodb, ec2, ecs, elasticache, elasticmapreduce, kafka, lambda, neptune, rds, sagemaker, workspaces
            SCALABLE_DIMENSION: "ecs:service:Tasks" is not one of appstream:fleet:DesiredCapacity, cassandra:table:ReadCapacityUnits, cassandra:table:WriteCapacityUnits, comprehend:document-classifier-endpoint:DesiredInferenceUnits, comprehend:entity-recognizer-endpoint:DesiredInferenceUnits, custom-resource:ResourceType:Property, dynamodb:index:ReadCapacityUnits, dynamodb:index:WriteCapacityUnits, dynamodb:table:ReadCapacityUnits, dynamodb:table:WriteCapacityUnits, ec2:spot-fleet-request:TargetCapacity, ecs:service:DesiredCount, elasticache:cache-cluster:Nodes, elasticache:replication-group:NodeGroups, elasticache:replication-group:Replicas, elasticmapreduce:instancegroup:InstanceCount, kafka:broker-storage:VolumeSize, lambda:function:ProvisionedConcurrency, neptune:cluster:ReadReplicaCount, rds:cluster:ReadReplicaCount, sagemaker:inference-component:DesiredCopyCount, sagemaker:variant:DesiredInstanceCount, sagemaker:variant:DesiredProvisionedConcurrency, workspaces:workspacespool:DesiredUserSessions
            RESOURCE_IDS: "shop/api" is not service/CLUSTER/SERVICE
            MIN_CAPACITY: "-1" is not a number of tasks
            MAX_CAPACITY: "many" is not a number of tasks
            WORKING_HOURS: "weekend" is not a window such as MON-FRI 09:00-18:00: it needs days, a space and hours
            TIMEZONE: "Berlin" is not an IANA time zone such as Europe/Berlin
            HOLIDAYS: "Christmas" is not a date such as 2026-12-25
            ROLEARN: "scaling" is not the ARN of a role
            SLEEP_CAPACITY: "none" is not a minimum and a maximum of tasks, such as 0/0 or 1/2
            REMEMBER_CAPACITY: "yes" is neither true nor false
            ACTION: "Converge" is not start, stop, toggle or converge
        "#]],
    );
}

#[test]
fn what_goes_wrong_together_is_refused() {
    check_wrong(
        &[ONE, ("MIN_CAPACITY", "5")],
        expect![[r#"
            MIN_CAPACITY: 5 is more than MAX_CAPACITY 3
        "#]],
    );
    check_wrong(
        &[ONE, ("MIN_CAPACITY", "0"), ("MAX_CAPACITY", "0")],
        expect![[r#"
            MAX_CAPACITY: 0 is off, so no service would ever start
        "#]],
    );
    check_wrong(
        &[ONE, ("SLEEP_CAPACITY", "1/3")],
        expect![[r#"
            SLEEP_CAPACITY: 1/3 is MIN_CAPACITY and MAX_CAPACITY, so no service would ever start
        "#]],
    );
    check_wrong(
        &[ONE, ("SLEEP_CAPACITY", "2/1")],
        expect![[r#"
            SLEEP_CAPACITY: the minimum of "2/1" is more than its maximum
        "#]],
    );
    check_wrong(
        &[ONE, ("ACTION", "converge")],
        expect![[r#"
        WORKING_HOURS: not set, and ACTION is converge
    "#]],
    );
    check_wrong(
        &[ONE, ("ACTION", "converge"), ("WORKING_HOURS", "")],
        expect![[r#"
            WORKING_HOURS: "" is not a window such as MON-FRI 09:00-18:00: it needs days, a space and hours
        "#]],
    );
    check_wrong(
        &[("RESOURCE_IDS", "table/orders"), ("SERVICE_NAMESPACE", "dynamodb")],
        expect![[r#"
            SCALABLE_DIMENSION: ecs:service:DesiredCount is not a dimension of SERVICE_NAMESPACE dynamodb
        "#]],
    );
}

#[test]
fn a_resource_is_a_service_of_a_cluster() {
    for bad in [
        "",
        "web",
        "service/web",
        "service/shop/",
        "service//web",
        "service/shop/web/2",
        "services/shop/web",
        "service/shop/we b",
        "arn:aws:ecs:us-east-1:123456789012:service/shop/web",
        "service/*/web",
        "service/shop/web*",
        "service/*",
    ] {
        assert!(parse(&[("RESOURCE_IDS", bad)]).unwrap_err().starts_with("RESOURCE_IDS: "), "{bad}");
    }
}
