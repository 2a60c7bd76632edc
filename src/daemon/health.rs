//! How well the parts of the daemon are, and what is in force: for `GET /v1/health` and `stoke doctor`.

use crate::api::ports::{ArchiveDesk, HealthSource};
use crate::daemon::adapters::Shelf;
use crate::daemon::census::{self, Overview};
use crate::daemon::launch::Launcher;
use crate::logs::watch::Watcher;
use crate::sampling::Sampler;
use crate::sampling::gpu::pids::PidSpace;
use crate::store::{Condition, Reader, Samples};
use crate::supervise::{Containing, Supervisor};
use crate::wire::service::{ComponentView, Health};
use crate::wire::words;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Sampling that is later than this hangs; what may hang is waited for less long, milliseconds.
const MOST_LATE_MS: u64 = 30_000;

/// Said where jobs and processes at GPUs cannot be matched.
const OUTER_PIDS: &str = "; which jobs use those of NVIDIA is not known: the daemon is in a pid namespace of its own, and their driver tells processes by their ids outside of it (run it in that of the host, in a container with --pid=host)";

/// Everything that is looked at.
#[derive(Debug)]
pub(super) struct Vitals {
    /// What the store says of itself.
    pub store: watch::Receiver<Condition>,
    /// What the control task says of the store.
    pub trouble: watch::Receiver<Option<String>>,
    /// Who launches, and with what containment.
    pub launcher: Arc<Launcher>,
    /// Who attends to running attempts.
    pub supervisor: Supervisor,
    /// Who watches files.
    pub watcher: Watcher,
    /// How output is read.
    pub shelf: Arc<Shelf>,
    /// How archiving stands.
    pub desk: ArchiveDesk,
    /// What is archived.
    pub reader: Reader,
    /// Who measures.
    pub sampler: Sampler,
    /// Which processes drivers of GPUs speak of.
    pub pids: PidSpace,
    /// What is measured, as it is stored.
    pub samples: Samples,
    /// How it stands with the bus.
    pub bus: watch::Receiver<String>,
    /// How it stands with all jobs together.
    pub overview: watch::Receiver<Overview>,
    /// Where everything is kept.
    pub state: PathBuf,
}

impl HealthSource for Vitals {
    fn components(&self) -> Vec<ComponentView> {
        vec![
            self.store(),
            self.sampling(),
            self.samples(),
            self.supervision(),
            self.containment(),
            self.watcher(),
            self.adapters(),
            self.archive(),
            component(
                "queue",
                Health::Healthy,
                census::sentence(&self.overview.borrow()),
            ),
            component("dbus", Health::Healthy, &*self.bus.borrow()),
        ]
    }

    fn can_limit(&self) -> Result<(), String> {
        match &self.launcher.context().containing {
            Containing::Services(_) => Ok(()),
            Containing::Cgroup(_) => {
                Err("jobs are held together by cgroups of the daemon's own".to_owned())
            }
            Containing::Tree { .. } => {
                Err("jobs are held together by their process tree".to_owned())
            }
            Containing::Nothing { why } => Err(why.clone()),
        }
    }
}

impl Vitals {
    fn store(&self) -> ComponentView {
        if let Some(why) = &*self.trouble.borrow() {
            let why = format!("nothing can be stored; running jobs go on: {why}");
            return component("store", Health::Unhealthy, why);
        }
        match &*self.store.borrow() {
            Condition::Healthy => component("store", Health::Healthy, self.state.display()),
            Condition::Degraded { why } => component("store", Health::Degraded, why),
        }
    }

    fn sampling(&self) -> ComponentView {
        let named = |health, message: String| component("sampling", health, message);
        let Some(late_ms) = self.sampler.late_ms() else {
            return named(Health::Healthy, "nothing is measured".to_owned());
        };
        if late_ms > MOST_LATE_MS {
            let late = words::duration(late_ms as f64 / 1_000.0);
            let why = format!("nothing was measured for {late}: something hangs that is read");
            return named(Health::Degraded, why);
        }
        let newest = self.sampler.newest();
        if newest.troubles.is_empty() {
            let mut message = format!(
                "measured: the host, attempts: {}, GPUs: {}",
                newest.jobs.len(),
                newest.gpus.len()
            );
            let mut makers = newest.gpus.iter().map(|gpu| &gpu.sample.identity.vendor);
            if self.pids == PidSpace::Inner && makers.any(|it| it == "nvidia") {
                message += OUTER_PIDS;
            }
            return named(Health::Healthy, message);
        }
        let troubles = newest.troubles.iter();
        let troubles = troubles.map(|(source, why)| format!("{source}: failed to {why}"));
        named(Health::Degraded, troubles.collect::<Vec<_>>().join("; "))
    }

    fn samples(&self) -> ComponentView {
        match &*self.samples.condition().borrow() {
            Condition::Healthy => self.stored_samples(),
            Condition::Degraded { why } => component("samples", Health::Degraded, why),
        }
    }

    fn stored_samples(&self) -> ComponentView {
        let aside = self.samples.set_aside();
        if !aside.is_empty() {
            let paths: Vec<String> = aside.iter().map(|it| it.display().to_string()).collect();
            let why = format!(
                "what is measured is stored, but was damaged before; remove what was set aside to be told no more of it: {}",
                paths.join(", ")
            );
            return component("samples", Health::Degraded, why);
        }
        let bytes: u64 = self.samples.bytes().values().sum();
        let message = format!("what is measured is stored, {}", words::bytes(bytes));
        component("samples", Health::Healthy, message)
    }

    fn supervision(&self) -> ComponentView {
        let message = format!("attempts attended to: {}", self.supervisor.attended());
        component("supervision", Health::Healthy, message)
    }

    fn containment(&self) -> ComponentView {
        match &self.launcher.context().containing {
            Containing::Services(services) => {
                let message = format!("a unit of {} each", services.manager.name());
                component("containment", Health::Healthy, message)
            }
            Containing::Cgroup(base) => {
                let message = format!("cgroup v2 below {}", base.parent().display());
                component("containment", Health::Healthy, message)
            }
            Containing::Tree { why } => {
                let message = format!("process tree, because {why}");
                component("containment", Health::Healthy, message)
            }
            Containing::Nothing { why } => {
                let message = format!(
                    "jobs.containment asks for what cannot be had, and no job can start: {why}"
                );
                component("containment", Health::Unhealthy, message)
            }
        }
    }

    fn archive(&self) -> ComponentView {
        let standing = self.desk.standing();
        let failed = standing.last.and_then(|last| last.problem);
        let unreadable = self.reader.archive_trouble();
        match unreadable.ok().flatten().or(failed) {
            Some(why) => component("archive", Health::Degraded, why),
            None => component("archive", Health::Healthy, "every month can be read"),
        }
    }

    fn adapters(&self) -> ComponentView {
        match self.shelf.condition() {
            Ok(message) => component("adapters", Health::Healthy, message),
            Err(problems) => component("adapters", Health::Degraded, problems),
        }
    }

    fn watcher(&self) -> ComponentView {
        match self.watcher.problem() {
            None => component("watcher", Health::Healthy, "inotify"),
            Some(problem) => component("watcher", Health::Degraded, problem),
        }
    }
}

fn component(name: &str, health: Health, message: impl ToString) -> ComponentView {
    ComponentView {
        name: name.to_owned(),
        health,
        message: Some(message.to_string()),
    }
}
