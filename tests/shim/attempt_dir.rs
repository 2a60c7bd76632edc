//! The attempt directory: at most one start, no lost end, adoption.

use std::fs;
use std::os::unix::fs::MetadataExt;

use stoked::contain::socket::connect_control;
use stoked::wire::shim::{Claim, FromShim, ShimPhase, SignalTarget, ToShim};

use crate::daemon::{Attempt, Daemon};

#[test]
fn of_two_shims_one_starts_the_command() {
    let mut attempt = Attempt::shell("echo started >> \"$OUT\"");
    let out = attempt.path("starts");
    let entry = ("OUT".into(), out.as_os_str().into());
    attempt.record.env.push(entry);
    let (mut first, mut one) = attempt.spawn_idle();
    let (mut second, mut two) = attempt.spawn_idle();
    let launch = ToShim::Launch(Box::new(attempt.record.clone()));
    one.send(&launch);
    two.send(&launch);
    let ends = |daemon: &mut Daemon| {
        daemon.until(|frame| match frame {
            FromShim::Claimed {} => Some(false),
            FromShim::Exited(_) => Some(true),
            _ => None,
        })
    };
    let ran = [ends(&mut one), ends(&mut two)];
    assert_eq!(ran.iter().filter(|ran| **ran).count(), 1, "{ran:?}");
    assert_eq!(fs::read_to_string(&out).unwrap(), "started\n");
    let winner = if ran[0] { &mut one } else { &mut two };
    winner.send(&ToShim::AckExit);
    first.ends();
    second.ends();
}

/// In a container the daemon may see another one than the shim.
#[test]
fn the_boot_is_that_of_the_daemon_where_it_says_which() {
    let mut attempt = Attempt::new(&["true"]);
    attempt.record.boot_id = Some("of the daemon".to_owned());
    let (_shim, mut daemon, _) = attempt.start();
    let record = daemon.exited();
    let claim = fs::read(attempt.dir().join("claim")).unwrap();
    let claim: Claim = serde_json::from_slice(&claim).unwrap();
    assert_eq!(claim.boot_id, "of the daemon");
    assert_eq!(record.boot_id, "of the daemon");
    daemon.send(&ToShim::AckExit);
}

#[test]
fn the_claim_says_who_and_what() {
    let attempt = Attempt::new(&["sleep", "1000"]);
    let (shim, mut daemon, _) = attempt.start();
    let claim: Claim =
        serde_json::from_slice(&fs::read(attempt.dir().join("claim")).unwrap()).unwrap();
    assert_eq!(claim.shim.pid, shim.child.id());
    assert_eq!(claim.boot_id, stoked::contain::identity::boot_id().unwrap());
    assert_eq!(claim.token, attempt.record.token);
    assert_eq!(claim.meta, attempt.record.meta);
    let mode = fs::metadata(attempt.dir().join("claim")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    daemon.send(&ToShim::Kill);
    daemon.exited();
    daemon.send(&ToShim::AckExit);
}

#[test]
fn without_a_daemon_the_end_is_on_disk() {
    let mut attempt = Attempt::shell("cat \"$GO\"; exit 9");
    let go = attempt.fifo("go");
    let entry = ("GO".into(), go.as_os_str().into());
    attempt.record.env.push(entry);
    let (mut shim, daemon, started) = attempt.start();
    drop(daemon);
    fs::write(&go, "bye").unwrap();
    shim.ends();
    let record = attempt.exit_file().unwrap();
    assert_eq!((record.code, record.main), (Some(9), Some(started.main)));
    assert_eq!(attempt.text(), "bye");
    // Nobody listens any more, and the claim still stands against a second start.
    assert!(connect_control(attempt.dir()).is_err());
    let (mut late, mut daemon) = attempt.launch();
    assert_eq!(daemon.next(), Some(FromShim::Claimed {}));
    late.ends();
}

#[test]
fn a_daemon_that_dies_before_the_acknowledgement_loses_nothing() {
    let attempt = Attempt::shell("exit 4");
    let (mut shim, mut daemon) = attempt.launch();
    daemon.exited();
    assert_eq!(attempt.exit_file().unwrap().code, Some(4));
    drop(daemon);
    shim.ends();
    assert_eq!(attempt.exit_file().unwrap().code, Some(4));
}

#[test]
fn a_slow_daemon_is_waited_for() {
    let attempt = Attempt::shell("exit 4");
    let (mut shim, mut daemon) = attempt.launch();
    daemon.exited();
    // Another one comes, gets the same end, and may acknowledge it as the newest.
    let mut other = attempt.adopt();
    let Some(FromShim::Hello(hello)) = other.next() else {
        panic!("no hello");
    };
    assert_eq!(hello.phase, ShimPhase::Exited);
    assert_eq!(other.exited().code, Some(4));
    daemon.send(&ToShim::AckExit);
    other.send(&ToShim::Hello { version: 1 });
    other.send(&ToShim::AckExit);
    shim.ends();
    assert!(!attempt.dir().exists());
}

#[test]
fn a_running_attempt_is_adopted() {
    let attempt = Attempt::new(&["sleep", "1000"]);
    let (mut shim, daemon, started) = attempt.start();
    drop(daemon);
    let mut adopter = attempt.adopt();
    let Some(FromShim::Hello(hello)) = adopter.next() else {
        panic!("no hello");
    };
    assert_eq!(hello.phase, ShimPhase::Running);
    assert_eq!(hello.main, Some(started.main));
    assert_eq!(adopter.started(), started);
    adopter.send(&ToShim::Signal {
        signal: 15,
        to: SignalTarget::Main,
    });
    assert_eq!(adopter.exited().signal, Some(15));
    adopter.send(&ToShim::AckExit);
    shim.ends();
}

#[test]
fn only_the_newest_connection_commands() {
    let attempt = Attempt::new(&["sleep", "1000"]);
    let (mut shim, mut old, _) = attempt.start();
    let mut new = attempt.adopt();
    new.started();
    old.send(&ToShim::Kill);
    new.send(&ToShim::Signal {
        signal: 10,
        to: SignalTarget::Group,
    });
    assert_eq!(new.exited().signal, Some(10));
    assert_eq!(old.exited().signal, Some(10));
    new.send(&ToShim::AckExit);
    shim.ends();
}

#[test]
fn a_frame_sent_with_the_launch_is_obeyed() {
    let attempt = Attempt::new(&["sleep", "1000"]);
    let (mut shim, mut daemon) = attempt.spawn_idle();
    let mut both =
        stoked::wire::shim::encode(&ToShim::Launch(Box::new(attempt.record.clone()))).unwrap();
    both.extend(stoked::wire::shim::encode(&ToShim::Kill).unwrap());
    std::io::Write::write_all(&mut daemon.stream, &both).unwrap();
    daemon.until(|frame| {
        matches!(frame, FromShim::SpawnFailed(_) | FromShim::Exited(_)).then_some(())
    });
    daemon.send(&ToShim::AckExit);
    shim.ends();
}

#[test]
fn a_shim_told_to_terminate_stays_with_its_job() {
    let attempt = Attempt::new(&["sleep", "1000"]);
    let (mut shim, mut daemon, _) = attempt.start();
    let me = stoked::contain::identity::of_pid(shim.child.id()).unwrap();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::HUP] {
        assert!(stoked::contain::identity::signal(&me, signal).unwrap());
    }
    daemon.send(&ToShim::Signal {
        signal: 2,
        to: SignalTarget::All,
    });
    assert_eq!(daemon.exited().signal, Some(2));
    daemon.send(&ToShim::AckExit);
    shim.ends();
}
