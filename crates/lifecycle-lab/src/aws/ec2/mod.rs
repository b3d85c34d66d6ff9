//! EC2: instances, images, snapshots, launch templates, networks and tags, one file per subject, and AWS Backup,
//! which makes images. This module holds the state and dispatches the actions. The rules are AWS's as documented in
//! the user guide and the API reference; a comment marks where they are not documented and the lab had to choose.

mod associations;
mod backups;
mod filters;
mod image_actions;
mod images;
mod instance_types;
mod instances;
mod launches;
mod networks;
mod snapshots;
mod tags;
mod template_actions;
mod template_data;
mod template_lists;
mod template_warnings;
pub(crate) mod templates;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use images::{Device, Image, ImageScript, ImageState};
pub use instances::{Instance, InstanceState};
pub(crate) use launches::{Launch, LaunchOrder};
pub(crate) use networks::find_subnets;
pub use networks::{DEFAULT_VPC, SecurityGroup, Subnet};
pub use snapshots::Snapshot;
pub use templates::{LaunchTemplate, TemplateVersion};

use crate::aws::error::ApiError;
use crate::aws::request::{Answer, Misfit, Request, Text, read};
use crate::aws::world::World;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// The service's state.
#[derive(Debug)]
pub struct Ec2 {
    /// The image of instances whose group does not say another.
    pub default_image: String,
    /// The devices of instances whose group does not say others, the root device first: an image of an
    /// instance has a snapshot of each.
    pub devices: Vec<String>,
    /// The longest page of a list, whatever a request asks for. AWS's own pages can be shorter than that
    /// too.
    pub page_size: usize,
    /// Most images of one instance that can be made at once: AWS lets five snapshots of a volume be pending.
    pub images_at_once: usize,
    /// Names of settings that EC2 has added to launch templates since the SDK was made. Every structure takes them, and
    /// versions keep them as they are.
    pub newer_settings: BTreeSet<String>,
    /// Most versions of one launch template.
    pub versions_per_template: usize,
    instances: BTreeMap<String, Instance>,
    images: BTreeMap<String, Image>,
    snapshots: BTreeMap<String, Snapshot>,
    scripts: BTreeMap<String, ImageScript>,
    /// What is set for the next images, by a text in their names.
    next_scripts: Vec<(String, ImageScript)>,
    /// AWS Backup's jobs by the images that they make.
    backups: BTreeMap<String, String>,
    templates: BTreeMap<String, LaunchTemplate>,
    security_groups: BTreeMap<String, SecurityGroup>,
    subnets: BTreeMap<String, Subnet>,
    /// Security groups, and the further VPCs that they are associated with.
    associations: BTreeSet<(String, String)>,
    /// By action and client token: the parameters, and what was answered.
    tokens: BTreeMap<(String, String), (Value, Option<Value>)>,
}

impl Default for Ec2 {
    fn default() -> Self {
        Self {
            default_image: "ami-00000000000000001".to_owned(),
            devices: vec!["/dev/xvda".to_owned()],
            page_size: 1_000,
            versions_per_template: 10_000,
            instances: BTreeMap::new(),
            images: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            images_at_once: 5,
            scripts: BTreeMap::new(),
            next_scripts: Vec::new(),
            backups: BTreeMap::new(),
            templates: BTreeMap::new(),
            security_groups: networks::default_groups(),
            subnets: networks::default_subnets(),
            associations: BTreeSet::new(),
            newer_settings: BTreeSet::new(),
            tokens: BTreeMap::new(),
        }
    }
}

/// Something that will happen by itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Timer {
    /// An image is made, or has failed.
    ImageDone { image: String, failure: Option<String> },
}

impl World {
    pub(crate) fn ec2_timer(&mut self, timer: Timer) {
        match timer {
            Timer::ImageDone { image, failure } => self.image_done(&image, failure),
        }
    }
}

/// Plays one action.
pub(crate) fn call(world: &mut World, request: &Request) -> Answer {
    match request.action.as_str() {
        "DescribeInstances" => run(world, request, instances::describe),
        "CreateImage" => run(world, request, image_actions::create),
        "DescribeImages" => run(world, request, image_actions::describe),
        "DeregisterImage" => run(world, request, image_actions::deregister),
        "DescribeSnapshots" => run(world, request, snapshots::describe),
        "DeleteSnapshot" => run(world, request, snapshots::delete),
        "CreateTags" => run(world, request, tags::create),
        "DeleteTags" => run(world, request, tags::delete),
        "DescribeTags" => run(world, request, tags::describe),
        "CreateLaunchTemplate" => once(world, request, template_actions::create),
        "CreateLaunchTemplateVersion" => once(world, request, template_actions::create_version),
        "DescribeLaunchTemplates" => run(world, request, template_lists::describe),
        "DescribeLaunchTemplateVersions" => run(world, request, template_lists::describe_versions),
        "ModifyLaunchTemplate" => once(world, request, template_actions::modify),
        "DeleteLaunchTemplateVersions" => run(world, request, template_actions::delete_versions),
        "DeleteLaunchTemplate" => run(world, request, template_actions::delete),
        "DescribeSecurityGroups" => run(world, request, networks::describe_groups),
        "DescribeSecurityGroupVpcAssociations" => run(world, request, associations::describe),
        "DescribeSubnets" => run(world, request, networks::describe_subnets),
        "DescribeInstanceTypes" => run(world, request, instance_types::describe),
        action => Err(ApiError::not_modelled(format!("ec2:{action}"))),
    }
}

/// Plays an action with the parameters that it takes, or refuses them in EC2's words.
fn run<T: DeserializeOwned>(
    world: &mut World,
    request: &Request,
    play: impl FnOnce(&mut World, T) -> Answer,
) -> Answer {
    let parameters = read(request.parameters.clone()).map_err(|misfit| match misfit {
        Misfit::Unknown(name) => {
            ApiError::not_modelled(format!("the parameter {name} of {}", request.action))
        }
        Misfit::Missing(name) => {
            ApiError::new("MissingParameter", format!("The request must contain the parameter {name}"))
        }
        Misfit::Wrong(text) => invalid(text),
    });
    play(world, parameters?)
}

/// Plays an action that a client token makes safe to repeat: with the same parameters the token brings
/// the first answer again, with others it is refused. A template is not answered again once it has got further versions or
/// is gone (recorded). For how long EC2 remembers a token is not documented; here, for good.
fn once<T: DeserializeOwned>(
    world: &mut World,
    request: &Request,
    play: impl FnOnce(&mut World, T) -> Answer,
) -> Answer {
    let mut request = request.clone();
    let token = request.parameters.as_object_mut().and_then(|parameters| parameters.remove("ClientToken"));
    let Some(Value::String(token)) = token else {
        return run(world, &request, play);
    };
    if token.len() > 128 || !token.is_ascii() {
        return Err(invalid("ClientToken exceeds the maximum of 128 ASCII characters"));
    }
    let key = (request.action.clone(), token);
    if let Some((parameters, answer)) = world.ec2.tokens.get(&key) {
        let (text, stays) = match request.action.as_str() {
            "CreateLaunchTemplate" => {
                let name = request.parameters["LaunchTemplateName"].as_str().unwrap_or_default();
                ("Client token already used before.", template_actions::is_fresh(&world.ec2, name))
            }
            "CreateLaunchTemplateVersion" => ("Client token already used before", true),
            _ => ("The specified client token has already been used before.", true),
        };
        return if stays && *parameters == request.parameters {
            Ok(answer.clone())
        } else {
            Err(ApiError::new("IdempotentParameterMismatch", text))
        };
    }
    let answer = run(world, &request, play)?;
    world.ec2.tokens.insert(key, (request.parameters, answer.clone()));
    Ok(answer)
}

/// As EC2 writes the times of creations: to the second, with milliseconds that are zero.
fn whole_second(time: DateTime<Utc>) -> String {
    time.trunc_subsecs(0).to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterValue", message)
}

/// The answer of actions that have nothing to tell.
fn done() -> Answer {
    Ok(Some(json!({ "return": true })))
}

/// One page of a list of items by id, in the ids' order; ids are random, so that is no order. Only what is on
/// it is put into words. The token is the id of the page's last item: what comes or goes meanwhile shifts
/// nothing.
fn page<I: AsRef<str>, T>(
    name: &str,
    items: impl Iterator<Item = (I, T)>,
    to_json: impl Fn(T) -> Value,
    most: usize,
    size: Option<Text<usize>>,
    token: Option<String>,
) -> Answer {
    let size = size.map_or(most, |Text(size)| size.clamp(1, most));
    let later = |id: &I| token.as_deref().is_none_or(|last| id.as_ref() > last);
    let mut items = items.filter(|(id, _)| later(id)).peekable();
    let mut page = Vec::new();
    let mut next = None;
    while page.len() < size
        && let Some((id, item)) = items.next()
    {
        page.push(to_json(item));
        next = items.peek().map(|_| id.as_ref().to_owned());
    }
    Ok(Some(json!({ name: page, "nextToken": next })))
}

/// The refusal of ids that don't exist: `The image id '[ami-1]' does not exist`. Each kind of id has words of
/// its own.
fn not_found(code: &'static str, one: &str, many: &str, quoted: [&str; 2], ids: &[String]) -> ApiError {
    let [open, close] = quoted;
    let list = format!("{open}{}{close}", ids.join(", "));
    ApiError::new(
        code,
        match ids {
            [_] => format!("{one} {list} does not exist"),
            _ => format!("{many} {list} do not exist"),
        },
    )
}

/// Whether an id can be one of this kind.
fn is_well_formed(prefix: &str, id: &str) -> bool {
    let digits = id.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    digits.is_some_and(|digits| !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_hexdigit()))
}

/// Refuses an id that can't be one: `ami-` and digits of base 16 are wanted, for example.
fn well_formed(code: &'static str, prefix: &str, id: &str) -> Result<(), ApiError> {
    if is_well_formed(prefix, id) {
        return Ok(());
    }
    Err(ApiError::new(code, format!("Invalid id: \"{id}\" (expecting \"{prefix}-...\")")))
}
