//! What the writer does in a directory besides appending.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, CWD, Mode};
use rustix::io::Errno;

use crate::logs::segment::{self, Kind, Listing};

/// Unlinks a segment. That it is gone is success.
pub(super) fn remove(dir: BorrowedFd<'_>, kind: Kind, start: u64) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, segment::name(kind, start), AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}

/// Makes the directory and, where they are missing, those above it. False: it was there.
pub(super) fn make_directory(path: &Path) -> Result<bool, Errno> {
    let make = || rustix::fs::mkdirat(CWD, path, Mode::RWXU);
    let made = match (make(), path.parent()) {
        (Err(Errno::NOENT), Some(parent)) => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            make()
        }
        (made, _) => made,
    };
    match made {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where a sequence that is there ends.
pub(super) fn end_of(dir: BorrowedFd<'_>, listing: &Listing, kind: Kind) -> Result<u64, Errno> {
    let Some(start) = listing.starts(kind).last() else {
        return Ok(0);
    };
    let name = segment::name(kind, *start);
    let length = segment::length(&rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW)?);
    if length == 0 {
        // Its name is where the next one starts.
        rustix::fs::unlinkat(dir, &name, AtFlags::empty())?;
    }
    Ok(start.saturating_add(length))
}
