//! Security groups and subnets, with what launches need: `DescribeSecurityGroups`, `DescribeSubnets`. The lab begins
//! with a default VPC, a subnet per Availability Zone and the group `default`. Others come from [`World::add_subnet`]
//! and [`World::add_security_group`].

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::filters::{self, Filter};
use super::tags::tag_set;
use super::{Answer, Ec2, Tags, not_found, page, well_formed};
use crate::aws::error::ApiError;
use crate::aws::request::Text;
use crate::aws::world::{ACCOUNT, REGION, World};

/// The VPC where launches go that name no subnet.
pub const DEFAULT_VPC: &str = "vpc-00000000000000001";

/// A security group.
#[derive(Debug, Clone)]
pub struct SecurityGroup {
    /// Its id.
    pub id: String,
    /// Its name, unique in its VPC.
    pub name: String,
    /// Its VPC.
    pub vpc: String,
    /// Its tags.
    pub tags: Tags,
}

/// A subnet.
#[derive(Debug, Clone)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Its Availability Zone.
    pub zone: String,
    /// Whether launches that name no subnet go there.
    default: bool,
}

/// The default VPC's security group `default`.
pub(super) fn default_groups() -> BTreeMap<String, SecurityGroup> {
    let id = "sg-00000000000000001".to_owned();
    let (name, vpc) = ("default".to_owned(), DEFAULT_VPC.to_owned());
    BTreeMap::from([(id.clone(), SecurityGroup { id, name, vpc, tags: Tags::new() })])
}

/// The default VPC's subnets.
pub(super) fn default_subnets() -> BTreeMap<String, Subnet> {
    let subnet = |letter| {
        let id = format!("subnet-0000000000000000{letter}");
        let (vpc, zone) = (DEFAULT_VPC.to_owned(), format!("{REGION}{letter}"));
        (id.clone(), Subnet { id, vpc, zone, default: true })
    };
    ('a'..='f').map(subnet).collect()
}

impl Ec2 {
    /// The security group of this id.
    pub fn security_group(&self, id: &str) -> Option<&SecurityGroup> {
        self.security_groups.get(id)
    }

    /// The subnet of this id.
    pub fn subnet(&self, id: &str) -> Option<&Subnet> {
        self.subnets.get(id)
    }

    /// Where a launch into a zone goes that names no subnet.
    pub(super) fn default_subnet(&self, zone: &str) -> Option<&Subnet> {
        self.subnets.values().find(|subnet| subnet.default && subnet.zone == zone)
    }

    /// The group of this name in a VPC.
    pub(super) fn group_named(&self, name: &str, vpc: &str) -> Option<&SecurityGroup> {
        self.security_groups.values().find(|group| group.name == name && group.vpc == vpc)
    }
}

impl World {
    /// Adds a security group to a VPC; answers its id. The VPC need not be known before.
    pub fn add_security_group(&mut self, name: &str, vpc: &str) -> String {
        let id = self.id("sg");
        let (name, vpc) = (name.to_owned(), vpc.to_owned());
        let group = SecurityGroup { id: id.clone(), name, vpc, tags: Tags::new() };
        self.ec2.security_groups.insert(id.clone(), group);
        id
    }

    /// Deletes a security group, even if it is still in use.
    pub fn remove_security_group(&mut self, id: &str) {
        self.ec2.security_groups.remove(id);
    }

    /// Adds a subnet to a VPC; answers its id. The VPC need not be known before.
    pub fn add_subnet(&mut self, vpc: &str, zone: &str) -> String {
        let id = self.id("subnet");
        let (vpc, zone) = (vpc.to_owned(), zone.to_owned());
        self.ec2.subnets.insert(id.clone(), Subnet { id: id.clone(), vpc, zone, default: false });
        id
    }
}

/// The subnets of these ids.
pub(crate) fn find_subnets<'a>(ec2: &'a Ec2, ids: &[String]) -> Result<Vec<&'a Subnet>, ApiError> {
    let missing: Vec<_> = ids.iter().filter(|id| !ec2.subnets.contains_key(*id)).cloned().collect();
    if !missing.is_empty() {
        let (one, many) = ("The subnet ID", "The subnet IDs");
        return Err(not_found("InvalidSubnetID.NotFound", one, many, ["'", "'"], &missing));
    }
    Ok(ids.iter().filter_map(|id| ec2.subnets.get(id)).collect())
}

/// The security groups of these ids.
pub(super) fn find_groups<'a>(ec2: &'a Ec2, ids: &[&str]) -> Result<Vec<&'a SecurityGroup>, ApiError> {
    for id in ids {
        well_formed("InvalidGroupId.Malformed", "sg", id)?;
    }
    let unknown = |id: &&&str| !ec2.security_groups.contains_key(**id);
    let missing: Vec<_> = ids.iter().filter(unknown).map(|id| (*id).to_owned()).collect();
    if !missing.is_empty() {
        return Err(unknown_groups(&missing));
    }
    Ok(ids.iter().filter_map(|id| ec2.security_groups.get(*id)).collect())
}

pub(super) fn find_group_mut<'a>(world: &'a mut World, id: &str) -> Result<&'a mut SecurityGroup, ApiError> {
    well_formed("InvalidGroupId.Malformed", "sg", id)?;
    world.ec2.security_groups.get_mut(id).ok_or_else(|| unknown_groups(&[id.to_owned()]))
}

fn unknown_groups(ids: &[String]) -> ApiError {
    let (one, many) = ("The security group", "The security groups");
    not_found("InvalidGroup.NotFound", one, many, ["'", "'"], ids)
}

/// The groups of these names in the default VPC: a name alone means one there.
pub(super) fn find_named<'a>(ec2: &'a Ec2, names: &[&str]) -> Result<Vec<&'a SecurityGroup>, ApiError> {
    let find = |name: &&str| {
        ec2.group_named(name, DEFAULT_VPC).ok_or_else(|| {
            let text = format!("The security group '{name}' does not exist in default VPC '{DEFAULT_VPC}'");
            ApiError::new("InvalidGroup.NotFound", text)
        })
    };
    names.iter().map(find).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeGroups {
    #[serde(rename = "GroupId", default)]
    ids: Vec<String>,
    #[serde(rename = "GroupName", default)]
    names: Vec<String>,
    #[serde(rename = "Filter", default)]
    filters: Vec<Filter>,
    max_results: Option<Text<usize>>,
    next_token: Option<String>,
}

pub(super) fn describe_groups(world: &mut World, describe: DescribeGroups) -> Answer {
    let DescribeGroups { ids, names, filters, max_results, next_token } = describe;
    filters::check(&filters, &["description", "group-id", "group-name", "owner-id", "vpc-id"])?;
    let (by_id, by_name): (Vec<_>, Vec<_>) =
        (ids.iter().map(String::as_str).collect(), names.iter().map(String::as_str).collect());
    let mut named = find_groups(&world.ec2, &by_id)?;
    named.extend(find_named(&world.ec2, &by_name)?);
    let wanted = world.ec2.security_groups.values().filter(|group| {
        (ids.is_empty() && names.is_empty() || named.iter().any(|one| one.id == group.id))
            && filters::pass(&filters, &group.tags, |field| {
                vec![match field {
                    "description" | "group-name" => group.name.clone(),
                    "group-id" => group.id.clone(),
                    "owner-id" => ACCOUNT.to_owned(),
                    _ => group.vpc.clone(),
                }]
            })
    });
    let items = wanted.map(|group| (&group.id, group));
    page("securityGroupInfo", items, group_json, world.ec2.page_size, max_results, next_token)
}

/// A group without rules: the lab has no packets.
fn group_json(group: &SecurityGroup) -> Value {
    json!({
        "ownerId": ACCOUNT,
        "groupId": group.id,
        "groupName": group.name,
        "groupDescription": group.name,
        "vpcId": group.vpc,
        "securityGroupArn": format!("arn:aws:ec2:{REGION}:{ACCOUNT}:security-group/{}", group.id),
        "tagSet": tag_set(&group.tags),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeSubnets {
    #[serde(rename = "SubnetId", default)]
    ids: Vec<String>,
    #[serde(rename = "Filter", default)]
    filters: Vec<Filter>,
    max_results: Option<Text<usize>>,
    next_token: Option<String>,
}

const SUBNET_FILTERS: [&str; 7] = [
    "availability-zone",
    "availabilityZone",
    "default-for-az",
    "defaultForAz",
    "owner-id",
    "subnet-id",
    "vpc-id",
];

pub(super) fn describe_subnets(world: &mut World, describe: DescribeSubnets) -> Answer {
    let DescribeSubnets { ids, filters, max_results, next_token } = describe;
    filters::check(&filters, &SUBNET_FILTERS)?;
    find_subnets(&world.ec2, &ids)?;
    let wanted = world.ec2.subnets.values().filter(|subnet| {
        (ids.is_empty() || ids.contains(&subnet.id))
            && filters::pass(&filters, &Tags::new(), |field| {
                vec![match field {
                    "availability-zone" | "availabilityZone" => subnet.zone.clone(),
                    "default-for-az" | "defaultForAz" => subnet.default.to_string(),
                    "owner-id" => ACCOUNT.to_owned(),
                    "subnet-id" => subnet.id.clone(),
                    _ => subnet.vpc.clone(),
                }]
            })
    });
    let items = wanted.map(|subnet| (&subnet.id, subnet));
    page("subnetSet", items, subnet_json, world.ec2.page_size, max_results, next_token)
}

fn subnet_json(subnet: &Subnet) -> Value {
    json!({
        "subnetId": subnet.id,
        "subnetArn": format!("arn:aws:ec2:{REGION}:{ACCOUNT}:subnet/{}", subnet.id),
        "ownerId": ACCOUNT,
        "state": "available",
        "vpcId": subnet.vpc,
        "availabilityZone": subnet.zone,
        "defaultForAz": subnet.default,
    })
}
