//! Words and numbers as people read them, wherever they are told: control characters made harmless, lengths of
//! time, sizes and rates.

pub mod count;

use std::borrow::Cow;
use std::fmt::Write;

/// `text` with every character that could move the cursor, change the terminal or reorder the line written out
/// as an escape. Whatever comes from a job or a submission goes through here before it is shown.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().fold(String::new(), |mut out, c| {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{1b}' => out.push_str("\\e"),
            c if is_harmful(c) => {
                // Writing to a String cannot fail.
                let _written = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
        out
    }))
}

/// Controls of both sets, and what reorders text or breaks lines without being one.
#[must_use]
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

/// A length of time in at most two units: `850ms`, `12s`, `8m04s`, `3h12m`, `2d5h`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_owned();
    }
    if seconds < 1.0 {
        return format!("{:.0}ms", seconds * 1000.0);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and a cast to an integer saturates"
    )]
    let whole = seconds.round() as u64;
    match whole {
        ..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{}h", whole / 86_400, whole / 3600 % 24),
    }
}

/// A length of time in one unit, for "so long ago".
#[must_use]
pub fn rough(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "0s".to_owned();
    }
    match seconds {
        ..59.5 => format!("{seconds:.0}s"),
        ..3570.0 => format!("{:.0}m", seconds / 60.0),
        ..84_600.0 => format!("{:.0}h", seconds / 3600.0),
        _ => format!("{:.0}d", seconds / 86_400.0),
    }
}

/// Bytes in the unit that fits: `512 B`, `1.5 MiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A number without digits that say nothing.
#[must_use]
pub fn number(value: f64) -> String {
    if value != 0.0 && (value.abs() < 1e-4 || value.abs() >= 1e7) && value.fract() != 0.0 {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

/// A rate: three digits say enough of what changes all the time.
#[must_use]
pub fn rate(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => number((value * 100.0).round() / 100.0),
        10.0..100.0 => number((value * 10.0).round() / 10.0),
        _ => number(value.round()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_short() {
        for (seconds, text) in [
            (0.25, "250ms"),
            (12.4, "12s"),
            (484.0, "8m04s"),
            (11_520.0, "3h12m"),
            (190_800.0, "2d5h"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(
            [rough(59.6), rough(7200.0), rough(-1.0)],
            ["1m", "2h", "0s"]
        );
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536 * 1024), "1.5 MiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!(number(0.25), "0.25");
        assert_eq!(number(1000.0), "1000");
        assert_eq!(number(3.2e-5), "3.200e-5");
    }
}
