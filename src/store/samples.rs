//! Samples over time: everything that is measured, in databases of their own, as compressed chunks in three tiers.
//!
//! [`Samples::append`] puts what was measured into memory; a thread brings it to a log every ten seconds and to
//! the volume of its day when its slot of ten minutes is over ([`seal`]), and rolls up what is complete. A query
//! reads from memory and volumes as if they were one ([`query`]).

mod aside;
mod bytes;
mod chunk;
mod head;
mod instant;
mod log;
mod news;
mod query;
mod retain;
mod rollup;
mod seal;
mod shelf;
mod verify;
mod volume;
mod writer;

pub use instant::Moment;
pub use query::{Range, SamplePoint};
pub use retain::Retention;
pub use shelf::Tier;
pub use verify::VerifiedSamples;

use crate::model::entity::{Entity, SeriesKey};
use crate::model::id::AttemptId;
use crate::model::metric::{Metric, Readings};
use crate::model::sample::Pass;
use crate::store::error::{Condition, StoreError};
use chunk::{ABSENT, Chunk, value};
use head::{Head, slot_of};
use query::Query;
use shelf::{Place, Shelf};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;
use tokio::sync::watch;
use writer::{BEHIND, MOST_CLOSED, MOST_CLOSED_VALUES, Request, Writer};

/// What is in memory, and what is to be done.
#[derive(Debug, Default)]
struct State {
    current: Head,
    /// Number of the present slot among all of this daemon.
    number: u64,
    /// Slots that are over and not in their volume yet, oldest first.
    closed: VecDeque<(u64, Arc<Head>)>,
    /// When what is new is to be in the log.
    deadline: Option<Instant>,
    /// When it is tried again what failed.
    retry: Option<Instant>,
    requests: Vec<Request>,
    /// Slots that there was no room for.
    lost: u64,
    is_ready: bool,
    is_over: bool,
}

impl State {
    /// Ends the present slot; what it holds waits to be sealed. Beyond what memory is for, the oldest is let go of.
    fn close(&mut self) {
        if self.current.is_empty() {
            return;
        }
        let next = Head::new(self.current.slot_ms);
        let closed = std::mem::replace(&mut self.current, next);
        self.closed.push_back((self.number, Arc::new(closed)));
        self.number += 1;
        let is_too_much = |closed: &VecDeque<(u64, Arc<Head>)>| {
            let values: usize = closed.iter().map(|(_, head)| head.values).sum();
            closed.len() > 1 && (closed.len() > MOST_CLOSED || values > MOST_CLOSED_VALUES)
        };
        while is_too_much(&self.closed) {
            self.closed.pop_front();
            self.lost += 1;
        }
    }
}

#[derive(Debug)]
struct Shared {
    shelf: Shelf,
    state: Mutex<State>,
    wake: Condvar,
    ready: Condvar,
    /// Held to write while something moves from memory to a volume or from one to another, so that whoever reads
    /// finds it in one place.
    gate: RwLock<()>,
    condition: watch::Sender<Condition>,
}

/// A lock that was held in a panic guards what is complete after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Within which time there are samples of a series, as far as its volumes tell: not before the first sample of
/// anything in the first of them, nor after the last in the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Not before this time, wall clock, milliseconds since 1970 UTC.
    pub first_ms: i64,
    /// Not after this time.
    pub last_ms: i64,
}

impl Kept {
    fn add_to(self, all: &mut BTreeMap<SeriesKey, Self>, key: SeriesKey) {
        let known = all.entry(key).or_insert(self);
        known.first_ms = known.first_ms.min(self.first_ms);
        known.last_ms = known.last_ms.max(self.last_ms);
    }
}

/// What there is of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub tier: Tier,
    /// Its volumes.
    pub volumes: u64,
    /// Their size.
    pub bytes: u64,
    /// When the first of them begins, wall clock, milliseconds since 1970 UTC.
    pub first_ms: Option<i64>,
}

/// The door to all samples; cheap to clone. The thread ends with the last of them, or by [`Samples::close`].
#[derive(Clone, Debug)]
pub struct Samples {
    owner: Arc<Owner>,
}

#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Samples {
    /// Opens the samples in `directory`, and takes in what an earlier daemon left in its log, on a thread.
    ///
    /// # Errors
    /// [`StoreError`] where the system gives no thread. What is wrong with files shows in the [condition](Self::condition).
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            shelf: Shelf::new(directory),
            state: Mutex::default(),
            wake: Condvar::new(),
            ready: Condvar::new(),
            gate: RwLock::new(()),
            condition: watch::channel(Condition::Healthy).0,
        });
        let writer = Writer::new(Arc::clone(&shared));
        let thread = Builder::new()
            .name("samples".to_owned())
            .stack_size(1 << 20)
            .spawn(move || writer.run())
            .map_err(|error| StoreError::of_io(&error, directory))?;
        Ok(Self {
            owner: Arc::new(Owner {
                shared,
                thread: Mutex::new(Some(thread)),
            }),
        })
    }

    /// Takes what was measured. Never waits for the disk, which is about ten seconds behind.
    pub fn append(&self, pass: &Pass) {
        let shared = &self.owner.shared;
        let at_ms = pass.at.wall_ms;
        let mut state = lock(&shared.state);
        let slot_ms = slot_of(at_ms);
        if state.current.slot_ms != slot_ms || state.current.is_full() {
            state.close();
            state.current = Head::new(slot_ms);
        }
        for (entity, readings) in pass.entities() {
            state.current.add(at_ms, &entity, readings);
        }
        let is_news = state.deadline.is_none() && !state.current.is_empty();
        let is_later = state
            .deadline
            .is_some_and(|at| at > Instant::now() + BEHIND);
        if is_news || is_later {
            state.deadline = Some(Instant::now() + BEHIND);
        }
        let wakes = is_news || is_later || !state.closed.is_empty();
        drop(state);
        if wakes {
            shared.wake.notify_one();
        }
    }

    /// Points of some series over a stretch of time, in the order of the keys. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError`] where a volume cannot be read.
    pub fn query(
        &self,
        keys: &[SeriesKey],
        range: Range,
    ) -> Result<Vec<Vec<SamplePoint>>, StoreError> {
        let shared = &self.owner.shared;
        self.wait_until_ready();
        let _gate = shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        let heads = self.heads(|entity| keys.iter().any(|key| key.entity == *entity));
        let mut query = Query::new(&shared.shelf, &heads, range);
        let mut wanted: BTreeMap<&Entity, Vec<Metric>> = BTreeMap::new();
        for key in keys {
            wanted.entry(&key.entity).or_default().push(key.metric);
        }
        let lines = query.lines(wanted);
        let points = keys.iter().map(|key| {
            let line = lines
                .get(&key.entity)
                .and_then(|line| line.get(&key.metric));
            line.cloned().unwrap_or_default()
        });
        Ok(points.collect())
    }

    /// Which series there are of entities that `wanted` names, from a time up to another. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError`] where a volume cannot be read.
    pub fn series(
        &self,
        wanted: &dyn Fn(&Entity) -> bool,
        since_ms: i64,
        until_ms: i64,
    ) -> Result<BTreeMap<SeriesKey, Kept>, StoreError> {
        let shared = &self.owner.shared;
        self.wait_until_ready();
        let _gate = shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = BTreeMap::new();
        for head in self.heads(wanted) {
            for (entity, chunk) in head.chunks.iter().filter(|(entity, _)| wanted(entity)) {
                let time = |time: Option<&i64>| head.slot_ms + time.copied().unwrap_or(0);
                let kept = Kept {
                    first_ms: time(chunk.times.first()),
                    last_ms: time(chunk.times.last()),
                };
                for column in &chunk.columns {
                    let key = SeriesKey {
                        entity: entity.clone(),
                        metric: column.metric,
                    };
                    kept.add_to(&mut found, key);
                }
            }
        }
        for tier in Tier::ALL {
            for place in shared.shelf.places(tier) {
                if place.end_ms > since_ms && place.first_ms <= until_ms {
                    // One that cannot be read must not hide all the others.
                    if let Err(error) = volume::series(&place, wanted, &mut found) {
                        tracing::warn!(%error, "samples of a time cannot be read");
                    }
                }
            }
        }
        Ok(found)
    }

    /// Files that were damaged and are set aside.
    #[must_use]
    pub fn set_aside(&self) -> Vec<PathBuf> {
        let dirs = Tier::ALL.map(Tier::as_str).into_iter().chain(["log"]);
        let dirs = dirs.map(|name| self.owner.shared.shelf.dir().join(name));
        let entries = dirs.filter_map(|dir| std::fs::read_dir(dir).ok()).flatten();
        let paths = entries.flatten().map(|entry| entry.path());
        paths.filter(|path| aside::is_aside(path)).collect()
    }

    /// What was measured last of an attempt and of all GPUs that it ever used by an earlier daemon, as long as that is
    /// kept as it was. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError`] where a volume cannot be read.
    pub fn last_of(&self, attempt: AttemptId) -> Result<Vec<(Entity, Readings)>, StoreError> {
        let shared = &self.owner.shared;
        self.wait_until_ready();
        let _gate = shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        let mut last = BTreeMap::new();
        // In the newest volume there may be nothing of it yet; in those from before it began there is nothing any more.
        let mut may_be_absent = true;
        for place in shared.shelf.places(Tier::Raw).iter().rev() {
            let found = volume::last_of(place, attempt)?;
            if found.is_empty() && !std::mem::take(&mut may_be_absent) {
                break;
            }
            for (entity, chunks) in found {
                last.entry(entity).or_insert_with(|| last_readings(&chunks));
            }
        }
        Ok(last.into_iter().collect())
    }

    /// Brings what is new to the log, as happens by itself about every ten seconds. Blocks until then.
    ///
    /// # Errors
    /// [`StoreError`] where the disk does not take it; it stays in memory then.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.ask(Request::Flush)
    }

    /// Brings everything to disk that is there, and rolls up what is complete. Blocks until then.
    ///
    /// # Errors
    /// [`StoreError`] where the disk does not take it; it stays in memory then.
    pub fn settle(&self) -> Result<(), StoreError> {
        self.ask(Request::Settle)
    }

    /// Deletes what is too old by `now_ms`, or too much; answers how many bytes. Blocks until then.
    ///
    /// # Errors
    /// [`StoreError`] where something cannot be deleted.
    pub fn retain(&self, retention: Retention, now_ms: i64) -> Result<u64, StoreError> {
        self.ask(|answer| Request::Retain(retention, now_ms, answer))
    }

    /// Whether the disk takes what is measured.
    #[must_use]
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.owner.shared.condition.subscribe()
    }

    /// Bytes on disk, by tier.
    #[must_use]
    pub fn bytes(&self) -> BTreeMap<Tier, u64> {
        self.held().map(|held| (held.tier, held.bytes)).into()
    }

    /// What is on disk, the finest tier first.
    #[must_use]
    pub fn held(&self) -> [Held; 3] {
        Tier::ALL.map(|tier| {
            let places = self.owner.shared.shelf.places(tier);
            Held {
                tier,
                volumes: places.len() as u64,
                bytes: places.iter().map(Place::bytes).sum(),
                first_ms: places.first().map(|place| place.first_ms),
            }
        })
    }

    /// Brings what is new to the log and ends the thread.
    pub fn close(&self) {
        self.owner.close();
    }

    fn ask<T>(
        &self,
        request: impl FnOnce(Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (answer, answered) = channel();
        lock(&self.owner.shared.state)
            .requests
            .push(request(answer));
        self.owner.shared.wake.notify_one();
        answered.recv().unwrap_or(Err(StoreError::Stopped))
    }

    fn wait_until_ready(&self) {
        let shared = &self.owner.shared;
        let state = lock(&shared.state);
        let is_busy = |state: &mut State| !state.is_ready && !state.is_over;
        drop(shared.ready.wait_while(state, is_busy));
    }

    /// What is in memory, of some entities, oldest first.
    fn heads(&self, wanted: impl Fn(&Entity) -> bool) -> Vec<Arc<Head>> {
        let state = lock(&self.owner.shared.state);
        let mut heads: Vec<Arc<Head>> = state
            .closed
            .iter()
            .map(|(_, head)| Arc::clone(head))
            .collect();
        let chunks = state.current.chunks.iter();
        let chunks = chunks.filter(|(entity, _)| wanted(entity));
        let chunks: BTreeMap<Entity, Chunk> = chunks
            .map(|(entity, chunk)| (entity.clone(), chunk.clone()))
            .collect();
        heads.push(Arc::new(Head {
            slot_ms: state.current.slot_ms,
            chunks,
            ..Head::default()
        }));
        drop(state);
        heads
    }
}

/// The newest value of each metric of some chunks, each with the number of its slot.
fn last_readings(chunks: &[(i64, Chunk)]) -> Readings {
    let mut newest: BTreeMap<Metric, ((i64, i64), i64)> = BTreeMap::new();
    for (slot, chunk) in chunks {
        for column in &chunk.columns {
            let values = chunk.times.iter().zip(&column.values);
            for (time, whole) in values.filter(|(_, whole)| **whole != ABSENT) {
                let at = (*slot, *time);
                let known = newest.entry(column.metric).or_insert((at, *whole));
                if known.0 <= at {
                    *known = (at, *whole);
                }
            }
        }
    }
    let values = newest.into_iter();
    values
        .map(|(metric, (_, whole))| (metric, value(metric, whole)))
        .collect()
}

impl Owner {
    fn close(&self) {
        let Some(thread) = lock(&self.thread).take() else {
            return;
        };
        lock(&self.shared.state).is_over = true;
        self.shared.wake.notify_all();
        self.shared.ready.notify_all();
        if thread.join().is_err() {
            tracing::error!("the writer of samples panicked");
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
