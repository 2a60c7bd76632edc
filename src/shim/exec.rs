//! The process that becomes the command.
//!
//! The shim starts itself for this instead of forking with a hook, so that no code ever runs
//! between fork and exec; here everything is an ordinary program until the last call. It reads
//! the launch from the channel on its standard input, takes on the job's cgroup, session,
//! identity, directory and input in this order, and says on the channel how it went. The channel
//! closes by itself when the command takes over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::contain::Cgroup;
use crate::contain::tree::TOKEN_VARIABLE;
use crate::wire::shim::{
    Bytes, LaunchRecord, SpawnError, SpawnErrorKind, Stdin, UserSpec, decode, encode,
};

use super::lookup::{self, failed};

/// Exit code of a start that failed, as shells have it.
const NOT_STARTED: u8 = 127;

/// Most launches are no longer than this.
const LAUNCH_BYTES: usize = 16 << 10;

/// What the shim adds to the launch record; the first line on the channel.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) cgroup: Option<PathBuf>,
    pub(super) notify_socket: Option<Bytes>,
    /// The environment of the PAM session that this process is started in; absent is no session.
    pub(super) session: Option<Vec<(Bytes, Bytes)>>,
}

/// What the shim is told on the channel.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Report {
    /// Who becomes the command, where the shim has not started it itself.
    Here { pid: u32 },
    /// The cgroup could not be entered; the start goes on without.
    CgroupRefused { message: String },
    /// The next thing is exec; if the channel ends with this, the command runs.
    Exec,
    /// The command was not started.
    Failed(SpawnError),
}

/// Entry point in the role of the process that becomes the command.
pub(super) fn main() -> ExitCode {
    let Ok(channel) = rustix::stdio::stdin().try_clone_to_owned() else {
        return ExitCode::from(NOT_STARTED);
    };
    let mut channel = UnixStream::from(channel);
    let error = match become_command(&mut channel) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    report(&mut channel, &Report::Failed(error));
    ExitCode::from(NOT_STARTED)
}

/// There is nothing to do about a shim that is gone but to end, which comes next anyway.
fn report(channel: &mut UnixStream, report: &Report) {
    if let Ok(line) = encode(report) {
        drop(channel.write_all(&line));
    }
}

fn become_command(channel: &mut UnixStream) -> Result<std::convert::Infallible, SpawnError> {
    let (setup, mut record) = read_launch(channel).map_err(|error| system("launch", &error))?;
    let in_session = setup.session.is_some();
    if let Some(theirs) = &setup.session {
        let pid = std::process::id();
        report(channel, &Report::Here { pid });
        record.env = with_session(theirs, record.env);
    }
    check_strings(&record)?;
    if let Some(dir) = &setup.cgroup
        && let Err(error) = Cgroup::at(dir.clone()).enter()
    {
        let message = format!("{} cannot be entered: {error}", dir.display());
        report(channel, &Report::CgroupRefused { message });
    }
    take_signals()?;
    take_session(&record)?;
    take_limits(&record, in_session)?;
    if let Some(user) = &record.user {
        take_identity(user, in_session)?;
    }
    take_directory(&record)?;
    take_input(&record)?;
    let path = lookup::find(&record)?;
    report(channel, &Report::Exec);
    let error = command(&path, &record, &setup).exec();
    Err(lookup::explain_exec(&error, &path, &record))
}

fn read_launch(channel: &mut UnixStream) -> io::Result<(Setup, LaunchRecord)> {
    // Room for the common launch, so that it comes with one read.
    let mut received = Vec::with_capacity(LAUNCH_BYTES);
    channel.read_to_end(&mut received)?;
    let mut lines = received.split(|&byte| byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let setup = decode(next())?;
    let record = decode(next())?;
    Ok((setup, record))
}

/// The environment with that of a session, whose variables give way to the job's: they hold for every session of the user,
/// what the client sent was chosen for this job.
fn with_session(theirs: &[(Bytes, Bytes)], own: Vec<(Bytes, Bytes)>) -> Vec<(Bytes, Bytes)> {
    let is_own = |name: &Bytes| own.iter().any(|(other, _)| other == name);
    let mut all: Vec<_> = theirs
        .iter()
        .filter(|(name, _)| !is_own(name))
        .cloned()
        .collect();
    all.extend(own);
    all
}

/// A zero byte would end a string early, and a name with `=` would become another name.
fn check_strings(record: &LaunchRecord) -> Result<(), SpawnError> {
    let refused = |message: String| SpawnError {
        error: SpawnErrorKind::BadRequest,
        step: "launch".to_owned(),
        errno: None,
        message,
    };
    if let Some(at) = record.command.iter().position(|item| item.0.contains(&0)) {
        return Err(refused(format!(
            "argument {at} holds a zero byte, which no program can be given"
        )));
    }
    for (name, value) in &record.env {
        if name.0.is_empty() || name.0.contains(&b'=') || name.0.contains(&0) {
            return Err(refused(format!(
                "{name:?} cannot be the name of an environment variable"
            )));
        }
        if value.0.contains(&0) {
            return Err(refused(format!(
                "the environment variable {name:?} holds a zero byte"
            )));
        }
    }
    Ok(())
}

/// The signals that the shim takes as events came blocked with the fork; a command that could not
/// be terminated would be the result.
fn take_signals() -> Result<(), SpawnError> {
    SigSet::empty()
        .thread_set_mask()
        .map_err(|error| system("unblock signals", &error.into()))
}

fn take_session(record: &LaunchRecord) -> Result<(), SpawnError> {
    rustix::process::setsid().map_err(|error| system("setsid", &error.into()))?;
    if record.tty.is_some() {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdout())
            .map_err(|error| system("take the terminal", &error.into()))?;
    }
    Ok(())
}

fn take_limits(record: &LaunchRecord, in_session: bool) -> Result<(), SpawnError> {
    if let Some(mask) = record.umask {
        rustix::process::umask(Mode::from_bits_truncate(mask));
    }
    if let Some(wanted) = record.oom_score_adj {
        fs::write("/proc/self/oom_score_adj", wanted.to_string())
            .map_err(|error| system("set oom_score_adj", &error))?;
    } else {
        drop_oom_protection();
    }
    // A session began with this limit, and may have changed it.
    if let Some(soft) = record.open_files.filter(|_| !in_session) {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: Some(maximum.map_or(soft, |hard| soft.min(hard))),
            maximum,
        };
        setrlimit(Resource::Nofile, limit)
            .map_err(|error| system("set the limit of open files", &error.into()))?;
    }
    if let Some(nice) = record.nice {
        rustix::process::setpriority_process(None, nice)
            .map_err(|error| system("set the niceness", &error.into()))?;
    }
    Ok(())
}

/// A daemon protects itself from the OOM killer; a job that inherits this would make it kill
/// the host's other processes first.
fn drop_oom_protection() {
    let path = "/proc/self/oom_score_adj";
    let inherited = fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    if inherited.is_some_and(|value| value < 0) {
        // Raising the value is always permitted.
        drop(fs::write(path, "0"));
    }
}

fn take_identity(user: &UserSpec, in_session: bool) -> Result<(), SpawnError> {
    let own = rustix::process::geteuid();
    if !own.is_root() {
        if own.as_raw() == user.uid {
            return Ok(());
        }
        let error = rustix::io::Errno::PERM.into();
        return Err(refuse_user(user, "switch user", &error));
    }
    let failed = |step| move |error: io::Error| refuse_user(user, step, &error);
    for output in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
        // So that the job may open its own outputs again, as /dev/stdout does.
        let uid = rustix::process::Uid::from_raw(user.uid);
        let _ = rustix::fs::fchown(output, Some(uid), None);
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let mut groups = vec![gid];
    let others = user.groups.iter().filter(|other| **other != user.gid);
    groups.extend(others.map(|other| Gid::from_raw(*other)));
    // A session began with these groups, and may have added some.
    if !in_session {
        nix::unistd::setgroups(&groups)
            .map_err(io::Error::from)
            .map_err(failed("set the groups"))?;
    }
    nix::unistd::setresgid(gid, gid, gid)
        .map_err(io::Error::from)
        .map_err(failed("set the group"))?;
    nix::unistd::setresuid(uid, uid, uid)
        .map_err(io::Error::from)
        .map_err(failed("set the user"))?;
    let uids = nix::unistd::getresuid().map(|ids| [ids.real, ids.effective, ids.saved]);
    let gids = nix::unistd::getresgid().map(|ids| [ids.real, ids.effective, ids.saved]);
    if uids != Ok([uid; 3]) || gids != Ok([gid; 3]) {
        let error = rustix::io::Errno::PERM.into();
        return Err(refuse_user(user, "verify the identity", &error));
    }
    Ok(())
}

fn refuse_user(user: &UserSpec, step: &str, error: &io::Error) -> SpawnError {
    let message = format!(
        "running as user {:?} (uid {}) failed: {error}; only a daemon that runs as root can run \
         jobs of other users",
        user.name, user.uid
    );
    failed(SpawnErrorKind::User, step, error, message)
}

fn take_directory(record: &LaunchRecord) -> Result<(), SpawnError> {
    let cwd = record.cwd.as_os_str();
    rustix::process::chdir(cwd).map_err(|error| {
        let error = io::Error::from(error);
        let message = format!(
            "the working directory {cwd:?} cannot be entered ({error}): create it again or give \
             another with --cwd"
        );
        failed(SpawnErrorKind::Cwd, "chdir", &error, message)
    })
}

fn take_input(record: &LaunchRecord) -> Result<(), SpawnError> {
    let placed = |error: rustix::io::Errno| system("place standard input", &error.into());
    match &record.stdin {
        Stdin::None if record.tty.is_some() => {
            rustix::stdio::dup2_stdin(rustix::stdio::stdout()).map_err(placed)
        }
        Stdin::None => {
            let null = File::open("/dev/null").map_err(|error| system("open /dev/null", &error))?;
            rustix::stdio::dup2_stdin(null.as_fd()).map_err(placed)
        }
        Stdin::File(path) => {
            let file = open_input(path).map_err(|error| {
                let message = format!(
                    "the input file {path:?} cannot be opened ({error}): check its path and rights"
                );
                failed(
                    SpawnErrorKind::Stdin,
                    "open standard input",
                    &error,
                    message,
                )
            })?;
            rustix::stdio::dup2_stdin(file.as_fd()).map_err(placed)
        }
    }
}

fn open_input(path: &Bytes) -> io::Result<File> {
    let no_terminal = i32::try_from(OFlags::NOCTTY.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(no_terminal)
        .open(path.as_os_str())?;
    if file.metadata()?.is_dir() {
        return Err(rustix::io::Errno::ISDIR.into());
    }
    Ok(file)
}

fn command(path: &std::path::Path, record: &LaunchRecord, setup: &Setup) -> Command {
    // A path without a slash would be searched for once more.
    let mut command = if path.parent() == Some(std::path::Path::new("")) {
        Command::new(std::path::Path::new(".").join(path))
    } else {
        Command::new(path)
    };
    let mut items = record.command.iter().map(Bytes::as_os_str);
    if let Some(first) = items.next() {
        command.arg0(first);
    }
    command.args(items).env_clear();
    for (name, value) in &record.env {
        command.env(name.as_os_str(), value.as_os_str());
    }
    if !record.token.is_empty() {
        command.env(TOKEN_VARIABLE, &record.token);
    }
    if let Some(name) = &setup.notify_socket {
        command.env("NOTIFY_SOCKET", name.as_os_str());
    }
    command
}

fn system(step: &str, error: &io::Error) -> SpawnError {
    let message = format!("the host refused to {step}: {error}");
    failed(SpawnErrorKind::System, step, error, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_gives_way_to_what_the_job_brings() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(Bytes, Bytes)> {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect()
        };
        let theirs = pairs(&[("PATH", "/site/bin"), ("KRB5CCNAME", "FILE:/tmp/x")]);
        let own = pairs(&[("PATH", "/venv/bin"), ("A", "1")]);
        let all = with_session(&theirs, own.clone());
        let wanted = [
            ("KRB5CCNAME", "FILE:/tmp/x"),
            ("PATH", "/venv/bin"),
            ("A", "1"),
        ];
        assert_eq!(all, pairs(&wanted));
        assert_eq!(with_session(&theirs, Vec::new()), theirs);
        assert_eq!(with_session(&[], own.clone()), own);
    }
}
