"""What the constant AWS says: for each action one answer, whatever the request. Together they make each function do
its most frequent work: a launch is recorded, a drain's command is sent, a group's replacement goes through, the newest
image is in use already, the services are awake as they should be.
"""

import json
import re

GROUP = "web"
IMAGE = "ami-0123456789abcdef0"
TEMPLATE = "lt-0123456789abcdef0"


def answer(method, path, headers, body):
    """Status, content type and body for a request of any of AWS's protocols."""
    target = headers.get("x-amz-target", "").rpartition(".")[2]
    action = re.match(rb"(?:Action=(\w+))?", body)[1]
    action = action.decode() if action else ""
    if target in JSON:
        instance = re.search(rb"i-[0-9a-f]{17}", body)
        text = json.dumps(JSON[target]).replace("INSTANCE", instance[0].decode() if instance else "")
        return "200 OK", "application/x-amz-json-1.1", text.encode()
    if action in EC2:
        return "200 OK", "text/xml", ec2(action).encode()
    if action in AUTOSCALING:
        return "200 OK", "text/xml", autoscaling(action).encode()
    if method == "GET" and path.endswith("/configuration"):
        return "200 OK", "application/json", json.dumps(CONFIGURATION).encode()
    refused = f"the benchmark has no answer to {method} {path} {target}{action}"
    return "400 Bad Request", "application/json", json.dumps({"__type": "NoAnswer", "message": refused}).encode()


# Lambda: the group in service is another one, so the death in this one was planned.
CONFIGURATION = {
    "FunctionName": "ami-snapshotter",
    "RevisionId": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
    "LastUpdateStatus": "Successful",
    "State": "Active",
    "Environment": {"Variables": {"CURRENT_ASG_NAME": "web-green"}},
}

JSON = {
    # Systems Manager: the instance's agent is there, no command yet, and a new one is accepted.
    "DescribeInstanceInformation": {
        "InstanceInformationList": [{"InstanceId": "INSTANCE", "PingStatus": "Online", "PlatformType": "Linux"}]
    },
    "ListCommandInvocations": {"CommandInvocations": []},
    "SendCommand": {"Command": {"CommandId": "e8d3c0e4-71f7-4491-898f-c9b35bee5f3b", "Status": "Pending"}},
    # Application Auto Scaling: both services are awake.
    "DescribeScalableTargets": {
        "ScalableTargets": [
            {
                "ServiceNamespace": "ecs",
                "ResourceId": f"service/shop/{service}",
                "ScalableDimension": "ecs:service:DesiredCount",
                "MinCapacity": 1,
                "MaxCapacity": 3,
                "RoleARN": "arn:aws:iam::123456789012:role/ecs",
                "CreationTime": 1767225600.0,
                "ScalableTargetARN": f"arn:aws:application-autoscaling:us-east-1:123456789012:scalable-target/{service}",
            }
            for service in ["web", "api"]
        ]
    },
    "ListTagsForResource": {"Tags": {}},
    # ECS: so are their tasks.
    "DescribeServices": {
        "services": [{"serviceName": service, "status": "ACTIVE", "desiredCount": 1} for service in ["web", "api"]]
    },
}

AUTOSCALING = {
    "CompleteLifecycleAction": "",
    "DescribeLifecycleHooks": f"""<LifecycleHooks><member>
        <AutoScalingGroupName>{GROUP}</AutoScalingGroupName><LifecycleHookName>drain</LifecycleHookName>
        <LifecycleTransition>autoscaling:EC2_INSTANCE_TERMINATING</LifecycleTransition>
        <HeartbeatTimeout>3600</HeartbeatTimeout><GlobalTimeout>172800</GlobalTimeout>
        <DefaultResult>CONTINUE</DefaultResult></member></LifecycleHooks>""",
    "DescribeAutoScalingGroups": "<AutoScalingGroups/>",
}

EC2 = {
    "DescribeImages": f"""<imagesSet><item><imageId>{IMAGE}</imageId><imageState>available</imageState>
        <name>AwsBackup_i-1234567890abcdef0</name><creationDate>2026-11-21T03:00:00.000Z</creationDate>
        <tagSet><item><key>Name</key><value>web</value></item></tagSet></item></imagesSet>""",
    "DescribeLaunchTemplateVersions": f"""<launchTemplateVersionSet><item>
        <launchTemplateId>{TEMPLATE}</launchTemplateId><launchTemplateName>web</launchTemplateName>
        <versionNumber>1</versionNumber><defaultVersion>true</defaultVersion>
        <createTime>2026-11-21T03:10:00.000Z</createTime>
        <launchTemplateData><imageId>{IMAGE}</imageId><instanceType>t3.micro</instanceType></launchTemplateData>
        </item></launchTemplateVersionSet>""",
}


def autoscaling(action):
    return (
        f'<{action}Response xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/">'
        f"<{action}Result>{AUTOSCALING[action]}</{action}Result></{action}Response>"
    )


def ec2(action):
    return f'<{action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">{EC2[action]}</{action}Response>'
