//! `stoke logs`: what a job wrote, stdout to stdout and stderr to stderr.

use crate::cli::Session;
use crate::cli::error::CliError;
use crate::cli::output::screen::{Screen, Target};
use crate::cli::output::text;
use crate::cli::select::{self, Selection};
use crate::cli::values;
use crate::client::{Client, LogItem, LogOutput, LogQuery};
use jiff::Timestamp;
use std::io::IsTerminal;
use std::process::ExitCode;

/// Which part of whose output.
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// Job: 3, a name, @ (your newest), @~1 (the one before it)
    #[arg(value_name = "JOB", default_value = "@", value_parser = select::parse)]
    job: Selection,
    /// Go on until the attempt ends
    #[arg(long, short)]
    follow: bool,
    /// Print only the last N lines
    #[arg(long, short = 'n', visible_alias = "lines", value_name = "N")]
    tail: Option<u64>,
    /// Print only standard output
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Print only standard error
    #[arg(long)]
    stderr: bool,
    /// Print only what was written since: 10m, 09:00, 2026-11-22T09:00
    #[arg(long, value_name = "TIME", value_parser = values::past)]
    since: Option<Timestamp>,
    /// Print the output of this attempt; of the newest unless given
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Print every byte also to a terminal when the job is somebody else's
    #[arg(long)]
    raw: bool,
}

/// `stoke logs`
pub async fn run(session: &Session, args: LogsArgs) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let id = select::resolve_single(&client, &args.job).await?;
    let tame = !args.raw && !session.output.json && is_for_strange_eyes(&client, id).await?;
    let mut log = client.logs(LogQuery {
        job: id,
        attempt: args.attempt,
        stream: match (args.stdout, args.stderr) {
            (true, _) => Some("stdout".to_owned()),
            (_, true) => Some("stderr".to_owned()),
            (false, false) => None,
        },
        tail: args.tail,
        since: args.since,
        follow: args.follow,
    });
    let mut screen = Screen::new(false);
    let mut is_away = false;
    while let Some(item) = log.next().await? {
        match item {
            LogItem::Piece(_, piece) if session.output.json => session.output.json_line(&piece)?,
            LogItem::Piece(output, _) => write(&mut screen, output, tame)?,
            LogItem::Lost { why, .. } if !args.follow => return Err(why.into()),
            LogItem::Lost { .. } => {
                if !std::mem::replace(&mut is_away, true) {
                    screen.note("the connection to the daemon is lost, trying again");
                }
                session.plan.revive(&client).await;
            }
            LogItem::Back => {
                if std::mem::take(&mut is_away) {
                    screen.note("connected again");
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes one piece of a log.
///
/// # Errors
/// Where the output cannot be written.
pub fn write(screen: &mut Screen, output: LogOutput, tame: bool) -> Result<(), CliError> {
    let tamed = |bytes: Vec<u8>| {
        if tame {
            text::harmless_output(&bytes)
        } else {
            bytes
        }
    };
    match output {
        LogOutput::Stdout(bytes) => screen.write(Target::Stdout, &tamed(bytes)),
        LogOutput::Stderr(bytes) => screen.write(Target::Stderr, &tamed(bytes)),
        LogOutput::Gap(bytes) => {
            screen.note(&format!("{bytes} bytes of the output were not kept here"));
            Ok(())
        }
    }
}

/// The owner of a job may see what it does to a terminal; an administrator shall not be tricked by it.
async fn is_for_strange_eyes(client: &Client, id: u64) -> Result<bool, CliError> {
    if !std::io::stdout().is_terminal() && !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    let job = client.job(id).await?;
    Ok(job.owner.uid != rustix::process::getuid().as_raw())
}
