//! fleet-sim: the functions, as they are deployed, living in the lab. Without arguments it plays the
//! demo.

mod demo;
mod functions;
mod timeline;

use clap::{Parser, Subcommand};

/// Watch the lifecycle functions at work, without an AWS account.
///
/// The functions' own code runs against lifecycle-lab, a model of AWS, under simulated time: minutes of
/// waiting take milliseconds, and the same seed plays the same story again.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A group launches instances whose hooks launch-logger answers; one launch fails, and is replaced.
    /// This is what runs without a command.
    Demo {
        /// Another seed gives other instance ids and delays.
        #[arg(long, default_value_t = DEMO_SEED)]
        seed: u64,
    },
}

/// Any number would do.
const DEMO_SEED: u64 = 7;

fn main() -> anyhow::Result<()> {
    let Command::Demo { seed } = Arguments::parse().command.unwrap_or(Command::Demo { seed: DEMO_SEED });
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?
        .block_on(demo::play(seed))
}
