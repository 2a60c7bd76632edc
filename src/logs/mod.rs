//! Log files of attempts: format, writer (used by the shim), reader and change watcher (used by the daemon).

pub mod write;

/// Which of a command's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or both on a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}
