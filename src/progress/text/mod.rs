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
#[derive(Debug)]
pub struct TextFeed {
    lines: Lines,
    recognisers: Vec<Slot>,
}

/// A recogniser and what it saw in the present chunk.
#[derive(Debug)]
struct Slot {
    recogniser: Box<dyn Recogniser>,
    wants: Marks,
    seen: Option<Observation>,
}

impl Default for TextFeed {
    fn default() -> Self {
        let slot = |recogniser: Box<dyn Recogniser>| Slot {
            wants: recogniser.wants(),
            recogniser,
            seen: None,
        };
        Self {
            lines: Lines::default(),
            recognisers: recognisers().into_iter().map(slot).collect(),
        }
    }
}

impl TextFeed {
    /// Takes the next bytes; adds at most one observation per recogniser, so that a flood of bars is one.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Observation>) {
        let Self { lines, recognisers } = self;
        lines.feed(bytes, |line, marks, end| {
            read(recognisers, line, marks, end);
        });
        // A bar is often drawn without an end, which comes with the next one, perhaps an hour later.
        let (open, marks) = lines.open();
        read(recognisers, open, marks, End::Open);
        out.extend(recognisers.iter_mut().filter_map(|slot| slot.seen.take()));
    }
}

fn read(recognisers: &mut [Slot], line: &[u8], marks: Marks, end: End) {
    if !marks.has(Marks::DIGIT) || !recognisers.iter().any(|slot| marks.has(slot.wants)) {
        return;
    }
    let text = String::from_utf8_lossy(line);
    let line = Line { text: &text, end };
    for slot in recognisers.iter_mut().filter(|it| marks.has(it.wants)) {
        if let Some(seen) = slot.recogniser.read(line) {
            match &mut slot.seen {
                Some(before) => before.absorb(seen),
                none => *none = Some(seen),
            }
            return;
        }
    }
}
