//! fleet-sim: the functions, deployed in the lab. Without arguments it plays the demo.

mod costs;
mod deaths;
mod demo;
mod drains;
mod invoke;
mod progress;
mod scenes;
mod week;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use fleet::runtime::{self, SEED};
use fleet::timeline::View;

/// Watch the lifecycle functions at work, without an AWS account.
///
/// The functions' own code runs against lifecycle-lab, a model of AWS, in simulated time: hours of waiting take
/// milliseconds, and the same seed repeats the same run.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: Demo,
}

#[derive(Debug, Args)]
struct Demo {
    /// Another seed gives other instance ids and delays.
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Prints every line of the stories, in place of three screens.
    #[arg(long)]
    full: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A group launches instances, launch-logger completes their hooks, and one launch fails. A group scales in, and
    /// terminate-drainer stops its applications first. A group is replaced, fails and is refreshed, and
    /// ami-snapshotter takes an image of the failed instance. A group scales out for an event from last night's
    /// backup, which lt-ami-refresher has put into its launch template. ecs-scheduler stops ECS services during the
    /// nights of a week.
    ///
    /// This is the default command. It runs `echo application stopped` in a shell on this machine. Its last act is
    /// `week`.
    Demo(Demo),
    /// The cost of a drain by terminate-drainer, by event and by polling.
    ///
    /// Runs, billed time and calls to AWS per drain, for drains of 10 s, 5 min and 3 h; the time from the command's
    /// end to the completion; and the price of 1,000 drains. The times are lab time: the functions' code runs against
    /// lifecycle-lab, whose calls take 30 to 60 ms and whose events take 0.2 to 0.6 s. Computing takes no lab time.
    /// The times are not measurements of AWS and include no cold starts.
    Drains {
        /// Seed of delays
        #[arg(long, default_value_t = SEED)]
        seed: u64,
    },
    /// The cost of every function: billed time, calls to AWS and the price of 1,000 events, by kind of event.
    ///
    /// Prints a table in Markdown. The times are lab time, as in `drains`, not measurements of AWS.
    Costs {
        /// Seed of delays
        #[arg(long, default_value_t = SEED)]
        seed: u64,
    },
    /// How long ami-snapshotter holds a terminating instance, and the cost.
    ///
    /// Unplanned terminations with images of 2, 8 and 25 minutes, against the 1,800 s of a hook that no call
    /// completes; a replacement of the group by CloudFormation and an instance refresh, which leave no image. For
    /// each the time in the wait state, runs, billed time and calls to AWS. The times are lab time, as in `drains`,
    /// not measurements of AWS. The duration of an image is a setting of the lab.
    Deaths {
        /// Seed of delays
        #[arg(long, default_value_t = SEED)]
        seed: u64,
    },
    /// A working week of three ECS services in Asia/Seoul, which ecs-scheduler stops outside their hours.
    ///
    /// Drawn hour by hour, with the instances that follow the tasks: a holiday, a deployment that resizes a service,
    /// a lost run, and an operator who works late. Then the instance hours compared with the same week without the
    /// function, and its runs, billed time and calls to AWS. The times are lab time, as in `drains`, not measurements
    /// of AWS.
    Week {
        /// Seed of delays
        #[arg(long, default_value_t = SEED)]
        seed: u64,
    },
    /// Invokes a function's built binary with one event, as Lambda does.
    ///
    /// The binary must be in the directory of this one. The lab is AWS, on the machine's clock, and contains the
    /// resources of the event: an instance that waits in the hook, two ECS services, a launch template and backups.
    /// The event gets the instance, the token and the time of that scene. scripts/invoke builds both binaries and
    /// finds the samples.
    Invoke {
        /// The function, by the name of its crate.
        function: String,
        /// A file with the event.
        event: PathBuf,
        /// Variables of the function.
        #[arg(value_name = "NAME=VALUE")]
        variables: Vec<String>,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.command.unwrap_or(Command::Demo(arguments.demo)) {
        Command::Demo(Demo { seed, full }) => {
            let view = if full { View::Full } else { View::Brief };
            runtime::paused()?.block_on(demo::play(seed, view))?;
            runtime::paused()?.block_on(demo::event_day::play(seed, view))?;
            week::last_act(seed, view)?;
            demo::next_steps(view);
        }
        Command::Drains { seed } => drains::print(seed)?,
        Command::Costs { seed } => costs::print(seed)?,
        Command::Deaths { seed } => deaths::print(seed)?,
        Command::Week { seed } => week::print(seed)?,
        Command::Invoke { function, event, variables } => {
            return runtime::real()?.block_on(invoke::invoke(&function, &event, &variables));
        }
    }
    Ok(ExitCode::SUCCESS)
}
