//! The keeper of a session: it opens a PAM session for an attempt, starts the attempt's process in it, and closes it when
//! the shim says so or is gone.
//!
//! It is a program of its own (`stoked-pam`), as the shim is linked with a C library that loads no modules. Who opened a
//! session has to be who closes it, and what the modules set (limits, audit id, keyring) has to be inherited by the
//! command. So the keeper is in between: a child of the shim, root's own, outside the attempt's cgroup. What it starts is
//! handed over to the shim at once, which waits for the command as it does without a session.
//!
//! Its standard input is the *link* to the shim: a line of JSON in each direction ([`Wanted`], [`Answer`]), then one byte
//! with four descriptors (the process's three, and the shim's program), then the end of the link.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use nix::unistd::Gid;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::wire::shim::{Bytes, SpawnError, SpawnErrorKind, decode, encode};

use super::exec::Report;
use super::lookup::failed;
use super::{START, signals};

/// Descriptors that come with the order to start: the process's three, and the shim's program.
const PARTS: usize = 4;

/// The session that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The service whose modules are asked.
    pub service: String,
    /// Login name of the user.
    pub user: String,
    /// All groups of the user; none to keep those of the keeper.
    pub groups: Vec<u32>,
    /// Soft limit of open files that the session begins with; absent is inherited.
    pub open_files: Option<u64>,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Answer {
    /// The session is open, and has these variables.
    Opened { env: Vec<(Bytes, Bytes)> },
    /// There is none.
    Failed(SpawnError),
}

/// An open session.
pub trait Session {
    /// Its variables.
    fn env(&self) -> Vec<(Bytes, Bytes)>;

    /// Close it.
    ///
    /// # Errors
    /// With a sentence on what went wrong; there is nothing more to be done about it.
    fn close(self) -> Result<(), String>;
}

/// Entry point of `stoked-pam`; `open` is what asks PAM.
pub fn main<S: Session>(open: impl FnOnce(&Wanted) -> Result<S, SpawnError>) -> ExitCode {
    let kept = take_link().and_then(|link| {
        signals::outlive()?;
        let _ = rustix::process::setsid();
        keep(&link, open)
    });
    match kept {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The shim's own standard error: the journal, where it has a unit.
            drop(writeln!(io::stderr(), "stoked-pam: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn take_link() -> io::Result<UnixStream> {
    let stdin = rustix::stdio::stdin();
    if rustix::net::sockopt::socket_type(stdin).is_err() {
        let message = "standard input is not a socket; this program is started by stoked-shim";
        return Err(io::Error::other(message));
    }
    let link: OwnedFd = stdin.try_clone_to_owned()?;
    // Modules start programs, which must not hold the link.
    rustix::stdio::dup2_stdin(File::open("/dev/null")?.as_fd())?;
    Ok(UnixStream::from(link))
}

/// One session from its beginning to its end.
fn keep<S: Session>(
    link: &UnixStream,
    open: impl FnOnce(&Wanted) -> Result<S, SpawnError>,
) -> io::Result<()> {
    let Some(line) = read_line(link)? else {
        return Ok(());
    };
    let wanted: Wanted = decode(&line)?;
    let session = match prepare(&wanted).and_then(|()| open(&wanted)) {
        Ok(session) => session,
        Err(error) => return answer(link, &Answer::Failed(error)),
    };
    let env = session.env();
    // A shim that is gone is found out by the next read.
    drop(answer(link, &Answer::Opened { env }));
    let served = serve(link);
    session.close().map_err(io::Error::other)?;
    served
}

/// Starts what is to be started, and stays until the link ends.
fn serve(link: &UnixStream) -> io::Result<()> {
    let Some([channel, stdout, stderr, program]) = receive(link)? else {
        return Ok(());
    };
    let mut channel = UnixStream::from(channel);
    let started = start(&channel, stdout, stderr, &program);
    if let Err(error) = started {
        let message = format!("the host refused to start a process: {error}");
        let error = failed(SpawnErrorKind::System, "start a process", &error, message);
        channel.write_all(&encode(&Report::Failed(error))?)?;
    }
    drop((channel, program));
    // Nothing more is said; what matters is the end.
    while read_line(link)?.is_some() {}
    Ok(())
}

/// A session begins as its user's: modules may add to the groups and change the limits.
fn prepare(wanted: &Wanted) -> Result<(), SpawnError> {
    let refused = |step: &'static str| {
        move |error: io::Error| {
            let message = format!(
                "the host refused to {step} for a session of user {:?}: {error}",
                wanted.user
            );
            failed(SpawnErrorKind::System, step, &error, message)
        }
    };
    if !wanted.groups.is_empty() {
        let groups: Vec<Gid> = wanted.groups.iter().copied().map(Gid::from_raw).collect();
        nix::unistd::setgroups(&groups)
            .map_err(io::Error::from)
            .map_err(refused("set the groups"))?;
    }
    if let Some(soft) = wanted.open_files {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: Some(maximum.map_or(soft, |hard| soft.min(hard))),
            maximum,
        };
        setrlimit(Resource::Nofile, limit)
            .map_err(io::Error::from)
            .map_err(refused("set the limit of open files"))?;
    }
    Ok(())
}

/// Starts the process that becomes the command, through one that ends at once: so it is the shim's child, and not ours.
fn start(
    channel: &UnixStream,
    stdout: OwnedFd,
    stderr: OwnedFd,
    program: &OwnedFd,
) -> io::Result<()> {
    // The name is looked up by the child, which has the descriptor until it executes it.
    let program = OsString::from(format!("/proc/self/fd/{}", program.as_raw_fd()));
    let ended = Command::new(program)
        .arg0("stoked-shim")
        .arg(START)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(channel.try_clone()?)))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .status()?;
    match ended.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("its starter ended with {ended}"))),
    }
}

fn answer(mut link: &UnixStream, answer: &Answer) -> io::Result<()> {
    link.write_all(&encode(answer)?)
}

/// One line without its end; nothing where the link has ended. What follows it is not read.
fn read_line(mut link: &UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match link.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) if byte == *b"\n" => return Ok(Some(line)),
            Ok(_) => line.extend(byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// The order to start; nothing where the link ends without.
fn receive(link: &UnixStream) -> io::Result<Option<[OwnedFd; PARTS]>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PARTS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let message = loop {
        let into = &mut [IoSliceMut::new(&mut byte)];
        match recvmsg(link, into, &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    if message.bytes == 0 {
        return Ok(None);
    }
    let mut parts = Vec::new();
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = item {
            parts.extend(rights);
        }
    }
    let parts = <[OwnedFd; PARTS]>::try_from(parts);
    parts
        .map(Some)
        .map_err(|_| io::Error::other("the order to start came without its descriptors"))
}

/// The shim's side of the order.
pub(super) fn order(link: &UnixStream, parts: [BorrowedFd<'_>; PARTS]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PARTS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&parts));
    sendmsg(
        link,
        &[IoSlice::new(b"s")],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
