//! A storm: the functions living in the lab while everything goes wrong around them, watched by an observer
//! that knows AWS and not their code. Here are the storm's size and its parts; `account` lives one part,
//! `weather` is what befalls it, `backups` what its launch template follows, `observer` what must hold,
//! `report` the tables, `recording` and `page` the page.
//!
//! A storm is made of accounts that know nothing of each other, each a lab of its own, so that its wall time
//! grows with the number of its instances and no faster, and one that went wrong can be played alone.

mod account;
mod backups;
mod invariant;
mod mark;
mod observer;
mod page;
mod recording;
mod report;
mod tally;
mod weather;

use std::fs::File;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tokio::time::Instant;

use account::{Account, Outcome};
use page::Story;
use recording::{Lanes, Recording};
use tally::Tally;

/// Most instances that one account sees in its life. What the lab remembers of an account is searched by
/// many calls, so with much larger ones the wall time would grow with the square of the instances.
const PER_ACCOUNT: u32 = 1_000;

/// How often the progress is shown.
const PROGRESS: Duration = Duration::from_millis(500);

/// Violations that are printed; the others are only counted. The first tells most.
const PRINTED: usize = 3;

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
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Light => "light",
            Self::Heavy => "heavy",
        }
    }
}

/// How large the storm is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// About how many instances live through it in all, at most 1,000 in each account.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    instances: u32,
    /// A seed plays the same storm again.
    #[arg(long, default_value_t = crate::SEED)]
    seed: u64,
    /// What goes wrong with calls and events.
    #[arg(long, value_enum, default_value_t = Faults::Heavy)]
    faults: Faults,
    /// How long it lasts, in days of the lab's time.
    #[arg(long, default_value_t = 2.0, value_parser = days)]
    days: f64,
    /// Plays this account of the storm alone; they count from 0.
    #[arg(long)]
    account: Option<u32>,
    /// Writes a page about it to this file: one for a browser, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn days(text: &str) -> Result<f64, String> {
    let days = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.05..=365.0).contains(&days) { Ok(days) } else { Err("from 0.05 to 365 days".to_owned()) }
}

impl Options {
    fn accounts(&self) -> u32 {
        self.instances.div_ceil(PER_ACCOUNT)
    }

    fn account(&self, number: u32) -> Account {
        // As even as it goes.
        let (share, rest) = (self.instances / self.accounts(), self.instances % self.accounts());
        Account {
            instances: share + u32::from(number < rest),
            seed: self.seed ^ u64::from(number) << 40,
            faults: self.faults,
            lasts: self.lasts(),
            record: self.report.is_some().then(|| match number == self.account.unwrap_or(0) {
                true => Lanes::All,
                false => Lanes::OfViolations,
            }),
        }
    }

    fn lasts(&self) -> Duration {
        Duration::from_secs_f64(self.days * 86_400.0)
    }

    /// What plays it again, or one account of it.
    fn command(&self, account: Option<u32>) -> String {
        let account = account.map(|number| format!(" --account {number}")).unwrap_or_default();
        format!(
            "cargo run --release -p fleet-sim -- storm --instances {} --seed {} --faults {} --days {}{account}",
            self.instances,
            self.seed,
            self.faults.as_str(),
            self.days
        )
    }
}

/// What came of one account.
struct Lived {
    number: u32,
    outcome: Outcome,
}

/// Plays the storm and prints what came of it. Fails if something did not hold.
pub(crate) fn print(options: &Options) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let numbers: Vec<u32> = match options.account {
        Some(number) if number < options.accounts() => vec![number],
        Some(number) => anyhow::bail!("there is no account {number}: this storm has {}", options.accounts()),
        None => (0..options.accounts()).collect(),
    };
    // A file that can't be written is told of now, not after the storm.
    let page = options
        .report
        .as_ref()
        .map(|path| File::create(path).with_context(|| format!("{} can't be written", path.display())));
    let page = page.transpose()?;
    let mut lived = play(options, &numbers)?;
    lived.sort_by_key(|lived| lived.number);

    let mut tally = Tally::default();
    let mut recording: Option<Recording> = None;
    let mut violations = Vec::new();
    for Lived { number, outcome } in lived {
        tally.add(&outcome.tally);
        violations.extend(outcome.violations.into_iter().map(|violation| (number, violation)));
        if let Some(mut one) = outcome.recording {
            one.come_from(number);
            match &mut recording {
                Some(all) => all.add(one),
                None => recording = Some(one),
            }
        }
    }
    report::print(options, numbers.len(), &tally, began.elapsed());
    if let (Some(file), Some(recording)) = (page, &recording) {
        let story =
            Story { options, accounts: numbers.len(), tally: &tally, violations: &violations, recording };
        page::write(file, &story)?;
    }
    let count = violations.len();
    if count == 0 {
        anstream::println!("\nEvery invariant held.");
        return Ok(ExitCode::SUCCESS);
    }
    for (number, violation) in violations.iter().take(PRINTED) {
        report::violation(options.seed, violation, &options.command(Some(*number)));
    }
    anstream::println!("\n{count} violations; seed {}", options.seed);
    Ok(ExitCode::FAILURE)
}

/// Plays these accounts, as many at once as there are processors; each has a thread of its own, because the
/// jitter of SDK clients is seeded for the thread.
fn play(options: &Options, numbers: &[u32]) -> anyhow::Result<Vec<Lived>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(numbers.len());
    let (next, launched) = (AtomicU32::new(0), AtomicU64::new(0));
    let (sender, results) = mpsc::channel();
    let mut lived = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, launched) = (sender.clone(), &next, &launched);
            scope.spawn(move || {
                while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let account = options.account(*number);
                    let result = std::thread::scope(|scope| {
                        let alone = scope.spawn(|| crate::paused_runtime()?.block_on(account.live(launched)));
                        alone.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the lab panicked")))
                    });
                    let _ = sender.send((*number, result));
                }
            });
        }
        drop(sender);
        let shown = std::io::stderr().is_terminal();
        loop {
            match results.recv_timeout(PROGRESS) {
                Ok((number, result)) => {
                    if result.is_err() {
                        // The other accounts need not begin.
                        next.store(u32::MAX / 2, Ordering::Relaxed);
                    }
                    let outcome = result.map_err(|error| {
                        error.context(format!("account {number}: {}", options.command(Some(number))))
                    })?;
                    lived.push(Lived { number, outcome });
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if shown {
                let (launched, done) = (launched.load(Ordering::Relaxed), lived.len());
                let of = numbers.len();
                anstream::eprint!(
                    "\r{launched} of about {} instances, {done} of {of} accounts ",
                    options.instances
                );
            }
        }
        if shown {
            anstream::eprintln!();
        }
        Ok(lived)
    })
}
