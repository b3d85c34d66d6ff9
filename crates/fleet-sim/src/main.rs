//! fleet-sim: the functions, as they are deployed, living in the lab. Without arguments it plays the
//! demo.

mod costs;
mod deaths;
mod demo;
mod drains;
mod functions;
mod invoke;
mod measure;
mod operator;
mod scenes;
mod storm;
mod timeline;
mod week;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

/// Watch the lifecycle functions at work, without an AWS account.
///
/// The functions' own code runs against lifecycle-lab, a model of AWS, under simulated time: hours of
/// waiting take milliseconds, and the same seed plays the same story again.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A group launches instances whose hooks launch-logger answers, and one launch fails; a group scales
    /// in, and terminate-drainer stops its applications first; a group is replaced, fails and is refreshed,
    /// and ami-snapshotter takes an image of what failed; a group scales out for an event from last night's
    /// backup, which lt-ami-refresher has put into its launch template; ecs-scheduler lets ECS services sleep
    /// through the nights of a week.
    ///
    /// This is what runs without a command. It runs `echo application stopped` in a shell of this machine. Its
    /// last act is `week`.
    Demo {
        /// Another seed gives other instance ids and delays.
        #[arg(long, default_value_t = SEED)]
        seed: u64,
    },
    /// What a drain by terminate-drainer costs, by event and by polling.
    ///
    /// Runs, billed time and calls to AWS per drain, for drains of 10 s, 5 min and 3 h; how long after the
    /// command's end the action is completed; and the price of 1,000 drains. The times are lab time: the
    /// function's own code runs against lifecycle-lab, whose AWS takes 30 to 60 ms a call and delivers an
    /// event in 0.2 to 0.6 s, and computing takes no time there. They are not measurements of AWS, and hold
    /// no cold starts.
    Drains {
        /// Another seed gives other delays.
        #[arg(long, default_value_t = SEED)]
        seed: u64,
    },
    /// What every function costs: billed time, calls to AWS and the price of 1,000 events, by kind of event.
    ///
    /// Prints a table in Markdown. The times are lab time, as those of `drains`, and not measurements of AWS.
    Costs {
        /// Another seed gives other delays.
        #[arg(long, default_value_t = SEED)]
        seed: u64,
    },
    /// How long ami-snapshotter holds a dying instance, and what a death costs.
    ///
    /// Unexpected deaths whose images take 2, 8 and 25 minutes, against the fixed 1,800 s of a hook that
    /// nobody completes; a replacement of the group by CloudFormation and an instance refresh, which leave no
    /// image. For each the time in the wait state, runs, billed time and calls to AWS. The times are lab time,
    /// as those of `drains`, and not measurements of AWS; how long an image takes is a setting of the lab.
    Deaths {
        /// Another seed gives other delays.
        #[arg(long, default_value_t = SEED)]
        seed: u64,
    },
    /// A working week of three ECS services in Asia/Seoul, which ecs-scheduler lets sleep outside their hours.
    ///
    /// Drawn hour by hour, with the instances that follow the tasks: a holiday, a deployment that resizes a
    /// service, a lost run, and somebody who works late. Then the instance hours against those of the same week
    /// without the function, and its runs, billed time and calls to AWS. The times are lab time, as those of
    /// `drains`, and not measurements of AWS.
    Week {
        /// Another seed gives other delays.
        #[arg(long, default_value_t = SEED)]
        seed: u64,
    },
    /// Invokes a function's built binary with one event, as Lambda does.
    ///
    /// The binary lies beside this one. AWS is the lab, on the machine's clock, with what the event is about: an
    /// instance that waits in the hook, two ECS services, a launch template and backups. The event gets the
    /// instance, the token and the time of that scene. scripts/invoke builds both and finds the samples.
    Invoke {
        /// The function: launch-logger, terminate-drainer, ami-snapshotter, lt-ami-refresher or ecs-scheduler.
        function: String,
        /// A file with the event.
        event: PathBuf,
        /// Variables of the function.
        #[arg(value_name = "NAME=VALUE")]
        variables: Vec<String>,
    },
    /// Thousands of instances live and die while everything goes wrong, and invariants are checked throughout.
    ///
    /// Groups grow and shrink, are refreshed, replaced and rolled back, Availability Zones are lost, agents die,
    /// images fail, events are lost, doubled, late and reordered, AWS throttles, and functions are killed at any
    /// call. What did not hold is printed with the instance's history, and fails. The times are lab time, as
    /// those of `drains`, and not measurements of AWS.
    Storm(storm::Options),
}

/// Any number would do.
const SEED: u64 = 7;

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command.unwrap_or(Command::Demo { seed: SEED }) {
        Command::Demo { seed } => {
            paused_runtime()?.block_on(demo::play(seed))?;
            paused_runtime()?.block_on(demo::event_day::play(seed))?;
            week::last_act(seed)?;
        }
        Command::Drains { seed } => drains::print(seed)?,
        Command::Costs { seed } => costs::print(seed)?,
        Command::Deaths { seed } => deaths::print(seed)?,
        Command::Week { seed } => week::print(seed)?,
        Command::Invoke { function, event, variables } => {
            return real_runtime()?.block_on(invoke::invoke(&function, &event, &variables));
        }
        Command::Storm(options) => return storm::print(&options),
    }
    Ok(ExitCode::SUCCESS)
}

/// A runtime whose clock jumps from timer to timer. Of one thread, so that a seed is exact.
fn paused_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()
}

/// A runtime on the machine's clock, for the functions' binaries.
fn real_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
