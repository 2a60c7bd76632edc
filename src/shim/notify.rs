//! The notify socket: datagrams in the manner of systemd's `sd_notify`, from the job's processes.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

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
}

impl Notify {
    /// Bind in the attempt directory; where the job's user could not reach that, or its path is
    /// too long for a socket address, in the abstract name space, where the check of the
    /// sender's user is what keeps strangers out.
    pub(super) fn open(launch: &Launch, dir: &AttemptDir, shim: ProcessId) -> io::Result<Self> {
        let own_uid = rustix::process::geteuid().as_raw();
        let uid = launch.user.as_ref().map_or(own_uid, |user| user.uid);
        let path = dir.file(NOTIFY);
        let path = path.as_os_str().as_bytes();
        let (socket, name) = if uid == own_uid && path.len() <= MAX_PATH_BYTES {
            (socket::datagram(dir.fd(), NOTIFY)?, path.to_vec())
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
        })
    }

    /// What goes into `NOTIFY_SOCKET`.
    pub(super) fn name(&self) -> &Bytes {
        &self.name
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next datagram of somebody allowed; `None` when there is none now.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Option<(u32, String)> {
        loop {
            let (count, sender) = match receive_one(&self.socket, buffer) {
                Ok(received) => received,
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return None,
            };
            let Some(sender) = sender else { continue };
            if !sender.uid.is_root() && sender.uid.as_raw() != self.allowed_uid {
                continue;
            }
            let text = String::from_utf8_lossy(&buffer[..count.min(MAX_TEXT_BYTES)]);
            let pid = u32::try_from(sender.pid.as_raw_nonzero().get()).unwrap_or(0);
            return Some((pid, text.into_owned()));
        }
    }

    /// Keep for the next daemon, forgetting the oldest where it becomes too much.
    pub(super) fn keep(&mut self, pid: u32, text: String) {
        self.kept_bytes += text.len();
        self.kept.push_back((pid, text));
        while self.kept.len() > MAX_KEPT || self.kept_bytes > MAX_KEPT_BYTES {
            let Some((_, oldest)) = self.kept.pop_front() else {
                return;
            };
            self.kept_bytes -= oldest.len();
        }
    }

    /// Give out what was kept.
    pub(super) fn take_kept(&mut self) -> Vec<FromShim> {
        self.kept_bytes = 0;
        std::mem::take(&mut self.kept)
            .into_iter()
            .map(|(pid, text)| FromShim::Notify { text, pid })
            .collect()
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
