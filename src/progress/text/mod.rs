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
        readers.read_held();
        // A bar is often drawn without an end, which comes with the next one, perhaps an hour later.
        let (open, number) = lines.open();
        readers.read_open(open, number);
        let slots = readers.slots.iter_mut();
        out.extend(slots.filter_map(|slot| slot.seen.take()).map(|seen| *seen));
    }
}

/// The adapters, and what keeps a flood from them.
///
/// A line that looks like the last one that was read says the same thing with newer numbers, so of many such
/// lines in a chunk only the last is read.
#[derive(Debug)]
struct Readers {
    catalogue: Arc<Catalogue>,
    ranks: Ranks,
    /// One per adapter, in the catalogue's order.
    slots: Vec<Slot>,
    found: Found,
    candidates: Vec<Candidate>,
    open: OpenLine,
    /// What the last line looked like, if it was read and more of its sort may be left out.
    shape: Option<u64>,
    /// The newest line of that shape that has not been read.
    held: Option<(Vec<u8>, End)>,
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

/// Whether a line was read, and whether others like it may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Unknown,
    /// It was remembered, and others are asked too.
    Passed,
    Read {
        repeats: bool,
    },
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
            shape: None,
            held: None,
        }
    }

    fn read_held(&mut self) {
        if let Some((line, end)) = self.held.take() {
            let found = std::mem::take(&mut self.found);
            self.catalogue.scan(&line, 0, &mut self.found);
            self.read(&line, end);
            self.found = found;
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
            self.read(line, End::Open);
            std::mem::swap(&mut self.found, &mut self.open.found);
        }
    }

    /// Shows a line to the adapters that may know it.
    fn read(&mut self, line: &[u8], end: End) -> Outcome {
        let mut candidates = std::mem::take(&mut self.candidates);
        self.catalogue
            .candidates(&self.found, &self.ranks, &mut candidates);
        let mut outcome = Outcome::Unknown;
        if !candidates.is_empty() {
            // Nearly all output is good UTF-8, and that is found out faster than what is wrong with it.
            let text = match std::str::from_utf8(line) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => String::from_utf8_lossy(line),
            };
            let line = Line { text: &text, end };
            let mut is_noted = false;
            for candidate in &candidates {
                match self.try_one(*candidate, line) {
                    Outcome::Unknown => {}
                    Outcome::Passed => is_noted = true,
                    Outcome::Read { repeats } => {
                        let repeats = repeats && !is_noted;
                        outcome = Outcome::Read { repeats };
                        break;
                    }
                }
            }
        }
        self.candidates = candidates;
        outcome
    }

    fn try_one(&mut self, candidate: Candidate, line: Line<'_>) -> Outcome {
        let Some((number, way)) = self.catalogue.way(candidate) else {
            return Outcome::Unknown;
        };
        let name = &self.catalogue.adapters()[number].name;
        let slot = &mut self.slots[number];
        let (mut repeats, mut passes, mut is_bar) = (true, false, false);
        let seen = match way {
            Way::Line(rule) => {
                let is_osc = line.end == End::Terminal;
                if is_osc != (rule.on == On::Osc) || (line.end == End::Open && !rule.open) {
                    return Outcome::Unknown;
                }
                // What is remembered of a line must not be left out.
                repeats = rule.may_repeat();
                (passes, is_bar) = (rule.pass, rule.bar);
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
        if let Some(seen) = &seen {
            // These add up, and their names may differ in what a shape leaves out; a bar's stay as they are.
            repeats &= (is_bar || seen.metrics.is_empty()) && seen.steps.is_empty();
        }
        match (&mut slot.seen, seen) {
            (Some(before), Some(seen)) => before.absorb(seen),
            (none, Some(seen)) => *none = Some(Box::new(seen)),
            (_, None) => {}
        }
        Outcome::Read { repeats }
    }
}

impl Reader for Readers {
    fn quiet(&mut self, bytes: &[u8]) -> usize {
        self.catalogue.quiet(bytes, &mut self.found, &self.ranks)
    }

    fn see(&mut self, line: &[u8], end: End) {
        self.found.clear();
        self.catalogue.scan(line, 0, &mut self.found);
        if !self.catalogue.wants(&self.found, &self.ranks) {
            return;
        }
        if self.shape.is_some() && self.shape == Some(shape(line, end)) {
            let (held, held_end) = self.held.get_or_insert_with(|| (Vec::new(), end));
            held.clear();
            held.extend_from_slice(line);
            *held_end = end;
            return;
        }
        self.read_held();
        self.shape = match self.read(line, end) {
            Outcome::Read { repeats: true } => Some(shape(line, end)),
            Outcome::Read { repeats: false } | Outcome::Passed | Outcome::Unknown => None,
        };
    }
}

/// What a line looks like without its numbers and without the length of its bars. What stands before a `=` or a
/// `:` counts in full: names may differ in a digit.
fn shape(line: &[u8], end: End) -> u64 {
    const SEED: u64 = 0xcbf2_9ce4_8422_2325;
    let mix = |hash: u64, with: u64| (hash ^ with).wrapping_mul(0x0000_0100_0000_01b3);
    let mut hash = end as u64 ^ SEED;
    let mut name = SEED;
    let mut before = b' ';
    for &byte in line {
        let changes = byte.is_ascii_digit() || byte >= 0x80 || b" .,?".contains(&byte);
        if !changes && byte != before {
            hash = mix(hash, u64::from(byte));
            before = byte;
        }
        name = match byte {
            b'=' | b':' => {
                hash = mix(hash, name);
                SEED
            }
            b',' | b';' | b'|' | b'[' | b'(' | b'{' | b'<' => SEED,
            _ => mix(name, u64::from(byte)),
        };
    }
    hash
}

#[cfg(test)]
mod tests;
