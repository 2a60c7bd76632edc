//! The shim's side of a start: outputs, cgroup, and the process that will become the command.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::lchown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::tcsetwinsize;

use crate::contain::{Cgroup, ProcessId, identity, service};
use crate::wire::shim::{
    Bytes, ContainmentSpec, SpawnError, SpawnErrorKind, TtySize, decode, encode,
};

use super::EXEC;
use super::exec::{Report, Setup};
use super::launch::Launch;
use super::lookup::failed;
use super::notify::make_private;
use super::output::{Output, winsize};
use super::session::Session;

/// How long the starting process may leave the launch unread.
const HAND_OVER: Duration = Duration::from_secs(10);

/// A start under way: the process exists, the command does not run yet.
#[derive(Debug)]
pub(super) struct Start {
    /// The process; unknown until it says so where it is started in a session.
    pub(super) process: Option<ProcessId>,
    channel: UnixStream,
    received: Vec<u8>,
}

/// What came of a start.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) result: Result<(), SpawnError>,
    pub(super) cgroup_refused: Option<String>,
}

/// Takes the place in the unit that the shim was started in, where it was, so that what is claimed is a plain cgroup. Says
/// why there is none, where there should be.
pub(super) fn settle(containment: &mut ContainmentSpec) -> Option<String> {
    if *containment != ContainmentSpec::Service {
        return None;
    }
    let (settled, refused) = match service::settle() {
        Ok(parent) => (
            ContainmentSpec::Cgroup {
                parent,
                name: service::ATTEMPT.to_owned(),
            },
            None,
        ),
        Err(why) => (ContainmentSpec::Tree, Some(why.0)),
    };
    *containment = settled;
    refused
}

/// Make the cgroup that was asked for; a refusal is not the end, the tree always works.
pub(super) fn make_cgroup(spec: &ContainmentSpec) -> (Option<Cgroup>, Option<String>) {
    let ContainmentSpec::Cgroup { parent, name } = spec else {
        return (None, None);
    };
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return (None, Some(format!("{name:?} cannot be a cgroup's name")));
    }
    let cgroup = Cgroup::in_parent(parent, name);
    match cgroup.create() {
        Ok(()) => (Some(cgroup), None),
        Err(error) => {
            let dir = cgroup.dir().display();
            (None, Some(format!("{dir} cannot be made: {error}")))
        }
    }
}

impl Start {
    /// Start the process and hand it the launch as it was received.
    pub(super) fn begin(
        launch: &Launch,
        line: Vec<u8>,
        cgroup: Option<PathBuf>,
        notify_socket: Option<Bytes>,
        output: &mut Output,
        session: Option<(&Session, Vec<(Bytes, Bytes)>)>,
    ) -> Result<Self, SpawnError> {
        make_report_dir(launch).map_err(system("make its directory for reports"))?;
        let (stdout, stderr) = connect(launch.tty, output).map_err(system("make the outputs"))?;
        let (channel, theirs) = UnixStream::pair().map_err(system("make the channel"))?;
        let (process, session) = match session {
            Some((session, env)) => {
                let started = session.start(&theirs, &stdout, &stderr);
                started.map_err(system("start a process in the session"))?;
                // What the keeper has got ends when all of it is closed.
                drop((theirs, stdout, stderr));
                (None, Some(env))
            }
            None => {
                let process = spawn(theirs, stdout, stderr);
                (Some(process.map_err(system("start a process"))?), None)
            }
        };
        let setup = Setup {
            cgroup,
            notify_socket,
            session,
        };
        hand_over(&channel, &setup, line).map_err(system("hand over the launch"))?;
        Ok(Self {
            process,
            channel,
            received: Vec::new(),
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Read the channel; an outcome when it has ended.
    pub(super) fn receive(&mut self) -> Option<Outcome> {
        let outcome = self.read();
        if self.process.is_none() {
            self.process = said_here(&self.received).and_then(|pid| identity::of_pid(pid).ok());
        }
        outcome
    }

    fn read(&mut self) -> Option<Outcome> {
        let mut buffer = [0; 4096];
        loop {
            match self.channel.read(&mut buffer) {
                Ok(0) => return Some(outcome(&self.received)),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => return Some(outcome(&self.received)),
            }
        }
    }
}

/// The directory that the command reports in becomes its user's own here and not in the daemon, whose sandbox gives nothing
/// away.
fn make_report_dir(launch: &Launch) -> io::Result<()> {
    let (Some(dir), Some(user)) = (&launch.report_dir, &launch.user) else {
        return Ok(());
    };
    make_private(dir)?;
    lchown(dir, Some(user.uid), Some(user.gid))
}

/// The process that said that it is the one: the first thing on the channel.
fn said_here(received: &[u8]) -> Option<u32> {
    let end = received.iter().position(|byte| *byte == b'\n')?;
    match decode(&received[..end]) {
        Ok(Report::Here { pid }) => Some(pid),
        _ => None,
    }
}

fn outcome(received: &[u8]) -> Outcome {
    let mut cgroup_refused = None;
    let mut result = Err(SpawnError {
        error: SpawnErrorKind::System,
        step: "start".to_owned(),
        errno: None,
        message: "the starting process ended before it could execute the command".to_owned(),
    });
    for line in received.split(|&byte| byte == b'\n') {
        match decode(line) {
            Ok(Report::CgroupRefused { message }) => cgroup_refused = Some(message),
            Ok(Report::Exec) => result = Ok(()),
            Ok(Report::Here { .. }) => {}
            Ok(Report::Failed(error)) => result = Err(error),
            Err(_) => {}
        }
    }
    Outcome {
        result,
        cgroup_refused,
    }
}

/// The command's ends of its outputs, the shim's ends being connected.
fn connect(tty: Option<TtySize>, output: &mut Output) -> io::Result<(OwnedFd, OwnedFd)> {
    let Some(size) = tty else {
        let (stdout, their_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, their_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        output.connect_pipes(stdout, stderr)?;
        return Ok((their_stdout, their_stderr));
    };
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let controller = openpt(flags)?;
    unlockpt(&controller)?;
    tcsetwinsize(&controller, winsize(size))?;
    let theirs = ioctl_tiocgptpeer(&controller, flags)?;
    output.connect_tty(controller)?;
    Ok((theirs.try_clone()?, theirs))
}

fn spawn(channel: UnixStream, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<ProcessId> {
    // Without a hook, a user or a directory this is posix_spawn, which copies no memory. The
    // child is reaped by its pid together with all the orphans, so nothing else is kept of it.
    let child = Command::new("/proc/self/exe")
        .arg0("stoked-shim")
        .arg(EXEC)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(channel)))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .spawn()?;
    identity::of_pid(child.id())
}

fn hand_over(mut channel: &UnixStream, setup: &Setup, line: Vec<u8>) -> io::Result<()> {
    channel.set_write_timeout(Some(HAND_OVER))?;
    channel.write_all(&encode(setup)?)?;
    channel.write_all(&line)?;
    channel.shutdown(std::net::Shutdown::Write)?;
    channel.set_nonblocking(true)
}

fn system(step: &'static str) -> impl Fn(io::Error) -> SpawnError {
    move |error| {
        let message = format!("the host refused to {step}: {error}");
        failed(SpawnErrorKind::System, step, &error, message)
    }
}
