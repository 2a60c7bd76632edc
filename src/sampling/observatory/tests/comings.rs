//! What comes and goes: attempts, GPUs that are switched off, messages; and what is left of them, which is nothing.

use super::*;
use crate::sampling::{Clocks, Sampler};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

/// One GPU with a process of each of these jobs.
fn shared_gpu(joules: f64, jobs: &[u64]) -> Vec<GpuSample> {
    let pids: Vec<u32> = jobs
        .iter()
        .map(|job| u32::try_from(*job).unwrap())
        .collect();
    vec![gpu(&[(Metric::EnergyJoules, joules)], &pids)]
}

fn holders(jobs: &[u64]) -> BTreeMap<u32, Holder> {
    let of = |job: &u64| (u32::try_from(*job).unwrap(), Holder::Job(attempt(*job)));
    jobs.iter().map(of).collect()
}

fn begin(world: &mut World, job: u64, ms: u64) {
    lock(&world.ledger).begin(attempt(job), at(ms), Tally::default());
    world.observatory.watch(&watched(job, ms));
}

fn without_gpus() -> Rules {
    let mut rules = rules();
    rules.paces.remove(&Source::Gpus);
    rules
}

fn settled(found: &[Found]) -> Vec<(AttemptId, &Tally)> {
    let all = found.iter().filter_map(|it| match it {
        Found::Settled(id, tally) => Some((*id, tally)),
        Found::Pass(_) | Found::Fault(_) => None,
    });
    all.collect()
}

#[test]
fn gpus_that_are_switched_off_are_used_by_nobody() {
    let mut world = World::new(Made {
        gpus: shared_gpu(0.0, &[1, 2]),
        holders: holders(&[1, 2]),
        ..Made::default()
    });
    begin(&mut world, 1, 5_000);
    begin(&mut world, 2, 5_000);
    world.pass(5_000);
    world.observatory.senses.gpus = shared_gpu(60.0, &[1, 2]);
    let shown = world.pass(6_000).jobs[0].clone();
    assert_eq!(shown.readings.get(Metric::GpuPercent), Some(50.0));
    let (_, is_awaited) = lock(&world.ledger).end(attempt(2), at(6_100));
    assert!(is_awaited);
    world.observatory.forget(attempt(2));
    world.observatory.tune(without_gpus(), &world.ledger);
    let found = world.turn(6_200);
    let told = settled(&found);
    assert_eq!(told.len(), 1, "nobody will tell more: {found:?}");
    assert_eq!(told[0].0, attempt(2));
    let job = &world.observatory.snapshot.jobs[&attempt(1)];
    assert!(job.gpus.is_empty(), "{job:?}");
    let percent = job.readings.get(Metric::GpuPercent);
    assert_eq!((percent, job.readings.get(Metric::Gpus)), (None, None));
    let kept = |job: &JobSample| {
        let get = |metric| job.readings.get(metric);
        (get(Metric::GpuSeconds), get(Metric::EnergyJoules))
    };
    assert_eq!(kept(job), (Some(1.0), Some(30.0)), "what it used is kept");
    // An hour later they are switched on again: that hour is nobody's.
    world.observatory.senses.gpus = shared_gpu(90_000.0, &[1]);
    world.observatory.tune(rules(), &world.ledger);
    let pass = world.pass(3_600_000);
    assert_eq!(pass.gpus.len(), 1);
    assert_eq!(kept(&pass.jobs[0]), (Some(1.0), Some(30.0)));
    world.observatory.senses.gpus = shared_gpu(90_500.0, &[1]);
    let pass = world.pass(3_602_000);
    assert_eq!(kept(&pass.jobs[0]), (Some(3.0), Some(530.0)));
}

#[test]
fn an_attempt_that_ends_while_they_are_off_waits_for_no_look() {
    let mut world = World::new(Made {
        gpus: shared_gpu(0.0, &[1]),
        holders: holders(&[1]),
        is_slow: true,
        ..Made::default()
    });
    begin(&mut world, 1, 5_000);
    world.turn(5_000);
    world.observatory.tune(without_gpus(), &world.ledger);
    // What was asked before comes now.
    world.observatory.senses.is_slow = false;
    let pass = world.pass(5_050);
    assert!(pass.gpus.is_empty() && world.observatory.gpus.is_empty());
    let (_, is_awaited) = lock(&world.ledger).end(attempt(1), at(5_100));
    assert!(!is_awaited);
}

fn cpus(joules: f64, seconds: f64) -> Readings {
    Readings::from_iter([
        (Metric::CpuEnergyJoules, joules),
        (Metric::CpuSeconds, seconds),
    ])
}

#[test]
fn the_energy_of_a_short_attempt_is_told_with_the_next_look_at_the_cpus() {
    let mut world = World::new(Made {
        host: cpus(1_000.0, 50.0),
        ..Made::default()
    });
    world.pass(5_000);
    begin(&mut world, 1, 5_200);
    world.pass(5_200);
    {
        let mut ledger = lock(&world.ledger);
        ledger.cpu_time(attempt(1), 0.5);
        let (tally, is_awaited) = ledger.end(attempt(1), at(5_700));
        assert_eq!((tally.cpu_energy_joules, is_awaited), (None, true));
    }
    world.observatory.forget(attempt(1));
    assert!(world.turn(5_700).is_empty());
    world.observatory.senses.host = cpus(1_100.0, 52.0);
    let found = world.turn(6_000);
    let told = settled(&found);
    assert_eq!(told[0].1.cpu_energy_joules, Some(25.0), "{found:?}");
    // Where it cannot be read any more, nobody waits for it.
    begin(&mut world, 2, 6_200);
    lock(&world.ledger).cpu_time(attempt(2), 0.5);
    assert!(lock(&world.ledger).end(attempt(2), at(6_500)).1);
    world.observatory.forget(attempt(2));
    world.observatory.senses.host = Readings::default();
    let found = world.turn(20_000);
    assert_eq!(settled(&found).len(), 1, "{found:?}");
}

/// Thousands of attempts, each with a GPU and energy, and nothing is left of them.
#[test]
fn nothing_is_kept_of_attempts_that_are_gone() {
    let mut world = World::new(Made {
        host: cpus(0.0, 0.0),
        ..Made::default()
    });
    let mut settled_ones = 0;
    let mut sizes = Vec::new();
    for round in 0..3_000_u64 {
        let (job, ms) = (round + 1, 10_000 + round * 2_000);
        let joules = round as f64;
        world.observatory.senses.gpus = shared_gpu(joules, &[job]);
        world.observatory.senses.holders = holders(&[job]);
        world.observatory.senses.host = cpus(joules, joules);
        world.observatory.senses.job = Readings::from_iter([(Metric::CpuSeconds, 0.5)]);
        begin(&mut world, job, ms);
        settled_ones += settled(&world.turn(ms)).len();
        let mut ledger = lock(&world.ledger);
        ledger.cpu_time(attempt(job), 0.7);
        assert!(ledger.end(attempt(job), at(ms + 500)).1);
        drop(ledger);
        world.observatory.forget(attempt(job));
        let Observatory {
            watched,
            snapshot,
            gpus,
            xids,
            ..
        } = &world.observatory;
        let ledger = lock(&world.ledger).sizes();
        sizes.push((
            watched.len(),
            snapshot.jobs.len(),
            gpus.len(),
            xids.len(),
            ledger,
        ));
    }
    assert_eq!(settled_ones, 2_999, "each with the look after its end");
    assert!(sizes.iter().all(|it| *it == sizes[0]), "{sizes:?}");
}

static NOW_MS: AtomicU64 = AtomicU64::new(5_000);
static SLEPT_MS: AtomicU64 = AtomicU64::new(0);

/// Clocks that stand still, unless the test lets the host sleep.
const STILL: Clocks = Clocks {
    now: || at(NOW_MS.load(Ordering::SeqCst)),
    slept_ms: || SLEPT_MS.load(Ordering::SeqCst),
};

#[test]
fn however_many_messages_come_there_is_one_pass_and_sleep_is_no_delay() {
    let (passes, heard) = channel();
    let sink = Box::new(move |found, _: &Snapshot| passes.send(found).unwrap());
    let sampler = Sampler::start(rules(), STILL, |_| Made::default(), sink).unwrap();
    for job in 1..=2_000 {
        sampler.watch(watched(job, 5_000), Tally::default());
    }
    // Whoever hears of the end has seen all that came before it.
    let first = heard.recv().unwrap();
    sampler.stop();
    let all: Vec<Found> = std::iter::once(first).chain(heard.try_iter()).collect();
    let of_jobs = all
        .iter()
        .filter(|it| matches!(it, Found::Pass(pass) if !pass.jobs.is_empty()));
    assert!(of_jobs.count() <= 1, "in one instant");
    // It waits for the next pass, and so does the clock that it waits by, while the host sleeps.
    assert_eq!(sampler.late_ms(), Some(0));
    NOW_MS.fetch_add(28_800_000, Ordering::SeqCst);
    SLEPT_MS.fetch_add(28_800_000, Ordering::SeqCst);
    assert_eq!(sampler.late_ms(), Some(0));
}
