//! What a call means to IAM: the action on the resources that its parameters name, and the actions that AWS
//! checks besides, on behalf of the caller. By AWS's Service Authorization Reference:
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/reference.html>

use std::collections::BTreeMap;

use lifecycle_lab::{ACCOUNT, Call, REGION};

use crate::policy::Request;
use crate::scenes::Record;

/// The tag with which Auto Scaling marks its instances.
const GROUP_TAG: &str = "aws:autoscaling:groupName";

/// The tag with which ami-snapshotter marks its images and their snapshots.
const FUNCTION_TAG: &str = "lifecycle/function";

/// Everything that IAM is asked about one call.
pub(crate) fn of(call: &Call, record: &Record) -> Vec<Request> {
    let parameters = Parameters::of(call);
    // The tagging API's name in signatures is not that of its permissions.
    let prefix = if call.service == "tagging" { "tag" } else { &call.service };
    let action = format!("{prefix}:{}", call.action);
    let plain = |resource: String| Request::new(&action, resource);
    match (call.service.as_str(), call.action.as_str()) {
        ("autoscaling", "CompleteLifecycleAction" | "RecordLifecycleActionHeartbeat") => {
            vec![plain(group(parameters.one("AutoScalingGroupName")))]
        }
        ("ssm", "SendCommand") => {
            let document = parameters.one("DocumentName");
            // AWS's own documents have no account.
            let owner = if document.starts_with("AWS-") { "" } else { ACCOUNT };
            let mut requests = vec![plain(format!("arn:aws:ssm:{REGION}:{owner}:document/{document}"))];
            for id in parameters.many("InstanceIds.") {
                let request = plain(instance(id));
                requests.push(request.with(&format!("ssm:resourceTag/{GROUP_TAG}"), [&record.instances[id]]));
            }
            requests
        }
        ("ssm", "CancelCommand") => vec![plain("*".to_owned())],
        ("ec2", "CreateImage") => create_image(&action, &parameters, record),
        ("ec2", "DeregisterImage") => {
            let tags = &record.images[parameters.one("ImageId")];
            let of_function = |request: Request| {
                request.with(&format!("aws:ResourceTag/{FUNCTION_TAG}"), tags.get(FUNCTION_TAG))
            };
            assert_eq!(parameters.one("DeleteAssociatedSnapshots"), "true");
            vec![
                of_function(plain(image(parameters.one("ImageId")))),
                of_function(Request::new("ec2:DeleteSnapshot", snapshot())),
            ]
        }
        ("ec2", "CreateLaunchTemplateVersion" | "ModifyLaunchTemplate" | "DeleteLaunchTemplateVersions") => {
            vec![plain(template(parameters.one("LaunchTemplateId")))]
        }
        ("autoscaling", "StartInstanceRefresh") => {
            start_refresh(plain(group(parameters.one("AutoScalingGroupName"))), record)
        }
        ("lambda", "GetFunctionConfiguration" | "UpdateFunctionConfiguration") => {
            let function = parameters.one("FunctionName");
            vec![plain(format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}"))]
        }
        ("application-autoscaling", "RegisterScalableTarget") => register(&action, &parameters),
        ("application-autoscaling", "DeregisterScalableTarget") => vec![of_target(&action, &parameters)],
        ("ecs", "DescribeServices") => {
            let services = parameters.many("services.").into_iter();
            services.map(|name| plain(service(parameters.one("cluster"), name))).collect()
        }
        ("ecs", "UpdateService") => {
            vec![plain(service(parameters.one("cluster"), parameters.one("service")))]
        }
        ("application-autoscaling", "ListTagsForResource") => {
            vec![plain(parameters.one("ResourceARN").to_owned())]
        }
        ("application-autoscaling", "TagResource") => {
            let keys = parameters.0.keys().filter_map(|name| name.strip_prefix("Tags."));
            vec![plain(parameters.one("ResourceARN").to_owned()).with("aws:TagKeys", keys)]
        }
        ("application-autoscaling", "UntagResource") => {
            let keys = parameters.many("TagKeys.");
            vec![plain(parameters.one("ResourceARN").to_owned()).with("aws:TagKeys", keys)]
        }
        ("ssm", "GetParameter") => {
            let name = parameters.one("Name");
            // AWS's public parameters have no account, and an ARN has no version.
            let owner = if name.starts_with("/aws/") { "" } else { ACCOUNT };
            let name = name.trim_start_matches('/').split(':').next().unwrap();
            vec![plain(format!("arn:aws:ssm:{REGION}:{owner}:parameter/{name}"))]
        }
        (_, name) if name.starts_with("Describe") || name.starts_with("List") || name.starts_with("Get") => {
            vec![plain("*".to_owned())]
        }
        (service, name) => panic!("what {service}:{name} means to IAM is not known here"),
    }
}

/// The image and its snapshots are made with their tags, so tagging is asked about too.
fn create_image(action: &str, parameters: &Parameters, record: &Record) -> Vec<Request> {
    let id = parameters.one("InstanceId");
    let from = Request::new(action, instance(id));
    let mut requests = vec![from.with(&format!("aws:ResourceTag/{GROUP_TAG}"), [&record.instances[id]])];
    for (kind, resource) in [("image", image("ami-new")), ("snapshot", snapshot())] {
        let tags = parameters.tags_of(kind);
        let tagged = |request: Request| {
            request.with(&format!("aws:RequestTag/{FUNCTION_TAG}"), tags.get(FUNCTION_TAG).copied())
        };
        requests.push(tagged(Request::new(action, resource.clone())));
        if !tags.is_empty() {
            let tagging = Request::new("ec2:CreateTags", resource);
            requests.push(tagged(tagging.with("ec2:CreateAction", ["CreateImage"])));
        }
    }
    requests
}

/// Auto Scaling asks IAM whether the caller could launch instances from the group's template: on everything that a launch
/// uses or makes, where the subnet, and so the network interface, is the group's; tags, where the template has some; and
/// the role of its instance profile, where it has one.
fn start_refresh(start: Request, record: &Record) -> Vec<Request> {
    let launches = record.launches.as_ref().unwrap();
    let new = instance("i-0123456789abcdef0");
    let of_template = |resource: &str| launch(resource, &launches.template, true);
    let of_group = |resource: &str| launch(resource, &launches.template, false);
    let tagging = Request::new("ec2:CreateTags", new.clone()).with("ec2:CreateAction", ["RunInstances"]);
    let mut requests = vec![start, of_template(&new), tagging];
    requests
        .extend([image("ami-0123456789abcdef0"), template(&launches.template)].map(|one| of_template(&one)));
    requests.extend(["volume/*", "security-group/sg-1"].map(|one| of_template(&ec2(one))));
    requests.extend(["subnet/subnet-1", "network-interface/*"].map(|one| of_group(&ec2(one))));
    if let Some(role) = &launches.role {
        let pass = Request::new("iam:PassRole", role.clone());
        requests.push(pass.with("iam:PassedToService", ["ec2.amazonaws.com"]));
    }
    requests
}

/// AWS lists these for whoever manages the scaling of an ECS service; the service-linked role is made at the
/// first registration that names no other role. A registration with tags asks for tagging too.
fn register(action: &str, parameters: &Parameters) -> Vec<Request> {
    let service = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:{}", parameters.one("ResourceId"));
    let role = match parameters.0.get("RoleARN") {
        Some(role) => Request::new("iam:PassRole", *role)
            .with("iam:PassedToService", ["application-autoscaling.amazonaws.com"]),
        None => {
            let principal = "ecs.application-autoscaling.amazonaws.com";
            let name = "AWSServiceRoleForApplicationAutoScaling_ECSService";
            let role = format!("arn:aws:iam::{ACCOUNT}:role/aws-service-role/{principal}/{name}");
            Request::new("iam:CreateServiceLinkedRole", role).with("iam:AWSServiceName", [principal])
        }
    };
    let keys: Vec<_> = parameters.0.keys().filter_map(|name| name.strip_prefix("Tags.")).collect();
    let tagging = (!keys.is_empty())
        .then(|| Request::new("application-autoscaling:TagResource", target()).with("aws:TagKeys", keys));
    let others = [
        of_target(action, parameters),
        Request::new("ecs:DescribeServices", service.clone()),
        Request::new("ecs:UpdateService", service),
        role,
    ];
    others.into_iter().chain(tagging).collect()
}

/// An action on the scalable target of these parameters.
fn of_target(action: &str, parameters: &Parameters) -> Request {
    Request::new(action, target())
        .with("application-autoscaling:service-namespace", [parameters.one("ServiceNamespace")])
        .with("application-autoscaling:scalable-dimension", [parameters.one("ScalableDimension")])
}

/// A scalable target's ARN.
pub(crate) fn target() -> String {
    format!("arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/0ec5")
}

/// A service's ARN.
pub(crate) fn service(cluster: &str, name: &str) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:service/{cluster}/{name}")
}

/// A launch's request for one resource. `from_template` says whether the resource is as the template says, or the caller
/// chose it.
pub(crate) fn launch(resource: &str, from: &str, from_template: bool) -> Request {
    Request::new("ec2:RunInstances", resource)
        .with("ec2:LaunchTemplate", [template(from)])
        .with("ec2:IsLaunchTemplateResource", [from_template.to_string()])
}

/// The ARN of a resource of EC2: `subnet/subnet-1`.
pub(crate) fn ec2(resource: &str) -> String {
    format!("arn:aws:ec2:{REGION}:{ACCOUNT}:{resource}")
}

/// A group's ARN.
pub(crate) fn group(name: &str) -> String {
    let id = "042cba90-ad2f-431c-9b4d-6d9055bcc9fb";
    format!("arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:{id}:autoScalingGroupName/{name}")
}

/// An instance's ARN.
pub(crate) fn instance(id: &str) -> String {
    ec2(&format!("instance/{id}"))
}

/// A launch template's ARN.
pub(crate) fn template(id: &str) -> String {
    ec2(&format!("launch-template/{id}"))
}

/// An image's ARN, which has no account.
pub(crate) fn image(id: &str) -> String {
    format!("arn:aws:ec2:{REGION}::image/{id}")
}

/// A snapshot's ARN, which has no account.
pub(crate) fn snapshot() -> String {
    format!("arn:aws:ec2:{REGION}::snapshot/snap-0123456789abcdef0")
}

/// The parameters of a call, by their names.
struct Parameters<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Parameters<'a> {
    fn of(call: &'a Call) -> Self {
        Self(call.parameters.iter().filter_map(|line| line.split_once('=')).collect())
    }

    fn one(&self, name: &str) -> &'a str {
        self.0.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }

    /// The values of a list: `InstanceIds.1`, `InstanceIds.2` …
    fn many(&self, beginning: &str) -> Vec<&'a str> {
        let items = self.0.iter().filter(|(name, _)| name.starts_with(beginning));
        items.map(|(_, value)| *value).collect()
    }

    /// The tags that a call gives to what it makes of this kind.
    fn tags_of(&self, kind: &str) -> BTreeMap<&'a str, &'a str> {
        let specifications = self.0.iter().filter(|(name, value)| {
            name.starts_with("TagSpecification.") && name.ends_with(".ResourceType") && **value == kind
        });
        let mut tags = BTreeMap::new();
        for (name, _) in specifications {
            let beginning = name.strip_suffix("ResourceType").unwrap();
            for (key, tag) in self.0.iter().filter(|(name, _)| name.starts_with(beginning)) {
                if let Some(number) = key.strip_suffix(".Key") {
                    tags.insert(*tag, self.one(&format!("{number}.Value")));
                }
            }
        }
        tags
    }
}
