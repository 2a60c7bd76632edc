//! The sampler without clock, thread and devices: what is read when, and what comes out of it.

use super::*;
use crate::model::gpu::{GpuIdentity, GpuProcess, GpuProcessKind, GpuSample};
use crate::model::id::JobId;
use crate::model::metric::Readings;
use crate::model::sample::Holder;
use crate::model::tally::Tally;
use crate::sampling::Watch;

mod comings;
mod paces;

/// Devices as a test says they are.
#[derive(Default)]
struct Made {
    watched: Vec<Watched>,
    log: Vec<&'static str>,
    host: Readings,
    job: Readings,
    gpus: Vec<GpuSample>,
    answers: Vec<GpuAnswer>,
    /// Answers come later.
    is_slow: bool,
    xids: Vec<Xid>,
    has_outer_pids: bool,
    holders: BTreeMap<u32, Holder>,
    on_battery: bool,
    gpus_due_ms: Option<u64>,
    troubles: BTreeMap<&'static str, String>,
}

impl Senses for Made {
    fn watch(&mut self, watched: &Watched) {
        self.watched.push(watched.clone());
    }

    fn forget(&mut self, attempt: AttemptId) {
        self.watched.retain(|it| it.watch.attempt != attempt);
    }

    fn tune(&mut self, _rules: &Rules) {}

    fn begin(&mut self, _at: Stamp, _sources: &BTreeSet<Source>) {
        self.log.push("begin");
    }

    fn host(&mut self, at: Stamp) -> HostSample {
        self.log.push("host");
        HostSample {
            at,
            readings: self.host.clone(),
            ..HostSample::default()
        }
    }

    fn jobs(&mut self, at: Stamp) -> Vec<JobSample> {
        self.log.push("jobs");
        let jobs = self.watched.iter().map(|it| JobSample {
            at,
            attempt: it.watch.attempt,
            readings: self.job.clone(),
            gpus: Vec::new(),
        });
        jobs.collect()
    }

    fn ask_gpus(&mut self, at: Stamp) -> usize {
        self.log.push("gpus");
        let gpus = self.gpus.clone();
        self.answers.push(GpuAnswer {
            source: 0,
            at,
            gpus,
            has_outer_pids: self.has_outer_pids,
        });
        1
    }

    fn gpu_answers(&mut self) -> Vec<GpuAnswer> {
        if self.is_slow {
            return Vec::new();
        }
        std::mem::take(&mut self.answers)
    }

    fn xids(&mut self) -> Vec<Xid> {
        std::mem::take(&mut self.xids)
    }

    fn gpus_due_ms(&mut self) -> Option<u64> {
        self.gpus_due_ms
    }

    fn troubles(&mut self) -> BTreeMap<&'static str, String> {
        self.troubles.clone()
    }

    fn holder(&mut self, pid: u32) -> Holder {
        self.holders.get(&pid).cloned().unwrap_or(Holder::Unknown)
    }

    fn culprit(&mut self, pid: u32, _at: Stamp) -> Holder {
        self.holder(pid)
    }

    fn users(&mut self) -> Arc<BTreeMap<u32, Arc<str>>> {
        Arc::default()
    }

    fn on_battery(&mut self) -> bool {
        self.on_battery
    }
}

const PACE: Pace = Pace {
    normal_ms: 2_000,
    watched_ms: 1_000,
    idle_ms: 10_000,
    battery_ms: 30_000,
};

fn rules() -> Rules {
    Rules {
        paces: Source::ALL.map(|source| (source, PACE)).into(),
        gpu_deadline_ms: 5_000,
        busiest: 5,
        mounts: Vec::new(),
    }
}

fn at(ms: u64) -> Stamp {
    Stamp {
        wall_ms: i64::try_from(ms).unwrap() + 7_000_000,
        boot_ms: ms,
    }
}

fn attempt(job: u64) -> AttemptId {
    AttemptId {
        job: JobId(job),
        attempt: 1,
    }
}

fn watched(job: u64, started_ms: u64) -> Watched {
    Watched {
        watch: Watch {
            attempt: attempt(job),
            ..Watch::default()
        },
        started: at(started_ms),
    }
}

fn gpu(readings: &[(Metric, f64)], pids: &[u32]) -> GpuSample {
    let processes = pids.iter().map(|pid| GpuProcess {
        pid: *pid,
        kind: GpuProcessKind::Compute,
        memory_bytes: Some(1 << 30),
        utilization_percent: Some(50.0),
        encoder_percent: None,
        decoder_percent: None,
    });
    GpuSample {
        readings: readings.iter().copied().collect(),
        processes: processes.collect(),
        ..GpuSample::unmeasured(
            GpuIdentity::new(GpuUuid("GPU-1".into()), 0, "nvidia", "Made"),
            GpuCondition::Ok,
        )
    }
}

struct World {
    observatory: Observatory<Made>,
    ledger: Mutex<Ledger>,
}

impl World {
    fn new(senses: Made) -> Self {
        Self {
            observatory: Observatory::new(senses, rules(), at(5_000)),
            ledger: Mutex::default(),
        }
    }

    fn turn(&mut self, ms: u64) -> Vec<Found> {
        self.observatory.turn(at(ms), &self.ledger).found
    }

    fn pass(&mut self, ms: u64) -> Arc<Pass> {
        let found = self.turn(ms);
        let [Found::Pass(pass)] = &found[..] else {
            panic!("{found:?}")
        };
        Arc::clone(pass)
    }

    fn due(&mut self, ms: u64, wanted_ms: Option<u64>) -> Option<u64> {
        self.observatory.due_ms(at(ms), wanted_ms)
    }

    fn log(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.observatory.senses.log)
    }
}

#[test]
fn everything_is_read_at_its_cadence_and_nothing_in_between() {
    let mut world = World::new(Made::default());
    assert_eq!(world.due(5_000, None), Some(5_000));
    assert!(world.pass(5_000).host.is_some());
    assert_eq!(world.log(), ["begin", "gpus", "host"], "no job runs");
    assert_eq!(
        world.due(5_001, None),
        Some(6_000),
        "there are no rates yet"
    );
    assert!(world.turn(5_002).is_empty());
    assert!(world.log().is_empty());
    assert!(world.pass(6_000).host.is_some());
    assert_eq!(world.due(6_001, None), Some(10_000), "nothing goes on");
    world.observatory.watch(&watched(1, 6_000));
    assert_eq!(world.due(6_002, None), Some(0), "it is looked at at once");
    world.log();
    let pass = world.pass(6_002);
    assert_eq!((pass.host.is_some(), pass.jobs.len()), (false, 1));
    assert_eq!(world.log(), ["begin", "gpus", "jobs"]);
    assert_eq!(world.due(6_003, None), Some(8_000), "with the host");
    assert_eq!(world.due(6_001, Some(500)), Some(6_500), "somebody looks");
    world.pass(6_600);
    assert_eq!(
        world.due(6_600, Some(500)),
        Some(7_000),
        "and it does not drift"
    );
    world.pass(30_000);
    assert_eq!(
        world.due(30_000, Some(500)),
        Some(30_500),
        "nor is anything made up for"
    );
}

#[test]
fn what_jobs_use_of_gpus_is_of_the_same_pass() {
    let mut world = World::new(Made {
        gpus: vec![gpu(&[(Metric::EnergyJoules, 100.0)], &[7, 8, 9])],
        holders: [
            (7, Holder::Job(attempt(1))),
            (
                8,
                Holder::Foreign {
                    uid: 1,
                    name: "python".into(),
                },
            ),
        ]
        .into(),
        ..Made::default()
    });
    lock(&world.ledger).begin(attempt(1), at(5_000), Tally::default());
    world.observatory.watch(&watched(1, 5_000));
    world.pass(5_000);
    world.observatory.senses.gpus = vec![gpu(&[(Metric::EnergyJoules, 400.0)], &[7, 8, 9])];
    let pass = world.pass(6_000);
    let [state] = &pass.gpus[..] else {
        panic!("{pass:?}")
    };
    assert_eq!(state.holders[0], Holder::Job(attempt(1)));
    assert_eq!(state.holders[2], Holder::Unknown);
    let job = &pass.jobs[0];
    assert_eq!(job.readings.get(Metric::GpuPercent), Some(50.0));
    assert_eq!(
        job.readings.get(Metric::EnergyJoules),
        Some(100.0),
        "a third"
    );
    assert_eq!(job.gpus[0].pids, [7]);
    let entities: Vec<String> = pass.entities().map(|(it, _)| it.to_string()).collect();
    assert_eq!(
        entities,
        ["host", "gpu/GPU-1", "job/1.1", "job/1.1/gpu/GPU-1"]
    );
}

#[test]
fn a_gpu_that_is_late_holds_up_nothing() {
    let mut world = World::new(Made {
        is_slow: true,
        ..Made::default()
    });
    assert!(world.turn(5_000).is_empty(), "it waits a moment");
    assert_eq!(world.due(5_000, None), Some(5_050));
    let pass = world.pass(5_050);
    assert!(pass.host.is_some() && pass.gpus.is_empty());
    world.observatory.senses.is_slow = false;
    world.observatory.senses.answers[0].gpus = vec![gpu(&[], &[])];
    let late = world.pass(5_700);
    assert_eq!((late.gpus.len(), late.host.is_some()), (1, false));
}

#[test]
fn conditions_are_told_with_their_time_and_gpus_come_and_go() {
    let mut world = World::new(Made {
        gpus: vec![gpu(&[], &[])],
        ..Made::default()
    });
    world.pass(5_000);
    let mut lost = gpu(&[], &[]);
    lost.condition = GpuCondition::Lost;
    world.observatory.senses.gpus = vec![lost];
    world.pass(10_000);
    let pass = world.pass(20_000);
    let state = &pass.gpus[0];
    assert_eq!(state.sample.condition, GpuCondition::Lost);
    assert_eq!(state.since_ms, at(10_000).wall_ms);
    assert_eq!(world.observatory.snapshot.gpus.len(), 1);
    world.observatory.senses.gpus.clear();
    world.pass(30_000);
    assert!(world.observatory.snapshot().gpus.is_empty());
}

#[test]
fn a_gpu_that_is_gone_is_nobodys() {
    let mut world = World::new(Made {
        gpus: vec![gpu(&[], &[7])],
        holders: [(7, Holder::Job(attempt(1)))].into(),
        ..Made::default()
    });
    lock(&world.ledger).begin(attempt(1), at(5_000), Tally::default());
    world.observatory.watch(&watched(1, 5_000));
    world.pass(5_000);
    assert_eq!(world.pass(6_000).jobs[0].gpus.len(), 1);
    world.observatory.senses.gpus.clear();
    let job = &world.pass(8_000).jobs[0];
    assert!(job.gpus.is_empty(), "{job:?}");
    let held = job.readings.get(Metric::GpuSeconds);
    assert_eq!(held, Some(1.0), "what it used is kept");
}

#[test]
fn errors_of_drivers_are_counted_and_name_the_job() {
    let mut world = World::new(Made {
        gpus: vec![gpu(&[], &[])],
        holders: [(7, Holder::Job(attempt(3)))].into(),
        ..Made::default()
    });
    let xid = Xid {
        at_ms: 1,
        uuid: Some(GpuUuid("GPU-1".into())),
        pci_bus_id: None,
        code: 45,
        pid: Some(7),
        process: Some("python".to_owned()),
    };
    world.pass(5_000);
    world.observatory.senses.xids = vec![xid.clone(), xid.clone()];
    let found = world.turn(5_100);
    assert_eq!(found.len(), 2);
    let Found::Fault(fault) = &found[0] else {
        panic!("{found:?}")
    };
    assert_eq!((&fault.xid, fault.index), (&xid, Some(0)));
    assert_eq!(fault.attempt, Some(attempt(3)));
    assert_eq!(fault.channel().to_string(), "gpu/0/xid");
    let pass = world.pass(10_000);
    assert_eq!(pass.gpus[0].sample.readings.get(Metric::Xids), Some(2.0));
}

#[test]
fn a_gpu_whose_errors_would_be_heard_of_counts_from_nothing() {
    let mut told = gpu(&[], &[]);
    told.tells_xids = true;
    let mut world = World::new(Made {
        gpus: vec![told],
        ..Made::default()
    });
    let counted = |pass: &Pass| pass.gpus[0].sample.readings.get(Metric::Xids);
    assert_eq!(counted(&world.pass(5_000)), Some(0.0));
    world.observatory.senses.gpus = vec![gpu(&[], &[])];
    assert_eq!(counted(&world.pass(10_000)), Some(0.0), "it stands");
    let mut silent = World::new(Made {
        gpus: vec![gpu(&[], &[])],
        ..Made::default()
    });
    assert_eq!(counted(&silent.pass(5_000)), None);
}

#[test]
fn ids_of_another_namespace_are_nobodys() {
    let mut world = World::new(Made {
        gpus: vec![gpu(&[], &[7])],
        holders: [(7, Holder::Job(attempt(1)))].into(),
        has_outer_pids: true,
        ..Made::default()
    });
    lock(&world.ledger).begin(attempt(1), at(5_000), Tally::default());
    world.observatory.watch(&watched(1, 5_000));
    let pass = world.pass(5_000);
    assert_eq!(pass.gpus[0].holders, [Holder::Unknown]);
    assert!(pass.jobs[0].gpus.is_empty());
}

#[test]
fn energy_of_the_cpus_is_shared_out_by_time() {
    let host = |joules, seconds| {
        Readings::from_iter([
            (Metric::CpuEnergyJoules, joules),
            (Metric::CpuSeconds, seconds),
        ])
    };
    let mut world = World::new(Made {
        host: host(1_000.0, 50.0),
        job: Readings::from_iter([(Metric::CpuSeconds, 10.0)]),
        ..Made::default()
    });
    lock(&world.ledger).begin(attempt(1), at(5_000), Tally::default());
    world.observatory.watch(&watched(1, 5_000));
    world.pass(5_000);
    world.observatory.senses.host = host(1_100.0, 54.0);
    world.observatory.senses.job = Readings::from_iter([(Metric::CpuSeconds, 11.0)]);
    let pass = world.pass(6_000);
    let job = &pass.jobs[0].readings;
    assert_eq!(job.get(Metric::CpuEnergyJoules), Some(25.0));
}

#[test]
fn who_ended_is_shown_no_more_and_settled_when_its_gpus_were_looked_at() {
    let mut world = World::new(Made {
        gpus: vec![gpu(&[(Metric::EnergyJoules, 0.0)], &[7])],
        holders: [(7, Holder::Job(attempt(1)))].into(),
        ..Made::default()
    });
    lock(&world.ledger).begin(attempt(1), at(5_000), Tally::default());
    world.observatory.watch(&watched(1, 5_000));
    world.pass(5_000);
    assert_eq!(world.observatory.snapshot.jobs.len(), 1);
    let (_, is_awaited) = lock(&world.ledger).end(attempt(1), at(5_500));
    assert!(is_awaited);
    world.observatory.forget(attempt(1));
    assert!(world.observatory.snapshot.jobs.is_empty());
    world.observatory.senses.gpus = vec![gpu(&[(Metric::EnergyJoules, 30.0)], &[])];
    let due = world.due(5_500, None).unwrap();
    let found = world.turn(due);
    let settled = found.iter().find_map(|it| match it {
        Found::Settled(id, tally) => Some((*id, tally.energy_joules())),
        Found::Pass(_) | Found::Fault(_) => None,
    });
    let (id, energy) = settled.unwrap();
    assert_eq!(id, attempt(1));
    assert!((energy.unwrap() - 30.0 * 500.0 / (due - 5_000) as f64).abs() < 1e-9);
}

#[test]
fn what_is_switched_off_is_neither_read_nor_shown() {
    let mut world = World::new(Made {
        gpus: vec![gpu(&[], &[])],
        ..Made::default()
    });
    world.pass(5_000);
    let off = Rules {
        paces: BTreeMap::new(),
        ..rules()
    };
    world.observatory.tune(off, &world.ledger);
    assert_eq!(world.due(6_000, Some(0)), None);
    let snapshot = &world.observatory.snapshot;
    assert!(snapshot.host.is_none() && snapshot.gpus.is_empty());
}

#[test]
fn a_gpu_that_may_be_late_is_looked_after_in_between() {
    let mut observatory = Observatory::new(Made::default(), rules(), at(0));
    let ledger = Mutex::default();
    observatory.turn(at(0), &ledger);
    let next_ms = observatory.due_ms(at(1), None);
    assert!(next_ms > Some(400), "{next_ms:?}");
    observatory.senses.gpus_due_ms = Some(400);
    assert_eq!(observatory.due_ms(at(1), None), Some(400));
}
