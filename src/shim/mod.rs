//! The per-attempt parent process: synchronous, small, outlives the daemon.
//!
//! One thread and one `poll` without timeouts. The shim owns the attempt: it starts the command,
//! writes its output, waits for its end and leaves the exit record on disk. Nothing the daemon
//! does, or has done to it, can make it start a command twice or lose an end.

mod account;
mod attempt_dir;
mod clock;
mod connections;
mod ending;
mod exec;
mod journal;
pub mod keeper;
mod launch;
mod lookup;
mod notify;
mod output;
mod serve;
mod session;
mod signals;
mod start;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::net::sockopt::socket_type;

use crate::contain::identity;
use crate::wire::shim::{FromShim, Lines, MAX_FRAME_BYTES, ProcessId, SpawnError, SpawnErrorKind};

use launch::Launch;

/// First argument with which the shim starts itself as the process that becomes the command.
const EXEC: &str = "exec";

/// First argument with which a keeper of a session starts it, to start that process and to leave it to the shim.
const START: &str = "start";

/// Size of the one read buffer. From this size on the C library takes memory from the kernel that
/// is zero already; less would be cleared, and so be used whole, by a job that says nothing.
const BUFFER_BYTES: usize = 128 << 10;

/// Entry point of the `stoked-shim` binary.
#[must_use]
pub fn main() -> ExitCode {
    let role = std::env::args_os().nth(1);
    if role.as_ref().is_some_and(|role| role == EXEC) {
        return exec::main();
    }
    let outcome = match role.is_some_and(|role| role == START) {
        true => session::start_exec(),
        false => run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is /dev/null under the daemon; this is for who runs it by hand.
            drop(writeln!(io::stderr(), "stoked-shim: failed to {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Why a shim gave up before it had anything to report to.
#[derive(Debug, thiserror::Error)]
enum ShimError {
    #[error("start: standard input is not a socket; this program is started by stoked")]
    NoLink,
    #[error("{step}: {source}")]
    System {
        step: &'static str,
        #[source]
        source: io::Error,
    },
}

impl ShimError {
    fn at<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System {
            step,
            source: source.into(),
        }
    }
}

fn run() -> Result<(), ShimError> {
    let stdin = rustix::stdio::stdin();
    if socket_type(stdin).is_err() {
        return Err(ShimError::NoLink);
    }
    let link = take_stdin().map_err(ShimError::at("take over standard input"))?;
    // A daemon that made us a group leader has already given us what setsid would.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(ShimError::at("become subreaper"))?;
    let signals = signals::take().map_err(ShimError::at("block signals"))?;
    rustix::process::chdir("/").map_err(ShimError::at("leave the working directory"))?;

    let mut buffer = vec![0; BUFFER_BYTES];
    let launched = first_launch(&link, &mut buffer);
    let Some((line, rest)) = launched.map_err(ShimError::at("read the launch"))? else {
        return Ok(());
    };
    let launch: Launch = match serde_json::from_slice(&line) {
        Ok(launch) => launch,
        Err(error) => return refuse(link, bad_request(&error)),
    };
    match serve::Shim::claim(launch, link, rest, signals) {
        Ok(shim) => shim.run(line, buffer),
        Err(refusal) => {
            let (mut link, frame) = *refusal;
            tell(&mut link, &frame)
        }
    }
}

/// Put /dev/null in the link's place, so that no child ever inherits it.
fn take_stdin() -> io::Result<UnixStream> {
    let link: OwnedFd = rustix::stdio::stdin().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?.as_fd())?;
    Ok(UnixStream::from(link))
}

/// The first launch frame, and what was read behind it; `None` when the daemon left before.
fn first_launch(mut link: &UnixStream, buffer: &mut [u8]) -> io::Result<Option<(Vec<u8>, Lines)>> {
    let mut lines = Lines::new(MAX_FRAME_BYTES);
    loop {
        while let Some(line) = lines.next_line() {
            if launch::is_launch(&line) {
                return Ok(Some((line, lines)));
            }
        }
        let count = match link.read(buffer) {
            Ok(0) => return Ok(None),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let received = &buffer[..count];
        lines.push(received).map_err(io::Error::other)?;
    }
}

fn bad_request(error: &serde_json::Error) -> SpawnError {
    SpawnError {
        error: SpawnErrorKind::BadRequest,
        step: "launch".to_owned(),
        errno: None,
        message: format!(
            "the shim does not understand the launch record ({error}): stoked and stoked-shim \
             are of different versions; install both from one release"
        ),
    }
}

fn refuse(mut link: UnixStream, error: SpawnError) -> Result<(), ShimError> {
    tell(&mut link, &FromShim::SpawnFailed(error))
}

fn tell(link: &mut UnixStream, frame: &FromShim) -> Result<(), ShimError> {
    let line = crate::wire::shim::encode(frame)
        .map_err(|error| ShimError::at("encode a frame")(io::Error::other(error)))?;
    link.write_all(&line)
        .map_err(ShimError::at("answer the daemon"))
}

impl From<identity::ProcessId> for ProcessId {
    fn from(process: identity::ProcessId) -> Self {
        Self {
            pid: process.pid,
            start_ticks: process.start_ticks,
        }
    }
}

impl From<ProcessId> for identity::ProcessId {
    fn from(process: ProcessId) -> Self {
        Self {
            pid: process.pid,
            start_ticks: process.start_ticks,
        }
    }
}
