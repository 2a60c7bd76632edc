//! From observers to the engine: what shims say, and what jobs show of their progress.
//!
//! Each running attempt has a task that reads its output and its progress file when they change, never
//! oftener than [`SPACING`]. The end of an attempt passes through it too, so that the last progress
//! is known before the job is final.

use crate::control::Handle;
use crate::engine::input::Input;
use crate::logs::Stream;
use crate::logs::read::{self, Content, From, Reader, Selection};
use crate::logs::watch::Watcher;
use crate::model::id::AttemptId;
use crate::model::progress::Observation;
use crate::progress::text::TextFeed;
use crate::progress::{file, notify};
use crate::supervise::Report;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// Shortest time between two looks at one attempt.
const SPACING: Duration = Duration::from_millis(50);

/// Most output read in one look; what a flood leaves unread beyond it is skipped up to its end.
const LOOK_BYTES: usize = 1 << 20;

/// Most output read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// How much of the end of a long output is read: the newest bar is in it.
const TAIL_BYTES: u64 = 64 << 10;

/// Longest time the last look at an attempt may hold up its end: its progress file may be on a dead network disk.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Where the traces of an attempt are.
#[derive(Clone, Debug)]
pub(super) struct Traces {
    /// Its logs.
    pub log_dir: PathBuf,
    /// The file it may write its progress to.
    pub progress_file: PathBuf,
    /// As whom it runs: a file of somebody else is not read for it.
    pub uid: u32,
}

/// All feeds.
#[derive(Debug)]
pub(super) struct Feeds {
    control: Handle,
    watcher: Watcher,
    tasks: TaskTracker,
    attempts: Mutex<BTreeMap<AttemptId, Feed>>,
}

/// What is known of an attempt that was launched or adopted.
#[derive(Debug)]
struct Feed {
    traces: Traces,
    /// Where its end is sent, once it has a task.
    end: Option<mpsc::UnboundedSender<Input>>,
}

impl Feeds {
    /// Feeds that report to `control`.
    #[must_use]
    pub(super) fn new(control: Handle, watcher: Watcher, tasks: TaskTracker) -> Self {
        Self {
            control,
            watcher,
            tasks,
            attempts: Mutex::new(BTreeMap::new()),
        }
    }

    /// Tells where the traces of an attempt will be, before it is launched or adopted.
    pub(super) fn expect(&self, attempt: AttemptId, traces: Traces) {
        self.attempts()
            .entry(attempt)
            .or_insert(Feed { traces, end: None });
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
                self.follow(attempt);
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

    fn follow(self: &Arc<Self>, attempt: AttemptId) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let traces = match self.attempts().get_mut(&attempt) {
            Some(feed) if feed.end.is_none() => {
                feed.end = Some(sender);
                feed.traces.clone()
            }
            _ => return,
        };
        let feeds = Arc::clone(self);
        self.tasks
            .spawn(async move { feeds.run(attempt, traces, receiver).await });
    }

    async fn run(
        self: Arc<Self>,
        attempt: AttemptId,
        traces: Traces,
        mut ends: mpsc::UnboundedReceiver<Input>,
    ) {
        let mut eyes = Eyes::new(traces.clone());
        // Most short jobs end before anything is worth watching.
        let mut end = ended_within(&mut ends, SPACING).await;
        if end.is_none() {
            let mut output = self.watcher.watch(&traces.log_dir);
            let mut progress = self.watcher.watch(&traces.progress_file);
            while end.is_none() {
                eyes = self.look(attempt, eyes).await;
                end = ended_within(&mut ends, SPACING).await;
                if end.is_none() {
                    tokio::select! {
                        biased;
                        input = ends.recv() => end = Some(input),
                        () = output.changed() => {}
                        () = progress.changed() => {}
                    }
                }
            }
        }
        let last = tokio::time::timeout(LAST_LOOK, self.look(attempt, eyes)).await;
        if last.is_err() {
            tracing::warn!(%attempt, "its last progress could not be read in time");
        }
        end.into_iter()
            .flatten()
            .for_each(|end| self.control.report(end));
        while let Ok(again) = ends.try_recv() {
            self.control.report(again);
        }
    }

    /// Looks at the traces once and reports what is new.
    async fn look(&self, attempt: AttemptId, mut eyes: Eyes) -> Eyes {
        let looked = tokio::task::spawn_blocking(move || {
            let seen = eyes.look();
            (eyes, seen)
        });
        match looked.await {
            Ok((eyes, seen)) => {
                for observation in seen {
                    self.observe(attempt, observation);
                }
                eyes
            }
            // A panic of a parser must not end the supervision of a job.
            Err(error) => {
                tracing::error!(%attempt, %error, "reading its progress failed");
                Eyes::blind()
            }
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

/// What reads the traces of one attempt, and where it stands.
struct Eyes {
    traces: Option<Traces>,
    reader: Option<Reader>,
    stdout: TextFeed,
    stderr: TextFeed,
    last_file: Option<Observation>,
}

impl Eyes {
    fn new(traces: Traces) -> Self {
        Self {
            traces: Some(traces),
            ..Self::blind()
        }
    }

    fn blind() -> Self {
        Self {
            traces: None,
            reader: None,
            stdout: TextFeed::default(),
            stderr: TextFeed::default(),
            last_file: None,
        }
    }

    /// Reads what is new. Blocks on files only.
    fn look(&mut self) -> Vec<Observation> {
        let mut seen = Vec::new();
        let Some(traces) = self.traces.clone() else {
            return seen;
        };
        if let Err(error) = self.look_at_output(&traces, &mut seen) {
            tracing::debug!(%error, dir = %traces.log_dir.display(), "output cannot be read");
        }
        match file::read_owned(&traces.progress_file, traces.uid) {
            Ok(found) if found != self.last_file => {
                seen.extend(found.clone());
                self.last_file = found;
            }
            Ok(_) => {}
            // Torn writes are common; a file that stays wrong is the job's business.
            Err(error) => tracing::debug!(%error, "a progress file cannot be read"),
        }
        seen
    }

    /// Reads output up to its end; of a flood, the beginning and the end.
    fn look_at_output(
        &mut self,
        traces: &Traces,
        seen: &mut Vec<Observation>,
    ) -> std::io::Result<()> {
        for _ in 0..2 {
            let mut reader = match self.reader.take() {
                Some(reader) => reader,
                None => read::open(
                    &traces.log_dir,
                    Selection::Both,
                    From::TailBytes(TAIL_BYTES),
                )?,
            };
            let mut budget = LOOK_BYTES;
            while budget > 0 {
                let Some(chunk) = reader.next_chunk(budget.min(CHUNK_BYTES))? else {
                    self.reader = Some(reader);
                    return Ok(());
                };
                if let Content::Bytes(bytes) = &chunk.content {
                    budget = budget.saturating_sub(bytes.len());
                    match chunk.stream {
                        Stream::Stdout => self.stdout.push(bytes, seen),
                        Stream::Stderr => self.stderr.push(bytes, seen),
                    }
                }
            }
        }
        Ok(())
    }
}
