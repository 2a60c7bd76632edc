//! `stoke completions` and `stoke man`: made from the same definition as the parser.

use crate::cli::error::{CliError, Kind};
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
    /// Command whose page is printed; that of stoke itself unless given
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Option<String>,
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
    let pages = pages()?;
    if let Some(dir) = &args.dir {
        let failed = |error| CliError::failed(format!("write to {}", dir.display()), &error);
        std::fs::create_dir_all(dir).map_err(failed)?;
        for (name, page) in &pages {
            std::fs::write(dir.join(format!("{name}.1")), page).map_err(failed)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let name = match &args.command {
        Some(command) => format!("stoke-{command}"),
        None => "stoke".to_owned(),
    };
    let Some((_, page)) = pages.iter().find(|(known, _)| *known == name) else {
        return Err(
            CliError::new(Kind::NotFound, format!("there is no page {name}"))
                .hint("`stoke --help` lists the commands"),
        );
    };
    session.output.print_bytes(page.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Every page with its name.
fn pages() -> Result<Vec<(String, String)>, CliError> {
    let mut stoke = Cli::command();
    stoke.build();
    let mut pages = Vec::new();
    add_pages("stoke", &stoke, &mut pages)?;
    Ok(pages)
}

/// The page of a command and those of its own commands.
fn add_pages(
    name: &str,
    command: &clap::Command,
    pages: &mut Vec<(String, String)>,
) -> Result<(), CliError> {
    pages.push((name.to_owned(), page(command)?));
    let commands = command.get_subcommands();
    commands
        .filter(|command| command.get_name() != "help")
        .try_for_each(|it| add_pages(&format!("{name}-{}", it.get_name()), it, pages))
}

fn page(command: &clap::Command) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command.clone())
        .source(concat!("stoke ", env!("CARGO_PKG_VERSION")))
        .manual("stoked")
        .render(&mut bytes)?;
    // What follows the options is laid out in columns, and stays so.
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.replace("\n.SH EXTRA\n", "\n.SH NOTES\n.nf\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let pages = pages().unwrap();
        assert!(pages.len() > 20);
        let run = pages.iter().find(|(name, _)| name == "stoke-run").unwrap();
        assert!(run.1.contains(".TH stoke-run 1"), "{}", run.1);
        assert!(pages.iter().any(|(name, _)| name == "stoke-adapters-test"));
        assert!(run.1.contains(".SH NOTES\n.nf\nExit status"), "{}", run.1);
    }
}
