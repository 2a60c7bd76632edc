//! A bar of a desktop, fed by the client for as long as it is there.

use crate::harness::Host;
use crate::heard::Heard;
use crate::http::PATIENCE;
use crate::outside::Process;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout};
use std::time::Instant;

fn lines(bytes: &[u8]) -> Vec<Value> {
    let whole = bytes.split_inclusive(|byte| *byte == b'\n');
    let whole = whole.filter(|line| line.ends_with(b"\n"));
    whole
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Waits until the newest line is as wanted; returns it.
fn shows(bar: &Heard, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let newest = |bytes: &[u8]| lines(bytes).pop();
    let heard = bar
        .out
        .until(what, |bytes| newest(bytes).is_some_and(|it| wanted(&it)));
    newest(&heard).unwrap()
}

fn is(state: &'static str) -> impl Fn(&Value) -> bool {
    move |line| line["state"] == state
}

/// A bar, and what comes out of it; it is read by who asks for a line, and by nobody else.
fn start(host: &Host, args: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut bar = host.start_stoke(args);
    let lines = BufReader::new(bar.stdout.take().unwrap());
    (bar, lines)
}

fn next(lines: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    line
}

#[test]
fn the_line_follows_jobs_and_the_daemon() {
    let mut host = Host::start();
    let bar = Heard::of_a_guest(&host, &["--json", "bar"]);
    shows(&bar, "nothing runs", is("idle"));
    let gate = host.gate("gate");
    let script = "read x < $W/gate";
    let spec = json!({"command": ["sh", "-c", script], "name": "train"});
    let id = host.submit(spec.clone());
    host.reaches(id, "running");
    for percent in [25.0, 50.0] {
        let report = json!({"percent": percent});
        host.act_with(id, "progress", &report);
        let line = shows(&bar, "how far it is", |line| line["percent"] == percent);
        assert!(
            line["text"].as_str().unwrap().starts_with("● train "),
            "{line}"
        );
    }
    // What waits is counted, and goes on being counted.
    let mut held = spec.clone();
    held["hold"] = true.into();
    let held = host.submit(held);
    shows(&bar, "one waits", |line| line["waiting"] == 1);
    // The job outlives the daemon, and the bar both.
    host.kill9();
    shows(&bar, "no daemon", is("away"));
    host.boot();
    let line = shows(&bar, "the same job", is("busy"));
    assert_eq!(
        (&line["jobs"][0]["id"], &line["waiting"]),
        (&json!(id), &json!(1))
    );
    gate.open();
    shows(&bar, "it has ended", is("idle"));
    host.act(held, "cancel");
    shows(&bar, "none waits", |line| line["waiting"] == 0);
    bar.signal(Signal::TERM);
    assert_eq!(bar.ends().signal(), Some(15));
}

#[test]
fn a_failure_is_shown_until_somebody_cares() {
    let host = Host::start();
    let bar = Heard::of_a_guest(&host, &["bar", "--format", "json"]);
    shows(&bar, "nothing runs", is("idle"));
    let id = host.sh("exit 7");
    let line = shows(&bar, "a failure", is("failed"));
    assert_eq!(line["failed"][0]["id"], id, "{line}");
    host.stoke_ok(&["rm", &id.to_string()]);
    shows(&bar, "nothing", is("idle"));
    // One that is of no interest any more goes by itself.
    let brief = Heard::of_a_guest(&host, &["--json", "bar", "--failures-for", "2s"]);
    shows(&brief, "nothing runs", is("idle"));
    host.sh("exit 7");
    shows(&brief, "a failure", is("failed"));
    shows(&brief, "it is over", is("idle"));
}

#[test]
fn a_flood_is_a_line_a_second() {
    let host = Host::start();
    let bar = Heard::of_a_guest(&host, &["--json", "bar"]);
    shows(&bar, "nothing runs", is("idle"));
    let gate = host.gate("gate");
    let id = host.sh("read x < $W/gate");
    host.reaches(id, "running");
    let before = lines(&bar.out.all()).len();
    let began = Instant::now();
    for percent in 1..=99 {
        host.act_with(id, "progress", &json!({"percent": percent}));
    }
    shows(&bar, "the last one", |line| line["percent"] == 99.0);
    let came = lines(&bar.out.all()).len() - before;
    let seconds = began.elapsed().as_secs_f64();
    assert!(
        (came as f64) <= seconds + 2.0,
        "{came} lines in {seconds} s"
    );
    gate.open();
}

#[test]
fn it_waits_for_a_daemon_and_starts_none() {
    let mut host = Host::prepare("");
    let (bar, mut lines) = start(&host, &["bar"]);
    let away: Value = serde_json::from_str(&next(&mut lines)).unwrap();
    assert_eq!(
        (&away["class"], &away["text"]),
        (&json!("away"), &json!("stoked is away"))
    );
    assert!(!host.state_dir().join("lock").exists());
    host.boot();
    let idle: Value = serde_json::from_str(&next(&mut lines)).unwrap();
    assert_eq!(
        (&idle["class"], &idle["text"]),
        (&json!("idle"), &json!("idle"))
    );
    drop(lines);
    assert!(host.finish(bar).status.success());
}

#[test]
fn it_ends_with_who_reads_it_although_nothing_happens() {
    let host = Host::start();
    for format in ["waybar", "i3bar", "polybar", "json"] {
        let (bar, mut lines) = start(&host, &["bar", "--format", format]);
        let first = next(&mut lines);
        let process = Process::of(bar.id().into());
        let text = if format == "i3bar" {
            assert_eq!(first, "{\"version\":1}\n");
            assert_eq!(next(&mut lines), "[\n");
            next(&mut lines)
        } else {
            first
        };
        assert!(text.contains("idle"), "{text}");
        // Nothing is written from now on.
        drop(lines);
        assert!(process.ends_within(PATIENCE), "{format}");
        assert!(host.finish(bar).status.success());
    }
    // And where there is no daemon to hear from.
    let host = Host::prepare("");
    let (bar, mut lines) = start(&host, &["bar", "--format", "polybar"]);
    assert_eq!(next(&mut lines), "stoked is away\n");
    drop(lines);
    assert!(host.finish(bar).status.success());
}
