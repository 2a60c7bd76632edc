//! `stoke run`: submit one job; unless detached, stay with it to its end.

use crate::cli::Session;
use crate::cli::commands::job_options::JobOptions;
use crate::cli::environment;
use crate::cli::error::CliError;
use crate::cli::exit::EXIT_HELP;
use crate::cli::follow;
use crate::cli::stops::Stops;
use crate::client::random_key;
use crate::wire::request::JobSubmit;
use std::ffi::OsString;
use std::process::ExitCode;

/// The command, and how it shall run.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_HELP)]
pub struct RunArgs {
    /// Print only the job's number, and do not wait for it
    #[arg(long, short)]
    detach: bool,
    #[command(flatten)]
    options: JobOptions,
    /// Command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

/// `stoke run`
pub async fn run(session: &Session, args: RunArgs) -> Result<ExitCode, CliError> {
    let mut job = JobSubmit {
        command: environment::utf8_arguments(&args.command)?,
        ..JobSubmit::default()
    };
    args.options.apply(&mut job, session)?;
    // From here on Ctrl-C is for the job: it must not be lost between submission and following.
    let stops = if args.detach {
        None
    } else {
        Some(Stops::listen()?)
    };
    let client = session.connect().await?;
    args.options.apply_dependencies(&mut job, &client).await?;
    let submitted = client.submit(vec![job], &random_key()).await?;
    let Some(&id) = submitted.ids.first() else {
        return Err(CliError::new(
            crate::cli::error::Kind::Failed,
            "the daemon took the job but did not say its number",
        ));
    };
    match stops {
        Some(stops) => follow::follow(session, client, id, stops).await,
        None if session.output.json => {
            session.output.json(&submitted)?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            session.output.line(&id.to_string())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
