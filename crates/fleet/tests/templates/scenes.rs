//! The functions as their templates deploy them: behind the stack's own rules and schedules, with its variables,
//! in a lab in which they come to make every call that they can make; `permissions` compares the calls with the role.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::LaunchTemplateSpecification;
use aws_sdk_ec2::types::{InstanceType, RequestLaunchTemplateData};
use lambda_kit::{Function, Variables};
use lifecycle_lab::ec2::{Image, ImageScript};
use lifecycle_lab::ecs::Scheduling;
use lifecycle_lab::faults::EventFault;
use lifecycle_lab::run_command::Script;
use lifecycle_lab::{Call, Lab, World};
use serde_json::Value;

use crate::permissions::check;
use fleet::template::{Stack, Template};

const HOUR: Duration = Duration::from_secs(3_600);

/// A name so long that it does not fit into a command's comment, with an end that a hook's name can't have.
const LONG_GROUP: &str = "a-group-whose-name-is-longer-than-what-fits-into-the-comment-of-a-command-\
                                     of-run-command-which-is-a-hundred-characters-in-all";

/// Stands for the id of the launch template, which the lab makes.
const TEMPLATE: &str = "TEMPLATE";

const LAUNCHING: &str = "autoscaling:EC2_INSTANCE_LAUNCHING";
const TERMINATING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";

/// What a function was seen to do, and what is needed to tell which resources it did it to.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) calls: Vec<Call>,
    /// The group of each instance.
    pub(crate) instances: BTreeMap<String, String>,
    /// The tags of each image.
    pub(crate) images: BTreeMap<String, BTreeMap<String, String>>,
    /// What groups launch instances from.
    pub(crate) launches: Option<Launches>,
}

/// A launch template, and the role that its instances get.
#[derive(Debug)]
pub(crate) struct Launches {
    pub(crate) template: String,
    pub(crate) role: Option<String>,
}

/// A lab in which one function is deployed.
struct Scene {
    lab: Lab,
    operator: Client,
    function: &'static str,
    record: Record,
}

/// A stack, and what its function was seen to do.
pub(crate) struct Played {
    pub(crate) stack: Stack,
    pub(crate) record: Record,
}

#[tokio::test(start_paused = true)]
async fn launch_logger_may_do_what_it_does() {
    check(&launches(&[("AutoScalingGroups", "web")]).await);
    check(&launches(&[("AutoScalingGroups", "we*"), ("OnFailure", "CONTINUE")]).await);
}

/// Launches behind the hook, one of which the sweep finds, and a warm pool.
async fn launches(parameters: &[(&str, &str)]) -> Played {
    let stack = Template::of(launch_logger::NAME).deploy(parameters);
    let mut scene = Scene::of(&stack, launch_logger::NAME);
    scene.deploy::<launch_logger::Context>(&stack, Duration::from_secs(30));
    scene.group("web", &[("launch-logger", LAUNCHING, 300)]).await;
    let pool = scene.operator.put_warm_pool().auto_scaling_group_name("web").min_size(0);
    pool.max_group_prepared_capacity(0).send().await.unwrap();
    let launch = "EC2 Instance-launch Lifecycle Action";
    scene.lab.faults().script_events(launch, [EventFault::Lost]);
    scene.resize("web", 2).await;
    scene.until(|world| in_service(world, "web") == 2).await;
    scene.end(stack)
}

#[tokio::test(start_paused = true)]
async fn terminate_drainer_may_do_what_it_does() {
    let groups = format!("web, {LONG_GROUP}");
    for parameters in [
        &[("AutoScalingGroups", groups.as_str())][..],
        &[("AutoScalingGroups", &groups), ("Wait", "poll"), ("SsmDocument", "AWS-RunPowerShellScript")],
    ] {
        check(&drains(parameters).await);
    }
}

/// Drains that take longer than the hook's timeout, in a group with a warm pool and in one with a long name. The
/// agent of the first falls silent before it gets the commands.
async fn drains(parameters: &[(&str, &str)]) -> Played {
    let stack = Template::of(terminate_drainer::NAME).deploy(parameters);
    let mut scene = Scene::of(&stack, terminate_drainer::NAME);
    scene.deploy::<terminate_drainer::Context>(&stack, Duration::from_secs(30));
    let script = Script { duration: 4 * HOUR, ..Script::default() };
    scene.lab.world(|world| world.run_command.default_script = script);
    for group in ["web", LONG_GROUP] {
        scene.group(group, &[("terminate-drainer", TERMINATING, 3_600)]).await;
        scene.resize(group, 1).await;
        scene.until(|world| in_service(world, group) == 1).await;
        // By then its agent has registered.
        scene.lab.sleep(Duration::from_secs(60)).await;
        if group == "web" {
            let pool = scene.operator.put_warm_pool().auto_scaling_group_name("web").min_size(0);
            pool.max_group_prepared_capacity(0).send().await.unwrap();
            scene.lab.world(|world| {
                let dying = world.autoscaling.instances().next().unwrap().id.clone();
                world.silence_agent(&dying, Duration::from_secs(180));
            });
        }
        scene.resize(group, 0).await;
        scene.until(|world| world.autoscaling.instances().all(|one| one.group != group)).await;
    }
    scene.end(stack)
}

#[tokio::test(start_paused = true)]
async fn ami_snapshotter_may_do_what_it_does() {
    for parameters in [
        &[("AutoScalingGroups", "web")][..],
        &[("AutoScalingGroups", "w*"), ("ImageRetention", "3h"), ("CompleteLaunch", "true")],
    ] {
        check(&deaths(parameters).await);
    }
}

/// A launch, and a death that nobody planned, whose image takes longer than the hook's timeout; then the image
/// grows old.
async fn deaths(parameters: &[(&str, &str)]) -> Played {
    let stack = Template::of(ami_snapshotter::NAME).deploy(parameters);
    let mut scene = Scene::of(&stack, ami_snapshotter::NAME);
    scene.deploy::<ami_snapshotter::Context>(&stack, Duration::from_secs(30));
    let ec2 = aws_sdk_ec2::Client::new(&scene.lab.sdk_config("operator"));
    let data = RequestLaunchTemplateData::builder().key_name("operator").build();
    ec2.create_launch_template().launch_template_name("web").launch_template_data(data).send().await.unwrap();

    let hooks =
        [("ami-snapshotter-launching", LAUNCHING, 300), ("ami-snapshotter-terminating", TERMINATING, 1_800)];
    scene.group("web", &hooks).await;
    scene.resize("web", 1).await;
    scene.until(|world| in_service(world, "web") == 1).await;
    let pool = scene.operator.put_warm_pool().auto_scaling_group_name("web").min_size(0);
    pool.max_group_prepared_capacity(0).send().await.unwrap();

    let dying = scene.lab.world(|world| {
        let dying = world.autoscaling.instances().next().unwrap().id.clone();
        let script = ImageScript { pending: 2 * HOUR, failure: None };
        world.ec2.set_image_script(&dying, script);
        world.fail_instance(&dying);
        dying
    });
    scene.until(|world| world.autoscaling.instance(&dying).is_none()).await;
    scene.look();
    assert_eq!(scene.record.images.len(), 1, "one death, one image");
    scene.lab.sleep(4 * HOUR).await;
    scene.end(stack)
}

#[tokio::test(start_paused = true)]
async fn lt_ami_refresher_may_do_what_it_does() {
    let instance = ("Ec2InstanceName", "web");
    check(&refreshes(&[instance, ("LaunchTemplateName", "web")], None).await);

    let role = "arn:aws:iam::123456789012:role/web";
    let with_everything = [
        instance,
        ("LaunchTemplateId", TEMPLATE),
        ("KeepVersions", "1"),
        ("InstanceRefresh", "true"),
        ("AutoScalingGroups", "web"),
        ("InstanceRole", role),
    ];
    check(&refreshes(&with_everything, Some(role)).await);

    for name in ["golden", "/golden/web:3", "/aws/service/golden"] {
        let source = format!("ssm:{name}");
        let parameters = [("ImageSource", source.as_str()), ("LaunchTemplateName", "web")];
        check(&refreshes(&parameters, None).await);
    }
}

/// A backup ends, and its image goes into a launch template of three versions that a group launches from.
/// [`TEMPLATE`] among the parameters stands for its id.
async fn refreshes(parameters: &[(&str, &str)], role: Option<&str>) -> Played {
    let lab = lab();
    let ec2 = aws_sdk_ec2::Client::new(&lab.sdk_config("operator"));
    let (subnet, groups, old, new) = lab.world(|world| {
        let subnet = world.add_subnet("vpc-0a0b0c0d0e0f00001", "us-east-1a");
        let group = world.add_security_group("web", "vpc-0a0b0c0d0e0f00001");
        let shared = world.add_security_group("shared", "vpc-0a0b0c0d0e0f00002");
        world.associate_security_group(&shared, "vpc-0a0b0c0d0e0f00001");
        let now = world.now();
        let mut backup = |age: Duration| {
            let mut image = Image::new(&format!("AwsBackup_i-0123_{}", age.as_secs()), now - age);
            image.tags.insert("Name".to_owned(), "web".to_owned());
            image.tags.insert("aws:backup:source-resource".to_owned(), "i-0123".to_owned());
            world.add_image(image)
        };
        (subnet, [group, shared], backup(24 * HOUR), backup(HOUR))
    });
    if let Some((_, source)) = parameters.iter().find(|(name, _)| *name == "ImageSource") {
        let name = source.trim_start_matches("ssm:").to_owned();
        lab.world(|world| world.parameters.insert(name, new.clone()));
    }
    let data = RequestLaunchTemplateData::builder().image_id(old).instance_type(InstanceType::T3Micro);
    let data = data.set_security_group_ids(Some(groups.into())).build();
    let create = ec2.create_launch_template().launch_template_name("web").launch_template_data(data.clone());
    let template = create.send().await.unwrap().launch_template.unwrap().launch_template_id.unwrap();
    for _ in 0..2 {
        let more = ec2.create_launch_template_version().launch_template_id(&template);
        more.launch_template_data(data.clone()).send().await.unwrap();
    }

    let with_id = |value| if value == TEMPLATE { template.as_str() } else { value };
    let parameters: Vec<_> = parameters.iter().map(|(name, value)| (*name, with_id(*value))).collect();
    let stack = Template::of(lt_ami_refresher::NAME).deploy(&parameters);
    let mut scene = Scene::inside(lab, &stack, lt_ami_refresher::NAME);
    scene.deploy::<lt_ami_refresher::Context>(&stack, Duration::from_secs(60));
    let from = LaunchTemplateSpecification::builder().launch_template_id(&template).version("$Default");
    let create = scene.operator.create_auto_scaling_group().auto_scaling_group_name("web");
    let create = create.launch_template(from.build()).vpc_zone_identifier(subnet);
    create.min_size(0).max_size(4).desired_capacity(1).send().await.unwrap();
    scene.until(|world| in_service(world, "web") == 1).await;

    let event = crate::text("events/lt-ami-refresher/backup-completed.json");
    let event = event.replace("ami-0123456789abcdef0", &new);
    scene.lab.publish(serde_json::from_str(&event).unwrap());
    scene.lab.sleep(HOUR).await;
    for (_, schedule) in stack.of_type("AWS::Scheduler::Schedule") {
        let input = serde_json::from_str(schedule["Target"]["Input"].as_str().unwrap()).unwrap();
        scene.lab.invoke(scene.function, input, 1).await.unwrap();
    }
    scene.record.launches = Some(Launches { template, role: role.map(str::to_owned) });
    scene.end(stack)
}

#[tokio::test(start_paused = true)]
async fn ecs_scheduler_may_do_what_it_does() {
    let services = ("ResourceIds", "service/shop/web, service/office/*");
    for parameters in [
        &[services][..],
        &[
            services,
            ("WorkingHours", "MON-FRI 09:00-18:00"),
            ("Rolearn", "arn:aws:iam::123456789012:role/scaling"),
        ],
        &[("DiscoverTag", "office-hours")],
    ] {
        check(&schedules(parameters).await);
    }
}

/// A service with a target and one without that wake and sleep, by the stack's own schedules.
async fn schedules(parameters: &[(&str, &str)]) -> Played {
    let stack = Template::of(ecs_scheduler::NAME).deploy(parameters);
    let scene = Scene::of(&stack, ecs_scheduler::NAME);
    scene.deploy::<ecs_scheduler::Context>(&stack, Duration::from_secs(60));
    scene.lab.world(|world| {
        for (cluster, service) in [("shop", "web"), ("office", "api")] {
            world.add_service(cluster, service, Scheduling::Replica, 2).unwrap();
            world.tag_service(cluster, service, "office-hours", Some("MON-FRI 09:00-18:00")).unwrap();
        }
    });
    let scaling = aws_sdk_applicationautoscaling::Client::new(&scene.lab.sdk_config("operator"));
    fleet::operator::register(&scaling, "service/shop/web", (2, 6)).await.unwrap();
    let inputs: Vec<Value> = stack
        .of_type("AWS::Scheduler::Schedule")
        .map(|(_, schedule)| serde_json::from_str(schedule["Target"]["Input"].as_str().unwrap()).unwrap())
        .collect();
    // Start and stop by turns, or the same all day: on Saturday evening, on Monday morning, on Monday evening.
    for (turn, hours) in [12, 39, 10, 14].into_iter().enumerate() {
        scene.lab.sleep(hours * HOUR).await;
        scene.lab.invoke(scene.function, inputs[turn % inputs.len()].clone(), 1).await.unwrap();
    }
    scene.end(stack)
}

impl Scene {
    /// With the stack's rules, and its sweep.
    fn of(stack: &Stack, function: &'static str) -> Self {
        Self::inside(lab(), stack, function)
    }

    fn inside(lab: Lab, stack: &Stack, function: &'static str) -> Self {
        for (_, pattern) in stack.patterns() {
            lab.add_rule(&pattern, function).unwrap();
        }
        for (id, rule) in stack.of_type("AWS::Events::Rule") {
            if !rule["ScheduleExpression"].is_null() {
                let minutes = match rule["ScheduleExpression"].as_str().unwrap() {
                    "rate(1 minute)" => 1,
                    "rate(5 minutes)" => 5,
                    other => panic!("{id}: {other}"),
                };
                let event = crate::text(&format!("events/{function}/scheduled.json"));
                let event = serde_json::from_str(&event).unwrap();
                lab.schedule(Duration::from_secs(60 * minutes), function, event);
            }
        }
        let operator = Client::new(&lab.sdk_config("operator"));
        Self { lab, operator, function, record: Record::default() }
    }

    /// The function, in this process, with the stack's variables.
    fn deploy<F: Function + Send + Sync + 'static>(&self, stack: &Stack, time_limit: Duration) {
        fleet::functions::deploy::<F>(&self.lab, self.function, time_limit, &variables(stack)).unwrap();
    }

    /// The function's standard output.
    async fn group(&self, name: &str, hooks: &[(&str, &str, i32)]) {
        let create = self.operator.create_auto_scaling_group().auto_scaling_group_name(name);
        let create = create.launch_configuration_name("web").availability_zones("us-east-1a");
        create.min_size(0).max_size(4).desired_capacity(0).send().await.unwrap();
        for (hook, transition, timeout) in hooks {
            let put =
                self.operator.put_lifecycle_hook().auto_scaling_group_name(name).lifecycle_hook_name(*hook);
            let put = put.lifecycle_transition(*transition).heartbeat_timeout(*timeout);
            put.default_result("CONTINUE").send().await.unwrap();
        }
    }

    async fn resize(&self, group: &str, size: i32) {
        let set = self.operator.set_desired_capacity().auto_scaling_group_name(group).desired_capacity(size);
        set.send().await.unwrap();
    }

    async fn until(&mut self, reached: impl FnMut(&World) -> bool) {
        let lab = self.lab.clone();
        let mut reached = reached;
        let looking = |world: &World| {
            self.record.look(world);
            reached(world)
        };
        assert!(lab.until(12 * HOUR, looking).await, "it never came to that: {:#?}", lab.calls());
    }

    fn look(&mut self) {
        self.lab.world(|world| self.record.look(world));
    }

    fn end(mut self, stack: Stack) -> Played {
        self.look();
        assert_eq!(self.lab.failures(), [], "a function that fails does not make all its calls");
        let calls = self.lab.calls().into_iter();
        self.record.calls = calls.filter(|call| call.caller == self.function).collect();
        Played { stack, record: self.record }
    }
}

impl Record {
    /// Notes what is there now and may be gone later.
    fn look(&mut self, world: &World) {
        for instance in world.autoscaling.instances() {
            self.instances.insert(instance.id.clone(), instance.group.clone());
        }
        for image in world.ec2.images() {
            self.images.insert(image.id.clone(), image.tags.clone());
        }
    }
}

/// An empty lab.
fn lab() -> Lab {
    Lab::new("2026-11-21T08:00:00Z".parse().unwrap(), 3)
}

fn in_service(world: &World, group: &str) -> usize {
    let members = world.autoscaling.instances().filter(|one| one.group == group);
    members.filter(|one| one.state == "InService").count()
}

/// The variables that the stack sets.
fn variables(stack: &Stack) -> Variables {
    crate::variables(stack).into_iter().collect()
}
