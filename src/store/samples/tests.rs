//! Samples as a whole, against a list of all points that were ever measured.

mod bounds;
mod ranges;
mod trouble;
mod verify;

use super::head::SLOT_MS;
use super::seal::{DAY_MS, HOUR_MS};
use super::*;
use crate::model::curve::Spread;
use crate::model::gpu::{GpuUuid, ShareQuality};
use crate::model::id::JobId;
use crate::model::sample::{GpuShare, HostSample, JobSample};
use crate::model::time::Stamp;
use proptest::prelude::*;

/// Monday, 2026-11-23, 00:00 UTC.
const BEGIN_MS: i64 = 1_795_392_000_000;

const LOAD: SeriesKey = SeriesKey {
    entity: Entity::Host,
    metric: Metric::Load1,
};

fn attempt(job: u64) -> AttemptId {
    AttemptId {
        job: JobId(job),
        attempt: 1,
    }
}

fn memory_of(job: u64) -> SeriesKey {
    SeriesKey {
        entity: Entity::Job(attempt(job)),
        metric: Metric::MemoryBytes,
    }
}

/// A pass over the host and some jobs.
fn pass(at_ms: i64, load: f64, jobs: &[u64]) -> Pass {
    let at = Stamp {
        wall_ms: at_ms,
        boot_ms: 0,
    };
    let readings = [(Metric::Load1, load), (Metric::Load5, 1.0)]
        .into_iter()
        .collect();
    let jobs = jobs.iter().map(|job| {
        let bytes = (*job * 4_096) as f64 + load;
        Arc::new(JobSample {
            at,
            attempt: attempt(*job),
            readings: [(Metric::MemoryBytes, bytes)].into_iter().collect(),
            gpus: Vec::new(),
        })
    });
    Pass {
        at,
        host: Some(Arc::new(HostSample {
            at,
            readings,
            ..HostSample::default()
        })),
        gpus: Vec::new(),
        jobs: jobs.collect(),
    }
}

fn everything(most: usize) -> Range {
    Range {
        since_ms: i64::MIN,
        until_ms: i64::MAX,
        most,
        percentiles: false,
    }
}

/// Every point, one by one.
fn points(samples: &Samples, key: &SeriesKey) -> Vec<(i64, f64)> {
    let lines = samples.query(std::slice::from_ref(key), everything(usize::MAX >> 8));
    let points = lines.unwrap().remove(0);
    let each = points.iter();
    each.map(|point| {
        assert_eq!(point.spread.count, 1, "{point:?}");
        (point.at_ms, point.spread.last)
    })
    .collect()
}

fn total(points: &[SamplePoint]) -> Option<Spread> {
    let spreads = points.iter().map(|point| point.spread);
    spreads.reduce(|mut all, next| {
        all.merge(&next);
        all
    })
}

#[test]
fn what_was_measured_is_there_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let samples = Samples::open(dir.path()).unwrap();
    let expected: Vec<(i64, f64)> = (0..400)
        .map(|at| (BEGIN_MS + at * 2_000, (at % 7) as f64))
        .collect();
    for (at_ms, load) in &expected {
        samples.append(&pass(*at_ms, *load, &[1]));
    }
    assert_eq!(points(&samples, &LOAD), expected, "in memory");
    samples.close();
    drop(samples);
    let samples = Samples::open(dir.path()).unwrap();
    assert_eq!(points(&samples, &LOAD), expected, "from the log");
    samples.settle().unwrap();
    assert_eq!(points(&samples, &LOAD), expected, "from its volume");
    let last = samples.last_of(attempt(1)).unwrap();
    let [(entity, readings)] = &last[..] else {
        panic!("{last:?}")
    };
    assert_eq!(*entity, Entity::Job(attempt(1)));
    assert_eq!(
        readings.get(Metric::MemoryBytes),
        Some(4_096.0 + expected[399].1)
    );
    assert_eq!(*samples.condition().borrow(), Condition::Healthy);
    let names: Vec<String> = samples
        .series(&|_| true, i64::MIN, i64::MAX)
        .unwrap()
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["host/load.1", "job/1.1/memory.bytes"]);
}

#[test]
fn what_an_attempt_used_of_a_gpu_is_found_however_long_ago() {
    let dir = tempfile::tempdir().unwrap();
    let samples = Samples::open(dir.path()).unwrap();
    let uuid = GpuUuid("GPU-1".into());
    // For an hour, and then no more for two days; the job goes on.
    for at in 0..49 * 12 {
        let mut next = pass(BEGIN_MS + at * 300_000, at as f64, &[1]);
        if at < 12 {
            let job = Arc::get_mut(&mut next.jobs[0]).unwrap();
            job.gpus.push(GpuShare {
                uuid: uuid.clone(),
                index: 0,
                quality: ShareQuality::Measured,
                readings: [(Metric::GpuSeconds, at as f64)].into_iter().collect(),
                pids: Vec::new(),
            });
        }
        samples.append(&next);
        if at % 10 == 0 {
            samples.settle().unwrap();
        }
    }
    samples.settle().unwrap();
    let last: BTreeMap<_, _> = samples.last_of(attempt(1)).unwrap().into_iter().collect();
    let gpu = &last[&Entity::JobGpu(attempt(1), uuid)];
    assert_eq!(gpu.get(Metric::GpuSeconds), Some(11.0));
    let job = &last[&Entity::Job(attempt(1))];
    let newest = 49.0 * 12.0 - 1.0;
    assert_eq!(job.get(Metric::MemoryBytes), Some(4_096.0 + newest));
    assert_eq!(samples.last_of(attempt(2)).unwrap(), []);
}

#[test]
fn coarser_answers_are_made_of_coarser_tiers_and_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let samples = Samples::open(dir.path()).unwrap();
    let step_ms = 30_000;
    let count = 3 * DAY_MS / step_ms + 100;
    for at in 0..count {
        samples.append(&pass(
            BEGIN_MS + at * step_ms,
            ((at * 37) % 1_000) as f64,
            &[],
        ));
        if at % 100 == 0 {
            samples.settle().unwrap();
        }
    }
    samples.settle().unwrap();
    let bytes = samples.bytes();
    assert!(bytes.values().all(|bytes| *bytes > 0), "{bytes:?}");
    let all = total(&samples.query(&[LOAD], everything(usize::MAX >> 8)).unwrap()[0]).unwrap();
    assert_eq!(i64::try_from(all.count), Ok(count), "nothing is lost");
    for most in [10, 70, 1_000, 5_000] {
        let range = Range {
            percentiles: true,
            ..everything(most)
        };
        let points = samples.query(&[LOAD], range).unwrap().remove(0);
        assert!(
            points.len() <= most && points.len() * 2 > most.min(3 * 24),
            "{}",
            points.len()
        );
        assert_eq!(total(&points), Some(all), "{most}");
        let sketch = points.iter().filter_map(|it| it.sketch.clone());
        let sketch = sketch.reduce(|mut all, next| {
            all.merge(&next);
            all
        });
        let median = sketch.unwrap().quantile(0.5).unwrap();
        assert!((median - 500.0).abs() < 25.0, "{median}");
    }
    // Raw samples go after a day, and the minutes serve in their place.
    let retention = Retention {
        raw_ms: DAY_MS,
        minute_ms: 0,
        hour_ms: 0,
        most_bytes: 0,
    };
    let now_ms = BEGIN_MS + count * step_ms;
    assert!(samples.retain(retention, now_ms).unwrap() > 0);
    let points = samples
        .query(&[LOAD], everything(usize::MAX >> 8))
        .unwrap()
        .remove(0);
    assert_eq!(total(&points), Some(all));
    let later = Range {
        since_ms: BEGIN_MS + DAY_MS,
        until_ms: BEGIN_MS + DAY_MS + HOUR_MS - 1,
        ..everything(1_000_000)
    };
    let hour = samples.query(&[LOAD], later).unwrap().remove(0);
    assert_eq!(hour.len(), 60, "by the minute");
    let small = Retention {
        most_bytes: 1,
        ..retention
    };
    samples.retain(small, now_ms + 400 * DAY_MS).unwrap();
    let left = samples.owner.shared.shelf.places(Tier::Raw);
    assert_eq!(left.len(), 1, "what is not rolled up stays: {left:?}");
}

#[test]
fn a_damaged_volume_is_set_aside_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let samples = Samples::open(dir.path()).unwrap();
    samples.append(&pass(BEGIN_MS, 1.0, &[]));
    samples.settle().unwrap();
    let raw = dir.path().join("raw");
    let volume = std::fs::read_dir(&raw)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::write(&volume, vec![7; 40_000]).unwrap();
    samples.append(&pass(BEGIN_MS + SLOT_MS, 2.0, &[]));
    samples.settle().unwrap();
    assert_eq!(points(&samples, &LOAD), [(BEGIN_MS + SLOT_MS, 2.0)]);
    let names: Vec<String> = std::fs::read_dir(&raw)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names.iter().any(|name| name.contains(".damaged-")),
        "{names:?}"
    );
}

#[test]
fn a_volume_of_a_newer_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let samples = Samples::open(dir.path()).unwrap();
    samples.append(&pass(BEGIN_MS, 1.0, &[]));
    samples.settle().unwrap();
    let place = Shelf::new(dir.path()).place(Tier::Raw, BEGIN_MS);
    let newer = rusqlite::Connection::open(&place.path).unwrap();
    newer.pragma_update(None, "user_version", 1_000).unwrap();
    drop(newer);
    samples.append(&pass(BEGIN_MS + SLOT_MS, 2.0, &[]));
    let refused = samples.settle().unwrap_err().to_string();
    assert!(refused.contains("a newer stoked wrote it"), "{refused}");
    assert_eq!(
        points(&samples, &LOAD),
        [(BEGIN_MS + SLOT_MS, 2.0)],
        "it waits in memory"
    );
}

#[derive(Clone, Debug)]
enum Act {
    /// So many samples, so far apart, of these jobs.
    Measure(u16, u32, Vec<u64>),
    /// Time passes, or the clock is set.
    Jump(i64),
    Settle,
    Restart,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1_u16..80, 100_u32..60_000, prop::collection::vec(1_u64..4, 0..3)).prop_map(|(count, step, mut jobs)| {
            jobs.sort_unstable();
            jobs.dedup();
            Act::Measure(count, step, jobs)
        }),
        2 => (-3 * HOUR_MS..2 * DAY_MS).prop_map(Act::Jump),
        1 => Just(Act::Settle),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_is_there_twice(acts in prop::collection::vec(acts(), 1..12)) {
        let dir = tempfile::tempdir().unwrap();
        let mut samples = Samples::open(dir.path()).unwrap();
        let mut expected: BTreeMap<SeriesKey, BTreeMap<i64, f64>> = BTreeMap::new();
        let mut now_ms = BEGIN_MS;
        for act in acts {
            match act {
                Act::Measure(count, step, jobs) => {
                    for at in 0..i64::from(count) {
                        now_ms += i64::from(step);
                        // Two of one instant cannot be told apart below.
                        while expected.get(&LOAD).is_some_and(|it| it.contains_key(&now_ms)) {
                            now_ms += 1;
                        }
                        let load = ((at * 31) % 50) as f64;
                        samples.append(&pass(now_ms, load, &jobs));
                        expected.entry(LOAD).or_default().insert(now_ms, load);
                        for job in &jobs {
                            let bytes = (*job * 4_096) as f64 + load;
                            expected.entry(memory_of(*job)).or_default().insert(now_ms, bytes);
                        }
                        if at % 10 == 9 {
                            samples.settle().unwrap();
                        }
                    }
                }
                Act::Jump(ms) => now_ms = (now_ms + ms).max(BEGIN_MS),
                Act::Settle => samples.settle().unwrap(),
                Act::Restart => {
                    samples.close();
                    samples = Samples::open(dir.path()).unwrap();
                }
            }
        }
        for (key, wanted) in &expected {
            let points = points(&samples, key);
            let wanted: Vec<(i64, f64)> = wanted.iter().map(|(at_ms, value)| (*at_ms, *value)).collect();
            prop_assert_eq!(points, wanted);
        }
        // Coarser, over whole days.
        let load = expected.get(&LOAD).cloned().unwrap_or_default();
        for most in [3, 40, 2_000] {
            let day = Range {
                since_ms: BEGIN_MS,
                until_ms: BEGIN_MS + 2 * DAY_MS - 1,
                most,
                percentiles: false,
            };
            let points = samples.query(&[LOAD], day).unwrap().remove(0);
            prop_assert!(points.len() <= most);
            let within = load.range(day.since_ms..=day.until_ms);
            let sum: f64 = within.clone().map(|(_, value)| *value).sum();
            let found = total(&points);
            prop_assert_eq!(found.map_or(0, |it| it.count), within.clone().count() as u64);
            prop_assert!((found.map_or(0.0, |it| it.sum) - sum).abs() < 1e-6);
            let last = within.last().map(|(_, value)| *value);
            prop_assert_eq!(points.last().map(|it| it.spread.last), last);
        }
    }
}
