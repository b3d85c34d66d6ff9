"""Deploys every template with the AWS CLI to an emulator of AWS on this machine, with each set of parameters that
changes the resources. Checks that the stack has every resource, and that a deleted stack leaves nothing.

    .venv/bin/python scripts/test_templates.py
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path

import yaml

from functions import ROOT, functions, required

BIN = Path(sys.executable).parent

# Seconds for the start of the emulator, which takes two, and for each command.
TIMEOUT = 60

TOPIC = "AlarmTopic=arn:aws:sns:us-east-1:000000000000:alarms"

SERVICES = "ResourceIds=service/shop/web,service/office/*"

# Templates with parameters besides the required ones, and the conditions that are then true besides HasTriggers.
VARIANTS = [
    ("terminate-drainer", ["HookGroup=web", "Wait=poll", "SsmDocument=Drain"], ["HasHook"]),
    ("ami-snapshotter", ["HookGroup=web", "ImageRetention=30d"], ["HasHook"]),
    ("lt-ami-refresher", ["Ec2InstanceName=web"], []),
    ("lt-ami-refresher", ["SourceInstanceId=i-1", "LaunchTemplateName=web"], ["RunsByItself", "RunsAfterBackups"]),
    (
        "lt-ami-refresher",
        ["ImageSource=tagged", "ImageTags=Role=web", "LaunchTemplateName=web"],
        ["RunsByItself", "RunsAfterBackups"],
    ),
    ("lt-ami-refresher", ["ImageSource=ssm:/aws/service/golden", "LaunchTemplateName=web"], ["RunsByItself"]),
    (
        "lt-ami-refresher",
        [
            "Ec2InstanceName=web",
            "LaunchTemplateId=lt-0123456789abcdef0",
            "KeepVersions=5",
            "InstanceRefresh=true",
            "InstanceRole=arn:aws:iam::000000000000:role/web",
            "ScalingGroup=web",
        ],
        ["RunsByItself", "RunsAfterBackups", "HasScalingGroup"],
    ),
    ("ecs-scheduler", [SERVICES, "WorkingHours=MON-FRI 09:00-18:00", "Timezone=Europe/Berlin"], ["Converges"]),
    ("ecs-scheduler", ["DiscoverTag=office-hours", "SleepCapacity=1/2"], ["Converges"]),
    ("ecs-scheduler", [SERVICES, "StartSchedule="], ["Stops"]),
    ("dashboard", [], []),
]

# Conditions that are true with the required parameters alone.
BY_DEFAULT = {"ecs-scheduler": ["Starts", "Stops"]}


class Template(yaml.SafeLoader):
    """Reads templates and ignores the values of CloudFormation's tags, such as `!Ref`."""


Template.add_multi_constructor("!", lambda *_: None)


def template(name):
    return yaml.load((ROOT / "infra" / f"{name}.yaml").read_text(), Template)


def variants():
    """Each template with its required parameters, then with a hook and an alarm topic if it has them; then VARIANTS."""
    for name in functions():
        yield name, required(name), BY_DEFAULT.get(name, [])
        if "HookGroup" in template(name)["Parameters"]:
            yield name, [*required(name), "HookGroup=web", TOPIC], ["HasHook"]
    for name, parameters, conditions in VARIANTS:
        yield name, [*(required(name) if name in functions() else []), *parameters], conditions


def main():
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "emulator.log", "w+") as log:
        port = free_port()
        variables = {
            "PATH": os.environ["PATH"],
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "TMPDIR": folder,
            "STATE_DIR": folder,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            # No profile or credentials of this machine.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        emulator = subprocess.Popen([BIN / "ministack"], env=variables, cwd=folder, stdout=log, stderr=log)
        try:
            wait_for(port)
            set_the_scene(folder, variables)
            for name, parameters, conditions in variants():
                try_variant(name, parameters, {"HasTriggers", *conditions}, variables)
            for kind, command, key in LEFT:
                assert not aws(variables, *command).get(key), f"a stack has left {kind}"
        except BaseException:
            log.seek(0)
            print(log.read()[-2_000:], file=sys.stderr)
            raise
        finally:
            emulator.terminate()
            emulator.wait()


def set_the_scene(folder, variables):
    """Creates a group, and the functions, which exist before their triggers. Their code is empty."""
    code = Path(folder) / "code.zip"
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("bootstrap", "")
    for name in functions():
        role = "arn:aws:iam::000000000000:role/anybody"
        function = ["--function-name", name, "--role", role, "--zip-file", f"fileb://{code}"]
        aws(variables, "lambda", "create-function", "--runtime", "provided.al2023", "--handler", "bootstrap", *function)
    data = json.dumps({"InstanceType": "t3.micro"})
    aws(variables, "ec2", "create-launch-template", "--launch-template-name", "web", "--launch-template-data", data)
    group = ["--auto-scaling-group-name", "web", "--min-size", "0", "--max-size", "1"]
    launch = ["--launch-template", "LaunchTemplateName=web", "--availability-zones", "us-east-1a"]
    aws(variables, "autoscaling", "create-auto-scaling-group", *group, *launch)


def try_variant(name, parameters, conditions, variables):
    declared = template(name)
    triggers = ["Triggers=true"] if "Triggers" in declared["Parameters"] else []
    began = time.monotonic()
    deploy = ["cloudformation", "deploy", "--stack-name", name, "--template-file", ROOT / "infra" / f"{name}.yaml"]
    deploy += ["--capabilities", "CAPABILITY_IAM"]
    if triggers + parameters:
        deploy += ["--parameter-overrides", *triggers, *parameters]
    aws(variables, *deploy)
    expected = {
        resource: made["Type"]
        for resource, made in declared["Resources"].items()
        if made.get("Condition") in {None, *conditions}
    }
    listed = aws(variables, "cloudformation", "list-stack-resources", "--stack-name", name)["StackResourceSummaries"]
    made = {one["LogicalResourceId"]: one["ResourceType"] for one in listed if one["ResourceStatus"] == "CREATE_COMPLETE"}
    assert made == expected, f"{name} {parameters}: made {sorted(made)}, expected {sorted(expected)}"
    if name == "dashboard":
        board = aws(variables, "cloudwatch", "get-dashboard", "--dashboard-name", "lifecycle-functions")
        # A row of three for each function.
        assert len(json.loads(board["DashboardBody"])["widgets"]) == 3 * len(functions())

    aws(variables, "cloudformation", "delete-stack", "--stack-name", name)
    aws(variables, "cloudformation", "wait", "stack-delete-complete", "--stack-name", name)
    print(f"{time.monotonic() - began:5.1f} s  {name} {' '.join(parameters)}: {len(made)} resources", flush=True)


# What a deleted stack could leave behind.
LEFT = [
    ("roles", ["iam", "list-roles"], "Roles"),
    ("queues", ["sqs", "list-queues"], "QueueUrls"),
    ("rules", ["events", "list-rules"], "Rules"),
    ("schedules", ["scheduler", "list-schedules"], "Schedules"),
    ("log groups", ["logs", "describe-log-groups"], "logGroups"),
    ("hooks", ["autoscaling", "describe-lifecycle-hooks", "--auto-scaling-group-name", "web"], "LifecycleHooks"),
]


def aws(variables, *command):
    # As an option, because version 1 of the AWS CLI ignores the variable for SQS.
    command = ["--endpoint-url", variables["AWS_ENDPOINT_URL"], *command]
    done = subprocess.run([BIN / "aws", *command], env=variables, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, f"aws {' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout) if done.stdout.startswith("{") else {}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port):
    end = time.monotonic() + TIMEOUT
    while True:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/_ministack/health", timeout=TIMEOUT)
        except OSError:
            assert time.monotonic() < end, "the emulator did not start"
            time.sleep(0.2)


if __name__ == "__main__":
    main()
