//! The control task's effects, carried out by the real adapters.

use crate::control::Handle;
use crate::control::ports::{Effects, StoreTrouble};
use crate::daemon::adapters::Shelf;
use crate::daemon::archiving::Bells;
use crate::daemon::census::Census;
use crate::daemon::clock::{self, Alarm};
use crate::daemon::feeds::{Feeds, Traces};
use crate::daemon::flows::FlowFeed;
use crate::daemon::hasten::Hastener;
use crate::daemon::journal;
use crate::daemon::launch::Launcher;
use crate::daemon::log_dirs::LogDirs;
use crate::daemon::measuring::gpu_figures;
use crate::daemon::reports;
use crate::daemon::upkeep;
use crate::engine::command::SignalTarget;
use crate::engine::input::Input;
use crate::engine::needs::{Cold, Needs};
use crate::engine::recover::Recovery;
use crate::engine::step::Action;
use crate::events::Bus;
use crate::model::access::Quota;
use crate::model::change::Change;
use crate::model::event::Event;
use crate::model::id::{AttemptId, JobId};
use crate::model::job::Job;
use crate::model::progress::SameRuns;
use crate::model::sample::JobSample;
use crate::model::state::JobState;
use crate::model::time::Stamp;
use crate::sampling::Sampler;
use crate::store::{Condition, Fetch, ProgressPoint, Recovered, Store, StoreError};
use crate::supervise::Supervisor;
use crate::wire::shim;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

/// What the engine needs besides the stored rows.
#[derive(Clone, Debug)]
pub(super) struct HostFacts {
    /// Which boot of the host this is.
    pub boot_id: String,
    /// Limit of the default group, where it is not stored.
    pub default_parallelism: u32,
    /// Shortest time between two events of one job's progress, milliseconds.
    pub pace_ms: u64,
    /// How many live jobs one user may have.
    pub quota: Quota,
}

impl HostFacts {
    /// What the engine recovers from.
    #[must_use]
    pub(super) fn recovery(&self, recovered: Recovered) -> Recovery {
        Recovery {
            boot_id: self.boot_id.clone(),
            next_job: recovered.next_job,
            live: recovered.live,
            gates: recovered.gates,
            default_parallelism: self.default_parallelism,
            pace_ms: self.pace_ms,
            quota: self.quota,
        }
    }
}

/// The adapters that the control task's decisions go to.
pub(super) struct Adapters {
    /// Where changes are stored.
    pub store: Store,
    /// Where what was looked up is reported.
    pub control: Handle,
    /// Where events are published.
    pub bus: Bus,
    /// Who talks to the shims.
    pub supervisor: Supervisor,
    /// Who makes launch records.
    pub launcher: Arc<Launcher>,
    /// How output is read.
    pub shelf: Arc<Shelf>,
    /// Directory of the attempts' logs.
    pub logs: PathBuf,
    /// What rings when something is due.
    pub alarm: Alarm,
    /// What the engine needs besides the stored rows.
    pub host: HostFacts,
    /// Who knows what running attempts use.
    pub sampler: Sampler,
    /// Who reads the progress of running attempts.
    pub feeds: Arc<Feeds>,
    /// Where trouble with the store is shown.
    pub trouble: watch::Sender<Option<String>>,
    /// Makes starts quicker, where they are in cgroups.
    pub hastener: Option<Hastener>,
    /// Told when there are many new events.
    pub trim_due: Arc<Notify>,
    /// Told the same, and when a job was removed that may be archived.
    pub bells: Bells,
    /// Durable events since it was told.
    pub published: usize,
    /// Where what happens in flows goes.
    pub flows: FlowFeed,
    /// How many jobs are in which state.
    pub census: Census,
    /// Owner of what runs beside the control task.
    pub tasks: TaskTracker,
}

impl Effects for Adapters {
    fn now(&self) -> Stamp {
        clock::now()
    }

    async fn commit(&mut self, changes: Vec<Change>) -> Result<Vec<Event>, StoreTrouble> {
        if changes.iter().any(starts)
            && let Some(hastener) = &mut self.hastener
        {
            hastener.begin();
        }
        self.store.commit(changes).await.map_err(trouble)
    }

    async fn fetch(&mut self, needs: Needs) -> Result<Cold, StoreTrouble> {
        let fetched = self.store.fetch(Fetch {
            jobs: needs.jobs.iter().copied().collect(),
            names: needs.names.iter().cloned().collect(),
            key: needs.key.as_ref().map(|key| (key.uid, key.key.clone())),
        });
        let fetched = fetched.await.map_err(trouble)?;
        let mut cold = Cold::default();
        cold.jobs.extend(needs.jobs.iter().map(|id| (*id, None)));
        cold.names
            .extend(needs.names.iter().map(|name| (name.clone(), None)));
        for job in fetched.jobs {
            cold.jobs.insert(job.id, Some(job));
        }
        for (name, id) in fetched.names {
            cold.names.insert(name, Some(id));
        }
        if needs.key.is_some() {
            cold.key = Some(fetched.key.map(|key| (key.fingerprint, key.ids)));
        }
        Ok(cold)
    }

    async fn reload(&mut self) -> Result<Recovery, StoreTrouble> {
        let recovered = self.store.reload().await.map_err(trouble)?;
        Ok(self.host.recovery(recovered))
    }

    fn refuses_work(&self) -> Option<String> {
        match &*self.store.condition().borrow() {
            Condition::Healthy => None,
            Condition::Degraded { why } => Some(why.clone()),
        }
    }

    fn publish(&mut self, events: &[Event]) {
        self.keep_history(events);
        self.bus.publish(&self.with_gpus(events));
        self.flows.take(events);
        self.census.take(events);
        journal::tell(events);
        self.published += events.iter().filter(|event| event.seq.is_some()).count();
        if self.published >= upkeep::TRIM_EVERY {
            self.published = 0;
            self.trim_due.notify_one();
            self.bells.events.notify_one();
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Launch { job } => {
                if let Some(attempt) = job.live_attempt() {
                    self.expect(&job, attempt);
                    let launcher = Arc::clone(&self.launcher);
                    let newest = self.sampler.newest();
                    let launch = async move { launcher.launch(&job, attempt, &newest).await };
                    self.supervisor.launch(attempt, launch);
                }
            }
            Action::Adopt { job } => {
                if let Some(attempt) = job.live_attempt() {
                    self.expect(&job, attempt);
                    self.supervisor.adopt(&job);
                }
            }
            Action::Signal {
                attempt,
                signal,
                to,
            } => self.supervisor.signal(attempt, signal, target(to)),
            Action::Kill { attempt } => self.supervisor.kill(attempt),
            Action::Freeze { attempt } => self.supervisor.freeze(attempt),
            Action::Thaw { attempt } => self.supervisor.thaw(attempt),
            Action::Forget { attempt } => {
                self.feeds.forget(attempt);
                self.supervisor.forget(attempt);
                self.remove_reports(attempt);
            }
            Action::Recall { attempt, same } => self.recall(attempt, same),
            Action::RemoveLogs { job } => self.remove_logs(job),
        }
    }

    fn store_is(&mut self, now: Option<&StoreTrouble>) {
        let now = now.map(ToString::to_string);
        if *self.trouble.borrow() == now {
            return;
        }
        match &now {
            Some(why) => tracing::error!(why, "nothing can be stored; what runs goes on"),
            None => tracing::info!("the store works again"),
        }
        self.trouble.send_replace(now);
    }

    async fn sleep_until(&self, boot_ms: Option<u64>) {
        self.alarm.sleep_until(boot_ms).await;
    }
}

impl Adapters {
    fn expect(&self, job: &Job, attempt: AttemptId) {
        let context = self.launcher.context();
        let present = job.attempt.as_ref().filter(|it| it.id == attempt);
        let progress = present.and_then(|it| it.progress.as_ref());
        let traces = Traces {
            dir: context.attempts.join(attempt.to_string()),
            log_dir: context.log_dir(attempt),
            progress_file: context.progress_file(attempt, job),
            is_named: job.spec.progress_file.is_some(),
            uid: job.owner.uid,
            kind: job.spec.kind.clone(),
            reading: self.shelf.reading(job, &self.tasks),
            lead: progress
                .and_then(|progress| Some(progress.counting.lead.as_ref()?.source.clone())),
        };
        self.feeds.expect(attempt, traces);
    }

    /// Progress is told together with what the job uses of GPUs.
    fn with_gpus<'e>(&self, events: &'e [Event]) -> Cow<'e, [Event]> {
        let newest = self.sampler.newest();
        let on_gpus: BTreeMap<JobId, &Arc<JobSample>> = newest
            .jobs
            .values()
            .filter(|job| !job.gpus.is_empty())
            .map(|job| (job.attempt.job, job))
            .collect();
        if on_gpus.is_empty() {
            return Cow::Borrowed(events);
        }
        let events = events.iter().cloned();
        let events = events.map(|event| match point_of(&event) {
            Some(point) if &*event.kind == "progress" => {
                let job = on_gpus.get(&point.attempt.job);
                let figures = job.filter(|job| job.attempt == point.attempt);
                let figures = figures.map(|job| gpu_figures(job)).unwrap_or_default();
                event.with_gpus(&figures)
            }
            Some(_) | None => event,
        });
        Cow::Owned(events.collect())
    }

    /// Stores progress as history, what of it is kept being the store's to know, and shows it to the feeds.
    fn keep_history(&self, events: &[Event]) {
        let reports = events.iter().filter(|event| &*event.kind == "progress");
        let points: Vec<ProgressPoint> = reports.filter_map(point_of).collect();
        for point in &points {
            self.feeds.shown(point.attempt, &point.body);
        }
        self.store.record_progress(points);
    }

    /// Looks up how long earlier runs of the same took, and reports it.
    fn recall(&self, attempt: AttemptId, same: SameRuns) {
        let (reader, control) = (self.store.reader(), self.control.clone());
        self.tasks
            .spawn_blocking(move || match reader.past_runs(&same) {
                Ok(active_ms) => control.report(Input::PastRuns { attempt, active_ms }),
                Err(error) => {
                    tracing::debug!(%attempt, %error, "earlier runs of it cannot be read");
                }
            });
    }

    /// Removes what an attempt of another user reported in.
    fn remove_reports(&self, attempt: AttemptId) {
        let dir = self.launcher.context().reports.join(attempt.to_string());
        if dir.exists() {
            self.tasks.spawn_blocking(move || reports::remove(&dir));
        }
    }

    /// Removes the logs of every attempt of a job that was removed.
    fn remove_logs(&self, job: JobId) {
        self.bells.removed.notify_one();
        let logs = self.logs.clone();
        self.tasks
            .spawn_blocking(move || match LogDirs::look(&logs) {
                Ok(logs) => drop(logs.remove(job)),
                Err(error) => tracing::warn!(%job, %error, "its logs are not found"),
            });
    }
}

/// Whether an attempt is started once this is stored.
fn starts(change: &Change) -> bool {
    matches!(change, Change::JobMoved { job, .. } if matches!(job.state, JobState::Starting { .. }))
}

/// The body of a progress event, as far as history goes: how far the job is stays the text that it is.
#[derive(Deserialize)]
struct Reported<'a> {
    job: JobId,
    attempt: u32,
    #[serde(borrow)]
    progress: &'a RawValue,
}

fn point_of(event: &Event) -> Option<ProgressPoint> {
    let reported: Reported<'_> = serde_json::from_str(&event.body).ok()?;
    Some(ProgressPoint {
        attempt: AttemptId {
            job: reported.job,
            attempt: reported.attempt,
        },
        at_ms: event.at_ms,
        body: reported.progress.get().to_owned(),
    })
}

fn target(to: SignalTarget) -> shim::SignalTarget {
    match to {
        SignalTarget::Main => shim::SignalTarget::Main,
        SignalTarget::Group => shim::SignalTarget::Group,
        SignalTarget::All => shim::SignalTarget::All,
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what map_err passes on"
)]
fn trouble(error: StoreError) -> StoreTrouble {
    StoreTrouble {
        why: error.to_string(),
        is_final: matches!(error, StoreError::Corrupt { .. }),
    }
}
