//! The `stoke` command line: parses, connects, dispatches, and says what went wrong.

pub mod channels;
pub mod commands;
pub mod connection;
pub mod environment;
pub mod error;
pub mod exit;
pub mod follow;
pub mod glance;
pub mod output;
pub mod reader;
pub mod select;
pub mod socket;
pub mod stops;
mod usage;
pub mod values;
pub mod waits;

use crate::client::{Client, OnWait};
use crate::config::paths::Surroundings;
use clap::Parser;
use commands::Command;
use error::{CliError, Kind};
use output::{ColourChoice, Output};
use socket::{Plan, Wish};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Queue, run and watch jobs on this host
///
/// `stoke run -- COMMAND` submits a job and shows its output; the job goes on when the terminal closes.
/// A daemon of your own is started where none answers.
#[derive(Debug, Parser)]
#[command(name = "stoke", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
pub struct GlobalArgs {
    /// Talk to the daemon at this socket; also STOKE_SOCKET
    #[arg(long, global = true, value_name = "PATH", display_order = 900)]
    pub socket: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long, global = true, display_order = 901)]
    pub json: bool,
    /// Use colours: auto, always or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true,
        display_order = 902
    )]
    pub color: ColourChoice,
}

const EXAMPLES: &str = "\
Examples:
  stoke run -- make -j8            run it now, or when there is a place
  stoke run -d -g gpu -- ./train   only queue it; prints its number
  stoke ls                         what runs, waits, and ended last
  stoke logs -f @                  follow the output of your newest job
Jobs are named by number (3), range (5-9), name, @ (your newest) and @~1 (the one before).
Exit status: 0 done, 1 failed, 2 usage, 3 no daemon, 4 not found, 5 not permitted.";

/// What a command works with.
#[derive(Debug)]
pub struct Session {
    /// Where it prints.
    pub output: Output,
    /// Which daemon it talks to.
    pub plan: Plan,
    /// What the rules for places saw.
    pub around: Surroundings,
}

impl Session {
    /// A connection to the daemon.
    ///
    /// # Errors
    /// Where none answers and none can be started.
    pub async fn connect(&self) -> Result<Client, CliError> {
        let client = self.plan.connect().await?;
        self.tell_when_waiting(&client);
        Ok(client)
    }

    /// A daemon that does not answer, perhaps because it is stopped, keeps nobody waiting without a word.
    pub fn tell_when_waiting(&self, client: &Client) {
        let output = self.output.clone();
        client.tell_when_waiting(OnWait::new(move || output.waiting()));
    }
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(refused(&error)),
    };
    let output = Output::new(cli.global.json, cli.global.color);
    match start(cli, &output) {
        Ok(code) => code,
        Err(error) if error.kind == Kind::BrokenPipe => ExitCode::from(error.kind.status()),
        Err(error) => ExitCode::from(show(&error, &output)),
    }
}

/// Shows help where that was asked for, else what is wrong with the command line; the exit status.
fn refused(error: &clap::Error) -> u8 {
    let Some(usage) = usage::of(error) else {
        // `--help` into a closed pipe is nobody's problem.
        let _printed = error.print();
        return if error.use_stderr() {
            Kind::Usage.status()
        } else {
            0
        };
    };
    show(&usage, &Output::new(false, ColourChoice::Auto))
}

fn show(error: &CliError, output: &Output) -> u8 {
    let text = error.render(&output.error_look());
    // Where standard error is gone the exit status has to do.
    let _written = std::io::stderr().write_all(text.as_bytes());
    error.kind.status()
}

fn start(cli: Cli, output: &Output) -> Result<ExitCode, CliError> {
    // One thread is enough, and starts in no time.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed("start the runtime", &error))?;
    let around = Surroundings::of_process();
    let session = Session {
        output: output.clone(),
        plan: Plan::new(&Wish::of_process(cli.global.socket), &around),
        around,
    };
    let code = runtime.block_on(commands::dispatch(cli.command, &session));
    // A read of standard input may still be blocked in a thread; nobody waits for it.
    runtime.shutdown_background();
    code
}

#[cfg(test)]
mod tests;
