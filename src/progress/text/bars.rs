//! Bars that stand below one another: `Epoch 2:  45%|████▌     | 450/1000`, and a second one under it.
//!
//! Of nested bars the outermost says how far the job is, and the first bar below it what part of the
//! outer one's present unit is done. Other bars below (a validation after the training) only give
//! their metrics. The cursor moves up after a bar that stands below another; that tells them apart.

use crate::model::progress::Observation;

use super::adapter;
use super::lines::End;
use crate::progress::adapters::said::Said;

/// The bars of one adapter that a stream has shown.
#[derive(Debug, Default)]
pub(super) struct Bars {
    outer: Option<Known>,
    inner: Option<Known>,
    /// How much of the inner bar was done at most since the outer one moved.
    inner_part: f64,
    /// The outer bar had bars below it.
    nests: bool,
    /// The outer bar stands below something itself, such as a bar that is not understood.
    outer_is_below: bool,
    /// In a display that is drawn as a whole: the bars since the outer one was drawn.
    since_outer: Vec<Identity>,
}

/// Most bars of one display that are told apart.
const MAX_BARS: usize = 64;

/// A bar that was seen, and how it looked last.
#[derive(Clone, Debug)]
struct Known {
    identity: Identity,
    bar: Said,
}

/// What stays the same while a bar is redrawn: its words without numbers, its total.
#[derive(Clone, Debug, PartialEq)]
struct Identity {
    words: String,
    is_epoch: bool,
    total: Option<f64>,
}

impl Bars {
    /// What a bar says, in the light of those before it.
    ///
    /// Those of a display that is drawn `live`, as a whole and from its top, are told apart by their order.
    pub(super) fn read(
        &mut self,
        name: &str,
        bar: Said,
        end: End,
        live: bool,
    ) -> Option<Observation> {
        let identity = identity(&bar);
        let is_outer = is_same(self.outer.as_ref(), &identity);
        let is_inner = is_same(self.inner.as_ref(), &identity);
        if live {
            return Some(if self.stands_below(&identity) {
                self.take_below(name, bar, identity)
            } else {
                self.take_on_top(name, bar, identity)
            });
        }
        match end {
            // Whether it stands below another bar is only known when it has ended.
            End::Open if self.outer.is_none() || (is_outer && !is_inner) => {
                Some(self.on_top(name, &bar, &identity))
            }
            End::Open => None,
            End::Up if self.outer.is_some() && !(is_outer && self.outer_is_below) => {
                Some(self.take_below(name, bar, identity))
            }
            // A finished inner bar that stays on the screen is drawn once more, in the outer one's place.
            End::Newline | End::Return | End::Moved
                if is_inner && !is_outer && (self.outer_goes_on() || self.ends_inner(&bar)) =>
            {
                Some(self.take_below(name, bar, identity))
            }
            End::Newline | End::Return | End::Up | End::Moved | End::Terminal => {
                self.outer_is_below = end == End::Up;
                Some(self.take_on_top(name, bar, identity))
            }
        }
    }

    /// Whether a bar of a live display is not its first. One that comes twice without the first is the
    /// first now: the other is gone.
    fn stands_below(&mut self, identity: &Identity) -> bool {
        let is_first = self.outer.is_none()
            || is_same(self.outer.as_ref(), identity)
            || self.since_outer.contains(identity)
            || self.since_outer.len() >= MAX_BARS;
        if is_first {
            self.since_outer.clear();
        } else {
            self.since_outer.push(identity.clone());
        }
        !is_first
    }

    fn outer_goes_on(&self) -> bool {
        let goes_on = |outer: &Known| part(&outer.bar).is_none_or(|part| part < 1.0);
        self.outer.as_ref().is_some_and(goes_on)
    }

    /// Whether the bar is the inner one as it was drawn last.
    fn ends_inner(&self, bar: &Said) -> bool {
        let inner = self.inner.as_ref();
        inner.is_some_and(|inner| done(&inner.bar) == done(bar))
    }

    /// Whether the bar is the outer one, redrawn before its next unit is done.
    fn has_not_moved(&self, bar: &Said, identity: &Identity) -> bool {
        let outer = self.outer.as_ref();
        is_same(outer, identity) && outer.is_some_and(|outer| done(&outer.bar) == done(bar))
    }

    fn on_top(&self, name: &str, bar: &Said, identity: &Identity) -> Observation {
        let inner = self
            .inner
            .as_ref()
            .filter(|_| self.has_not_moved(bar, identity));
        match inner {
            Some(inner) => nested(name, bar, &inner.bar, self.inner_part),
            None => alone(
                name,
                bar,
                self.nests && is_same(self.outer.as_ref(), identity),
            ),
        }
    }

    fn take_on_top(&mut self, name: &str, bar: Said, identity: Identity) -> Observation {
        let seen = self.on_top(name, &bar, &identity);
        if !self.has_not_moved(&bar, &identity) {
            self.inner = None;
            self.inner_part = 0.0;
        }
        self.nests &= is_same(self.outer.as_ref(), &identity);
        self.outer = Some(Known { identity, bar });
        seen
    }

    fn take_below(&mut self, name: &str, bar: Said, identity: Identity) -> Observation {
        self.nests = true;
        let inner = self.inner.as_ref();
        let counts = inner.is_none_or(|inner| inner.identity == identity);
        let metrics = bar.metrics.clone();
        if counts {
            self.inner_part = self.inner_part.max(part(&bar).unwrap_or(0.0));
            self.inner = Some(Known { identity, bar });
        }
        let mut seen = match (&self.outer, &self.inner) {
            (Some(outer), Some(inner)) => nested(name, &outer.bar, &inner.bar, self.inner_part),
            _ => adapter::observation(name, Said::default()),
        };
        seen.metrics = metrics;
        seen
    }
}

fn is_same(known: Option<&Known>, identity: &Identity) -> bool {
    known.is_some_and(|known| known.identity == *identity)
}

fn identity(bar: &Said) -> Identity {
    let words = bar.phase.as_deref().unwrap_or_default();
    Identity {
        words: words.chars().filter(|c| !c.is_ascii_digit()).collect(),
        is_epoch: bar.epoch.is_some(),
        total: bar.total,
    }
}

/// Units done, or percent where a bar shows nothing else.
fn done(bar: &Said) -> Option<f64> {
    bar.step.or(bar.percent)
}

/// How much of the bar is done, from 0 to 1.
fn part(bar: &Said) -> Option<f64> {
    match (bar.step, bar.total) {
        (Some(step), Some(total)) => Some(step / total),
        _ => bar.percent.map(|percent| percent / 100.0),
    }
}

/// What a bar says by itself; `nests` where other bars stand below it at times.
fn alone(name: &str, bar: &Said, nests: bool) -> Observation {
    let mut seen = adapter::observation(name, bar.clone());
    if let (None, Some(step), Some(total)) = (bar.epoch, bar.step, bar.total)
        && counts_epochs(bar)
    {
        seen.epoch = Some((step + 1.0).min(total));
        seen.total_epochs = Some(total);
        seen.percent = Some(step / total * 100.0);
        if nests {
            // The steps shown are those of the bar below, and it has just gone.
            (seen.step, seen.total_steps) = (None, None);
            (seen.rate, seen.unit) = (None, None);
        }
    }
    seen
}

/// What a bar says together with the one below it.
fn nested(name: &str, outer: &Said, inner: &Said, inner_part: f64) -> Observation {
    let mut seen = alone(name, outer, true);
    let Some((step, total)) = outer.step.zip(outer.total) else {
        return seen;
    };
    seen.percent = Some(((step + inner_part) / total * 100.0).min(100.0));
    if inner.phase.is_some() {
        seen.phase.clone_from(&inner.phase);
    }
    if seen.step.is_none() {
        seen.step = inner.step;
        seen.total_steps = inner.total;
        seen.rate = inner.rate;
        seen.unit.clone_from(&inner.unit);
    }
    seen
}

/// Whether the units of a bar are epochs.
fn counts_epochs(bar: &Said) -> bool {
    let words = bar.phase.as_deref().unwrap_or_default();
    let mut words = words.split(|c: char| !c.is_alphanumeric());
    words.any(|word| word.eq_ignore_ascii_case("epoch") || word.eq_ignore_ascii_case("epochs"))
}

#[cfg(test)]
mod tests;
