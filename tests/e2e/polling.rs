//! Whoever asks is told the same as whoever listens.

use crate::fake_nvml::{FakeDriver, gpu};
use crate::harness::Host;
use serde_json::{Value, json};

/// How many messages are waited for, of ten in a second.
const PATIENCE: u32 = 300;

/// All of it ten times a second.
fn often(library: &str) -> String {
    let names = ["host", "job", "gpu", "watched", "idle", "battery"];
    let lines = names.map(|name| format!("{name}_interval = \"100ms\"\n"));
    format!(
        "[sampling]\nnvml_library = \"{library}\"\n{}",
        lines.concat()
    )
}

/// What was told on a channel, and what `ask` answers of the same instant.
fn of_one_instant(host: &Host, channel: &str, ask: impl Fn() -> (Value, Value)) -> (Value, Value) {
    let mut events = host.events(&format!("channel={channel}"));
    // The first looks compare with nothing.
    for _ in 0..2 {
        events.until(|it| it.data["channel"] == channel);
    }
    let mut told = Vec::new();
    for _ in 0..PATIENCE {
        let (time, answer) = ask();
        // It was measured before it was asked for, and may have been told before that or after.
        for _ in 0..2 {
            let event = events.until(|it| it.data["channel"] == channel);
            told.push((event.data["time"].clone(), event.data["body"].clone()));
        }
        if let Some((_, body)) = told.iter().find(|(at, _)| *at == time) {
            return (body.clone(), answer);
        }
    }
    panic!("nothing of one instant on {channel}: {}", host.said());
}

#[test]
fn whoever_asks_is_told_what_events_tell_of_the_host_and_its_gpus() {
    let fake = FakeDriver::new(&gpu(0));
    let host = Host::with_config(&often(&fake.library().display().to_string()));
    for part in ["cpu", "memory"] {
        let ask = || {
            let shown = host.get("/v1/host");
            (shown["time"].clone(), shown[part].clone())
        };
        let (told, shown) = of_one_instant(&host, &format!("host/{part}/metrics"), ask);
        assert!(told.as_object().unwrap().len() > 3, "{told:#}");
        assert_eq!(told, shown, "{part}");
    }
    let ask = || {
        let shown = host.get("/v1/gpus")["items"][0].clone();
        (shown["time"].clone(), shown)
    };
    let (told, shown) = of_one_instant(&host, "gpu/0/metrics", ask);
    assert!(told["power_watts"].is_number(), "{told:#}");
    assert_eq!(told, shown);
}

#[test]
fn progress_is_told_with_what_the_job_uses_of_gpus() {
    let fake = FakeDriver::new(&gpu(0));
    let host = Host::with_config(&often(&fake.library().display().to_string()));
    let gate = host.gate("gate");
    let job = host.sh(&format!(
        "echo '::progress step=1 steps=3'; read x < {0}; echo '::progress step=2 steps=3'; read x < {0}",
        gate.path().display()
    ));
    let mut progress = host.events(&format!("channel=job/{job}/progress"));
    let first = progress.until(|it| it.kind == "progress");
    let figures = ["gpus", "gpu_utilization_percent", "gpu_memory_allocated_gb"];
    for name in figures {
        assert_eq!(
            first.data["body"].get(name),
            None,
            "it uses none: {first:?}"
        );
    }
    let pid = host.main_process(job).0.pid;
    fake.say(&(gpu(0) + &format!("process 0 {pid} compute 8G 60 0 0 0\n")));
    host.events(&format!("channel=job/{job}/metrics"))
        .until(|it| it.data["body"]["gpus"][0]["utilization_percent"] == json!(60));
    gate.say("go");
    let told = progress.until(|it| it.data["body"]["current_step"] == 2.0);
    let body = &told.data["body"];
    assert_eq!(body["gpus"][0]["index"], 0, "{body:#}");
    assert_eq!(body["gpus"][0]["utilization_percent"], 60.0, "{body:#}");
    assert_eq!(body["gpus"][0]["memory_bytes"], 8_u64 << 30, "{body:#}");
    assert_eq!(body["gpu_utilization_percent"], 60.0, "{body:#}");
    assert_eq!(body["gpu_memory_allocated_gb"], 8.59, "{body:#}");
    gate.say("end");
    host.ended(job);
}
