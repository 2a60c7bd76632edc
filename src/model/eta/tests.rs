//! Synthetic traces: the estimate against the naive one from the total average.

use super::*;

/// Pairs of (milliseconds, units done), and when the job really ends.
struct Trace {
    points: Vec<(u64, f64)>,
    total: f64,
}

impl Trace {
    /// `rate(done)` units per second from `start` units on, seen every `every_ms`.
    fn new(start: f64, total: f64, every_ms: u64, rate: impl Fn(f64, u64) -> f64) -> Self {
        let mut points = vec![(0, start)];
        let (mut at, mut done) = (0, start);
        while done < total {
            at += every_ms;
            done = (done + rate(done, at) * seconds(every_ms)).min(total);
            points.push((at, done));
        }
        Self { points, total }
    }

    /// Mean relative errors of (ours, naive) over the middle of the run.
    fn errors(&self) -> (f64, f64) {
        let end = self.points.last().unwrap().0;
        let mut estimator = Estimator::default();
        let (mut ours, mut naive, mut n) = (0.0, 0.0, 0.0);
        for &(at, done) in &self.points {
            estimator.record(at, done, Some(self.total));
            if at < end / 10 || at > end * 9 / 10 {
                continue;
            }
            let truth = seconds(end - at);
            let eta = estimator.estimate(at).unwrap().eta.unwrap();
            assert!(eta.low_seconds <= eta.seconds && eta.seconds <= eta.high_seconds);
            ours += (eta.seconds - truth).abs() / truth;
            naive += (seconds(at) * (self.total - done) / done - truth).abs() / truth;
            n += 1.0;
        }
        (ours / n, naive / n)
    }
}

fn at(estimator: &Estimator, boot_ms: u64) -> Option<Eta> {
    estimator
        .estimate(boot_ms)
        .and_then(|estimate| estimate.eta)
}

#[test]
fn a_constant_rate_is_met_exactly() {
    let (ours, naive) = Trace::new(0.0, 1000.0, 500, |_, _| 5.0).errors();
    assert!(ours < 1e-6 && naive < 1e-6, "{ours} {naive}");
}

#[test]
fn a_job_that_slows_down_is_followed() {
    let halved = Trace::new(
        0.0,
        1000.0,
        500,
        |done, _| if done < 500.0 { 10.0 } else { 2.0 },
    );
    let fading = Trace::new(0.0, 1000.0, 500, |done, _| 10.0 - 9.0 * done / 1000.0);
    for trace in [halved, fading] {
        let (ours, naive) = trace.errors();
        assert!(ours < naive, "{ours} {naive}");
    }
}

#[test]
fn a_job_resumed_from_a_checkpoint_is_not_praised_for_old_work() {
    let (ours, naive) = Trace::new(5000.0, 10_000.0, 500, |_, _| 10.0).errors();
    assert!(ours < 0.01 && naive > 0.2, "{ours} {naive}");
}

#[test]
fn bursts_are_averaged() {
    let bursty = Trace::new(
        0.0,
        2000.0,
        1000,
        |_, at| if at % 10_000 == 0 { 60.0 } else { 0.5 },
    );
    let (ours, naive) = bursty.errors();
    assert!(ours < 0.15, "{ours} {naive}");
    let epochs = Trace::new(
        0.0,
        3000.0,
        200,
        |_, at| if at % 7000 < 2000 { 1.0 } else { 12.0 },
    );
    let (ours, naive) = epochs.errors();
    assert!(ours < 0.15, "{ours} {naive}");
}

#[test]
fn noise_is_not_much_worse_than_the_best_average() {
    let mut state = 7_u64;
    let noise: Vec<f64> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        f64::from(u32::try_from(state >> 40).unwrap()) / f64::from(1 << 24) * 10.0
    })
    .take(4096)
    .collect();
    let pick = |at: u64| noise[usize::try_from(at / 500).unwrap() % noise.len()];
    let (ours, naive) = Trace::new(0.0, 1000.0, 500, |_, at| pick(at)).errors();
    assert!(ours < naive + 0.10, "{ours} {naive}");
}

#[test]
fn nothing_is_said_before_there_is_enough() {
    let mut estimator = Estimator::default();
    for step in 0..4 {
        estimator.record(step * 100, seconds(step * 1000), Some(100.0));
        assert_eq!(estimator.estimate(step * 100), None);
    }
    estimator.record(400, 4.0, Some(100.0));
    assert!(at(&estimator, 400).is_some());
    let mut slow = Estimator::default();
    slow.record(0, 0.0, Some(10.0));
    slow.record(60_000, 1.0, Some(10.0));
    assert!((at(&slow, 60_000).unwrap().seconds - 540.0).abs() < 1.0);
}

#[test]
fn a_stall_widens_and_then_is_unknown() {
    let mut estimator = Estimator::default();
    for second in 0..=60 {
        estimator.record(second * 1000, seconds(second * 1000), Some(100.0));
    }
    let fresh = at(&estimator, 60_000).unwrap();
    let late = at(&estimator, 66_000).unwrap();
    assert!(late.high_seconds > fresh.high_seconds, "{fresh:?} {late:?}");
    assert!(
        late.high_seconds < fresh.high_seconds * 1.5,
        "{fresh:?} {late:?}"
    );
    let mut shown = fresh.seconds;
    for silent_ms in (0..=10_000).step_by(100) {
        let left = at(&estimator, 60_000 + silent_ms).unwrap().seconds;
        assert!(left <= shown, "silence never makes it longer");
        shown = left;
    }
    assert_eq!(at(&estimator, 70_001), None);
    assert_eq!(estimator.estimate(70_001).unwrap().rate, 0.0);
    estimator.record(92_000, 61.0, Some(100.0));
    assert!(at(&estimator, 92_000).is_some(), "it moves again");
}

#[test]
fn a_silence_that_nobody_could_hear_is_no_stall() {
    let mut estimator = Estimator::default();
    for second in 0..=20 {
        estimator.record(second * 1000, seconds(second * 2000), Some(200.0));
    }
    estimator.excuse(70_000);
    assert!(estimator.estimate(70_000).unwrap().rate > 1.9);
    estimator.record(70_000, 140.0, Some(200.0));
    let rate = estimator.estimate(70_000).unwrap().rate;
    assert!((rate - 2.0).abs() < 0.05, "{rate}");
}

#[test]
fn one_interval_says_little() {
    let mut estimator = Estimator::default();
    estimator.record(0, 0.0, Some(5.0));
    estimator.record(4_000, 1.0, Some(5.0));
    let eta = at(&estimator, 4_000).unwrap();
    assert!(eta.low_seconds < 10.0 && eta.high_seconds > 25.0, "{eta:?}");
}

#[test]
fn memory_is_bounded_and_a_fall_begins_anew() {
    let mut estimator = Estimator::default();
    for step in 0..100_000_u32 {
        estimator.record(u64::from(step) * 3, f64::from(step), None);
        assert!(estimator.samples.len() <= samples::MOST);
    }
    let rate = estimator.estimate(300_000).unwrap().rate;
    assert!((rate - 333.0).abs() < 5.0, "{rate}");
    estimator.record(300_000, 0.0, Some(10.0));
    assert_eq!(estimator.estimate(300_000), None);
    estimator.record(300_001, f64::NAN, Some(10.0));
}

#[test]
fn done_is_done() {
    let mut estimator = Estimator::default();
    for step in 0..=10_u32 {
        estimator.record(u64::from(step) * 1000, f64::from(step), Some(10.0));
    }
    assert!(at(&estimator, 10_000).unwrap().seconds.abs() < 1e-9);
}

#[test]
fn breaks_that_come_again_are_part_of_the_rest_and_one_is_not() {
    let run = |breaks: &[u32]| {
        let mut estimator = Estimator::default();
        let mut at_ms = 0;
        for step in 0..=100_u32 {
            if breaks.contains(&step) {
                at_ms += 60_000;
            }
            estimator.record(at_ms, f64::from(step), Some(200.0));
            at_ms += 1_000;
        }
        at(&estimator, at_ms - 1_000).unwrap().seconds
    };
    assert!((run(&[50]) - 100.0).abs() < 5.0, "{}", run(&[50]));
    let again = run(&[20, 40, 60, 80]);
    assert!((again - 400.0).abs() < 20.0, "{again}");
    // From the 80th on each step takes a minute: these are no breaks.
    let slower: Vec<u32> = (80..=100).collect();
    let slow = run(&slower);
    assert!(slow > 4_000.0 && slow < 7_000.0, "{slow}");
}
