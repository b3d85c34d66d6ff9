//! The page of a storm: its data in a single document for any browser. The document, its style and its script are in
//! `page/`; all text of the storm is passed as JSON and is never markup.

use std::collections::BTreeMap;
use std::io::Write;

use fleet::measure::{GIGABYTES, USD_PER_GB_SECOND_X86_64, USD_PER_REQUEST};
use serde_json::{Value, json};

use crate::invariant::Invariant;
use crate::mark::Kind;
use crate::observer::Violation;
use crate::options::Options;
use crate::recording::{INTERVALS_PER_SLICE, Lane, Recording, Row, STATES};
use crate::tally::Tally;

const DOCUMENT: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = concat!(
    include_str!("page/page.js"),
    include_str!("page/charts.js"),
    include_str!("page/pointer.js"),
    include_str!("page/lanes.js")
);

/// Places in the document.
const STYLE_HERE: &str = "/* style */";
const SCRIPT_HERE: &str = "/* script */";
const DATA_HERE: &str = "{\"data\":\"here\"}";

/// Latencies are counted in classes of which there are so many between one and ten milliseconds, and so on: each
/// is an eighth wider than the one before it.
const PER_DECADE: f64 = 20.0;

/// Maximum of violations with their history. The others have one sentence.
const MAX_HISTORIES: usize = 20;

/// Most lines of such a history.
const MAX_LINES: usize = 500;

/// The data of a page.
pub(crate) struct Story<'a> {
    pub(crate) options: &'a Options,
    pub(crate) accounts: usize,
    pub(crate) tally: &'a Tally,
    /// With the numbers of their accounts.
    pub(crate) violations: &'a [(u32, Violation)],
    pub(crate) recording: &'a Recording,
}

pub(crate) fn write(mut file: impl Write, story: &Story<'_>) -> std::io::Result<()> {
    file.write_all(fill(&story.data()).as_bytes())
}

/// The document with these data.
fn fill(data: &Value) -> String {
    // In a script element `<` alone could end it, or begin a comment.
    let data = data.to_string().replace('<', "\\u003c");
    // The data come last: what looks like a place in them is none.
    DOCUMENT.replacen(STYLE_HERE, STYLE, 1).replacen(SCRIPT_HERE, SCRIPT, 1).replacen(DATA_HERE, &data, 1)
}

impl Story<'_> {
    fn data(&self) -> Value {
        let Self { options, tally, recording, .. } = self;
        let mut texts = Texts::default();
        let lanes: Vec<_> = recording.lanes.iter().map(|lane| lane_data(lane, &mut texts)).collect();
        json!({
            "seed": options.seed.to_string(),
            "faults": options.faults.as_str(),
            "days": options.days,
            "accounts": self.accounts,
            "account": options.account,
            "instances": tally.instances,
            "command": options.command(options.account),
            "began": recording.began.timestamp_millis(),
            "weatherEnds": u64::try_from(options.lasts().as_millis()).unwrap_or(u64::MAX),
            "labMs": tally.lab_time.num_milliseconds(),
            "width": recording.width.num_milliseconds(),
            "intervals": recording.length(),
            "slice": INTERVALS_PER_SLICE,
            "states": STATES,
            "population": recording.population,
            "rows": recording.counts.iter().map(|((row, what), counts)| json!({
                "row": match row { Row::Lives => "lives", Row::Weather => "weather", Row::Faults => "faults" },
                "what": what,
                "counts": counts,
            })).collect::<Value>(),
            "calls": recording.calls.iter().map(|(service, (answered, refused))| json!({
                "service": service, "answered": answered, "refused": refused,
            })).collect::<Value>(),
            "bucket": recording.bucket.as_ref().map(|(capacity, refill, lowest)| json!({
                "capacity": capacity,
                "refill": refill,
                "lowest": lowest.iter().map(|tokens| tokens.map(|tokens| tokens.floor())).collect::<Vec<_>>(),
            })),
            "bucketRefused": tally.bucket.1,
            "latencies": self.latencies(),
            "perDecade": PER_DECADE,
            "usage": recording.usage.iter().map(|(function, slices)| json!({
                "function": function,
                "events": slices.iter().map(|usage| usage.events).collect::<Value>(),
                "runs": slices.iter().map(|usage| usage.runs).collect::<Value>(),
                "failed": slices.iter().map(|usage| usage.failed).collect::<Value>(),
                "ms": slices.iter().map(|usage| usage.billed_ms).collect::<Value>(),
                "calls": slices.iter().map(|usage| usage.calls).collect::<Value>(),
                "throttled": slices.iter().map(|usage| usage.throttled).collect::<Value>(),
            })).collect::<Value>(),
            "prices": {
                "gigabytes": GIGABYTES,
                "usdPerGbSecond": USD_PER_GB_SECOND_X86_64,
                "usdPerRequest": USD_PER_REQUEST,
            },
            "invariants": Invariant::ALL.map(|invariant| {
                let (checks, violations) = tally.checks.get(&invariant).copied().unwrap_or_default();
                json!({ "sentence": invariant.sentence(), "checks": checks, "violations": violations })
            }),
            "violations": self.violations(),
            "violated": self.violations.len(),
            "outcomes": self.outcomes(),
            "failures": tally.failures,
            "kinds": Kind::ALL.map(|(_, name)| name),
            "lanes": lanes,
            "weather": recording.weather.iter().map(|disturbance| json!({
                "at": (disturbance.at - recording.began).num_milliseconds(),
                "what": disturbance.what,
                "group": disturbance.group,
            })).collect::<Value>(),
            "texts": texts.all,
        })
    }

    /// For each latency its percentiles, and for each slice of time how many there were of each class.
    fn latencies(&self) -> Value {
        let latencies = self.tally.latencies.iter().map(|(what, values)| {
            let mut sorted: Vec<u64> = values.iter().map(|(_, ms)| *ms).collect();
            sorted.sort_unstable();
            let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
            let mut slices: Vec<BTreeMap<i64, u64>> = Vec::new();
            for (time, ms) in values {
                let slice = self.recording.interval(*time) / INTERVALS_PER_SLICE;
                if slices.len() <= slice {
                    slices.resize(slice + 1, BTreeMap::new());
                }
                let class = ((*ms).max(1) as f64).log10() * PER_DECADE;
                *slices[slice].entry(class.floor() as i64).or_default() += 1;
            }
            json!({
                "what": what.span(),
                "function": what.function(),
                "count": values.len(),
                "percentiles": [at(50), at(90), at(99), at(100)],
                "slices": slices.iter().map(|classes| {
                    classes.iter().flat_map(|(class, count)| [*class, count.cast_signed()]).collect::<Vec<_>>()
                }).collect::<Value>(),
            })
        });
        latencies.collect()
    }

    fn violations(&self) -> Value {
        let all =
            self.violations.iter().enumerate().take(MAX_HISTORIES * 10).map(|(nth, (account, violation))| {
                let lines = if nth < MAX_HISTORIES { MAX_LINES } else { 0 };
                json!({
                    "what": violation.what,
                    "account": account,
                    "instance": violation.instance,
                    "command": self.options.command(Some(*account)),
                    "history": violation.history.iter().take(lines).collect::<Vec<_>>(),
                })
            });
        all.collect()
    }

    /// Tables of counts.
    fn outcomes(&self) -> Value {
        let table = |title: &str, rows: Vec<(String, u64)>| json!({ "title": title, "rows": rows });
        let named = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect::<Vec<_>>()
        };
        let tally = self.tally;
        let actions = tally.actions.iter().map(|((hook, how), count)| (format!("{hook}: {how}"), *count));
        let mut events: Vec<_> = tally.events.iter().map(|(what, count)| (what.clone(), *count)).collect();
        events.push(("kept by the failure queues".to_owned(), tally.failures));
        json!([
            table("Lifecycle actions", actions.collect()),
            table("Commands, by their end", named(&tally.commands)),
            table("Images, by their end", named(&tally.images)),
            table("Backups and the launch template", named(&tally.templates)),
            table("Events, by what befell them", events),
            table("Stated limits, and what faults did", named(&tally.limits)),
            table("Failures that the functions reported", named(&tally.reported)),
        ])
    }
}

/// Texts that are written once and named by their numbers.
#[derive(Default)]
struct Texts {
    all: Vec<String>,
    numbers: BTreeMap<String, usize>,
}

impl Texts {
    fn number(&mut self, text: &str) -> usize {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        self.numbers.insert(text.to_owned(), self.all.len());
        self.all.push(text.to_owned());
        self.all.len() - 1
    }
}

/// A lane in few characters: flat lists, and of times the differences.
fn lane_data(lane: &Lane, texts: &mut Texts) -> Value {
    let mut before = 0;
    let mut since = move |time: i64| time - std::mem::replace(&mut before, time);
    let states: Vec<_> = lane.states.iter().flat_map(|(time, state)| [since(*time), *state as i64]).collect();
    let mut before = 0;
    let mut since = move |time: i64| time - std::mem::replace(&mut before, time);
    let marks = lane
        .marks
        .iter()
        .flat_map(|(time, kind, text)| [since(*time), *kind as i64, texts.number(text) as i64]);
    json!({
        "account": lane.account,
        "group": lane.group,
        "id": lane.id,
        "violated": lane.violated,
        "gone": lane.gone,
        "states": states,
        "marks": marks.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_can_not_end_the_element_that_they_stand_in() {
        let page = fill(&json!({ "name": "</script><!-- /* script */ {\"data\":\"here\"}" }));
        let (_, data) = page.split_once(r#"type="application/json">"#).unwrap_or_default();
        let (data, _) = data.split_once("</script>").unwrap_or_default();
        let read: Value = serde_json::from_str(data).unwrap_or_default();
        assert_eq!(read["name"], "</script><!-- /* script */ {\"data\":\"here\"}");
        assert!(page.contains("function begin()") && page.contains("--paper"));
    }
}
