//! Compressed segments: `stdout.0.zst` holds what `stdout.0` held, and any part of it can be read without the rest.
//!
//! The bytes are cut into pieces, each a zstd frame of its own with a checksum, so that `zstdcat` shows the file. After
//! them comes one skippable frame with the lengths of all pieces, as zstd's seekable format has it: little endian, for
//! each frame its length in the file and its length when unpacked, four bytes each; then the number of frames (four
//! bytes), one byte of flags (none), and a magic number.

use std::io;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use zstd::bulk::{Compressor, Decompressor};

use crate::logs::segment::{self, Kind, Listing};

/// What the name of a compressed segment ends in.
pub(super) const SUFFIX: &str = ".zst";

/// What the name of one ends in that is not complete.
const DRAFT: &str = ".zst.part";

/// Bytes in a frame before they are compressed. Smaller ones compress worse, larger ones cost whoever wants a few lines.
const FRAME_BYTES: usize = 256 << 10;

/// A frame that claims to hold more is not ours.
const MOST_FRAME_BYTES: u32 = 1 << 20;

/// More frames than this are not ours: it would be 16 GiB.
const MOST_FRAMES: u64 = 1 << 16;

/// Of logs of real programs 6 leaves 1/4.67 at 97 MB/s; 3 leaves 1/4.42 at 260, 9 leaves 1/4.79 at 57, gzip 1/4.24.
const LEVEL: i32 = 6;

/// A file that fits one block of a file system gains nothing.
const LEAST_BYTES: u64 = 4 << 10;

const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
const FOOTER_BYTES: u64 = 9;
const ENTRY_BYTES: u64 = 8;

/// Sizes of what was compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Saved {
    /// Before.
    pub plain_bytes: u64,
    /// After.
    pub packed_bytes: u64,
}

/// Compresses every segment of a log that nobody writes to any more. Interrupted anywhere, nothing is lost, and doing
/// it again goes on where it was.
pub(super) fn pack(dir: &OwnedFd, owner: u32) -> io::Result<Saved> {
    let mut saved = Saved::default();
    let listing = Listing::read(dir)?;
    for kind in Kind::ALL {
        for start in listing.starts(kind) {
            // Nothing there: it is compressed already.
            let Some((file, stat)) = segment::open(dir, owner, kind, *start)? else {
                continue;
            };
            let bytes = segment::length(&stat);
            if bytes <= LEAST_BYTES {
                continue;
            }
            saved.packed_bytes += pack_one(dir, &file, &stat, kind, *start)?;
            saved.plain_bytes += bytes;
        }
    }
    Ok(saved)
}

/// Writes a compressed segment beside the plain one, and takes its place once it is on disk.
fn pack_one(
    dir: &OwnedFd,
    plain: &OwnedFd,
    stat: &Stat,
    kind: Kind,
    start: u64,
) -> io::Result<u64> {
    let name = segment::name(kind, start);
    let draft = format!("{name}{DRAFT}");
    match rustix::fs::unlinkat(dir, &draft, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = rustix::fs::openat(dir, &draft, flags, Mode::RUSR | Mode::WUSR)?;
    let written = write_frames(plain, &to)?;
    // It is as old, and belongs to whom, as what it takes the place of.
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(stat.st_uid),
        rustix::fs::Gid::from_raw(stat.st_gid),
    );
    if uid != rustix::process::geteuid() {
        rustix::fs::fchown(&to, Some(uid), Some(gid))?;
    }
    let changed = Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or_default(),
    };
    let times = Timestamps {
        last_access: changed,
        last_modification: changed,
    };
    rustix::fs::futimens(&to, &times)?;
    rustix::fs::fsync(&to)?;
    rustix::fs::renameat(dir, &draft, dir, format!("{name}{SUFFIX}"))?;
    rustix::fs::fsync(dir)?;
    match rustix::fs::unlinkat(dir, &name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(written),
        Err(error) => Err(error.into()),
    }
}

fn write_frames(plain: &OwnedFd, to: &OwnedFd) -> io::Result<u64> {
    let mut compressor = Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    let mut table = Vec::new();
    let mut written = 0;
    let mut offset = 0;
    let mut piece = vec![0; FRAME_BYTES];
    loop {
        let length = read_full(plain, &mut piece, offset)?;
        if length == 0 {
            break;
        }
        let frame = compressor.compress(piece.get(..length).unwrap_or_default())?;
        for number in [frame.len(), length] {
            table.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        }
        write_full(to, &frame)?;
        written += frame.len() as u64;
        offset += length as u64;
    }
    let frames = table.len() as u64 / ENTRY_BYTES;
    let content = table.len() as u64 + FOOTER_BYTES;
    let mut end = Vec::with_capacity(table.len() + 17);
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    end.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
    end.extend_from_slice(&count(content));
    end.extend_from_slice(&table);
    end.extend_from_slice(&count(frames));
    end.push(0);
    end.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
    write_full(to, &end)?;
    Ok(written + end.len() as u64)
}

/// As many bytes as there are, up to the length of `buffer`.
fn read_full(file: impl AsFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        let from = offset + length as u64;
        match rustix::io::retry_on_intr(|| rustix::io::pread(file.as_fd(), &mut *rest, from))? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

fn write_full(file: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(file.as_fd(), rest))?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// One frame: where it begins in the file and when unpacked, and its lengths.
#[derive(Debug, Clone, Copy)]
struct Frame {
    at: u64,
    length: u32,
    start: u64,
    plain: u32,
}

/// A compressed segment that is open. What one asks for is unpacked alone, and kept for whoever reads on.
#[derive(Debug)]
pub(super) struct Packed {
    file: OwnedFd,
    frames: Vec<Frame>,
    last: Option<(usize, Option<Vec<u8>>)>,
}

/// What lies at a place of a compressed segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Bytes; none where it ends.
    Bytes(Vec<u8>),
    /// So many bytes cannot be unpacked.
    Damaged(u64),
}

impl Packed {
    /// Reads the table of a file; nothing where it has none that makes sense.
    pub(super) fn open(file: OwnedFd, bytes: u64) -> io::Result<Option<Self>> {
        let Some(frames) = table(&file, bytes)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            file,
            frames,
            last: None,
        }))
    }

    /// How many bytes it holds when unpacked.
    pub(super) fn length(&self) -> u64 {
        let end = |frame: &Frame| frame.start + u64::from(frame.plain);
        self.frames.last().map_or(0, end)
    }

    /// At most `max` bytes from `offset` on.
    pub(super) fn read(&mut self, offset: u64, max: usize) -> io::Result<Part> {
        let after = self.frames.partition_point(|frame| frame.start <= offset);
        let Some(number) = after.checked_sub(1) else {
            return Ok(Part::Bytes(Vec::new()));
        };
        let Some(frame) = self.frames.get(number).copied() else {
            return Ok(Part::Bytes(Vec::new()));
        };
        let skip = offset - frame.start;
        let left = u64::from(frame.plain).saturating_sub(skip);
        if left == 0 || max == 0 {
            return Ok(Part::Bytes(Vec::new()));
        }
        if self.last.as_ref().is_none_or(|(known, _)| *known != number) {
            self.last = Some((number, self.unpack(frame)?));
        }
        let content = self.last.as_ref().and_then(|(_, content)| content.as_ref());
        let Some(content) = content else {
            return Ok(Part::Damaged(left));
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let rest = content.get(skip..).unwrap_or_default();
        Ok(Part::Bytes(rest.get(..max).unwrap_or(rest).to_vec()))
    }

    /// The content of a frame; nothing where it is damaged.
    fn unpack(&self, frame: Frame) -> io::Result<Option<Vec<u8>>> {
        let mut packed = vec![0; usize::try_from(frame.length).unwrap_or_default()];
        let read = read_full(&self.file, &mut packed, frame.at)?;
        packed.truncate(read);
        let wanted = usize::try_from(frame.plain).unwrap_or_default();
        let unpacked = Decompressor::new()?.decompress(&packed, wanted);
        Ok(unpacked.ok().filter(|content| content.len() == wanted))
    }

    /// How many bytes cannot be unpacked.
    pub(super) fn damaged_bytes(&self) -> io::Result<u64> {
        let mut damaged = 0;
        for frame in &self.frames {
            if self.unpack(*frame)?.is_none() {
                damaged += u64::from(frame.plain);
            }
        }
        Ok(damaged)
    }
}

/// The frames that the table at the end of a file names.
fn table(file: &OwnedFd, bytes: u64) -> io::Result<Option<Vec<Frame>>> {
    let Some(footer_at) = bytes.checked_sub(FOOTER_BYTES) else {
        return Ok(None);
    };
    let mut footer = [0; FOOTER_BYTES as usize];
    if read_full(file, &mut footer, footer_at)? < footer.len() {
        return Ok(None);
    }
    let [a, b, c, d, flags, magic @ ..] = footer;
    let count = u64::from(u32::from_le_bytes([a, b, c, d]));
    let table_at = footer_at.checked_sub(count * ENTRY_BYTES);
    let (Some(table_at), true) = (table_at, u32::from_le_bytes(magic) == SEEKABLE_MAGIC) else {
        return Ok(None);
    };
    if flags != 0 || count > MOST_FRAMES {
        return Ok(None);
    }
    let mut entries = vec![0; usize::try_from(count * ENTRY_BYTES).unwrap_or_default()];
    if read_full(file, &mut entries, table_at)? < entries.len() {
        return Ok(None);
    }
    let (mut at, mut start) = (0, 0);
    let mut frames = Vec::with_capacity(entries.len() / 8);
    let (entries, _) = entries.as_chunks::<8>();
    for [a, b, c, d, e, f, g, h] in entries {
        let frame = Frame {
            at,
            length: u32::from_le_bytes([*a, *b, *c, *d]),
            start,
            plain: u32::from_le_bytes([*e, *f, *g, *h]),
        };
        at += u64::from(frame.length);
        start += u64::from(frame.plain);
        let makes_sense = frame.plain <= MOST_FRAME_BYTES && frame.plain > 0 && at <= table_at;
        if !makes_sense || u64::from(frame.length) > bytes {
            return Ok(None);
        }
        frames.push(frame);
    }
    Ok(Some(frames))
}

#[cfg(test)]
mod tests;
