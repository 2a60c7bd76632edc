//! Where the daemon's own words go: the journal where standard error is that, else standard error, or its log file once it
//! has left its terminal.

use crate::daemon::dirs::Dirs;
use crate::daemon::journal;
use anyhow::{Context, Result};
use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::os::unix::fs::OpenOptionsExt;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Beyond this the log of a detached daemon begins anew; the last one stays beside it.
const LOG_LIMIT_BYTES: u64 = 16 << 20;

/// Starts logging at `level` (`info`, or a filter as in `stoked=debug`).
///
/// # Errors
/// When the log file cannot be opened.
pub(super) fn start(level: &str, detached: Option<&Dirs>) -> Result<()> {
    let usual = |_| Targets::new().with_default(LevelFilter::INFO);
    let filter: Targets = level.parse().unwrap_or_else(usual);
    if detached.is_none()
        && journal::is_listening()
        && let Ok(journald) = tracing_journald::layer()
    {
        // Names of fields as they are: those of jobs are documented.
        let journald = journald.with_field_prefix(None);
        let registry = tracing_subscriber::registry().with(filter);
        registry.with(journald).init();
        tell_of_panics();
        return Ok(());
    }
    // What happens to jobs is for who looks for it by job, which no other log can.
    let filter = filter.with_target(journal::TARGET, LevelFilter::OFF);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_target(false);
    match detached {
        None => {
            // A journal or a file is read without a terminal.
            let is_terminal = std::io::stderr().is_terminal();
            let layer = layer.with_ansi(is_terminal).with_writer(std::io::stderr);
            registry.with(layer).init();
        }
        Some(dirs) => {
            let path = dirs.daemon_log();
            if std::fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_LIMIT_BYTES) {
                std::fs::rename(&path, path.with_extension("log.1"))
                    .with_context(|| format!("failed to put {} aside", path.display()))?;
            }
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&path)
                .with_context(|| format!("failed to open {}", path.display()))?;
            let layer = layer.with_ansi(false).with_writer(file);
            registry.with(layer).init();
        }
    }
    tell_of_panics();
    Ok(())
}

fn tell_of_panics() {
    // A detached daemon has no standard error: without this nobody would ever learn of a bug.
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%backtrace, "{panic}");
    }));
}
