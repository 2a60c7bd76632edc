//! Jobs that cannot start, or do bad things: each a clear state with a true reason, and no harm to the daemon.

use crate::ends::noise;
use crate::harness::Host;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// The sentence why a job could not be started.
fn not_started(host: &Host, spec: Value) -> String {
    let id = host.submit(spec);
    let job = host.ended(id);
    assert_eq!(
        (&job["state"], &job["failure"]["class"]),
        (&json!("failed"), &json!("spawn")),
        "{job:#}"
    );
    assert!(job["exit"].is_null(), "{job:#}");
    assert_eq!(
        host.stoke(&["wait", &id.to_string()]).status.code(),
        Some(127)
    );
    job["failure"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn what_cannot_start_says_why() {
    let host = Host::start();
    fs::write(host.path("plain"), "#!/bin/sh\n").unwrap();
    fs::write(host.path("no-format"), "\x7fELFgarbage").unwrap();
    fs::write(host.path("no-shell"), "#!/no/such/shell\n").unwrap();
    for name in ["no-format", "no-shell"] {
        fs::set_permissions(host.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir(host.path("dir")).unwrap();
    for (spec, word) in [
        (
            json!({"command": ["no-such-command-here"]}),
            "no-such-command-here",
        ),
        (json!({"command": ["/no/such/file"]}), "/no/such/file"),
        (json!({"command": ["./plain"]}), "plain"),
        (json!({"command": ["./dir"]}), "dir"),
        (json!({"command": ["./no-shell"]}), "/no/such/shell"),
        (
            json!({"command": ["true"], "cwd": "/no/such/dir"}),
            "/no/such/dir",
        ),
        (
            json!({"command": ["true"], "cwd": host.path("plain")}),
            "plain",
        ),
        (
            json!({"command": ["true"], "stdin": host.path("dir/none")}),
            "none",
        ),
    ] {
        let message = not_started(&host, spec.clone());
        assert!(message.contains(word), "{spec}: {message}");
    }
    // A directory that goes away between submission and start.
    fs::create_dir(host.path("fleeting")).unwrap();
    let id = host.submit(json!({"command": ["true"], "cwd": host.path("fleeting"), "hold": true}));
    fs::remove_dir(host.path("fleeting")).unwrap();
    host.act(id, "release");
    let job = host.ended(id);
    assert!(
        job["failure"]["message"]
            .as_str()
            .unwrap()
            .contains("fleeting"),
        "{job:#}"
    );
}

#[test]
fn arguments_and_environments_beyond_the_system_s_limits() {
    let host = Host::start();
    let message = not_started(&host, json!({"command": ["true", "x".repeat(10 << 20)]}));
    assert!(message.contains("argument"), "{message}");
    let many: Vec<String> = (0..80_000).map(|n| format!("{n:0>128}")).collect();
    let command: Vec<&str> = ["true"]
        .into_iter()
        .chain(many.iter().map(String::as_str))
        .collect();
    let message = not_started(&host, json!({"command": command}));
    assert!(message.contains("argument"), "{message}");
    let mut env = host.environment();
    for n in 0..40 {
        env[format!("BIG{n}")] = json!("y".repeat(50_000));
    }
    // Two megabytes are within what Linux takes by default, when no single value is too long.
    let spec = json!({"command": ["sh", "-c", "echo ${#BIG7} ${#BIG39}"], "env": env});
    let id = host.submit(spec);
    let job = host.ended(id);
    if job["state"] == "completed" {
        assert_eq!(host.text(id), "50000 50000\n");
    } else {
        assert_eq!(job["failure"]["class"], "spawn", "{job:#}");
        assert!(
            job["failure"]["message"]
                .as_str()
                .unwrap()
                .contains("environment"),
            "{job:#}"
        );
    }
    let mut env = host.environment();
    env["HUGE"] = json!("z".repeat(2 << 20));
    let message = not_started(&host, json!({"command": ["true"], "env": env}));
    assert!(
        message.contains("HUGE") || message.contains("environment"),
        "{message}"
    );
    let id = host.sh("exit 0");
    assert_eq!(host.ended(id)["state"], "completed");
}

#[test]
fn output_that_is_no_text_is_kept_as_it_is() {
    let host = Host::start();
    let bytes = noise(7, 100_000);
    fs::write(host.path("noise"), &bytes).unwrap();
    let id = host.sh("cat noise; printf '\\033]0;owned\\007\\377\\376\\000end'");
    host.ended(id);
    let mut expected = bytes;
    expected.extend_from_slice(b"\x1b]0;owned\x07\xff\xfe\0end");
    assert!(host.output(id, "stdout") == expected);
    let raw = host.stoke(&["logs", &id.to_string()]).stdout;
    assert!(raw == expected);
    let shown = host.stoke_ok(&["show", &id.to_string()]);
    assert!(!shown.contains('\x1b'), "{shown}");
}

#[test]
fn names_that_play_tricks_do_not_reach_the_terminal() {
    let host = Host::start();
    let program = host.path("\u{1b}[2J\u{202e}gnp");
    fs::write(&program, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let id = host.submit(json!({"command": [program, "a\nb\u{1b}[31m"]}));
    assert_eq!(host.ended(id)["state"], "completed");
    for args in [&["ls"][..], &["show", "1"], &["--json", "ls"]] {
        let shown = host.stoke_ok(args);
        assert!(!shown.contains('\x1b'), "{args:?}: {shown:?}");
        if args[0] != "--json" {
            assert!(!shown.contains('\u{202e}'), "{args:?}: {shown:?}");
        }
    }
}

#[test]
fn bad_progress_files_harm_nobody() {
    let host = Host::start();
    let (go, up) = (host.gate("go"), host.gate("up"));
    let spec = json!({
        "command": ["sh", "-c", "echo $STOKED_PROGRESS_FILE > $W/up; read x < $W/go"],
        "progress_file": host.path("progress.json"),
    });
    let id = host.submit(spec);
    assert_eq!(up.hear(), host.path("progress.json").display().to_string());
    host.reaches(id, "running");
    let mut events = host.events(&format!("channel=job/{id}/progress"));
    let file = host.path("progress.json");
    let place = |make: &dyn Fn(&std::path::Path)| {
        let new = host.path("new");
        make(&new);
        fs::rename(&new, &file).unwrap();
    };
    let bad: [&dyn Fn(&std::path::Path); 9] = [
        &|path| fs::write(path, "{\"current_step\": 3, \"tot").unwrap(),
        &|path| fs::write(path, "").unwrap(),
        &|path| fs::write(path, "[".repeat(200_000)).unwrap(),
        &|path| {
            fs::write(
                path,
                format!(
                    "{{\"a\":{}1{}}}",
                    "{\"a\":".repeat(50_000),
                    "}".repeat(50_000)
                ),
            )
            .unwrap();
        },
        &|path| fs::write(path, noise(3, 10_000)).unwrap(),
        &|path| fs::File::create(path).unwrap().set_len(100 << 20).unwrap(),
        &|path| mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap(),
        &|path| symlink("progress.json", path).unwrap(),
        &|path| symlink("/dev/zero", path).unwrap(),
    ];
    for (step, make) in (1_u32..).zip(bad) {
        place(make);
        // A good one after each shows that the reader is still there.
        let good = json!({"current_step": step, "total_steps": 9, "current_epoch": -4, "loss": "nan", "x": 1e300});
        place(&|path| fs::write(path, good.to_string()).unwrap());
        events.until(|it| it.data["body"]["current_step"] == f64::from(step));
    }
    let shown = host.job(id)["progress"].clone();
    assert_eq!(
        (&shown["step"], &shown["percent"]),
        (&json!(9.0), &json!(100.0)),
        "{shown:#}"
    );
    go.open();
    assert_eq!(host.ended(id)["state"], "completed");
}

#[test]
fn a_flood_of_output_is_cut_and_counted_and_never_stops_the_job() {
    let host = Host::start();
    let script = "i=0; while [ $i -lt 200 ]; do cat block; i=$((i+1)); done; echo done >&2; exit 3";
    fs::write(host.path("block"), noise(9, 100_000)).unwrap();
    let id = host.submit(json!({"command": ["sh", "-c", script], "log_limit_bytes": 1_000_000}));
    let job = host.ended(id);
    assert_eq!(job["exit"]["code"], 3, "{job:#}");
    let dropped = job["attempts"][0]["usage"]["dropped_output_bytes"].as_u64();
    assert!(dropped > Some(15_000_000), "{job:#}");
    let kept = host.output(id, "stdout").len();
    assert!(kept < 3_000_000, "{kept} bytes are kept");
    assert!(String::from_utf8_lossy(&host.output(id, "stderr")).ends_with("done\n"));
}

#[test]
fn notifications_that_make_no_sense_are_passed_over() {
    let host = Host::start();
    let own = std::env::current_exe().unwrap();
    let mut env = host.environment();
    env["BABBLES"] = json!("1");
    let id = host.submit(
        json!({"command": [own, "--exact", "bad_jobs::babbler", "--nocapture"], "env": env}),
    );
    let job = host.ended(id);
    assert_eq!(job["state"], "completed", "{job:#}");
    assert_eq!(job["attempts"][0]["progress"]["step"], 2.0, "{job:#}");
}

/// Not a test but the job of the one above.
#[test]
fn babbler() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    if std::env::var_os("BABBLES").is_none() {
        return;
    }
    let name = std::env::var("NOTIFY_SOCKET").unwrap();
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let (address, socket) = (address.unwrap(), UnixDatagram::unbound().unwrap());
    let long = vec![b'A'; 100_000];
    for words in [
        &b""[..],
        b"=",
        b"\0\0",
        b"\xff\xfe=\xff",
        b"X_STOKED_PROGRESS=-1/0",
        b"X_STOKED_PROGRESS=1e999/2",
        b"WATCHDOG=\x1b[2J",
        &long,
    ] {
        socket.send_to_addr(words, &address).unwrap();
    }
    socket
        .send_to_addr(b"X_STOKED_PROGRESS=2/4", &address)
        .unwrap();
}
