//! `stoke host`

use crate::cli::Session;
use crate::cli::error::CliError;
use crate::cli::output::host;
use std::process::ExitCode;

/// `stoke host`
pub async fn run(session: &Session) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let found = client.host().await?;
    if session.output.json {
        session.output.json(&found)?;
    } else {
        let look = session.output.look();
        session.output.print(&host::page(&found, &look))?;
    }
    Ok(ExitCode::SUCCESS)
}
