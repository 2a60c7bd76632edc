//! Reads progress out of a job's output as it is, without the job's help.
//!
//! Output is cut into lines ([`lines`]), and each line goes to the recognisers until one of them
//! knows it. A new program's output is a new recogniser in [`recognisers`].

mod dict;
mod epoch;
pub mod lines;
mod ratio;
mod tqdm;

use std::fmt::Debug;

use crate::model::progress::Observation;

use lines::{End, Lines, Marks};

/// One line of output.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Without its end and without escapes.
    pub text: &'a str,
    /// How it ended.
    pub end: End,
}

/// Knows the output of one program or one habit of printing.
pub trait Recogniser: Debug + Send {
    /// What every line it can read has.
    fn wants(&self) -> Marks;

    /// What the line says, if it is of the known sort.
    ///
    /// A line with [`End::Open`] may be shown many times as it grows. It may only be read if what
    /// follows cannot change what it says, and must leave the recogniser as it was.
    fn read(&mut self, line: Line<'_>) -> Option<Observation>;
}

/// All recognisers; where two know a line, the earlier one reads it.
fn recognisers() -> Vec<Box<dyn Recogniser>> {
    vec![
        Box::<tqdm::Tqdm>::default(),
        Box::<dict::Dict>::default(),
        Box::<ratio::Ratio>::default(),
    ]
}

/// Reads one stream of output as it grows.
#[derive(Debug, Default)]
pub struct TextFeed {
    lines: Lines,
    readers: Readers,
}

impl TextFeed {
    /// Takes the next bytes; adds at most one observation per recogniser, so that a flood of bars is one.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Observation>) {
        let Self { lines, readers } = self;
        lines.feed(bytes, |line, marks, end| readers.take(line, marks, end));
        readers.read_held();
        // A bar is often drawn without an end, which comes with the next one, perhaps an hour later.
        let (open, marks) = lines.open();
        if readers.want(marks) {
            readers.read(open, marks, End::Open);
        }
        out.extend(readers.slots.iter_mut().filter_map(|slot| slot.seen.take()));
    }
}

/// The recognisers, and what keeps a flood from them.
///
/// A line that looks like the last one that was read says the same thing with newer numbers, so of many such
/// lines in a chunk only the last is read.
#[derive(Debug)]
struct Readers {
    slots: Vec<Slot>,
    /// What the last line looked like, if it was read.
    shape: Option<u64>,
    /// The newest line of that shape that has not been read.
    held: Option<(Vec<u8>, Marks, End)>,
}

/// A recogniser and what it saw in the present chunk.
#[derive(Debug)]
struct Slot {
    recogniser: Box<dyn Recogniser>,
    wants: Marks,
    seen: Option<Observation>,
}

impl Default for Readers {
    fn default() -> Self {
        let slot = |recogniser: Box<dyn Recogniser>| Slot {
            wants: recogniser.wants(),
            recogniser,
            seen: None,
        };
        Self {
            slots: recognisers().into_iter().map(slot).collect(),
            shape: None,
            held: None,
        }
    }
}

impl Readers {
    fn want(&self, marks: Marks) -> bool {
        self.slots.iter().any(|slot| marks.has(slot.wants))
    }

    fn take(&mut self, line: &[u8], marks: Marks, end: End) {
        if !self.want(marks) {
            return;
        }
        if self.shape.is_some() && self.shape == Some(shape(line, end)) {
            let (held, held_marks, held_end) =
                self.held.get_or_insert_with(|| (Vec::new(), marks, end));
            held.clear();
            held.extend_from_slice(line);
            (*held_marks, *held_end) = (marks, end);
            return;
        }
        self.read_held();
        self.shape = self.read(line, marks, end).then(|| shape(line, end));
    }

    fn read_held(&mut self) {
        if let Some((line, marks, end)) = self.held.take() {
            self.read(&line, marks, end);
        }
    }

    /// Shows a line to the recognisers; whether one could read it.
    fn read(&mut self, line: &[u8], marks: Marks, end: End) -> bool {
        let text = String::from_utf8_lossy(line);
        let line = Line { text: &text, end };
        for slot in self.slots.iter_mut().filter(|it| marks.has(it.wants)) {
            if let Some(seen) = slot.recogniser.read(line) {
                match &mut slot.seen {
                    Some(before) => before.absorb(seen),
                    none => *none = Some(seen),
                }
                return true;
            }
        }
        false
    }
}

/// What a line looks like without its numbers and without the length of its bars.
fn shape(line: &[u8], end: End) -> u64 {
    let mut hash = end as u64 ^ 0xcbf2_9ce4_8422_2325;
    let mut before = b' ';
    for &byte in line {
        let changes = byte.is_ascii_digit() || byte >= 0x80 || b" .,?".contains(&byte);
        if !changes && byte != before {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            before = byte;
        }
    }
    hash
}

#[cfg(test)]
mod tests;
