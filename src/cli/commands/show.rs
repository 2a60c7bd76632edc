//! `stoke show`

use crate::cli::Session;
use crate::cli::error::CliError;
use crate::cli::output::detail;
use crate::cli::select::{self, Selection};
use std::process::ExitCode;

/// Which jobs.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Jobs: 3, 5-9, a name, @ (your newest), @~1 (the one before it)
    #[arg(value_name = "JOB", default_value = "@", value_parser = select::parse)]
    jobs: Vec<Selection>,
}

/// `stoke show`
pub async fn run(session: &Session, args: ShowArgs) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let ids = select::resolve(&client, &args.jobs).await?;
    let look = session.output.look();
    for (n, &id) in ids.iter().enumerate() {
        let job = client.job(id).await?;
        if session.output.json {
            session.output.json(&job)?;
            continue;
        }
        if n > 0 {
            session.output.line("")?;
        }
        session.output.print(&detail::job(&job, &look))?;
    }
    Ok(ExitCode::SUCCESS)
}
