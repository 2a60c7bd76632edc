//! Space kept in reserve. When the disk is full it is given back, so that the exits of what runs can
//! still be written; when there is room again it is taken again.

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Size of one write where the file system cannot allocate without writing.
const BLOCK_BYTES: usize = 64 * 1024;

/// The reserve: a file that nobody reads.
#[derive(Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    /// A reserve of `bytes` at `path`; 0 keeps none. Nothing is taken yet.
    pub(crate) fn new(path: &Path, bytes: u64) -> Self {
        Self {
            path: path.to_owned(),
            bytes,
        }
    }

    /// Takes the space where it is not taken yet and as much again stays free.
    pub(crate) fn take(&self) -> io::Result<()> {
        if self.bytes == 0 || self.held() {
            return Ok(());
        }
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let free = statvfs(directory)?;
        if free.f_bavail.saturating_mul(free.f_frsize) < self.bytes.saturating_mul(2) {
            return Err(ErrorKind::StorageFull.into());
        }
        let taken = self.allocate();
        if taken.is_err() {
            self.give_back();
        }
        taken
    }

    /// Gives the space back; answers whether there was any.
    pub(crate) fn give_back(&self) -> bool {
        self.bytes > 0 && fs::remove_file(&self.path).is_ok()
    }

    fn held(&self) -> bool {
        self.path
            .metadata()
            .is_ok_and(|data| data.len() >= self.bytes)
    }

    fn allocate(&self) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                let block = vec![0; BLOCK_BYTES];
                let mut left = self.bytes;
                while left > 0 {
                    let part = left.min(BLOCK_BYTES as u64);
                    file.write_all(&block[..usize::try_from(part).unwrap_or(BLOCK_BYTES)])?;
                    left -= part;
                }
                file.sync_all()
            }
            outcome => outcome.map_err(Into::into),
        }
    }
}
