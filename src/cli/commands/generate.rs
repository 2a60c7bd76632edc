//! `stoke completions` and `stoke man`: made from the same definition as the parser.

use crate::cli::error::CliError;
use crate::cli::{Cli, Session};
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::PathBuf;
use std::process::ExitCode;

/// Which shell.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// Shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Where to.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write the pages of all commands into this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// `stoke completions`
pub fn completions(session: &Session, args: &CompletionsArgs) -> Result<ExitCode, CliError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "stoke", &mut text);
    session.output.print_bytes(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// `stoke man`
pub fn man(session: &Session, args: &ManArgs) -> Result<ExitCode, CliError> {
    if let Some(dir) = &args.dir {
        let failed = |error| CliError::failed(format!("write to {}", dir.display()), &error);
        std::fs::create_dir_all(dir).map_err(failed)?;
        clap_mangen::generate_to(Cli::command(), dir).map_err(failed)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut text)?;
    session.output.print_bytes(&text)?;
    Ok(ExitCode::SUCCESS)
}
