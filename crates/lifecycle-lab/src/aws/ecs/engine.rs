//! Starts and stops tasks: services compare their tasks with their desired count, deployments roll out and end,
//! instances come and go, and managed scaling sizes the group for the tasks.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Cluster, Counts, Deployment, Key, Provider, Scheduling, Service, State, Task};
use crate::aws::error::ApiError;
use crate::aws::world::{Effect, Sight, World};

/// From a service's new desired count until its deployment shows it. AWS was recorded to take one to three seconds.
const DEPLOYMENT_LAG: Duration = Duration::from_secs(2);

/// Something that will happen by itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Timer {
    /// The instances of a cluster changed.
    Settle { cluster: String },
    /// A task begins to run.
    Started { service: Key, task: u64 },
    /// A task has stopped.
    Stopped { service: Key, task: u64 },
    /// A deployment shows the service's desired count.
    Counted { service: Key },
    /// A deployment is over, if the service has been settled since this moment.
    Deployed { service: Key, since: DateTime<Utc> },
    /// An alarm of managed scaling may have had enough datapoints.
    Alarm { cluster: String, since: DateTime<Utc> },
}

/// A service as it was ordered.
pub(super) struct Order {
    pub(super) scheduling: Scheduling,
    pub(super) desired: u32,
    pub(super) task_definition: String,
    pub(super) fargate: bool,
}

impl World {
    /// Adds a cluster, if there is none of this name.
    pub fn add_cluster(&mut self, name: &str) {
        self.ecs.clusters.entry(name.to_owned()).or_insert(Cluster { provider: None });
    }

    /// Adds a service, and its cluster if there is none. Its tasks start as they always do; a daemon
    /// service has no use for a desired count.
    ///
    /// # Errors
    /// There is a service of this name.
    pub fn add_service(
        &mut self,
        cluster: &str,
        service: &str,
        scheduling: Scheduling,
        desired: u32,
    ) -> Result<(), ApiError> {
        self.add_cluster(cluster);
        let order = Order { scheduling, desired, task_definition: service.to_owned(), fargate: false };
        self.create_service((cluster.to_owned(), service.to_owned()), order)
    }

    /// Sets a service's desired count, as a person or a deployment does with `UpdateService`: whatever
    /// its scalable target allows.
    ///
    /// # Errors
    /// As `UpdateService`.
    pub fn set_desired_count(&mut self, cluster: &str, service: &str, desired: u32) -> Result<(), ApiError> {
        let key = (cluster.to_owned(), service.to_owned());
        let service = self.active_service(&key)?;
        if service.scheduling == Scheduling::Daemon {
            return Err(daemon_has_no_count());
        }
        service.desired = desired;
        self.settle(cluster);
        Ok(())
    }

    /// Begins a deployment of a service, as `UpdateService` with `forceNewDeployment` does. For `delays.rollout` it
    /// stands beside the one that it replaces.
    ///
    /// # Errors
    /// There is no such service.
    pub fn begin_deployment(&mut self, cluster: &str, service: &str) -> Result<(), ApiError> {
        let key = (cluster.to_owned(), service.to_owned());
        let task_definition = self.active_service(&key)?.deployments[0].task_definition.clone();
        self.replace_deployment(&key, task_definition)
    }

    /// Tags a service, or with `None` removes the tag.
    ///
    /// # Errors
    /// There is no such service.
    pub fn tag_service(
        &mut self,
        cluster: &str,
        service: &str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), ApiError> {
        let service = self.active_service(&(cluster.to_owned(), service.to_owned()))?;
        match value {
            Some(value) => service.tags.insert(key.to_owned(), value.to_owned()),
            None => service.tags.remove(key),
        };
        Ok(())
    }

    /// Ties a cluster to an Auto Scaling group, as a capacity provider with managed scaling and a target
    /// of 100 % does: tasks wait until an instance is in service that has room for them, and the group's
    /// desired capacity follows the number of tasks, within its minimum and maximum. AWS reckons with what
    /// tasks need and instances have, and from no instance at all its metric can ask for two; here an
    /// instance has room for this many tasks, daemons take none, and what is asked for is what is needed.
    ///
    /// # Errors
    /// There is no such group.
    pub fn set_capacity_provider(
        &mut self,
        cluster: &str,
        group: &str,
        tasks_per_instance: u32,
    ) -> Result<(), ApiError> {
        if self.autoscaling.group(group).is_none() {
            return Err(ApiError::new("ClientException", format!("There is no Auto Scaling group {group}.")));
        }
        self.add_cluster(cluster);
        let provider = Provider {
            group: group.to_owned(),
            tasks_per_instance: tasks_per_instance.max(1),
            id: self.uuid(),
            needed: Ordering::Equal,
            since: self.now(),
        };
        if let Some(cluster) = self.ecs.clusters.get_mut(cluster) {
            cluster.provider = Some(provider);
        }
        self.settle(cluster);
        Ok(())
    }

    /// The capacity of this group changed, or an instance of it came into another state.
    pub(crate) fn group_moved(&mut self, group: &str) {
        let tied =
            |cluster: &Cluster| cluster.provider.as_ref().is_some_and(|provider| provider.group == group);
        let clusters = self.ecs.clusters.iter().filter(|(_, cluster)| tied(cluster));
        for cluster in clusters.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.set_ecs_timer(Duration::ZERO, Timer::Settle { cluster });
        }
    }

    pub(crate) fn ecs_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Settle { cluster } => self.settle(&cluster),
            Timer::Started { service, task } => {
                let tasks = self.service_mut(&service).tasks.iter_mut();
                for task in tasks.filter(|one| one.id == task && one.state == State::Pending) {
                    task.state = State::Running;
                }
                self.settle(&service.0);
            }
            Timer::Stopped { service, task } => {
                self.service_mut(&service).tasks.retain(|one| one.id != task);
                self.settle(&service.0);
            }
            Timer::Counted { service } => {
                let now = self.now();
                let service = self.service_mut(&service);
                let (desired, deployment) = (service.desired, &mut service.deployments[0]);
                if deployment.desired != desired {
                    (deployment.desired, deployment.updated) = (desired, now);
                }
            }
            Timer::Deployed { service, since } => {
                let now = self.now();
                let service = self.service_mut(&service);
                let deployment = &mut service.deployments[0];
                if service.settled == Some(since) && !deployment.completed {
                    (deployment.completed, deployment.updated) = (true, now);
                    service.deployments.truncate(1);
                }
            }
            Timer::Alarm { cluster, since } => self.alarm(&cluster, since),
        }
    }

    /// Creates a service in a cluster that exists.
    pub(super) fn create_service(&mut self, key: Key, order: Order) -> Result<(), ApiError> {
        if self.ecs.services.get(&key).is_some_and(|service| service.status != "INACTIVE") {
            let text = "Creation of service was not idempotent.";
            return Err(ApiError::new("InvalidParameterException", text));
        }
        let now = self.now();
        let (cluster, name) = key.clone();
        let service = Service {
            cluster: cluster.clone(),
            name,
            scheduling: order.scheduling,
            status: "ACTIVE",
            desired: order.desired,
            tags: BTreeMap::new(),
            created: now,
            deleted: None,
            fargate: order.fargate,
            deployments: vec![self.deployment(order.task_definition, order.desired, now)],
            settled: None,
            tasks: Vec::new(),
            seen: None,
        };
        self.ecs.services.insert(key, service);
        self.settle(&cluster);
        Ok(())
    }

    /// Lets a new deployment replace the ones that a service has.
    pub(super) fn replace_deployment(&mut self, key: &Key, task_definition: String) -> Result<(), ApiError> {
        let desired = self.active_service(key)?.desired;
        let rolled_out = self.set_ecs_timer(self.delays.rollout, Timer::Settle { cluster: key.0.clone() });
        let deployment = self.deployment(task_definition, desired, rolled_out);
        let service = self.active_service(key)?;
        service.deployments.insert(0, deployment);
        service.settled = None;
        Ok(())
    }

    fn deployment(&mut self, task_definition: String, desired: u32, rolled_out: DateTime<Utc>) -> Deployment {
        self.ecs.ids += 1;
        let (id, now) = (self.ecs.ids, self.now());
        Deployment { id, task_definition, desired, created: now, updated: now, rolled_out, completed: false }
    }

    /// The active service of this key.
    pub(super) fn active_service(&mut self, key: &Key) -> Result<&mut Service, ApiError> {
        if !self.ecs.clusters.contains_key(&key.0) {
            return Err(ApiError::new("ClusterNotFoundException", "Cluster not found."));
        }
        match self.ecs.services.get_mut(key) {
            None => Err(ApiError::new("ServiceNotFoundException", "Service not found.")),
            Some(service) if service.status != "ACTIVE" => {
                Err(ApiError::new("ServiceNotActiveException", "Service was not ACTIVE."))
            }
            Some(service) => Ok(service),
        }
    }

    /// Starts, places and stops what the services of a cluster need now.
    pub(super) fn settle(&mut self, cluster: &str) {
        let instances = self.container_instances(cluster);
        let keys = self.ecs.services.keys().filter(|(owner, _)| owner == cluster).cloned();
        let keys: Vec<Key> = keys.collect();
        for key in &keys {
            self.size(key, instances.as_deref());
        }
        for key in &keys {
            self.place(key, instances.as_deref());
            self.see_counts(key);
            self.watch_deployment(key);
        }
        self.watch_reservation(cluster);
    }

    /// The instances that tasks can run on, oldest first: `None` where they need none. AWS takes them when
    /// their agent has registered; here that is when they are in service.
    pub(super) fn container_instances(&self, cluster: &str) -> Option<Vec<String>> {
        let provider = self.ecs.clusters.get(cluster)?.provider.as_ref()?;
        let instances = self.autoscaling.instances();
        let usable = instances.filter(|one| one.group == provider.group && one.state == "InService");
        Some(usable.map(|instance| instance.id.clone()).collect())
    }

    /// Gives a service as many tasks as it should have, counting only those whose instance is still in
    /// service. AWS drains an instance that leaves, as its managed draining does by default: its tasks are
    /// stopped, and others start elsewhere.
    fn size(&mut self, key: &Key, instances: Option<&[String]>) {
        let service = self.service_mut(key);
        let usable = |host: &String| instances.is_some_and(|instances| instances.contains(host));
        if service.scheduling == Scheduling::Daemon && service.status == "ACTIVE" {
            service.desired = instances.map_or(0, |instances| instances.len() as u32);
        }
        let desired = service.desired as usize;
        let (mut kept, mut stopped) = (Vec::new(), Vec::new());
        for task in service.tasks.iter().filter(|task| task.state != State::Stopping) {
            let stays = task.host.as_ref().is_none_or(usable);
            if stays { kept.push((task.state, task.id)) } else { stopped.push(task.id) }
        }
        kept.sort_unstable();
        stopped.extend(kept.iter().skip(desired).map(|(_, id)| *id));
        for _ in kept.len()..desired {
            self.ecs.ids += 1;
            let task = Task { id: self.ecs.ids, state: State::Provisioning, host: None };
            self.service_mut(key).tasks.push(task);
        }
        for task in stopped {
            self.stop(key, task);
        }
        let service = self.service_mut(key);
        if service.status == "DRAINING" && service.tasks.is_empty() {
            service.status = "INACTIVE";
        }
    }

    /// Stops a task, at once if it does not run yet.
    fn stop(&mut self, key: &Key, task: u64) {
        let delay = self.delays.task_stop;
        let tasks = &mut self.service_mut(key).tasks;
        let Some(place) = tasks.iter().position(|one| one.id == task) else {
            return;
        };
        if tasks[place].state == State::Running {
            tasks[place].state = State::Stopping;
            self.set_ecs_timer(delay, Timer::Stopped { service: key.clone(), task });
        } else {
            tasks.remove(place);
        }
    }

    /// Finds a place for the tasks that wait for one.
    fn place(&mut self, key: &Key, instances: Option<&[String]>) {
        let service = self.service_mut(key);
        let instances = instances.filter(|_| !service.fargate);
        let waiting = service.tasks.iter().filter(|task| task.state == State::Provisioning);
        for id in waiting.map(|task| task.id).collect::<Vec<_>>() {
            let host = match instances {
                None => None,
                Some(instances) => match self.room(key, instances) {
                    None => return,
                    host => host,
                },
            };
            let delay = self.delays.task_start;
            self.set_ecs_timer(delay, Timer::Started { service: key.clone(), task: id });
            for task in self.service_mut(key).tasks.iter_mut().filter(|task| task.id == id) {
                task.state = State::Pending;
                task.host.clone_from(&host);
            }
        }
    }

    /// The instance for the next task of a service: of those with room the fullest, so that others get
    /// empty. AWS spreads the tasks of a service over the Availability Zones unless it is told to pack
    /// them.
    fn room(&self, key: &Key, instances: &[String]) -> Option<String> {
        let (cluster, _) = key;
        let tasks_on = |host: &String, wanted: &dyn Fn(&Key, &Service) -> bool| {
            let services = self.ecs.services.iter().filter(|(key, service)| wanted(key, service));
            let tasks = services.flat_map(|(_, service)| &service.tasks);
            tasks.filter(|task| task.host.as_ref() == Some(host)).count()
        };
        if self.ecs.services[key].scheduling == Scheduling::Daemon {
            let free = |host: &&String| tasks_on(host, &|other, _| other == key) == 0;
            return instances.iter().find(free).cloned();
        }
        let most = self.ecs.clusters[cluster].provider.as_ref()?.tasks_per_instance as usize;
        let replicas = |host: &String| {
            tasks_on(host, &|(owner, _), service| {
                owner == cluster && service.scheduling == Scheduling::Replica
            })
        };
        let free =
            instances.iter().rev().map(|host| (replicas(host), host)).filter(|(tasks, _)| *tasks < most);
        free.max_by_key(|(tasks, _)| *tasks).map(|(_, host)| host.clone())
    }

    fn see_counts(&mut self, key: &Key) {
        let at = self.now();
        let service = self.service_mut(key);
        let counts = (service.desired, service.running());
        if service.seen.replace(counts) == Some(counts) {
            return;
        }
        let ((cluster, service), (desired, running)) = (key.clone(), counts);
        let seen = Counts { at, cluster: cluster.clone(), service: service.clone(), desired, running };
        self.ecs.history.push(seen);
        self.send(Effect::Seen(Sight::Service { cluster, service, desired, running }));
        self.set_ecs_timer(DEPLOYMENT_LAG, Timer::Counted { service: key.clone() });
        self.service_moved(key);
    }

    /// Sees whether a service has the tasks that it should have. A deployment is over when it has had them for a
    /// while. One that is over stays so whatever the count does later.
    fn watch_deployment(&mut self, key: &Key) {
        let now = self.now();
        let service = self.service_mut(key);
        let settled = service.running() == service.desired
            && service.tasks.len() == service.desired as usize
            && service.deployments[0].rolled_out <= now;
        if settled == service.settled.is_some() {
            return;
        }
        service.settled = settled.then_some(now);
        if settled && !service.deployments[0].completed {
            let timer = Timer::Deployed { service: key.clone(), since: now };
            self.set_ecs_timer(self.delays.deployment, timer);
        }
    }

    /// Compares the instances that the tasks need with those that the group should have, and sets the
    /// alarm of the difference.
    fn watch_reservation(&mut self, cluster: &str) {
        let Some((provider, needed)) = self.reservation(cluster) else {
            return;
        };
        if needed == provider.needed {
            return;
        }
        let since = self.now();
        let delay = match needed {
            Ordering::Greater => self.delays.capacity_alarm_high,
            _ => self.delays.capacity_alarm_low,
        };
        let changed = self.ecs.clusters.get_mut(cluster).and_then(|cluster| cluster.provider.as_mut());
        if let Some(provider) = changed {
            (provider.needed, provider.since) = (needed, since);
        }
        if needed != Ordering::Equal {
            self.set_ecs_timer(delay, Timer::Alarm { cluster: cluster.to_owned(), since });
        }
    }

    /// The capacity provider, and how the number of instances that the tasks need, within the group's
    /// bounds, compares with the group's desired capacity.
    fn reservation(&self, cluster: &str) -> Option<(Provider, Ordering)> {
        let provider = self.ecs.clusters.get(cluster)?.provider.clone()?;
        let group = self.autoscaling.group(&provider.group)?;
        let needed = self.instances_needed(cluster, &provider).max(group.min).min(group.max);
        Some((provider, needed.cmp(&group.desired)))
    }

    fn instances_needed(&self, cluster: &str, provider: &Provider) -> u32 {
        let services = self.ecs.services.values();
        let services = services.filter(|service| {
            service.cluster == cluster && service.scheduling == Scheduling::Replica && !service.fargate
        });
        let tasks = services.flat_map(|service| &service.tasks).filter(|task| task.state != State::Stopping);
        (tasks.count() as u32).div_ceil(provider.tasks_per_instance)
    }

    /// Lets managed scaling act, if the group has differed from what the tasks need all the time.
    fn alarm(&mut self, cluster: &str, since: DateTime<Utc>) {
        let Some((provider, needed)) = self.reservation(cluster) else {
            return;
        };
        if needed != provider.needed || provider.since != since || needed == Ordering::Equal {
            return;
        }
        let Provider { group, id, .. } = &provider;
        let Some(bounds) = self.autoscaling.group(group) else {
            return;
        };
        let instances = self.instances_needed(cluster, &provider).max(bounds.min).min(bounds.max);
        let side = if needed == Ordering::Greater { "High" } else { "Low" };
        let alarm = format!("TargetTracking-{group}-Alarm{side}-{id}");
        self.raise_alarm(group, &alarm, &format!("ECSManagedAutoScalingPolicy-{id}"), instances);
        self.watch_reservation(cluster);
    }

    fn set_ecs_timer(&mut self, delay: Duration, timer: Timer) -> DateTime<Utc> {
        self.after(delay, crate::aws::world::Timer::Ecs(timer))
    }

    #[expect(clippy::expect_used, reason = "services are never removed; a miss is a defect of the lab")]
    fn service_mut(&mut self, key: &Key) -> &mut Service {
        self.ecs.services.get_mut(key).expect("the service exists")
    }
}

pub(super) fn daemon_has_no_count() -> ApiError {
    ApiError::new(
        "InvalidParameterException",
        "The daemon scheduling strategy does not support a desired count for services. Remove the desired count \
         value and try again",
    )
}
