//! What can be known before a launch: security groups, subnets, instance types, and which image a parameter names.

use aws_sdk_ec2::types::{
    ArchitectureType, EnaSupport, InstanceType, InstanceTypeInfo, SecurityGroupVpcAssociationState, Tag,
};
use lifecycle_lab::ec2::DEFAULT_VPC;

use crate::scene::*;

#[tokio::test(start_paused = true)]
async fn security_groups_are_found_by_id_by_name_and_by_filter() {
    let scene = Scene::new();
    let (web, other) = scene.lab.world(|world| {
        (world.add_security_group("web", "vpc-0a"), world.add_security_group("web", DEFAULT_VPC))
    });
    let tag = Tag::builder().key("team").value("shop").build();
    scene.ec2.create_tags().resources(&web).tags(tag).send().await.unwrap();
    let describe = || scene.ec2.describe_security_groups();
    let default = "sg-00000000000000001";
    for (describe, expected) in [
        (describe(), vec![default, &web, &other]),
        (describe().group_ids(&web), vec![&*web]),
        (describe().group_names("web"), vec![&other]),
        (describe().filters(filter("vpc-id", &["vpc-0a"])), vec![&web]),
        (describe().filters(filter("group-name", &["web"])), vec![&web, &other]),
        (describe().filters(filter("tag:team", &["shop"])), vec![&web]),
    ] {
        let groups = describe.send().await.unwrap().security_groups.unwrap();
        let mut found: Vec<_> = groups.iter().map(|group| group.group_id().unwrap()).collect();
        let mut expected = expected;
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
    let described = describe().group_ids(&web).send().await.unwrap().security_groups.unwrap().remove(0);
    assert_eq!((described.group_name(), described.vpc_id()), (Some("web"), Some("vpc-0a")));

    let unknown = refusal(describe().group_ids("sg-0000000000000000f").send().await);
    let text = "The security group 'sg-0000000000000000f' does not exist";
    assert_eq!(unknown, refused("InvalidGroup.NotFound", text));
    let named = refusal(describe().group_names("none").send().await);
    let text = "The security group 'none' does not exist in default VPC 'vpc-00000000000000001'";
    assert_eq!(named, refused("InvalidGroup.NotFound", text));
    assert_eq!(refusal(describe().group_ids("web").send().await).0, "InvalidGroupId.Malformed");
    scene.lab.world(|world| world.remove_security_group(&web));
    assert_eq!(refusal(describe().group_ids(&web).send().await).0, "InvalidGroup.NotFound");
}

#[tokio::test(start_paused = true)]
async fn subnets_say_which_vpc_they_belong_to() {
    let scene = Scene::new();
    let id = scene.lab.world(|world| world.add_subnet("vpc-0a", "us-east-1b"));
    let describe = || scene.ec2.describe_subnets();

    let subnet = describe().subnet_ids(&id).send().await.unwrap().subnets.unwrap().remove(0);
    assert_eq!((subnet.vpc_id(), subnet.availability_zone()), (Some("vpc-0a"), Some("us-east-1b")));
    let count = async |name: &str, value: &str| {
        describe().filters(filter(name, &[value])).send().await.unwrap().subnets().len()
    };
    assert_eq!(count("default-for-az", "true").await, 6);
    assert_eq!(count("availability-zone", "us-east-1b").await, 2);
    assert_eq!(count("vpc-id", "vpc-0a").await, 1);
    let unknown = refusal(describe().subnet_ids("subnet-0f").send().await);
    assert_eq!(unknown, refused("InvalidSubnetID.NotFound", "The subnet ID 'subnet-0f' does not exist"));
}

#[tokio::test(start_paused = true)]
async fn instance_types_say_which_images_they_run() {
    let scene = Scene::new();
    let describe = || scene.ec2.describe_instance_types();
    for (name, architectures, roots, virtualizations) in [
        (InstanceType::T3Micro, vec!["x86_64"], vec!["ebs"], vec!["hvm"]),
        (InstanceType::T4gMicro, vec!["arm64"], vec!["ebs"], vec!["hvm"]),
        (InstanceType::T2Micro, vec!["i386", "x86_64"], vec!["ebs"], vec!["hvm"]),
        (InstanceType::M3Medium, vec!["x86_64"], vec!["ebs", "instance-store"], vec!["hvm", "paravirtual"]),
    ] {
        let types = describe().instance_types(name.clone()).send().await.unwrap().instance_types.unwrap();
        let [one] = &types[..] else { panic!("{types:?}") };
        assert_eq!(one.instance_type(), Some(&name));
        let supported = one.processor_info().unwrap().supported_architectures();
        assert_eq!(supported.iter().map(ArchitectureType::as_str).collect::<Vec<_>>(), architectures);
        let found: Vec<_> = one.supported_root_device_types().iter().map(|one| one.as_str()).collect();
        assert_eq!(found, roots);
        let found: Vec<_> = one.supported_virtualization_types().iter().map(|one| one.as_str()).collect();
        assert_eq!(found, virtualizations);
    }
    let arm = describe().filters(filter("processor-info.supported-architecture", &["arm64"]));
    let arm = arm.send().await.unwrap().instance_types.unwrap();
    let arm: Vec<_> = arm.iter().map(|one| one.instance_type().unwrap().as_str()).collect();
    let of_arm = "c6g.large c7g.large m6g.large m7g.large r6g.large t4g.medium t4g.micro t4g.small";
    assert_eq!(arm.join(" "), of_arm);
    let unknown = refusal(describe().instance_types("t3.huge".into()).send().await);
    let text = "The following supplied instance types do not exist: [t3.huge]";
    assert_eq!(unknown, refused("InvalidInstanceType", text));
}

/// What decides whether a type runs an image that has no ENA support, or demands a boot mode.
#[tokio::test(start_paused = true)]
async fn instance_types_say_whether_they_need_ena_and_how_they_boot() {
    let scene = Scene::new();
    for (name, ena, boot_modes) in [
        (InstanceType::T2Micro, EnaSupport::Supported, vec!["legacy-bios"]),
        (InstanceType::T3Micro, EnaSupport::Required, vec!["legacy-bios", "uefi"]),
        (InstanceType::T4gMicro, EnaSupport::Required, vec!["uefi"]),
    ] {
        let types = scene.ec2.describe_instance_types().instance_types(name).send().await.unwrap();
        let one = &types.instance_types()[0];
        assert_eq!(one.network_info().unwrap().ena_support(), Some(&ena));
        let found: Vec<_> = one.supported_boot_modes().iter().map(|one| one.as_str()).collect();
        assert_eq!(found, boot_modes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_security_group_can_be_associated_with_a_further_vpc_and_launches_there() {
    let scene = Scene::new();
    let group = scene.lab.world(|world| {
        let group = world.add_security_group("shared", "vpc-0a");
        world.add_security_group("other", "vpc-0a");
        world.associate_security_group(&group, DEFAULT_VPC);
        group
    });
    let describe = || scene.ec2.describe_security_group_vpc_associations();
    for (describe, expected) in [
        (describe(), 1),
        (describe().filters(filter("group-id", &[&group])), 1),
        (describe().filters(filter("group-id", &["sg-0000000000000000f"])), 0),
        (describe().filters(filter("vpc-id", &["vpc-0a"])), 0),
    ] {
        let found = describe.send().await.unwrap().security_group_vpc_associations.unwrap_or_default();
        assert_eq!(found.len(), expected);
        for one in found {
            assert_eq!((one.group_id(), one.vpc_id()), (Some(group.as_str()), Some(DEFAULT_VPC)));
            assert_eq!(one.state(), Some(&SecurityGroupVpcAssociationState::Associated));
        }
    }
    scene.template(scene.data().security_group_ids(&group)).await;
    scene.group_of(1, "$Latest").await;
}

#[tokio::test(start_paused = true)]
async fn a_parameter_of_systems_manager_can_name_an_image() {
    let scene = Scene::new();
    let ssm = aws_sdk_ssm::Client::new(&scene.lab.sdk_config("operator"));
    let public = "/aws/service/golden";
    scene.lab.world(|world| {
        for name in ["golden", public] {
            world.parameters.insert(name.to_owned(), scene.image.clone());
        }
    });
    for (name, arn) in [
        ("golden", "arn:aws:ssm:us-east-1:123456789012:parameter/golden"),
        (public, "arn:aws:ssm:us-east-1::parameter/aws/service/golden"),
    ] {
        let parameter = ssm.get_parameter().name(name).send().await.unwrap().parameter.unwrap();
        assert_eq!((parameter.value(), parameter.arn()), (Some(scene.image.as_str()), Some(arn)));
    }
    let missing = ssm.get_parameter().name("none").send().await.unwrap_err();
    assert!(missing.into_service_error().is_parameter_not_found());
}

#[tokio::test(start_paused = true)]
async fn pages_of_instance_types_leave_none_out() {
    let scene = Scene::new();
    let describe = || scene.ec2.describe_instance_types();
    let name = |one: InstanceTypeInfo| one.instance_type.unwrap();
    let all = describe().send().await.unwrap().instance_types.unwrap().into_iter().map(name);
    assert!(all.len() > 5, "more than a page: {}", all.len());

    let paged = describe().max_results(5).into_paginator().items().send();
    let paged = paged.collect::<Result<Vec<_>, _>>().await.unwrap().into_iter().map(name);

    assert_eq!(paged.collect::<Vec<_>>(), all.collect::<Vec<_>>());
}
