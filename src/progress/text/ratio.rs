//! Counts and percents as anybody prints them: `[12/340]`, `step 5 of 9`, `Epoch 2/3`, `45%`.
//!
//! Text is full of numbers, so a reading needs evidence. A count in brackets, one with a word that says
//! what it counts, a bar, or a line that is nothing else is evidence enough. A count that merely begins or ends
//! its line is believed when it has risen, and so is a percent alone: the second such line with the same total, or, for
//! a percent, with the same words. Nothing is read in binary output, or in what shows it to people.

mod find;
mod tokens;

use crate::model::progress::{Observation, Source};

use super::Line;
use super::lines::End;

use find::{Found, Trust};

/// A longer line is no line of progress.
const MAX_BYTES: usize = 1 << 10;

/// The reader, with what it waits to see rise.
#[derive(Debug, Default)]
pub(super) struct Ratio {
    /// The last count without evidence.
    doubted: Option<Doubted>,
    /// The last line was an epoch's heading, so that a bar below it counts within the epoch.
    below_epoch: bool,
}

/// A count that may be one.
#[derive(Debug, PartialEq)]
struct Doubted {
    value: f64,
    /// What has to be the same next time.
    like: Like,
}

#[derive(Debug, PartialEq)]
enum Like {
    Total(f64),
    Words(String),
}

impl Ratio {
    /// What the line says, if it looks like a count of progress.
    pub(super) fn read(&mut self, name: &str, line: Line<'_>) -> Option<Observation> {
        // More text would change what an open line says: `45%` may go on as `45% off`.
        if line.end == End::Open || line.text.len() > MAX_BYTES || !find::is_worth(line.text) {
            return None;
        }
        // In megabytes of bytes, anything is said somewhere.
        if !line.is_clean || find::is_dump(line.text) {
            return None;
        }
        let found = find::read(line.text)?;
        let mut seen = Observation::new(Source::Adapter(name.to_owned()));
        if let Some((now, total)) = found.epoch {
            seen.epoch = Some(now);
            seen.total_epochs = total;
        }
        if self.is_believed(&found, line.text) {
            seen.step = found.steps.map(|(done, _)| done);
            seen.total_steps = found.steps.map(|(_, total)| total);
            seen.percent = found.percent;
        }
        let is_heading = found.epoch.is_some() && !seen.has_steps();
        seen.steps_in_epoch =
            seen.step.is_some() && (found.epoch.is_some() || (self.below_epoch && found.has_bar));
        if !seen.steps_in_epoch && seen.has_counts() {
            self.below_epoch = is_heading;
        }
        if !seen.has_counts() {
            return None;
        }
        seen.metrics = find::metrics(line.text);
        Some(seen)
    }

    fn is_believed(&mut self, found: &Found, line: &str) -> bool {
        match found.trust {
            Trust::Plain => true,
            Trust::Doubtful => {
                let doubted = match (found.steps, found.percent) {
                    (Some((value, total)), _) => Doubted {
                        value,
                        like: Like::Total(total),
                    },
                    (None, Some(value)) => Doubted {
                        value,
                        like: Like::Words(line.chars().filter(|c| !is_numeric(*c)).collect()),
                    },
                    (None, None) => return false,
                };
                let before = self.doubted.replace(doubted);
                matches!((before, &self.doubted), (Some(old), Some(new))
                    if old.like == new.like && old.value < new.value)
            }
        }
    }
}

fn is_numeric(c: char) -> bool {
    c.is_ascii_digit() || c == '.' || c == ' '
}

#[cfg(test)]
mod tests;
