//! Looks at the traces of one attempt, when they change or when it is time.

use crate::daemon::clock;
use crate::daemon::feeds::eyes::{Eyes, FileEyes, OpenFilesEyes, OutputEyes, Place};
use crate::daemon::feeds::{Feeds, Traces, Watched};
use crate::engine::input::Input;
use crate::model::id::AttemptId;
use crate::model::progress::Observation;
use crate::progress::adapters::Catalogue;
use crate::progress::open_files::Sight;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Shortest and longest time between two looks at one trace of an attempt; in between, so much that looking takes
/// at most the twentieth part of the time.
const SPACING: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(50));
const LOOK_SHARE: u32 = 20;

/// Longest time the last look at an attempt may hold up its end: its progress file may be on a dead network disk.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Where nothing moves, the time between two looks at open files grows to so many intervals.
const LONGEST_WAIT: u32 = 10;

/// The part of an interval after which a file is looked at again that may be moving.
const SOON: u32 = 5;

impl Feeds {
    /// Looks at what a short attempt left. Most leave nothing, and then no other thread has to look.
    pub(super) async fn look_once(&self, watched: &Watched) {
        let Traces {
            log_dir,
            progress_file,
            is_named,
            reading,
            ..
        } = &watched.traces;
        let has_file = *is_named || progress_file.exists();
        let output = if log_dir.exists() {
            let catalogue = reading.catalogue().await;
            catalogue.map(|it| self.output_eyes(&watched.traces, &it))
        } else {
            None
        };
        let file = has_file.then(|| self.file_eyes(&watched.traces));
        if output.is_none() && file.is_none() {
            return;
        }
        let looks = async {
            if let Some(mut eyes) = output {
                self.see(watched.attempt, move || eyes.read()).await;
            }
            if let Some(mut eyes) = file {
                let permit = self.permit(*is_named).await;
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
    pub(super) async fn watch(
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
        let eyes = self.output_eyes(&watched.traces, &catalogue);
        self.keep_looking(watched, over, eyes, false).await;
    }

    async fn watch_file(&self, watched: &Watched, over: &CancellationToken) {
        let eyes = self.file_eyes(&watched.traces);
        self.keep_looking(watched, over, eyes, watched.traces.is_named)
            .await;
    }

    /// Looks whenever something changed, and once more when it is over. A trace that `may_be_anywhere` may be on a disk
    /// that does not answer.
    async fn keep_looking<E: Eyes>(
        &self,
        watched: &Watched,
        over: &CancellationToken,
        mut eyes: E,
        may_be_anywhere: bool,
    ) {
        loop {
            // What is looked at after the end is all there will be.
            let is_last = over.is_cancelled();
            let permit = self.permit(may_be_anywhere).await;
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
                () = eyes.place().changed() => {}
            }
        }
    }

    fn output_eyes(&self, traces: &Traces, catalogue: &Arc<Catalogue>) -> OutputEyes {
        let place = Place::new(traces.log_dir.clone(), self.watcher.clone());
        let is_resumed = traces.lead.is_some();
        OutputEyes::new(place, catalogue, &traces.reading.hints, is_resumed)
    }

    fn file_eyes(&self, traces: &Traces) -> FileEyes {
        let place = Place::new(traces.progress_file.clone(), self.watcher.clone());
        FileEyes::new(place, traces.uid)
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
        let mut eyes = OpenFilesEyes::new(watched.main, watched.cgroup.clone());
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
    async fn permit(&self, may_be_anywhere: bool) -> Option<tokio::sync::OwnedSemaphorePermit> {
        if !may_be_anywhere {
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
