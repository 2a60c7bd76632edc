//! Reading one sequence of segments by logical offset while its writer adds, rolls and unlinks.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::logs::Stream;
use crate::logs::segment::{self, Kind, Listing};

/// The directory of one attempt and what was last seen in it.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    dir: Option<(OwnedFd, u32)>,
    pub(super) listing: Listing,
}

impl Log {
    pub(super) fn new(path: &Path) -> Log {
        Log {
            path: path.to_owned(),
            dir: None,
            listing: Listing::default(),
        }
    }

    /// Reads the names again. A directory that is missing is an empty log.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        if self.dir.is_none() {
            let dir = match segment::open_directory(&self.path) {
                Err(Errno::NOENT) => return Ok(()),
                opened => opened?,
            };
            let owner = rustix::fs::fstat(&dir)?.st_uid;
            self.dir = Some((dir, owner));
        }
        if let Some((dir, _)) = &self.dir {
            self.listing = Listing::read(dir)?;
        }
        Ok(())
    }

    /// Logical end of `stream` by the last listing, and when its last segment changed.
    pub(super) fn end(&mut self, stream: Stream) -> io::Result<(u64, i64)> {
        let kind = Kind::Data(stream);
        while let Some(start) = self.listing.starts(kind).last().copied() {
            if let Some((_, stat)) = self.open(kind, start)? {
                let end = start.saturating_add(segment::length(&stat));
                return Ok((end, changed_wall_ms(&stat)));
            }
            self.listing.forget(kind, start);
        }
        Ok((0, 0))
    }

    /// The parts of a sequence that are on disk, by the last listing.
    pub(super) fn extents(&mut self, kind: Kind) -> io::Result<Vec<(u64, u64)>> {
        let starts = self.listing.starts(kind).to_vec();
        let mut extents = Vec::with_capacity(starts.len());
        for (at, start) in starts.iter().enumerate() {
            if let Some((_, stat)) = self.open(kind, *start)? {
                let next = starts.get(at + 1).copied().unwrap_or(u64::MAX);
                let end = start.saturating_add(segment::length(&stat)).min(next);
                extents.push((*start, end));
            }
        }
        Ok(extents)
    }

    fn open(&self, kind: Kind, start: u64) -> io::Result<Option<(OwnedFd, rustix::fs::Stat)>> {
        match &self.dir {
            Some((dir, owner)) => segment::open(dir, *owner, kind, start),
            None => Ok(None),
        }
    }
}

fn changed_wall_ms(stat: &rustix::fs::Stat) -> i64 {
    let millis = i64::try_from(stat.st_mtime_nsec / 1_000_000).unwrap_or(0);
    stat.st_mtime.saturating_mul(1000).saturating_add(millis)
}

/// What lies at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// At least one byte.
    Bytes(Vec<u8>),
    /// So many bytes are missing; after them the sequence goes on.
    Gap(u64),
    /// The sequence ends here, at present.
    Nothing,
}

/// One sequence of segments with the file last read kept open.
#[derive(Debug)]
pub(super) struct Sequence {
    kind: Kind,
    file: Option<(u64, OwnedFd)>,
}

impl Sequence {
    pub(super) fn data(stream: Stream) -> Sequence {
        Sequence::of(Kind::Data(stream))
    }

    pub(super) fn of(kind: Kind) -> Sequence {
        Sequence { kind, file: None }
    }

    /// What lies at `offset`: at most `max` bytes, none at or after `end`.
    ///
    /// Bytes can be trusted at once. That there are none only counts if the listing is newer than
    /// the last look at the file; and a gap only if a second listing shows it, since a
    /// listing made while files come and go may miss a file and show its successor.
    pub(super) fn read(
        &mut self,
        log: &mut Log,
        offset: u64,
        end: u64,
        max: usize,
    ) -> io::Result<Piece> {
        let mut listings = 0;
        loop {
            let (holder, next) = log.listing.around(self.kind, offset);
            if let Some(start) = holder {
                if self.open_segment(log, start)? {
                    let end = end.min(next.unwrap_or(u64::MAX));
                    let bytes = self.read_open(offset, end, max)?;
                    if !bytes.is_empty() {
                        return Ok(Piece::Bytes(bytes));
                    }
                } else if listings >= 2 {
                    log.listing.forget(self.kind, start);
                    continue;
                }
            }
            let needed = if next.is_some() { 2 } else { 1 };
            if listings >= needed {
                return Ok(next.map_or(Piece::Nothing, |next| Piece::Gap(next - offset)));
            }
            log.refresh()?;
            listings += 1;
        }
    }

    /// Opens the segment that starts at `start`, unless it is open. False: it is not there.
    fn open_segment(&mut self, log: &Log, start: u64) -> io::Result<bool> {
        if self.file.as_ref().is_some_and(|(open, _)| *open == start) {
            return Ok(true);
        }
        self.file = log.open(self.kind, start)?.map(|(file, _)| (start, file));
        Ok(self.file.is_some())
    }

    fn read_open(&self, offset: u64, end: u64, max: usize) -> io::Result<Vec<u8>> {
        let Some((start, file)) = &self.file else {
            return Ok(Vec::new());
        };
        let room = usize::try_from(end.saturating_sub(offset)).map_or(max, |room| room.min(max));
        let mut bytes = vec![0; room];
        let read = rustix::io::retry_on_intr(|| {
            rustix::io::pread(file, bytes.as_mut_slice(), offset - start)
        })?;
        bytes.truncate(read);
        Ok(bytes)
    }
}
