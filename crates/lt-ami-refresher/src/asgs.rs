//! The Auto Scaling groups that use the launch template: the versions that they name, the warnings about groups that
//! don't follow the default version, and instance refreshes.
//!
//! AWS calls: `autoscaling:DescribeAutoScalingGroups`, `autoscaling:StartInstanceRefresh`.

use std::collections::BTreeSet;

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::error::ProvideErrorMetadata;
use aws_sdk_autoscaling::types::{
    AutoScalingGroup, Instance, LaunchTemplateOverrides, LaunchTemplateSpecification, RefreshPreferences,
};
use lambda_kit::Error;
use tracing::debug;

use crate::config::{Source, source};

/// Groups per page, the maximum of Auto Scaling.
const PAGE_SIZE: i32 = 100;

/// A launch template. A group can name it by id or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The number of its default version.
    pub default: i64,
    /// The number of its newest version.
    pub latest: i64,
}

impl Template {
    fn is(&self, named: &LaunchTemplateSpecification) -> bool {
        match named.launch_template_id() {
            Some(id) => id == self.id,
            None => named.launch_template_name() == Some(&self.name),
        }
    }

    /// The version, if the specification names this template.
    fn version(&self, named: &LaunchTemplateSpecification) -> Option<Source> {
        match named.version() {
            _ if !self.is(named) => None,
            None | Some("") => Some(Source::Default),
            Some(text) => source(text).ok(),
        }
    }

    fn number(&self, meant: Source) -> i64 {
        match meant {
            Source::Default => self.default,
            Source::Latest => self.latest,
            Source::Number(number) => number,
        }
    }
}

/// How a group uses a launch template.
#[derive(Debug, Clone, Copy)]
pub struct Use<'a> {
    group: &'a AutoScalingGroup,
    template: &'a Template,
}

impl<'a> Use<'a> {
    /// How `group` uses `template`, if it does.
    pub fn of(group: &'a AutoScalingGroup, template: &'a Template) -> Option<Self> {
        let found = Self { group, template };
        found.named().next().is_some().then_some(found)
    }

    /// The group's name.
    pub fn name(&self) -> &'a str {
        self.group.auto_scaling_group_name().unwrap_or_default()
    }

    /// All launch templates that the group names.
    fn specifications(&self) -> impl Iterator<Item = &'a LaunchTemplateSpecification> {
        let overrides = self.overrides().iter().filter_map(|one| one.launch_template_specification());
        self.main().into_iter().chain(overrides)
    }

    /// The launch templates that the group may have launched this instance from: its own, and those of overrides for the
    /// instance's type or for any.
    fn sources(&self, instance: &Instance) -> impl Iterator<Item = &'a LaunchTemplateSpecification> {
        let kind = instance.instance_type().map(str::to_owned);
        let fits = move |one: &&LaunchTemplateOverrides| {
            one.instance_type().is_none() || kind.is_none() || one.instance_type() == kind.as_deref()
        };
        let overrides = self.overrides().iter().filter(fits);
        self.main().into_iter().chain(overrides.filter_map(|one| one.launch_template_specification()))
    }

    fn main(&self) -> Option<&'a LaunchTemplateSpecification> {
        let policy = self.group.mixed_instances_policy().and_then(|policy| policy.launch_template());
        self.group.launch_template().or_else(|| policy?.launch_template_specification())
    }

    fn overrides(&self) -> &'a [LaunchTemplateOverrides] {
        let policy = self.group.mixed_instances_policy().and_then(|policy| policy.launch_template());
        policy.map(|policy| policy.overrides()).unwrap_or_default()
    }

    /// The versions of the template that the group names.
    fn named(&self) -> impl Iterator<Item = Source> {
        self.specifications().filter_map(|named| self.template.version(named))
    }

    /// The version numbers that the group names.
    pub fn numbers(&self) -> BTreeSet<i64> {
        let number = |meant| if let Source::Number(number) = meant { Some(number) } else { None };
        self.named().filter_map(number).collect()
    }

    /// The reasons why the group does not launch instances from the default version.
    pub fn warnings(&self) -> Vec<String> {
        let (name, template) = (self.name(), self.template);
        let mut warnings = BTreeSet::new();
        for meant in self.named() {
            match meant {
                Source::Number(number) if number != template.default => {
                    warnings.insert(format!(
                        "{name} is pinned to version {number} of {}: it never launches from a new version",
                        template.id
                    ));
                }
                Source::Latest if template.latest != template.default => {
                    warnings.insert(format!(
                        "{name} follows $Latest of {}, which is version {}, not the default {}",
                        template.id, template.latest, template.default
                    ));
                }
                Source::Number(_) | Source::Latest | Source::Default => {}
            }
        }
        for one in self.overrides() {
            let kind = one.instance_type().unwrap_or("some instance types");
            if let Some(other) = one.launch_template_specification().filter(|named| !template.is(named)) {
                let other = other.launch_template_id().or(other.launch_template_name()).unwrap_or_default();
                warnings.insert(format!(
                    "{name} overrides {} for {kind}, with {other}: these never launch from a new version",
                    template.id
                ));
            }
            if let Some(image) = one.image_id() {
                warnings.insert(format!(
                    "{name} overrides the image of {} for {kind}, with {image}: these never launch from a new image",
                    template.id
                ));
            }
        }
        warnings.into_iter().collect()
    }

    /// The instances that a refresh would replace: those of another version than the default, of another launch template
    /// or of none. Empty for a group whose own version of the template is not the default, where a refresh would change
    /// nothing and be due again the next day. What an override launches stays for the same reason.
    pub fn outdated(&self) -> Vec<&'a str> {
        // AWS gives a group a status only while it is being deleted.
        if self.group.status().is_some_and(|status| !status.is_empty()) {
            return Vec::new();
        }
        let own = self.main().and_then(|named| self.template.version(named));
        if own.map(|meant| self.template.number(meant)) != Some(self.template.default) {
            return Vec::new();
        }
        let number = |named: &LaunchTemplateSpecification| {
            self.template.version(named).map(|meant| self.template.number(meant))
        };
        let is_current = |instance: &Instance| {
            instance.launch_template().is_some_and(|from| {
                self.sources(instance).any(|named| match number(from) {
                    Some(version) => number(named) == Some(version),
                    None => are_same(named, from),
                })
            })
        };
        let instances =
            self.group.instances().iter().filter(|instance| stays(instance) && !is_current(instance));
        instances.filter_map(Instance::instance_id).collect()
    }
}

/// Whether both name the same launch template.
fn are_same(one: &LaunchTemplateSpecification, other: &LaunchTemplateSpecification) -> bool {
    match (one.launch_template_id(), other.launch_template_id()) {
        (Some(one), Some(other)) => one == other,
        _ => {
            one.launch_template_name().is_some() && one.launch_template_name() == other.launch_template_name()
        }
    }
}

/// Whether a refresh would replace the instance. It leaves out instances that are leaving the group or are in
/// standby.
fn stays(instance: &Instance) -> bool {
    let state = instance.lifecycle_state().map(|state| state.as_str()).unwrap_or_default();
    !["Terminat", "Detach", "Standby", "EnteringStandby"].iter().any(|gone| state.starts_with(gone))
}

/// The calls to Auto Scaling.
#[derive(Debug, Clone)]
pub(crate) struct Asgs(Client);

impl Asgs {
    pub(crate) fn new(client: Client) -> Self {
        Self(client)
    }

    /// The groups that use the template.
    pub(crate) async fn using(&self, template: &Template) -> Result<Vec<AutoScalingGroup>, Error> {
        let request = self.0.describe_auto_scaling_groups().max_records(PAGE_SIZE);
        let mut pages = request.into_paginator().items().send();
        let mut groups = Vec::new();
        while let Some(group) = pages.next().await {
            let group = group.map_err(|error| Error::aws("DescribeAutoScalingGroups", &error))?;
            if Use::of(&group, template).is_some() {
                groups.push(group);
            }
        }
        Ok(groups)
    }

    /// Starts an instance refresh. `false` if one already runs.
    pub(crate) async fn refresh(&self, group: &str) -> Result<bool, Error> {
        // Instances of the default version stay.
        let preferences = RefreshPreferences::builder().skip_matching(true).build();
        let request = self.0.start_instance_refresh().auto_scaling_group_name(group);
        match request.preferences(preferences).send().await {
            Ok(answer) => {
                let id = answer.instance_refresh_id.unwrap_or_default();
                debug!(asg.name = group, refresh.id = id, "{group}: started the instance refresh {id}");
                Ok(true)
            }
            Err(error) if error.code() == Some("InstanceRefreshInProgress") => {
                debug!(asg.name = group, "{group}: an instance refresh already runs");
                Ok(false)
            }
            Err(error) => Err(Error::aws("StartInstanceRefresh", &error)),
        }
    }
}
