//! The sweep: what it reads from Auto Scaling's answers, as AWS was recorded to give them, when a wait ends, which
//! hooks it warns of, and what its answer says.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::config::{BehaviorVersion, Config, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use chrono::{DateTime, TimeDelta, Utc};
use lambda_kit::config::names;
use lambda_kit::{Error, Invocation};
use lifecycle_core::pending::{Activity, Asgs, Found, HookTimers};
use lifecycle_core::reconcile::{Did, Round};
use lifecycle_core::{Actions, Reconciler, Transition, Wait};
use serde_json::{Value, json};

const TOLD: &str = "sweep-incomplete";

/// Auto Scaling's answers, by action, and the calls that were made.
#[derive(Clone, Default)]
struct Aws {
    answers: HashMap<&'static str, Vec<(u16, String)>>,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Aws {
    /// The result that each call of `action` gets.
    fn with(mut self, action: &'static str, result: &str) -> Self {
        let body = format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>");
        self.answers.insert(action, vec![(200, body)]);
        self
    }

    /// The pages that calls of `action` get, by the number in `NextToken`.
    fn with_pages(self, action: &'static str, pages: Vec<String>) -> Self {
        let bodies = pages.into_iter().map(|result| {
            (200, format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>"))
        });
        let mut with = self;
        with.answers.insert(action, bodies.collect());
        with
    }

    /// Each call of `action` is refused with this code.
    fn refusing(mut self, action: &'static str, status: u16, code: &str) -> Self {
        let body =
            format!("<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>");
        self.answers.insert(action, vec![(status, body)]);
        self
    }

    fn client(&self) -> Client {
        let aws = self.clone();
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::from_keys("AKIALAB", "lab", None))
            .http_client(http_client_fn(move |_, _| SharedHttpConnector::new(Answering(aws.clone()))));
        Client::from_conf(config.build())
    }

    fn reconciler(&self) -> Reconciler {
        let client = self.client();
        Reconciler::new(Asgs::new(client.clone()), Actions::new(client), None, Transition::Launching)
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

struct Answering(Aws);

impl std::fmt::Debug for Answering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answering")
    }
}

impl HttpConnector for Answering {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap();
        let parameters: HashMap<&str, &str> =
            body.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let action = parameters["Action"];
        self.0.calls.lock().unwrap().push(action.to_owned());
        let page: usize = parameters.get("NextToken").map_or(0, |page| page.parse().unwrap());
        let (status, body) =
            self.0.answers.get(action).unwrap_or_else(|| panic!("no answer to {body}"))[page].clone();
        let response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        HttpConnectorFuture::ready(Ok(response))
    }
}

fn now() -> DateTime<Utc> {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

fn run_at(time: DateTime<Utc>) -> Invocation {
    Invocation::new(time, Duration::from_secs(30))
}

fn member(text: &str) -> String {
    format!("<member>{text}</member>")
}

fn instance(id: &str, state: &str, health: &str) -> String {
    member(&format!(
        "<InstanceId>{id}</InstanceId><LifecycleState>{state}</LifecycleState><HealthStatus>{health}</HealthStatus>\
         <AvailabilityZone>us-east-1a</AvailabilityZone><ProtectedFromScaleIn>false</ProtectedFromScaleIn>"
    ))
}

fn group(name: &str, instances: &str, pool: bool) -> String {
    let pool = if pool { "<WarmPoolConfiguration><MinSize>0</MinSize></WarmPoolConfiguration>" } else { "" };
    member(&format!(
        "<AutoScalingGroupName>{name}</AutoScalingGroupName><MinSize>0</MinSize><MaxSize>9</MaxSize>\
         <DesiredCapacity>1</DesiredCapacity><DefaultCooldown>300</DefaultCooldown>\
         <HealthCheckType>EC2</HealthCheckType><CreatedTime>2026-11-01T00:00:00Z</CreatedTime>\
         <AvailabilityZones/><Instances>{instances}</Instances>{pool}"
    ))
}

fn hook(name: &str, transition: &str, heartbeat: u32) -> String {
    member(&format!(
        "<LifecycleHookName>{name}</LifecycleHookName><HeartbeatTimeout>{heartbeat}</HeartbeatTimeout>\
         <LifecycleTransition>autoscaling:EC2_INSTANCE_{transition}</LifecycleTransition>"
    ))
}

/// An activity that began so many seconds ago; one that has ended is `Cancelled`.
fn activity(description: &str, ago: i64, is_cancelled: bool) -> String {
    let time = |ago| (now() - TimeDelta::seconds(ago)).to_rfc3339();
    let (status, end) = match is_cancelled {
        true => ("Cancelled", format!("<EndTime>{}</EndTime>", time(ago - 10))),
        false => ("MidLifecycleAction", String::new()),
    };
    member(&format!(
        "<ActivityId>{ago}</ActivityId><Description>{description}</Description><Cause>At …</Cause>\
         <StartTime>{}</StartTime>{end}<StatusCode>{status}</StatusCode><AutoScalingGroupName>web</AutoScalingGroupName>",
        time(ago)
    ))
}

/// A group whose instance is in this state, of which there are these activities.
fn world(state: &str, activities: &str) -> Aws {
    let instances = instance("i-1", state, "Healthy");
    let (serving, pooled) =
        if state.starts_with("Warmed:") { ("", instances.as_str()) } else { (instances.as_str(), "") };
    let hooks = hook("in", "LAUNCHING", 300) + &hook("out", "TERMINATING", 3_600);
    Aws::default()
        .with(
            "DescribeAutoScalingGroups",
            &format!("<AutoScalingGroups>{}</AutoScalingGroups>", group("web", serving, true)),
        )
        .with("DescribeWarmPool", &format!("<Instances>{pooled}</Instances>"))
        .with("DescribeLifecycleHooks", &format!("<LifecycleHooks>{hooks}</LifecycleHooks>"))
        .with("DescribeScalingActivities", &format!("<Activities>{activities}</Activities>"))
}

/// The waits that a sweep of both hooks finds, and what it tells.
async fn found(aws: &Aws) -> (Vec<Found>, Vec<Value>) {
    let asgs = Asgs::new(aws.client());
    let groups = asgs.named(&names("web").unwrap()).await.unwrap();
    let both = ["in".to_owned(), "out".to_owned()];
    let waits = asgs.waits(&groups[0], Some(&both), &Transition::Launching, now()).await.unwrap();
    let told = waits.warnings.iter().map(|warning| {
        json!([
            warning.failure.as_str(),
            warning.about["asg.name"],
            warning.about["instance.id"],
            warning.text
        ])
    });
    (waits.found, told.collect())
}

#[tokio::test(start_paused = true)]
async fn state_and_activity_tell_the_direction_of_a_wait() {
    use Transition::{Launching, Terminating};
    for (state, description, transition, [to_pool, dies_in_pool, root_volume]) in [
        ("Pending:Wait", "Launching a new EC2 instance: i-1", Launching, [false; 3]),
        ("Pending:Wait", "Launching a new EC2 instance from warm pool: i-1", Launching, [false; 3]),
        (
            "Warmed:Pending:Wait",
            "Launching a new EC2 instance into warm pool: i-1",
            Launching,
            [true, false, false],
        ),
        (
            "Warmed:Pending:Wait",
            "Scaling in EC2 instance into warm pool: i-1",
            Terminating,
            [true, false, false],
        ),
        (
            "Terminating:Wait",
            "Terminating EC2 instance: i-1 - Waiting For ELB Connection Draining.",
            Terminating,
            [false; 3],
        ),
        (
            "Warmed:Terminating:Wait",
            "Terminating EC2 instance from warm pool: i-1",
            Terminating,
            [false, true, false],
        ),
        ("ReplacingRootVolume:Wait", "", Terminating, [false, false, true]),
    ] {
        let (found, told) = found(&world(state, &activity(description, 90, false))).await;
        let [one] = &found[..] else { panic!("{state}: {found:?}, {told:?}") };
        assert_eq!(one.transition, transition, "{state}");
        assert_eq!(one.wait.hook, if transition == Launching { "in" } else { "out" }, "{state}");
        let flags = [one.to_pool, one.dies_in_pool, one.replaces_root_volume];
        assert_eq!(flags, [to_pool, dies_in_pool, root_volume], "{state}");
        assert!(!one.was_retained && !one.is_unhealthy && told.is_empty(), "{state}: {told:?}");
        if !description.is_empty() {
            assert_eq!(one.activity.as_ref().unwrap().began, now() - TimeDelta::seconds(90), "{state}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_state_that_is_not_known_is_told_and_no_wait() {
    let aws = world("Levitating:Wait", &activity("Launching a new EC2 instance: i-1", 90, false));
    let (waits, told) = found(&aws).await;
    assert!(waits.is_empty(), "{waits:?}");
    let text = "i-1 is Levitating:Wait, a state that this version does not know";
    assert_eq!(told, [json!([TOLD, "web", "i-1", text])]);

    for other in
        ["InService", "Pending", "Pending:Proceed", "Warmed:Stopped", "Terminating:Retained", "Levitating"]
    {
        let (waits, told) = found(&world(other, "")).await;
        assert!(waits.is_empty() && told.is_empty(), "{other}: {waits:?}, {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pools_wait_without_an_activity_is_told_since_nothing_else_shows_its_direction() {
    for activities in [String::new(), activity("Levitating EC2 instance: i-1", 90, false)] {
        let (waits, told) = found(&world("Warmed:Pending:Wait", &activities)).await;
        assert!(waits.is_empty(), "{waits:?}");
        let text = "i-1 is Warmed:Pending:Wait without a scaling activity that says why";
        assert_eq!(told, [json!([TOLD, "web", "i-1", text])]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_earlier_cancelled_termination_shows_that_the_instance_was_retained() {
    let running = activity("Terminating EC2 instance: i-1", 90, false);
    let reason = "Status Reason: Instance failed to complete user's Lifecycle Action";
    for (earlier, was_retained) in [
        (format!("Terminating EC2 instance: i-1.  {reason}"), true),
        (format!("Terminating EC2 instance from warm pool: i-1.  {reason}"), true),
        (format!("Scaling in EC2 instance into warm pool: i-1.  {reason}"), true),
        (format!("Terminating EC2 instance: i-12.  {reason}"), false),
        (format!("Launching a new EC2 instance: i-1.  {reason}"), false),
        ("Could not scale to desired capacity because of i-1".to_owned(), false),
    ] {
        let activities = running.clone() + &activity(&earlier, 900, true);
        let (waits, _) = found(&world("Terminating:Wait", &activities)).await;
        assert_eq!(waits[0].was_retained, was_retained, "{earlier}");
    }
    for (message, was_retained) in
        [("The action with token … was abandoned: …", true), ("Cancelled by AWS", false)]
    {
        let cancelled = activity("Terminating EC2 instance: i-1", 900, true);
        let message = format!("<StatusMessage>{message}</StatusMessage><StatusCode>");
        let activities = running.clone() + &cancelled.replace("<StatusCode>", &message);
        let (waits, _) = found(&world("Terminating:Wait", &activities)).await;
        assert_eq!(waits[0].was_retained, was_retained, "{activities}");
    }
    let later = activity("Terminating EC2 instance: i-1", 30, true);
    let (waits, _) = found(&world("Terminating:Wait", &(later + &running))).await;
    assert!(!waits[0].was_retained, "an activity that began after this wait is not an earlier one");
    let launched = activity("Launching a new EC2 instance: i-1", 90, false)
        + &activity("Terminating EC2 instance: i-1", 900, true);
    let (waits, _) = found(&world("Pending:Wait", &launched)).await;
    assert!(!waits[0].was_retained, "a launch was not retained");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_auto_scaling_reports_unhealthy_is_known_as_such() {
    for (health, is_unhealthy) in [("Unhealthy", true), ("UNHEALTHY", true), ("Healthy", false)] {
        let instances = instance("i-1", "Terminating:Wait", health);
        let groups = group("web", &instances, false);
        let aws = world("Terminating:Wait", &activity("Terminating EC2 instance: i-1", 90, false))
            .with("DescribeAutoScalingGroups", &format!("<AutoScalingGroups>{groups}</AutoScalingGroups>"));
        let (waits, _) = found(&aws).await;
        assert_eq!(waits[0].is_unhealthy, is_unhealthy, "{health}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_names_only_the_one_hook_of_the_transition_is_acted_on() {
    let launch = activity("Launching a new EC2 instance: i-1", 90, false);
    let death = activity("Terminating EC2 instance: i-1", 90, false);
    let one = hook("in", "LAUNCHING", 300) + &hook("out", "TERMINATING", 3_600);
    let two = one.clone() + &hook("in-too", "LAUNCHING", 300);
    let of_two = vec!["in-too".to_owned(), "absent".to_owned()];
    for (state, activities, hooks, named, expected) in [
        ("Pending:Wait", &launch, &one, None, vec!["in"]),
        ("Pending:Wait", &launch, &two, None, vec![]),
        ("Pending:Wait", &launch, &two, Some(&of_two), vec!["in-too"]),
        ("Terminating:Wait", &death, &one, None, vec![]),
    ] {
        let aws = world(state, activities)
            .with("DescribeLifecycleHooks", &format!("<LifecycleHooks>{hooks}</LifecycleHooks>"));
        let asgs = Asgs::new(aws.client());
        let groups = asgs.named(&names("web").unwrap()).await.unwrap();
        let named = named.map(Vec::as_slice);
        let waits = asgs.waits(&groups[0], named, &Transition::Launching, now()).await.unwrap();
        let hooks: Vec<_> = waits.found.iter().map(|found| found.wait.hook.as_str()).collect();
        assert_eq!(hooks, expected, "{state} {named:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn five_hundred_foreign_groups_cost_pages_of_a_list_and_nothing_else() {
    let page = |number: usize| {
        let foreign: String = (0..100).map(|n| group(&format!("foreign-{number}-{n}"), "", false)).collect();
        let ours = if number == 3 { group("web-1", "", false) } else { String::new() };
        let next = if number < 4 { format!("<NextToken>{}</NextToken>", number + 1) } else { String::new() };
        format!("<AutoScalingGroups>{foreign}{ours}</AutoScalingGroups>{next}")
    };
    let aws = Aws::default().with_pages("DescribeAutoScalingGroups", (0..5).map(page).collect());
    let round = aws.reconciler().look(&names("web-*").unwrap(), &run_at(now())).await.unwrap();
    let groups: Vec<_> = round.groups.iter().map(|group| group.auto_scaling_group_name().unwrap()).collect();
    assert_eq!(groups, ["web-1"]);
    assert_eq!(aws.calls(), ["DescribeAutoScalingGroups"; 5]);

    let aws = Aws::default().with("DescribeAutoScalingGroups", "<AutoScalingGroups/>");
    aws.reconciler().look(&names("web,api").unwrap(), &run_at(now())).await.unwrap();
    assert_eq!(aws.calls(), ["DescribeAutoScalingGroups"], "whole names are one call");
}

/// A wait whose activity began at this time.
fn wait_since(began: Option<DateTime<Utc>>, heartbeat: u64, global: u64) -> Found {
    Found {
        wait: Wait { group: "web".into(), hook: "in".into(), instance: "i-1".into(), token: None },
        transition: Transition::Launching,
        to_pool: false,
        dies_in_pool: false,
        replaces_root_volume: false,
        was_retained: false,
        is_unhealthy: false,
        activity: began.map(|began| Activity {
            id: String::new(),
            began,
            transition: Some(Transition::Launching),
            cause: String::new(),
        }),
        timers: HookTimers { heartbeat: Duration::from_secs(heartbeat), global: Duration::from_secs(global) },
    }
}

/// A reconciler whose last sweeps began so many seconds before now.
async fn swept(aws: &Aws, ago: &[i64]) -> Reconciler {
    let reconciler = aws.reconciler();
    for ago in ago {
        reconciler.look(&names("web").unwrap(), &run_at(now() - TimeDelta::seconds(*ago))).await.unwrap();
    }
    reconciler
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_end_before_the_next_sweep_is_known() {
    let aws = Aws::default().with("DescribeAutoScalingGroups", "<AutoScalingGroups/>");
    // The sweeps' beginnings, the wait's age, its hook's two timeouts, and whether it ends before the next sweep, for
    // good. A sweep counts on ten seconds of lateness.
    for (sweeps, age, heartbeat, global, ends, for_good) in [
        (&[0][..], 0, 310, 31_000, true, false),
        (&[0], 0, 311, 31_000, false, false),
        (&[0], 3_290, 3_600, 172_800, true, false),
        (&[0], 3_289, 3_600, 172_800, false, false),
        (&[60, 0], 0, 70, 7_000, true, false),
        (&[60, 0], 0, 71, 7_100, false, false),
        (&[900, 0], 0, 910, 91_000, true, false),
        // The second longest of the last five counts.
        (&[900, 300, 0], 0, 311, 31_100, false, false),
        (&[1_500, 900, 600, 300, 0], 0, 311, 31_100, false, false),
        // Runs by hand do not make the next sweep look near.
        (&[700, 400, 300, 0], 0, 310, 31_000, true, false),
        (&[310, 10, 0], 0, 310, 31_000, true, false),
        // Nor does a long time without one make it look far.
        (&[3_660, 3_600, 0], 0, 71, 7_100, false, false),
        (&[3_660, 3_600, 60, 0], 0, 71, 7_100, false, false),
        (&[1_260, 1_200, 600, 0], 0, 610, 61_000, true, false),
        (&[0], 172_490, 7_200, 172_800, true, true),
        (&[0], 100, 3_600, 411, false, false),
        (&[0], 101, 3_600, 411, true, true),
    ] {
        let reconciler = swept(&aws, sweeps).await;
        let found = wait_since(Some(now() - TimeDelta::seconds(age)), heartbeat, global);
        let case = format!("{sweeps:?}, {age} s of {heartbeat} s and {global} s");
        assert_eq!(reconciler.ends_before_next(&found, now()), ends, "{case}");
        assert_eq!(reconciler.ends_for_good(&found, now()), for_good, "{case}");
    }
    let reconciler = swept(&aws, &[0]).await;
    let unknown = wait_since(None, 30, 3_000);
    assert!(!reconciler.ends_before_next(&unknown, now()) && !reconciler.ends_for_good(&unknown, now()));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_begins_the_time_anew_but_not_the_global_one() {
    let aws = Aws::default()
        .with("DescribeAutoScalingGroups", "<AutoScalingGroups/>")
        .with("RecordLifecycleActionHeartbeat", "");
    let reconciler = swept(&aws, &[0]).await;
    let found = wait_since(Some(now() - TimeDelta::seconds(3_400)), 3_600, 7_200);
    assert!(reconciler.ends_before_next(&found, now()));
    assert_eq!(reconciler.keep_alive(&found, &run_at(now())).await.unwrap(), Did::Heartbeat);
    assert!(!reconciler.ends_before_next(&found, now()));
    let later = now() + TimeDelta::seconds(3_500);
    assert!(reconciler.ends_before_next(&found, later) && reconciler.ends_for_good(&found, later));
    let ended = aws.refusing("RecordLifecycleActionHeartbeat", 400, "ValidationError");
    let error = ended.reconciler().keep_alive(&found, &run_at(now())).await.unwrap_err();
    assert_eq!(error.name(), "AwsError");
    // A heartbeat of an earlier wait of the instance is none of a later one.
    let later = wait_since(Some(now() + TimeDelta::seconds(400)), 3_600, 90_000);
    assert!(!reconciler.ends_before_next(&later, now() + TimeDelta::seconds(3_600)));
}

/// What is logged at WARN while `work` runs.
async fn warnings(work: impl Future<Output = ()>) -> String {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(text)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let written = log.clone();
    let lines =
        tracing_subscriber::fmt().with_writer(move || written.clone()).with_max_level(tracing::Level::WARN);
    let guard = tracing::subscriber::set_default(lines.with_ansi(false).without_time().finish());
    work.await;
    drop(guard);
    let bytes = log.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// The warnings of a process whose sweeps begin so many seconds after the first one, about a hook of this length.
async fn warned(heartbeat: u32, patience: u64, begin: &[i64]) -> String {
    let hooks = hook("in", "LAUNCHING", heartbeat);
    let aws = world("Pending:Wait", &activity("Launching a new EC2 instance: i-1", 30, false))
        .with("DescribeLifecycleHooks", &format!("<LifecycleHooks>{hooks}</LifecycleHooks>"));
    let reconciler = aws.reconciler().with_patience(Duration::from_secs(patience));
    warnings(async {
        for after in begin {
            let run = run_at(now() + TimeDelta::seconds(*after));
            assert_eq!(reconciler.look(&names("web").unwrap(), &run).await.unwrap().waits.len(), 1);
        }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_hook_of_two_sweeps_is_long_enough_whatever_the_schedules_jitter() {
    for second in [300, 271, 310, 329] {
        assert_eq!(warned(600, 0, &[0, second, second + 300]).await, "", "the second sweep after {second} s");
    }
    assert_eq!(warned(180, 60, &[0, 60, 121, 178]).await, "");
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_is_too_short_is_warned_of_once_from_the_second_sweep_on() {
    assert_eq!(warned(30, 60, &[0]).await, "", "one sweep knows no interval");
    let text = warned(599, 0, &[0, 300, 600]).await;
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("in of web: the hook's heartbeat timeout of 599 s is shorter than twice the sweep's interval of 300 s;"), "{text}");
    let text = warned(179, 60, &[0, 60]).await;
    assert!(text.contains("interval of 60 s and the 60 s that a wait is left to its event;"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_answer_tells_each_group_and_wait_that_could_not_be_dealt_with() {
    let aws = Aws::default().with("DescribeAutoScalingGroups", "<AutoScalingGroups/>");
    let reconciler = aws.reconciler();
    let refused = || Error::UnsupportedEvent("refused".to_owned());
    let wait = |instance: &str| Wait { instance: instance.into(), ..wait_since(None, 30, 3_000).wait };

    let mut round = Round::default();
    round
        .for_each(
            vec![wait("i-1"), wait("i-2")],
            |wait| wait,
            &run_at(now()),
            |wait, _| async move { if wait.instance == "i-1" { Ok(Did::Completed) } else { Err(refused()) } },
        )
        .await;
    round.fail("api", refused());
    round.count(Did::Waits);
    let answer = reconciler.answer(round).unwrap();
    let told: Vec<_> =
        answer.warnings.iter().map(|one| (one.failure.as_str(), &one.about["asg.name"])).collect();
    assert_eq!(told, [(TOLD, &json!("web")), (TOLD, &json!("api"))]);
    assert_eq!(answer.fields["failures"], json!({ TOLD: 2 }));
    assert_eq!((&answer.fields["waiting"], &answer.fields["completed"]), (&json!(2), &json!(1)));
    assert_eq!(answer.fields["failed"].as_array().unwrap().len(), 2);

    let mut round = Round::default();
    for _ in 0..1_000 {
        round.fail("web", refused());
    }
    round.count(Did::Waits);
    let answer = reconciler.answer(round).unwrap();
    assert_eq!((answer.warnings.len(), answer.fields["failed"].as_array().unwrap().len()), (1_000, 10));

    let mut round = Round::default();
    round.fail("web", refused());
    assert_eq!(reconciler.answer(round).unwrap_err().name(), "UnsupportedEvent", "nothing was dealt with");

    let quiet = reconciler.answer(Round::default()).unwrap();
    assert!(quiet.warnings.is_empty() && !quiet.fields.contains_key("failures"));
}

#[tokio::test(start_paused = true)]
async fn what_runs_out_of_time_is_told_and_costs_no_other_wait() {
    let aws = Aws::default();
    let items: Vec<Wait> =
        (0..9).map(|n| Wait { instance: format!("i-{n}"), ..wait_since(None, 30, 3_000).wait }).collect();
    let mut round = Round::default();
    // Four at a time hang until their ten seconds are over.
    round
        .for_each(
            items,
            |wait| wait,
            &run_at(now()),
            |_, invocation| async move {
                tokio::time::sleep(invocation.time_left()).await;
                Ok(Did::Completed)
            },
        )
        .await;
    let answer = aws.reconciler().answer(round).unwrap();
    assert_eq!((&answer.fields["completed"], &answer.fields["left"]), (&json!(9), &json!(0)));

    let mut round = Round::default();
    let short = Invocation::new(now(), Duration::from_secs(12));
    let items: Vec<Wait> =
        (0..9).map(|n| Wait { instance: format!("i-{n}"), ..wait_since(None, 30, 3_000).wait }).collect();
    round
        .for_each(
            items,
            |wait| wait,
            &short,
            |_, invocation| async move {
                tokio::time::sleep(invocation.time_left()).await;
                Ok(Did::Completed)
            },
        )
        .await;
    let answer = aws.reconciler().answer(round).unwrap();
    assert_eq!(answer.fields["failures"], json!({ TOLD: 1 }));
    assert_eq!(
        answer.warnings[0].text,
        format!("the time of the run was over before {} wait(s)", answer.fields["left"])
    );
    assert!(answer.fields["left"].as_u64().unwrap() > 0, "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn one_group_that_is_refused_does_not_stop_the_others() {
    let waiting = instance("i-1", "Pending:Wait", "Healthy");
    let groups = group("web", &waiting, false) + &group("api", "", false);
    for (code, status) in [("AccessDenied", 403), ("ValidationError", 400)] {
        let aws = Aws::default()
            .with("DescribeAutoScalingGroups", &format!("<AutoScalingGroups>{groups}</AutoScalingGroups>"))
            .refusing("DescribeLifecycleHooks", status, code);
        let reconciler = aws.reconciler();
        let mut round = reconciler.look(&names("web,api").unwrap(), &run_at(now())).await.unwrap();
        assert_eq!(round.groups.len(), 2);
        round.count(Did::Waits);
        let answer = reconciler.answer(round).unwrap();
        assert_eq!(answer.fields["failures"], json!({ TOLD: 1 }), "{code}");
        assert!(
            answer.warnings[0]
                .text
                .starts_with("the sweep could not deal with web: DescribeLifecycleHooks failed: "),
            "{answer:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn activities_that_cannot_be_read_are_told_where_no_warm_pool_makes_them_needed() {
    let waiting = instance("i-1", "Pending:Wait", "Healthy");
    for (pool, is_found) in [(false, true), (true, false)] {
        let groups = group("web", &waiting, pool);
        let aws = world("Pending:Wait", "")
            .with("DescribeAutoScalingGroups", &format!("<AutoScalingGroups>{groups}</AutoScalingGroups>"))
            .with("DescribeWarmPool", "<Instances/>")
            .refusing("DescribeScalingActivities", 403, "AccessDenied");
        let reconciler = aws.reconciler();
        let mut round = reconciler.look(&names("web").unwrap(), &run_at(now())).await.unwrap();
        assert_eq!(round.waits.len(), usize::from(is_found), "pool: {pool}");
        round.count(Did::Waits);
        let answer = reconciler.answer(round).unwrap();
        assert_eq!(answer.fields["failures"], json!({ TOLD: 1 }), "pool: {pool}");
    }
}
