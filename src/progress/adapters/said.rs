//! What one line says, field by field, once a pattern has matched it.

use std::collections::BTreeMap;
use std::ops::Range;

use regex::Captures;

use super::definition::{LineRule, Meaning, Pattern};
use super::value;
use crate::model::progress::MAX_METRICS;
use crate::progress::number;

/// The fields of a line; what it does not say is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::progress) struct Said {
    pub step: Option<f64>,
    pub total: Option<f64>,
    pub percent: Option<f64>,
    pub epoch: Option<f64>,
    pub epochs: Option<f64>,
    /// The first epoch is 0.
    pub epochs_from_zero: bool,
    /// Units per second.
    pub rate: Option<f64>,
    pub eta_seconds: Option<f64>,
    pub elapsed_seconds: Option<f64>,
    pub elapsed_total_seconds: Option<f64>,
    pub unit: Option<String>,
    pub phase: Option<String>,
    pub message: Option<String>,
    pub status: Option<String>,
    pub error: Option<String>,
    pub item: Option<String>,
    pub metrics: BTreeMap<String, f64>,
    /// Groups of other names, for texts.
    pub words: BTreeMap<String, String>,
}

/// The line is not of this sort after all: a count that is none, a part larger than its whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::progress) struct Refused;

/// What the line says by a rule; none where it does not match. `kept` lends texts its words.
pub(in crate::progress) fn read(rule: &LineRule, line: &str, kept: &Said) -> Option<Said> {
    let captures = rule.pattern.regex()?.captures(line)?;
    taken(rule, &captures, kept).ok()
}

fn taken(rule: &LineRule, captures: &Captures<'_>, kept: &Said) -> Result<Said, Refused> {
    let mut take = Take {
        said: Said::default(),
        base: rule.scale,
        is_scaled: false,
        rate_unit: None,
        amount_unit: None,
        bare: Vec::new(),
    };
    let group = |meaning: &Meaning| {
        let found = rule.groups.iter().filter(move |(_, it)| it == meaning);
        found.filter_map(|(at, _)| captures.get(*at)).next()
    };
    // How its rate counts says how the rest counts, wherever it stands.
    if let Some(rate) = group(&Meaning::Rate)
        && value::rate(rate.as_str(), rule.scale).in_1024
    {
        take.base = 1024.0;
    }
    take.is_scaled = [Meaning::Step, Meaning::Total].iter().any(|it| {
        group(it).is_some_and(|found| found.as_str().ends_with(['k', 'M', 'G', 'T', 'P']))
    });
    let mut spans = Vec::new();
    for (at, meaning) in &rule.groups {
        let Some(found) = captures
            .get(*at)
            .filter(|it| !it.as_str().trim().is_empty())
        else {
            continue;
        };
        if *meaning != Meaning::Metrics {
            spans.push(found.range());
            take.put(meaning, found.as_str())?;
        }
    }
    for (at, meaning) in &rule.groups {
        if let Some(found) = captures.get(*at).filter(|_| *meaning == Meaning::Metrics) {
            take.pairs(rule, found.as_str(), found.start(), &spans)?;
        }
    }
    for (meaning, template) in &rule.set {
        let text = template.fill(|name| {
            let own = captures.name(name).map(|it| it.as_str());
            own.or_else(|| kept.word(name))
        });
        if let Some(text) = text {
            take.put(meaning, &text)?;
        }
    }
    take.finish(rule)
}

/// What is taken from a line as it is gone through.
struct Take {
    said: Said,
    /// What a prefix of a number means that does not say `iB`.
    base: f64,
    /// Counts are printed with a prefix and without their unit, so that the rate has one before its unit too.
    is_scaled: bool,
    rate_unit: Option<String>,
    amount_unit: Option<String>,
    /// The counts that have no unit of their own, so that one behind them is meant for them too.
    bare: Vec<Meaning>,
}

impl Take {
    fn put(&mut self, meaning: &Meaning, text: &str) -> Result<(), Refused> {
        match meaning {
            Meaning::Step => {
                self.said.step = Some(self.count(text)?);
                self.note_bare(Meaning::Step, text);
            }
            // A whole of nothing, or an unknown one, has no parts.
            Meaning::Total if is_unknown(text) => self.said.total = None,
            Meaning::Total => {
                self.said.total = some_of(self.count(text)?);
                self.note_bare(Meaning::Total, text);
            }
            Meaning::Percent => self.said.percent = Some(value::percent(text).ok_or(Refused)?),
            Meaning::Epoch => self.epoch(text)?,
            Meaning::Epochs => self.said.epochs = some_of(self.count(text)?),
            Meaning::LastEpoch => {
                self.said.epochs = Some(self.count(text)? + 1.0);
                self.said.epochs_from_zero = true;
            }
            Meaning::Rate if self.is_scaled => {
                self.rate(value::rate(text, self.base).in_whole_units(self.base));
            }
            Meaning::Rate => self.rate(value::rate(text, self.base)),
            Meaning::Pace => self.rate(value::pace(text)),
            Meaning::Eta => self.said.eta_seconds = value::seconds(text),
            Meaning::Elapsed => self.said.elapsed_seconds = value::seconds(text),
            Meaning::ElapsedTotal => self.said.elapsed_total_seconds = value::seconds(text),
            Meaning::Unit => self.said.unit = words(text),
            Meaning::Phase => self.said.phase = words(text),
            Meaning::Message => self.said.message = trimmed(text),
            Meaning::Status => self.said.status = trimmed(text),
            Meaning::Error => self.said.error = trimmed(text),
            Meaning::Item => self.said.item = trimmed(text),
            Meaning::Metric(name) => self.metric(name.clone(), text),
            Meaning::Word(name) => {
                self.said.words.insert(name.clone(), text.trim().to_owned());
            }
            Meaning::Metrics => {}
        }
        Ok(())
    }

    fn count(&mut self, text: &str) -> Result<f64, Refused> {
        let amount = value::amount(text, self.base).ok_or(Refused)?;
        self.amount_unit = amount.unit.or(self.amount_unit.take());
        Ok(amount.value)
    }

    fn note_bare(&mut self, count: Meaning, text: &str) {
        if text.trim().ends_with(|c: char| c.is_ascii_digit()) {
            self.bare.push(count);
        }
    }

    /// Of `0.5/1.3 MB` both are megabytes.
    fn scale_by_unit(&mut self) {
        let Some(unit) = self.said.unit.as_deref() else {
            return;
        };
        let Some(amount) = value::amount(&format!("1{unit}"), self.base) else {
            return;
        };
        if amount.unit.as_deref() != Some("B") {
            return;
        }
        for count in &self.bare {
            let count = if *count == Meaning::Step {
                &mut self.said.step
            } else {
                &mut self.said.total
            };
            *count = count.map(|count| number::scaled(count, amount.value));
        }
        self.said.unit = amount.unit;
    }

    /// `2`, `0.5`, `1e-2` or `2/3`
    fn epoch(&mut self, text: &str) -> Result<(), Refused> {
        let (epoch, epochs) = match text.split_once('/') {
            Some(_) => number::ratio(text).map(|(now, of)| (now, Some(of))),
            None => number::measured(text.trim()).map(|now| (now, None)),
        }
        .ok_or(Refused)?;
        if epoch < 0.0 {
            return Err(Refused);
        }
        self.said.epoch = Some(epoch);
        self.said.epochs = epochs.or(self.said.epochs);
        Ok(())
    }

    fn rate(&mut self, rate: value::Rate) {
        self.said.rate = rate.per_second.or(self.said.rate);
        self.rate_unit = rate.unit.or(self.rate_unit.take());
    }

    fn metric(&mut self, name: String, text: &str) {
        if let Some(value) = measured(text)
            && self.said.metrics.len() < MAX_METRICS
        {
            self.said.metrics.insert(name, value);
        }
    }

    /// The pairs in a text that begins at `start` of the line; what has been read already is none.
    fn pairs(
        &mut self,
        rule: &LineRule,
        text: &str,
        start: usize,
        taken: &[Range<usize>],
    ) -> Result<(), Refused> {
        let Some(regex) = rule.pairs.regex() else {
            return Ok(());
        };
        for pair in regex.captures_iter(text).take(MAX_METRICS) {
            let (Some(name), Some(value)) = (pair.name("name"), pair.name("value")) else {
                continue;
            };
            let overlaps = |span: &Range<usize>| {
                span.start < start + value.end() && start + value.start() < span.end
            };
            if taken.iter().any(overlaps) {
                continue;
            }
            let name = match pair.name("of") {
                Some(whose) => format!("{}.{}", whose.as_str().trim(), name.as_str().trim()),
                None => name.as_str().trim().to_owned(),
            };
            match Meaning::of_pair(&name).filter(|_| rule.pairs_are_fields) {
                Some(meaning) => self.put(&meaning, unquoted(value.as_str()))?,
                None if name.is_empty() => {}
                None => self.metric(name, value.as_str()),
            }
        }
        Ok(())
    }

    fn finish(mut self, rule: &LineRule) -> Result<Said, Refused> {
        self.scale_by_unit();
        let mut said = self.said;
        if let (Some(step), Some(total)) = (said.step, said.total)
            && step > total
        {
            return Err(Refused);
        }
        if let (Some(epoch), Some(epochs)) = (said.epoch, said.epochs)
            && epoch > epochs
        {
            return Err(Refused);
        }
        said.unit = said
            .unit
            .as_deref()
            .map(|unit| value::plain_unit(unit).to_owned())
            .or_else(|| rule.unit.clone())
            .or(self.rate_unit)
            .or(self.amount_unit);
        Ok(said)
    }
}

impl Said {
    /// Whether it says something by itself, and not only what holds for other lines.
    pub(in crate::progress) fn says_something(&self) -> bool {
        self.step.is_some()
            || self.percent.is_some()
            || self.epoch.is_some()
            || self.elapsed_seconds.is_some()
            || self.phase.is_some()
            || self.message.is_some()
            || self.status.is_some()
            || self.error.is_some()
            || !self.metrics.is_empty()
    }

    /// Takes over what `newer` says that holds for lines to come.
    pub(in crate::progress) fn keep(&mut self, newer: &Self) {
        let newer = newer.clone();
        *self = Self {
            message: None,
            status: None,
            error: None,
            metrics: BTreeMap::new(),
            ..newer.over(self)
        };
    }

    /// This, and what `kept` says beside it.
    pub(in crate::progress) fn over(self, kept: &Self) -> Self {
        let mut words = kept.words.clone();
        words.extend(self.words);
        Self {
            step: self.step.or(kept.step),
            total: self.total.or(kept.total),
            percent: self.percent.or(kept.percent),
            epoch: self.epoch.or(kept.epoch),
            epochs: self.epochs.or(kept.epochs),
            epochs_from_zero: self.epochs_from_zero || kept.epochs_from_zero,
            rate: self.rate.or(kept.rate),
            eta_seconds: self.eta_seconds.or(kept.eta_seconds),
            elapsed_seconds: self.elapsed_seconds.or(kept.elapsed_seconds),
            elapsed_total_seconds: self.elapsed_total_seconds.or(kept.elapsed_total_seconds),
            unit: self.unit.or_else(|| kept.unit.clone()),
            phase: self.phase.or_else(|| kept.phase.clone()),
            message: self.message,
            status: self.status,
            error: self.error,
            item: self.item.or_else(|| kept.item.clone()),
            metrics: self.metrics,
            words,
        }
    }

    /// A kept word by the name of its group.
    fn word(&self, name: &str) -> Option<&str> {
        let field = match name {
            "unit" => self.unit.as_deref(),
            "phase" => self.phase.as_deref(),
            "item" => self.item.as_deref(),
            _ => None,
        };
        field.or_else(|| self.words.get(name).map(String::as_str))
    }
}

impl Pattern {
    /// Whether it can be compiled: the shipped ones are tested for it.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        self.regex().is_some()
    }
}

/// A whole of nothing has no parts.
fn some_of(total: f64) -> Option<f64> {
    (total > 0.0).then_some(total)
}

fn is_unknown(text: &str) -> bool {
    let text = text.trim();
    text.eq_ignore_ascii_case("unknown") || text.bytes().all(|b| b"?-:.".contains(&b))
}

/// A metric's value, without the signs that stand around it.
fn measured(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || ",;%'\"()[]{}|".contains(c));
    number::measured(text)
}

fn unquoted(text: &str) -> &str {
    text.trim_end_matches([',', ';']).trim_matches(['"', '\''])
}

fn trimmed(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A text without the signs that join it to a bar.
fn words(text: &str) -> Option<String> {
    let words = text.trim_matches(|c: char| c.is_whitespace() || ":,-|".contains(c));
    (!words.is_empty()).then(|| words.to_owned())
}
