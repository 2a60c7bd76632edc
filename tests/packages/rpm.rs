//! The RPM package, made where there is an `rpmbuild`: its version, its files and what rpmlint says of it.

use crate::tools::{binaries, draft, files, has, make, root, run, say_skipped, succeed};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const SPEC: &str = "packaging/rpm/stoked.spec";

/// Expands the macros of systemd, which not every rpm has.
const MACROS: &str = "tests/packages/systemd.macros";

#[test]
fn the_spec_has_the_version_of_the_program() {
    let spec = fs::read_to_string(root().join(SPEC)).unwrap();
    let version = spec.lines().find_map(|line| line.strip_prefix("Version:"));
    assert_eq!(version.map(str::trim), Some(env!("CARGO_PKG_VERSION")));
}

/// Puts the tree into an archive as it is now, which may not be how it was committed. Whether git says what belongs to it.
fn archive(sources: &Path) -> bool {
    let mut list = Command::new("git");
    list.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let listed = run(&mut list);
    if listed.status != Some(0) {
        return false;
    }
    // Recorded outputs of programs are most of the tree, and in no package.
    let files = listed
        .output
        .split('\0')
        .filter(|name| root().join(name).is_file() && !name.starts_with("tests/"));
    let mut tar = Command::new("tar");
    let name = concat!("stoked-", env!("CARGO_PKG_VERSION"));
    tar.arg(format!("--transform=s|^|{name}/|"));
    tar.arg("-czf").arg(sources.join(format!("{name}.tar.gz")));
    succeed(tar.arg("--").args(files));
    true
}

#[test]
fn the_package_has_what_is_installed() {
    let test = "the_package_has_what_is_installed";
    if !has(test, "rpmbuild") {
        return;
    }
    let top = draft();
    let sources = top.path().join("SOURCES");
    fs::create_dir(&sources).unwrap();
    if !archive(&sources) {
        return say_skipped(test, "git knows nothing of this tree");
    }
    let mut build = Command::new("rpmbuild");
    build.args(["--load", MACROS, "--nodeps", "-bb"]);
    build
        .arg("--define")
        .arg(format!("_topdir {}", top.path().display()));
    build
        .arg("--define")
        .arg(format!("_tmppath {}", top.path().display()));
    build
        .arg("--define")
        .arg(format!("binaries {}", binaries().display()));
    // The programs of a test are large, and nobody downloads them.
    build.args(["--define", "_binary_payload w0.gzdio"]);
    // Links by which debuggers find what another package would have.
    build.args(["--define", "_build_id_links none"]);
    succeed(build.arg(SPEC));
    let below = top.path().join("RPMS");
    let [package] = &files(&below)[..] else {
        panic!("not one package: {:?}", files(&below));
    };
    let package = below.join(package);

    let host = draft();
    let said = make(
        "install",
        &[("DESTDIR", host.path()), ("PREFIX", Path::new("/usr"))],
    );
    assert_eq!(said.status, Some(0), "{said:#?}");
    // Documents are where the distribution has them.
    let is_document = |name: &str| name.contains("/doc/") || name.contains("/licenses/");
    let installed: BTreeSet<String> = files(host.path())
        .into_iter()
        .filter(|name| !is_document(name))
        .map(|name| format!("/{name}"))
        .collect();
    let mut list = Command::new("rpm");
    let listed = succeed(
        list.args(["-qp", "--qf", "[%{FILEMODES:perms} %{FILENAMES}\\n]"])
            .arg(&package),
    );
    let packaged: BTreeSet<String> = listed
        .lines()
        .filter(|line| !line.starts_with('d'))
        .filter_map(|line| Some(line.split_once(' ')?.1.to_owned()))
        .filter(|name| !is_document(name))
        .map(|name| match name.contains("/man/man") {
            true => name.trim_end_matches(".gz").to_owned(),
            false => name,
        })
        .collect();
    assert_eq!(packaged, installed);
    let scripts = succeed(Command::new("rpm").args(["-qp", "--scripts"]).arg(&package));
    for call in [
        "systemd_post stoked.socket stoked.service",
        "systemd_preun stoked.socket stoked.service",
        "systemd_postun_with_restart stoked.service",
    ] {
        assert!(scripts.contains(call), "{scripts}");
    }

    if has(test, "rpmlint") {
        let mut lint = Command::new("rpmlint");
        lint.args(["-r", "packaging/rpm/stoked.rpmlintrc", SPEC]);
        let said = run(lint.arg(&package));
        assert_eq!(said.status, Some(0), "{said:#?}");
    }
}
