"""Deploys and removes every function with scripts/deploy and scripts/destroy, the AWS CLI and cargo lambda. In place of
AWS, an emulator on this machine enforces the roles' policies (scripts/emulator.py), and the lab plays the lifecycle of
Auto Scaling. The binaries are those of the tests.

    .venv/bin/python scripts/test_deploy.py [-v] [TEST…]
"""

import base64
import contextlib
import functools
import hashlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from botocore import xform_name
from botocore.config import Config
from botocore.session import Session

from functions import MARK, ROOT, functions, required

BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
REGION = "eu-west-1"
GROUP = "web"
# Seconds. The emulator and the lab start within one or two.
TIMEOUT = 60

# Parameters of the first deployment, with hooks, schedules and variables. A function without a row gets the parameters
# that it requires.
PARAMETERS = {name: required(name) for name in functions()} | {
    "launch-logger": [f"AutoScalingGroups={GROUP},shop-*", f"HookGroup={GROUP}", "OnFailure=CONTINUE"],
    "terminate-drainer": [f"AutoScalingGroups={GROUP}", f"HookGroup={GROUP}", "DrainCommands=echo 'a, b'\nsync"],
    "ami-snapshotter": ["AutoScalingGroups=web-2026", "ImageRetention=30d"],
    "lt-ami-refresher": ["LaunchTemplateId=lt-0a0b0c0d0e0f00001", "Ec2InstanceName=web", f"ScalingGroup={GROUP}"],
    "ecs-scheduler": ["ResourceIds=service/shop/web,service/shop/api", "WorkingHours=MON-FRI 09:00-18:00"],
}


# More ids than a function's variables have room for.
MANY_SERVICES = [f"service/a-cluster-with-a-long-name/a-service-with-a-long-name-{n:03}" for n in range(75)]


# --- The emulator, the lab and their clients. ---------------------------------------------------------------


class Stage:
    """The emulator, the lab and a temporary folder."""

    def __enter__(self):
        self.exits = contextlib.ExitStack()
        self.folder = Path(self.exits.enter_context(tempfile.TemporaryDirectory()))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        # Only what the programs need: no profile, Region or credentials of this machine.
        self.variables = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": os.environ["HOME"],
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
            # The emulator's functions get it too.
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "STATE_DIR": str(self.folder / "state"),
            "TMPDIR": str(self.folder),
            "MINISTACK_HOST": "127.0.0.1",
        }
        for name in ("CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR"):
            if name in os.environ:
                self.variables[name] = os.environ[name]
        log = self.exits.enter_context(open(self.folder / "emulator.log", "w"))
        self.start([sys.executable, ROOT / "scripts/emulator.py", str(port)], stdout=log, stderr=log)
        lab = self.start([BINARIES / "lifecycle-lab", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        self.lab = re.search(r"http://\S+", lab.stdout.readline())[0]
        self.wait_for(self.endpoint)
        return self

    def start(self, command, **options):
        process = subprocess.Popen(command, env=self.variables, cwd=self.folder, **options)
        self.exits.callback(process.wait)
        self.exits.callback(process.terminate)
        return process

    def wait_for(self, endpoint):
        end = time.monotonic() + TIMEOUT
        while True:
            try:
                return urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=TIMEOUT)
            except OSError:
                if time.monotonic() > end:
                    sys.exit("the emulator did not start:\n" + (self.folder / "emulator.log").read_text())
                time.sleep(0.1)

    def __exit__(self, *_):
        self.exits.close()

    @functools.cache
    def client(self, service, endpoint=None):
        session = Session()
        session.set_credentials("test", "test")
        # A function that fails must not be invoked again by the client.
        config = Config(retries={"total_max_attempts": 1})
        return session.create_client(service, REGION, endpoint_url=endpoint or self.endpoint, config=config)

    def run(self, *command, variables=None, stdin="", ok=True):
        """Runs a command of the repository. Returns what it printed."""
        done = subprocess.run(
            command, cwd=ROOT, env={**self.variables, **(variables or {})}, input=stdin, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=180,
        )
        assert (done.returncode == 0) == ok, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def deploy(self, function, *arguments, **options):
        return self.run("scripts/deploy", function, "--binary", str(binary(function)), *arguments, **options)

    def destroy(self, function, *arguments, **options):
        return self.run("scripts/destroy", function, *arguments, **options)


def binary(function):
    """The tests' binary without debugging information: it is a fifth as large."""
    stripped = stage.folder / function
    if not stripped.exists():
        if not shutil.which("strip") or subprocess.run(["strip", "-o", stripped, BINARIES / function]).returncode:
            shutil.copy(BINARIES / function, stripped)
    return stripped


stage = Stage()


# --- The state of the account. --------------------------------------------------------------------------------


def account():
    """Everything that a deployment can leave behind, by kind and name, without times, counts and revisions."""
    return {
        "functions": functions(),
        "roles": roles(),
        "queues": queues(),
        "rules": rules(),
        "schedules": schedules(),
        "log groups": listed("logs", "DescribeLogGroups", "logGroups", "logGroupName", "storedBytes"),
        "alarms": listed("cloudwatch", "DescribeAlarms", "MetricAlarms", "AlarmName", *ALARM_STATE),
        "metric filters": listed("logs", "DescribeMetricFilters", "metricFilters", "filterName"),
        "hooks": hooks(),
        "scheduled actions": listed(
            "autoscaling", "DescribeScheduledActions", "ScheduledUpdateGroupActions", "ScheduledActionName"
        ),
        "stacks": stacks(),
    }


ALARM_STATE = ["StateValue", "StateReason", "StateReasonData", "StateUpdatedTimestamp", "StateTransitionedTimestamp",
               "AlarmConfigurationUpdatedTimestamp"]


def call(service, action, **parameters):
    answer = getattr(stage.client(service), xform_name(action))(**parameters)
    answer.pop("ResponseMetadata", None)
    return answer


def listed(service, action, key, name, *without):
    things = call(service, action).get(key, [])
    return {thing[name]: {key: value for key, value in thing.items() if key not in without} for thing in things}


def functions():
    found = listed("lambda", "ListFunctions", "Functions", "FunctionName", "RevisionId", "LastModified", "Version",
                   "LastUpdateStatus", "State", "StateReason", "StateReasonCode")
    for name, function in found.items():
        with contextlib.suppress(Exception):
            policy = json.loads(call("lambda", "GetPolicy", FunctionName=name)["Policy"])
            function["policy"] = sorted(json.dumps(statement, sort_keys=True) for statement in policy["Statement"])
        with contextlib.suppress(Exception):
            invocations = call("lambda", "GetFunctionEventInvokeConfig", FunctionName=name, Qualifier="$LATEST")
            function["invocations"] = {key: invocations[key] for key in invocations if key != "LastModified"}
    return found


def roles():
    found = listed("iam", "ListRoles", "Roles", "RoleName", "RoleLastUsed")
    for name, role in found.items():
        policies = call("iam", "ListRolePolicies", RoleName=name)["PolicyNames"]
        role["policies"] = {
            policy: call("iam", "GetRolePolicy", RoleName=name, PolicyName=policy)["PolicyDocument"]
            for policy in policies
        }
    return found


def queues():
    urls = call("sqs", "ListQueues").get("QueueUrls", [])
    attributes = {
        url: call("sqs", "GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])["Attributes"] for url in urls
    }
    return {
        url: {key: value for key, value in found.items() if "Timestamp" not in key and "Approximate" not in key}
        for url, found in attributes.items()
    }


def rules():
    found = listed("events", "ListRules", "Rules", "Name")
    for name, rule in found.items():
        rule["targets"] = call("events", "ListTargetsByRule", Rule=name)["Targets"]
    return found


def schedules():
    names = [schedule["Name"] for schedule in call("scheduler", "ListSchedules")["Schedules"]]
    found = {name: call("scheduler", "GetSchedule", Name=name) for name in names}
    for schedule in found.values():
        schedule.pop("LastModificationDate", None)
    return found


def hooks():
    return {
        hook["LifecycleHookName"]: hook
        for hook in call("autoscaling", "DescribeLifecycleHooks", AutoScalingGroupName=GROUP)["LifecycleHooks"]
    }


def stacks():
    found = {
        stack["StackName"]: stack
        for stack in call("cloudformation", "DescribeStacks")["Stacks"]
        if stack["StackStatus"] != "DELETE_COMPLETE"
    }
    return {
        name: {"parameters": stack["Parameters"], "outputs": stack["Outputs"], "resources": resources(name)}
        for name, stack in found.items()
    }


def resources(stack):
    """The stack's physical resources by their names in the template."""
    found = call("cloudformation", "DescribeStackResources", StackName=stack)["StackResources"]
    return {one["LogicalResourceId"]: (one["ResourceType"], one["PhysicalResourceId"]) for one in found}


def configuration(function):
    return call("lambda", "GetFunctionConfiguration", FunctionName=function)


def variables(function):
    return configuration(function).get("Environment", {}).get("Variables", {})


def set_by_hand(function, **more):
    """Sets variables as the owner or the function itself does."""
    settled(function)
    environment = {"Variables": {**variables(function), **more}}
    call("lambda", "UpdateFunctionConfiguration", FunctionName=function, Environment=environment)
    settled(function)


def settled(function):
    end = time.monotonic() + TIMEOUT
    while configuration(function)["LastUpdateStatus"] == "InProgress" and time.monotonic() < end:
        time.sleep(0.2)


def invoke(function, payload):
    """The function's answer, or its error."""
    settled(function)
    return json.load(call("lambda", "Invoke", FunctionName=function, Payload=json.dumps(payload))["Payload"])


def sample(function, name):
    """A sample of the emulator's account: functions refuse events of another one."""
    text = (ROOT / "events" / function / f"{name}.json").read_text()
    return json.loads(text.replace("123456789012", "000000000000"))


# --- The expected state. ----------------------------------------------------------------------------------


class Template(yaml.SafeLoader):
    """Reads CloudFormation's short forms (`!Ref A`) as objects (`{Ref: A}`)."""


def short_form(loader, tag, node):
    if isinstance(node, yaml.ScalarNode):
        return {tag: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {tag: loader.construct_sequence(node, deep=True)}
    return {tag: loader.construct_mapping(node, deep=True)}


Template.add_multi_constructor("!", short_form)


def template(function):
    return yaml.load((ROOT / "infra" / f"{function}.yaml").read_text(), Template)


def settings(function):
    """The crate's settings for its deployment."""
    manifest = (ROOT / "crates" / function / "Cargo.toml").read_text()
    section = manifest.split(MARK)[1].split("\n[")[0]
    return {name: json.loads(value) for name, value in re.findall(r"^(\w+) = (.+)$", section, re.MULTILINE)}


# By type of resource: its list in `account`, and its name in that list, from its physical id.
KINDS = {
    "AWS::IAM::Role": ("roles", str),
    "AWS::SQS::Queue": ("queues", str),
    "AWS::Events::Rule": ("rules", lambda id: id.rsplit("/")[-1]),
    "AWS::Scheduler::Schedule": ("schedules", lambda id: id.rsplit("/")[-1]),
    "AWS::Logs::LogGroup": ("log groups", str),
    "AWS::CloudWatch::Alarm": ("alarms", str),
    "AWS::AutoScaling::LifecycleHook": ("hooks", lambda id: id.rsplit("|")[-1]),
    "AWS::AutoScaling::ScheduledAction": ("scheduled actions", lambda id: id.rsplit("|")[-1]),
}


class Deployments(unittest.TestCase):
    maxDiff = None

    def test_each_function_deploys_and_updates_and_goes(self):
        besides = {
            "launch-logger": self.check_launch_logger,
            "terminate-drainer": self.check_terminate_drainer,
            "ami-snapshotter": self.check_ami_snapshotter,
            "lt-ami-refresher": self.check_lt_ami_refresher,
        }
        for function in functions():
            with self.subTest(function), contextlib.ExitStack() as afterwards:
                afterwards.callback(stage.run, "scripts/destroy", function, "--yes")
                before = account()
                output = stage.deploy(function, "--", *PARAMETERS[function])
                self.assertIn(f"Deployed: {function} in {REGION}", output)
                self.check_deployed(function)

                by_hand = {"CURRENT_ASG_NAME": "web-2025", "OF_THE_OWNER": 'commas, "quotes"\nand lines'}
                set_by_hand(function, **by_hand)
                first = account()
                output = stage.deploy(function)
                self.assertEqual(output.count("No changes to deploy"), 2, output)
                self.assertEqual(account(), first)
                self.assertEqual({**variables(function), **by_hand}, variables(function))

                besides.get(function, lambda: None)()
                self.assertIn(f"Removed: {function}", stage.destroy(function, "--yes"))
                afterwards.pop_all()
                self.assertEqual(account(), before)

    def check_deployed(self, function):
        found = account()
        stack = found["stacks"][function]
        self.check_resources(function, found)
        role = {output["OutputKey"]: output["OutputValue"] for output in stack["outputs"]}["RoleArn"]

        deployed = found["functions"][function]
        self.assertEqual(deployed["Role"], role)
        self.assertEqual((deployed["Runtime"], deployed["Architectures"]), ("provided.al2023", [architecture()]))
        wanted = settings(function)
        self.assertEqual((deployed["MemorySize"], deployed["Timeout"]), (wanted["memory"], wanted["timeout"]))
        self.assertEqual(wanted["tracing"], deployed["TracingConfig"]["Mode"].lower())
        self.assertEqual(code_of(function), hashlib.sha256(binary(function).read_bytes()).digest())

        named = {key: value for key, value in (parameter.split("=", 1) for parameter in PARAMETERS[function])}
        for output in stack["outputs"]:
            if output["OutputKey"].startswith("Variable"):
                name, value = output["OutputValue"].split("=", 1)
                self.assertEqual(deployed["Environment"]["Variables"].get(name, ""), value)
                parameter = output["OutputKey"].removeprefix("Variable")
                self.assertEqual(value, named.get(parameter, value))

        for rule in found["rules"].values():
            [target] = rule["targets"]
            self.assertEqual(target["Arn"], deployed["FunctionArn"])
            self.assertIn(queue_named(target["DeadLetterConfig"]["Arn"]), found["queues"])
            self.assertIn(rule["Arn"], "".join(deployed["policy"]))
        for schedule in found["schedules"].values():
            target = schedule["Target"]
            self.assertEqual(target["Arn"], deployed["FunctionArn"])
            self.assertIn(queue_named(target["DeadLetterConfig"]["Arn"]), found["queues"])
            self.assertIn(target["RoleArn"], [role["Arn"] for role in found["roles"].values()])
        self.assertIn("invocations", deployed)
        self.assertIn(
            queue_named(deployed["invocations"]["DestinationConfig"]["OnFailure"]["Destination"]), found["queues"]
        )

    def check_resources(self, function, found):
        """Every resource that needs no optional parameter is in the stack and in the account."""
        made = found["stacks"][function]["resources"]
        for name, resource in template(function)["Resources"].items():
            if resource.get("Condition") in (None, "HasTriggers", "RunsByItself"):
                self.assertIn(name, made)
        for name, (kind, id) in made.items():
            if kind in KINDS:
                where, name_of = KINDS[kind]
                self.assertIn(name_of(id), found[where], name)

    def check_launch_logger(self):
        """The permissions of the role, a change of parameters and architecture, and a second deployment."""
        function = "launch-logger"
        event = sample(function, "launch")
        # The emulator checks the policy. It does not model lifecycle actions: it accepts each completion.
        for group, outcome in [(GROUP, "completed"), ("shop-7", "completed"), ("web-2", None)]:
            event["detail"]["AutoScalingGroupName"] = group
            answer = invoke(function, event)
            self.assertEqual(answer.get("outcome"), outcome, answer)
            self.assertEqual("AccessDenied" in answer.get("errorMessage", ""), outcome is None, answer)

        other = {"arm64": "x86_64", "x86_64": "arm64"}[architecture()]
        code = archive(b"of the other architecture")
        call("lambda", "UpdateFunctionCode", FunctionName=function, ZipFile=code, Architectures=[other])
        output = stage.deploy(function, "--", "OnFailure=", "LogRetentionDays=30")
        self.assertIn("ON_FAILURE is removed", output)
        kept = variables(function)
        self.assertNotIn("ON_FAILURE", kept)
        self.assertIn("OF_THE_OWNER", kept)
        self.assertEqual(configuration(function)["Architectures"], [architecture()])
        self.assertEqual(invoke(function, sample(function, "sns-test-notification"))["outcome"], "ignored")

        one = account()
        shop = ["AutoScalingGroups=shop", "LifecycleHooks=shop"]
        output = stage.deploy(function, "--name=launch-logger-shop", "--", *shop)
        self.assertIn("No hook was created. HookGroup=GROUP creates it. Or name a hook of your own shop", output)
        both = account()
        for kind, things in one.items():
            self.assertEqual({name: both[kind][name] for name in things}, things)
        self.assertEqual(both["functions"]["launch-logger-shop"]["Timeout"], settings(function)["timeout"])
        stage.destroy(function, "--name", "launch-logger-shop", "--yes")
        self.assertEqual(account(), one)

    def check_terminate_drainer(self):
        """The deployed binary's sweep finds an instance that waits in the lab, and lets it go on."""
        function = "terminate-drainer"
        output = stage.deploy(function, "--", "DrainTimeout=99h", "SweepSchedule=rate(9 minutes)", ok=False)
        self.assertRegex(output, 'error: terminate-drainer does not start: .*DRAIN_TIMEOUT: "99h"')
        self.assertIn("has these variables already", output)
        stage.deploy(function, "--", "DrainTimeout=", "SweepSchedule=rate(5 minutes)")

        lab = stage.client("autoscaling", stage.lab)
        instance = waiting(lab, "Pending:Wait")
        set_by_hand(function, AWS_ENDPOINT_URL_AUTO_SCALING=stage.lab, AWS_ENDPOINT_URL_SSM=stage.lab)
        reconcile = sample(function, "reconcile")
        answer = invoke(function, reconcile)
        self.assertEqual(answer.get("started"), 1, answer)
        end = time.monotonic() + TIMEOUT
        while answer.get("completed") != 1:
            self.assertLess(time.monotonic(), end, answer)
            time.sleep(1)
            answer = invoke(function, reconcile)
        self.assertEqual(waiting(lab, "InService"), instance)

    def check_ami_snapshotter(self):
        """The deployed binary writes its own configuration, but only while its role allows it."""
        function = "ami-snapshotter"
        set_by_hand(function, AWS_ENDPOINT_URL_AUTO_SCALING=stage.lab)
        launch = sample(function, "launch")
        group = launch["detail"]["AutoScalingGroupName"]
        invoke(function, launch)
        # The emulator ends a process whose configuration changes, so there is no answer.
        self.assertEqual(variables(function)["CURRENT_ASG_NAME"], group)
        self.assertEqual(invoke(function, launch)["outcome"], "group-unchanged")
        stage.deploy(function)
        self.assertEqual(variables(function)["CURRENT_ASG_NAME"], group)

        role = configuration(function)["Role"].rsplit("/")[-1]
        call("iam", "DeleteRolePolicy", RoleName=role, PolicyName="function")
        error = invoke(function, launch)
        self.assertEqual(error["errorType"], "AwsError", error)
        self.assertIn("AccessDenied", error["errorMessage"])

    def check_lt_ami_refresher(self):
        """Without an instance's name, the deployment has no schedule and no rule."""
        function = "lt-ami-refresher"
        by_itself = {"BackupRule", "BackupPermission", "Refresh", "ScheduleRole"}
        self.assertLessEqual(by_itself, resources(function).keys())
        output = stage.deploy(function, "--", "Ec2InstanceName=")
        self.assertIn("Neither schedule nor rule was created", output)
        self.assertIn("only payloads that say it are handled", output)
        self.assertTrue(by_itself.isdisjoint(resources(function)))
        self.assertEqual(invoke(function, sample(function, "backup-running"))["outcome"], "ignored")

    def test_a_command_that_is_refused_says_why_and_changes_nothing(self):
        before = account()
        parameter = f"AutoScalingGroups={GROUP}"
        refusals = [
            ("no function", ["scripts/deploy", "nobody"]),
            ("no function", ["scripts/destroy", "nobody", "--yes"]),
            ("no parameter Nothing", ["scripts/deploy", "launch-logger", "--", "Nothing=1"]),
            ("Triggers is set by this script", ["scripts/deploy", "launch-logger", "--", "Triggers=true"]),
            ("first deployment needs: AutoScalingGroups", ["scripts/deploy", "launch-logger"]),
            ("not riscv", ["scripts/deploy", "launch-logger", "--arch", "riscv"]),
            ("the name a_b is not valid", ["scripts/deploy", "launch-logger", "--name", "a_b"]),
            ("--name needs a value", ["scripts/destroy", "launch-logger", "--name="]),
            (": README.md is not a Linux binary", ["scripts/deploy", "launch-logger", "--binary=README.md"]),
            ("there is no file ../x", ["bash", "-c", "cd events; ../scripts/deploy launch-logger --binary ../x"]),
            ("HookGroup=api is not in AutoScalingGroups (shop,web-*)",
             ["scripts/deploy", "launch-logger", "--", "AutoScalingGroups=shop,web-*", "HookGroup=api"]),
            ("a function can have 4096",
             ["scripts/deploy", "ecs-scheduler", "--dry-run", "--", "ResourceIds=" + ",".join(MANY_SERVICES)]),
            ("both name services",
             ["scripts/deploy", "ecs-scheduler", "--dry-run", "--", "ResourceIds=service/shop/*", "DiscoverTag=hours"]),
            ("no services are named", ["scripts/deploy", "ecs-scheduler"]),
            ("wait=poll is not NAME=value", ["scripts/invoke", "terminate-drainer", "reconcile", "wait=poll"]),
        ]
        for said, command in refusals:
            self.assertIn(said, stage.run(*command, ok=False))
        other = {"arm64": "x86_64", "x86_64": "arm64"}[architecture()]
        self.assertIn(f"not {other}", stage.deploy("launch-logger", "--arch", other, ok=False))
        self.assertIn("Nothing to remove", stage.destroy("launch-logger"))
        for script in ["check", "soak", "invoke", "deploy", "destroy"]:
            self.assertIn(f"scripts/{script}", stage.run("bash", "-c", f"cd events; ../scripts/{script} --help"))
        for said, missing in [
            ("no valid AWS credentials", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}),
            ("no Region is set", {"AWS_REGION": ""}),
            ("cargo is not installed", {"PATH": "/usr/bin:/bin"}),
        ]:
            with self.subTest(said):
                output = stage.deploy("launch-logger", "--", parameter, variables=missing, ok=False)
                self.assertIn(said, output)
        output = stage.run("scripts/deploy", "launch-logger", "--dry-run", "--", parameter)
        self.assertIn("+ cargo lambda build --release --locked -p launch-logger --x86-64", output)
        self.assertIn("Triggers=true", output)
        stage.run("scripts/destroy", "launch-logger", "--dry-run")
        self.assertEqual(account(), before)

    def test_a_function_without_a_stack_is_left_alone(self):
        trust = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
        role = call("iam", "CreateRole", RoleName="by-hand", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
        call("lambda", "CreateFunction", FunctionName="launch-logger", Runtime="provided.al2023", Handler="bootstrap",
             Role=role["Arn"], Code={"ZipFile": archive(b"by hand")})
        before = account()
        output = stage.deploy("launch-logger", "--", f"AutoScalingGroups={GROUP}", ok=False)
        self.assertIn("that this script did not create", output)
        output = stage.destroy("launch-logger", "--yes", ok=False)
        self.assertIn("but it has no stack; nothing was removed", output)
        self.assertEqual(account(), before)
        call("lambda", "DeleteFunction", FunctionName="launch-logger")
        call("iam", "DeleteRole", RoleName="by-hand")

    def test_a_stack_of_another_purpose_is_left_alone(self):
        logs = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/aws/lambda/shop-2"}}
        call("cloudformation", "CreateStack", StackName="shop", TemplateBody=json.dumps({"Resources": {"Logs": logs}}))
        user = call("iam", "CreateUser", UserName="nobody")["User"]["UserName"]
        key = call("iam", "CreateAccessKey", UserName=user)["AccessKey"]
        before = account()
        parameter = f"AutoScalingGroups={GROUP}"
        for output in [
            stage.deploy("launch-logger", "--name", "shop", "--", parameter, ok=False),
            stage.destroy("launch-logger", "--name", "shop", "--yes", ok=False),
        ]:
            self.assertIn("the stack shop does not belong to launch-logger", output)
        output = stage.deploy("launch-logger", "--name", "shop-2", "--", parameter, ok=False)
        self.assertIn("the log group /aws/lambda/shop-2 already exists", output)
        denied = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        output = stage.destroy("launch-logger", "--name", "shop", "--yes", variables=denied, ok=False)
        self.assertIn("could not find out whether the stack shop exists", output)
        self.assertEqual(account(), before)
        call("cloudformation", "DeleteStack", StackName="shop")
        call("iam", "DeleteAccessKey", UserName=user, AccessKeyId=key["AccessKeyId"])
        call("iam", "DeleteUser", UserName=user)

    def test_a_stack_that_failed_is_removed_first(self):
        before = account()
        output = stage.deploy("launch-logger", "--", f"AutoScalingGroups={GROUP}", "OnFailure=MAYBE", ok=False)
        self.assertIn("OnFailure", output)
        self.assertIn("the stack launch-logger was not deployed", output)

        settings = {"FunctionName": "nobody", "Qualifier": "$LATEST"}
        retries = {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": settings}
        failing = {"Description": "launch-logger: fails", "Resources": {"Retries": retries}}
        call("cloudformation", "CreateStack", StackName="launch-logger", TemplateBody=json.dumps(failing))
        output = stage.deploy("launch-logger", "--", f"AutoScalingGroups={GROUP}", ok=False)
        self.assertIn("left over from a deployment that failed (ROLLBACK_COMPLETE)", output)
        self.assertIn("scripts/destroy launch-logger, then deploy again", output)
        self.assertIn("nothing was removed", stage.destroy("launch-logger", stdin="no\n", ok=False))
        stage.destroy("launch-logger", "--yes")
        self.assertEqual(account(), before)


class Samples(unittest.TestCase):
    def test_each_sample_has_its_answer_on_this_machine(self):
        samples = [path for function in functions() for path in sorted((ROOT / "events" / function).glob("*.json"))]
        # The runs mostly wait for the lab.
        with ThreadPoolExecutor(8) as pool:
            for path, (refused, output) in zip(samples, pool.map(self.invoke_sample, samples), strict=True):
                with self.subTest(path.relative_to(ROOT)):
                    answer = json.loads(output[output.index("\n{\n"):])
                    self.assertEqual("errorType" in answer, refused, output)
                    self.assertIn(answer.get("errorType"), [None, "InvalidPayload", "UnsupportedEvent", "Timeout", "AwsError"])

    def invoke_sample(self, path):
        # The scene has not sent the command of these status events, and does not have these images. The function fails,
        # and the event is retried.
        of_another_scene = ["command-success", "command-timed-out", "image-available", "image-failed"]
        fails = path.stem in of_another_scene and path.parent.name != "lt-ami-refresher"
        refused = fails or path.stem.endswith("-refused")
        return refused, stage.run(BINARIES / "fleet-sim", "invoke", path.parent.name, path, ok=not refused)

    def test_one_command_invokes_a_function(self):
        output = stage.run("scripts/invoke", "launch-logger", "launch")
        self.assertIn('"outcome": "completed"', output)
        output = stage.run("scripts/invoke", "ecs-scheduler", "converge", "WORKING_HOURS=MON-SUN 00:00-24:00")
        self.assertIn("2 unchanged", output)
        self.assertIn("launch-from-warm-pool", stage.run("scripts/invoke", "launch-logger", ok=False))
        self.assertIn("there is no function nobody", stage.run("scripts/invoke", "nobody", "launch", ok=False))


def waiting(lab, state):
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        for instance in lab.describe_auto_scaling_instances()["AutoScalingInstances"]:
            if instance["LifecycleState"] == state:
                return instance["InstanceId"]
        time.sleep(0.5)
    raise AssertionError(f"no instance is {state}")


def architecture():
    return {"x86_64": "x86_64", "aarch64": "arm64"}[os.uname().machine]


def archive(bootstrap):
    """A function's code as Lambda accepts it: a ZIP archive."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as files:
        files.writestr("bootstrap", bootstrap)
    return content.getvalue()


def queue_named(arn):
    account, name = arn.split(":")[4:]
    return f"{stage.endpoint}/{account}/{name}"


def code_of(function):
    """The digest of the binary that Lambda has. Checks Lambda's own digest of the archive first."""
    found = call("lambda", "GetFunction", FunctionName=function)
    archive = urllib.request.urlopen(found["Code"]["Location"], timeout=TIMEOUT).read()
    digest = base64.b64encode(hashlib.sha256(archive).digest()).decode()
    assert digest == found["Configuration"]["CodeSha256"], f"{function}: Lambda reports another digest"
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        return hashlib.sha256(files.read("bootstrap")).digest()


def set_the_scene():
    """Creates a group in the emulator and in the lab. In the lab, an instance waits in a hook of terminate-drainer."""
    lab = stage.client("autoscaling", stage.lab)
    for client, group in [(stage.client("autoscaling"), GROUP), (lab, GROUP), (lab, "web-2026")]:
        client.create_auto_scaling_group(
            AutoScalingGroupName=group, LaunchConfigurationName="web", MinSize=0, MaxSize=1,
            AvailabilityZones=["us-east-1a"],
        )
    lab.put_lifecycle_hook(
        AutoScalingGroupName=GROUP, LifecycleHookName="terminate-drainer", HeartbeatTimeout=3600,
        LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING",
    )
    lab.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=1)


if __name__ == "__main__":
    with stage:
        set_the_scene()
        program = unittest.main(exit=False)
    sys.exit(not program.result.wasSuccessful())
