//! `stoke show`

use crate::cli::Session;
use crate::cli::error::CliError;
use crate::cli::output::{comparison, detail};
use crate::cli::select::{self, Selection};
use std::process::ExitCode;

/// Which jobs.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Jobs: 3, 5-9, a name, @ (your newest), @~1 (the one before it)
    #[arg(value_name = "JOB", default_value = "@", value_parser = select::parse)]
    jobs: Vec<Selection>,
    /// Show instead where their time went: phases, epochs and steps, the slowest first
    #[arg(long)]
    phases: bool,
}

/// `stoke show`
pub async fn run(session: &Session, args: ShowArgs) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let ids = select::resolve(&client, &args.jobs).await?;
    let look = session.output.look();
    for (n, &id) in ids.iter().enumerate() {
        if args.phases {
            let phases = client.phases(id, None).await?;
            if session.output.json {
                session.output.json(&phases)?;
            } else {
                let text = comparison::phases(id, &phases, &look);
                session.output.print(&text)?;
            }
            continue;
        }
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
