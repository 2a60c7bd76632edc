//! FIFOs to hold jobs with, and to be told things by them: both sides wait on events.

use crate::http::PATIENCE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A FIFO whose both ends are held open here, so that nobody blocks in opening it.
#[derive(Debug)]
pub(crate) struct Gate {
    path: PathBuf,
    file: File,
}

impl Gate {
    pub(crate) fn new(path: PathBuf) -> Self {
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        Self { path, file }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Says a line: one `read` of a job returns.
    pub(crate) fn say(&self, line: &str) {
        (&self.file)
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }

    /// Lets one job pass.
    pub(crate) fn open(&self) {
        self.say("go");
    }

    /// The next line that a job says.
    pub(crate) fn hear(&self) -> String {
        let patience_ends = Instant::now() + PATIENCE;
        let mut line = Vec::new();
        loop {
            let left = patience_ends.saturating_duration_since(Instant::now());
            assert!(self.has_more(left), "no job said anything; heard {line:?}");
            let mut byte = [0];
            (&self.file).read_exact(&mut byte).unwrap();
            if byte == *b"\n" {
                return String::from_utf8(line).unwrap();
            }
            line.push(byte[0]);
        }
    }

    /// Takes so many bytes that a job writes.
    pub(crate) fn take(&self, bytes: u64) {
        let patience_ends = Instant::now() + PATIENCE;
        let mut buffer = vec![0; 64 << 10];
        let mut left = usize::try_from(bytes).unwrap();
        while left > 0 {
            let time = patience_ends.saturating_duration_since(Instant::now());
            assert!(self.has_more(time), "{left} bytes did not come");
            let most = left.min(buffer.len());
            left -= (&self.file).read(&mut buffer[..most]).unwrap();
        }
    }

    /// Takes what a job has written, should it write anything soon.
    pub(crate) fn drain(&self) {
        if self.has_more(Duration::from_millis(20)) {
            let mut buffer = vec![0; 64 << 10];
            let _taken = (&self.file).read(&mut buffer).unwrap();
        }
    }

    /// Whether nothing was said so far.
    pub(crate) fn is_silent(&self) -> bool {
        !self.has_more(Duration::ZERO)
    }

    fn has_more(&self, within: Duration) -> bool {
        let within = Timespec::try_from(within).unwrap();
        let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
        loop {
            match poll(&mut fds, Some(&within)) {
                Ok(ready) => return ready > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}
