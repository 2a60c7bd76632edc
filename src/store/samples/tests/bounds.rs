//! What may be in memory and on disk, however long it goes on and however many jobs come and go.

use super::*;
use crate::model::gpu::{GpuCondition, GpuIdentity, GpuSample, GpuUuid};
use crate::model::sample::GpuState;

#[test]
fn three_days_keep_memory_and_files_inside_their_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let samples = Samples::open(dir.path()).unwrap();
    let gpu = |at: Stamp, at_s: i64, index: u32| {
        let readings = [
            (Metric::UtilizationPercent, (at_s % 100) as f64),
            (Metric::PowerWatts, 250.0 + (at_s % 7) as f64),
            (Metric::MemoryUsedBytes, 1e10),
            (Metric::EnergyJoules, at_s as f64 * 253.0),
        ];
        Arc::new(GpuState {
            at,
            sample: GpuSample {
                readings: readings.into_iter().collect(),
                ..GpuSample::unmeasured(
                    GpuIdentity::new(
                        GpuUuid(format!("GPU-{index}").into()),
                        index,
                        "nvidia",
                        "Made",
                    ),
                    GpuCondition::Ok,
                )
            },
            holders: Vec::new(),
            since_ms: 0,
        })
    };
    let retention = Retention {
        raw_ms: DAY_MS,
        minute_ms: 0,
        hour_ms: 0,
        most_bytes: 0,
    };
    let (mut most_points, mut newest_job) = (0, 0);
    let step_s = 10;
    for at_s in (0..72 * 3_600_i64).step_by(step_s) {
        // Two jobs all the time, and two at a time that live for three minutes each.
        let generation = at_s.unsigned_abs() / 180;
        let come_and_go = [0, 1].map(|lane| 3 + generation * 2 + lane);
        let jobs: Vec<u64> = [1, 2].into_iter().chain(come_and_go).collect();
        newest_job = jobs[3];
        let mut next = pass(BEGIN_MS + at_s * 1_000, (at_s % 11) as f64, &jobs);
        next.gpus = (0..2).map(|index| gpu(next.at, at_s, index)).collect();
        samples.append(&next);
        let state = lock(&samples.owner.shared.state);
        let heads = state
            .closed
            .iter()
            .map(|(_, head)| &**head)
            .chain([&state.current]);
        let points = heads.flat_map(|head| head.chunks.values());
        most_points = most_points.max(points.map(|it| it.times.len() * it.columns.len()).sum());
        drop(state);
        if at_s % 1_800 == 0 {
            samples.settle().unwrap();
        }
        if at_s % 43_200 == 0 {
            samples.retain(retention, BEGIN_MS + at_s * 1_000).unwrap();
        }
    }
    samples.settle().unwrap();
    assert!(newest_job > 2_500, "{newest_job} jobs");
    let per_slot = usize::try_from(SLOT_MS).unwrap() / 1_000 / step_s * 13;
    assert!(
        most_points <= 4 * per_slot,
        "{most_points} points in memory"
    );
    let files: Vec<_> = Tier::ALL
        .iter()
        .flat_map(|tier| samples.owner.shared.shelf.places(*tier))
        .collect();
    assert!(files.len() <= 5, "{files:?}");
    let bytes = samples.bytes();
    // Raw: two days at most are left, and a point takes a byte and a bit.
    let points_per_day = 8_640 * 11;
    // What comes and goes has a name and a row of its own each time, beside its points.
    let of_jobs = |days: u64| days * 2 * 480 * 80;
    let most = |days, steady: u64| steady + of_jobs(days);
    assert!(
        bytes[&Tier::Raw] < most(2, 3 * 2 * points_per_day),
        "{bytes:?}"
    );
    assert!(
        bytes[&Tier::Minute] < most(3, 3 * 1_440 * 11 * 16),
        "{bytes:?}"
    );
    assert!(bytes[&Tier::Hour] < most(3, 3 * 24 * 11 * 200), "{bytes:?}");
    assert_eq!(
        std::fs::read_dir(dir.path().join("log")).unwrap().count(),
        0
    );
}

/// Sizes of all volumes by their paths, the finest tier first and of that the oldest.
fn sizes(samples: &Samples) -> Vec<(String, u64)> {
    let shelf = &samples.owner.shared.shelf;
    let places = Tier::ALL.iter().flat_map(|tier| shelf.places(*tier));
    let name = |place: &Place| {
        let path = place.path.strip_prefix(shelf.dir()).unwrap();
        path.display().to_string()
    };
    places.map(|place| (name(&place), place.bytes())).collect()
}

#[test]
fn what_is_too_much_goes_when_more_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let samples = Samples::open(dir.path()).unwrap();
    let hour_of = |hour: i64| {
        for minute in 0..60 {
            let at_ms = BEGIN_MS + hour * HOUR_MS + minute * 60_000;
            samples.append(&pass(at_ms, (minute * 37 % 101) as f64, &[1, 2, 3, 4]));
        }
        samples.settle().unwrap();
    };
    (0..4 * 24).for_each(hour_of);
    let before = sizes(&samples);
    let names: Vec<&str> = before.iter().map(|(name, _)| name.as_str()).collect();
    let days = ["23", "24", "25", "26"].map(|day| format!("raw/2026-11-{day}.db"));
    assert_eq!(names[..4], days.each_ref().map(String::as_str));
    let all: u64 = before.iter().map(|(_, bytes)| bytes).sum();
    let day: u64 = before[1].1;
    // Nobody has looked at the clock since: it is said once how much may be, and holds from then on.
    let retention = Retention {
        raw_ms: 0,
        minute_ms: 0,
        hour_ms: 0,
        most_bytes: all + day,
    };
    assert_eq!(samples.retain(retention, BEGIN_MS).unwrap(), 0);
    hour_of(4 * 24);
    assert_eq!(
        sizes(&samples).len(),
        before.len() + 1,
        "it is no more than may be"
    );
    (4 * 24 + 1..5 * 24).for_each(hour_of);
    let left = sizes(&samples);
    assert!(left.iter().map(|(_, bytes)| bytes).sum::<u64>() <= retention.most_bytes);
    assert_eq!(
        left[0].0, days[1],
        "the oldest of the finest went, and no other"
    );
    // However little may be, what is of the present and what is not rolled up yet stay.
    let nothing = Retention {
        most_bytes: 1,
        ..retention
    };
    samples.retain(nothing, BEGIN_MS).unwrap();
    hour_of(5 * 24);
    let left = sizes(&samples);
    let names: Vec<&str> = left.iter().map(|(name, _)| name.as_str()).collect();
    let present = ["raw/2026-11-28.db", "minute/2026-11.db", "hour/2026.db"];
    assert_eq!(names, present);
}
