//! The thread that brings samples to disk: into the log every ten seconds, into volumes when a slot is over. It sleeps
//! while nothing comes.

use crate::store::error::{Condition, StoreError};
use crate::store::open;
use crate::store::samples::head::{Head, SLOT_MS, slot_of};
use crate::store::samples::log::{self, Log};
use crate::store::samples::retain::{self, Retention};
use crate::store::samples::seal::{self, DAY_MS, HOUR_MS, Unrolled};
use crate::store::samples::shelf::{Place, Shelf, Tier};
use crate::store::samples::{Shared, State, lock};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// How far the disk may be behind.
pub(super) const BEHIND: Duration = Duration::from_secs(10);

/// Slots that wait in memory while the disk takes nothing: an hour.
pub(super) const MOST_CLOSED: usize = 12;

/// Something to do for somebody who waits for it.
#[derive(Debug)]
pub(super) enum Request {
    /// Bring everything to disk that is there.
    Settle(Sender<Result<(), StoreError>>),
    /// Delete what is too old.
    Retain(Retention, i64, Sender<Result<u64, StoreError>>),
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// Of each head that is not sealed, by its number.
    logs: BTreeMap<u64, Log>,
    /// Logs that an earlier daemon left, with what they hold.
    left: Vec<(PathBuf, Head)>,
    unrolled: Unrolled,
    next_log: u64,
}

/// What is to be done now.
struct Turn {
    requests: Vec<Request>,
    closed: Vec<(u64, Arc<Head>)>,
    is_due: bool,
    is_over: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            logs: BTreeMap::new(),
            left: Vec::new(),
            unrolled: Unrolled::default(),
            next_log: 0,
        }
    }

    pub(super) fn run(mut self) {
        self.begin();
        loop {
            let turn = self.wait();
            if turn.is_due {
                self.flush();
            }
            self.seal(turn.closed);
            for request in turn.requests {
                self.answer(request);
            }
            if turn.is_over {
                self.flush();
                return;
            }
        }
    }

    /// Takes in what an earlier daemon left.
    fn begin(&mut self) {
        let shared = Arc::clone(&self.shared);
        let opened = shared.gate.write().unwrap_or_else(PoisonError::into_inner);
        let prepared = self.prepare();
        self.tell(prepared);
        drop(opened);
        lock(&shared.state).is_ready = true;
        shared.ready.notify_all();
    }

    fn prepare(&mut self) -> Result<(), StoreError> {
        let shelf = &self.shared.shelf;
        for dir in [shelf.dir().to_owned(), shelf.dir().join("log")]
            .into_iter()
            .chain(Tier::ALL.map(|tier| shelf.dir_of(tier)))
        {
            private_dir(&dir)?;
        }
        for path in logs(shelf) {
            match log::read(&path) {
                Ok(Some(head)) if !head.is_empty() => self.left.push((path, head)),
                // Nothing was in it, or its beginning was not written.
                Ok(_) => remove(&path),
                Err(error) => return Err(StoreError::of_io(&error, &path)),
            }
        }
        self.take_left()?;
        self.unrolled = seal::unrolled(&self.shared.shelf)?;
        Ok(())
    }

    fn take_left(&mut self) -> Result<(), StoreError> {
        while let Some((path, head)) = self.left.last() {
            self.seal_one(&path.clone(), &head.clone())?;
            self.left.pop();
        }
        Ok(())
    }

    /// Sleeps until there is something to do.
    fn wait(&self) -> Turn {
        let mut state = lock(&self.shared.state);
        loop {
            let now = Instant::now();
            let is_due = state.deadline.is_some_and(|deadline| deadline <= now);
            let has_work = !state.requests.is_empty() || state.is_over;
            let can_seal = !state.closed.is_empty() && state.retry.is_none_or(|at| at <= now);
            if is_due || has_work || can_seal {
                if is_due {
                    state.deadline = None;
                }
                return Turn {
                    requests: std::mem::take(&mut state.requests),
                    closed: state.closed.iter().cloned().collect(),
                    is_due,
                    is_over: state.is_over,
                };
            }
            let retry = state.retry.filter(|_| !state.closed.is_empty());
            let next = state.deadline.into_iter().chain(retry).min();
            state = match next {
                None => self
                    .shared
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(next) => {
                    let waited = self.shared.wake.wait_timeout(state, next - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Writes what is new into the log of the present slot.
    fn flush(&mut self) {
        let mut state = lock(&self.shared.state);
        let number = state.number;
        let slot_ms = state.current.slot_ms;
        let pieces = state.current.unlogged();
        let has_more = !state.current.is_empty();
        if has_more && is_over(slot_ms) {
            state.close();
        } else if has_more {
            // Nobody may come any more, and it has to be sealed all the same.
            state.deadline = Some(Instant::now() + until_over(slot_ms).max(BEHIND));
        }
        drop(state);
        if pieces.is_empty() {
            return;
        }
        let written = self.log_of(number, slot_ms).and_then(|log| {
            log.add(&pieces)
                .map_err(|error| StoreError::of_io(&error, &log.path))
        });
        if written.is_err() {
            let mut state = lock(&self.shared.state);
            if state.number == number {
                // They are tried again with those that come.
                state.current.logged.clear();
                self.logs
                    .remove(&number)
                    .into_iter()
                    .for_each(|log| remove(&log.path));
                state.deadline = Some(Instant::now() + BEHIND);
            }
        }
        self.tell(written);
    }

    fn log_of(&mut self, number: u64, slot_ms: i64) -> Result<&mut Log, StoreError> {
        if !self.logs.contains_key(&number) {
            self.next_log += 1;
            let name = format!("{}-{}-{}", now_ms(), std::process::id(), self.next_log);
            let path = self.shared.shelf.dir().join("log").join(name);
            let log = Log::begin(path.clone(), slot_ms);
            let log = log.map_err(|error| StoreError::of_io(&error, &path))?;
            self.logs.insert(number, log);
        }
        match self.logs.get_mut(&number) {
            Some(log) => Ok(log),
            None => Err(StoreError::Stopped),
        }
    }

    /// Takes slots that are over into their volumes.
    fn seal(&mut self, closed: Vec<(u64, Arc<Head>)>) {
        if closed.is_empty() && self.left.is_empty() {
            return;
        }
        let mut outcome = self.take_left();
        for (number, head) in closed {
            if outcome.is_err() {
                break;
            }
            let path = self.logs.get(&number).map(|log| log.path.clone());
            // One that never got into a log is named all the same.
            let path = path.unwrap_or_else(|| {
                let name = format!("{}-{}-{number}-unlogged", now_ms(), std::process::id());
                self.shared.shelf.dir().join("log").join(name)
            });
            outcome = self.seal_shown(number, &path, &head);
        }
        if outcome.is_ok() {
            outcome = self.roll();
        }
        let mut state = lock(&self.shared.state);
        state.retry = outcome.is_err().then(|| Instant::now() + BEHIND);
        let lost = std::mem::take(&mut state.lost);
        drop(state);
        if lost > 0 {
            tracing::error!(
                slots = lost,
                "samples are lost: the disk did not take them for an hour"
            );
        }
        self.tell(outcome);
    }

    /// Seals a slot that queries still read from memory: for them it is in one place at any time.
    fn seal_shown(&mut self, number: u64, path: &PathBuf, head: &Head) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let gate = shared.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.seal_one(path, head)?;
        lock(&shared.state).closed.retain(|(it, _)| *it != number);
        drop(gate);
        self.logs.remove(&number);
        Ok(())
    }

    fn seal_one(&mut self, path: &PathBuf, head: &Head) -> Result<(), StoreError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let sealed = seal::seal(&self.shared.shelf, head, &name);
        if let Err(StoreError::Corrupt { path: damaged, why }) = &sealed {
            set_aside(damaged, why);
            seal::seal(&self.shared.shelf, head, &name)?;
        } else {
            sealed?;
        }
        self.unrolled
            .hours
            .insert(head.slot_ms.div_euclid(HOUR_MS) * HOUR_MS);
        self.unrolled
            .days
            .insert(head.slot_ms.div_euclid(DAY_MS) * DAY_MS);
        remove(path);
        Ok(())
    }

    /// Rolls up what is complete.
    fn roll(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let newest = {
            let state = lock(&shared.state);
            let heads = state.closed.iter().map(|(_, head)| head.slot_ms);
            let current = (!state.current.is_empty()).then_some(state.current.slot_ms);
            let sealed = self.unrolled.hours.last().copied();
            heads.chain(current).chain(sealed).max()
        };
        let Some(newest) = newest else { return Ok(()) };
        let is_complete = |end_ms: i64| end_ms <= newest;
        let hours: Vec<i64> = self.unrolled.hours.iter().copied().collect();
        for hour_ms in hours.into_iter().filter(|it| is_complete(it + HOUR_MS)) {
            let _gate = shared.gate.write().unwrap_or_else(PoisonError::into_inner);
            again_if_damaged(|| seal::roll_hour(&shared.shelf, hour_ms))?;
            self.unrolled.hours.remove(&hour_ms);
        }
        let days: Vec<i64> = self.unrolled.days.iter().copied().collect();
        for day_ms in days.into_iter().filter(|it| is_complete(it + DAY_MS)) {
            let _gate = shared.gate.write().unwrap_or_else(PoisonError::into_inner);
            again_if_damaged(|| seal::roll_day(&shared.shelf, day_ms))?;
            self.unrolled.days.remove(&day_ms);
            let present: BTreeSet<String> = logs(&shared.shelf)
                .iter()
                .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
                .collect();
            seal::forget_logs(&shared.shelf, day_ms, &present)?;
        }
        Ok(())
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Settle(answer) => {
                let closed = {
                    let mut state = lock(&self.shared.state);
                    state.close();
                    state.retry = None;
                    state.closed.iter().cloned().collect()
                };
                self.seal(closed);
                let why = match &*self.shared.condition.borrow() {
                    Condition::Healthy => Ok(()),
                    Condition::Degraded { why } => Err(StoreError::Io {
                        path: self.shared.shelf.dir().to_owned(),
                        why: why.clone(),
                    }),
                };
                // Who asked may not wait any more.
                let _told = answer.send(why);
            }
            Request::Retain(retention, now_ms, answer) => {
                let shared = Arc::clone(&self.shared);
                let gate = shared.gate.write().unwrap_or_else(PoisonError::into_inner);
                let needed = |place: &Place| {
                    let has = |begin: &i64| (place.first_ms..place.end_ms).contains(begin);
                    match place.tier {
                        Tier::Raw => self.unrolled.hours.iter().any(has),
                        Tier::Minute => self.unrolled.days.iter().any(has),
                        Tier::Hour => false,
                    }
                };
                let freed = retain::retain(&shared.shelf, &retention, now_ms, &needed);
                drop(gate);
                let _told = answer.send(freed);
            }
        }
    }

    /// Says how it went.
    fn tell(&self, outcome: Result<(), StoreError>) {
        let condition = match outcome {
            Ok(()) => Condition::Healthy,
            Err(error) => Condition::Degraded {
                why: error.to_string(),
            },
        };
        self.shared.condition.send_if_modified(|known| {
            let is_news = *known != condition;
            if is_news {
                match &condition {
                    Condition::Healthy => tracing::info!("samples are stored again"),
                    Condition::Degraded { why } => tracing::warn!(why, "samples cannot be stored"),
                }
                *known = condition;
            }
            is_news
        });
    }
}

impl State {
    /// Ends the present slot; what it holds waits to be sealed. Beyond what memory is for, the oldest is let go of.
    pub(super) fn close(&mut self) {
        if self.current.is_empty() {
            return;
        }
        let next = Head::new(self.current.slot_ms);
        let closed = std::mem::replace(&mut self.current, next);
        self.closed.push_back((self.number, Arc::new(closed)));
        self.number += 1;
        if self.closed.len() > MOST_CLOSED {
            self.closed.pop_front();
            self.lost += 1;
        }
    }
}

fn again_if_damaged(work: impl Fn() -> Result<(), StoreError>) -> Result<(), StoreError> {
    match work() {
        Err(StoreError::Corrupt { path, why }) => {
            set_aside(&path, &why);
            work()
        }
        outcome => outcome,
    }
}

/// Renames a damaged volume: never deleted, and in nobody's way.
fn set_aside(path: &PathBuf, why: &str) {
    let aside = open::with_suffix(path, &format!(".damaged-{}", now_ms()));
    match std::fs::rename(path, &aside) {
        Ok(()) => tracing::error!(
            why,
            path = %aside.display(),
            "samples were damaged; the file is set aside and a new one begun"
        ),
        Err(error) => tracing::error!(why, %error, path = %path.display(), "samples are damaged"),
    }
}

fn logs(shelf: &Shelf) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(shelf.dir().join("log")) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn remove(path: &PathBuf) {
    // One that was never written is not there.
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a log of samples cannot be removed");
    }
}

fn private_dir(dir: &PathBuf) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(dir);
    made.map_err(|error| StoreError::of_io(&error, dir))
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Whether a slot is over by the clock on the wall.
fn is_over(slot_ms: i64) -> bool {
    slot_of(now_ms()) != slot_ms
}

fn until_over(slot_ms: i64) -> Duration {
    let left_ms = (slot_ms + SLOT_MS).saturating_sub(now_ms());
    Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
}
