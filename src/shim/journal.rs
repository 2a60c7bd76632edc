//! The command's output as messages of the journal, line by line, beside its log files.
//!
//! A message is a datagram of `NAME=VALUE` lines (`systemd.journal-fields(7)`). The journal knows the sender's unit, and adds
//! what that says of the job. One that does not keep up costs lines in the journal, never the job's time.

use std::io::Write;
use std::os::unix::net::UnixDatagram;

use crate::logs::Stream;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// A longer line is cut: what is cut off is a line of its own.
const LONGEST_LINE: usize = 48 << 10;

/// `info` for what is printed, `warning` for what is complained about: see `syslog(3)`.
const fn priority(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 6,
        Stream::Stderr => 4,
    }
}

/// The way to the journal, and the line of each stream that has not ended yet.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    /// What programs of this name say.
    identifier: String,
    open: [Vec<u8>; 2],
}

impl Journal {
    /// The journal of this host, if it has one.
    pub(super) fn open(identifier: &str) -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(SOCKET).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Self {
            socket,
            identifier: identifier.replace('\n', " "),
            open: [Vec::new(), Vec::new()],
        })
    }

    /// Takes what a stream said.
    pub(super) fn take(&mut self, stream: Stream, mut bytes: &[u8]) {
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&bytes[..at], &bytes[at + 1..]);
            self.line(stream).extend_from_slice(line);
            self.send(stream);
            bytes = rest;
        }
        self.line(stream).extend_from_slice(bytes);
        if self.line(stream).len() > LONGEST_LINE {
            self.send(stream);
        }
    }

    /// What has not ended with a line break ends with the command.
    pub(super) fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.line(stream).is_empty() {
                self.send(stream);
            }
        }
    }

    fn line(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.open[0],
            Stream::Stderr => &mut self.open[1],
        }
    }

    fn send(&mut self, stream: Stream) {
        let line = std::mem::take(self.line(stream));
        for part in line.chunks(LONGEST_LINE) {
            let mut message = Vec::with_capacity(part.len() + 64);
            // Writing to memory does not fail.
            let _written = writeln!(
                message,
                "PRIORITY={}\nSYSLOG_IDENTIFIER={}",
                priority(stream),
                self.identifier
            );
            message.extend_from_slice(b"MESSAGE=");
            // What moved the cursor of a terminal back begins the line anew there, too.
            let shown = part.strip_suffix(b"\r").unwrap_or(part);
            let shown = shown.rsplit(|byte| *byte == b'\r').next().unwrap_or(shown);
            message.extend_from_slice(shown);
            message.push(b'\n');
            let _kept_up = self.socket.send(&message);
        }
    }
}
