//! The words and blocks of a timeline: how a state is drawn, and one line for what happened.

use anstyle::{AnsiColor, Style};
use lifecycle_lab::{Call, Outcome, Sight, What};
use serde_json::Value;

/// How a state is drawn: without colours the block alone must tell it. The legend leaves out what is
/// drawn as nothing.
pub(super) const STATES: [(&str, &str, Style); 8] = [
    ("Pending", "░", AnsiColor::Cyan.on_default()),
    ("Pending:Wait", "▒", AnsiColor::Yellow.on_default()),
    ("Pending:Proceed", "▓", AnsiColor::Cyan.on_default()),
    ("InService", "█", AnsiColor::Green.on_default()),
    ("Terminating", "▽", AnsiColor::Magenta.on_default()),
    ("Terminating:Wait", "◇", AnsiColor::Yellow.on_default()),
    ("Terminating:Proceed", "▼", AnsiColor::Magenta.on_default()),
    ("Terminated", " ", AnsiColor::Red.on_default()),
];

/// Characters of an id that has a name: enough to tell six apart.
pub(super) const SHORT: usize = 10;

pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const BAD: Style = AnsiColor::Red.on_default();

/// One line for what happened; nothing for what another line tells already. That a death was planned is told by
/// the answer alone; other reasons stand in the log too.
pub(super) fn describe(what: &What) -> Option<(Style, String)> {
    let plain = Style::new();
    Some(match what {
        What::Seen(Sight::State { instance, state, .. }) => {
            (style_of(state), format!("{instance} is {state}"))
        }
        What::Seen(Sight::Activity(activity)) => match &activity.message {
            Some(message) if activity.end.is_some() => {
                (BAD, format!("activity {}: {message}", activity.status))
            }
            _ => return None,
        },
        What::Seen(Sight::Command { status: "Pending", .. }) => return None,
        What::Seen(Sight::Command { instance, status, .. }) => {
            let style = if matches!(*status, "Failed" | "TimedOut") { BAD } else { plain };
            (style, format!("command on {instance}: {status}"))
        }
        What::Seen(Sight::Image { image, state, .. }) => {
            let style = if *state == "failed" { BAD } else { plain };
            (style, format!("image {image} is {state}"))
        }
        What::Seen(Sight::TemplateVersion { name, version, state, .. }) => {
            (plain, format!("launch template {name}: version {version} is {state}"))
        }
        What::Seen(Sight::TemplateDefault { name, version, .. }) => {
            (plain, format!("launch template {name}: version {version} is the default"))
        }
        What::Seen(Sight::Service { cluster, service, desired, running }) => {
            (plain, format!("{running} of {desired} tasks of {cluster}/{service} run"))
        }
        What::Seen(Sight::Target { resource, min, max }) => {
            (plain, format!("{resource} may have {min} to {max} tasks"))
        }
        What::Sent(event) => match event["detail-type"].as_str() {
            Some(kind) if kind.ends_with("Lifecycle Action") => {
                let instance = event["detail"]["EC2InstanceId"].as_str().unwrap_or_default();
                (plain, format!("event: {kind}, {instance}"))
            }
            Some(kind) if event["source"] == "aws.backup" && event["detail"]["state"] == "COMPLETED" => {
                (plain, format!("event: {kind}, COMPLETED"))
            }
            _ => return None,
        },
        What::Faulted(fault, event) => {
            let instance = event["detail"]["instance-id"].as_str().unwrap_or_default();
            (
                BAD,
                format!("{fault:?} on its way: {}, {instance}", event["detail-type"].as_str().unwrap_or("?")),
            )
        }
        What::Called(call) if call.outcome != Outcome::OK => {
            (BAD, format!("{} calls {}: {}", call.caller, call.action, call.outcome))
        }
        What::Called(call) if is_told(call) => return None,
        What::Called(call) => (plain, format!("{} calls {}: ok", call.caller, call.action)),
        What::Throttled { function, .. } => (BAD, format!("Lambda has no room for a run of {function}")),
        What::Started(run) if run.attempt > 1 => {
            (plain, format!("Lambda runs {} again, attempt {}", run.function, run.attempt))
        }
        What::Started(_) => return None,
        What::Ended(run, Ok(answer)) => {
            let reason = answer["reason"].as_str().filter(|reason| reason.starts_with("planned: "))?;
            let outcome = answer["outcome"].as_str().unwrap_or("?");
            (plain, format!("{} answers {outcome}, {reason}", run.function))
        }
        What::Ended(run, Err(error)) if run.attempt > 1 => {
            (BAD, format!("{} answers {} again", run.function, error.error_type()))
        }
        What::Ended(run, Err(error)) => (BAD, format!("{} answers {error}", run.function)),
        What::Logged { function, line } => (DIM, format!("{function}: {}", log_line(line)?)),
    })
}

/// Changes that functions log, or that are seen.
const TOLD: [&str; 7] = [
    "CompleteLifecycleAction",
    "RecordLifecycleActionHeartbeat",
    "SendCommand",
    "CreateImage",
    "UpdateFunctionConfiguration",
    "CreateLaunchTemplateVersion",
    "ModifyLaunchTemplate",
];

/// Looks change nothing, and what a function changed is told.
fn is_told(call: &Call) -> bool {
    let looks = ["Describe", "List", "Get"];
    call.caller != "operator"
        && (looks.iter().any(|look| call.action.starts_with(look)) || TOLD.contains(&call.action.as_str()))
}

/// A record by its main fields, and what a function says about its work. What it says of the event, of a
/// command's end and of its answer repeats other lines, heartbeats are counted, and other JSON lines are
/// metrics.
pub(super) fn log_line(line: &str) -> Option<String> {
    let Ok(json) = serde_json::from_str::<Value>(line) else {
        let line = line.trim_start_matches("DEBUG ");
        let repeats = line.starts_with("accepted:")
            || line.contains(": the commands ended as ")
            || line.ends_with(": sent a heartbeat");
        let line = line.split_once(", as ").map_or(line, |(sent, _command)| sent);
        return (!repeats).then(|| line.to_owned());
    };
    json.get("record")?;
    let field = |name: &str| json[name].as_str().unwrap_or("?").to_owned();
    let (instance, origin, destination) = (field("instance.id"), field("origin"), field("destination"));
    Some(match json["event.age_ms"].as_i64() {
        Some(age) => format!("record of {instance}, {origin} to {destination}, {age} ms after its event"),
        None => format!("record of {instance}, found by the sweep"),
    })
}

pub(super) fn style_of(state: &str) -> Style {
    STATES.iter().find(|(known, ..)| *known == state).map_or(Style::new(), |(.., style)| *style)
}

pub(super) fn block(state: &str) -> String {
    let drawn = STATES.iter().find(|(known, ..)| *known == state);
    drawn.map_or(" ".to_owned(), |(_, block, style)| format!("{style}{block}{style:#}"))
}
