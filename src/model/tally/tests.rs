//! Tallies: what is shared out is what was used, and each gets its part for as long as it was there.

use super::*;
use crate::model::gpu::{GpuCondition, GpuIdentity, GpuProcess, GpuProcessKind};
use crate::model::id::JobId;
use proptest::prelude::*;

fn attempt(job: u64) -> AttemptId {
    AttemptId {
        job: JobId(job),
        attempt: 1,
    }
}

fn at(ms: u64) -> Stamp {
    Stamp {
        wall_ms: i64::try_from(ms).unwrap() + 1_000_000,
        boot_ms: ms,
    }
}

/// A GPU with a process of each of `jobs`, which computes so much.
fn gpu(uuid: &str, readings: &[(Metric, f64)], jobs: &[(u64, f64)]) -> (GpuSample, Vec<Holder>) {
    let processes = jobs.iter().map(|(job, percent)| GpuProcess {
        pid: u32::try_from(*job).unwrap(),
        kind: GpuProcessKind::Compute,
        memory_bytes: Some(1 << 30),
        utilization_percent: Some(*percent),
        encoder_percent: None,
        decoder_percent: None,
    });
    let sample = GpuSample {
        readings: readings.iter().copied().collect(),
        processes: processes.collect(),
        ..GpuSample::unmeasured(
            GpuIdentity::new(GpuUuid(uuid.into()), 0, "nvidia", "Test"),
            GpuCondition::Ok,
        )
    };
    let holders = jobs.iter().map(|(job, _)| Holder::Job(attempt(*job)));
    (sample, holders.collect())
}

fn energy_at(joules: f64) -> [(Metric, f64); 1] {
    [(Metric::EnergyJoules, joules)]
}

#[test]
fn time_and_energy_go_to_who_used_them() {
    let mut ledger = Ledger::default();
    ledger.begin(attempt(1), at(0), Tally::default());
    ledger.begin(attempt(2), at(0), Tally::default());
    let (sample, holders) = gpu("GPU-1", &energy_at(5_000.0), &[(1, 60.0), (2, 20.0)]);
    ledger.look(at(1_000), &sample, &holders);
    let nothing = ledger.tally(attempt(1)).unwrap().readings();
    assert_eq!(
        nothing.get(Metric::EnergyJoules),
        None,
        "what was before is nobody's"
    );
    let (sample, holders) = gpu("GPU-1", &energy_at(5_800.0), &[(1, 60.0), (2, 20.0)]);
    ledger.look(at(3_000), &sample, &holders);
    let first = ledger.tally(attempt(1)).unwrap().readings();
    assert_eq!(first.get(Metric::EnergyJoules), Some(600.0));
    assert_eq!(first.get(Metric::GpuSeconds), Some(2.0));
    assert_eq!(first.get(Metric::GpuBusySeconds), Some(1.2));
    let second = ledger.tally(attempt(2)).unwrap().readings();
    assert_eq!(second.get(Metric::EnergyJoules), Some(200.0));
    let share = &ledger.shares_of(attempt(2))[0];
    assert_eq!(share.readings.get(Metric::UtilizationPercent), Some(20.0));
    assert_eq!(
        share.readings.get(Metric::MemoryPeakBytes),
        Some((1_u64 << 30) as f64)
    );
}

#[test]
fn who_ended_gets_its_part_of_the_last_stretch() {
    let mut ledger = Ledger::default();
    ledger.begin(attempt(1), at(0), Tally::default());
    let (sample, holders) = gpu("GPU-1", &energy_at(100.0), &[(1, 50.0)]);
    ledger.look(at(0), &sample, &holders);
    let (_, is_awaited) = ledger.end(attempt(1), at(1_500));
    assert!(is_awaited);
    assert!(ledger.settled().is_empty());
    let (sample, holders) = gpu("GPU-1", &energy_at(500.0), &[]);
    ledger.look(at(2_000), &sample, &holders);
    let settled = ledger.settled();
    let [(id, tally)] = &settled[..] else {
        panic!("{settled:?}")
    };
    assert_eq!(*id, attempt(1));
    assert_eq!(tally.energy_joules(), Some(300.0));
    assert_eq!(tally.gpus[&GpuUuid("GPU-1".into())].seconds, 1.5);
    assert!(ledger.tally(attempt(1)).is_none());
}

#[test]
fn who_began_late_gets_nothing_of_what_was_before() {
    let mut ledger = Ledger::default();
    let (sample, holders) = gpu("GPU-1", &energy_at(0.0), &[]);
    ledger.look(at(0), &sample, &holders);
    ledger.begin(attempt(1), at(599_000), Tally::default());
    let (sample, holders) = gpu("GPU-1", &energy_at(600.0), &[(1, 100.0)]);
    ledger.look(at(600_000), &sample, &holders);
    assert_eq!(ledger.tally(attempt(1)).unwrap().energy_joules(), Some(1.0));
}

#[test]
fn a_lost_gpu_or_a_new_driver_leaves_a_gap() {
    let mut ledger = Ledger::default();
    ledger.begin(attempt(1), at(0), Tally::default());
    let (sample, holders) = gpu("GPU-1", &energy_at(900.0), &[(1, 50.0)]);
    ledger.look(at(0), &sample, &holders);
    let (sample, holders) = gpu("GPU-1", &energy_at(10.0), &[(1, 50.0)]);
    ledger.look(at(1_000), &sample, &holders);
    assert_eq!(ledger.tally(attempt(1)).unwrap().energy_joules(), None);
    ledger.lose(&GpuUuid("GPU-1".into()));
    assert_eq!(ledger.shares_of(attempt(1)), []);
    let (_, is_awaited) = ledger.end(attempt(1), at(2_000));
    assert!(!is_awaited, "nothing more will be known");
}

#[test]
fn power_serves_where_there_is_no_counter() {
    let mut ledger = Ledger::default();
    ledger.begin(attempt(1), at(0), Tally::default());
    for (ms, watts) in [(0, 100.0), (2_000, 300.0), (200_000, 300.0)] {
        let (sample, holders) = gpu("GPU-1", &[(Metric::PowerWatts, watts)], &[(1, 50.0)]);
        ledger.look(at(ms), &sample, &holders);
    }
    let tally = ledger.tally(attempt(1)).unwrap();
    assert_eq!(
        tally.energy_joules(),
        Some(400.0),
        "not over a gap of minutes"
    );
}

#[test]
fn what_was_stored_is_gone_on_with() {
    let mut ledger = Ledger::default();
    ledger.begin(attempt(1), at(0), Tally::default());
    for (ms, joules) in [(0, 0.0), (10_000, 1_000.0)] {
        let (sample, holders) = gpu("GPU-1", &energy_at(joules), &[(1, 50.0)]);
        ledger.look(at(ms), &sample, &holders);
    }
    let share = ledger.shares_of(attempt(1)).remove(0);
    let again = GpuTally::of_readings(&share.readings);
    assert_eq!(again, ledger.tally(attempt(1)).unwrap().gpus[&share.uuid]);
}

#[test]
fn the_energy_of_cpus_goes_by_their_time() {
    let mut ledger = Ledger::default();
    ledger.begin(attempt(1), at(0), Tally::default());
    ledger.cpu_energy(at(0), 1_000.0, 70.0);
    ledger.cpu_time(attempt(1), 1.0);
    ledger.cpu_time(attempt(2), 2.0);
    ledger.cpu_energy(at(2_000), 1_050.0, 74.0);
    let tally = ledger.tally(attempt(1)).unwrap();
    assert_eq!(tally.readings().get(Metric::CpuEnergyJoules), Some(12.5));
    assert_eq!(tally.energy_joules(), Some(12.5));
}

#[test]
fn what_was_used_up_to_the_end_is_settled_with_the_next_look_at_the_cpus() {
    let mut ledger = Ledger::default();
    ledger.begin(attempt(3), at(0), Tally::default());
    ledger.cpu_time(attempt(3), 1.0);
    let (_, is_awaited) = ledger.end(attempt(3), at(1_000));
    assert!(!is_awaited, "their energy is not known here");
    ledger.cpu_energy(at(2_000), 100.0, 10.0);
    ledger.begin(attempt(1), at(2_500), Tally::default());
    ledger.cpu_time(attempt(1), 0.5);
    ledger.cpu_time(attempt(1), 2.0);
    // A look that began before its end may come after it.
    ledger.cpu_time(attempt(1), 1.5);
    let (tally, is_awaited) = ledger.end(attempt(1), at(3_500));
    assert_eq!((tally.cpu_energy_joules, is_awaited), (None, true));
    assert!(ledger.settled().is_empty());
    ledger.cpu_energy(at(4_000), 200.0, 14.0);
    let settled = ledger.settled();
    assert_eq!(settled[0].1.cpu_energy_joules, Some(50.0), "half of it");
    // Of one that used nothing since, all is known.
    ledger.begin(attempt(2), at(4_500), Tally::default());
    ledger.cpu_time(attempt(2), 1.0);
    ledger.cpu_energy(at(6_000), 300.0, 18.0);
    ledger.cpu_time(attempt(2), 1.0);
    let (tally, is_awaited) = ledger.end(attempt(2), at(6_500));
    assert_eq!((tally.cpu_energy_joules, is_awaited), (Some(25.0), false));
}

#[test]
fn of_one_that_ran_before_anybody_looked_what_it_used_then_is_not_counted() {
    let mut ledger = Ledger::default();
    ledger.cpu_energy(at(600_000), 0.0, 0.0);
    ledger.begin(attempt(1), at(0), Tally::default());
    ledger.cpu_time(attempt(1), 500.0);
    ledger.cpu_time(attempt(1), 501.0);
    ledger.cpu_energy(at(602_000), 80.0, 4.0);
    let tally = ledger.tally(attempt(1)).unwrap();
    assert_eq!(tally.cpu_energy_joules, Some(20.0));
}

#[test]
fn a_night_in_which_the_host_slept_is_nobodys() {
    const NIGHT_MS: u64 = 28_800_000;
    let energy = |joules| vec![(Metric::EnergyJoules, joules)];
    let power = |_| vec![(Metric::PowerWatts, 100.0)];
    let sources: [&dyn Fn(f64) -> Vec<(Metric, f64)>; 2] = [&energy, &power];
    for (readings, joules) in sources.into_iter().zip([300.0, 200.0]) {
        let mut ledger = Ledger::default();
        ledger.begin(attempt(1), at(0), Tally::default());
        let mut look = |ms, joules| {
            let (sample, holders) = gpu("GPU-1", &readings(joules), &[(1, 80.0)]);
            ledger.look(at(ms), &sample, &holders);
        };
        look(0, 0.0);
        look(1_000, 100.0);
        look(1_000 + NIGHT_MS, 150.0);
        look(2_000 + NIGHT_MS, 350.0);
        let tally = ledger.tally(attempt(1)).unwrap();
        let used = tally.gpus[&GpuUuid("GPU-1".into())];
        assert_eq!((used.seconds, used.busy_seconds), (2.0, 1.6));
        assert_eq!(used.known_seconds, 2.0);
        assert_eq!(used.energy_joules, Some(joules));
    }
}

#[test]
fn time_that_was_not_known_is_still_not_known_after_a_restart() {
    let mean = |it: GpuTally| it.busy_seconds / it.known_seconds;
    let before = GpuTally {
        seconds: 6_000.0,
        known_seconds: 600.0,
        busy_seconds: 540.0,
        memory_peak_bytes: 7,
        energy_joules: Some(9.0),
    };
    let after = GpuTally::of_readings(&before.readings());
    assert_eq!(after, before);
    assert_eq!(mean(after), 0.9);
    // Where all of it was known, it is not told twice.
    let whole = GpuTally {
        known_seconds: 6_000.0,
        ..before
    };
    assert_eq!(whole.readings().get(Metric::GpuKnownSeconds), None);
    assert_eq!(GpuTally::of_readings(&whole.readings()), whole);
    let never = GpuTally {
        known_seconds: 0.0,
        busy_seconds: 0.0,
        ..before
    };
    assert_eq!(GpuTally::of_readings(&never.readings()), never);
}

#[test]
fn the_end_tells_of_memory_what_no_look_told() {
    let seen = Tally {
        memory_peak_bytes: Some(100),
        memory_charged_peak_bytes: Some(900),
        ..Tally::default()
    };
    let settled = |tally: &Tally, told: Option<u64>, charged: Option<u64>| {
        let mut tally = tally.clone();
        let mut usage = Usage {
            memory_peak_bytes: told,
            memory_charged_peak_bytes: charged,
            ..Usage::default()
        };
        tally.settle_memory(&mut usage);
        (usage.memory_peak_bytes, tally.memory_peak_bytes)
    };
    // A file was there when the most was charged, and none is now.
    assert_eq!(settled(&seen, Some(900), Some(900)), (Some(100), None));
    assert_eq!(settled(&seen, Some(950), Some(950)), (Some(950), None));
    assert_eq!(settled(&seen, Some(20), Some(950)), (Some(100), None));
    assert_eq!(settled(&seen, None, None), (None, Some(100)));
    let unseen = Tally::default();
    assert_eq!(settled(&unseen, Some(20), Some(950)), (Some(20), None));
}

proptest! {
    /// Whatever comes and goes: no more energy is shared out than the counter counted, and nobody is on a GPU longer
    /// than it lived.
    #[test]
    fn nothing_is_made_of_nothing(
        steps in prop::collection::vec((1_u64..5_000, 0.0_f64..1_000.0, prop::collection::btree_map(0_u64..4, 0.0_f64..100.0, 0..4), 0_u64..8), 1..40),
    ) {
        let mut ledger = Ledger::default();
        let (mut now_ms, mut joules) = (0, 0.0);
        let mut lives: BTreeMap<AttemptId, u64> = BTreeMap::new();
        let mut ended: BTreeMap<AttemptId, Tally> = BTreeMap::new();
        for (wait_ms, used, jobs, turn) in steps {
            now_ms += wait_ms;
            let id = attempt(turn % 4);
            let is_known = lives.contains_key(&id);
            if !is_known {
                ledger.begin(id, at(now_ms - wait_ms / 2), Tally::default());
                lives.insert(id, now_ms - wait_ms / 2);
            } else if turn > 5 && !ended.contains_key(&id) {
                let (tally, _) = ledger.end(id, at(now_ms - wait_ms / 3));
                ended.insert(id, tally);
            }
            joules += used;
            let jobs: Vec<(u64, f64)> = jobs
                .into_iter()
                .filter(|(job, _)| lives.contains_key(&attempt(*job)) && !ended.contains_key(&attempt(*job)))
                .collect();
            let (sample, holders) = gpu("GPU-1", &energy_at(joules), &jobs);
            ledger.look(at(now_ms), &sample, &holders);
            ended.extend(ledger.settled());
        }
        let running = lives.keys().filter_map(|id| Some((*id, ledger.tally(*id)?.clone())));
        let mut all: BTreeMap<AttemptId, Tally> = running.collect();
        all.extend(ended);
        let sum: f64 = all.values().filter_map(Tally::energy_joules).sum();
        prop_assert!(sum <= joules + 1e-6, "{} of {}", sum, joules);
        for (id, tally) in &all {
            let lived = (now_ms - lives[id]) as f64 / 1_000.0;
            for gpu in tally.gpus.values() {
                prop_assert!(gpu.seconds <= lived + 1e-6);
                prop_assert!(gpu.busy_seconds <= gpu.known_seconds + 1e-9 && gpu.known_seconds <= gpu.seconds + 1e-9);
            }
        }
    }
}
