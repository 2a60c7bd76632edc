//! The parts of a log from the newest to the oldest, by the records of the merged order.

use std::io;

use crate::logs::Stream;
use crate::logs::read::order::Table;
use crate::logs::read::source::Log;
use crate::logs::read::{Cursor, Selection};
use crate::logs::record::Record;
use crate::logs::segment::Kind;

/// A part of one stream, met on the way from the end to the beginning.
pub(super) struct Part {
    pub(super) stream: Stream,
    from: u64,
    to: u64,
    order: u64,
}

/// Goes through the parts of a log from the newest to the oldest.
pub(super) struct Backward {
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
    /// Stands behind the newest part.
    pub(super) fn new(log: &mut Log, selection: Selection) -> io::Result<Backward> {
        log.refresh()?;
        // The data before the order: what grows between the two looks then has a record.
        let extents = [
            log.extents(Kind::Data(Stream::Stdout))?,
            log.extents(Kind::Data(Stream::Stderr))?,
        ];
        let mut table = Table::load(log)?;
        let recorded = table.last(log)?.map_or([0; 2], |record| record.after());
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

    /// The part before the one returned last.
    pub(super) fn next(&mut self, log: &mut Log) -> io::Result<Option<Part>> {
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
                self.at_start = true;
                self.wait_for_the_rest();
            }
        }
    }

    /// Queues what is older than the oldest record, which is everything where there is none.
    fn wait_for_the_rest(&mut self) {
        for stream in Stream::ALL {
            let to = self.edges[stream.index()];
            if self.selection.has(stream) && to > 0 {
                self.waiting.push(Part {
                    stream,
                    from: 0,
                    to,
                    order: 0,
                });
            }
        }
    }

    /// What of `part` is on disk, newest first.
    pub(super) fn on_disk(&self, part: &Part) -> Vec<(u64, u64)> {
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
    pub(super) fn cursor(&self, starts: [Option<u64>; 2]) -> Cursor {
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
