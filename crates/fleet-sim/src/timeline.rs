//! Draws what happens in a lab as it happens: lab time downwards, one lane for each instance with its
//! state as a block, and beside them what AWS and the functions did and logged. What another line tells
//! already is left out, and sweeps that found nothing to do are gathered in one line.

use std::collections::BTreeMap;

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Utc};
use lifecycle_lab::{Call, Lab, Moment, Sight, What};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

/// Columns of a line: what fits beside an editor.
const WIDTH: usize = 120;

/// How a state is drawn: without colours the block alone must tell it. The legend leaves out what is
/// drawn as nothing.
const STATES: [(&str, &str, Style); 8] = [
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
const SHORT: usize = 10;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const BAD: Style = AnsiColor::Red.on_default();

/// Says how the states are drawn.
pub(crate) fn legend() {
    let drawn = STATES.iter().filter(|(_, block, _)| *block != " ");
    let legend = drawn.map(|(state, block, style)| format!("{style}{block}{style:#} {state}"));
    anstream::println!("{}", legend.collect::<Vec<_>>().join("  "));
}

/// A drawing that follows a lab.
pub(crate) struct Timeline {
    moments: UnboundedReceiver<Moment>,
    /// Each instance and its state; the lane of one that is gone stays empty.
    lanes: Vec<(String, &'static str)>,
    /// What the viewer knows an instance or an image by.
    names: BTreeMap<String, &'static str>,
    /// When an instance or an image first came into a state.
    reached: BTreeMap<(String, &'static str), DateTime<Utc>>,
    /// What functions answered about an instance.
    answers: BTreeMap<String, Vec<Value>>,
    /// Sweeps since the last line, and the heartbeats that they sent.
    sweeps: (u64, u64),
}

impl Timeline {
    /// Will draw everything that happens in the lab from now on.
    pub(crate) fn follow(lab: &Lab) -> Self {
        Self {
            moments: lab.observe(),
            lanes: Vec::new(),
            names: BTreeMap::new(),
            reached: BTreeMap::new(),
            answers: BTreeMap::new(),
            sweeps: (0, 0),
        }
    }

    /// Draws what has happened so far, and then a headline.
    pub(crate) fn headline(&mut self, text: &str) {
        self.catch_up();
        if self.lanes.iter().all(|(_, state)| *state == "Terminated") {
            self.lanes.clear();
        }
        let text = textwrap::fill(text, WIDTH);
        anstream::println!("\n{BOLD}{text}{BOLD:#}");
    }

    /// A line under a headline.
    pub(crate) fn note(&self, text: &str) {
        anstream::println!("{text}");
    }

    /// From now on says what the instance or the image is known by, beside the beginning of its id.
    pub(crate) fn name(&mut self, id: &str, name: &'static str) {
        self.names.insert(id.to_owned(), name);
    }

    /// When the instance or the image first came into this state, as far as it is drawn.
    pub(crate) fn reached(&self, id: &str, state: &'static str) -> Option<DateTime<Utc>> {
        self.reached.get(&(id.to_owned(), state)).copied()
    }

    /// What functions answered about the instance, as far as it is drawn.
    pub(crate) fn answers(&self, instance: &str) -> &[Value] {
        self.answers.get(instance).map_or(&[], Vec::as_slice)
    }

    /// Draws what has happened so far.
    pub(crate) fn catch_up(&mut self) {
        while let Ok(moment) = self.moments.try_recv() {
            self.draw(&moment);
        }
    }

    fn draw(&mut self, moment: &Moment) {
        match &moment.what {
            What::Seen(Sight::State { instance, state, .. }) => {
                self.reached.entry((instance.clone(), state)).or_insert(moment.at);
                match self.lanes.iter_mut().find(|(id, _)| id == instance) {
                    Some(lane) => lane.1 = state,
                    None => self.lanes.push((instance.clone(), state)),
                }
            }
            What::Seen(Sight::Image { image, state, .. }) => {
                self.reached.entry((image.clone(), state)).or_insert(moment.at);
            }
            What::Ended(_, Ok(answer)) if answer["outcome"] == "swept" && answer["waiting"] != 0 => {
                self.sweeps.0 += 1;
                self.sweeps.1 += answer["heartbeats"].as_u64().unwrap_or_default();
            }
            What::Ended(_, Ok(answer)) => {
                if let Some(instance) = answer["instance.id"].as_str() {
                    self.answers.entry(instance.to_owned()).or_default().push(answer.clone());
                }
            }
            _ => {}
        }
        if let Some((style, text)) = describe(&moment.what) {
            if let (sweeps @ 1.., heartbeats) = std::mem::take(&mut self.sweeps) {
                let times = |count, what| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
                let mut text = format!("meanwhile {}", times(sweeps, "sweep"));
                if heartbeats > 0 {
                    text = format!("{text}, {}", times(heartbeats, "heartbeat"));
                }
                self.line(moment.at, DIM, &text);
            }
            let text = self
                .names
                .iter()
                .fold(text, |text, (id, name)| text.replace(id.as_str(), &format!("{id:.SHORT$} ({name})")));
            self.line(moment.at, style, &text);
        }
    }

    fn line(&self, at: DateTime<Utc>, style: Style, text: &str) {
        let lanes = self.lanes.iter().map(|(_, state)| block(state)).collect::<Vec<_>>().join(" ");
        let time = format!("{}.{}", at.format("%H:%M:%S"), at.timestamp_subsec_millis() / 100);
        let used = time.len() + 2 * self.lanes.len() + 4;
        for (row, text) in textwrap::wrap(text, WIDTH.saturating_sub(used)).into_iter().enumerate() {
            let time = if row == 0 { time.clone() } else { " ".repeat(time.len()) };
            anstream::println!("{DIM}{time}{DIM:#}  {lanes}  {style}{text}{style:#}");
        }
    }
}

/// One line for what happened; nothing for what another line tells already. That a death was planned is told by
/// the answer alone; other reasons stand in the log too.
fn describe(what: &What) -> Option<(Style, String)> {
    let plain = Style::new();
    Some(match what {
        What::Seen(Sight::State { instance, state, .. }) => (
            STATES.iter().find(|(known, ..)| known == state).map_or(plain, |(.., style)| *style),
            format!("{instance} is {state}"),
        ),
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
        What::Called(call) if call.outcome != "ok" => {
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
            (BAD, format!("{} answers {} again", run.function, error.error_type))
        }
        What::Ended(run, Err(error)) => {
            (BAD, format!("{} answers {}: {}", run.function, error.error_type, error.error_message))
        }
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
fn log_line(line: &str) -> Option<String> {
    let Ok(json) = serde_json::from_str::<Value>(line) else {
        let repeats = ["INFO accepted:", "INFO handled", "ERROR not handled"]
            .iter()
            .any(|start| line.starts_with(start))
            || line.contains(": the commands ended as ")
            || line.ends_with(": sent a heartbeat");
        let line = line.trim_start_matches("INFO ");
        let told = line.split_once(", as ").map_or(line, |(told, _command)| told);
        return (!repeats).then(|| told.to_owned());
    };
    json.get("record")?;
    let field = |name: &str| json[name].as_str().unwrap_or("?").to_owned();
    let (instance, origin, destination) = (field("instance.id"), field("origin"), field("destination"));
    Some(format!(
        "record of {instance}, {origin} to {destination}, {} ms after its event",
        json["event.age_ms"]
    ))
}

fn block(state: &str) -> String {
    let drawn = STATES.iter().find(|(known, ..)| *known == state);
    drawn.map_or(" ".to_owned(), |(_, block, style)| format!("{style}{block}{style:#}"))
}
