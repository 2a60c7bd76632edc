//! Sampling: what the host, its GPUs and the running attempts use, read at their cadence and tied together.
//!
//! One thread does it, apart from everything else: what it reads may be slow. It sleeps until something is due or
//! somebody asks. [`observatory`] decides what is read when and joins it; a [`Senses`] reads.

mod aside;
pub mod files;
pub mod gpu;
pub mod host;
pub mod jobs;
pub mod names;
pub mod observatory;
pub mod processes;
pub mod rates;
pub mod senses;

use crate::model::cadence::{Leases, Source};
use crate::model::gpu::{GpuFault, GpuSample, Xid};
use crate::model::id::AttemptId;
use crate::model::sample::{Holder, HostSample, JobSample, Pass, Snapshot};
use crate::model::tally::{Ledger, Tally};
use crate::model::time::Stamp;
use observatory::{Observatory, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

pub use crate::contain::fields;
pub use observatory::Rules;
pub use processes::{Token, Watch};

/// The clocks of the host.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// Reads the wall clock and the boot clock.
    pub now: fn() -> Stamp,
    /// How long the host has slept since it started, milliseconds. The boot clock goes on meanwhile; who waits or is
    /// waited for stands still.
    pub slept_ms: fn() -> u64,
}

/// What is known of an attempt that is to be sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// How its processes are recognised.
    pub watch: Watch,
    /// When its command began to run.
    pub started: Stamp,
}

/// What the GPUs of one source answered.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuAnswer {
    /// Which source it was.
    pub source: u32,
    /// When.
    pub at: Stamp,
    /// Every GPU there is, also those that do not answer.
    pub gpus: Vec<GpuSample>,
    /// Their processes are told by ids of another namespace, which mean something else here.
    pub has_outer_pids: bool,
}

/// Reads what is measured. Every call may take milliseconds and none may wait for a device that does not answer.
pub trait Senses: Send + 'static {
    /// An attempt runs.
    fn watch(&mut self, watched: &Watched);

    /// It runs no more.
    fn forget(&mut self, attempt: AttemptId);

    /// Other settings hold from now on.
    fn tune(&mut self, rules: &Rules);

    /// A pass over these sources begins.
    fn begin(&mut self, at: Stamp, sources: &BTreeSet<Source>);

    /// Reads the host.
    fn host(&mut self, at: Stamp) -> HostSample;

    /// Reads the attempts that are watched.
    fn jobs(&mut self, at: Stamp) -> Vec<JobSample>;

    /// Asks the GPUs, without waiting. Answers how many sources will answer soon.
    fn ask_gpus(&mut self, at: Stamp) -> usize;

    /// What was answered since.
    fn gpu_answers(&mut self) -> Vec<GpuAnswer>;

    /// Errors that drivers told of since.
    fn xids(&mut self) -> Vec<Xid>;

    /// When GPUs that were asked have to be looked after at the latest, on the boot clock.
    fn gpus_due_ms(&mut self) -> Option<u64>;

    /// What is wrong with sources of GPUs that do not answer, completing "failed to", by their names.
    fn troubles(&mut self) -> BTreeMap<&'static str, String>;

    /// Whose a process is.
    fn holder(&mut self, pid: u32) -> Holder;

    /// Whose a process is, or was a moment ago, that a driver told of.
    fn culprit(&mut self, pid: u32, at: Stamp) -> Holder;

    /// Names of the users that are met, as far as they are known.
    fn users(&mut self) -> Arc<BTreeMap<u32, Arc<str>>>;

    /// Whether the host runs on battery.
    fn on_battery(&mut self) -> bool;
}

/// What comes out of it.
#[derive(Clone, Debug)]
pub enum Found {
    /// Something was measured.
    Pass(Arc<Pass>),
    /// All that an attempt used is known, which ended before that.
    Settled(AttemptId, Tally),
    /// A driver told of an error.
    Fault(GpuFault),
}

/// Takes what was found, on the sampler's thread, with the newest of everything.
pub type Sink = Box<dyn FnMut(Found, &Snapshot) + Send>;

#[derive(Debug)]
enum Message {
    Watch(Watched),
    Forget(AttemptId),
    Rules(Rules),
    /// Leases changed, or GPUs answered.
    Wake,
    Stop,
}

/// What the sampler shares with those who ask it.
#[derive(Debug, Default)]
struct Shared {
    newest: Mutex<Arc<Snapshot>>,
    ledger: Mutex<Ledger>,
    leases: Mutex<Leases>,
    /// When the thread does something next, or should have, on the boot clock less the time that the host slept;
    /// [`NEVER`] while nothing is sampled.
    due_ms: AtomicU64,
}

impl Clocks {
    /// A time of the boot clock, less what the host has slept by now.
    fn awake_ms(&self, boot_ms: u64) -> u64 {
        boot_ms.saturating_sub((self.slept_ms)())
    }
}

const NEVER: u64 = u64::MAX;

/// So many messages are taken before it is looked whether something is due.
const MOST_AT_ONCE: usize = 1_000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change under these locks is complete before anything that could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The door to the sampler; cheap to clone.
#[derive(Clone)]
pub struct Sampler {
    shared: Arc<Shared>,
    inbox: Sender<Message>,
    clocks: Clocks,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler").finish_non_exhaustive()
    }
}

/// Wakes the sampler: GPUs answered.
#[derive(Clone, Debug)]
pub struct Waker(Sender<Message>);

impl Waker {
    /// Something may be read that was asked for.
    pub fn wake(&self) {
        // Nobody hears it only while the daemon goes down.
        let _heard = self.0.send(Message::Wake);
    }
}

/// How long somebody who looked once counts as looking.
const GLANCE_MS: u64 = 10_000;

impl Sampler {
    /// Starts the thread. `senses` is made from what wakes it.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start<S: Senses>(
        rules: Rules,
        clocks: Clocks,
        senses: impl FnOnce(Waker) -> S,
        sink: Sink,
    ) -> io::Result<Self> {
        let (inbox, messages) = channel();
        let shared = Arc::new(Shared::default());
        let senses = senses(Waker(inbox.clone()));
        let observatory = Observatory::new(senses, rules, (clocks.now)());
        let worker = Worker {
            shared: Arc::clone(&shared),
            observatory,
            messages,
            clocks,
            sink,
        };
        let thread = Builder::new()
            .name("sampler".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || worker.run())?;
        Ok(Self {
            shared,
            inbox,
            clocks,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Samples an attempt from now on. `before` is what it had used when it was sampled last, by an earlier daemon.
    pub fn watch(&self, watched: Watched, before: Tally) {
        lock(&self.shared.ledger).begin(watched.watch.attempt, watched.started, before);
        self.send(Message::Watch(watched));
    }

    /// An attempt ended, having used so much CPU time where that was told: what else it used, as far as that is known.
    /// More may come as [`Found::Settled`].
    #[must_use]
    pub fn end(&self, attempt: AttemptId, at: Stamp, cpu_seconds: Option<f64>) -> Tally {
        let mut ledger = lock(&self.shared.ledger);
        if let Some(seconds) = cpu_seconds {
            ledger.cpu_time(attempt, seconds);
        }
        let (tally, _) = ledger.end(attempt, at);
        drop(ledger);
        self.send(Message::Forget(attempt));
        tally
    }

    /// The newest of everything.
    #[must_use]
    pub fn newest(&self) -> Arc<Snapshot> {
        Arc::clone(&lock(&self.shared.newest))
    }

    /// Since how long something is due that was not done, milliseconds: long is a sign that a read hangs. Nothing while
    /// nothing is sampled.
    #[must_use]
    pub fn late_ms(&self) -> Option<u64> {
        let due_ms = self.shared.due_ms.load(Ordering::Relaxed);
        let now_ms = self.clocks.awake_ms((self.clocks.now)().boot_ms);
        (due_ms != NEVER).then(|| now_ms.saturating_sub(due_ms))
    }

    /// Somebody looks once.
    pub fn glance(&self) {
        let now_ms = (self.clocks.now)().boot_ms;
        let is_news = {
            let mut leases = lock(&self.shared.leases);
            let before = leases.wanted_ms(now_ms);
            leases.glance(now_ms + GLANCE_MS);
            before.is_none()
        };
        if is_news {
            self.send(Message::Wake);
        }
    }

    /// Somebody looks for as long as the answer is kept, and wants to see so often; 0 where it is all the same.
    #[must_use]
    pub fn look(&self, every_ms: u64) -> Lease {
        let number = lock(&self.shared.leases).take(every_ms);
        self.send(Message::Wake);
        Lease {
            shared: Arc::clone(&self.shared),
            number,
        }
    }

    /// Other settings hold from now on.
    pub fn set_rules(&self, rules: Rules) {
        self.send(Message::Rules(rules));
    }

    /// Ends the thread, once it has done what it is at.
    pub fn stop(&self) {
        self.send(Message::Stop);
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the sampler panicked");
        }
    }

    fn send(&self, message: Message) {
        // Nobody takes it only while the daemon goes down.
        let _sent = self.inbox.send(message);
    }
}

/// Kept by somebody who looks.
#[derive(Debug)]
pub struct Lease {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The sampler need not be woken: its next pass sees that nobody looks any more.
        lock(&self.shared.leases).give_back(self.number);
    }
}

struct Worker<S> {
    shared: Arc<Shared>,
    observatory: Observatory<S>,
    messages: Receiver<Message>,
    clocks: Clocks,
    sink: Sink,
}

impl<S: Senses> Worker<S> {
    fn run(mut self) {
        loop {
            let now = (self.clocks.now)();
            let wanted_ms = lock(&self.shared.leases).wanted_ms(now.boot_ms);
            let due_ms = self.observatory.due_ms(now, wanted_ms);
            let next_ms = due_ms.map_or(NEVER, |due_ms| self.clocks.awake_ms(due_ms));
            self.shared.due_ms.store(next_ms, Ordering::Relaxed);
            let message = match due_ms {
                None => self
                    .messages
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
                Some(due_ms) => {
                    let wait = Duration::from_millis(due_ms.saturating_sub(now.boot_ms));
                    self.messages.recv_timeout(wait)
                }
            };
            match message {
                Ok(message) => {
                    if !self.hear(message) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.turn();
        }
    }

    /// Takes a message, and those that have come meanwhile: many at once are one turn. Says whether to go on.
    fn hear(&mut self, first: Message) -> bool {
        let mut taken = 0;
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Watch(watched) => self.observatory.watch(&watched),
                Message::Forget(attempt) => self.observatory.forget(attempt),
                Message::Rules(rules) => {
                    self.observatory.tune(rules, &self.shared.ledger);
                    // What is not measured any more must not be shown as if it were.
                    *lock(&self.shared.newest) = Arc::new(self.observatory.snapshot());
                }
                Message::Wake => {}
                Message::Stop => return false,
            }
            taken += 1;
            let is_enough = taken == MOST_AT_ONCE;
            next = (!is_enough)
                .then(|| self.messages.try_recv().ok())
                .flatten();
        }
        true
    }

    fn turn(&mut self) {
        let now = (self.clocks.now)();
        let outcome = self.observatory.turn(now, &self.shared.ledger);
        let Outcome { found, snapshot } = outcome;
        if found.is_empty() {
            return;
        }
        let snapshot = Arc::new(snapshot);
        *lock(&self.shared.newest) = Arc::clone(&snapshot);
        for it in found {
            (self.sink)(it, &snapshot);
        }
    }
}
