//! Who waits for what: subscriptions, and the inotify watches they share. No thread, no waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::sync::Notify;

use crate::logs::watch::WatchProblem;
use crate::logs::watch::place::{self, Place};

/// How often the place is searched again when it changes under the search.
const MOST_TRIES: usize = 8;

/// The way from the thread to one subscriber.
#[derive(Debug, Default)]
pub(super) struct Signal {
    changed: AtomicBool,
    notify: Notify,
}

impl Signal {
    /// Takes note of a change, if there was one.
    pub(super) fn take(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    pub(super) async fn told(&self) {
        self.notify.notified().await;
    }

    fn tell(&self) {
        self.changed.store(true, Ordering::Release);
        self.notify.notify_one();
    }
}

#[derive(Debug)]
struct Subscription {
    path: PathBuf,
    signal: Arc<Signal>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// A change was told and not yet taken note of.
    Off,
    /// The path itself is watched.
    There { wd: i32 },
    /// The path is missing; a directory is watched for this name.
    Above { wd: i32, name: OsString },
    /// It can only be looked at.
    Polled { look: u64, problem: WatchProblem },
}

/// Whom an event concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Concern {
    /// Nobody any more.
    Leftover,
    /// Nobody, though its directory is watched: more of the kind may come.
    Nobody,
    /// At least one subscription.
    Somebody,
}

/// All subscriptions.
#[derive(Debug)]
pub(super) struct Registry {
    inotify: Result<Arc<OwnedFd>, Errno>,
    subscriptions: BTreeMap<u64, Subscription>,
    by_wd: BTreeMap<i32, BTreeSet<u64>>,
    next_id: u64,
}

impl Registry {
    pub(super) fn new(inotify: Result<Arc<OwnedFd>, Errno>) -> Registry {
        Registry {
            inotify,
            subscriptions: BTreeMap::new(),
            by_wd: BTreeMap::new(),
            next_id: 0,
        }
    }

    pub(super) fn add(&mut self, path: &Path, signal: Arc<Signal>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let subscription = Subscription {
            path: path.to_owned(),
            signal,
            state: State::Off,
        };
        self.subscriptions.insert(id, subscription);
        self.arm(id);
        id
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.disarm(id);
        self.subscriptions.remove(&id);
    }

    pub(super) fn problem(&self, id: u64) -> Option<WatchProblem> {
        match &self.subscriptions.get(&id)?.state {
            State::Polled { problem, .. } => Some(problem.clone()),
            State::Off | State::There { .. } | State::Above { .. } => None,
        }
    }

    /// Whether any subscription has to be looked at from time to time.
    pub(super) fn polls(&self) -> bool {
        self.subscriptions
            .values()
            .any(|subscription| matches!(subscription.state, State::Polled { .. }))
    }

    /// Looks at everything that can only be looked at.
    pub(super) fn poll(&mut self) {
        let changed = |subscription: &Subscription| match subscription.state {
            State::Polled { look, .. } => place::look(&subscription.path) != look,
            State::Off | State::There { .. } | State::Above { .. } => false,
        };
        let changed: Vec<u64> = self
            .subscriptions
            .iter()
            .filter(|(_, subscription)| changed(subscription))
            .map(|(id, _)| *id)
            .collect();
        for id in changed {
            self.tell(id);
        }
    }

    /// Watches for the next change, unless that is done already.
    pub(super) fn arm(&mut self, id: u64) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        if !matches!(subscription.state, State::Off) {
            return;
        }
        subscription.state = match search(&self.inotify, &subscription.path) {
            Ok(state) => state,
            Err(problem) => State::Polled {
                look: place::look(&subscription.path),
                problem,
            },
        };
        if let State::There { wd } | State::Above { wd, .. } = subscription.state {
            self.by_wd.entry(wd).or_default().insert(id);
        }
    }

    /// Takes in an event and says whom it concerned.
    pub(super) fn event(&mut self, event: &inotify::Event<'_>) -> Concern {
        if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
            // Whatever was lost, whoever it was for.
            let all: Vec<u64> = self.subscriptions.keys().copied().collect();
            all.into_iter().for_each(|id| self.tell(id));
            return Concern::Somebody;
        }
        let Some(sharing) = self.by_wd.get(&event.wd()) else {
            return self.leftover(event);
        };
        let name = event
            .file_name()
            .map(|name| OsStr::from_bytes(name.to_bytes()));
        let concerned: Vec<u64> = sharing
            .iter()
            .copied()
            .filter(|id| self.concerns(*id, name))
            .collect();
        for id in &concerned {
            self.concern(*id);
        }
        match concerned.is_empty() {
            true => Concern::Nobody,
            false => Concern::Somebody,
        }
    }

    /// An event that was on its way when its watch was given up, or of a watch that nobody took.
    fn leftover(&self, event: &inotify::Event<'_>) -> Concern {
        if let (false, Ok(inotify)) = (event.events().contains(ReadFlags::IGNORED), &self.inotify) {
            inotify::remove_watch(inotify, event.wd()).ok();
        }
        Concern::Leftover
    }

    fn concerns(&self, id: u64, event_name: Option<&OsStr>) -> bool {
        match self
            .subscriptions
            .get(&id)
            .map(|subscription| &subscription.state)
        {
            Some(State::There { .. }) => true,
            // An event without a name is about the directory itself: it is gone, or has moved.
            Some(State::Above { name, .. }) => event_name.is_none_or(|got| got == name),
            Some(State::Off | State::Polled { .. }) | None => false,
        }
    }

    fn concern(&mut self, id: u64) {
        let Some(subscription) = self.subscriptions.get(&id) else {
            return;
        };
        if matches!(subscription.state, State::There { .. }) {
            return self.tell(id);
        }
        // Something on the way to the path: only its arrival is news.
        self.disarm(id);
        self.arm(id);
        let arrived = self
            .subscriptions
            .get(&id)
            .is_some_and(|subscription| !matches!(subscription.state, State::Above { .. }));
        if arrived {
            self.tell(id);
        }
    }

    /// Tells the subscriber and stops watching until it has taken note.
    fn tell(&mut self, id: u64) {
        self.disarm(id);
        if let Some(subscription) = self.subscriptions.get(&id) {
            subscription.signal.tell();
        }
    }

    fn disarm(&mut self, id: u64) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        let state = std::mem::replace(&mut subscription.state, State::Off);
        let (State::There { wd } | State::Above { wd, .. }) = state else {
            return;
        };
        let Some(sharing) = self.by_wd.get_mut(&wd) else {
            return;
        };
        sharing.remove(&id);
        if sharing.is_empty() {
            self.by_wd.remove(&wd);
            if let Ok(inotify) = &self.inotify {
                // The kernel may have removed it already, with the file.
                inotify::remove_watch(inotify, wd).ok();
            }
        }
    }
}

/// Sets up the watch for `path`, or says why it can only be looked at.
fn search(inotify: &Result<Arc<OwnedFd>, Errno>, path: &Path) -> Result<State, WatchProblem> {
    let inotify = match inotify {
        Ok(inotify) => inotify,
        Err(source) => return Err(WatchProblem::NoInstance { source: *source }),
    };
    let problem = |source| match source {
        Errno::NOSPC => WatchProblem::NoMoreWatches {
            path: path.to_owned(),
        },
        source => WatchProblem::Refused {
            path: path.to_owned(),
            source,
        },
    };
    for _ in 0..MOST_TRIES {
        let state = match place::find(path).map_err(problem)? {
            Place::There => watch_there(inotify, path),
            Place::Above { dir, name } => watch_above(inotify, &dir, name),
        };
        if let Some(state) = state.map_err(problem)? {
            return Ok(state);
        }
    }
    Err(problem(Errno::AGAIN))
}

/// Nothing: it is gone by now.
fn watch_there(inotify: &OwnedFd, path: &Path) -> Result<Option<State>, Errno> {
    // ATTRIB tells of a file that was unlinked or renamed over while somebody has it open.
    let flags = WatchFlags::MODIFY
        | WatchFlags::ATTRIB
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::MASK_ADD;
    match inotify::add_watch(inotify, path, flags) {
        Ok(wd) => Ok(Some(State::There { wd })),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Nothing: the directory is gone by now, or the name has come.
fn watch_above(inotify: &OwnedFd, dir: &Path, name: OsString) -> Result<Option<State>, Errno> {
    let flags = WatchFlags::CREATE
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR
        | WatchFlags::MASK_ADD;
    match inotify::add_watch(inotify, dir, flags) {
        // The watch stays although the name has come: other subscriptions may share it, and if
        // none does, its next event finds nobody and removes it.
        Ok(_) if place::has_name(dir, &name) => Ok(None),
        Ok(wd) => Ok(Some(State::Above { wd, name })),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}
