//! `stoke logs`: what a job wrote, stdout to stdout and stderr to stderr.

use crate::cli::Session;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::output::screen::{Screen, Target};
use crate::cli::output::text;
use crate::cli::select::{self, Selection};
use crate::cli::values;
use crate::client::{Client, LogItem, LogOutput, LogQuery};
use jiff::Timestamp;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::interval;

/// How often the countdown to the next attempt to connect is brought up to date.
const COUNT_EVERY: Duration = Duration::from_millis(250);

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
    /// Print only what was written since: 10m (ago), 09:00, yesterday
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
    let mut screen = Screen::new(!session.output.json);
    let mut connection = Connection::new(session, client, "");
    let mut tick = interval(COUNT_EVERY);
    loop {
        let item = tokio::select! {
            biased;
            () = connection.revived() => {
                log.retry_now();
                continue;
            }
            item = log.next() => item,
            _ = tick.tick(), if connection.is_away() && screen.has_line() => {
                connection.line().into_iter().for_each(|line| screen.draw(&line));
                continue;
            }
        };
        match item {
            Ok(Some(LogItem::Piece(_, piece))) if session.output.json => {
                session.output.json_line(&piece)?;
            }
            Ok(Some(LogItem::Piece(output, _))) => write(&mut screen, output, tame)?,
            Ok(Some(LogItem::Lost { why, .. })) if !args.follow => return Err(why.into()),
            Ok(Some(LogItem::Lost { retry_in, why })) => {
                connection.lost(&mut screen, retry_in, &why);
            }
            Ok(Some(LogItem::Back)) => connection.back(&mut screen),
            Ok(None) => return Ok(ExitCode::SUCCESS),
            Err(error) => {
                screen.erase();
                return Err(error.into());
            }
        }
    }
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
