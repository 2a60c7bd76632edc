//! What is over goes at last: whoever watches is told, nothing is forgotten while something of it is left, and whatever
//! is killed meanwhile, the next daemon goes through with it.

use crate::archive::{Dice, archived, listed, populate, send_only};
use crate::harness::Host;
use crate::http::Ask;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// How often the daemon is killed.
const ROUNDS: u64 = 24;

/// Everything goes as soon as it is archived, and its logs before that where they are much.
const EVERYTHING: &str =
    "[jobs]\ndefault_parallelism = 8\n[retention]\narchive_max = \"1B\"\nlogs_max = \"64KiB\"\n";

fn archive_now(host: &Host) -> Value {
    host.post("/v1/archive/now", &json!({"older_than": 0})).ok()
}

/// The jobs that were told to be removed since the beginning of what can be read, by the number of the event.
fn removed(host: &Host) -> BTreeMap<u64, u64> {
    let mut events = host.events("after=0");
    let mut removed = BTreeMap::new();
    let mut reached = 0;
    while reached < events.head() {
        let event = events.until(|it| it.seq().is_some());
        reached = event.seq().unwrap();
        if event.kind == "removed" {
            removed.insert(reached, event.data["body"]["job"].as_u64().unwrap());
        }
    }
    removed
}

#[test]
fn whoever_watches_is_told_of_every_job_that_goes_with_its_month() {
    let host = Host::with_config(EVERYTHING);
    // More than go at a time.
    let mut specs = vec![json!({"command": ["false"], "name": "first"})];
    specs.extend(
        (0..150).map(|_| json!({"command": ["true"], "after_ok": ["first"], "flow": "many"})),
    );
    let specs: Vec<Value> = specs.into_iter().map(|spec| host.complete(spec)).collect();
    host.post("/v1/jobs", &json!({ "jobs": specs })).ok();
    (1..=151).for_each(|id| drop(host.ended(id)));
    let mut watch = host.events("channel=job/*/state");
    let run = archive_now(&host);
    assert_eq!(run["problem"], Value::Null, "{run:#}");
    assert_eq!(
        run["months_deleted"].as_array().unwrap().len(),
        1,
        "{run:#}"
    );
    let mut told = Vec::new();
    while told.len() < 151 {
        let event = watch.until(|it| it.kind == "removed");
        assert!(event.seq().is_some(), "it is durable");
        told.push(event.data["body"]["job"].as_u64().unwrap());
    }
    assert_eq!(told, (1..=151).collect::<Vec<_>>());
    assert_eq!(listed(&host, ""), [0; 0]);
    assert_eq!(host.send(&Ask::get("/v1/jobs/7")).status, 404);
    // A flow of which nothing is left is over.
    assert_eq!(host.send(&Ask::get("/v1/flows/many")).status, 404);
    let again: Vec<u64> = removed(&host).into_values().collect();
    assert_eq!(again, told, "whoever comes later reads the same");
}

#[test]
fn a_job_stays_as_long_as_its_log_cannot_be_removed() {
    let host = Host::with_config(EVERYTHING);
    let ids = [(); 3].map(|()| host.sh("echo something"));
    ids.iter().for_each(|id| drop(host.ended(*id)));
    let log = host.state_dir().join(format!("logs/{}.1", ids[1]));
    let away = host.path("away");
    // What is no directory cannot be emptied, not even by root.
    fs::rename(&log, &away).unwrap();
    fs::write(&log, "in its place").unwrap();
    let run = archive_now(&host);
    let problem = run["problem"].as_str().unwrap();
    assert!(
        problem.contains("cannot be removed, so that it stays"),
        "{run:#}"
    );
    assert_eq!(run["months_deleted"], Value::Null, "{run:#}");
    assert_eq!(listed(&host, ""), [ids[1]], "it is not forgotten");
    assert_eq!(host.job(ids[1])["state"], "completed");
    assert_eq!(host.health_of("archive")["health"], "degraded");
    fs::remove_file(&log).unwrap();
    fs::rename(&away, &log).unwrap();
    let run = archive_now(&host);
    assert_eq!(run["problem"], Value::Null, "{run:#}");
    assert_eq!(listed(&host, ""), [0; 0]);
    assert!(!log.exists());
    assert_eq!(host.health_of("archive")["health"], "healthy");
}

#[test]
fn nothing_is_left_of_what_was_being_deleted_however_often_it_is_killed() {
    let mut host = Host::with_config(EVERYTHING);
    let last = populate(&host);
    let text = host.text(last);
    let mut dice = Dice(u64::from(std::process::id()));
    let mut told: BTreeMap<u64, u64> = BTreeMap::new();
    let mut in_the_middle = 0;
    for round in 0..ROUNDS {
        let stream = send_only(&host, "/v1/archive/now", &json!({"older_than": 0}));
        for _ in 0..dice.below(60) {
            archived(&host);
        }
        host.kill9();
        drop(stream);
        host.boot();
        told.extend(removed(&host));
        let gone: BTreeSet<u64> = told.values().copied().collect();
        assert_eq!(gone.len(), told.len(), "round {round}: none is told twice");
        let there = listed(&host, "");
        let expected = (1..=last).rev().filter(|id| !gone.contains(id));
        assert_eq!(there, expected.collect::<Vec<_>>(), "round {round}");
        if there.contains(&last) {
            let kept = host.text(last);
            assert!(kept == text || kept.is_empty(), "round {round}: {kept}");
        }
        in_the_middle += u64::from(!gone.is_empty() && !there.is_empty());
        if there.is_empty() {
            break;
        }
    }
    println!("killed in the middle {in_the_middle} times");
    let run = archive_now(&host);
    assert_eq!(run["problem"], Value::Null, "{run:#}");
    told.extend(removed(&host));
    let gone: Vec<u64> = told.values().copied().collect();
    assert_eq!(
        gone.iter().copied().collect::<BTreeSet<_>>().len(),
        gone.len()
    );
    assert_eq!(gone.len() as u64, last, "each is told once");
    assert_eq!(listed(&host, ""), [0; 0]);
    assert_eq!(host.get("/v1/archive")["items"], json!([]));
    for dir in ["logs", "archive"] {
        let left = fs::read_dir(host.state_dir().join(dir)).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{dir}: {left:?}");
    }
    // The last run has told of some after it had looked for old events.
    let id = host.sh("true");
    assert!(id > last, "no number is given out twice");
}

#[test]
fn damaged_samples_are_found_and_named() {
    let mut host = Host::start();
    host.events("channel=host/cpu/metrics")
        .until(|it| it.kind == "metrics");
    // What was measured goes into its volume when the next daemon begins.
    host.stop();
    host.boot();
    let said = host.stoke_ok(&["archive", "verify"]);
    assert!(
        said.contains("1 file of samples read through: all is well"),
        "{said}"
    );
    let said = host.stoke_ok(&["archive", "ls"]);
    assert!(
        said.contains("Samples beside it: ") && said.contains(" as measured"),
        "{said}"
    );
    let view = host.get("/v1/archive");
    let tiers: Vec<&str> = view["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tier| tier["tier"].as_str().unwrap())
        .collect();
    assert_eq!(tiers, ["raw", "minute", "hour"]);
    assert_eq!(view["samples"][0]["files"], 1, "{view:#}");
    assert!(view["samples"][0]["bytes"].as_u64() > Some(0));
    let raw = fs::read_dir(host.state_dir().join("samples/raw")).unwrap();
    let volume = raw.map(|entry| entry.unwrap().path()).next().unwrap();
    fs::write(&volume, vec![7; 40_000]).unwrap();
    let output = host.stoke(&["archive", "verify"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success());
    let named = format!("{}: it cannot be read (", volume.display());
    assert!(
        said.starts_with(&named) && said.contains("from a backup"),
        "{said}"
    );
}
