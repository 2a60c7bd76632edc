//! Finding the place to begin: a time, or so many lines or bytes from the end.
//!
//! The end is approached backwards, by the records of the order, so that the cost depends on what
//! is asked for and not on the size of the log.

use std::io;

use crate::logs::Stream;
use crate::logs::read::order::Table;
use crate::logs::read::source::{Log, Piece, Sequence};
use crate::logs::read::{Cursor, From, Selection};
use crate::logs::record::Record;
use crate::logs::segment::Kind;

/// Data read at once when looking for lines.
const BLOCK_BYTES: u64 = 64 << 10;
/// Data read at most when looking for lines. With lines longer than that the first is cut.
const MOST_READ_BYTES: u64 = 16 << 20;

/// The cursor for `from`.
pub(super) fn find(log: &mut Log, selection: Selection, from: From) -> io::Result<Cursor> {
    match from {
        From::Start => Ok(Cursor::default()),
        From::Offset(cursor) => Ok(cursor),
        From::Since { wall_ms } => since(log, wall_ms),
        From::Tail { lines } => tail_lines(log, selection, lines),
        From::TailBytes(bytes) => tail_bytes(log, selection, bytes),
    }
}

/// Assumes that the wall clock ran forward; where it was set back, the place is one of several right ones.
fn since(log: &mut Log, wall_ms: i64) -> io::Result<Cursor> {
    log.refresh()?;
    let ends = [log.end(Stream::Stdout)?, log.end(Stream::Stderr)?];
    let mut table = Table::load(log)?;
    let (mut low, mut high) = (0, table.length());
    while low < high {
        let middle = low + (high - low) / 2;
        match table.near(log, middle)? {
            Some(record) if record.at_wall_ms < wall_ms => low = middle + 1,
            _ => high = middle,
        }
    }
    if low < table.length()
        && let Some(record) = table.near(log, low)?
    {
        return Ok(Cursor {
            offsets: record.before,
            order: table.position(low),
        });
    }
    // What has no record yet is as old as the last change of its file.
    let recorded = last_record(log, &mut table)?.map_or([0; 2], |record| record.after());
    let place = |stream: Stream| {
        let (end, changed_wall_ms) = ends[stream.index()];
        match recorded[stream.index()] {
            recorded if changed_wall_ms >= wall_ms => recorded,
            recorded => end.max(recorded),
        }
    };
    Ok(Cursor {
        offsets: Stream::ALL.map(place),
        order: table.position(table.length()),
    })
}

fn last_record(log: &mut Log, table: &mut Table) -> io::Result<Option<Record>> {
    let mut before = table.length();
    while before > 0 {
        let (first, block) = table.block_before(log, before)?;
        if let Some(record) = block.into_iter().rev().flatten().next() {
            return Ok(Some(record));
        }
        before = first;
    }
    Ok(None)
}

fn tail_bytes(log: &mut Log, selection: Selection, bytes: u64) -> io::Result<Cursor> {
    let mut walk = Backward::new(log, selection)?;
    let mut starts = [None; 2];
    let mut left = bytes;
    while left > 0
        && let Some(part) = walk.next(log)?
    {
        for (from, to) in walk.on_disk(&part) {
            let taken = left.min(to - from);
            left -= taken;
            starts[part.stream.index()] = Some(to - taken);
            if left == 0 {
                break;
            }
        }
    }
    Ok(walk.cursor(starts))
}

fn tail_lines(log: &mut Log, selection: Selection, lines: u64) -> io::Result<Cursor> {
    let mut walk = Backward::new(log, selection)?;
    let mut count = Lines::new(lines);
    while !count.finished(selection)
        && let Some(part) = walk.next(log)?
    {
        for (from, to) in walk.on_disk(&part) {
            count.extent(log, part.stream, from, to)?;
        }
    }
    Ok(walk.cursor([count.sides[0].start, count.sides[1].start]))
}

/// A part of one stream, met on the way from the end to the beginning.
struct Part {
    stream: Stream,
    from: u64,
    to: u64,
    order: u64,
}

/// Goes through the parts of a log from the newest to the oldest.
struct Backward {
    selection: Selection,
    extents: [Vec<(u64, u64)>; 2],
    table: Table,
    /// Everything of a stream from here on was met.
    edges: [u64; 2],
    waiting: Vec<Part>,
    block: Vec<Option<Record>>,
    block_first: u64,
    order: u64,
    at_start: bool,
}

impl Backward {
    fn new(log: &mut Log, selection: Selection) -> io::Result<Backward> {
        log.refresh()?;
        // The data before the order: what grows between the two looks then has a record.
        let extents = [
            log.extents(Kind::Data(Stream::Stdout))?,
            log.extents(Kind::Data(Stream::Stderr))?,
        ];
        let mut table = Table::load(log)?;
        let recorded = last_record(log, &mut table)?.map_or([0; 2], |record| record.after());
        let order = table.position(table.length());
        let mut edges = recorded;
        let mut waiting = Vec::new();
        for stream in Stream::ALL {
            let end = extents[stream.index()].last().map_or(0, |(_, end)| *end);
            if selection.has(stream) && end > recorded[stream.index()] {
                waiting.push(Part {
                    stream,
                    from: recorded[stream.index()],
                    to: end,
                    order,
                });
            }
            edges[stream.index()] = edges[stream.index()].max(end);
        }
        Ok(Backward {
            selection,
            extents,
            block_first: table.length(),
            table,
            edges,
            waiting,
            block: Vec::new(),
            order,
            at_start: false,
        })
    }

    fn next(&mut self, log: &mut Log) -> io::Result<Option<Part>> {
        loop {
            if let Some(part) = self.waiting.pop() {
                self.edges[part.stream.index()] = part.from;
                self.order = part.order;
                return Ok(Some(part));
            }
            if let Some(record) = self.block.pop() {
                let number = self.block_first + self.block.len() as u64;
                let record = record.filter(|record| {
                    self.selection.has(record.stream)
                        && record.start() < self.edges[record.stream.index()]
                });
                self.waiting.extend(record.map(|record| Part {
                    stream: record.stream,
                    from: record.start(),
                    to: self.edges[record.stream.index()],
                    order: self.table.position(number),
                }));
            } else if self.block_first > 0 {
                (self.block_first, self.block) = self.table.block_before(log, self.block_first)?;
            } else if self.at_start {
                return Ok(None);
            } else {
                // What is older than the oldest record, and everything where there is none.
                self.at_start = true;
                self.waiting.extend(
                    Stream::ALL
                        .into_iter()
                        .filter(|stream| self.selection.has(*stream))
                        .filter(|stream| self.edges[stream.index()] > 0)
                        .map(|stream| Part {
                            stream,
                            from: 0,
                            to: self.edges[stream.index()],
                            order: 0,
                        }),
                );
            }
        }
    }

    /// What of `part` is on disk, newest first.
    fn on_disk(&self, part: &Part) -> Vec<(u64, u64)> {
        let extents = &self.extents[part.stream.index()];
        let below = extents.partition_point(|(from, _)| *from < part.to);
        extents[..below]
            .iter()
            .rev()
            .take_while(|(_, to)| *to > part.from)
            .map(|(from, to)| ((*from).max(part.from), (*to).min(part.to)))
            .collect()
    }

    /// The place to begin: where the counting ended, or all that was met.
    fn cursor(&self, starts: [Option<u64>; 2]) -> Cursor {
        let place = |stream: Stream| {
            let index = stream.index();
            starts[index].unwrap_or(self.edges[index])
        };
        Cursor {
            offsets: Stream::ALL.map(place),
            order: self.order,
        }
    }
}

/// Counts lines towards the beginning. Lines of two streams are ordered by where they end.
struct Lines {
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
    fn new(wanted: u64) -> Lines {
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

    fn finished(&self, selection: Selection) -> bool {
        let enough = self.seen >= self.wanted;
        self.read_bytes >= MOST_READ_BYTES
            || Stream::ALL
                .into_iter()
                .filter(|stream| selection.has(*stream))
                .map(|stream| &self.sides[stream.index()])
                .all(|side| side.done || (enough && side.between))
    }

    /// Looks at the bytes `from..to`, block by block from the end.
    fn extent(&mut self, log: &mut Log, stream: Stream, from: u64, to: u64) -> io::Result<()> {
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
