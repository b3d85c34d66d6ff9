//! Launch templates, groups that launch from them, and what launches depend on.

use std::time::Duration;

use lifecycle_lab::autoscaling::{Instance, LaunchedFrom};
use lifecycle_lab::ec2::Image;
use lifecycle_lab::{Lab, World};
use serde_json::{Value, json};

use crate::{Cli, is_in, new_lab};

fn add_image(lab: &Lab) -> String {
    lab.world(|world| world.add_image(Image::new("base", world.now() - Duration::from_secs(3600))))
}

/// Every kind of parameter, and every list.
fn everything() -> Value {
    json!({
        "KernelId": "aki-1",
        "EbsOptimized": true,
        "IamInstanceProfile": { "Name": "web" },
        "BlockDeviceMappings": [
            { "DeviceName": "/dev/xvda", "Ebs": { "VolumeSize": 20, "VolumeType": "gp3", "Encrypted": true } },
            { "DeviceName": "/dev/sdb", "VirtualName": "ephemeral0" },
            { "DeviceName": "/dev/sdc", "NoDevice": "" },
        ],
        "NetworkInterfaces": [{
            "DeviceIndex": 0,
            "AssociatePublicIpAddress": false,
            "Groups": ["sg-0a", "sg-0b"],
            "Ipv6Addresses": [{ "Ipv6Address": "2001:db8::1" }],
            "PrivateIpAddresses": [{ "Primary": true, "PrivateIpAddress": "10.0.0.1" }],
            "Ipv4Prefixes": [{ "Ipv4Prefix": "10.0.0.0/28" }],
            "Ipv6Prefixes": [{ "Ipv6Prefix": "2001:db8::/80" }],
            "EnaSrdSpecification": {
                "EnaSrdEnabled": true,
                "EnaSrdUdpSpecification": { "EnaSrdUdpEnabled": false },
            },
            "ConnectionTrackingSpecification": { "TcpEstablishedTimeout": 60 },
        }],
        "ImageId": "resolve:ssm:web",
        "InstanceType": "t3.micro",
        "KeyName": "ops",
        "Monitoring": { "Enabled": true },
        "Placement": { "Tenancy": "default", "PartitionNumber": 3 },
        "RamDiskId": "ari-1",
        "DisableApiTermination": false,
        "InstanceInitiatedShutdownBehavior": "terminate",
        "UserData": "IyEvYmluL3NoCg==",
        "TagSpecifications": [{ "ResourceType": "instance", "Tags": [{ "Key": "Name", "Value": "ä<&>" }] }],
        "SecurityGroupIds": ["sg-0a"],
        "SecurityGroups": ["web", "shop"],
        "InstanceMarketOptions": { "MarketType": "spot", "SpotOptions": { "MaxPrice": "0.1" } },
        "CreditSpecification": { "CpuCredits": "standard" },
        "CpuOptions": { "CoreCount": 1, "ThreadsPerCore": 2 },
        "CapacityReservationSpecification": {
            "CapacityReservationTarget": { "CapacityReservationId": "cr-1" },
        },
        "LicenseSpecifications": [{ "LicenseConfigurationArn": "arn:aws:license-manager:1" }],
        "HibernationOptions": { "Configured": false },
        "MetadataOptions": { "HttpTokens": "required", "HttpPutResponseHopLimit": 2 },
        "EnclaveOptions": { "Enabled": false },
        "InstanceRequirements": {
            "VCpuCount": { "Min": 2, "Max": 4 },
            "MemoryMiB": { "Min": 1024 },
            "CpuManufacturers": ["intel", "amd"],
            "MemoryGiBPerVCpu": { "Min": 1.5 },
            "InstanceGenerations": ["current"],
            "AcceleratorTypes": ["gpu"],
            "AllowedInstanceTypes": ["t3.*"],
            "BaselinePerformanceFactors": { "Cpu": { "References": [{ "InstanceFamily": "m5" }] } },
        },
        "PrivateDnsNameOptions": { "HostnameType": "ip-name", "EnableResourceNameDnsAAAARecord": true },
        "MaintenanceOptions": { "AutoRecovery": "default" },
        "DisableApiStop": true,
        "NetworkPerformanceOptions": { "BandwidthWeighting": "default" },
        "SecondaryInterfaces": [{ "DeviceIndex": 1, "PrivateIpAddresses": [{ "PrivateIpAddress": "10.1.0.1" }] }],
    })
}

#[tokio::test]
async fn the_cli_makes_versions_of_a_template() {
    let lab = new_lab();
    let Some(aws) = Cli::of(&lab).await else { return };
    let data = everything();

    let create = format!(
        "ec2 create-launch-template --launch-template-name web --version-description first --client-token one \
         --launch-template-data {data} --tag-specifications ResourceType=launch-template,Tags=[{{Key=a,Value=b}}]"
    );
    let created = aws.run(&create).await.unwrap();
    let template = &created["LaunchTemplate"];
    let id = template["LaunchTemplateId"].as_str().unwrap_or_default().to_owned();
    assert_eq!((&template["DefaultVersionNumber"], &template["LatestVersionNumber"]), (&json!(1), &json!(1)));
    assert_eq!(aws.run(&create).await.unwrap(), created, "the same token");
    let versions = "ec2 describe-launch-template-versions --launch-template-name web";
    let described = aws.run(&format!("{versions} --versions $Default")).await.unwrap();
    assert_eq!(described["LaunchTemplateVersions"][0]["LaunchTemplateData"], data);

    let next = format!(
        "ec2 create-launch-template-version --launch-template-id {id} --source-version $Latest \
         --version-description second --launch-template-data ImageId=ami-0000000000000000f"
    );
    let version = aws.run(&next).await.unwrap();
    let version = &version["LaunchTemplateVersion"];
    let mut expected = data;
    expected["ImageId"] = json!("ami-0000000000000000f");
    assert_eq!(version["LaunchTemplateData"], expected);
    assert_eq!(
        [&version["VersionNumber"], &version["DefaultVersion"], &version["VersionDescription"]],
        [&json!(2), &json!(false), &json!("second")]
    );
    let modify = format!("ec2 modify-launch-template --launch-template-id {id} --default-version");
    assert_eq!(aws.run(&format!("{modify} 2")).await.unwrap()["LaunchTemplate"]["DefaultVersionNumber"], 2);
    assert_eq!(
        aws.run(&format!("{modify} 3")).await.unwrap_err(),
        "An error occurred (InvalidLaunchTemplateId.VersionNotFound) when calling the ModifyLaunchTemplate \
             operation: The launch template version 3 is not found for the specified launch template."
    );
    let found = aws.run(&format!("{versions} --filters Name=image-id,Values=ami-*")).await.unwrap();
    assert_eq!(found["LaunchTemplateVersions"].as_array().map(Vec::len), Some(1), "{found}");
    let paged =
        aws.run(&format!("{versions} --page-size 1 --query LaunchTemplateVersions[].VersionNumber")).await;
    assert_eq!(paged.unwrap().as_array().map(Vec::len), Some(2));
    let templates = "ec2 describe-launch-templates --filters Name=tag:a,Values=b";
    assert_eq!(aws.run(templates).await.unwrap()["LaunchTemplates"][0]["LatestVersionNumber"], 2);

    let delete = format!("ec2 delete-launch-template-versions --launch-template-id {id} --versions 1 9");
    let deleted = aws.run(&delete).await.unwrap();
    assert_eq!(deleted["SuccessfullyDeletedLaunchTemplateVersions"][0]["VersionNumber"], 1);
    let kept = &deleted["UnsuccessfullyDeletedLaunchTemplateVersions"][0];
    assert_eq!(
        (&kept["VersionNumber"], &kept["ResponseError"]["Code"]),
        (&json!(9), &json!("launchTemplateVersionDoesNotExist"))
    );
    let delete = "ec2 delete-launch-template --launch-template-name web";
    assert_eq!(aws.run(delete).await.unwrap()["LaunchTemplate"]["LaunchTemplateId"], id);
    assert_eq!(
        aws.run(delete).await.unwrap_err(),
        "An error occurred (InvalidLaunchTemplateName.NotFoundException) when calling the DeleteLaunchTemplate \
         operation: The specified launch template, with template name web, does not exist."
    );
}

#[tokio::test]
async fn the_cli_describes_groups_subnets_and_types() {
    let lab = new_lab();
    let Some(aws) = Cli::of(&lab).await else { return };
    let (group, subnet) = lab
        .world(|world| (world.add_security_group("web", "vpc-0a"), world.add_subnet("vpc-0a", "us-east-1b")));

    let groups = aws.run(&format!("ec2 describe-security-groups --group-ids {group}")).await.unwrap();
    let described = &groups["SecurityGroups"][0];
    assert_eq!((&described["GroupName"], &described["VpcId"]), (&json!("web"), &json!("vpc-0a")));
    assert_eq!(
        aws.run("ec2 describe-security-groups --group-ids sg-0000000000000000f").await.unwrap_err(),
        "An error occurred (InvalidGroup.NotFound) when calling the DescribeSecurityGroups operation: The security \
         group 'sg-0000000000000000f' does not exist"
    );
    let subnets = aws.run(&format!("ec2 describe-subnets --subnet-ids {subnet}")).await.unwrap();
    assert_eq!(subnets["Subnets"][0]["AvailabilityZone"], "us-east-1b");
    let types = aws.run("ec2 describe-instance-types --instance-types t4g.micro").await.unwrap();
    let described = &types["InstanceTypes"][0];
    assert_eq!(described["ProcessorInfo"], json!({ "SupportedArchitectures": ["arm64"] }));
    assert_eq!(described["Hypervisor"], "nitro");
}

#[tokio::test]
async fn the_cli_leads_a_group_to_a_new_version() {
    let lab = new_lab();
    let Some(aws) = Cli::of(&lab).await else { return };
    let [old, new] = [add_image(&lab), add_image(&lab)];
    let create = format!(
        "ec2 create-launch-template --launch-template-name web --launch-template-data \
         ImageId={old},InstanceType=t3.micro"
    );
    aws.run(&create).await.unwrap();
    let create = "autoscaling create-auto-scaling-group --auto-scaling-group-name web --min-size 0 --max-size 2 \
                  --desired-capacity 1 --availability-zones us-east-1a --mixed-instances-policy \
                  LaunchTemplate={LaunchTemplateSpecification={LaunchTemplateName=web,Version=$Latest},Overrides=[\
                  {InstanceType=t3.small},{InstanceType=t3.micro}]}";
    assert_eq!(aws.run(create).await, Ok(Value::Null));
    let soon = Duration::from_secs(60);
    lab.skip(soon);
    assert!(lab.until(soon, is_in("InService")).await);
    let described = aws.run("autoscaling describe-auto-scaling-groups").await.unwrap();
    let policy = &described["AutoScalingGroups"][0]["MixedInstancesPolicy"]["LaunchTemplate"];
    assert_eq!(policy["Overrides"], json!([{ "InstanceType": "t3.small" }, { "InstanceType": "t3.micro" }]));
    assert_eq!(policy["LaunchTemplateSpecification"]["Version"], "$Latest");

    let next = format!(
        "ec2 create-launch-template-version --launch-template-name web --source-version 1 --launch-template-data \
         ImageId={new}"
    );
    aws.run(&next).await.unwrap();
    let refresh =
        "autoscaling start-instance-refresh --auto-scaling-group-name web --preferences SkipMatching=true";
    let started = aws.run(refresh).await.unwrap();
    assert!(started["InstanceRefreshId"].is_string(), "{started}");
    let again = aws.run(refresh).await.unwrap_err();
    assert!(again.contains("(InstanceRefreshInProgress)"), "{again}");
    lab.skip(2 * soon);
    let of_version_2 =
        |one: &Instance| matches!(one.launched_from, LaunchedFrom::Template { version: 2, .. });
    let refreshed = |world: &World| world.autoscaling.instances().map(of_version_2).eq([true]);
    assert!(lab.until(soon, refreshed).await);
    assert!(lab.until(soon, is_in("InService")).await);
    let described =
        aws.run("autoscaling describe-instance-refreshes --auto-scaling-group-name web").await.unwrap();
    let refresh = &described["InstanceRefreshes"][0];
    assert_eq!(refresh["InstanceRefreshId"], started["InstanceRefreshId"]);
    assert_eq!(refresh["Status"], "Successful");
    let described = aws.run("autoscaling describe-auto-scaling-instances").await.unwrap();
    let instance = &described["AutoScalingInstances"][0];
    assert_eq!(
        (&instance["InstanceType"], &instance["LaunchTemplate"]["Version"]),
        (&json!("t3.small"), &json!("2"))
    );
    let running = "ec2 describe-instances --filters Name=instance-state-name,Values=running";
    let described = aws.run(running).await.unwrap();
    assert_eq!(described["Reservations"][0]["Instances"][0]["ImageId"], new);
}
