//! The reader: what an attempt wrote, in order, from any point on, also while it is written.
//!
//! It does blocking file reads in short calls and holds no more than one chunk. It keeps no state
//! on disk: a [`Cursor`] is all that another reader, in another process, needs to go on.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use rustix::fd::OwnedFd;

use crate::logs::Stream;

mod backward;
mod cursor;
mod lines;
mod order;
mod seek;
mod source;

#[cfg(test)]
mod tests;

pub use cursor::{BadCursor, Cursor};

use order::Order;
use source::{Log, Piece, Sequence};

/// Which streams to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Selection {
    /// Standard output alone.
    Stdout,
    /// Standard error alone.
    Stderr,
    /// Both, in the order in which the job wrote them.
    #[default]
    Both,
}

impl Selection {
    fn has(self, stream: Stream) -> bool {
        match self {
            Selection::Stdout => stream == Stream::Stdout,
            Selection::Stderr => stream == Stream::Stderr,
            Selection::Both => true,
        }
    }
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At the first byte.
    Start,
    /// Where another reader stood.
    Offset(Cursor),
    /// At the last `lines` lines. A line ends with a newline or where its stream ends at present;
    /// a bar redrawn with carriage returns is one line.
    Tail {
        /// How many.
        lines: u64,
    },
    /// At the last so many bytes.
    TailBytes(u64),
    /// At what was written at or after a time, to within a few milliseconds.
    Since {
        /// Milliseconds since 1970.
        wall_ms: i64,
    },
}

/// A piece of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The stream it belongs to.
    pub stream: Stream,
    /// Its logical offset in the stream.
    pub offset: u64,
    /// When it was written, in milliseconds since 1970; of a newest piece, at the latest.
    pub at_wall_ms: i64,
    /// The bytes, or how many are missing.
    pub content: Content,
}

/// What a [`Chunk`] holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Bytes as the job wrote them.
    Bytes(Vec<u8>),
    /// Bytes the job wrote and the log does not have.
    Gap {
        /// How many.
        bytes: u64,
    },
}

impl Chunk {
    /// The chunk as part of a plain text: a gap becomes a line that says so.
    pub fn plain(&self) -> Cow<'_, [u8]> {
        match &self.content {
            Content::Bytes(bytes) => Cow::Borrowed(bytes),
            Content::Gap { bytes } => {
                Cow::Owned(format!("\n[stoked: {bytes} bytes dropped here]\n").into_bytes())
            }
        }
    }
}

/// Opens the file that holds the byte at a logical offset of a stream, or would hold it: as it is on disk, for reading.
///
/// Where bytes were dropped it is the last file before them. Nothing where nothing was written yet, and
/// [`io::ErrorKind::Unsupported`] where the file is compressed.
///
/// # Errors
/// What the disk says.
pub fn open_file(dir: &Path, stream: Stream, offset: u64) -> io::Result<Option<OwnedFd>> {
    let mut log = Log::new(dir);
    log.refresh()?;
    log.plain_file(stream, offset)
}

/// A place in the log of one attempt that moves on with every chunk.
#[derive(Debug)]
pub struct Reader {
    log: Log,
    selection: Selection,
    offsets: [u64; 2],
    order: Order,
    data: [Sequence; 2],
}

/// Opens the log in `dir`, which need not exist yet.
pub fn open(dir: &Path, selection: Selection, from: From) -> io::Result<Reader> {
    let mut log = Log::new(dir);
    let cursor = seek::find(&mut log, selection, from)?;
    Ok(Reader {
        log,
        selection,
        offsets: cursor.offsets,
        order: Order::new(cursor.order),
        data: Stream::ALL.map(Sequence::data),
    })
}

impl Reader {
    /// The next piece of at most `max_bytes`, or `None` when there is no more *now*.
    pub fn next_chunk(&mut self, max_bytes: usize) -> io::Result<Option<Chunk>> {
        let max = max_bytes.max(1);
        loop {
            if let Some(chunk) = self.ordered(max)? {
                return Ok(Some(chunk));
            }
            // Lengths first, then a second look at the order. If it has not grown, no more than
            // one stream has bytes without a record (see the rules in `logs`), so that
            // delivering them now cannot overtake the other stream.
            self.log.refresh()?;
            let mut ends = [(0, 0); 2];
            for stream in self.selected() {
                ends[stream.index()] = self.log.end(stream)?;
            }
            if self.order.current(&mut self.log)?.is_none() {
                return self.unordered(ends, max);
            }
        }
    }

    /// Where a later [`open`] goes on, without loss or repetition.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            offsets: self.offsets,
            order: self.order.position(),
        }
    }

    fn selected(&self) -> impl Iterator<Item = Stream> + use<> {
        let selection = self.selection;
        Stream::ALL
            .into_iter()
            .filter(move |stream| selection.has(*stream))
    }

    /// The next piece that has a record, with what lies before it in its stream.
    fn ordered(&mut self, max: usize) -> io::Result<Option<Chunk>> {
        while let Some(record) = self.order.current(&mut self.log)? {
            if self.selection.has(record.stream) {
                let chunk = self.take(record.stream, record.end(), record.at_wall_ms, max)?;
                if chunk.is_some() {
                    return Ok(chunk);
                }
            }
            self.order.advance();
        }
        Ok(None)
    }

    fn unordered(&mut self, ends: [(u64, i64); 2], max: usize) -> io::Result<Option<Chunk>> {
        for stream in self.selected() {
            let (end, changed_wall_ms) = ends[stream.index()];
            let chunk = self.take(stream, end, changed_wall_ms, max)?;
            if chunk.is_some() {
                return Ok(chunk);
            }
        }
        Ok(None)
    }

    /// The next piece of `stream` before `end`, if it is there.
    fn take(
        &mut self,
        stream: Stream,
        end: u64,
        at_wall_ms: i64,
        max: usize,
    ) -> io::Result<Option<Chunk>> {
        let offset = self.offsets[stream.index()];
        if offset >= end {
            return Ok(None);
        }
        let piece = self.data[stream.index()].read(&mut self.log, offset, end, max)?;
        let (content, length) = match piece {
            Piece::Nothing => return Ok(None),
            Piece::Bytes(bytes) => {
                let length = bytes.len() as u64;
                (Content::Bytes(bytes), length)
            }
            Piece::Gap(bytes) => (Content::Gap { bytes }, bytes),
        };
        self.offsets[stream.index()] = offset + length;
        Ok(Some(Chunk {
            stream,
            offset,
            at_wall_ms,
            content,
        }))
    }
}
