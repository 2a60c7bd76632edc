//! The archive on a real daemon: nobody notices that a job has moved, whatever is killed while it does.

use crate::harness::Host;
use crate::http::Ask;
use crate::storage::fill;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;

/// How often the daemon is killed.
const ROUNDS: u64 = 24;

/// Jobs that never ran, because the one they waited for failed: many, at no cost.
const SKIPPED: usize = 2_000;

/// Jobs with output that is worth compressing.
const WITH_OUTPUT: usize = 12;

/// Every job that is listed, page by page.
pub(crate) fn listed(host: &Host, filter: &str) -> Vec<u64> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = host.get(&format!("/v1/jobs?limit=500{filter}{cursor}"));
        assert_eq!(page["unreadable_months"], Value::Null, "{}", host.said());
        let items = page["items"].as_array().unwrap();
        ids.extend(items.iter().map(|job| job["id"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else {
            return ids;
        };
        cursor = format!("&cursor={next}");
    }
}

pub(crate) fn archived(host: &Host) -> u64 {
    host.get("/v1/archive")["jobs"].as_u64().unwrap()
}

/// Sends a request, and does not wait for what comes of it.
pub(crate) fn send_only(host: &Host, target: &str, body: &Value) -> UnixStream {
    let body = body.to_string();
    let mut stream = UnixStream::connect(host.socket()).unwrap();
    write!(
        stream,
        "POST {target} HTTP/1.1\r\nHost: stoked\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

/// Many finished jobs: one that failed, those that waited for it, and some that wrote something.
pub(crate) fn populate(host: &Host) -> u64 {
    let mut specs = vec![json!({"command": ["false"], "name": "first"})];
    specs.extend(
        (0..SKIPPED).map(|_| json!({"command": ["true"], "after_ok": ["first"], "flow": "many"})),
    );
    let output = "i=0; while [ $i -lt 3000 ]; do echo line $i of a log; i=$((i+1)); done";
    let talks =
        json!({"command": ["sh", "-c", output], "name": "talks", "labels": {"kind": "talk"}});
    specs.extend(vec![talks; WITH_OUTPUT]);
    let specs: Vec<Value> = specs.into_iter().map(|spec| host.complete(spec)).collect();
    let ids = host.post("/v1/jobs", &json!({ "jobs": specs })).ok();
    let last = ids["ids"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .as_u64()
        .unwrap();
    for id in last - WITH_OUTPUT as u64 + 1..=last {
        host.ended(id);
    }
    host.ended(1);
    host.ended(2);
    last
}

/// Small numbers that look random, the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % most
    }
}

#[test]
fn nothing_is_lost_or_doubled_while_archiving_is_killed_again_and_again() {
    let mut host = Host::with_config("[jobs]\ndefault_parallelism = 8\n");
    let last = populate(&host);
    let everything: Vec<u64> = (1..=last).rev().collect();
    let text = host.text(last);
    let flow = host.get("/v1/flows/many")["counts"].clone();
    let events = host
        .events("after=0&channel=job/2/*")
        .until(|it| it.kind != "hello");
    let mut dice = Dice(u64::from(std::process::id()));
    let (mut seen_part, mut back) = (0, false);
    for round in 0..ROUNDS {
        let stream = if back {
            let month = host.get("/v1/archive")["items"][0]["month"].clone();
            send_only(&host, "/v1/archive/restore", &json!({ "month": month }))
        } else {
            send_only(&host, "/v1/archive/now", &json!({"older_than": 0}))
        };
        // Reading goes on meanwhile, and takes a different time in each round.
        for _ in 0..dice.below(40) {
            let id = dice.below(last) + 1;
            assert_eq!(host.job(id)["id"], id);
        }
        host.kill9();
        drop(stream);
        host.boot();
        assert_eq!(listed(&host, ""), everything, "round {round}");
        assert_eq!(host.get("/v1/flows/many")["counts"], flow, "round {round}");
        let moved = archived(&host);
        seen_part += u64::from(moved > 0 && moved < last);
        assert!(moved <= last);
        back = if back { moved > 0 } else { moved == last };
    }
    println!("killed in the middle {seen_part} times");
    host.post("/v1/archive/now", &json!({"older_than": 0})).ok();
    assert_eq!(archived(&host), last);
    assert_eq!(listed(&host, ""), everything);
    assert_eq!(listed(&host, "&label=kind%3Dtalk").len(), WITH_OUTPUT);
    assert_eq!(listed(&host, "&state=skipped").len(), SKIPPED);
    assert_eq!(host.text(last), text);
    let again = host
        .events("after=0&channel=job/2/*")
        .until(|it| it.kind != "hello");
    assert_eq!(again.data, events.data);
    let verified = host.post("/v1/archive/verify", &json!({"logs": true})).ok();
    assert_eq!(verified["faults"], json!([]), "{verified:#}");
}

#[test]
fn an_archived_job_is_shown_retried_and_removed_as_any_other() {
    let host = Host::with_config("[jobs]\ndefault_parallelism = 2\n");
    let script = "i=0; while [ $i -lt 2000 ]; do echo out $i; i=$((i+1)); done; echo err >&2";
    let mut own = host.environment();
    own["OWN"] = json!("only of this job");
    let id = host.submit(json!({"command": ["sh", "-c", script], "env": own}));
    let other = host.sh("true");
    let (job, text) = (host.ended(id), host.text(id));
    host.ended(other);
    let run = host.post("/v1/archive/now", &json!({"older_than": 0})).ok();
    assert_eq!(run["jobs"], 2, "{run:#}");
    assert!(run["log_bytes_after"].as_u64() < run["log_bytes_before"].as_u64());
    let logs = host.state_dir().join(format!("logs/{id}.1"));
    let names: BTreeSet<String> = fs::read_dir(&logs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names.contains("stdout.0.zst") && !names.contains("stdout.0"),
        "{names:?}"
    );
    let mut without_environment = job.clone();
    let fields = without_environment.as_object_mut().unwrap();
    let mut shown = host.job(id);
    let now = shown.as_object_mut().unwrap();
    for names in [fields, now] {
        names.remove("env_names");
    }
    assert_eq!(shown, without_environment);
    assert_eq!(host.text(id), text);
    assert_eq!(
        host.stoke_ok(&["logs", &id.to_string(), "--tail", "1", "--stdout"]),
        "out 1999\n"
    );
    // A waiter for an archived job starts at once, and a stream of one says how it ended.
    let waiter = host.submit(json!({"command": ["true"], "after_ok": [id]}));
    assert_eq!(host.ended(waiter)["state"], "completed");
    assert_eq!(
        host.events(&format!("job={id}"))
            .rest()
            .last()
            .unwrap()
            .kind,
        "end"
    );
    // Its environment is gone, so that it must be brought back first to run with another one.
    host.act(id, "retry");
    let failed = host.ended(id);
    assert!(
        failed["failure"]["message"]
            .as_str()
            .unwrap()
            .contains("environment is not stored"),
        "{failed:#}"
    );
    host.post("/v1/archive/now", &json!({"older_than": 0})).ok();
    let said = host.stoke_ok(&["archive", "restore", &id.to_string()]);
    assert!(said.contains("clean one"), "{said}");
    host.act(id, "retry");
    assert_eq!(host.ended(id)["state"], "completed");
    assert_eq!(host.text(id), text);
    host.stoke_ok(&["rm", &other.to_string()]);
    assert_eq!(
        host.send(&Ask::get(format!("/v1/jobs/{other}"))).status,
        404
    );
    assert!(
        host.stoke_ok(&["archive", "verify", "--logs"])
            .contains("all is well")
    );
}

#[test]
fn the_history_of_an_archived_job_is_what_it_was() {
    let mut host = Host::start();
    let mut env = host.environment();
    env["STOKE"] = json!(env!("CARGO_BIN_EXE_stoke"));
    let run = |script: &str| host.submit(json!({"command": ["sh", "-c", script], "env": env}));
    let gate = host.gate("gate");
    // Of each second one point is kept.
    let told = run(&format!(
        "echo '::progress epoch=1 epochs=2 phase=train loss=0.5' && read x < {} && sleep 1.1 && \
         echo '::progress epoch=2 epochs=2 phase=eval loss=0.25'",
        gate.path().display()
    ));
    let announced = run(
        "\"$STOKE\" progress --steps load,fit=8 && \"$STOKE\" progress --step-start load && \
                         \"$STOKE\" progress --step-done load --step-start fit && \"$STOKE\" progress --step-done fit",
    );
    let mut events = host.events(&format!("channel=job/{told}/progress&snapshot=1"));
    events.until(|it| it.data["body"]["current_epoch"] == 1.0);
    gate.say("go");
    for id in [told, announced] {
        assert_eq!(host.ended(id)["state"], "completed");
    }
    drop(events);
    // The last point is stored a second late, and its time is known from the job until then.
    host.stop();
    host.boot();
    let phases = |id: u64| host.get(&format!("/v1/jobs/{id}/phases"));
    let named = |list: &Value| -> BTreeSet<String> {
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let ask = || {
        [
            phases(told),
            phases(announced),
            host.get(&format!(
                "/v1/compare?run={told}&quantity=metric.loss&quantity=percent"
            )),
        ]
    };
    let before = ask();
    let wanted = ["1", "2", "eval", "train"].map(str::to_owned);
    assert_eq!(named(&before[0]), wanted.into(), "{before:#?}");
    let wanted = ["fit", "load"].map(str::to_owned);
    assert_eq!(named(&before[1]), wanted.into(), "{before:#?}");
    let points = &before[2]["runs"][0]["quantities"][0]["points"];
    assert!(points.as_array().unwrap().len() >= 2, "{before:#?}");
    let run = host.post("/v1/archive/now", &json!({"older_than": 0})).ok();
    assert_eq!(run["jobs"], 2, "{run:#}");
    assert_eq!(ask(), before);
}

#[test]
fn a_month_that_is_gone_is_named_and_found_again() {
    let host = Host::start();
    let id = host.sh("true");
    host.ended(id);
    host.post("/v1/archive/now", &json!({"older_than": 0})).ok();
    let month = host.get("/v1/archive")["items"][0]["month"]
        .as_str()
        .unwrap()
        .to_owned();
    let file = host.state_dir().join(format!("archive/{month}.db"));
    let away = host.path(&format!("{month}.db"));
    fs::rename(&file, &away).unwrap();
    assert_eq!(host.get("/v1/jobs")["unreadable_months"], json!([month]));
    let health = host.get("/v1/health");
    assert_eq!(health["health"], "degraded", "{health:#}");
    assert!(
        health.to_string().contains(&format!("{month}.db")),
        "{health:#}"
    );
    let shown = host.send(&Ask::get(format!("/v1/jobs/{id}")));
    assert!(shown.text().contains("it is missing"), "{}", shown.text());
    assert!(host.stoke(&["ls", "-a"]).status.success());
    // Everything else goes on.
    let next = host.sh("true");
    assert_eq!(host.ended(next)["state"], "completed");
    let said = host.stoke_ok(&["archive", "restore", away.to_str().unwrap()]);
    assert!(said.contains(&month), "{said}");
    assert_eq!(host.job(id)["state"], "completed");
    assert_eq!(host.get("/v1/health")["health"], "healthy");
    // A month may be named as it is listed; and the jobs of it are back.
    let said = host.stoke_ok(&["archive", "restore", &month]);
    assert!(said.starts_with("1 job"), "{said}");
    let said = host.stoke_ok(&["archive", "restore", &id.to_string()]);
    assert!(said.contains("not archived"), "{said}");
    assert_eq!(archived(&host), 0);
}

#[test]
fn what_cannot_be_restored_is_named_with_the_way_out() {
    let host = Host::start();
    let refused = |what: &str| {
        let output = host.stoke(&["archive", "restore", what]);
        assert!(!output.status.success() && output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    let unknown = refused("99");
    assert!(
        unknown.contains("99") && !unknown.contains("0 jobs"),
        "{unknown}"
    );
    for (name, wanted) in [
        ("backup.db", "give it the name that it had"),
        ("2026-01.db", "file is not a database"),
    ] {
        let file = host.path(name);
        fs::write(&file, "this is no month\n".repeat(99)).unwrap();
        let said = refused(file.to_str().unwrap());
        let named = format!("take in {}: ", file.display());
        assert!(said.contains(&named) && said.contains(wanted), "{said}");
        assert!(!said.contains("backup ("), "{said}");
    }
    assert_eq!(host.get("/v1/health")["health"], "healthy");
    assert!(refused("2026-02").contains("2026-02"));
}

#[test]
fn a_disk_that_is_full_in_the_middle_stops_nothing_but_archiving() {
    let mut host = Host::prepare("[store]\nballast = \"1MiB\"\n[jobs]\ndefault_parallelism = 4\n");
    if !host.mount_state("48m") {
        return;
    }
    host.boot();
    let last = populate(&host);
    let everything: Vec<u64> = (1..=last).rev().collect();
    let filler = host.state_dir().join("filler");
    fill(&filler);
    let run = host.post("/v1/archive/now", &json!({"older_than": 0})).ok();
    let problem = run["problem"].as_str().unwrap_or_default();
    assert!(
        problem.contains("the disk is full") || problem.contains("not well"),
        "{run:#}\n{}",
        host.said()
    );
    assert_eq!(listed(&host, ""), everything);
    let health = host.get("/v1/health");
    assert_eq!(health["health"], "degraded", "{health:#}");
    fs::remove_file(&filler).unwrap();
    let mut run = Value::Null;
    // The store may still be about to notice that there is room again.
    for _ in 0..1_000 {
        run = host.post("/v1/archive/now", &json!({"older_than": 0})).ok();
        if run["problem"].is_null() {
            break;
        }
    }
    assert_eq!(run["problem"], Value::Null, "{run:#}");
    assert_eq!(archived(&host), last);
    assert_eq!(listed(&host, ""), everything);
    let verified = host.post("/v1/archive/verify", &json!({"logs": true})).ok();
    assert_eq!(verified["faults"], json!([]), "{verified:#}");
}

#[test]
fn the_oldest_logs_go_when_all_are_too_much() {
    let host = Host::with_config("[retention]\nlogs_max = \"700KiB\"\n");
    let ids = [(); 4].map(|()| host.sh("head -c 300000 /dev/urandom | base64 -w 0"));
    ids.iter().for_each(|id| drop(host.ended(*id)));
    let kept = host.text(ids[3]);
    let run = host.post("/v1/archive/now", &json!({"older_than": 0})).ok();
    assert_eq!(
        (&run["jobs"], &run["logs_deleted"]),
        (&json!(4), &json!(2)),
        "{run:#}"
    );
    let dir = |id: u64| host.state_dir().join(format!("logs/{id}.1"));
    let there = ids.map(|id| dir(id).exists());
    assert_eq!(there, [false, false, true, true]);
    assert_eq!(host.text(ids[3]), kept);
    assert_eq!(host.job(ids[0])["state"], "completed");
    // Nothing is too much now, and what is gone is not counted again.
    let run = host.post("/v1/archive/now", &json!({"older_than": 0})).ok();
    assert_eq!(run["logs_deleted"], 0, "{run:#}");
}
