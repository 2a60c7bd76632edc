//! The daemons' connections: the link that the shim was born with and those accepted later.
//! None of them can block the shim: what one does not read is buffered up to a limit, then it is
//! dropped and its daemon connects again.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::net::sockopt::socket_peercred;

use crate::wire::shim::{FromShim, Lines, MAX_FRAME_BYTES, ToShim, decode, encode};

/// How much one daemon may leave unread.
const MAX_UNSENT_BYTES: usize = 64 << 10;

/// How many daemons may be connected; one is the rule, two meet during a hand-over.
const MAX_CONNECTIONS: usize = 8;

/// The open connections, oldest first.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Vec<Connection>,
    next_id: u64,
}

#[derive(Debug)]
struct Connection {
    id: u64,
    stream: UnixStream,
    lines: Lines,
    unsent: Vec<u8>,
}

impl Connections {
    /// Take in a connection; the newest is the one that may command.
    pub(super) fn add(&mut self, stream: UnixStream, lines: Lines) -> io::Result<u64> {
        stream.set_nonblocking(true)?;
        let id = self.next_id;
        self.next_id += 1;
        if self.open.len() == MAX_CONNECTIONS {
            self.open.remove(0);
        }
        self.open.push(Connection {
            id,
            stream,
            lines,
            unsent: Vec::new(),
        });
        Ok(id)
    }

    /// Accept who waits, if it is our own user or root.
    pub(super) fn accept(&mut self, listener: &UnixListener) -> Option<u64> {
        let (stream, _) = listener.accept().ok()?;
        let peer = socket_peercred(&stream).ok()?.uid;
        if !peer.is_root() && peer != rustix::process::geteuid() {
            return None;
        }
        self.add(stream, Lines::new(MAX_FRAME_BYTES)).ok()
    }

    /// Whether there is a daemon that has taken all it was sent.
    pub(super) fn is_read(&self) -> bool {
        self.open.last().is_some_and(|open| open.unsent.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// What to poll: id, descriptor, and whether there is something to send.
    pub(super) fn polled(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>, bool)> {
        self.open
            .iter()
            .map(|open| (open.id, open.stream.as_fd(), !open.unsent.is_empty()))
    }

    /// Send to all. Says whether anybody took it.
    pub(super) fn send_all(&mut self, frame: &FromShim) -> bool {
        let Ok(line) = encode(frame) else {
            return false;
        };
        self.open.retain_mut(|open| open.queue(&line).is_ok());
        !self.open.is_empty()
    }

    /// Send to one.
    pub(super) fn send(&mut self, id: u64, frame: &FromShim) {
        if let Ok(line) = encode(frame) {
            self.open
                .retain_mut(|open| open.id != id || open.queue(&line).is_ok());
        }
    }

    /// Go on sending what was left unsent.
    pub(super) fn flush(&mut self, id: u64) {
        self.open
            .retain_mut(|open| open.id != id || open.flush().is_ok());
    }

    /// What the newest connection had already asked when it was taken in.
    pub(super) fn received_before(&mut self) -> Vec<ToShim> {
        self.open
            .last_mut()
            .map(Connection::frames)
            .unwrap_or_default()
    }

    /// Read what a daemon asks; an older connection is listened to but not obeyed.
    pub(super) fn receive(&mut self, id: u64, buffer: &mut [u8]) -> Vec<ToShim> {
        let newest = self.open.last().is_some_and(|open| open.id == id);
        let Some(at) = self.open.iter().position(|open| open.id == id) else {
            return Vec::new();
        };
        let (frames, ended) = self.open[at].receive(buffer);
        if ended {
            self.open.remove(at);
        }
        if newest { frames } else { Vec::new() }
    }
}

impl Connection {
    fn queue(&mut self, line: &[u8]) -> io::Result<()> {
        // One frame may be longer than the limit (the meta data of a job), a backlog may not.
        if !self.unsent.is_empty() && self.unsent.len() + line.len() > MAX_UNSENT_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.unsent.extend_from_slice(line);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The frames that one read completes, and whether the connection is over.
    fn receive(&mut self, buffer: &mut [u8]) -> (Vec<ToShim>, bool) {
        let ended = match self.stream.read(buffer) {
            Ok(0) => true,
            Ok(count) => self.lines.push(&buffer[..count]).is_err(),
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ),
        };
        (self.frames(), ended)
    }

    fn frames(&mut self) -> Vec<ToShim> {
        let mut frames = Vec::new();
        while let Some(line) = self.lines.next_line() {
            // A line that is no frame is skipped like an unknown one: the next may be `kill`.
            frames.extend(decode(&line));
        }
        frames
    }
}
