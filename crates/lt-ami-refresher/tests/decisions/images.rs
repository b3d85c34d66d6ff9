//! Which image is taken, and when it is too old.

use std::time::Duration;

use aws_sdk_ec2::types::{ImageState, Tag};
use lt_ami_refresher::images::{check_age, newer};

use super::{described, eight_o_clock, read};

#[test]
fn only_available_backups_of_exactly_this_name_are_taken() {
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    for (what, image, taken) in [
        ("a backup", described(), true),
        ("the other spelling", described().name("AWSbackup_i-1_1"), true),
        ("a third spelling", described().name("awsbackup_i-1_1"), false),
        ("the prefix elsewhere", described().name("copy of AwsBackup_i-1_1"), false),
        ("pending", described().state(ImageState::Pending), false),
        ("failed", described().state(ImageState::Failed), false),
        ("disabled", described().state(ImageState::Disabled), false),
        ("no tags", described().set_tags(None), false),
        ("another name", described().set_tags(Some(vec![tag("Name", "web2")])), false),
        ("another case", described().set_tags(Some(vec![tag("Name", "Web")])), false),
        ("another key", described().set_tags(Some(vec![tag("name", "web")])), false),
        ("no creation date", described().set_creation_date(None), false),
    ] {
        assert_eq!(read(image).is_some(), taken, "{what}");
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
