//! The daemon's side of supervision: launches shims, adopts them after a restart, talks to them.
//!
//! One task per attempt ([`link`]) owns the connection to its shim. Orders to an attempt wait in its
//! task until the shim is there; what the shim says comes out as [`Report`]s. Nothing here decides.

mod adopt;
mod launch;
mod leftovers;
mod link;
mod systemd;
mod unit;

pub use adopt::{Stray, strays, token};
pub use launch::{Launch, LaunchContext, Meta, launch};
pub use leftovers::dismiss;
pub use systemd::{Systemd, Whose};
pub use unit::{Naming, Unit};

use crate::contain::cgroup::Base;
use crate::model::attempt::{Process, Usage};
use crate::model::failure::Ending;
use crate::model::id::AttemptId;
use crate::model::job::Job;
use crate::model::time::Stamp;
use crate::wire::shim::SignalTarget;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// What is known of an attempt, as its shim or what it left behind tells it.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// Its command runs.
    Started {
        /// Which attempt.
        attempt: AttemptId,
        /// Its main process.
        main: Process,
        /// What keeps its processes together: `service`, `cgroup` or `tree`.
        containment: &'static str,
        /// The cgroup that they are in.
        cgroup: Option<PathBuf>,
        /// Since when.
        at: Stamp,
    },
    /// It ended.
    Ended {
        /// Which attempt.
        attempt: AttemptId,
        /// How.
        ending: Ending,
        /// What it used, where that is known.
        usage: Option<Usage>,
        /// When.
        at: Stamp,
    },
    /// No shim ever claimed it.
    NeverStarted {
        /// Which attempt.
        attempt: AttemptId,
    },
    /// A process of it sent a datagram to its notify socket.
    Notify {
        /// Which attempt.
        attempt: AttemptId,
        /// The text.
        text: String,
    },
}

/// What an attempt's task is told.
#[derive(Debug)]
enum Order {
    Signal(i32, SignalTarget),
    Kill,
    Freeze,
    Thaw,
    /// The end is committed: the shim may leave, its directory goes.
    Forget,
    /// Say again what is known: a listener lost it.
    Restate,
}

/// Where reports go. Called from the attempts' tasks; must not wait.
pub type Listener = Arc<dyn Fn(Report) + Send + Sync>;

/// What every attempt's task needs.
struct Shared {
    /// Directory of the attempts' directories.
    attempts: PathBuf,
    /// The shim's executable.
    shim: PathBuf,
    boot_id: String,
    now: fn() -> Stamp,
    listener: Listener,
    orders: Mutex<BTreeMap<AttemptId, mpsc::UnboundedSender<Order>>>,
    tasks: TaskTracker,
}

/// The supervisor; cheap to clone.
#[derive(Clone)]
pub struct Supervisor {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor")
            .field("attempts", &self.shared.attempts)
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// A supervisor of the attempts in a directory, which must exist.
    ///
    /// `shim` is the shim's executable, `now` reads both clocks, and `tasks` owns the attempts' tasks.
    #[must_use]
    pub fn new(
        attempts: &Path,
        shim: PathBuf,
        boot_id: String,
        now: fn() -> Stamp,
        listener: Listener,
        tasks: TaskTracker,
    ) -> Self {
        let shared = Shared {
            attempts: attempts.to_owned(),
            shim,
            boot_id,
            now,
            listener,
            orders: Mutex::new(BTreeMap::new()),
            tasks,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Starts an attempt; says nothing where it is known already. The record is made in the attempt's task.
    ///
    /// An attempt directory admits one start at most: should a shim of a former daemon own it, that one is adopted.
    pub fn launch<F>(&self, attempt: AttemptId, launch: F)
    where
        F: Future<Output = Result<Launch, String>> + Send + 'static,
    {
        if let Some(orders) = self.register(attempt) {
            let shared = Arc::clone(&self.shared);
            let task = async move { link::launch(shared, attempt, launch, orders).await };
            self.shared.tasks.spawn(task);
        }
    }

    /// Finds the shim of an attempt that may run, or what it left, and reports.
    pub fn adopt(&self, job: &Job) {
        let Some(attempt) = job.attempt.as_ref() else {
            return;
        };
        let (id, main) = (attempt.id, attempt.main);
        match self.register(id) {
            Some(orders) => {
                let shared = Arc::clone(&self.shared);
                let same_boot = attempt.boot_id == shared.boot_id;
                let task = async move { adopt::adopt(shared, id, main, same_boot, orders).await };
                self.shared.tasks.spawn(task);
            }
            None => self.order(id, Order::Restate),
        }
    }

    /// Sends a signal, once the command runs.
    pub fn signal(&self, attempt: AttemptId, signal: i32, to: SignalTarget) {
        self.order(attempt, Order::Signal(signal, to));
    }

    /// Kills everything the attempt ever forked.
    pub fn kill(&self, attempt: AttemptId) {
        self.order(attempt, Order::Kill);
    }

    /// Freezes it.
    pub fn freeze(&self, attempt: AttemptId) {
        self.order(attempt, Order::Freeze);
    }

    /// Lets it go on.
    pub fn thaw(&self, attempt: AttemptId) {
        self.order(attempt, Order::Thaw);
    }

    /// Lets its shim leave and removes its directory: its end is committed.
    pub fn forget(&self, attempt: AttemptId) {
        let known = self.orders().contains_key(&attempt);
        if known {
            self.order(attempt, Order::Forget);
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.shared
            .tasks
            .spawn_blocking(move || leftovers::dismiss(&shared.dir(attempt)));
    }

    /// How many attempts have a task.
    #[must_use]
    pub fn attended(&self) -> usize {
        self.orders().len()
    }

    fn order(&self, attempt: AttemptId, order: Order) {
        if let Some(orders) = self.orders().get(&attempt) {
            // A task that has just ended does not need it any more.
            drop(orders.send(order));
        }
    }

    fn register(&self, attempt: AttemptId) -> Option<mpsc::UnboundedReceiver<Order>> {
        let mut orders = self.orders();
        if orders.contains_key(&attempt) {
            return None;
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        orders.insert(attempt, sender);
        Some(receiver)
    }

    fn orders(
        &self,
    ) -> std::sync::MutexGuard<'_, BTreeMap<AttemptId, mpsc::UnboundedSender<Order>>> {
        self.shared.orders()
    }
}

impl Shared {
    fn dir(&self, attempt: AttemptId) -> PathBuf {
        self.attempts.join(attempt.to_string())
    }

    fn report(&self, report: Report) {
        (self.listener)(report);
    }

    fn deregister(&self, attempt: AttemptId) {
        self.orders().remove(&attempt);
    }

    fn orders(
        &self,
    ) -> std::sync::MutexGuard<'_, BTreeMap<AttemptId, mpsc::UnboundedSender<Order>>> {
        // The map is whole after every statement, so a panic elsewhere has not harmed it.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A service manager, and what the units are called that it is asked for.
#[derive(Clone, Debug)]
pub struct Services {
    /// The manager.
    pub manager: Arc<Systemd>,
    /// Names of units.
    pub naming: Naming,
}

/// Which containment is in force on this host, for jobs and for `stoke doctor`.
#[derive(Clone, Debug)]
pub enum Containing {
    /// A unit of a service manager each.
    Services(Services),
    /// A cgroup v2 directory of the daemon's.
    Cgroup(Base),
    /// The process tree; and why no cgroup.
    Tree {
        /// Why no cgroup can be used.
        why: String,
    },
    /// What is asked for cannot be had: nothing may start.
    Nothing {
        /// Why it cannot be used.
        why: String,
    },
}
