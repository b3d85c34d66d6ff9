//! What the tests share: a lab with the services of a shop, the function deployed in it, and the samples.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_applicationautoscaling::Client;
use aws_sdk_applicationautoscaling::types::{ScalableDimension, ServiceNamespace};
use chrono::{DateTime, Utc};
use ecs_scheduler::{Context, NAME};
use expect_test::Expect;
use lifecycle_lab::ecs::Scheduling;
use lifecycle_lab::{Lab, RunError};
use serde_json::Value;

pub(crate) const WEB: &str = "service/shop/web";
pub(crate) const API: &str = "service/shop/api";
pub(crate) const JOBS: &str = "service/shop/jobs";
/// A daemon service.
pub(crate) const LOGS: &str = "service/shop/logs";
pub(crate) const REMEMBERED: &str = "lifecycle/remembered";
pub(crate) const KEEP_AWAKE: &str = "keep-awake-until";

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
/// Application Auto Scaling changes a service half a second after its answer.
const IN_EFFECT: Duration = Duration::from_secs(1);

/// A cluster `shop` with three services of two tasks each, of which none is registered, and a daemon.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) operator: Client,
}

impl Scene {
    /// When it is `time`.
    pub(crate) fn at(time: &str) -> Self {
        let lab = Lab::new(time.parse().unwrap(), 7);
        lab.world(|world| {
            for service in ["web", "api", "jobs"] {
                world.add_service("shop", service, Scheduling::Replica, 2).unwrap();
            }
            world.add_service("shop", "logs", Scheduling::Daemon, 0).unwrap();
        });
        let operator = Client::new(&lab.sdk_config("operator"));
        Self { lab, operator }
    }

    /// A Thursday afternoon on which `web` and `api` are on.
    pub(crate) async fn afternoon() -> Self {
        Self::awake_at("2026-11-19T14:59:58Z").await
    }

    async fn awake_at(time: &str) -> Self {
        let scene = Self::at(time);
        scene.register(WEB, 2, 6).await;
        scene.register(API, 1, 4).await;
        scene
    }

    /// The evening of that day: `web` and `api` were stopped by the function.
    pub(crate) async fn evening() -> Self {
        let scene = Self::awake_at("2026-11-19T14:59:56Z").await;
        for (resource, memory) in [(WEB, "min=2:max=6"), (API, "min=1:max=4")] {
            scene.tag(resource, REMEMBERED, memory).await;
            scene.register(resource, 0, 0).await;
        }
        scene
    }

    /// Registers a resource with these bounds, or updates it, as a person or a deployment does, and waits until
    /// that is in effect.
    pub(crate) async fn register(&self, resource: &str, min: i32, max: i32) {
        let register = self.operator.register_scalable_target().service_namespace(ServiceNamespace::Ecs);
        let register = register.scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
        register.resource_id(resource).min_capacity(min).max_capacity(max).send().await.unwrap();
        self.lab.skip(IN_EFFECT);
    }

    pub(crate) async fn tag(&self, resource: &str, key: &str, value: &str) {
        self.operator
            .tag_resource()
            .resource_arn(self.arn(resource).unwrap())
            .tags(key, value)
            .send()
            .await
            .unwrap();
    }

    /// Tags a service of the shop, or with an empty value removes the tag.
    pub(crate) fn tag_service(&self, service: &str, key: &str, value: Option<&str>) {
        self.lab.world(|world| world.tag_service("shop", service, key, value)).unwrap();
    }

    /// Sets a service's desired count, as a person or a deployment does.
    pub(crate) fn set_count(&self, service: &str, count: u32) {
        self.lab.world(|world| world.set_desired_count("shop", service, count)).unwrap();
    }

    pub(crate) fn arn(&self, resource: &str) -> Option<String> {
        self.lab.world(|world| world.scalable_targets.target(resource).map(|target| target.arn.clone()))
    }

    /// The bounds of a target: `2/6`, or `none` where it is not registered.
    pub(crate) fn bounds(&self, resource: &str) -> String {
        self.lab.world(|world| {
            let target = world.scalable_targets.target(resource);
            target.map_or("none".to_owned(), |target| format!("{}/{}", target.min, target.max))
        })
    }

    pub(crate) fn tags(&self, resource: &str) -> BTreeMap<String, String> {
        self.lab.world(|world| {
            let target = world.scalable_targets.target(resource);
            target.map(|target| target.tags.clone()).unwrap_or_default()
        })
    }

    pub(crate) fn memory(&self, resource: &str) -> Option<String> {
        self.tags(resource).remove(REMEMBERED)
    }

    /// How many tasks a service of the shop should have.
    pub(crate) fn desired(&self, service: &str) -> u32 {
        self.lab.world(|world| world.ecs.service("shop", service).unwrap().desired)
    }

    /// How many tasks of it run.
    pub(crate) fn running(&self, service: &str) -> u32 {
        self.lab.world(|world| world.ecs.service("shop", service).unwrap().running())
    }

    /// The function with these variables, in this process.
    pub(crate) fn deploy(&self, variables: &[(&str, &str)]) {
        testkit::deploy::<Context>(&self.lab, &with_targets(variables), MINUTE);
    }

    /// Invokes the deployed function once.
    pub(crate) async fn invoke(&self, payload: Value) -> Result<Value, RunError> {
        let end = self.lab.invoke(NAME, payload, 1).await;
        self.lab.skip(IN_EFFECT);
        end
    }

    /// The function's calls so far: `TagResource: ok`.
    pub(crate) fn calls(&self) -> Vec<String> {
        testkit::calls(&self.lab, NAME)
    }

    /// How many of them would have changed something.
    pub(crate) fn writes(&self) -> usize {
        let reads = [
            "DescribeScalableTargets",
            "DescribeServices",
            "ListTagsForResource",
            "ListServices",
            "GetResources",
        ];
        self.calls().iter().filter(|call| !reads.iter().any(|read| call.starts_with(read))).count()
    }
}

/// Invokes the function with a minute's time and describes everything that it did.
pub(crate) async fn play(scene: &Scene, variables: &[(&str, &str)], payload: Value) -> String {
    let played = testkit::play::<Context>(&scene.lab, &with_targets(variables), payload, MINUTE).await;
    scene.lab.sleep(IN_EFFECT).await;
    let (outcome, took) = (played.outcome(), played.took);
    let (_, told) = played.lines.split_last().unwrap();
    let told = told.iter().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        format!("told: {}: {}\n", text("failure"), text("message"))
    });
    let told: String = told.collect();
    let end = played.end.map_or_else(
        |error| error,
        |mut answer| {
            let targets = answer["targets"].take();
            let targets = targets.as_array().unwrap().iter().map(|target| {
                format!(
                    "
  {target}"
                )
            });
            answer.as_object_mut().unwrap().remove("targets");
            format!("answer: {answer}, targets:{}", targets.collect::<String>())
        },
    );
    format!(
        "{}{end}
{told}metric: {outcome}
after {took:.1?}
",
        scene.lab.transcript(NAME)
    )
}

/// `web` and `api` are the targets, unless the variables name others or a tag.
pub(crate) fn with_targets<'a>(variables: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let discovers = variables.iter().any(|(name, _)| *name == "DISCOVER_TAG");
    let all = (!discovers).then_some(("RESOURCE_IDS", "service/shop/web,service/shop/api"));
    all.into_iter().chain(variables.iter().copied()).collect()
}

/// Compares only the calls with their outcomes, and how the run ended.
pub(crate) async fn check_calls(scene: &Scene, variables: &[(&str, &str)], payload: Value, expected: Expect) {
    let played = play(scene, variables, payload).await;
    let calls: String = scene.calls().iter().map(|call| format!("{call}\n")).collect();
    let end = played.lines().skip_while(|line| line.starts_with("POST") || line.starts_with(' '));
    let end: Vec<_> = end.take_while(|line| !line.starts_with("metric")).collect();
    expected.assert_eq(&format!("{calls}{}\n", end.join("\n")));
}

/// The variable that makes this the only target.
pub(crate) fn only(resource: &str) -> [(&'static str, &str); 1] {
    [("RESOURCE_IDS", resource)]
}

/// A sample of `events/ecs-scheduler`.
pub(crate) fn sample(name: &str) -> Value {
    testkit::sample(NAME, name)
}

pub(crate) fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}
