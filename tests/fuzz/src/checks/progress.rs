//! What must hold of any observation, and of the progress that is made of observations.

use stoked::model::progress::{
    MAX_METRICS, MAX_NAME_CHARS, MAX_STEPS, MAX_TEXT_CHARS, Observation, Progress, Source, Tracker,
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
    assert!(is_part(seen.step, seen.total_steps), "{seen:?}");
    assert!(is_part(seen.epoch, seen.total_epochs), "{seen:?}");
    assert!(!seen.is_empty());
}

/// Whether there is no more of it than of the whole, where both are known.
fn is_part(part: Option<f64>, whole: Option<f64>) -> bool {
    part.zip(whole)
        .is_none_or(|(part, whole)| part <= whole && whole > 0.0)
}

/// Whether it may be relied on to tell parts with their wholes: whoever reports by hand may tell one at a time, and
/// more of it than there is.
fn tells_parts(seen: &Observation) -> bool {
    matches!(seen.source, Source::Adapter(_))
        && is_part(seen.step, seen.total_steps)
        && is_part(seen.epoch, seen.total_epochs)
        && (seen.epoch.is_some() || seen.total_epochs.is_none())
}

/// Takes observations in, half a second apart, and looks at what would be shown after each.
pub(super) fn merge(observations: impl IntoIterator<Item = Observation>) {
    let mut tracker = Tracker::default();
    let mut before = Progress::default();
    let mut can_be_true = true;
    for (at, seen) in (1_u32..).zip(observations) {
        let ms = at * 500;
        can_be_true &= tells_parts(&seen);
        tracker.observe(
            seen,
            Stamp {
                wall_ms: ms.into(),
                boot_ms: ms.into(),
            },
        );
        let now = tracker.progress();
        let has_parts = is_part(now.step, now.total_steps) && is_part(now.epoch, now.total_epochs);
        assert!(has_parts || !can_be_true, "{now:?}");
        is_fit_to_show(now);
        is_fit_to_show(&stored(now));
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
}

/// The same after it was in the store, which keeps it as JSON: a number may have lost its last digit there, no more.
fn stored(progress: &Progress) -> Progress {
    let text = serde_json::to_string(progress).expect("progress can be stored");
    let read: Progress = serde_json::from_str(&text).expect("stored progress can be read");
    let names = |it: &Progress| it.metrics.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&read), names(progress));
    assert_eq!(read.steps.len(), progress.steps.len());
    read
}

/// Absent, or short, not empty, and without what moves a cursor.
fn fits(text: Option<&str>, most_chars: usize) {
    if let Some(text) = text {
        assert!((1..=most_chars).contains(&text.chars().count()), "{text:?}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}
