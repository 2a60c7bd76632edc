//! Upkeep of log directories: how much they hold, and removing them.
//!
//! The owner of a job may have put anything into its log directory. Whatever it is, nothing
//! outside is touched: every step is relative to an open directory and follows no link.

use std::io;
use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::logs::packed::{self, Packed, Saved};
use crate::logs::segment::{self, Kind, Listing};

/// Directories inside each other at most. A log directory has none; each costs an open file here.
const DEEPEST: u32 = 32;

/// Removes the log of an attempt. That there is none is success.
pub fn remove(dir: &Path) -> io::Result<()> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Some(name) = dir.file_name() else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let parent = match segment::open_directory(parent.unwrap_or(Path::new("."))) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    let inside = match open_inside(&parent, name) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    empty(&inside, DEEPEST)?;
    Ok(rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
}

/// Compresses the log of an attempt that has ended; readers notice nothing. That there is none is success.
///
/// # Errors
/// Where something cannot be read or written. What was compressed so far stays so.
pub fn compress(dir: &Path) -> io::Result<Saved> {
    let dir = match segment::open_directory(dir) {
        Err(Errno::NOENT) => return Ok(Saved::default()),
        opened => opened?,
    };
    let owner = rustix::fs::fstat(&dir)?.st_uid;
    packed::pack(&dir, owner)
}

/// How many bytes of the compressed segments of a log cannot be unpacked.
///
/// # Errors
/// Where the files cannot be read.
pub fn damaged_bytes(dir: &Path) -> io::Result<u64> {
    let dir = match segment::open_directory(dir) {
        Err(Errno::NOENT) => return Ok(0),
        opened => opened?,
    };
    let owner = rustix::fs::fstat(&dir)?.st_uid;
    let listing = Listing::read(&dir)?;
    let mut damaged = 0;
    for kind in Kind::ALL {
        for start in listing.starts(kind) {
            if segment::open(&dir, owner, kind, *start)?.is_some() {
                continue;
            }
            let Some((file, stat)) = segment::open_packed(&dir, owner, kind, *start)? else {
                continue;
            };
            let bytes = segment::length(&stat);
            damaged += match Packed::open(file, bytes)? {
                Some(packed) => packed.damaged_bytes()?,
                // Its table is what is damaged: nothing of it can be found.
                None => bytes,
            };
        }
    }
    Ok(damaged)
}

/// Bytes in the files of the log of an attempt, the merged order included. A missing log has none.
pub fn size_bytes(dir: &Path) -> io::Result<u64> {
    let dir = match segment::open_directory(dir) {
        Err(Errno::NOENT) => return Ok(0),
        opened => opened?,
    };
    let mut bytes = 0_u64;
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let stat = match rustix::fs::statat(&dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            // Evicted between the two calls.
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            bytes = bytes.saturating_add(segment::length(&stat));
        }
    }
    Ok(bytes)
}

fn open_inside(dir: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Unlinks everything in `dir`, going at most `deeper` directories down.
fn empty(dir: &OwnedFd, deeper: u32) -> io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => {
                let Some(deeper) = deeper.checked_sub(1) else {
                    return Err(Errno::NAMETOOLONG.into());
                };
                empty(&open_inside(dir, name)?, deeper)?;
                rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn removing_leaves_everything_outside_alone() {
        let root = tempfile::tempdir().unwrap();
        let outside = root.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "kept").unwrap();
        let dir = root.path().join("42.1");
        fs::create_dir_all(dir.join("deep/deeper")).unwrap();
        fs::write(dir.join("stdout.0"), "12345").unwrap();
        fs::write(dir.join("deep/file"), "x").unwrap();
        symlink(&outside, dir.join("link")).unwrap();
        symlink(&outside, dir.join("deep/link")).unwrap();
        assert_eq!(size_bytes(&dir).unwrap(), 5);
        remove(&dir).unwrap();
        assert!(!dir.exists());
        assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
        remove(&dir).unwrap();
        assert_eq!(size_bytes(&dir).unwrap(), 0);
    }

    #[test]
    fn a_link_in_the_place_of_a_log_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let outside = root.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "kept").unwrap();
        let dir = root.path().join("42.1");
        symlink(&outside, &dir).unwrap();
        assert!(remove(&dir).is_err());
        assert!(size_bytes(&dir).is_err());
        assert!(outside.join("kept").exists());
    }
}
