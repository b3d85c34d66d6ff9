//! The calls for the launch template: reads versions, creates them, makes one the default and deletes old ones. Each
//! call can be repeated without a second effect.
//!
//! AWS calls: `ec2:DescribeLaunchTemplateVersions`, `ec2:CreateLaunchTemplateVersion`, `ec2:ModifyLaunchTemplate`,
//! `ec2:DeleteLaunchTemplateVersions`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::create_launch_template_version::CreateLaunchTemplateVersionError;
use aws_sdk_ec2::operation::delete_launch_template_versions::{
    DeleteLaunchTemplateVersionsError, DeleteLaunchTemplateVersionsOutput,
};
use aws_sdk_ec2::operation::describe_launch_template_versions::DescribeLaunchTemplateVersionsError;
use aws_sdk_ec2::operation::describe_launch_template_versions::builders::DescribeLaunchTemplateVersionsFluentBuilder;
use aws_sdk_ec2::operation::modify_launch_template::ModifyLaunchTemplateError;
use aws_sdk_ec2::types::{LaunchTemplateErrorCode, LaunchTemplateVersion};
use chrono::{DateTime, TimeDelta, Utc};
use lambda_kit::aws::time;
use lambda_kit::error::cut;
use lambda_kit::{Error, Invocation};
use sha2::{Digest, Sha256};
use tracing::{debug, warn};

use crate::config::{Source, TemplateKey};
use crate::error::Refusal;
use crate::images::{Image, filter};
use crate::plan::{Version, Wanted};
use crate::settings;

/// Versions per page, the maximum of EC2.
const PAGE_SIZE: i32 = 200;

/// Maximum of versions in one `DeleteLaunchTemplateVersions`.
const MAX_VERSIONS_PER_DELETE: usize = 200;

/// EC2's code for a version that does not exist.
const NO_SUCH_VERSION: &str = "InvalidLaunchTemplateId.VersionNotFound";

/// The end of EC2's code for a template that has its maximum of versions.
const FULL: &str = "VersionLimitExceeded";

/// EC2's code for a call that it refuses as a whole, such as the deletion of versions with the default among them.
const REFUSED: &str = "InvalidParameterValue";

/// The call that reads versions.
const DESCRIBE: &str = "DescribeLaunchTemplateVersions";

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

/// How the creation of a version ended.
#[derive(Debug)]
pub enum Creation {
    /// The version with this number is the default, and EC2 warned of these faults of it.
    Version(i64, Vec<String>),
    /// The template has its maximum of versions, with EC2's error.
    Full(Error),
}

/// The last answer to a call as EC2 sent it.
#[derive(Debug, Clone, Default)]
struct RawAnswer(Arc<Mutex<String>>);

impl Intercept for RawAnswer {
    fn name(&self) -> &'static str {
        "RawAnswer"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = String::from_utf8_lossy(body).into_owned();
        Ok(())
    }
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
        let versions = match described(request).await {
            Ok(versions) => versions,
            Err(error) if is_no_version(&error) => return Err(no_source()),
            Err(error) => return Err(Error::aws(DESCRIBE, &error)),
        };
        let default = versions.iter().find(|(version, _)| version.default_version() == Some(true));
        let latest = versions.iter().max_by_key(|(_, version)| version.number);
        let source = match source {
            Source::Default => default,
            Source::Latest => latest,
            Source::Number(number) => versions.iter().find(|(_, version)| version.number == number),
        };
        let (_, source) = source.ok_or_else(no_source)?;
        let found = default.zip(latest).and_then(|((described, default), (_, latest))| {
            Some(Found {
                id: described.launch_template_id()?.to_owned(),
                name: described.launch_template_name().unwrap_or_default().to_owned(),
                default: default.clone(),
                latest: latest.number,
                source: source.clone(),
            })
        });
        found.ok_or_else(|| {
            Refusal::UnusableTemplate(vec![format!("{template} has no default version")]).into()
        })
    }

    /// The versions of a template that have this image.
    pub(crate) async fn with_image(&self, template: &str, image: &Image) -> Result<Vec<Version>, Error> {
        let request = self.0.describe_launch_template_versions().launch_template_id(template);
        let versions = described(request.filters(filter("image-id", [&image.id]))).await;
        let versions = versions.map_err(|error| Error::aws(DESCRIBE, &error))?;
        Ok(versions.into_iter().map(|(_, version)| version).collect())
    }

    /// The numbers of all versions.
    pub(crate) async fn numbers(&self, template: &str) -> Result<BTreeSet<i64>, Error> {
        let request =
            self.0.describe_launch_template_versions().launch_template_id(template).max_results(PAGE_SIZE);
        let mut pages = request.into_paginator().items().send();
        let mut numbers = BTreeSet::new();
        while let Some(version) = pages.next().await {
            let version = version.map_err(|error| Error::aws(DESCRIBE, &error))?;
            numbers.extend(version.version_number());
        }
        Ok(numbers)
    }

    /// Creates the wanted version and makes it the default.
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
    ) -> Result<Creation, Error> {
        let earlier = invocation.now() - MAX_CLOCK_SKEW;
        let mut deleted = Vec::new();
        loop {
            let (number, created, doubts) = match self.create_version(template, wanted, &deleted).await {
                Ok(created) => created,
                Err(error) => {
                    let is_full = error.code().is_some_and(|code| code.ends_with(FULL));
                    let error = Error::aws("CreateLaunchTemplateVersion", &error);
                    return if is_full { Ok(Creation::Full(error)) } else { Err(error) };
                }
            };
            let can_be_deleted = created.is_some_and(|created| created < earlier);
            match self.modify(template, number).await {
                Err(error)
                    if is_no_version(&error) && can_be_deleted && deleted.len() < MAX_DELETED_VERSIONS =>
                {
                    deleted.push(number);
                }
                Ok(()) => return Ok(Creation::Version(number, doubts)),
                Err(error) => return Err(Error::aws(MODIFY, &error)),
            }
        }
    }

    async fn create_version(
        &self,
        template: &str,
        wanted: &Wanted,
        deleted: &[i64],
    ) -> Result<
        (i64, Option<DateTime<Utc>>, Vec<String>),
        SdkError<CreateLaunchTemplateVersionError, HttpResponse>,
    > {
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
            .await?;
        let version = answer.launch_template_version;
        let number = version.as_ref().and_then(LaunchTemplateVersion::version_number).unwrap_or_default();
        let doubts = answer.warning.and_then(|warning| warning.errors).unwrap_or_default();
        let doubts = doubts.into_iter().map(|doubt| {
            let (code, message) = (doubt.code.unwrap_or_default(), doubt.message.unwrap_or_default());
            format!("EC2 warns about version {number} of {template}: {}: {}", cut(&code), cut(&message))
        });
        debug!(
            launch_template.id = template,
            launch_template.version = number,
            "created version {number} of {template}: {}",
            wanted.description
        );
        let created = version.and_then(|version| version.create_time);
        Ok((number, created.as_ref().and_then(time), doubts.collect()))
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
            let mut answer = self.delete_some(template, some).await;
            // Another version may have become the default since. Then EC2 deletes none of them.
            if answer.as_ref().is_err_and(|error| error.code() == Some(REFUSED)) {
                let default =
                    self.find(&TemplateKey::Id(template.to_owned()), Source::Default).await?.default.number;
                let others: Vec<i64> = some.iter().copied().filter(|number| *number != default).collect();
                if others.is_empty() {
                    continue;
                }
                if others.len() < some.len() {
                    answer = self.delete_some(template, &others).await;
                }
            }
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
                        "version {number} of {template} was not deleted: {}",
                        cut(why)
                    );
                }
            }
        }
        if !gone.is_empty() {
            debug!(launch_template.id = template, "deleted versions {gone:?} of {template}");
        }
        Ok(gone)
    }

    async fn delete_some(
        &self,
        template: &str,
        versions: &[i64],
    ) -> Result<DeleteLaunchTemplateVersionsOutput, SdkError<DeleteLaunchTemplateVersionsError, HttpResponse>>
    {
        let numbers = versions.iter().map(i64::to_string).collect();
        let request = self.0.delete_launch_template_versions().launch_template_id(template);
        request.set_versions(Some(numbers)).send().await
    }
}

/// The versions that a request asks for, of all pages.
async fn described(
    request: DescribeLaunchTemplateVersionsFluentBuilder,
) -> Result<Vec<(LaunchTemplateVersion, Version)>, SdkError<DescribeLaunchTemplateVersionsError, HttpResponse>>
{
    let mut versions = Vec::new();
    let mut token = None;
    loop {
        let raw = RawAnswer::default();
        let page = request.clone().set_next_token(token).customize().interceptor(raw.clone()).send().await?;
        let raw = std::mem::take(&mut *raw.0.lock().unwrap_or_else(PoisonError::into_inner));
        let settings = settings::read(&raw).map_err(SdkError::construction_failure)?;
        for described in page.launch_template_versions.unwrap_or_default() {
            let settings = described.version_number().and_then(|number| settings.get(&number)).cloned();
            let version = settings.and_then(|settings| Version::read(&described, settings));
            versions.extend(version.map(|version| (described, version)));
        }
        token = page.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(versions);
        }
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
