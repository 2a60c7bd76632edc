//! How jobs end: exit statuses, output byte for byte, and no descendant left whatever it tried.

use crate::harness::{Host, say_skipped};
use crate::http::Ask;
use crate::outside::Process;
use serde_json::json;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

/// Bytes that no text has in this order, so that a lost or doubled block shows.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// Runs a check under each kind of containment that this host has.
fn in_both(check: impl Fn(&Host, &str)) {
    let tree = Host::with_config("[jobs]\ncontainment = \"tree\"\n");
    assert_eq!(tree.cgroup(), None);
    check(&tree, "tree");
    drop(tree);
    let host = Host::start();
    if host.cgroup().is_some() {
        check(&host, "cgroup");
    } else {
        say_skipped("no cgroup can be written here");
    }
}

#[test]
fn run_ends_with_the_status_of_the_job() {
    let host = Host::start();
    for (script, status) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("kill -TERM $$", 143),
        ("kill -9 $$", 137),
    ] {
        let output = host.stoke(&["run", "--", "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(status), "{script}: {output:?}");
        assert_eq!(output.status.signal(), None);
        let waited = host.stoke(&["wait", "@"]);
        assert_eq!(waited.status.code(), Some(status), "{script}: {waited:?}");
    }
    let output = host.stoke(&["run", "--timeout", "100ms", "--", "sleep", "1000"]);
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    let jobs = host.get("/v1/jobs");
    let states: Vec<_> = jobs["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["state"])
        .collect();
    assert_eq!(
        states,
        ["timed_out", "failed", "failed", "failed", "completed"]
    );
}

#[test]
fn a_detached_job_is_awaited_by_its_number() {
    let host = Host::start();
    let gate = host.gate("go");
    let id = host.stoke_ok(&["run", "-d", "--", "sh", "-c", "read x < $W/go; exit 7"]);
    let id: u64 = id.trim().parse().unwrap();
    let waiting = host.start_stoke(&["wait", &id.to_string()]);
    host.reaches(id, "running");
    gate.open();
    assert_eq!(host.finish(waiting).status.code(), Some(7));
    let job = host.job(id);
    assert_eq!(
        (&job["exit"]["code"], &job["failure"]["class"]),
        (&json!(7), &json!("exit"))
    );
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1);
}

#[test]
fn output_is_kept_and_shown_byte_for_byte() {
    let host = Host::start();
    let (out, err) = (noise(1, 1_500_000), noise(2, 300_001));
    fs::write(host.path("out"), &out).unwrap();
    fs::write(host.path("err"), &err).unwrap();
    let script = "cat out & cat err >&2; wait";
    let output = host.stoke(&["run", "--", "sh", "-c", script]);
    assert!(output.status.success());
    assert!(
        output.stdout == out,
        "{} of {} bytes",
        output.stdout.len(),
        out.len()
    );
    assert!(
        output.stderr == err,
        "{} of {} bytes",
        output.stderr.len(),
        err.len()
    );
    assert!(host.output(1, "stdout") == out);
    assert!(host.output(1, "stderr") == err);
    let shown = host.stoke(&["logs", "1", "--stdout"]);
    assert!(shown.stdout == out && shown.stderr.is_empty());
    let shown = host.stoke(&["logs", "1"]);
    assert!(shown.stdout == out && shown.stderr == err);
}

/// Forks a daemon the old way: its own session, its parent gone. Says its pid and that of a shell that
/// ignores TERM, then goes on.
const FORKING: &str = "\
    (setsid sh -c 'sh -c \"echo \\$\\$ > $W/pids; exec sleep 1000\" & ' &)
    sh -c 'trap \"\" TERM; echo $$ > $W/pids; while :; do sleep 1000; done' &
    ";

#[test]
fn cancelling_leaves_no_descendant() {
    in_both(|host, kind| {
        let pids = host.gate("pids");
        let id = host.sh(&format!("{FORKING} wait"));
        let strays = [pids.hear(), pids.hear()].map(|pid| Process::of(pid.parse().unwrap()));
        let main = host.main_process(id);
        host.act_with(id, "cancel", &json!({"grace": 0}));
        let job = host.ended(id);
        assert_eq!(job["state"], "cancelled", "{job:#}");
        assert_eq!(job["attempts"][0]["containment"], kind);
        for process in strays.iter().chain([&main]) {
            assert!(!process.is_alive(), "{kind}: {} lives", process.words());
        }
        fs::remove_file(pids.path()).unwrap();
    });
}

#[test]
fn what_a_job_leaves_behind_ends_with_it_and_is_counted() {
    in_both(|host, kind| {
        let pids = host.gate("pids");
        let go = host.gate("go");
        let id = host.sh(&format!("{FORKING} read x < $W/go; exit 5"));
        let strays = [pids.hear(), pids.hear()].map(|pid| Process::of(pid.parse().unwrap()));
        go.open();
        let job = host.ended(id);
        assert_eq!(job["exit"]["code"], 5, "{job:#}");
        assert!(
            strays.iter().all(|it| !it.is_alive()),
            "{kind}: a descendant lives"
        );
        let killed = &job["attempts"][0]["usage"]["killed_leftovers"];
        assert!(killed.as_u64() >= Some(2), "{job:#}");
    });
}

#[test]
fn a_job_that_ignores_the_signal_is_killed_after_its_grace() {
    in_both(|host, _| {
        let ready = host.gate("ready");
        let script = "trap 'echo told; echo told > $W/ready' TERM; echo up > $W/ready; while :; do sleep 1000 & wait; done";
        let id = host.submit(json!({"command": ["sh", "-c", script], "grace": 0.3}));
        assert_eq!(ready.hear(), "up");
        let mut events = host.events(&format!("channel=job/{id}/state"));
        host.act(id, "cancel");
        events.reaches(id, "stopping");
        assert_eq!(ready.hear(), "told");
        events.reaches(id, "cancelled");
        let job = host.job(id);
        assert_eq!(job["exit"]["signal"], 9, "{job:#}");
        assert_eq!(host.text(id), "told\n");
    });
}

#[test]
fn a_job_that_ends_when_asked_keeps_its_word() {
    let host = Host::start();
    let ready = host.gate("ready");
    let script =
        "trap 'echo bye; exit 0' INT; echo up > $W/ready; while :; do sleep 1000 & wait; done";
    let id =
        host.submit(json!({"command": ["sh", "-c", script], "stop_signal": "INT", "grace": 60}));
    ready.hear();
    host.act(id, "cancel");
    let job = host.ended(id);
    assert_eq!(job["state"], "cancelled");
    assert_eq!(job["exit"]["code"], 0);
    assert_eq!(host.text(id), "bye\n");
}

#[test]
fn a_job_runs_no_longer_than_it_may() {
    let host = Host::start();
    let id = host.submit(json!({"command": ["sleep", "1000"], "timeout": 0.2, "grace": 5}));
    let job = host.ended(id);
    assert_eq!(job["state"], "timed_out", "{job:#}");
    assert_eq!(job["failure"]["class"], "timeout");
    assert_eq!(job["exit"]["signal"], 15);
}

#[test]
fn a_signal_reaches_the_job_and_changes_no_state() {
    let host = Host::start();
    let said = host.gate("said");
    let script =
        "trap 'echo usr1 > $W/said' USR1; echo up > $W/said; while :; do sleep 1000 & wait; done";
    let id = host.sh(script);
    assert_eq!(said.hear(), "up");
    host.stoke_ok(&["signal", "USR1", &id.to_string()]);
    assert_eq!(said.hear(), "usr1");
    assert_eq!(host.reaches(id, "running")["attempt"], 1);
    let wrong = host.post(&format!("/v1/jobs/{id}/signal"), &json!({"signal": "NOPE"}));
    assert_eq!(wrong.problem("invalid-request")["field"], "signal");
    host.act_with(id, "cancel", &json!({"grace": 0}));
    host.ended(id);
}

#[test]
fn standard_input_comes_from_a_file_or_is_empty() {
    let host = Host::start();
    fs::write(host.path("in"), "one\ntwo\n").unwrap();
    let output = host.stoke(&["run", "--stdin", "in", "--", "cat"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "one\ntwo\n");
    let output = host.stoke(&["run", "--", "cat"]);
    assert!(output.status.success() && output.stdout.is_empty());
    let id = host.submit(json!({"command": ["cat"], "stdin": host.path("absent")}));
    let job = host.ended(id);
    assert_eq!(job["failure"]["class"], "spawn");
    assert!(
        job["failure"]["message"]
            .as_str()
            .unwrap()
            .contains("absent"),
        "{job:#}"
    );
}

#[test]
fn a_job_may_have_a_terminal() {
    let host = Host::start();
    let script = "test -t 0 && test -t 1 && test -t 2 && echo yes; stty size";
    let output = host.stoke(&["run", "--tty", "--", "sh", "-c", script]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "yes\r\n24 80\r\n");
    assert_eq!(host.job(1)["tty"], true);
}

#[test]
fn jobs_run_where_and_as_what_they_were_told() {
    let host = Host::start();
    fs::create_dir(host.path("sub")).unwrap();
    let script = "pwd; umask; echo $STOKED_JOB.$STOKED_ATTEMPT $STOKED_JOB_NAME $OWN; env | grep -c TOKENLESS";
    let output = host.stoke(&[
        "run", "-C", "sub", "-e", "OWN=a b", "--name", "me", "--", "sh", "-c", script,
    ]);
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = format!("{}\n", host.path("sub").display());
    assert!(text.starts_with(&expected), "{text}");
    assert!(text.contains("\n1.1 me a b\n"), "{text}");
    let job = host.job(1);
    let names = job["env_names"].as_array().unwrap();
    assert!(names.contains(&json!("OWN")), "{job:#}");
    let everything = host.send(&Ask::get("/v1/jobs")).text();
    assert!(
        !everything.contains("a b"),
        "a value of the environment is in a list"
    );
}

#[test]
fn a_daemon_that_ends_leaves_a_cgroup_only_to_jobs_that_go_on() {
    let mut host = Host::start();
    let Some(cgroup) = host.cgroup().map(Path::to_owned) else {
        return say_skipped("no cgroup can be written here");
    };
    let go = host.gate("go");
    let id = host.sh("read x < $W/go");
    host.reaches(id, "running");
    host.stop();
    assert!(cgroup.join(format!("{id}.1")).is_dir());
    host.boot();
    go.say("on");
    host.ended(id);
    host.stop();
    assert!(!cgroup.exists());
    host.boot();
    let id = host.sh("exit 0");
    assert_eq!(host.ended(id)["state"], "completed");
}

#[test]
fn what_was_ignored_around_the_daemon_is_not_ignored_in_a_job() {
    let host = Host::prepare("");
    // As with nohup, and with & in a script. The client starts the daemon, and hands this on.
    let script =
        r#"trap "" HUP INT QUIT TERM USR1 TSTP; exec "$0" run -- grep SigIgn /proc/self/status"#;
    let mut command = host.command("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_stoke")]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mask = text.trim().strip_prefix("SigIgn:").unwrap().trim();
    let mask = u64::from_str_radix(mask, 16).unwrap();
    // 32 and 33 belong to the C library, whose posix_spawn leaves them ignored.
    assert_eq!(mask & !(0b11 << 31), 0, "{text}");
}
