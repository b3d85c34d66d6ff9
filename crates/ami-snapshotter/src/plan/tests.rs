//! The table: every row of what is known of a wait, and the step that follows.

use std::fmt::Write;

use aws_sdk_autoscaling::types::{Instance as AsgInstance, LifecycleState};
use expect_test::{Expect, expect};
use lambda_kit::error::AwsFailure;
use lambda_kit::{Configuration, Variables};
use lifecycle_core::ActionToken;

use super::*;
use crate::config::{
    AUTO_SCALING_GROUPS, COMPLETE_LAUNCH, COMPLETE_ON, IMAGE_TIMEOUT, MAX_IMAGES_PER_HOUR, ON_FAILURE,
    SKIP_CAUSES,
};

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

fn stored(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

/// A termination in the stored group.
fn terminates_in_service() -> Observed {
    Observed { stored: stored(&["web"]), ..terminates() }
}

/// That of which the cause is known.
fn terminates_of(cause: Cause) -> Observed {
    Observed { termination: termination(cause), ..terminates_in_service() }
}

/// That which is known to be unplanned.
fn terminates_unplanned() -> Observed {
    Observed { retained: Some(false), ..terminates_of(Cause::HealthCheckEc2) }
}

/// That for which an image was looked for.
fn terminates_without_image() -> Observed {
    Observed { images: Some(Vec::new()), ..terminates_unplanned() }
}

/// That whose first image has failed.
fn terminates_with_failed() -> Observed {
    Observed { earlier_images: Some(vec![own(Standing::Failed)]), ..terminates_without_image() }
}

/// A hook of ten minutes that leaves time until the next sweep.
const HOOK: Hook =
    Hook { heartbeat: Duration::from_secs(600), ends_before_next: false, ends_for_good: false };

/// A hook that ends before the next sweep, unless a heartbeat prolongs it.
const ENDS: Hook = Hook { ends_before_next: true, ..HOOK };

/// A hook whose global timeout ends before the next sweep.
const ENDS_FOR_GOOD: Hook = Hook { ends_for_good: true, ..ENDS };

/// A wait that the reconciliation has found: what it knows from the start.
fn found(seconds_ago: i64, images: Vec<Image>) -> Observed {
    Observed {
        hook: Some(HOOK),
        earlier_images: Some(images),
        stored: stored(&["web"]),
        groups: groups(vec![group("web", 1)]),
        termination: termination(Cause::HealthCheckEc2),
        retained: Some(false),
        ..Observed::new(wait(None), Transition::Terminating, ago(seconds_ago))
    }
}

fn groups(groups: Vec<AutoScalingGroup>) -> Option<Option<Arc<[AutoScalingGroup]>>> {
    Some(Some(groups.into()))
}

fn group(name: &str, desired: i32) -> AutoScalingGroup {
    let instance = AsgInstance::builder().lifecycle_state(LifecycleState::InService).build();
    let group = AutoScalingGroup::builder().auto_scaling_group_name(name).desired_capacity(desired);
    group.instances(instance).build()
}

/// As if the group `new` had replaced `web`.
fn replaced(observed: Observed) -> Observed {
    let groups = groups(vec![group("web", 0), group("web-new", 1)]);
    Observed { stored: stored(&["web-new"]), groups, ..observed }
}

/// A group that is being deleted, and a cause that names neither a request nor a failure.
fn deleted(cause: &str) -> Observed {
    let mut going = group("web", 0);
    going.status = Some("Delete in progress".to_owned());
    let activity = Activity { id: "a".to_owned(), began: ago(9), transition: None, cause: cause.to_owned() };
    let termination = Some(Termination::of(Some(activity)));
    Observed { groups: groups(vec![going]), termination, ..terminates_in_service() }
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

/// A second image of the wait.
fn second(standing: Standing) -> Image {
    Image { id: "ami-2".to_owned(), ..image(standing, wait(Some("token")), -1) }
}

/// Of another instance.
fn foreign(seconds_ago: i64) -> Image {
    let wait = Wait { instance: "i-2".to_owned(), ..wait(Some("other")) };
    Image { id: format!("ami-{seconds_ago}"), ..image(Standing::Ready, wait, seconds_ago) }
}

fn error(text: &str) -> Error {
    Error::AwsError { call: "CreateImage", source: AwsFailure::of(text) }
}

fn refused() -> Taken {
    Taken::Refused(error("AMIQuotaExceeded: too many"))
}

fn gone() -> Taken {
    Taken::Gone(error("InvalidInstanceID.NotFound: i-1"))
}

fn instance(serves: bool) -> Option<Instance> {
    Some(Instance { serves, waits: !serves, template: Some("lt-1:7".to_owned()) })
}

/// A step as a row of the table shows it.
fn shown(step: Step) -> String {
    let end = match step {
        Step::End(end) => end,
        Step::Look(what) => return format!("look: {what:?}"),
        Step::Take(order) => {
            let which = if order.failed.is_empty() { "take" } else { "take a second" };
            return format!("{which}: {}, {:?}", order.termination.cause, order.template);
        }
        Step::Store | Step::Fail => return format!("{step:?}").to_lowercase(),
    };
    let mut text = match end.ending {
        Ending::Complete(result) => format!("complete: {result}"),
        Ending::Leave(outcome) => format!("leave: {}", outcome.as_str()),
        other => format!("{other:?}"),
    };
    let fields = [
        ("group", end.group.map(|group| group.as_str().to_owned())),
        ("image", end.image),
        ("cause", end.cause.map(|cause| cause.to_string())),
        ("failure", end.failure.map(|failure| failure.as_str().to_owned())),
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
        let succession = (AUTO_SCALING_GROUPS, "web*");
        let config = Config::parse(&Variables::from_iter(set.into_iter().chain([succession]))).unwrap();
        let set = set.map_or(String::new(), |(name, value)| format!(" [{name}={value}]"));
        writeln!(text, "{what}{set}\n    {}", shown(decide(&observed, &config, now()))).unwrap();
    }
    table.assert_eq(&text);
}

#[test]
fn a_launch_stores_its_group_first() {
    let launch = || event(Transition::Launching);
    let complete = Some((COMPLETE_LAUNCH, "true"));
    let with = |storing| Observed { storing: Some(storing), ..launch() };
    let unchanged = |reason: Option<&str>| with(Storing::Unchanged(reason.map(str::to_owned)));
    let no_room = || with(Storing::NoRoom("too long".to_owned()));
    check(
        [
            ("an event", None, launch()),
            ("stored now", None, with(Storing::Stored)),
            ("stored before", None, unchanged(None)),
            ("another one is newer", None, unchanged(Some("new is newer"))),
            ("its name does not fit", None, no_room()),
            ("stored now", complete, with(Storing::Stored)),
            ("stored before", complete, unchanged(None)),
            ("its name does not fit", complete, no_room()),
            ("the reconciliation, no group is stored", None, Observed { stored: stored(&[]), ..launch() }),
            ("the reconciliation, another one is", None, Observed { stored: stored(&["old"]), ..launch() }),
            ("the reconciliation, this one is", None, Observed { stored: stored(&["a", "web"]), ..launch() }),
            ("the reconciliation, this one is", complete, Observed { stored: stored(&["web"]), ..launch() }),
            (
                "the reconciliation, it can't be stored now",
                None,
                Observed { hook: Some(ENDS), failed: Some(error("no")), ..launch() },
            ),
        ],
        expect![[r#"
            an event
                store
            stored now
                leave: group-stored
            stored before
                leave: group-unchanged
            another one is newer
                leave: group-unchanged; reason: new is newer
            its name does not fit
                leave: group-unchanged; failure: not-stored; reason: web is not stored: too long
            stored now [COMPLETE_LAUNCH=true]
                complete: CONTINUE; group: group-stored
            stored before [COMPLETE_LAUNCH=true]
                complete: CONTINUE; group: group-unchanged
            its name does not fit [COMPLETE_LAUNCH=true]
                complete: CONTINUE; group: group-unchanged; failure: not-stored; reason: web is not stored: too long
            the reconciliation, no group is stored
                store
            the reconciliation, another one is
                store
            the reconciliation, this one is
                leave: group-unchanged
            the reconciliation, this one is [COMPLETE_LAUNCH=true]
                complete: CONTINUE; group: group-unchanged
            the reconciliation, it can't be stored now
                fail
        "#]],
    );
}

#[test]
fn an_event_looks_at_one_thing_after_the_other() {
    let late = || Observed { began: ago(31), ..terminates() };
    check(
        [
            ("a young event", None, terminates()),
            ("a late event", None, late()),
            (
                "late, it has an image",
                None,
                Observed { earlier_images: Some(vec![foreign(9), own(Standing::Ready)]), ..late() },
            ),
            ("late, it has none", None, Observed { earlier_images: Some(vec![foreign(9)]), ..late() }),
            ("in the stored group", None, terminates_in_service()),
            ("no group is stored", None, Observed { stored: stored(&[]), ..terminates() }),
            ("another group is stored", None, Observed { stored: stored(&["web-new"]), ..terminates() }),
            (
                "the groups can't be read",
                None,
                Observed { groups: Some(None), stored: stored(&["web-new"]), ..terminates() },
            ),
            ("another group is in service in its place", None, replaced(terminates())),
            ("planned", None, terminates_of(Cause::InstanceRefresh)),
            ("the end of an abandoned launch", None, terminates_of(Cause::LaunchFailure)),
            ("no cause is planned", Some((SKIP_CAUSES, "none")), terminates_of(Cause::InstanceRefresh)),
            ("unplanned", None, terminates_of(Cause::HealthCheckEc2)),
            ("unknown", None, terminates_of(Cause::Unknown)),
            ("it was not retained", None, terminates_unplanned()),
            ("it has no image", None, terminates_without_image()),
            (
                "it has one",
                None,
                Observed { images: Some(vec![own(Standing::Ready)]), ..terminates_unplanned() },
            ),
            ("it is terminating", None, Observed { instance: instance(false), ..terminates_without_image() }),
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
            ("a call fails", None, Observed { failed: Some(error("no")), ..terminates() }),
        ],
        expect![[r#"
            a young event
                look: Stored
            a late event
                look: EarlierImages
            late, it has an image
                complete: CONTINUE; image: ami-1
            late, it has none
                look: Stored
            in the stored group
                look: Termination
            no group is stored
                look: Termination
            another group is stored
                look: Groups
            the groups can't be read
                look: Termination
            another group is in service in its place
                complete: CONTINUE; reason: planned: web-new is in service in place of web
            planned
                complete: CONTINUE; cause: instance-refresh; reason: planned: instance-refresh
            the end of an abandoned launch
                complete: CONTINUE; cause: launch-failure; reason: planned: launch-failure
            no cause is planned [SKIP_CAUSES=none]
                look: Retained
            unplanned
                look: Retained
            unknown
                look: Retained
            it was not retained
                look: Images
            it has no image
                look: Instance
            it has one
                complete: CONTINUE; image: ami-1; cause: health-check-ec2
            it is terminating
                take: health-check-ec2, Some("lt-1:7")
            it seems to serve, but the event is young
                take: health-check-ec2, Some("lt-1:7")
            it serves
                Over; reason: the instance is no longer terminating
            a call fails
                fail
        "#]],
    );
}

#[test]
fn some_terminations_need_no_image_at_any_age() {
    let late = || Observed { began: ago(172_800), ..terminates() };
    let rows = [TO_POOL, FROM_POOL, ROOT_VOLUME].into_iter().flat_map(|why| {
        let exempt = |observed| Observed { exempt: Some(why), ..observed };
        [
            ("an event", None, exempt(terminates())),
            ("a late event", None, exempt(late())),
            ("found", None, exempt(found(60, vec![]))),
            ("found, with an image", None, exempt(found(60, vec![own(Standing::Pending)]))),
        ]
    });
    let retained = [
        ("retained before", None, Observed { retained: Some(true), ..terminates_of(Cause::HealthCheckEc2) }),
        ("retained before, found", None, Observed { retained: Some(true), ..found(60, vec![]) }),
    ];
    check(
        rows.chain(retained),
        expect![[r#"
        an event
            complete: CONTINUE; reason: the instance returns to the warm pool
        a late event
            complete: CONTINUE; reason: the instance returns to the warm pool
        found
            complete: CONTINUE; cause: health-check-ec2; reason: the instance returns to the warm pool
        found, with an image
            complete: CONTINUE; cause: health-check-ec2; reason: the instance returns to the warm pool
        an event
            complete: CONTINUE; reason: the instance comes from the warm pool and never served
        a late event
            complete: CONTINUE; reason: the instance comes from the warm pool and never served
        found
            complete: CONTINUE; cause: health-check-ec2; reason: the instance comes from the warm pool and never served
        found, with an image
            complete: CONTINUE; cause: health-check-ec2; reason: the instance comes from the warm pool and never served
        an event
            complete: CONTINUE; reason: only the root volume is replaced, and the instance lives on
        a late event
            complete: CONTINUE; reason: only the root volume is replaced, and the instance lives on
        found
            complete: CONTINUE; cause: health-check-ec2; reason: only the root volume is replaced, and the instance lives on
        found, with an image
            complete: CONTINUE; cause: health-check-ec2; reason: only the root volume is replaced, and the instance lives on
        retained before
            complete: CONTINUE; cause: health-check-ec2; reason: an earlier ABANDON retained the instance
        retained before, found
            complete: CONTINUE; cause: health-check-ec2; reason: an earlier ABANDON retained the instance
    "#]],
    );
}

#[test]
fn the_deletion_of_a_group_is_a_request() {
    let shrunk = "At 2026-11-21T08:00:00Z an instance was taken out of service in response to a difference between \
                  desired and actual capacity, shrinking the capacity from 1 to 0.";
    let failed =
        "At 2026-11-21T08:00:00Z an instance was taken out of service in response to a user health-check.";
    check(
        [
            ("the cause names neither request nor failure", None, deleted(shrunk)),
            (
                "the cause names neither request nor failure",
                Some((SKIP_CAUSES, "none")),
                Observed { retained: Some(false), ..deleted(shrunk) },
            ),
            ("it names a failure", None, deleted(failed)),
            ("it can't be read", None, deleted("")),
            ("the group stays", None, Observed { groups: groups(vec![group("web", 0)]), ..deleted(shrunk) }),
            ("the groups are not read", None, Observed { groups: None, ..deleted(shrunk) }),
            ("the groups can't be read", None, Observed { groups: Some(None), ..deleted(shrunk) }),
        ],
        expect![[r#"
            the cause names neither request nor failure
                complete: CONTINUE; cause: user-request; reason: planned: user-request
            the cause names neither request nor failure [SKIP_CAUSES=none]
                look: Images
            it names a failure
                look: Retained
            it can't be read
                look: Retained
            the group stays
                look: Retained
            the groups are not read
                look: Groups
            the groups can't be read
                look: Retained
        "#]],
    );
}

#[test]
fn the_hourly_limit_counts_what_is_pending_or_available() {
    let two = Some((MAX_IMAGES_PER_HOUR, "2"));
    let failed = |seconds| Image { standing: Standing::Failed, ..foreign(seconds) };
    let pending = |seconds| Image { standing: Standing::Pending, ..foreign(seconds) };
    let with = |images| Observed { images: Some(images), ..terminates_unplanned() };
    check(
        [
            ("as many as allowed", two, with(vec![foreign(9), pending(3_599)])),
            ("one of them is older", two, with(vec![foreign(9), foreign(3_600)])),
            ("one of them has failed", two, with(vec![foreign(9), failed(8)])),
            (
                "other runs have taken the rest",
                two,
                Observed { taken: Some(Taken::Full(2)), ..terminates_without_image() },
            ),
            (
                "a second image counts as well",
                two,
                Observed {
                    images: Some(vec![foreign(9), foreign(8)]),
                    instance: instance(false),
                    ..terminates_with_failed()
                },
            ),
            ("no image at all", Some((MAX_IMAGES_PER_HOUR, "0")), terminates_without_image()),
        ],
        expect![[r#"
            as many as allowed [MAX_IMAGES_PER_HOUR=2]
                complete: CONTINUE; cause: health-check-ec2; failure: image-skipped; reason: no image: web had 2 images within the hour, and MAX_IMAGES_PER_HOUR is 2
            one of them is older [MAX_IMAGES_PER_HOUR=2]
                look: Instance
            one of them has failed [MAX_IMAGES_PER_HOUR=2]
                look: Instance
            other runs have taken the rest [MAX_IMAGES_PER_HOUR=2]
                complete: CONTINUE; cause: health-check-ec2; failure: image-skipped; reason: no image: web had 2 images within the hour, and MAX_IMAGES_PER_HOUR is 2
            a second image counts as well [MAX_IMAGES_PER_HOUR=2]
                complete: CONTINUE; cause: health-check-ec2; failure: image-skipped; reason: no image: web had 2 images within the hour, and MAX_IMAGES_PER_HOUR is 2
            no image at all [MAX_IMAGES_PER_HOUR=0]
                complete: CONTINUE; cause: health-check-ec2; failure: image-skipped; reason: no image: web had 0 images within the hour, and MAX_IMAGES_PER_HOUR is 0
        "#]],
    );
}

#[test]
fn the_reconciliation_knows_more() {
    let own = |standing| vec![image(standing, wait(None), 0)];
    check(
        [
            ("the event was lost", None, found(60, vec![])),
            ("its images could not be read", None, Observed { earlier_images: None, ..found(60, vec![]) }),
            (
                "planned",
                None,
                Observed { termination: termination(Cause::UserRequest), ..found(301, vec![]) },
            ),
            ("its image is pending", None, found(301, own(Standing::Pending))),
            (
                "its image is pending, and nothing waits for it",
                Some((COMPLETE_ON, "timeout")),
                found(301, own(Standing::Pending)),
            ),
            (
                "its image is ready, and the group was replaced",
                None,
                replaced(found(60, own(Standing::Ready))),
            ),
            ("the group was replaced", None, replaced(found(60, vec![]))),
            (
                "the image of an earlier wait",
                None,
                found(60, vec![image(Standing::Ready, wait(Some("earlier")), 63)]),
            ),
        ],
        expect![[r#"
            the event was lost
                look: Images
            its images could not be read
                look: EarlierImages
            planned
                complete: CONTINUE; cause: user-request; reason: planned: user-request
            its image is pending
                AwaitPending(WhenDue); image: ami-1; cause: health-check-ec2
            its image is pending, and nothing waits for it [COMPLETE_ON=timeout]
                AwaitPending(None); image: ami-1; cause: health-check-ec2
            its image is ready, and the group was replaced
                complete: CONTINUE; image: ami-1; cause: health-check-ec2
            the group was replaced
                complete: CONTINUE; cause: health-check-ec2; reason: planned: web-new is in service in place of web
            the image of an earlier wait
                look: Images
        "#]],
    );
}

/// First the work, then the heartbeat; and every reason to prolong a wait has an end of its own.
#[test]
fn a_wait_is_prolonged_only_while_its_image_is_under_way() {
    let now = |hook, seconds| Observed {
        hook: Some(hook),
        taken: Some(Taken::Now("ami-1".to_owned())),
        ..found(seconds, vec![])
    };
    let pending = |hook, seconds| Observed {
        hook: Some(hook),
        ..found(21_700, vec![image(Standing::Pending, wait(None), seconds)])
    };
    let no_answer = || Error::Timeout("CreateImage had no answer".to_owned());
    let fails =
        |hook, seconds, error| Observed { hook: Some(hook), failed: Some(error), ..found(seconds, vec![]) };
    let timeout = Some((COMPLETE_ON, "timeout"));
    check(
        [
            ("requested", None, now(HOOK, 300)),
            ("requested, half of the hook's timeout is gone", None, now(HOOK, 301)),
            ("requested, half of the hook's timeout is gone", timeout, now(HOOK, 301)),
            (
                "requested, half of the hook's timeout is gone",
                Some((COMPLETE_ON, "requested")),
                now(HOOK, 301),
            ),
            ("requested, the wait would end", None, now(ENDS, 60)),
            ("requested, the wait ends for good", None, now(ENDS_FOR_GOOD, 60)),
            ("pending", None, pending(HOOK, 21_599)),
            ("pending for too long", None, pending(HOOK, 21_600)),
            ("pending for too long", Some((ON_FAILURE, "ABANDON")), pending(HOOK, 21_600)),
            ("pending for too long", timeout, pending(HOOK, 21_600)),
            ("pending for longer than is wanted", Some((IMAGE_TIMEOUT, "90s")), pending(HOOK, 90)),
            ("pending, the wait would end", None, pending(ENDS, 60)),
            ("pending, the wait ends for good", None, pending(ENDS_FOR_GOOD, 60)),
            ("pending, the wait ends for good", timeout, pending(ENDS_FOR_GOOD, 60)),
            ("AWS does not answer", None, fails(HOOK, 300, no_answer())),
            ("AWS does not answer, half of the hook's timeout is gone", None, fails(HOOK, 301, no_answer())),
            ("AWS does not answer, the wait would end", None, fails(ENDS, 60, no_answer())),
            (
                "AWS does not answer, the wait would end",
                Some((ON_FAILURE, "ABANDON")),
                fails(ENDS, 60, no_answer()),
            ),
            ("a call is denied", None, fails(HOOK, 60, error("AccessDenied: no"))),
            ("a call is denied, the wait would end", None, fails(ENDS, 60, error("AccessDenied: no"))),
        ],
        expect![[r#"
            requested
                AwaitRequested(None); image: ami-1; cause: health-check-ec2
            requested, half of the hook's timeout is gone
                AwaitRequested(Now); image: ami-1; cause: health-check-ec2
            requested, half of the hook's timeout is gone [COMPLETE_ON=timeout]
                AwaitRequested(None); image: ami-1; cause: health-check-ec2
            requested, half of the hook's timeout is gone [COMPLETE_ON=requested]
                complete: CONTINUE; image: ami-1; cause: health-check-ec2
            requested, the wait would end
                AwaitRequested(Now); image: ami-1; cause: health-check-ec2
            requested, the wait ends for good
                complete: CONTINUE; image: ami-1; cause: health-check-ec2; failure: image-failed; reason: no image: ami-1 is still pending, and the hook's global timeout ends
            pending
                AwaitPending(WhenDue); image: ami-1; cause: health-check-ec2
            pending for too long
                complete: CONTINUE; image: ami-1; cause: health-check-ec2; failure: image-failed; reason: no image: ami-1 is still pending after IMAGE_TIMEOUT, 21600 s
            pending for too long [ON_FAILURE=ABANDON]
                complete: ABANDON; image: ami-1; cause: health-check-ec2; failure: image-failed; reason: no image: ami-1 is still pending after IMAGE_TIMEOUT, 21600 s
            pending for too long [COMPLETE_ON=timeout]
                complete: CONTINUE; image: ami-1; cause: health-check-ec2; failure: image-failed; reason: no image: ami-1 is still pending after IMAGE_TIMEOUT, 21600 s
            pending for longer than is wanted [IMAGE_TIMEOUT=90s]
                complete: CONTINUE; image: ami-1; cause: health-check-ec2; failure: image-failed; reason: no image: ami-1 is still pending after IMAGE_TIMEOUT, 90 s
            pending, the wait would end
                AwaitPending(Now); image: ami-1; cause: health-check-ec2
            pending, the wait ends for good
                complete: CONTINUE; image: ami-1; cause: health-check-ec2; failure: image-failed; reason: no image: ami-1 is still pending at the end of the hook's global timeout
            pending, the wait ends for good [COMPLETE_ON=timeout]
                AwaitPending(None); image: ami-1; cause: health-check-ec2
            AWS does not answer
                Retry; cause: health-check-ec2; reason: no image: CreateImage had no answer
            AWS does not answer, half of the hook's timeout is gone
                Retry; cause: health-check-ec2; failure: sweep-incomplete; reason: no image: CreateImage had no answer
            AWS does not answer, the wait would end
                complete: CONTINUE; cause: health-check-ec2; failure: image-refused; reason: no image: CreateImage had no answer
            AWS does not answer, the wait would end [ON_FAILURE=ABANDON]
                complete: ABANDON; cause: health-check-ec2; failure: image-refused; reason: no image: CreateImage had no answer
            a call is denied
                fail
            a call is denied, the wait would end
                complete: CONTINUE; cause: health-check-ec2; failure: image-refused; reason: no image: CreateImage failed: AccessDenied: no
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
            ("taken before, and failed", None, taken(Taken::Before(own(Standing::Failed)))),
            ("refused", None, taken(refused())),
            ("refused", Some((ON_FAILURE, "ABANDON")), taken(refused())),
            ("refused", Some((COMPLETE_ON, "timeout")), taken(refused())),
            ("the instance is gone", None, taken(gone())),
            ("the instance is gone", Some((ON_FAILURE, "ABANDON")), taken(gone())),
        ],
        expect![[r#"
            requested
                AwaitRequested(None); image: ami-1; cause: health-check-ec2
            requested [COMPLETE_ON=requested]
                complete: CONTINUE; image: ami-1; cause: health-check-ec2
            requested [COMPLETE_ON=timeout]
                AwaitRequested(None); image: ami-1; cause: health-check-ec2
            taken before
                AwaitPending(None); image: ami-1; cause: health-check-ec2
            taken before, and failed
                take a second: health-check-ec2, Some("lt-1:7")
            refused
                complete: CONTINUE; cause: health-check-ec2; failure: image-refused; reason: no image: CreateImage failed: AMIQuotaExceeded: too many
            refused [ON_FAILURE=ABANDON]
                complete: ABANDON; cause: health-check-ec2; failure: image-refused; reason: no image: CreateImage failed: AMIQuotaExceeded: too many
            refused [COMPLETE_ON=timeout]
                complete: CONTINUE; cause: health-check-ec2; failure: image-refused; reason: no image: CreateImage failed: AMIQuotaExceeded: too many
            the instance is gone
                complete: CONTINUE; cause: health-check-ec2; reason: no image: EC2 says that the instance is gone: CreateImage failed: InvalidInstanceID.NotFound: i-1
            the instance is gone [ON_FAILURE=ABANDON]
                complete: CONTINUE; cause: health-check-ec2; reason: no image: EC2 says that the instance is gone: CreateImage failed: InvalidInstanceID.NotFound: i-1
        "#]],
    );
}

#[test]
fn an_image_that_has_failed_is_taken_once_more() {
    let waits = || Observed { instance: instance(false), ..terminates_with_failed() };
    let taken = |taken| Observed { taken: Some(taken), ..waits() };
    let failed = || vec![own(Standing::Failed)];
    let both = |standing| vec![own(Standing::Failed), second(standing)];
    let found = |hook, images| Observed { hook: Some(hook), ..found(60, images) };
    let abandon = Some((ON_FAILURE, "ABANDON"));
    check(
        [
            ("it is not known whether the instance waits", None, terminates_with_failed()),
            ("it waits", None, waits()),
            ("it waits", Some((COMPLETE_ON, "timeout")), waits()),
            ("it waits, and the cause is not known", None, Observed { termination: None, ..waits() }),
            ("it waits, and the group's images are not known", None, Observed { images: None, ..waits() }),
            ("it waits no more", None, Observed { instance: instance(true), ..terminates_with_failed() }),
            ("requested", None, taken(Taken::Now("ami-2".to_owned()))),
            ("requested", Some((COMPLETE_ON, "requested")), taken(Taken::Now("ami-2".to_owned()))),
            ("taken before", None, taken(Taken::Before(second(Standing::Pending)))),
            ("refused", None, taken(refused())),
            ("the instance is gone", None, taken(gone())),
            ("found", None, found(HOOK, failed())),
            ("found, the wait would end", None, found(ENDS, failed())),
            ("found, the wait ends for good", None, found(ENDS_FOR_GOOD, failed())),
            ("the second is pending", None, found(HOOK, both(Standing::Pending))),
            ("the second is ready", None, found(HOOK, both(Standing::Ready))),
            ("the second has failed", None, found(HOOK, both(Standing::Failed))),
            ("the second has failed", abandon, found(HOOK, both(Standing::Failed))),
            ("the second has failed", Some((COMPLETE_ON, "timeout")), found(HOOK, both(Standing::Failed))),
            (
                "the second has failed just now",
                None,
                Observed { ended: Some(second(Standing::Failed)), running: Some(None), ..waits() },
            ),
        ],
        expect![[r#"
            it is not known whether the instance waits
                look: Instance
            it waits
                take a second: health-check-ec2, Some("lt-1:7")
            it waits [COMPLETE_ON=timeout]
                take a second: health-check-ec2, Some("lt-1:7")
            it waits, and the cause is not known
                look: Termination
            it waits, and the group's images are not known
                look: Images
            it waits no more
                complete: CONTINUE; image: ami-1; cause: health-check-ec2; failure: image-failed; reason: no image: ami-1 has failed: disk full
            requested
                AwaitRequested(None); image: ami-2; cause: health-check-ec2; reason: the second image, because ami-1 has failed: disk full
            requested [COMPLETE_ON=requested]
                complete: CONTINUE; image: ami-2; cause: health-check-ec2; reason: the second image, because ami-1 has failed: disk full
            taken before
                AwaitPending(None); image: ami-2; cause: health-check-ec2
            refused
                complete: CONTINUE; cause: health-check-ec2; failure: image-refused; reason: no image: CreateImage failed: AMIQuotaExceeded: too many
            the instance is gone
                complete: CONTINUE; image: ami-1; cause: health-check-ec2; failure: image-failed; reason: no image: ami-1 has failed: disk full
            found
                look: Instance
            found, the wait would end
                look: Instance
            found, the wait ends for good
                complete: CONTINUE; image: ami-1; cause: health-check-ec2; failure: image-failed; reason: no image: ami-1 has failed: disk full
            the second is pending
                AwaitPending(WhenDue); image: ami-2; cause: health-check-ec2
            the second is ready
                complete: CONTINUE; image: ami-2; cause: health-check-ec2
            the second has failed
                complete: CONTINUE; image: ami-2; cause: health-check-ec2; failure: image-failed; reason: no image: ami-2 has failed: disk full
            the second has failed [ON_FAILURE=ABANDON]
                complete: ABANDON; image: ami-2; cause: health-check-ec2; failure: image-failed; reason: no image: ami-2 has failed: disk full
            the second has failed [COMPLETE_ON=timeout]
                complete: CONTINUE; image: ami-2; cause: health-check-ec2; failure: image-failed; reason: no image: ami-2 has failed: disk full
            the second has failed just now
                complete: CONTINUE; image: ami-2; cause: health-check-ec2; failure: image-failed; reason: no image: ami-2 has failed: disk full
        "#]],
    );
}

#[test]
fn an_image_that_was_taken_before_settles_its_wait() {
    let standings =
        [("pending", "pending, found", Standing::Pending), ("ready", "ready, found", Standing::Ready)];
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
                AwaitPending(None); image: ami-1
            pending, found [COMPLETE_ON=available]
                AwaitPending(WhenDue); image: ami-1; cause: health-check-ec2
            pending [COMPLETE_ON=requested]
                complete: CONTINUE; image: ami-1
            pending, found [COMPLETE_ON=requested]
                complete: CONTINUE; image: ami-1; cause: health-check-ec2
            pending [COMPLETE_ON=timeout]
                AwaitPending(None); image: ami-1
            pending, found [COMPLETE_ON=timeout]
                AwaitPending(None); image: ami-1; cause: health-check-ec2
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
    let failed = |observed: Observed| Observed {
        running: running(ago(660)),
        earlier_images: Some(vec![]),
        ..observed
    };
    check(
        [
            ("with a token", None, ended(Some("token"), Standing::Ready)),
            ("with a token, failed", None, ended(Some("token"), Standing::Failed)),
            (
                "with a token, failed, of a known wait",
                None,
                Observed { running: running(ago(660)), ..ended(Some("token"), Standing::Failed) },
            ),
            ("failed, the only one", None, failed(ended(Some("token"), Standing::Failed))),
            (
                "failed, and the wait is over",
                Some((COMPLETE_ON, "requested")),
                Observed { instance: instance(true), ..failed(ended(Some("token"), Standing::Failed)) },
            ),
            (
                "failed, and the second one is pending",
                None,
                Observed {
                    earlier_images: Some(vec![second(Standing::Pending)]),
                    ..failed(ended(Some("token"), Standing::Failed))
                },
            ),
            ("taken by the reconciliation", None, swept()),
            ("in the instance's running activity", None, Observed { running: running(ago(660)), ..swept() }),
            ("before it", None, Observed { running: running(ago(60)), ..swept() }),
            (
                "failed, before it",
                None,
                Observed { running: running(ago(60)), ..ended(None, Standing::Failed) },
            ),
            ("no activity runs", None, Observed { running: Some(None), ..swept() }),
        ],
        expect![[r#"
            with a token
                complete: CONTINUE; image: ami-1
            with a token, failed
                look: Running
            with a token, failed, of a known wait
                look: EarlierImages
            failed, the only one
                look: Instance
            failed, and the wait is over [COMPLETE_ON=requested]
                complete: CONTINUE; image: ami-1; failure: image-failed; reason: no image: ami-1 has failed: disk full
            failed, and the second one is pending
                AwaitPending(None); image: ami-2
            taken by the reconciliation
                look: Running
            in the instance's running activity
                complete: CONTINUE; image: ami-1
            before it
                Over; image: ami-1
            failed, before it
                Over; image: ami-1; failure: image-failed; reason: no image: ami-1 has failed: disk full
            no activity runs
                complete: CONTINUE; image: ami-1
        "#]],
    );
}
