//! Lines that are a dictionary of numbers, as the Hugging Face trainer logs them:
//! `{'loss': 0.2, 'learning_rate': 5e-05, 'epoch': 0.5}`.

use crate::model::progress::{MAX_METRICS, Observation, Source};
use crate::progress::number;

use super::lines::{End, Marks};
use super::{Line, Recogniser};

/// The recogniser.
#[derive(Debug, Default)]
pub(super) struct Dict;

impl Recogniser for Dict {
    fn wants(&self) -> Marks {
        Marks::BRACE.and(Marks::DIGIT)
    }

    fn read(&mut self, line: Line<'_>) -> Option<Observation> {
        if line.end == End::Open {
            return None;
        }
        let body = line.text.trim().strip_prefix('{')?.strip_suffix('}')?;
        let mut seen = Observation::new(Source::Adapter("transformers".to_owned()));
        for (name, value) in body.split(',').take(MAX_METRICS).filter_map(entry) {
            if name == "epoch" {
                seen.epoch = Some(value).filter(|&epoch| epoch >= 0.0);
            } else {
                seen.metrics.insert(name.to_owned(), value);
            }
        }
        // Many programs log dictionaries; only one with an epoch is surely about training.
        seen.epoch.is_some().then_some(seen)
    }
}

/// `'loss': 0.2`, with either sort of quotes, also around the number.
fn entry(text: &str) -> Option<(&str, f64)> {
    let (name, value) = text.split_once(':')?;
    let name = unquoted(name)?;
    let value = value.trim();
    let value = number::measured(unquoted(value).unwrap_or(value))?;
    (!name.is_empty()).then_some((name, value))
}

fn unquoted(text: &str) -> Option<&str> {
    let text = text.trim();
    ['\'', '"']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

#[cfg(test)]
mod tests;
