//! Cursors and lengths of time: what is read prints as what reads the same, and nothing else is read.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use stoked::logs::read::Cursor as Place;
use stoked::wire::values::{Cursor, Span};

/// Ten years of 366 days in milliseconds: nobody waits longer.
const LONGEST_MS: u64 = 10 * 366 * 86_400_000;

/// Takes any text.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(cursor) = same_after_printing::<Cursor>(&text) {
        assert!((1..=64).contains(&cursor.epoch.len()), "{cursor}");
        // A number may have zeros before it; the rest is as it was given.
        assert!(text.starts_with(&format!("{}:", cursor.epoch)), "{text:?}");
        let json = serde_json::to_string(&cursor).expect("a cursor can be written");
        assert_eq!(serde_json::from_str::<Cursor>(&json).ok(), Some(cursor));
    }
    if let Some(place) = same_after_printing::<Place>(&text) {
        assert_eq!(place.to_string(), text, "a place in a log has one form");
    }
    if let Some(span) = same_after_printing::<Span>(&text) {
        assert!(span.ms <= LONGEST_MS, "{span}");
        let json = serde_json::to_string(&span).expect("a length of time can be written");
        assert_eq!(serde_json::from_str::<Span>(&json).ok(), Some(span));
    }
}

/// The value, if the text is one. An error repeats no more of the text than fits on a screen.
fn same_after_printing<T>(text: &str) -> Option<T>
where
    T: FromStr<Err: Display> + Display + PartialEq + Debug,
{
    match text.parse::<T>() {
        Ok(value) => {
            let printed = value.to_string();
            assert_eq!(
                printed.parse().ok().as_ref(),
                Some(&value),
                "{text:?} became {printed:?}"
            );
            Some(value)
        }
        Err(error) => {
            assert!(
                error.to_string().len() <= 1_000,
                "a long error about {text:?}"
            );
            None
        }
    }
}
