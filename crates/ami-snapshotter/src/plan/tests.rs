//! The table: every row of what is known of a wait, and the step that follows.

use std::fmt::Write;

use expect_test::{Expect, expect};
use lambda_kit::{Configuration, Variables};
use lifecycle_core::ActionToken;

use super::*;
use crate::config::{COMPLETE_LAUNCH, COMPLETE_ON, MAX_IMAGES_PER_HOUR, ON_FAILURE};

/// A variable that is set, or nothing.
type Set = Option<(&'static str, &'static str)>;

/// What is known of a wait, with a word about it.
type Row<'a> = (&'a str, Set, Observed);

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(365)
}

fn ago(seconds: i64) -> DateTime<Utc> {
    now() - TimeDelta::seconds(seconds)
}

fn wait(token: Option<&str>) -> Wait {
    let token = token.map(|token| ActionToken::from(token.to_owned()));
    Wait { group: "web".to_owned(), hook: "snap".to_owned(), instance: "i-1".to_owned(), token }
}

/// An event that was sent just now.
fn event(transition: Transition) -> Observed {
    Observed::new(wait(Some("token")), transition, ago(1))
}

fn terminates() -> Observed {
    event(Transition::Terminating)
}

/// A termination in the stored group.
fn terminates_in_service() -> Observed {
    Observed { stored: Some(Some("web".to_owned())), ..terminates() }
}

/// That of which the cause is known.
fn terminates_unplanned() -> Observed {
    Observed { termination: termination(Cause::HealthCheckEc2), ..terminates_in_service() }
}

/// That for which an image was looked for.
fn terminates_without_image() -> Observed {
    Observed { images: Some(Vec::new()), ..terminates_unplanned() }
}

/// A wait that the reconciliation has found: what it knows from the start.
fn found(seconds_ago: i64, images: Vec<Image>) -> Observed {
    Observed {
        heartbeat: Some(Duration::from_secs(600)),
        earlier_images: Some(images),
        stored: Some(Some("web".to_owned())),
        termination: termination(Cause::HealthCheckEc2),
        ..Observed::new(wait(None), Transition::Terminating, ago(seconds_ago))
    }
}

fn termination(cause: Cause) -> Option<Termination> {
    Some(Termination { cause, activity: None })
}

fn image(standing: Standing, wait: Wait, seconds_ago: i64) -> Image {
    let reason = (standing == Standing::Failed).then(|| "disk full".to_owned());
    Image { id: "ami-1".to_owned(), standing, reason, created: ago(seconds_ago), wait }
}

fn own(standing: Standing) -> Image {
    image(standing, wait(Some("token")), 0)
}

/// Of another instance.
fn foreign(seconds_ago: i64) -> Image {
    let wait = Wait { instance: "i-2".to_owned(), ..wait(Some("other")) };
    image(Standing::Ready, wait, seconds_ago)
}

fn refused() -> Taken {
    let source = AwsFailure::of("AMIQuotaExceeded: too many".to_owned());
    Taken::Refused(Error::AwsError { call: "CreateImage", source })
}

fn instance(serves: bool) -> Option<Instance> {
    Some(Instance { serves, template: Some("lt-1:7".to_owned()) })
}

/// A step as a row of the table shows it.
fn shown(step: Step) -> String {
    let end = match step {
        Step::End(end) => end,
        Step::Look(what) => return format!("look: {what:?}"),
        Step::Take { termination, template } => return format!("take: {}, {template:?}", termination.cause),
        Step::Store | Step::Prolong => return format!("{step:?}").to_lowercase(),
    };
    let mut text = match end.ending {
        Ending::Complete(result) => format!("complete: {result}"),
        Ending::Leave(outcome) => format!("leave: {}", outcome.as_str()),
        other => format!("{other:?}"),
    };
    let alarm = end.alarm.map(|alarm| match alarm {
        Alarm::Skipped => "warning".to_owned(),
        Alarm::Failed { name, why } => format!("{name} {why:?}"),
    });
    let fields = [
        ("group", end.group.map(|group| group.as_str().to_owned())),
        ("image", end.image),
        ("cause", end.cause.map(|cause| cause.to_string())),
        ("alarm", alarm),
        ("reason", end.reason),
    ];
    for (name, value) in fields.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        write!(text, "; {name}: {value}").unwrap();
    }
    text
}

/// Compares what is decided in each row with the table.
fn check<'a>(rows: impl IntoIterator<Item = Row<'a>>, table: Expect) {
    let mut text = String::new();
    for (what, set, observed) in rows {
        let config = Config::parse(&Variables::from_iter(set)).unwrap();
        let set = set.map_or(String::new(), |(name, value)| format!(" [{name}={value}]"));
        writeln!(text, "{what}{set}\n    {}", shown(decide(&observed, &config, now()))).unwrap();
    }
    table.assert_eq(&text);
}

#[test]
fn a_launch_stores_its_group_first() {
    let launch = || event(Transition::Launching);
    let complete = Some((COMPLETE_LAUNCH, "true"));
    let stored = |group: &str| Some(Some(group.to_owned()));
    check(
        [
            ("an event", None, launch()),
            ("stored now", None, Observed { group_stored: Some(true), ..launch() }),
            (
                "stored before, or newer than this one",
                None,
                Observed { group_stored: Some(false), ..launch() },
            ),
            ("stored now", complete, Observed { group_stored: Some(true), ..launch() }),
            ("stored before", complete, Observed { group_stored: Some(false), ..launch() }),
            ("the reconciliation, no group is stored", None, Observed { stored: Some(None), ..launch() }),
            ("the reconciliation, another one is", None, Observed { stored: stored("old"), ..launch() }),
            ("the reconciliation, this one is", None, Observed { stored: stored("web"), ..launch() }),
            ("the reconciliation, this one is", complete, Observed { stored: stored("web"), ..launch() }),
        ],
        expect![[r#"
            an event
                store
            stored now
                leave: group-stored
            stored before, or newer than this one
                leave: group-unchanged
            stored now [COMPLETE_LAUNCH=true]
                complete: CONTINUE; group: group-stored
            stored before [COMPLETE_LAUNCH=true]
                complete: CONTINUE; group: group-unchanged
            the reconciliation, no group is stored
                store
            the reconciliation, another one is
                store
            the reconciliation, this one is
                leave: group-unchanged
            the reconciliation, this one is [COMPLETE_LAUNCH=true]
                complete: CONTINUE; group: group-unchanged
        "#]],
    );
}

#[test]
fn an_event_looks_at_one_thing_after_the_other() {
    let late = || Observed { began: ago(31), ..terminates() };
    let stored = |group: Option<&str>| Some(group.map(str::to_owned));
    check(
        [
            ("a young event", None, terminates()),
            ("into the warm pool", None, Observed { to_pool: true, ..terminates() }),
            ("a late event", None, late()),
            ("late, into the warm pool", None, Observed { to_pool: true, ..late() }),
            (
                "late, it has an image",
                None,
                Observed { earlier_images: Some(vec![foreign(9), own(Standing::Ready)]), ..late() },
            ),
            ("late, it has none", None, Observed { earlier_images: Some(vec![foreign(9)]), ..late() }),
            ("in the stored group", None, terminates_in_service()),
            ("no group is stored", None, Observed { stored: stored(None), ..terminates() }),
            ("another group is stored", None, Observed { stored: stored(Some("new")), ..terminates() }),
            (
                "planned",
                None,
                Observed { termination: termination(Cause::InstanceRefresh), ..terminates_in_service() },
            ),
            ("unplanned", None, terminates_unplanned()),
            (
                "unknown",
                None,
                Observed { termination: termination(Cause::Unknown), ..terminates_in_service() },
            ),
            ("it has no image", None, terminates_without_image()),
            (
                "it has one",
                None,
                Observed { images: Some(vec![own(Standing::Ready)]), ..terminates_unplanned() },
            ),
            (
                "as many as allowed in the hour",
                Some((MAX_IMAGES_PER_HOUR, "2")),
                Observed { images: Some(vec![foreign(9), foreign(3_599)]), ..terminates_unplanned() },
            ),
            (
                "one of them is older",
                Some((MAX_IMAGES_PER_HOUR, "2")),
                Observed { images: Some(vec![foreign(9), foreign(3_600)]), ..terminates_unplanned() },
            ),
            ("it is terminating", None, Observed { instance: instance(false), ..terminates_without_image() }),
            (
                "AWS does not say what it does",
                None,
                Observed { instance: Some(Instance::default()), ..terminates_without_image() },
            ),
            (
                "it seems to serve, but the event is young",
                None,
                Observed { instance: instance(true), ..terminates_without_image() },
            ),
            (
                "it serves",
                None,
                Observed { began: ago(31), instance: instance(true), ..terminates_without_image() },
            ),
        ],
        expect![[r#"
            a young event
                look: Stored
            into the warm pool
                complete: CONTINUE; reason: the instance returns to the warm pool
            a late event
                look: EarlierImages
            late, into the warm pool
                complete: CONTINUE; reason: the instance returns to the warm pool
            late, it has an image
                complete: CONTINUE; image: ami-1
            late, it has none
                look: Stored
            in the stored group
                look: Termination
            no group is stored
                look: Termination
            another group is stored
                complete: CONTINUE; reason: planned: new is in service in place of web
            planned
                complete: CONTINUE; cause: instance-refresh; reason: planned: instance-refresh
            unplanned
                look: Images
            unknown
                look: Images
            it has no image
                look: Instance
            it has one
                complete: CONTINUE; image: ami-1; cause: health-check-ec2
            as many as allowed in the hour [MAX_IMAGES_PER_HOUR=2]
                complete: CONTINUE; cause: health-check-ec2; alarm: warning; reason: no image: web had 2 images within the hour, and MAX_IMAGES_PER_HOUR is 2
            one of them is older [MAX_IMAGES_PER_HOUR=2]
                look: Instance
            it is terminating
                take: health-check-ec2, Some("lt-1:7")
            AWS does not say what it does
                take: health-check-ec2, None
            it seems to serve, but the event is young
                take: health-check-ec2, Some("lt-1:7")
            it serves
                Over; reason: the instance is no longer terminating
        "#]],
    );
}

#[test]
fn the_reconciliation_knows_more_and_prolongs_what_is_late() {
    let own = |standing| vec![image(standing, wait(None), 0)];
    let successor = || Some(Some("new".to_owned()));
    check(
        [
            ("the event was lost", None, found(60, vec![])),
            ("half of the hook's timeout is gone", None, found(300, vec![])),
            ("more than half of it", None, found(301, vec![])),
            (
                "more than half, but nothing waits for the image",
                Some((COMPLETE_ON, "requested")),
                found(301, vec![]),
            ),
            (
                "planned, and late",
                None,
                Observed { termination: termination(Cause::UserRequest), ..found(301, vec![]) },
            ),
            ("prolonged", None, Observed { prolonged: Some(Completion::Completed), ..found(301, vec![]) }),
            (
                "prolonged, but it had ended",
                None,
                Observed { prolonged: Some(Completion::AlreadyFinished), ..found(301, vec![]) },
            ),
            ("its image is pending", None, found(301, own(Standing::Pending))),
            (
                "its image is pending, and it returns to the warm pool",
                None,
                Observed { to_pool: true, ..found(60, own(Standing::Pending)) },
            ),
            (
                "its image is ready, and the group was replaced",
                None,
                Observed { stored: successor(), ..found(60, own(Standing::Ready)) },
            ),
            ("into the warm pool", None, Observed { to_pool: true, ..found(60, vec![]) }),
            ("the group was replaced", None, Observed { stored: successor(), ..found(60, vec![]) }),
            (
                "the image of an earlier wait",
                None,
                found(60, vec![image(Standing::Ready, wait(Some("earlier")), 63)]),
            ),
        ],
        expect![[r#"
            the event was lost
                look: Images
            half of the hook's timeout is gone
                look: Images
            more than half of it
                prolong
            more than half, but nothing waits for the image [COMPLETE_ON=requested]
                look: Images
            planned, and late
                complete: CONTINUE; cause: user-request; reason: planned: user-request
            prolonged
                look: Images
            prolonged, but it had ended
                Over
            its image is pending
                AwaitPending { keep_alive: true }; image: ami-1; cause: health-check-ec2
            its image is pending, and it returns to the warm pool
                AwaitPending { keep_alive: true }; image: ami-1; cause: health-check-ec2
            its image is ready, and the group was replaced
                complete: CONTINUE; image: ami-1; cause: health-check-ec2
            into the warm pool
                complete: CONTINUE; cause: health-check-ec2; reason: the instance returns to the warm pool
            the group was replaced
                complete: CONTINUE; cause: health-check-ec2; reason: planned: new is in service in place of web
            the image of an earlier wait
                look: Images
        "#]],
    );
}

#[test]
fn what_came_of_the_image_decides() {
    let taken =
        |taken| Observed { taken: Some(taken), instance: instance(false), ..terminates_without_image() };
    let now = || taken(Taken::Now("ami-1".to_owned()));
    check(
        [
            ("requested", None, now()),
            ("requested", Some((COMPLETE_ON, "requested")), now()),
            ("requested", Some((COMPLETE_ON, "timeout")), now()),
            ("taken before", None, taken(Taken::Before(own(Standing::Pending)))),
            ("refused", None, taken(refused())),
            ("refused", Some((ON_FAILURE, "ABANDON")), taken(refused())),
            ("refused", Some((COMPLETE_ON, "timeout")), taken(refused())),
        ],
        expect![[r#"
            requested
                AwaitRequested; image: ami-1; cause: health-check-ec2
            requested [COMPLETE_ON=requested]
                complete: CONTINUE; image: ami-1; cause: health-check-ec2
            requested [COMPLETE_ON=timeout]
                AwaitRequested; image: ami-1; cause: health-check-ec2
            taken before
                AwaitPending { keep_alive: false }; image: ami-1; cause: health-check-ec2
            refused
                complete: CONTINUE; cause: health-check-ec2; alarm: AwsError "CreateImage failed: AMIQuotaExceeded: too many"; reason: no image: CreateImage failed: AMIQuotaExceeded: too many
            refused [ON_FAILURE=ABANDON]
                complete: ABANDON; cause: health-check-ec2; alarm: AwsError "CreateImage failed: AMIQuotaExceeded: too many"; reason: no image: CreateImage failed: AMIQuotaExceeded: too many
            refused [COMPLETE_ON=timeout]
                complete: CONTINUE; cause: health-check-ec2; alarm: AwsError "CreateImage failed: AMIQuotaExceeded: too many"; reason: no image: CreateImage failed: AMIQuotaExceeded: too many
        "#]],
    );
}

#[test]
fn an_image_that_was_taken_before_settles_its_wait() {
    let standings = [
        ("pending", "pending, found", Standing::Pending),
        ("ready", "ready, found", Standing::Ready),
        ("failed", "failed, found", Standing::Failed),
    ];
    let rows = standings.into_iter().flat_map(|(of_event, of_sweep, standing)| {
        ["available", "requested", "timeout"].into_iter().flat_map(move |complete_on| {
            let set = Some((COMPLETE_ON, complete_on));
            let event = Observed { earlier_images: Some(vec![own(standing)]), ..terminates() };
            [(of_event, set, event), (of_sweep, set, found(60, vec![own(standing)]))]
        })
    });
    check(
        rows,
        expect![[r#"
            pending [COMPLETE_ON=available]
                AwaitPending { keep_alive: false }; image: ami-1
            pending, found [COMPLETE_ON=available]
                AwaitPending { keep_alive: true }; image: ami-1; cause: health-check-ec2
            pending [COMPLETE_ON=requested]
                complete: CONTINUE; image: ami-1
            pending, found [COMPLETE_ON=requested]
                complete: CONTINUE; image: ami-1; cause: health-check-ec2
            pending [COMPLETE_ON=timeout]
                AwaitPending { keep_alive: false }; image: ami-1
            pending, found [COMPLETE_ON=timeout]
                AwaitPending { keep_alive: false }; image: ami-1; cause: health-check-ec2
            ready [COMPLETE_ON=available]
                complete: CONTINUE; image: ami-1
            ready, found [COMPLETE_ON=available]
                complete: CONTINUE; image: ami-1; cause: health-check-ec2
            ready [COMPLETE_ON=requested]
                complete: CONTINUE; image: ami-1
            ready, found [COMPLETE_ON=requested]
                complete: CONTINUE; image: ami-1; cause: health-check-ec2
            ready [COMPLETE_ON=timeout]
                leave: left; image: ami-1; reason: COMPLETE_ON=timeout leaves the action to the hook's timeout
            ready, found [COMPLETE_ON=timeout]
                leave: left; image: ami-1; cause: health-check-ec2; reason: COMPLETE_ON=timeout leaves the action to the hook's timeout
            failed [COMPLETE_ON=available]
                complete: CONTINUE; image: ami-1; alarm: AwsError "CreateImage failed: ami-1 has failed: disk full"; reason: no image: CreateImage failed: ami-1 has failed: disk full
            failed, found [COMPLETE_ON=available]
                complete: CONTINUE; image: ami-1; cause: health-check-ec2; alarm: AwsError "CreateImage failed: ami-1 has failed: disk full"; reason: no image: CreateImage failed: ami-1 has failed: disk full
            failed [COMPLETE_ON=requested]
                complete: CONTINUE; image: ami-1; alarm: AwsError "CreateImage failed: ami-1 has failed: disk full"; reason: no image: CreateImage failed: ami-1 has failed: disk full
            failed, found [COMPLETE_ON=requested]
                complete: CONTINUE; image: ami-1; cause: health-check-ec2; alarm: AwsError "CreateImage failed: ami-1 has failed: disk full"; reason: no image: CreateImage failed: ami-1 has failed: disk full
            failed [COMPLETE_ON=timeout]
                leave: left; image: ami-1; alarm: AwsError "CreateImage failed: ami-1 has failed: disk full"; reason: no image: CreateImage failed: ami-1 has failed: disk full
            failed, found [COMPLETE_ON=timeout]
                leave: left; image: ami-1; cause: health-check-ec2; alarm: AwsError "CreateImage failed: ami-1 has failed: disk full"; reason: no image: CreateImage failed: ami-1 has failed: disk full
        "#]],
    );
}

#[test]
fn the_end_of_an_image_settles_the_wait_that_its_tags_name() {
    let ended = |token, standing| {
        let image = image(standing, wait(token), 600);
        let observed = Observed::new(image.wait.clone(), Transition::Terminating, image.created);
        Observed { ended: Some(image), ..observed }
    };
    let running = |began| {
        let activity = Activity { id: "a".to_owned(), began, transition: None, cause: String::new() };
        Some(Some(activity))
    };
    let swept = || ended(None, Standing::Ready);
    check(
        [
            ("with a token", None, ended(Some("token"), Standing::Ready)),
            ("with a token, failed", Some((ON_FAILURE, "ABANDON")), ended(Some("token"), Standing::Failed)),
            ("taken by the reconciliation", None, swept()),
            ("in the instance's running activity", None, Observed { running: running(ago(660)), ..swept() }),
            ("before it", None, Observed { running: running(ago(60)), ..swept() }),
            ("no activity runs", None, Observed { running: Some(None), ..swept() }),
        ],
        expect![[r#"
            with a token
                complete: CONTINUE; image: ami-1
            with a token, failed [ON_FAILURE=ABANDON]
                complete: ABANDON; image: ami-1; alarm: AwsError "CreateImage failed: ami-1 has failed: disk full"; reason: no image: CreateImage failed: ami-1 has failed: disk full
            taken by the reconciliation
                look: Running
            in the instance's running activity
                complete: CONTINUE; image: ami-1
            before it
                Over; image: ami-1
            no activity runs
                complete: CONTINUE; image: ami-1
        "#]],
    );
}

#[test]
fn a_newer_group_takes_over_and_a_group_that_goes_is_replaced() {
    let group = |name: &str, created: i64, status: Option<&str>| {
        let created = aws_sdk_autoscaling::primitives::DateTime::from_secs(created);
        let group = AutoScalingGroup::builder().auto_scaling_group_name(name).created_time(created);
        group.set_status(status.map(str::to_owned)).build()
    };
    let (old, new) = (group("old", 1, None), group("new", 2, None));
    let going = |name, created| group(name, created, Some("Delete in progress"));
    for (groups, new_over_old, old_over_new) in [
        (vec![old.clone(), new.clone()], true, false),
        (vec![new.clone()], true, false),
        (vec![old.clone()], false, true),
        (vec![going("old", 1), new], true, false),
        (vec![old, going("new", 2)], false, true),
        (vec![group("old", 1, None), group("new", 1, None)], false, false),
        (vec![], false, false),
    ] {
        assert_eq!(takes_over("new", "old", &groups), new_over_old, "{groups:?}");
        assert_eq!(takes_over("old", "new", &groups), old_over_new, "{groups:?}");
    }
}
