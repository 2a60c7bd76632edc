//! What must hold of any observation, and of the progress that is made of observations.

use stoked::model::progress::{
    MAX_METRICS, MAX_NAME_CHARS, MAX_STEPS, MAX_TEXT_CHARS, Observation, Progress, Tracker,
};
use stoked::model::time::Stamp;

/// What the readers of output promise: counts that can be true.
pub(super) fn is_sound(seen: &Observation) {
    let counts = [
        seen.step,
        seen.total_steps,
        seen.percent,
        seen.epoch,
        seen.total_epochs,
    ];
    for count in counts.into_iter().flatten() {
        assert!(count.is_finite() && count >= 0.0, "{seen:?}");
    }
    assert!(
        seen.percent.is_none_or(|percent| percent <= 100.0),
        "{seen:?}"
    );
    for (part, whole) in [
        (seen.step, seen.total_steps),
        (seen.epoch, seen.total_epochs),
    ] {
        if let (Some(part), Some(whole)) = (part, whole) {
            assert!(part <= whole && whole > 0.0, "{seen:?}");
        }
    }
    assert!(!seen.is_empty());
}

/// Takes observations in, half a second apart, and looks at what would be shown after each.
pub(super) fn merge(observations: impl IntoIterator<Item = Observation>) {
    let mut tracker = Tracker::default();
    let mut before = Progress::default();
    for (at, seen) in (1_u32..).zip(observations) {
        let ms = at * 500;
        tracker.observe(
            seen,
            Stamp {
                wall_ms: ms.into(),
                boot_ms: ms.into(),
            },
        );
        let now = tracker.progress();
        is_fit_to_show(now);
        if now.phase_number == before.phase_number
            && let (Some(old), Some(new)) = (before.percent, now.percent)
        {
            assert!(new >= old, "{old} % became {new} %");
        }
        before.clone_from(now);
    }
}

fn is_fit_to_show(progress: &Progress) {
    if let Some(percent) = progress.percent {
        assert!((0.0..=100.0).contains(&percent), "{percent} %");
    }
    let numbers = [
        progress.step,
        progress.total_steps,
        progress.epoch,
        progress.total_epochs,
        progress.rate,
        progress.eta_seconds,
        progress.eta_low_seconds,
        progress.eta_high_seconds,
    ];
    for number in numbers.into_iter().flatten() {
        assert!(number.is_finite() && number >= 0.0, "{progress:?}");
    }
    for text in [
        &progress.phase,
        &progress.message,
        &progress.status,
        &progress.error,
    ] {
        fits(text.as_deref(), MAX_TEXT_CHARS);
    }
    fits(progress.unit.as_deref(), MAX_NAME_CHARS);
    assert!(progress.metrics.len() <= MAX_METRICS);
    for (name, value) in &progress.metrics {
        fits(Some(name), MAX_NAME_CHARS);
        assert!(value.is_finite(), "{name} is {value}");
    }
    assert!(progress.steps.len() <= MAX_STEPS);
    for step in &progress.steps {
        let report = &step.report;
        fits(Some(&report.name), MAX_NAME_CHARS);
        fits(report.kind.as_deref(), MAX_NAME_CHARS);
        fits(report.message.as_deref(), MAX_TEXT_CHARS);
        assert!(
            report.percent.is_none_or(|it| (0.0..=100.0).contains(&it)),
            "{step:?}"
        );
        assert!(
            report.weight.is_none_or(|it| it.is_finite() && it >= 0.0),
            "{step:?}"
        );
    }
    // The store keeps it as JSON, in which a number that is none would be lost.
    let stored = serde_json::to_string(progress).expect("progress can be stored");
    let read: Progress = serde_json::from_str(&stored).expect("stored progress can be read");
    assert_eq!(
        serde_json::to_string(&read)
            .expect("it can be stored again")
            .len(),
        stored.len()
    );
}

/// Absent, or short, not empty, and without what moves a cursor.
fn fits(text: Option<&str>, most_chars: usize) {
    if let Some(text) = text {
        assert!((1..=most_chars).contains(&text.chars().count()), "{text:?}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}
