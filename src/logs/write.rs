//! Writing an attempt's output.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::Stream;

/// The output of one attempt.
#[derive(Debug)]
pub struct AttemptLog {
    dir: PathBuf,
    limit_bytes: u64,
    written_bytes: u64,
    dropped_bytes: u64,
    files: [Option<File>; 2],
}

impl AttemptLog {
    /// Creates nothing until the first byte.
    #[must_use]
    pub fn open(dir: &Path, limit_bytes: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            limit_bytes,
            written_bytes: 0,
            dropped_bytes: 0,
            files: [None, None],
        }
    }

    /// Never fails: what cannot be written is counted.
    pub fn append(&mut self, stream: Stream, bytes: &[u8], _at_wall_ms: i64) {
        let (slot, name) = match stream {
            Stream::Stdout => (0, "stdout.0"),
            Stream::Stderr => (1, "stderr.0"),
        };
        if self.files[slot].is_none() {
            let made = std::fs::create_dir_all(&self.dir).and_then(|()| {
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(self.dir.join(name))
            });
            self.files[slot] = made.ok();
        }
        let fits = self.written_bytes + bytes.len() as u64 <= self.limit_bytes;
        let written = self.files[slot]
            .as_mut()
            .is_some_and(|file| fits && file.write_all(bytes).is_ok());
        if written {
            self.written_bytes += bytes.len() as u64;
        } else {
            self.dropped_bytes += bytes.len() as u64;
        }
    }

    /// The attempt is over.
    pub fn finish(&mut self) {}

    /// How much could not be kept.
    #[must_use]
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }
}
