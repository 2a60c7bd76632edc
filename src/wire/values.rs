//! Value types of the JSON contract that more than one message uses: durations, references, cursors.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A length of time. In JSON a number of seconds, or text such as `"90s"`, `"1h 30m"`, `"2 days"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "DurationSchema")]
pub struct Span {
    /// Milliseconds.
    pub ms: u64,
}

/// What a [`Span`] looks like in JSON.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum DurationSchema {
    /// Seconds.
    Seconds(f64),
    /// A number with a unit, as in `1h 30m`.
    Text(String),
}

/// A text that is not a length of time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" is not a length of time: write seconds, or a unit as in 90s, 15m, 1h30m, 2d")]
pub struct NotASpan(String);

/// The longest span anybody may ask for: ten years.
const LONGEST_SECONDS: f64 = 10.0 * 366.0 * 86_400.0;

impl Span {
    /// A span of `ms` milliseconds.
    #[must_use]
    pub fn from_ms(ms: u64) -> Self {
        Self { ms }
    }

    fn from_seconds(seconds: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was checked"
        )]
        (0.0..=LONGEST_SECONDS).contains(&seconds).then(|| Self {
            ms: (seconds * 1000.0).round() as u64,
        })
    }
}

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let seconds = text.parse::<f64>().ok().or_else(|| {
            let span: jiff::SignedDuration = text.parse().ok()?;
            Some(span.as_secs_f64())
        });
        // Days are not fixed lengths of time to a calendar, but to somebody who waits they are.
        let seconds = seconds.or_else(|| {
            let days = text.strip_suffix("days").or(text.strip_suffix('d'))?;
            Some(days.trim().parse::<f64>().ok()? * 86_400.0)
        });
        seconds
            .and_then(Self::from_seconds)
            .ok_or_else(|| NotASpan(text.chars().filter(|c| !c.is_control()).take(80).collect()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, rest) = (self.ms / 1000, self.ms % 1000);
        if rest > 0 {
            // Not by way of a float, which would show more digits than can be read.
            let millis = format!("{rest:03}");
            return write!(f, "{seconds}.{}s", millis.trim_end_matches('0'));
        }
        match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
            (0, 0, seconds) => write!(f, "{seconds}s"),
            (0, minutes, 0) => write!(f, "{minutes}m"),
            (0, minutes, seconds) => write!(f, "{minutes}m{seconds}s"),
            (hours, 0, 0) => write!(f, "{hours}h"),
            (hours, minutes, 0) => write!(f, "{hours}h{minutes}m"),
            (hours, minutes, seconds) => write!(f, "{hours}h{minutes}m{seconds}s"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.ms.is_multiple_of(1000) {
            serializer.serialize_u64(self.ms / 1000)
        } else {
            serializer.serialize_f64(self.ms as f64 / 1000.0)
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time: seconds, or text such as \"1h 30m\"")
            }

            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Span, E> {
                self.visit_f64(seconds as f64)
            }

            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Span, E> {
                self.visit_f64(seconds as f64)
            }

            fn visit_f64<E: serde::de::Error>(self, seconds: f64) -> Result<Span, E> {
                Span::from_seconds(seconds).ok_or_else(|| E::custom(NotASpan(seconds.to_string())))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A number that is written without a fraction where it has none: whoever counts expects `4096`, not `4096.0`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub f64);

/// Beyond this, a float does not hold every whole number.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < LARGEST_WHOLE {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it is whole, and small enough"
            )]
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// A job somebody refers to: by number, or by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a job: its number, or its name as text")]
pub enum JobRef {
    /// Its number.
    Id(u64),
    /// Its name: the newest job of that name, in the same request first.
    Name(String),
}

/// A place in the stream of durable events: `EPOCH:SEQ`.
///
/// The epoch is the identity of the database; a cursor of another epoch means nothing here.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct Cursor {
    /// Identity of the database.
    pub epoch: String,
    /// Number of the last event seen.
    pub seq: u64,
}

/// A text that is not a cursor.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" is not a cursor: it has the form EPOCH:SEQ, as given in `id:` and `as_of`")]
pub struct NotACursor(String);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || NotACursor(text.chars().filter(|c| !c.is_control()).take(80).collect());
        let (epoch, seq) = text.split_once(':').ok_or_else(refuse)?;
        let plain = !epoch.is_empty()
            && epoch.len() <= 64
            && epoch.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let digits = !seq.is_empty() && seq.chars().all(|c| c.is_ascii_digit());
        if !plain || !digits {
            return Err(refuse());
        }
        Ok(Self {
            epoch: epoch.to_owned(),
            seq: seq.parse().map_err(|_| refuse())?,
        })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        for (text, ms) in [
            ("90", 90_000),
            ("0.5", 500),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("2d", 172_800_000),
            ("2 days", 172_800_000),
            ("250ms", 250),
        ] {
            assert_eq!(text.parse(), Ok(Span { ms }), "{text}");
        }
        for text in ["", "-1", "soon", "1e99", "NaN", "inf", "-5m", "d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn spans_show_what_they_read() {
        for text in [
            "0s", "59s", "1m", "1m30s", "1h", "1h30m", "26h0m1s", "1.5s", "1.711s", "0.007s",
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse(), Ok(span), "{text}");
        }
        let json: Span = serde_json::from_str("\"15m\"").unwrap();
        assert_eq!(serde_json::to_string(&json).unwrap(), "900");
    }

    #[test]
    fn cursors_are_strict() {
        let cursor: Cursor = "a1b2-c3:42".parse().unwrap();
        assert_eq!((cursor.epoch.as_str(), cursor.seq), ("a1b2-c3", 42));
        for text in [
            "",
            ":",
            "x:",
            ":1",
            "x:-1",
            "x:+1",
            "x:1 ",
            "x y:1",
            "x:1:2",
            "x:99999999999999999999",
        ] {
            assert!(text.parse::<Cursor>().is_err(), "{text:?}");
        }
    }
}
