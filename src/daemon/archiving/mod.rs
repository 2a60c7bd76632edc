//! The one who archives: a task that sleeps for a day at a time, and does what it is asked to in between.
//!
//! One thing after the other, on a thread that may block. A run that fails is tried again later, from where it was.

mod run;

use crate::api::ports::{Archiving, Errand};
use crate::control::command::Command;
use crate::control::{CommandError, Handle};
use crate::daemon::clock;
use crate::daemon::log_dirs::LogDirs;
use crate::events::Bus;
use crate::logs::retain;
use crate::model::id::JobId;
use crate::store::archive::{Archive, Back, LogState};
use crate::store::{Condition, Samples, Store, StoreError};
use crate::wire::archive::{ArchiveFault, ArchiveRestored, ArchiveRun, ArchiveVerified};
use crate::wire::convert::timestamp;
use run::Run;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long after its start the daemon archives for the first time: others come first then.
const FIRST: Duration = Duration::from_secs(60);

/// How long after a run the next one is due.
const DAILY: Duration = Duration::from_hours(24);

/// How long after a run that failed.
const AGAIN: Duration = Duration::from_secs(15 * 60);

/// Jobs whose logs are looked at in one step.
const SOME: usize = 200;

/// What is kept and how long, from the settings. Ages in milliseconds; none is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Age at which jobs and events are archived.
    pub archive_ms: Option<i64>,
    /// Events beyond the newest so many are archived, however old.
    pub events: u64,
    /// Age at which months are deleted.
    pub delete_ms: Option<i64>,
    /// Size of the archive; 0 is no limit.
    pub most_bytes: u64,
    /// Age at which logs are compressed.
    pub logs_ms: Option<i64>,
    /// Age at which logs are deleted.
    pub delete_logs_ms: Option<i64>,
    /// Size of the logs of archived jobs; 0 is no limit.
    pub most_log_bytes: u64,
}

/// When there is something to do although nobody asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Bells {
    /// Many new events.
    pub events: Arc<Notify>,
    /// An archived job was removed.
    pub removed: Arc<Notify>,
}

/// What the archivist works with.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    /// The months.
    pub archive: Archive,
    /// Where the jobs are.
    pub store: Store,
    /// Who forgets jobs, and tells of it.
    pub control: Handle,
    /// Where events are told.
    pub bus: Bus,
    /// What was measured.
    pub samples: Samples,
    /// Directory of the attempts' logs.
    pub logs: PathBuf,
    /// The daemon goes down.
    pub stop: CancellationToken,
}

/// The task.
#[derive(Debug)]
pub(super) struct Archivist {
    tools: Tools,
    rules: watch::Receiver<Rules>,
    bells: Bells,
    errands: mpsc::UnboundedReceiver<Errand>,
    standing: watch::Sender<Archiving>,
}

/// What woke it.
enum Woken {
    Asked(Errand),
    Due,
    ManyEvents,
    Removed,
}

impl Archivist {
    pub(super) fn new(
        tools: Tools,
        rules: watch::Receiver<Rules>,
        bells: Bells,
        desk: (mpsc::UnboundedReceiver<Errand>, watch::Sender<Archiving>),
    ) -> Self {
        let (errands, standing) = desk;
        Self {
            tools,
            rules,
            bells,
            errands,
            standing,
        }
    }

    /// Works until the daemon goes down.
    pub(super) async fn run(mut self) {
        let mut due = Instant::now() + FIRST;
        loop {
            let woken = tokio::select! {
                biased;
                () = self.tools.stop.cancelled() => return,
                errand = self.errands.recv() => match errand {
                    Some(errand) => Woken::Asked(errand),
                    None => return,
                },
                () = self.bells.removed.notified() => Woken::Removed,
                () = self.bells.events.notified() => Woken::ManyEvents,
                () = sleep_until(due) => Woken::Due,
            };
            match woken {
                Woken::Asked(errand) => self.carry_out(errand).await,
                Woken::Due => {
                    let run = self.archive(None).await;
                    let wait = if run.problem.is_some() { AGAIN } else { DAILY };
                    due = Instant::now() + wait;
                }
                Woken::ManyEvents => {
                    let rules = *self.rules.borrow();
                    self.blocking(move |tools| Run::of(tools, rules, None).move_events())
                        .await;
                }
                Woken::Removed => self.blocking(|tools| tools.archive.clear_left()).await,
            }
        }
    }

    /// Does something that nobody waits for.
    async fn blocking(&self, work: impl FnOnce(&Tools) -> Result<(), StoreError> + Send + 'static) {
        if let Err(error) = self.apart(work).await {
            tracing::warn!(%error, "the archive is not as it should be; it is tried again");
        }
    }

    /// Runs `work` on a thread that may block.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tools) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let tools = self.tools.clone();
        let done = tokio::task::spawn_blocking(move || work(&tools)).await;
        // A step that panicked has left everything as a crash would have.
        done.unwrap_or(Err(StoreError::Stopped))
    }

    async fn archive(&self, older_than_ms: Option<u64>) -> ArchiveRun {
        let began = clock::now();
        self.standing
            .send_modify(|standing| standing.running = true);
        let rules = *self.rules.borrow();
        let run = self.apart(move |tools| Ok(Run::of(tools, rules, older_than_ms).all()));
        let mut run = run.await.unwrap_or_else(|error| ArchiveRun {
            problem: Some(format!("failed to {error}")),
            ..ArchiveRun::default()
        });
        let ended = clock::now();
        run.started_at = Some(timestamp(began.wall_ms));
        run.took_ms = ended.boot_ms.saturating_sub(began.boot_ms);
        match &run.problem {
            Some(problem) => tracing::warn!(problem, "archiving ended early; it is tried again"),
            None => tracing::info!(jobs = run.jobs, events = run.events, "archived"),
        }
        self.standing.send_replace(Archiving {
            running: false,
            last: Some(run.clone()),
        });
        run
    }

    /// Whoever does not wait any more wants no answer.
    async fn carry_out(&self, errand: Errand) {
        match errand {
            Errand::Now {
                older_than_ms,
                answer,
            } => drop(answer.send(Ok(self.archive(older_than_ms).await))),
            Errand::Verify { logs, answer } => {
                drop(answer.send(self.apart(move |tools| verify(tools, logs)).await));
            }
            Errand::BringBack { jobs, answer } => {
                let back = self.apart(move |tools| tools.archive.bring_back(&jobs));
                drop(answer.send(back.await.map(restored)));
            }
            Errand::BringBackMonth { month, answer } => {
                let back = self.apart(move |tools| tools.archive.bring_back_month(month));
                drop(answer.send(back.await.map(restored)));
            }
            Errand::TakeIn { path, answer } => {
                let taken = self.apart(move |tools| tools.archive.take_in(&path)).await;
                let view = taken.map(|(month, jobs)| ArchiveRestored {
                    month: Some(month.to_string()),
                    known_again: jobs as u64,
                    ..ArchiveRestored::default()
                });
                drop(answer.send(view));
            }
        }
    }
}

fn numbers(jobs: &[JobId]) -> Vec<u64> {
    jobs.iter().map(|job| job.0).collect()
}

fn restored(back: Back) -> ArchiveRestored {
    ArchiveRestored {
        jobs: numbers(&back.jobs),
        without_environment: numbers(&back.without_environment),
        unknown: numbers(&back.unknown),
        ..ArchiveRestored::default()
    }
}

impl Tools {
    /// Says why nothing may be moved now.
    fn check(&self) -> Result<(), StoreError> {
        if self.stop.is_cancelled() {
            return Err(StoreError::Stopped);
        }
        match &*self.store.condition().borrow() {
            Condition::Healthy => Ok(()),
            Condition::Degraded { why } => Err(StoreError::Postponed { why: why.clone() }),
        }
    }

    /// Goes through the archived jobs that finished before `before_ms` and whose logs are in one of `states`, some at a
    /// time. Ends early when `work` answers that it needs no more.
    fn each_with_logs(
        &self,
        states: &[LogState],
        before_ms: i64,
        mut work: impl FnMut(&[JobId]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        for state in states {
            let mut after = JobId(0);
            loop {
                let some = self.archive.logs(*state, before_ms, after, SOME)?;
                let Some(last) = some.last() else { break };
                after = *last;
                if !work(&some)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Forgets archived jobs of one part, each with its event. Blocks until that is durable.
    fn expire(&self, jobs: Vec<(JobId, u32)>) -> Result<(), StoreError> {
        if jobs.is_empty() {
            return Ok(());
        }
        match self.control.command_now(Command::Expire { jobs }) {
            Ok(_) => Ok(()),
            Err(CommandError::Stopped) => Err(StoreError::Stopped),
            Err(error) => Err(StoreError::Postponed {
                why: error.to_string(),
            }),
        }
    }

    fn log_dirs(&self) -> Result<LogDirs, StoreError> {
        LogDirs::look(&self.logs).map_err(|error| StoreError::of_io(&error, &self.logs))
    }
}

/// Clears out of the files what the main database does not say is there.
fn sweep(tools: &Tools) -> Result<(), StoreError> {
    tools.archive.finish_taking_in()?;
    tools.archive.clear_left()?;
    tools.archive.clear_progress()?;
    for month in tools.archive.all_months()? {
        tools.check()?;
        match tools.archive.sweep(month) {
            // Its jobs are as lost as they were, and the others are not.
            Err(StoreError::Archived { .. }) => {}
            outcome => drop(outcome?),
        }
    }
    Ok(())
}

fn verify(tools: &Tools, logs: bool) -> Result<ArchiveVerified, StoreError> {
    let mut verified = ArchiveVerified::default();
    for month in tools.archive.all_months()? {
        verified.months += 1;
        let faults = tools.archive.check(month)?;
        verified
            .faults
            .extend(faults.into_iter().map(|fault| ArchiveFault {
                month: fault.month.to_string(),
                what: fault.what,
            }));
    }
    if logs {
        verify_logs(tools, &mut verified)?;
    }
    let samples = tools.samples.verify(&|| tools.stop.is_cancelled())?;
    verified.sample_files = samples.volumes;
    verified
        .faults
        .extend(samples.faults.into_iter().map(fault));
    Ok(verified)
}

/// Unpacks every compressed log.
fn verify_logs(tools: &Tools, verified: &mut ArchiveVerified) -> Result<(), StoreError> {
    let logs = tools.log_dirs()?;
    tools.each_with_logs(&[LogState::Compressed], i64::MAX, |jobs| {
        for dir in jobs.iter().flat_map(|job| logs.of(*job)) {
            if tools.stop.is_cancelled() {
                return Err(StoreError::Stopped);
            }
            verified.faults.extend(log_fault(&dir));
        }
        Ok(true)
    })
}

fn log_fault(dir: &Path) -> Option<ArchiveFault> {
    let what = match retain::damaged_bytes(dir) {
        Ok(0) => return None,
        Ok(bytes) => format!("{}: {bytes} bytes cannot be unpacked", dir.display()),
        Err(error) => format!("failed to read {}: {error}", dir.display()),
    };
    Some(fault(what))
}

/// What is wrong with something that is of no month.
fn fault(what: String) -> ArchiveFault {
    ArchiveFault {
        month: String::new(),
        what,
    }
}
