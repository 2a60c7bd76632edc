//! `stoke signal`

use crate::cli::Session;
use crate::cli::commands::verbs::for_each;
use crate::cli::error::CliError;
use crate::cli::select::{self, Selection};
use crate::wire::request::{SignalRequest, SignalTarget};
use clap::ValueEnum;
use std::process::ExitCode;

/// Which signal, and to whom.
#[derive(Debug, clap::Args)]
pub struct SignalArgs {
    /// Name or number of the signal: USR1, SIGHUP, 10
    #[arg(value_name = "SIGNAL")]
    signal: String,
    /// Jobs: 3, 5-9, a name, @ (your newest), @~1 (the one before it)
    #[arg(required = true, value_name = "JOB", value_parser = select::parse)]
    jobs: Vec<Selection>,
    /// Processes that get it
    #[arg(long, value_enum, default_value_t = To::Group)]
    to: To,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum To {
    /// The main process alone
    Main,
    /// The main process's group, as with Ctrl-C
    Group,
    /// Every process of the job
    All,
}

/// `stoke signal`
pub async fn run(session: &Session, args: SignalArgs) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let request = SignalRequest {
        signal: args.signal.to_ascii_uppercase(),
        to: match args.to {
            To::Main => SignalTarget::Main,
            To::Group => SignalTarget::Group,
            To::All => SignalTarget::All,
        },
    };
    let done = format!("got {}", request.signal);
    for_each(session, &client, &args.jobs, &done, async |client, id| {
        client.signal(id, &request).await
    })
    .await
}
