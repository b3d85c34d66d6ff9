//! The calls to Application Auto Scaling: finds targets, reads and writes their tags, registers and removes them.
//!
//! AWS calls: `application-autoscaling:DescribeScalableTargets`, `application-autoscaling:ListTagsForResource`,
//! `application-autoscaling:TagResource`, `application-autoscaling:RegisterScalableTarget`,
//! `application-autoscaling:UntagResource`, `application-autoscaling:DeregisterScalableTarget`.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_applicationautoscaling::Client;
use aws_sdk_applicationautoscaling::error::ProvideErrorMetadata;
use aws_sdk_applicationautoscaling::types::{ScalableDimension, ScalableTarget, ServiceNamespace};
use aws_types::SdkConfig;
use lambda_kit::calls::CountCalls;
use lambda_kit::retry::retry_until_deadline;
use lambda_kit::{Error, Invocation};
use tracing::debug;

use crate::call::{call, limits};
use crate::config::Config;
use crate::keep::{KEEP_ASLEEP_UNTIL, KEEP_AWAKE_UNTIL, Keep};
use crate::plan::{Capacity, FUNCTION, NOT_IN_EFFECT, REMEMBERED, Tags};
use crate::toggle::TOGGLE;

/// Maximum of resource ids in one `DescribeScalableTargets`.
const MAX_IDS_PER_CALL: usize = 50;

/// A registered target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registered {
    /// Targets that were registered before March 2023 may have none.
    pub(crate) arn: Option<String>,
    pub(crate) capacity: Capacity,
}

/// The calls to Application Auto Scaling, for one namespace and dimension.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    client: Client,
    namespace: ServiceNamespace,
    dimension: ScalableDimension,
    role: Option<String>,
}

impl Targets {
    pub(crate) fn new(sdk: &SdkConfig, config: &Config) -> Self {
        let settings = aws_sdk_applicationautoscaling::config::Builder::from(sdk).interceptor(CountCalls);
        Self {
            client: Client::from_conf(settings.build()),
            namespace: config.namespace.clone(),
            dimension: config.dimension.clone(),
            role: config.role.clone(),
        }
    }

    /// The targets of these resources, by resource: one call per fifty.
    pub(crate) async fn find(
        &self,
        resources: &[String],
        invocation: &Invocation,
    ) -> Result<BTreeMap<String, Registered>, Error> {
        let mut found = BTreeMap::new();
        for resources in resources.chunks(MAX_IDS_PER_CALL) {
            found.extend(self.pages(Some(resources), invocation).await?);
        }
        Ok(found)
    }

    /// All targets of the account, by resource: one call per fifty.
    pub(crate) async fn all(&self, invocation: &Invocation) -> Result<BTreeMap<String, Registered>, Error> {
        self.pages(None, invocation).await
    }

    async fn pages(
        &self,
        resources: Option<&[String]>,
        invocation: &Invocation,
    ) -> Result<BTreeMap<String, Registered>, Error> {
        let mut found = BTreeMap::new();
        let mut page = None;
        loop {
            let describe = |limit| {
                let describe =
                    self.client.describe_scalable_targets().service_namespace(self.namespace.clone());
                // AWS takes a dimension only with resources.
                let dimension = resources.map(|_| self.dimension.clone());
                let describe = describe.set_scalable_dimension(dimension);
                let describe = describe.set_resource_ids(resources.map(<[String]>::to_vec));
                let describe = describe.set_next_token(page.clone()).customize();
                describe.config_override(limits!(aws_sdk_applicationautoscaling, limit)).send()
            };
            let answer = call("DescribeScalableTargets", invocation, describe).await?;
            let targets = answer.scalable_targets.unwrap_or_default().into_iter();
            let targets = targets.filter(|target| target.scalable_dimension == self.dimension);
            found.extend(targets.map(|target| (target.resource_id.clone(), Registered::from(target))));
            page = answer.next_token;
            if page.is_none() {
                return Ok(found);
            }
        }
    }

    /// The tags of a target that decide. `None` if there is no target of this ARN any more.
    pub(crate) async fn tags(&self, arn: &str, invocation: &Invocation) -> Result<Option<Tags>, Error> {
        let name = "ListTagsForResource";
        let list = |limit| {
            let list = self.client.list_tags_for_resource().resource_arn(arn).customize();
            list.config_override(limits!(aws_sdk_applicationautoscaling, limit)).send()
        };
        let mut tags = match retry_until_deadline(name, invocation, list).await {
            Ok(answer) => answer.tags.unwrap_or_default(),
            Err(error) if error.code() == Some("ResourceNotFoundException") => return Ok(None),
            Err(error) => return Err(Error::aws(name, &error)),
        };
        Ok(Some(Tags {
            remembered: tags.remove(REMEMBERED),
            not_in_effect: tags.remove(NOT_IN_EFFECT),
            function: tags.remove(FUNCTION),
            toggle: tags.remove(TOGGLE),
            keep: Keep {
                awake_until: tags.remove(KEEP_AWAKE_UNTIL),
                asleep_until: tags.remove(KEEP_ASLEEP_UNTIL),
            },
        }))
    }

    /// Writes tags of a target.
    pub(crate) async fn tag(
        &self,
        arn: &str,
        tags: &[(&'static str, String)],
        invocation: &Invocation,
    ) -> Result<(), Error> {
        let tag = |limit| {
            let tag = self.client.tag_resource().resource_arn(arn).set_tags(Some(map(tags))).customize();
            tag.config_override(limits!(aws_sdk_applicationautoscaling, limit)).send()
        };
        call("TagResource", invocation, tag).await.map(drop)
    }

    /// Removes tags of a target.
    pub(crate) async fn untag(
        &self,
        arn: &str,
        keys: &[&'static str],
        invocation: &Invocation,
    ) -> Result<(), Error> {
        let untag = |limit| {
            let keys = keys.iter().map(ToString::to_string).collect();
            let untag = self.client.untag_resource().resource_arn(arn).set_tag_keys(Some(keys)).customize();
            untag.config_override(limits!(aws_sdk_applicationautoscaling, limit)).send()
        };
        call("UntagResource", invocation, untag).await.map(drop)
    }

    /// Registers a target with this capacity, or updates it. Only a new one takes tags.
    pub(crate) async fn register(
        &self,
        resource: &str,
        capacity: Capacity,
        tags: &[(&'static str, String)],
        invocation: &Invocation,
    ) -> Result<(), Error> {
        let register = |limit| {
            let register = self.client.register_scalable_target().resource_id(resource);
            let register = register.service_namespace(self.namespace.clone());
            let register = register.scalable_dimension(self.dimension.clone());
            let register = register.min_capacity(capacity.min).max_capacity(capacity.max);
            let register = register.set_tags((!tags.is_empty()).then(|| map(tags)));
            let register = register.set_role_arn(self.role.clone()).customize();
            register.config_override(limits!(aws_sdk_applicationautoscaling, limit)).send()
        };
        call("RegisterScalableTarget", invocation, register).await?;
        debug!(
            resource.id = resource,
            capacity.min = capacity.min,
            capacity.max = capacity.max,
            "{resource}: registered as {capacity}"
        );
        Ok(())
    }

    /// Removes a target, with its tags. One that is gone is a success.
    pub(crate) async fn deregister(&self, resource: &str, invocation: &Invocation) -> Result<(), Error> {
        let name = "DeregisterScalableTarget";
        let deregister = |limit| {
            let deregister = self.client.deregister_scalable_target().resource_id(resource);
            let deregister = deregister.service_namespace(self.namespace.clone());
            let deregister = deregister.scalable_dimension(self.dimension.clone()).customize();
            deregister.config_override(limits!(aws_sdk_applicationautoscaling, limit)).send()
        };
        match retry_until_deadline(name, invocation, deregister).await {
            Err(error) if error.code() != Some("ObjectNotFoundException") => Err(Error::aws(name, &error)),
            _ => Ok(()),
        }
    }
}

fn map(tags: &[(&'static str, String)]) -> HashMap<String, String> {
    tags.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

impl From<ScalableTarget> for Registered {
    fn from(target: ScalableTarget) -> Self {
        Self {
            arn: target.scalable_target_arn.filter(|arn| !arn.is_empty()),
            capacity: Capacity { min: target.min_capacity, max: target.max_capacity },
        }
    }
}
