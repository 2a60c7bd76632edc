//! Counting lines from the end of a log.

use std::io;

use crate::logs::Stream;
use crate::logs::read::Selection;
use crate::logs::read::source::{Log, Piece, Sequence};

/// Data read at once.
const BLOCK_BYTES: u64 = 64 << 10;
/// Data read at most. With lines longer than that the first is cut.
const MOST_READ_BYTES: u64 = 16 << 20;

/// Counts lines towards the beginning. Lines of two streams are ordered by where they end.
pub(super) struct Lines {
    wanted: u64,
    seen: u64,
    read_bytes: u64,
    sides: [Side; 2],
}

struct Side {
    data: Sequence,
    /// Start of the lines counted so far.
    start: Option<u64>,
    /// Everything from here on was looked at.
    low: u64,
    /// The next byte towards the beginning is the last one of a line.
    between: bool,
    done: bool,
}

impl Lines {
    pub(super) fn new(wanted: u64) -> Lines {
        Lines {
            wanted,
            seen: 0,
            read_bytes: 0,
            sides: Stream::ALL.map(|stream| Side {
                data: Sequence::data(stream),
                start: None,
                low: u64::MAX,
                between: true,
                done: false,
            }),
        }
    }

    /// Whether nothing older is wanted, or may be read.
    pub(super) fn finished(&self, selection: Selection) -> bool {
        let enough = self.seen >= self.wanted;
        self.read_bytes >= MOST_READ_BYTES
            || Stream::ALL
                .into_iter()
                .filter(|stream| selection.has(*stream))
                .map(|stream| &self.sides[stream.index()])
                .all(|side| side.done || (enough && side.between))
    }

    /// Where the counted lines of each stream start.
    pub(super) fn starts(&self) -> [Option<u64>; 2] {
        self.sides.each_ref().map(|side| side.start)
    }

    /// Looks at the bytes `from..to`, block by block from the end.
    pub(super) fn extent(
        &mut self,
        log: &mut Log,
        stream: Stream,
        from: u64,
        to: u64,
    ) -> io::Result<()> {
        let mut to = to;
        while to > from && self.read_bytes < MOST_READ_BYTES {
            if self.sides[stream.index()].done {
                return Ok(());
            }
            let block_from = to.saturating_sub(BLOCK_BYTES).max(from);
            let block = self.block(log, stream, block_from, to)?;
            let side = &mut self.sides[stream.index()];
            if side.low != to {
                // Bytes are missing here, and with them the end of the line before.
                side.between = true;
            }
            self.read_bytes += to - block_from;
            if let Some(block) = block {
                self.sides[stream.index()].low = block_from;
                self.count(stream, block_from, &block);
            }
            to = block_from;
        }
        Ok(())
    }

    /// The bytes `from..to`, if they are still all there.
    fn block(
        &mut self,
        log: &mut Log,
        stream: Stream,
        from: u64,
        to: u64,
    ) -> io::Result<Option<Vec<u8>>> {
        let mut block = Vec::new();
        while from + (block.len() as u64) < to {
            let at = from + block.len() as u64;
            let room = usize::try_from(to - at).unwrap_or(usize::MAX);
            match self.sides[stream.index()].data.read(log, at, to, room)? {
                Piece::Bytes(bytes) => block.extend(bytes),
                Piece::Gap(_) | Piece::Nothing => return Ok(None),
            }
        }
        Ok(Some(block))
    }

    fn count(&mut self, stream: Stream, offset: u64, block: &[u8]) {
        let side = &mut self.sides[stream.index()];
        let mut high = block.len();
        loop {
            if side.between && high > 0 {
                if self.seen == self.wanted {
                    side.done = true;
                    side.start = side.start.or(Some(offset + high as u64));
                    return;
                }
                self.seen += 1;
                side.between = false;
                // Whatever this byte is, it belongs to the line that it ends.
                high -= 1;
                side.start = Some(offset + high as u64);
            }
            let Some(newline) = block[..high].iter().rposition(|byte| *byte == b'\n') else {
                if !block.is_empty() && !side.between {
                    side.start = Some(offset);
                }
                return;
            };
            side.start = Some(offset + newline as u64 + 1);
            side.between = true;
            high = newline + 1;
        }
    }
}
