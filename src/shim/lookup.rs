//! Finding the program to execute, and saying in plain words why it cannot be.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::wire::shim::{LaunchRecord, SpawnError, SpawnErrorKind};

/// Where commands are looked for when the job's environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A spawn error with the system's reason.
pub(super) fn failed(
    error: SpawnErrorKind,
    step: &str,
    source: &io::Error,
    message: String,
) -> SpawnError {
    SpawnError {
        error,
        step: step.to_owned(),
        errno: source.raw_os_error(),
        message,
    }
}

/// The program file of a command; the working directory is already the job's.
pub(super) fn find(record: &LaunchRecord) -> Result<PathBuf, SpawnError> {
    let Some(command) = record.command.first().filter(|first| !first.0.is_empty()) else {
        return Err(SpawnError {
            error: SpawnErrorKind::BadRequest,
            step: "lookup".to_owned(),
            errno: None,
            message: "the command is empty: give a program to run".to_owned(),
        });
    };
    let command = command.as_os_str();
    let path = if command.as_bytes().contains(&b'/') {
        let path = PathBuf::from(command);
        check_executable(&path, record.cwd.as_os_str())?;
        path
    } else {
        let value = record.env.iter().rev().find(|(name, _)| name.0 == b"PATH");
        search(
            command,
            value.map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value.as_os_str()),
        )?
    };
    check_format(&path)?;
    Ok(path)
}

fn search(command: &OsStr, path: &OsStr) -> Result<PathBuf, SpawnError> {
    let mut blocked = None;
    for dir in path.as_bytes().split(|&byte| byte == b':') {
        // An empty entry of PATH is the working directory.
        let dir = if dir.is_empty() { b"." } else { dir };
        let candidate = Path::new(OsStr::from_bytes(dir)).join(command);
        if !candidate.is_file() {
            continue;
        }
        match access(&candidate, Access::EXEC_OK) {
            Ok(()) => return Ok(candidate),
            Err(error) => blocked = blocked.or(Some((candidate, error))),
        }
    }
    Err(match blocked {
        Some((file, error)) => not_executable(&file, &error.into()),
        None => failed(
            SpawnErrorKind::CommandMissing,
            "lookup",
            &rustix::io::Errno::NOENT.into(),
            format!(
                "there is no command {command:?} in PATH ({}): install it, or give its full path",
                path.display()
            ),
        ),
    })
}

fn check_executable(path: &Path, cwd: &OsStr) -> Result<(), SpawnError> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => {
            let place = if path.is_absolute() {
                String::new()
            } else {
                format!(" in {}", cwd.display())
            };
            let message =
                format!("there is no file {path:?}{place}: check the path of the command");
            return Err(failed(
                SpawnErrorKind::CommandMissing,
                "lookup",
                &error,
                message,
            ));
        }
        Err(error) => {
            let message = format!(
                "the command {path:?} cannot be reached ({error}): check the rights of the \
                 directories on the way to it"
            );
            return Err(failed(
                SpawnErrorKind::NotExecutable,
                "lookup",
                &error,
                message,
            ));
        }
    };
    if meta.is_dir() {
        return Err(failed(
            SpawnErrorKind::NotExecutable,
            "lookup",
            &rustix::io::Errno::ISDIR.into(),
            format!("the command {path:?} is a directory: give a program in it"),
        ));
    }
    access(path, Access::EXEC_OK).map_err(|error| not_executable(path, &error.into()))
}

fn not_executable(path: &Path, error: &io::Error) -> SpawnError {
    failed(
        SpawnErrorKind::NotExecutable,
        "lookup",
        error,
        format!(
            "the file {path:?} may not be executed: run `chmod +x` on it, or name its interpreter \
             first, such as `python3 {}`",
            path.display()
        ),
    )
}

/// The C library hands a file that the kernel refuses to `/bin/sh`. That is right for a script
/// without a first line, and turns a program for another processor into a riddle, so the latter
/// are refused here, unless the host has registered handlers for foreign formats.
fn check_format(path: &Path) -> Result<(), SpawnError> {
    let head = head_of(path);
    let foreign = match head.strip_prefix(b"\x7fELF") {
        Some(_) => !machine_fits(&head),
        None => !head.starts_with(b"#!") && head.contains(&0),
    };
    if !foreign || has_foreign_handlers() {
        return Ok(());
    }
    Err(failed(
        SpawnErrorKind::BadFormat,
        "lookup",
        &rustix::io::Errno::NOEXEC.into(),
        format!(
            "the file {path:?} is no program that this host can run: check that it was built for \
             this kind of processor and is whole"
        ),
    ))
}

fn head_of(path: &Path) -> Vec<u8> {
    let mut head = vec![0; 256];
    // A program that may be executed but not read shows no head and is left to the kernel.
    let count = File::open(path).and_then(|mut file| file.read(&mut head));
    head.truncate(count.unwrap_or(0));
    head
}

/// Whether a program's ELF machine (bytes 18 and 19) is this program's own, or i386 on x86-64.
fn machine_fits(head: &[u8]) -> bool {
    // The common machine is known without a look at the own file.
    if cfg!(target_arch = "x86_64") && head.get(18..20) == Some(&[62, 0]) {
        return true;
    }
    let own = head_of(Path::new("/proc/self/exe"));
    match (head.get(18..20), own.get(18..20)) {
        (Some(theirs), Some(ours)) => theirs == ours || (ours == [62, 0] && theirs == [3, 0]),
        (None, _) => false,
        (Some(_), None) => true,
    }
}

fn has_foreign_handlers() -> bool {
    fs::read_dir("/proc/sys/fs/binfmt_misc").is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name() != "register" && entry.file_name() != "status")
    })
}

/// Why the kernel refused to execute what was found.
pub(super) fn explain_exec(error: &io::Error, path: &Path, record: &LaunchRecord) -> SpawnError {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    let (kind, message) = match errno {
        Some(Errno::TOOBIG) => (SpawnErrorKind::TooBig, explain_size(record)),
        Some(Errno::NOENT | Errno::NOTDIR) => (
            SpawnErrorKind::CommandMissing,
            match interpreter(path) {
                Some(name) => format!(
                    "the interpreter {name:?} that the first line of {path:?} asks for does not \
                     exist: install it or correct the line"
                ),
                None => format!(
                    "the program {path:?} or the loader it needs does not exist: install what it \
                     was built for"
                ),
            },
        ),
        Some(Errno::ACCESS | Errno::PERM) => (
            SpawnErrorKind::NotExecutable,
            format!(
                "executing {path:?} is not permitted: check its rights and those of its \
                 interpreter, and that its file system is not mounted noexec"
            ),
        ),
        Some(Errno::NOEXEC) => (
            SpawnErrorKind::BadFormat,
            format!("the file {path:?} is no program that this host can run"),
        ),
        Some(Errno::TXTBSY) => (
            SpawnErrorKind::NotExecutable,
            format!("the file {path:?} is still being written: try again when it is whole"),
        ),
        _ => (
            SpawnErrorKind::System,
            format!("executing {path:?} failed: {error}"),
        ),
    };
    failed(kind, "exec", error, message)
}

fn interpreter(path: &Path) -> Option<String> {
    let head = head_of(path);
    let line = head
        .strip_prefix(b"#!")?
        .split(|&byte| byte == b'\n')
        .next()?;
    String::from_utf8_lossy(line)
        .split_whitespace()
        .next()
        .map(str::to_owned)
}

fn explain_size(record: &LaunchRecord) -> String {
    let arguments: usize = record.command.iter().map(|item| item.0.len() + 1).sum();
    let sizes = || {
        let env = record.env.iter();
        env.map(|(name, value)| (name, name.0.len() + value.0.len() + 2))
    };
    let environment: usize = sizes().map(|(_, size)| size).sum();
    let largest = sizes().max_by_key(|(_, size)| *size);
    let largest = largest.map_or(String::new(), |(name, size)| {
        format!("; the largest variable is {name:?} with {size} bytes")
    });
    format!(
        "the arguments take {arguments} bytes and the environment {environment}{largest}, more \
         than this system passes to a program (128 KiB each, a quarter of the stack limit in \
         all): put big values into a file, or send less with --clean-env"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn record(command: &str, path: &str) -> LaunchRecord {
        let json = serde_json::json!({
            "version": 1, "job": 1, "attempt": 1, "dir": "/", "log_dir": "/",
            "log_limit_bytes": 0, "command": [command], "env": [["PATH", path]], "cwd": "/",
        });
        serde_json::from_value(json).unwrap()
    }

    fn program(dir: &Path, name: &str, content: &[u8], mode: u32) -> String {
        let path = dir.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn path_is_searched_in_order_and_blocked_files_are_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| root.path().join(name));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        program(&a, "tool", b"#!/bin/sh\n", 0o644);
        let path = format!("{}:{}", a.display(), b.display());
        let error = find(&record("tool", &path)).unwrap_err();
        assert_eq!(error.error, SpawnErrorKind::NotExecutable);
        let good = program(&b, "tool", b"#!/bin/sh\n", 0o755);
        assert_eq!(find(&record("tool", &path)).unwrap(), Path::new(&good));
        let error = find(&record("nothing", &path)).unwrap_err();
        assert_eq!(error.error, SpawnErrorKind::CommandMissing);
        assert!(error.message.contains("nothing"), "{}", error.message);
    }

    #[test]
    fn files_that_are_no_programs_are_named() {
        let root = tempfile::tempdir().unwrap();
        let kind = |command: &str| find(&record(command, "/bin")).unwrap_err().error;
        let alien = program(root.path(), "alien", b"\x7fELF\x01\x02\x01", 0o755);
        let data = program(root.path(), "data", b"ab\0cd", 0o755);
        if !has_foreign_handlers() {
            assert_eq!(kind(&alien), SpawnErrorKind::BadFormat);
            assert_eq!(kind(&data), SpawnErrorKind::BadFormat);
        }
        let bare = program(root.path(), "bare", b"echo hi\n", 0o755);
        assert!(find(&record(&bare, "/bin")).is_ok());
        assert_eq!(
            kind(root.path().to_str().unwrap()),
            SpawnErrorKind::NotExecutable
        );
        assert_eq!(kind("/no/such"), SpawnErrorKind::CommandMissing);
        assert_eq!(kind(""), SpawnErrorKind::BadRequest);
    }
}
