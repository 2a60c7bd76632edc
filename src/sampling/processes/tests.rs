//! The table, on real processes and on made-up ones.

mod whose;

use super::*;
use crate::model::attempt;
use crate::model::id::JobId;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

mod churn;

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
const OTHER: AttemptId = AttemptId {
    job: JobId(8),
    attempt: 2,
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
    table.forget(ATTEMPT, at(2_500));
    assert_eq!(table.of(ATTEMPT).count(), 0);
    drop(shell.stdin.take());
    shell.wait().unwrap();
    table.refresh(at(3_000));
    assert_eq!(table.holder(shell.id()), Holder::Unknown);
}

/// All that `ps` shows.
fn by_ps() -> BTreeSet<u32> {
    let output = Command::new("ps").args(["-e", "-o", "pid="]).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

#[test]
fn the_table_has_what_ps_shows() {
    let before = by_ps();
    let mut table = Processes::new(&Roots::default(), 10);
    table.refresh(at(1_000));
    let after = by_ps();
    // Whoever is there before and after was there meanwhile.
    let found: BTreeSet<u32> = table.table.iter().map(|it| it.pid).collect();
    let missed: Vec<_> = before
        .intersection(&after)
        .filter(|it| !found.contains(it))
        .collect();
    assert!(missed.is_empty(), "{missed:?}");
    assert!(table.count() >= 2);
    let me = table.table.iter().find(|it| it.pid == std::process::id());
    let me = me.unwrap();
    assert_eq!(me.start, identity(me.pid).start_ticks);
    assert!(me.cpu_ns > 0);
}

#[test]
fn a_process_that_runs_has_moved() {
    let mut table = Processes::new(&Roots::default(), 1_000);
    table.refresh(at(1_000));
    let mut shell = shim_with_two();
    table.refresh(at(2_000));
    let mut host = HostSample::default();
    table.tell(&mut host);
    let count = host.readings.get(Metric::Processes).unwrap();
    assert_eq!(count, table.count() as f64);
    // This process has started another one.
    let own = host.busiest.iter().find(|it| it.pid == std::process::id());
    let own = own.unwrap();
    assert!(own.cpu_percent > 0.0 && own.memory_bytes > 100_000);
    assert!(
        host.busiest
            .is_sorted_by(|one, other| one.cpu_percent >= other.cpu_percent)
    );
    drop(shell.stdin.take());
    shell.wait().unwrap();
}

/// Made-up processes, in a `/proc` of their own.
struct Tree {
    root: tempfile::TempDir,
}

/// One of them.
#[derive(Clone, Copy)]
struct Fake {
    pid: u32,
    parent: u32,
    start: u64,
    cpu_ns: u64,
    name: &'static str,
    cgroup: &'static str,
    environ: &'static str,
}

const FAKE: Fake = Fake {
    pid: 0,
    parent: 1,
    start: 1_000,
    cpu_ns: 5_000,
    name: "sh",
    cgroup: "/user.slice",
    environ: "HOME=/root\0",
};

impl Tree {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn put(&self, fake: &Fake) {
        let dir = self.root.path().join(fake.pid.to_string());
        fs::create_dir_all(&dir).unwrap();
        let Fake {
            pid,
            parent,
            start,
            name,
            ..
        } = fake;
        let stat = format!(
            "{pid} ({name}) S {parent} 1 1 0 -1 0 0 0 0 0 3 2 0 0 20 0 1 0 {start} 1000 25 0\n"
        );
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
        write("stat", &stat);
        write("schedstat", &format!("{} 0 1\n", fake.cpu_ns));
        write(
            "cgroup",
            &format!("1:name=systemd:/x\n0::{}\n", fake.cgroup),
        );
        write("environ", fake.environ);
        write("status", &status(name));
    }

    fn remove(&self, pid: u32) {
        fs::remove_dir_all(self.root.path().join(pid.to_string())).unwrap();
    }

    fn table(&self) -> Processes {
        let roots = Roots {
            proc: self.root.path().to_owned(),
            sys: "/nowhere".into(),
        };
        Processes::new(&roots, 2)
    }
}

/// The whole file of a real process, for another name and user.
fn status(name: &str) -> String {
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let lines = own.lines().map(|line| match line.split_once('\t') {
        Some(("Name:", _)) => format!("Name:\t{name}\n"),
        Some(("Uid:", _)) => "Uid:\t1000\t1001\t1000\t1000\n".to_owned(),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

fn shim(pid: u32, start_ticks: u64) -> Option<attempt::Process> {
    Some(attempt::Process { pid, start_ticks })
}

fn owners(table: &Processes) -> Vec<(u32, Option<AttemptId>)> {
    let all = table.table.iter();
    all.map(|it| (it.pid, it.owner.attempt())).collect()
}

#[test]
fn an_id_that_is_used_again_is_another_process() {
    let tree = Tree::new();
    let first = Fake { pid: 50, ..FAKE };
    tree.put(&first);
    let mut table = tree.table();
    table.refresh(at(1_000));
    let again = Fake {
        start: 2_000,
        cpu_ns: 9_000_000_000,
        name: "new",
        ..first
    };
    // With another inode, as the kernel gives it one.
    tree.put(&Fake { pid: 51, ..FAKE });
    tree.remove(50);
    tree.put(&again);
    table.refresh(at(2_000));
    let found = table.table.iter().find(|it| it.pid == 50).unwrap();
    if found.inode != table.table[1].inode && found.start == 2_000 {
        assert_eq!(found.grown_ns, 0);
    }
    // Less CPU time than before is another process as well.
    tree.put(&Fake {
        start: 3_000,
        cpu_ns: 1,
        ..again
    });
    table.refresh(at(3_000));
    let found = table.table.iter().find(|it| it.pid == 50).unwrap();
    assert_eq!((found.start, found.grown_ns), (3_000, 0));
}

#[test]
fn the_busiest_are_told_with_name_and_user() {
    let tree = Tree::new();
    let fakes = [60, 61, 62, 63].map(|pid| Fake { pid, ..FAKE });
    fakes.iter().for_each(|fake| tree.put(fake));
    let mut table = tree.table();
    table.refresh(at(1_000));
    let mut host = HostSample::default();
    table.tell(&mut host);
    assert_eq!(host.busiest, []);
    for (fake, grown_ms) in fakes.iter().zip([0, 1_500, 20, 400]) {
        tree.put(&Fake {
            cpu_ns: fake.cpu_ns + grown_ms * 1_000_000,
            name: "train\u{7}",
            ..*fake
        });
    }
    table.refresh(at(3_000));
    table.tell(&mut host);
    let told: Vec<_> = host
        .busiest
        .iter()
        .map(|it| (it.pid, it.cpu_percent))
        .collect();
    assert_eq!(told, [(61, 75.0), (63, 20.0)]);
    let first = &host.busiest[0];
    assert_eq!((&*first.name, first.uid), ("train\u{fffd}", 1001));
    assert_eq!(first.memory_bytes, 25 * rustix::param::page_size() as u64);
}

#[test]
fn what_is_hidden_is_unknown_and_no_error() {
    let tree = Tree::new();
    let dir = tree.root.path().join("70");
    // As unreadable as another user's, for root as well.
    fs::create_dir_all(dir.join("stat")).unwrap();
    fs::create_dir_all(dir.join("status")).unwrap();
    fs::create_dir_all(tree.root.path().join("71")).unwrap();
    fs::write(tree.root.path().join("uptime"), "1 1\n").unwrap();
    let mut table = tree.table();
    for boot_ms in [1_000, 2_000] {
        table.refresh(at(boot_ms));
        assert_eq!(owners(&table), [(70, None)]);
    }
    assert_eq!(table.holder(70), Holder::Unknown);
    let mut nowhere = Processes::new(
        &Roots {
            proc: "/no/such/proc".into(),
            sys: "/sys".into(),
        },
        1,
    );
    nowhere.refresh(at(1_000));
    assert_eq!(nowhere.count(), 0);
}
