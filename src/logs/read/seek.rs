//! Finding the place to begin: a time, or so many lines or bytes from the end.
//!
//! The end is approached backwards, so that the cost depends on what is asked for and not on the
//! size of the log.

use std::io;

use crate::logs::Stream;
use crate::logs::read::backward::Backward;
use crate::logs::read::lines::Lines;
use crate::logs::read::order::Table;
use crate::logs::read::source::Log;
use crate::logs::read::{Cursor, From, Selection};

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
    let recorded = table.last(log)?.map_or([0; 2], |record| record.after());
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
    Ok(walk.cursor(count.starts()))
}
