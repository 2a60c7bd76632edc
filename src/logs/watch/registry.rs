//! Who waits for what: subscriptions, and the inotify watches they share. No thread, no waiting.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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

/// Events that are remembered while somebody searches.
const MOST_HAPPENED: usize = 1024;

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
    /// The path itself is watched; where it is a link, the link too, which may come to name another file.
    There { wd: i32, link: Option<i32> },
    /// The path is missing; a directory is watched for this name.
    Above { wd: i32, name: OsString },
    /// It can only be looked at.
    Polled { problem: WatchProblem },
}

impl State {
    fn watches(&self) -> impl Iterator<Item = i32> + use<> {
        let (first, second) = match self {
            Self::There { wd, link } => (Some(*wd), *link),
            Self::Above { wd, .. } => (Some(*wd), None),
            Self::Off | Self::Polled { .. } => (None, None),
        };
        first.into_iter().chain(second)
    }
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
///
/// A path may be on a disk that does not answer, and looking for its place then takes for ever. So that is
/// done between [`Registry::begin`] and [`Registry::finish`], when nobody holds the registry.
#[derive(Debug)]
pub(super) struct Registry {
    inotify: Result<Arc<OwnedFd>, Errno>,
    subscriptions: BTreeMap<u64, Subscription>,
    by_wd: BTreeMap<i32, BTreeSet<u64>>,
    next_id: u64,
    searches: u64,
    searching: BTreeSet<u64>,
    meanwhile: Meanwhile,
}

/// What happened to watches while somebody searched: the search may have got the same one, and not yet said so.
#[derive(Debug, Default)]
struct Meanwhile {
    recent: VecDeque<Happened>,
    /// Searches up to this one may have got a watch that is not in `recent` any more.
    forgotten_to: Option<u64>,
}

/// An event of a watch, or its end.
#[derive(Debug)]
struct Happened {
    /// The newest search at that time.
    search: u64,
    wd: i32,
    /// The name it was about; none is the watched path itself.
    name: Option<OsString>,
}

/// A search under way.
#[derive(Debug)]
pub(super) struct Search {
    number: u64,
    id: u64,
    path: PathBuf,
    inotify: Result<Arc<OwnedFd>, Errno>,
}

/// What a search found.
#[derive(Debug)]
pub(super) struct Found {
    number: u64,
    id: u64,
    state: State,
}

impl Search {
    /// Sets up the watch. Takes as long as the path's disk does.
    pub(super) fn run(self) -> Found {
        let state = search(&self.inotify, &self.path);
        Found {
            number: self.number,
            id: self.id,
            state: state.unwrap_or_else(|problem| State::Polled { problem }),
        }
    }
}

impl Meanwhile {
    fn note(&mut self, search: u64, wd: i32, name: Option<&OsStr>) {
        if self.recent.len() >= MOST_HAPPENED
            && let Some(oldest) = self.recent.pop_front()
        {
            self.forgotten_to = Some(oldest.search);
        }
        let name = name.map(OsStr::to_owned);
        self.recent.push_back(Happened { search, wd, name });
    }

    /// Whether something that a search has to know may have happened to its watch since it began.
    fn concerns(&self, found: &Found) -> bool {
        let happened = |wanted: i32, about: Option<&OsString>| {
            self.forgotten_to.is_some_and(|to| found.number <= to)
                || self.recent.iter().any(|it| {
                    let same_name =
                        about.is_none() || it.name.is_none() || it.name.as_ref() == about;
                    it.search >= found.number && it.wd == wanted && same_name
                })
        };
        match &found.state {
            State::There { .. } => found.state.watches().any(|wd| happened(wd, None)),
            State::Above { wd, name } => happened(*wd, Some(name)),
            State::Off | State::Polled { .. } => false,
        }
    }
}

impl Registry {
    pub(super) fn new(inotify: Result<Arc<OwnedFd>, Errno>) -> Registry {
        Registry {
            inotify,
            subscriptions: BTreeMap::new(),
            by_wd: BTreeMap::new(),
            next_id: 0,
            searches: 0,
            searching: BTreeSet::new(),
            meanwhile: Meanwhile::default(),
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
        id
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.disarm(id);
        self.subscriptions.remove(&id);
    }

    pub(super) fn problem(&self, id: u64) -> Option<WatchProblem> {
        match &self.subscriptions.get(&id)?.state {
            State::Polled { problem } => Some(problem.clone()),
            State::Off | State::There { .. } | State::Above { .. } => None,
        }
    }

    /// Whether any subscription has to be told from time to time.
    pub(super) fn polls(&self) -> bool {
        self.subscriptions
            .values()
            .any(|subscription| matches!(subscription.state, State::Polled { .. }))
    }

    /// Tells everybody whose path cannot be watched to look: that may take for ever, and so is not done here.
    pub(super) fn poll(&mut self) {
        let polled = |subscription: &Subscription| match subscription.state {
            State::Polled { .. } => true,
            State::Off | State::There { .. } | State::Above { .. } => false,
        };
        let polled: Vec<u64> = self
            .subscriptions
            .iter()
            .filter(|(_, subscription)| polled(subscription))
            .map(|(id, _)| *id)
            .collect();
        for id in polled {
            self.tell(id);
        }
    }

    /// Begins to watch for the next change from now on. `None` for a subscription that is gone.
    pub(super) fn begin(&mut self, id: u64) -> Option<Search> {
        self.disarm(id);
        let path = self.subscriptions.get(&id)?.path.clone();
        self.searches += 1;
        self.searching.insert(self.searches);
        Some(Search {
            number: self.searches,
            id,
            path,
            inotify: self.inotify.clone(),
        })
    }

    /// Takes in what was found. Whoever searched looks at the path only after this, so that what happened since
    /// the watch was set up is seen then.
    pub(super) fn finish(&mut self, found: Found) {
        self.searching.remove(&found.number);
        let watched = found.state.watches();
        let is_late = self.meanwhile.concerns(&found);
        if self.searching.is_empty() {
            self.meanwhile = Meanwhile::default();
        }
        let Some(subscription) = self.subscriptions.get_mut(&found.id) else {
            // It left meanwhile; its watch goes unless others share it.
            return watched.for_each(|wd| self.let_go(wd));
        };
        if is_late {
            // It may be that nothing watches any more: it has to look, and to search again.
            subscription.signal.tell();
            return watched.for_each(|wd| self.let_go(wd));
        }
        subscription.state = found.state;
        for wd in watched {
            self.by_wd.entry(wd).or_default().insert(found.id);
        }
    }

    /// Takes in an event and says whom it concerned.
    pub(super) fn event(&mut self, event: &inotify::Event<'_>) -> Concern {
        if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
            // Whatever was lost, whoever it was for.
            self.meanwhile.forgotten_to = Some(self.searches);
            let all: Vec<u64> = self.subscriptions.keys().copied().collect();
            all.into_iter().for_each(|id| self.tell(id));
            return Concern::Somebody;
        }
        let name = event
            .file_name()
            .map(|name| OsStr::from_bytes(name.to_bytes()));
        if !self.searching.is_empty() {
            self.meanwhile.note(self.searches, event.wd(), name);
        }
        let Some(sharing) = self.by_wd.get(&event.wd()) else {
            return self.leftover(event);
        };
        let concerned: Vec<u64> = sharing
            .iter()
            .copied()
            .filter(|id| self.concerns(*id, name))
            .collect();
        // Something on the way to a path is told like the path itself: whether more is missing is found out
        // by who searches next.
        for id in &concerned {
            self.tell(*id);
        }
        match concerned.is_empty() {
            true => Concern::Nobody,
            false => Concern::Somebody,
        }
    }

    /// An event that was on its way when its watch was given up, or of a watch that nobody took.
    fn leftover(&self, event: &inotify::Event<'_>) -> Concern {
        if !self.searching.is_empty() {
            // It may be somebody's in a moment.
            return Concern::Leftover;
        }
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
        for wd in state.watches() {
            let Some(sharing) = self.by_wd.get_mut(&wd) else {
                continue;
            };
            sharing.remove(&id);
            if sharing.is_empty() {
                self.by_wd.remove(&wd);
                self.let_go(wd);
            }
        }
    }

    /// Gives up a watch that nobody has any more.
    fn let_go(&mut self, wd: i32) {
        if self.by_wd.contains_key(&wd) {
            return;
        }
        if !self.searching.is_empty() {
            self.meanwhile.note(self.searches, wd, None);
        }
        if let Ok(inotify) = &self.inotify {
            // The kernel may have removed it already, with the file.
            inotify::remove_watch(inotify, wd).ok();
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
    let link = if place::is_link(path) {
        let flags = WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::DONT_FOLLOW
            | WatchFlags::MASK_ADD;
        // What it names is watched all the same.
        inotify::add_watch(inotify, path, flags).ok()
    } else {
        None
    };
    match inotify::add_watch(inotify, path, flags) {
        Ok(wd) => Ok(Some(State::There { wd, link })),
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
