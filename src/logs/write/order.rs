//! Writing the merged order: fixed records in a few bounded files.

use std::collections::VecDeque;

use rustix::fd::{BorrowedFd, OwnedFd};

use crate::logs::record::{RECORD_BYTES, Record};
use crate::logs::segment::{self, Kind};
use crate::logs::write::files::remove;

/// The order may take this part of the limit, within the two bounds below.
const PART_OF_LIMIT: u64 = 16;
const LEAST_BYTES: u64 = 16 << 10;
const MOST_BYTES: u64 = 32 << 20;
/// Files the order is cut into; the first is kept, the others roll.
const FILES: usize = 8;

/// The order file being written, and the earlier ones.
#[derive(Debug)]
pub(super) struct Order {
    file: Option<OwnedFd>,
    file_start: u64,
    end: u64,
    file_bytes: u64,
    closed: VecDeque<u64>,
}

impl Order {
    /// An order for a log of at most `limit_bytes`.
    pub(super) fn new(limit_bytes: u64) -> Order {
        let bytes = (limit_bytes / PART_OF_LIMIT).clamp(LEAST_BYTES, MOST_BYTES);
        Order {
            file: None,
            file_start: 0,
            end: 0,
            file_bytes: bytes / FILES as u64 / RECORD_BYTES * RECORD_BYTES,
            closed: VecDeque::new(),
        }
    }

    /// Begins behind the order that is there, torn at its end or not.
    pub(super) fn go_on_at(&mut self, end: u64) {
        self.end = end.next_multiple_of(RECORD_BYTES);
    }

    /// Appends a record. A lost one costs exactness of the order, never data.
    pub(super) fn append(&mut self, dir: BorrowedFd<'_>, record: &Record) {
        let end = self.end;
        self.end += RECORD_BYTES;
        if self.file.is_some() && end - self.file_start >= self.file_bytes {
            self.file = None;
        }
        if self.file.is_none() {
            let Ok(file) = segment::create(dir, Kind::Order, end) else {
                return;
            };
            self.file = Some(file);
            self.file_start = end;
            self.closed.push_back(end);
            if self.closed.len() > FILES
                && let Some(second) = self.closed.remove(1)
            {
                remove(dir, Kind::Order, second).ok();
            }
        }
        let bytes = record.encode();
        let whole = self.file.as_ref().is_some_and(|file| {
            rustix::io::retry_on_intr(|| rustix::io::write(file, &bytes)) == Ok(bytes.len())
        });
        if !whole {
            // A torn record would shift all that follow: the next one starts a new file.
            self.file = None;
        }
    }
}
