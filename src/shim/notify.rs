//! The notify socket: datagrams in the manner of systemd's `sd_notify`, from the job's processes.
//!
//! Whoever sends them may send them without end, and must not keep the shim from anything else by that: after so many it
//! turns to other things for a moment, in which senders wait.

use std::collections::VecDeque;
use std::fs::DirBuilder;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::AtFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, UCred, recvmsg,
    sockopt::set_socket_passcred,
};

use crate::contain::{ProcessId, socket};
use crate::wire::shim::{Bytes, FromShim};

use super::attempt_dir::{AttemptDir, NOTIFY};
use super::launch::Launch;

/// Longest text passed on of one datagram.
const MAX_TEXT_BYTES: usize = 4 << 10;
/// How many datagrams are kept while no daemon is connected, and how much of them.
const MAX_KEPT: usize = 64;
const MAX_KEPT_BYTES: usize = 64 << 10;
/// How many datagrams are taken at once, and how long the next ones wait then. A job that has something to say says less.
const PER_TURN: u32 = 64;
const REST: Duration = Duration::from_millis(50);
/// Longest path that fits a socket address with its final zero.
const MAX_PATH_BYTES: usize = 107;

/// The socket, and what it received while nobody listened.
#[derive(Debug)]
pub(super) struct Notify {
    socket: UnixDatagram,
    name: Bytes,
    allowed_uid: u32,
    kept: VecDeque<(u32, String)>,
    kept_bytes: usize,
    /// Nothing is taken before this.
    rests_until: Option<Instant>,
}

impl Notify {
    /// Bind in the attempt directory, or in the one of the job's user where that could not reach the other: strangers
    /// reach neither. Where both paths are too long for a socket address, in the abstract name space, where the check
    /// of the sender's user is what keeps strangers out.
    pub(super) fn open(launch: &Launch, dir: &AttemptDir, shim: ProcessId) -> io::Result<Self> {
        let own_uid = rustix::process::geteuid().as_raw();
        let uid = launch.user.as_ref().map_or(own_uid, |user| user.uid);
        let own_dir = match &launch.report_dir {
            Some(theirs) if uid != own_uid => {
                make_private(theirs)?;
                Some((theirs.join(NOTIFY), socket::open_dir(theirs)?))
            }
            None if uid != own_uid => None,
            _ => Some((dir.file(NOTIFY), dir.fd().try_clone()?)),
        };
        let own_dir = own_dir.filter(|(path, _)| path.as_os_str().len() <= MAX_PATH_BYTES);
        let (socket, name) = if let Some((path, dir)) = own_dir {
            let socket = socket::datagram(&dir, NOTIFY)?;
            if uid != own_uid {
                // Before its directory is given away, so that this is what was just made.
                let uid = rustix::fs::Uid::from_raw(uid);
                rustix::fs::chownat(&dir, NOTIFY, Some(uid), None, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            (socket, path.into_os_string().into_encoded_bytes())
        } else {
            let name = format!(
                "stoked/{}.{}/{}.{}",
                launch.job, launch.attempt, shim.pid, shim.start_ticks
            );
            let address = SocketAddr::from_abstract_name(&name)?;
            let socket = UnixDatagram::bind_addr(&address)?;
            (socket, format!("@{name}").into_bytes())
        };
        socket.set_nonblocking(true)?;
        set_socket_passcred(&socket, true)?;
        Ok(Self {
            socket,
            name: Bytes(name),
            allowed_uid: uid,
            kept: VecDeque::new(),
            kept_bytes: 0,
            rests_until: None,
        })
    }

    /// What goes into `NOTIFY_SOCKET`.
    pub(super) fn name(&self) -> &Bytes {
        &self.name
    }

    /// What to poll; nothing while it rests.
    pub(super) fn polled(&self) -> Option<BorrowedFd<'_>> {
        self.rests_until.is_none().then(|| self.socket.as_fd())
    }

    /// When it has rested enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.rests_until
    }

    /// Goes on when it has rested enough.
    pub(super) fn wake(&mut self) {
        self.rests_until.take_if(|until| *until <= Instant::now());
    }

    /// Takes what somebody allowed has sent, as far as it is taken at once. Whether there may be more.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> bool {
        for _ in 0..PER_TURN {
            let (count, sender) = match receive_one(&self.socket, buffer) {
                Ok(received) => received,
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return false,
            };
            let Some(sender) = sender else { continue };
            if !sender.uid.is_root() && sender.uid.as_raw() != self.allowed_uid {
                continue;
            }
            let text = String::from_utf8_lossy(&buffer[..count.min(MAX_TEXT_BYTES)]);
            let pid = u32::try_from(sender.pid.as_raw_nonzero().get()).unwrap_or(0);
            self.keep(pid, text.into_owned());
        }
        self.rests_until = Some(Instant::now() + REST);
        true
    }

    /// Keep for a daemon that has time, forgetting the oldest where it becomes too much.
    fn keep(&mut self, pid: u32, text: String) {
        self.kept_bytes += text.len();
        self.kept.push_back((pid, text));
        while self.kept.len() > MAX_KEPT || self.kept_bytes > MAX_KEPT_BYTES {
            let Some((_, oldest)) = self.kept.pop_front() else {
                return;
            };
            self.kept_bytes -= oldest.len();
        }
    }

    /// Give out what was kept first.
    pub(super) fn next_kept(&mut self) -> Option<FromShim> {
        let (pid, text) = self.kept.pop_front()?;
        self.kept_bytes -= text.len();
        Some(FromShim::Notify { text, pid })
    }
}

/// A directory for the shim alone, as long as it is not given away.
pub(super) fn make_private(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn receive_one(
    socket: &UnixDatagram,
    buffer: &mut [u8],
) -> rustix::io::Result<(usize, Option<UCred>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(
        socket,
        &mut [IoSliceMut::new(buffer)],
        &mut control,
        RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut sender = None;
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmCredentials(credentials) = item {
            sender = Some(credentials);
        }
    }
    Ok((message.bytes, sender))
}
