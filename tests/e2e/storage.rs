//! Disks that are full or read-only, and databases that are damaged: what runs goes on, and nothing is guessed.

use crate::ends::noise;
use crate::harness::Host;
use crate::http::PATIENCE;
use crate::stream::Events;
use rustix::event::{Timespec, poll};
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Waits for what nobody announces: recovery is not an event while there is nowhere to store one.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let patience_ends = Instant::now() + PATIENCE;
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    while !is_so() {
        assert!(Instant::now() < patience_ends, "{what} does not happen");
        let _nothing = poll(&mut [], Some(&moment));
    }
}

/// Takes every byte that is left.
pub(crate) fn fill(path: &Path) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    let mut block = vec![7; 1 << 16];
    while !block.is_empty() {
        match file.write(&block) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => block.truncate(block.len() / 2),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_full_disk_harms_no_running_job_and_heals_by_itself() {
    let mut host = Host::prepare("[store]\nballast = \"1MiB\"\n");
    if !host.mount_state("24m") {
        return;
    }
    host.boot();
    let gates = ["one", "two", "three"].map(|name| host.gate(name));
    let ids = [(21, "one"), (22, "two"), (0, "three")].map(|(code, gate)| {
        host.submit(json!({
            "command": ["sh", "-c", format!("read x < $W/{gate}; echo done; exit {code}")],
            "group": "default",
        }))
    });
    // As many as there are places run; the others wait.
    let running: Vec<usize> = (0..3)
        .filter(|n| host.job(ids[*n])["state"] != "queued")
        .collect();
    for n in &running {
        host.reaches(ids[*n], "running");
    }
    let filler = host.state_dir().join("filler");
    fill(&filler);
    let mut accepted = 0;
    let problem = loop {
        let answer = host.post("/v1/jobs", &host.complete(json!({"command": ["true"]})));
        if !answer.is_success() {
            break answer.problem("storage-unavailable");
        }
        accepted += 1;
        fill(&filler);
        assert!(accepted < 1_000, "a full disk takes everything");
    };
    assert_eq!(problem["status"], 507);
    let text = format!("{} {}", problem["detail"], problem["hint"]);
    assert!(
        text.contains("free some space") && text.contains("stoke doctor"),
        "{problem:#}"
    );
    assert_ne!(host.health_of("store")["health"], "healthy");
    assert!(host.stoke(&["ls"]).status.success(), "nothing can be read");
    // Even what was kept in reserve is taken now, and the jobs end.
    fill(&filler);
    gates.iter().for_each(crate::gate::Gate::open);
    let version = host.get("/v1/version");
    fs::remove_file(&filler).unwrap();
    for (id, code) in ids.iter().zip([21, 22, 0]) {
        let job = host.ended(*id);
        assert_eq!(job["exit"]["code"], code, "{job:#}\n{}", host.said());
        assert_eq!(job["attempts"].as_array().unwrap().len(), 1);
    }
    eventually("recovery", || {
        host.health_of("store")["health"] == "healthy"
    });
    assert_eq!(host.get("/v1/version"), version, "another daemon");
    let id = host.sh("exit 6");
    assert_eq!(host.ended(id)["exit"]["code"], 6);
    let jobs = host.get("/v1/jobs?limit=1000")["items"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(
        jobs,
        4 + accepted,
        "a refused job is there, or an accepted one is not"
    );
    for job in host.get("/v1/jobs?limit=1000")["items"].as_array().unwrap() {
        host.ended(job["id"].as_u64().unwrap());
    }
}

#[test]
fn a_daemon_that_dies_on_a_full_disk_comes_back_on_it() {
    let mut host = Host::prepare("[store]\nballast = \"1MiB\"\n");
    if !host.mount_state("24m") {
        return;
    }
    host.boot();
    let go = host.gate("go");
    let id = host.sh("read x < $W/go; exit 33");
    let main = host.main_process(id);
    let filler = host.state_dir().join("filler");
    fill(&filler);
    host.kill9();
    fill(&filler);
    host.boot();
    assert_eq!(host.main_process(id), main);
    host.kill9();
    go.open();
    main.ends();
    host.boot();
    fs::remove_file(&filler).unwrap();
    let job = host.ended(id);
    assert_eq!(
        (&job["exit"]["code"], &job["attempt"]),
        (&json!(33), &json!(1)),
        "{job:#}"
    );
}

#[test]
fn a_read_only_disk_is_named_at_the_start() {
    let mut host = Host::prepare("");
    if !host.mount_state("24m") {
        return;
    }
    host.boot();
    let id = host.sh("exit 4");
    host.ended(id);
    host.stop();
    // The shim of the job may be just leaving.
    host.processes().iter().for_each(|process| process.ends());
    host.remount_state("ro");
    let said = host.try_boot().unwrap_err();
    assert!(
        said.contains("state") && said.to_lowercase().contains("read-only"),
        "{said}"
    );
    host.remount_state("rw");
    host.boot();
    assert_eq!(host.ended(id)["exit"]["code"], 4);
}

#[test]
fn directories_that_cannot_be_used_are_named() {
    let mut host = Host::prepare("");
    fs::remove_dir(host.state_dir()).unwrap();
    fs::write(host.state_dir(), "").unwrap();
    let said = host.try_boot().unwrap_err();
    assert!(said.contains(host.state_dir().to_str().unwrap()), "{said}");
    fs::remove_file(host.state_dir()).unwrap();
    fs::remove_dir(host.runtime_dir()).unwrap();
    fs::write(host.runtime_dir(), "").unwrap();
    let said = host.try_boot().unwrap_err();
    assert!(
        said.contains(host.runtime_dir().to_str().unwrap()),
        "{said}"
    );
    // The client passes on what the daemon says.
    let output = host.stoke(&["ls"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    fs::remove_file(host.runtime_dir()).unwrap();
    fs::write(
        host.root().join("config/stoked/stoked.toml"),
        "[jobs]\ncontainmnt = 1\n",
    )
    .unwrap();
    let said = host.try_boot().unwrap_err();
    assert!(
        said.contains("containmnt") && said.contains("containment"),
        "{said}"
    );
    fs::write(host.root().join("config/stoked/stoked.toml"), "").unwrap();
    host.boot();
}

/// Two running jobs, one that waits, some that are over; then the database is hit, and a new daemon looks.
fn damaged(host: &mut Host, graceful: bool, hit: impl Fn(&Path)) {
    let go = host.gate("go");
    let over: Vec<u64> = (0..5).map(|_| host.sh("exit 2")).collect();
    over.iter().for_each(|id| drop(host.ended(*id)));
    let running = host.submit(json!({"command": ["sh", "-c", "read x < $W/go; echo $STOKED_JOB; exit 44"], "name": "survivor"}));
    let main = host.main_process(running);
    let hello = host.events("").hello;
    if graceful {
        host.stop();
    } else {
        host.kill9();
    }
    hit(&host.state_dir().join("stoked.db"));
    host.boot();
    let job = host.reaches(running, "running");
    assert_eq!(job["name"], "survivor", "{job:#}\n{}", host.said());
    assert_eq!(host.main_process(running), main);
    let is_new = host.events("").epoch() != hello["epoch"];
    let aside: Vec<PathBuf> = fs::read_dir(host.state_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("corrupt"))
        .collect();
    assert_eq!(is_new, !aside.is_empty(), "set aside {aside:?}");
    if is_new {
        let old = format!("{}:{}", hello["epoch"].as_str().unwrap(), hello["head"]);
        let refused = Events::open(&host.socket(), "", Some(&old)).unwrap_err();
        refused.problem("cursor-gone");
        assert!(
            host.said().contains("damaged"),
            "nothing is said of it: {}",
            host.said()
        );
    }
    go.open();
    let job = host.ended(running);
    assert_eq!(
        (&job["exit"]["code"], &job["attempt"]),
        (&json!(44), &json!(1)),
        "{job:#}"
    );
    assert_eq!(host.text(running), format!("{running}\n"));
    let next = host.sh("exit 0");
    assert!(next > running, "the number {next} was used twice");
    assert_eq!(host.ended(next)["state"], "completed");
    host.restart();
    assert_eq!(host.job(running)["exit"]["code"], 44);
}

/// Writes noise over a part of a file.
fn overwrite(path: &Path, from: u64, count: usize) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&noise(from + 1, count), from).unwrap();
}

fn size(path: &Path) -> u64 {
    File::open(path).unwrap().metadata().unwrap().len()
}

#[test]
fn a_database_of_garbage_is_set_aside_and_running_jobs_are_known_again() {
    let mut host = Host::start();
    damaged(&mut host, true, |database| {
        let whole = usize::try_from(size(database)).unwrap();
        overwrite(database, 0, whole);
    });
}

#[test]
fn a_database_with_flipped_bytes_is_noticed_or_harmless() {
    for page in [1, 2, 5, 9] {
        let mut host = Host::start();
        damaged(&mut host, true, |database| {
            if size(database) > page * 4096 {
                overwrite(database, page * 4096, 2000);
            }
        });
    }
}

#[test]
fn a_killed_daemon_whose_files_are_all_damaged_comes_back() {
    let mut host = Host::start();
    damaged(&mut host, false, |database| {
        for suffix in ["", "-wal"] {
            let path = PathBuf::from(format!("{}{suffix}", database.display()));
            let whole = usize::try_from(size(&path)).unwrap();
            overwrite(&path, 0, whole);
        }
    });
}

#[test]
fn a_database_that_is_gone_costs_no_running_job() {
    let mut host = Host::start();
    let go = host.gate("go");
    let id = host.sh("read x < $W/go; exit 8");
    let main = host.main_process(id);
    host.kill9();
    for name in ["stoked.db", "stoked.db-wal", "stoked.db-shm", "progress.db"] {
        // Some of them need not be there.
        let _gone = fs::remove_file(host.state_dir().join(name));
    }
    host.boot();
    assert_eq!(host.main_process(id), main);
    go.open();
    assert_eq!(host.ended(id)["exit"]["code"], 8);
}

#[test]
fn damage_under_a_running_daemon_is_survived() {
    let mut host = Host::start();
    let go = host.gate("go");
    let id = host.sh("read x < $W/go; exit 9");
    let main = host.main_process(id);
    let database = host.state_dir().join("stoked.db");
    overwrite(&database, 0, usize::try_from(size(&database)).unwrap());
    let wal = host.state_dir().join("stoked.db-wal");
    overwrite(&wal, 0, usize::try_from(size(&wal)).unwrap());
    // It may take this, or say why not; it may not fall.
    let answer = host.post("/v1/jobs", &host.complete(json!({"command": ["true"]})));
    assert!(
        [201, 507].contains(&answer.status),
        "{} {}",
        answer.status,
        answer.text()
    );
    host.get("/v1/health");
    assert!(main.is_alive());
    host.restart();
    assert_eq!(host.main_process(id), main);
    go.open();
    assert_eq!(host.ended(id)["exit"]["code"], 9);
    for job in host.get("/v1/jobs")["items"].as_array().unwrap() {
        let id = job["id"].as_u64().unwrap();
        if host.job(id)["state"] == "held" {
            host.act(id, "cancel");
        }
        host.ended(id);
    }
}
