//! What goes into an attempt (the launch record) and what comes out of it (the exit record).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Bytes;

/// Identity of a process within one boot: a pid alone is soon somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
}

/// One instant on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireStamp {
    /// `CLOCK_REALTIME` in milliseconds.
    pub wall_ms: i64,
    /// `CLOCK_BOOTTIME` in milliseconds.
    pub boot_ms: u64,
}

/// Everything a shim needs to start and keep one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchRecord {
    /// The contract version the daemon speaks.
    pub version: u32,
    /// The job.
    pub job: u64,
    /// Which start of it.
    pub attempt: u32,
    /// The attempt directory, made by the daemon with mode 0700.
    pub dir: PathBuf,
    /// Where output goes.
    pub log_dir: PathBuf,
    /// How much output is kept.
    pub log_limit_bytes: u64,
    /// Program and arguments.
    pub command: Vec<Bytes>,
    /// The exact environment; the shim adds `NOTIFY_SOCKET` and `STOKED_ATTEMPT_TOKEN`.
    pub env: Vec<(Bytes, Bytes)>,
    /// Working directory.
    pub cwd: Bytes,
    /// File mode creation mask; absent is inherited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// What the command reads.
    #[serde(default)]
    pub stdin: Stdin,
    /// Run on a terminal of this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<TtySize>,
    /// How the job's processes are held together.
    #[serde(default)]
    pub containment: ContainmentSpec,
    /// Whom to run as; absent is the daemon's own user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserSpec>,
    /// Inclination to be killed when memory is short; absent undoes a daemon's own protection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Scheduling niceness; absent is inherited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// Soft limit of open files; absent is inherited. The daemon raises its own, which programs that
    /// close every possible descriptor, or still use `select`, must not see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// Unguessable text that marks the job's processes in their environment.
    #[serde(default)]
    pub token: String,
    /// Description of the job that the daemon wants back on adoption; no secrets.
    #[serde(default)]
    pub meta: serde_json::Value,
    /// Whether to offer a notify socket.
    #[serde(default)]
    pub notify: bool,
    /// The name under which the output goes to the journal too; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
    /// A directory to make for the user's own, for reports of the command: the attempt's is closed to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_dir: Option<PathBuf>,
    /// The PAM session that the command runs in; absent is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pam: Option<PamSpec>,
    /// Which boot of the host this is, as the daemon has it; absent is as the shim has it. In a container both may see
    /// different ones, and the daemon compares what is claimed with its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
}

/// What a command reads on its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// Nothing; with a terminal, the terminal.
    #[default]
    None,
    /// A file, opened with the rights of the job's user.
    File(Bytes),
}

/// Size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TtySize {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

/// Asked-for containment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ContainmentSpec {
    /// The process tree below the shim.
    #[default]
    Tree,
    /// A cgroup v2 directory.
    Cgroup {
        /// The directory that holds the attempts' directories.
        parent: PathBuf,
        /// The attempt's own, one path component.
        name: String,
    },
    /// A cgroup v2 directory below the shim's own: a service manager has started the shim in a unit of its own. What is
    /// claimed is the directory that this comes to.
    Service,
}

/// Containment in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainmentKind {
    /// A cgroup v2 directory.
    Cgroup,
    /// The process tree below the shim.
    Tree,
    /// A unit of a service manager, with a cgroup v2 directory in it.
    Service,
}

/// The user a command runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSpec {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Login name, for messages.
    pub name: String,
    /// All groups, as the daemon found them: who asks the host's user database needs the host's
    /// own C library, and the shim is linked with one of its own. None is the primary alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
}

/// A session that the modules of PAM open for a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PamSpec {
    /// The service whose modules are asked, such as `stoked` for `/etc/pam.d/stoked`.
    pub service: String,
    /// Login name of the user whose session it is.
    pub user: String,
    /// The program that opens and closes it, since the shim is linked with a C library that loads nothing.
    pub program: PathBuf,
}

/// How an attempt ended; also the content of `exit.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The contract version the shim speaks.
    pub version: u32,
    /// The job.
    pub job: u64,
    /// Which start of it.
    pub attempt: u32,
    /// The boot in which it ran.
    pub boot_id: String,
    /// The main process; absent when the command could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<ProcessId>,
    /// When the command started; absent when it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<WireStamp>,
    /// When the main process ended.
    pub ended: WireStamp,
    /// Exit code, when it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// Signal, when one ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether the kernel wrote a core dump.
    #[serde(default)]
    pub core_dumped: bool,
    /// CPU time in user mode of everything the job forked.
    #[serde(default)]
    pub user_cpu_ms: u64,
    /// CPU time in the kernel of everything the job forked.
    #[serde(default)]
    pub system_cpu_ms: u64,
    /// Largest resident set of any one of its processes.
    #[serde(default)]
    pub max_rss_bytes: u64,
    /// CPU time of everything the job forked, in microseconds, as exactly as the kernel knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_us: Option<u64>,
    /// Time in which a limit kept it from running, of all CPUs together; absent without a controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_us: Option<u64>,
    /// The most memory that all its processes held at once, as far as that can be told at the end; absent where the
    /// kernel does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// The most that was charged to it at once, page cache included; absent likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_charged_peak_bytes: Option<u64>,
    /// What it read from disks; absent where the kernel does not tell of all its processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_read_bytes: Option<u64>,
    /// What it wrote to disks; absent likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_write_bytes: Option<u64>,
    /// How many of its processes the kernel killed for want of memory; absent without a controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// Processes that outlived the main process and were killed.
    #[serde(default)]
    pub killed_leftovers: u32,
    /// Processes that even SIGKILL had not ended when the shim stopped waiting.
    #[serde(default)]
    pub survivors: u32,
    /// Output that could not be kept.
    #[serde(default)]
    pub dropped_output_bytes: u64,
    /// Whether the kernel killed one of its processes for want of memory, as far as its cgroup tells.
    #[serde(default)]
    pub oom_killed: bool,
    /// Why the command could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spawn_error: Option<SpawnError>,
}

/// Why a command could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnError {
    /// What kind of obstacle.
    pub error: SpawnErrorKind,
    /// What was being done, such as `chdir` or `exec`.
    pub step: String,
    /// The system's error number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// What happened and the way out, for a person.
    pub message: String,
}

/// Kinds of obstacles to a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpawnErrorKind {
    /// No such command.
    CommandMissing,
    /// The file is there but may not be executed.
    NotExecutable,
    /// The file is no program this host can run.
    BadFormat,
    /// The working directory is gone or closed to the user.
    Cwd,
    /// Arguments and environment are more than the system takes.
    TooBig,
    /// The standard input cannot be opened.
    Stdin,
    /// The user's identity cannot be taken on.
    User,
    /// PAM does not let the user in, or cannot open a session.
    Pam,
    /// The launch record makes no sense.
    BadRequest,
    /// Something in the host or the shim itself.
    System,
    /// A kind this build does not know.
    #[serde(other)]
    Unknown,
}
