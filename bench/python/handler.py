"""The usual hand-written function: prints the event of a launch and lets the instance go on."""

import json

import boto3

autoscaling = boto3.client("autoscaling")


def handler(event, context):
    print("event", json.dumps(event))
    detail = event["detail"]
    autoscaling.complete_lifecycle_action(
        AutoScalingGroupName=detail["AutoScalingGroupName"],
        LifecycleHookName=detail["LifecycleHookName"],
        LifecycleActionToken=detail["LifecycleActionToken"],
        InstanceId=detail["EC2InstanceId"],
        LifecycleActionResult="CONTINUE",
    )
    return "completed"
