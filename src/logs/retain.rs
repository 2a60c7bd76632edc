//! Upkeep of log directories: how much they hold, and removing them.
//!
//! The owner of a job may have put anything into a directory of it. Whatever it is, nothing
//! outside is touched: every step is relative to an open directory and follows no link. Nor does it
//! cost more the deeper it is: few directories are open at any time, and no call is inside another.

use std::ffi::CStr;
use std::io;
use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::logs::packed::{self, Packed, Saved};
use crate::logs::segment::{self, Kind, Listing};

/// What is unlinked or moved in one directory at most: somebody may go on filling what is being emptied.
const MOST_STEPS: u32 = 1 << 20;

/// Removes the log of an attempt, or whatever else a job could write to. That there is none is success.
///
/// # Errors
/// Where something of it cannot be removed; the rest may be gone then.
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
    empty(&inside, MOST_STEPS)?;
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

/// Unlinks everything in `dir`, in `steps` steps at most. What a directory in it has in turn comes up beside it first,
/// so that no depth takes more open directories, or more of the stack.
fn empty(dir: &OwnedFd, steps: u32) -> io::Result<()> {
    let mut left = Steps {
        left: steps,
        lifted: 0,
    };
    loop {
        let mut seen = false;
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_itself(name) {
                continue;
            }
            seen = true;
            left.take()?;
            if unlink(dir, name)? {
                continue;
            }
            match open_inside(dir, name) {
                Ok(inside) => left.lift(&inside, dir)?,
                // Another one took its place, or it is gone: the next look tells.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(error) => return Err(error.into()),
            }
            match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !seen {
            return Ok(());
        }
    }
}

/// How much may still be done, and how many directories came up so far.
struct Steps {
    left: u32,
    lifted: u32,
}

impl Steps {
    fn take(&mut self) -> io::Result<()> {
        let Some(left) = self.left.checked_sub(1) else {
            return Err(io::Error::other(
                "it is being filled as fast as it is emptied",
            ));
        };
        self.left = left;
        Ok(())
    }

    /// Unlinks the files of `from`, and moves its directories to `to`.
    fn lift(&mut self, from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_itself(name) {
                continue;
            }
            self.take()?;
            while !unlink(from, name)? {
                self.take()?;
                self.lifted = self.lifted.wrapping_add(1);
                match rustix::fs::renameat(from, name, to, format!("lifted.{}", self.lifted)) {
                    Ok(()) | Err(Errno::NOENT) => break,
                    // That name is taken.
                    Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

/// Unlinks what is no directory. That it is gone is success; false: it is one.
fn unlink(dir: &OwnedFd, name: &CStr) -> io::Result<bool> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_itself(name: &CStr) -> bool {
    name == c"." || name == c".."
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

    /// Directories in each other, by way of the one that is open: their path would be too long for any call.
    fn nest(dir: &Path, depth: u32) {
        let mut at = segment::open_directory(dir).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&at, c"d", Mode::RWXU).unwrap();
            at = open_inside(&at, c"d").unwrap();
        }
        rustix::fs::symlinkat("/", &at, c"deepest").unwrap();
    }

    #[test]
    fn no_depth_is_too_deep_for_a_small_stack_and_few_descriptors() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("42.1");
        fs::create_dir_all(dir.join("lifted.2/d")).unwrap();
        fs::write(dir.join("lifted.1"), "a name that is taken").unwrap();
        nest(&dir, 300);
        let removed = std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(move || remove(&dir).map(|()| dir.exists()));
        assert!(!removed.unwrap().join().unwrap().unwrap());
    }

    #[test]
    fn who_fills_what_is_being_emptied_is_not_waited_for() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(root.path().join(name), "").unwrap();
        }
        let dir = segment::open_directory(root.path()).unwrap();
        assert!(empty(&dir, 2).is_err());
        empty(&dir, 1).unwrap();
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
