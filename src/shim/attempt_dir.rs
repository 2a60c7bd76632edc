//! The files of an attempt directory: the claim that makes a start happen at most once, and the
//! exit record that makes an end known whatever dies.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::contain::socket;
use crate::wire::shim::{Claim, ExitRecord};

/// Which shim owns the attempt.
const CLAIM: &str = "claim";
/// How the attempt ended.
const EXIT: &str = "exit.json";
/// Where the job's processes send notifications.
pub(super) const NOTIFY: &str = "notify";

/// An open attempt directory.
#[derive(Debug)]
pub(super) struct AttemptDir {
    path: PathBuf,
    fd: OwnedFd,
}

/// An exit record on disk, whole but perhaps not yet safe from a power failure.
#[derive(Debug)]
pub(super) struct WrittenExit {
    file: File,
}

impl AttemptDir {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            fd: socket::open_dir(path)?,
        })
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Take the attempt; `false` when another shim has it. The claim appears whole or not at
    /// all: it is written under another name and linked into place, and a link, unlike a rename,
    /// fails when the name is taken.
    pub(super) fn claim(&self, claim: &Claim) -> io::Result<bool> {
        let draft = self.file(&format!("{CLAIM}.{}", claim.shim.pid));
        create(&draft)?.write_all(&serde_json::to_vec(claim)?)?;
        let linked = fs::hard_link(&draft, self.file(CLAIM));
        fs::remove_file(&draft)?;
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Write the exit record whole. It survives the death of every process from here on.
    pub(super) fn write_exit(&self, record: &ExitRecord) -> io::Result<WrittenExit> {
        let draft = self.file("exit.json.new");
        let mut file = create(&draft)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        fs::rename(&draft, self.file(EXIT))?;
        Ok(WrittenExit { file })
    }

    /// Whether it was taken away: no daemon will look for a record there any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(fs::symlink_metadata(&self.path), Err(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Make it survive a power failure, too.
    pub(super) fn sync_exit(&self, written: &WrittenExit) -> io::Result<()> {
        written.file.sync_all()?;
        File::open(&self.path)?.sync_all()
    }

    /// Remove what the shim made, and the directory if nothing else is in it.
    pub(super) fn clean_up(&self) {
        for name in [NOTIFY, socket::CONTROL, EXIT, CLAIM] {
            // What is missing was never made; what cannot be removed is the daemon's to report,
            // which looks at the directory again when it starts.
            drop(fs::remove_file(self.file(name)));
        }
        drop(fs::remove_dir(&self.path));
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}
