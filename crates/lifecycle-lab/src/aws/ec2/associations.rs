//! Security groups that are associated with further VPCs: `DescribeSecurityGroupVpcAssociations`.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/security-group-assoc.html>

use serde::Deserialize;
use serde_json::json;

use super::filters::{self, Filter};
use super::{Answer, Tags, page};
use crate::aws::request::Text;
use crate::aws::world::{ACCOUNT, World};

impl World {
    /// Associates a security group with a further VPC.
    pub fn associate_security_group(&mut self, group: &str, vpc: &str) {
        self.ec2.associations.insert((group.to_owned(), vpc.to_owned()));
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeAssociations {
    #[serde(rename = "Filter", default)]
    filters: Vec<Filter>,
    max_results: Option<Text<usize>>,
    next_token: Option<String>,
}

pub(super) fn describe(world: &mut World, describe: DescribeAssociations) -> Answer {
    let DescribeAssociations { filters, max_results, next_token } = describe;
    filters::check(&filters, &["group-id", "group-owner-id", "state", "vpc-id", "vpc-owner-id"])?;
    let wanted = world.ec2.associations.iter().filter(|(group, vpc)| {
        filters::pass(&filters, &Tags::new(), |field| {
            vec![match field {
                "group-id" => group.clone(),
                "state" => "associated".to_owned(),
                "vpc-id" => vpc.clone(),
                _ => ACCOUNT.to_owned(),
            }]
        })
    });
    let items = wanted.map(|one| (format!("{} {}", one.0, one.1), one));
    let to_json = |(group, vpc): &(String, String)| {
        json!({
            "groupId": group,
            "vpcId": vpc,
            "vpcOwnerId": ACCOUNT,
            "state": "associated",
            "groupOwnerId": ACCOUNT,
        })
    };
    page("securityGroupVpcAssociationSet", items, to_json, world.ec2.page_size, max_results, next_token)
}
