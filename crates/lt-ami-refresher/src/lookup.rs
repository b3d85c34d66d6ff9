//! Looks up what a version names and what was launched from it: the instance type, the security groups, the instances.
//!
//! AWS calls: `ec2:DescribeInstanceTypes`, `ec2:DescribeSecurityGroups`, `ec2:DescribeSecurityGroupVpcAssociations`,
//! `ec2:DescribeInstances`.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::types::SecurityGroupVpcAssociationState;
use lambda_kit::Error;
use tracing::warn;

use crate::error::Refusal;
use crate::images::filter;
use crate::preflight::Kind;

/// Instances per page. EC2's maximum of 1,000 would be some megabytes at once.
const PAGE_SIZE: i32 = 200;

/// The states of instances that exist.
const EXISTING: [&str; 4] = ["pending", "running", "stopping", "stopped"];

/// The tags that EC2 gives to an instance of a launch template. Nobody else can write them.
const TEMPLATE_TAG: &str = "aws:ec2launchtemplate:id";
const VERSION_TAG: &str = "aws:ec2launchtemplate:version";

/// The calls to EC2.
#[derive(Debug, Clone)]
pub(crate) struct Lookup(Client);

impl Lookup {
    pub(crate) fn new(client: Client) -> Self {
        Self(client)
    }

    /// The instance type of this name. `None` if EC2 does not know it in this Region.
    pub(crate) async fn kind(&self, name: &str) -> Result<Option<Kind>, Error> {
        let request = self.0.describe_instance_types().instance_types(name.into());
        match request.send().await {
            Ok(answer) => Ok(answer.instance_types().first().map(Kind::read)),
            Err(error) if error.code().is_some_and(|code| code.starts_with("InvalidInstanceType")) => {
                Ok(None)
            }
            Err(error) => Err(Error::aws("DescribeInstanceTypes", &error)),
        }
    }

    /// Those of these security groups that exist, with their VPCs.
    pub(crate) async fn security_groups(
        &self,
        ids: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let found = self.security_groups_by("group-id", ids).await?;
        Ok(found.into_iter().map(|(id, _, vpc)| (id, vpc)).collect())
    }

    /// The further VPCs that these security groups are associated with. `None` if EC2 does not say.
    pub(crate) async fn further_vpcs(
        &self,
        ids: impl IntoIterator<Item = &String>,
    ) -> Option<BTreeSet<(String, String)>> {
        let request = self.0.describe_security_group_vpc_associations().filters(filter("group-id", ids));
        let mut pages = request.into_paginator().items().send();
        let mut found = BTreeSet::new();
        while let Some(association) = pages.next().await {
            match association {
                Ok(one) if one.state() == Some(&SecurityGroupVpcAssociationState::Associated) => {
                    found.insert((one.group_id.unwrap_or_default(), one.vpc_id.unwrap_or_default()));
                }
                Ok(_) => {}
                Err(error) => {
                    let error = Error::aws("DescribeSecurityGroupVpcAssociations", &error);
                    warn!("can't read which VPCs the security groups are associated with: {}", error.chain());
                    return None;
                }
            }
        }
        Some(found)
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

    /// The versions of a template from which existing instances were launched, whoever launched them.
    pub(crate) async fn versions_in_use(&self, template: &str) -> Result<BTreeSet<i64>, Error> {
        let request = self.0.describe_instances().max_results(PAGE_SIZE);
        let request = request.filters(filter(&format!("tag:{TEMPLATE_TAG}"), [template]));
        let request = request.filters(filter("instance-state-name", EXISTING));
        let mut pages = request.into_paginator().items().send();
        let mut versions = BTreeSet::new();
        while let Some(reservation) = pages.next().await {
            let reservation = reservation.map_err(|error| Error::aws("DescribeInstances", &error))?;
            let tags = reservation.instances().iter().flat_map(|instance| instance.tags());
            let numbers = tags.filter(|tag| tag.key() == Some(VERSION_TAG)).filter_map(|tag| tag.value());
            versions.extend(numbers.filter_map(|number| number.parse::<i64>().ok()));
        }
        Ok(versions)
    }
}
