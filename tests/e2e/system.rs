//! One daemon for every user of the host: jobs are their owners', and so is what they report.

use crate::harness::{Host, say_skipped};
use serde_json::json;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Output;

/// A user of no importance, on every Linux host.
const NOBODY: u32 = 65_534;

/// Runs the client as that user.
fn stoke_as_nobody(host: &Host, args: &[&str]) -> Output {
    let client = host.path("stoke");
    if !client.exists() {
        // Where it was built may be closed to others.
        fs::copy(env!("CARGO_BIN_EXE_stoke"), &client).unwrap();
    }
    let mut command = host.command(client.to_str().unwrap());
    command.env("STOKE_SOCKET", host.socket()).args(args);
    command.uid(NOBODY).gid(NOBODY).output().unwrap()
}

#[test]
fn a_job_of_another_user_reports_in_a_file_of_its_own() {
    if !rustix::process::geteuid().is_root() {
        return say_skipped("only root can serve other users");
    }
    let mut host = Host::of_all_users();
    let script = "id -u; dir=$(dirname $STOKED_PROGRESS_FILE); echo '{\"progress\": 0.5}' > $dir/new && mv $dir/new $STOKED_PROGRESS_FILE";
    let output = stoke_as_nobody(&host, &["run", "--", "sh", "-c", script]);
    assert!(output.status.success(), "{output:?}\n{}", host.said());
    assert_eq!(output.stdout, b"65534\n");
    let job = host.job(1);
    let progress = &job["progress"];
    assert_eq!(
        (&progress["percent"], &progress["source"]),
        (&json!(50.0), &json!("file")),
        "{job:#}"
    );
    host.restart();
    // What it reported in is removed while others are served already.
    let reports = host.runtime_dir().join("reports");
    while fs::read_dir(&reports).unwrap().count() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn who_may_not_do_something_is_told_what_it_takes() {
    if !rustix::process::geteuid().is_root() {
        return say_skipped("only root can serve other users");
    }
    let host = Host::of_all_users();
    let gate = host.gate("gate");
    let id = host.sh(&format!("read line < {}", gate.path().display()));
    let refused = stoke_as_nobody(&host, &["cancel", &id.to_string()]);
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    for part in [
        "because: only its owner and administrators may control it",
        "hint: needs io.stoked.Stoked1.manage-others: run it with sudo, or ask an administrator to add you to the group stoked",
    ] {
        assert!(said.contains(part), "{said}");
    }
    host.act(id, "cancel");
}

#[test]
fn so_many_unfinished_jobs_are_enough() {
    let mut host = Host::with_config("access.max_jobs_per_user = 2");
    let held = json!({ "command": ["true"], "hold": true });
    let first = host.submit(host.complete(held.clone()));
    host.submit(host.complete(held));
    // Also for a daemon that counts anew.
    host.restart();
    let refused = host.stoke(&["run", "-d", "--", "true"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("may have 2 unfinished jobs, has 2, and 1 more would be too many"),
        "{said}"
    );
    assert!(said.contains("access.max_jobs_per_user"), "{said}");
    host.act(first, "cancel");
    host.stoke_ok(&["run", "--", "true"]);
}

#[test]
fn a_limit_that_nobody_would_keep_is_refused_for_a_waiting_job_too() {
    let host = Host::with_config("jobs.containment = \"tree\"");
    let held = json!({ "command": ["true"], "hold": true });
    let id = host.submit(host.complete(held)).to_string();
    let refused = host.stoke(&["edit", &id, "--memory-max", "64M"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("limits"), "{said}");
    // To take one away that is not there changes nothing.
    host.stoke_ok(&["edit", &id, "--memory-max", "0", "--allowed-gpus", "all"]);
}
