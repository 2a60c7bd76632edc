//! Wishes to stop: Ctrl-C, and SIGTERM.

use crate::cli::error::CliError;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens to them.
#[derive(Debug)]
pub struct Stops {
    interrupt: Signal,
    terminate: Signal,
}

impl Stops {
    /// From now on they do not end this process.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn listen() -> Result<Self, CliError> {
        let listen =
            |kind| signal(kind).map_err(|error| CliError::failed("listen to signals", &error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Whoever is stopped so ends with this status, as shells count it.
    pub const STATUS: u8 = 130;

    /// The next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
