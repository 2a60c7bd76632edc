//! One simulated world: a daemon that may die at any time, its store, its host, its clients.

use crate::chance::Chance;
use crate::sim::check;
use crate::sim::host::Host;
use crate::sim::inputs;
use crate::sim::shown::{self, Shown};
use crate::sim::store::Store;
use std::collections::{BTreeSet, VecDeque};
use stoked::engine::Engine;
use stoked::engine::command::{Command, Refusal, Reply, Verb};
use stoked::engine::input::Input;
use stoked::engine::needs::Cold;
use stoked::engine::recover::Recovery;
use stoked::engine::step::{Action, Step};
use stoked::model::access::Quota;
use stoked::model::attempt::Attempt;
use stoked::model::id::JobId;
use stoked::model::state::{JobState, StateName};
use stoked::model::time::Stamp;

const DEFAULT_PARALLELISM: u32 = 3;

/// Shortest time between two events of one job's progress.
pub(crate) const PACE_MS: u64 = 40;

/// What happened in a world.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) inputs: u64,
    pub(crate) worlds: u64,
    pub(crate) jobs: u64,
    pub(crate) launches: u64,
    pub(crate) crashes: u64,
    pub(crate) reboots: u64,
    pub(crate) refusals: u64,
    pub(crate) wall_jumps: u64,
    pub(crate) told: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.inputs += other.inputs;
        self.worlds += other.worlds;
        self.jobs += other.jobs;
        self.launches += other.launches;
        self.crashes += other.crashes;
        self.reboots += other.reboots;
        self.refusals += other.refusals;
        self.wall_jumps += other.wall_jumps;
        self.told += other.told;
    }
}

/// A world.
pub(crate) struct World {
    seed: u64,
    chance: Chance,
    now: Stamp,
    store: Store,
    host: Host,
    engine: Engine,
    shown: Shown,
    acknowledged: BTreeSet<JobId>,
    tally: Tally,
    /// The last inputs, told when something breaks.
    trace: VecDeque<String>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for line in &self.trace {
                eprintln!("{line}");
            }
            eprintln!("play it again with STOKED_SIM_SEED={}", self.seed);
        }
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let now = Stamp {
            wall_ms: 1_800_000_000_000,
            boot_ms: 50_000,
        };
        let host = Host::new(seed);
        let mut store = Store::default();
        let group = check::default_group(DEFAULT_PARALLELISM);
        store.groups.insert(group.name.clone(), group);
        let (engine, step) = Engine::recover(rows(&store, &host), now);
        assert_eq!(step, Step::default(), "nothing is stored, nothing is done");
        Self {
            seed,
            chance: Chance::new(seed),
            now,
            store,
            host,
            engine,
            shown: Shown::default(),
            acknowledged: BTreeSet::new(),
            tally: Tally::default(),
            trace: VecDeque::new(),
        }
    }

    /// Plays `inputs` random inputs, then lets everything come to rest.
    pub(crate) fn play(mut self, inputs: u64) -> Tally {
        while self.tally.inputs < inputs {
            self.pass_time();
            self.turn();
        }
        self.come_to_rest();
        self.tally.worlds = 1;
        self.tally.told = self.shown.told;
        self.tally.jobs = self.store.newest.0;
        self.tally
    }

    fn note(&mut self, line: String) {
        if self.trace.len() == 400 {
            self.trace.pop_front();
        }
        let Stamp { wall_ms, boot_ms } = self.now;
        self.trace.push_back(format!("{boot_ms}/{wall_ms} {line}"));
    }

    fn pass_time(&mut self) {
        let ms = match self.chance.below(100) {
            0..40 => 0,
            40..90 => self.chance.below(20),
            90..99 => self.chance.below(250),
            _ => self.chance.below(2_500),
        };
        self.now = self.now.plus_ms(ms);
        self.host.advance(self.now);
    }

    fn turn(&mut self) {
        match self.chance.below(1_000) {
            0..5 => self.jump(),
            5..10 => {
                self.note("a shim is killed".to_owned());
                self.host.kill_a_shim(self.now);
            }
            10..13 => self.crash("idle"),
            13..400 => self.ask(),
            400..450 => self.report(Input::Tick),
            450..550 => self.sleep(),
            550..620 => self.observe(),
            _ => match self.host.report(self.now) {
                Some(report) => self.report(report),
                None => self.sleep(),
            },
        }
    }

    /// Somebody sets the wall clock.
    fn jump(&mut self) {
        let ms = i64::try_from(self.chance.below(4_000)).unwrap() - 2_000;
        self.now.wall_ms += ms;
        self.tally.wall_jumps += 1;
        self.report(Input::Tick);
    }

    /// Nothing happens until something is due.
    fn sleep(&mut self) {
        let wakeup = self.engine.next_wakeup(self.now);
        let Some(at) = self.host.next().into_iter().chain(wakeup).min() else {
            self.report(Input::Tick);
            return;
        };
        // A timer may be a long way off: nobody waits for that here.
        let ms = at.saturating_sub(self.now.boot_ms).min(5_000);
        self.now = self.now.plus_ms(ms);
        self.host.advance(self.now);
        self.report(Input::Tick);
    }

    /// A source sees something of a job, which may be over by the time it is told.
    fn observe(&mut self) {
        let jobs: Vec<_> = self
            .store
            .live
            .values()
            .filter_map(|job| Some(job.attempt.as_ref()?.id))
            .collect();
        if jobs.is_empty() {
            return;
        }
        let attempt = *self.chance.pick(&jobs);
        let observation = Box::new(shown::observation(&mut self.chance));
        self.report(Input::Observed {
            attempt,
            observation,
        });
    }

    fn report(&mut self, input: Input) {
        self.note(format!("{input:?}"));
        self.tally.inputs += 1;
        if let Input::Observed {
            attempt,
            observation,
        } = &input
        {
            self.shown
                .observe(*attempt, observation, &self.engine, self.now);
        }
        let ended = if let Input::Ended { attempt, .. } = &input {
            Some(*attempt)
        } else {
            None
        };
        let step = self.engine.handle(self.now, input);
        if let Some(attempt) = ended {
            let forget = Action::Forget { attempt };
            assert!(step.actions.contains(&forget), "{attempt} is not forgotten");
        }
        self.follow(step);
    }

    /// A client asks for something.
    fn ask(&mut self) {
        let settled = self.chance.hits(500);
        if settled {
            self.report(Input::Tick);
        }
        let command = inputs::command(&mut self.chance, &self.store, self.now);
        self.note(told(&command));
        self.tally.inputs += 1;
        let mut cold = Cold::default();
        for round in 0.. {
            assert!(round < 5, "the engine never has enough");
            let needs = self.engine.needs(&command, &cold);
            if needs.is_empty() {
                break;
            }
            self.store.fetch(needs, &mut cold);
        }
        if let Command::Job {
            id,
            verb: Verb::Report {
                attempt,
                observation,
            },
        } = &command
        {
            let present = self.engine.job(*id).and_then(|job| job.live_attempt());
            if let Some(present) = present.filter(|it| attempt.is_none_or(|n| n == it.attempt)) {
                self.shown
                    .observe(present, observation, &self.engine, self.now);
            }
        }
        let (step, reply) = self.engine.command(self.now, command.clone(), &cold);
        if let Err(refusal) = &reply {
            self.tally.refusals += 1;
            let quiet = !settled || step == Step::default();
            assert!(quiet, "{refusal} but {step:?}");
        }
        self.check_cycle(&command, &reply);
        if self.follow(step) {
            self.acknowledge(reply);
        }
    }

    fn check_cycle(&self, command: &Command, reply: &Result<Reply, Refusal>) {
        let Command::Submit(submission) = command else {
            return;
        };
        let cycle = inputs::has_cycle(&submission.jobs);
        match reply {
            Ok(Reply::Submitted {
                repeated: false, ..
            }) => assert!(!cycle, "a cycle was accepted"),
            Err(Refusal::DependencyCycle(names)) => {
                assert!(cycle, "there is no cycle {names:?}");
                assert_eq!(names.first(), names.last(), "a cycle closes");
            }
            _ => {}
        }
    }

    fn acknowledge(&mut self, reply: Result<Reply, Refusal>) {
        if let Ok(Reply::Submitted { ids, .. }) = reply {
            self.acknowledged.extend(ids);
        } else if let Ok(Reply::Job(job)) = reply {
            let row = self
                .store
                .live
                .get(&job.id)
                .or(self.store.done.get(&job.id));
            let row = row.expect("the job of a reply is stored");
            // While it settled, the daemon may have died and a new one gone on.
            assert_eq!(row.id, job.id);
        }
    }

    /// Commits a step, then acts; or dies in between. Says whether it lived through it.
    fn follow(&mut self, step: Step) -> bool {
        check::step(&step, &self.host);
        self.shown.follow(&step, self.now);
        let fate = self.chance.below(if self.host.calm { 1 } else { 1_000 });
        if fate == 1 {
            self.crash("before the commit");
            return false;
        }
        for change in &step.changes {
            self.store.apply(change, self.now);
        }
        let dies = (2..12).contains(&fate);
        for action in &step.actions {
            if dies && self.chance.hits(500) {
                self.host.miss(action);
                continue;
            }
            self.act(action);
        }
        if dies {
            self.crash("between commit and act");
            return false;
        }
        check::world(&self.engine, &self.store, &self.host, self.now);
        self.shown.check(&self.engine, self.now);
        true
    }

    fn act(&mut self, action: &Action) {
        if let Action::Recall { attempt, .. } = action {
            let runs = self.chance.below(5);
            let active_ms = (0..runs).map(|_| self.chance.below(20_000)).collect();
            self.host.answer(Input::PastRuns {
                attempt: *attempt,
                active_ms,
            });
            return;
        }
        if let Action::Launch { job } = action {
            let row = self.store.live.get(&job.id).expect("a launch has its row");
            assert_eq!(row.state.name(), StateName::Starting, "{row:?}");
            let which = |it: &Attempt| (it.id, it.boot_id.clone());
            let stored = row.attempt.as_ref().map(which);
            assert_eq!(stored, job.attempt.as_ref().map(which));
            self.tally.launches += 1;
        }
        self.host.act(action, self.now);
    }

    /// The daemon dies; the host goes on, or goes down; a new daemon recovers.
    fn crash(&mut self, when: &str) {
        self.note(format!("crash, {when}"));
        self.tally.crashes += 1;
        self.host.daemon_died();
        let away = if self.chance.hits(300) { 3_000 } else { 30 };
        let ms = self.chance.below(away);
        self.now = self.now.plus_ms(ms);
        self.host.advance(self.now);
        if self.chance.hits(80) {
            self.tally.reboots += 1;
            self.host.reboot(self.now);
            self.now.boot_ms = self.chance.below(20);
            self.now.wall_ms += 1_000;
        }
        self.host.daemon_died();
        if self.chance.hits(100) {
            self.now.wall_ms += i64::try_from(self.chance.below(4_000)).unwrap() - 2_000;
        }
        self.host.daemon_scans(self.now);
        let (engine, step) = Engine::recover(rows(&self.store, &self.host), self.now);
        self.engine = engine;
        self.shown.recover(&self.store);
        self.note("recovered".to_owned());
        self.follow(step);
    }

    /// No more commands and no more faults: all that can end, ends.
    fn come_to_rest(&mut self) {
        let paused: Vec<JobId> = self
            .store
            .live
            .values()
            .filter(|job| matches!(job.state, JobState::Paused { .. }))
            .map(|job| job.id)
            .collect();
        let stopping = |state: &JobState| matches!(state, JobState::Stopping { .. });
        let live = self.store.live.values();
        let asked = live.filter(|job| stopping(&job.state)).map(|job| job.id);
        let asked = asked.collect();
        self.host.calm_down(&asked);
        for id in paused {
            let verb = Verb::Resume;
            let command = Command::Job { id, verb };
            let (step, reply) = self.engine.command(self.now, command, &Cold::default());
            // It may have had a timer due in between; then it is already being ended.
            assert!(reply.is_ok(), "{reply:?}");
            self.follow(step);
        }
        for _ in 0..20_000 {
            if let Some(report) = self.host.report(self.now) {
                self.report(report);
                continue;
            }
            let wakeup = self.engine.next_wakeup(self.now);
            let wakeup = wakeup.filter(|at| *at < u64::MAX);
            let Some(at) = self.host.next().into_iter().chain(wakeup).min() else {
                self.check_rest();
                return;
            };
            self.now = self.now.plus_ms(at.saturating_sub(self.now.boot_ms));
            self.host.advance(self.now);
            self.report(Input::Tick);
        }
        panic!("it never comes to rest");
    }

    fn check_rest(&self) {
        let stuck = check::stuck(&self.engine);
        assert!(stuck.is_empty(), "stuck for ever: {stuck:#?}");
        let leftovers = self.host.leftovers();
        assert!(leftovers.is_empty(), "never forgotten: {leftovers:?}");
        for id in &self.acknowledged {
            let known = self.store.live.contains_key(id)
                || self.store.done.contains_key(id)
                || self.store.removed.contains(id);
            assert!(known, "job {id} was acknowledged and is lost");
        }
    }
}

/// A command in one line.
fn told(command: &Command) -> String {
    let Command::Submit(submission) = command else {
        return format!("{command:?}");
    };
    let drafts = submission.jobs.iter().map(|draft| {
        let spec = &draft.spec;
        format!(
            "{} in {} P{} after {:?} held {:?} from {:?} timeout {:?} {:?} retry {}/{}",
            spec.name,
            spec.group,
            spec.priority,
            draft.after_ok,
            draft.held,
            spec.not_before_ms,
            spec.timeout_ms,
            spec.stop,
            spec.retry.max_attempts,
            spec.retry.backoff_ms
        )
    });
    let drafts: Vec<String> = drafts.collect();
    format!("Submit {:?} {drafts:#?}", submission.key)
}

fn rows(store: &Store, host: &Host) -> Recovery {
    Recovery {
        boot_id: host.boot_id.clone(),
        next_job: JobId(store.newest.0 + 1),
        live: store.live.values().map(|job| (**job).clone()).collect(),
        gates: store.gates(),
        default_parallelism: DEFAULT_PARALLELISM,
        pace_ms: PACE_MS,
        quota: Quota::default(),
    }
}
