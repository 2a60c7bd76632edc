//! Progress of programs that say nothing: real ones, on real files, held back by a FIFO that the test reads.

use crate::gate::Gate;
use crate::harness::Host;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;

const MIB: u64 = 1 << 20;

/// Size of most files; they are holes and take no room.
const SIZE: u64 = 256 * MIB;

/// What a program may have read beyond what was taken from it: its own buffers and those of pipes.
const AHEAD: u64 = 2 * MIB;

/// Looks at open files from the beginning, and often.
const EAGER: &str = "[progress]\nopen_files_after = \"0s\"\nopen_files_interval = \"100ms\"\n";

fn host() -> Host {
    Host::with_config(EAGER)
}

fn sparse(host: &Host, name: &str, bytes: u64) {
    let file = File::create(host.path(name)).unwrap();
    file.set_len(bytes).unwrap();
}

/// Bytes that no program makes smaller.
fn noise(host: &Host, name: &str, bytes: u64) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap());
    while (content.len() as u64) < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    let mut file = File::create(host.path(name)).unwrap();
    file.write_all(&content).unwrap();
}

/// Waits until a job's progress is so; gives it.
fn progress(host: &Host, id: u64, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut events = host.events(&format!("channel=job/{id}/progress&snapshot=1"));
    let mut shown = host.job(id)["progress"].clone();
    while !is_so(&shown) {
        events.until(|it| it.kind == "progress");
        shown = host.job(id)["progress"].clone();
    }
    shown
}

/// Whether `step` is where somebody must be from whom so many bytes were taken.
fn is_at(progress: &Value, taken: u64) -> bool {
    let step = progress["step"].as_f64().unwrap_or(-1.0);
    #[expect(clippy::cast_precision_loss, reason = "a few MiB")]
    let (low, high) = (taken as f64, (taken + AHEAD) as f64);
    step >= low && step <= high
}

/// Lets a job go on bit by bit until its files are found to move: how often they are looked at meanwhile is not
/// known here, but every question takes the daemon some time. Says how much came out.
fn until_found(host: &Host, out: &Gate, id: u64, size: u64) -> u64 {
    let part = size / 4096;
    let mut taken = 0;
    while host.job(id)["progress"]["source"] != "open-files" {
        assert!(taken < size / 2, "{:#}", host.job(id));
        out.take(part);
        taken += part;
    }
    taken
}

/// Runs a program that goes through `big` and whose output comes out at the gate; its steps must be those of
/// what was let through.
fn goes_through(host: &Host, command: &Value, size: u64) {
    let out = host.gate("out");
    let id = host.submit(json!({"command": command}));
    host.reaches(id, "running");
    let mut taken = until_found(host, &out, id, size);
    for part in [size / 8, size / 4] {
        out.take(part);
        taken += part;
        let seen = progress(host, id, |it| is_at(it, taken));
        assert_eq!(
            seen["total_steps"].as_f64(),
            Some(f64::from(u32::try_from(size).unwrap())),
            "{seen:#}"
        );
        assert_eq!(
            (
                &seen["phase"],
                &seen["unit"],
                &seen["source"],
                &seen["estimated"]
            ),
            (
                &json!("big"),
                &json!("B"),
                &json!("open-files"),
                &json!(true)
            ),
            "{seen:#}"
        );
        let percent = seen["percent"].as_f64().unwrap();
        assert!(percent > 0.0 && percent <= 100.0, "{seen:#}");
    }
    finish(host, &out, id);
}

/// Lets everything through until the job has ended.
fn finish(host: &Host, out: &Gate, id: u64) {
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                out.drain();
            }
        });
        let ended = host.ended(id);
        assert_eq!(ended["state"], "completed");
        // No look came after the last byte, and a guess of before would stand there as the last word.
        assert!(ended["progress"]["estimated"].is_null(), "{ended:#}");
        done.store(true, std::sync::atomic::Ordering::Release);
    });
    fs::remove_file(out.path()).unwrap();
}

#[test]
fn programs_that_say_nothing_are_seen_to_get_on() {
    let host = host();
    sparse(&host, "big", SIZE);
    for command in [
        json!(["dd", "if=big", "of=out", "bs=64k", "status=none"]),
        json!(["sh", "-c", "exec cat big > out"]),
        json!(["sh", "-c", "cat < big > out; :"]),
        json!(["tar", "--create", "--file", "out", "big"]),
    ] {
        goes_through(&host, &command, SIZE);
    }
}

#[test]
fn programs_that_look_at_what_they_read_are_seen_to_get_on() {
    let host = host();
    let size = 24 * MIB;
    noise(&host, "big", size);
    for command in [
        // This one skips holes.
        json!(["cp", "big", "out"]),
        json!(["sh", "-c", "gzip -1 < big > out"]),
    ] {
        goes_through(&host, &command, size);
    }
}

#[test]
fn of_several_files_each_is_a_phase_and_what_the_job_says_ends_them() {
    let host = host();
    sparse(&host, "big", SIZE);
    sparse(&host, "large", SIZE);
    let (out, go) = (host.gate("out"), host.gate("go"));
    let id = host.sh("cat big large > out; read x < go; echo '[1/200]'; read x < go");
    host.reaches(id, "running");
    let mut taken = until_found(&host, &out, id, SIZE);
    let shown = progress(&host, id, |it| it["phase"] == "big");
    assert_eq!(shown["estimated"], true, "{shown:#}");
    out.take(SIZE - taken);
    taken = 0;
    while host.job(id)["progress"]["phase"] != "large" {
        assert!(taken < SIZE / 2, "{:#}", host.job(id));
        out.take(SIZE / 4096);
        taken += SIZE / 4096;
    }
    let shown = progress(&host, id, |it| is_at(it, taken));
    assert!(shown["percent"].as_f64().unwrap() < 60.0, "{shown:#}");
    let table = host.stoke_ok(&["ls"]);
    assert!(
        table.contains('~'),
        "it looks as if somebody had said so: {table}"
    );
    out.take(SIZE - taken);
    // Nothing moves any more, and nothing is shown that was true once.
    let shown = progress(&host, id, |it| it["percent"].is_null());
    assert!(shown["estimated"].is_null(), "{shown:#}");
    go.open();
    let shown = progress(&host, id, |it| it["step"] == 1.0);
    assert_eq!(shown["percent"], 0.5);
    go.open();
    assert_eq!(host.ended(id)["state"], "completed");
}

#[test]
fn a_checksum_is_seen_to_get_on() {
    let host = host();
    // It writes nothing, so nothing can hold it: it takes its time.
    sparse(&host, "big", 1 << 40);
    let id = host.submit(json!({"command": ["sha256sum", "big"]}));
    let first = progress(&host, id, |it| it["source"] == "open-files");
    let step = first["step"].as_f64().unwrap();
    progress(&host, id, |it| {
        it["step"].as_f64().is_some_and(|it| it > step)
    });
    host.act_with(id, "cancel", &json!({"grace": 0}));
    let shown = host.ended(id)["progress"].clone();
    assert!(
        shown["step"].is_null() && shown["percent"].is_null(),
        "{shown:#}"
    );
}

#[test]
fn programs_of_ones_own_count_by_the_kind_of_the_job() {
    let host = host();
    sparse(&host, "big", SIZE);
    fs::copy("/bin/cat", host.path("mycopy")).unwrap();
    let out = host.gate("out");
    let spec =
        |kind: &str| json!({"command": ["sh", "-c", "exec ./mycopy big > out"], "kind": kind});
    let id = host.submit(spec("download"));
    host.reaches(id, "running");
    until_found(&host, &out, id, SIZE);
    finish(&host, &out, id);
}

#[test]
fn what_a_job_says_itself_counts() {
    let host = host();
    sparse(&host, "big", SIZE);
    let (out, go) = (host.gate("out"), host.gate("go"));
    let id = host.sh("echo '[3/10]'; cat big > out & read x < go; wait");
    progress(&host, id, |it| it["step"] == 3.0);
    let mut events = host.events(&format!("channel=job/{id}/progress"));
    out.take(SIZE / 2);
    // The next word of the job is the first thing that is heard.
    let last = host.sh("sleep 1");
    host.ended(last);
    let told = host.post(&format!("/v1/jobs/{id}/progress"), &json!({"step": 4}));
    assert!(told.is_success(), "{}", told.text());
    let message = events.until(|it| it.kind == "progress");
    assert_eq!(message.data["body"]["current_step"], 4.0);
    go.open();
    finish(&host, &out, id);
}

#[test]
fn nothing_is_looked_at_where_nobody_wants_it() {
    let host = Host::with_config(&EAGER.replace("]\n", "]\nopen_files = false\n"));
    sparse(&host, "big", SIZE);
    let out = host.gate("out");
    let id = host.sh("cat big > out");
    host.reaches(id, "running");
    for _ in 0..4 {
        out.take(SIZE / 8);
        let other = host.sh("sleep 0.2");
        host.ended(other);
    }
    assert!(host.job(id)["progress"].is_null(), "{:#}", host.job(id));
    finish(&host, &out, id);
}
