//! The launch template: its versions read, made, made the default and deleted, each in a way that a repeat does
//! not do twice. AWS calls: `ec2:DescribeLaunchTemplateVersions`, `ec2:DescribeSecurityGroups`,
//! `ec2:CreateLaunchTemplateVersion`, `ec2:ModifyLaunchTemplate`, `ec2:DeleteLaunchTemplateVersions`.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::modify_launch_template::ModifyLaunchTemplateError;
use aws_sdk_ec2::types::{LaunchTemplateErrorCode, LaunchTemplateVersion};
use chrono::{DateTime, TimeDelta, Utc};
use lifecycle_core::waits::time;
use lifecycle_core::{Error, Invocation};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use crate::config::{Source, Template};
use crate::images::{Image, filter};
use crate::plan::{Version, Wanted};

/// Versions of one page, EC2's most.
const PAGE: i32 = 200;

/// Versions that one `DeleteLaunchTemplateVersions` takes.
const DELETED_AT_ONCE: usize = 200;

/// EC2's code for a version that does not exist.
const NO_SUCH_VERSION: &str = "InvalidLaunchTemplateId.VersionNotFound";

/// The call that makes a version the default.
const MODIFY: &str = "ModifyLaunchTemplate";

/// A version that EC2 made this much before the run began is not this run's. Less, and clocks that differ
/// could make it look like an old one.
const CLOCK_SLACK: TimeDelta = TimeDelta::minutes(1);

/// How often a version is asked for that EC2 only repeats its answer about, because it was deleted. Each time
/// another deleted one would have to be remembered.
const DELETED_VERSIONS: usize = 5;

/// The launch template as it is.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) default: Version,
    /// The number of the newest version.
    pub(crate) latest: i64,
    pub(crate) source: Version,
}

/// Speaks to EC2 about launch templates.
#[derive(Debug, Clone)]
pub(crate) struct Templates(Client);

impl Templates {
    pub(crate) fn new(client: Client) -> Self {
        Self(client)
    }

    /// The template with the versions that matter, in one call.
    pub(crate) async fn find(&self, template: &Template, source: Source) -> Result<Found, Error> {
        let request = self.0.describe_launch_template_versions().versions("$Default").versions("$Latest");
        let request = match template {
            Template::Id(id) => request.launch_template_id(id),
            Template::Name(name) => request.launch_template_name(name),
        };
        let request = match source {
            Source::Number(number) => request.versions(number.to_string()),
            Source::Default | Source::Latest => request,
        };
        let no_source =
            || Error::UnusableTemplate(vec![format!("{template} has no version {source} to base one on")]);
        let versions: Result<Vec<_>, _> = request.into_paginator().items().send().collect().await;
        let versions = match versions {
            Ok(versions) => versions,
            Err(error) if is_no_version(&error) => return Err(no_source()),
            Err(error) => return Err(Error::aws("DescribeLaunchTemplateVersions", &error)),
        };
        let default = versions.iter().find(|version| version.default_version() == Some(true));
        let latest = versions.iter().max_by_key(|version| version.version_number());
        let source = match source {
            Source::Default => default,
            Source::Latest => latest,
            Source::Number(number) => {
                versions.iter().find(|version| version.version_number() == Some(number))
            }
        };
        let source = source.and_then(Version::read).ok_or_else(no_source)?;
        let found = default.zip(latest).and_then(|(default, latest)| {
            Some(Found {
                id: default.launch_template_id()?.to_owned(),
                name: default.launch_template_name().unwrap_or_default().to_owned(),
                default: Version::read(default)?,
                latest: latest.version_number()?,
                source,
            })
        });
        found.ok_or_else(|| Error::UnusableTemplate(vec![format!("{template} has no default version")]))
    }

    /// The versions of a template that have this image.
    pub(crate) async fn with_image(&self, template: &str, image: &Image) -> Result<Vec<Version>, Error> {
        let request = self.0.describe_launch_template_versions().launch_template_id(template);
        let mut pages = request.filters(filter("image-id", [&image.id])).into_paginator().items().send();
        let mut versions = Vec::new();
        while let Some(version) = pages.next().await {
            let version = version.map_err(|error| Error::aws("DescribeLaunchTemplateVersions", &error))?;
            versions.extend(Version::read(&version));
        }
        Ok(versions)
    }

    /// The numbers of all versions.
    pub(crate) async fn numbers(&self, template: &str) -> Result<BTreeSet<i64>, Error> {
        let request =
            self.0.describe_launch_template_versions().launch_template_id(template).max_results(PAGE);
        let mut pages = request.into_paginator().items().send();
        let mut numbers = BTreeSet::new();
        while let Some(version) = pages.next().await {
            let version = version.map_err(|error| Error::aws("DescribeLaunchTemplateVersions", &error))?;
            numbers.extend(version.version_number());
        }
        Ok(numbers)
    }

    /// Those of these security groups that exist, each with its VPC.
    pub(crate) async fn groups(&self, ids: &BTreeSet<String>) -> Result<BTreeMap<String, String>, Error> {
        let found = self.groups_by("group-id", ids).await?;
        Ok(found.into_iter().map(|(id, _, vpc)| (id, vpc)).collect())
    }

    /// The ids of security groups of these names. Where a name does not say which group is meant, there is no
    /// telling what the version was meant to be.
    pub(crate) async fn ids_of(&self, names: &[String]) -> Result<Vec<String>, Error> {
        let found = self.groups_by("group-name", names).await?;
        let mut ids = Vec::new();
        let mut reasons = Vec::new();
        for wanted in names {
            let named: Vec<_> = found.iter().filter(|(_, name, _)| name == wanted).collect();
            match named[..] {
                [(id, ..)] => ids.push(id.clone()),
                [] => reasons.push(format!("no security group is named {wanted:?}")),
                _ => reasons.push(format!("{} security groups are named {wanted:?}", named.len())),
            }
        }
        if reasons.is_empty() {
            return Ok(ids);
        }
        let advice = "the source version names its groups, which works in no VPC but the default one: say their ids in \
                      SG_IDS";
        reasons.push(advice.to_owned());
        Err(Error::UnusableTemplate(reasons))
    }

    async fn groups_by(
        &self,
        key: &str,
        values: impl IntoIterator<Item = &String>,
    ) -> Result<Vec<(String, String, String)>, Error> {
        let request = self.0.describe_security_groups().filters(filter(key, values));
        let mut pages = request.into_paginator().items().send();
        let mut groups = Vec::new();
        while let Some(group) = pages.next().await {
            let group = group.map_err(|error| Error::aws("DescribeSecurityGroups", &error))?;
            let vpc = group.vpc_id.unwrap_or_default();
            groups.push((group.group_id.unwrap_or_default(), group.group_name.unwrap_or_default(), vpc));
        }
        Ok(groups)
    }

    /// Makes the version that is wanted, and then the default of it; answers its number.
    ///
    /// The token is made of all that the request says, so a repeat whose first answer was lost gets the same
    /// version. But EC2 may remember a token for longer than somebody has kept the version: then it answers
    /// with one that is no more. Only `ModifyLaunchTemplate` says that, and a token that knows of it asks for
    /// another version.
    pub(crate) async fn create(
        &self,
        template: &str,
        wanted: &Wanted,
        invocation: &Invocation,
    ) -> Result<i64, Error> {
        let earlier = invocation.now() - CLOCK_SLACK;
        let mut deleted = Vec::new();
        loop {
            let (number, created) = self.create_version(template, wanted, &deleted).await?;
            let can_be_deleted = created.is_some_and(|created| created < earlier);
            match self.modify(template, number).await {
                Err(error) if is_no_version(&error) && can_be_deleted && deleted.len() < DELETED_VERSIONS => {
                    deleted.push(number);
                }
                other => return other.map(|()| number).map_err(|error| Error::aws(MODIFY, &error)),
            }
        }
    }

    async fn create_version(
        &self,
        template: &str,
        wanted: &Wanted,
        deleted: &[i64],
    ) -> Result<(i64, Option<DateTime<Utc>>), Error> {
        let answer = self
            .0
            .create_launch_template_version()
            .client_token(token(template, wanted, deleted))
            .launch_template_id(template)
            .set_source_version(wanted.source.map(|number| number.to_string()))
            .version_description(&wanted.description)
            .launch_template_data(wanted.request.clone())
            .send()
            .await;
        let answer = answer.map_err(|error| Error::aws("CreateLaunchTemplateVersion", &error))?;
        let doubts = answer.warning.and_then(|warning| warning.errors).unwrap_or_default();
        let version = answer.launch_template_version;
        let number = version.as_ref().and_then(LaunchTemplateVersion::version_number).unwrap_or_default();
        for doubt in doubts {
            let (code, message) = (doubt.code.unwrap_or_default(), doubt.message.unwrap_or_default());
            warn!(
                launch_template.id = template,
                "EC2 doubts version {number} of {template}: {code}: {message}"
            );
        }
        info!(
            launch_template.id = template,
            launch_template.version = number,
            "made version {number} of {template}: {}",
            wanted.description
        );
        let created = version.and_then(|version| version.create_time);
        Ok((number, created.as_ref().and_then(time)))
    }

    /// Makes a version the default.
    pub(crate) async fn make_default(&self, template: &str, number: i64) -> Result<(), Error> {
        self.modify(template, number).await.map_err(|error| Error::aws(MODIFY, &error))
    }

    async fn modify(
        &self,
        template: &str,
        number: i64,
    ) -> Result<(), SdkError<ModifyLaunchTemplateError, HttpResponse>> {
        let request = self.0.modify_launch_template().launch_template_id(template);
        request.default_version(number.to_string()).send().await?;
        info!(
            launch_template.id = template,
            launch_template.version = number,
            "made version {number} the default of {template}"
        );
        Ok(())
    }

    /// Deletes versions; answers those that are gone.
    pub(crate) async fn delete(&self, template: &str, versions: &[i64]) -> Result<Vec<i64>, Error> {
        let mut gone = Vec::new();
        for some in versions.chunks(DELETED_AT_ONCE) {
            let numbers = some.iter().map(i64::to_string).collect();
            let request = self.0.delete_launch_template_versions().launch_template_id(template);
            let answer = request.set_versions(Some(numbers)).send().await;
            let answer = answer.map_err(|error| Error::aws("DeleteLaunchTemplateVersions", &error))?;
            let deleted = answer.successfully_deleted_launch_template_versions();
            gone.extend(deleted.iter().filter_map(|version| version.version_number()));
            for item in answer.unsuccessfully_deleted_launch_template_versions() {
                let error = item.response_error();
                // Another run was faster.
                if error.and_then(|error| error.code())
                    != Some(&LaunchTemplateErrorCode::LaunchTemplateVersionDoesNotExist)
                {
                    let number = item.version_number().unwrap_or_default();
                    let why = error.and_then(|error| error.message()).unwrap_or("EC2 does not say why");
                    warn!(
                        launch_template.id = template,
                        launch_template.version = number,
                        "version {number} of {template} was not deleted: {why}"
                    );
                }
            }
        }
        if !gone.is_empty() {
            info!(launch_template.id = template, "deleted versions {gone:?} of {template}");
        }
        Ok(gone)
    }
}

/// The client token of a version: the same for the same request, in every run. 64 characters, half of what
/// EC2 takes.
fn token(template: &str, wanted: &Wanted, deleted: &[i64]) -> String {
    let Wanted { request, source, description, .. } = wanted;
    // The SDK does not print the user data, which is the source's.
    let text = format!("{template}\n{source:?}\n{description}\n{request:?}\n{deleted:?}");
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_no_version<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.code() == Some(NO_SUCH_VERSION)
}
