//! Draws what happens in a lab as it happens: lab time downwards, one lane for each instance with its
//! state as a block, and beside them what AWS and the functions did and logged. What another line tells
//! already is left out, and sweeps that found nothing to do are gathered in one line. `brief` has the
//! shorter drawing, `lines` the words of both.

mod brief;
mod lines;

use std::collections::BTreeMap;

use anstyle::Style;
use chrono::{DateTime, Utc};
use lifecycle_lab::{Lab, Moment, Sight, What};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use brief::Brief;
pub use brief::Story;
use lines::{BOLD, DIM, SHORT, STATES, block, describe};

/// How much of what happens is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Every line, under a headline for each act.
    Full,
    /// Each story on a part of a screen: its title, what to look at, its main lines and its outcome.
    Brief,
}

impl View {
    /// Columns of a line: of the full view what fits beside an editor, of the brief one what stays readable as a
    /// picture on a web page.
    pub const fn width(self) -> usize {
        match self {
            Self::Full => 120,
            Self::Brief => brief::WIDTH,
        }
    }
}

/// Says how the states are drawn: in one line, or in two whose columns are aligned.
pub fn legend(view: View) {
    let drawn: Vec<_> = STATES.iter().filter(|(_, block, _)| *block != " ").collect();
    let entry = |(state, block, style): &(&str, &str, Style), width: usize| {
        format!("{style}{block}{style:#} {state:width$}")
    };
    let (launching, terminating) = drawn.split_at(4);
    match view {
        View::Full => {
            let legend: Vec<_> = drawn.iter().map(|state| entry(state, 0)).collect();
            anstream::println!("{}", legend.join("  "));
        }
        View::Brief => {
            for row in [launching, terminating] {
                let widths = terminating.iter().map(|(state, ..)| state.len()).chain([0]);
                let legend: Vec<_> =
                    row.iter().zip(widths).map(|(state, width)| entry(state, width)).collect();
                anstream::println!("{}", legend.join("  "));
            }
        }
    }
}

/// A drawing that follows a lab.
pub struct Timeline {
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
    /// What the brief view gathers; `None` draws everything.
    brief: Option<Brief>,
}

impl Timeline {
    /// Will draw what happens in the lab from now on.
    pub fn follow(lab: &Lab, view: View) -> Self {
        Self {
            moments: lab.observe(),
            lanes: Vec::new(),
            names: BTreeMap::new(),
            reached: BTreeMap::new(),
            answers: BTreeMap::new(),
            sweeps: (0, 0),
            brief: (view == View::Brief).then(Brief::default),
        }
    }

    /// Draws what has happened so far, and then, in the full view, a headline.
    pub fn headline(&mut self, text: &str) {
        self.catch_up();
        if self.lanes.iter().all(|(_, state)| *state == "Terminated") {
            self.flush();
            self.lanes.clear();
        }
        if self.brief.is_none() {
            let text = textwrap::fill(text, View::Full.width());
            anstream::println!("\n{BOLD}{text}{BOLD:#}");
        }
    }

    /// Begins a story. The full view has headlines in its place.
    pub fn story(&mut self, story: Story) {
        if let Some(brief) = &mut self.brief {
            brief.begin(story);
        }
    }

    /// Ends a story with what came of it: nothing is drawn until the next one. The full view goes on.
    pub fn outcome(&mut self, text: &str) {
        if self.brief.is_some() {
            self.finish();
        }
        if let Some(brief) = &mut self.brief {
            brief.end(text);
        }
    }

    /// A line under a headline of the full view.
    pub fn note(&self, text: &str) {
        if self.brief.is_none() {
            anstream::println!("{text}");
        }
    }

    /// From now on says what the instance or the image is known by, beside the beginning of its id.
    pub fn name(&mut self, id: &str, name: &'static str) {
        self.names.insert(id.to_owned(), name);
    }

    /// When the instance or the image first came into this state, as far as it is drawn.
    pub fn reached(&self, id: &str, state: &'static str) -> Option<DateTime<Utc>> {
        self.reached.get(&(id.to_owned(), state)).copied()
    }

    /// What functions answered about the instance, as far as it is drawn.
    pub fn answers(&self, instance: &str) -> &[Value] {
        self.answers.get(instance).map_or(&[], Vec::as_slice)
    }

    /// Draws all that has happened so far, also what a second to come could add to.
    pub fn finish(&mut self) {
        self.catch_up();
        self.flush();
    }

    /// Draws what has happened so far.
    pub fn catch_up(&mut self) {
        while let Ok(moment) = self.moments.try_recv() {
            self.draw(&moment);
        }
    }

    fn draw(&mut self, moment: &Moment) {
        if self.brief.as_ref().is_some_and(|brief| brief.is_over(moment.at)) {
            self.flush();
        }
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
        if self.brief.is_some() {
            self.gather(moment);
        } else if let Some((style, text)) = describe(&moment.what) {
            if let Some(text) = self.swept() {
                self.line(moment.at, DIM, &text);
            }
            let text = self
                .names
                .iter()
                .fold(text, |text, (id, name)| text.replace(id.as_str(), &format!("{id:.SHORT$} ({name})")));
            self.line(moment.at, style, &text);
        }
    }

    /// Takes up what the brief view will say of a moment.
    fn gather(&mut self, moment: &Moment) {
        let told = self.brief.as_ref().and_then(|brief| brief.describe(&moment.what));
        let Some((about, style, phrase)) = told else { return };
        // A log line begins with the instance that it is about.
        let about = about.or_else(|| {
            let mut lanes = self.lanes.iter().map(|(id, _)| id);
            lanes.find(|id| phrase.starts_with(*id)).cloned()
        });
        let phrase = about.as_ref().and_then(|id| phrase.strip_prefix(id)).unwrap_or(&phrase);
        let phrase = phrase.trim_start_matches([':', ' ']);
        let phrase = self.reached.keys().fold(phrase.to_owned(), |phrase, (id, _)| {
            let name = self.names.get(id).map(|name| format!(" ({name})")).unwrap_or_default();
            phrase.replace(id, &format!("{id:.SHORT$}{name}"))
        });
        let swept = self.swept();
        let Some(brief) = &mut self.brief else { return };
        if let Some(swept) = swept {
            brief.add(moment.at, None, DIM, swept);
        }
        brief.add(moment.at, about, style, phrase);
    }

    /// Draws what the brief view has gathered.
    fn flush(&mut self) {
        let blocks = self.blocks();
        if let Some(brief) = &mut self.brief {
            brief.draw(&blocks, self.lanes.len(), &self.names);
        }
    }

    /// The sweeps since the last line, and from now on none.
    fn swept(&mut self) -> Option<String> {
        let (sweeps @ 1.., heartbeats) = std::mem::take(&mut self.sweeps) else { return None };
        let times = |count, what| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let sweeps = format!("meanwhile {}", times(sweeps, "sweep"));
        Some(if heartbeats > 0 { format!("{sweeps}, {}", times(heartbeats, "heartbeat")) } else { sweeps })
    }

    /// The blocks of all lanes.
    fn blocks(&self) -> String {
        self.lanes.iter().map(|(_, state)| block(state)).collect::<Vec<_>>().join(" ")
    }

    fn line(&self, at: DateTime<Utc>, style: Style, text: &str) {
        let lanes = self.blocks();
        let time = format!("{}.{}", at.format("%H:%M:%S"), at.timestamp_subsec_millis() / 100);
        let used = time.len() + 2 * self.lanes.len() + 4;
        for (row, text) in
            textwrap::wrap(text, View::Full.width().saturating_sub(used)).into_iter().enumerate()
        {
            let time = if row == 0 { time.clone() } else { " ".repeat(time.len()) };
            anstream::println!("{DIM}{time}{DIM:#}  {lanes}  {style}{text}{style:#}");
        }
    }
}
