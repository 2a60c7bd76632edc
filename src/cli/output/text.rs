//! Text for people: control characters made harmless, and lengths of time as people say them.

use crate::wire::words::is_harmful;
pub use crate::wire::words::{bytes, duration, harmless, number, rate, rough};
use std::borrow::Cow;
use std::fmt::Write;
use unicode_width::UnicodeWidthStr;

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

/// How long ago something was.
#[must_use]
pub fn ago(seconds: f64) -> String {
    if seconds < 1.0 {
        return "just now".to_owned();
    }
    format!("{} ago", rough(seconds))
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
