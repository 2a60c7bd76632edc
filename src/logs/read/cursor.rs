//! The place of a reader as a value and as a string.

use std::fmt;
use std::str::FromStr;

use crate::logs::record::RECORD_BYTES;
use crate::logs::segment::MOST_OFFSET;

/// A place in a log. Its string form is opaque to clients, safe in a URL and stays valid as long as the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Logical offsets of stdout and stderr.
    pub(super) offsets: [u64; 2],
    /// Logical offset in the order.
    pub(super) order: u64,
}

/// The string is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read the log position {text:?}: it is not one that a log read has returned")]
pub struct BadCursor {
    /// What was given, cut to a reasonable length.
    pub text: String,
}

/// So that a later form can be told from this one.
const FORM: &str = "1";
const LONGEST_SHOWN: usize = 80;

impl fmt::Display for Cursor {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [stdout, stderr] = self.offsets;
        write!(to, "{FORM}.{stdout}.{stderr}.{}", self.order)
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Cursor, BadCursor> {
        parse(text).ok_or_else(|| BadCursor {
            text: text.chars().take(LONGEST_SHOWN).collect(),
        })
    }
}

fn parse(text: &str) -> Option<Cursor> {
    let mut parts = text.split('.');
    if parts.next() != Some(FORM) {
        return None;
    }
    let mut number = || parts.next()?.parse().ok().filter(|n| *n <= MOST_OFFSET);
    let cursor = Cursor {
        offsets: [number()?, number()?],
        order: number()?,
    };
    let whole = parts.next().is_none() && cursor.order.is_multiple_of(RECORD_BYTES);
    (whole && cursor.to_string() == text).then_some(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_string_form_and_nothing_else_parses() {
        let cursor = Cursor {
            offsets: [MOST_OFFSET, 7],
            order: 320,
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in [
            "",
            "1",
            "1.2.3",
            "1.2.3.33",
            "2.0.0.0",
            "1.0.0.0.0",
            "1.+0.0.0",
            "1.-1.0.0",
            "1.0.0.18446744073709551584",
        ] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
