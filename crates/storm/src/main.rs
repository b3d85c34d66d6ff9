//! A storm: the functions run in the lab among many faults, and an observer that knows AWS but not their code checks
//! invariants. This module plays the storm. `options` has its size, `account` plays one account, `weather` disturbs
//! it, `backups` makes its images, `observer` checks the invariants, `report` prints the tables, `recording` and
//! `page` make the page.
//!
//! The accounts of a storm are independent, each in a lab of its own. So the wall time grows only linearly with the
//! number of instances, and a single account can be replayed.

mod account;
mod backups;
mod effect;
mod invariant;
mod mark;
mod observer;
mod options;
mod page;
mod recording;
mod report;
mod scene;
mod tally;
mod weather;

use std::fs::File;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use tokio::time::Instant;

use account::{Account, Outcome};
use options::Options;
use page::Story;
use recording::{Lanes, Recording};
use tally::Tally;

/// How often the progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Maximum of printed violations. The others are only counted.
const MAX_PRINTED_VIOLATIONS: usize = 3;

/// What came of one account.
struct Lived {
    number: u32,
    outcome: Outcome,
}

/// Plays the storm and prints what came of it. Fails if something did not hold.
fn main() -> anyhow::Result<ExitCode> {
    let options = &Options::parse();
    let began = Instant::now();
    let numbers: Vec<u32> = match options.account {
        Some(number) if number < options.accounts() => vec![number],
        Some(number) => anyhow::bail!("there is no account {number}: this storm has {}", options.accounts()),
        None => (0..options.accounts()).collect(),
    };
    // Report an unwritable file now, not after the storm.
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
    for (number, violation) in violations.iter().take(MAX_PRINTED_VIOLATIONS) {
        report::violation(options.seed, violation, &options.command(Some(*number)));
    }
    anstream::println!("\n{count} violations; seed {}", options.seed);
    Ok(ExitCode::FAILURE)
}

/// The account of this number.
fn account(options: &Options, number: u32) -> Account {
    // As even as it goes.
    let (share, rest) = (options.instances / options.accounts(), options.instances % options.accounts());
    Account {
        instances: share + u32::from(number < rest),
        seed: options.seed ^ u64::from(number) << 40,
        faults: options.faults,
        lasts: options.lasts(),
        record: options.report.is_some().then(|| match number == options.account.unwrap_or(0) {
            true => Lanes::All,
            false => Lanes::OfViolations,
        }),
    }
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
                    let account = account(options, *number);
                    let result = std::thread::scope(|scope| {
                        let alone =
                            scope.spawn(|| fleet::runtime::paused()?.block_on(account.live(launched)));
                        alone.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the lab panicked")))
                    });
                    let _ = sender.send((*number, result));
                }
            });
        }
        drop(sender);
        let shown = std::io::stderr().is_terminal();
        loop {
            match results.recv_timeout(PROGRESS_INTERVAL) {
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
