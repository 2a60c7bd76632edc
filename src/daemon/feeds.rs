//! From observers to the engine: what shims say, and what jobs show of their progress.
//!
//! Each attempt that runs for longer than a moment has a task that reads its output and its progress file when they
//! change, never oftener than a twentieth of the time allows, and after a while the files that it has open. Each
//! of these waits for itself, so that one on a disk that does not answer holds up neither the others nor
//! another attempt. The end of an attempt passes through its task too, so that the last progress is known
//! before the job is final.

mod eyes;
mod looks;

use crate::config::ProgressSettings;
use crate::control::Handle;
use crate::daemon::adapters::Reading;
use crate::daemon::clock;
use crate::daemon::measuring::Measuring;
use crate::engine::input::Input;
use crate::logs::watch::Watcher;
use crate::model::attempt::Process;
use crate::model::id::AttemptId;
use crate::model::progress::{Counting, Observation, Source};
use crate::model::time::Stamp;
use crate::progress::notify;
use crate::progress::open_files::{self, Scope};
use crate::sampling::{self, Token, Watch};
use crate::supervise::{self, Report};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

/// An attempt that ends within this is not worth watching.
const SHORT: Duration = Duration::from_millis(50);

/// An attempt that is older when it is first heard of was sampled by an earlier daemon, perhaps.
const ADOPTED_MS: u64 = 2_000;

/// Looks at disks that may not answer which may be under way at once. Each takes a thread, of which the daemon has
/// few: when all of these wait for ever, there must be others for everything else.
const DOUBTFUL_LOOKS: usize = 8;

/// Looks at open files that may be under way at once.
const OPEN_FILE_LOOKS: usize = 4;

/// Where the traces of an attempt are.
#[derive(Clone, Debug)]
pub(super) struct Traces {
    /// Its directory.
    pub dir: PathBuf,
    /// Its logs.
    pub log_dir: PathBuf,
    /// The file it may write its progress to.
    pub progress_file: PathBuf,
    /// The job named that file, so it may be anywhere.
    pub is_named: bool,
    /// As whom it runs: a file of somebody else is not read for it.
    pub uid: u32,
    /// What sort of work the job is.
    pub kind: Option<String>,
    /// How its output is read.
    pub reading: Reading,
    /// Who said last how far it is, before this daemon looked.
    pub lead: Option<Source>,
}

/// All feeds.
#[derive(Debug)]
pub(super) struct Feeds {
    control: Handle,
    watcher: Watcher,
    measuring: Measuring,
    tasks: TaskTracker,
    estimating: Mutex<Arc<Estimating>>,
    doubtful: Arc<Semaphore>,
    open_files: Arc<Semaphore>,
    attempts: Mutex<BTreeMap<AttemptId, Feed>>,
}

/// How progress is estimated that nobody reports.
#[derive(Clone, Debug)]
pub(super) struct Estimating {
    /// What the configuration says.
    pub settings: ProgressSettings,
    /// Which files count.
    pub scope: Scope,
}

/// What is known of an attempt that was launched or adopted.
#[derive(Debug)]
struct Feed {
    traces: Traces,
    /// Where its end is sent, once it has a task.
    end: Option<mpsc::UnboundedSender<Input>>,
    /// Somebody else than an estimate says how far it is.
    is_told: Arc<AtomicBool>,
}

/// As much of shown progress as tells who is believed.
#[derive(Deserialize)]
struct Shown {
    counting: Counting,
}

/// An attempt that has a task.
struct Watched {
    attempt: AttemptId,
    traces: Traces,
    main: Process,
    /// The cgroup that it is in.
    cgroup: Option<PathBuf>,
    started: Stamp,
    is_told: Arc<AtomicBool>,
}

impl Feeds {
    /// Feeds that report to `control`.
    #[must_use]
    pub(super) fn new(
        control: Handle,
        watcher: Watcher,
        measuring: Measuring,
        tasks: TaskTracker,
        estimating: Estimating,
    ) -> Self {
        Self {
            control,
            watcher,
            measuring,
            tasks,
            estimating: Mutex::new(Arc::new(estimating)),
            doubtful: Arc::new(Semaphore::new(DOUBTFUL_LOOKS)),
            open_files: Arc::new(Semaphore::new(OPEN_FILE_LOOKS)),
            attempts: Mutex::new(BTreeMap::new()),
        }
    }

    /// Changes how the progress of attempts is estimated that start from now on.
    pub(super) fn set_estimating(&self, estimating: Estimating) {
        *self.lock_estimating() = Arc::new(estimating);
    }

    fn lock_estimating(&self) -> MutexGuard<'_, Arc<Estimating>> {
        self.estimating
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells where the traces of an attempt will be, before it is launched or adopted.
    pub(super) fn expect(&self, attempt: AttemptId, traces: Traces) {
        let is_told = traces.lead.as_ref().is_some_and(|lead| !is_estimate(lead));
        self.attempts().entry(attempt).or_insert(Feed {
            traces,
            end: None,
            is_told: Arc::new(AtomicBool::new(is_told)),
        });
    }

    /// Takes note of the progress that is shown of an attempt: where anybody says how far it is, nothing is
    /// estimated any more.
    pub(super) fn shown(&self, attempt: AttemptId, progress: &str) {
        let is_told = match self.attempts().get(&attempt) {
            Some(feed) if !feed.is_told.load(Ordering::Relaxed) => Arc::clone(&feed.is_told),
            Some(_) | None => return,
        };
        let shown: Result<Shown, _> = serde_json::from_str(progress);
        let lead = shown.ok().and_then(|shown| shown.counting.lead);
        if lead.is_some_and(|lead| !is_estimate(&lead.source)) {
            is_told.store(true, Ordering::Relaxed);
        }
    }

    /// An attempt whose end is stored needs no feed.
    pub(super) fn forget(&self, attempt: AttemptId) {
        self.attempts().remove(&attempt);
    }

    /// Takes what the supervisor reports.
    pub(super) fn take(self: &Arc<Self>, report: Report) {
        match report {
            Report::Started {
                attempt,
                main,
                containment,
                cgroup,
                at,
            } => {
                self.control.report(Input::Started {
                    attempt,
                    main,
                    containment: containment.to_owned(),
                    at,
                });
                self.follow(attempt, main, cgroup, at);
            }
            Report::Ended {
                attempt,
                ending,
                usage,
                at,
            } => {
                let input = Input::Ended {
                    attempt,
                    ending,
                    usage: usage.map(Box::new),
                    at,
                };
                let task = self.attempts().get(&attempt).and_then(|it| it.end.clone());
                // A task that has ended has passed an end on already; saying it again does no harm.
                let unsent = match task {
                    Some(end) => end.send(input).err().map(|unsent| unsent.0),
                    None => Some(input),
                };
                unsent.into_iter().for_each(|it| self.control.report(it));
            }
            Report::NeverStarted { attempt } => {
                self.control.report(Input::NeverStarted { attempt });
            }
            Report::Notify { attempt, text } => {
                if let Some(observation) = notify::read(&text) {
                    self.observe(attempt, observation);
                }
            }
        }
    }

    fn observe(&self, attempt: AttemptId, observation: Observation) {
        self.control.report(Input::Observed {
            attempt,
            observation: Box::new(observation),
        });
    }

    fn follow(
        self: &Arc<Self>,
        attempt: AttemptId,
        main: Process,
        cgroup: Option<PathBuf>,
        started: Stamp,
    ) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let watched = match self.attempts().get_mut(&attempt) {
            Some(feed) if feed.end.is_none() => {
                feed.end = Some(sender);
                Watched {
                    attempt,
                    traces: feed.traces.clone(),
                    main,
                    cgroup,
                    started,
                    is_told: Arc::clone(&feed.is_told),
                }
            }
            _ => return,
        };
        let feeds = Arc::clone(self);
        self.tasks
            .spawn(async move { feeds.run(watched, receiver).await });
    }

    async fn run(self: Arc<Self>, watched: Watched, mut ends: mpsc::UnboundedReceiver<Input>) {
        let end = match ended_within(&mut ends, SHORT).await {
            Some(end) => {
                self.look_once(&watched).await;
                end
            }
            None => {
                self.sample(&watched).await;
                let mut end = self.watch(&watched, &mut ends).await;
                self.sample_no_more(&watched, end.as_mut());
                end
            }
        };
        let age = Duration::from_millis(clock::now().since_ms(watched.started));
        if age >= SHORT && !watched.is_told.load(Ordering::Relaxed) {
            // What it did since the last look is not known, and a guess must not stand as its last word.
            self.observe(watched.attempt, open_files::withdrawal());
        }
        end.into_iter().for_each(|end| self.control.report(end));
        while let Ok(again) = ends.try_recv() {
            self.control.report(again);
        }
    }

    /// Has it sampled what the attempt uses.
    async fn sample(&self, watched: &Watched) {
        let age_ms = clock::now().since_ms(watched.started);
        let dir = watched.traces.dir.clone();
        let read = tokio::task::spawn_blocking(move || supervise::token(&dir)).await;
        let token = read.ok().flatten().map(|secret| Token {
            secret,
            uid: watched.traces.uid,
        });
        let sampled = sampling::Watched {
            watch: Watch {
                attempt: watched.attempt,
                main: Some(watched.main),
                cgroup: watched.cgroup.clone(),
                token,
                is_adopted: age_ms >= ADOPTED_MS,
                ..Watch::default()
            },
            started: watched.started,
        };
        self.measuring.begin(sampled, watched.traces.uid).await;
    }

    /// What it used that the kernel did not count is told before its end, so that it is stored with it.
    fn sample_no_more(&self, watched: &Watched, end: Option<&mut Input>) {
        let attempt = watched.attempt;
        let (ended, usage) = match end {
            Some(Input::Ended { at, usage, .. }) => (*at, usage.as_deref_mut()),
            Some(_) | None => (clock::now(), None),
        };
        let mut tally = self.measuring.end(attempt, ended, usage.as_deref());
        if let Some(usage) = usage {
            tally.settle_memory(usage);
        }
        if !tally.is_empty() {
            let tally = Box::new(tally);
            self.control.report(Input::Tallied { attempt, tally });
        }
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<AttemptId, Feed>> {
        // The map is whole after every statement.
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of an attempt, should it come within `time`; `Some(None)` when nobody can tell it any more.
async fn ended_within(
    ends: &mut mpsc::UnboundedReceiver<Input>,
    time: Duration,
) -> Option<Option<Input>> {
    tokio::time::timeout(time, ends.recv()).await.ok()
}

fn is_estimate(source: &Source) -> bool {
    matches!(source, Source::Adapter(name) if name == open_files::SOURCE)
}
