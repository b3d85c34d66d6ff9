//! The calls to ECS and to the Resource Groups Tagging API: finds services, reads their counts and tags, restores a
//! count.
//!
//! AWS calls: `tag:GetResources`, `ecs:ListServices`, `ecs:DescribeServices`, `ecs:UpdateService`.

use std::collections::BTreeMap;

use aws_sdk_ecs::error::ProvideErrorMetadata;
use aws_sdk_ecs::types::{SchedulingStrategy, ServiceField};
use aws_sdk_resourcegroupstagging::types::TagFilter;
use aws_types::SdkConfig;
use futures::StreamExt;
use futures::stream;
use lambda_kit::calls::CountCalls;
use lambda_kit::retry::retry_until_deadline;
use lambda_kit::{Error, Invocation};

use crate::call::{MAX_CONCURRENT_TARGETS, call, limits};
use crate::keep::{KEEP_ASLEEP_UNTIL, KEEP_AWAKE_UNTIL, Keep};
use crate::plan::Service;

/// Maximum of services in one `DescribeServices`.
const MAX_SERVICES_PER_CALL: usize = 10;

/// Services in one page of `ListServices`, its maximum.
const LIST_PAGE_SIZE: i32 = 100;

/// Resources in one page of `GetResources`, its maximum.
const TAG_PAGE_SIZE: i32 = 100;

/// The calls to ECS and to the Resource Groups Tagging API.
#[derive(Debug, Clone)]
pub(crate) struct Services {
    ecs: aws_sdk_ecs::Client,
    tagging: aws_sdk_resourcegroupstagging::Client,
}

impl Services {
    pub(crate) fn new(sdk: &SdkConfig) -> Self {
        let ecs = aws_sdk_ecs::config::Builder::from(sdk).interceptor(CountCalls).build();
        let tagging =
            aws_sdk_resourcegroupstagging::config::Builder::from(sdk).interceptor(CountCalls).build();
        Self {
            ecs: aws_sdk_ecs::Client::from_conf(ecs),
            tagging: aws_sdk_resourcegroupstagging::Client::from_conf(tagging),
        }
    }

    /// The services that carry this tag: ARN and value.
    pub(crate) async fn tagged(
        &self,
        key: &str,
        invocation: &Invocation,
    ) -> Result<Vec<(String, String)>, Error> {
        let mut found = Vec::new();
        let mut page: Option<String> = None;
        loop {
            let get = |limit| {
                let get = self.tagging.get_resources().resource_type_filters("ecs:service");
                let get = get.tag_filters(TagFilter::builder().key(key).build());
                let get =
                    get.resources_per_page(TAG_PAGE_SIZE).set_pagination_token(page.clone()).customize();
                get.config_override(limits!(aws_sdk_resourcegroupstagging, limit)).send()
            };
            let answer = call("GetResources", invocation, get).await?;
            for resource in answer.resource_tag_mapping_list.unwrap_or_default() {
                let value = resource.tags().iter().find(|tag| tag.key == key).map(|tag| tag.value.clone());
                found.extend(resource.resource_arn.zip(value));
            }
            // The last page has an empty token.
            page = answer.pagination_token.filter(|token| !token.is_empty());
            if page.is_none() {
                return Ok(found);
            }
        }
    }

    /// The resource ids of a cluster's replica services, sorted.
    pub(crate) async fn list(&self, cluster: &str, invocation: &Invocation) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        let mut page: Option<String> = None;
        loop {
            let list = |limit| {
                let list = self.ecs.list_services().cluster(cluster).max_results(LIST_PAGE_SIZE);
                let list = list.scheduling_strategy(SchedulingStrategy::Replica);
                let list = list.set_next_token(page.clone()).customize();
                list.config_override(limits!(aws_sdk_ecs, limit)).send()
            };
            let answer = call("ListServices", invocation, list).await?;
            let names = answer.service_arns().iter().filter_map(|arn| arn.rsplit('/').next());
            found.extend(names.map(|name| format!("service/{cluster}/{name}")));
            page = answer.next_token;
            if page.is_none() {
                found.sort();
                return Ok(found);
            }
        }
    }

    /// The services of these resources, by resource, and the error of the first call that failed. The services of a
    /// failed call are [`Service::Unseen`]. `discover` is the key of the tag that names services.
    pub(crate) async fn describe(
        &self,
        resources: &[String],
        discover: Option<&str>,
        invocation: &Invocation,
    ) -> (BTreeMap<String, Service>, Option<Error>) {
        let mut clusters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (cluster, name) in resources.iter().filter_map(|resource| parts(resource)) {
            clusters.entry(cluster).or_default().push(name);
        }
        let calls = clusters
            .iter()
            .flat_map(|(cluster, names)| names.chunks(MAX_SERVICES_PER_CALL).map(|names| (*cluster, names)));
        let calls: Vec<_> =
            calls.map(|(cluster, names)| self.describe_some(cluster, names, discover, invocation)).collect();
        let mut answers = stream::iter(calls).buffered(MAX_CONCURRENT_TARGETS);
        let (mut found, mut failed) = (BTreeMap::new(), None);
        while let Some((services, error)) = answers.next().await {
            found.extend(services);
            failed = failed.or(error);
        }
        (found, failed)
    }

    async fn describe_some(
        &self,
        cluster: &str,
        names: &[&str],
        discover: Option<&str>,
        invocation: &Invocation,
    ) -> (BTreeMap<String, Service>, Option<Error>) {
        let call = "DescribeServices";
        let describe = |limit| {
            let names = names.iter().map(ToString::to_string).collect();
            let describe = self.ecs.describe_services().cluster(cluster).set_services(Some(names));
            let describe = describe.include(ServiceField::Tags).customize();
            describe.config_override(limits!(aws_sdk_ecs, limit)).send()
        };
        let all = |service: &Service| {
            let named = |name: &&str| (format!("service/{cluster}/{name}"), service.clone());
            names.iter().map(named).collect::<BTreeMap<_, _>>()
        };
        let answer = match retry_until_deadline(call, invocation, describe).await {
            Ok(answer) => answer,
            Err(error) if error.code() == Some("ClusterNotFoundException") => {
                return (all(&Service::Missing), None);
            }
            Err(error) => return (all(&Service::Unseen), Some(Error::aws(call, &error))),
        };
        // A service that is missing in the answer is missing.
        let mut found = all(&Service::Missing);
        let active = |service: &aws_sdk_ecs::types::Service| service.status() == Some("ACTIVE");
        for service in answer.services.unwrap_or_default().into_iter().filter(active) {
            let tag = |key: &str| service.tags().iter().find(|tag| tag.key() == Some(key));
            let value = |key| tag(key).map(|tag| tag.value().unwrap_or_default().to_owned());
            let seen = Service::Active {
                count: service.desired_count,
                keep: Keep { awake_until: value(KEEP_AWAKE_UNTIL), asleep_until: value(KEEP_ASLEEP_UNTIL) },
                discovered: discover.is_some_and(|key| tag(key).is_some()),
                daemon: service.scheduling_strategy == Some(SchedulingStrategy::Daemon),
            };
            let name = service.service_name.as_deref().unwrap_or_default();
            found.insert(format!("service/{cluster}/{name}"), seen);
        }
        (found, None)
    }

    /// Sets the desired count of a service.
    pub(crate) async fn set_count(
        &self,
        resource: &str,
        count: i32,
        invocation: &Invocation,
    ) -> Result<(), Error> {
        let (cluster, name) = parts(resource).unwrap_or_default();
        let update = |limit| {
            let update = self.ecs.update_service().cluster(cluster).service(name).desired_count(count);
            update.customize().config_override(limits!(aws_sdk_ecs, limit)).send()
        };
        call("UpdateService", invocation, update).await.map(drop)
    }
}

/// The cluster and the service of a resource id.
fn parts(resource: &str) -> Option<(&str, &str)> {
    resource.strip_prefix("service/")?.split_once('/')
}
