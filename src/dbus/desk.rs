//! Where calls leave what the one task that speaks on the bus is to do for them.

use crate::dbus::error::Error;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use zbus::OwnedObjectPath;

/// Errands that may wait.
const WAITING: usize = 64;

/// The answer to an errand.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Errand {
    /// Export a job for as long as a caller lives.
    Export {
        job: u32,
        caller: String,
        answer: Answer<OwnedObjectPath>,
    },
    /// Tell a caller so often what is measured.
    Lease {
        caller: String,
        every: Duration,
        answer: Answer<u64>,
    },
    /// No more.
    EndLease {
        caller: String,
        lease: u64,
        answer: Answer<()>,
    },
    /// A caller is gone.
    Gone(String),
}

/// The way there; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Desk(mpsc::Sender<Errand>);

impl Desk {
    /// A desk, and what the one behind it takes errands from.
    pub(super) fn new() -> (Self, mpsc::Receiver<Errand>) {
        let (sender, inbox) = mpsc::channel(WAITING);
        (Self(sender), inbox)
    }

    /// Leaves an errand; nobody waits for it where nobody is there any more.
    pub(super) async fn tell(&self, errand: Errand) {
        drop(self.0.send(errand).await);
    }

    /// Leaves an errand, and waits until it is done.
    pub(super) async fn ask<T>(
        &self,
        errand: impl FnOnce(Answer<T>) -> Errand,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.tell(errand(answer)).await;
        let lost = || Error::Draining("the bus or the daemon goes down; try again".to_owned());
        answered.await.unwrap_or_else(|_| Err(lost()))
    }
}
