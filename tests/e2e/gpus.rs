//! GPUs without a GPU: the real daemon on a fake driver, and jobs that are said to use it.

use crate::fake_nvml::{FakeDriver, gpu, uuid};
use crate::gate::Gate;
use crate::harness::Host;
use crate::measured::reload;
use crate::trees::plant;
use serde_json::{Value, json};

/// How many messages are waited for: ten come in a second.
const PATIENCE: u32 = 300;

/// A host on a fake driver, whose daemon runs.
pub(crate) fn host(fake: &FakeDriver) -> Host {
    let mut host = prepared(fake);
    host.boot();
    host
}

/// The same, whose daemon is not started yet.
pub(crate) fn prepared(fake: &FakeDriver) -> Host {
    let mut host = Host::prepare(&config(fake));
    // The fake driver tells processes as they are counted here, wherever that is.
    host.tell("STOKED_GPU_PIDS", "outermost");
    host
}

fn config(fake: &FakeDriver) -> String {
    format!(
        "[sampling]\nnvml_library = \"{}\"\ngpu_interval = \"100ms\"\njob_interval = \"100ms\"\nwatched_interval = \"100ms\"\nidle_interval = \"100ms\"\ngpu_timeout = \"2s\"\n",
        fake.library().display()
    )
}

/// The first message of a channel that is as wanted.
pub(crate) fn until(host: &Host, channel: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let mut events = host.events(&format!("channel={channel}"));
    let mut newest = Value::Null;
    for _ in 0..PATIENCE {
        let message = events.next().unwrap_or_else(|| panic!("{}", host.said()));
        newest = message.data["body"].clone();
        if is_wanted(&newest) {
            return newest;
        }
    }
    panic!("that never came on {channel}: {newest:#}")
}

#[test]
fn a_job_is_told_which_gpus_it_uses_and_how_much() {
    let fake = FakeDriver::new(&gpu(0));
    let host = host(&fake);
    let gate = host.gate("gate");
    let job = host.sh(&format!("read line < {}", gate.path().display()));
    let pid = host.main_process(job).0.pid;
    // One that is nobody's job computes as well, and one is gone already.
    let own = std::process::id();
    let uses = format!(
        "process 0 {pid} compute 8G 60 0 0 0\nprocess 0 {own} compute 1G 25 0 0 0\nprocess 0 4190000 compute 2G 0 0 0 0\n"
    );
    fake.say(&(gpu(0) + &uses));
    let metrics = until(&host, &format!("job/{job}/metrics"), |body| {
        body["gpus"][0]["utilization_percent"] == json!(60)
    });
    // Whoever looks for what the driver has hung up finds it by its name.
    let daemon = crate::measured::daemon(&host).0.pid;
    let threads = std::fs::read_dir(format!("/proc/{daemon}/task")).unwrap();
    let children = threads.map(|it| std::fs::read_to_string(it.unwrap().path().join("children")));
    let children: String = children.map(|it| it.unwrap_or_default()).collect();
    let names = children.split_whitespace().map(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        name.unwrap_or_default()
    });
    assert!(
        names.into_iter().any(|it| it == "stoked-gpu\n"),
        "{children}"
    );
    let used = &metrics["gpus"][0];
    assert_eq!(
        (&used["index"], &used["quality"]),
        (&json!(0), &json!("measured"))
    );
    assert_eq!(used["memory_bytes"], json!(8_u64 << 30), "{metrics:#}");
    let operations = host.get("/v1/operations");
    let summary = operations["jobs"][0]["summary"].as_str().unwrap();
    assert!(
        summary.contains("is using GPU 0 (60 %), 8.0 GiB"),
        "{summary}"
    );
    let gpus = host.get("/v1/gpus");
    let processes = gpus["items"][0]["processes"].as_array().unwrap();
    let whose: Vec<_> = processes
        .iter()
        .map(|it| (&it["job"], &it["unknown"]))
        .collect();
    assert_eq!(
        whose,
        [
            (&json!(job), &Value::Null),
            (&Value::Null, &Value::Null),
            (&Value::Null, &json!(true))
        ],
        "{gpus:#}"
    );
    gate.say("go");
    let ended = host.ended(job);
    assert_eq!(ended["state"], "completed");
    let used = &ended["attempts"][0]["gpu_usage"];
    let peak = json!(8_u64 << 30);
    assert_eq!(used["gpus"][0]["memory_peak_bytes"], peak, "{ended:#}");
    assert_eq!(used["mean_utilization_percent"], json!(60.0), "{ended:#}");
    let shown = host.stoke_ok(&["show", &job.to_string()]);
    let columns = ["HELD", "ENERGY", " GPU-0", "60%", "8.0 GiB"];
    assert!(columns.iter().all(|it| shown.contains(it)), "{shown}");
}

/// A GPU that draws more and more, at a second of its script: 750 J up to the fifth, 22 kJ up to the sixtieth, and
/// 500 J in each after that.
fn drawing(second: u32, uses: &str) -> String {
    let curve = "gpu 0 power 0:100,10:300,60:500\n";
    gpu(0).replace("gpu 0 power 250\n", curve) + &format!("clock {second}\n{uses}")
}

/// What a job was told to compute, and its part of the energy, as its events say.
fn percent_and_joules(body: &Value) -> (Option<f64>, Option<f64>) {
    let of = |field: &str| body["gpus"][0][field].as_f64();
    (of("utilization_percent"), of("energy_joules"))
}

/// A job that waits for its gate, and what the driver says of its process.
fn user(host: &Host, gate: &Gate, use_of_it: &str) -> (u64, String) {
    let job = host.sh(&format!("read line < {}", gate.path().display()));
    let pid = host.main_process(job).0.pid;
    (job, format!("process 0 {pid} compute {use_of_it} 0 0 0\n"))
}

fn stored_joules(host: &Host, job: u64) -> Value {
    host.ended(job)["attempts"][0]["gpu_usage"]["gpus"][0]["energy_joules"].clone()
}

#[test]
fn the_energy_of_a_job_is_the_integral_of_what_its_gpu_drew() {
    let fake = FakeDriver::new(&drawing(5, ""));
    let host = host(&fake);
    let gates = [host.gate("first"), host.gate("second")];
    let (first, alone) = user(&host, &gates[0], "8G 60");
    let of_first = format!("job/{first}/metrics");
    fake.say(&drawing(5, &alone));
    until(&host, &of_first, |body| {
        percent_and_joules(body).0 == Some(60.0)
    });
    fake.say(&drawing(60, &alone));
    until(&host, &of_first, |body| {
        percent_and_joules(body).1 == Some(21_250.0)
    });
    let (second, its) = user(&host, &gates[1], "4G 30");
    let both = alone + &its;
    fake.say(&drawing(60, &both));
    until(&host, &format!("job/{second}/metrics"), |body| {
        percent_and_joules(body).0 == Some(30.0)
    });
    fake.say(&drawing(90, &both));
    // Of the 15 kJ since, two parts in three.
    until(&host, &of_first, |body| {
        percent_and_joules(body).1 == Some(31_250.0)
    });
    gates.iter().for_each(Gate::open);
    assert_eq!(stored_joules(&host, first), json!(31_250.0));
    assert_eq!(stored_joules(&host, second), json!(5_000.0));
}

#[test]
fn gpus_that_are_switched_off_are_used_by_nobody() {
    let fake = FakeDriver::new(&drawing(5, ""));
    let host = host(&fake);
    let gate = host.gate("gate");
    let (job, its) = user(&host, &gate, "8G 60");
    let metrics = format!("job/{job}/metrics");
    fake.say(&drawing(5, &its));
    until(&host, &metrics, |body| {
        percent_and_joules(body).0 == Some(60.0)
    });
    fake.say(&drawing(60, &its));
    until(&host, &metrics, |body| {
        percent_and_joules(body).1 == Some(21_250.0)
    });
    reload(&host, &(config(&fake) + "gpus = false\n"));
    let shown = until(&host, &metrics, |body| body["gpus"].get(0).is_none());
    assert_eq!(shown.get("gpu_percent"), None, "{shown:#}");
    assert!(shown["gpu_seconds"].is_number(), "what it used is kept");
    fake.say(&drawing(90, &its));
    reload(&host, &config(&fake));
    let shown = until(&host, &metrics, |body| {
        percent_and_joules(body).0 == Some(60.0)
    });
    assert_eq!(percent_and_joules(&shown).1, Some(21_250.0), "{shown:#}");
    gate.open();
    assert_eq!(stored_joules(&host, job), json!(21_250.0));
}

#[test]
fn a_driver_that_hangs_holds_nothing_up() {
    let fake = FakeDriver::new(&gpu(0));
    let host = host(&fake);
    until(&host, "gpu/0/metrics", |body| body["condition"] == "ok");
    fake.say(&(gpu(0) + "hang nvmlDeviceGetPowerUsage\n"));
    let shown = until(&host, "gpu/0/metrics", |body| {
        body["condition"] == "unresponsive"
    });
    assert_eq!(shown.get("power_watts"), None);
    let told = host.health_of("sampling");
    assert_eq!(told["health"], json!("degraded"), "{told}");
    let job = host.sh("echo works");
    assert_eq!(host.ended(job)["state"], "completed");
    fake.say(&gpu(0));
    let shown = until(&host, "gpu/0/metrics", |body| body["condition"] == "ok");
    assert_eq!(shown["power_watts"], json!(250), "{shown:#}");
    let told = host.health_of("sampling");
    assert_eq!(told["health"], json!("healthy"), "{told}");
}

#[test]
fn one_gpu_that_hangs_or_is_lost_is_named_and_the_others_are_measured() {
    let both = gpu(0) + &gpu(1);
    let fake = FakeDriver::new(&both);
    let host = host(&fake);
    until(&host, "gpu/1/metrics", |body| body["condition"] == "ok");
    fake.say(&(both.clone() + "hang nvmlDeviceGetPowerUsage 1\n"));
    until(&host, "gpu/1/metrics", |body| {
        body["condition"] == "unresponsive"
    });
    let shown = until(&host, "gpu/0/metrics", |body| {
        body["power_watts"] == json!(250)
    });
    assert_eq!(shown["condition"], json!("ok"));
    let told = host.health_of("sampling");
    assert_eq!(told["health"], json!("degraded"), "{told}");
    let why = told["message"].as_str().unwrap();
    assert!(why.contains("GPU 1") && !why.contains("GPU 0"), "{why}");
    fake.say(&(both.clone() + "gpu 1 lost 1\n"));
    until(&host, "gpu/1/metrics", |body| body["condition"] == "lost");
    let told = host.health_of("sampling");
    let why = told["message"].as_str().unwrap();
    assert!(why.contains("failed to reach GPU 1"), "{why}");
    fake.say(&both);
    until(&host, "gpu/1/metrics", |body| body["condition"] == "ok");
    assert_eq!(host.health_of("sampling")["health"], json!("healthy"));
    let log = host.said();
    assert_eq!(log.matches("failed to reach GPU 1").count(), 1, "{log}");
}

#[test]
fn an_error_of_the_driver_is_an_event() {
    let fake = FakeDriver::new(&gpu(0));
    let host = host(&fake);
    until(&host, "gpu/0/metrics", |body| body["condition"] == "ok");
    let mut events = host.events("channel=gpu/*/xid");
    fake.say(&(gpu(0) + "xid 0 79 1\n"));
    let message = events.next().unwrap();
    assert_eq!(message.data["body"]["code"], json!(79), "{message:?}");
}

#[test]
fn gpus_of_several_makers_have_numbers_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    plant(root.path(), "intel.tree");
    let recording = root.path().join("recording");
    let identity = json!({"uuid": "REC-a", "index": 0, "name": "Recorded", "vendor": "amd"});
    let frame = json!({"at_ms": 0, "gpus": [{"identity": identity, "condition": "ok", "readings": {"power.watts": 30}}]});
    std::fs::write(&recording, frame.to_string()).unwrap();
    let fake = FakeDriver::new(&gpu(0));
    let mut host = prepared(&fake);
    host.tell("STOKED_GPU_SYS", root.path().join("sys"));
    host.tell("STOKED_GPU_PROC", root.path().join("proc"));
    host.tell(
        "STOKED_GPU_RECORDING",
        format!("steps={}", recording.display()),
    );
    host.boot();
    let nvidia = uuid(0);
    // Intel's second one keeps its number, and the others get what is left.
    let expected = [
        nvidia.as_str(),
        "PCI-0000:08:00.0",
        "PCI-0000:00:02.0",
        "REC-a",
    ];
    for _ in 0..2 {
        for (number, uuid) in expected.iter().enumerate().rev() {
            let shown = until(&host, &format!("gpu/{number}/metrics"), |_| true);
            assert_eq!(shown["uuid"], json!(uuid), "GPU {number}");
        }
        let gpus = host.get("/v1/gpus");
        let gpus = gpus["items"].as_array().unwrap().iter();
        let listed: Vec<_> = gpus
            .map(|it| it["uuid"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(listed, expected);
        host.restart();
    }
}
