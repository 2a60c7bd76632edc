//! Commands that do one thing to each of some jobs, and the loop they all share.

use crate::cli::Session;
use crate::cli::error::CliError;
use crate::cli::select::{self, Selection};
use crate::client::{Client, ClientError};
use serde_json::json;
use std::process::ExitCode;

/// Which jobs.
#[derive(Debug, clap::Args)]
pub struct JobsArgs {
    /// Jobs: 3, 5-9, a name, @ (your newest), @~1 (the one before it)
    #[arg(required = true, value_name = "JOB", value_parser = select::parse)]
    pub jobs: Vec<Selection>,
}

/// What is done to each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Freeze.
    Pause,
    /// Undo pause.
    Resume,
    /// Keep from starting.
    Hold,
    /// Undo hold.
    Release,
    /// Let go what waits for approval.
    Approve,
    /// Cancel what waits for approval.
    Reject,
    /// Queue again.
    Retry,
    /// Forget.
    Remove,
}

impl Verb {
    fn route(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Retry => "retry",
            Self::Remove => "remove",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Pause => "is paused",
            Self::Resume => "goes on",
            Self::Hold => "is held",
            Self::Release => "is released",
            Self::Approve => "is approved",
            Self::Reject => "is rejected",
            Self::Retry => "is queued again",
            Self::Remove => "is removed",
        }
    }
}

/// Does `verb` to each of the jobs.
pub async fn run(session: &Session, verb: Verb, args: JobsArgs) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let done = verb.done();
    for_each(session, &client, &args.jobs, done, async |client, id| {
        if verb == Verb::Remove {
            client.remove(id).await
        } else {
            client.act(id, verb.route()).await
        }
    })
    .await
}

/// Does `act` to each of the jobs, and says so. One that fails does not keep the others from their turn;
/// the exit status is that of the first failure.
pub async fn for_each(
    session: &Session,
    client: &Client,
    jobs: &[Selection],
    done: &str,
    act: impl AsyncFn(&Client, u64) -> Result<(), ClientError>,
) -> Result<ExitCode, CliError> {
    let mut first_failure: Option<CliError> = None;
    let mut results = Vec::new();
    for id in select::resolve(client, jobs).await? {
        match act(client, id).await {
            Ok(()) => {
                results.push(json!({"id": id, "ok": true}));
                if !session.output.json {
                    session.output.line(&format!("Job {id} {done}."))?;
                }
            }
            Err(error) => {
                let problem = if let ClientError::Problem(problem) = &error {
                    json!(problem)
                } else {
                    json!({"title": error.to_string()})
                };
                results.push(json!({"id": id, "ok": false, "problem": problem}));
                if let Some(first) = first_failure.replace(error.into()) {
                    let second = first_failure.replace(first);
                    report(session, second);
                }
            }
        }
    }
    if session.output.json {
        session.output.json(&results)?;
    }
    first_failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Failures after the first one are told at once; the first one is what the program ends with.
fn report(session: &Session, error: Option<CliError>) {
    if let Some(error) = error {
        let text = error.render(&session.output.error_look());
        session
            .output
            .note(text.trim_start_matches("stoke: ").trim_end());
    }
}
