//! Which processes there are.

use std::fs::File;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, RawDir, SeekFrom, open, seek};

use crate::sampling::fields::number;

/// Room for some hundred entries, so that a pass over a usual host takes a few calls.
const BUFFER_BYTES: usize = 32 << 10;

/// An entry of `/proc` that is a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    pub(super) pid: u32,
    /// The kernel makes another one when the id is somebody else's, and may do so before.
    pub(super) inode: u64,
}

/// Lists `/proc`, which is kept open.
#[derive(Debug)]
pub(super) struct Listing {
    path: PathBuf,
    dir: Option<File>,
    buffer: Box<[MaybeUninit<u8>]>,
}

impl Listing {
    pub(super) fn new(proc: &Path) -> Self {
        Self {
            path: proc.to_owned(),
            dir: None,
            buffer: Box::new_uninit_slice(BUFFER_BYTES),
        }
    }

    /// All processes that can be seen, in the order of their ids.
    pub(super) fn read(&mut self, to: &mut Vec<Listed>) {
        to.clear();
        if self.dir.is_none() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.dir = open(&self.path, flags, Mode::empty()).ok().map(File::from);
        }
        let Some(dir) = &self.dir else { return };
        if seek(dir, SeekFrom::Start(0)).is_err() {
            self.dir = None;
            return;
        }
        let mut entries = RawDir::new(dir, &mut self.buffer);
        while let Some(Ok(entry)) = entries.next() {
            let pid = number(entry.file_name().to_bytes()).and_then(|pid| u32::try_from(pid).ok());
            to.extend(pid.map(|pid| Listed {
                pid,
                inode: entry.ino(),
            }));
        }
        // The kernel lists them so; where it does not, nothing may depend on it.
        if !to.is_sorted() {
            to.sort_unstable();
        }
        to.dedup_by_key(|it| it.pid);
    }
}
