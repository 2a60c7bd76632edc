//! What is measured, from the kernel to the client: usage in answers and events, its cadence, and what scrapers read.

use crate::harness::{Host, say_skipped};
use crate::http::Ask;
use crate::outside::Process;
use crate::stream::{Events, Message};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use stoked::contain::identity::signal;

/// A job that computes until it is let go.
const BUSY: &str =
    "while ! [ -e $W/enough ]; do i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done; done";

/// Everything is measured as often as this.
pub(crate) fn every(interval: &str) -> String {
    let names = ["host", "job", "gpu", "watched", "idle", "battery"];
    let lines = names.map(|name| format!("{name}_interval = \"{interval}\"\n"));
    format!("[sampling]\n{}", lines.concat())
}

fn enough(host: &Host, id: u64) -> Value {
    fs::write(host.path("enough"), "").unwrap();
    host.ended(id)
}

pub(crate) fn time(message: &Message) -> jiff::Timestamp {
    message.data["time"].as_str().unwrap().parse().unwrap()
}

/// Seconds from the first to the last of so many messages.
fn spread(events: &mut Events, count: usize) -> f64 {
    let times: Vec<_> = (0..count)
        .map(|_| time(&events.until(|it| it.kind == "metrics")))
        .collect();
    times[count - 1].duration_since(times[0]).as_secs_f64()
}

pub(crate) fn daemon(host: &Host) -> Process {
    Process::of(host.get("/v1/version")["pid"].as_u64().unwrap())
}

/// Has the daemon read another configuration.
pub(crate) fn reload(host: &Host, config: &str) {
    fs::write(host.root().join("config/stoked/stoked.toml"), config).unwrap();
    signal(&daemon(host).0, Signal::HUP).unwrap();
}

#[test]
fn what_a_job_uses_is_told_the_same_everywhere() {
    let host = Host::with_config(&every("1s"));
    let id = host.sh(BUSY);
    let mut events = host.events(&format!("channel=job/{id}/metrics&snapshot=1"));
    // The newest sample may be a newer one by the time it is asked for.
    let told = loop {
        let told =
            events.until(|it| it.kind == "metrics" && it.data["body"]["cpu_percent"].is_number());
        let job = host.job(id);
        if job["usage"]["time"] == told.data["body"]["time"] {
            let mut body = told.data["body"].clone();
            let fields = body.as_object_mut().unwrap();
            assert_eq!(fields.remove("job"), Some(json!(id)));
            assert_eq!(fields.remove("attempt"), Some(json!(1)));
            assert_eq!(body, job["usage"], "{job:#}");
            break told;
        }
    };
    assert_eq!(told.data["channel"], format!("job/{id}/metrics"));
    assert!(
        told.seq().is_none() && told.id.is_none(),
        "telemetry is not durable"
    );
    let usage = &told.data["body"];
    // One thread, on cores that others want too.
    let percent = usage["cpu_percent"].as_f64().unwrap();
    assert!(percent > 0.0 && percent < 130.0, "{usage:#}");
    assert!(usage["memory_bytes"].as_f64().unwrap() > 0.0, "{usage:#}");
    assert!(
        usage["processes_count"].as_f64().unwrap() >= 1.0,
        "{usage:#}"
    );
    let all = host.get("/v1/operations");
    let shown = &all["jobs"][0];
    assert_eq!(shown["id"], id);
    assert!(shown["usage"]["cpu_seconds"].is_number(), "{shown:#}");
    let words = shown["summary"].as_str().unwrap();
    assert!(words.starts_with("sh is using "), "{words}");
    let listed = host.get("/v1/jobs");
    assert!(
        listed["items"][0]["usage"]["cpu_seconds"].is_number(),
        "{listed:#}"
    );
    enough(&host, id);
}

/// The job says itself what it used.
#[test]
fn cpu_time_is_what_the_job_used() {
    let host = Host::with_config(&every("100ms"));
    let id = host.sh(&format!("{BUSY}; times"));
    let mut events = host.events(&format!("channel=job/{id}/metrics"));
    let used = |it: &Message| {
        it.data["body"]["cpu_seconds"]
            .as_f64()
            .filter(|used| *used > 0.5)
    };
    let sampled = used(&events.until(|it| used(it).is_some())).unwrap();
    let job = enough(&host, id);
    let text = host.text(id);
    // Of the shell itself: "0m1.230s 0m0.020s", minutes and seconds in user mode and in the kernel.
    let own: f64 = text.split_whitespace().take(2).map(seconds).sum();
    let usage = &job["attempts"][0]["usage"];
    let total =
        usage["user_cpu_seconds"].as_f64().unwrap() + usage["system_cpu_seconds"].as_f64().unwrap();
    assert!(
        (total - own).abs() < 0.05 + own * 0.02,
        "{total} is not {own}: {job:#}"
    );
    assert!(
        sampled <= total + 0.05,
        "{sampled} before its end, {total} at its end"
    );
    assert!(
        usage["max_rss_bytes"].as_u64().unwrap() > 100_000,
        "{job:#}"
    );
}

fn seconds(text: &str) -> f64 {
    let (minutes, seconds) = text.trim_end_matches('s').split_once('m').unwrap();
    minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
}

/// CPU time that was used on this host so far, and how many cores it has.
fn cpu_of_host() -> (f64, usize) {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let all: Vec<f64> = stat
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .skip(1)
        .map(|it| it.parse().unwrap())
        .collect();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    // Without being idle, waiting for disks, and what other guests were given.
    let used = (all[0] + all[1] + all[2] + all[5] + all[6]) / ticks;
    let is_core = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
    (used, stat.lines().filter(is_core).count())
}

#[test]
fn the_host_is_what_the_kernel_says() {
    let (before, cores) = cpu_of_host();
    let host = Host::with_config(&every("200ms"));
    let mut events = host.events("channel=host/cpu/metrics");
    events.until(|it| it.kind == "metrics" && it.data["body"]["cpu_percent"].is_number());
    let shown = host.get("/v1/host");
    let (after, _) = cpu_of_host();
    let cpu = &shown["cpu"];
    let used = cpu["cpu_seconds"].as_f64().unwrap();
    assert!(
        before - 0.1 <= used && used <= after + 0.1,
        "{before} {used} {after}"
    );
    assert_eq!(cpu["cpu_count"].as_f64().unwrap(), cores as f64);
    assert_eq!(cpu["cores"].as_array().unwrap().len(), cores);
    let percent = cpu["cpu_percent"].as_f64().unwrap();
    assert!((0.0..=100.0).contains(&percent), "{cpu:#}");
    let memory = &shown["memory"];
    let kernel = fs::read_to_string("/proc/meminfo").unwrap();
    let total = kernel
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let total: u64 = total
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    assert_eq!(memory["memory_total_bytes"].as_u64().unwrap(), total * 1024);
    let used = memory["memory_used_bytes"].as_u64().unwrap();
    let available = memory["memory_available_bytes"].as_u64().unwrap();
    assert_eq!(used + available, total * 1024, "{memory:#}");
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let told = shown["tasks"]["uptime_seconds"].as_f64().unwrap();
    assert!(
        told <= uptime + 1.0 && told >= uptime - 60.0,
        "{told} {uptime}"
    );
    // What its events say is a part of it.
    let mut events = host.events("channel=host/memory/metrics&snapshot=1");
    let told = events.until(|it| it.data["channel"] == "host/memory/metrics");
    assert_eq!(
        told.data["body"]["memory_total_bytes"],
        memory["memory_total_bytes"]
    );
}

#[test]
fn who_looks_closely_has_it_measured_as_often() {
    let host = Host::with_config(&every("60s"));
    let id = host.sh("read x < $W/never || sleep 1000");
    host.reaches(id, "running");
    let mut events = host.events(&format!("channel=job/{id}/metrics&min_interval_ms=200"));
    let seconds = spread(&mut events, 4);
    assert!(
        (0.3..30.0).contains(&seconds),
        "four samples in {seconds} s"
    );
    host.act_with(id, "cancel", &json!({"grace": 0}));
    host.ended(id);
}

/// How often a thread of the daemon went to sleep, by the thread's name.
fn naps(daemon: Process, name: &str) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.0.pid)).unwrap();
    let of = |dir: &std::path::Path| {
        let comm = fs::read_to_string(dir.join("comm")).ok()?;
        let status = fs::read_to_string(dir.join("status")).ok()?;
        let count = status
            .lines()
            .find_map(|it| it.strip_prefix("voluntary_ctxt_switches:"))?;
        (comm.trim() == name).then(|| count.trim().parse::<u64>().unwrap())
    };
    tasks.flatten().filter_map(|task| of(&task.path())).sum()
}

#[test]
fn what_is_not_measured_costs_nothing_until_it_is_wanted() {
    let fast = every("100ms");
    let host = Host::with_config(&format!("{fast}enabled = false\n"));
    let daemon = daemon(&host);
    let problem = host.send(&Ask::get("/v1/host")).problem("not-found");
    assert!(
        problem["hint"]
            .as_str()
            .unwrap()
            .contains("sampling.enabled"),
        "{problem}"
    );
    let all = host.get("/v1/operations");
    assert!(all["host"].is_null() && all["gpus"] == json!([]), "{all:#}");
    let before = naps(daemon, "sampler");
    let id = host.sh("sleep 2");
    let job = host.ended(id);
    assert!(job["usage"].is_null(), "{job:#}");
    let naps = naps(daemon, "sampler") - before;
    assert!(naps <= 6, "woken {naps} times in two seconds, for nothing");
    let refused = host.stoke(&["host"]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(host.stoke_ok(&["gpus"]).starts_with("No GPU"));
    let mut events = host.events("channel=host/cpu/metrics");
    reload(&host, &fast);
    let seconds = spread(&mut events, 5);
    assert!(seconds < 30.0, "{seconds}");
    host.get("/v1/host");
}

#[test]
fn another_cadence_holds_at_once() {
    let host = Host::with_config(&every("60s"));
    let mut events = host.events("channel=host/cpu/metrics");
    reload(&host, &every("100ms"));
    let seconds = spread(&mut events, 5);
    assert!(seconds < 30.0, "five samples in {seconds} s");
}

/// What a program says of a text; `None`, said aloud, where it is not on this machine.
fn judged(text: &str, program: &str, args: &[&str]) -> Option<String> {
    let started = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        say_skipped(&format!("{program} is not on this machine"));
        return None;
    };
    let mut input = child.stdin.take().unwrap();
    // One that ends before it has read all says why.
    let _written = input.write_all(text.as_bytes());
    drop(input);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && said.contains("No module named") {
        say_skipped(&format!("{args:?}: {said}"));
        return None;
    }
    assert!(
        output.status.success(),
        "{program} {args:?}: {said}\n{text}"
    );
    Some(said.into_owned())
}

#[test]
fn what_was_measured_while_nobody_listened_is_told_at_once() {
    let host = Host::with_config(&every("60s"));
    for _ in 0..3 {
        let mut events = host.events("channel=host/memory/metrics&snapshot=1");
        let told = events.until(|it| it.data["channel"] == "host/memory/metrics");
        let shown = host.get("/v1/host");
        assert_eq!(
            told.data["body"]["memory_total_bytes"],
            shown["memory"]["memory_total_bytes"]
        );
    }
}

#[test]
fn the_most_memory_is_that_of_all_processes_together() {
    let host = Host::with_config(&every("100ms"));
    // Each `tail` holds what it has read for as long as more may come.
    let holds = "(head -c 48M /dev/zero; exec sleep 1000) | tail -c 48M > /dev/null & ";
    let id = host.sh(&format!("{}wait", holds.repeat(3)));
    let mut events = host.events(&format!("channel=job/{id}/metrics&min_interval_ms=200"));
    let all = f64::from(3 * (48 << 20));
    events.until(|it| it.data["body"]["memory_bytes"].as_f64() >= Some(all));
    host.act(id, "cancel");
    let usage = host.ended(id)["attempts"][0]["usage"].clone();
    assert!(
        usage["memory_peak_bytes"].as_f64() >= Some(all),
        "{usage:#}"
    );
    let one = usage["max_rss_bytes"].as_f64().unwrap();
    assert!(one < all / 2.0, "{usage:#}");
}

#[test]
fn scrapers_understand_what_is_exposed() {
    let host = Host::with_config(&every("200ms"));
    let name = "it's \"odd\" \\ {x}";
    let id = host.submit(json!({"command": ["sh", "-c", BUSY], "name": name}));
    let mut events = host.events(&format!("channel=job/{id}/metrics"));
    events.until(|it| it.data["body"]["cpu_percent"].is_number());
    let text = |accept: &str| {
        let answer = host.send(&Ask::get("/metrics").header("Accept", accept));
        assert!(answer.is_success(), "{}", answer.text());
        answer.text()
    };
    let plain = text("text/plain");
    assert!(plain.contains("stoked_job_cpu_seconds_total{"), "{plain}");
    assert!(plain.contains("stoked_host_memory_total_bytes "), "{plain}");
    let advice = judged(&plain, "promtool", &["check", "metrics"]);
    assert_eq!(advice.unwrap_or_default(), "", "promtool has advice");
    let newer = text("application/openmetrics-text; version=1.0.0");
    assert!(newer.ends_with("# EOF\n"), "{newer}");
    for (text, module) in [
        (&plain, "prometheus_client.parser"),
        (&newer, "prometheus_client.openmetrics.parser"),
    ] {
        let script = format!(
            "import sys; from {module} import text_string_to_metric_families as parse\n\
             names = {{s.labels.get('name') for f in parse(sys.stdin.read()) for s in f.samples}}\n\
             print(sorted(filter(None, names))[0])"
        );
        if let Some(said) = judged(text, "python3", &["-c", &script]) {
            assert_eq!(said.trim_end(), name);
        }
    }
    enough(&host, id);
}

#[test]
fn people_see_what_is_measured() {
    let mut host = Host::with_config(&every("200ms"));
    let script = format!(
        "{BUSY}; echo '{{\"current_step\": 2, \"total_steps\": 2, \"loss\": 0.5}}' > $STOKED_PROGRESS_FILE"
    );
    let id = host.submit(json!({"command": ["sh", "-c", script], "name": "busy"}));
    let mut events = host.events(&format!("channel=job/{id}/metrics"));
    events.until(|it| it.data["body"]["cpu_percent"].is_number());
    let page = host.stoke_ok(&["host"]);
    assert!(
        page.starts_with("Host  ") && page.contains("\nMemory "),
        "{page}"
    );
    let list = host.stoke_ok(&["ls"]);
    assert!(list.contains("CPU") && list.contains("MEMORY"), "{list}");
    let shown = host.stoke_ok(&["show", "busy"]);
    assert!(
        shown.contains("\nCPU ") && shown.contains("\nMeasured "),
        "{shown}"
    );
    assert!(host.stoke_ok(&["gpus"]).contains("GPU"));
    let json: Value = serde_json::from_str(&host.stoke_ok(&["gpus", "--json"])).unwrap();
    assert!(json["items"].is_array(), "{json}");
    assert_eq!(host.stoke(&["gpus", "GPU-none"]).status.code(), Some(4));
    enough(&host, id);
    // The history may lag behind by seconds, but not beyond the end of the daemon.
    host.stop();
    host.boot();
    let names = host.stoke_ok(&["series", "busy"]);
    assert!(
        names.contains("job/1/percent") && names.contains("job/1/metric.loss"),
        "{names}"
    );
    // Since when, and until when, also of what a job told and nobody measured.
    let told = names.lines().find(|line| line.contains("metric.loss"));
    let times = told.unwrap().split_once("metric.loss").unwrap().1;
    assert_eq!(
        times.matches("ago").count() + times.matches("now").count(),
        2,
        "{names}"
    );
    let table = host.stoke_ok(&["series", "1/metric.loss"]);
    assert!(
        table.starts_with("job/1/metric.loss\n") && table.contains("0.5"),
        "{table}"
    );
    let csv = host.stoke_ok(&["series", "1/percent", "1/metric.loss", "--csv"]);
    assert_eq!(csv.lines().count(), 3, "{csv}");
    let lines = host.stoke_ok(&["series", "1/metric.loss", "--jsonl"]);
    let line: Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!(
        (&line["name"], &line["last"]),
        (&json!("job/1/metric.loss"), &json!(0.5))
    );
    if cfg!(feature = "parquet") {
        let file = host.path("loss.parquet");
        host.stoke_ok(&[
            "series",
            "1/metric.loss",
            "--parquet",
            file.to_str().unwrap(),
        ]);
        let bytes = fs::read(file).unwrap();
        assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    }
    let compared = host.stoke_ok(&["compare", "1", "1.1"]);
    assert!(
        compared.starts_with("metric.loss  ▁") && compared.matches("busy").count() == 2,
        "{compared}"
    );
    let used = host.stoke_ok(&["compare", "1", "-q", "cpu.percent", "-q", "memory.bytes"]);
    assert!(
        used.starts_with("cpu.percent  percent  ▁") && used.contains("\nmemory.bytes  bytes  ▁"),
        "{used}"
    );
    // A size may have the same figures in it.
    assert_eq!(used.matches("\n1.1 ").count(), 2, "{used}");
    let plain = host.sh("true");
    host.ended(plain);
    // One that told of nothing and was gone too soon to be measured has nothing to compare.
    let nothing = host.stoke_ok(&["compare", "2"]);
    assert!(
        nothing.contains("nothing to compare") || nothing.contains("cpu.percent"),
        "{nothing}"
    );
    host.stoke_ok(&["show", "--phases", "1"]);
}

#[test]
fn others_see_what_a_job_uses_and_not_what_it_is() {
    if !rustix::process::geteuid().is_root() {
        return say_skipped("only root can serve other users");
    }
    let host = Host::of_all_users();
    let secret = "secret=word; read x < $W/never || sleep 1000";
    let id = host.sh(secret);
    let mut events = host.events(&format!(
        "channel=job/{id}/metrics&snapshot=1&min_interval_ms=200"
    ));
    events.until(|it| it.data["body"]["memory_bytes"].is_number());
    let client = host.path("stoke");
    // Where it was built may be closed to others.
    fs::copy(env!("CARGO_BIN_EXE_stoke"), &client).unwrap();
    let nobody = |args: &[&str]| {
        let mut command = host.command(client.to_str().unwrap());
        command.env("STOKE_SOCKET", host.socket()).args(args);
        let output = command.uid(65_534).gid(65_534).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains("secret"), "{text}");
        text
    };
    let shown: Value = serde_json::from_str(&nobody(&["show", "--json", "1"])).unwrap();
    assert!(shown["usage"]["memory_bytes"].is_number(), "{shown:#}");
    assert!(shown["command"].is_null(), "{shown:#}");
    nobody(&["ls"]);
    assert!(nobody(&["host"]).contains("Memory"));
    nobody(&["gpus"]);
    nobody(&["series", "1"]);
    host.act_with(id, "cancel", &json!({"grace": 0}));
    host.ended(id);
}
