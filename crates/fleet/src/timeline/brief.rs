//! The brief view of a timeline. It gathers what happens within a second and draws one line for each
//! instance, or for several with the same news. A story chooses the states that it shows.

use std::collections::BTreeMap;

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, TimeDelta, Utc};
use lifecycle_lab::{Outcome, Sight, What};
use serde_json::Value;
use textwrap::WordSplitter;

use super::lines::{self, BAD, BOLD, DIM, SHORT, log_line, style_of};

/// Columns of a line: a picture of them stays readable on a web page.
pub(super) const WIDTH: usize = 100;

/// Lanes that each story leaves room for, so that the text beside them begins in the same column everywhere.
const LANES: usize = 6;

/// What happens within this time is drawn together: an event's journey and a function's calls fit in.
const TOGETHER: TimeDelta = TimeDelta::seconds(1);

const LOOK: Style = AnsiColor::Cyan.on_default();
const OUTCOME: Style = AnsiColor::Green.on_default().bold();

/// A part of the demo, as the brief view tells it.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    /// Its place among the stories, from 1.
    pub number: u8,
    /// The function, and what happens.
    pub title: &'static str,
    /// Where the reader looks.
    pub look: &'static str,
    /// The states of instances that get a line of their own; the blocks show the others.
    pub states: &'static [&'static str],
}

impl Story {
    /// Prints what stands above the drawing.
    pub fn print(&self) {
        let Self { number, title, look, .. } = self;
        anstream::println!("\n{BOLD}{number}. {title}{BOLD:#}\n   {LOOK}{look}{LOOK:#}\n");
    }

    /// Prints a line of what came of a story.
    pub fn outcome(text: &str) {
        for (row, text) in textwrap::wrap(text, WIDTH - 3).into_iter().enumerate() {
            let arrow = if row == 0 { "→" } else { " " };
            anstream::println!("{OUTCOME}{arrow}{OUTCOME:#}  {text}");
        }
    }
}

/// What the next lines say.
#[derive(Debug, Default)]
pub(super) struct Brief {
    /// `None` between an outcome and the next story: nothing is drawn.
    story: Option<Story>,
    /// When the first of the news came.
    since: Option<DateTime<Utc>>,
    news: Vec<News>,
}

/// What happened to instances, or, without one, around them.
#[derive(Debug)]
struct News {
    /// Nothing, one instance, or several with the same news.
    about: Vec<String>,
    phrases: Vec<(Style, String)>,
}

impl Brief {
    /// Begins a story.
    pub(super) fn begin(&mut self, story: Story) {
        self.story = Some(story);
        story.print();
    }

    /// Ends a story with what came of it: nothing is drawn until the next one.
    pub(super) fn end(&mut self, outcome: &str) {
        if self.story.take().is_some() {
            anstream::println!();
        }
        Story::outcome(outcome);
    }

    /// Whether the gathered news are older than what happens at this time.
    pub(super) fn is_over(&self, at: DateTime<Utc>) -> bool {
        self.since.is_some_and(|since| at - since >= TOGETHER)
    }

    /// The instance that a moment is about, as far as it says so, and a phrase; nothing for what the story leaves
    /// out.
    pub(super) fn describe(&self, what: &What) -> Option<(Option<String>, Style, String)> {
        describe(what, self.story.as_ref()?)
    }

    /// Takes up a phrase, about an instance or what is around them.
    pub(super) fn add(&mut self, at: DateTime<Utc>, about: Option<String>, style: Style, phrase: String) {
        self.since.get_or_insert(at);
        let about: Vec<_> = about.into_iter().collect();
        match self.news.iter_mut().find(|news| !about.is_empty() && news.about == about) {
            Some(news) => news.phrases.push((style, phrase)),
            None => self.news.push(News { about, phrases: vec![(style, phrase)] }),
        }
    }

    /// Draws what is gathered beside the blocks of so many lanes.
    pub(super) fn draw(&mut self, blocks: &str, lanes: usize, names: &BTreeMap<String, &'static str>) {
        let (Some(at), news) = (self.since.take(), std::mem::take(&mut self.news)) else { return };
        let mut lines: Vec<News> = Vec::new();
        for news in news {
            match lines.iter_mut().find(|line| !line.about.is_empty() && line.phrases == news.phrases) {
                Some(line) => line.about.extend(news.about),
                None => lines.push(news),
            }
        }
        let mut time = at.format("%a %H:%M:%S").to_string();
        let blocks = format!("{blocks}{}", " ".repeat(2 * LANES.saturating_sub(lanes)));
        let width = WIDTH.saturating_sub(time.len() + 2 * LANES.max(lanes) + 3);
        for line in lines {
            let options = textwrap::Options::new(width).word_splitter(WordSplitter::NoHyphenation);
            for text in textwrap::wrap(&line.text(names), options.break_words(false)) {
                anstream::println!("{DIM}{time}{DIM:#}  {blocks}  {text}");
                time = " ".repeat(time.len());
            }
        }
    }
}

impl News {
    fn text(&self, names: &BTreeMap<String, &'static str>) -> String {
        let mut text = self.known_as(names).join(", ");
        for (place, (style, phrase)) in self.phrases.iter().enumerate() {
            text += match place {
                0 if self.about.is_empty() => "",
                0 => ": ",
                _ => ", ",
            };
            // Word by word, so that the next row of a long phrase keeps its style.
            let words: Vec<_> = phrase.split(' ').map(|word| format!("{style}{word}{style:#}")).collect();
            text += &words.join(" ");
        }
        text
    }

    /// What the viewer knows the instances by: their names, or the beginnings of their ids. A name that
    /// several share is said once, with their number.
    fn known_as(&self, names: &BTreeMap<String, &'static str>) -> Vec<String> {
        let mut known: Vec<(String, usize)> = Vec::new();
        for id in &self.about {
            let name = names.get(id).map_or_else(|| format!("{id:.SHORT$}"), ToString::to_string);
            match known.iter_mut().find(|(other, _)| *other == name) {
                Some((_, count)) => *count += 1,
                None => known.push((name, 1)),
            }
        }
        let known = known.into_iter();
        known.map(|(name, count)| if count == 1 { name } else { format!("{count} x {name}") }).collect()
    }
}

/// As [`Brief::describe`], in this story.
fn describe(what: &What, story: &Story) -> Option<(Option<String>, Style, String)> {
    let plain = Style::new();
    let instance = |event: &Value| {
        let detail = &event["detail"];
        detail["EC2InstanceId"].as_str().or(detail["instance-id"].as_str()).map(str::to_owned)
    };
    Some(match what {
        What::Seen(Sight::State { instance, state, .. }) if story.states.contains(state) => {
            (Some(instance.clone()), style_of(state), (*state).to_owned())
        }
        What::Called(call) if call.caller != "operator" && call.outcome != Outcome::OK => {
            let instance = call.parameter("InstanceId").map(str::to_owned);
            (instance, BAD, format!("{}: {}", call.action, call.outcome))
        }
        What::Started(run) if run.attempt > 1 => {
            (instance(&run.payload), plain, format!("attempt {}", run.attempt))
        }
        What::Seen(Sight::Activity(activity)) if activity.end.is_some() => {
            let (_, reason) = activity.message.as_deref()?.rsplit_once(": ")?;
            (Some(activity.instance.clone()), BAD, format!("launch {}: {reason}", activity.status))
        }
        What::Seen(Sight::Command { status: "Pending" | "InProgress", .. }) => return None,
        What::Seen(Sight::Command { instance, status, .. }) => {
            let style = if matches!(*status, "Failed" | "TimedOut") { BAD } else { plain };
            (Some(instance.clone()), style, format!("command {status}"))
        }
        What::Faulted(fault, event) => {
            let kind = event["detail-type"].as_str().unwrap_or("?");
            (instance(event), BAD, format!("{fault:?} on its way: {kind}"))
        }
        What::Logged { line, .. } => {
            let text = log_line(line)?;
            if let Some(record) = text.strip_prefix("record of ") {
                let instance = record.split(',').next().map(str::to_owned);
                return Some((instance, plain, "recorded".to_owned()));
            }
            let text = text.trim_start_matches("DEBUG ").trim_start_matches("WARN ");
            let text = text.replace("completed the lifecycle action with", "completed with");
            let text = text.replace("because its termination was unplanned", "unplanned");
            (None, plain, text.trim_end_matches(": completing with CONTINUE").to_owned())
        }
        What::Ended(_, Ok(answer)) => {
            let reason = answer["reason"].as_str().filter(|reason| reason.starts_with("planned: "))?;
            (answer["instance.id"].as_str().map(str::to_owned), plain, reason.to_owned())
        }
        What::Seen(Sight::Image { .. } | Sight::TemplateDefault { .. }) => {
            let (style, text) = lines::describe(what)?;
            (None, style, text)
        }
        What::Sent(event) if event["source"] == "aws.backup" => {
            let (style, text) = lines::describe(what)?;
            (None, style, text)
        }
        _ => return None,
    })
}
