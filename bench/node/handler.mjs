// The usual hand-written function: prints the event of a launch and lets the instance go on.

import { AutoScalingClient, CompleteLifecycleActionCommand } from "@aws-sdk/client-auto-scaling";

const autoscaling = new AutoScalingClient({});

export async function handler(event) {
  console.log("event", JSON.stringify(event));
  const detail = event.detail;
  await autoscaling.send(
    new CompleteLifecycleActionCommand({
      AutoScalingGroupName: detail.AutoScalingGroupName,
      LifecycleHookName: detail.LifecycleHookName,
      LifecycleActionToken: detail.LifecycleActionToken,
      InstanceId: detail.EC2InstanceId,
      LifecycleActionResult: "CONTINUE",
    }),
  );
  return "completed";
}
