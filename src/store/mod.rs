//! The store: what must not be lost, in SQLite. One thread writes, a few connections read.
//!
//! [`Store`] takes changes and answers with the durable events that follow from them, after they are on
//! disk. [`Reader`] answers lists and histories. Starting is recovering: [`Store::open`] is the only way
//! in, and leaves nothing to an orderly end.

mod apply;
pub mod archive;
mod aside;
mod ballast;
mod batch;
mod checkpoint;
mod error;
mod fetch;
mod flows;
mod history;
mod list;
mod migrate;
mod open;
mod past;
mod reader;
mod recover;
mod rows;
mod salvage;
mod samples;
mod space;
mod trim;
mod writer;

pub use aside::SetAside;
pub use error::{Condition, StoreError};
pub use fetch::{Fetch, Fetched, StoredKey};
pub use flows::{FlowPage, FlowRecord};
pub use history::{ProgressPoint, Stretch};
pub use list::{JobFilter, Page};
pub use reader::{ActiveThen, EventFilter, EventPage, GroupCount, JobHistory, Reader, Then};
pub use recover::Recovered;
pub use samples::{
    Held, Kept, Moment, Range, Retention, SamplePoint, Samples, Tier, VerifiedSamples,
};
pub use trim::{TrimPolicy, Trimmed};

use crate::model::change::Change;
use crate::model::event::Event;
use crate::model::id::JobId;
use archive::Archive;
use ballast::Ballast;
use batch::Entry;
use open::Files;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use tokio::sync::{oneshot, watch};
use writer::{Answer, Request, Writer};

/// How to open a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The largest job number that is known from elsewhere: none up to it is given out, even where the
    /// database cannot say any more.
    pub id_floor: JobId,
    /// Space kept in reserve for a full disk, bytes; 0 keeps none.
    pub ballast_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            id_floor: JobId(0),
            ballast_bytes: 8 << 20,
        }
    }
}

/// An open store, and what it held.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// What to start from.
    pub recovered: Recovered,
    /// The damaged database that was here, where one was.
    pub set_aside: Option<SetAside>,
}

/// The door to the writer; cheap to clone. The writer ends with the last of them, or by [`Store::close`].
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inbox: Sender<Request>,
    condition: watch::Receiver<Condition>,
    reader: Reader,
    files: Files,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the store in `directory`, and makes one where there is none.
    ///
    /// A damaged database is set aside under another name, and what can be read of it is carried over
    /// into a new one. Blocks until all that is live is read.
    ///
    /// # Errors
    /// [`StoreError`] where the directory cannot be written, or a newer version wrote the database;
    /// nothing has changed then.
    pub fn open(directory: &Path, options: Options) -> Result<Opened, StoreError> {
        let files = Files::of(directory);
        let (connection, recovered, set_aside) = match open::open(&files, &options) {
            // Even reading needs some space, for the index of the write-ahead log.
            Err(StoreError::Full { .. })
                if Ballast::new(&files.ballast, options.ballast_bytes).give_back() =>
            {
                open::open(&files, &options)?
            }
            opened => opened?,
        };
        let (inbox, requests) = channel();
        let (sender, condition) = watch::channel(Condition::Healthy);
        let epoch = recovered.epoch.clone();
        let writer = Writer::new(
            files.clone(),
            connection,
            epoch,
            options.ballast_bytes,
            sender,
        );
        let thread = Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&requests))
            .map_err(|error| StoreError::of_io(&error, directory))?;
        let store = Self {
            shared: Arc::new(Shared {
                inbox,
                condition,
                reader: Reader::new(files.clone()),
                files,
                thread: Mutex::new(Some(thread)),
            }),
        };
        Ok(Opened {
            store,
            recovered,
            set_aside,
        })
    }

    /// Stores `changes`, all or none, and answers the durable events that follow from them, in order.
    ///
    /// The request is under way when this returns; the future resolves when the changes would survive a
    /// power cut. Requests are stored in the order of the calls. Those that wait together share one
    /// transaction: when one of them fails, all of them fail with the same error.
    pub fn commit(
        &self,
        changes: Vec<Change>,
    ) -> impl Future<Output = Result<Vec<Event>, StoreError>> + Send + use<> {
        outcome(self.ask(|answer| Request::Entry(Entry::Commit(changes, answer))))
    }

    /// Looks up what the engine needs to decide, after everything committed before this call.
    pub fn fetch(
        &self,
        fetch: Fetch,
    ) -> impl Future<Output = Result<Fetched, StoreError>> + Send + use<> {
        outcome(self.ask(|answer| Request::Entry(Entry::Fetch(fetch, answer))))
    }

    /// Lets go of what is old, a bounded part at a time; [`Trimmed::more`] says to call again.
    pub fn trim(
        &self,
        policy: TrimPolicy,
    ) -> impl Future<Output = Result<Trimmed, StoreError>> + Send + use<> {
        outcome(self.ask(|answer| Request::Trim(policy, answer)))
    }

    /// Looks whether a degraded store works again; writes nothing while it is healthy.
    pub fn probe(&self) -> impl Future<Output = Result<Condition, StoreError>> + Send + use<> {
        outcome(self.ask(Request::Probe))
    }

    /// Everything that is live, as [`Store::open`] gave it, after everything committed before this call.
    pub fn reload(&self) -> impl Future<Output = Result<Recovered, StoreError>> + Send + use<> {
        outcome(self.ask(Request::Reload))
    }

    /// Adds points to the progress history, about a second late. Losing some harms nothing else, so
    /// there is no answer.
    pub fn record_progress(&self, points: Vec<ProgressPoint>) {
        if !points.is_empty() {
            // Nobody takes them only while the store goes down.
            let _sent = self.shared.inbox.send(Request::Progress(points));
        }
    }

    /// Writes what is held back of the progress history now.
    pub fn settle(&self) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        outcome(self.ask(Request::Settle))
    }

    /// What moves jobs into the archive and back.
    #[must_use]
    pub fn archive(&self) -> Archive {
        Archive::new(self.clone(), self.shared.files.clone())
    }

    /// As [`settle`](Self::settle), on a thread that may block.
    fn settle_now(&self) -> Result<(), StoreError> {
        waited(self.ask(Request::Settle))
    }

    /// Has the writer do some work in its turn. Blocks until it is done.
    fn with_writer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        waited(self.ask(|answer: Answer<T>| {
            Request::Work(Box::new(move |writer| {
                // Whoever does not wait any more wants no answer.
                let _unheard = answer.send(work(writer));
            }))
        }))
    }

    /// Whether the store takes what it is given, now and whenever it changes.
    #[must_use]
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.shared.condition.clone()
    }

    /// The connections that read.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.shared.reader.clone()
    }

    /// Stores what was asked so far, leaves small files behind and ends the writer. Blocks until then;
    /// later requests are answered with [`StoreError::Stopped`].
    pub fn close(&self) {
        self.shared.close();
    }

    fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Answered<T> {
        let (answer, answered) = oneshot::channel();
        // A request that nobody takes drops its answer, and that is read as "stopped".
        let _sent = self.shared.inbox.send(request(answer));
        answered
    }
}

type Answered<T> = oneshot::Receiver<Result<T, StoreError>>;

async fn outcome<T>(answered: Answered<T>) -> Result<T, StoreError> {
    answered.await.unwrap_or(Err(StoreError::Stopped))
}

fn waited<T>(answered: Answered<T>) -> Result<T, StoreError> {
    answered.blocking_recv().unwrap_or(Err(StoreError::Stopped))
}

impl Shared {
    fn close(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            let _sent = self.inbox.send(Request::Stop);
            if thread.join().is_err() {
                tracing::error!("the store's writer panicked");
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
