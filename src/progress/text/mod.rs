//! Reads progress out of a job's output as it is, without the job's help.
//!
//! Output is cut into lines ([`lines`]), and each line that has what some adapter of the catalogue
//! looks for goes to those adapters until one of them knows it. What an adapter remembers of a stream is in [`adapter`].

mod adapter;
mod bars;
mod json;
pub mod lines;
mod ratio;

use std::borrow::Cow;
use std::sync::Arc;

use crate::model::progress::Observation;
use crate::progress::adapters::sieve::Found;
use crate::progress::adapters::{Builtin, Candidate, Catalogue, Hints, On, Ranks, Way};

use adapter::Memory;
use lines::{End, Lines, Reader};
use ratio::Ratio;

/// One line of output.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    /// Without its end and without escapes.
    text: &'a str,
    /// How it ended.
    end: End,
    /// It is text, and no binary output is near.
    is_clean: bool,
}

/// What an adapter had to do with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally<'a> {
    /// Its name.
    pub adapter: &'a str,
    /// How often a pattern was tried, on lines that had what it looks for.
    pub tried: u64,
    /// Lines that it knew.
    pub known: u64,
}

/// Reads one stream of output as it grows.
#[derive(Debug)]
pub struct TextFeed {
    lines: Lines,
    readers: Readers,
}

impl Default for TextFeed {
    /// A feed that knows the shipped adapters, and nothing of the job.
    fn default() -> Self {
        Self::new(&Catalogue::shipped(), &Hints::default())
    }
}

impl TextFeed {
    /// A feed for one stream of a job of which this is known.
    #[must_use]
    pub fn new(catalogue: &Arc<Catalogue>, hints: &Hints) -> Self {
        Self {
            lines: Lines::default(),
            readers: Readers::new(catalogue, hints),
        }
    }

    /// The same feed, which asks no adapter but the one of this name.
    #[must_use]
    pub fn only(mut self, name: &str) -> Self {
        self.readers.ranks = self.readers.catalogue.ranks_of(name);
        self
    }

    /// What each adapter had to do, in the order of the catalogue.
    pub fn tallies(&self) -> impl Iterator<Item = Tally<'_>> {
        let adapters = self.readers.catalogue.adapters().iter();
        adapters
            .zip(&self.readers.slots)
            .map(|(adapter, slot)| Tally {
                adapter: &adapter.name,
                tried: slot.tried,
                known: slot.known,
            })
    }

    /// Takes the next bytes; adds at most one observation per adapter, so that a flood of bars is one.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Observation>) {
        let Self { lines, readers } = self;
        lines.feed(bytes, readers);
        // A bar is often drawn without an end, which comes with the next one, perhaps an hour later.
        let (open, number) = lines.open();
        readers.read_open(open, number);
        let slots = readers.slots.iter_mut();
        out.extend(slots.filter_map(|slot| slot.seen.take()).map(|seen| *seen));
    }
}

/// The adapters, and what they saw.
#[derive(Debug)]
struct Readers {
    catalogue: Arc<Catalogue>,
    ranks: Ranks,
    /// One per adapter, in the catalogue's order.
    slots: Vec<Slot>,
    found: Found,
    candidates: Vec<Candidate>,
    open: OpenLine,
}

/// An adapter's memory, and what it saw in the present chunk.
#[derive(Debug, Default)]
struct Slot {
    /// Made when the adapter is first tried: most never are.
    memory: Option<Box<Memory>>,
    ratio: Option<Box<Ratio>>,
    /// In a box, as there are many adapters and a feed for every stream.
    seen: Option<Box<Observation>>,
    tried: u64,
    known: u64,
}

/// How much of the line that has not ended yet was looked at.
#[derive(Debug, Default)]
struct OpenLine {
    number: u64,
    scanned_bytes: usize,
    found: Found,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Unknown,
    /// It was remembered, and others are asked too.
    Passed,
    Read,
}

impl Readers {
    fn new(catalogue: &Arc<Catalogue>, hints: &Hints) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(catalogue.adapters().len(), Slot::default);
        Self {
            ranks: catalogue.ranks(hints),
            catalogue: Arc::clone(catalogue),
            slots,
            found: Found::default(),
            candidates: Vec::new(),
            open: OpenLine::default(),
        }
    }

    fn read_open(&mut self, line: &[u8], number: u64) {
        if self.open.number != number || line.len() < self.open.scanned_bytes {
            self.open.found.clear();
            self.open.scanned_bytes = 0;
            self.open.number = number;
        }
        if line.len() == self.open.scanned_bytes {
            return;
        }
        let open = &mut self.open;
        self.catalogue
            .scan(line, open.scanned_bytes, &mut open.found);
        open.scanned_bytes = line.len();
        if self.catalogue.wants(&self.open.found, &self.ranks) {
            std::mem::swap(&mut self.found, &mut self.open.found);
            self.read(line, End::Open, true);
            std::mem::swap(&mut self.found, &mut self.open.found);
        }
    }

    /// Shows a line to the adapters that may know it.
    fn read(&mut self, line: &[u8], end: End, is_clean: bool) {
        let mut candidates = std::mem::take(&mut self.candidates);
        self.catalogue
            .candidates(&self.found, &self.ranks, &mut candidates);
        if !candidates.is_empty() {
            // Nearly all output is good UTF-8, and that is found out faster than what is wrong with it.
            let (text, is_clean) = match std::str::from_utf8(line) {
                Ok(text) => (Cow::Borrowed(text), is_clean),
                Err(_) => (String::from_utf8_lossy(line), false),
            };
            let line = Line {
                text: &text,
                end,
                is_clean,
            };
            for candidate in &candidates {
                if self.try_one(*candidate, line) == Outcome::Read {
                    break;
                }
            }
        }
        self.candidates = candidates;
    }

    fn try_one(&mut self, candidate: Candidate, line: Line<'_>) -> Outcome {
        let Some((number, way)) = self.catalogue.way(candidate) else {
            return Outcome::Unknown;
        };
        let name = &self.catalogue.adapters()[number].name;
        let slot = &mut self.slots[number];
        let mut passes = false;
        let seen = match way {
            Way::Line(rule) => {
                let is_osc = line.end == End::Terminal;
                if is_osc != (rule.on == On::Osc) || (line.end == End::Open && !rule.open) {
                    return Outcome::Unknown;
                }
                passes = rule.pass;
                slot.tried += u64::from(line.end != End::Open);
                let memory = slot.memory.get_or_insert_default();
                memory.read(name, rule, line.text, line.end)
            }
            Way::Builtin(builtin) if !matches!(line.end, End::Open | End::Terminal) => {
                slot.tried += 1;
                match builtin {
                    Builtin::Json => json::read(name, line).map(Some),
                    Builtin::Ratio => {
                        let ratio = slot.ratio.get_or_insert_default();
                        ratio.read(name, line).map(Some)
                    }
                }
            }
            // More text would change what such a line says.
            Way::Builtin(_) => None,
        };
        let Some(seen) = seen else {
            return Outcome::Unknown;
        };
        slot.known += u64::from(line.end != End::Open);
        if passes {
            return Outcome::Passed;
        }
        match (&mut slot.seen, seen) {
            (Some(before), Some(seen)) => before.absorb(seen),
            (none, Some(seen)) => *none = Some(Box::new(seen)),
            (_, None) => {}
        }
        Outcome::Read
    }
}

impl Reader for Readers {
    fn quiet(&mut self, bytes: &[u8]) -> usize {
        self.catalogue.quiet(bytes, &mut self.found, &self.ranks)
    }

    fn see(&mut self, line: &[u8], end: End, is_clean: bool) {
        self.found.clear();
        self.catalogue.scan(line, 0, &mut self.found);
        if !self.catalogue.wants(&self.found, &self.ranks) {
            return;
        }
        self.read(line, end, is_clean);
    }
}

#[cfg(test)]
mod tests;
