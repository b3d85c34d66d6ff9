//! Whether instances could be launched from a version.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{
    ArchitectureType, BootModeType, DeviceType, EnaSupport, InstanceTypeInfo,
    LaunchTemplateBlockDeviceMappingRequest as Mapping, LaunchTemplateEbsBlockDeviceRequest as Ebs,
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest as Interface, NetworkInfo, ProcessorInfo,
    RequestLaunchTemplateData as Data, RootDeviceType, VirtualizationType,
};
use lt_ami_refresher::images::Image;
use lt_ami_refresher::preflight::{self, Kind};

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
    let booting = |mode: Option<&str>, ena: Option<bool>| Image {
        boot_mode: mode.map(str::to_owned),
        ena,
        ..hvm("x86_64")
    };
    let kind = |name: &str, architectures: &[&str], roots: &[&str], boot_modes: &[&str], needs_ena| Kind {
        name: name.to_owned(),
        architectures: ids(architectures),
        virtualizations: ids(if roots.len() == 2 { &["hvm", "paravirtual"] } else { &["hvm"] }),
        root_types: ids(roots),
        boot_modes: ids(boot_modes),
        needs_ena,
    };
    let m3 = kind("m3.large", &["x86_64"], &["ebs", "instance-store"], &["legacy-bios"], false);
    let t2 = kind("t2.micro", &["i386", "x86_64"], &["ebs"], &["legacy-bios"], false);
    let t3 = kind("t3.micro", &["x86_64"], &["ebs"], &["legacy-bios", "uefi"], true);
    let t4g = kind("t4g.micro", &["arm64"], &["ebs"], &["uefi"], true);
    let silent = Kind { name: "x9.large".to_owned(), ..Kind::default() };
    for (kind, image, expected) in [
        (&t3, hvm("x86_64"), ""),
        (&t3, hvm("arm64"), "ami-1 is for arm64, and t3.micro is x86_64"),
        (&t4g, hvm("arm64"), ""),
        (&t4g, hvm("x86_64"), "ami-1 is for x86_64, and t4g.micro is arm64"),
        (&t2, hvm("i386"), ""),
        (&t2, hvm("arm64"), "ami-1 is for arm64, and t2.micro is i386 and x86_64"),
        (&t4g, hvm("i386"), "ami-1 is for i386, and t4g.micro is arm64"),
        (&m3, paravirtual.clone(), ""),
        (&t3, paravirtual, "ami-1 is paravirtual, which t3.micro does not accept"),
        (&m3, in_store.clone(), ""),
        (&t3, in_store, "ami-1 has an instance-store root device, which t3.micro does not accept"),
        (&t3, booting(None, Some(true)), ""),
        (&t3, booting(None, Some(false)), "ami-1 has no ENA support, which t3.micro requires"),
        (&t2, booting(None, Some(false)), ""),
        (&t2, booting(Some("uefi"), None), "ami-1 boots with uefi, which t2.micro does not accept"),
        (&t2, booting(Some("uefi-preferred"), None), ""),
        (&t2, booting(Some("legacy-bios"), None), ""),
        (&t3, booting(Some("uefi"), None), ""),
        (&silent, hvm("arm64"), ""),
    ] {
        let data = Data::builder().instance_type(kind.name.as_str().into()).build();
        assert_eq!(preflight::check(&data, &image, Some(kind)).join("; "), expected, "{}", kind.name);
    }
    let unknown = Data::builder().instance_type("t9.micro".into()).build();
    let expected = ["the instance type t9.micro does not exist in this Region"];
    assert_eq!(preflight::check(&unknown, &hvm("x86_64"), None), expected);
    let unnamed = Data::builder().build();
    assert_eq!(preflight::check(&unnamed, &hvm("x86_64"), None), [] as [String; 0]);

    let doubts = |kind, image| preflight::doubts(&unnamed, &image, Some(kind), None).join("; ");
    assert_eq!(
        doubts(&t3, booting(None, None)),
        "ami-1 does not say whether it supports ENA, which t3.micro requires"
    );
    assert_eq!(doubts(&t3, booting(None, Some(true))) + &doubts(&t2, booting(None, None)), "");
}

#[test]
fn an_instance_type_is_read_as_ec2_describes_it() {
    let info = InstanceTypeInfo::builder()
        .instance_type("t3.micro".into())
        .processor_info(ProcessorInfo::builder().supported_architectures(ArchitectureType::X8664).build())
        .supported_virtualization_types(VirtualizationType::Hvm)
        .supported_root_device_types(RootDeviceType::Ebs)
        .supported_boot_modes(BootModeType::LegacyBios)
        .supported_boot_modes(BootModeType::Uefi)
        .network_info(NetworkInfo::builder().ena_support(EnaSupport::Required).build());
    let expected = Kind {
        name: "t3.micro".to_owned(),
        architectures: ids(&["x86_64"]),
        virtualizations: ids(&["hvm"]),
        root_types: ids(&["ebs"]),
        boot_modes: ids(&["legacy-bios", "uefi"]),
        needs_ena: true,
    };
    assert_eq!(Kind::read(&info.build()), expected);
}

#[test]
fn other_network_cards_keep_their_groups_which_is_told() {
    let on_card = |card, groups: &[&str]| {
        let groups = ids(groups);
        Interface::builder().device_index(1).network_card_index(card).set_groups(Some(groups)).build()
    };
    let given = ids(&["sg-1"]);
    for (interface, given, expected) in [
        (
            on_card(1, &["sg-2"]),
            Some(&given),
            "the network interface on network card 1 keeps the groups sg-2, not SG_IDS",
        ),
        (on_card(1, &["sg-1"]), Some(&given), ""),
        (on_card(1, &[]), Some(&given), ""),
        (on_card(0, &["sg-2"]), Some(&given), ""),
        (on_card(1, &["sg-2"]), None, ""),
    ] {
        let data = Data::builder().network_interfaces(interface).build();
        let found = preflight::doubts(&data, &image(), None, given.map(Vec::as_slice)).join("; ");
        assert_eq!(found, expected);
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
        assert_eq!(preflight::check(&data, &image(), None).join("; "), expected);
        let doubts = preflight::doubts(&data, &image(), None, None);
        assert_eq!(!doubts.is_empty(), doubtful, "{data:?}");
    }
    let unencrypted = |encrypted| {
        let mut image = image();
        image.devices[0].encrypted = encrypted;
        let ebs = Ebs::builder().volume_size(30).encrypted(false).build();
        let mapping = Mapping::builder().device_name("/dev/xvda").ebs(ebs).build();
        preflight::check(&Data::builder().block_device_mappings(mapping).build(), &image, None).join("; ")
    };
    assert_eq!(unencrypted(false), "");
    assert_eq!(
        unencrypted(true),
        "the template leaves /dev/xvda unencrypted, and the snapshot of ami-1 is encrypted: EC2 does not undo encryption"
    );
}

#[test]
fn the_groups_must_exist() {
    for (groups, found, expected) in [
        (&[][..], &[][..], None),
        (&["sg-1"], &["sg-1"], None),
        (&["sg-1"], &[], Some("the security group sg-1 does not exist")),
        (&["sg-1", "sg-2", "sg-3"], &["sg-3"], Some("the security groups sg-1, sg-2 do not exist")),
    ] {
        let found = found.iter().map(|id| ((*id).to_owned(), "vpc-1".to_owned())).collect();
        let groups = ids(groups).into_iter().collect();
        assert_eq!(preflight::check_security_groups(&groups, &found).as_deref(), expected);
    }
}

#[test]
fn groups_of_several_vpcs_need_a_common_one_and_the_subnet_stays_a_doubt() {
    type Places<'a> = &'a [(&'a str, &'a str)];
    let apart: Places<'_> = &[("sg-1", "vpc-1"), ("sg-2", "vpc-2")];
    let text = "the security groups are not in one VPC: sg-1 is in vpc-1, sg-2 is in vpc-2";
    for (found, further, expected) in [
        (apart, Some(&[][..]), Err(text.to_owned())),
        (apart, Some(&[("sg-1", "vpc-3")]), Err(text.to_owned())),
        (apart, Some(&[("sg-1", "vpc-2")]), Ok(format!("{text}; instances launch in subnets of vpc-2 only"))),
        (
            apart,
            Some(&[("sg-1", "vpc-3"), ("sg-2", "vpc-3")]),
            Ok(format!("{text}; instances launch in subnets of vpc-3 only")),
        ),
        (apart, None, Ok(format!("{text}; whether they are associated with a common one is not known"))),
    ] {
        let pairs = |places: Places<'_>| {
            let places = places.iter().map(|(id, vpc)| ((*id).to_owned(), (*vpc).to_owned()));
            places.collect::<Vec<_>>()
        };
        let found: BTreeMap<String, String> = pairs(found).into_iter().collect();
        let further = further.map(|further: Places<'_>| pairs(further).into_iter().collect());
        assert!(preflight::are_apart(&found));
        assert_eq!(preflight::check_vpcs(&found, further.as_ref()), expected);
    }
    let together: Places<'_> = &[("sg-1", "vpc-1"), ("sg-2", "vpc-1")];
    let together = together.iter().map(|(id, vpc)| ((*id).to_owned(), (*vpc).to_owned())).collect();
    assert!(!preflight::are_apart(&together));
}

#[test]
fn the_groups_of_all_interfaces_are_looked_at() {
    let interfaces = [interface(Some(0), &["sg-1"]), interface(Some(1), &["sg-2"])];
    let data =
        Data::builder().set_network_interfaces(Some(interfaces.into())).security_group_ids("sg-3").build();
    assert_eq!(preflight::security_groups(&data).into_iter().collect::<Vec<_>>(), ["sg-1", "sg-2", "sg-3"]);
}
