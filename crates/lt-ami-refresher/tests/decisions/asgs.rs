//! How groups use the template, what they will never see, and which of their instances are outdated.

use aws_sdk_autoscaling::types::{
    AutoScalingGroup, Instance, LaunchTemplate, LaunchTemplateOverrides, LaunchTemplateSpecification,
    LifecycleState, MixedInstancesPolicy,
};
use lt_ami_refresher::asgs::{Template, Use};

/// The template `lt-1`, whose version 5 is the default, and this one the latest.
fn template(latest: i64) -> Template {
    Template { id: "lt-1".to_owned(), name: "web".to_owned(), default: 5, latest }
}

fn named(id: &str, version: Option<&str>) -> LaunchTemplateSpecification {
    let named = LaunchTemplateSpecification::builder().launch_template_id(id);
    named.set_version(version.map(str::to_owned)).build()
}

fn instance(id: &str, from: Option<LaunchTemplateSpecification>, state: LifecycleState) -> Instance {
    Instance::builder().instance_id(id).set_launch_template(from).lifecycle_state(state).build()
}

/// A group with these instances, in service, of these versions of `lt-1`.
fn group(source: LaunchTemplateSpecification, versions: &[i64]) -> AutoScalingGroup {
    let instances = versions.iter().map(|version| {
        instance(
            &format!("i-{version}"),
            Some(named("lt-1", Some(&version.to_string()))),
            LifecycleState::InService,
        )
    });
    let group = AutoScalingGroup::builder().auto_scaling_group_name("web-asg").launch_template(source);
    group.set_instances(Some(instances.collect())).build()
}

fn mixed(main: LaunchTemplateSpecification, overrides: &[LaunchTemplateOverrides]) -> AutoScalingGroup {
    let policy = LaunchTemplate::builder()
        .launch_template_specification(main)
        .set_overrides(Some(overrides.to_vec()))
        .build();
    let policy = MixedInstancesPolicy::builder().launch_template(policy).build();
    AutoScalingGroup::builder().auto_scaling_group_name("web-asg").mixed_instances_policy(policy).build()
}

fn overriding(template: Option<LaunchTemplateSpecification>, image: Option<&str>) -> LaunchTemplateOverrides {
    LaunchTemplateOverrides::builder()
        .instance_type("m6g.large")
        .set_launch_template_specification(template)
        .set_image_id(image.map(str::to_owned))
        .build()
}

#[test]
fn groups_use_the_template_in_one_way_or_another() {
    let by_name = LaunchTemplateSpecification::builder().launch_template_name("web").build();
    let configured = AutoScalingGroup::builder().launch_configuration_name("web").build();
    for (what, group, expected) in [
        ("by id", group(named("lt-1", None), &[]), Some(&[][..])),
        ("by name", group(by_name, &[]), Some(&[])),
        ("by number", group(named("lt-1", Some("3")), &[]), Some(&[3])),
        ("by an empty version", group(named("lt-1", Some("")), &[]), Some(&[])),
        ("by no version", group(named("lt-1", Some("newest")), &[]), None),
        ("another template", group(named("lt-2", Some("3")), &[]), None),
        ("none", configured, None),
        ("in a policy", mixed(named("lt-1", Some("2")), &[]), Some(&[2])),
        (
            "in an override",
            mixed(named("lt-2", Some("2")), &[overriding(Some(named("lt-1", Some("4"))), None)]),
            Some(&[4]),
        ),
        (
            "in both",
            mixed(named("lt-1", Some("2")), &[overriding(Some(named("lt-1", Some("4"))), None)]),
            Some(&[2, 4]),
        ),
    ] {
        let template = template(5);
        let numbers = Use::of(&group, &template).map(|found| found.numbers().into_iter().collect::<Vec<_>>());
        assert_eq!(numbers.as_deref(), expected, "{what}");
    }
}

#[test]
fn groups_that_never_see_the_new_version_are_warned_about() {
    let own = |version| Some(named("lt-1", version));
    for (what, group, latest, expected) in [
        ("follows the default", group(named("lt-1", Some("$Default")), &[]), 6, ""),
        ("says nothing", group(named("lt-1", None), &[]), 6, ""),
        ("follows the latest", group(named("lt-1", Some("$Latest")), &[]), 5, ""),
        (
            "follows another latest",
            group(named("lt-1", Some("$Latest")), &[]),
            6,
            "web-asg follows $Latest of lt-1, which is version 6, not the default 5",
        ),
        (
            "pinned",
            group(named("lt-1", Some("3")), &[]),
            5,
            "web-asg is pinned to version 3 of lt-1: it never launches from a new version",
        ),
        ("an override of the type", mixed(named("lt-1", None), &[overriding(None, None)]), 5, ""),
        ("of the template by itself", mixed(named("lt-1", None), &[overriding(own(None), None)]), 5, ""),
        ("of the version", mixed(named("lt-1", None), &[overriding(own(Some("5")), None)]), 5, ""),
        (
            "of another version",
            mixed(named("lt-1", None), &[overriding(own(Some("4")), None)]),
            5,
            "web-asg is pinned to version 4 of lt-1: it never launches from a new version",
        ),
        ("pinned to the default", group(named("lt-1", Some("5")), &[]), 5, ""),
        (
            "of the template",
            mixed(named("lt-1", None), &[overriding(Some(named("lt-2", None)), None)]),
            5,
            "web-asg overrides lt-1 for m6g.large, with lt-2: these never launch from a new version",
        ),
        (
            "of the image",
            mixed(named("lt-1", None), &[overriding(None, Some("ami-9"))]),
            5,
            "web-asg overrides the image of lt-1 for m6g.large, with ami-9: these never launch from a new image",
        ),
    ] {
        let template = template(latest);
        let found = Use::of(&group, &template).unwrap().warnings().join("; ");
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn instances_of_another_version_are_outdated() {
    let holding = |mut group: AutoScalingGroup, instances: &[Instance]| {
        group.instances = Some(instances.to_vec());
        group
    };
    let with = |source, instances: &[Instance]| holding(group(source, &[]), instances);
    let old = || Some(named("lt-1", Some("4")));
    let default = || named("lt-1", Some("$Default"));
    for (what, group, latest, expected) in [
        ("none", group(default(), &[]), 5, &[][..]),
        ("the default", group(default(), &[5, 5]), 5, &[]),
        ("older and newer ones", group(default(), &[4, 5, 6]), 6, &["i-4", "i-6"]),
        ("the latest, which is the default", group(named("lt-1", Some("$Latest")), &[4, 5]), 5, &["i-4"]),
        ("the latest, which is another", group(named("lt-1", Some("$Latest")), &[4, 5]), 6, &[]),
        ("pinned to the default", group(named("lt-1", Some("5")), &[4]), 5, &["i-4"]),
        ("pinned to another", group(named("lt-1", Some("4")), &[3, 4]), 5, &[]),
        ("of no template", with(default(), &[instance("i-1", None, LifecycleState::InService)]), 5, &["i-1"]),
        (
            "of a former template",
            with(default(), &[instance("i-1", Some(named("lt-2", Some("5"))), LifecycleState::InService)]),
            5,
            &["i-1"],
        ),
        (
            "on their way",
            with(
                default(),
                &[
                    instance("i-1", old(), LifecycleState::Pending),
                    instance("i-2", old(), LifecycleState::TerminatingWait),
                    instance("i-3", old(), LifecycleState::Standby),
                    instance("i-4", old(), LifecycleState::Detaching),
                    instance("i-5", old(), LifecycleState::EnteringStandby),
                ],
            ),
            5,
            &["i-1"],
        ),
        (
            "of an override that alone follows the default",
            holding(
                mixed(named("lt-1", Some("4")), &[overriding(Some(default()), None)]),
                &[instance("i-1", Some(named("lt-1", Some("3"))), LifecycleState::InService)],
            ),
            5,
            &[],
        ),
        (
            "of an override's version",
            holding(
                mixed(default(), &[overriding(old(), None)]),
                &[
                    instance("i-1", old(), LifecycleState::InService),
                    instance("i-2", Some(named("lt-1", Some("3"))), LifecycleState::InService),
                ],
            ),
            5,
            &["i-2"],
        ),
        (
            "of an override's version, but of a type that it is not for",
            holding(
                mixed(default(), &[overriding(old(), None)]),
                &[("i-1", "m6g.large"), ("i-2", "t3.micro")].map(|(id, kind)| {
                    let builder = Instance::builder().instance_id(id).set_launch_template(old());
                    builder.instance_type(kind).lifecycle_state(LifecycleState::InService).build()
                }),
            ),
            5,
            &["i-2"],
        ),
        (
            "of an override's template",
            holding(
                mixed(default(), &[overriding(Some(named("lt-2", None)), None)]),
                &[
                    instance("i-1", Some(named("lt-2", Some("1"))), LifecycleState::InService),
                    instance("i-2", old(), LifecycleState::InService),
                ],
            ),
            5,
            &["i-2"],
        ),
    ] {
        let template = template(latest);
        assert_eq!(Use::of(&group, &template).unwrap().outdated(), expected, "{what}");
    }
}
