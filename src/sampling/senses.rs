//! What the sampler reads with on a real host: `/proc`, `/sys`, cgroups, and helpers that ask GPUs.

use crate::model::cadence::Source;
use crate::model::gpu::Xid;
use crate::model::id::AttemptId;
use crate::model::sample::{Holder, HostSample, JobSample};
use crate::model::time::Stamp;
use crate::sampling::files::Roots;
use crate::sampling::gpu::links::GpuLinks;
use crate::sampling::gpu::pids::PidSpace;
use crate::sampling::host::{self, HostReader};
use crate::sampling::jobs::Jobs;
use crate::sampling::names::{Names, Users};
use crate::sampling::processes::Processes;
use crate::sampling::{Clocks, GpuAnswer, Rules, Senses, Watched};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long GPUs may take to answer before the settings are known.
const GPU_DEADLINE_MS: u64 = 5_000;

/// Reads the host that this runs on.
#[derive(Debug)]
pub struct HostSenses {
    host: HostReader,
    processes: Processes,
    jobs: Jobs,
    names: Names,
    gpus: GpuLinks,
    gpu_deadline_ms: u64,
    clocks: Clocks,
    slept_ms: u64,
}

impl HostSenses {
    /// Reads what is below `roots`, and asks `gpus`.
    #[must_use]
    pub fn new(roots: &Roots, gpus: GpuLinks, clocks: Clocks) -> Self {
        let processes = Processes::new(roots, 0);
        Self {
            host: HostReader::new(roots, &host::Settings::default()),
            jobs: Jobs::new(roots, &processes),
            processes,
            names: Names::default(),
            gpus,
            gpu_deadline_ms: GPU_DEADLINE_MS,
            clocks,
            slept_ms: (clocks.slept_ms)(),
        }
    }

    /// Deadlines are on the boot clock, which goes on while the host sleeps and nobody can answer. Comes after the clock
    /// was read that they are compared with.
    fn notice_sleep(&mut self) {
        let slept_ms = (self.clocks.slept_ms)();
        let ms = slept_ms.saturating_sub(self.slept_ms);
        if ms > 0 {
            self.gpus.slept(ms);
            self.slept_ms = slept_ms;
        }
    }
}

impl Senses for HostSenses {
    fn watch(&mut self, watched: &Watched) {
        self.jobs.watch(&watched.watch, &mut self.processes);
    }

    fn forget(&mut self, attempt: AttemptId) {
        let now = (self.clocks.now)();
        self.jobs.forget(attempt, now, &mut self.processes);
    }

    fn tune(&mut self, rules: &Rules) {
        self.host.look_at_mounts(&rules.mounts);
        self.processes.name_busiest(rules.busiest);
        self.gpu_deadline_ms = rules.gpu_deadline_ms;
        if !rules.paces.contains_key(&Source::Gpus) {
            self.gpus.end();
        }
    }

    fn begin(&mut self, at: Stamp, sources: &BTreeSet<Source>) {
        // Of GPUs alone the table is needed only to know whose their processes are, and it is a moment old then.
        if sources.contains(&Source::Host) || sources.contains(&Source::Jobs) {
            self.processes.refresh(at);
        }
    }

    fn host(&mut self, at: Stamp) -> HostSample {
        let mut sample = self.host.read(at);
        self.processes.tell(&mut sample);
        for process in &sample.busiest {
            self.names.meet(process.uid);
        }
        sample
    }

    fn jobs(&mut self, at: Stamp) -> Vec<JobSample> {
        self.jobs.read(at, &self.processes)
    }

    fn ask_gpus(&mut self, at: Stamp) -> usize {
        self.notice_sleep();
        self.gpus.ask(at, self.gpu_deadline_ms)
    }

    fn gpu_answers(&mut self) -> Vec<GpuAnswer> {
        let now = (self.clocks.now)();
        self.notice_sleep();
        self.gpus.answers(now)
    }

    fn xids(&mut self) -> Vec<Xid> {
        let now = (self.clocks.now)();
        self.notice_sleep();
        self.gpus.xids(now)
    }

    fn gpus_due_ms(&mut self) -> Option<u64> {
        self.gpus.due_ms()
    }

    fn troubles(&mut self) -> BTreeMap<&'static str, String> {
        self.gpus.troubles()
    }

    fn holder(&mut self, pid: u32) -> Holder {
        let holder = self.processes.holder(pid);
        if let Holder::Foreign { uid, .. } = &holder {
            self.names.meet(*uid);
        }
        holder
    }

    fn culprit(&mut self, pid: u32, at: Stamp) -> Holder {
        match self.gpus.pids() {
            PidSpace::Outermost => self.processes.holder_lately(pid, at),
            PidSpace::Inner => Holder::Unknown,
        }
    }

    fn users(&mut self) -> Arc<Users> {
        self.names.known()
    }

    fn on_battery(&mut self) -> bool {
        self.host.is_on_battery().unwrap_or(false)
    }
}
