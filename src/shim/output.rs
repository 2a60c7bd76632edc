//! The command's output: two pipes or one terminal on the way into the log files.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::logs::Stream;
use crate::logs::write::AttemptLog;
use crate::wire::shim::TtySize;

use super::clock;
use super::journal::Journal;

/// Reads per stream and turn of the loop: enough to keep up with a flood, few enough that control
/// frames never wait.
const READS_PER_TURN: u32 = 4;

/// How much typed input waits for a job that does not read it.
const MAX_TYPED_BYTES: usize = 64 << 10;

/// The shim's ends of the command's outputs.
#[derive(Debug)]
pub(super) struct Output {
    log: AttemptLog,
    journal: Option<Journal>,
    stdout: Option<File>,
    stderr: Option<File>,
    is_tty: bool,
    typed: Vec<u8>,
}

impl Output {
    /// Nothing connected yet.
    pub(super) fn new(log: AttemptLog, journal: Option<Journal>) -> Self {
        Self {
            log,
            journal,
            stdout: None,
            stderr: None,
            is_tty: false,
            typed: Vec::new(),
        }
    }

    /// Read from two pipes from now on.
    pub(super) fn connect_pipes(&mut self, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<()> {
        self.stdout = Some(nonblocking(stdout)?);
        self.stderr = Some(nonblocking(stderr)?);
        Ok(())
    }

    /// Read from a terminal from now on.
    pub(super) fn connect_tty(&mut self, controller: OwnedFd) -> io::Result<()> {
        self.stdout = Some(nonblocking(controller)?);
        self.is_tty = true;
        Ok(())
    }

    /// What to poll: stream, descriptor, and whether there is typed input to pass on.
    pub(super) fn polled(&self) -> impl Iterator<Item = (Stream, BorrowedFd<'_>, bool)> {
        let stdout = self.stdout.iter().map(|file| {
            let typed = !self.typed.is_empty();
            (Stream::Stdout, file.as_fd(), typed)
        });
        let stderr = self
            .stderr
            .iter()
            .map(|file| (Stream::Stderr, file.as_fd(), false));
        stdout.chain(stderr)
    }

    /// Whether every output has reached its end.
    pub(super) fn is_over(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }

    /// Move what is there into the log.
    pub(super) fn pump(&mut self, stream: Stream, buffer: &mut [u8]) {
        let at_wall_ms = clock::wall_ms();
        let end = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        for _ in 0..READS_PER_TURN {
            let Some(file) = end else { return };
            match file.read(buffer) {
                Ok(count) if count > 0 => {
                    self.log.append(stream, &buffer[..count], at_wall_ms);
                    if let Some(journal) = &mut self.journal {
                        journal.take(stream, &buffer[..count]);
                    }
                    if count < buffer.len() && !self.is_tty {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal says EIO when its last user has left.
                Ok(_) | Err(_) => *end = None,
            }
        }
    }

    /// Type into the terminal.
    pub(super) fn type_in(&mut self, text: &str) -> Result<(), &'static str> {
        if !self.is_tty {
            return Err("the job has no terminal; run it with --tty");
        }
        if self.typed.len() + text.len() > MAX_TYPED_BYTES {
            return Err("the job does not read its terminal");
        }
        self.typed.extend_from_slice(text.as_bytes());
        self.pass_typed();
        Ok(())
    }

    /// Pass typed input on, as far as the terminal takes it.
    pub(super) fn pass_typed(&mut self) {
        let Some(file) = &mut self.stdout else {
            self.typed.clear();
            return;
        };
        while !self.typed.is_empty() {
            match file.write(&self.typed) {
                Ok(count) if count > 0 => drop(self.typed.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => self.typed.clear(),
            }
        }
    }

    /// Give the terminal another size.
    pub(super) fn resize(&self, size: TtySize) -> Result<(), String> {
        match &self.stdout {
            Some(file) if self.is_tty => {
                tcsetwinsize(file, winsize(size)).map_err(|error| error.to_string())
            }
            Some(_) | None => Err("the job has no terminal".to_owned()),
        }
    }

    /// Close the outputs and the log. Says how much could not be kept.
    pub(super) fn finish(&mut self) -> u64 {
        self.stdout = None;
        self.stderr = None;
        if let Some(journal) = &mut self.journal {
            journal.finish();
        }
        self.log.finish();
        self.log.dropped_bytes()
    }
}

/// The kernel's form of a size.
pub(super) fn winsize(size: TtySize) -> Winsize {
    Winsize {
        ws_row: size.rows,
        ws_col: size.cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn nonblocking(fd: OwnedFd) -> io::Result<File> {
    let flags = fcntl_getfl(&fd)?;
    fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
    Ok(File::from(fd))
}
