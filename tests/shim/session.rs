//! Sessions of PAM without a service manager, where the tests run as root and the host has a service that asks nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};
use stoked::wire::shim::{FromShim, PamSpec, SpawnErrorKind, ToShim, UserSpec};

use crate::daemon::Attempt;

/// The service of `runuser`, which becomes another user without asking, as we do.
const SERVICE: &str = "runuser";

fn session(service: &str, user: &str) -> PamSpec {
    PamSpec {
        service: service.to_owned(),
        user: user.to_owned(),
        program: env!("CARGO_BIN_EXE_stoked-pam").into(),
    }
}

/// In a session of nobody's, in whatever way its processes are held together; none, said aloud, where there can be none.
fn attempts(script: &str) -> Vec<Attempt> {
    let there = Path::new("/etc/pam.d").join(SERVICE).is_file();
    let nobody = User::from_name("nobody").ok().flatten();
    let (true, true, Some(nobody)) = (Uid::effective().is_root(), there, nobody) else {
        println!("skipped: sessions take root, and a service called {SERVICE}");
        return Vec::new();
    };
    let in_session = |mut attempt: Attempt| {
        attempt.record.user = Some(UserSpec {
            uid: nobody.uid.as_raw(),
            gid: nobody.gid.as_raw(),
            name: "nobody".to_owned(),
            groups: vec![nobody.gid.as_raw(), 4242],
        });
        attempt.record.pam = Some(session(SERVICE, "nobody"));
        attempt.record.open_files = Some(321);
        attempt
    };
    let tree = Attempt::shell(script);
    let cgroup = Attempt::shell(script).in_cgroup();
    [Some(tree), cgroup]
        .into_iter()
        .flatten()
        .map(in_session)
        .collect()
}

/// Whether any process of a session is below a shim.
fn has_keeper(shim: u32) -> bool {
    let children = fs::read_to_string(format!("/proc/{shim}/task/{shim}/children"));
    children.is_ok_and(|children| {
        children.split_whitespace().any(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "stoked-pam")
        })
    })
}

#[test]
fn a_command_in_a_session_is_its_users_and_starts_as_without() {
    let script = "id -u; id -G; ulimit -Sn; exit 6";
    for attempt in attempts(script) {
        let nobody = attempt.record.user.clone().unwrap();
        let record = attempt.run();
        assert_eq!(record.code, Some(6));
        assert_eq!((record.killed_leftovers, record.survivors), (0, 0));
        let wanted = format!("{}\n{} 4242\n321\n", nobody.uid, nobody.gid);
        assert_eq!(attempt.text(), wanted);
    }
}

#[test]
fn what_modules_leave_open_does_not_come_to_the_command() {
    for mut attempt in attempts("[ ! -e /proc/$$/fd/9 ] && echo closed") {
        let keeper = attempt.path("keeper");
        let pam = attempt.record.pam.as_mut().unwrap();
        let script = format!("#!/bin/sh\nexec {} 9</dev/null\n", pam.program.display());
        pam.program.clone_from(&keeper);
        // Another process writes it: while we do, whatever another thread starts would hold it open for writing.
        let written = Command::new("sh")
            .args(["-c", "echo \"$1\" > $0 && chmod +x $0"])
            .arg(&keeper)
            .arg(script)
            .status();
        assert!(written.unwrap().success());
        assert_eq!(attempt.run().code, Some(0));
        assert_eq!(attempt.text(), "closed\n");
    }
}

#[test]
fn what_a_job_leaves_behind_is_ended_and_its_keeper_is_not() {
    // It is in a session of its own, so that nothing but the descent from the shim shows whose it is.
    for attempt in attempts("setsid sleep 1000 > /dev/null 2>&1 & echo up; read it < $GATE; exit 5")
    {
        let mut attempt = attempt;
        let gate = attempt.fifo("gate");
        let user = attempt.record.user.clone().unwrap();
        std::os::unix::fs::chown(&gate, Some(user.uid), None).unwrap();
        open_to_all(&attempt);
        attempt
            .record
            .env
            .push(("GATE".into(), gate.as_os_str().into()));
        let (mut shim, mut daemon, _) = attempt.start();
        assert!(has_keeper(shim.child.id()));
        fs::write(&gate, "on\n").unwrap();
        let record = daemon.exited();
        assert_eq!((record.code, record.killed_leftovers), (Some(5), 1));
        assert!(!has_keeper(shim.child.id()), "the session is still open");
        daemon.send(&ToShim::AckExit);
        shim.ends();
    }
}

/// Another user reaches what is in the directory of the attempt.
fn open_to_all(attempt: &Attempt) {
    use std::os::unix::fs::PermissionsExt;
    let root = attempt.path("");
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_job_is_frozen_and_killed_without_its_keeper() {
    for attempt in attempts("exec sleep 1000") {
        let (mut shim, mut daemon, _) = attempt.start();
        daemon.send(&ToShim::Freeze);
        daemon.sees(&FromShim::Frozen {});
        daemon.send(&ToShim::Kill);
        let record = daemon.exited();
        assert_eq!(record.signal, Some(9));
        assert!(!has_keeper(shim.child.id()), "the session is still open");
        daemon.send(&ToShim::AckExit);
        shim.ends();
    }
}

#[test]
fn a_keeper_goes_with_its_shim() {
    for attempt in attempts("exec sleep 1000") {
        let (mut shim, _daemon, started) = attempt.start();
        let children = format!("/proc/{0}/task/{0}/children", shim.child.id());
        let children = fs::read_to_string(children).unwrap();
        let keeper = children
            .split_whitespace()
            .map(|pid| pid.parse::<i32>().unwrap())
            .find(|pid| pid.unsigned_abs() != started.main.pid)
            .and_then(rustix::process::Pid::from_raw)
            .unwrap();
        let keeper = pidfd_open(keeper, PidfdFlags::empty()).unwrap();
        shim.child.kill().unwrap();
        shim.child.wait().unwrap();
        let mut ended = [PollFd::new(&keeper, PollFlags::IN)];
        let patience = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut ended, Some(&patience)), Ok(1), "it stays behind");
        let main = i32::try_from(started.main.pid).unwrap();
        kill(Pid::from_raw(main), Signal::SIGKILL).unwrap();
    }
}

#[test]
fn a_kill_is_never_too_early() {
    let Some(first) = attempts("exec sleep 1000").into_iter().next() else {
        return;
    };
    for step in 0..60 {
        let mut attempt = Attempt::shell("exec sleep 1000");
        attempt.record.user = first.record.user.clone();
        attempt.record.pam = first.record.pam.clone();
        let (mut shim, mut daemon) = attempt.launch();
        // Into each part of a start in turn.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(500) * step {}
        daemon.send(&ToShim::Kill);
        daemon.until(|frame| match frame {
            FromShim::SpawnFailed(_) => Some(()),
            FromShim::Exited(record) => {
                assert_eq!(record.signal, Some(9));
                Some(())
            }
            _ => None,
        });
        assert!(!has_keeper(shim.child.id()), "the session is still open");
        daemon.send(&ToShim::AckExit);
        shim.ends();
    }
}

fn fails(attempt: &Attempt) -> (SpawnErrorKind, String) {
    let (mut shim, mut daemon) = attempt.launch();
    let error = daemon.refused();
    assert!(!has_keeper(shim.child.id()));
    daemon.send(&ToShim::AckExit);
    shim.ends();
    (error.error, error.message)
}

#[test]
fn a_session_that_cannot_be_had_is_a_start_that_failed() {
    let mut attempt = Attempt::new(&["true"]);
    attempt.record.pam = Some(session("stoked-no-such", "root"));
    let (kind, message) = fails(&attempt);
    assert_eq!(kind, SpawnErrorKind::Pam);
    assert!(message.contains("/etc/pam.d/stoked-no-such"), "{message}");

    let mut attempt = Attempt::new(&["true"]);
    let mut pam = session(SERVICE, "root");
    pam.program = "/no/such/stoked-pam".into();
    attempt.record.pam = Some(pam);
    let (kind, message) = fails(&attempt);
    assert_eq!(kind, SpawnErrorKind::Pam);
    assert!(message.contains("/no/such/stoked-pam"), "{message}");

    // A program that is no keeper ends without a word.
    let mut attempt = Attempt::new(&["true"]);
    let mut pam = session(SERVICE, "root");
    pam.program = "/bin/true".into();
    attempt.record.pam = Some(pam);
    let (kind, message) = fails(&attempt);
    assert_eq!(kind, SpawnErrorKind::Pam);
    assert!(message.contains("before it had opened"), "{message}");
}

#[test]
fn a_command_that_is_missing_closes_the_session_too() {
    for mut attempt in attempts("") {
        attempt.record.command = vec!["/no/such/command".into()];
        let (kind, message) = fails(&attempt);
        assert_eq!(kind, SpawnErrorKind::CommandMissing, "{message}");
    }
}
