//! The calls for the launch template: reads versions, creates them, makes one the default and deletes old ones. Each
//! call can be repeated without a second effect.
//!
//! AWS calls: `ec2:DescribeLaunchTemplateVersions`, `ec2:DescribeSecurityGroups`, `ec2:CreateLaunchTemplateVersion`,
//! `ec2:ModifyLaunchTemplate`, `ec2:DeleteLaunchTemplateVersions`.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::modify_launch_template::ModifyLaunchTemplateError;
use aws_sdk_ec2::types::{LaunchTemplateErrorCode, LaunchTemplateVersion};
use chrono::{DateTime, TimeDelta, Utc};
use lambda_kit::aws::time;
use lambda_kit::{Error, Invocation};
use sha2::{Digest, Sha256};
use tracing::{debug, warn};

use crate::config::{Source, TemplateKey};
use crate::error::Refusal;
use crate::images::{Image, filter};
use crate::plan::{Version, Wanted};

/// Versions per page, the maximum of EC2.
const PAGE_SIZE: i32 = 200;

/// Maximum of versions in one `DeleteLaunchTemplateVersions`.
const MAX_VERSIONS_PER_DELETE: usize = 200;

/// EC2's code for a version that does not exist.
const NO_SUCH_VERSION: &str = "InvalidLaunchTemplateId.VersionNotFound";

/// The call that makes a version the default.
const MODIFY: &str = "ModifyLaunchTemplate";

/// Maximum clock skew between EC2 and the run: a version that was created this much before the run is not this run's.
const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::minutes(1);

/// The token's placeholder in a request, of the same length.
const TOKEN_PLACEHOLDER: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Maximum of attempts to create a version when EC2 answers with one that was deleted since. Each attempt finds
/// another deleted version.
const MAX_DELETED_VERSIONS: usize = 5;

/// The launch template as EC2 describes it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) default: Version,
    /// The number of the newest version.
    pub(crate) latest: i64,
    pub(crate) source: Version,
}

/// The calls to EC2.
#[derive(Debug, Clone)]
pub struct Templates(Client);

impl Templates {
    /// Uses this client of EC2.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// The template with the default, the latest and the source version, in one call.
    pub(crate) async fn find(&self, template: &TemplateKey, source: Source) -> Result<Found, Error> {
        let request = self.0.describe_launch_template_versions().versions("$Default").versions("$Latest");
        let request = match template {
            TemplateKey::Id(id) => request.launch_template_id(id),
            TemplateKey::Name(name) => request.launch_template_name(name),
        };
        let request = match source {
            Source::Number(number) => request.versions(number.to_string()),
            Source::Default | Source::Latest => request,
        };
        let no_source = || -> Error {
            Refusal::UnusableTemplate(vec![format!("{template} has no version {source} to base one on")])
                .into()
        };
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
        found.ok_or_else(|| {
            Refusal::UnusableTemplate(vec![format!("{template} has no default version")]).into()
        })
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
            self.0.describe_launch_template_versions().launch_template_id(template).max_results(PAGE_SIZE);
        let mut pages = request.into_paginator().items().send();
        let mut numbers = BTreeSet::new();
        while let Some(version) = pages.next().await {
            let version = version.map_err(|error| Error::aws("DescribeLaunchTemplateVersions", &error))?;
            numbers.extend(version.version_number());
        }
        Ok(numbers)
    }

    /// Those of these security groups that exist, with their VPCs.
    pub(crate) async fn security_groups(
        &self,
        ids: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let found = self.security_groups_by("group-id", ids).await?;
        Ok(found.into_iter().map(|(id, _, vpc)| (id, vpc)).collect())
    }

    /// The ids of the security groups with these names. An ambiguous name is an error.
    pub(crate) async fn ids_of(&self, names: &[String]) -> Result<Vec<String>, Error> {
        let found = self.security_groups_by("group-name", names).await?;
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
        let advice = "the source version has its security groups by name, which works only in the default VPC: set their \
                      ids in SG_IDS";
        reasons.push(advice.to_owned());
        Err(Refusal::UnusableTemplate(reasons).into())
    }

    async fn security_groups_by(
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

    /// Creates the wanted version and makes it the default. Returns its number.
    ///
    /// The [`token`] is made of the whole request, so a retry after a lost answer gets the same version. But EC2 may
    /// remember a token for longer than the version exists, and then answers with a deleted version. Only
    /// `ModifyLaunchTemplate` reports this. The next attempt includes the deleted version in the token, so EC2
    /// creates another version.
    ///
    /// # Errors
    /// The error of a call that EC2 refuses or does not answer.
    pub async fn create(
        &self,
        template: &str,
        wanted: &Wanted,
        invocation: &Invocation,
    ) -> Result<i64, Error> {
        let earlier = invocation.now() - MAX_CLOCK_SKEW;
        let mut deleted = Vec::new();
        loop {
            let (number, created) = self.create_version(template, wanted, &deleted).await?;
            let can_be_deleted = created.is_some_and(|created| created < earlier);
            match self.modify(template, number).await {
                Err(error)
                    if is_no_version(&error) && can_be_deleted && deleted.len() < MAX_DELETED_VERSIONS =>
                {
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
        let without = deleted.to_vec();
        let answer = self
            .0
            .create_launch_template_version()
            .client_token(TOKEN_PLACEHOLDER)
            .launch_template_id(template)
            .set_source_version(wanted.source.map(|number| number.to_string()))
            .version_description(&wanted.description)
            .launch_template_data(wanted.request.clone())
            .customize()
            .mutate_request(move |request| {
                let body = request.body().bytes().unwrap_or_default();
                let body = String::from_utf8_lossy(body);
                let [placeholder, token] =
                    [TOKEN_PLACEHOLDER, &token(&body, &without)].map(|token| format!("ClientToken={token}"));
                *request.body_mut() = body.replace(&placeholder, &token).into();
            })
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
                "EC2 warns about version {number} of {template}: {code}: {message}"
            );
        }
        debug!(
            launch_template.id = template,
            launch_template.version = number,
            "created version {number} of {template}: {}",
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
        debug!(
            launch_template.id = template,
            launch_template.version = number,
            "made version {number} the default of {template}"
        );
        Ok(())
    }

    /// Deletes versions. Returns those that are deleted.
    pub(crate) async fn delete(&self, template: &str, versions: &[i64]) -> Result<Vec<i64>, Error> {
        let mut gone = Vec::new();
        for some in versions.chunks(MAX_VERSIONS_PER_DELETE) {
            let numbers = some.iter().map(i64::to_string).collect();
            let request = self.0.delete_launch_template_versions().launch_template_id(template);
            let answer = request.set_versions(Some(numbers)).send().await;
            let answer = answer.map_err(|error| Error::aws("DeleteLaunchTemplateVersions", &error))?;
            let deleted = answer.successfully_deleted_launch_template_versions();
            gone.extend(deleted.iter().filter_map(|version| version.version_number()));
            for item in answer.unsuccessfully_deleted_launch_template_versions() {
                let error = item.response_error();
                // Another run has deleted it.
                if error.and_then(|error| error.code())
                    != Some(&LaunchTemplateErrorCode::LaunchTemplateVersionDoesNotExist)
                {
                    let number = item.version_number().unwrap_or_default();
                    let why = error.and_then(|error| error.message()).unwrap_or("EC2 gives no reason");
                    warn!(
                        launch_template.id = template,
                        launch_template.version = number,
                        "version {number} of {template} was not deleted: {why}"
                    );
                }
            }
        }
        if !gone.is_empty() {
            debug!(launch_template.id = template, "deleted versions {gone:?} of {template}");
        }
        Ok(gone)
    }
}

/// The client token of a request with this body, after these versions turned out to be deleted: 64 characters, half
/// of EC2's maximum. It is made of the parameters as EC2 receives them, sorted, so the same request has the same
/// token in every run and with every version of the SDK. Lists keep their order: EC2 refuses a token that is reused
/// with another request.
pub fn token(body: &str, deleted: &[i64]) -> String {
    let parameters: BTreeSet<_> = body.split('&').filter(|line| !line.starts_with("ClientToken=")).collect();
    let mut digest = Sha256::new();
    for parameter in parameters {
        digest.update(parameter);
        digest.update("\n");
    }
    digest.update(format!("{deleted:?}"));
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_no_version<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.code() == Some(NO_SUCH_VERSION)
}
