//! Programs that tests run, and what they said.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The tree that is packaged.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory beside the build, which is on a disk where `/tmp` may be small.
pub(crate) fn draft() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Where the programs of this build are.
pub(crate) fn binaries() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_stoked")).parent().unwrap()
}

/// Whether a program is there; where it is not, says that `test` is skipped.
pub(crate) fn has(test: &str, program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !there {
        say_skipped(test, &format!("{program} is missing"));
    }
    there
}

/// Past the test harness, which shows nothing of what passes.
pub(crate) fn say_skipped(test: &str, why: &str) {
    let line = format!("SKIPPED packages::{test}: {why}\n");
    let _shown = std::io::stderr().lock().write_all(line.as_bytes());
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: Option<i32>,
    pub(crate) output: String,
    pub(crate) error: String,
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Said {
    let done = command.current_dir(root()).output();
    let done = done.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Said {
        status: done.status.code(),
        output: String::from_utf8_lossy(&done.stdout).into_owned(),
        error: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

/// Runs a command that has to succeed; what it printed.
pub(crate) fn succeed(command: &mut Command) -> String {
    let said = run(command);
    assert_eq!(said.status, Some(0), "{command:?}\n{said:#?}");
    said.output
}

/// `make install` or `make uninstall` of the programs of this build.
pub(crate) fn make(goal: &str, variables: &[(&str, &Path)]) -> Said {
    let mut make = Command::new("make");
    make.args(["--no-print-directory", goal]);
    make.arg(format!("BINARIES={}", binaries().display()));
    make.args(
        variables
            .iter()
            .map(|(name, value)| format!("{name}={}", value.display())),
    );
    // The `make` that runs these tests, if one does, has its own variables.
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"] {
        make.env_remove(name);
    }
    run(&mut make)
}

/// All files below a directory, by their paths from it on, sorted.
pub(crate) fn files(below: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![below.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(below).unwrap();
                found.push(name.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
