//! An engine with a clock and a memory of what is stored: for tests that tell one story.

use std::collections::BTreeMap;
use std::sync::Arc;
use stoked::engine::Engine;
use stoked::engine::command::{Command, Dependency, Draft, Refusal, Reply, Submission, Verb};
use stoked::engine::input::Input;
use stoked::engine::needs::{Cold, Needs};
use stoked::engine::recover::Recovery;
use stoked::engine::step::{Action, Step};
use stoked::model::access::Quota;
use stoked::model::attempt::Process;
use stoked::model::change::Change;
use stoked::model::event::ProgressBody;
use stoked::model::failure::{Ending, Exit};
use stoked::model::group::{Gates, Group};
use stoked::model::id::{AttemptId, JobId};
use stoked::model::job::{Job, Owner};
use stoked::model::spec::JobSpec;
use stoked::model::state::StateName;
use stoked::model::time::Stamp;

/// The instant every story begins at.
pub(crate) const START: Stamp = Stamp {
    wall_ms: 1_800_000_000_000,
    boot_ms: 50_000,
};

/// The engine of one story.
pub(crate) struct Rig {
    pub(crate) engine: Engine,
    pub(crate) now: Stamp,
    pub(crate) boot_id: String,
    /// Every job as it was last stored; `None` where it was removed.
    rows: BTreeMap<JobId, Option<Arc<Job>>>,
    groups: BTreeMap<String, Group>,
    draining: bool,
    quota: Quota,
    /// The actions of the last call.
    pub(crate) actions: Vec<Action>,
    /// All progress that was ever told.
    pub(crate) told: Vec<ProgressBody>,
}

impl Rig {
    /// An engine that knows nothing, with `places` in the default group.
    pub(crate) fn new(places: u32) -> Self {
        let mut rig = Self {
            engine: Engine::recover(recovery("boot", 1), START).0,
            now: START,
            boot_id: "boot".to_owned(),
            rows: BTreeMap::new(),
            groups: BTreeMap::new(),
            draining: false,
            quota: Quota::default(),
            actions: Vec::new(),
            told: Vec::new(),
        };
        rig.group("default", places, false);
        rig
    }

    /// Commits a step and remembers its actions.
    fn follow(&mut self, step: Step) {
        for change in step.changes {
            match change {
                Change::JobAdded { job }
                | Change::JobMoved { job, .. }
                | Change::JobEdited { job, .. } => {
                    self.rows.insert(job.id, Some(job));
                }
                Change::DependencyMet { job, unmet } => {
                    let row = self.rows.get_mut(&job).and_then(Option::as_mut).unwrap();
                    Arc::make_mut(row).unmet = unmet;
                }
                Change::JobRemoved { job, .. } | Change::JobExpired { job, .. } => {
                    self.rows.insert(job, None);
                }
                Change::GroupSet { group, .. } => {
                    self.groups.insert(group.name.clone(), group);
                }
                Change::GroupRemoved { name, .. } => {
                    self.groups.remove(&name);
                }
                Change::DrainSet { draining, .. } => self.draining = draining,
                Change::EnvironmentSeen { .. }
                | Change::Tallied { .. }
                | Change::GpuFailed { .. }
                | Change::KeyUsed { .. } => {}
            }
        }
        let told = step.telemetry.iter().map(|told| &told.event.body);
        self.told
            .extend(told.map(|body| serde_json::from_str::<ProgressBody>(body).unwrap()));
        self.actions = step.actions;
    }

    /// Asks, with everything fetched that the engine wants to know.
    pub(crate) fn ask(&mut self, command: Command) -> Result<Reply, Refusal> {
        let mut cold = Cold::default();
        loop {
            let needs = self.engine.needs(&command, &cold);
            if needs == Needs::default() {
                break;
            }
            for id in needs.jobs {
                let row = self.rows.get(&id).cloned().flatten();
                cold.jobs.insert(id, row.map(|job| (*job).clone()));
            }
            for (uid, name) in needs.names {
                let rows = self.rows.values().flatten();
                let newest = rows.filter(|job| job.owner.uid == uid && job.spec.name == name);
                let newest = newest.map(|job| job.id).max();
                cold.names.insert((uid, name), newest);
            }
            if needs.key.is_some() {
                cold.key = Some(None);
            }
        }
        let (step, reply) = self.engine.command(self.now, command, &cold);
        self.follow(step);
        reply
    }

    /// Submits jobs and gives their numbers.
    pub(crate) fn submit(&mut self, jobs: Vec<Draft>) -> Result<Vec<JobId>, Refusal> {
        self.submit_of(1_000, jobs)
    }

    /// Submits jobs of some user.
    pub(crate) fn submit_of(&mut self, uid: u32, jobs: Vec<Draft>) -> Result<Vec<JobId>, Refusal> {
        let submission = submission(uid, jobs);
        let reply = self.ask(Command::Submit(submission))?;
        if let Reply::Submitted { ids, .. } = reply {
            Ok(ids)
        } else {
            panic!("{reply:?}")
        }
    }

    /// Submits one job.
    pub(crate) fn one(&mut self, spec: JobSpec, after: &[JobId]) -> JobId {
        self.submit(vec![draft(spec, after)]).unwrap()[0]
    }

    /// Asks something of a job.
    pub(crate) fn verb(&mut self, id: JobId, verb: Verb) -> Result<Reply, Refusal> {
        self.ask(Command::Job { id, verb })
    }

    /// Sets a group.
    pub(crate) fn group(&mut self, name: &str, places: u32, paused: bool) {
        let command = Command::SetGroup {
            name: name.to_owned(),
            parallelism: Some(places),
            paused: Some(paused),
        };
        self.ask(command).unwrap();
    }

    /// Says how many unfinished jobs one user may have.
    pub(crate) fn quota(&mut self, most: Option<u32>) {
        self.quota = Quota {
            most,
            root_is_exempt: true,
        };
        let reply = self.ask(Command::SetQuota(self.quota));
        assert_eq!(reply, Ok(Reply::Noted));
    }

    /// Reports.
    pub(crate) fn report(&mut self, input: Input) {
        let step = self.engine.handle(self.now, input);
        self.follow(step);
    }

    /// Lets time pass, then looks again.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.report(Input::Tick);
    }

    /// The present attempt of a job started.
    pub(crate) fn started(&mut self, id: JobId) {
        let attempt = self.attempt(id);
        self.report(Input::Started {
            attempt,
            main: Process {
                pid: 7,
                start_ticks: 7,
            },
            containment: "tree".to_owned(),
            at: self.now,
        });
    }

    /// The present attempt of a job ended with `code`, just now.
    pub(crate) fn ended(&mut self, id: JobId, code: i32) {
        self.ended_at(id, code, self.now);
    }

    /// The present attempt of a job ended with `code`, `at` some time.
    pub(crate) fn ended_at(&mut self, id: JobId, code: i32, at: Stamp) {
        let attempt = self.attempt(id);
        self.report(Input::Ended {
            attempt,
            ending: Ending::Exited {
                exit: Exit::with_code(code),
                oom_killed: false,
            },
            usage: None,
            at,
        });
    }

    /// The newest attempt of a job.
    pub(crate) fn attempt(&self, id: JobId) -> AttemptId {
        self.job(id).attempt.as_ref().unwrap().id
    }

    /// A job as it is stored.
    pub(crate) fn job(&self, id: JobId) -> &Job {
        self.rows[&id].as_deref().unwrap()
    }

    /// The state of a job.
    pub(crate) fn state(&self, id: JobId) -> StateName {
        self.job(id).state.name()
    }

    /// The daemon dies and a new one recovers from what is stored.
    pub(crate) fn restart(&mut self) {
        let newest = self.rows.keys().next_back().map_or(0, |id| id.0);
        let mut rows = recovery(&self.boot_id, newest + 1);
        rows.quota = self.quota;
        let live = self.rows.values().flatten();
        let live = live.filter(|job| !job.state.is_final());
        rows.live = live.map(|job| (**job).clone()).collect();
        rows.gates = Gates {
            groups: self.groups.values().cloned().collect(),
            draining: self.draining,
        };
        let (engine, step) = Engine::recover(rows, self.now);
        self.engine = engine;
        self.follow(step);
    }

    /// The host goes down and comes up again; a new daemon recovers.
    pub(crate) fn reboot(&mut self) {
        self.boot_id.push('\'');
        self.now.boot_ms = 10;
        self.restart();
    }
}

fn recovery(boot_id: &str, next_job: u64) -> Recovery {
    Recovery {
        boot_id: boot_id.to_owned(),
        next_job: JobId(next_job),
        live: Vec::new(),
        gates: Gates::default(),
        default_parallelism: 1,
        pace_ms: 50,
        quota: Quota::default(),
    }
}

/// A submission of some user who may wait for jobs of anybody.
pub(crate) fn submission(uid: u32, jobs: Vec<Draft>) -> Submission {
    Submission {
        owner: Arc::new(Owner {
            uid,
            gid: uid,
            user: "ada".to_owned(),
        }),
        jobs,
        environments: BTreeMap::new(),
        key: None,
        sees_others: true,
    }
}

/// A spec with every default.
pub(crate) fn spec() -> JobSpec {
    JobSpec::new(vec!["work".to_owned()], "/")
}

/// A draft that waits for jobs by number.
pub(crate) fn draft(spec: JobSpec, after: &[JobId]) -> Draft {
    Draft {
        spec,
        held: None,
        after_ok: after.iter().copied().map(Dependency::Id).collect(),
    }
}
