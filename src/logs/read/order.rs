//! Reading the merged order: forward for delivery, at random for finding a place.

use std::collections::VecDeque;
use std::io;

use crate::logs::read::source::{Log, Piece, Sequence};
use crate::logs::record::{RECORD_BYTES, RECORD_LEN, Record};
use crate::logs::segment::Kind;

/// Records read at once.
const BLOCK_RECORDS: u64 = 512;
const BLOCK_BYTES: usize = 512 * RECORD_LEN;
/// Records looked at to get past damaged ones when a place in time is searched.
const PROBE_RECORDS: u64 = 16;

/// The records one after the other, with the damaged ones left out.
#[derive(Debug)]
pub(super) struct Order {
    records: Sequence,
    /// Logical offset of the first record of `block`, or of the next to read.
    position: u64,
    block: VecDeque<Option<Record>>,
}

impl Order {
    pub(super) fn new(position: u64) -> Order {
        Order {
            records: Sequence::of(Kind::Order),
            position,
            block: VecDeque::new(),
        }
    }

    /// Logical offset of the current record.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The record to deliver next, or nothing when all that are written were delivered.
    pub(super) fn current(&mut self, log: &mut Log) -> io::Result<Option<Record>> {
        loop {
            match self.block.front() {
                Some(Some(record)) => return Ok(Some(*record)),
                Some(None) => self.advance(),
                None => {
                    if !self.load(log)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Leaves the current record behind.
    pub(super) fn advance(&mut self) {
        if self.block.pop_front().is_some() {
            self.position = self.position.saturating_add(RECORD_BYTES);
        }
    }

    /// Reads the next block. False: there is none.
    fn load(&mut self, log: &mut Log) -> io::Result<bool> {
        loop {
            match self
                .records
                .read(log, self.position, u64::MAX, BLOCK_BYTES)?
            {
                Piece::Nothing => return Ok(false),
                Piece::Gap(bytes) => self.jump(bytes),
                Piece::Bytes(bytes) if bytes.len() < RECORD_LEN => {
                    // A torn record: the rest of it never comes, or comes later.
                    log.refresh()?;
                    let (_, next) = log.listing.around(Kind::Order, self.position);
                    let Some(next) = next else {
                        return Ok(false);
                    };
                    if self.grew(log, bytes.len())? {
                        continue;
                    }
                    self.jump(next - self.position);
                }
                Piece::Bytes(bytes) => {
                    let records = bytes.chunks_exact(RECORD_LEN).map(Record::decode);
                    self.block.extend(records);
                    return Ok(true);
                }
            }
        }
    }

    fn grew(&mut self, log: &mut Log, torn: usize) -> io::Result<bool> {
        let again = self
            .records
            .read(log, self.position, u64::MAX, RECORD_LEN)?;
        Ok(matches!(again, Piece::Bytes(bytes) if bytes.len() > torn))
    }

    fn jump(&mut self, bytes: u64) {
        self.position = (self.position + bytes).next_multiple_of(RECORD_BYTES);
    }
}

/// The records as they lie on disk at one moment, by number.
#[derive(Debug)]
pub(super) struct Table {
    records: Sequence,
    /// Logical offset of the first record and number of records of each file.
    spans: Vec<(u64, u64)>,
    length: u64,
}

impl Table {
    /// Looks at what the last listing of `log` shows.
    pub(super) fn load(log: &mut Log) -> io::Result<Table> {
        let spans: Vec<(u64, u64)> = log
            .extents(Kind::Order)?
            .into_iter()
            .map(|(start, end)| (start, (end - start) / RECORD_BYTES))
            .collect();
        let length = spans.iter().map(|(_, records)| records).sum();
        Ok(Table {
            records: Sequence::of(Kind::Order),
            spans,
            length,
        })
    }

    /// How many records there are.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Logical offset of record `number`.
    pub(super) fn position(&self, number: u64) -> u64 {
        let mut left = number;
        for (start, records) in &self.spans {
            if left < *records {
                return start + left * RECORD_BYTES;
            }
            left -= records;
        }
        self.spans
            .last()
            .map_or(0, |(start, records)| start + records * RECORD_BYTES)
    }

    /// The first undamaged record at or after `number` in its file, if it is near and still there.
    pub(super) fn near(&mut self, log: &mut Log, number: u64) -> io::Result<Option<Record>> {
        let block = self.read(log, number, PROBE_RECORDS)?;
        Ok(block.into_iter().flatten().next())
    }

    /// The newest undamaged record.
    pub(super) fn last(&mut self, log: &mut Log) -> io::Result<Option<Record>> {
        let mut before = self.length;
        while before > 0 {
            let (first, block) = self.block_before(log, before)?;
            if let Some(record) = block.into_iter().rev().flatten().next() {
                return Ok(Some(record));
            }
            before = first;
        }
        Ok(None)
    }

    /// The block of records before `number`: the number of its first record, and the records with
    /// holes where they are damaged or gone.
    pub(super) fn block_before(
        &mut self,
        log: &mut Log,
        number: u64,
    ) -> io::Result<(u64, Vec<Option<Record>>)> {
        let mut first_of_file = 0;
        for (_, records) in &self.spans {
            if first_of_file + records >= number {
                break;
            }
            first_of_file += records;
        }
        let first = number.saturating_sub(BLOCK_RECORDS).max(first_of_file);
        let mut block = self.read(log, first, number - first)?;
        block.resize(usize::try_from(number - first).unwrap_or(0), None);
        Ok((first, block))
    }

    fn read(&mut self, log: &mut Log, number: u64, most: u64) -> io::Result<Vec<Option<Record>>> {
        let from = self.position(number);
        let end = from + most * RECORD_BYTES;
        Ok(match self.records.read(log, from, end, BLOCK_BYTES)? {
            Piece::Bytes(bytes) => bytes.chunks_exact(RECORD_LEN).map(Record::decode).collect(),
            Piece::Gap(_) | Piece::Nothing => Vec::new(),
        })
    }
}
