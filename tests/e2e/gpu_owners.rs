//! Whose work is on a GPU where that is not plain: processes outside of their job, in a namespace of their own, or gone.

use crate::fake_nvml::{FakeDriver, gpu, uuid};
use crate::gpus::{host, prepared, until};
use crate::harness::{Host, say_skipped};
use crate::http::Ask;
use crate::outside::Process;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use stoked::contain::tree::TOKEN_VARIABLE;

const GIB: u64 = 1 << 30;

/// A job that does nothing for long.
const IDLE: &str = "read x < $W/never || sleep 1000";

/// A process that no job started, as a runtime of containers starts them: in a session of its own, and nobody's child.
struct Outsider(Process);

impl Outsider {
    fn with(token: &str, uid: Option<u32>) -> Self {
        let mut command = Command::new("setsid");
        command
            .args(["--fork", "sh", "-c"])
            .arg("echo $$; exec sleep 1000 > /dev/null")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env(TOKEN_VARIABLE, token)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        let mut parent = command.spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(parent.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert!(parent.wait().unwrap().success());
        Self(Process::of(line.trim().parse().unwrap()))
    }

    fn pid(&self) -> u32 {
        self.0.0.pid
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// What marks the processes of a job, as its shim noted it down.
fn token(host: &Host, job: u64) -> String {
    host.main_process(job);
    let claim = host.state_dir().join(format!("attempts/{job}.1/claim"));
    let claim: Value = serde_json::from_slice(&fs::read(claim).unwrap()).unwrap();
    claim["token"].as_str().unwrap().to_owned()
}

/// Waits until a job is said to hold so much memory of a GPU.
fn holds(host: &Host, job: u64, gibibytes: u64) {
    until(host, &format!("job/{job}/metrics"), |body| {
        body["gpus"][0]["memory_bytes"] == json!(gibibytes * GIB)
    });
}

fn cancel(host: &Host, job: u64) {
    host.act_with(job, "cancel", &json!({"grace": 0}));
    host.ended(job);
}

/// Whose each process at the first GPU is.
fn processes(host: &Host) -> Vec<Value> {
    let gpus = host.get("/v1/gpus");
    gpus["items"][0]["processes"].as_array().unwrap().clone()
}

#[test]
fn a_process_outside_of_its_job_is_known_by_its_token() {
    let fake = FakeDriver::new(&gpu(0));
    let mut host = host(&fake);
    let job = host.sh(IDLE);
    let own = Outsider::with(&token(&host, job), None);
    let line = format!("process 0 {} compute 4G 30 0 0 0\n", own.pid());
    fake.say(&(gpu(0) + &line));
    holds(&host, job, 4);
    assert_eq!(processes(&host)[0]["job"], json!(job));
    // The next daemon learns it from the claim as well.
    host.restart();
    holds(&host, job, 4);
    cancel(&host, job);
}

#[test]
fn the_token_of_a_job_is_of_no_use_to_another_user() {
    if !rustix::process::geteuid().is_root() {
        return say_skipped("only root can start processes of other users");
    }
    let fake = FakeDriver::new(&gpu(0));
    let host = host(&fake);
    // As the jobs of this daemon run as root, whoever runs as root is its own.
    let job = host.sh(IDLE);
    let token = token(&host, job);
    let (own, other) = (
        Outsider::with(&token, None),
        Outsider::with(&token, Some(65_534)),
    );
    let lines = format!(
        "process 0 {} compute 1G 10 0 0 0\nprocess 0 {} compute 2G 20 0 0 0\n",
        own.pid(),
        other.pid()
    );
    fake.say(&(gpu(0) + &lines));
    holds(&host, job, 1);
    // Who came between a look at processes and one at the GPU is known with the next look.
    let shown = until(&host, "gpu/0/metrics", |body| {
        let processes = body["processes"].as_array().unwrap();
        processes.len() == 2 && processes.iter().all(|it| it["unknown"].is_null())
    });
    let whose: Vec<_> = shown["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["job"].clone(), it["uid"].clone()))
        .collect();
    assert_eq!(
        whose,
        [(json!(job), Value::Null), (Value::Null, json!(65_534))]
    );
    cancel(&host, job);
}

#[test]
fn a_job_in_a_namespace_of_its_own_is_known_by_the_ids_of_the_host() {
    let mut unshare = vec!["unshare", "--pid", "--fork", "--kill-child"];
    if !rustix::process::geteuid().is_root() {
        unshare.extend(["--user", "--map-root-user"]);
    }
    let mut tried = Command::new(unshare[0]);
    let tried = tried.args(&unshare[1..]).arg("true").output();
    if !tried.is_ok_and(|it| it.status.success()) {
        return say_skipped("no namespace of processes can be made here");
    }
    let fake = FakeDriver::new(&gpu(0));
    let host = host(&fake);
    let gate = host.gate("gate");
    unshare.extend([
        "sh",
        "-c",
        "echo $$ > $W/gate; read x < $W/never || sleep 1000",
    ]);
    let job = host.submit(json!({ "command": unshare }));
    assert_eq!(gate.hear(), "1", "it is the first one in there");
    let main = host.main_process(job).0.pid;
    let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap();
    let line = format!("process 0 {} compute 3G 40 0 0 0\n", children.trim());
    fake.say(&(gpu(0) + &line));
    holds(&host, job, 3);
    cancel(&host, job);
}

#[test]
fn a_daemon_in_a_namespace_of_its_own_takes_no_process_for_another() {
    let fake = FakeDriver::new(&gpu(0));
    let mut host = prepared(&fake);
    host.tell("STOKED_GPU_PIDS", "inner");
    host.boot();
    let job = host.sh(IDLE);
    let pid = host.main_process(job).0.pid;
    // Of this number there is a process here, and the driver speaks of another one.
    let line = format!("process 0 {pid} compute 8G - 0 0 0\n");
    fake.say(&(gpu(0) + &line));
    let shown = until(&host, "gpu/0/metrics", |body| {
        body["processes"][0]["pid"] == json!(pid)
    });
    let process = &shown["processes"][0];
    assert_eq!(
        (&process["unknown"], &process["job"]),
        (&json!(true), &Value::Null)
    );
    let metrics = until(&host, &format!("job/{job}/metrics"), |_| true);
    assert_eq!(metrics["gpus"].as_array().map_or(0, Vec::len), 0);
    let found = host.stoke_ok(&["doctor"]);
    assert!(found.contains("pid namespace of its own"), "{found}");
    cancel(&host, job);
}

#[test]
fn an_error_of_the_driver_names_its_gpu_process_and_job() {
    let fake = FakeDriver::new(&gpu(0));
    let mut host = prepared(&fake);
    let log = host.gate("kernel-log");
    host.tell("STOKED_KERNEL_LOG", log.path());
    host.boot();
    until(&host, "gpu/0/metrics", |body| body["condition"] == "ok");
    let counted = |count: u32| {
        let exposed = host
            .send(&Ask::get("/metrics").header("Accept", "text/plain"))
            .text();
        let labels = format!(
            "{{gpu=\"0\",uuid=\"{}\",model=\"NVIDIA Fake H100\"}}",
            uuid(0)
        );
        let line = format!("stoked_gpu_xids_total{labels} {count}\n");
        assert!(exposed.contains(&line), "{line} is not in {exposed}");
    };
    counted(0);
    let gate = host.gate("gate");
    let job = host.sh(&format!("read line < {}", gate.path().display()));
    let pid = host.main_process(job).0.pid;
    until(&host, &format!("job/{job}/metrics"), |body| {
        body["processes_count"] == json!(1)
    });
    let mut events = host.events("channel=gpu/*/xid");
    let mut told = |number: u32, code: u32| {
        log.say(&format!(
            "4,{number},2,-;NVRM: Xid (PCI:0000:60:00): {code}, pid={pid}, name=sh, Ch 00000008"
        ));
        let body = events.next().unwrap().data["body"].clone();
        let expected = json!({
            "at_ms": body["at_ms"], "uuid": uuid(0), "pci_bus_id": "0000:60:00.0", "code": code, "pid": pid,
            "process": "sh", "index": 0, "job": job, "attempt": 1
        });
        assert_eq!(body, expected);
    };
    // The library tells it too: that is one event, or the next one would not be what it is.
    fake.say(&(gpu(0) + "xid 0 31 1\n"));
    told(42, 31);
    gate.say("go");
    host.ended(job);
    told(43, 45);
    until(&host, "gpu/0/metrics", |body| {
        body["xids_count"] == json!(2)
    });
    counted(2);
}
