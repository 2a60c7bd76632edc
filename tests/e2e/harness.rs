//! A host of its own for each test: private directories, the real daemon, the real client, and at the end
//! proof that nothing was left running.

use crate::gate::Gate;
use crate::http::{Answer, Ask, PATIENCE};
use crate::outside::{Process, processes_of};
use crate::stream::Events;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// How long shims whose daemon is gone may take to leave.
const LEAVING: Duration = Duration::from_secs(10);

/// One host.
pub(crate) struct Host {
    root: TempDir,
    daemon: Option<Daemon>,
    said: Arc<Mutex<String>>,
    cgroup: Option<PathBuf>,
    mount: Option<PathBuf>,
    mode: &'static str,
    variables: Vec<(&'static str, PathBuf)>,
}

/// The daemon that the harness started, and the thread that takes down what it says.
struct Daemon {
    child: Child,
    scribe: JoinHandle<()>,
}

impl Host {
    /// A host with a running daemon.
    pub(crate) fn start() -> Self {
        Self::with_config("")
    }

    /// A host with a running daemon that read this configuration.
    pub(crate) fn with_config(config: &str) -> Self {
        let mut host = Self::prepare(config);
        host.boot();
        host
    }

    /// A host whose daemon is not started yet.
    pub(crate) fn prepare(config: &str) -> Self {
        // Sockets have short names or none, so not below a TMPDIR that may be deep.
        let root = tempfile::Builder::new()
            .prefix("st.")
            .tempdir_in("/tmp")
            .unwrap();
        for dir in ["state", "run", "home", "config/stoked", "work"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join("config/stoked/stoked.toml"), config).unwrap();
        Self {
            root,
            daemon: None,
            said: Arc::default(),
            cgroup: None,
            mount: None,
            mode: "--user",
            variables: Vec::new(),
        }
    }

    /// Daemons that are started from now on find this in their environment.
    pub(crate) fn tell(&mut self, name: &'static str, value: impl Into<PathBuf>) {
        self.variables.push((name, value.into()));
    }

    /// A host whose daemon serves every user.
    pub(crate) fn of_all_users() -> Self {
        let mut host = Self::prepare("access.system_accounts = true");
        // Others must get to their own files in it, and to the socket.
        let passable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(host.root(), passable).unwrap();
        host.mode = "--system";
        host.boot();
        host
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// A file of the test, in a directory that jobs may use.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("work").join(name)
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.root.path().join("state")
    }

    pub(crate) fn runtime_dir(&self) -> PathBuf {
        self.root.path().join("run")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.runtime_dir().join("stoked.sock")
    }

    pub(crate) fn gate(&self, name: &str) -> Gate {
        Gate::new(self.path(name))
    }

    /// A command with the environment of this host and nothing else.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root().join("home"))
            .env("XDG_CONFIG_HOME", self.root().join("config"))
            .env("STOKED_STATE_DIR", self.state_dir())
            .env("STOKED_RUNTIME_DIR", self.runtime_dir())
            .env("NO_COLOR", "1")
            .env("RUST_BACKTRACE", "1")
            .current_dir(self.root().join("work"))
            .stdin(Stdio::null());
        command
    }

    /// Starts the daemon and waits until it says that it is ready.
    pub(crate) fn boot(&mut self) {
        if let Err(said) = self.try_boot() {
            panic!("the daemon did not start: {said}");
        }
        if self.cgroup.is_none() {
            self.cgroup = self.cgroup_in_force();
        }
    }

    /// Starts the daemon; what it said, where it ended instead of getting ready.
    pub(crate) fn try_boot(&mut self) -> Result<(), String> {
        let mut child = self
            .command(env!("CARGO_BIN_EXE_stoked"))
            .envs(self.variables.iter().cloned())
            .arg(self.mode)
            .arg("--config")
            .arg(self.root().join("config/stoked/stoked.toml"))
            .arg("--state-dir")
            .arg(self.state_dir())
            .arg("--runtime-dir")
            .arg(self.runtime_dir())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (ready, is_ready) = mpsc::channel();
        let said = Arc::clone(&self.said);
        let before = said.lock().unwrap().len();
        let scribe = std::thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                let is_ready = line.contains("INFO") && line.contains("ready");
                said.lock().unwrap().push_str(&(line + "\n"));
                if is_ready {
                    // Only the first one is waited for.
                    let _heard = ready.send(());
                }
            }
        });
        let outcome = is_ready.recv_timeout(PATIENCE);
        let mut daemon = Daemon { child, scribe };
        match outcome {
            Ok(()) => {
                self.daemon = Some(daemon);
                return Ok(());
            }
            Err(RecvTimeoutError::Timeout) => daemon.child.kill().unwrap(),
            Err(RecvTimeoutError::Disconnected) => {}
        }
        daemon.child.wait().unwrap();
        daemon.scribe.join().unwrap();
        Err(self.said()[before..].to_owned())
    }

    /// SIGKILL for the daemon, whoever started it; returns when it is gone.
    pub(crate) fn kill9(&mut self) {
        let Some(mut daemon) = self.daemon.take() else {
            let holder = fs::read_to_string(self.state_dir().join("lock")).unwrap_or_default();
            if let Ok(pid) = holder.trim().parse::<u32>()
                && let Some(found) = self.processes().iter().find(|it| it.0.pid == pid)
            {
                found.kill();
                found.ends();
            }
            return;
        };
        daemon.child.kill().unwrap();
        daemon.child.wait().unwrap();
        daemon.scribe.join().unwrap();
    }

    /// SIGTERM for the daemon.
    pub(crate) fn terminate(&self) -> Process {
        let daemon = self.daemon.as_ref().unwrap();
        let process = Process::of(daemon.child.id().into());
        stoked::contain::identity::signal(&process.0, rustix::process::Signal::TERM).unwrap();
        process
    }

    /// SIGTERM for the daemon; returns when it is gone.
    pub(crate) fn stop(&mut self) {
        self.terminate().ends();
        let mut daemon = self.daemon.take().unwrap();
        let status = daemon.child.wait().unwrap();
        daemon.scribe.join().unwrap();
        assert!(status.success(), "{status}: {}", self.said());
    }

    /// SIGKILL, and a new daemon.
    pub(crate) fn restart(&mut self) {
        self.kill9();
        self.boot();
    }

    /// Everything that daemons of this host said.
    pub(crate) fn said(&self) -> String {
        let mut said = self.said.lock().unwrap().clone();
        said += &fs::read_to_string(self.state_dir().join("stoked.log")).unwrap_or_default();
        said
    }

    pub(crate) fn send(&self, ask: &Ask) -> Answer {
        ask.send(&self.socket())
            .unwrap_or_else(|error| panic!("{ask:?}: {error}\n{}", self.said()))
    }

    pub(crate) fn get(&self, target: &str) -> Value {
        self.send(&Ask::get(target)).ok()
    }

    pub(crate) fn post(&self, target: &str, body: &Value) -> Answer {
        self.send(&Ask::post(target, body))
    }

    /// The environment that jobs of the tests get.
    pub(crate) fn environment(&self) -> Value {
        let path = std::env::var("PATH").unwrap();
        json!({"PATH": path, "HOME": self.root().join("home"), "W": self.root().join("work")})
    }

    /// `spec` with an environment and a directory, where it has none.
    pub(crate) fn complete(&self, mut spec: Value) -> Value {
        let fields = spec.as_object_mut().unwrap();
        fields.entry("env").or_insert_with(|| self.environment());
        fields
            .entry("cwd")
            .or_insert_with(|| json!(self.root().join("work")));
        spec
    }

    /// Submits a job, and says its number.
    pub(crate) fn submit(&self, spec: Value) -> u64 {
        let answer = self.post("/v1/jobs", &self.complete(spec)).ok();
        answer["ids"][0].as_u64().unwrap()
    }

    /// Submits a shell script.
    pub(crate) fn sh(&self, script: &str) -> u64 {
        self.submit(json!({"command": ["sh", "-c", script]}))
    }

    pub(crate) fn job(&self, id: u64) -> Value {
        self.get(&format!("/v1/jobs/{id}"))
    }

    /// Does something with a job, which must be allowed.
    pub(crate) fn act(&self, id: u64, verb: &str) -> Value {
        self.act_with(id, verb, &json!({}))
    }

    pub(crate) fn act_with(&self, id: u64, verb: &str, body: &Value) -> Value {
        self.post(&format!("/v1/jobs/{id}/{verb}"), body).ok()
    }

    pub(crate) fn events(&self, query: &str) -> Events {
        Events::open(&self.socket(), query, None).unwrap_or_else(|refused| {
            panic!("{} {}\n{}", refused.status, refused.text(), self.said())
        })
    }

    /// Waits until a job is in a state, now or soon; returns the job as it is then.
    pub(crate) fn reaches(&self, id: u64, state: &str) -> Value {
        let mut events = self.events(&format!("channel=job/{id}/state&snapshot=1"));
        events.until(|message| {
            let seen = message.state().filter(|(job, _)| *job == id);
            message.data["state"] == state || seen.is_some_and(|(_, seen)| seen == state)
        });
        self.job(id)
    }

    /// Waits until a job is final, and returns it.
    pub(crate) fn ended(&self, id: u64) -> Value {
        let last = self.events(&format!("job={id}")).rest();
        let is_whole = last.last().is_some_and(|it| it.kind == "end");
        assert!(
            is_whole,
            "the stream of job {id} has no end: {last:#?}\n{}",
            self.said()
        );
        let job = self.job(id);
        assert!(job["finished_at"].is_string(), "{job:#}");
        job
    }

    /// The bytes that a job wrote to one of its outputs.
    pub(crate) fn output(&self, id: u64, stream: &str) -> Vec<u8> {
        let answer = self.send(&Ask::get(format!("/v1/jobs/{id}/logs?stream={stream}")));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.body
    }

    pub(crate) fn text(&self, id: u64) -> String {
        String::from_utf8(self.output(id, "stdout")).unwrap()
    }

    /// The main process of a job that runs.
    pub(crate) fn main_process(&self, id: u64) -> Process {
        let job = self.reaches(id, "running");
        Process::of(job["pid"].as_u64().unwrap_or_else(|| panic!("{job:#}")))
    }

    /// The shim of an attempt.
    pub(crate) fn shim(&self, attempt: &str) -> Process {
        let path = self
            .state_dir()
            .join("attempts")
            .join(attempt)
            .join("claim");
        let claim: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        Process::of(claim["shim"]["pid"].as_u64().unwrap())
    }

    /// Runs the client to its end.
    pub(crate) fn stoke(&self, args: &[&str]) -> Output {
        self.finish(self.start_stoke(args))
    }

    /// Starts the client, its output piped.
    pub(crate) fn start_stoke(&self, args: &[&str]) -> Child {
        let mut command = self.command(env!("CARGO_BIN_EXE_stoke"));
        command.env("W", self.root().join("work")).args(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// A client that starts no daemon of its own, which could come before one that the test starts.
    pub(crate) fn guest(&self, args: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_stoke"));
        command.env_remove("STOKED_RUNTIME_DIR");
        command.env("W", self.root().join("work"));
        command.arg("--socket").arg(self.socket()).args(args);
        command
    }

    /// Waits for the end of a client.
    pub(crate) fn finish(&self, child: Child) -> Output {
        let process = Process::of(child.id().into());
        let (send, receive) = mpsc::channel();
        let waiter = std::thread::spawn(move || send.send(child.wait_with_output()));
        let outcome = receive.recv_timeout(PATIENCE);
        if outcome.is_err() {
            process.kill();
        }
        waiter.join().unwrap().ok();
        match outcome {
            Ok(output) => output.unwrap(),
            Err(_) => panic!("the client does not end\n{}", self.said()),
        }
    }

    /// What the client printed, where it succeeded.
    pub(crate) fn stoke_ok(&self, args: &[&str]) -> String {
        let output = self.stoke(args);
        assert!(
            output.status.success(),
            "stoke {args:?}: {output:?}\n{}",
            self.said()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Everything alive that has to do with this host.
    pub(crate) fn processes(&self) -> Vec<Process> {
        processes_of(self.root.path())
    }

    /// Where jobs have their cgroups, if they have any.
    pub(crate) fn cgroup(&self) -> Option<&Path> {
        self.cgroup.as_deref()
    }

    /// How a part of the daemon is, to its own mind.
    pub(crate) fn health_of(&self, part: &str) -> Value {
        let health = self.get("/v1/health");
        let mut parts = health["components"].as_array().into_iter().flatten();
        let part = parts.find(|it| it["name"] == part);
        part.unwrap_or_else(|| panic!("{health:#}")).clone()
    }

    fn cgroup_in_force(&self) -> Option<PathBuf> {
        let containment = self.health_of("containment");
        let place = containment["message"].as_str()?;
        place.strip_prefix("cgroup v2 below ").map(PathBuf::from)
    }

    /// Puts the state directory on a small file system of its own; says aloud where that cannot be.
    pub(crate) fn mount_state(&mut self, size: &str) -> bool {
        let state = self.state_dir();
        if !rustix::process::geteuid().is_root() {
            say_skipped("only root can mount a small file system");
            return false;
        }
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&state)
            .output()
            .unwrap();
        if !mounted.status.success() {
            say_skipped(&String::from_utf8_lossy(&mounted.stderr));
            return false;
        }
        self.mount = Some(state);
        true
    }

    /// Mounts the state directory again with other options.
    pub(crate) fn remount_state(&self, options: &str) {
        let options = format!("remount,{options}");
        let mut command = Command::new("mount");
        command.args(["-o", &options]).arg(self.state_dir());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn unmount(&mut self) {
        if let Some(mount) = self.mount.take() {
            let mut command = Command::new("umount");
            // A process that is just ending may still hold it.
            command.arg("-l").arg(mount);
            assert!(command.status().unwrap().success());
        }
    }

    /// Ends everything. Says what had been left running although nobody looked after it any more.
    fn clear(&mut self) -> Vec<String> {
        self.kill9();
        let mut left = Vec::new();
        for process in self.processes() {
            if !process.ends_within(LEAVING) {
                left.push(format!("{process:?} {}", process.words()));
                process.kill();
                process.ends();
            }
        }
        if let Some(parent) = self.cgroup.take() {
            for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
                let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_dir && fs::remove_dir(entry.path()).is_err() {
                    left.push(format!("the cgroup {}", entry.path().display()));
                }
            }
            // It is gone where no job ever ran.
            let _removed = fs::remove_dir(&parent);
        }
        left
    }
}

/// Says that a test could not test anything, past the harness that hides the output of good tests.
pub(crate) fn say_skipped(why: &str) {
    let line = format!("SKIPPED: {}\n", why.trim());
    let _said = std::io::stderr().lock().write_all(line.as_bytes());
}

impl Drop for Host {
    fn drop(&mut self) {
        let left = self.clear();
        let said = self.said();
        self.unmount();
        if std::thread::panicking() {
            let last: Vec<_> = said.lines().rev().take(60).collect();
            let last: Vec<_> = last.into_iter().rev().collect();
            eprintln!("--- the daemon said last:\n{}", last.join("\n"));
            return;
        }
        assert!(left.is_empty(), "left running: {left:#?}\n{said}");
        assert!(!said.contains("panicked"), "a panic: {said}");
    }
}
