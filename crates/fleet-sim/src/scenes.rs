//! The scenes for single events: an instance that waits in the hook of the event, two services that are awake, a
//! launch template with a newer backup.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_sdk_autoscaling::Client;
use aws_sdk_ec2::types::{InstanceType, RequestLaunchTemplateData};
use chrono::{DateTime, Utc};
use fleet::functions::answering_for;
use fleet::list;
use fleet::operator::{create, desire, hook, register};
use fleet::template::Template;
use lifecycle_lab::autoscaling::Instance;
use lifecycle_lab::ec2::Image;
use lifecycle_lab::ecs::Scheduling;
use lifecycle_lab::{Lab, World};
use serde_json::Value;

/// How long before the event a scene begins: time for an instance to boot, and to be found failed.
pub(crate) const PROLOGUE: Duration = Duration::from_secs(180);

/// How far the lab's clock moves at a time.
const STEP: Duration = Duration::from_secs(1);

/// An hour, AWS's default: long enough to try out a function.
const HEARTBEAT_TIMEOUT: i32 = 3_600;

/// The group of the samples.
const GROUP: &str = "web";

/// The services of the samples.
const SERVICES: [&str; 2] = ["web", "api"];

/// The public parameter that the samples name.
const PUBLIC_PARAMETER: &str = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";

/// The newest backup in the samples.
const IMAGE: &str = "ami-0123456789abcdef0";

/// Security groups, and what the samples call them.
const SECURITY_GROUPS: [(&str, &str); 2] =
    [("web", "sg-0123456789abcdef0"), ("admin", "sg-0123456789abcdef1")];

/// What an event meets.
pub(crate) struct Scene {
    /// For the reader.
    pub(crate) description: String,
    /// What the function needs to know.
    pub(crate) variables: BTreeMap<String, String>,
    /// What the event calls something, and what it is called in the scene.
    pub(crate) names: BTreeMap<String, String>,
    /// What it is about.
    pub(crate) about: About,
}

/// What a scene is about.
pub(crate) enum About {
    /// An instance, by its id.
    Instance(String),
    /// Scalable targets, by their resource ids.
    Targets(Vec<String>),
    /// A launch template, by its name.
    Template(&'static str),
}

impl About {
    /// How it is now, line by line.
    pub(crate) fn state(&self, world: &World) -> Vec<String> {
        match self {
            Self::Instance(id) => {
                let state = world.autoscaling.instance(id).map_or("gone", |instance| instance.state);
                vec![format!("the instance {id} is {state}")]
            }
            Self::Targets(ids) => {
                let found = ids.iter().filter_map(|id| Some((id, world.scalable_targets.target(id)?)));
                found.map(|(id, target)| format!("{id} is {} to {}", target.min, target.max)).collect()
            }
            Self::Template(name) => {
                let found = world.ec2.launch_template(name).into_iter();
                found
                    .map(|found| format!("the template's default is version {}", found.default_version))
                    .collect()
            }
        }
    }
}

/// Sets the scene for a function and an event; it takes [`PROLOGUE`].
///
/// # Errors
/// There is no scene for this function.
pub(crate) async fn set(lab: &Lab, function: &str, sample: &Value) -> anyhow::Result<Scene> {
    let event = lab.now() + PROLOGUE;
    let scene = match function {
        "ecs-scheduler" => shop(lab).await,
        "lt-ami-refresher" => backups(lab).await,
        other => wait(lab, sample, other, transition_of(other)?).await,
    }?;
    lab.skip((event - lab.now()).to_std().unwrap_or_default());
    Ok(scene)
}

/// The first text under a key, at any depth, also inside texts that hold JSON.
pub(crate) fn text(value: &Value, key: &str) -> Option<String> {
    match value {
        Value::Object(fields) => match fields.get(key) {
            Some(Value::String(found)) => Some(found.clone()),
            _ => fields.values().find_map(|field| text(field, key)),
        },
        Value::Array(items) => items.iter().find_map(|item| text(item, key)),
        Value::String(inner) if inner.starts_with('{') => {
            text(&serde_json::from_str::<Value>(inner).ok()?, key)
        }
        _ => None,
    }
}

/// The transition of the hooks that a function answers: terminations, if a rule of its template takes them.
fn transition_of(function: &str) -> anyhow::Result<&'static str> {
    ensure!(list::function(function).is_some(), "there is no function {function}");
    let template = Template::of(function);
    let answers_hooks = template.section("Parameters").contains_key("LifecycleHooks");
    ensure!(answers_hooks, "there is no scene for {function}");
    let rules = template.deploy(&answering_for(GROUP, function)).patterns();
    let terminates =
        |pattern: &Value| pattern.to_string().contains("EC2 Instance-terminate Lifecycle Action");
    Ok(if rules.iter().any(|(_, pattern)| terminates(pattern)) { "TERMINATING" } else { "LAUNCHING" })
}

/// A group whose one instance waits in a hook: the one that the event names, else this one.
async fn wait(lab: &Lab, sample: &Value, name: &str, transition: &str) -> anyhow::Result<Scene> {
    let group = text(sample, "AutoScalingGroupName").unwrap_or_else(|| GROUP.to_owned());
    let name = text(sample, "LifecycleHookName").unwrap_or_else(|| name.to_owned());
    let named = text(sample, "LifecycleTransition");
    let transition = named.as_deref().and_then(|named| named.rsplit('_').next()).unwrap_or(transition);

    let operator = Client::new(&lab.sdk_config("operator"));
    create(&operator, &group, &["us-east-1a"]).await?;
    hook(&operator, &group, &name, transition, HEARTBEAT_TIMEOUT, "CONTINUE").await?;
    desire(&operator, &group, 1).await?;
    if transition == "TERMINATING" {
        let instance = reach(lab, |world| in_state(world, "InService"))?;
        lab.world(|world| world.fail_status_check(&instance));
    }
    let token = |instance: &Instance| Some((instance.id.clone(), instance.waits.get(&name)?.token.clone()));
    let (instance, token) = reach(lab, |world| world.autoscaling.instances().find_map(token))?;

    let mut names = BTreeMap::new();
    for (key, name) in
        [("EC2InstanceId", &instance), ("instance-id", &instance), ("LifecycleActionToken", &token)]
    {
        names.extend(text(sample, key).map(|found| (found, name.clone())));
    }
    Ok(Scene {
        description: format!("An instance of the group {group} waits in the hook {name}."),
        variables: [("AUTO_SCALING_GROUPS".to_owned(), group)].into(),
        names,
        about: About::Instance(instance),
    })
}

/// A cluster with two services of two tasks each, whose scalable targets are 1 to 3.
pub(crate) async fn shop(lab: &Lab) -> anyhow::Result<Scene> {
    let operator = aws_sdk_applicationautoscaling::Client::new(&lab.sdk_config("operator"));
    let targets = SERVICES.map(|service| format!("service/shop/{service}"));
    for (service, target) in SERVICES.iter().zip(&targets) {
        lab.world(|world| world.add_service("shop", service, Scheduling::Replica, 2))?;
        register(&operator, target, (1, 3)).await?;
    }
    let variables = [
        ("RESOURCE_IDS".to_owned(), targets.join(",")),
        ("WORKING_HOURS".to_owned(), "MON-FRI 09:00-18:00".to_owned()),
    ];
    Ok(Scene {
        description: "A cluster has two services of two tasks each.".to_owned(),
        variables: variables.into(),
        names: BTreeMap::new(),
        about: About::Targets(targets.into()),
    })
}

/// A launch template with yesterday's backup of an instance; today's is there, and a public image of AWS.
pub(crate) async fn backups(lab: &Lab) -> anyhow::Result<Scene> {
    let day = Duration::from_secs(24 * 3_600);
    let [old, new] = [lab.now() - day, lab.now()].map(|created| backup(lab, created));
    let groups = SECURITY_GROUPS.map(|(group, found)| {
        (found.to_owned(), lab.world(|world| world.add_security_group(group, "vpc-0a0b0c0d0e0f00001")))
    });
    let mut public = Image::new("al2023-ami-2023", lab.now());
    (public.owner, public.public) = ("137112412989".to_owned(), true);
    lab.world(|world| {
        let public = world.add_image(public);
        world.parameters.insert(PUBLIC_PARAMETER.to_owned(), public);
    });
    let operator = aws_sdk_ec2::Client::new(&lab.sdk_config("operator"));
    let data = RequestLaunchTemplateData::builder().image_id(&old).instance_type(InstanceType::T3Micro);
    let create = operator.create_launch_template().launch_template_name(GROUP);
    create.launch_template_data(data.build()).send().await?;
    let variables = [("EC2_INSTANCE_NAME", GROUP), ("LAUNCH_TEMPLATE_NAME", GROUP)];
    Ok(Scene {
        description: format!("The launch template {GROUP} has yesterday's backup {old}; today's is {new}."),
        variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        names: groups.into_iter().chain([(IMAGE.to_owned(), new)]).collect(),
        about: About::Template(GROUP),
    })
}

/// A backup of the instance that was made at this time.
pub(crate) fn backup(lab: &Lab, created: DateTime<Utc>) -> String {
    let mut image = Image::new(&format!("AwsBackup_i-1234567890abcdef0_{}", created.timestamp()), created);
    image.tags.insert("Name".to_owned(), GROUP.to_owned());
    image.tags.insert("Stage".to_owned(), "production".to_owned());
    image.tags.insert("aws:backup:source-resource".to_owned(), "i-1234567890abcdef0".to_owned());
    lab.world(|world| world.add_image(image))
}

fn in_state(world: &World, state: &str) -> Option<String> {
    world.autoscaling.instances().find(|one| one.state == state).map(|one| one.id.clone())
}

/// Moves the lab's clock, by half the prologue at most, until the world shows this.
fn reach<T>(lab: &Lab, look: impl Fn(&World) -> Option<T>) -> anyhow::Result<T> {
    for _ in 0..PROLOGUE.as_secs() / STEP.as_secs() / 2 {
        if let Some(found) = lab.world(|world| look(world)) {
            return Ok(found);
        }
        lab.skip(STEP);
    }
    None.context("no instance came into the scene")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{text, transition_of};

    #[test]
    fn a_functions_rules_say_which_transition_it_answers() {
        for (function, transition) in [
            ("launch-logger", Some("LAUNCHING")),
            ("terminate-drainer", Some("TERMINATING")),
            ("ami-snapshotter", Some("TERMINATING")),
            ("ecs-scheduler", None),
            ("nothing", None),
        ] {
            assert_eq!(transition_of(function).ok(), transition, "{function}");
        }
    }

    #[test]
    fn a_text_is_found_in_every_envelope() {
        let message = json!({ "EC2InstanceId": "i-1" });
        let notification = json!({ "Message": message.to_string() });
        for payload in [
            json!({ "detail": message }),
            json!({ "Records": [{ "body": "{broken" }, { "body": message.to_string() }] }),
            json!({ "Records": [{ "Sns": notification }] }),
            json!({ "Records": [{ "body": notification.to_string() }] }),
        ] {
            assert_eq!(text(&payload, "EC2InstanceId").as_deref(), Some("i-1"), "{payload}");
        }
        assert_eq!(text(&json!({ "EC2InstanceId": 1 }), "EC2InstanceId"), None);
    }
}
