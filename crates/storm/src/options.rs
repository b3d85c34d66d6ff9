//! The options of a storm: its size, its seed and its faults.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Most instances that one account sees in its life. What the lab remembers of an account is searched by
/// many calls, so with much larger ones the wall time would grow with the square of the instances.
const MAX_INSTANCES_PER_ACCOUNT: u32 = 1_000;

/// What goes wrong besides the weather itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Faults {
    /// Every call is answered and every event arrives once.
    None,
    /// A few in a hundred calls and events are disturbed.
    Light,
    /// One in ten calls and one in three events is disturbed, and AWS throttles early.
    Heavy,
}

impl Faults {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Light => "light",
            Self::Heavy => "heavy",
        }
    }
}

/// Thousands of instances live and die while everything goes wrong, and invariants are checked throughout.
///
/// Groups grow and shrink, are refreshed, replaced and rolled back, Availability Zones are lost, agents die,
/// images fail, events are lost, doubled, late and reordered, AWS throttles, and functions are killed at any
/// call. What did not hold is printed with the instance's history, and fails. The functions' own code runs
/// against lifecycle-lab, a model of AWS, under simulated time: the times are lab time, as those of
/// `fleet-sim drains`, and not measurements of AWS.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// About how many instances live through it in all, at most 1,000 in each account.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) instances: u32,
    /// A seed plays the same storm again.
    #[arg(long, default_value_t = fleet::runtime::SEED)]
    pub(crate) seed: u64,
    /// What goes wrong with calls and events.
    #[arg(long, value_enum, default_value_t = Faults::Heavy)]
    pub(crate) faults: Faults,
    /// How long it lasts, in days of the lab's time.
    #[arg(long, default_value_t = 2.0, value_parser = days)]
    pub(crate) days: f64,
    /// Plays this account of the storm alone; they count from 0.
    #[arg(long)]
    pub(crate) account: Option<u32>,
    /// Writes a page about it to this file: one for a browser, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

fn days(text: &str) -> Result<f64, String> {
    let days = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.05..=365.0).contains(&days) { Ok(days) } else { Err("from 0.05 to 365 days".to_owned()) }
}

impl Options {
    pub(crate) fn accounts(&self) -> u32 {
        self.instances.div_ceil(MAX_INSTANCES_PER_ACCOUNT)
    }

    pub(crate) fn lasts(&self) -> Duration {
        Duration::from_secs_f64(self.days * 86_400.0)
    }

    /// What plays it again, or one account of it.
    pub(crate) fn command(&self, account: Option<u32>) -> String {
        let account = account.map(|number| format!(" --account {number}")).unwrap_or_default();
        format!(
            "cargo run --release -p storm -- --instances {} --seed {} --faults {} --days {}{account}",
            self.instances,
            self.seed,
            self.faults.as_str(),
            self.days
        )
    }
}
