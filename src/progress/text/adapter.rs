//! What one adapter remembers of one stream, and how a line becomes an observation.

use std::collections::BTreeMap;

use crate::model::progress::{Observation, Source};
use crate::progress::adapters::LineRule;
use crate::progress::adapters::said::{self, Said};

use super::bars::Bars;
use super::lines::End;

/// Most things at once that are told apart.
const MAX_ITEMS: usize = 512;

/// What an adapter remembers of a stream.
#[derive(Debug, Default)]
pub(super) struct Memory {
    kept: Said,
    bars: Bars,
    /// Things that go on at once, by name.
    items: BTreeMap<String, Item>,
    /// The part of the output it is in.
    part: Option<String>,
    /// Lines that were counted; none before the first `start`, as some may have been missed.
    counted: Option<u32>,
}

/// One of several things that go on at once.
#[derive(Clone, Copy, Debug, Default)]
struct Item {
    step: f64,
    total: Option<f64>,
    is_done: bool,
}

impl Memory {
    /// What a line says by a rule: none where it is not of its sort, `Some(None)` where it is and says
    /// nothing by itself. A line that is still open changes nothing here.
    pub(super) fn read(
        &mut self,
        name: &str,
        rule: &LineRule,
        line: &str,
        end: End,
    ) -> Option<Option<Observation>> {
        if rule.within.is_some() && rule.within != self.part {
            return None;
        }
        let mut said = said::read(rule, line, &self.kept)?;
        if end == End::Open {
            let speaks = said.says_something() || rule.done;
            let fresh = Said::default();
            let said = fitting(said.over(if rule.start { &fresh } else { &self.kept }));
            if rule.bar {
                return Some(self.bars.read(name, said, end, rule.live));
            }
            return (said.item.is_none() && speaks).then(|| Some(observation(name, said)));
        }
        self.note(rule, &mut said);
        if rule.pass || !(said.says_something() || rule.done) {
            return Some(None);
        }
        let mut said = fitting(said.over(&self.kept));
        if let Some(item) = said.item.take() {
            self.sum_up(item, rule.done, &mut said);
        }
        if rule.bar && (said.step.is_some() || said.percent.is_some()) {
            return Some(self.bars.read(name, said, end, rule.live));
        }
        Some(Some(observation(name, said)).filter(|seen| !seen.is_empty()))
    }

    /// Remembers what a line says for those after it, and counts it.
    fn note(&mut self, rule: &LineRule, said: &mut Said) {
        if rule.start {
            *self = Self {
                counted: Some(0),
                ..Self::default()
            };
        }
        if rule.keep {
            self.kept.keep(said);
        }
        if rule.enter.is_some() {
            self.part.clone_from(&rule.enter);
        }
        if let Some(counted) = self.counted.as_mut().filter(|_| rule.count) {
            *counted = counted.saturating_add(1);
            said.step = Some(f64::from(*counted));
        }
    }

    /// Puts the counts of all items in the place of those of one.
    fn sum_up(&mut self, name: String, is_done: bool, said: &mut Said) {
        if self.items.len() >= MAX_ITEMS && !self.items.contains_key(&name) {
            return;
        }
        let item = self.items.entry(name).or_default();
        item.total = said.total.or(item.total);
        item.step = said.step.unwrap_or(item.step);
        item.is_done |= is_done;
        if let (true, Some(total)) = (item.is_done, item.total) {
            item.step = total;
        }
        let items = self.items.values();
        let sized = || items.clone().filter(|it| it.total.is_some());
        let count = |items: usize| u32::try_from(items).map(f64::from).ok();
        said.percent = None;
        if sized().next().is_some() {
            said.step = Some(sized().map(|it| it.step).sum());
            said.total = Some(sized().filter_map(|it| it.total).sum());
        } else {
            said.step = count(items.clone().filter(|it| it.is_done).count());
            said.total = count(items.len());
            (said.unit, said.rate) = (None, None);
        }
    }
}

/// What is said, without a kept whole that is smaller than its part.
fn fitting(mut said: Said) -> Said {
    if let (Some(step), Some(total)) = (said.step, said.total)
        && step > total
    {
        said.total = None;
    }
    if let (Some(epoch), Some(epochs)) = (said.epoch, said.epochs)
        && epoch > epochs
    {
        said.epochs = None;
    }
    said
}

/// The observation that an adapter of this name makes of what was said.
pub(super) fn observation(name: &str, said: Said) -> Observation {
    let mut seen = Observation::new(Source::Adapter(name.to_owned()));
    seen.step = said.step;
    seen.total_steps = said.total.filter(|_| said.step.is_some());
    seen.percent = said.percent;
    let mut unit = said.unit;
    if let (None, Some(elapsed), Some(total)) =
        (said.step, said.elapsed_seconds, said.elapsed_total_seconds)
        && total > 0.0
    {
        // Streams end a little after what their head says.
        (seen.step, seen.total_steps) = (Some(elapsed.min(total)), Some(total));
        unit = Some("s".to_owned());
    }
    if seen.total_steps.is_some() {
        // It follows from the steps, and there it is exact.
        seen.percent = None;
    }
    if let (None, Some(elapsed), None, Some("s")) = (
        said.step,
        said.elapsed_seconds,
        said.elapsed_total_seconds,
        unit.as_deref(),
    ) {
        // Nobody said how much there is of the time that is counted.
        seen.step = Some(elapsed);
    }
    seen.epoch = said.epoch;
    seen.total_epochs = said.epochs;
    seen.steps_in_epoch = seen.epoch.is_some() && seen.step.is_some();
    if let (Some(percent), Some(epoch), Some(epochs), None) =
        (seen.percent, said.epoch, said.epochs, seen.step)
    {
        // Like steps, percents beside an epoch are those of the epoch.
        let before = (epoch - 1.0).max(0.0);
        seen.percent = Some(((before + percent / 100.0) / epochs * 100.0).min(100.0));
    }
    if let (true, Some(epoch), Some(epochs), None) =
        (said.epochs_from_zero, said.epoch, said.epochs, seen.percent)
    {
        // Whoever came late cannot know that the first epoch was 0.
        let part = said
            .step
            .zip(said.total)
            .map_or(0.0, |(step, total)| step / total);
        seen.percent = Some(((epoch + part) / epochs * 100.0).min(100.0));
    }
    seen.rate = said.rate;
    seen.unit = unit.filter(|_| seen.step.is_some() || seen.rate.is_some());
    seen.eta_seconds = said.eta_seconds;
    seen.phase = said.phase;
    seen.message = said.message;
    seen.status = said.status;
    seen.error = said.error;
    seen.metrics = said.metrics;
    seen
}

#[cfg(test)]
mod tests;
