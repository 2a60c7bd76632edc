//! Starting: exit codes, signals, identity of the environment, and every way a start can fail.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use stoked::wire::shim::{
    Bytes, ContainmentKind, FromShim, SpawnErrorKind, Stdin, ToShim, UserSpec,
};

use crate::daemon::Attempt;

fn fails(attempt: &Attempt) -> (SpawnErrorKind, String) {
    let (mut shim, mut daemon) = attempt.launch();
    let error = daemon.refused();
    let written = attempt.exit_file().unwrap();
    assert_eq!(written.spawn_error.as_ref(), Some(&error));
    assert_eq!((written.main, written.code), (None, None));
    daemon.send(&ToShim::AckExit);
    shim.ends();
    assert!(!attempt.dir().exists());
    (error.error, error.message)
}

#[test]
fn an_exit_code_is_reported() {
    let attempt = Attempt::shell("exit 7");
    let (mut shim, mut daemon, started) = attempt.start();
    let record = daemon.exited();
    assert_eq!((record.code, record.signal), (Some(7), None));
    assert_eq!((record.job, record.attempt), (42, 2));
    assert_eq!(record.main, Some(started.main));
    assert_eq!(record.started, Some(started.at));
    assert!(record.ended.boot_ms >= started.at.boot_ms);
    assert!(record.max_rss_bytes > 0);
    assert_eq!((record.killed_leftovers, record.survivors), (0, 0));
    daemon.send(&ToShim::AckExit);
    shim.ends();
}

#[test]
fn a_death_by_signal_is_reported() {
    let record = Attempt::shell("kill -TERM $$").run();
    assert_eq!((record.code, record.signal), (None, Some(15)));
}

#[test]
fn the_hello_comes_first_and_says_who() {
    let attempt = Attempt::new(&["true"]);
    let (mut shim, mut daemon) = attempt.launch();
    let Some(FromShim::Hello(hello)) = daemon.next() else {
        panic!("no hello");
    };
    assert_eq!(hello.shim.pid, shim.child.id());
    assert_eq!((hello.job, hello.attempt), (42, 2));
    assert_eq!(hello.meta, serde_json::json!({"name": "test"}));
    daemon.exited();
    daemon.send(&ToShim::AckExit);
    shim.ends();
}

#[test]
fn without_a_launch_nothing_happens() {
    let attempt = Attempt::new(&["true"]);
    let (mut shim, mut daemon) = attempt.spawn_idle();
    daemon.send(&ToShim::Hello { version: 9 });
    drop(daemon);
    shim.ends();
    assert_eq!(fs::read_dir(attempt.dir()).unwrap().count(), 0);
}

#[test]
fn a_launch_that_is_not_understood_is_refused() {
    let attempt = Attempt::new(&["true"]);
    let (mut shim, mut daemon) = attempt.spawn_idle();
    use std::io::Write;
    daemon
        .stream
        .write_all(b"{\"type\":\"launch\",\"job\":\"x\"}\n")
        .unwrap();
    let error = daemon.until(|frame| match frame {
        FromShim::SpawnFailed(error) => Some(error.clone()),
        _ => None,
    });
    assert_eq!(error.error, SpawnErrorKind::BadRequest);
    shim.ends();
}

#[test]
fn a_missing_attempt_directory_starts_nothing() {
    let attempt = Attempt::new(&["true"]);
    fs::remove_dir(attempt.dir()).unwrap();
    let (mut shim, mut daemon) = attempt.launch();
    let error = daemon.until(|frame| match frame {
        FromShim::SpawnFailed(error) => Some(error.clone()),
        _ => None,
    });
    assert_eq!(error.step, "claim");
    shim.ends();
}

#[test]
fn failures_are_told_apart() {
    let (kind, message) = fails(&Attempt::new(&["no-such-command-anywhere"]));
    assert_eq!(kind, SpawnErrorKind::CommandMissing);
    assert!(message.contains("no-such-command-anywhere"), "{message}");
    let (kind, _) = fails(&Attempt::new(&["./no-such-file"]));
    assert_eq!(kind, SpawnErrorKind::CommandMissing);

    let mut attempt = Attempt::new(&["true"]);
    attempt.record.cwd = "/no/such/dir".into();
    let (kind, message) = fails(&attempt);
    assert_eq!(kind, SpawnErrorKind::Cwd);
    assert!(message.contains("/no/such/dir"), "{message}");

    let mut attempt = Attempt::new(&["true"]);
    attempt.record.stdin = Stdin::File("/no/such/input".into());
    assert_eq!(fails(&attempt).0, SpawnErrorKind::Stdin);
    let mut attempt = Attempt::new(&["true"]);
    attempt.record.stdin = Stdin::File("/".into());
    assert_eq!(fails(&attempt).0, SpawnErrorKind::Stdin);

    let mut attempt = Attempt::new(&["true"]);
    attempt.record.env.push(("a=b".into(), "c".into()));
    assert_eq!(fails(&attempt).0, SpawnErrorKind::BadRequest);
    let mut attempt = Attempt::new(&["true"]);
    attempt.record.command.push(Bytes(b"a\0b".to_vec()));
    assert_eq!(fails(&attempt).0, SpawnErrorKind::BadRequest);
    let mut attempt = Attempt::new(&[]);
    attempt.record.command.clear();
    assert_eq!(fails(&attempt).0, SpawnErrorKind::BadRequest);
}

#[test]
fn files_that_cannot_be_executed_are_told_apart() {
    let mut attempt = Attempt::new(&["true"]);
    let file = attempt.path("file");
    attempt.record.command = vec![Bytes::from(file.as_os_str())];
    fs::write(&file, "#!/bin/sh\nexit 3\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let (kind, message) = fails(&attempt);
    assert_eq!(kind, SpawnErrorKind::NotExecutable);
    assert!(message.contains("chmod +x"), "{message}");

    let again = |content: &str| {
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(attempt.dir()).unwrap();
    };
    again("#!/no/interpreter -x\n");
    let (kind, message) = fails(&attempt);
    assert_eq!(kind, SpawnErrorKind::CommandMissing);
    assert!(message.contains("/no/interpreter"), "{message}");
    again("exit 3\n");
    assert_eq!(attempt.run().code, Some(3));
}

#[test]
fn two_megabytes_of_environment_pass_and_more_is_explained() {
    let mut attempt = Attempt::shell("env | wc -c; printf %s \"$V19\" | wc -c");
    let value = "x".repeat(99_000);
    for at in 0..20 {
        let name = format!("V{at}");
        let entry = (name.as_str().into(), value.as_str().into());
        attempt.record.env.push(entry);
    }
    assert_eq!(attempt.run().code, Some(0));
    let text = attempt.text();
    let sizes: Vec<usize> = text
        .lines()
        .map(|line| line.trim().parse().unwrap())
        .collect();
    assert!(sizes[0] > 1_980_000, "{sizes:?}");
    assert_eq!(sizes[1], 99_000);

    fs::create_dir(attempt.dir()).unwrap();
    let huge = "y".repeat(10_000_000);
    attempt.record.command.push(huge.as_str().into());
    let (kind, message) = fails(&attempt);
    assert_eq!(kind, SpawnErrorKind::TooBig);
    assert!(message.contains("bytes"), "{message}");
}

#[test]
fn arguments_need_not_be_text() {
    let mut attempt = Attempt::shell("printf %s \"$1$X\"; printf %s \"$0\"");
    let odd = OsStr::from_bytes(b"\xff\xfe\n");
    attempt.record.command.push("name".into());
    attempt.record.command.push(odd.into());
    attempt
        .record
        .env
        .push(("X".into(), Bytes(b"\x80".to_vec())));
    assert_eq!(attempt.run().code, Some(0));
    assert_eq!(attempt.output("stdout"), b"\xff\xfe\n\x80name");
}

#[test]
fn the_environment_is_exactly_what_was_sent() {
    let mut attempt = Attempt::new(&["env"]);
    attempt.record.env.push(("A".into(), "b".into()));
    attempt.run();
    let text = attempt.text();
    let mut names: Vec<_> = text
        .lines()
        .map(|line| line.split('=').next().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["A", "PATH", "STOKED_ATTEMPT_TOKEN"]);
}

#[test]
fn no_signal_is_blocked_or_ignored() {
    let attempt = Attempt::new(&["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
    attempt.run();
    let text = attempt.text();
    let masks: Vec<u64> = text
        .lines()
        .map(|line| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap())
        .collect();
    // 32 and 33 belong to the C library, whose posix_spawn leaves them ignored.
    let internal = 0b11 << 31;
    assert_eq!([masks[0], masks[1] & !internal], [0, 0], "{text}");
}

#[test]
fn the_process_starts_clean() {
    let mut attempt = Attempt::shell(
        "ls -l /proc/self/fd | grep -c socket; cut -d ' ' -f 1,5,6 /proc/$$/stat; umask; pwd",
    );
    attempt.record.umask = Some(0o077);
    attempt.record.cwd = "/tmp".into();
    attempt.run();
    let text = attempt.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "0", "a socket of the shim's leaked: {text}");
    let ids: Vec<_> = lines[1].split(' ').collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "no session: {text}");
    assert_eq!(&lines[2..], ["0077", "/tmp"]);
}

#[test]
fn input_comes_from_a_file() {
    let mut attempt = Attempt::new(&["cat"]);
    let input = attempt.path("input");
    fs::write(&input, b"read me\n").unwrap();
    attempt.record.stdin = Stdin::File(Bytes::from(input.as_os_str()));
    attempt.run();
    assert_eq!(attempt.text(), "read me\n");
}

#[test]
fn another_user_is_taken_on_whole() {
    let mut attempt = Attempt::shell(
        "id -u; id -g; id -G; echo again > /dev/stdout; cat /proc/self/oom_score_adj; ulimit -Sn",
    );
    let me = rustix::process::getuid();
    if !me.is_root() {
        attempt.record.user = Some(UserSpec {
            uid: 0,
            gid: 0,
            name: "root".to_owned(),
            groups: Vec::new(),
        });
        assert_eq!(fails(&attempt).0, SpawnErrorKind::User);
        return;
    }
    attempt.record.user = Some(UserSpec {
        uid: 65534,
        gid: 65534,
        name: "nobody".to_owned(),
        groups: vec![65534, 12345],
    });
    attempt.record.oom_score_adj = Some(7);
    attempt.record.open_files = Some(77);
    assert_eq!(attempt.run().code, Some(0));
    assert_eq!(attempt.text(), "65534\n65534\n65534 12345\nagain\n7\n77\n");
}

#[test]
fn a_cgroup_that_cannot_be_made_leaves_the_tree() {
    let mut attempt = Attempt::new(&["true"]);
    attempt.record.containment = stoked::wire::shim::ContainmentSpec::Cgroup {
        parent: "/no/such/cgroup".into(),
        name: "x".to_owned(),
    };
    let (mut shim, mut daemon, started) = attempt.start();
    assert_eq!(started.containment, ContainmentKind::Tree);
    assert!(started.cgroup_refused.unwrap().contains("/no/such/cgroup"));
    daemon.exited();
    daemon.send(&ToShim::AckExit);
    shim.ends();
}
