//! Three terminations with ami-snapshotter at the hooks: CloudFormation replaces a group, an instance fails, and an
//! instance refresh replaces another one. Only the failure leaves an image.

use std::time::Duration;

use ami_snapshotter::NAME;
use ami_snapshotter::cause::Cause;
use ami_snapshotter::config::AUTO_SCALING_GROUPS;
use anyhow::{Context as _, ensure};
use aws_sdk_autoscaling::Client;
use chrono::TimeDelta;
use fleet::functions::{add_rules, answering_for, deploy_ami_snapshotter};
use fleet::operator::{LAUNCH_HEARTBEAT, TERMINATION_HEARTBEAT, create_for_snapshots, desire};
use fleet::timeline::{Story, Timeline};
use lifecycle_lab::ec2::{Image, ImageScript};
use lifecycle_lab::{Lab, World, scenarios};
use serde_json::json;

use super::stage::{JOURNEY, SWEEP_INTERVAL, WAIT_TIMEOUT, completions, delete, in_service, reach};

/// How the names of the groups begin that ami-snapshotter looks after.
const BLOG: &str = "blog-";

/// The group that CloudFormation replaces, and the one in its place.
const OLD: &str = "blog-1";
const NEW: &str = "blog-2";

/// What the image of the instance that fails takes: long enough for a run of the sweep to find it pending, and a
/// quarter of what the hook could hold the instance.
const IMAGE: Duration = Duration::from_secs(480);

const DEATHS: Story = Story {
    number: 3,
    title: "ami-snapshotter: four instances terminate, and one of them has failed",
    look: "Look at \"second\": nobody planned its death, so the hook holds it until its image is available.",
    states: &["InService", "Terminating:Wait"],
};

/// A group is replaced, fails and is refreshed.
pub(super) async fn deaths(lab: &Lab, operator: &Client, timeline: &mut Timeline) -> anyhow::Result<()> {
    timeline.story(DEATHS);
    let groups = format!("{BLOG}*");
    deploy_ami_snapshotter(lab, NAME, &[(AUTO_SCALING_GROUPS, &groups)])?;
    add_rules(lab, NAME, NAME, &answering_for(&groups, "born,dying"))?;
    lab.schedule(SWEEP_INTERVAL, NAME, json!({ "action": "reconcile" }));
    timeline.headline(&format!(
        "A group with a launching hook of {LAUNCH_HEARTBEAT} s and a terminating hook of {TERMINATION_HEARTBEAT} s. \
         ami-snapshotter is deployed with its rules and a sweep every {} min. It remembers the group in service, and \
         leaves the launch to its hook.",
        SWEEP_INTERVAL.as_secs() / 60
    ));
    create_for_snapshots(operator, OLD).await?;
    let first = serving(lab, timeline, "first").await?;

    timeline.headline(&format!(
        "A stack update replaces the group: CloudFormation fills {NEW}, then empties {OLD} and deletes it. The death in \
         {OLD} was planned: no image."
    ));
    ensure!(scenarios::replace_group(lab, OLD, NEW).await?, "expected {NEW} in place of {OLD}");
    let second = serving(lab, timeline, "second").await?;
    is_planned(lab, timeline, &first, &format!("planned: {NEW} is in service in place of {OLD}"))?;

    timeline.headline(&format!(
        "The instance of {NEW} stops, and EC2's health check finds it. Nobody planned that death: its image is taken, \
         which takes {} min, and the hook is released when it is available.",
        IMAGE.as_secs() / 60
    ));
    lab.world(|world| {
        world.ec2.set_image_script(&second, ImageScript { pending: IMAGE, failure: None });
        world.fail_instance(&second);
    });
    let third = successor(lab, timeline, &second, "third").await?;
    let (image, held) = is_unexpected(lab, timeline, &second)?;

    timeline.headline(&format!(
        "{} is the evidence, and the hook held the instance for {} s of {TERMINATION_HEARTBEAT}. Now an instance refresh: \
         planned, so no image.",
        image.id,
        held.num_seconds()
    ));
    operator.start_instance_refresh().auto_scaling_group_name(NEW).send().await?;
    let fourth = successor(lab, timeline, &third, "fourth").await?;
    is_planned(lab, timeline, &third, &format!("planned: {}", Cause::InstanceRefresh))?;

    timeline.headline("The desired capacity goes to 0: planned too. Then the group is deleted.");
    desire(operator, NEW, 0).await?;
    gone(lab, &fourth).await?;
    is_planned(lab, timeline, &fourth, &format!("planned: {}", Cause::UserRequest))?;
    ensure!(
        lab.failures().iter().all(|failure| failure.function != NAME),
        "expected none of {NAME}'s events in the failure queue, found {:?}",
        lab.failures()
    );
    timeline.outcome(&format!(
        "One image, of the failed instance: the hook held it for {} s of {TERMINATION_HEARTBEAT}. The others went at once.",
        held.num_seconds()
    ));
    delete(lab, operator, NEW).await
}

/// Waits until `id` is gone and another instance serves.
async fn successor(
    lab: &Lab,
    timeline: &mut Timeline,
    id: &str,
    name: &'static str,
) -> anyhow::Result<String> {
    gone(lab, id).await?;
    serving(lab, timeline, name).await
}

/// Waits until one instance serves and no other is left; the viewer will know it by `name`.
async fn serving(lab: &Lab, timeline: &mut Timeline, name: &'static str) -> anyhow::Result<String> {
    let alone = |world: &World| in_service(world) == 1 && world.autoscaling.instances().count() == 1;
    reach(lab, "one instance in service", WAIT_TIMEOUT, alone).await?;
    let id = lab.world(|world| world.autoscaling.instances().next().map(|one| one.id.clone()));
    let id = id.context("expected an instance")?;
    timeline.name(&id, name);
    Ok(id)
}

async fn gone(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let gone = |world: &World| world.autoscaling.instance(id).is_none();
    reach(lab, &format!("the end of {id}"), WAIT_TIMEOUT, gone).await
}

/// Checks that an instance went at once and without an image, and that an answer says why.
fn is_planned(lab: &Lab, timeline: &mut Timeline, id: &str, reason: &str) -> anyhow::Result<()> {
    let held = held(lab, timeline, id)?;
    ensure!(held <= JOURNEY, "expected that {id} goes at once, and it was held for {held}");
    let images = images(lab, id);
    ensure!(images.is_empty(), "expected no image of {id}, found {images:?}");
    let answers = timeline.answers(id);
    ensure!(
        answers.iter().any(|answer| answer["reason"] == reason),
        "expected for {id} the reason {reason:?}, found {answers:?}"
    );
    Ok(())
}

/// Checks that an instance left an image that says why, and was held until it was available; gives the
/// image and how long that took.
fn is_unexpected(lab: &Lab, timeline: &mut Timeline, id: &str) -> anyhow::Result<(Image, TimeDelta)> {
    let held = held(lab, timeline, id)?;
    let mut images = images(lab, id);
    ensure!(images.len() == 1, "expected one image of {id}, found {images:?}");
    let image = images.remove(0);
    let cause = Cause::HealthCheckEc2.as_str();
    ensure!(
        image.tags.get("lifecycle/cause").is_some_and(|tag| tag == cause),
        "expected an image because of an EC2 health check, found {:?}",
        image.tags
    );
    let answers = timeline.answers(id);
    ensure!(
        answers.iter().any(|answer| answer["image.id"] == image.id.as_str() && answer["cause"] == cause),
        "expected that an answer names {} and {cause}, found {answers:?}",
        image.id
    );
    let released = timeline.reached(id, "Terminating:Proceed");
    let after = released.zip(timeline.reached(&image.id, "available")).map(|(end, ready)| end - ready);
    ensure!(
        after.is_some_and(|after| after >= TimeDelta::zero() && after <= JOURNEY),
        "expected that {id} is let go when {} is available, found {after:?} after that",
        image.id
    );
    Ok((image, held))
}

/// How long the hook held an instance that has been let go with `CONTINUE`.
fn held(lab: &Lab, timeline: &mut Timeline, id: &str) -> anyhow::Result<TimeDelta> {
    timeline.catch_up();
    let results = completions(lab, Some(id));
    ensure!(results == ["CONTINUE"], "expected that {id} goes on with CONTINUE once, found {results:?}");
    let ends = timeline.reached(id, "Terminating:Wait").zip(timeline.reached(id, "Terminating:Proceed"));
    ends.map(|(began, ended)| ended - began).with_context(|| format!("expected that {id} waits and goes on"))
}

/// The images that were made of an instance.
fn images(lab: &Lab, id: &str) -> Vec<Image> {
    lab.world(|world| {
        let images = world.ec2.images().into_iter();
        images.filter(|image| image.source_instance.as_deref() == Some(id)).cloned().collect()
    })
}
