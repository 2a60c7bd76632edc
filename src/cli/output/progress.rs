//! How far a job is: the bar, and one line with everything that is known.

use crate::cli::output::style::{Look, Tone};
use crate::cli::output::text;
use crate::wire::progress::{ProgressView, StepView};

/// A bar of `width` columns; eighths of a column are drawn.
#[must_use]
pub fn bar(percent: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let percent = if percent.is_finite() {
        percent.clamp(0.0, 100.0)
    } else {
        0.0
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and eight times the width"
    )]
    let eighths = (percent / 100.0 * width as f64 * 8.0).floor() as usize;
    let (full, part) = (eighths / 8, EIGHTHS[eighths % 8]);
    let used = full + usize::from(!part.is_empty());
    format!("{}{part}{}", "█".repeat(full), "░".repeat(width - used))
}

/// Percent, where it is known. 100 is not shown before it is reached.
#[must_use]
pub fn percent(value: f64) -> String {
    if value >= 100.0 {
        return "100%".to_owned();
    }
    format!("{:.0}%", value.floor())
}

/// Percent as it is shown: `~` marks what was estimated from outside.
#[must_use]
pub fn percent_text(progress: &ProgressView) -> Option<String> {
    let mark = if progress.estimated { "~" } else { "" };
    Some(format!("{mark}{}", percent(known_percent(progress)?)))
}

/// Percent as given, or from the steps.
#[must_use]
pub fn known_percent(progress: &ProgressView) -> Option<f64> {
    progress.percent.or_else(|| {
        let (step, total) = (progress.step?, progress.total_steps?);
        (total > 0.0).then(|| (step / total * 100.0).min(100.0))
    })
}

/// What is known besides the percentage, most important first.
#[must_use]
pub fn facts(progress: &ProgressView) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(phase) = &progress.phase {
        facts.push(text::harmless(phase).into_owned());
    }
    if let Some(epoch) = progress.epoch {
        facts.push(format!("epoch {}", ratio(epoch, progress.total_epochs)));
    }
    if let Some(step) = progress.step {
        facts.push(format!("step {}", ratio(step, progress.total_steps)));
    }
    let failed = |step: &&StepView| step.state == "failed";
    let failed = progress.steps.iter().filter(failed).count();
    if failed > 0 {
        facts.push(format!("{failed} failed"));
    }
    if let Some(rate) = progress.rate {
        let unit = progress.unit.as_deref().unwrap_or("it");
        facts.push(format!("{} {}/s", text::rate(rate), text::harmless(unit)));
    }
    facts
}

/// The metrics, one text each.
#[must_use]
pub fn metrics(progress: &ProgressView) -> Vec<String> {
    let metric = |(name, value): (&String, &f64)| {
        format!("{} {}", text::harmless(name), text::number(*value))
    };
    progress.metrics.iter().map(metric).collect()
}

/// Time left, with its range where `with_range`.
#[must_use]
pub fn eta(progress: &ProgressView, with_range: bool) -> Option<String> {
    let eta = left(progress.eta_seconds?);
    let range = progress.eta_low_seconds.zip(progress.eta_high_seconds);
    let range = range.map(|(low, high)| (left(low), left(high)));
    Some(match range {
        Some((low, high)) if with_range && low != high => format!("{eta} ({low}–{high})"),
        Some(_) | None => eta,
    })
}

/// An estimate has no milliseconds.
fn left(seconds: f64) -> String {
    if (0.0..1.0).contains(&seconds) {
        return "<1s".to_owned();
    }
    text::duration(seconds)
}

/// Everything on one line, as much of it as fits into `width` columns.
#[must_use]
pub fn line(look: &Look, head: &str, progress: &ProgressView, width: usize) -> String {
    let mut parts = Vec::new();
    if let Some(value) = known_percent(progress) {
        parts.push((Tone::Active, bar(value, 16)));
        parts.extend(percent_text(progress).map(|text| (Tone::Strong, text)));
    }
    if let Some(eta) = eta(progress, false) {
        parts.push((Tone::Plain, format!("{eta} left")));
    }
    let faint = |text| (Tone::Faint, text);
    parts.extend(facts(progress).into_iter().map(faint));
    parts.extend(metrics(progress).into_iter().map(faint));
    if let Some(message) = &progress.message {
        parts.push((Tone::Plain, text::harmless(message).into_owned()));
    }
    fitted(look, head, &parts, width)
}

/// `head` and then the parts, two spaces apart, until the next one would not fit.
fn fitted(look: &Look, head: &str, parts: &[(Tone, String)], width: usize) -> String {
    let mut used = head.chars().count();
    let mut out = if used > width {
        return head.chars().take(width).collect();
    } else {
        head.to_owned()
    };
    for (tone, part) in parts {
        let length = part.chars().count() + 2;
        if used + length > width {
            continue;
        }
        used += length;
        out.push_str("  ");
        out.push_str(&look.paint(*tone, part));
    }
    out
}

fn ratio(part: f64, whole: Option<f64>) -> String {
    match whole {
        Some(whole) => format!("{}/{}", text::number(part), text::number(whole)),
        None => text::number(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_exact() {
        assert_eq!(bar(0.0, 4), "░░░░");
        assert_eq!(bar(50.0, 4), "██░░");
        assert_eq!(bar(53.2, 4), "██▏░");
        assert_eq!(bar(100.0, 4), "████");
        assert_eq!(bar(f64::NAN, 2), "░░");
        assert_eq!(bar(1e9, 2), "██");
        assert_eq!([percent(99.99), percent(100.0)], ["99%", "100%"]);
    }

    #[test]
    fn a_line_takes_what_fits() {
        let look = Look {
            colour: false,
            width: 80,
            now: jiff::Timestamp::UNIX_EPOCH,
            zone: jiff::tz::TimeZone::UTC,
        };
        let progress = ProgressView {
            step: Some(520.0),
            total_steps: Some(1000.0),
            eta_seconds: Some(130.0),
            phase: Some("warm\u{1b}up".into()),
            metrics: [("loss".to_owned(), 0.21)].into(),
            ..ProgressView::default()
        };
        let shown = |width| line(&look, "42 train", &progress, width);
        assert_eq!(
            shown(100),
            "42 train  ████████▎░░░░░░░  52%  2m10s left  warm\\eup  step 520/1000  loss 0.21"
        );
        let estimated = ProgressView {
            estimated: true,
            ..progress.clone()
        };
        assert_eq!(percent_text(&estimated).as_deref(), Some("~52%"));
        assert_eq!(shown(32), "42 train  ████████▎░░░░░░░  52%");
        assert_eq!(shown(4), "42 t");
        for width in 0..120 {
            assert!(shown(width).chars().count() <= width);
        }
    }
}
