//! The installed daemon under a real systemd: each test boots a system of its own and runs one of the `cases` in it.
//!
//! What a case needs is in `/lab`: the programs of this build, the units, and the cases. Where no system can be booted
//! (no root, no Debian, no cgroup v2), the tests say so and do nothing.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `boot` ends with where it cannot boot.
const SKIPPED: i32 = 77;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The directory that the system sees as `/lab`.
fn laid_out() -> tempfile::TempDir {
    let lab = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let bin = lab.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let programs = [
        env!("CARGO_BIN_EXE_stoked"),
        env!("CARGO_BIN_EXE_stoke"),
        env!("CARGO_BIN_EXE_stoked-shim"),
        env!("CARGO_BIN_EXE_stoked-pam"),
    ];
    for program in programs.map(Path::new) {
        let there = bin.join(program.file_name().unwrap());
        // A link costs nothing; another file system has none.
        if fs::hard_link(program, &there).is_err() {
            fs::copy(program, &there).unwrap();
        }
    }
    for part in ["systemd", "packaging", "tests/lab/cases"] {
        let to = lab.path().join(Path::new(part).file_name().unwrap());
        copy(&root().join(part), &to);
    }
    // A client that these tests share with those of a bus without a system.
    let proxy = root().join("tests/dbus/proxy.js");
    fs::copy(proxy, lab.path().join("proxy.js")).unwrap();
    lab
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let there = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &there);
        } else {
            fs::copy(entry.path(), &there).unwrap();
        }
    }
}

/// Runs a case in a container, or in a machine; what it said is shown if it fails.
fn run(boot: &str, case: &str) {
    let lab = laid_out();
    let boot: PathBuf = root().join("tests/lab").join(boot);
    let file = format!("{case}.sh");
    let command = match lab.path().join("cases").join(&file).exists() {
        true => vec!["bash".to_owned(), format!("/lab/cases/{file}")],
        false => vec![
            "python3".to_owned(),
            "-B".to_owned(),
            format!("/lab/cases/{case}.py"),
        ],
    };
    let output = Command::new(boot)
        .arg(lab.path())
        .args(command)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let problem = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(SKIPPED) {
        // Past the test harness, which shows nothing of what passes.
        let _shown = writeln!(std::io::stderr(), "SKIPPED lab::{case}: {}", problem.trim());
        return;
    }
    assert!(output.status.success(), "{case}\n{said}\n{problem}");
}

macro_rules! cases {
    ($($boot:literal $case:ident)*) => {
        $(#[test]
        fn $case() {
            run($boot, stringify!($case));
        })*

        #[test]
        fn every_case_is_run() {
            let mut there: Vec<String> = fs::read_dir(root().join("tests/lab/cases"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter_map(|name| Some(name.split_once('.')?.0.to_owned()))
                // What they share, and what the tests of packages run.
                .filter(|name| !matches!(name.as_str(), "crowd" | "files" | "lab" | "package"))
                .collect();
            there.sort();
            assert_eq!(there, [$(stringify!($case)),*]);
        }
    };
}

cases! {
    "boot" attacks
    "boot" dbus
    "boot" floods
    "boot" journal
    "boot-vm" limits
    "boot" pam
    "boot" services
    "boot" spies
    "boot" survival
    "boot" users
}
