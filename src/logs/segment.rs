//! Segment files: their names, the listing of a log directory and opening them without trust.

use std::io;
use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::logs::Stream;
use crate::logs::packed;
use crate::logs::record::RECORD_BYTES;

/// Names looked at in one listing. The writer keeps far fewer; the owner of the directory could
/// make any number.
const MOST_NAMES: usize = 16_384;

/// The largest logical offset: far beyond any log, and far enough from the end of the number range
/// that sums of an offset and a file length need no check.
pub(super) const MOST_OFFSET: u64 = 1 << 61;

/// Which sequence of segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes of a stream.
    Data(Stream),
    /// Records of the merged order.
    Order,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [
        Kind::Data(Stream::Stdout),
        Kind::Data(Stream::Stderr),
        Kind::Order,
    ];

    fn prefix(self) -> &'static str {
        match self {
            Kind::Data(stream) => stream.as_str(),
            Kind::Order => "order",
        }
    }

    fn index(self) -> usize {
        match self {
            Kind::Data(stream) => stream.index(),
            Kind::Order => 2,
        }
    }
}

/// The file name of the segment of `kind` that starts at the logical offset `start`.
pub(super) fn name(kind: Kind, start: u64) -> String {
    format!("{}.{start}", kind.prefix())
}

/// What a file name says, or nothing when it is not the name of a segment.
fn parse(name: &[u8]) -> Option<(Kind, u64)> {
    let name = std::str::from_utf8(name).ok()?;
    let name = name.strip_suffix(packed::SUFFIX).unwrap_or(name);
    let (prefix, digits) = name.split_once('.')?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.prefix() == prefix)?;
    let start: u64 = digits.parse().ok()?;
    // Only what the writer would write: not `stdout.007` or `stdout.+7`, no record cut in two, and
    // no offset to which a length cannot be added.
    let canonical = start.to_string() == digits && start <= MOST_OFFSET;
    let whole = kind != Kind::Order || start.is_multiple_of(RECORD_BYTES);
    (canonical && whole).then_some((kind, start))
}

/// The start offsets of all segments of a directory, ascending.
#[derive(Debug, Default, Clone)]
pub(super) struct Listing {
    starts: [Vec<u64>; 3],
}

impl Listing {
    /// Reads the names in `dir`.
    pub(super) fn read(dir: impl AsFd) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for entry in Dir::read_from(dir)?.take(MOST_NAMES) {
            if let Some((kind, start)) = parse(entry?.file_name().to_bytes()) {
                listing.starts[kind.index()].push(start);
            }
        }
        for starts in &mut listing.starts {
            starts.sort_unstable();
            // Once plain and once compressed.
            starts.dedup();
        }
        Ok(listing)
    }

    /// All segments of `kind`.
    pub(super) fn starts(&self, kind: Kind) -> &[u64] {
        &self.starts[kind.index()]
    }

    /// The segment that would hold `offset`, and the one after it.
    pub(super) fn around(&self, kind: Kind, offset: u64) -> (Option<u64>, Option<u64>) {
        let starts = self.starts(kind);
        let after = starts.partition_point(|start| *start <= offset);
        let holder = after.checked_sub(1).and_then(|at| starts.get(at)).copied();
        (holder, starts.get(after).copied())
    }

    /// Takes a name out that turned out not to be a segment.
    pub(super) fn forget(&mut self, kind: Kind, start: u64) {
        self.starts[kind.index()].retain(|known| *known != start);
    }
}

/// Opens an existing directory itself, never what a link in its place points to.
pub(super) fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Makes a new, empty segment to append to.
pub(super) fn create(dir: impl AsFd, kind: Kind, start: u64) -> Result<OwnedFd, Errno> {
    // EXCL: whatever waits under this name, a link or a pipe, was not made by us.
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::EXCL
        | OFlags::APPEND
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name(kind, start), flags, Mode::RUSR | Mode::WUSR)
}

/// Opens a segment for reading. Nothing when it is gone, or is not a regular file of `owner`.
pub(super) fn open(
    dir: impl AsFd,
    owner: u32,
    kind: Kind,
    start: u64,
) -> io::Result<Option<(OwnedFd, Stat)>> {
    open_named(dir, owner, &name(kind, start))
}

/// The same for a compressed one.
pub(super) fn open_packed(
    dir: impl AsFd,
    owner: u32,
    kind: Kind,
    start: u64,
) -> io::Result<Option<(OwnedFd, Stat)>> {
    let name = format!("{}{}", name(kind, start), packed::SUFFIX);
    open_named(dir, owner, &name)
}

fn open_named(dir: impl AsFd, owner: u32, name: &str) -> io::Result<Option<(OwnedFd, Stat)>> {
    // NONBLOCK: a pipe with this name must not hold up the reader.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&file)?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    Ok((regular && stat.st_uid == owner).then_some((file, stat)))
}

/// The length in a `stat`, which the kernel types as signed.
pub(super) fn length(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_names_are_segments() {
        assert_eq!(parse(b"stdout.0"), Some((Kind::Data(Stream::Stdout), 0)));
        assert_eq!(parse(b"order.64"), Some((Kind::Order, 64)));
        assert_eq!(
            parse(b"stderr.7.zst"),
            Some((Kind::Data(Stream::Stderr), 7))
        );
        for name in [
            "stdout",
            "stdout.",
            "stdout.+1",
            "stderr.01",
            "x.1",
            "order.-1",
            "stdout.1.2",
            "stdout.0.zst.part",
            "stdout.0.zst.zst",
            "stdout.zst",
        ] {
            assert_eq!(parse(name.as_bytes()), None, "{name}");
        }
        assert_eq!(parse(b"stdout.\xff"), None);
        assert_eq!(parse(b"stdout.99999999999999999999999"), None);
        assert_eq!(parse(b"stdout.18446744073709551615"), None);
    }
}
