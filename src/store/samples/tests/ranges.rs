//! Any range at any resolution, after any retention, against all values that were ever measured.

use super::*;
use crate::model::sketch::ERROR;
use crate::store::samples::seal::MINUTE_MS;

const LENGTH_MS: i64 = 3 * DAY_MS;

fn value_at(place: i64) -> f64 {
    // Steps, stretches that stand still, and now and then something large.
    match place % 97 {
        13 => 50_000.0,
        place @ 20..60 => (place / 20) as f64,
        place => ((place * 7_919) % 1_000) as f64 / 10.0,
    }
}

fn filled(dir: &Path) -> (Samples, Vec<(i64, f64)>) {
    let samples = Samples::open(dir).unwrap();
    let mut all = Vec::new();
    let mut at_ms = BEGIN_MS;
    for place in 0.. {
        // The cadence changes, and for some hours nobody measures.
        at_ms += if place % 500 == 250 {
            5 * HOUR_MS
        } else {
            7_000 + place % 5 * 9_000
        };
        if at_ms >= BEGIN_MS + LENGTH_MS {
            break;
        }
        samples.append(&pass(at_ms, value_at(place), &[]));
        all.push((at_ms, value_at(place)));
        if place % 100 == 0 {
            samples.flush().unwrap();
        }
    }
    samples.flush().unwrap();
    (samples, all)
}

fn exact(sorted: &[f64], part: f64) -> f64 {
    sorted[(part * (sorted.len() - 1) as f64).round() as usize]
}

fn agree(samples: &Samples, all: &[(i64, f64)], range: Range) {
    let points = samples.query(&[LOAD], range).unwrap().remove(0);
    assert!(points.len() <= range.most, "{} points", points.len());
    assert!(points.is_sorted_by_key(|it| it.at_ms));
    let within = all.iter().filter(|(at_ms, _)| range.has(*at_ms));
    let mut values: Vec<f64> = within.clone().map(|it| it.1).collect();
    let Some(found) = total(&points) else {
        return assert_eq!(values, [0.0; 0]);
    };
    assert_eq!(found.count, values.len() as u64, "{range:?} {points:?}");
    assert_eq!(Some(found.last), values.last().copied());
    assert!((found.sum - values.iter().sum::<f64>()).abs() < 0.005 * values.len() as f64);
    let sketch = points.iter().filter_map(|it| it.sketch.clone());
    let sketch = sketch.reduce(|mut all, next| {
        all.merge(&next);
        all
    });
    values.sort_by(f64::total_cmp);
    assert_eq!(
        (found.min, found.max),
        (values[0], values[values.len() - 1])
    );
    for part in [0.0, 0.5, 0.95, 0.99, 1.0] {
        let (told, wanted) = (
            sketch.as_ref().unwrap().quantile(part).unwrap(),
            exact(&values, part),
        );
        assert!(
            (told - wanted).abs() <= wanted.abs() * ERROR * 1.001 + 0.006,
            "{told} for {wanted}"
        );
    }
    // Each point is of values that were measured when it says.
    for point in &points {
        let newest = all.iter().find(|(at_ms, _)| *at_ms == point.at_ms);
        assert_eq!(newest.map(|it| it.1), Some(point.spread.last));
    }
}

#[test]
fn any_range_at_any_resolution_says_what_was_measured() {
    let dir = tempfile::tempdir().unwrap();
    let (samples, all) = filled(dir.path());
    let ranges = || {
        let since = -HOUR_MS..LENGTH_MS;
        (since, 0..LENGTH_MS, 1_usize..3_000)
    };
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    agree(
        &samples,
        &all,
        Range {
            since_ms: BEGIN_MS + 85402001,
            until_ms: BEGIN_MS + 85402001 + 33999,
            most: 1,
            percentiles: true,
        },
    );
    let outcome = runner.run(&ranges(), |(since, span, most)| {
        let range = Range {
            since_ms: BEGIN_MS + since,
            until_ms: BEGIN_MS + since + span,
            most,
            percentiles: true,
        };
        agree(&samples, &all, range);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn where_the_finer_is_gone_the_coarser_says_the_same_of_whole_hours() {
    let dir = tempfile::tempdir().unwrap();
    let (samples, all) = filled(dir.path());
    let now_ms = BEGIN_MS + LENGTH_MS;
    let mut retention = Retention {
        raw_ms: DAY_MS,
        minute_ms: 0,
        hour_ms: 0,
        most_bytes: 0,
    };
    samples.settle().unwrap();
    // So that all hours are over, and others take their place.
    for later_ms in [HOUR_MS, 40 * DAY_MS, 80 * DAY_MS] {
        samples.append(&pass(now_ms + later_ms, 1.0, &[]));
        samples.settle().unwrap();
    }
    for minute_ms in [0, DAY_MS] {
        retention.minute_ms = minute_ms;
        samples.retain(retention, now_ms + 120 * DAY_MS).unwrap();
        for (since, until) in [(0, 72), (0, 24), (5, 29), (30, 31), (47, 72)] {
            for most in [1, 20, 72, 500, 4_000] {
                let range = Range {
                    since_ms: BEGIN_MS + since * HOUR_MS,
                    until_ms: BEGIN_MS + until * HOUR_MS - 1,
                    most,
                    percentiles: true,
                };
                agree(&samples, &all, range);
            }
        }
    }
}

#[test]
fn what_was_measured_by_a_time_is_known_as_long_as_anything_is() {
    let dir = tempfile::tempdir().unwrap();
    let (samples, all) = filled(dir.path());
    let now_ms = BEGIN_MS + LENGTH_MS;
    let load = |at_ms: i64| {
        let moments = samples.at(&|entity| *entity == Entity::Host, at_ms);
        let moment = moments.get(&Entity::Host)?;
        Some((moment.at_ms, moment.readings.get(Metric::Load1).unwrap()))
    };
    let before = |at_ms: i64| {
        all.iter()
            .rev()
            .find(|(newest, _)| *newest <= at_ms)
            .copied()
    };
    let times = || (-10..100).map(|place| BEGIN_MS + place * LENGTH_MS / 100 + 12_345);
    let lately = |at_ms: i64| before(at_ms).filter(|(newest, _)| at_ms - newest <= 70_000);
    let last_of = |at_ms: i64, length_ms: i64| {
        let place = at_ms.div_euclid(length_ms);
        let last = before((place + 1) * length_ms - 1);
        last.filter(|(newest, _)| newest.div_euclid(length_ms) == place)
    };
    for at_ms in times() {
        assert_eq!(load(at_ms), lately(at_ms), "{}", at_ms - BEGIN_MS);
    }
    assert!(
        times().any(|at_ms| lately(at_ms).is_none()),
        "nobody measured"
    );
    samples.settle().unwrap();
    for later_ms in [HOUR_MS, 40 * DAY_MS, 80 * DAY_MS] {
        samples.append(&pass(now_ms + later_ms, 1.0, &[]));
        samples.settle().unwrap();
    }
    let mut retention = Retention {
        raw_ms: DAY_MS,
        minute_ms: 0,
        hour_ms: 0,
        most_bytes: 0,
    };
    samples.retain(retention, now_ms + 120 * DAY_MS).unwrap();
    for at_ms in times() {
        assert_eq!(load(at_ms), last_of(at_ms, MINUTE_MS), "of the minute");
    }
    retention.minute_ms = DAY_MS;
    samples.retain(retention, now_ms + 120 * DAY_MS).unwrap();
    for at_ms in times() {
        assert_eq!(load(at_ms), last_of(at_ms, HOUR_MS), "of the hour");
    }
}
