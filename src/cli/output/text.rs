//! Text for people: control characters made harmless, and lengths of time as people say them.

use std::borrow::Cow;
use std::fmt::Write;
use unicode_width::UnicodeWidthStr;

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

/// JSON text in which the same characters are escaped. They can only be inside of strings there.
#[must_use]
pub fn harmless_json(json: String) -> String {
    // A newline or a tab is white space between values here: inside of strings both are escaped already.
    let needs_escape = |c: char| is_harmful(c) && !c.is_ascii_whitespace();
    if !json.chars().any(needs_escape) {
        return json;
    }
    json.chars().fold(String::new(), |mut out, c| {
        if needs_escape(c) {
            let _written = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
        out
    })
}

/// Output of a job for the terminal of somebody else: lines, tabs and colours stay, all other control is taken out.
#[must_use]
pub fn harmless_output(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(c) = rest.chars().next() {
        if let Some(length) = colour_sequence(rest) {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        if matches!(c, '\n' | '\r' | '\t') || !is_harmful(c) {
            out.push(c);
        } else {
            out.push('\u{fffd}');
        }
        rest = &rest[c.len_utf8()..];
    }
    out.into_bytes()
}

/// Length of the `ESC [ digits m` that `text` begins with.
fn colour_sequence(text: &str) -> Option<usize> {
    let body = text.strip_prefix("\u{1b}[")?;
    let end = body.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    body[end..].starts_with('m').then_some(end + 3)
}

/// Controls of both sets, and what reorders text or breaks lines without being one.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

/// Columns that harmless text takes on a terminal.
#[must_use]
pub fn columns(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// As much of `text` as fits into `width` columns, with a sign where it is cut.
#[must_use]
pub fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if columns(text) <= width {
        return Cow::Borrowed(text);
    }
    let Some(room) = width.checked_sub(1) else {
        return Cow::Borrowed("");
    };
    let fits = |at: &usize| columns(&text[..*at]) <= room;
    let ends = text.char_indices().map(|(at, _)| at);
    let end = ends.take_while(fits).last().unwrap_or(0);
    Cow::Owned(format!("{}…", &text[..end]))
}

/// Parts two blanks apart, on as many lines of `width` columns as they need.
#[must_use]
pub fn wrapped(parts: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if columns(line) + 2 + columns(part) <= width => {
                line.push_str("  ");
                line.push_str(part);
            }
            Some(_) | None => lines.push(part.clone()),
        }
    }
    lines
}

/// A command as it could be typed into a shell.
#[must_use]
pub fn command_line(command: &[String]) -> String {
    let words: Vec<_> = command.iter().map(|word| quoted(word)).collect();
    words.join(" ")
}

fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || "-_=+./:,@%^~".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return Cow::Borrowed(word);
    }
    if word.chars().any(is_harmful) {
        let escaped = harmless(&word.replace('\\', "\\\\").replace('\'', "\\'")).into_owned();
        return Cow::Owned(format!("$'{escaped}'"));
    }
    Cow::Owned(format!("'{}'", word.replace('\'', "'\\''")))
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

/// How long ago something was.
#[must_use]
pub fn ago(seconds: f64) -> String {
    if seconds < 1.0 {
        return "just now".to_owned();
    }
    format!("{} ago", rough(seconds))
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
    use proptest::prelude::*;

    #[test]
    fn control_characters_are_written_out() {
        for (text, shown) in [
            ("plain ü 漢", "plain ü 漢"),
            ("a\nb\r\t", "a\\nb\\r\\t"),
            ("\u{1b}[31mred", "\\e[31mred"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("evil\u{202e}gpj", "evil\\u{202e}gpj"),
        ] {
            assert_eq!(harmless(text), shown);
        }
        let json = harmless_json("{\n \"a\":\"\u{9b}\u{202e}\"}".into());
        assert_eq!(json, "{\n \"a\":\"\\u009b\\u202e\"}");
    }

    #[test]
    fn colours_of_output_stay_and_nothing_else() {
        let shown = harmless_output(b"\x1b[1;31mred\x1b[0m\r\n\x1b]0;title\x07\x1b[2J\xff");
        let shown = String::from_utf8(shown).unwrap();
        assert_eq!(
            shown,
            "\u{1b}[1;31mred\u{1b}[0m\r\n\u{fffd}]0;title\u{fffd}\u{fffd}[2J\u{fffd}"
        );
    }

    #[test]
    fn commands_can_be_typed_again() {
        let line = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            command_line(&words)
        };
        assert_eq!(line(&["ls", "-l", "/a/b.c"]), "ls -l /a/b.c");
        assert_eq!(
            line(&["sh", "-c", "echo it's", ""]),
            "sh -c 'echo it'\\''s' ''"
        );
        assert_eq!(line(&["a\nb"]), "$'a\\nb'");
    }

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

    proptest! {
        #[test]
        fn nothing_harmful_comes_out(text in any::<String>(), bytes in any::<Vec<u8>>()) {
            prop_assert!(!harmless(&text).chars().any(is_harmful));
            prop_assert!(!command_line(&[text]).chars().any(is_harmful));
            let output = String::from_utf8(harmless_output(&bytes)).unwrap();
            for (at, c) in output.char_indices().filter(|&(_, c)| is_harmful(c)) {
                prop_assert!("\n\r\t".contains(c) || colour_sequence(&output[at..]).is_some());
            }
        }
    }
}
