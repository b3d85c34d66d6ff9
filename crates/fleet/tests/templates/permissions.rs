//! Least privilege, by execution: each function makes every call that it can make, and its template's policy
//! must allow all of them and grant nothing that was not needed. `scenes` has the functions and their scenes.

use std::collections::BTreeSet;

use crate::policy::{Policy, Request};
use crate::requests::{self, ec2, group, image, instance, launch, service, snapshot, target, template};
use crate::scenes::Played;
use crate::{functions, text};
use fleet::template::Template;
use serde_json::Value;

/// Actions for which AWS knows no resource.
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>
const UNSCOPED: [&str; 18] = [
    "application-autoscaling:DescribeScalableTargets",
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeAutoScalingInstances",
    "autoscaling:DescribeLifecycleHooks",
    "autoscaling:DescribeScalingActivities",
    "autoscaling:DescribeWarmPool",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInstances",
    "ec2:DescribeLaunchTemplateVersions",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribeSecurityGroupVpcAssociations",
    "ec2:DescribeSecurityGroups",
    "ecs:ListServices",
    "ssm:CancelCommand",
    "ssm:DescribeInstanceInformation",
    "ssm:ListCommandInvocations",
    "tag:GetResources",
];

#[test]
fn services_that_a_tag_names_are_those_of_the_account_and_region() {
    let policy = Policy::of(&Template::of("ecs-scheduler").deploy(&[("DiscoverTag", "office-hours")]));
    let scale = Request::new("ecs:UpdateService", service("shop", "web"));
    let whose = Request::new("application-autoscaling:TagResource", target());
    let foreign = service("shop", "web").replace("123456789012", "210987654321");
    for (request, allowed) in [
        (scale.clone(), true),
        (scale.with("aws:RequestedRegion", ["eu-west-1"]), false),
        (Request::new("ecs:UpdateService", foreign), false),
        (whose.with("aws:TagKeys", ["lifecycle/remembered", "lifecycle/function"]), true),
        (Request::new("ecs:ListServices", "*"), false),
    ] {
        assert_eq!(!policy.allow(&request).is_empty(), allowed, "{request:?}");
    }
}

/// Nothing called is denied, nothing allowed is unused.
pub(crate) fn check(played: &Played) {
    assert!(!played.record.calls.is_empty(), "nothing was called");
    let policy = Policy::of(&played.stack);
    let mut unused = policy.grants();
    let mut denied = BTreeSet::new();
    for call in &played.record.calls {
        for request in requests::of(call, &played.record) {
            let allowing = policy.allow(&request);
            if allowing.is_empty() {
                denied
                    .insert(format!("{} on {} with {:?}", request.action, request.resource, request.context));
            }
            unused.retain(|grant| !allowing.contains(grant));
        }
    }
    assert!(denied.is_empty(), "called, but denied: {denied:#?}");
    assert!(unused.is_empty(), "allowed, but not used: {unused:#?}");
    for action in policy.unscoped() {
        assert!(UNSCOPED.contains(&action.as_str()), "{action} is allowed on every resource");
    }
}

#[test]
fn each_page_lists_the_permissions_of_its_template() {
    for function in functions() {
        let page = text(&format!("docs/{function}.md"));
        let (_, section) = page.split_once("\n## Permissions\n").unwrap();
        let table = section.lines().skip_while(|line| !line.starts_with('|'));
        let actions: BTreeSet<String> = table
            .take_while(|line| line.starts_with('|'))
            .flat_map(|row| actions_in(row.split('|').nth(1).unwrap()))
            .collect();
        assert_eq!(actions, granted_with_everything(function), "docs/{function}.md");
    }
}

/// The actions of both branches of every condition.
fn granted_with_everything(function: &str) -> BTreeSet<String> {
    let template = Template::of(function);
    let policies = template.section("Resources")["Role"]["Properties"]["Policies"].as_array().unwrap();
    let policy = policies.iter().find(|policy| policy["PolicyName"] == "function").unwrap();
    let mut actions = BTreeSet::new();
    gather(&policy["PolicyDocument"]["Statement"], false, &mut actions);
    actions
}

/// The texts under every key `Action`, at any depth and in both branches of an `!If`.
fn gather(value: &Value, inside: bool, actions: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if inside => actions.extend(Some(text.clone()).filter(|text| is_action(text))),
        Value::Array(items) => items.iter().for_each(|item| gather(item, inside, actions)),
        Value::Object(fields) => {
            for (name, field) in fields {
                gather(field, inside || name == "Action", actions);
            }
        }
        _ => {}
    }
}

/// What of a text is written like an action between backticks.
fn actions_in(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).filter(|word| is_action(word)).map(str::to_owned).collect()
}

/// Whether a word is written like an action: `ssm:SendCommand`.
fn is_action(word: &str) -> bool {
    word.split_once(':').is_some_and(|(service, name)| {
        let spelled = |character: char| character.is_ascii_lowercase() || "0123456789-".contains(character);
        service.chars().all(spelled) && name.starts_with(|first: char| first.is_ascii_uppercase())
    })
}

#[test]
fn what_is_not_theirs_is_out_of_reach() {
    let of_group = |action, key: &str, name: &str| {
        Request::new(action, instance("i-0123456789abcdef0")).with(key, [name])
    };
    let complete = |name: &str| Request::new("autoscaling:CompleteLifecycleAction", group(name));
    let elsewhere = complete("web").with("aws:RequestedRegion", ["eu-west-1"]);
    let drain = |group| of_group("ssm:SendCommand", "ssm:resourceTag/aws:autoscaling:groupName", group);
    let image_of = |group| of_group("ec2:CreateImage", "aws:ResourceTag/aws:autoscaling:groupName", group);
    let remove = |function| {
        let request = Request::new("ec2:DeregisterImage", image("ami-0123456789abcdef0"));
        request.with("aws:ResourceTag/lifecycle/function", [function])
    };
    let change = |id| Request::new("ec2:ModifyLaunchTemplate", template(id));
    let bare = Request::new("ec2:RunInstances", instance("i-0123456789abcdef0"));
    let of_template = |resource: &str, from_template| launch(resource, "lt-0123456789abcdef0", from_template);
    let new = instance("i-0123456789abcdef0");
    let of_template_elsewhere = of_template(&new, true).with("aws:RequestedRegion", ["eu-west-1"]);
    let parameter = |owner: &str, name: &str| {
        Request::new("ssm:GetParameter", format!("arn:aws:ssm:us-east-1:{owner}:parameter/{name}"))
    };
    let pass = |role: &str| {
        let request = Request::new("iam:PassRole", format!("arn:aws:iam::123456789012:role/{role}"));
        request.with("iam:PassedToService", ["ec2.amazonaws.com"])
    };
    let of_key = |action, key| {
        Request::new(&format!("application-autoscaling:{action}"), target()).with("aws:TagKeys", [key])
    };
    let (tag, untag) = (|key| of_key("TagResource", key), |key| of_key("UntagResource", key));
    let scale = |cluster, name| Request::new("ecs:UpdateService", service(cluster, name));
    let dynamo = Request::new("application-autoscaling:DeregisterScalableTarget", target())
        .with("application-autoscaling:service-namespace", ["dynamodb"])
        .with("application-autoscaling:scalable-dimension", ["dynamodb:table:ReadCapacityUnits"]);
    let memory = |function| {
        let arn = format!("arn:aws:lambda:us-east-1:123456789012:function:{function}");
        Request::new("lambda:UpdateFunctionConfiguration", arn)
    };
    for (function, request, allowed) in [
        ("launch-logger", complete("web"), true),
        ("launch-logger", complete("web-2"), false),
        ("launch-logger", elsewhere, false),
        ("terminate-drainer", drain("web"), true),
        ("terminate-drainer", drain("web-2"), false),
        ("ami-snapshotter", image_of("web"), true),
        ("ami-snapshotter", image_of("web-2"), false),
        ("ami-snapshotter", memory("ami-snapshotter"), true),
        ("ami-snapshotter", memory("launch-logger"), false),
        ("ami-snapshotter", remove("ami-snapshotter"), true),
        ("ami-snapshotter", remove("another"), false),
        ("ami-snapshotter", Request::new("ec2:DeleteSnapshot", snapshot()), false),
        ("ami-snapshotter", Request::new("ec2:CreateTags", image("ami-0123456789abcdef0")), false),
        ("lt-ami-refresher", change("lt-0123456789abcdef0"), true),
        ("lt-ami-refresher", change("lt-0123456789abcdef1"), false),
        ("lt-ami-refresher", bare, false),
        ("lt-ami-refresher", of_template(&new, true), true),
        // Another type, image or volume than the template's; the subnet is the group's.
        ("lt-ami-refresher", of_template(&new, false), false),
        ("lt-ami-refresher", of_template(&image("ami-0123456789abcdef0"), false), false),
        ("lt-ami-refresher", of_template(&ec2("volume/*"), false), false),
        ("lt-ami-refresher", of_template(&ec2("security-group/sg-1"), false), false),
        ("lt-ami-refresher", of_template(&ec2("subnet/subnet-1"), false), true),
        ("lt-ami-refresher", launch(&new, "lt-0123456789abcdef1", true), false),
        ("lt-ami-refresher", launch(&ec2("subnet/subnet-1"), "lt-0123456789abcdef1", false), false),
        ("lt-ami-refresher", Request::new("ec2:CreateTags", new.clone()), false),
        ("lt-ami-refresher", pass("web"), true),
        ("lt-ami-refresher", pass("admin"), false),
        ("lt-ami-refresher", parameter("", "aws/service/golden"), true),
        ("lt-ami-refresher", parameter("", "aws/service/golden/other"), false),
        ("lt-ami-refresher", parameter("123456789012", "secret"), false),
        ("lt-ami-refresher", of_template_elsewhere, false),
        ("ecs-scheduler", tag("lifecycle/remembered"), true),
        ("ecs-scheduler", tag("lifecycle/toggle"), true),
        ("ecs-scheduler", tag("lifecycle/function"), false),
        ("ecs-scheduler", tag("keep-awake-until"), false),
        ("ecs-scheduler", untag("keep-awake-until"), true),
        ("ecs-scheduler", untag("keep-asleep-until"), true),
        ("ecs-scheduler", untag("lifecycle/toggle"), false),
        ("ecs-scheduler", untag("team"), false),
        ("ecs-scheduler", scale("shop", "web"), true),
        ("ecs-scheduler", scale("shop", "web-2"), false),
        ("ecs-scheduler", scale("office", "anything"), true),
        ("ecs-scheduler", scale("offices", "anything"), false),
        ("ecs-scheduler", scale("office", "x").with("aws:RequestedRegion", ["eu-west-1"]), false),
        ("ecs-scheduler", dynamo, false),
        ("ecs-scheduler", Request::new("tag:GetResources", "*"), false),
    ] {
        let parameters: &[(&str, &str)] = match function {
            "ecs-scheduler" => &[("ResourceIds", "service/shop/web,service/office/*")],
            "lt-ami-refresher" => &[
                ("LaunchTemplateId", "lt-0123456789abcdef0"),
                ("InstanceRefresh", "true"),
                ("InstanceRole", "arn:aws:iam::123456789012:role/web"),
                ("ImageSource", "ssm:/aws/service/golden"),
            ],
            "ami-snapshotter" => &[("AutoScalingGroups", "web"), ("ImageRetention", "30d")],
            _ => &[("AutoScalingGroups", "web")],
        };
        let policy = Policy::of(&Template::of(function).deploy(parameters));
        assert_eq!(!policy.allow(&request).is_empty(), allowed, "{function}: {request:?}");
    }
}
