//! Where a path can be watched.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;

/// Where to watch for changes of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It exists.
    There,
    /// It does not. This directory does, and lacks this name on the way.
    Above { dir: PathBuf, name: OsString },
}

/// Finds the place for `path` at this moment.
pub(super) fn find(path: &Path) -> Result<Place, Errno> {
    let mut at = path;
    loop {
        match rustix::fs::stat(at) {
            Ok(_) if at == path => return Ok(Place::There),
            // A file where a directory is needed: only its removal can help, and that has no name to wait for.
            Ok(_) => return Err(Errno::NOTDIR),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => return Err(error),
        }
        let (Some(dir), Some(name)) = (at.parent(), at.file_name()) else {
            return Err(Errno::NOENT);
        };
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        if is_directory(dir) {
            return missing(dir, name);
        }
        at = dir;
    }
}

/// Whether anything, a dangling link included, has this name.
pub(super) fn has_name(dir: &Path, name: &OsStr) -> bool {
    rustix::fs::statat(CWD, dir.join(name), AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Whether the path is a symbolic link.
pub(super) fn is_link(path: &Path) -> bool {
    rustix::fs::lstat(path)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

fn missing(dir: &Path, name: &OsStr) -> Result<Place, Errno> {
    match rustix::fs::readlinkat(CWD, dir.join(name), Vec::new()) {
        // A link to nothing: what has to appear is elsewhere.
        Ok(_) => Err(Errno::LOOP),
        Err(_) => Ok(Place::Above {
            dir: dir.to_owned(),
            name: name.to_owned(),
        }),
    }
}

fn is_directory(path: &Path) -> bool {
    rustix::fs::stat(path)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
