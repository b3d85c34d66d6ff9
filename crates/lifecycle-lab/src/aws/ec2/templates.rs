//! Launch templates: their state, how they are found, and how names like `$Latest` resolve.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Ec2, Tags, is_well_formed};
use crate::aws::error::ApiError;
use crate::aws::world::{Effect, Sight, World};

/// The code for a version that does not exist.
pub(super) const NO_VERSION: &str = "InvalidLaunchTemplateId.VersionNotFound";

/// A launch template.
#[derive(Debug, Clone)]
pub struct LaunchTemplate {
    /// Its id.
    pub id: String,
    /// Its name, unique in the account.
    pub name: String,
    /// When it was created.
    pub created: DateTime<Utc>,
    /// Its tags.
    pub tags: Tags,
    /// The number of the version that `$Default` means.
    pub default_version: u64,
    /// Its versions by number.
    pub versions: BTreeMap<u64, TemplateVersion>,
    /// The highest number that a version ever had: none has it again.
    pub(super) numbered: u64,
}

/// A version of a launch template.
#[derive(Debug, Clone)]
pub struct TemplateVersion {
    /// Its number.
    pub number: u64,
    /// Its description.
    pub description: Option<String>,
    /// When it was created.
    pub created: DateTime<Utc>,
    /// The parameters of a launch, by their names in requests: `{"ImageId": "ami-…", "SecurityGroupId":
    /// ["sg-…"]}`.
    pub data: Value,
}

impl LaunchTemplate {
    /// The number of the version that `$Latest` means: the newest that there is.
    pub fn latest_version(&self) -> u64 {
        self.versions.keys().next_back().copied().unwrap_or_default()
    }

    /// The version of this number, or the one that `$Latest` or `$Default` means.
    pub(crate) fn version(&self, version: &str) -> Result<&TemplateVersion, ApiError> {
        let number = match version {
            "$Latest" => Some(self.latest_version()),
            "$Default" => Some(self.default_version),
            number => number.parse().ok(),
        };
        number.and_then(|number| self.versions.get(&number)).ok_or_else(|| self.no_version(version))
    }

    fn no_version(&self, version: &str) -> ApiError {
        let text = format!(
            "Could not find the specified version {version} for the launch template with ID {}.",
            self.id
        );
        ApiError::new(NO_VERSION, text)
    }
}

impl Ec2 {
    /// The launch template of this id or name.
    pub fn launch_template(&self, id_or_name: &str) -> Option<&LaunchTemplate> {
        let named = || self.templates.values().find(|template| template.name == id_or_name);
        self.templates.get(id_or_name).or_else(named)
    }

    /// Every launch template.
    pub fn launch_templates(&self) -> impl Iterator<Item = &LaunchTemplate> {
        self.templates.values()
    }
}

impl World {
    pub(super) fn see_version(&mut self, template: &str, version: u64, state: &'static str) {
        if let Some(LaunchTemplate { id, name, .. }) = self.ec2.templates.get(template) {
            let sight = Sight::TemplateVersion { template: id.clone(), name: name.clone(), version, state };
            self.send(Effect::Seen(sight));
        }
    }

    pub(super) fn see_default(&mut self, template: &str) {
        if let Some(LaunchTemplate { id, name, default_version, .. }) = self.ec2.templates.get(template) {
            let (template, name, version) = (id.clone(), name.clone(), *default_version);
            self.send(Effect::Seen(Sight::TemplateDefault { template, name, version }));
        }
    }
}

/// The template that a request names, by its id or by its name.
pub(crate) fn find<'a>(
    ec2: &'a Ec2,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<&'a LaunchTemplate, ApiError> {
    match (id, name) {
        (Some(id), None) => {
            if !is_well_formed("lt", id) {
                let text = format!("The following launch template ids are malformed: {id}");
                return Err(ApiError::new("InvalidLaunchTemplateId.Malformed", text));
            }
            ec2.templates.get(id).ok_or_else(|| unknown(id))
        }
        (None, Some(name)) => {
            check_name(name)?;
            ec2.templates.values().find(|template| template.name == name).ok_or_else(|| {
                let text =
                    format!("The specified launch template, with template name {name}, does not exist.");
                ApiError::new("InvalidLaunchTemplateName.NotFoundException", text)
            })
        }
        (Some(_), Some(_)) => Err(ApiError::new(
            "InvalidParameterCombination",
            "Either provide launch template ID or launch template name to modify the template.",
        )),
        (None, None) => Err(ApiError::new(
            "MissingParameter",
            "The request must contain the parameter LaunchTemplateId or LaunchTemplateName",
        )),
    }
}

pub(super) fn find_mut<'a>(
    world: &'a mut World,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<&'a mut LaunchTemplate, ApiError> {
    let id = find(&world.ec2, id, name)?.id.clone();
    world.ec2.templates.get_mut(&id).ok_or_else(|| unknown(&id))
}

fn unknown(id: &str) -> ApiError {
    let text = format!("The specified launch template, with template ID {id}, does not exist.");
    ApiError::new("InvalidLaunchTemplateId.NotFound", text)
}

pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "()./-_".contains(c);
    if (3..=128).contains(&name.chars().count()) && name.chars().all(legal) {
        return Ok(());
    }
    let text = "A launch template name must be between 3 and 128 characters, and may contain letters, numbers, and the \
                following characters: - ( ) . / _.";
    Err(ApiError::new("InvalidLaunchTemplateName.MalformedException", text))
}
