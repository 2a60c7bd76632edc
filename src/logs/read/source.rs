//! Reading one sequence of segments by logical offset while its writer adds, rolls and unlinks.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::logs::Stream;
use crate::logs::packed::{Packed, Part};
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

    /// Logical end of `stream` by the last listing, and when the last segment changed that holds any bytes: an empty one
    /// is made anew with whatever the disk refuses.
    pub(super) fn end(&mut self, stream: Stream) -> io::Result<(u64, i64)> {
        let kind = Kind::Data(stream);
        let mut last = None;
        for start in self.listing.starts(kind).to_vec().into_iter().rev() {
            let Some((content, changed_wall_ms)) = self.open(kind, start)? else {
                self.listing.forget(kind, start);
                continue;
            };
            let end = start.saturating_add(content.length);
            let (end, _) = *last.get_or_insert((end, changed_wall_ms));
            if content.length > 0 {
                return Ok((end, changed_wall_ms));
            }
        }
        Ok(last.unwrap_or_default())
    }

    /// The parts of a sequence that are on disk, by the last listing.
    pub(super) fn extents(&mut self, kind: Kind) -> io::Result<Vec<(u64, u64)>> {
        let starts = self.listing.starts(kind).to_vec();
        let mut extents = Vec::with_capacity(starts.len());
        for (at, start) in starts.iter().enumerate() {
            if let Some((content, _)) = self.open(kind, *start)? {
                let next = starts.get(at + 1).copied().unwrap_or(u64::MAX);
                let end = start.saturating_add(content.length).min(next);
                extents.push((*start, end));
            }
        }
        Ok(extents)
    }

    /// The file that holds a logical offset, by the last listing; see [`super::open_file`].
    pub(super) fn plain_file(&self, stream: Stream, offset: u64) -> io::Result<Option<OwnedFd>> {
        let kind = Kind::Data(stream);
        let (holder, after) = self.listing.around(kind, offset);
        let Some(start) = holder.or(after) else {
            return Ok(None);
        };
        match self.open(kind, start)? {
            None => Ok(None),
            Some((segment, _)) => match segment.content {
                Content::Plain(file) => Ok(Some(file)),
                Content::Packed(_) => Err(io::ErrorKind::Unsupported.into()),
            },
        }
    }

    /// A segment, and when it last changed. Where it is being compressed, one of the two is there at any moment.
    fn open(&self, kind: Kind, start: u64) -> io::Result<Option<(Segment, i64)>> {
        let Some((dir, owner)) = &self.dir else {
            return Ok(None);
        };
        if let Some((file, stat)) = segment::open(dir, *owner, kind, start)? {
            let segment = Segment {
                length: segment::length(&stat),
                content: Content::Plain(file),
            };
            return Ok(Some((segment, changed_wall_ms(&stat))));
        }
        let Some((file, stat)) = segment::open_packed(dir, *owner, kind, start)? else {
            return Ok(None);
        };
        let packed = Packed::open(file, segment::length(&stat))?;
        Ok(packed.map(|packed| {
            let segment = Segment {
                length: packed.length(),
                content: Content::Packed(packed),
            };
            (segment, changed_wall_ms(&stat))
        }))
    }
}

/// A segment that is open.
#[derive(Debug)]
struct Segment {
    /// How long it was when it was opened.
    length: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Plain(OwnedFd),
    Packed(Packed),
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
    file: Option<(u64, Segment)>,
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
                    match self.read_open(offset, end, max)? {
                        Part::Damaged(bytes) => return Ok(Piece::Gap(bytes)),
                        Part::Bytes(bytes) if !bytes.is_empty() => return Ok(Piece::Bytes(bytes)),
                        Part::Bytes(_) => {}
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

    fn read_open(&mut self, offset: u64, end: u64, max: usize) -> io::Result<Part> {
        let Some((start, segment)) = &mut self.file else {
            return Ok(Part::Bytes(Vec::new()));
        };
        let room = usize::try_from(end.saturating_sub(offset)).map_or(max, |room| room.min(max));
        let file = match &mut segment.content {
            Content::Plain(file) => file,
            Content::Packed(packed) => return packed.read(offset - *start, room),
        };
        let mut bytes = vec![0; room];
        let read = rustix::io::retry_on_intr(|| {
            rustix::io::pread(&*file, bytes.as_mut_slice(), offset - *start)
        })?;
        bytes.truncate(read);
        Ok(Part::Bytes(bytes))
    }
}
