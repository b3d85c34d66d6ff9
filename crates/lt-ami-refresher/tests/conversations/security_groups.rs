//! Where the security groups go, and what would fail at launch.

use aws_sdk_ec2::types::LaunchTemplateInstanceNetworkInterfaceSpecificationRequest as Interface;
use aws_sdk_ec2::types::builders::RequestLaunchTemplateDataBuilder;
use expect_test::expect;
use lifecycle_lab::ec2::Image;
use lifecycle_lab::faults::CallFault::{CutAfter, CutBefore, ServerError, Throttle};
use serde_json::{Value, json};

use super::common::{MINUTE, Scene, VPC, backup_named};
use super::{check, check_calls, check_refusal};

#[tokio::test(start_paused = true)]
async fn groups_are_said_by_their_ids() {
    let scene = Scene::new().await;
    let groups = format!("{},{}", scene.web, scene.admin);
    check(&scene, &[("SG_IDS", &groups)], json!({}), expect![[r#"
        POST ec2 DescribeImages
          Filter.1.Name=state
          Filter.1.Value.1=available
          Filter.2.Name=tag-key
          Filter.2.Value.1=aws:backup:source-resource
          Filter.3.Name=tag:Name
          Filter.3.Value.1=web
          Filter.4.Name=name
          Filter.4.Value.1=AWSbackup_*
          Filter.4.Value.2=AwsBackup_*
          MaxResults=200
          Owner.1=self
          => ok
        POST ec2 DescribeLaunchTemplateVersions
          LaunchTemplateName=web
          LaunchTemplateVersion.1=$Default
          LaunchTemplateVersion.2=$Latest
          => ok
        POST ec2 DescribeInstanceTypes
          InstanceType.1=t3.micro
          => ok
        POST ec2 DescribeSecurityGroups
          Filter.1.Name=group-id
          Filter.1.Value.1=SG-ADMIN
          Filter.1.Value.2=SG-WEB
          => ok
        POST ec2 DescribeLaunchTemplateVersions
          Filter.1.Name=image-id
          Filter.1.Value.1=NEW
          LaunchTemplateId=LT
          => ok
        POST ec2 CreateLaunchTemplateVersion
          ClientToken=001f5893c918d174648e46ca98d69e39d49c633b687539d3827611475a6613ed
          LaunchTemplateData.ImageId=NEW
          LaunchTemplateData.SecurityGroupId.1=SG-WEB
          LaunchTemplateData.SecurityGroupId.2=SG-ADMIN
          LaunchTemplateId=LT
          SourceVersion=1
          VersionDescription=AwsBackup_i-0123_1795230000 (NEW), created 2026-11-21T03:00:00Z; based on version 1
          => ok
        POST ec2 ModifyLaunchTemplate
          ClientToken=of the SDK
          LaunchTemplateId=LT
          SetDefaultVersion=2
          => ok
        POST autoscaling DescribeAutoScalingGroups
          MaxRecords=100
          => ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"version-created","reason":"changes ImageId, SecurityGroupIds"}
        metric: "version-created"
    "#]]).await;
    // In another order they are the same.
    let turned = format!("{},{}", scene.admin, scene.web);
    assert!(scene.play(&[("SG_IDS", &turned)], json!({})).await.contains("up-to-date"));
}

#[tokio::test(start_paused = true)]
async fn other_groups_make_another_version_of_the_same_image() {
    let scene = Scene::new().await;
    scene.play(&[], json!({})).await;
    let groups = json!({ "securityGroupIds": [scene.admin] });
    assert!(scene.play(&[], groups.clone()).await.contains("version-created"));
    assert!(scene.play(&[], groups).await.contains("up-to-date"));
    assert_eq!(scene.versions(), ["1: OLD", "2: NEW", "3: NEW"]);
    assert_eq!(scene.version(3)["SecurityGroupId"], json!([scene.admin]));
}

fn interface(index: i32, group: &str) -> Interface {
    Interface::builder().device_index(index).groups(group).associate_public_ip_address(index == 0).build()
}

#[tokio::test(start_paused = true)]
async fn groups_go_into_the_primary_interface_and_nothing_else_of_it_changes() {
    let scene = Scene::with(|scene| {
        scene.bare().network_interfaces(interface(0, &scene.web)).network_interfaces(interface(1, &scene.web))
    })
    .await;
    check(&scene, &[("SG_IDS", &scene.admin)], json!({}), expect![[r#"
        POST ec2 DescribeImages
          Filter.1.Name=state
          Filter.1.Value.1=available
          Filter.2.Name=tag-key
          Filter.2.Value.1=aws:backup:source-resource
          Filter.3.Name=tag:Name
          Filter.3.Value.1=web
          Filter.4.Name=name
          Filter.4.Value.1=AWSbackup_*
          Filter.4.Value.2=AwsBackup_*
          MaxResults=200
          Owner.1=self
          => ok
        POST ec2 DescribeLaunchTemplateVersions
          LaunchTemplateName=web
          LaunchTemplateVersion.1=$Default
          LaunchTemplateVersion.2=$Latest
          => ok
        POST ec2 DescribeInstanceTypes
          InstanceType.1=t3.micro
          => ok
        POST ec2 DescribeSecurityGroups
          Filter.1.Name=group-id
          Filter.1.Value.1=SG-ADMIN
          Filter.1.Value.2=SG-WEB
          => ok
        POST ec2 DescribeLaunchTemplateVersions
          Filter.1.Name=image-id
          Filter.1.Value.1=NEW
          LaunchTemplateId=LT
          => ok
        POST ec2 CreateLaunchTemplateVersion
          ClientToken=a044ae0e44dde1962b63a0bb71ad96277bf0cd7f6aabfd351d05a65834ab526d
          LaunchTemplateData.ImageId=NEW
          LaunchTemplateData.NetworkInterface.1.AssociatePublicIpAddress=true
          LaunchTemplateData.NetworkInterface.1.DeviceIndex=0
          LaunchTemplateData.NetworkInterface.1.SecurityGroupId.1=SG-ADMIN
          LaunchTemplateData.NetworkInterface.2.AssociatePublicIpAddress=false
          LaunchTemplateData.NetworkInterface.2.DeviceIndex=1
          LaunchTemplateData.NetworkInterface.2.SecurityGroupId.1=SG-WEB
          LaunchTemplateId=LT
          SourceVersion=1
          VersionDescription=AwsBackup_i-0123_1795230000 (NEW), created 2026-11-21T03:00:00Z; based on version 1
          => ok
        POST ec2 ModifyLaunchTemplate
          ClientToken=of the SDK
          LaunchTemplateId=LT
          SetDefaultVersion=2
          => ok
        POST autoscaling DescribeAutoScalingGroups
          MaxRecords=100
          => ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"version-created","reason":"changes ImageId, NetworkInterfaces"}
        metric: "version-created"
    "#]]).await;
    let mut expected = scene.version(1);
    expected["ImageId"] = json!(scene.new);
    expected["NetworkInterface"][0]["SecurityGroupId"] = json!([scene.admin]);
    assert_eq!(scene.version(2), expected);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_names_its_groups_is_rebuilt_without_the_names_and_loses_nothing_else() {
    let scene = Scene::with(|scene| scene.bare().security_groups("web")).await;
    check(&scene, &[("SG_IDS", &scene.admin)], json!({}), expect![[r#"
        POST ec2 DescribeImages
          Filter.1.Name=state
          Filter.1.Value.1=available
          Filter.2.Name=tag-key
          Filter.2.Value.1=aws:backup:source-resource
          Filter.3.Name=tag:Name
          Filter.3.Value.1=web
          Filter.4.Name=name
          Filter.4.Value.1=AWSbackup_*
          Filter.4.Value.2=AwsBackup_*
          MaxResults=200
          Owner.1=self
          => ok
        POST ec2 DescribeLaunchTemplateVersions
          LaunchTemplateName=web
          LaunchTemplateVersion.1=$Default
          LaunchTemplateVersion.2=$Latest
          => ok
        POST ec2 DescribeInstanceTypes
          InstanceType.1=t3.micro
          => ok
        POST ec2 DescribeSecurityGroups
          Filter.1.Name=group-id
          Filter.1.Value.1=SG-ADMIN
          => ok
        POST ec2 DescribeLaunchTemplateVersions
          Filter.1.Name=image-id
          Filter.1.Value.1=NEW
          LaunchTemplateId=LT
          => ok
        POST ec2 CreateLaunchTemplateVersion
          ClientToken=d05cdde5957bf044a2ffc8f572786ffd8064effd92c585c5e999d97abec885dc
          LaunchTemplateData.ImageId=NEW
          LaunchTemplateData.InstanceType=t3.micro
          LaunchTemplateData.KeyName=operator
          LaunchTemplateData.SecurityGroupId.1=SG-ADMIN
          LaunchTemplateData.TagSpecification.1.ResourceType=instance
          LaunchTemplateData.TagSpecification.1.Tag.1.Key=Name
          LaunchTemplateData.TagSpecification.1.Tag.1.Value=web
          LaunchTemplateData.UserData=IyEvYmluL3No
          LaunchTemplateId=LT
          VersionDescription=AwsBackup_i-0123_1795230000 (NEW), created 2026-11-21T03:00:00Z; based on version 1
          => ok
        POST ec2 ModifyLaunchTemplate
          ClientToken=of the SDK
          LaunchTemplateId=LT
          SetDefaultVersion=2
          => ok
        POST autoscaling DescribeAutoScalingGroups
          MaxRecords=100
          => ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"version-created","reason":"changes ImageId, SecurityGroupIds, SecurityGroups"}
        metric: "version-created"
    "#]]).await;
    let mut expected = scene.version(1);
    expected.as_object_mut().unwrap().remove("SecurityGroup");
    expected["ImageId"] = json!(scene.new);
    expected["SecurityGroupId"] = json!([scene.admin]);
    assert_eq!(scene.version(2), expected);
}

#[tokio::test(start_paused = true)]
async fn names_of_groups_become_their_ids_where_nothing_else_is_said() {
    let scene = Scene::with(|scene| scene.bare().security_groups("web")).await;
    check_calls(&scene, &[], json!({}), expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeSecurityGroups: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeLaunchTemplateVersions: ok
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: ok
        DescribeAutoScalingGroups: ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"version-created","reason":"changes ImageId, SecurityGroupIds, SecurityGroups"}
        metric: "version-created"
    "#]]).await;
    assert_eq!(scene.version(2)["SecurityGroupId"], json!([scene.web]));
    // Which of two groups was meant, nobody knows.
    let scene = Scene::with(|scene| scene.bare().security_groups("web")).await;
    scene.lab.world(|world| world.add_security_group("web", "vpc-0a0b0c0d0e0f00002"));
    check_refusal(&scene, &[], expect![[r#"
        UnusableTemplate: 2 security groups are named "web"; the source version has its security groups by name, which works only in the default VPC: set their ids in SG_IDS
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_would_fail_at_launch_is_refused_with_all_reasons() {
    let scene = Scene::with(|scene| scene.bare().instance_type("m6g.large".into())).await;
    check_refusal(&scene, &[("SG_IDS", "sg-0123456789abcdef0")], expect![[r#"
        UnusableTemplate: NEW is for x86_64, and m6g.large is arm64; the security group sg-0123456789abcdef0 does not exist
    "#]]).await;
    let scene = Scene::new().await;
    let other = scene.lab.world(|world| world.add_security_group("web", "vpc-0a0b0c0d0e0f00002"));
    let groups = format!("{},{other}", scene.web);
    let played = scene.play(&[("SG_IDS", &groups)], json!({})).await.replace(&other, "SG-OTHER");
    assert!(played.contains("UnusableTemplate: the security groups are not in one VPC: "), "{played}");
    let images = [
        (
            |image: &mut Image| image.ena_support = Some(false),
            "t3.micro",
            "no ENA support, which t3.micro requires",
        ),
        (
            |image: &mut Image| image.boot_mode = Some("uefi".to_owned()),
            "t2.micro",
            "boots with uefi, which t2.micro",
        ),
        (|_: &mut Image| {}, "t9.micro", "the instance type t9.micro does not exist in this Region"),
    ] as [(fn(&mut Image), &str, &str); 3];
    for (change, kind, expected) in images {
        let scene = Scene::with(|scene| scene.bare().instance_type(kind.into())).await;
        let mut image = backup_named("AwsBackup_newest", scene.lab.now() - MINUTE);
        change(&mut image);
        scene.lab.world(|world| world.add_image(image));
        let played = scene.play_calls(&[], json!({})).await;
        assert!(played.contains("UnusableTemplate: ") && played.contains(expected), "{played}");
        assert_eq!((scene.writes(), scene.default_version()), (Vec::<String>::new(), 1));
    }
    // A group that the version had is gone.
    scene.lab.world(|world| world.remove_security_group(&scene.web));
    check_refusal(
        &scene,
        &[],
        expect![[r#"
        UnusableTemplate: the security group SG-WEB does not exist
    "#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn groups_beside_interfaces_are_refused_unless_they_are_said() {
    let beside = |scene: &Scene| -> RequestLaunchTemplateDataBuilder {
        scene.data().network_interfaces(interface(0, &scene.web))
    };
    let scene = Scene::with(beside).await;
    check_refusal(&scene, &[], expect![[r#"
        UnusableTemplate: version 1 has security groups beside its network interfaces, and EC2 launches no instance from it: set SG_IDS
    "#]]).await;
    scene.play(&[("SG_IDS", &scene.admin)], json!({})).await;
    let version = scene.version(2);
    assert_eq!(version["SecurityGroupId"], Value::Null);
    assert_eq!(version["NetworkInterface"][0]["SecurityGroupId"], json!([scene.admin]));
}

#[tokio::test(start_paused = true)]
async fn groups_that_are_associated_with_a_common_vpc_are_a_doubt() {
    let scene = Scene::new().await;
    let other = scene.lab.world(|world| {
        let other = world.add_security_group("other", "vpc-0a0b0c0d0e0f00002");
        world.associate_security_group(&scene.web, "vpc-0a0b0c0d0e0f00002");
        other
    });
    let groups = format!("{},{other}", scene.web);
    let played = scene.play_calls(&[("SG_IDS", &groups)], json!({})).await;
    let played = played.replace(&other, "SG-OTHER");
    expect![[r#"
        DescribeImages: ok
        DescribeLaunchTemplateVersions: ok
        DescribeInstanceTypes: ok
        DescribeSecurityGroups: ok
        DescribeSecurityGroupVpcAssociations: ok
        DescribeLaunchTemplateVersions: ok
        CreateLaunchTemplateVersion: ok
        ModifyLaunchTemplate: ok
        DescribeAutoScalingGroups: ok
        answer: {"image.id":"NEW","launch_template.id":"LT","launch_template.version":2,"outcome":"version-created","reason":"changes ImageId, SecurityGroupIds","warnings":["the security groups are not in one VPC: SG-WEB is in vpc-0a0b0c0d0e0f00001, SG-OTHER is in vpc-0a0b0c0d0e0f00002; instances launch in subnets of vpc-0a0b0c0d0e0f00002 only"]}
        metric: "version-created"
    "#]].assert_eq(&played);
    for fault in [Throttle, ServerError, CutBefore, CutAfter] {
        let scene = Scene::new().await;
        let other = scene.lab.world(|world| {
            let other = world.add_security_group("other", "vpc-0a0b0c0d0e0f00002");
            world.associate_security_group(&other, VPC);
            other
        });
        scene.lab.faults().script("DescribeSecurityGroupVpcAssociations", [fault]);
        let played = scene.play_calls(&[("SG_IDS", &format!("{},{other}", scene.web))], json!({})).await;
        assert!(
            played.contains("in subnets of") && played.contains("version-created"),
            "{fault:?}: {played}"
        );
        assert_eq!(played.matches("DescribeSecurityGroupVpcAssociations").count(), 2, "{fault:?}: {played}");
    }
    // Where AWS does not say so, nothing is known.
    let scene = Scene::new().await;
    let other = scene.lab.world(|world| world.add_security_group("other", "vpc-0a0b0c0d0e0f00002"));
    scene.lab.faults().deny("DescribeSecurityGroupVpcAssociations");
    let groups = format!("{},{other}", scene.web);
    let played = scene.play_calls(&[("SG_IDS", &groups)], json!({})).await;
    assert!(played.contains("is not known") && played.contains("version-created"), "{played}");
}
