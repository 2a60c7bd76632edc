//! Adapters of a user's own: read at start and on SIGHUP, told when they are wrong, tried out without a daemon.

use crate::harness::Host;
use crate::outside::Process;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use stoked::contain::identity;

const ZORK: &str = "[[adapter]]\nname = \"zork\"\n[[adapter.line]]\npattern = '^zork (?<step>\\d+)\\+(?<total>\\d+)$'\n";

fn write_adapter(host: &Host, text: &str) {
    let dir = host.root().join("config/stoked/adapters.d");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("zork.toml"), text).unwrap();
}

/// The progress of a job, once it is at this step.
fn at_step(host: &Host, id: u64, step: f64) -> Value {
    let mut events = host.events(&format!("channel=job/{id}/progress&snapshot=1"));
    loop {
        let shown = host.job(id)["progress"].clone();
        if shown["step"] == json!(step) {
            return shown;
        }
        events.until(|it| it.kind == "progress");
    }
}

#[test]
fn own_adapters_are_read_at_start_and_again_on_sighup() {
    let mut host = Host::prepare("");
    write_adapter(&host, ZORK);
    host.boot();
    assert_eq!(host.health_of("adapters")["health"], "healthy");
    let go = host.gate("go");
    let early = host.sh("echo zork 3+9; read x < go; echo zork 5+9; read x < go");
    let shown = at_step(&host, early, 3.0);
    assert_eq!(shown["total_steps"], json!(9.0), "{shown:#}");
    assert_eq!(shown["source"], "zork", "{shown:#}");

    // A mistake switches off this adapter and nothing else. The group tells when all has been read.
    write_adapter(&host, &ZORK.replace("pattern", "patern"));
    let config = host.root().join("config/stoked/stoked.toml");
    fs::write(config, "[groups.again]\nparallelism = 3\n").unwrap();
    let mut groups = host.events("channel=group/again/*");
    let pid = host.get("/v1/version")["pid"].as_u64().unwrap();
    identity::signal(&Process::of(pid).0, Signal::HUP).unwrap();
    groups.until(|it| it.kind == "group");
    let health = host.health_of("adapters");
    assert_eq!(health["health"], "degraded", "{health:#}");
    let message = health["message"].as_str().unwrap();
    assert!(
        message.contains("zork.toml:4: adapter zork: patern"),
        "{message}"
    );
    assert!(host.said().contains("patern"), "{}", host.said());

    // An attempt keeps the adapters it began with.
    go.open();
    at_step(&host, early, 5.0);
    go.open();
    host.ended(early);
    let late = host.sh("echo zork 3+9; echo '[7/9] others are read'");
    let job = host.ended(late);
    assert_eq!(job["progress"]["source"], "ratio", "{job:#}");
    assert_eq!(job["progress"]["step"], json!(7.0), "{job:#}");
}

#[test]
fn what_the_first_jobs_print_is_read_although_the_adapters_take_long_to_make() {
    let many = |name: usize| {
        let pattern = format!("^{name:x} of (?<step>\\d+) and (?<total>\\d+)$");
        format!("[[adapter]]\nname = \"a{name}\"\n[[adapter.line]]\npattern = '{pattern}'\n")
    };
    let mut host = Host::prepare("");
    write_adapter(
        &host,
        &(0..1500)
            .map(many)
            .chain([ZORK.to_owned()])
            .collect::<String>(),
    );
    host.boot();
    // Neither the one that ends at once nor the one that is still there is heard before the adapters are made.
    let go = host.gate("go");
    let short = host.sh("echo zork 3+9");
    let long = host.sh("echo zork 3+9; read x < go; echo zork 5+9");
    let silent = host.sh("true");
    assert!(host.ended(silent)["progress"].is_null());
    let job = host.ended(short);
    assert_eq!(job["progress"]["source"], "zork", "{job:#}");
    go.open();
    let job = host.ended(long);
    assert_eq!(job["progress"]["step"], json!(5.0), "{job:#}");
    assert_eq!(host.health_of("adapters")["health"], "healthy");
}

#[test]
fn check_config_looks_at_adapters() {
    let host = Host::prepare("");
    let check = || {
        let mut command = host.command(env!("CARGO_BIN_EXE_stoked"));
        command.args(["--user", "--check-config"]).output().unwrap()
    };
    write_adapter(&host, ZORK);
    let good = check();
    assert!(good.status.success(), "{good:?}");
    assert!(String::from_utf8_lossy(&good.stdout).contains("adapters.d/zork.toml"));
    write_adapter(&host, &ZORK.replace("pattern", "patern"));
    let bad = check();
    assert!(!bad.status.success());
    let said = String::from_utf8_lossy(&bad.stderr);
    assert!(said.contains("zork.toml:4: adapter zork: patern"), "{said}");
    assert!(said.contains("`pattern`"), "{said}");
}

#[test]
fn adapters_are_tried_out_without_a_daemon() {
    let host = Host::prepare("");
    write_adapter(&host, ZORK);
    let list = host.stoke_ok(&["adapters", "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"zork") && names.contains(&"tqdm"),
        "{names:?}"
    );
    let shown = host.stoke_ok(&["adapters", "show", "zork"]);
    assert_eq!(shown.trim(), ZORK.trim());

    let file = host.path("output");
    fs::write(&file, "first\nzork 3+9\n\nzork 4+9\n").unwrap();
    let file = file.to_str().unwrap();
    let told = host.stoke_ok(&["adapters", "test", file, "--json"]);
    let told: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let places: Vec<_> = told.iter().map(|it| (&it["line"], &it["offset"])).collect();
    assert_eq!(
        places[..2],
        [(&json!(2), &json!(6)), (&json!(4), &json!(16))]
    );
    assert_eq!(told[1]["reading"]["step"], json!(4.0));
    assert_eq!(told[2]["adapters"][0]["lines_read"], 2, "{told:#?}");
    let text = host.stoke_ok(&["adapters", "test", file]);
    assert!(text.contains("zork") && text.contains("step 4/9"), "{text}");

    let code = |args: &[&str]| host.stoke(args).status.code();
    assert_eq!(
        code(&["adapters", "test", file, "--adapter", "tqdm"]),
        Some(1)
    );
    assert_eq!(
        code(&["adapters", "test", file, "--adapter", "none"]),
        Some(4)
    );
    assert_eq!(code(&["adapters", "test", "missing"]), Some(4));
    assert_eq!(code(&["adapters", "show", "none"]), Some(4));
}
