//! The writer: appends the output of one attempt, inside the shim.
//!
//! It must never fail, block on a full disk or hold data back: what cannot be written is counted
//! and the job goes on. It keeps no buffer beyond one record.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use crate::logs::Stream;
use crate::logs::record::Record;
use crate::logs::segment::{self, Kind, Listing};

mod files;
mod order;

use files::{end_of, make_directory, remove};
use order::Order;

/// The smallest limit that is honoured: below it the segments would be smaller than a line.
const LEAST_LIMIT_BYTES: u64 = 4096;
/// Segments that the tail is cut into, and with them how much of it goes at once.
const TAIL_PARTS: u64 = 8;
/// Closed segments kept at most: a disk that is full by turns would otherwise leave countless small ones.
const MOST_SEGMENTS: usize = 64;
/// Pieces of one stream that follow each other within this time share a record.
const SAME_RECORD_MS: i64 = 5;
/// And not beyond this size, so that a position in time can be found.
const SAME_RECORD_BYTES: u32 = 16 << 20;
/// The log of one attempt, open for writing.
#[derive(Debug)]
pub struct AttemptLog {
    path: PathBuf,
    dir: Option<OwnedFd>,
    head_left_bytes: u64,
    tail: Tail,
    ends: [u64; 2],
    open: [Option<Segment>; 2],
    pending: Option<Record>,
    order: Order,
    dropped_bytes: u64,
}

#[derive(Debug)]
struct Segment {
    file: OwnedFd,
    start: u64,
    length: u64,
    head: bool,
}

/// The rolling part: what may be unlinked, oldest first.
#[derive(Debug)]
struct Tail {
    limit_bytes: u64,
    segment_bytes: u64,
    used_bytes: u64,
    closed: VecDeque<Closed>,
}

#[derive(Debug)]
struct Closed {
    stream: Stream,
    start: u64,
    length: u64,
}

impl AttemptLog {
    /// A log in `dir` of at most `limit_bytes` of output. Touches nothing before the first byte.
    pub fn open(dir: &Path, limit_bytes: u64) -> AttemptLog {
        let limit = limit_bytes.max(LEAST_LIMIT_BYTES);
        let head = limit / 4;
        AttemptLog {
            path: dir.to_owned(),
            dir: None,
            head_left_bytes: head,
            tail: Tail {
                limit_bytes: limit - head,
                segment_bytes: (limit - head) / TAIL_PARTS,
                used_bytes: 0,
                closed: VecDeque::new(),
            },
            ends: [0; 2],
            open: [None, None],
            pending: None,
            order: Order::new(limit),
            dropped_bytes: 0,
        }
    }

    /// Appends what the job wrote to `stream`. What the disk does not take is dropped and counted.
    pub fn append(&mut self, stream: Stream, bytes: &[u8], at_wall_ms: i64) {
        if bytes.is_empty() {
            return;
        }
        if !self.extends_pending(stream, at_wall_ms) {
            self.flush_pending();
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = self.ends;
            let Ok(written) = self.write_some(stream, rest) else {
                self.drop_rest(stream, rest.len());
                return;
            };
            self.note(stream, before, written, at_wall_ms);
            rest = &rest[written..];
        }
    }

    /// Writes down what was held back for later: the last record, and how far each stream got.
    pub fn finish(&mut self) {
        self.flush_pending();
        for stream in Stream::ALL {
            let lost_its_end = self.open[stream.index()].is_none() && self.ends[stream.index()] > 0;
            if lost_its_end && self.enter().is_ok() {
                self.start_segment(stream).ok();
            }
        }
    }

    /// Bytes of both streams that are not on disk: evicted, or refused by the disk.
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    /// Writes at least one byte, or says why not.
    fn write_some(&mut self, stream: Stream, bytes: &[u8]) -> Result<usize, Errno> {
        self.enter()?;
        let room = self.room(stream)?;
        let wanted = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
        let head = self.head_left_bytes > 0;
        if !head {
            self.make_room(wanted as u64)?;
        }
        let Some(segment) = &mut self.open[stream.index()] else {
            return Err(Errno::BADF);
        };
        let written =
            rustix::io::retry_on_intr(|| rustix::io::write(&segment.file, &bytes[..wanted]))?;
        if written == 0 {
            return Err(Errno::IO);
        }
        segment.length += written as u64;
        self.ends[stream.index()] += written as u64;
        if head {
            self.head_left_bytes -= written as u64;
        } else {
            self.tail.used_bytes += written as u64;
        }
        Ok(written)
    }

    /// Sees to an open segment of `stream` with room in it.
    fn room(&mut self, stream: Stream) -> Result<u64, Errno> {
        let room = match &self.open[stream.index()] {
            None => 0,
            Some(segment) if segment.head => self.head_left_bytes,
            Some(segment) => self.tail.segment_bytes.saturating_sub(segment.length),
        };
        if room > 0 {
            return Ok(room);
        }
        self.start_segment(stream)?;
        Ok(match self.head_left_bytes {
            0 => self.tail.segment_bytes,
            left => left,
        })
    }

    /// Closes the open segment of `stream` and starts one at its present end.
    fn start_segment(&mut self, stream: Stream) -> Result<(), Errno> {
        let Some(dir) = &self.dir else {
            return Err(Errno::NOENT);
        };
        let kind = Kind::Data(stream);
        if let Some(old) = self.open[stream.index()].take() {
            let (start, length) = (old.start, old.length);
            if length == 0 {
                // It only marked an end that has moved on.
                remove(dir.as_fd(), kind, start).ok();
            } else if !old.head {
                self.tail.closed.push_back(Closed {
                    stream,
                    start,
                    length,
                });
            }
        }
        while self.tail.closed.len() >= MOST_SEGMENTS {
            self.evict()?;
        }
        let Some(dir) = &self.dir else {
            return Err(Errno::NOENT);
        };
        let start = self.ends[stream.index()];
        self.open[stream.index()] = Some(Segment {
            file: segment::create(dir, kind, start)?,
            start,
            length: 0,
            head: self.head_left_bytes > 0,
        });
        Ok(())
    }

    fn make_room(&mut self, wanted: u64) -> Result<(), Errno> {
        while self.tail.used_bytes.saturating_add(wanted) > self.tail.limit_bytes
            && !self.tail.closed.is_empty()
        {
            self.evict()?;
        }
        Ok(())
    }

    /// Unlinks the oldest closed segment. If that fails, nothing may be added either.
    fn evict(&mut self) -> Result<(), Errno> {
        let (Some(dir), Some(oldest)) = (&self.dir, self.tail.closed.front()) else {
            return Ok(());
        };
        remove(dir.as_fd(), Kind::Data(oldest.stream), oldest.start)?;
        self.tail.used_bytes -= oldest.length;
        self.dropped_bytes += oldest.length;
        self.tail.closed.pop_front();
        Ok(())
    }

    /// Counts what the disk refused and, where it can, leaves an empty segment that shows it.
    fn drop_rest(&mut self, stream: Stream, bytes: usize) {
        self.dropped_bytes += bytes as u64;
        self.ends[stream.index()] += bytes as u64;
        // The head ends where the log first has a hole: later segments must stay evictable.
        self.head_left_bytes = 0;
        if self.enter().is_ok() {
            self.start_segment(stream).ok();
        }
    }

    /// Opens the directory, making it if needed.
    fn enter(&mut self) -> Result<(), Errno> {
        if self.dir.is_some() {
            return Ok(());
        }
        let made = make_directory(&self.path)?;
        let dir = segment::open_directory(&self.path)?;
        if !made {
            self.go_on_after(dir.as_fd())?;
        }
        self.dir = Some(dir);
        Ok(())
    }

    /// Takes its place behind a log that is already there, so that nothing is overwritten.
    fn go_on_after(&mut self, dir: BorrowedFd<'_>) -> Result<(), Errno> {
        let listing = Listing::read(dir).map_err(|_| Errno::IO)?;
        let stdout = end_of(dir, &listing, Kind::Data(Stream::Stdout))?;
        let stderr = end_of(dir, &listing, Kind::Data(Stream::Stderr))?;
        self.order.go_on_at(end_of(dir, &listing, Kind::Order)?);
        self.ends[0] += stdout;
        self.ends[1] += stderr;
        self.head_left_bytes = self.head_left_bytes.saturating_sub(stdout + stderr);
        Ok(())
    }

    fn extends_pending(&self, stream: Stream, at_wall_ms: i64) -> bool {
        self.pending.is_some_and(|record| {
            let later_ms = at_wall_ms.saturating_sub(record.at_wall_ms);
            record.stream == stream
                && record.end() == self.ends[stream.index()]
                && (0..=SAME_RECORD_MS).contains(&later_ms)
                && record.length < SAME_RECORD_BYTES
        })
    }

    /// Adds a written piece to the pending record, or makes it the pending one.
    fn note(&mut self, stream: Stream, before: [u64; 2], written: usize, at_wall_ms: i64) {
        let mut written = u32::try_from(written).unwrap_or(u32::MAX);
        if let Some(record) = &mut self.pending {
            let joins = record.stream == stream && record.end() == before[stream.index()];
            if let (true, Some(length)) = (joins, record.length.checked_add(written)) {
                record.length = length;
                written = 0;
            }
        }
        if written > 0 {
            self.flush_pending();
            self.pending = Some(Record {
                at_wall_ms,
                before,
                length: written,
                stream,
            });
        }
    }

    fn flush_pending(&mut self) {
        if let (Some(record), Some(dir)) = (self.pending.take(), &self.dir) {
            self.order.append(dir.as_fd(), &record);
        }
    }
}
