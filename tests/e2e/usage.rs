//! What a job used, as clients are told when it has ended.

use crate::harness::{Host, say_skipped};
use serde_json::{Value, json};

/// Runs a check under each kind of containment that this host has.
fn in_both(check: impl Fn(&Host)) {
    check(&Host::with_config("[jobs]\ncontainment = \"tree\"\n"));
    let host = Host::start();
    if host.cgroup().is_some() {
        check(&host);
    } else {
        say_skipped("no cgroup can be written here");
    }
}

#[test]
fn an_attempt_ends_with_what_it_used() {
    in_both(|host| {
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; \
            dd if=/dev/zero of=out bs=64k count=32 conv=fsync";
        let id = host.submit(json!({"command": ["sh", "-c", script]}));
        let job = host.ended(id);
        assert_eq!(job["state"], "completed", "{job:#}");
        let usage = &job["attempts"][0]["usage"];
        let number = |field: &str| usage[field].as_f64().unwrap();
        let cpu = number("cpu_seconds");
        assert!(cpu > 0.01, "{usage:#}");
        let parts = number("user_cpu_seconds") + number("system_cpu_seconds");
        assert!((cpu - parts).abs() <= 0.003, "{usage:#}");
        assert!(number("max_rss_bytes") > 100_000.0, "{usage:#}");
        // A file system in memory writes nothing to disks.
        let written = number("io_write_bytes");
        let known = 32.0 * 65_536.0;
        assert!(written < known + 65_536.0, "{usage:#}");
        let on_disk = rustix::fs::statfs(host.path(".")).unwrap().f_type;
        if ![0x0102_1994, 0x8584_58f6].contains(&on_disk) {
            assert!(written >= known, "{usage:#}");
        }
    });
}

/// The most memory that a program held which touched so many bytes, and waited then.
fn most_of(host: &Host, bytes: u64) -> u64 {
    // Nobody takes what it writes, which is more than a pipe has room for.
    let gate = host.gate(&format!("holds-{bytes}"));
    let out = gate.path().display();
    let script = format!("exec dd if=/dev/zero of={out} bs={bytes} count=1");
    let id = host.sh(&script);
    let mut events = host.events(&format!("channel=job/{id}/metrics&min_interval_ms=200"));
    events.until(|it| {
        let held = it.data["body"]["memory_bytes"].as_f64();
        held >= Some(bytes as f64)
    });
    host.act_with(id, "cancel", &json!({"grace": 0}));
    let usage: Value = host.ended(id)["attempts"][0]["usage"].clone();
    let most = usage["memory_peak_bytes"].as_u64();
    most.unwrap_or_else(|| panic!("{usage:#}"))
}

#[test]
fn the_most_memory_is_what_a_program_touched_and_no_more() {
    in_both(|host| {
        let (little, much) = (128_u64 << 10, 128 << 20);
        // What it needs besides, it needs of whatever size.
        let besides = most_of(host, little) - little;
        let most = most_of(host, much) - besides;
        let known = much - much / 50..=much + much / 50;
        assert!(known.contains(&most), "{most} of {much}, besides {besides}");
    });
}
