//! What a new version says, whether there is one that says it, and which versions can go.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::builders::RequestLaunchTemplateDataBuilder;
use aws_sdk_ec2::types::{
    LaunchTemplateBlockDeviceMappingRequest as Mapping,
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest as Interface,
    RequestLaunchTemplateData as Data,
};
use lt_ami_refresher::plan::{self, Version, Wanted, superfluous, wanted};
use lt_ami_refresher::settings::Settings;
use serde_json::json;

use super::{ids, image, interface, mapping};

fn data() -> RequestLaunchTemplateDataBuilder {
    Data::builder().image_id("ami-0").key_name("key")
}

/// A version with these settings. Of those that EC2 answers, it has the ones that these tests differ in.
fn version(number: i64, data: RequestLaunchTemplateDataBuilder) -> Version {
    let data = data.build();
    let interface = |interface: &Interface| {
        let mut known = json!({ "Groups": interface.groups(), "SubnetId": interface.subnet_id() });
        if let Some(index) = interface.device_index() {
            known["DeviceIndex"] = json!(index);
        }
        known
    };
    let mapping = |mapping: &Mapping| {
        let ebs = mapping.ebs().unwrap();
        let mut known =
            json!({ "DeviceName": mapping.device_name(), "Ebs": { "VolumeSize": ebs.volume_size() } });
        if let Some(snapshot) = ebs.snapshot_id() {
            known["Ebs"]["SnapshotId"] = json!(snapshot);
        }
        known
    };
    let known = json!({
        "ImageId": data.image_id(),
        "KeyName": data.key_name(),
        "SecurityGroupIds": data.security_group_ids(),
        "SecurityGroups": data.security_groups(),
        "NetworkInterfaces": data.network_interfaces().iter().map(interface).collect::<Vec<_>>(),
        "BlockDeviceMappings": data.block_device_mappings().iter().map(mapping).collect::<Vec<_>>(),
    });
    let known = known.as_object().unwrap().clone();
    Version { number, data, settings: Settings { known, unknown: BTreeMap::new() } }
}

/// The same with a setting that the SDK does not know.
fn with_unknown(mut version: Version, path: &str) -> Version {
    version.settings.unknown.insert(path.to_owned(), json!("x"));
    version
}

fn want(source: &Version, groups: &[&str]) -> Result<Wanted, String> {
    wanted(source, &image(), Some(ids(groups)).filter(|groups| !groups.is_empty()).as_deref())
}

#[test]
fn a_version_says_what_its_source_says_but_for_the_image_and_the_groups() {
    let source = version(3, data().security_group_ids("sg-1"));
    let kept = want(&source, &[]).unwrap();
    assert_eq!(kept.source, Some(3));
    assert_eq!(kept.request, Data::builder().image_id("ami-1").build());
    assert_eq!(kept.data, data().image_id("ami-1").security_group_ids("sg-1").build());
    assert_eq!(kept.description, "AwsBackup_i-1_1 (ami-1), created 2026-11-21T03:00:00Z; based on version 3");

    let given = want(&source, &["sg-2", "sg-3"]).unwrap();
    let groups = ids(&["sg-2", "sg-3"]);
    assert_eq!(given.source, Some(3));
    let request = Data::builder().image_id("ami-1").set_security_group_ids(Some(groups.clone()));
    assert_eq!(given.request, request.build());
    assert_eq!(given.data, data().image_id("ami-1").set_security_group_ids(Some(groups)).build());
}

#[test]
fn groups_go_into_each_primary_interface() {
    let interfaces = [interface(Some(0), &["sg-1"]), interface(None, &[]), interface(Some(1), &["sg-9"])];
    let source = version(3, data().set_network_interfaces(Some(interfaces.into())));
    let expected = [interface(Some(0), &["sg-2"]), interface(None, &["sg-2"]), interface(Some(1), &["sg-9"])];
    let given = want(&source, &["sg-2"]).unwrap();
    assert_eq!(given.source, Some(3));
    assert_eq!(given.request.network_interfaces(), expected);
    assert_eq!(given.request.security_group_ids, None);
    assert_eq!(given.data.network_interfaces(), expected);
}

#[test]
fn groups_that_work_nowhere_are_not_inherited() {
    // By name: the ids of those names are said by the caller.
    let named = version(3, data().security_groups("web").security_group_ids("sg-1"));
    let rebuilt = want(&named, &["sg-1", "sg-2"]).unwrap();
    assert_eq!(rebuilt.source, None);
    let groups = Some(ids(&["sg-1", "sg-2"]));
    assert_eq!(rebuilt.request, data().image_id("ami-1").set_security_group_ids(groups).build());
    assert_eq!(rebuilt.data, rebuilt.request);

    // Beside interfaces.
    let beside = |data: RequestLaunchTemplateDataBuilder| {
        version(3, data.network_interfaces(interface(Some(0), &["sg-1"])))
    };
    for source in [beside(data().security_group_ids("sg-1")), beside(data().security_groups("web"))] {
        let rebuilt = want(&source, &["sg-2"]).unwrap();
        assert_eq!(rebuilt.source, None);
        let expected = data().image_id("ami-1").network_interfaces(interface(Some(0), &["sg-2"]));
        assert_eq!(rebuilt.request, expected.build());
        let error = want(&source, &[]).unwrap_err();
        assert!(error.contains("beside its network interfaces"), "{error}");
    }
}

#[test]
fn groups_that_have_no_place_are_refused() {
    let secondary = version(3, data().network_interfaces(interface(Some(1), &[])));
    let error = want(&secondary, &["sg-1"]).unwrap_err();
    assert_eq!(error, "no network interface has device index 0, so there is no place for SG_IDS");
    let own = Interface::builder().network_interface_id("eni-1").build();
    let existing = version(3, data().network_interfaces(own));
    let error = want(&existing, &["sg-1"]).unwrap_err();
    assert_eq!(error, "the primary network interface is eni-1, which keeps its own groups, not SG_IDS");
    assert!(want(&existing, &[]).is_ok());
}

#[test]
fn names_of_groups_are_looked_up_where_nothing_else_says_them() {
    let named = version(3, data().security_groups("web"));
    assert_eq!(plan::named_security_groups(&named, None), ["web"]);
    assert_eq!(plan::named_security_groups(&named, Some(&ids(&["sg-1"]))), [] as [&str; 0]);
    let beside = version(3, data().security_groups("web").network_interfaces(interface(None, &[])));
    assert_eq!(plan::named_security_groups(&beside, None), [] as [&str; 0]);
}

#[test]
fn the_images_devices_come_from_the_image_and_the_others_keep_their_snapshots() {
    let devices = |mappings: &[Mapping]| data().set_block_device_mappings(Some(mappings.to_vec()));
    let without = [mapping("/dev/xvda", Some(40), None), mapping("/dev/xvdf", Some(9), None)];
    let kept = want(&version(3, devices(&without)), &[]).unwrap();
    assert_eq!(kept.request, Data::builder().image_id("ami-1").build());

    let with = [mapping("/dev/xvda", Some(40), Some("snap-1")), mapping("/dev/xvdf", None, Some("snap-2"))];
    let said = want(&version(3, devices(&with)), &[]).unwrap();
    let expected = [mapping("/dev/xvda", Some(40), None), mapping("/dev/xvdf", None, Some("snap-2"))];
    assert_eq!((said.source, said.request.block_device_mappings()), (Some(3), &expected[..]));
}

#[test]
fn a_version_with_the_image_and_the_groups_is_current() {
    let current = || data().image_id("ami-1");
    let interfaces = |groups: &[&[&str]]| {
        let interfaces = groups.iter().map(|groups| interface(Some(0), groups)).collect();
        data().image_id("ami-1").set_network_interfaces(Some(interfaces))
    };
    let other = || current().key_name("other");
    for (what, default, source, groups, expected) in [
        ("another image", data(), data(), &[][..], false),
        ("the image", current(), data(), &[], true),
        ("other settings", other(), data(), &[], true),
        ("the groups", current().security_group_ids("sg-1"), data(), &["sg-1"], true),
        (
            "the groups in another order",
            current().security_group_ids("sg-2").security_group_ids("sg-1"),
            data(),
            &["sg-1", "sg-2"],
            true,
        ),
        ("more groups", current().security_group_ids("sg-1"), data(), &["sg-1", "sg-2"], false),
        ("fewer groups", current().security_group_ids("sg-1"), data(), &[], false),
        (
            "the source's groups",
            current().security_group_ids("sg-1"),
            data().security_group_ids("sg-1"),
            &[],
            true,
        ),
        ("names", current().security_groups("web"), data(), &["sg-1"], false),
        (
            "names beside the ids",
            current().security_group_ids("sg-1").security_groups("web"),
            data(),
            &["sg-1"],
            false,
        ),
        ("groups in the interface", interfaces(&[&["sg-1"]]), interfaces(&[&["sg-1"]]), &["sg-1"], true),
        ("in one interface of two", interfaces(&[&["sg-1"], &[]]), interfaces(&[&[], &[]]), &["sg-1"], false),
        (
            "groups beside the interface",
            interfaces(&[&["sg-1"]]).security_group_ids("sg-1"),
            interfaces(&[&[]]),
            &["sg-1"],
            false,
        ),
    ] {
        let wanted = want(&version(1, source), groups).unwrap();
        assert_eq!(plan::is_current(&version(2, default), &wanted), expected, "{what}");
    }
}

#[test]
fn a_version_that_says_exactly_what_is_wanted_is_found() {
    let source = version(1, data().security_group_ids("sg-1").security_group_ids("sg-2"));
    let wanted = want(&source, &[]).unwrap();
    let found = |versions: &[Version]| plan::find(versions, &wanted).map(|version| version.number);
    let same = |number| {
        let data = data().image_id("ami-1").security_groups("x").set_security_groups(Some(Vec::new()));
        version(number, data.security_group_ids("sg-2").security_group_ids("sg-1"))
    };
    let other = version(8, data().image_id("ami-1").key_name("other"));
    assert_eq!(found(&[]), None);
    assert_eq!(found(&[source.clone(), other.clone()]), None);
    assert_eq!(found(&[same(4), source, same(7), same(5), other]), Some(7));
}

#[test]
fn what_ec2_will_answer_of_a_version_is_what_is_asked_for() {
    let devices =
        [mapping("/dev/xvda", Some(40), Some("snap-1")), mapping("/dev/xvdf", Some(9), Some("snap-2"))];
    let interfaces = [interface(Some(0), &["sg-1"]), interface(None, &[]), interface(Some(1), &["sg-9"])];
    for source in [
        data(),
        data().security_group_ids("sg-1"),
        data().security_groups("web"),
        data().set_network_interfaces(Some(interfaces.to_vec())),
        data().set_network_interfaces(Some(interfaces.to_vec())).security_group_ids("sg-1"),
        data().set_block_device_mappings(Some(devices.to_vec())),
    ] {
        for groups in [&[][..], &["sg-3", "sg-2"]] {
            let Ok(wanted) = want(&version(3, source.clone()), groups) else { continue };
            let built = Data::builder()
                .set_image_id(wanted.data.image_id.clone())
                .set_key_name(wanted.data.key_name.clone())
                .set_security_group_ids(wanted.data.security_group_ids.clone())
                .set_network_interfaces(wanted.data.network_interfaces.clone())
                .set_block_device_mappings(wanted.data.block_device_mappings.clone());
            let answered = version(4, built).settings;
            assert!(answered.are(&wanted.settings), "{answered:?}\n{:?}", wanted.settings);
        }
    }
}

#[test]
fn a_setting_that_the_sdk_does_not_know_is_lost_only_where_it_must_be_said_anew() {
    let primary = || data().network_interfaces(interface(Some(0), &["sg-1"]));
    let devices = || data().block_device_mappings(mapping("/dev/xvda", Some(40), Some("snap-1")));
    let (monitoring, inside, device) =
        ("Monitoring.New", "NetworkInterfaces[0].New", "BlockDeviceMappings[0].Ebs.New");
    for (what, source, path, groups, expected) in [
        ("inherited", data(), monitoring, &[][..], false),
        ("beside the groups", data(), monitoring, &["sg-1"], false),
        ("groups by name", data().security_groups("web"), monitoring, &["sg-1"], true),
        ("beside interfaces", primary().security_group_ids("sg-1"), monitoring, &["sg-1"], true),
        ("in an interface that is inherited", primary(), inside, &[], false),
        ("in an interface that gets groups", primary(), inside, &["sg-2"], true),
        ("beside an interface that gets groups", primary(), monitoring, &["sg-2"], false),
        ("in a device that is said anew", devices(), device, &[], true),
        ("beside a device that is said anew", devices(), monitoring, &[], false),
    ] {
        let source = with_unknown(version(3, source), path);
        let wanted = want(&source, groups).unwrap();
        let expected = if expected { vec![path] } else { Vec::new() };
        assert_eq!(plan::lost(&source, &wanted), expected, "{what}");
        assert_eq!(wanted.settings.unknown, source.settings.unknown, "{what}");
    }
}

#[test]
fn versions_that_differ_in_an_unknown_setting_are_not_the_same() {
    let wanted = want(&with_unknown(version(3, data()), "Monitoring.New"), &[]).unwrap();
    let without = version(2, data().image_id("ami-1"));
    assert_eq!(plan::find(std::slice::from_ref(&without), &wanted), None);
    let with = with_unknown(without, "Monitoring.New");
    assert_eq!(plan::find(std::slice::from_ref(&with), &wanted), Some(&with));
}

#[test]
fn the_difference_names_settings_as_ec2_does_and_hides_user_data() {
    let settings = |known: serde_json::Value| Settings {
        known: known.as_object().unwrap().clone(),
        unknown: BTreeMap::new(),
    };
    let from = settings(json!({
        "ImageId": "ami-0", "UserData": "c2VjcmV0", "SecurityGroupIds": ["sg-1", "sg-2"], "KeyName": "a", "EbsOptimized": true,
    }));
    let mut to = settings(json!({
        "ImageId": "ami-1", "UserData": "b3RoZXI=", "SecurityGroupIds": ["sg-2", "sg-1"], "KeyName": "ü".repeat(300),
    }));
    assert_eq!(json!(from.difference(&from)), json!({}));
    to.unknown.insert("Monitoring.New".to_owned(), json!("x"));
    let expected = json!({
        "EbsOptimized": { "from": true, "to": null },
        "ImageId": { "from": "ami-0", "to": "ami-1" },
        "KeyName": { "from": "a", "to": format!("{}…", "ü".repeat(200)) },
        "Monitoring.New": { "from": null, "to": "x" },
        "UserData": { "changed": true },
    });
    assert_eq!(json!(from.difference(&to)), expected);
}

#[test]
fn versions_that_nobody_needs_can_go() {
    for (versions, keep, default, named, expected) in [
        (&[][..], 3, 0, &[][..], &[][..]),
        (&[1, 2, 3], 3, 3, &[], &[]),
        (&[1, 2, 3, 4, 5], 3, 5, &[], &[1, 2]),
        (&[1, 2, 3, 4, 5], 3, 1, &[], &[2]),
        (&[1, 2, 3, 4, 5], 3, 5, &[1], &[2]),
        (&[1, 2, 3, 4, 5], 1, 5, &[2, 9], &[1, 3, 4]),
        (&[1, 2, 3, 4, 5], 0, 3, &[], &[1, 2, 4]),
        (&[1, 2, 30], 1, 30, &[], &[1, 2]),
        (&[1, 2], 9, 1, &[], &[]),
    ] {
        let versions: BTreeSet<i64> = versions.iter().copied().collect();
        let named = named.iter().copied().collect();
        assert_eq!(superfluous(&versions, keep, default, &named), expected, "{keep} of {versions:?}");
    }
}
