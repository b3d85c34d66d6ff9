//! The fault matrix: every call of start, finish, poll and sweep meets every fault, with every event
//! delivered once, twice, late or not at all. Whatever happens, the command is run once, the action is
//! completed, and not before the command has ended.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use common::{LAUNCH_EVENT, LIFECYCLE_EVENT, STATUS_EVENT, Setting, commands};
use lifecycle_lab::faults::CallFault::{self, *};
use lifecycle_lab::faults::EventFault;
use lifecycle_lab::run_command::Script;
use lifecycle_lab::{What, World};
use terminate_drainer::NAME;
use testkit::Scene;
use tokio::runtime::Builder;

const FAULTS: [CallFault; 8] =
    [Throttle, ServerError, Hang, CutBefore, CutAfter, AccessDenied, KillBefore, KillAfter];

/// What befalls every delivery of the lifecycle event and of the status events.
const DELIVERIES: [(Option<EventFault>, Option<EventFault>); 7] = [
    (None, None),
    (Some(EventFault::Doubled), Some(EventFault::Doubled)),
    (Some(EventFault::Delayed), None),
    (None, Some(EventFault::Delayed)),
    (Some(EventFault::Lost), None),
    (None, Some(EventFault::Lost)),
    (Some(EventFault::Lost), Some(EventFault::Lost)),
];

/// What goes on without a fault.
#[derive(Debug, Clone, Copy)]
enum Path {
    /// The agent takes the commands.
    Drain,
    /// The agent is silent until the commands can't be delivered any more.
    Undelivered,
    /// The agent of a new instance registers after its event.
    Registration,
}

/// A story: its path, `WAIT`, and the length of the names of group and hook.
#[derive(Debug, Clone, Copy)]
struct Story(Path, &'static str, usize);

/// Plays the matrix: every call that a story makes without a fault meets every fault. Returns how many stories met
/// theirs.
fn check(story: Story) -> usize {
    let mut met = 0;
    let deliveries = match story.0 {
        Path::Drain => &DELIVERIES[..],
        // All that differs is when the sweep comes first.
        Path::Undelivered | Path::Registration => &[DELIVERIES[1], DELIVERIES[6]],
    };
    for deliveries in deliveries.iter().copied() {
        let calls = play(story, deliveries, None).len();
        for nth in 1..=calls {
            for fault in FAULTS {
                let calls = play(story, deliveries, Some((nth as u64, fault)));
                // A late completion is refused without any fault.
                let is_usual = |call: &String| call.ends_with(": ok") || call.ends_with(": ValidationError");
                let unmet = calls.len() < nth || calls.iter().all(is_usual);
                assert!(
                    !unmet,
                    "{story:?}, events {deliveries:?}: call {nth} did not meet {fault:?} in {calls:#?}"
                );
                met += 1;
            }
        }
    }
    met
}

/// Plays a story in which the nth call meets a fault. Returns the function's calls.
fn play(
    story: Story,
    (lifecycle, status): (Option<EventFault>, Option<EventFault>),
    fault: Option<(u64, CallFault)>,
) -> Vec<String> {
    let Story(path, mode, names) = story;
    let text = format!("{story:?}, call {fault:?}, events {lifecycle:?} and {status:?}");
    // A runtime of its own, so that nothing of one story goes on in the next.
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (transition, kind) = match path {
            Path::Registration => (testkit::LAUNCHING, LAUNCH_EVENT),
            _ => (testkit::TERMINATING, LIFECYCLE_EVENT),
        };
        let setting = Setting {
            group: "g".repeat(names),
            hook: "h".repeat(names),
            transition,
            script: Script { duration: Duration::from_secs(45), ..Script::default() },
            time_limit: Duration::from_secs(if mode == "poll" { 120 } else { 30 }),
            ..Setting::default()
        };
        let mut setting = setting.with("WAIT", mode).with("LIFECYCLE_HOOKS", &"h".repeat(names)).swept();
        if !matches!(path, Path::Drain) {
            setting.sweep = Some(Duration::from_secs(60));
        }
        let scene = setting.scene().await;
        match path {
            Path::Drain => {}
            Path::Undelivered => {
                scene.lab.world(|world| world.silence_agent(&scene.instance, Duration::from_secs(170)));
            }
            Path::Registration => scene.lab.world(|world| {
                world.run_command.set_registration(&scene.instance, Some(Duration::from_secs(70)));
            }),
        }
        if let Some((nth, fault)) = fault {
            scene.lab.faults().at_call(NAME, nth, fault);
        }
        scene.lab.faults().script_events(kind, lifecycle);
        scene.lab.faults().script_events(STATUS_EVENT, status.into_iter().cycle().take(9));
        tell(&scene, path, &text).await;
        scene.calls()
    })
}

async fn tell(scene: &Scene, path: Path, story: &str) {
    let mut moments = scene.lab.observe();
    if !matches!(path, Path::Registration) {
        scene.scale_in().await;
    }
    let waited = scene.released(Duration::from_secs(3_500)).await;
    assert!(waited.is_some(), "{story}: still {} after {:#?}", scene.state(), scene.calls());
    assert_eq!(scene.completions(), ["CONTINUE"], "{story}: {:#?}", scene.calls());
    let accepted = |what: &What| matches!(what, What::Called(call) if call.action == "CompleteLifecycleAction" && call.outcome.took_effect());
    let mut moments = std::iter::from_fn(|| moments.try_recv().ok());
    let released = moments.find(|moment| accepted(&moment.what)).unwrap().at;
    let runs: Vec<_> = scene.lab.world(|world| {
        let sent = world.run_command.invocations(&scene.instance);
        sent.filter(|(_, run)| run.started.is_some()).map(|(_, run)| run.ended).collect()
    });
    let [ended] = runs[..] else { panic!("{story}: runs {runs:?} of {:#?}", scene.calls()) };
    assert!(
        ended.is_some_and(|ended| ended <= released),
        "{story}: released at {released}, before its command had ended: {runs:?}"
    );
    // A fault can delay the first command until the agent is back.
    let expected = if matches!(path, Path::Undelivered) { 1..=2 } else { 1..=1 };
    assert!(expected.contains(&commands(scene).len()), "{story}: {:#?}", scene.calls());
}

#[test]
fn by_event_nothing_is_lost_or_done_twice() {
    assert_eq!(check(Story(Path::Drain, "event", 3)), 600);
}

#[test]
fn by_event_with_names_that_are_looked_up_nothing_is_lost_or_done_twice() {
    assert_eq!(check(Story(Path::Drain, "event", 200)), 664);
}

#[test]
fn by_polling_nothing_is_lost_or_done_twice() {
    assert_eq!(check(Story(Path::Drain, "poll", 3)), 944);
}

#[test]
fn what_is_not_delivered_runs_once_by_the_second_command() {
    assert_eq!(check(Story(Path::Undelivered, "event", 3)), 584);
}

#[test]
fn a_new_instance_whose_agent_registers_late_gets_its_commands_once() {
    assert_eq!(check(Story(Path::Registration, "event", 3)), 288);
}

/// An instance that was drained on its way back to the warm pool serves again and fails.
async fn drained_before(scene: &Scene) {
    let pool = scene.operator.put_warm_pool().auto_scaling_group_name("web").max_group_prepared_capacity(1);
    let reuse = aws_sdk_autoscaling::types::InstanceReusePolicy::builder().reuse_on_scale_in(true).build();
    pool.min_size(0).instance_reuse_policy(reuse).send().await.unwrap();
    let reach = async |state| {
        let is =
            |world: &World| world.autoscaling.instance(&scene.instance).map(|one| one.state) == Some(state);
        assert!(scene.lab.until(Duration::from_secs(3_600), is).await, "{} and not {state}", scene.state());
    };
    scene.scale_in().await;
    reach("Warmed:Stopped").await;
    let out = scene.operator.set_desired_capacity().auto_scaling_group_name("web").desired_capacity(1);
    out.send().await.unwrap();
    reach("InService").await;
    scene.lab.world(|world| world.fail_load_balancer_check(&scene.instance));
}

/// How often AWS did not say when the wait began.
fn unread(scene: &Scene) -> usize {
    let calls = scene.calls();
    calls
        .iter()
        .filter(|call| call.starts_with("DescribeScalingActivities") && !call.ends_with(": ok"))
        .count()
}

#[test]
fn a_sweep_that_cannot_read_when_a_wait_began_does_not_take_an_earlier_drain_for_its_own() {
    for (fault, times) in [(Throttle, 3), (ServerError, 3), (AccessDenied, 9)] {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let script = Script { duration: Duration::from_secs(800), ..Script::default() };
            let scene = Setting { script, ..Setting::default() }.swept().scene().await;
            drained_before(&scene).await;
            scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Lost]);
            scene.lab.faults().script("DescribeScalingActivities", vec![fault; times]);
            assert!(scene.released(Duration::from_secs(7_200)).await.is_some(), "{fault:?}");
            let [_, (_, ended)] = commands(&scene)[..] else { panic!("{fault:?}: {:#?}", scene.calls()) };
            assert!(ended.is_some(), "{fault:?}: let go while its drain ran: {:#?}", scene.calls());
            assert_eq!(unread(&scene), times, "{fault:?}: {:#?}", scene.calls());
        });
    }
}

#[test]
fn without_its_warm_pool_and_the_scaling_activities_a_group_s_newest_drain_counts() {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let script = Script { duration: Duration::from_secs(800), ..Script::default() };
        let scene = Setting { script, ..Setting::default() }.swept().scene().await;
        drained_before(&scene).await;
        scene.operator.delete_warm_pool().auto_scaling_group_name("web").send().await.unwrap();
        scene.lab.faults().script("DescribeScalingActivities", vec![AccessDenied; 9]);
        assert!(scene.released(Duration::from_secs(7_200)).await.is_some());
        let [_, (_, ended)] = commands(&scene)[..] else { panic!("{:#?}", scene.calls()) };
        assert!(ended.is_some(), "let go while its drain ran: {:#?}", scene.calls());
        assert!(unread(&scene) > 0, "{:#?}", scene.calls());
    });
}
