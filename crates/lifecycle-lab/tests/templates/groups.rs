//! Groups that launch from a template: which version they take, and what they and their instances say of
//! it.

use std::time::Duration;

use aws_sdk_autoscaling::types::{
    InstancesDistribution, LaunchTemplate, LaunchTemplateOverrides, LaunchTemplateSpecification,
    MixedInstancesPolicy,
};
use aws_sdk_ec2::types::{
    InstanceType, LaunchTemplateTagSpecificationRequest, RequestLaunchTemplateData, ResourceType, Tag,
};
use lifecycle_lab::autoscaling::LaunchedFrom;
use lifecycle_lab::scenarios;

use crate::scene::*;

#[tokio::test(start_paused = true)]
async fn a_group_follows_the_version_that_it_names() {
    for (follows, expected) in [("$Latest", ["1", "3"]), ("$Default", ["1", "2"]), ("1", ["1", "1"])] {
        let scene = Scene::new();
        let id = scene.template(scene.data()).await;
        scene.group_of(1, follows).await;
        let [second, third] = ["second", "third"].map(|name| scene.add_image(name, |_| {}));
        scene.version(&id, scene.data().image_id(&second)).await;
        scene.version(&id, scene.data().image_id(&third)).await;
        scene.set_default(&id, 2).await;
        scene.sleep(60).await;

        scene.set_desired(2).await;
        scene.in_service(2).await;

        let images = [("1", &scene.image), ("2", &second), ("3", &third)];
        let image = |version: &str| images.iter().find(|(of, _)| *of == version).unwrap().1.clone();
        assert_eq!(
            scene.running().await,
            expected.map(|version| (image(version), version.to_owned())),
            "{follows}: what runs stays, what is launched is resolved then"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_and_its_instances_say_which_version_they_have() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    let by_name = LaunchTemplateSpecification::builder().launch_template_name("web").build();
    scene.group().launch_template(by_name).desired_capacity(1).send().await.unwrap();
    let ids = scene.in_service(1).await;

    let groups = scene.autoscaling.describe_auto_scaling_groups().send().await.unwrap();
    let group = &groups.auto_scaling_groups()[0];
    let spec = group.launch_template().unwrap();
    assert_eq!((spec.launch_template_id(), spec.launch_template_name()), (Some(&*id), Some("web")));
    assert_eq!(spec.version(), Some("$Default"), "which is what no version means");
    let of_group = &group.instances()[0];
    assert_eq!(of_group.launch_template().unwrap().version(), Some("1"));
    assert_eq!((of_group.instance_type(), of_group.image_id()), (Some("t3.micro"), None));
    let tags = scene.lab.world(|world| world.ec2.instance(&ids[0]).unwrap().tags.clone());
    let version = ["aws:ec2launchtemplate:id", "aws:ec2launchtemplate:version"].map(|key| tags[key].as_str());
    assert_eq!(version, [id.as_str(), "1"]);
    let details = scene.activities().await.remove(0).details.unwrap();
    assert!(details.contains(r#""Subnet ID":"subnet-"#), "{details}");
    let describe = scene.autoscaling.describe_auto_scaling_instances().send().await.unwrap();
    let instance = &describe.auto_scaling_instances()[0];
    assert_eq!(instance.launch_template(), of_group.launch_template());
    assert_eq!(instance.instance_type(), Some("t3.micro"));
    let launched =
        scene.lab.world(|world| world.autoscaling.instance(&ids[0]).unwrap().launched_from.clone());
    assert_eq!(launched, LaunchedFrom::Template { id, name: "web".to_owned(), version: 1 });
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_what_template_image_and_network_make_it() {
    let scene = Scene::new();
    let image = scene.add_image("arm", |image| {
        image.architecture = "arm64".to_owned();
        image.devices[0].size = 20;
    });
    let (subnet, sg) = scene
        .lab
        .world(|world| (world.add_subnet("vpc-0a", "us-east-1b"), world.add_security_group("web", "vpc-0a")));
    let tag = Tag::builder().key("Name").value("shop").build();
    let tags =
        LaunchTemplateTagSpecificationRequest::builder().resource_type(ResourceType::Instance).tags(tag);
    let data = scene.data().image_id(&image).instance_type(InstanceType::T4gMicro).security_group_ids(&sg);
    let id = scene.template(data.tag_specifications(tags.build())).await;
    let group = scene.group().set_availability_zones(None).vpc_zone_identifier(&subnet);
    group.launch_template(named("web", "$Latest")).desired_capacity(1).send().await.unwrap();
    let ids = scene.in_service(1).await;

    let described = scene.ec2.describe_instances().instance_ids(&ids[0]).send().await.unwrap();
    let instance = &described.reservations()[0].instances()[0];
    assert_eq!(instance.image_id(), Some(&*image));
    assert_eq!(instance.instance_type(), Some(&InstanceType::T4gMicro));
    assert_eq!(instance.architecture().unwrap().as_str(), "arm64");
    assert_eq!((instance.subnet_id(), instance.vpc_id()), (Some(&*subnet), Some("vpc-0a")));
    assert_eq!(instance.placement().unwrap().availability_zone(), Some("us-east-1b"));
    assert_eq!(instance.security_groups()[0].group_id(), Some(&*sg));
    let tags: Vec<_> = instance.tags().iter().map(|tag| (tag.key().unwrap(), tag.value().unwrap())).collect();
    assert_eq!(
        tags,
        [
            ("Name", "shop"),
            ("aws:autoscaling:groupName", GROUP),
            ("aws:ec2launchtemplate:id", &id),
            ("aws:ec2launchtemplate:version", "1"),
        ]
    );
    let groups = scene.autoscaling.describe_auto_scaling_groups().send().await.unwrap();
    let group = &groups.auto_scaling_groups()[0];
    assert_eq!(group.vpc_zone_identifier(), Some(&*subnet));
    assert_eq!(group.availability_zones(), ["us-east-1b"]);
    for (field, value) in [("vpc-id", "vpc-0a"), ("subnet-id", &*subnet), ("instance-type", "t4g.*")] {
        let found = scene.ec2.describe_instances().filters(filter(field, &[value])).send().await.unwrap();
        assert_eq!(found.reservations(), described.reservations(), "{field}");
    }

    let order = scene.ec2.create_image().instance_id(&ids[0]).name("copy").no_reboot(true);
    let copy = order.send().await.unwrap().image_id.unwrap();
    scene.lab.world(|world| {
        let copy = world.ec2.image(&copy).unwrap();
        assert_eq!((copy.architecture.as_str(), copy.devices[0].size), ("arm64", 20));
        assert_eq!(world.ec2.snapshot(&copy.devices[0].snapshot).unwrap().size, 20);
    });
}

#[tokio::test(start_paused = true)]
async fn a_group_gets_a_template_only_if_something_can_be_launched_from_it() {
    let scene = Scene::new();
    let refused_for = |text: &str| {
        refused("ValidationError", format!("You must use a valid fully-formed launch template. {text}"))
    };
    let none = refusal(scene.group().launch_template(named("none", "1")).send().await);
    assert_eq!(none, refused_for("The specified launch template, with template name none, does not exist."));
    let id = scene.template(scene.data().security_group_ids("sg-0000000000000000f")).await;
    let text = "The security group 'sg-0000000000000000f' does not exist";
    assert_eq!(refusal(scene.group().launch_template(named("web", "1")).send().await), refused_for(text));
    let version = refusal(scene.group().launch_template(named("web", "2")).send().await);
    let text = format!("Could not find the specified version 2 for the launch template with ID {id}.");
    assert_eq!(version, refused_for(&text));
    let neither = LaunchTemplateSpecification::builder().version("1");
    let both = neither.clone().launch_template_name("web").launch_template_id(&id);
    for ambiguous in [neither, both] {
        let text = "Valid requests must contain either launchTemplateId or LaunchTemplateName";
        assert_eq!(
            refusal(scene.group().launch_template(ambiguous.build()).send().await),
            refused("ValidationError", text)
        );
    }
    let subnet = scene.group().set_availability_zones(None).vpc_zone_identifier("subnet-0f");
    let text = "The subnet ID 'subnet-0f' does not exist";
    assert_eq!(
        refusal(subnet.launch_configuration_name("web").send().await),
        refused("ValidationError", text)
    );

    scene.version(&id, scene.data()).await;
    scene.group_of(0, "2").await;
    let update = scene.autoscaling.update_auto_scaling_group().auto_scaling_group_name(GROUP);
    let update = refusal(update.launch_template(named("web", "1")).send().await);
    assert_eq!(update, refused_for("The security group 'sg-0000000000000000f' does not exist"));
}

#[tokio::test(start_paused = true)]
async fn an_update_gives_a_group_another_source() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    scene.version(&id, scene.data()).await;
    scene.group().launch_configuration_name("old").desired_capacity(1).send().await.unwrap();
    scene.in_service(1).await;
    let update = scene.autoscaling.update_auto_scaling_group().auto_scaling_group_name(GROUP);
    update.launch_template(named("web", "$Latest")).send().await.unwrap();
    scene.set_desired(2).await;
    scene.in_service(2).await;

    let describe = scene.autoscaling.describe_auto_scaling_groups().send().await.unwrap();
    let group = &describe.auto_scaling_groups()[0];
    assert_eq!(group.launch_configuration_name(), None);
    let [old, new] = group.instances() else { panic!("{group:?}") };
    assert_eq!((old.launch_configuration_name(), old.launch_template()), (Some("old"), None));
    assert_eq!(new.launch_template().unwrap().version(), Some("2"));
}

/// A policy over the template `web` at a version, with overrides.
fn policy(version: &str, overrides: Vec<LaunchTemplateOverrides>) -> MixedInstancesPolicy {
    let template = LaunchTemplate::builder().launch_template_specification(named("web", version));
    let template = template.set_overrides(Some(overrides)).build();
    let distribution = InstancesDistribution::builder().on_demand_allocation_strategy("prioritized").build();
    MixedInstancesPolicy::builder().launch_template(template).instances_distribution(distribution).build()
}

#[tokio::test(start_paused = true)]
async fn an_override_takes_the_place_of_type_image_and_template() {
    let scene = Scene::new();
    let arm = scene.add_image("arm", |image| image.architecture = "arm64".to_owned());
    let other = scene.add_image("other", |_| {});
    scene.template(RequestLaunchTemplateData::builder().image_id(&scene.image)).await;
    scene.template_named("arm", scene.data().image_id(&arm)).await;
    let of = |instance_type: &str| LaunchTemplateOverrides::builder().instance_type(instance_type);
    let on_arm = || of("t4g.micro").launch_template_specification(named("arm", "$Latest")).build();
    for (overrides, expected) in [
        (vec![of("m5.large").build(), of("t3.micro").build()], ("web", "m5.large", &scene.image, None)),
        (vec![on_arm(), of("t3.micro").build()], ("arm", "t4g.micro", &arm, None)),
        (vec![of("t3.micro").image_id(&other).build()], ("web", "t3.micro", &other, Some(&*other))),
    ] {
        let create = scene.group().mixed_instances_policy(policy("$Default", overrides.clone()));
        create.desired_capacity(1).send().await.unwrap();
        let ids = scene.in_service(1).await;

        let describe = scene.autoscaling.describe_auto_scaling_groups().send().await.unwrap();
        let group = &describe.auto_scaling_groups()[0];
        let (template, instance_type, image, shown) = expected;
        let instance = &group.instances()[0];
        assert_eq!(instance.launch_template().unwrap().launch_template_name(), Some(template));
        assert_eq!((instance.instance_type(), instance.image_id()), (Some(instance_type), shown));
        assert_eq!(scene.lab.world(|world| world.ec2.instance(&ids[0]).unwrap().image.clone()), *image);
        let described = group.mixed_instances_policy().unwrap();
        let distribution = described.instances_distribution().unwrap();
        assert_eq!(distribution.on_demand_allocation_strategy(), Some("prioritized"));
        let template = described.launch_template().unwrap();
        let spec = template.launch_template_specification().unwrap();
        assert_eq!((spec.launch_template_name(), spec.version()), (Some("web"), Some("$Default")));
        let strip = |one: &LaunchTemplateOverrides| {
            let spec = one.launch_template_specification();
            (one.instance_type.clone(), one.image_id.clone(), spec.and_then(|spec| spec.version.clone()))
        };
        let [described, given] =
            [template.overrides(), &overrides].map(|all| all.iter().map(strip).collect::<Vec<_>>());
        assert_eq!(described, given);
        let delete = scene.autoscaling.delete_auto_scaling_group().auto_scaling_group_name(GROUP);
        delete.force_delete(true).send().await.unwrap();
        scene.sleep(60).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_checked_with_each_of_its_overrides() {
    let scene = Scene::new();
    scene.template(scene.data()).await;
    let overrides =
        ["t3.micro", "t4g.micro"].map(|one| LaunchTemplateOverrides::builder().instance_type(one).build());
    let create = scene.group().mixed_instances_policy(policy("1", overrides.to_vec()));
    let (code, text) = refusal(create.send().await);
    assert_eq!(code, "ValidationError");
    assert!(
        text.contains("The architecture 'arm64' of the specified instance type does not match"),
        "{text}"
    );
    let weighted =
        LaunchTemplateOverrides::builder().instance_type("t3.micro").weighted_capacity("2").build();
    let create = scene.group().mixed_instances_policy(policy("1", vec![weighted]));
    assert_eq!(refusal(create.send().await).0, "LabNotModelled");
}

#[tokio::test(start_paused = true)]
async fn a_stack_update_takes_the_template_along() {
    let scene = Scene::new();
    scene.template(scene.data()).await;
    scene.group_of(1, "$Latest").await;

    assert_eq!(scenarios::replace_group(&scene.lab, GROUP, "web-2").await, Ok(true));

    let describe = scene.autoscaling.describe_auto_scaling_groups().send().await.unwrap();
    let spec = describe.auto_scaling_groups()[0].launch_template().unwrap();
    assert_eq!((spec.launch_template_name(), spec.version()), (Some("web"), Some("$Latest")));
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_action_scales_out_from_the_new_version() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    scene.group_of(1, "$Default").await;
    let newer = scene.add_image("newer", |_| {});
    let version = scene.version(&id, scene.data().image_id(&newer)).await;
    scene.set_default(&id, version).await;

    scene.lab.world(|world| world.run_scheduled_action(GROUP, 3));
    scene.in_service(3).await;
    assert_eq!(scene.running().await[1..], [(newer.clone(), "2".to_owned()), (newer, "2".to_owned())]);

    scene.lab.world(|world| world.run_scheduled_action(GROUP, 1));
    let back = |world: &lifecycle_lab::World| world.autoscaling.instances().count() == 1;
    assert!(scene.lab.until(Duration::from_secs(600), back).await);
}
