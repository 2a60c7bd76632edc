//! Survival: the daemon, shims and clients are killed, and nothing is lost, doubled or left behind.

use crate::harness::{Host, say_skipped};
use crate::http::Ask;
use crate::outside::Process;
use crate::storm::storm;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{SystemTime, UNIX_EPOCH};

fn seed() -> u64 {
    let given = std::env::var("STOKED_SEED")
        .ok()
        .and_then(|it| it.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    given.unwrap_or(now.as_nanos() as u64)
}

#[test]
fn nothing_is_lost_while_the_daemon_is_killed_again_and_again() {
    storm(20, seed());
}

#[test]
fn a_long_soak() {
    let Ok(rounds) = std::env::var("STOKED_SOAK_ROUNDS") else {
        return say_skipped("the soak runs with STOKED_SOAK_ROUNDS set, as `make soak` does");
    };
    storm(rounds.parse().unwrap(), seed());
}

/// A job that forks a process of its own session, and both of them.
fn job_with_a_stray(host: &Host) -> (u64, [Process; 2]) {
    let pids = host.gate(&format!(
        "pids{}",
        host.get("/v1/jobs")["items"].as_array().unwrap().len()
    ));
    let script = format!(
        "setsid sh -c 'echo $$ > {0}; exec sleep 1000' & wait",
        pids.path().display()
    );
    let id = host.sh(&script);
    let stray = Process::of(pids.hear().parse().unwrap());
    (id, [host.main_process(id), stray])
}

fn assert_broken(job: &Value, processes: &[Process]) {
    assert_eq!(
        (&job["state"], &job["failure"]["class"]),
        (&json!("failed"), &json!("signal")),
        "{job:#}"
    );
    let message = job["failure"]["message"].as_str().unwrap();
    assert!(
        message.contains("stoked-shim") && message.contains("killed"),
        "{message}"
    );
    assert!(job["exit"].is_null(), "an exit was guessed: {job:#}");
    for process in processes {
        assert!(!process.is_alive(), "{} is left running", process.words());
    }
}

#[test]
fn a_killed_shim_is_a_failed_job_with_nothing_left() {
    for config in ["", "[jobs]\ncontainment = \"tree\"\n"] {
        let host = Host::with_config(config);
        let (id, processes) = job_with_a_stray(&host);
        host.shim(&format!("{id}.1")).kill();
        assert_broken(&host.ended(id), &processes);
        assert_eq!(
            host.stoke(&["wait", &id.to_string()]).status.code(),
            Some(1)
        );
    }
}

#[test]
fn a_shim_killed_while_the_daemon_is_down_is_found_out() {
    for config in ["", "[jobs]\ncontainment = \"tree\"\n"] {
        let mut host = Host::with_config(config);
        let (id, processes) = job_with_a_stray(&host);
        let shim = host.shim(&format!("{id}.1"));
        host.kill9();
        shim.kill();
        shim.ends();
        host.boot();
        assert_broken(&host.ended(id), &processes);
    }
}

#[test]
fn daemon_and_shim_killed_together() {
    for shim_first in [true, false] {
        let mut host = Host::start();
        let (id, processes) = job_with_a_stray(&host);
        let shim = host.shim(&format!("{id}.1"));
        if shim_first {
            shim.kill();
        }
        host.kill9();
        shim.kill();
        host.boot();
        let job = host.ended(id);
        if job["state"] == "lost" {
            // The daemon ended what was left and died before it could say so: the next one cannot know.
            assert!(
                shim_first && job["failure"]["class"] == "host_lost",
                "{job:#}"
            );
            assert!(processes.iter().all(|it| !it.is_alive()));
        } else {
            assert_broken(&job, &processes);
        }
    }
}

#[test]
fn a_job_that_removes_the_directory_of_its_attempt_escapes_nobody() {
    let mut host = Host::start();
    let gone = host.gate("gone");
    let id = host.sh("rm -r \"$(dirname $STOKED_PROGRESS_FILE)\"; echo x > $W/gone; sleep 1000");
    let main = host.main_process(id);
    gone.hear();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", main.0.pid)).unwrap();
    let parent = stat.split(' ').nth(3).unwrap().parse().unwrap();
    let shim = Process::of(parent);
    host.restart();
    let job = host.ended(id);
    assert_eq!(job["state"], "failed", "{job:#}");
    let message = job["failure"]["message"].as_str().unwrap();
    assert!(message.contains("directory was removed"), "{message}");
    main.ends();
    shim.ends();
}

/// The daemon that a client of this host started.
fn started_daemon(host: &Host) -> Process {
    let pid = std::fs::read_to_string(host.state_dir().join("lock")).unwrap();
    Process::of(pid.trim().parse().unwrap())
}

#[test]
fn a_daemon_keeps_nothing_that_its_starter_had_open() {
    let host = Host::prepare("");
    let file = host.path("lock of the caller");
    let script = format!(
        "exec {} ls 9> '{}'",
        env!("CARGO_BIN_EXE_stoke"),
        file.display()
    );
    let status = host.command("sh").args(["-c", &script]).status().unwrap();
    assert!(status.success());
    let open = std::fs::read_dir(format!("/proc/{}/fd", started_daemon(&host).0.pid)).unwrap();
    let mut open = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    assert!(!open.any(|target| target == file));
}

#[test]
fn a_client_waits_for_a_daemon_that_takes_its_time_to_go() {
    let host = Host::prepare("");
    host.stoke_ok(&["ls"]);
    let old = started_daemon(&host);
    let mut slow = UnixStream::connect(host.socket()).unwrap();
    let half = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
    slow.write_all(half).unwrap();
    host.get("/v1/version");
    stoked::contain::identity::signal(&old.0, rustix::process::Signal::TERM).unwrap();
    host.stoke_ok(&["ls"]);
    host.stoke_ok(&["ls"]);
    old.ends();
    assert_ne!(started_daemon(&host), old);
}

#[test]
fn a_job_and_its_shim_that_end_while_the_daemon_is_down_leave_the_truth() {
    let mut host = Host::start();
    let go = host.gate("go");
    let ok = host.sh("read x < $W/go; echo done; exit 23");
    let (gone, processes) = job_with_a_stray(&host);
    host.reaches(ok, "running");
    let shims = [ok, gone].map(|id| host.shim(&format!("{id}.1")));
    host.kill9();
    go.open();
    shims[0].ends();
    // Nothing of this job is left to tell how it ended.
    shims[1].kill();
    shims[1].ends();
    for process in &processes {
        process.kill();
        process.ends();
    }
    host.boot();
    let job = host.ended(ok);
    assert_eq!(
        (&job["state"], &job["exit"]["code"]),
        (&json!("failed"), &json!(23)),
        "{job:#}"
    );
    assert_eq!(host.text(ok), "done\n");
    let job = host.ended(gone);
    assert_eq!(
        (&job["state"], &job["failure"]["class"]),
        (&json!("lost"), &json!("host_lost")),
        "{job:#}"
    );
    assert_eq!(
        host.stoke(&["wait", &gone.to_string()]).status.code(),
        Some(125)
    );
}

#[test]
fn a_job_goes_on_without_the_client_that_ran_it() {
    let host = Host::start();
    let (go, up) = (host.gate("go"), host.gate("up"));
    let script = "echo up > $W/up; read x < $W/go; echo on; exit 12";
    let client = host.start_stoke(&["run", "--", "sh", "-c", script]);
    up.hear();
    Process::of(client.id().into()).kill();
    host.finish(client);
    host.reaches(1, "running");
    go.open();
    assert_eq!(host.ended(1)["exit"]["code"], 12);
    assert_eq!(host.text(1), "on\n");
}

#[test]
fn what_was_acknowledged_starts_however_soon_the_daemon_dies() {
    let mut host = Host::start();
    for round in 0..8 {
        let spec = host.complete(
            json!({"command": ["sh", "-c", "echo $STOKED_JOB.$STOKED_ATTEMPT >> starts; exit 5"]}),
        );
        let specs = vec![spec; 4];
        let answer = host.send(&Ask::post("/v1/jobs", &json!({"jobs": specs})));
        host.kill9();
        assert_eq!(answer.ok()["ids"].as_array().unwrap().len(), 4);
        host.boot();
        for id in 4 * round + 1..=4 * round + 4 {
            let job = host.ended(id);
            assert_eq!(
                (&job["exit"]["code"], &job["attempt"]),
                (&json!(5), &json!(1)),
                "{job:#}"
            );
        }
    }
    let text = std::fs::read_to_string(host.path("starts")).unwrap();
    let mut starts: Vec<&str> = text.lines().collect();
    starts.sort_unstable();
    let count = starts.len();
    starts.dedup();
    assert_eq!((starts.len(), count), (32, 32));
}

#[test]
fn the_client_brings_a_killed_daemon_back() {
    let mut host = Host::start();
    let go = host.gate("go");
    let ids = [1, 2].map(|_| host.sh("read x < $W/go; exit 0"));
    let mains = ids.map(|id| host.main_process(id));
    host.kill9();
    let listed: Value = serde_json::from_str(&host.stoke_ok(&["--json", "ls"])).unwrap();
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    for (id, main) in ids.iter().zip(&mains) {
        let job = items.iter().find(|it| it["id"] == *id).unwrap();
        assert!(
            job["state"] == "running" && job["pid"] == main.0.pid,
            "{job:#}"
        );
    }
    // And once more, now with a daemon that a client started.
    host.kill9();
    assert_eq!(host.stoke_ok(&["ls"]).matches("running").count(), 2);
    // Several clients at once bring back one daemon.
    host.kill9();
    let clients: Vec<_> = (0..4).map(|_| host.start_stoke(&["ls"])).collect();
    for client in clients {
        let output = host.finish(client);
        assert!(output.status.success(), "{output:?}");
    }
    let is_daemon = |it: &&Process| it.words().contains("--detach");
    assert_eq!(host.processes().iter().filter(is_daemon).count(), 1);
    ids.iter().for_each(|_| go.open());
    for (id, main) in ids.iter().zip(mains) {
        assert_eq!(host.ended(*id)["state"], "completed");
        main.ends();
    }
}

#[test]
fn every_waiting_state_survives() {
    let mut host = Host::start();
    let go = host.gate("go");
    let ask = Ask::new("PUT", "/v1/groups/one").json(&json!({"parallelism": 1}));
    host.send(&ask).ok();
    let running = host.submit(json!({"command": ["sh", "-c", "read x < $W/go"], "group": "one"}));
    let queued = host.submit(json!({"command": ["true"], "group": "one"}));
    let held = host.submit(json!({"command": ["true"], "hold": true}));
    let after = host.submit(json!({"command": ["true"], "after_ok": [queued]}));
    let later = host.submit(json!({"command": ["true"], "not_before": "2999-01-01T00:00:00Z"}));
    let again =
        host.submit(json!({"command": ["false"], "retry": {"attempts": 2, "backoff": 3600}}));
    let paused = host.sh("read x < $W/go");
    host.reaches(running, "running");
    host.reaches(again, "backoff");
    host.reaches(paused, "running");
    host.act(paused, "pause");
    let states = |host: &Host| {
        let ids = [running, queued, held, after, later, again, paused];
        ids.map(|id| {
            (
                host.job(id)["state"].clone(),
                host.job(id)["reason"].clone(),
            )
        })
    };
    let before = states(&host);
    let words: Vec<_> = before
        .iter()
        .map(|(state, _)| state.as_str().unwrap())
        .collect();
    assert_eq!(
        words,
        [
            "running", "queued", "held", "queued", "queued", "backoff", "paused"
        ]
    );
    for _ in 0..3 {
        host.restart();
        assert_eq!(states(&host), before);
    }
    host.act(paused, "resume");
    host.act(held, "release");
    go.open();
    go.open();
    for id in [later, again] {
        host.act(id, "cancel");
        assert_eq!(host.ended(id)["state"], "cancelled");
    }
    for id in [running, queued, held, after, paused] {
        assert_eq!(host.ended(id)["state"], "completed", "job {id}");
    }
}

#[test]
fn a_timeout_and_a_grace_count_on_while_the_daemon_is_down() {
    let mut host = Host::start();
    let up = host.gate("up");
    let id = host.submit(json!({
        "command": ["sh", "-c", "trap '' TERM; echo up > $W/up; while :; do sleep 1000; done"],
        "timeout": 0.3, "grace": 0.3,
    }));
    up.hear();
    let main = host.main_process(id);
    host.kill9();
    assert!(main.is_alive());
    host.boot();
    let job = host.ended(id);
    assert_eq!(
        (&job["state"], &job["exit"]["signal"]),
        (&json!("timed_out"), &json!(9)),
        "{job:#}"
    );
}

#[test]
fn a_second_daemon_is_refused_and_harms_nothing() {
    let host = Host::start();
    let mut command = host.command(env!("CARGO_BIN_EXE_stoked"));
    let output = host.finish(
        command
            .arg("--user")
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap(),
    );
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("another stoked") && said.contains("process"),
        "{said}"
    );
    let id = host.sh("exit 0");
    assert_eq!(host.ended(id)["state"], "completed");
}
