//! How far a job is: the bar, and one line with everything that is known.

use crate::cli::output::style::{Look, Tone};
use crate::cli::output::text::{self, columns, cut};
use crate::wire::progress::{ProgressView, StepView};
use crate::wire::words::count;

/// Columns of the bar of a line.
const BAR_COLUMNS: usize = 16;
/// A phase is not longer beside its percentage.
const LONGEST_PHASE: usize = 12;

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

/// The name of the phase that the percentage is of, as many words of it as are short.
#[must_use]
pub fn short_phase(progress: &ProgressView) -> Option<String> {
    let phase = text::harmless(progress.phase.as_deref()?.trim());
    let mut short = String::new();
    for word in phase.split(' ') {
        let gap = usize::from(!short.is_empty());
        if gap > 0 && columns(&short) + gap + columns(word) > LONGEST_PHASE {
            break;
        }
        short.extend((gap > 0).then_some(' '));
        short.push_str(word);
    }
    let short = cut(short.trim_end_matches([':', ',']), LONGEST_PHASE);
    (!short.is_empty()).then(|| short.into_owned())
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
        let ratio = count::ratio(epoch, progress.total_epochs);
        facts.push(format!("epoch {ratio}"));
    }
    facts.extend(count::done(progress));
    let failed = |step: &&StepView| step.state == "failed";
    let failed = progress.steps.iter().filter(failed).count();
    if failed > 0 {
        facts.push(format!("{failed} failed"));
    }
    facts.extend(count::rate(progress));
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

/// What a line of progress begins with; each part may be empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head<'a> {
    /// Which job.
    pub mark: &'a str,
    /// Its name; cut where there is no room.
    pub name: &'a str,
    /// What else is to be said; left out where there is no room.
    pub state: &'a str,
}

/// A name is not cut below this for what follows on it.
const SHORTEST_NAME: usize = 6;

impl Head<'_> {
    /// As much of it as fits into `width` columns.
    fn fitted(self, width: usize) -> String {
        let gap = |text: &str, blanks| if text.is_empty() { 0 } else { blanks };
        let taken = columns(self.mark) + gap(self.name, 1);
        let state = columns(self.state) + gap(self.state, 2);
        let shortest = columns(self.name).min(SHORTEST_NAME);
        let has_state = taken + shortest + state <= width;
        let room = width.saturating_sub(taken + if has_state { state } else { 0 });
        let mut out = self.mark.to_owned();
        if room > 0 && !self.name.is_empty() {
            out += &format!(" {}", cut(self.name, room));
        }
        if has_state && !self.state.is_empty() {
            out += &format!("  {}", self.state);
        }
        cut(&out, width).into_owned()
    }
}

/// Everything on one line, as much of it as fits into `width` columns; the percentage before all else.
#[must_use]
pub fn line(look: &Look, head: Head<'_>, progress: &ProgressView, width: usize) -> String {
    let mut parts = Vec::new();
    let percent = percent_text(progress);
    let needed = percent.as_deref().map_or(0, |text| columns(text) + 2);
    if let Some(value) = known_percent(progress) {
        parts.push((Tone::Active, bar(value, BAR_COLUMNS)));
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
    let has_room = columns(head.mark) + needed <= width;
    let needed = if has_room { needed } else { 0 };
    let mut out = head.fitted(width - needed.min(width));
    let mut left = width.saturating_sub(columns(&out) + needed);
    let percent = percent.filter(|_| has_room);
    let shows_bar = parts.first().is_some_and(|(tone, _)| *tone == Tone::Active);
    let mut add = |out: &mut String, (tone, part): &(Tone, String)| {
        if let Some(rest) = left.checked_sub(columns(part) + 2) {
            left = rest;
            *out += &format!("  {}", look.paint(*tone, part));
        }
    };
    if shows_bar {
        add(&mut out, &parts.remove(0));
    }
    if let Some(percent) = percent {
        out += &format!("  {}", look.paint(Tone::Strong, &percent));
    }
    parts.iter().for_each(|part| add(&mut out, part));
    out
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
        let head = Head {
            mark: "● 42",
            name: "train-all",
            state: "8s",
        };
        let shown = |width| line(&look, head, &progress, width);
        assert_eq!(
            shown(100),
            "● 42 train-all  8s  ████████▎░░░░░░░  52%  2m10s left  warm\\eup  step 520/1000  loss 0.21"
        );
        let estimated = ProgressView {
            estimated: true,
            ..progress.clone()
        };
        assert_eq!(percent_text(&estimated).as_deref(), Some("~52%"));
        assert_eq!(shown(41), "● 42 train-all  8s  ████████▎░░░░░░░  52%");
        assert_eq!(shown(23), "● 42 train-all  8s  52%");
        assert_eq!(shown(21), "● 42 train-…  8s  52%");
        assert_eq!(shown(19), "● 42 train-all  52%");
        assert_eq!(shown(15), "● 42 trai…  52%");
        assert_eq!(shown(9), "● 42  52%");
        assert_eq!(shown(3), "● …");
        for width in 0..120 {
            assert!(columns(&shown(width)) <= width);
            assert_eq!(shown(width).contains("52%"), width >= 9, "{width}");
        }
        let wide = Head {
            name: "漢字の仕事",
            ..head
        };
        assert_eq!(line(&look, wide, &progress, 16), "● 42 漢字…  52%");
    }

    #[test]
    fn a_phase_is_named_in_short() {
        let short = |phase: &str| {
            short_phase(&ProgressView {
                phase: Some(phase.into()),
                ..ProgressView::default()
            })
        };
        for (phase, shown) in [
            ("Receiving objects", Some("Receiving")),
            ("Step 3: unpack it", Some("Step 3")),
            ("fit", Some("fit")),
            ("incomprehensibilities", Some("incomprehen…")),
            (" ", None),
        ] {
            assert_eq!(short(phase).as_deref(), shown);
        }
    }
}
