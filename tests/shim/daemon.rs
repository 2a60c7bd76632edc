//! The fake daemon: makes attempt directories, starts shims, speaks frames.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stoked::contain::cgroup::Base;
use stoked::contain::socket::connect_control;
use stoked::wire::shim::{
    Bytes, ContainmentSpec, ExitRecord, FromShim, LaunchRecord, Lines, SpawnError, Started, Stdin,
    ToShim, VERSION, decode, encode,
};

/// Long enough for a loaded machine; nothing ever waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One attempt with its private directories.
pub(crate) struct Attempt {
    root: tempfile::TempDir,
    pub(crate) record: LaunchRecord,
    cgroup: Option<Base>,
}

/// The daemon's end of one connection.
pub(crate) struct Daemon {
    pub(crate) stream: UnixStream,
    lines: Lines,
    /// Frames read past while waiting for another.
    pub(crate) seen: VecDeque<FromShim>,
}

/// A started shim.
pub(crate) struct Shim {
    pub(crate) child: Child,
}

impl Attempt {
    pub(crate) fn new(command: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("attempt");
        fs::create_dir(&dir).unwrap();
        let token = format!("{}", root.path().display());
        let path = std::env::var("PATH").unwrap();
        let record = LaunchRecord {
            version: VERSION,
            job: 42,
            attempt: 2,
            dir,
            log_dir: root.path().join("logs"),
            log_limit_bytes: 1 << 30,
            command: command.iter().map(|item| Bytes::from(*item)).collect(),
            env: vec![("PATH".into(), Bytes::from(path.as_str()))],
            cwd: "/".into(),
            umask: None,
            stdin: Stdin::None,
            tty: None,
            containment: ContainmentSpec::Tree,
            user: None,
            oom_score_adj: None,
            nice: None,
            open_files: None,
            token,
            meta: serde_json::json!({"name": "test"}),
            notify: false,
            journal: None,
            report_dir: None,
            pam: None,
            boot_id: None,
        };
        Self {
            root,
            record,
            cgroup: None,
        }
    }

    pub(crate) fn shell(script: &str) -> Self {
        Self::new(&["sh", "-c", script])
    }

    /// Ask for a cgroup; `None`, said aloud, where this host has none for us.
    pub(crate) fn in_cgroup(mut self) -> Option<Self> {
        let name = self.root.path().file_name().unwrap().to_str().unwrap();
        let name = name.trim_start_matches('.').to_owned();
        match Base::probe(&format!("test-{name}")) {
            Ok(base) => {
                self.record.containment = ContainmentSpec::Cgroup {
                    parent: base.parent().to_owned(),
                    name,
                };
                self.cgroup = Some(base);
                Some(self)
            }
            Err(why) => {
                println!("skipped with a cgroup: {why}");
                None
            }
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.record.dir
    }

    /// A FIFO to wait on and to be waited for.
    pub(crate) fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        path
    }

    pub(crate) fn spawn_idle(&self) -> (Shim, Daemon) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_stoked-shim"))
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        (Shim { child }, Daemon::over(ours))
    }

    pub(crate) fn launch(&self) -> (Shim, Daemon) {
        let (shim, mut daemon) = self.spawn_idle();
        daemon.send(&ToShim::Launch(Box::new(self.record.clone())));
        (shim, daemon)
    }

    /// Launch, and wait until the command runs.
    pub(crate) fn start(&self) -> (Shim, Daemon, Started) {
        let (shim, mut daemon) = self.launch();
        let started = daemon.started();
        (shim, daemon, started)
    }

    /// Run to the end, acknowledge, and see the shim off.
    pub(crate) fn run(&self) -> ExitRecord {
        let (mut shim, mut daemon) = self.launch();
        let record = daemon.exited();
        daemon.send(&ToShim::AckExit);
        shim.ends();
        assert!(!self.dir().exists(), "the attempt directory stays behind");
        record
    }

    pub(crate) fn adopt(&self) -> Daemon {
        Daemon::over(connect_control(self.dir()).unwrap())
    }

    pub(crate) fn exit_file(&self) -> Option<ExitRecord> {
        let text = fs::read(self.dir().join("exit.json")).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    /// What one output of the command was, from its log segments.
    pub(crate) fn output(&self, stream: &str) -> Vec<u8> {
        let mut segments: Vec<(u64, PathBuf)> = fs::read_dir(&self.record.log_dir)
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let offset = name.strip_prefix(stream)?.strip_prefix('.')?.parse().ok()?;
                Some((offset, path))
            })
            .collect();
        segments.sort();
        let mut whole = Vec::new();
        for (_, path) in segments {
            whole.extend(fs::read(path).unwrap());
        }
        whole
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.output("stdout")).unwrap()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(base) = &self.cgroup {
            drop(fs::remove_dir(base.parent()));
        }
    }
}

impl Shim {
    pub(crate) fn ends(&mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Daemon {
    pub(crate) fn over(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            lines: Lines::new(1 << 30),
            seen: VecDeque::new(),
        }
    }

    pub(crate) fn send(&mut self, frame: &ToShim) {
        self.stream.write_all(&encode(frame).unwrap()).unwrap();
    }

    /// The next frame; `None` when the shim has closed the connection.
    pub(crate) fn next(&mut self) -> Option<FromShim> {
        loop {
            if let Some(line) = self.lines.next_line() {
                return Some(decode(&line).unwrap());
            }
            let mut buffer = [0; 4096];
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                // The end of a child, whoever's, while another thread is in the middle of a fork.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => panic!("no frame came: {error}; seen {:?}", self.seen),
            };
            self.lines.push(&buffer[..count]).unwrap();
        }
    }

    /// The first frame that the choice takes; others are put aside.
    pub(crate) fn until<T>(&mut self, mut choose: impl FnMut(&FromShim) -> Option<T>) -> T {
        loop {
            let Some(frame) = self.next() else {
                panic!("the shim left; seen {:?}", self.seen);
            };
            let chosen = choose(&frame);
            self.seen.push_back(frame);
            if let Some(chosen) = chosen {
                return chosen;
            }
        }
    }

    pub(crate) fn started(&mut self) -> Started {
        self.until(|frame| match frame {
            FromShim::Started(started) => Some(started.clone()),
            FromShim::SpawnFailed(error) => panic!("{error:?}"),
            _ => None,
        })
    }

    pub(crate) fn exited(&mut self) -> ExitRecord {
        self.until(|frame| match frame {
            FromShim::Exited(record) => Some((**record).clone()),
            FromShim::SpawnFailed(error) => panic!("{error:?}"),
            _ => None,
        })
    }

    /// Why the command was not started.
    pub(crate) fn refused(&mut self) -> SpawnError {
        self.until(|frame| match frame {
            FromShim::SpawnFailed(error) => Some(error.clone()),
            FromShim::Started(_) => panic!("it started"),
            _ => None,
        })
    }

    pub(crate) fn sees(&mut self, wanted: &FromShim) {
        self.until(|frame| (frame == wanted).then_some(()));
    }
}
