//! The ETA of a tracked attempt over time: claims, silence, pauses, restarts, earlier runs.

use super::*;
use crate::model::eta::PastRuns;

fn running(tracker: &mut Tracker, seconds: std::ops::RangeInclusive<u32>) {
    for second in seconds {
        tracker.observe(bar(f64::from(second), 1000.0), at(second.into()));
    }
}

/// The instants at which a silent attempt is looked at, seconds.
fn looks(tracker: &mut Tracker, from: u64) -> Vec<u64> {
    let mut now = at(from);
    let mut seen = Vec::new();
    while let Some(next) = tracker.next_refresh(now) {
        assert!(next > now.boot_ms, "{next} is not later");
        now = Stamp::default().plus_ms(next);
        tracker.refresh(now);
        seen.push(next / 1000);
        assert!(seen.len() < 500, "it is looked at for ever");
    }
    seen
}

#[test]
fn a_silent_job_is_looked_at_seldom_until_it_is_stalled() {
    let mut tracker = Tracker::default();
    running(&mut tracker, 0..=60);
    let before = tracker.progress().eta_seconds.unwrap();
    assert_eq!(looks(&mut tracker, 60), [65, 70, 70]);
    let progress = tracker.progress();
    assert_eq!((progress.eta_seconds, progress.rate), (None, Some(0.0)));
    assert!(before > 900.0);
    tracker.observe(bar(61.0, 1000.0), at(91));
    assert!(tracker.progress().eta_seconds.is_some(), "it moves again");
}

#[test]
fn a_claim_is_looked_at_until_it_holds_no_more() {
    let claim = Observation {
        eta_seconds: Some(500.0),
        rate: Some(2.0),
        ..bar(1.0, 100.0)
    };
    let mut tracker = Tracker::default();
    tracker.observe(claim, at(0));
    assert_eq!(tracker.progress().eta_basis, Some(EtaBasis::Claim));
    assert_eq!(looks(&mut tracker, 0).last(), Some(&60));
    let progress = tracker.progress();
    assert_eq!((progress.eta_seconds, progress.eta_basis), (None, None));
    assert_eq!(progress.rate, None, "an old rate is not shown");
}

#[test]
fn time_stands_still_while_frozen() {
    let mut tracker = Tracker::default();
    running(&mut tracker, 0..=50);
    tracker.paused(at(50));
    assert_eq!(tracker.next_refresh(at(51)), None);
    assert!(tracker.refresh(at(51)));
    assert_eq!(tracker.progress().rate, None, "nothing is done now");
    assert!(!tracker.refresh(at(9000)));
    tracker.resumed(at(9000));
    assert!(tracker.next_refresh(at(9000)).is_some());
    let claim = Observation {
        eta_seconds: Some(100.0),
        ..Observation::new(Source::Api)
    };
    let mut told = Tracker::default();
    told.observe(
        Observation {
            step: Some(1.0),
            ..claim
        },
        at(0),
    );
    told.paused(at(10));
    told.refresh(at(5000));
    assert_eq!(told.progress().eta_seconds, Some(90.0));
    told.resumed(at(5000));
    told.refresh(at(5010));
    assert_eq!(told.progress().eta_seconds, Some(80.0));
}

#[test]
fn earlier_runs_say_what_a_silent_job_does_not() {
    let mut tracker = Tracker::default();
    let past = PastRuns::new(&[100_000, 110_000, 120_000]);
    tracker.compare(past, 5_000, at(5));
    assert!(tracker.refresh(at(5)));
    let progress = tracker.progress();
    assert_eq!(progress.eta_seconds, Some(105.0));
    assert_eq!(progress.eta_basis, Some(EtaBasis::History));
    let seen = looks(&mut tracker, 5);
    assert_eq!(seen.last(), Some(&120), "{seen:?}");
    assert!(seen.len() < 30, "{seen:?}");
    assert_eq!(
        tracker.progress().eta_seconds,
        None,
        "longer than all of them"
    );
}

#[test]
fn a_measured_pace_outranks_earlier_runs() {
    let mut tracker = Tracker::default();
    tracker.compare(PastRuns::new(&[5_000_000]), 0, at(0));
    running(&mut tracker, 0..=60);
    assert_eq!(tracker.progress().eta_basis, Some(EtaBasis::Rate));
    tracker.refresh(at(900));
    assert_eq!(tracker.progress().eta_seconds, None, "stalled is unknown");
}

#[test]
fn what_was_known_before_a_restart_holds_for_a_while() {
    let mut before = Tracker::default();
    running(&mut before, 0..=100);
    let stored = before.progress().clone();
    let mut tracker = Tracker::resume(stored);
    tracker.refresh(at(110));
    let eta = tracker.progress().eta_seconds.unwrap();
    assert!((eta - 890.0).abs() < 20.0, "{eta}");
    assert!(looks(&mut tracker, 110).last().unwrap() < &400);
    assert_eq!(tracker.progress().eta_seconds, None);
}

#[test]
fn a_total_that_grows_costs_no_estimate() {
    let mut tracker = Tracker::default();
    let mut phases = 0;
    for second in 0..=100_u32 {
        let total = 1000.0 + f64::from(second * second / 5);
        tracker.observe(bar(f64::from(second) * 10.0, total), at(second.into()));
        let progress = tracker.progress();
        if second > 10 {
            let left = (total - f64::from(second) * 10.0) / 10.0;
            let eta = progress.eta_seconds.unwrap();
            assert!(
                (eta - left).abs() < 2.0 + left * 0.05,
                "{second}: {eta} {left}"
            );
        }
        phases = progress.phase_number;
    }
    assert!(phases > 0, "where percent fell, a new phase began");
}

#[test]
fn a_rate_that_the_job_claimed_goes_when_it_falls_silent() {
    let mut tracker = Tracker::default();
    for second in 0..=20_u32 {
        let said = Observation {
            rate: Some(9.92),
            ..bar(f64::from(second), 100.0)
        };
        tracker.observe(said, at(second.into()));
    }
    assert_eq!(tracker.progress().rate, Some(9.92));
    looks(&mut tracker, 20);
    let progress = tracker.progress();
    assert_eq!((progress.rate, progress.eta_seconds), (Some(0.0), None));
}

#[test]
fn nonsense_is_no_claim_and_a_countdown_goes_on() {
    for nonsense in [99_999_999_999.0, 1e308, f64::INFINITY, f64::NAN] {
        let mut tracker = Tracker::default();
        let said = Observation {
            eta_seconds: Some(nonsense),
            ..bar(1.0, 100.0)
        };
        tracker.observe(said, at(0));
        assert_eq!(tracker.progress().eta_seconds, None);
    }
    let mut tracker = Tracker::default();
    tracker.compare(PastRuns::new(&[20_000, 20_000]), 5_000, at(5));
    tracker.refresh(at(5));
    let later = tracker.progress().clone().aged(4_000);
    assert_eq!(later.eta_seconds, Some(11.0));
    assert_eq!(later.aged(60_000).eta_seconds, Some(0.0));
}

#[test]
fn what_is_over_has_nothing_left() {
    let mut tracker = Tracker::default();
    running(&mut tracker, 0..=60);
    assert!(tracker.end() && !tracker.end());
    assert_eq!(tracker.progress().eta_seconds, None);
    assert_eq!(tracker.progress().percent, Some(6.0));
}
