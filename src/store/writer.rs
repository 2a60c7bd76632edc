//! The writer: one thread that owns the one connection that writes.
//!
//! Everything that waits goes into one transaction and shares its one sync to disk. A request that
//! fails fails the whole batch with the same error: a later request may build on an earlier one, and
//! keeping half of it would leave rows that no engine ever decided on.

use crate::model::change::Change;
use crate::model::id::JobId;
use crate::store::archive::Month;
use crate::store::ballast::Ballast;
use crate::store::batch::{BATCH_CHANGES, Entry, Outcome, outcomes};
use crate::store::checkpoint::Checkpoints;
use crate::store::error::{Condition, StoreError};
use crate::store::fetch::fetch;
use crate::store::history::{History, ProgressPoint};
use crate::store::open::{self, Files};
use crate::store::recover::{self, Recovered};
use crate::store::trim::{TrimPolicy, Trimmed, trim};
use crate::store::{archive, aside};
use rusqlite::{Connection, TransactionBehavior};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;
use tokio::sync::{oneshot, watch};

/// Where an answer goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// One thing to do.
pub(crate) enum Request {
    /// Part of the next transaction.
    Entry(Entry),
    /// Let go of what is old.
    Trim(TrimPolicy, Answer<Trimmed>),
    /// Points of progress history.
    Progress(Vec<ProgressPoint>),
    /// See whether a store that was degraded works again.
    Probe(Answer<Condition>),
    /// Read everything that is live.
    Reload(Answer<Recovered>),
    /// Write what is held back.
    Settle(Answer<()>),
    /// Something else, in its turn.
    Work(Box<dyn FnOnce(&mut Writer) + Send>),
    /// End.
    Stop,
}

/// The state of the thread.
pub(crate) struct Writer {
    files: Files,
    epoch: String,
    connection: Option<Connection>,
    ballast: Ballast,
    history: History,
    checkpoints: Checkpoints,
    condition: watch::Sender<Condition>,
    damaged: Option<StoreError>,
}

impl Writer {
    pub(crate) fn new(
        files: Files,
        connection: Connection,
        epoch: String,
        ballast_bytes: u64,
        condition: watch::Sender<Condition>,
    ) -> Self {
        let writer = Self {
            epoch,
            connection: Some(connection),
            ballast: Ballast::new(&files.ballast, ballast_bytes),
            history: History::new(&files.progress),
            checkpoints: Checkpoints::default(),
            condition,
            damaged: None,
            files,
        };
        writer.take_ballast();
        writer
    }

    /// Works until it is told to stop or nobody can ask any more.
    pub(crate) fn run(mut self, inbox: &Receiver<Request>) {
        while let Some(first) = self.next(inbox) {
            let (batch, others) = self.gather(first, inbox);
            self.batch(batch);
            let mut stop = false;
            for other in others {
                stop |= self.other(other);
            }
            self.after_writing();
            if stop {
                break;
            }
        }
        self.history.flush();
        self.rest();
    }

    /// The transaction to be, and what else waits.
    fn gather(&mut self, first: Request, inbox: &Receiver<Request>) -> (Vec<Entry>, Vec<Request>) {
        let mut batch = Vec::new();
        let mut others = Vec::new();
        let mut changes = 0;
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Entry(entry) => {
                    changes += entry.changes();
                    batch.push(entry);
                }
                // After the end of its job, which may be in this batch, nobody would ever delete it.
                Request::Progress(points) => self.history.add(points),
                Request::Trim(..)
                | Request::Probe(_)
                | Request::Reload(_)
                | Request::Settle(_)
                | Request::Work(_)
                | Request::Stop => others.push(request),
            }
            let full = changes >= BATCH_CHANGES;
            next = if full { None } else { inbox.try_recv().ok() };
        }
        (batch, others)
    }

    /// The next request. Wakes by itself only after it has written something.
    fn next(&mut self, inbox: &Receiver<Request>) -> Option<Request> {
        loop {
            let due = [self.history.due(), self.checkpoints.due()];
            let Some(due) = due.into_iter().flatten().min() else {
                return inbox.recv().ok();
            };
            match inbox.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(request) => return Some(request),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.overdue(Instant::now()),
            }
        }
    }

    fn overdue(&mut self, now: Instant) {
        if self.history.due().is_some_and(|due| due <= now) {
            self.history.flush();
        }
        if self.checkpoints.due().is_some_and(|due| due <= now) {
            self.rest();
        }
    }

    /// Nobody wants anything: leave small files and little memory behind.
    fn rest(&mut self) {
        self.history.rest();
        let outcome = self.checkpoints.rest(self.connection.as_ref());
        self.checkpointed(outcome);
    }

    fn after_writing(&mut self) {
        if let Some(connection) = &self.connection {
            let outcome = self.checkpoints.after_writing(connection);
            self.checkpointed(outcome);
        }
    }

    /// A checkpoint that finds the disk full keeps the log growing: give it the reserve.
    fn checkpointed(&self, outcome: rusqlite::Result<()>) {
        let Err(error) = outcome else { return };
        let error = StoreError::of(&error, &self.files.database);
        tracing::warn!(%error, "checkpoint failed");
        if matches!(error, StoreError::Full { .. }) {
            self.ballast.give_back();
            self.degrade(&error);
        }
    }

    /// Everything but commits and fetches; answers whether to stop.
    fn other(&mut self, request: Request) -> bool {
        match request {
            Request::Stop => return true,
            Request::Work(work) => work(self),
            Request::Progress(points) => self.history.add(points),
            Request::Trim(policy, answer) => {
                reply(answer, self.write(|connection| trim(connection, &policy)));
            }
            Request::Probe(answer) => {
                self.probe();
                reply(answer, Ok(self.condition.borrow().clone()));
            }
            Request::Reload(answer) => {
                let path = self.files.database.clone();
                let recovered = self.connection().and_then(|connection| {
                    recover::read(connection).map_err(|error| StoreError::of(&error, &path))
                });
                reply(answer, recovered);
            }
            Request::Settle(answer) => {
                self.history.flush();
                reply(answer, Ok(()));
            }
            Request::Entry(entry) => self.batch(vec![entry]),
        }
        false
    }

    /// While degraded: a real write, for only that shows whether writing works again.
    fn probe(&mut self) {
        if *self.condition.borrow() != Condition::Healthy {
            let _outcome = self.write(|connection| {
                connection.execute("UPDATE meta SET value = value WHERE key = 'created_ms'", [])
            });
        }
    }

    /// One transaction for all; every answer goes out after it is durable.
    fn batch(&mut self, batch: Vec<Entry>) {
        let writes = batch.iter().any(|entry| matches!(entry, Entry::Commit(..)));
        if !writes {
            return self.look_up(batch, &StoreError::Stopped);
        }
        let files = self.files.clone();
        match self.write_or(|connection| outcomes(connection, &batch, &files)) {
            Ok((outcomes, back)) => {
                self.take_back(&back);
                for (entry, outcome) in batch.into_iter().zip(outcomes) {
                    self.answer(entry, outcome);
                }
            }
            Err(error) => self.look_up(batch, &error),
        }
    }

    fn answer(&mut self, entry: Entry, outcome: Outcome) {
        match (entry, outcome) {
            (Entry::Commit(changes, answer), Outcome::Events(events)) => {
                for change in &changes {
                    if let Change::JobRemoved { job, .. } = change {
                        self.history.forget(*job);
                    }
                }
                reply(answer, Ok(events));
            }
            (Entry::Fetch(_, answer), Outcome::Fetched(fetched)) => reply(answer, fetched),
            // Outcomes are made from the entries, one by one.
            _ => {}
        }
    }

    /// Without a transaction: what was only asked is answered from what is stored, and commits fail
    /// with `error`.
    fn look_up(&mut self, batch: Vec<Entry>, error: &StoreError) {
        let files = self.files.clone();
        for entry in batch {
            match entry {
                Entry::Commit(_, answer) => reply(answer, Err(error.clone())),
                Entry::Fetch(wanted, answer) => {
                    let fetched = self.read(|connection| fetch(connection, &files, &wanted));
                    let fetched = fetched.and_then(std::convert::identity);
                    reply(answer, fetched);
                }
            }
        }
    }

    /// The progress of jobs that have just come back from the archive follows them.
    fn take_back(&mut self, jobs: &[(JobId, Month)]) {
        for (job, month) in jobs {
            if let Err(error) = archive::progress_back(self, *job, *month) {
                // It is tried again before the archive lets go of it.
                tracing::warn!(%job, %error, "its progress is not back from the archive yet");
            }
        }
    }

    /// Where everything is.
    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// The progress history, which is written beside everything else.
    pub(crate) fn history(&mut self) -> &mut History {
        &mut self.history
    }

    /// Reads what is stored.
    pub(crate) fn read<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let path = self.files.database.clone();
        work(self.connection()?).map_err(|error| StoreError::of(&error, &path))
    }

    /// Numbers of jobs up to `last` count as given out from now on.
    pub(crate) fn raise_floor(&mut self, last: JobId) -> Result<(), StoreError> {
        self.write(|connection| recover::raise_floor(connection, last))
    }

    /// As [`write`](Self::write), for what SQLite does in transactions of its own.
    pub(crate) fn write_outside<T>(
        &mut self,
        work: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        if let Some(damaged) = &self.damaged {
            return Err(damaged.clone());
        }
        let path = self.files.database.clone();
        let outcome = work(self.connection()?).map_err(|error| StoreError::of(&error, &path));
        self.checkpoints.wrote();
        if let Err(error) = &outcome {
            self.failed(error);
        }
        outcome
    }

    /// Runs `work` in one transaction. On a full disk the reserve is given back and it runs once more.
    pub(crate) fn write<T>(
        &mut self,
        work: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let path = self.files.database.clone();
        self.write_or(|connection| work(connection).map_err(|error| StoreError::of(&error, &path)))
    }

    /// The same for work that also touches files of the archive: what is wrong with those is no trouble of the store.
    pub(crate) fn write_or<T>(
        &mut self,
        work: impl Fn(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(damaged) = &self.damaged {
            return Err(damaged.clone());
        }
        let mut outcome = self.try_write(&work);
        if matches!(outcome, Err(StoreError::Full { .. })) && self.ballast.give_back() {
            tracing::warn!(path = %self.files.directory.display(), "the disk is full: reserve given back");
            if let Err(error) = &outcome {
                self.degrade(error);
            }
            outcome = self.try_write(&work);
        }
        match &outcome {
            Ok(_) => self.recovered(),
            Err(error) => self.failed(error),
        }
        outcome
    }

    fn try_write<T>(
        &mut self,
        work: impl Fn(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let path = self.files.database.clone();
        self.connection()?;
        let Some(connection) = &mut self.connection else {
            return Err(StoreError::Stopped);
        };
        let fail = |error: rusqlite::Error| StoreError::of(&error, &path);
        let mut run = || -> Result<T, StoreError> {
            // Dropped without a commit, it rolls back: a failed write leaves everything as it was.
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(fail)?;
            let done = work(&transaction)?;
            transaction.commit().map_err(fail)?;
            Ok(done)
        };
        let outcome = run();
        self.checkpoints.wrote();
        outcome
    }

    /// The connection, opened again after the file system refused.
    fn connection(&mut self) -> Result<&Connection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.reconnect()?,
        };
        Ok(self.connection.insert(connection))
    }

    fn reconnect(&self) -> Result<Connection, StoreError> {
        let path = &self.files.database;
        let connection = open::writer(path)?;
        let epoch = recover::epoch(&connection).map_err(|error| StoreError::of(&error, path))?;
        if epoch == self.epoch {
            return Ok(connection);
        }
        Err(StoreError::Corrupt {
            path: path.clone(),
            why: "somebody put another database in its place".to_owned(),
        })
    }

    fn failed(&mut self, error: &StoreError) {
        match error {
            // The caller's doing: the store is as well as before.
            StoreError::Rejected { .. }
            | StoreError::Stopped
            | StoreError::Archived { .. }
            | StoreError::Refused { .. }
            | StoreError::Postponed { .. } => {
                return;
            }
            StoreError::Corrupt { why, .. } => {
                // Writing on would spread the damage. The next start sets the file aside.
                aside::suspect(&self.files, why);
                self.damaged = Some(error.clone());
            }
            StoreError::ReadOnly { .. } | StoreError::Io { .. } | StoreError::Busy { .. } => {
                self.connection = None;
            }
            StoreError::Full { .. } | StoreError::Newer { .. } => {}
        }
        self.degrade(error);
    }

    fn degrade(&self, error: &StoreError) {
        self.set_condition(Condition::Degraded {
            why: format!("failed to {error}"),
        });
    }

    /// A write worked. All is well once the reserve is back too.
    fn recovered(&self) {
        if *self.condition.borrow() != Condition::Healthy {
            self.take_ballast();
        }
    }

    fn take_ballast(&self) {
        self.set_condition(match self.ballast.take() {
            Ok(()) => Condition::Healthy,
            Err(error) => Condition::Degraded {
                why: format!(
                    "failed to keep a reserve in {}: {error}; free some space",
                    self.files.directory.display()
                ),
            },
        });
    }

    fn set_condition(&self, condition: Condition) {
        self.condition.send_if_modified(|present| {
            let changed = *present != condition;
            if changed {
                tracing::info!(%condition, "store");
                *present = condition;
            }
            changed
        });
    }
}

/// Whoever does not wait any more wants no answer.
fn reply<T>(answer: Answer<T>, outcome: Result<T, StoreError>) {
    let _unheard = answer.send(outcome);
}
