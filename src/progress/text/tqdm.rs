//! Bars of tqdm: `Epoch 2:  45%|████▌     | 450/1000 [00:12<00:15, 35.9it/s, loss=0.2]`.
//!
//! Of nested bars the outermost says how far the job is, and the first bar below it what part of the
//! outer one's present unit is done. Other bars below (a validation after the training) only give
//! their metrics. tqdm moves the cursor up after a bar that stands below another; that tells them apart.

mod bar;

use crate::model::progress::{Observation, Source};

use super::lines::{End, Marks};
use super::{Line, Recogniser, epoch};

use bar::Bar;

/// The recogniser, with the bars it knows.
#[derive(Debug, Default)]
pub(super) struct Tqdm {
    outer: Option<Known>,
    inner: Option<Known>,
    /// How much of the inner bar was done at most since the outer one moved.
    inner_part: f64,
}

/// A bar that was seen, and how it looked last.
#[derive(Clone, Debug)]
struct Known {
    identity: Identity,
    bar: Bar,
}

/// What stays the same while a bar is redrawn: its words without numbers, its total.
#[derive(Clone, Debug, PartialEq)]
struct Identity {
    words: String,
    total: Option<f64>,
}

impl Recogniser for Tqdm {
    fn wants(&self) -> Marks {
        Marks::BRACKET.and(Marks::DIGIT)
    }

    fn read(&mut self, line: Line<'_>) -> Option<Observation> {
        let bar = bar::read(line.text)?;
        let identity = identity(&bar);
        let is_outer = is_same(self.outer.as_ref(), &identity);
        let is_inner = is_same(self.inner.as_ref(), &identity);
        match line.end {
            // Whether it stands below another bar is only known when it has ended.
            End::Open if self.outer.is_none() || (is_outer && !is_inner) => Some(outermost(&bar)),
            End::Open => None,
            End::Up if self.outer.is_some() => Some(self.below(bar, identity)),
            // A finished inner bar that stays on the screen is drawn once more, in the outer one's place.
            _ if is_inner && !is_outer && self.outer_goes_on() => Some(self.below(bar, identity)),
            _ => Some(self.on_top(bar, identity)),
        }
    }
}

impl Tqdm {
    fn outer_goes_on(&self) -> bool {
        self.outer
            .as_ref()
            .is_some_and(|outer| outer.bar.total.is_none_or(|total| outer.bar.done < total))
    }

    fn on_top(&mut self, bar: Bar, identity: Identity) -> Observation {
        let stands = self
            .outer
            .as_ref()
            .is_some_and(|outer| outer.identity == identity && outer.bar.done == bar.done);
        if !stands {
            self.inner = None;
            self.inner_part = 0.0;
        }
        let seen = match &self.inner {
            Some(inner) => {
                let mut seen = nested(&bar, &inner.bar, self.inner_part);
                seen.metrics.extend(bar.metrics.clone());
                seen
            }
            None => outermost(&bar),
        };
        self.outer = Some(Known { identity, bar });
        seen
    }

    fn below(&mut self, bar: Bar, identity: Identity) -> Observation {
        let counts = self
            .inner
            .as_ref()
            .is_none_or(|inner| inner.identity == identity);
        let metrics = bar.metrics.clone();
        if counts {
            let part = bar.total.map_or(0.0, |total| bar.done / total);
            self.inner_part = self.inner_part.max(part);
            self.inner = Some(Known { identity, bar });
        }
        let mut seen = match (&self.outer, &self.inner) {
            (Some(outer), Some(inner)) => nested(&outer.bar, &inner.bar, self.inner_part),
            _ => Observation::new(source()),
        };
        seen.metrics = metrics;
        seen
    }
}

fn source() -> Source {
    Source::Adapter("tqdm".to_owned())
}

fn is_same(known: Option<&Known>, identity: &Identity) -> bool {
    known.is_some_and(|known| known.identity == *identity)
}

fn identity(bar: &Bar) -> Identity {
    Identity {
        words: bar
            .description
            .chars()
            .filter(|c| !c.is_ascii_digit())
            .collect(),
        total: bar.total,
    }
}

/// What a bar says that no bar stands below.
fn outermost(bar: &Bar) -> Observation {
    let mut seen = Observation::new(source());
    seen.step = Some(bar.done);
    seen.total_steps = bar.total;
    seen.rate = bar.rate;
    seen.unit = Some(bar.unit.clone());
    seen.eta_seconds = bar.left_seconds;
    seen.metrics = bar.metrics.clone();
    match epoch::leading(&bar.description) {
        Some((epoch, more)) => {
            seen.epoch = Some(epoch.now);
            seen.total_epochs = epoch.total;
            seen.steps_in_epoch = true;
            seen.phase = words(more);
        }
        None => seen.phase = words(&bar.description),
    }
    seen
}

/// What a bar says together with the one below it.
fn nested(outer: &Bar, inner: &Bar, part: f64) -> Observation {
    let mut seen = outermost(outer);
    seen.metrics.clear();
    let Some(total) = outer.total else {
        return seen;
    };
    seen.percent = Some(((outer.done + part) / total * 100.0).min(100.0));
    if let Some(phase) = words(&inner.description) {
        seen.phase = Some(phase);
    }
    if epoch::counts_epochs(&outer.description) && seen.epoch.is_none() {
        seen.epoch = Some((outer.done + 1.0).min(total));
        seen.total_epochs = Some(total);
        seen.steps_in_epoch = true;
        seen.step = Some(inner.done);
        seen.total_steps = inner.total;
        seen.rate = inner.rate;
        seen.unit = Some(inner.unit.clone());
        seen.eta_seconds = None;
    }
    seen
}

fn words(description: &str) -> Option<String> {
    let words = description.trim_matches(|c: char| c.is_whitespace() || ":,-|".contains(c));
    (!words.is_empty()).then(|| words.to_owned())
}
