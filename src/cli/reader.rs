//! Whoever reads standard output: noticed when he goes, also where there is nothing to write.
//!
//! A program that only finds out by writing stays behind where nothing happens: one more for each restart of the bar that
//! started it.

use crate::cli::error::CliError;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use std::thread;
use tokio::sync::oneshot;

/// A thread that only waits needs little.
const STACK_BYTES: usize = 64 << 10;

/// The other side of standard output.
#[derive(Debug)]
pub struct Reader {
    goes: oneshot::Receiver<()>,
}

impl Reader {
    /// Begins to watch it, on a thread that sleeps until he goes.
    ///
    /// # Errors
    /// Where there can be no further thread.
    pub fn watch() -> Result<Self, CliError> {
        let (tell, goes) = oneshot::channel();
        let wait = move || {
            if wait_for_end().is_ok() {
                // Nobody may be interested any more.
                let _told = tell.send(());
            }
        };
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        thread
            .spawn(wait)
            .map_err(|error| CliError::failed("start a thread", &error))?;
        Ok(Self { goes })
    }

    /// Returns when he is gone. A file has no other side that could go.
    pub async fn gone(self) {
        if self.goes.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn wait_for_end() -> Result<(), Errno> {
    let stdout = io::stdout();
    loop {
        // An error and the end of the other side need not be asked for, and all else is of no interest.
        let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
        match poll(&mut polled, None) {
            Err(Errno::INTR) => {}
            Err(why) => return Err(why),
            Ok(_) => return Ok(()),
        }
    }
}
