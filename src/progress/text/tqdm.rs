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
    /// The outer bar had bars below it.
    nests: bool,
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
            End::Open if self.outer.is_none() || (is_outer && !is_inner) => {
                Some(self.on_top(&bar, &identity))
            }
            End::Open => None,
            End::Up if self.outer.is_some() => Some(self.take_below(bar, identity)),
            // A finished inner bar that stays on the screen is drawn once more, in the outer one's place.
            End::Newline | End::Return | End::Moved
                if is_inner && !is_outer && (self.outer_goes_on() || self.ends_inner(&bar)) =>
            {
                Some(self.take_below(bar, identity))
            }
            End::Newline | End::Return | End::Up | End::Moved => {
                Some(self.take_on_top(bar, identity))
            }
        }
    }
}

impl Tqdm {
    fn outer_goes_on(&self) -> bool {
        self.outer
            .as_ref()
            .is_some_and(|outer| outer.bar.total.is_none_or(|total| outer.bar.done < total))
    }

    /// Whether the bar is the inner one as it was drawn last.
    fn ends_inner(&self, bar: &Bar) -> bool {
        self.inner
            .as_ref()
            .is_some_and(|inner| inner.bar.done == bar.done)
    }

    /// Whether the bar is the outer one, redrawn before its next unit is done.
    fn has_not_moved(&self, bar: &Bar, identity: &Identity) -> bool {
        is_same(self.outer.as_ref(), identity)
            && self
                .outer
                .as_ref()
                .is_some_and(|outer| outer.bar.done == bar.done)
    }

    fn on_top(&self, bar: &Bar, identity: &Identity) -> Observation {
        let inner = self
            .inner
            .as_ref()
            .filter(|_| self.has_not_moved(bar, identity));
        let mut seen = match inner {
            Some(inner) => nested(bar, &inner.bar, self.inner_part),
            None => alone(bar, self.nests && is_same(self.outer.as_ref(), identity)),
        };
        seen.metrics = bar.metrics.clone();
        seen
    }

    fn take_on_top(&mut self, bar: Bar, identity: Identity) -> Observation {
        let seen = self.on_top(&bar, &identity);
        if !self.has_not_moved(&bar, &identity) {
            self.inner = None;
            self.inner_part = 0.0;
        }
        self.nests &= is_same(self.outer.as_ref(), &identity);
        self.outer = Some(Known { identity, bar });
        seen
    }

    fn take_below(&mut self, bar: Bar, identity: Identity) -> Observation {
        self.nests = true;
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

/// What a bar says by itself; `nests` where other bars stand below it at times.
fn alone(bar: &Bar, nests: bool) -> Observation {
    let mut seen = Observation::new(source());
    seen.step = Some(bar.done);
    seen.total_steps = bar.total;
    seen.rate = bar.rate;
    seen.unit = Some(bar.unit.clone());
    seen.eta_seconds = bar.left_seconds;
    if let Some((epoch, more)) = epoch::leading(&bar.description) {
        seen.epoch = Some(epoch.now);
        seen.total_epochs = epoch.total;
        seen.steps_in_epoch = true;
        seen.phase = words(more);
        return seen;
    }
    seen.phase = words(&bar.description);
    if let Some(total) = bar.total.filter(|_| epoch::counts_epochs(&bar.description)) {
        seen.epoch = Some((bar.done + 1.0).min(total));
        seen.total_epochs = Some(total);
        seen.percent = Some(bar.done / total * 100.0);
        if nests {
            // The steps shown are those of the bar below, and it has just gone.
            (seen.step, seen.total_steps) = (None, None);
            (seen.rate, seen.unit) = (None, None);
        }
    }
    seen
}

/// What a bar says together with the one below it.
fn nested(outer: &Bar, inner: &Bar, part: f64) -> Observation {
    let mut seen = alone(outer, true);
    let Some(total) = outer.total else {
        return seen;
    };
    seen.percent = Some(((outer.done + part) / total * 100.0).min(100.0));
    if let Some(phase) = words(&inner.description) {
        seen.phase = Some(phase);
    }
    if seen.step.is_none() {
        seen.step = Some(inner.done);
        seen.total_steps = inner.total;
        seen.rate = inner.rate;
        seen.unit = Some(inner.unit.clone());
    }
    seen
}

fn words(description: &str) -> Option<String> {
    let words = description.trim_matches(|c: char| c.is_whitespace() || ":,-|".contains(c));
    (!words.is_empty()).then(|| words.to_owned())
}

#[cfg(test)]
mod tests;
