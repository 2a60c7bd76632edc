//! From observers to the engine: what shims say, and what jobs show of their progress.
//!
//! Each attempt that runs for longer than a moment has a task that reads its output and its progress file when they
//! change, never oftener than a twentieth of the time allows, and after a while the files that it has open. Each
//! of these waits for itself, so that one on a disk that does not answer holds up neither the others nor
//! another attempt. The end of an attempt passes through its task too, so that the last progress is known
//! before the job is final.

mod eyes;

use crate::config::ProgressSettings;
use crate::control::Handle;
use crate::daemon::adapters::Reading;
use crate::daemon::clock;
use crate::engine::input::Input;
use crate::logs::watch::Watcher;
use crate::model::attempt::Process;
use crate::model::id::AttemptId;
use crate::model::progress::{Counting, Observation, Source};
use crate::model::time::Stamp;
use crate::progress::adapters::Catalogue;
use crate::progress::notify;
use crate::progress::open_files::{self, Scope, Sight};
use crate::supervise::Report;
use eyes::{FileEyes, OpenFilesEyes, OutputEyes};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An attempt that ends within this is not worth watching.
const SHORT: Duration = Duration::from_millis(50);

/// Shortest and longest time between two looks at one trace of an attempt; in between, so much that looking takes
/// at most the twentieth part of the time.
const SPACING: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(50));
const LOOK_SHARE: u32 = 20;

/// Longest time the last look at an attempt may hold up its end: its progress file may be on a dead network disk.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Looks at disks that may not answer which may be under way at once. Each takes a thread, of which the daemon has
/// few: when all of these wait for ever, there must be others for everything else.
const DOUBTFUL_LOOKS: usize = 8;

/// Looks at open files that may be under way at once.
const OPEN_FILE_LOOKS: usize = 4;

/// Where nothing moves, the time between two looks at open files grows to so many intervals.
const LONGEST_WAIT: u32 = 10;

/// The part of an interval after which a file is looked at again that may be moving.
const SOON: u32 = 5;

/// What a shim calls the better containment.
const IN_A_CGROUP: &str = "cgroup";

/// Where the traces of an attempt are.
#[derive(Clone, Debug)]
pub(super) struct Traces {
    /// Its logs.
    pub log_dir: PathBuf,
    /// The file it may write its progress to.
    pub progress_file: PathBuf,
    /// The job named that file, so it may be anywhere.
    pub is_named: bool,
    /// As whom it runs: a file of somebody else is not read for it.
    pub uid: u32,
    /// Its cgroup, should it be in one.
    pub cgroup: Option<PathBuf>,
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
    started: Stamp,
    is_told: Arc<AtomicBool>,
}

impl Feeds {
    /// Feeds that report to `control`.
    #[must_use]
    pub(super) fn new(
        control: Handle,
        watcher: Watcher,
        tasks: TaskTracker,
        estimating: Estimating,
    ) -> Self {
        Self {
            control,
            watcher,
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
                at,
            } => {
                self.control.report(Input::Started {
                    attempt,
                    main,
                    containment: containment.to_owned(),
                    at,
                });
                self.follow(attempt, main, containment, at);
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
                    usage,
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
        containment: &'static str,
        started: Stamp,
    ) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut watched = match self.attempts().get_mut(&attempt) {
            Some(feed) if feed.end.is_none() => {
                feed.end = Some(sender);
                Watched {
                    attempt,
                    traces: feed.traces.clone(),
                    main,
                    started,
                    is_told: Arc::clone(&feed.is_told),
                }
            }
            _ => return,
        };
        // It may have been refused.
        watched
            .traces
            .cgroup
            .take_if(|_| containment != IN_A_CGROUP);
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
            None => self.watch(&watched, &mut ends).await,
        };
        end.into_iter().for_each(|end| self.control.report(end));
        while let Ok(again) = ends.try_recv() {
            self.control.report(again);
        }
    }

    /// Looks at what a short attempt left. Most leave nothing, and then no other thread has to look.
    async fn look_once(&self, watched: &Watched) {
        let Traces {
            log_dir,
            progress_file,
            is_named,
            uid,
            reading,
            ..
        } = &watched.traces;
        let has_file = *is_named || progress_file.exists();
        let output = if log_dir.exists() {
            let catalogue = reading.catalogue().await;
            catalogue.map(|it| OutputEyes::new(log_dir.clone(), &it, &reading.hints))
        } else {
            None
        };
        let file = has_file.then(|| {
            let watcher = self.watcher.clone();
            FileEyes::new(progress_file.clone(), *uid, watcher)
        });
        if output.is_none() && file.is_none() {
            return;
        }
        let looks = async {
            if let Some(mut eyes) = output {
                self.see(watched.attempt, move || eyes.look()).await;
            }
            if let Some(mut eyes) = file {
                let permit = self.permit(watched).await;
                let read = move || {
                    let _permit = permit;
                    eyes.read()
                };
                self.see(watched.attempt, read).await;
            }
        };
        in_time(watched.attempt, looks).await;
    }

    /// Watches an attempt to its end.
    async fn watch(
        &self,
        watched: &Watched,
        ends: &mut mpsc::UnboundedReceiver<Input>,
    ) -> Option<Input> {
        let over = CancellationToken::new();
        let looks = async {
            tokio::join!(
                self.watch_output(watched, &over),
                self.watch_file(watched, &over),
                // An estimate holds up no end: there is no last look, and one under way is not waited for.
                over.run_until_cancelled(self.watch_open_files(watched)),
            )
        };
        let mut looks = std::pin::pin!(looks);
        let end = tokio::select! {
            biased;
            end = ends.recv() => end,
            // Those at its output and its file do not end before it is over.
            _ = &mut looks => return ends.recv().await,
        };
        over.cancel();
        let Traces {
            log_dir, reading, ..
        } = &watched.traces;
        if log_dir.exists() {
            // What has to be made once per start of the daemon is no disk that does not answer.
            tokio::select! {
                biased;
                _ = reading.catalogue() => {}
                _ = &mut looks => return end,
            }
        }
        in_time(watched.attempt, looks).await;
        end
    }

    async fn watch_output(&self, watched: &Watched, over: &CancellationToken) {
        let Some(catalogue) = catalogue(&watched.traces, over).await else {
            return over.cancelled().await;
        };
        let Traces {
            log_dir, reading, ..
        } = &watched.traces;
        let mut eyes = OutputEyes::new(log_dir.clone(), &catalogue, &reading.hints);
        let mut changes = self.watcher.watch(log_dir);
        loop {
            // What is looked at after the end is all there will be.
            let is_last = over.is_cancelled();
            let begun = Instant::now();
            let look = move || {
                let seen = eyes.look();
                (eyes, seen)
            };
            let Some((again, seen)) = self.on_thread(watched.attempt, look).await else {
                return over.cancelled().await;
            };
            eyes = again;
            self.observe_all(watched.attempt, seen);
            if is_last {
                return;
            }
            rest(begun.elapsed(), over).await;
            tokio::select! {
                biased;
                () = over.cancelled() => {}
                () = changes.changed() => {}
            }
        }
    }

    async fn watch_file(&self, watched: &Watched, over: &CancellationToken) {
        let Traces {
            progress_file, uid, ..
        } = &watched.traces;
        let mut eyes = FileEyes::new(progress_file.clone(), *uid, self.watcher.clone());
        loop {
            let is_last = over.is_cancelled();
            let permit = self.permit(watched).await;
            let begun = Instant::now();
            let look = move || {
                let _permit = permit;
                let seen = eyes.look();
                (eyes, seen)
            };
            let Some((again, seen)) = self.on_thread(watched.attempt, look).await else {
                return over.cancelled().await;
            };
            eyes = again;
            self.observe_all(watched.attempt, seen);
            if is_last {
                return;
            }
            rest(begun.elapsed(), over).await;
            tokio::select! {
                biased;
                () = over.cancelled() => {}
                () = eyes.changed() => {}
            }
        }
    }

    /// Looks at open files for as long as nobody says how far the attempt is.
    async fn watch_open_files(&self, watched: &Watched) {
        let estimating = Arc::clone(&self.lock_estimating());
        let settings = &estimating.settings;
        if !settings.open_files {
            return;
        }
        let traces = &watched.traces;
        let any_program = traces.kind.as_ref().is_some_and(|kind| {
            let kinds = &settings.open_files_kinds;
            kinds.iter().any(|it| it.eq_ignore_ascii_case(kind))
        });
        let mut eyes = OpenFilesEyes::new(watched.main, traces.cgroup.clone());
        let interval = settings.open_files_interval;
        let age = Duration::from_millis(clock::now().since_ms(watched.started));
        // One that was adopted is not looked at in the first moment, when there is much else to do.
        let mut wait = settings.open_files_after.saturating_sub(age).max(interval);
        let mut quiet = interval;
        loop {
            tokio::time::sleep(wait).await;
            if watched.is_told.load(Ordering::Relaxed) {
                return;
            }
            let permit = Arc::clone(&self.open_files).acquire_owned().await;
            let rules = Arc::clone(&estimating);
            let look = move || {
                let _permit = permit;
                let sight = eyes.look(&rules.scope, any_program);
                (eyes, sight)
            };
            let Some((again, sight)) = self.on_thread(watched.attempt, look).await else {
                return;
            };
            eyes = again;
            (wait, quiet) = match sight {
                Sight::Moved(seen) => {
                    self.observe(watched.attempt, *seen);
                    (interval, interval)
                }
                Sight::Perhaps => (interval / SOON, interval),
                Sight::Nothing => (quiet, (quiet * 2).min(interval * LONGEST_WAIT)),
            };
        }
    }

    /// Whoever looks at a file that may be anywhere waits for its turn; `None` where the file is on a disk of ours.
    async fn permit(&self, watched: &Watched) -> Option<tokio::sync::OwnedSemaphorePermit> {
        if !watched.traces.is_named {
            return None;
        }
        // It is never closed.
        Arc::clone(&self.doubtful).acquire_owned().await.ok()
    }

    /// Looks once and reports.
    async fn see<F>(&self, attempt: AttemptId, look: F)
    where
        F: FnOnce() -> Vec<Observation> + Send + 'static,
    {
        let seen = self.on_thread(attempt, look).await;
        self.observe_all(attempt, seen.unwrap_or_default());
    }

    fn observe_all(&self, attempt: AttemptId, seen: Vec<Observation>) {
        for observation in seen {
            self.observe(attempt, observation);
        }
    }

    /// Does what blocks; `None` when it panicked.
    async fn on_thread<T, F>(&self, attempt: AttemptId, look: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let looked = tokio::task::spawn_blocking(look).await;
        // A panic of a parser must not end the supervision of a job.
        looked
            .inspect_err(|error| tracing::error!(%attempt, %error, "reading its progress failed"))
            .ok()
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

/// Waits for the last looks at an attempt, for as long as its end may wait for them.
async fn in_time<T>(attempt: AttemptId, looks: impl Future<Output = T>) {
    if tokio::time::timeout(LAST_LOOK, looks).await.is_err() {
        tracing::warn!(%attempt, "its last progress could not be read in time");
    }
}

/// What the output of an attempt is read with, once there is that; nothing where there will be no output.
async fn catalogue(traces: &Traces, over: &CancellationToken) -> Option<Arc<Catalogue>> {
    let mut catalogue = std::pin::pin!(traces.reading.catalogue());
    tokio::select! {
        biased;
        catalogue = &mut catalogue => return catalogue,
        () = over.cancelled() => {}
    }
    if traces.log_dir.exists() {
        catalogue.await
    } else {
        None
    }
}

/// Leaves time for others after a look that took so long; ends early when it is over.
async fn rest(looked: Duration, over: &CancellationToken) {
    let (shortest, longest) = SPACING;
    let spacing = (looked * LOOK_SHARE).clamp(shortest, longest);
    // Either way the next look may come.
    drop(tokio::time::timeout(spacing, over.cancelled()).await);
}

fn is_estimate(source: &Source) -> bool {
    matches!(source, Source::Adapter(name) if name == open_files::SOURCE)
}
