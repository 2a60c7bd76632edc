//! The shim's side of a PAM session: the keeper that holds it, from its start until it has closed the session.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::contain::{ProcessId, identity, inherited};
use crate::wire::shim::{Bytes, SpawnError, SpawnErrorKind, decode, encode};

use super::keeper::{self, Answer, Wanted};
use super::launch::Launch;
use super::lookup::failed;
use super::{EXEC, ShimError};

/// How long the modules may take to close a session, or to notice that none is wanted any more.
const CLOSE_WITHIN: Duration = Duration::from_secs(30);

/// The first descriptor beyond the three that every program has.
const FIRST_BUT_STANDARD: i32 = 3;

/// What a keeper has said and is not yet understood; more than this is no answer.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A keeper, and how far it is.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) process: ProcessId,
    link: UnixStream,
    received: Vec<u8>,
    /// Since it was told to close: when it is given up.
    give_up: Option<Instant>,
    is_over: bool,
}

impl Session {
    /// Start the keeper of the session that the launch asks for, if it does.
    pub(super) fn begin(launch: &Launch) -> Option<Result<Self, SpawnError>> {
        let pam = launch.pam.as_ref()?;
        let wanted = Wanted {
            service: pam.service.clone(),
            user: pam.user.clone(),
            groups: launch.user.iter().flat_map(all_groups).collect(),
            open_files: launch.open_files,
        };
        Some(ask(&pam.program, &wanted).map_err(|error| {
            let message = format!(
                "{} cannot be started, which asks PAM ({error}): install stoked completely, or unset jobs.pam",
                pam.program.display()
            );
            failed(SpawnErrorKind::Pam, "start stoked-pam", &error, message)
        }))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    /// Read the link; an outcome when the keeper has answered: the session's variables, or why there is none.
    pub(super) fn receive(&mut self) -> Option<Result<Vec<(Bytes, Bytes)>, SpawnError>> {
        let mut buffer = [0; 4096];
        loop {
            match (&self.link).read(&mut buffer) {
                Ok(count) if count > 0 && self.received.len() < MAX_ANSWER_BYTES => {
                    self.received.extend_from_slice(&buffer[..count]);
                    if let Some(line) = self.received.strip_suffix(b"\n") {
                        let answer = decode(line);
                        self.received = Vec::new();
                        return Some(outcome(answer));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Ok(_) | Err(_) => return Some(Err(silent())),
            }
        }
    }

    /// Have the process that becomes the command started in the session.
    pub(super) fn start(
        &self,
        channel: &UnixStream,
        stdout: &OwnedFd,
        stderr: &OwnedFd,
    ) -> io::Result<()> {
        // Open, so that it is this program even when another has taken its place on the disk.
        let program = File::open("/proc/self/exe")?;
        let parts = [
            channel.as_fd(),
            stdout.as_fd(),
            stderr.as_fd(),
            program.as_fd(),
        ];
        keeper::order(&self.link, parts)
    }

    /// Its process has ended, and is reaped.
    pub(super) fn ended(&mut self) {
        self.is_over = true;
        self.give_up = None;
    }

    /// Whether it is closed; has it closed where it is not, and does not wait for ever.
    pub(super) fn is_closed(&mut self) -> bool {
        if self.is_over {
            return true;
        }
        let Some(give_up) = self.give_up else {
            // The keeper reads the end of the link. One that is gone has closed it from its side.
            drop(self.link.shutdown(Shutdown::Both));
            self.give_up = Some(Instant::now() + CLOSE_WITHIN);
            return false;
        };
        if give_up > Instant::now() {
            return false;
        }
        // A keeper that cannot even be killed must not hold the end of its attempt.
        drop(identity::signal(&self.process, Signal::KILL));
        self.ended();
        true
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.give_up
    }
}

fn all_groups(user: &crate::wire::shim::UserSpec) -> Vec<u32> {
    let others = user.groups.iter().filter(|other| **other != user.gid);
    std::iter::once(&user.gid).chain(others).copied().collect()
}

fn ask(program: &std::path::Path, wanted: &Wanted) -> io::Result<Session> {
    let (mut link, theirs) = UnixStream::pair()?;
    let child = Command::new(program)
        .arg0("stoked-pam")
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()?;
    let process = identity::of_pid(child.id())?;
    // One that is gone already is found out by the first read.
    drop(link.write_all(&encode(wanted)?));
    link.set_nonblocking(true)?;
    Ok(Session {
        process,
        link,
        received: Vec::new(),
        give_up: None,
        is_over: false,
    })
}

fn outcome(answer: Result<Answer, serde_json::Error>) -> Result<Vec<(Bytes, Bytes)>, SpawnError> {
    match answer {
        Ok(Answer::Opened { env }) => Ok(env),
        Ok(Answer::Failed(error)) => Err(error),
        Err(error) => Err(SpawnError {
            error: SpawnErrorKind::Pam,
            step: "open a session".to_owned(),
            errno: None,
            message: format!(
                "the shim does not understand stoked-pam ({error}): install both from one release"
            ),
        }),
    }
}

fn silent() -> SpawnError {
    SpawnError {
        error: SpawnErrorKind::Pam,
        step: "open a session".to_owned(),
        errno: None,
        message: "stoked-pam ended before it had opened a session: a module of PAM may have crashed it, which \
                  `coredumpctl` and the journal tell"
            .to_owned(),
    }
}

/// The session was still being opened when its attempt was ended.
pub(super) fn unwanted() -> SpawnError {
    SpawnError {
        error: SpawnErrorKind::Pam,
        step: "open a session".to_owned(),
        errno: None,
        message: "it was ended while PAM was opening its session".to_owned(),
    }
}

/// The command runs, and is nobody we know.
pub(super) fn lost() -> SpawnError {
    SpawnError {
        error: SpawnErrorKind::System,
        step: "start".to_owned(),
        errno: None,
        message: "the process that was started in the session of PAM cannot be found".to_owned(),
    }
}

/// Starts the process that becomes the command and ends without waiting, so that it comes to the shim.
pub(super) fn start_exec() -> Result<(), ShimError> {
    // Modules may have left open what they speak to, as root, and the command would inherit it.
    inherited::close_from(FIRST_BUT_STANDARD);
    let mut command = Command::new("/proc/self/exe");
    command.arg0("stoked-shim").arg(EXEC).env_clear();
    let started = command.spawn();
    started.map(drop).map_err(ShimError::at("start a process"))
}
