//! Output of attempts on disk: the format, its writer, its reader and the watcher that says "look again".
//!
//! The shim of an attempt writes ([`write`]) with plain system calls and next to no memory. The
//! daemon reads, tails and follows ([`read`]) while that happens, across its own restarts and
//! after a shim was killed between any two bytes. Neither ever asks the other: all they share is
//! one directory per attempt.
//!
//! # Format
//!
//! Each stream of the job is a sequence of bytes with *logical offsets* that count from 0 and
//! include bytes that had to be dropped. It is cut into *segments*, files whose name is the
//! stream and the logical offset of their first byte: `stdout.0`, `stderr.0`, `stdout.100663296`.
//! A segment holds the bytes exactly as the job wrote them, so `cat stdout.0` shows the log of an
//! ordinary job. A file exists only once there is something to put in it.
//!
//! Where a segment ends before the next one starts, the bytes between were dropped. That is the
//! only record of a loss and there is none to keep consistent: it is what makes the count
//! true even when the disk was too full to write anything down. A segment may be empty; then it
//! only marks how far its stream got.
//!
//! `order.N` holds the merged order of the two streams: records of 32 bytes, little endian.
//! `N` is, again, the logical offset of the first byte of the file, always a multiple of 32.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | wall clock in milliseconds since 1970 when the piece was read from the job |
//! | 8..16 | logical offset of stdout before the piece |
//! | 16..24 | logical offset of stderr before the piece |
//! | 24..28 | length of the piece |
//! | 28 | stream of the piece: 1 stdout, 2 stderr |
//! | 29 | version of the record: 1 |
//! | 30..32 | check: FNV-1a of the bytes before, folded to 16 bits |
//!
//! A segment whose log is complete may be compressed: `stdout.0.zst` takes the place of `stdout.0`, see [`packed`].
//! Where both are there, the plain one counts.
//!
//! # Rules
//!
//! - Data first, then its record. The record of a piece is written before data of the *other*
//!   stream, so at most one stream has bytes without a record and a follower can deliver them at
//!   once, in order.
//! - Pieces of one stream within 5 ms share a record.
//! - The order is a hint and never a condition: bytes without a record (the shim was killed, the
//!   record was torn, dropped or evicted) are delivered with the next record of their stream, or at the end.
//! - The first quarter of the size limit is kept for good (the *head*). What follows is a rolling
//!   *tail* whose oldest segment is unlinked whole when room is needed, but never the newest of a
//!   stream: a quiet stderr survives a flood of stdout, and there is always a later name that shows the loss.
//! - The order is bounded too: by a sixteenth of the limit, its first file kept and the rest rolling.
//! - The directory belongs to the owner of the job, who may do anything in it. A reader follows no
//!   link, opens nothing but regular files of that owner, and takes damage for loss, not for an error.

pub mod read;
pub mod retain;
pub mod watch;
pub mod write;

mod packed;
mod record;
mod segment;

pub use packed::Saved;

/// One of the two output streams of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

impl Stream {
    /// Both, in the order in which unordered bytes are delivered.
    pub const ALL: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    /// The name used in file names, queries and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    /// Where this stream stands in a pair.
    fn index(self) -> usize {
        match self {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
        }
    }
}
