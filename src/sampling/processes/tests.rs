//! The table, on real processes.

use super::*;
use crate::model::attempt;
use crate::model::id::JobId;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

fn at(boot_ms: u64) -> Stamp {
    Stamp {
        wall_ms: 0,
        boot_ms,
    }
}

const ATTEMPT: AttemptId = AttemptId {
    job: JobId(7),
    attempt: 1,
};

/// A shell that stands for a shim, with two children, once both are there.
fn shim_with_two() -> Child {
    let mut shell = Command::new("sh")
        .args(["-c", "cat <&0 & cat; wait"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut byte = [0];
    shell.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    shell
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut byte)
        .unwrap();
    shell
}

fn identity(pid: u32) -> attempt::Process {
    let id = crate::contain::identity::of_pid(pid).unwrap();
    attempt::Process {
        pid: id.pid,
        start_ticks: id.start_ticks,
    }
}

#[test]
fn processes_below_a_shim_are_the_jobs() {
    let mut shell = shim_with_two();
    let mut table = Processes::new(&Roots::default(), 10);
    table.refresh(at(1_000));
    let watch = Watch {
        attempt: ATTEMPT,
        shim: Some(identity(shell.id())),
        ..Watch::default()
    };
    table.watch(&watch);
    table.refresh(at(2_000));
    let own: Vec<u32> = table.of(ATTEMPT).map(|it| it.pid).collect();
    assert!(!own.is_empty() && !own.contains(&shell.id()), "{own:?}");
    assert_eq!(table.shim_of(ATTEMPT).unwrap().pid, shell.id());
    assert_eq!(table.holder(own[0]), Holder::Job(ATTEMPT));
    let Holder::Foreign { uid, .. } = table.holder(std::process::id()) else {
        panic!("this process is no job's");
    };
    assert_eq!(uid, rustix::process::geteuid().as_raw());
    assert_eq!(table.holder(u32::MAX), Holder::Unknown);
    table.forget(ATTEMPT);
    assert_eq!(table.of(ATTEMPT).count(), 0);
    drop(shell.stdin.take());
    shell.wait().unwrap();
}
