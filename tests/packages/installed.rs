//! `make install` puts exactly what is documented, and `make uninstall` takes exactly that away.

use crate::tools::{binaries, draft, files, make, root, succeed};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Directories of which other parts of the tree say what is in them, and where that goes.
const AS_IS: &[(&str, &str)] = &[
    ("packaging/adapters.d", "usr/share/stoked/adapters.d"),
    (
        "packaging/dbus-1/system-services",
        "usr/share/dbus-1/system-services",
    ),
    ("packaging/dbus-1/services", "usr/share/dbus-1/services"),
    ("packaging/dbus-1/interfaces", "usr/share/dbus-1/interfaces"),
    ("packaging/dbus-1", "usr/share/dbus-1/system.d"),
    ("packaging/polkit-1", "usr/share/polkit-1/actions"),
    ("systemd/system", "usr/lib/systemd/system"),
    ("systemd/user", "usr/lib/systemd/user"),
    ("systemd/sysusers.d", "usr/lib/sysusers.d"),
    ("systemd/tmpfiles.d", "usr/lib/tmpfiles.d"),
    ("packaging/catalog", "usr/lib/systemd/catalog"),
];

fn install(into: &Path) {
    let said = make(
        "install",
        &[("DESTDIR", into), ("PREFIX", Path::new("/usr"))],
    );
    assert_eq!(said.status, Some(0), "{said:#?}");
}

/// Names of the files of a directory; none where it is not there.
fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let entries = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file());
    let mut names: Vec<String> = entries
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_installed_is_what_is_documented() {
    let host = draft();
    install(host.path());
    for (from, to) in AS_IS {
        assert_eq!(
            names(&root().join(from)),
            names(&host.path().join(to)),
            "{from}"
        );
    }
    let pages = draft();
    let mut man = Command::new(env!("CARGO_BIN_EXE_stoke"));
    succeed(man.args(["man", "--dir"]).arg(pages.path()));
    let man1 = host.path().join("usr/share/man/man1");
    assert_eq!(names(pages.path()), names(&man1));

    let mut documented: Vec<String> = files(host.path())
        .into_iter()
        .filter(|name| !AS_IS.iter().any(|(_, to)| name.starts_with(to)))
        .filter(|name| !name.starts_with("usr/share/man/man1/stoke-"))
        // It is made where there are interfaces and a Python.
        .filter(|name| !name.ends_with("/io.stoked.Stoked1.5"))
        .collect();
    for name in &mut documented {
        let mode = fs::metadata(host.path().join(&name))
            .unwrap()
            .permissions()
            .mode();
        name.insert_str(0, &format!("{:o} ", mode & 0o7777));
    }
    insta::assert_snapshot!(documented.join("\n"));
}

#[test]
fn uninstalling_leaves_nothing() {
    let host = draft();
    install(host.path());
    let theirs = host.path().join("usr/share/stoked/adapters.d/theirs.toml");
    fs::write(&theirs, "").unwrap();
    let places = [("DESTDIR", host.path()), ("PREFIX", Path::new("/usr"))];
    let said = make("uninstall", &places);
    assert_eq!(said.status, Some(0), "{said:#?}");
    assert_eq!(
        files(host.path()),
        ["usr/share/stoked/adapters.d/theirs.toml"]
    );
    fs::remove_file(&theirs).unwrap();
    let said = make("uninstall", &places);
    assert_eq!(said.status, Some(0), "{said:#?}");
    assert_eq!(files(host.path()), [""; 0]);
    for own in [
        "usr/libexec/stoked",
        "usr/share/stoked",
        "usr/share/doc/stoked",
        "etc/stoked",
    ] {
        assert!(!host.path().join(own).exists(), "{own} is still there");
    }
}

#[test]
fn a_configuration_that_was_edited_is_kept() {
    let host = draft();
    let file = host.path().join("etc/stoked/stoked.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "jobs.stop_signal = \"INT\"\n").unwrap();
    install(host.path());
    let said = make(
        "uninstall",
        &[("DESTDIR", host.path()), ("PREFIX", Path::new("/usr"))],
    );
    assert!(said.error.contains("was edited and stays"), "{said:#?}");
    assert_eq!(files(host.path()), ["etc/stoked/stoked.toml"]);
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "jobs.stop_signal = \"INT\"\n"
    );
}

#[test]
fn the_units_name_the_daemon_where_it_is() {
    let host = draft();
    let said = make(
        "install",
        &[("DESTDIR", host.path()), ("PREFIX", Path::new("/opt/s"))],
    );
    assert_eq!(said.status, Some(0), "{said:#?}");
    let mut seen = 0;
    for name in files(&host.path().join("opt/s/lib/systemd")) {
        let unit = fs::read_to_string(host.path().join("opt/s/lib/systemd").join(&name)).unwrap();
        assert!(!unit.contains("/usr/bin/stoked"), "{name}\n{unit}");
        seen += unit.matches("ExecStart=/opt/s/bin/stoked ").count();
    }
    assert_eq!(seen, 2, "one service of the system and one of users");
    assert!(host.path().join("opt/s/bin/stoked").is_file());
}

#[test]
fn what_cannot_be_installed_says_why_and_changes_nothing() {
    let host = draft();
    let none = draft();
    let mut make = Command::new("packaging/install");
    make.arg("put")
        .env("BINARIES", none.path())
        .env("DESTDIR", host.path());
    let said = crate::tools::run(&mut make);
    assert_eq!(said.status, Some(1), "{said:#?}");
    assert!(said.error.contains("run 'make build' first"), "{said:#?}");
    assert!(
        said.error.contains(none.path().to_str().unwrap()),
        "{said:#?}"
    );

    let mut make = Command::new("packaging/install");
    make.arg("put")
        .env("BINARIES", binaries())
        .env("DESTDIR", host.path())
        .env("PREFIX", "usr");
    let said = crate::tools::run(&mut make);
    assert_eq!(said.status, Some(1), "{said:#?}");
    assert!(said.error.contains("not 'usr'"), "{said:#?}");
    assert_eq!(files(host.path()), [""; 0]);
}
