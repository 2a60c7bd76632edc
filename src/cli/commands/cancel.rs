//! `stoke cancel` and `stoke restart`: both end what runs.

use crate::cli::Session;
use crate::cli::commands::verbs::for_each;
use crate::cli::error::CliError;
use crate::cli::select::{self, Selection};
use crate::cli::values;
use crate::wire::request::StopRequest;
use crate::wire::values::Span;
use std::process::ExitCode;

/// How jobs are ended.
#[derive(Debug, clap::Args)]
pub struct CancelArgs {
    /// Jobs: 3, 5-9, a name, @ (your newest), @~1 (the one before it)
    #[arg(required = true, value_name = "JOB", value_parser = select::parse)]
    jobs: Vec<Selection>,
    #[command(flatten)]
    stop: StopArgs,
}

/// How jobs are ended before they are queued again.
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    /// Jobs: 3, 5-9, a name, @ (your newest), @~1 (the one before it)
    #[arg(required = true, value_name = "JOB", value_parser = select::parse)]
    jobs: Vec<Selection>,
    #[command(flatten)]
    stop: StopArgs,
}

#[derive(Debug, clap::Args)]
struct StopArgs {
    /// Kill what is still there after this time, instead of the job's own grace
    #[arg(long, value_name = "TIME", value_parser = values::span)]
    grace: Option<Span>,
    /// Kill at once
    #[arg(long, conflicts_with = "grace")]
    now: bool,
}

impl StopArgs {
    fn request(&self) -> StopRequest {
        let grace = if self.now {
            Some(Span::from_ms(0))
        } else {
            self.grace
        };
        StopRequest { grace }
    }
}

/// `stoke cancel`
pub async fn run(session: &Session, args: CancelArgs) -> Result<ExitCode, CliError> {
    let (client, how) = (session.connect().await?, args.stop.request());
    let done = if args.stop.now {
        "is killed"
    } else {
        "is asked to end"
    };
    for_each(session, &client, &args.jobs, done, async |client, id| {
        client.cancel(id, &how).await
    })
    .await
}

/// `stoke restart`
pub async fn restart(session: &Session, args: RestartArgs) -> Result<ExitCode, CliError> {
    let (client, how) = (session.connect().await?, args.stop.request());
    for_each(
        session,
        &client,
        &args.jobs,
        "starts anew",
        async |client, id| client.restart(id, &how).await,
    )
    .await
}
