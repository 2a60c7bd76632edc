//! `stoke archive`

use crate::cli::Session;
use crate::cli::error::{CliError, Kind};
use crate::cli::output::archive;
use crate::cli::select::{self, Selection};
use crate::cli::values;
use crate::wire::archive::{ArchiveNow, ArchiveRestore, ArchiveRestored, ArchiveVerify};
use crate::wire::values::Span;
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;

/// What about the archive.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct ArchiveArgs {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the months of the archive, what samples take, and how the last run went
    Ls,
    /// Archive what is old enough, and wait until that is done
    Now {
        /// Archive what ended longer ago than this, instead of the configured age
        #[arg(long, value_name = "TIME", value_parser = values::span)]
        older_than: Option<Span>,
    },
    /// Bring jobs back from the archive, or take in a file of it that was lost
    ///
    /// Archived jobs are listed, shown and retried as others are; there is no need to bring them back first. One
    /// that is brought back is an ordinary finished job until it is archived again.
    Restore {
        /// Jobs: 3, 5-9, a name; a month: 2026-11; or the path of a file called YYYY-MM.db
        #[arg(required_unless_present = "month", value_name = "JOB|MONTH|FILE")]
        what: Vec<String>,
        /// Every job that finished in this month
        #[arg(long, value_name = "YYYY-MM", conflicts_with = "what")]
        month: Option<String>,
    },
    /// Read the archive and all samples through, and say what is wrong with them
    Verify {
        /// Unpack every compressed log as well
        #[arg(long)]
        logs: bool,
    },
}

/// `stoke archive`
pub async fn run(session: &Session, args: ArchiveArgs) -> Result<ExitCode, CliError> {
    match args.what.unwrap_or(What::Ls) {
        What::Ls => list(session).await,
        What::Now { older_than } => now(session, older_than).await,
        What::Restore { what, month } => restore(session, what, month).await,
        What::Verify { logs } => verify(session, logs).await,
    }
}

async fn list(session: &Session) -> Result<ExitCode, CliError> {
    let view = session.connect().await?.archive().await?;
    if session.output.json {
        session.output.json(&view)?;
    } else {
        session
            .output
            .print(&archive::months(&view, &session.output.look()))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn now(session: &Session, older_than: Option<Span>) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let run = client.archive_now(&ArchiveNow { older_than }).await?;
    if session.output.json {
        session.output.json(&run)?;
    } else {
        session.output.print(&archive::run(&run))?;
    }
    match run.problem {
        None => Ok(ExitCode::SUCCESS),
        Some(problem) => Err(CliError::new(Kind::Failed, problem)
            .hint("what was done so far stays done, and the rest is tried again by itself")),
    }
}

async fn restore(
    session: &Session,
    what: Vec<String>,
    month: Option<String>,
) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let mut asked = ArchiveRestore {
        month,
        ..ArchiveRestore::default()
    };
    if let [file] = what.as_slice()
        && is_file(file)
    {
        let path = std::path::absolute(PathBuf::from(file))?;
        asked.file = Some(path.to_string_lossy().into_owned());
    } else if let [month] = what.as_slice()
        && is_month(month)
    {
        asked.month = Some(month.clone());
    } else if !what.is_empty() {
        let parsed: Result<Vec<Selection>, String> =
            what.iter().map(|text| select::parse(text)).collect();
        let selections = parsed.map_err(CliError::usage)?;
        asked.jobs = select::resolve(&client, &selections).await?;
    }
    let restored = client.restore_archive(&asked).await?;
    let outcome = missing(&asked, &restored);
    if session.output.json {
        session.output.json(&restored)?;
    } else if outcome.is_ok() || !restored.jobs.is_empty() {
        session.output.print(&archive::restored(&restored))?;
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

/// A month, and no range of jobs: one that goes down has none in it.
fn is_month(text: &str) -> bool {
    let first: Result<jiff::civil::Date, _> = format!("{text}-01").parse();
    text.len() == "YYYY-MM".len() && first.is_ok_and(|day| day.year() > 1_000)
}

/// A path, and no job: those have no such names unless somebody insists.
fn is_file(text: &str) -> bool {
    text.contains('/') || text.ends_with(".db")
}

fn missing(asked: &ArchiveRestore, restored: &ArchiveRestored) -> Result<(), CliError> {
    if let Some(id) = restored.unknown.first() {
        let what = format!("there is no job {id} in the archive, nor among the others");
        return Err(CliError::new(Kind::NotFound, what));
    }
    if let Some(month) = asked.month.as_ref().filter(|_| restored.jobs.is_empty()) {
        let what = format!("the archive has no job of {month}");
        let error = CliError::new(Kind::NotFound, what);
        return Err(error.hint("`stoke archive ls` lists its months"));
    }
    Ok(())
}

async fn verify(session: &Session, logs: bool) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let verified = client.verify_archive(&ArchiveVerify { logs }).await?;
    if session.output.json {
        session.output.json(&verified)?;
    } else {
        session.output.print(&archive::verified(&verified))?;
    }
    if verified.faults.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}
