//! Launches that EC2 refuses: a template that looked right, or was right once.

use aws_sdk_ec2::types::builders::RequestLaunchTemplateDataBuilder;
use aws_sdk_ec2::types::{
    InstanceType, LaunchTemplateBlockDeviceMappingRequest, LaunchTemplateEbsBlockDeviceRequest,
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest,
};
use lifecycle_lab::ec2::{Device, Image, ImageState};

use crate::scene::*;

impl Scene {
    /// The group follows `$Latest` into a version from which nothing can be launched. Returns what the
    /// scaling activity says.
    async fn failure(&self, subnet: Option<&str>, data: RequestLaunchTemplateDataBuilder) -> String {
        let id = self.template(self.data()).await;
        let group = self.group().launch_template(named("web", "$Latest"));
        let group = match subnet {
            Some(subnet) => group.set_availability_zones(None).vpc_zone_identifier(subnet),
            None => group,
        };
        group.send().await.unwrap();
        self.version(&id, data).await;
        self.set_desired(1).await;
        self.sleep(10).await;
        let activities = self.activities().await;
        let activity = activities.first().unwrap_or_else(|| panic!("nothing was launched"));
        assert_eq!(activity.status_code().unwrap().as_str(), "Failed", "{activity:?}");
        activity.status_message().unwrap().to_owned()
    }

    async fn failure_of_image(&self, change: impl FnOnce(&mut Image)) -> (String, String) {
        let image = self.add_image("changed", change);
        let data = self.data().image_id(&image);
        (self.failure(None, data).await, image)
    }
}

fn failed(text: impl AsRef<str>) -> String {
    format!("{}. Launching EC2 instance failed.", text.as_ref())
}

#[tokio::test(start_paused = true)]
async fn a_launch_fails_from_an_image_that_can_not_be_launched() {
    let other = || "999999999999".to_owned();
    type Case = (fn(&mut Image), fn(&str) -> String);
    let cases: [Case; 6] = [
        (|image| image.state = ImageState::Pending, |id| format!("AMI {id} is pending, and cannot be run")),
        (|image| image.state = ImageState::Failed, |id| format!("AMI {id} is failed, and cannot be run")),
        (
            |image| image.state = ImageState::Deregistered,
            |id| format!("The image id '[{id}]' does not exist"),
        ),
        (
            |image| image.virtualization_type = "paravirtual".to_owned(),
            |_| {
                "Virtualization type 'hvm' is required for instances of type 't3.micro'. Ensure that you are using an \
                 AMI with virtualization type 'hvm'"
                    .to_owned()
            },
        ),
        (
            |image| image.root_device_type = "instance-store".to_owned(),
            |_| {
                "The instance type 't3.micro' does not support AMIs with the root device type 'instance-store'"
                    .to_owned()
            },
        ),
        (
            |image| image.architecture = "arm64".to_owned(),
            |_| {
                "The architecture 'x86_64' of the specified instance type does not match the architecture 'arm64' of \
                 the specified AMI. Specify an instance type and an AMI that have matching architectures, and try \
                 again. You can use 'describe-instance-types' or 'describe-images' to discover the architecture of \
                 the instance type or AMI"
                    .to_owned()
            },
        ),
    ];
    for (change, text) in cases {
        let (failure, image) = Scene::new().failure_of_image(change).await;
        assert_eq!(failure, failed(text(&image)));
    }
    let scene = Scene::new();
    let (failure, image) =
        scene.failure_of_image(|image| (image.owner, image.shared) = (other(), false)).await;
    assert_eq!(failure, failed(format!("Not authorized for images: [{image}]")));
    let described = scene.ec2.describe_images().image_ids(&image).send().await.unwrap();
    assert!(described.images().is_empty(), "it is not shown, and no error says that it does not exist");

    let scene = Scene::new();
    let data = scene.data().image_id("ami-0000000000000000f");
    let text = "The image id '[ami-0000000000000000f]' does not exist";
    assert_eq!(scene.failure(None, data).await, failed(text));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_another_account_shares_can_be_launched_until_it_does_not() {
    let scene = Scene::new();
    let image = scene.add_image("theirs", |image| image.owner = "999999999999".to_owned());
    let data = scene.data().image_id(&image);
    scene.template(data).await;
    scene.group_of(1, "$Latest").await;
    assert_eq!(scene.running().await, [(image, "1".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_template_without_image_or_type_launches_nothing() {
    let scene = Scene::new();
    let data = scene.data().set_image_id(None);
    assert_eq!(scene.failure(None, data).await, failed("The request must contain the parameter ImageId"));
    let scene = Scene::new();
    let data = scene.data().set_instance_type(None);
    assert_eq!(
        scene.failure(None, data).await,
        failed("The request must contain the parameter InstanceType")
    );
    let scene = Scene::new();
    let data = scene.data().instance_type(InstanceType::from("t3.huge"));
    assert_eq!(scene.failure(None, data).await, failed("Invalid value 't3.huge' for InstanceType"));
}

#[tokio::test(start_paused = true)]
async fn a_launch_fails_with_security_groups_that_are_not_there_or_not_together() {
    type Choose = fn(RequestLaunchTemplateDataBuilder, &[String; 3]) -> RequestLaunchTemplateDataBuilder;
    let interface = |group: &str| {
        let interface = LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder().device_index(0);
        interface.groups(group).build()
    };
    let in_subnet: [(Choose, &str); 5] = [
        (
            |data, _| data.security_groups("web"),
            "The parameter groupName cannot be used with the parameter subnet",
        ),
        (
            |data, [_, other, _]| data.security_group_ids(other),
            "Security group OTHER and subnet SUBNET belong to different networks",
        ),
        (
            |data, [web, other, _]| data.security_group_ids(web).security_group_ids(other),
            "Security group OTHER and subnet SUBNET belong to different networks",
        ),
        (
            |data, _| data.security_group_ids("sg-0000000000000000f"),
            "The security group 'sg-0000000000000000f' does not exist",
        ),
        (|data, _| data.security_group_ids("web"), "Invalid id: \"web\" (expecting \"sg-...\")"),
    ];
    for (choose, text) in in_subnet {
        let scene = Scene::new();
        let [web, other, subnet] = network(&scene);
        let data = choose(scene.data(), &[web.clone(), other.clone(), subnet.clone()]);
        let text = text.replace("OTHER", &other).replace("SUBNET", &subnet);
        assert_eq!(scene.failure(Some(&subnet), data).await, failed(text));
    }

    let scene = Scene::new();
    let [web, other, subnet] = network(&scene);
    let data = scene.data().network_interfaces(interface(&web)).security_group_ids(&web);
    let text =
        "Network interfaces and an instance-level security groups may not be specified on the same request";
    assert_eq!(scene.failure(Some(&subnet), data).await, failed(text));
    let scene = Scene::new();
    assert_eq!([web.as_str(), &other, &subnet], network(&scene), "the same seed, the same ids");
    let data = scene.data().network_interfaces(interface(&other));
    let text = format!("Security group {other} and subnet {subnet} belong to different networks");
    assert_eq!(scene.failure(Some(&subnet), data).await, failed(text));
}

/// A VPC with the security group `web` and a subnet, and a group of another VPC.
fn network(scene: &Scene) -> [String; 3] {
    scene.lab.world(|world| {
        [
            world.add_security_group("web", "vpc-0a"),
            world.add_security_group("other", "vpc-0b"),
            world.add_subnet("vpc-0a", "us-east-1a"),
        ]
    })
}

#[tokio::test(start_paused = true)]
async fn groups_by_name_work_in_the_default_vpc_only() {
    let scene = Scene::new();
    let web = scene.lab.world(|world| world.add_security_group("web", lifecycle_lab::ec2::DEFAULT_VPC));
    scene.template(scene.data().security_groups("web")).await;
    let ids = scene.group_of(1, "$Latest").await;
    let described = scene.ec2.describe_instances().instance_ids(&ids[0]).send().await.unwrap();
    assert_eq!(described.reservations()[0].instances()[0].security_groups()[0].group_id(), Some(&*web));

    let scene = Scene::new();
    let data = scene.data().security_groups("web");
    let text = "The security group 'web' does not exist in default VPC 'vpc-00000000000000001'";
    assert_eq!(scene.failure(None, data).await, failed(text));
}

fn disk(device: &str) -> LaunchTemplateBlockDeviceMappingRequest {
    LaunchTemplateBlockDeviceMappingRequest::builder().device_name(device).build()
}

fn volume(
    device: &str,
    size: Option<i32>,
    snapshot: Option<&str>,
) -> LaunchTemplateBlockDeviceMappingRequest {
    let ebs = LaunchTemplateEbsBlockDeviceRequest::builder().set_volume_size(size);
    let ebs = ebs.set_snapshot_id(snapshot.map(str::to_owned)).delete_on_termination(true).build();
    LaunchTemplateBlockDeviceMappingRequest::builder().device_name(device).ebs(ebs).build()
}

#[tokio::test(start_paused = true)]
async fn a_launch_fails_with_block_devices_that_do_not_fit_the_image() {
    let unknown = Some("snap-0000000000000000f");
    for (device, text) in [
        (disk("upload"), "Invalid device name upload"),
        (
            LaunchTemplateBlockDeviceMappingRequest::builder()
                .device_name("/dev/sdb")
                .virtual_name("disk")
                .build(),
            "Value (disk) for parameter virtualName is invalid. Expected format: 'ephemeralNUMBER'",
        ),
        (
            volume("/dev/xvda", Some(10), None),
            "Volume of size 10GB is smaller than snapshot 'SNAPSHOT', expect size>= 20GB",
        ),
        (volume("/dev/xvda", None, unknown), "snapshotId cannot be modified on root device"),
        (volume("/dev/sdb", None, unknown), "The snapshot 'snap-0000000000000000f' does not exist"),
        (volume("/dev/sdb", None, None), "The request must contain the parameter size or snapshotId"),
    ] {
        let scene = Scene::new();
        let image = scene.add_image("large", |image| image.devices[0].size = 20);
        let snapshot = scene.lab.world(|world| world.ec2.image(&image).unwrap().devices[0].snapshot.clone());
        let data = scene.data().image_id(&image).block_device_mappings(device);
        assert_eq!(scene.failure(None, data).await, failed(text.replace("SNAPSHOT", &snapshot)));
    }
    let scene = Scene::new();
    let image = scene.add_image("old", |image| image.root_device_type = "instance-store".to_owned());
    let data = scene.data().image_id(&image).instance_type(InstanceType::M3Medium);
    let data = data.block_device_mappings(volume("/dev/sdb", Some(8), None));
    let text = "EBS block device mappings not supported for instance-store AMIs";
    assert_eq!(scene.failure(None, data).await, failed(text));
}

#[tokio::test(start_paused = true)]
async fn block_devices_that_fit_change_and_add_to_the_images() {
    let scene = Scene::new();
    let image = scene.add_image("two", |image| {
        image.devices.push(Device { name: "/dev/sdc".to_owned(), snapshot: String::new(), size: 10 });
    });
    let none =
        LaunchTemplateBlockDeviceMappingRequest::builder().device_name("/dev/sdc").no_device("").build();
    let data = scene.data().image_id(&image).block_device_mappings(none);
    let data = data.block_device_mappings(volume("/dev/xvda", Some(30), None));
    scene.template(data.block_device_mappings(volume("/dev/sdb", Some(5), None))).await;
    let ids = scene.group_of(1, "$Latest").await;

    let order = scene.ec2.create_image().instance_id(&ids[0]).name("copy").no_reboot(true);
    let copy = order.send().await.unwrap().image_id.unwrap();

    let devices = scene.lab.world(|world| world.ec2.image(&copy).unwrap().devices.clone());
    let devices: Vec<_> = devices.iter().map(|device| (device.name.as_str(), device.size)).collect();
    assert_eq!(devices, [("/dev/xvda", 30), ("/dev/sdb", 5)]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_launch_is_told_and_tried_again_more_and_more_slowly() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    scene.group_of(1, "$Latest").await;
    scene.version(&id, scene.data().security_groups("none")).await;
    scene.set_desired(3).await;
    scene.sleep(600).await;

    let activities = scene.activities().await;
    let (failures, _) = activities.split_at(activities.len() - 1);
    let times: Vec<_> = failures.iter().rev().map(|one| one.start_time().unwrap().secs()).collect();
    let pauses: Vec<_> = times.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(pauses, [2, 30, 60, 120, 240], "one at a time, and ever longer pauses");
    let failure = failures.last().unwrap();
    let message = "The security group 'none' does not exist in default VPC 'vpc-00000000000000001'. Launching EC2 \
                   instance failed.";
    assert_eq!(
        failure.description(),
        Some(format!("Launching a new EC2 instance.  Status Reason: {message}").as_str())
    );
    assert_eq!((failure.status_message(), failure.progress()), (Some(message), Some(100)));
    assert_eq!(failure.start_time().unwrap().secs(), failure.end_time().unwrap().secs());
    let unsuccessful: Vec<_> = scene
        .events()
        .into_iter()
        .filter(|event| event["detail-type"] == "EC2 Instance Launch Unsuccessful")
        .collect();
    assert_eq!(unsuccessful.len(), failures.len());
    assert_eq!(unsuccessful[0]["detail"]["StatusMessage"], message);
    assert_eq!(unsuccessful[0]["detail"]["EC2InstanceId"], "");
    assert_eq!(unsuccessful[0]["resources"].as_array().map(Vec::len), Some(1));

    scene.version(&id, scene.data()).await;
    scene.in_service(3).await;
    scene.version(&id, scene.data().security_groups("none")).await;
    scene.set_desired(4).await;
    scene.sleep(20).await;
    assert_eq!(scene.activities().await[0].status_code().unwrap().as_str(), "Failed");
    assert!(scene.running().await.len() == 3, "what runs stays");
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_deregistered_fails_the_next_launch() {
    let scene = Scene::new();
    scene.template(scene.data()).await;
    scene.group_of(1, "$Latest").await;
    scene.ec2.deregister_image().image_id(&scene.image).send().await.unwrap();
    scene.set_desired(2).await;
    scene.sleep(10).await;

    let message = scene.activities().await[0].status_message().unwrap().to_owned();
    assert_eq!(message, failed(format!("The image id '[{}]' does not exist", scene.image)));
}

#[tokio::test(start_paused = true)]
async fn a_template_or_version_that_is_gone_fails_the_next_launch() {
    for (version, text) in [
        ("$Latest", "The specified launch template, with template ID ID, does not exist"),
        ("2", "Could not find the specified version 2 for the launch template with ID ID"),
    ] {
        let scene = Scene::new();
        let id = scene.template(scene.data()).await;
        scene.version(&id, scene.data()).await;
        scene.group_of(1, version).await;
        if version == "2" {
            let delete = scene.ec2.delete_launch_template_versions().launch_template_id(&id).versions("2");
            assert_eq!(delete.send().await.unwrap().successfully_deleted_launch_template_versions().len(), 1);
        } else {
            scene.ec2.delete_launch_template().launch_template_id(&id).send().await.unwrap();
        }
        scene.set_desired(2).await;
        scene.sleep(10).await;

        let message = scene.activities().await[0].status_message().unwrap().to_owned();
        assert_eq!(message, failed(text.replace(" ID ID", &format!(" ID {id}"))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_replacement_whose_launch_failed_still_says_why_it_comes() {
    let scene = Scene::new();
    let id = scene.template(scene.data()).await;
    let ids = scene.group_of(1, "$Latest").await;
    let broken = scene.version(&id, scene.data().image_id("ami-0000000000000000f")).await;
    scene
        .autoscaling
        .set_instance_health()
        .instance_id(&ids[0])
        .health_status("Unhealthy")
        .send()
        .await
        .unwrap();
    scene.sleep(60).await;
    let delete = scene.ec2.delete_launch_template_versions().launch_template_id(&id);
    delete.versions(broken.to_string()).send().await.unwrap();
    scene.in_service(1).await;

    let activities = scene.activities().await;
    assert!(
        activities[0].cause().unwrap().contains("an unhealthy instance needing to be replaced"),
        "{activities:?}"
    );
}
