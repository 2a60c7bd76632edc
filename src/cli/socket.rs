//! Which daemon is talked to, and how one is started where none answers.

use crate::cli::error::{CliError, Kind};
use crate::client::{Client, ClientError, Revival};
use crate::config::paths::{
    HELD_BY_ANOTHER, RuntimeDir, SOCKET_NAME, SYSTEM_RUNTIME_DIR, Surroundings, check_private,
};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

/// A daemon that starts takes at most this long to say so.
const START_PATIENCE: Duration = Duration::from_secs(15);
/// How soon a daemon that another one keeps from starting is tried again, at first and at last.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOK_SELDOM: Duration = Duration::from_millis(320);
/// What the daemon writes once it listens.
const READY: &str = "ready";
/// A daemon's complaint is not longer.
const LONGEST_COMPLAINT_BYTES: u64 = 16 << 10;

/// What was asked for, by option or environment.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// `--socket`.
    pub option: Option<PathBuf>,
    /// `$STOKE_SOCKET`.
    pub variable: Option<PathBuf>,
    /// `$STOKED_SOCKET`, which the daemon sets for its jobs.
    pub job_variable: Option<PathBuf>,
}

impl Wish {
    /// Reads the variables of this process.
    #[must_use]
    pub fn of_process(option: Option<PathBuf>) -> Self {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self {
            option,
            variable: variable("STOKE_SOCKET"),
            job_variable: variable("STOKED_SOCKET"),
        }
    }
}

/// The sockets to try, in order, and whether a daemon may be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The sockets.
    pub candidates: Vec<Candidate>,
    /// The runtime directory in which a daemon of this user may be started where none answers.
    pub start_in: Option<RuntimeDir>,
}

/// One place where a daemon may listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The socket.
    pub socket: PathBuf,
    /// Its directory, where that must be checked before it is trusted.
    pub suspect_dir: Option<PathBuf>,
    /// Why it is looked at, for people.
    pub why: &'static str,
}

impl Plan {
    /// The rules, as a pure function.
    #[must_use]
    pub fn new(wish: &Wish, around: &Surroundings) -> Self {
        let own_dir = around.user_runtime_dir();
        let only = |socket: &Path, why| {
            // Asked for by name, nothing is started: a typing error must not bring up a daemon.
            // The overrides of tests and containers say plainly whose socket it is.
            let is_own = around.stoked_runtime_dir.is_some() && *socket == own_dir.socket();
            Self {
                candidates: vec![Candidate::trusted(socket, why)],
                start_in: is_own.then(|| own_dir.clone()),
            }
        };
        if let Some(socket) = &wish.option {
            return only(socket, "--socket");
        }
        if let Some(socket) = &wish.variable {
            return only(socket, "STOKE_SOCKET");
        }
        if let Some(socket) = &wish.job_variable {
            return only(socket, "STOKED_SOCKET, set for jobs");
        }
        let suspect_dir = own_dir.in_shared_place.then(|| own_dir.path.clone());
        let mut candidates = vec![Candidate {
            socket: own_dir.socket(),
            suspect_dir,
            why: if around.stoked_runtime_dir.is_some() {
                "in STOKED_RUNTIME_DIR"
            } else {
                "your own place"
            },
        }];
        if around.stoked_runtime_dir.is_none() {
            let system = Path::new(SYSTEM_RUNTIME_DIR).join(SOCKET_NAME);
            candidates.push(Candidate::trusted(&system, "the system's place"));
        }
        Self {
            candidates,
            start_in: Some(own_dir),
        }
    }

    /// A connection to the first daemon that answers; starts one where none does and that is allowed.
    ///
    /// # Errors
    /// Says which sockets were tried, or why no daemon could be started.
    pub async fn connect(&self) -> Result<Client, CliError> {
        let mut first = None;
        for candidate in &self.candidates {
            match candidate.connect(self.revival(&candidate.socket)).await {
                Ok(client) => return Ok(client),
                // One that is there and takes nobody now is the one to ask: jobs do not go elsewhere.
                Err(error) if is_there(&error) => return Err(error.into()),
                Err(error) => first = first.or(Some(error)),
            }
        }
        match (&self.start_in, first) {
            (Some(dir), Some(ClientError::NoDaemon { why, .. })) if may_start(&why) => {
                start(dir).await
            }
            (_, Some(error)) => Err(error.into()),
            (_, None) => Err(CliError::new(Kind::NoDaemon, "there is no socket to try")),
        }
    }

    /// What brings the daemon at `socket` back, where it may be started.
    fn revival(&self, socket: &Path) -> Option<Revival> {
        let dir = self.start_in.clone()?;
        (dir.socket() == *socket).then(|| {
            Revival::new(move || {
                let dir = dir.clone();
                // The caller asks again, and says what it finds.
                async move { drop(start(&dir).await) }
            })
        })
    }

    /// Whether the daemon of `client` is one that this client starts where none runs: a user's daemon has nobody else
    /// who would.
    #[must_use]
    pub fn may_revive(&self, client: &Client) -> bool {
        let own = self.start_in.as_ref();
        own.is_some_and(|dir| dir.socket() == client.socket())
    }

    /// Brings the daemon of `client` back where that is this client's business; else does nothing. Whether there is one
    /// now.
    pub async fn revive(&self, client: &Client) -> bool {
        let own = self.start_in.as_ref();
        let Some(dir) = own.filter(|dir| dir.socket() == client.socket()) else {
            return false;
        };
        match Client::connect(client.socket()).await {
            // The caller goes on trying to connect, and says what it finds.
            Err(ClientError::NoDaemon { why, .. }) if may_start(&why) => start(dir).await.is_ok(),
            Err(_) => false,
            Ok(_) => true,
        }
    }
}

impl Candidate {
    fn trusted(socket: &Path, why: &'static str) -> Self {
        Self {
            socket: socket.to_owned(),
            suspect_dir: None,
            why,
        }
    }

    /// Connects, after a look at the directory where strangers could have made it.
    ///
    /// # Errors
    /// [`ClientError::NoDaemon`]
    pub async fn connect(&self, revival: Option<Revival>) -> Result<Client, ClientError> {
        if let Some(dir) = &self.suspect_dir {
            let uid = rustix::process::geteuid().as_raw();
            check_private(dir, uid).map_err(|why| ClientError::NoDaemon {
                path: self.socket.clone(),
                why,
            })?;
        }
        Client::connect_for_good(&self.socket, revival).await
    }
}

/// Nobody listens: there is no socket, or a daemon left it behind when it was killed, perhaps just now
/// with our connection in its queue.
fn may_start(why: &io::Error) -> bool {
    matches!(
        why.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}

/// Somebody listens, and more want to connect than may wait in line.
fn is_there(error: &ClientError) -> bool {
    matches!(error, ClientError::NoDaemon { why, .. } if why.kind() == io::ErrorKind::WouldBlock)
}

async fn start(dir: &RuntimeDir) -> Result<Client, CliError> {
    let deadline = Instant::now() + START_PATIENCE;
    let mut pause = LOOK_EVERY;
    loop {
        let complaint = launch().await?;
        match Client::connect(&dir.socket()).await {
            Ok(client) => return Ok(client),
            Err(ClientError::NoDaemon { why, .. }) if may_start(&why) => {}
            Err(error) => return Err(error.into()),
        }
        let complaint = complaint.unwrap_or_else(|| "it does not listen".to_owned());
        // Another one that does not answer is being started by somebody else, or is going down: then theirs
        // answers soon, or ours has its turn.
        if Instant::now() > deadline || !complaint.contains(HELD_BY_ANOTHER) {
            return Err(not_started(&complaint));
        }
        tokio::time::sleep(pause).await;
        if let Ok(client) = Client::connect(&dir.socket()).await {
            return Ok(client);
        }
        pause = (pause * 2).min(LOOK_SELDOM);
    }
}

/// Starts `stoked`, and waits until it is ready or says why not.
async fn launch() -> Result<Option<String>, CliError> {
    let program = daemon_program();
    let mut command = tokio::process::Command::new(&program);
    command.args(["--user", "--detach"]);
    command.current_dir("/");
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        let what = format!("start a daemon ({})", program.display());
        CliError {
            kind: Kind::NoDaemon,
            ..CliError::failed(what, &error)
        }
        .hint(
            "install `stoked` beside `stoke`, or name the socket of a running daemon with --socket",
        )
    })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let said = async {
        let said = read_all(stdout).await;
        if said.lines().next_back().map(str::trim) == Some(READY) {
            return None;
        }
        let mut complaint = said;
        complaint.push_str(&read_all(stderr).await);
        let _status = child.wait().await;
        Some(complaint.trim().to_owned())
    };
    tokio::time::timeout(START_PATIENCE, said)
        .await
        .map_err(|_| not_started("it does not say that it is ready"))
}

async fn read_all(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut text = Vec::new();
    if let Some(stream) = stream {
        // What could be read before an error is still worth showing.
        let _read = stream
            .take(LONGEST_COMPLAINT_BYTES)
            .read_to_end(&mut text)
            .await;
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn not_started(why: &str) -> CliError {
    let why = if why.is_empty() {
        "it ended without a word"
    } else {
        why
    };
    CliError::new(Kind::NoDaemon, "failed to start a daemon")
        .cause(why)
        .hint("`stoked --user` in a terminal shows what happens")
}

/// `stoked` beside this executable, else wherever `$PATH` has it.
#[must_use]
pub fn daemon_program() -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|own| Some(own.parent()?.join("stoked")));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from("stoked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(plan: &Plan) -> Vec<String> {
        let text = |candidate: &Candidate| candidate.socket.to_str().unwrap().to_owned();
        plan.candidates.iter().map(text).collect()
    }

    fn around() -> Surroundings {
        Surroundings {
            uid: 7,
            xdg_runtime_dir: Some("/run/user/7".into()),
            ..Surroundings::default()
        }
    }

    #[test]
    fn the_own_daemon_comes_first_then_the_system_s() {
        let plan = Plan::new(&Wish::default(), &around());
        assert_eq!(
            sockets(&plan),
            ["/run/user/7/stoked/stoked.sock", "/run/stoked/stoked.sock"]
        );
        assert!(plan.start_in.is_some());
        let plan = Plan::new(
            &Wish::default(),
            &Surroundings {
                uid: 7,
                ..Surroundings::default()
            },
        );
        let suspect = plan.candidates[0].suspect_dir.as_deref();
        assert_eq!(suspect, Some(Path::new("/tmp/stoked-7")));
    }

    #[test]
    fn a_named_socket_is_the_only_one_and_starts_nothing() {
        let wish = Wish {
            option: Some("/a".into()),
            variable: Some("/b".into()),
            job_variable: Some("/c".into()),
        };
        let plan = Plan::new(&wish, &around());
        assert_eq!(
            (sockets(&plan), plan.start_in),
            (vec!["/a".to_owned()], None)
        );
        let wish = Wish {
            option: None,
            ..wish
        };
        assert_eq!(sockets(&Plan::new(&wish, &around())), ["/b"]);
        let wish = Wish {
            variable: None,
            ..wish
        };
        assert_eq!(sockets(&Plan::new(&wish, &around())), ["/c"]);
    }

    #[test]
    fn the_overrides_of_tests_keep_to_themselves() {
        let around = Surroundings {
            stoked_runtime_dir: Some("/d".into()),
            ..around()
        };
        let plan = Plan::new(&Wish::default(), &around);
        assert_eq!(sockets(&plan), ["/d/stoked.sock"]);
        let wish = Wish {
            variable: Some("/d/stoked.sock".into()),
            ..Wish::default()
        };
        assert!(Plan::new(&wish, &around).start_in.is_some());
    }
}
