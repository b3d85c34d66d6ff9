//! How the tasks of ECS services follow their desired count, and how instances follow the tasks.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::time::Duration;

use lifecycle_lab::ecs::Scheduling;
use lifecycle_lab::{Lab, Sight, What, World};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A cluster `demo` on the instances of the group `web`: none at first, three at most, and room for two
/// tasks on each.
struct Scene {
    lab: Lab,
}

impl Scene {
    async fn new() -> Self {
        let lab = Lab::new("2026-03-02T06:00:00Z".parse().unwrap(), 7);
        let group = aws_sdk_autoscaling::Client::new(&lab.sdk_config("operator")).create_auto_scaling_group();
        let group = group.auto_scaling_group_name("web").availability_zones("us-east-1a");
        group
            .min_size(0)
            .max_size(3)
            .desired_capacity(0)
            .launch_configuration_name("web")
            .send()
            .await
            .unwrap();
        lab.world(|world| world.set_capacity_provider("demo", "web", 2)).unwrap();
        Self { lab }
    }

    fn add(&self, service: &str, scheduling: Scheduling, desired: u32) {
        self.lab.world(|world| world.add_service("demo", service, scheduling, desired)).unwrap();
    }

    fn resize(&self, service: &str, desired: u32) {
        self.lab.world(|world| world.set_desired_count("demo", service, desired)).unwrap();
    }

    /// Desired, running, pending and, of these, provisioning tasks.
    fn counts(&self, service: &str) -> [u32; 4] {
        self.lab.world(|world| {
            let service = world.ecs.service("demo", service).unwrap();
            [service.desired, service.running(), service.pending(), service.provisioning()]
        })
    }

    fn group_desired(&self) -> u32 {
        self.lab.world(|world| world.autoscaling.group("web").unwrap().desired)
    }

    fn in_service(world: &World) -> Vec<String> {
        let instances = world.autoscaling.instances().filter(|one| one.state == "InService");
        instances.map(|instance| instance.id.clone()).collect()
    }

    /// Waits until so many instances are in service.
    async fn grown(&self, instances: usize) {
        assert!(self.lab.until(60 * MINUTE, |world| Self::in_service(world).len() == instances).await);
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_follow_the_desired_count_after_a_while() {
    let lab = Lab::new("2026-03-02T06:00:00Z".parse().unwrap(), 7);
    let mut moments = lab.observe();
    lab.world(|world| {
        world.delays.task_start = 10 * SECOND;
        world.delays.task_stop = 20 * SECOND;
        world.add_service("demo", "web", Scheduling::Replica, 2).unwrap();
    });
    let start = lab.now();

    lab.sleep(MINUTE).await;
    lab.world(|world| world.set_desired_count("demo", "web", 0)).unwrap();
    lab.sleep(MINUTE).await;
    // Three are asked for, and given up before they run.
    lab.world(|world| world.set_desired_count("demo", "web", 3)).unwrap();
    lab.sleep(5 * SECOND).await;
    lab.world(|world| world.set_desired_count("demo", "web", 1)).unwrap();
    lab.sleep(MINUTE).await;

    let course = lab.world(|world| {
        let counts = world.ecs.history().iter();
        counts.map(|one| ((one.at - start).num_seconds(), one.desired, one.running)).collect::<Vec<_>>()
    });
    let expected = [
        (0, 2, 0),
        (10, 2, 1),
        (10, 2, 2),
        (60, 0, 2),
        (80, 0, 1),
        (80, 0, 0),
        (120, 3, 0),
        (125, 1, 0),
        (130, 1, 1),
    ];
    assert_eq!(course, expected);
    let mut seen = Vec::new();
    while let Ok(moment) = moments.try_recv() {
        if let What::Seen(Sight::Service { cluster, service, desired, running }) = moment.what {
            assert_eq!((cluster.as_str(), service.as_str()), ("demo", "web"));
            seen.push(((moment.at - start).num_seconds(), desired, running));
        }
    }
    assert_eq!(seen, expected, "every change is seen as it happens");
}

#[tokio::test(start_paused = true)]
async fn tasks_wait_until_the_group_has_an_instance_for_them() {
    let scene = Scene::new().await;

    scene.add("web", Scheduling::Replica, 3);
    scene.lab.sleep(50 * SECOND).await;
    assert_eq!(scene.counts("web"), [3, 0, 3, 3]);
    assert_eq!(scene.group_desired(), 0, "the alarm takes a minute");
    scene.lab.sleep(15 * SECOND).await;
    assert_eq!(scene.group_desired(), 2);
    scene.grown(1).await;
    assert_eq!(scene.counts("web"), [3, 0, 3, 1], "two have found room");
    scene.grown(2).await;
    scene.lab.sleep(MINUTE).await;

    assert_eq!(scene.counts("web"), [3, 3, 0, 0]);
    let causes = scene.lab.world(|world| {
        let activities = world.autoscaling.activities().iter();
        activities.map(|activity| activity.cause.clone()).collect::<Vec<_>>()
    });
    assert_eq!(causes.len(), 2);
    let cause = &causes[0];
    assert!(cause.contains(" a monitor alarm TargetTracking-web-AlarmHigh-"), "{cause}");
    assert!(cause.contains(" in state ALARM triggered policy ECSManagedAutoScalingPolicy-"), "{cause}");
    assert!(cause.contains(" changing the desired capacity from 0 to 2.  "), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn the_group_follows_to_its_maximum_only() {
    let scene = Scene::new().await;

    scene.add("web", Scheduling::Replica, 9);
    scene.grown(3).await;
    scene.lab.sleep(60 * MINUTE).await;

    assert_eq!(scene.group_desired(), 3);
    assert_eq!(scene.counts("web"), [9, 6, 3, 3]);
    let client = aws_sdk_autoscaling::Client::new(&scene.lab.sdk_config("operator"));
    client.update_auto_scaling_group().auto_scaling_group_name("web").max_size(8).send().await.unwrap();
    scene.grown(5).await;
    scene.lab.sleep(MINUTE).await;
    assert_eq!(scene.counts("web"), [9, 9, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_sleeping_service_lets_its_instances_go_a_quarter_of_an_hour_later() {
    let scene = Scene::new().await;
    scene.add("web", Scheduling::Replica, 4);
    scene.grown(2).await;
    scene.lab.sleep(MINUTE).await;

    scene.resize("web", 0);
    scene.lab.sleep(14 * MINUTE).await;
    assert_eq!(scene.counts("web"), [0, 0, 0, 0]);
    assert_eq!(scene.group_desired(), 2);
    // A deployment wakes the service, and the alarm starts anew.
    scene.resize("web", 4);
    scene.lab.sleep(MINUTE).await;
    assert_eq!(scene.counts("web"), [4, 4, 0, 0]);
    scene.resize("web", 0);
    scene.lab.sleep(14 * MINUTE).await;
    assert_eq!(scene.group_desired(), 2);
    scene.grown(0).await;

    assert_eq!(scene.group_desired(), 0);
    let cause = scene.lab.world(|world| world.autoscaling.activities().last().unwrap().cause.clone());
    assert!(cause.contains(" a monitor alarm TargetTracking-web-AlarmLow-"), "{cause}");
    assert!(cause.contains(" changing the desired capacity from 2 to 0.  "), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn tasks_move_when_their_instance_leaves() {
    let scene = Scene::new().await;
    scene.add("web", Scheduling::Replica, 2);
    scene.grown(1).await;
    scene.lab.sleep(MINUTE).await;
    assert_eq!(scene.counts("web"), [2, 2, 0, 0]);

    let first = scene.lab.world(|world| Scene::in_service(world).remove(0));
    scene.lab.world(|world| world.reclaim_spot(&first));
    scene.lab.sleep(SECOND).await;
    assert_eq!(scene.counts("web"), [2, 2, 2, 2], "two are being stopped, two wait");
    scene.lab.sleep(MINUTE).await;

    assert_eq!(scene.lab.world(|world| Scene::in_service(world).len()), 1, "the group has replaced it");
    scene.lab.sleep(MINUTE).await;
    assert_eq!(scene.counts("web"), [2, 2, 0, 0]);
    assert_eq!(scene.group_desired(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_runs_once_on_each_instance_and_draws_none() {
    let scene = Scene::new().await;
    scene.add("logs", Scheduling::Daemon, 0);
    scene.lab.sleep(10 * MINUTE).await;
    assert_eq!((scene.counts("logs"), scene.group_desired()), ([0, 0, 0, 0], 0));

    scene.add("web", Scheduling::Replica, 4);
    scene.grown(2).await;
    scene.lab.sleep(MINUTE).await;
    assert_eq!(scene.counts("web"), [4, 4, 0, 0], "a daemon takes no room");
    assert_eq!(scene.counts("logs"), [2, 2, 0, 0]);
    scene.resize("web", 2);
    scene.grown(1).await;
    scene.lab.sleep(2 * MINUTE).await;

    assert_eq!(scene.counts("logs"), [1, 1, 0, 0]);
    assert_eq!(scene.counts("web"), [2, 2, 0, 0]);
    assert!(scene.lab.world(|world| world.set_desired_count("demo", "logs", 1)).is_err());
}

#[tokio::test(start_paused = true)]
async fn services_of_one_cluster_share_its_instances() {
    let scene = Scene::new().await;
    scene.add("api", Scheduling::Replica, 1);
    scene.add("web", Scheduling::Replica, 1);

    scene.grown(1).await;
    scene.lab.sleep(30 * MINUTE).await;

    assert_eq!((scene.counts("api"), scene.counts("web")), ([1, 1, 0, 0], [1, 1, 0, 0]));
    assert_eq!(scene.group_desired(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_needs_a_group() {
    let scene = Scene::new().await;
    let error = scene.lab.world(|world| world.set_capacity_provider("demo", "nobody", 2)).unwrap_err();
    assert_eq!(error.code, "ClientException");
}
