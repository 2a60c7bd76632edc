//! The palette and the state glyphs: what every view has in common.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How output shall look: decided once, so that views are pure functions.
#[derive(Clone, Debug)]
pub struct Look {
    /// Whether colours are used.
    pub colour: bool,
    /// Columns there are.
    pub width: u16,
    /// The present moment.
    pub now: Timestamp,
    /// Zone in which times are shown.
    pub zone: TimeZone,
}

/// What a piece of text means; colours follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Nothing in particular.
    Plain,
    /// Ended well.
    Good,
    /// Ended badly.
    Bad,
    /// Happens now.
    Active,
    /// Waits, or needs somebody.
    Waiting,
    /// Less important.
    Faint,
    /// More important.
    Strong,
}

impl Tone {
    /// The parameters of its SGR sequence.
    fn sgr(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Bad => Some("31"),
            Self::Active => Some("36"),
            Self::Waiting => Some("33"),
            Self::Faint => Some("2"),
            Self::Strong => Some("1"),
        }
    }
}

impl Look {
    /// `text` in the colour of `tone`, where there are colours.
    #[must_use]
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        match tone.sgr() {
            Some(sgr) if self.colour && !text.is_empty() => format!("\u{1b}[{sgr}m{text}\u{1b}[0m"),
            Some(_) | None => text.to_owned(),
        }
    }

    /// Seconds from `then` to now.
    #[must_use]
    pub fn seconds_since(&self, then: Timestamp) -> f64 {
        self.now.duration_since(then).as_secs_f64()
    }

    /// Date and time of day in the viewer's zone.
    #[must_use]
    pub fn date_time(&self, time: Timestamp) -> String {
        let local = time.to_zoned(self.zone.clone());
        local.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// Time of day in the viewer's zone.
    #[must_use]
    pub fn time_of_day(&self, time: Timestamp) -> String {
        let local = time.to_zoned(self.zone.clone());
        local.strftime("%H:%M:%S").to_string()
    }
}

/// The glyph and the tone of a state. A state of a newer daemon has neutral ones.
#[must_use]
pub fn state(name: &str) -> (&'static str, Tone) {
    match name {
        "held" => ("◇", Tone::Waiting),
        "queued" => ("○", Tone::Faint),
        "starting" => ("◔", Tone::Active),
        "running" => ("●", Tone::Active),
        "paused" => ("‖", Tone::Waiting),
        "stopping" => ("◒", Tone::Waiting),
        "backoff" => ("↻", Tone::Waiting),
        "completed" => ("✔", Tone::Good),
        "failed" | "timed_out" => ("✘", Tone::Bad),
        "cancelled" => ("⊘", Tone::Faint),
        "skipped" => ("↷", Tone::Faint),
        "lost" => ("?", Tone::Bad),
        _ => ("·", Tone::Plain),
    }
}

/// A state in words.
#[must_use]
pub fn state_words(name: &str) -> String {
    name.replace('_', " ")
}

/// Whether no state follows on this one by itself.
#[must_use]
pub fn is_final(name: &str) -> bool {
    FINAL_STATES.contains(&name)
}

/// The states of jobs that have ended.
pub const FINAL_STATES: [&str; 6] = [
    "completed",
    "failed",
    "cancelled",
    "timed_out",
    "skipped",
    "lost",
];

/// States of jobs that have a place, or had one and will have it again.
pub const ACTIVE_STATES: [&str; 5] = ["starting", "running", "paused", "stopping", "backoff"];

/// States of jobs that wait.
pub const WAITING_STATES: [&str; 2] = ["held", "queued"];

/// The states of jobs that have not.
pub const LIVE_STATES: [&str; 7] = [
    "held", "queued", "starting", "running", "paused", "stopping", "backoff",
];
