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
