//! The Debian package: the same to the byte each time, without a fault that lintian knows, and as it lives in a system.

use crate::tools::{binaries, draft, has, root, run, say_skipped, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `boot` ends with where it cannot boot.
const SKIPPED: i32 = 77;

/// Makes the package with this revision; nothing where that cannot be done here.
fn package(test: &str, out: &Path, revision: &str) -> Option<PathBuf> {
    let tools = ["dpkg-deb", "dpkg-shlibdeps", "strip", "python3"];
    if !tools.iter().all(|tool| has(test, tool)) {
        return None;
    }
    let mut build = Command::new("packaging/deb/build");
    build.arg("--binaries").arg(binaries());
    build.arg("--out").arg(out).args(["--revision", revision]);
    // The programs of a test are large, and nobody downloads them.
    build.env("DPKG_DEB_COMPRESSOR_LEVEL", "0");
    Some(PathBuf::from(succeed(&mut build).trim()))
}

#[test]
fn two_builds_are_the_same_and_lintian_finds_no_fault() {
    let test = "two_builds_are_the_same_and_lintian_finds_no_fault";
    let (one, other) = (draft(), draft());
    let Some(first) = package(test, one.path(), "1") else {
        return;
    };
    let Some(second) = package(test, other.path(), "1") else {
        return;
    };
    assert_eq!(first.file_name(), second.file_name());
    // Not in the message: they are as large as the programs.
    let same = fs::read(&first).unwrap() == fs::read(&second).unwrap();
    assert!(same, "{} differs", first.display());

    let contents = succeed(Command::new("dpkg-deb").arg("--contents").arg(&first));
    let strangers: Vec<&str> = contents
        .lines()
        .filter(|line| !line.contains(" root/root "))
        .collect();
    assert_eq!(strangers, [""; 0], "not all files are root's");
    let conffiles = succeed(
        Command::new("dpkg-deb")
            .arg("--info")
            .arg(&first)
            .arg("conffiles"),
    );
    assert_eq!(conffiles, "/etc/pam.d/stoked\n/etc/stoked/stoked.toml\n");

    if !has(test, "lintian") {
        return;
    }
    let mut lintian = Command::new("lintian");
    lintian.args(["--tag-display-limit", "0", "--fail-on", "error"]);
    let said = run(lintian.arg("--allow-root").arg(&first));
    assert_eq!(said.status, Some(0), "{said:#?}");
}

#[test]
fn a_wrong_option_is_named() {
    if !has("a_wrong_option_is_named", "dpkg-deb") {
        return;
    }
    for (option, value, named) in [
        ("--revision", "a b", "--revision a b"),
        ("--binaries", "/nonexistent/bin", "/nonexistent/bin"),
        ("--colour", "blue", "--colour"),
    ] {
        let out = draft();
        let mut build = Command::new("packaging/deb/build");
        let said = run(build.arg("--out").arg(out.path()).args([option, value]));
        assert_eq!(said.status, Some(1), "{said:#?}");
        assert!(said.error.contains(named), "{said:#?}");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
    }
}

/// Runs a case of the lab with two packages, the second an upgrade of the first, where a system can be booted.
fn in_a_real_system(test: &str, case: &[&str]) {
    let lab = draft();
    for revision in ["1", "2"] {
        if package(test, lab.path(), revision).is_none() {
            return;
        }
    }
    let cases = lab.path().join("cases");
    fs::create_dir(&cases).unwrap();
    for file in ["crowd.py", "files", "lab.py", "package.sh"] {
        fs::copy(root().join("tests/lab/cases").join(file), cases.join(file)).unwrap();
    }
    let mut boot = Command::new("tests/lab/boot");
    let said = run(boot.arg(lab.path()).args(case));
    if said.status == Some(SKIPPED) {
        return say_skipped(test, said.error.trim());
    }
    assert_eq!(said.status, Some(0), "{}\n{}", said.output, said.error);
}

/// Installed, upgraded, removed and purged.
#[test]
fn the_package_lives_in_a_real_system() {
    let test = "the_package_lives_in_a_real_system";
    in_a_real_system(test, &["/lab/cases/package.sh"]);
}

#[test]
fn many_users_notice_nothing_of_restarts_kills_and_an_upgrade() {
    let test = "many_users_notice_nothing_of_restarts_kills_and_an_upgrade";
    in_a_real_system(test, &["python3", "-B", "/lab/cases/crowd.py"]);
}
