//! The launch sources of groups: launch configurations, of which the lab knows only the name, launch templates, and
//! mixed instances policies over templates. The version is resolved at each launch.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::aws::ec2::{Launch, LaunchOrder, TemplateVersion, templates};
use crate::aws::error::ApiError;
use crate::aws::world::World;

/// What a group launches instances from.
#[derive(Debug, Clone)]
pub(super) enum LaunchSource {
    Configuration(String),
    Template(TemplateSpec),
    Mixed { template: TemplateSpec, overrides: Vec<Override>, distribution: Option<Value> },
}

/// A launch template and which of its versions: `$Latest`, `$Default` or a number.
#[derive(Debug, Clone)]
pub(super) struct TemplateSpec {
    id: String,
    name: String,
    version: String,
}

/// What a mixed instances policy puts in the place of the template's own.
#[derive(Debug, Clone)]
pub(super) struct Override {
    instance_type: Option<String>,
    image: Option<String>,
    template: Option<TemplateSpec>,
}

/// What an instance was launched from; its group may have left it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchedFrom {
    /// A launch configuration, of which the lab knows nothing but the name.
    Configuration(String),
    /// A version of a launch template.
    Template {
        /// The template's id.
        id: String,
        /// Its name.
        name: String,
        /// The version's number.
        version: u64,
    },
}

/// A launch that EC2 accepts.
pub(super) struct Planned {
    pub(super) from: LaunchedFrom,
    pub(super) launch: Launch,
    /// The image of the override, if it names one.
    pub(super) image_override: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct TemplateRequest {
    launch_template_id: Option<String>,
    launch_template_name: Option<String>,
    version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct MixedRequest {
    launch_template: MixedTemplate,
    /// On-Demand and Spot are one to the lab: it shows this, and plays none of it.
    instances_distribution: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct MixedTemplate {
    launch_template_specification: TemplateRequest,
    #[serde(default)]
    overrides: Vec<OverrideRequest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct OverrideRequest {
    instance_type: Option<String>,
    image_id: Option<String>,
    launch_template_specification: Option<TemplateRequest>,
}

impl TemplateSpec {
    fn of(world: &World, request: TemplateRequest) -> Result<Self, ApiError> {
        let (id, name) = (request.launch_template_id.as_deref(), request.launch_template_name.as_deref());
        if id.is_some() == name.is_some() {
            let text = "Valid requests must contain either launchTemplateId or LaunchTemplateName";
            return Err(ApiError::validation(text));
        }
        let template = templates::find(&world.ec2, id, name).map_err(unusable)?;
        let version = request.version.unwrap_or_else(|| "$Default".to_owned());
        Ok(Self { id: template.id.clone(), name: template.name.clone(), version })
    }

    /// The version that is meant now.
    fn resolve<'a>(&self, world: &'a World) -> Result<&'a TemplateVersion, ApiError> {
        templates::find(&world.ec2, Some(&self.id), None)?.version(&self.version)
    }

    fn to_json(&self) -> Value {
        json!({ "LaunchTemplateId": self.id, "LaunchTemplateName": self.name, "Version": self.version })
    }

    /// As a request names it: by id alone.
    fn to_parameters(&self) -> Value {
        json!({ "LaunchTemplateId": self.id, "Version": self.version })
    }
}

impl LaunchSource {
    pub(super) fn template(world: &World, request: TemplateRequest) -> Result<Self, ApiError> {
        TemplateSpec::of(world, request).map(Self::Template)
    }

    pub(super) fn mixed(world: &World, request: MixedRequest) -> Result<Self, ApiError> {
        let MixedTemplate { launch_template_specification, overrides } = request.launch_template;
        let template = TemplateSpec::of(world, launch_template_specification)?;
        let overrides = overrides.into_iter().map(|one| {
            let template = one.launch_template_specification.map(|request| TemplateSpec::of(world, request));
            Ok(Override {
                instance_type: one.instance_type,
                image: one.image_id,
                template: template.transpose()?,
            })
        });
        let overrides = overrides.collect::<Result<_, ApiError>>()?;
        Ok(Self::Mixed { template, overrides, distribution: request.instances_distribution })
    }

    /// As answers show it.
    pub(super) fn to_json(&self) -> Value {
        self.shown(TemplateSpec::to_json)
    }

    /// As the parameters of a request that asks for the same.
    pub(super) fn to_parameters(&self) -> Value {
        self.shown(TemplateSpec::to_parameters)
    }

    /// A member that is not there is null: the XML of answers leaves it out, and requests are read as if
    /// without it.
    fn shown(&self, spec: fn(&TemplateSpec) -> Value) -> Value {
        match self {
            Self::Configuration(name) => json!({ "LaunchConfigurationName": name }),
            Self::Template(template) => json!({ "LaunchTemplate": spec(template) }),
            Self::Mixed { template, overrides, distribution } => {
                let overrides = overrides.iter().map(|one| {
                    json!({
                        "InstanceType": one.instance_type,
                        "ImageId": one.image,
                        "LaunchTemplateSpecification": one.template.as_ref().map(spec),
                    })
                });
                let template = json!({
                    "LaunchTemplateSpecification": spec(template),
                    "Overrides": overrides.collect::<Vec<_>>(),
                });
                json!({ "MixedInstancesPolicy": {
                    "LaunchTemplate": template,
                    "InstancesDistribution": distribution,
                } })
            }
        }
    }

    /// The source's template with each of its overrides, the preferred one first, or alone where there are
    /// none; a launch configuration has no template.
    fn variants(&self) -> Vec<(&TemplateSpec, Option<&Override>)> {
        match self {
            Self::Configuration(_) => Vec::new(),
            Self::Template(template) => vec![(template, None)],
            Self::Mixed { template, overrides, .. } if overrides.is_empty() => vec![(template, None)],
            Self::Mixed { template, overrides, .. } => {
                overrides.iter().map(|one| (template, Some(one))).collect()
            }
        }
    }
}

/// The template that is launched from: the override's own, if it has one.
fn effective<'a>(template: &'a TemplateSpec, one: Option<&'a Override>) -> &'a TemplateSpec {
    one.and_then(|one| one.template.as_ref()).unwrap_or(template)
}

impl World {
    /// What an instance would be launched with now. Of a mixed instances policy it is the first override,
    /// the one of the highest priority, for the lab never runs short of a type.
    pub(super) fn plan(
        &self,
        source: &LaunchSource,
        zone: &str,
        subnet: Option<&str>,
    ) -> Result<Planned, ApiError> {
        match source {
            LaunchSource::Configuration(name) => Ok(Planned {
                from: LaunchedFrom::Configuration(name.clone()),
                launch: self.ec2.plain_launch(),
                image_override: None,
            }),
            LaunchSource::Template(template) => self.plan_variant(template, None, zone, subnet),
            LaunchSource::Mixed { template, overrides, .. } => {
                self.plan_variant(template, overrides.first(), zone, subnet)
            }
        }
    }

    /// What an instance of a type would be launched with now.
    pub(super) fn plan_for(
        &self,
        source: &LaunchSource,
        instance_type: Option<&str>,
        zone: &str,
        subnet: Option<&str>,
    ) -> Result<Planned, ApiError> {
        let named =
            |one: &Override| one.instance_type.as_deref().is_none_or(|name| Some(name) == instance_type);
        match source.variants().into_iter().find(|(_, one)| one.is_none_or(named)) {
            Some((template, one)) => self.plan_variant(template, one, zone, subnet),
            None => self.plan(source, zone, subnet),
        }
    }

    fn plan_variant(
        &self,
        template: &TemplateSpec,
        one: Option<&Override>,
        zone: &str,
        subnet: Option<&str>,
    ) -> Result<Planned, ApiError> {
        let template = effective(template, one);
        let version = template.resolve(self)?;
        let image = one.and_then(|one| one.image.as_deref());
        let instance_type = one.and_then(|one| one.instance_type.as_deref());
        let order = LaunchOrder { data: &version.data, image, instance_type, subnet, zone };
        let mut launch = self.ec2.plan_launch(&order)?;
        let number = version.number;
        launch.tags.insert("aws:ec2launchtemplate:id".to_owned(), template.id.clone());
        launch.tags.insert("aws:ec2launchtemplate:version".to_owned(), number.to_string());
        let from =
            LaunchedFrom::Template { id: template.id.clone(), name: template.name.clone(), version: number };
        Ok(Planned { from, launch, image_override: image.map(str::to_owned) })
    }

    /// Refuses a source from which nothing could be launched now: AWS tries, when a group gets it.
    pub(super) fn check_source(
        &self,
        source: &LaunchSource,
        zones: &[String],
        subnets: &[String],
    ) -> Result<(), ApiError> {
        for (template, one) in source.variants() {
            for zone in zones {
                let subnet = self.subnet_in(subnets, zone);
                self.plan_variant(template, one, zone, subnet).map_err(unusable)?;
            }
        }
        Ok(())
    }

    /// The group's subnet in a zone.
    pub(super) fn subnet_in<'a>(&self, subnets: &'a [String], zone: &str) -> Option<&'a str> {
        let there = |id: &&String| self.ec2.subnet(id).is_some_and(|subnet| subnet.zone == zone);
        subnets.iter().find(there).map(String::as_str)
    }

    /// Whether an instance is what would be launched now: of the same version and of a type that the
    /// source has.
    pub(super) fn matches(
        &self,
        source: &LaunchSource,
        from: &LaunchedFrom,
        instance_type: Option<&str>,
    ) -> bool {
        source.variants().into_iter().any(|(template, one)| {
            let template = effective(template, one);
            let Ok(version) = template.resolve(self) else {
                return false;
            };
            let overriding = one.and_then(|one| one.instance_type.as_deref());
            let wanted = overriding.or(version.data["InstanceType"].as_str());
            let same = matches!(from, LaunchedFrom::Template { id, version: number, .. }
                if *id == template.id && *number == version.number);
            same && wanted == instance_type
        })
    }
}

fn unusable(error: ApiError) -> ApiError {
    if error.is_not_modelled() {
        return error;
    }
    ApiError::validation(format!("You must use a valid fully-formed launch template. {}", error.message))
}
