//! The calls to Application Auto Scaling: finds targets, reads their tags, carries out a plan. Transient errors are
//! retried while the run has time.
//!
//! AWS calls: `application-autoscaling:DescribeScalableTargets`, `application-autoscaling:ListTagsForResource`,
//! `application-autoscaling:TagResource`, `application-autoscaling:RegisterScalableTarget`,
//! `application-autoscaling:UntagResource`.

use std::collections::BTreeMap;
use std::future::Future;

use aws_sdk_applicationautoscaling::Client;
use aws_sdk_applicationautoscaling::config::http::HttpResponse;
use aws_sdk_applicationautoscaling::config::retry::RetryConfig;
use aws_sdk_applicationautoscaling::config::timeout::TimeoutConfig;
use aws_sdk_applicationautoscaling::config::{Builder, Config as SdkConfig};
use aws_sdk_applicationautoscaling::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_applicationautoscaling::types::{ScalableDimension, ScalableTarget, ServiceNamespace};
use lambda_kit::retry::retry_until_deadline;
use lambda_kit::{Error, Invocation};
use tracing::debug;

use crate::config::Config;
use crate::plan::{Capacity, KEEP_AWAKE_UNTIL, Plan, REMEMBERED, Tags};

/// Maximum of resource ids in one `DescribeScalableTargets`.
const MAX_IDS_PER_CALL: usize = 50;

/// A resource and its target, if it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) resource: String,
    pub(crate) registered: Option<Registered>,
}

/// A registered target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registered {
    arn: String,
    pub(crate) capacity: Capacity,
}

impl Target {
    pub(crate) fn capacity(&self) -> Option<Capacity> {
        self.registered.as_ref().map(|registered| registered.capacity)
    }
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
    pub(crate) fn new(client: Client, config: &Config) -> Self {
        Self {
            client,
            namespace: config.namespace.clone(),
            dimension: config.dimension.clone(),
            role: config.role.clone(),
        }
    }

    /// The targets of these resources, in order: one call per fifty.
    pub(crate) async fn find(
        &self,
        resources: &[String],
        invocation: &Invocation,
    ) -> Result<Vec<Target>, Error> {
        let mut found = BTreeMap::new();
        for resources in resources.chunks(MAX_IDS_PER_CALL) {
            let mut page = None;
            loop {
                let describe = |limits| {
                    let describe = self.client.describe_scalable_targets();
                    let describe = describe.service_namespace(self.namespace.clone());
                    let describe = describe.scalable_dimension(self.dimension.clone());
                    let describe = describe.set_resource_ids(Some(resources.to_vec()));
                    describe.set_next_token(page.clone()).customize().config_override(limits).send()
                };
                let answer = call("DescribeScalableTargets", invocation, describe).await?;
                let targets = answer.scalable_targets.unwrap_or_default();
                found.extend(targets.into_iter().map(|target| (target.resource_id.clone(), target)));
                page = answer.next_token;
                if page.is_none() {
                    break;
                }
            }
        }
        let target = |resource: &String| Target {
            resource: resource.clone(),
            registered: found.remove(resource).map(Registered::from),
        };
        Ok(resources.iter().map(target).collect())
    }

    /// The tags of a target that decide.
    pub(crate) async fn tags(&self, target: &Registered, invocation: &Invocation) -> Result<Tags, Error> {
        let list = |limits| {
            let list = self.client.list_tags_for_resource().resource_arn(&target.arn);
            list.customize().config_override(limits).send()
        };
        let mut tags = call("ListTagsForResource", invocation, list).await?.tags.unwrap_or_default();
        Ok(Tags { remembered: tags.remove(REMEMBERED), keep_awake_until: tags.remove(KEEP_AWAKE_UNTIL) })
    }

    /// Carries out the plan and stops at the first call that fails.
    pub(crate) async fn carry_out(
        &self,
        plan: &Plan,
        target: &Target,
        invocation: &Invocation,
    ) -> Result<(), Error> {
        let resource = &target.resource;
        // No plan changes the tags of a target that is not registered.
        let arn = target.registered.as_ref().map(|registered| registered.arn.as_str()).unwrap_or_default();
        if let Some(memory) = &plan.remember {
            let tag = |limits| {
                let tag = self.client.tag_resource().resource_arn(arn).tags(REMEMBERED, memory);
                tag.customize().config_override(limits).send()
            };
            call("TagResource", invocation, tag).await?;
            debug!(resource.id = resource, "{resource}: remembered {memory}");
        }
        if let Some(capacity) = plan.register {
            let register = |limits| {
                let register = self.client.register_scalable_target().resource_id(resource);
                let register = register.service_namespace(self.namespace.clone());
                let register = register.scalable_dimension(self.dimension.clone());
                let register = register.min_capacity(capacity.min).max_capacity(capacity.max);
                register.set_role_arn(self.role.clone()).customize().config_override(limits).send()
            };
            call("RegisterScalableTarget", invocation, register).await?;
            let before = target.capacity().map_or_else(|| "not registered".to_owned(), |was| was.to_string());
            debug!(
                resource.id = resource,
                capacity.min = capacity.min,
                capacity.max = capacity.max,
                "{resource}: {} as {capacity}, was {before}",
                plan.verdict.as_str()
            );
        }
        if !plan.forget.is_empty() {
            let untag = |limits| {
                let untag = self.client.untag_resource().resource_arn(arn);
                let untag = untag.set_tag_keys(Some(plan.forget.iter().map(ToString::to_string).collect()));
                untag.customize().config_override(limits).send()
            };
            call("UntagResource", invocation, untag).await?;
            debug!(resource.id = resource, "{resource}: removed {}", plan.forget.join(" and "));
        }
        Ok(())
    }
}

impl From<ScalableTarget> for Registered {
    fn from(target: ScalableTarget) -> Self {
        Self {
            // Targets that were registered before AWS introduced their ARNs have none and can't have tags.
            arn: target.scalable_target_arn.unwrap_or_default(),
            capacity: Capacity { min: target.min_capacity, max: target.max_capacity },
        }
    }
}

/// One call. Transient errors are retried while the run has time. A concurrent update of the target, by a deployment
/// or a scaling policy, ends within moments.
async fn call<T, E, F>(
    name: &'static str,
    invocation: &Invocation,
    send: impl Fn(Builder) -> F,
) -> Result<T, Error>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let answer = retry_until_deadline(name, invocation, |limit| {
        let limits = TimeoutConfig::builder().operation_attempt_timeout(limit).operation_timeout(limit);
        let builder = SdkConfig::builder().retry_config(RetryConfig::disabled());
        send(builder.timeout_config(limits.build()))
    });
    answer.await.map_err(|error| Error::aws(name, &error))
}
