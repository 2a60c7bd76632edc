//! The daemon's command line.

use clap::Parser;
use std::path::PathBuf;

/// Keeps the work of a GPU host burning: queues and supervises jobs, tracks them, tells who may know
#[derive(Clone, Debug, Parser)]
#[command(name = "stoked", version, max_term_width = 100)]
pub(super) struct Args {
    /// Serve this user alone (the default for everybody but root)
    #[arg(long, conflicts_with = "system")]
    pub user: bool,
    /// Serve every user of this host (needs root)
    #[arg(long)]
    pub system: bool,
    /// Read this configuration file instead of the usual places
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Keep the database, logs and attempts here
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Put the socket here
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// Leave the terminal: log to a file in the state directory, say on standard output when ready
    #[arg(long)]
    pub detach: bool,
    /// Check the configuration, print what is in force, and end
    #[arg(long)]
    pub check_config: bool,
}

impl Args {
    /// The command line of this process; ends it with help or a usage error where that is due.
    #[must_use]
    pub(super) fn of_process() -> Self {
        Self::parse()
    }
}
