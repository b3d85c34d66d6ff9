//! Whether instances could be launched from a version.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{
    DeviceType, LaunchTemplateBlockDeviceMappingRequest as Mapping, RequestLaunchTemplateData as Data,
};
use lt_ami_refresher::preflight;

use super::{described, ids, image, interface, mapping, read};

#[test]
fn the_image_must_fit_the_instance_type() {
    let image = |architecture: &str, virtualization: &str, root: DeviceType| {
        read(
            described()
                .architecture(architecture.into())
                .virtualization_type(virtualization.into())
                .root_device_type(root),
        )
        .unwrap()
    };
    let hvm = |architecture: &str| image(architecture, "hvm", DeviceType::Ebs);
    let paravirtual = image("x86_64", "paravirtual", DeviceType::Ebs);
    let in_store = image("x86_64", "hvm", DeviceType::InstanceStore);
    for (kind, image, expected) in [
        ("m5.large", hvm("x86_64"), ""),
        ("m5.large", hvm("arm64"), "ami-1 is for arm64, and m5.large is x86_64"),
        ("t4g.micro", hvm("arm64"), ""),
        ("t4g.micro", hvm("x86_64"), "ami-1 is for x86_64, and t4g.micro is arm64"),
        ("g4dn.xlarge", hvm("x86_64"), ""),
        ("g5g.xlarge", hvm("arm64"), ""),
        ("gr6.4xlarge", hvm("x86_64"), ""),
        ("im4gn.large", hvm("arm64"), ""),
        ("is4gen.large", hvm("arm64"), ""),
        ("c7gn.large", hvm("x86_64"), "ami-1 is for x86_64, and c7gn.large is arm64"),
        ("a1.large", hvm("arm64"), ""),
        ("u-6tb1.metal", hvm("x86_64"), ""),
        ("u7i-12tb.224xlarge", hvm("x86_64"), ""),
        ("c7i-flex.large", hvm("x86_64"), ""),
        ("mac1.metal", hvm("x86_64_mac"), ""),
        ("mac2-m2.metal", hvm("arm64_mac"), ""),
        ("mac2.metal", hvm("arm64"), "ami-1 is for arm64, and mac2.metal is arm64_mac"),
        ("t2.micro", hvm("i386"), ""),
        ("t4g.micro", hvm("i386"), "ami-1 is for i386, and t4g.micro is arm64"),
        ("", hvm("arm64"), ""),
        ("large", hvm("arm64"), ""),
        ("m3.large", paravirtual.clone(), ""),
        ("m5.large", paravirtual, "ami-1 is paravirtual, which m5.large does not accept"),
        ("m3.large", in_store.clone(), ""),
        ("m5.large", in_store, "ami-1 has an instance-store root device, which m5.large does not accept"),
    ] {
        let data = Data::builder().set_instance_type(Some(kind.into()).filter(|_| !kind.is_empty())).build();
        assert_eq!(preflight::check(&data, &image).join("; "), expected, "{kind}");
    }
}

#[test]
fn the_block_devices_must_fit_the_image() {
    let leave_out = |name: &str| Mapping::builder().device_name(name).no_device("").build();
    let ephemeral = Mapping::builder().device_name("/dev/sdb").virtual_name("ephemeral0").build();
    for (mapping, expected, doubtful) in [
        (mapping("/dev/xvda", Some(30), None), "", false),
        (mapping("/dev/xvda", None, None), "", false),
        (
            mapping("/dev/xvda", Some(29), None),
            "the template's 29 GiB for /dev/xvda are less than the 30 GiB of ami-1",
            false,
        ),
        (mapping("/dev/xvdf", Some(1), None), "", false),
        (mapping("/dev/xvdf", None, Some("snap-1")), "", false),
        (
            mapping("/dev/xvdf", None, None),
            "the template maps /dev/xvdf without size and snapshot, and ami-1 has no such device",
            false,
        ),
        (mapping("/dev/sda1", Some(40), None), "", true),
        (leave_out("/dev/xvda"), "the template suppresses /dev/xvda, the root device of ami-1", false),
        (leave_out("/dev/sdb"), "", false),
        (ephemeral, "", false),
    ] {
        let data = Data::builder().block_device_mappings(mapping).build();
        assert_eq!(preflight::check(&data, &image()).join("; "), expected);
        assert_eq!(!preflight::doubts(&data, &image()).is_empty(), doubtful, "{data:?}");
    }
}

#[test]
fn the_groups_must_exist_in_one_vpc() {
    for (groups, found, expected) in [
        (&[][..], &[][..], ""),
        (&["sg-1", "sg-2"], &[("sg-1", "vpc-1"), ("sg-2", "vpc-1")], ""),
        (&["sg-1"], &[], "the security group sg-1 does not exist"),
        (&["sg-1", "sg-2"], &[], "the security groups sg-1, sg-2 do not exist"),
        (
            &["sg-1", "sg-2"],
            &[("sg-1", "vpc-1"), ("sg-2", "vpc-2")],
            "the security groups are not in one VPC: sg-1 is in vpc-1, sg-2 is in vpc-2",
        ),
    ] {
        let found: BTreeMap<String, String> =
            found.iter().map(|(id, vpc)| ((*id).to_owned(), (*vpc).to_owned())).collect();
        let groups = ids(groups).into_iter().collect();
        assert_eq!(preflight::check_security_groups(&groups, &found).join("; "), expected);
    }
}

#[test]
fn the_groups_of_all_interfaces_are_looked_at() {
    let interfaces = [interface(Some(0), &["sg-1"]), interface(Some(1), &["sg-2"])];
    let data =
        Data::builder().set_network_interfaces(Some(interfaces.into())).security_group_ids("sg-3").build();
    assert_eq!(preflight::security_groups(&data).into_iter().collect::<Vec<_>>(), ["sg-1", "sg-2", "sg-3"]);
}
