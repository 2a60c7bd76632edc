//! A host that carries out actions: processes that obey, ignore, crash, freeze and vanish.
//!
//! It goes on while the daemon is down. What a real attempt directory keeps (the claim, the exit
//! record) is kept here too; what a daemon holds in memory (reports under way) is lost with it.

use crate::chance::Chance;
use std::collections::{BTreeMap, BTreeSet};
use stoked::engine::input::Input;
use stoked::engine::step::Action;
use stoked::model::attempt::Process;
use stoked::model::failure::{Ending, Exit, Failure, FailureClass};
use stoked::model::id::{AttemptId, JobId};
use stoked::model::job::Job;
use stoked::model::time::Stamp;

/// How far an attempt is, as its directory tells.
#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// Its shim has the directory; its command runs at this time of the boot clock.
    Spawning {
        at: u64,
    },
    Running,
    /// The exit record lies there until somebody forgets it.
    Ended {
        ending: Ending,
        at: Stamp,
    },
}

/// One attempt on the host.
#[derive(Clone, Debug)]
pub(super) struct Proc {
    phase: Phase,
    pub(super) main: Process,
    started: Stamp,
    /// Boot time up to which `ran_ms` and `left_ms` are accounted.
    accounted: u64,
    ran_ms: u64,
    /// Time it still runs by itself; `None` is endless.
    left_ms: Option<u64>,
    last_words: Ending,
    obeys: bool,
    pub(super) asked: Option<i32>,
    pub(super) killed: bool,
    pub(super) frozen: bool,
    /// A freeze or thaw was lost with a daemon, so its own clock and the engine's differ.
    blurred: bool,
}

impl Proc {
    fn alive(&self) -> bool {
        !matches!(self.phase, Phase::Ended { .. })
    }

    /// When it ends by itself or as asked, on the boot clock, if nothing else happens.
    fn end(&self) -> Option<u64> {
        let at = match (&self.phase, self.left_ms) {
            _ if self.killed => Some(self.accounted),
            _ if self.frozen => None,
            _ if self.obeys && self.asked.is_some() => Some(self.accounted + 3),
            (_, left) => left.map(|left| self.accounted + left),
        };
        at.filter(|_| self.phase == Phase::Running)
    }

    fn account(&mut self, boot_ms: u64) {
        let passed = boot_ms.saturating_sub(self.accounted);
        if self.phase == Phase::Running && !self.frozen {
            self.ran_ms += passed;
            self.left_ms = self.left_ms.map(|left| left.saturating_sub(passed));
        }
        self.accounted = self.accounted.max(boot_ms);
    }

    fn ending(&self) -> Ending {
        let signal = if self.killed {
            Some(9)
        } else {
            self.asked.filter(|_| self.obeys)
        };
        signal.map_or(self.last_words.clone(), |signal| Ending::Exited {
            exit: Exit::with_signal(signal),
            oom_killed: false,
        })
    }
}

/// The host.
#[derive(Debug)]
pub(crate) struct Host {
    chance: Chance,
    pub(crate) boot_id: String,
    boots: u64,
    dirs: BTreeMap<AttemptId, Proc>,
    /// Every attempt whose command ran or was about to.
    ever: BTreeSet<AttemptId>,
    /// What the daemon will be told, and when.
    reports: Vec<(u64, Input)>,
    /// The storm is over: what starts now ends by itself.
    pub(crate) calm: bool,
    next_pid: u32,
}

impl Host {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            chance: Chance::new(seed ^ 0xABCD),
            boot_id: "boot-1".to_owned(),
            boots: 1,
            dirs: BTreeMap::new(),
            ever: BTreeSet::new(),
            reports: Vec::new(),
            calm: false,
            next_pid: 100,
        }
    }

    /// Lets time pass up to `now`.
    pub(crate) fn advance(&mut self, now: Stamp) {
        let ids: Vec<AttemptId> = self.dirs.keys().copied().collect();
        for id in ids {
            self.advance_one(id, now);
        }
    }

    fn advance_one(&mut self, id: AttemptId, now: Stamp) {
        let fails = self.chance.hits(60);
        let delay = self.delay(now);
        let Some(proc) = self.dirs.get_mut(&id) else {
            return;
        };
        if let Phase::Spawning { at } = proc.phase
            && at <= now.boot_ms
        {
            let at = back(now, at);
            if fails {
                let failure = Failure::new(FailureClass::Spawn, "no such command");
                let ending = Ending::NotStarted { failure };
                self.ended(id, ending, at, delay);
                return;
            }
            proc.phase = Phase::Running;
            proc.started = at;
            proc.accounted = at.boot_ms;
            let report = started(id, proc);
            self.reports.push((delay, report));
        }
        let Some(proc) = self.dirs.get_mut(&id) else {
            return;
        };
        match proc.end().filter(|at| *at <= now.boot_ms) {
            Some(at) => {
                proc.account(at);
                let ending = proc.ending();
                self.ended(id, ending, back(now, at), delay);
            }
            None => proc.account(now.boot_ms),
        }
    }

    fn ended(&mut self, id: AttemptId, ending: Ending, at: Stamp, delay: u64) {
        let Some(proc) = self.dirs.get_mut(&id) else {
            return;
        };
        proc.phase = Phase::Ended { ending, at };
        let report = self.record(id);
        self.reports.extend(report.map(|report| (delay, report)));
    }

    /// The report that the exit record of an attempt calls for.
    fn record(&self, id: AttemptId) -> Option<Input> {
        let Phase::Ended { ending, at } = &self.dirs.get(&id)?.phase else {
            return None;
        };
        Some(Input::Ended {
            attempt: id,
            ending: ending.clone(),
            usage: None,
            at: *at,
        })
    }

    fn delay(&mut self, now: Stamp) -> u64 {
        let far = if self.chance.hits(100) { 400 } else { 12 };
        now.boot_ms + self.chance.below(far)
    }

    /// Tells the daemon later what it asked for.
    pub(crate) fn answer(&mut self, input: Input) {
        self.reports.push((0, input));
    }

    /// When something happens here next, on the boot clock.
    pub(crate) fn next(&self) -> Option<u64> {
        let procs = self.dirs.values().filter_map(|proc| match proc.phase {
            Phase::Spawning { at } => Some(at),
            Phase::Running | Phase::Ended { .. } => proc.end(),
        });
        let reports = self.reports.iter().map(|(at, _)| *at);
        procs.chain(reports).min()
    }

    /// A report that is due; any of them, and sometimes it comes twice.
    pub(crate) fn report(&mut self, now: Stamp) -> Option<Input> {
        let due: Vec<usize> = (0..self.reports.len())
            .filter(|index| self.reports[*index].0 <= now.boot_ms)
            .collect();
        if due.is_empty() {
            return None;
        }
        let index = *self.chance.pick(&due);
        let (_, report) = self.reports.swap_remove(index);
        if let Input::NeverStarted { attempt } = &report
            && self.dirs.contains_key(attempt)
        {
            // Who looks for an attempt looks again before saying that there is nothing.
            return self.report(now);
        }
        if self.chance.hits(60) && !self.calm {
            let again = self.delay(now) + 5;
            self.reports.push((again, report.clone()));
        }
        Some(report)
    }

    /// Carries out one action.
    pub(crate) fn act(&mut self, action: &Action, now: Stamp) {
        match action {
            Action::Launch { job } => self.launch(job, now),
            Action::Adopt { job } => self.adopt(job, now),
            Action::Signal {
                attempt, signal, ..
            } => self.signal(*attempt, *signal, now),
            Action::Kill { attempt } => self.each_running(*attempt, now, |proc| proc.killed = true),
            Action::Freeze { attempt } => {
                self.each_running(*attempt, now, |proc| proc.frozen = true);
            }
            Action::Thaw { attempt } => {
                self.each_running(*attempt, now, |proc| proc.frozen = false);
            }
            Action::Forget { attempt } => {
                if let Some(proc) = self.dirs.remove(attempt) {
                    assert!(!proc.alive(), "attempt {attempt} forgotten while it lives");
                }
            }
            Action::Recall { .. } | Action::RemoveLogs { .. } => {}
        }
    }

    /// An action that was lost with the daemon.
    pub(crate) fn miss(&mut self, action: &Action) {
        if let Action::Freeze { attempt } | Action::Thaw { attempt } = action
            && let Some(proc) = self.dirs.get_mut(attempt)
        {
            proc.blurred = true;
        }
    }

    /// Signals, kills and freezes reach only what runs: what came too early is not kept for later.
    fn each_running(&mut self, id: AttemptId, now: Stamp, change: impl FnOnce(&mut Proc)) {
        let Some(proc) = self.dirs.get_mut(&id) else {
            return;
        };
        proc.account(now.boot_ms);
        if proc.phase == Phase::Running {
            change(proc);
        }
    }

    fn signal(&mut self, id: AttemptId, signal: i32, now: Stamp) {
        self.each_running(id, now, |proc| match signal {
            9 => proc.killed = true,
            2 | 15 => proc.asked = Some(signal),
            _ => {}
        });
    }

    fn launch(&mut self, job: &Job, now: Stamp) {
        let attempt = job.attempt.as_ref().expect("a launch has its attempt");
        let id = attempt.id;
        assert_eq!(
            attempt.boot_id, self.boot_id,
            "attempt {id} of another boot"
        );
        if self.dirs.contains_key(&id) {
            return;
        }
        assert!(self.ever.insert(id), "attempt {id} starts twice");
        let other = self.of(job.id).find(|(_, proc)| proc.alive());
        assert!(other.is_none(), "{id} starts while {other:?} lives");
        let slow = if self.chance.hits(100) { 300 } else { 8 };
        let main = Process {
            pid: self.next_pid,
            start_ticks: now.boot_ms,
        };
        self.next_pid += 1;
        let endless = self.chance.hits(80) && !self.calm;
        let lifetime = 1 + self.chance.below(if self.calm { 50 } else { 1_500 });
        let proc = Proc {
            phase: Phase::Spawning {
                at: now.boot_ms + self.chance.below(slow),
            },
            main,
            started: now,
            accounted: now.boot_ms,
            ran_ms: 0,
            left_ms: (!endless).then_some(lifetime),
            last_words: self.last_words(),
            obeys: self.chance.hits(600),
            asked: None,
            killed: false,
            frozen: false,
            blurred: false,
        };
        self.dirs.insert(id, proc);
    }

    fn last_words(&mut self) -> Ending {
        let exit = match self.chance.below(10) {
            0..6 => Exit::with_code(0),
            6 | 7 => Exit::with_code(1),
            8 => Exit::with_code(75),
            _ => Exit::with_signal(11),
        };
        let oom_killed = !exit.is_success() && self.chance.hits(100);
        Ending::Exited { exit, oom_killed }
    }

    /// What a new daemon finds of an attempt that its rows know.
    fn adopt(&mut self, job: &Job, now: Stamp) {
        let id = job.attempt.as_ref().expect("only attempts are adopted").id;
        // A client may be quicker than the look at an attempt.
        let at = self.delay(now) + self.chance.below(60);
        let report = match self.dirs.get(&id) {
            None => Some(Input::NeverStarted { attempt: id }),
            Some(proc) if proc.phase == Phase::Running => Some(started(id, proc)),
            Some(_) => self.record(id),
        };
        self.reports.extend(report.map(|report| (at, report)));
    }

    /// The daemon died: what it had not handed on is lost.
    pub(crate) fn daemon_died(&mut self) {
        self.reports.clear();
    }

    /// A new daemon looks into every attempt directory, also of attempts that no row waits for.
    pub(crate) fn daemon_scans(&mut self, now: Stamp) {
        let ids: Vec<AttemptId> = self.dirs.keys().copied().collect();
        for id in ids {
            let at = self.delay(now);
            let report = self.record(id);
            self.reports.extend(report.map(|report| (at, report)));
        }
    }

    /// Somebody kills the shim of an attempt, and what it kept together is ended.
    pub(crate) fn kill_a_shim(&mut self, now: Stamp) {
        let running = |proc: &Proc| proc.phase == Phase::Running;
        let ids: Vec<AttemptId> = self.ids(running);
        if ids.is_empty() {
            return;
        }
        let id = *self.chance.pick(&ids);
        let delay = self.delay(now);
        let failure = Failure::new(FailureClass::Signal, "its shim was killed");
        self.ended(id, Ending::Broken { failure }, now, delay);
    }

    /// The host goes down and comes up: nothing that ran is left, and records are.
    pub(crate) fn reboot(&mut self, now: Stamp) {
        self.boots += 1;
        self.boot_id = format!("boot-{}", self.boots);
        for id in self.ids(Proc::alive) {
            if self.chance.hits(100) && self.dirs[&id].phase != Phase::Running {
                // The claim had not reached the disk, so nothing ran either.
                self.dirs.remove(&id);
                self.ever.remove(&id);
                continue;
            }
            let failure = Failure::new(FailureClass::HostLost, "the host went down");
            self.ended(id, Ending::Unseen { failure }, now, 0);
        }
        self.reports.clear();
    }

    fn ids(&self, which: impl Fn(&Proc) -> bool) -> Vec<AttemptId> {
        let chosen = self.dirs.iter().filter(|(_, proc)| which(proc));
        chosen.map(|(id, _)| *id).collect()
    }

    /// After the storm everything ends by itself, but what was asked to end waits to be killed.
    pub(crate) fn calm_down(&mut self, stopping: &BTreeSet<JobId>) {
        self.calm = true;
        for (id, proc) in &mut self.dirs {
            proc.left_ms = if stopping.contains(&id.job) {
                None
            } else {
                proc.left_ms.map_or(Some(20), |left| Some(left.min(20)))
            };
        }
    }

    fn of(&self, job: JobId) -> impl Iterator<Item = (&AttemptId, &Proc)> {
        let first = AttemptId { job, attempt: 0 };
        let last = AttemptId {
            job,
            attempt: u32::MAX,
        };
        self.dirs.range(first..=last)
    }

    /// What of an attempt runs.
    pub(super) fn running(&self, id: AttemptId) -> Option<&Proc> {
        self.dirs
            .get(&id)
            .filter(|proc| proc.phase == Phase::Running)
    }

    /// How an attempt really ended, where its record still lies there.
    pub(crate) fn truth(&self, id: AttemptId) -> Option<&Ending> {
        match &self.dirs.get(&id)?.phase {
            Phase::Ended { ending, .. } => Some(ending),
            Phase::Spawning { .. } | Phase::Running => None,
        }
    }

    /// How long an attempt really ran, frozen time apart, where that is known exactly.
    pub(crate) fn really_ran_ms(&self, id: AttemptId) -> Option<u64> {
        let proc = self.dirs.get(&id).filter(|proc| !proc.blurred)?;
        Some(proc.ran_ms)
    }

    /// Whether the command of an attempt ever ran or was about to.
    pub(crate) fn knows(&self, id: AttemptId) -> bool {
        self.ever.contains(&id)
    }

    /// What still lies in attempt directories.
    pub(crate) fn leftovers(&self) -> Vec<AttemptId> {
        self.dirs.keys().copied().collect()
    }
}

fn started(id: AttemptId, proc: &Proc) -> Input {
    Input::Started {
        attempt: id,
        main: proc.main,
        containment: "tree".to_owned(),
        at: proc.started,
    }
}

/// The instant `boot_ms`, which is not later than `now`.
fn back(now: Stamp, boot_ms: u64) -> Stamp {
    let ago = now.boot_ms.saturating_sub(boot_ms);
    Stamp {
        wall_ms: now.wall_ms - i64::try_from(ago).unwrap(),
        boot_ms: boot_ms.min(now.boot_ms),
    }
}
