//! The thread that brings samples to disk: into the log every ten seconds, into volumes when a slot is over. It sleeps
//! while nothing comes.

use crate::store::error::{Condition, StoreError};
use crate::store::open::private_dir;
use crate::store::samples::aside::{again_if_damaged, set_aside};
use crate::store::samples::head::{Head, is_over, until_over};
use crate::store::samples::log::{self, Content, Log};
use crate::store::samples::retain::{self, Retention};
use crate::store::samples::seal::{self, DAY_MS, HOUR_MS, Unrolled};
use crate::store::samples::shelf::{Place, Tier, name_of, remove_log};
use crate::store::samples::{Shared, lock};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// How far the disk may be behind.
pub(super) const BEHIND: Duration = Duration::from_secs(10);

/// Slots that wait in memory while the disk takes nothing: two hours.
pub(super) const MOST_CLOSED: usize = 12;

/// The most values of all these, of which each takes eight bytes.
pub(super) const MOST_CLOSED_VALUES: usize = 1 << 20;

/// Something to do for somebody who waits for it.
#[derive(Debug)]
pub(super) enum Request {
    /// Bring what is new to the log.
    Flush(Sender<Result<(), StoreError>>),
    /// Bring everything to disk that is there.
    Settle(Sender<Result<(), StoreError>>),
    /// Delete what is too old.
    Retain(Retention, i64, Sender<Result<u64, StoreError>>),
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// Of each head that is not sealed, by its number.
    logs: BTreeMap<u64, Log>,
    /// Logs that were left, by an earlier daemon or for want of memory, with what they hold; the oldest last.
    left: Vec<Left>,
    /// Heads that are in their volume, and late for what was rolled up, which they are not in yet.
    late: Vec<(PathBuf, Arc<Head>)>,
    /// What has to be rolled up; absent until the volumes could be read.
    unrolled: Option<Unrolled>,
    /// The slot that was taken in last.
    sealed_ms: Option<i64>,
    /// How much all volumes may be, once somebody has said so.
    most_bytes: u64,
    next_log: u64,
    troubles: [Option<String>; 2],
}

/// A log that was left.
struct Left {
    path: PathBuf,
    head: Arc<Head>,
    is_damaged: bool,
}

/// What may fail by itself.
#[derive(Clone, Copy)]
enum Part {
    Log,
    Volumes,
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
            late: Vec::new(),
            unrolled: None,
            sealed_ms: None,
            most_bytes: 0,
            next_log: 0,
            troubles: [None, None],
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
        self.tell(Part::Volumes, prepared);
        drop(opened);
        lock(&shared.state).is_ready = true;
        shared.ready.notify_all();
    }

    fn prepare(&mut self) -> Result<(), StoreError> {
        let shelf = &self.shared.shelf;
        for dir in [shelf.dir().to_owned(), shelf.log_dir()]
            .into_iter()
            .chain(Tier::ALL.map(|tier| shelf.dir_of(tier)))
        {
            private_dir(&dir)?;
        }
        let mut outcome = Ok(());
        for path in shelf.logs().into_iter().rev() {
            // One that cannot be read must not keep the others out.
            if let Err(error) = self.find(&path) {
                outcome = Err(error);
            }
        }
        self.take_left()?;
        self.survey()?;
        outcome
    }

    /// Looks what is in a log that was left.
    fn find(&mut self, path: &Path) -> Result<(), StoreError> {
        match log::read(path).map_err(|error| StoreError::of_io(&error, path))? {
            Content::Nothing => remove_log(path),
            Content::Samples { head, is_damaged } => self.left.push(Left {
                path: path.to_owned(),
                head: Arc::new(head),
                is_damaged,
            }),
            Content::Damaged => set_aside(path, "its beginning makes no sense"),
            Content::Newer(found) => {
                return Err(StoreError::Newer {
                    path: path.to_owned(),
                    found: i64::try_from(found).unwrap_or(i64::MAX),
                    known: i64::try_from(log::FORMAT).unwrap_or(i64::MAX),
                });
            }
        }
        Ok(())
    }

    fn take_left(&mut self) -> Result<(), StoreError> {
        while let Some(left) = self.left.last() {
            let (path, head) = (left.path.clone(), Arc::clone(&left.head));
            self.take(&path, &head)?;
            if let Some(left) = self.left.pop()
                && left.is_damaged
            {
                set_aside(&path, "what is behind its first part makes no sense");
            }
            self.finish(path, head)?;
        }
        self.finish_late()
    }

    /// Finds out what has to be rolled up.
    fn survey(&mut self) -> Result<(), StoreError> {
        if self.unrolled.is_none() {
            let shelf = &self.shared.shelf;
            self.unrolled = Some(again_if_damaged(|| seal::unrolled(shelf))?);
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
        // Where something has come, more comes, and tells by its time when the slot is over. The clock on the wall may
        // have been set meanwhile, or may not be that of the samples.
        if has_more && pieces.is_empty() && is_over(slot_ms, now_ms()) {
            state.close();
        } else if has_more {
            // Nobody may come any more, and it has to be sealed all the same.
            state.deadline = Some(Instant::now() + until_over(slot_ms, now_ms()).max(BEHIND));
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
                state.current.take_back(&pieces);
                state.deadline = Some(Instant::now() + BEHIND);
            }
        }
        self.tell(Part::Log, written);
    }

    fn log_of(&mut self, number: u64, slot_ms: i64) -> Result<&mut Log, StoreError> {
        if !self.logs.contains_key(&number) {
            self.next_log += 1;
            let name = format!("{}-{}-{}", now_ms(), std::process::id(), self.next_log);
            let path = self.shared.shelf.log_dir().join(name);
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
        if closed.is_empty() && self.left.is_empty() && self.late.is_empty() {
            return;
        }
        let outcome = self.seal_all(closed);
        let mut state = lock(&self.shared.state);
        state.retry = outcome.is_err().then(|| Instant::now() + BEHIND);
        drop(state);
        self.tell(Part::Volumes, outcome);
    }

    fn seal_all(&mut self, closed: Vec<(u64, Arc<Head>)>) -> Result<(), StoreError> {
        self.take_left()?;
        for (number, head) in closed {
            let path = self.logs.get(&number).map(|log| log.path.clone());
            // One that never got into a log is named all the same.
            let path = path.unwrap_or_else(|| {
                let name = format!("{}-{}-{number}-unlogged", now_ms(), std::process::id());
                self.shared.shelf.log_dir().join(name)
            });
            self.seal_shown(number, path, head)?;
        }
        self.find_dropped();
        self.take_left()?;
        self.survey()?;
        self.roll()?;
        self.shrink();
        Ok(())
    }

    /// Seals a slot that queries still read from memory: for them it is in one place at any time.
    fn seal_shown(
        &mut self,
        number: u64,
        path: PathBuf,
        head: Arc<Head>,
    ) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let _gate = shared.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.take(&path, &head)?;
        lock(&shared.state).closed.retain(|(it, _)| *it != number);
        self.logs.remove(&number);
        self.finish(path, head)
    }

    /// Takes a head into the volume of its day.
    fn take(&mut self, path: &Path, head: &Head) -> Result<(), StoreError> {
        let name = name_of(path);
        again_if_damaged(|| seal::take(&self.shared.shelf, head, &name))?;
        self.sealed_ms = Some(head.slot_ms);
        if let Some(unrolled) = &mut self.unrolled {
            unrolled.add(head.slot_ms);
        }
        Ok(())
    }

    /// Adds it to what was rolled up without it. Its log stays until then.
    fn finish(&mut self, path: PathBuf, head: Arc<Head>) -> Result<(), StoreError> {
        self.late.push((path, head));
        self.finish_late()
    }

    fn finish_late(&mut self) -> Result<(), StoreError> {
        while let Some((path, head)) = self.late.first() {
            let name = name_of(path);
            again_if_damaged(|| seal::finish(&self.shared.shelf, head, &name))?;
            remove_log(path);
            self.late.remove(0);
        }
        Ok(())
    }

    /// Logs of slots that there was no room for in memory: what they hold is not lost.
    fn find_dropped(&mut self) {
        let kept: BTreeSet<u64> = {
            let state = lock(&self.shared.state);
            let closed = state.closed.iter().map(|(number, _)| *number);
            closed.chain([state.number]).collect()
        };
        let dropped: Vec<u64> = self.logs.keys().copied().collect();
        for number in dropped.into_iter().filter(|it| !kept.contains(it)) {
            if let Some(log) = self.logs.remove(&number)
                && let Err(error) = self.find(&log.path)
            {
                tracing::warn!(%error, "a log of samples cannot be read");
            }
        }
    }

    /// Rolls up what is complete: every hour and day but that of the present. By the clock alone it could not be said,
    /// as somebody may set it.
    fn roll(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let present = self.present();
        let Some(unrolled) = self.unrolled.as_mut().filter(|_| !present.is_empty()) else {
            return Ok(());
        };
        let is_complete = |begin_ms: &i64, length_ms| {
            let stretch = *begin_ms..begin_ms + length_ms;
            !present.iter().any(|slot_ms| stretch.contains(slot_ms))
        };
        let hours: Vec<i64> = unrolled.hours.iter().copied().collect();
        for hour_ms in hours.into_iter().filter(|it| is_complete(it, HOUR_MS)) {
            let _gate = shared.gate.write().unwrap_or_else(PoisonError::into_inner);
            again_if_damaged(|| seal::roll_hour(&shared.shelf, hour_ms))?;
            unrolled.hours.remove(&hour_ms);
        }
        let days: Vec<i64> = unrolled.days.iter().copied().collect();
        for day_ms in days.into_iter().filter(|it| is_complete(it, DAY_MS)) {
            let _gate = shared.gate.write().unwrap_or_else(PoisonError::into_inner);
            again_if_damaged(|| seal::roll_day(&shared.shelf, day_ms))?;
            unrolled.days.remove(&day_ms);
            let logs = shared.shelf.logs();
            let logs = logs.iter().map(|path| name_of(path)).collect();
            again_if_damaged(|| seal::forget_logs(&shared.shelf, day_ms, &logs))?;
        }
        Ok(())
    }

    /// The slots of the present: what is rolled up without those that are still in memory would have them late.
    fn present(&self) -> Vec<i64> {
        let mut present: Vec<i64> = {
            let state = lock(&self.shared.state);
            let current = (!state.current.is_empty()).then_some(state.current.slot_ms);
            let closed = state.closed.iter().map(|(_, head)| head.slot_ms);
            closed.chain(current).collect()
        };
        if present.is_empty() {
            present.extend(self.sealed_ms);
        }
        present
    }

    /// Deletes what is too much, now that more has come. What is of the present is being written.
    fn shrink(&self) {
        // Whoever reads waits for nothing then.
        if self.most_bytes == 0 {
            return;
        }
        let present = self.present();
        let stays = |place: &Place| present.iter().any(|it| place.has(*it)) || self.needs(place);
        let shared = &self.shared;
        let gate = shared.gate.write().unwrap_or_else(PoisonError::into_inner);
        let shrunk = retain::shrink(&shared.shelf, self.most_bytes, &stays);
        drop(gate);
        if let Err(error) = shrunk {
            tracing::warn!(%error, "samples are more than they may be");
        }
    }

    /// Whether something of a volume has to be rolled up yet, as far as that is known.
    fn needs(&self, place: &Place) -> bool {
        let unrolled = self.unrolled.as_ref();
        unrolled.map_or(place.tier != Tier::Hour, |unrolled| unrolled.needs(place))
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Flush(answer) => {
                self.flush();
                // Who asked may not wait any more.
                let _told = answer.send(self.outcome());
            }
            Request::Settle(answer) => {
                let closed = {
                    let mut state = lock(&self.shared.state);
                    state.close();
                    state.retry = None;
                    state.closed.iter().cloned().collect()
                };
                self.seal(closed);
                if self.troubles[Part::Volumes as usize].is_none() {
                    // Nothing is left that the log could not take.
                    self.tell(Part::Log, Ok(()));
                }
                let _told = answer.send(self.outcome());
            }
            Request::Retain(retention, now_ms, answer) => {
                let shared = Arc::clone(&self.shared);
                let gate = shared.gate.write().unwrap_or_else(PoisonError::into_inner);
                self.most_bytes = retention.most_bytes;
                let needed = |place: &Place| self.needs(place);
                let freed = retain::retain(&shared.shelf, &retention, now_ms, &needed);
                drop(gate);
                let _told = answer.send(freed);
            }
        }
    }

    /// How it goes, for those who wait for it.
    fn outcome(&self) -> Result<(), StoreError> {
        match &*self.shared.condition.borrow() {
            Condition::Healthy => Ok(()),
            Condition::Degraded { why } => Err(StoreError::Io {
                path: self.shared.shelf.dir().to_owned(),
                why: why.clone(),
            }),
        }
    }

    /// Says how it went with a part.
    fn tell(&mut self, part: Part, outcome: Result<(), StoreError>) {
        self.troubles[part as usize] = outcome.err().map(|error| error.to_string());
        let mut troubles = self.troubles.iter().flatten();
        let condition = match troubles.next() {
            None => Condition::Healthy,
            Some(why) => Condition::Degraded { why: why.clone() },
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

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
