//! Which image is taken, and when it is too old.

use std::time::Duration;

use aws_sdk_ec2::types::{ImageState, Tag};
use lt_ami_refresher::config::{ImageSource, Settings};
use lt_ami_refresher::images::{Image, check_age, newer, rivals};

use super::{described, eight_o_clock, read, settings};

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

#[test]
fn only_available_backups_of_exactly_this_name_are_taken() {
    let of_backup = || tag("aws:backup:source-resource", "i-1");
    for (what, image, taken) in [
        ("a backup", described(), true),
        ("the other spelling", described().name("AWSbackup_i-1_1"), true),
        ("a third spelling", described().name("awsbackup_i-1_1"), false),
        ("the prefix elsewhere", described().name("copy of AwsBackup_i-1_1"), false),
        ("pending", described().state(ImageState::Pending), false),
        ("failed", described().state(ImageState::Failed), false),
        ("disabled", described().state(ImageState::Disabled), false),
        ("no tags", described().set_tags(None), false),
        ("another name", described().set_tags(Some(vec![tag("Name", "web2"), of_backup()])), false),
        ("another case", described().set_tags(Some(vec![tag("Name", "Web"), of_backup()])), false),
        ("another key", described().set_tags(Some(vec![tag("name", "web"), of_backup()])), false),
        ("without AWS's own tag", described().set_tags(Some(vec![tag("Name", "web")])), false),
        ("AWS's own tag alone", described().set_tags(Some(vec![of_backup()])), false),
        ("no creation date", described().set_creation_date(None), false),
    ] {
        assert_eq!(read(image).is_some(), taken, "{what}");
    }
}

#[test]
fn images_of_one_instance_are_known_by_ec2_and_only_without_it_by_a_backups_name() {
    let backup = || described().name("AwsBackup_i-0a_9f");
    let tagged = |image: aws_sdk_ec2::types::builders::ImageBuilder| image.set_tags(None);
    for (what, image, expected) in [
        ("EC2 says it", backup().source_instance_id("i-0b"), Some("i-0b")),
        ("the name of a backup", backup(), Some("i-0a")),
        ("an empty id", backup().source_instance_id(""), Some("i-0a")),
        ("the name of another image", tagged(backup()), None),
        ("a name without an id", described().name("AwsBackup_of-web"), None),
    ] {
        for wanted in ["i-0a", "i-0b"] {
            let settings = Settings {
                instance: None,
                source_instance: Some(wanted.to_owned()),
                image_source: if what == "the name of another image" {
                    ImageSource::Tagged
                } else {
                    ImageSource::AwsBackup
                },
                ..settings()
            };
            let taken = Image::read(&image.clone().build(), &settings, eight_o_clock()).is_some();
            assert_eq!(taken, expected == Some(wanted), "{what}: {wanted}");
        }
    }
}

#[test]
fn tagged_images_have_all_the_tags_and_any_name() {
    let settings = |tags: &[(&str, &str)], prefixes: Option<&str>| Settings {
        instance: None,
        image_source: ImageSource::Tagged,
        image_tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        prefixes: prefixes.map(|prefix| vec![prefix.to_owned()]),
        ..settings()
    };
    let image =
        described().name("golden 7").set_tags(Some(vec![tag("Role", "web"), tag("Stage", "")])).build();
    for (settings, taken) in [
        (settings(&[("Role", "web")], None), true),
        (settings(&[("Role", "web"), ("Stage", "")], None), true),
        (settings(&[("Role", "web"), ("Stage", "a")], None), false),
        (settings(&[("role", "web")], None), false),
        (settings(&[("Role", "web")], Some("golden")), true),
        (settings(&[("Role", "web")], Some("AwsBackup_")), false),
        (Settings { instance: Some("web".to_owned()), ..settings(&[("Role", "web")], None) }, false),
    ] {
        assert_eq!(Image::read(&image, &settings, eight_o_clock()).is_some(), taken, "{settings:?}");
    }
}

#[test]
fn two_instances_of_one_name_are_warned_about_if_both_are_backed_up() {
    let image = |id: &str, instance: &str, created: &str| {
        read(described().image_id(id).source_instance_id(instance).creation_date(created)).unwrap()
    };
    let newest = image("ami-1", "i-1", "2026-11-21T03:00:00.000Z");
    for (other, warned) in [
        (image("ami-2", "i-2", "2026-11-19T03:00:00.000Z"), true),
        (image("ami-2", "i-2", "2026-11-13T03:00:01.000Z"), true),
        (image("ami-2", "i-2", "2026-11-13T03:00:00.000Z"), false),
        (image("ami-2", "i-1", "2026-11-19T03:00:00.000Z"), false),
    ] {
        let images = [newest.clone(), other.clone()];
        let of_instances = images.into_iter().map(|image| (image.instance.clone().unwrap(), image)).collect();
        let warning = rivals(&newest, &of_instances);
        assert_eq!(warning.is_some(), warned, "{other:?}");
        for named in ["i-1", "i-2"] {
            assert!(warning.as_ref().is_none_or(|warning| warning.contains(named)), "{warning:?}");
        }
    }
}

#[test]
fn the_newest_image_is_taken() {
    let image = |id: &str, created: &str, deprecated: Option<&str>| {
        let image = described().image_id(id).creation_date(created);
        read(image.set_deprecation_time(deprecated.map(str::to_owned))).unwrap()
    };
    let (past, future) = (Some("2026-11-20T00:00:00.000Z"), Some("2027-11-20T00:00:00.000Z"));
    for (what, winner, loser) in [
        (
            "another day",
            image("ami-1", "2026-11-21T03:00:00.000Z", None),
            image("ami-2", "2026-11-20T03:00:00.000Z", None),
        ),
        (
            "another second of one day",
            image("ami-1", "2026-11-21T03:00:01.000Z", None),
            image("ami-2", "2026-11-21T03:00:00.000Z", None),
        ),
        (
            "the same second",
            image("ami-2", "2026-11-21T03:00:00.000Z", None),
            image("ami-1", "2026-11-21T03:00:00.000Z", None),
        ),
        (
            "a deprecated one",
            image("ami-1", "2026-11-20T03:00:00.000Z", None),
            image("ami-2", "2026-11-21T03:00:00.000Z", past),
        ),
        (
            "one that will be deprecated",
            image("ami-1", "2026-11-21T03:00:00.000Z", future),
            image("ami-2", "2026-11-20T03:00:00.000Z", None),
        ),
        (
            "two deprecated ones",
            image("ami-1", "2026-11-21T03:00:00.000Z", past),
            image("ami-2", "2026-11-20T03:00:00.000Z", past),
        ),
    ] {
        assert_eq!(newer(winner.clone(), loser.clone()), winner, "{what}");
        assert_eq!(newer(loser, winner.clone()), winner, "{what}, the other way round");
    }
}

#[test]
fn an_image_that_is_too_old_is_refused() {
    let image = read(described()).unwrap();
    let check = |longest: Option<u64>| {
        check_age(&image, longest.map(Duration::from_secs), eight_o_clock())
            .map_err(|error| error.to_string())
    };
    assert_eq!(check(None), Ok(()));
    assert_eq!(check(Some(5 * 3_600)), Ok(()));
    assert_eq!(
        check(Some(5 * 3_600 - 1)).unwrap_err(),
        "the newest image, ami-1 (AwsBackup_i-1_1), was created at 2026-11-21T03:00:00Z, 5 h 0 min ago. Its maximum age is \
         4 h 59 min: check why the backups have stopped"
    );
}
