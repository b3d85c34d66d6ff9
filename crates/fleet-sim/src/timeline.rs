//! Draws what happens in a lab as it happens: lab time downwards, one lane for each instance with its
//! state as a block, and beside them what AWS and the functions did and logged.

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Utc};
use lifecycle_lab::{Lab, Moment, Sight, What};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

/// Columns of a line: what fits beside an editor.
const WIDTH: usize = 120;

/// How a state is drawn: without colours the block alone must tell it.
const STATES: [(&str, &str, Style); 6] = [
    ("Pending", "░", AnsiColor::Cyan.on_default()),
    ("Pending:Wait", "▒", AnsiColor::Yellow.on_default()),
    ("Pending:Proceed", "▓", AnsiColor::Cyan.on_default()),
    ("InService", "█", AnsiColor::Green.on_default()),
    ("Terminating", "▽", AnsiColor::Magenta.on_default()),
    ("Terminated", "×", AnsiColor::Red.on_default()),
];

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const BAD: Style = AnsiColor::Red.on_default();

/// A drawing that follows a lab.
pub(crate) struct Timeline {
    moments: UnboundedReceiver<Moment>,
    /// Each instance and its state; the lane of one that is gone stays empty.
    lanes: Vec<(String, &'static str)>,
}

impl Timeline {
    /// Will draw everything that happens in the lab from now on.
    pub(crate) fn follow(lab: &Lab) -> Self {
        let legend =
            STATES.map(|(state, block, style)| format!("{style}{block}{style:#} {state}")).join("   ");
        anstream::println!("{legend}");
        Self { moments: lab.observe(), lanes: Vec::new() }
    }

    /// Draws what has happened so far, and then a headline.
    pub(crate) fn headline(&mut self, text: &str) {
        self.catch_up();
        let text = textwrap::fill(text, WIDTH);
        anstream::println!("\n{BOLD}{text}{BOLD:#}");
    }

    /// Draws what has happened so far.
    pub(crate) fn catch_up(&mut self) {
        while let Ok(moment) = self.moments.try_recv() {
            self.draw(&moment);
        }
    }

    fn draw(&mut self, moment: &Moment) {
        if let What::Seen(Sight::State { instance, state, .. }) = &moment.what {
            match self.lanes.iter_mut().find(|(id, _)| id == instance) {
                Some(lane) => lane.1 = state,
                None => self.lanes.push((instance.clone(), state)),
            }
        }
        if let Some((style, text)) = describe(&moment.what) {
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

/// One line for what happened; nothing for what another line tells already.
fn describe(what: &What) -> Option<(Style, String)> {
    let plain = Style::new();
    Some(match what {
        What::Seen(Sight::State { instance, state, .. }) => (
            STATES.iter().find(|(known, ..)| known == state).map_or(plain, |(.., style)| *style),
            format!("{instance} is {state}"),
        ),
        What::Seen(Sight::Activity(activity)) => match (activity.status, &activity.message) {
            ("InProgress" | "MidLifecycleAction" | "MidTerminatingLifecycleAction", _) => return None,
            (status, None) => (plain, format!("activity {status}: {}", activity.description)),
            (status, Some(message)) => (BAD, format!("activity {status}: {message}")),
        },
        What::Seen(Sight::Command { instance, status, .. }) => {
            (plain, format!("command on {instance}: {status}"))
        }
        What::Sent(event) => match event["detail-type"].as_str() {
            Some(kind) if kind.ends_with("Lifecycle Action") => {
                let instance = event["detail"]["EC2InstanceId"].as_str().unwrap_or_default();
                (plain, format!("event: {kind}, {instance}"))
            }
            _ => return None,
        },
        What::Faulted(fault, event) => (BAD, format!("on its way: {fault:?}, {}", event["detail-type"])),
        What::Called(call) => {
            let style = if call.outcome == "ok" { plain } else { BAD };
            (style, format!("{} calls {}: {}", call.caller, call.action, call.outcome))
        }
        What::Started(run) if run.attempt > 1 => {
            (plain, format!("Lambda runs {} again, attempt {}", run.function, run.attempt))
        }
        What::Started(_) | What::Ended(_, Ok(_)) => return None,
        What::Ended(run, Err(error)) => (BAD, format!("{} answers {}", run.function, error.error_type)),
        What::Logged { function, line } => (DIM, format!("{function}: {}", log_line(line)?)),
    })
}

/// A record by its main fields; other JSON lines are metrics, which say nothing to a viewer.
fn log_line(line: &str) -> Option<String> {
    let Ok(json) = serde_json::from_str::<Value>(line) else {
        return Some(line.to_owned());
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
    match drawn {
        Some(("Terminated", ..)) | None => " ".to_owned(),
        Some((_, block, style)) => format!("{style}{block}{style:#}"),
    }
}
