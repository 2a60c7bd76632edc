//! What was running at a time in the past, and what it used: the same answer after a restart, and from the archive.

use crate::harness::Host;
use crate::http::Ask;
use crate::measured::{every, time};
use serde_json::{Value, json};

/// Without what is of the present.
fn then(host: &Host, at: &str) -> Value {
    let mut shown = host.get(&format!("/v1/operations?at={at}"));
    let fields = shown.as_object_mut().unwrap();
    fields.remove("as_of");
    shown
}

#[test]
fn the_past_stays_what_it_was() {
    let mut host = Host::with_config(&every("100ms"));
    let group = Ask::new("PUT", "/v1/groups/one").json(&json!({"parallelism": 1}));
    host.send(&group).ok();
    let go = host.gate("go");
    let script = "printf '[3/10]\\n'; read x < $W/go; printf '[9/10]\\n'; read x < $W/go";
    let job = json!({"command": ["sh", "-c", script], "name": "train", "group": "one"});
    let train = host.submit(job);
    let next = host.submit(json!({"command": ["true"], "group": "one", "name": "next"}));
    let channels = format!("channel=job/{train}/*&channel=job/{train}/metrics");
    let mut events = host.events(&format!(
        "{channels}&channel=host/memory/metrics&snapshot=1"
    ));
    let told = events.until(|it| it.data["body"]["current_step"] == 3.0);
    events.until(|it| it.data["channel"] == "host/memory/metrics");
    // What the snapshot shows may have been measured before.
    let measured = events.until(|it| {
        it.data["channel"] == format!("job/{train}/metrics")
            && it.data["body"]["memory_bytes"].is_number()
            && time(it) > time(&told)
    });
    let at = measured.data["body"]["time"].as_str().unwrap().to_owned();
    // Of each second the newest progress is kept.
    let second = jiff::SignedDuration::from_secs(1);
    events.until(|it| it.kind == "metrics" && time(it) > time(&measured) + second);
    go.say("on");
    events.until(|it| it.data["body"]["current_step"] == 9.0);
    go.open();
    host.ended(train);
    host.ended(next);

    let shown = then(&host, &at);
    let [job] = &shown["jobs"].as_array().unwrap()[..] else {
        panic!("{shown:#}");
    };
    assert_eq!(
        (&job["id"], &job["state"], &job["progress"]["step"]),
        (&json!(train), &json!("running"), &json!(3.0)),
        "{shown:#}"
    );
    assert_eq!(shown["waiting"], 1, "{shown:#}");
    assert_eq!(job["usage"]["time"], at);
    assert_eq!(
        job["usage"]["memory_bytes"],
        measured.data["body"]["memory_bytes"]
    );
    assert!(shown["host"]["memory"]["memory_used_bytes"].is_number());

    let listed = host.stoke_ok(&["ls", "--at", &at]);
    assert!(listed.contains("1 job was active, 1 waited"), "{listed}");
    assert!(
        listed.contains("train") && listed.contains("30%"),
        "{listed}"
    );

    // Stopped, as what was measured in the last ten seconds is not on disk yet.
    host.stop();
    host.boot();
    assert_eq!(then(&host, &at), shown);
    let archived = host.post("/v1/archive/now", &json!({"older_than": 0})).ok();
    assert_eq!(archived["jobs"], 2, "{archived:#}");
    assert_eq!(then(&host, &at), shown);
}
