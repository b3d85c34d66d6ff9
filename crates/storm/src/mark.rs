//! The marks of a recording: each thing that happened to an instance, as a kind and a short text.

use lifecycle_lab::{Sight, What};
use serde_json::Value;

use crate::effect::is_disturbed;

/// Most characters of a mark's text.
const MAX_TEXT_CHARS: usize = 240;

/// What marks of a lane tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    State,
    Activity,
    Event,
    Fault,
    Run,
    Answer,
    Error,
    Call,
    Disturbed,
    Kill,
    Command,
    Image,
    Heartbeat,
    Completion,
}

impl Kind {
    /// All of them, each at its number.
    pub(crate) const ALL: [(Self, &'static str); 14] = [
        (Self::State, "state"),
        (Self::Activity, "activity"),
        (Self::Event, "event"),
        (Self::Fault, "event disturbed"),
        (Self::Run, "run"),
        (Self::Answer, "answer"),
        (Self::Error, "error"),
        (Self::Call, "call"),
        (Self::Disturbed, "call disturbed"),
        (Self::Kill, "run killed"),
        (Self::Command, "command"),
        (Self::Image, "image"),
        (Self::Heartbeat, "heartbeat"),
        (Self::Completion, "completion"),
    ];
}

/// The kind and the text of a mark. The text has no ids, so equal texts recur and are stored once.
pub(crate) fn describe(what: &What) -> Option<(Kind, String)> {
    let (kind, mut text) = in_full(what)?;
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    Some((kind, text))
}

fn in_full(what: &What) -> Option<(Kind, String)> {
    let kind = |event: &Value| event["detail-type"].as_str().unwrap_or("?").to_owned();
    Some(match what {
        What::Seen(Sight::State { state, .. }) => (Kind::State, (*state).to_owned()),
        What::Seen(Sight::Activity(activity)) => {
            let what = activity.description.split(':').next().unwrap_or_default();
            // The cause is the same from its beginning to its end.
            let begins = (activity.progress == 0).then_some(&activity.cause);
            let why = activity.message.as_ref().or(begins).map(|why| format!(": {why}"));
            (Kind::Activity, format!("{what}, {}{}", activity.status, why.unwrap_or_default()))
        }
        What::Seen(Sight::Command { status, .. }) => (Kind::Command, format!("command: {status}")),
        What::Seen(Sight::Image { state, .. }) => (Kind::Image, format!("image: {state}")),
        What::Seen(_) | What::Logged { .. } => return None,
        What::Sent(event) => {
            let state = ["status", "State"].into_iter().find_map(|key| event["detail"][key].as_str());
            let state = state.map(|state| format!(", {state}")).unwrap_or_default();
            (Kind::Event, format!("event: {}{state}", kind(event)))
        }
        What::Throttled { function, payload } => {
            (Kind::Fault, format!("no room for a run of {function}: {} is throttled", kind(payload)))
        }
        What::Faulted(fault, event) => (Kind::Fault, format!("{fault:?} on its way: {}", kind(event))),
        What::Called(call) => {
            let result = call.parameter("LifecycleActionResult");
            let result = result.map(|result| format!(" {result}")).unwrap_or_default();
            let done = call.outcome.took_effect();
            let kind = match call.action.as_str() {
                _ if call.outcome.is_kill() => Kind::Kill,
                _ if is_disturbed(call.outcome) => Kind::Disturbed,
                "CompleteLifecycleAction" if done => Kind::Completion,
                "RecordLifecycleActionHeartbeat" if done => Kind::Heartbeat,
                _ => Kind::Call,
            };
            (kind, format!("{} calls {}{result}: {}", call.caller, call.action, call.outcome))
        }
        What::Started(run) => {
            (Kind::Run, format!("{} runs for {}, attempt {}", run.function, kind(&run.payload), run.attempt))
        }
        What::Ended(run, Ok(answer)) => {
            let outcome = answer["outcome"].as_str().unwrap_or("?");
            let reason = answer["reason"].as_str().map(|reason| format!(", {reason}")).unwrap_or_default();
            (Kind::Answer, format!("{} answers {outcome}{reason}", run.function))
        }
        What::Ended(run, Err(error)) => (Kind::Error, format!("{} ends in {error}", run.function)),
    })
}
