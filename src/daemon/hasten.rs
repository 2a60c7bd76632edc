//! Makes starts in cgroups quicker: begins the kernel's wait while the row of the start is still being stored.
//!
//! See [`Base::hasten`]. Nothing depends on it, and nothing happens here while nothing starts.

use crate::contain::cgroup::Base;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Starts that follow each other this closely hasten one another.
const CLOSE: Duration = Duration::from_millis(20);

/// The thread that waits ahead of others.
#[derive(Debug)]
pub(super) struct Hastener {
    orders: SyncSender<()>,
    last: Option<Instant>,
}

impl Hastener {
    /// A thread for starts below `base`; it ends with the last sender. `None` where there is no thread to be had.
    #[must_use]
    pub(super) fn start(base: Base) -> Option<Self> {
        let (orders, inbox) = sync_channel::<()>(1);
        let work = move || {
            while inbox.recv().is_ok() {
                if let Err(error) = base.hasten() {
                    tracing::debug!(%error, "starts cannot be hastened");
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("hasten".to_owned())
            .stack_size(256 * 1024)
            .spawn(work);
        thread.ok().map(|_| Self { orders, last: None })
    }

    /// Something will be started in a moment.
    pub(super) fn begin(&mut self) {
        let now = Instant::now();
        let last = self.last.replace(now);
        if last.is_none_or(|last| now.duration_since(last) > CLOSE) {
            // One that is under way already serves as well.
            let _sent = self.orders.try_send(());
        }
    }
}
