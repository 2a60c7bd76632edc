//! The watching thread: waits for inotify, for the next look, or for the end.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::logs::watch::WatchProblem;
use crate::logs::watch::registry::{Concern, Registry, Search, Signal};

/// How often who has a path that cannot be watched is told to look.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// First rest after events that concerned nobody; each one that follows is twice as long …
const SHORTEST_REST: Duration = Duration::from_millis(1);
/// … up to this, so that a directory in which other names come and go costs fifty wakeups a second
/// at most, and one that saw a single other name keeps nobody waiting.
const LONGEST_REST: Duration = Duration::from_millis(20);
const BUFFER_BYTES: usize = 4096;
const MOST_EVENTS: usize = 16_384;

/// Events this far apart are not of a directory that is busy.
const CALM: Duration = Duration::from_millis(200);

/// How long to rest.
#[derive(Debug, Default)]
struct Rests {
    last: Option<(Instant, Duration)>,
}

impl Rests {
    fn next(&mut self) -> Duration {
        let rest = match self.last {
            Some((at, rest)) if at.elapsed() < CALM => (rest * 2).min(LONGEST_REST),
            Some(_) | None => SHORTEST_REST,
        };
        self.last = Some((Instant::now(), rest));
        rest
    }
}

/// What the thread and the subscribers share.
#[derive(Debug)]
pub(super) struct Shared {
    registry: Mutex<Registry>,
    inotify: Result<Arc<OwnedFd>, Errno>,
    wake: OwnedFd,
    stopped: AtomicBool,
    pub(super) wakeups: AtomicU64,
}

impl Shared {
    pub(super) fn new(inotify: Result<OwnedFd, Errno>) -> io::Result<Shared> {
        let inotify = inotify.map(Arc::new);
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Shared {
            registry: Mutex::new(Registry::new(inotify.clone())),
            inotify,
            wake: rustix::event::eventfd(0, flags)?,
            stopped: AtomicBool::new(false),
            wakeups: AtomicU64::new(0),
        })
    }

    pub(super) fn add(&self, path: &Path, signal: Arc<Signal>) -> u64 {
        self.registry().add(path, signal)
    }

    /// Watches for the next change. Takes as long as the path's disk does, and holds up nobody else.
    pub(super) fn arm(&self, id: u64) {
        let search = self.registry().begin(id);
        let Some(found) = search.map(Search::run) else {
            return;
        };
        let mut registry = self.registry();
        let polled = registry.polls();
        registry.finish(found);
        if !polled && registry.polls() {
            self.wake();
        }
    }

    pub(super) fn remove(&self, id: u64) {
        self.registry().remove(id);
    }

    pub(super) fn problem(&self, id: u64) -> Option<WatchProblem> {
        self.registry().problem(id)
    }

    pub(super) fn no_instance(&self) -> Option<WatchProblem> {
        let source = *self.inotify.as_ref().err()?;
        Some(WatchProblem::NoInstance { source })
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    /// Keeps the thread from taking in events for as long as the guard lives.
    #[cfg(test)]
    pub(super) fn hold(&self) -> MutexGuard<'_, Registry> {
        self.registry()
    }

    /// The body of the thread.
    pub(super) fn run(&self) {
        let mut looked = Instant::now();
        let mut rests = Rests::default();
        let mut rest = None;
        while !self.stopped.load(Ordering::Acquire) {
            let polls = self.registry().polls();
            let look_in = polls.then(|| LOOK_EVERY.saturating_sub(looked.elapsed()));
            self.wait(rest.or(look_in), rest.is_none());
            self.wakeups.fetch_add(1, Ordering::Relaxed);
            rest = match self.drain() {
                Concern::Nobody => Some(rests.next()),
                Concern::Leftover | Concern::Somebody => None,
            };
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                self.registry().poll();
            }
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Every change to the registry is complete at every point that could panic.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It fails only when so many wakeups wait that another one adds nothing.
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).ok();
    }

    fn wait(&self, timeout: Option<Duration>, for_events: bool) {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
        if let (true, Ok(inotify)) = (for_events, &self.inotify) {
            fds.push(PollFd::new(inotify, PollFlags::IN));
        }
        // An interrupted wait is a wakeup like any other.
        rustix::event::poll(&mut fds, timeout.as_ref()).ok();
        rustix::io::read(&self.wake, &mut [0; 8]).ok();
    }

    /// Takes in the events that wait, and says whom the most concerning of them concerned.
    fn drain(&self) -> Concern {
        let mut most = Concern::Leftover;
        let Ok(inotify) = &self.inotify else {
            return most;
        };
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut events = inotify::Reader::new(inotify, &mut buffer);
        let mut taken = 0;
        // A bound, so that a flood of events cannot keep the thread from its other duties; but
        // what is in the buffer would be lost if it were left there.
        while taken < MOST_EVENTS || !events.is_buffer_empty() {
            let Ok(event) = events.next() else {
                break;
            };
            taken += 1;
            most = most.max(self.registry().event(&event));
        }
        most
    }
}
