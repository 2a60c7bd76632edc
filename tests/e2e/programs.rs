//! Programs that know nothing of stoked, run as they are: what they print is what clients see, at once.
//!
//! A program that is not on the machine is said aloud to be skipped.

use crate::harness::{Host, say_skipped};
use crate::http::PATIENCE;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// What the server below sends, and how much of it before it is told to go on.
const SIZE: usize = 2_000_000;
const FIRST_PART: usize = 800_000;

/// A host whose jobs are read, not measured by their open files.
fn host() -> Host {
    let host = Host::with_config("[progress]\nopen_files = false\n");
    // The first job pays for making the adapters ready, which takes long without optimisation.
    let first = host.sh("echo '[1/2]'");
    assert_eq!(kept(&host, first)["step"], 1.0);
    host
}

/// Whether all of these are on the machine; says which is not.
fn have(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |program: &&&str| !std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let missing: Vec<_> = programs.iter().filter(is_there).collect();
    if !missing.is_empty() {
        say_skipped(&format!("{missing:?} is not on this machine"));
    }
    missing.is_empty()
}

/// Whether Python can import a module; says if it cannot.
fn python_has(module: &str) -> bool {
    let found = Command::new("python3")
        .args(["-c", &format!("import {module}")])
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        say_skipped(&format!("python3 has no {module} on this machine"));
    }
    found
}

/// Starts a job with `stoke run -d`, as anybody would.
fn run(host: &Host, options: &[&str], command: &[&str]) -> u64 {
    let mut words = vec!["run", "-d"];
    words.extend(options);
    words.push("--");
    words.extend(command);
    host.stoke_ok(&words).trim().parse().unwrap()
}

/// Waits until clients see progress of this sort, and says how soon after it was printed that was: on a busy
/// machine nothing can be promised, so that it is told and not required.
fn seen(host: &Host, id: u64, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut events = host.events(&format!("channel=job/{id}/progress&snapshot=1"));
    let mut shown = host.job(id)["progress"].clone();
    while !is_so(&shown) {
        events.until(|it| it.kind == "progress");
        shown = host.job(id)["progress"].clone();
    }
    let known: jiff::Timestamp = shown["updated_at"].as_str().unwrap().parse().unwrap();
    if let Some(printed) = last_output(host, id) {
        let age = SystemTime::from(known).duration_since(printed);
        let age = age.unwrap_or_default();
        println!("job {id}: known {age:?} after it was printed");
    }
    shown
}

/// When a job wrote last: nothing newer than that can have been printed before.
fn last_output(host: &Host, id: u64) -> Option<SystemTime> {
    let logs = host.state_dir().join("logs").join(format!("{id}.1"));
    let times = fs::read_dir(logs).ok()?.flatten();
    times
        .filter_map(|entry| entry.metadata().ok()?.modified().ok())
        .max()
}

/// The progress that is kept of a job which must end well.
fn kept(host: &Host, id: u64) -> Value {
    let job = host.ended(id);
    assert_eq!(job["state"], "completed", "{job:#}");
    job["attempts"][0]["progress"].clone()
}

/// Runs a program to its end; its last word must be that of `adapter`, with these fields.
fn ends_with(host: &Host, options: &[&str], command: &[&str], adapter: &str, fields: &Value) {
    let id = run(host, options, command);
    let progress = kept(host, id);
    assert_eq!(progress["source"], adapter, "{command:?}: {progress:#}");
    for (name, value) in fields.as_object().unwrap() {
        assert_eq!(&progress[name], value, "{command:?}: {progress:#}");
    }
}

/// A server that sends the first part of a file, and the rest when it is told to.
struct SlowServer {
    url: String,
    go: Sender<()>,
    thread: JoinHandle<()>,
}

impl SlowServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/data.bin", listener.local_addr().unwrap());
        let (go, gone) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            let head = format!(
                "HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {SIZE}\r\n\r\n"
            );
            client.write_all(head.as_bytes()).unwrap();
            client.write_all(&vec![b'x'; FIRST_PART]).unwrap();
            gone.recv_timeout(PATIENCE).unwrap();
            client.write_all(&vec![b'x'; SIZE - FIRST_PART]).unwrap();
        });
        Self { url, go, thread }
    }

    fn finish(self) {
        self.go.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// A download that is held at its first part: clients see how much that is, and then the whole.
fn downloads(adapter: &str, command: &[&str]) {
    if !have(&[command[0]]) {
        return;
    }
    let host = host();
    let server = SlowServer::start();
    let mut words = command.to_vec();
    words.push(&server.url);
    let id = run(&host, &[], &words);
    let shown = seen(&host, id, |it| {
        it["percent"]
            .as_f64()
            .is_some_and(|percent| (38.0..=41.0).contains(&percent))
    });
    assert_eq!(shown["source"], adapter, "{shown:#}");
    server.finish();
    let last = kept(&host, id);
    assert_eq!(last["percent"], 100.0, "{last:#}");
}

#[test]
fn curl() {
    downloads("curl", &["curl", "-o", "data.bin"]);
}

#[test]
fn curl_with_a_bar() {
    downloads("curl", &["curl", "-#", "-o", "data.bin"]);
}

#[test]
fn wget() {
    downloads("wget", &["wget", "-O", "data.bin"]);
}

#[test]
fn wget_with_a_bar() {
    downloads(
        "wget",
        &["wget", "--progress=bar:force:noscroll", "-O", "data.bin"],
    );
}

#[test]
fn tqdm() {
    if !have(&["python3"]) || !python_has("tqdm") {
        return;
    }
    let host = host();
    let go = host.gate("go");
    let script = "import sys, time, tqdm\nfor i in tqdm.tqdm(range(10000), mininterval=0):\n    time.sleep(0.01)\n    if i == 40: open(sys.argv[1]).readline(); break\n";
    let gate = go.path().to_str().unwrap();
    let id = run(&host, &[], &["python3", "-c", script, gate]);
    let shown = seen(&host, id, |it| it["step"] == 40.0);
    assert_eq!(shown["total_steps"], 10_000.0, "{shown:#}");
    assert_eq!(shown["percent"], 0.4, "{shown:#}");
    assert_eq!(shown["source"], "tqdm", "{shown:#}");
    let number = |name: &str| shown[name].as_f64().unwrap_or_else(|| panic!("{shown:#}"));
    // A step takes 10 ms and what the machine adds; lines are seen a moment after they are written, and two of them
    // may be seen closer together than they were written.
    assert!((20.0..=120.0).contains(&number("rate")), "{shown:#}");
    assert!((80.0..=500.0).contains(&number("eta_seconds")), "{shown:#}");
    go.open();
    kept(&host, id);
}

#[test]
fn dd() {
    if !have(&["dd"]) {
        return;
    }
    let host = host();
    let command = [
        "dd",
        "if=/dev/zero",
        "of=/dev/null",
        "bs=64k",
        "status=progress",
    ];
    let id = run(&host, &[], &command);
    let shown = seen(&host, id, |it| {
        it["step"].as_f64().is_some_and(|step| step > 0.0)
    });
    assert_eq!(shown["source"], "dd", "{shown:#}");
    assert_eq!(shown["unit"], "B", "{shown:#}");
    assert!(
        shown["percent"].is_null() && shown["total_steps"].is_null(),
        "{shown:#}"
    );
    assert!(shown["rate"].as_f64().unwrap() > 0.0, "{shown:#}");
    host.act_with(id, "cancel", &json!({"grace": 0}));
    host.ended(id);
}

#[test]
fn git() {
    if !have(&["git"]) {
        return;
    }
    let host = host();
    let source = host.path("source");
    let git = |args: &[&str]| {
        let mut command = host.command("git");
        command.arg("-C").arg(&source).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    };
    fs::create_dir(&source).unwrap();
    git(&["init", "--quiet"]);
    for number in 0..50 {
        fs::write(source.join(format!("{number}.txt")), format!("{number}\n")).unwrap();
    }
    git(&["add", "."]);
    let author = ["-c", "user.name=A", "-c", "user.email=a@example.org"];
    git(&[&author[..], &["commit", "--quiet", "--message", "all"]].concat());
    git(&["config", "pack.window", "0"]);
    let url = format!("file://{}", source.display());
    // A commit, a tree, 50 files; they are too small to be stored as deltas.
    let fields = json!({
        "percent": 100.0, "step": 52.0, "total_steps": 52.0, "unit": "objects", "phase": "Receiving objects"
    });
    let command = ["git", "clone", "--bare", "--progress", &url, "copy"];
    ends_with(&host, &[], &command, "git", &fields);
}

/// A file of words, large enough for every program to say something of it.
fn words(host: &Host) {
    let line = "a line that is like many others, and compresses well\n";
    fs::write(host.path("words.txt"), line.repeat(40_000)).unwrap();
}

#[test]
fn rsync() {
    if !have(&["rsync"]) {
        return;
    }
    let host = host();
    words(&host);
    let fields = json!({"percent": 100.0, "unit": "B", "step": 2_120_000.0});
    let command = ["rsync", "--progress", "words.txt", "copy.txt"];
    ends_with(&host, &[], &command, "rsync", &fields);
}

#[test]
fn pv() {
    if !have(&["pv"]) {
        return;
    }
    let host = host();
    words(&host);
    let fields = json!({"percent": 100.0, "unit": "B"});
    let command = ["sh", "-c", "pv -f words.txt > copy.txt"];
    ends_with(&host, &[], &command, "pv", &fields);
}

#[test]
fn tar() {
    if !have(&["tar"]) {
        return;
    }
    let host = host();
    words(&host);
    let fields = json!({"step": 200.0, "unit": "records", "percent": null});
    let command = ["tar", "--checkpoint=100", "-cf", "words.tar", "words.txt"];
    ends_with(&host, &[], &command, "tar", &fields);
}

#[test]
fn ninja() {
    if !have(&["ninja"]) {
        return;
    }
    let host = host();
    let rules = "rule do\n  command = true\nbuild a: do\nbuild b: do\nbuild c: do\n";
    fs::write(host.path("build.ninja"), rules).unwrap();
    let id = run(&host, &[], &["ninja"]);
    let last = kept(&host, id);
    let counts = (&last["step"], &last["total_steps"], &last["percent"]);
    assert_eq!(
        counts,
        (&json!(3.0), &json!(3.0), &json!(100.0)),
        "{last:#}"
    );
}

#[test]
fn ffmpeg() {
    if !have(&["ffmpeg"]) {
        return;
    }
    let host = host();
    let source = [
        "-f",
        "lavfi",
        "-i",
        "sine=duration=20",
        "-c:a",
        "pcm_s16le",
        "in.wav",
    ];
    let made = host.command("ffmpeg").args(source).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let fields = json!({"percent": 100.0, "step": 20.0, "total_steps": 20.0, "unit": "s"});
    let command = ["ffmpeg", "-i", "in.wav", "-c:a", "pcm_s24le", "out.wav"];
    ends_with(&host, &[], &command, "ffmpeg", &fields);
}

#[test]
fn pytest() {
    if !have(&["python3"]) || !python_has("pytest") {
        return;
    }
    let host = host();
    let tests = "import pytest\n@pytest.mark.parametrize('n', range(40))\ndef test_it(n):\n    assert n >= 0\n";
    fs::write(host.path("test_it.py"), tests).unwrap();
    let command = [
        "python3",
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "test_it.py",
    ];
    let id = run(&host, &[], &command);
    let last = kept(&host, id);
    assert_eq!(last["source"], "pytest", "{last:#}");
    assert_eq!(last["percent"], 100.0, "{last:#}");
    assert_eq!(last["metrics"]["passed"], 40.0, "{last:#}");
}

#[test]
fn cargo() {
    let cargo = PathBuf::from(env!("CARGO"));
    let rustc = cargo.with_file_name("rustc");
    if !rustc.is_file() || !have(&["cc"]) {
        say_skipped("no rustc stands beside cargo on this machine");
        return;
    }
    let host = host();
    let go = host.gate("go");
    workspace(&host.path("demo"));
    let gate = format!("GATE={}", go.path().display());
    let rustc = format!("RUSTC={}", rustc.display());
    let environment = [
        gate.as_str(),
        &rustc,
        "CARGO_TERM_PROGRESS_WHEN=always",
        "CARGO_TERM_PROGRESS_WIDTH=80",
    ];
    let mut options: Vec<&str> = environment.iter().flat_map(|it| ["--env", it]).collect();
    options.extend(["--cwd", "demo"]);
    let id = run(
        &host,
        &options,
        &[cargo.to_str().unwrap(), "check", "--offline"],
    );
    // The build script of the last crate waits: it was built, and so was the first crate.
    let shown = seen(&host, id, |it| it["step"] == 2.0);
    assert_eq!(shown["total_steps"], 4.0, "{shown:#}");
    assert_eq!(shown["source"], "cargo", "{shown:#}");
    go.open();
    assert_eq!(kept(&host, id)["phase"], "Finished");
}

/// A crate whose build script waits at `$GATE`, and one that it depends on.
fn workspace(root: &Path) {
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let package = |name: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n")
    };
    let top = "[dependencies]\nlow = { path = \"low\" }\n[workspace]\n";
    write("Cargo.toml", &(package("top") + top));
    write("src/lib.rs", "");
    write(
        "build.rs",
        "use std::io::{BufRead, BufReader};\nfn main() {\n    let gate = std::fs::File::open(std::env::var(\"GATE\").unwrap()).unwrap();\n    BufReader::new(gate).lines().next();\n}\n",
    );
    write("low/Cargo.toml", &package("low"));
    write("low/src/lib.rs", "");
}
