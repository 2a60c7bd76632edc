//! The units are what systemd wants, and the daemon of a host has next to nothing that it does not need.

use crate::tools::{draft, files, has, make, run};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// Of a hundred: what systemd counts as exposed of the daemon at most, times ten.
const EXPOSED: u32 = 25;

/// A host whose programs are where the units say.
fn installed() -> TempDir {
    let host = draft();
    let (prefix, etc) = (host.path().join("usr"), host.path().join("etc"));
    let said = make("install", &[("PREFIX", &prefix), ("SYSCONFDIR", &etc)]);
    assert_eq!(said.status, Some(0), "{said:#?}");
    host
}

/// Whether systemd can judge here; says so where it cannot.
fn can_judge(test: &str) -> bool {
    if !has(test, "systemd-analyze") {
        return false;
    }
    // It looks for the units that ours come after, and for programs that they name.
    let there = PathBuf::from("/lib/systemd/system/sysinit.target").exists();
    if !there {
        crate::tools::say_skipped(test, "the units of systemd are missing");
    }
    there
}

#[test]
fn systemd_takes_every_unit() {
    if !can_judge("systemd_takes_every_unit") {
        return;
    }
    let host = installed();
    for (whose, dir) in [("--system", "system"), ("--user", "user")] {
        let dir = host.path().join("usr/lib/systemd").join(dir);
        let mut verify = Command::new("systemd-analyze");
        // Its pages are where its programs are, but `man` does not know.
        verify.args(["verify", whose, "--man=no"]);
        verify.args(files(&dir).iter().map(|name| dir.join(name)));
        // A manager of a user has a directory of that user.
        verify.env("XDG_RUNTIME_DIR", host.path());
        let said = run(&mut verify);
        assert_eq!(said.status, Some(0), "{whose}: {said:#?}");
        assert_eq!(said.error, "", "{whose}");
    }
}

#[test]
fn the_daemon_is_exposed_as_little_as_was_agreed() {
    if !can_judge("the_daemon_is_exposed_as_little_as_was_agreed") {
        return;
    }
    let host = installed();
    let unit = host.path().join("usr/lib/systemd/system/stoked.service");
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--no-pager"]);
    security.arg(format!("--threshold={EXPOSED}")).arg(unit);
    let said = run(&mut security);
    assert_eq!(said.status, Some(0), "{said:#?}");
}
