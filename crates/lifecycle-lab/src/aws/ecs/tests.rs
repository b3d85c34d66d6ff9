//! ECS's actions, as JSON in and JSON out: what the AWS CLI shows of them is in `tests/aws_cli.rs`.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::Scheduling;
use crate::aws::request::Request;
use crate::aws::world::World;

struct Scene(World);

impl Scene {
    /// A cluster `demo` with a service `web` of two tasks and a daemon service `logs`, an hour old.
    fn new() -> Self {
        let mut world = World::new("2026-03-02T18:00:00Z".parse().unwrap(), 7);
        world.add_service("demo", "web", Scheduling::Replica, 2).unwrap();
        world.add_service("demo", "logs", Scheduling::Daemon, 0).unwrap();
        let mut scene = Self(world);
        scene.wait(3_600);
        scene
    }

    /// The answer, or the refusal.
    fn call(&mut self, action: &str, parameters: Value) -> Result<Value, String> {
        let (method, action) = ("POST".to_owned(), action.to_owned());
        let request = Request { method, action, lines: Vec::new(), parameters };
        match super::call(&mut self.0, &request) {
            Ok(answer) => Ok(answer.unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.0.advance(self.0.now() + TimeDelta::from_std(Duration::from_secs(seconds)).unwrap());
    }

    /// The deployments of a service: status, desired count, running count and state of each.
    fn deployments(&mut self, service: &str) -> Value {
        let described = self.call("DescribeServices", json!({ "cluster": "demo", "services": [service] }));
        let described = described.unwrap();
        let line = |one: &Value| {
            json!([one["status"], one["desiredCount"], one["runningCount"], one["rolloutState"]])
        };
        described["services"][0]["deployments"].as_array().unwrap().iter().map(line).collect()
    }

    /// Status, desired count, running count and pending count of `web`.
    fn web(&mut self) -> Value {
        let described = self.call("DescribeServices", json!({ "cluster": "demo", "services": ["web"] }));
        counts(&described.unwrap()["services"][0])
    }
}

fn counts(service: &Value) -> Value {
    json!([service["status"], service["desiredCount"], service["runningCount"], service["pendingCount"]])
}

#[test]
fn a_service_is_created_resized_and_deleted() {
    let mut scene = Scene::new();

    let new = json!({
        "cluster": "demo", "serviceName": "api", "taskDefinition": "api:3", "desiredCount": 1,
        "launchType": "FARGATE", "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["s"] } },
    });
    let created = scene.call("CreateService", new.clone()).unwrap();
    let service = &created["service"];
    assert_eq!(counts(service), json!(["ACTIVE", 1, 0, 1]));
    assert_eq!(service["serviceArn"], "arn:aws:ecs:us-east-1:123456789012:service/demo/api");
    assert_eq!(service["taskDefinition"], "arn:aws:ecs:us-east-1:123456789012:task-definition/api:3");
    assert_eq!(
        (&service["launchType"], &service["schedulingStrategy"]),
        (&json!("FARGATE"), &json!("REPLICA"))
    );
    assert_eq!(service["createdAt"], json!(1_772_478_000.0));
    let again = scene.call("CreateService", new.clone()).unwrap_err();
    assert_eq!(again, "InvalidParameterException: Creation of service was not idempotent.");
    scene.wait(60);

    let deployed = json!({
        "cluster": "demo", "service": "api", "desiredCount": 3, "taskDefinition": "api:4",
        "forceNewDeployment": true,
    });
    let deployed = scene.call("UpdateService", deployed).unwrap();
    assert_eq!(counts(&deployed["service"]), json!(["ACTIVE", 3, 1, 2]));
    let deployment = &deployed["service"]["deployments"][0];
    assert_eq!(deployment["taskDefinition"], "arn:aws:ecs:us-east-1:123456789012:task-definition/api:4");
    assert_eq!(deployment["rolloutState"], "IN_PROGRESS");
    assert_ne!(deployment["id"], created["service"]["deployments"][0]["id"]);
    scene.wait(60);

    let negative = json!({ "cluster": "demo", "service": "api", "desiredCount": -1 });
    let refused = scene.call("UpdateService", negative).unwrap_err();
    assert_eq!(refused, "InvalidParameterException: Task count can not be lesser than 0");
    let by_arn = json!({ "cluster": "demo", "service": service["serviceArn"] });
    let refused = scene.call("DeleteService", by_arn.clone()).unwrap_err();
    let scaled = "InvalidParameterException: The service cannot be stopped while it is scaled above 0.";
    assert_eq!(refused, scaled);
    let forced = scene.call("DeleteService", json!({ "cluster": "demo", "service": "api", "force": true }));
    assert_eq!(counts(&forced.unwrap()["service"]), json!(["DRAINING", 0, 3, 0]));
    let inactive = "ServiceNotActiveException: Service was not ACTIVE.";
    assert_eq!(scene.call("UpdateService", by_arn.clone()).unwrap_err(), inactive);
    scene.wait(60);

    let described =
        scene.call("DescribeServices", json!({ "cluster": "demo", "services": ["api"] })).unwrap();
    assert_eq!(counts(&described["services"][0]), json!(["INACTIVE", 0, 0, 0]));
    assert_eq!(counts(&scene.call("CreateService", new).unwrap()["service"]), json!(["ACTIVE", 1, 0, 1]));
}

#[test]
fn a_first_deployment_is_over_when_the_tasks_have_run_for_a_while() {
    let mut scene = Scene::new();
    for (service, count) in [("some", 2), ("none", 0)] {
        scene.0.add_service("demo", service, Scheduling::Replica, count).unwrap();
    }
    assert_eq!(scene.deployments("none"), json!([["PRIMARY", 0, 0, "IN_PROGRESS"]]));
    scene.wait(8);
    assert_eq!(scene.deployments("none"), json!([["PRIMARY", 0, 0, "COMPLETED"]]));
    scene.wait(28);
    assert_eq!(scene.deployments("some"), json!([["PRIMARY", 2, 2, "IN_PROGRESS"]]));
    scene.wait(1);
    assert_eq!(scene.deployments("some"), json!([["PRIMARY", 2, 2, "COMPLETED"]]));

    scene.0.delays.task_start = Duration::MAX;
    scene.0.add_service("demo", "stuck", Scheduling::Replica, 2).unwrap();
    scene.wait(86_400);
    assert_eq!(scene.deployments("stuck"), json!([["PRIMARY", 2, 0, "IN_PROGRESS"]]));
}

#[test]
fn a_deployment_shows_a_new_count_later_than_its_service_and_stays_completed() {
    let mut scene = Scene::new();
    for (count, running) in [(5, 2), (0, 5)] {
        let before = scene.deployments("web");
        scene.0.set_desired_count("demo", "web", count).unwrap();
        scene.wait(1);
        assert_eq!(scene.web()[1], count);
        assert_eq!(scene.deployments("web"), before);
        scene.wait(1);
        assert_eq!(scene.deployments("web"), json!([["PRIMARY", count, running, "COMPLETED"]]));
        scene.wait(60);
    }
}

#[test]
fn a_deployment_that_replaces_another_stands_beside_it_until_it_has_rolled_out() {
    let mut scene = Scene::new();
    let update = json!({ "cluster": "demo", "service": "web", "taskDefinition": "web:2" });
    let updated = scene.call("UpdateService", update).unwrap();
    let deployments = &updated["service"]["deployments"];
    let definition =
        |one: &Value| one["taskDefinition"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert_eq!([definition(&deployments[0]), definition(&deployments[1])], ["web:2", "web:1"]);
    let rolling = json!([["PRIMARY", 2, 0, "IN_PROGRESS"], ["ACTIVE", 2, 2, "COMPLETED"]]);
    scene.wait(126);
    assert_eq!(scene.deployments("web"), rolling);
    scene.wait(1);
    assert_eq!(scene.deployments("web"), json!([["PRIMARY", 2, 2, "COMPLETED"]]));

    // One that never rolls out is replaced itself.
    scene.0.delays.rollout = Duration::MAX;
    let force = json!({ "cluster": "demo", "service": "web", "forceNewDeployment": true });
    scene.call("UpdateService", force.clone()).unwrap();
    scene.wait(86_400);
    assert_eq!(scene.deployments("web"), rolling);
    scene.0.delays.rollout = Duration::from_secs(120);
    let forced = scene.call("UpdateService", force).unwrap();
    assert_eq!(forced["service"]["deployments"].as_array().map(Vec::len), Some(3));
    assert_eq!(definition(&forced["service"]["deployments"][0]), "web:2");
    scene.wait(200);
    assert_eq!(scene.deployments("web"), json!([["PRIMARY", 2, 2, "COMPLETED"]]));
}

#[test]
fn the_scalable_target_of_a_deleted_service_goes_with_it() {
    let mut scene = Scene::new();
    let target = json!({
        "ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount", "ResourceId": "service/demo/web",
    });
    let mut register = target.clone();
    register["MinCapacity"] = json!(0);
    register["MaxCapacity"] = json!(3);
    let call = |scene: &mut Scene, action: &str, parameters: Value| {
        let (method, action) = ("POST".to_owned(), action.to_owned());
        let request = Request { method, action, lines: Vec::new(), parameters };
        crate::aws::scalable_targets::call(&mut scene.0, &request)
    };
    call(&mut scene, "RegisterScalableTarget", register).unwrap();

    scene.call("DeleteService", json!({ "cluster": "demo", "service": "web", "force": true })).unwrap();

    let error = call(&mut scene, "DeregisterScalableTarget", target).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ObjectNotFoundException: No scalable target found for service namespace: ecs, resource ID: \
         service/demo/web, scalable dimension: ecs:service:DesiredCount"
    );
}

#[test]
fn what_is_missing_is_a_failure_beside_what_is_there() {
    let mut scene = Scene::new();

    let described = scene.call(
        "DescribeServices",
        json!({ "cluster": "arn:aws:ecs:us-east-1:123456789012:cluster/demo", "services": ["nobody", "web"] }),
    );
    let described = described.unwrap();
    assert_eq!(described["services"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        described["failures"],
        json!([{ "arn": "arn:aws:ecs:us-east-1:123456789012:service/demo/nobody", "reason": "MISSING" }])
    );
    let described = scene.call("DescribeClusters", json!({ "clusters": ["demo", "nowhere"] })).unwrap();
    assert_eq!(described["clusters"][0]["runningTasksCount"], 2);
    assert_eq!(described["clusters"][0]["activeServicesCount"], 2);
    assert_eq!(
        described["failures"],
        json!([{ "arn": "arn:aws:ecs:us-east-1:123456789012:cluster/nowhere", "reason": "MISSING" }])
    );
    let described = scene.call("DescribeClusters", json!({})).unwrap();
    assert_eq!(described["failures"][0]["arn"], "arn:aws:ecs:us-east-1:123456789012:cluster/default");
}

#[test]
fn services_are_listed_in_pages() {
    let mut scene = Scene::new();
    for n in 0..12 {
        scene.0.add_service("demo", &format!("s{n:02}"), Scheduling::Replica, 0).unwrap();
    }
    scene.call("DeleteService", json!({ "cluster": "demo", "service": "s00" })).unwrap();

    let first = scene.call("ListServices", json!({ "cluster": "demo" })).unwrap();
    assert_eq!(first["serviceArns"].as_array().map(Vec::len), Some(10));
    let second = json!({ "cluster": "demo", "nextToken": first["nextToken"] });
    let second = scene.call("ListServices", second).unwrap();
    assert_eq!(
        (second["serviceArns"].as_array().map(Vec::len), &second["nextToken"]),
        (Some(3), &Value::Null)
    );
    let daemons = json!({ "cluster": "demo", "schedulingStrategy": "DAEMON" });
    assert_eq!(
        scene.call("ListServices", daemons).unwrap()["serviceArns"],
        json!(["arn:aws:ecs:us-east-1:123456789012:service/demo/logs"])
    );
}

#[test]
fn wrong_requests_are_refused() {
    let cases = [
        (
            "UpdateService",
            json!({ "cluster": "nowhere", "service": "web" }),
            "ClusterNotFoundException: Cluster not found.",
        ),
        ("UpdateService", json!({ "service": "web" }), "ClusterNotFoundException: Cluster not found."),
        (
            "UpdateService",
            json!({ "cluster": "demo", "service": "x" }),
            "ServiceNotFoundException: Service not found.",
        ),
        (
            "UpdateService",
            json!({ "cluster": "demo", "service": "logs", "desiredCount": 1 }),
            "InvalidParameterException: The daemon scheduling strategy does not support a desired count for services. \
             Remove the desired count value and try again",
        ),
        (
            "UpdateService",
            json!({ "cluster": "demo", "service": "web", "desiredCount": -1 }),
            "InvalidParameterException: ",
        ),
        (
            "UpdateService",
            json!({ "cluster": "demo", "service": "web", "loadBalancers": [] }),
            "LabNotModelled: lifecycle-lab does not model the parameter loadBalancers of UpdateService",
        ),
        ("DeleteService", json!({ "cluster": "demo", "service": "x" }), "ServiceNotFoundException: "),
        (
            "DescribeServices",
            json!({ "cluster": "nowhere", "services": ["web"] }),
            "ClusterNotFoundException: ",
        ),
        ("DescribeServices", json!({ "cluster": "demo", "services": [] }), "InvalidParameterException: "),
        (
            "DescribeServices",
            json!({ "cluster": "demo", "services": vec!["s"; 11] }),
            "InvalidParameterException: ",
        ),
        (
            "DescribeServices",
            json!({ "cluster": "demo" }),
            "InvalidParameterException: 1 validation error detected: ",
        ),
        ("CreateService", json!({ "cluster": "nowhere", "serviceName": "a" }), "ClusterNotFoundException: "),
        ("CreateService", json!({ "cluster": "demo", "serviceName": "a b" }), "InvalidParameterException: "),
        (
            "CreateService",
            json!({ "cluster": "demo", "serviceName": "a", "desiredCount": 1 }),
            "InvalidParameterException: TaskDefinition can not be blank.",
        ),
        (
            "CreateService",
            json!({ "cluster": "demo", "serviceName": "a", "taskDefinition": "a" }),
            "InvalidParameterException: DesiredCount is missing",
        ),
        (
            "CreateService",
            json!({ "cluster": "demo", "serviceName": "a", "taskDefinition": "a", "schedulingStrategy": "DAEMON",
                    "launchType": "FARGATE" }),
            "InvalidParameterException: ",
        ),
        ("CreateCluster", json!({ "clusterName": "a/b" }), "InvalidParameterException: "),
        ("ListServices", json!({ "cluster": "demo", "maxResults": 101 }), "InvalidParameterException: "),
        ("ListServices", json!({ "cluster": "demo", "nextToken": "x" }), "InvalidParameterException: "),
        ("ListTasks", json!({}), "LabNotModelled: lifecycle-lab does not model ecs:ListTasks"),
    ];
    for (action, parameters, refusal) in cases {
        let mut scene = Scene::new();
        let error = scene.call(action, parameters.clone()).unwrap_err();
        assert!(error.starts_with(refusal), "{action} {parameters}: {error}");
        assert_eq!(scene.web(), json!(["ACTIVE", 2, 2, 0]), "{action} {parameters}");
    }
}
