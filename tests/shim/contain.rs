//! Containment: what a job forks is ended, frozen and found, in both kinds.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use stoked::contain::{Cgroup, Containment, ProcessId, Tree, identity};
use stoked::wire::shim::{ContainmentKind, ContainmentSpec, FromShim, Started, ToShim};

use crate::daemon::{Attempt, Daemon, PATIENCE, Shim};

/// A job that forks a daemon the old way (its own session, parent gone), which says its pid, and
/// that then goes on with `then`; `$GO` is a FIFO to wait on.
fn daemoniser(then: &str) -> Attempt {
    let mut attempt = Attempt::shell(&format!(
        "(setsid sh -c 'sh -c \"echo \\$\\$ > $PIDS; exec sleep 1000\" & ' &) ; {then}"
    ));
    for name in ["PIDS", "GO"] {
        let path = attempt.fifo(name);
        let entry = (name.into(), path.as_os_str().into());
        attempt.record.env.push(entry);
    }
    attempt
}

/// The daemon, once the shell that forked it is gone: a group that is stopped in the middle of
/// that would get SIGHUP from the kernel.
fn daemon_of(attempt: &Attempt, shim: &Shim) -> ProcessId {
    let mut text = String::new();
    fs::File::open(attempt.path("PIDS"))
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    let pid: u32 = text.trim().parse().unwrap();
    while field_of(pid, 1) != shim.child.id().to_string() {
        std::thread::yield_now();
    }
    identity::of_pid(pid).unwrap()
}

/// A field of a process's stat, counted from the state.
fn field_of(pid: u32, index: usize) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(index).unwrap().to_owned()
}

/// A stop signal takes effect when its receiver is next scheduled.
fn await_stopped(pid: u32) {
    while field_of(pid, 0) != "T" {
        std::thread::yield_now();
    }
}

fn in_both(make: impl Fn() -> Attempt, check: impl Fn(&Attempt)) {
    check(&make());
    if let Some(attempt) = make().in_cgroup() {
        check(&attempt);
    }
}

fn cgroup_of(attempt: &Attempt) -> Option<PathBuf> {
    match &attempt.record.containment {
        ContainmentSpec::Cgroup { parent, name } => {
            Some(Cgroup::in_parent(parent, name).dir().to_owned())
        }
        ContainmentSpec::Tree | ContainmentSpec::Service => None,
    }
}

fn assert_kind(attempt: &Attempt, started: &Started) {
    let wanted = match attempt.record.containment {
        ContainmentSpec::Tree => ContainmentKind::Tree,
        ContainmentSpec::Cgroup { .. } => ContainmentKind::Cgroup,
        ContainmentSpec::Service => ContainmentKind::Service,
    };
    assert_eq!(started.containment, wanted, "{started:?}");
}

fn see_off(attempt: &Attempt, shim: &mut Shim, daemon: &mut Daemon) {
    daemon.send(&ToShim::AckExit);
    shim.ends();
    if let Some(dir) = cgroup_of(attempt) {
        assert!(!dir.exists(), "{} is left", dir.display());
    }
}

#[test]
fn a_kill_ends_daemons_too() {
    in_both(
        || daemoniser("sleep 1000"),
        |attempt| {
            let (mut shim, mut daemon, started) = attempt.start();
            assert_kind(attempt, &started);
            let stray = daemon_of(attempt, &shim);
            assert!(identity::is_alive(&stray));
            daemon.send(&ToShim::Kill);
            assert_eq!(daemon.exited().signal, Some(9));
            assert!(!identity::is_alive(&stray));
            see_off(attempt, &mut shim, &mut daemon);
        },
    );
}

#[test]
fn what_a_job_leaves_behind_is_ended_and_counted() {
    in_both(
        || daemoniser("cat \"$GO\"; exit 3"),
        |attempt| {
            let (mut shim, mut daemon, _) = attempt.start();
            let stray = daemon_of(attempt, &shim);
            fs::write(attempt.path("GO"), "").unwrap();
            let record = daemon.exited();
            assert_eq!(record.code, Some(3));
            assert_eq!((record.killed_leftovers, record.survivors), (1, 0));
            assert!(!identity::is_alive(&stray));
            see_off(attempt, &mut shim, &mut daemon);
        },
    );
}

#[test]
fn a_frozen_job_stands_still_until_it_is_thawed() {
    in_both(
        || daemoniser("read go < \"$GO\"; exit 3"),
        |attempt| {
            let (mut shim, mut daemon, started) = attempt.start();
            let stray = daemon_of(attempt, &shim);
            daemon.send(&ToShim::Freeze);
            daemon.sees(&FromShim::Frozen {});
            match cgroup_of(attempt) {
                Some(dir) => {
                    let events = fs::read_to_string(dir.join("cgroup.events")).unwrap();
                    assert!(events.contains("frozen 1"), "{events}");
                }
                None => {
                    for pid in [started.main.pid, stray.pid] {
                        await_stopped(pid);
                    }
                }
            }
            // Who comes meanwhile is told.
            let mut other = attempt.adopt();
            other.sees(&FromShim::Frozen {});
            other.send(&ToShim::Thaw);
            other.sees(&FromShim::Thawed {});
            fs::write(attempt.path("GO"), "").unwrap();
            assert_eq!(other.exited().code, Some(3));
            see_off(attempt, &mut shim, &mut other);
        },
    );
}

#[test]
fn a_frozen_job_can_be_killed() {
    in_both(
        || daemoniser("sleep 1000"),
        |attempt| {
            let (mut shim, mut daemon, _) = attempt.start();
            let stray = daemon_of(attempt, &shim);
            daemon.send(&ToShim::Freeze);
            daemon.sees(&FromShim::Frozen {});
            daemon.send(&ToShim::Kill);
            assert_eq!(daemon.exited().signal, Some(9));
            assert!(!identity::is_alive(&stray));
            see_off(attempt, &mut shim, &mut daemon);
        },
    );
}

#[test]
fn a_killed_shim_leaves_nothing_that_cannot_be_found() {
    in_both(
        || daemoniser("sleep 1000"),
        |attempt| {
            let (mut shim, _daemon, started) = attempt.start();
            let stray = daemon_of(attempt, &shim);
            let shim_id = identity::of_pid(shim.child.id()).unwrap();
            shim.child.kill().unwrap();
            shim.child.wait().unwrap();
            let main: ProcessId = started.main.into();
            assert!(identity::is_alive(&main) && identity::is_alive(&stray));
            assert!(attempt.exit_file().is_none());
            let containment = match cgroup_of(attempt) {
                Some(dir) => Containment::Cgroup(Cgroup::at(dir)),
                None => {
                    let token = &attempt.record.token;
                    Containment::Tree(Tree::of_attempt(Some(shim_id), token, Some(main)))
                }
            };
            // The shell has forked `sleep`, so it is three.
            assert!(containment.kill(PATIENCE).unwrap() >= 2);
            assert!(containment.is_empty().unwrap());
            assert!(!identity::is_alive(&main) && !identity::is_alive(&stray));
            if let Containment::Cgroup(cgroup) = &containment {
                cgroup.remove(PATIENCE).unwrap();
            }
        },
    );
}

#[test]
fn orphans_that_end_are_reaped_while_the_job_runs() {
    let attempt = daemoniser("cat \"$GO\"");
    let (mut shim, mut daemon, _) = attempt.start();
    let stray = daemon_of(&attempt, &shim);
    assert!(identity::signal(&stray, rustix::process::Signal::KILL).unwrap());
    // Only its reaping makes the entry in /proc go away.
    while PathBuf::from(format!("/proc/{}", stray.pid)).exists() {
        std::thread::yield_now();
    }
    fs::write(attempt.path("GO"), "").unwrap();
    assert_eq!(daemon.exited().killed_leftovers, 0);
    see_off(&attempt, &mut shim, &mut daemon);
}

#[test]
fn a_fork_bomb_is_ended() {
    // Bounded, so that a shim that fails this test does not take the machine along: each process
    // forks two that live on, until 200 are there.
    in_both(
        || {
            Attempt::shell(
                "f() { [ $1 -gt 6 ] && exec sleep 1000; f $(($1+1)) & f $(($1+1)) & wait; }; \
                 f 0",
            )
        },
        |attempt| {
            let (mut shim, mut daemon, _) = attempt.start();
            daemon.send(&ToShim::Kill);
            let record = daemon.exited();
            assert_eq!((record.signal, record.survivors), (Some(9), 0));
            see_off(attempt, &mut shim, &mut daemon);
        },
    );
}
