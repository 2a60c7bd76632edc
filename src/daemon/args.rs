//! The daemon's command line.

use clap::{CommandFactory, Parser};
use std::io::{self, Write};
use std::path::PathBuf;

/// What is added below the help, and is the end of the manual page.
const AFTER_HELP: &str = "\
Files, as system daemon and as a user's own:
  socket         /run/stoked/stoked.sock   $XDG_RUNTIME_DIR/stoked/stoked.sock
  state          /var/lib/stoked           ~/.local/state/stoked
  configuration  /etc/stoked/stoked.toml   ~/.config/stoked/stoked.toml
  adapters       /etc/stoked/adapters.d    ~/.config/stoked/adapters.d, and the one of the system
Signals: SIGHUP reads the configuration and the adapters again; SIGTERM ends the daemon, and running jobs go on.
Whatever ends it, SIGKILL included: the next start finds every job again.";

/// Queue and supervise jobs, follow their progress, and serve `stoke` and others on a socket
#[derive(Clone, Debug, Parser)]
#[command(name = "stoked", version, max_term_width = 100, after_help = AFTER_HELP)]
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
    /// Print the manual page, and end
    #[arg(long, hide = true)]
    pub man: bool,
    /// Look at GPUs for a daemon, which asks on standard input
    #[arg(long, hide = true, value_name = "KIND")]
    pub gpu_eyes: Option<String>,
}

impl Args {
    /// The command line of this process; nothing where help or the version was asked for, and given.
    /// A usage error ends the process.
    ///
    /// # Errors
    /// Where what was asked for cannot be written.
    pub(super) fn of_process() -> io::Result<Option<Self>> {
        match Self::try_parse() {
            Ok(args) => Ok(Some(args)),
            Err(wrong) if wrong.use_stderr() => wrong.exit(),
            Err(asked) => {
                asked.print()?;
                io::stdout().flush()?;
                Ok(None)
            }
        }
    }

    /// Writes the manual page.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn write_manual(to: &mut impl io::Write) -> io::Result<()> {
        let mut page = Vec::new();
        clap_mangen::Man::new(Self::command())
            .section("8")
            .manual("stoked")
            .render(&mut page)?;
        // What follows the options is laid out in columns, and stays so.
        let text = String::from_utf8_lossy(&page);
        to.write_all(
            text.replace("\n.SH EXTRA\n", "\n.SH NOTES\n.nf\n")
                .as_bytes(),
        )
    }
}
