//! Frames between daemon and shim: one JSON object per line, told apart by `type`.
//!
//! A running shim may be older or newer than the daemon that adopts it, so this contract only
//! grows: unknown types decode to `Unknown` and are skipped, unknown fields are ignored, and a
//! field that was added later has a default.

mod bytes;
mod lines;
mod record;

pub use bytes::Bytes;
pub use lines::{LineTooLong, Lines};
pub use record::{
    ContainmentKind, ContainmentSpec, ExitRecord, LaunchRecord, PamSpec, ProcessId, SpawnError,
    SpawnErrorKind, Stdin, TtySize, UserSpec, WireStamp,
};

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of this contract that this build speaks.
pub const VERSION: u32 = 1;

/// The longest frame either side reads: room for 10 MB of arguments in JSON's worst escaping.
pub const MAX_FRAME_BYTES: usize = 96 << 20;

/// A frame from the daemon to a shim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToShim {
    /// Start the command; the first frame on the link, and the only one that starts anything.
    Launch(Box<LaunchRecord>),
    /// A daemon introduces itself on an adopted connection.
    Hello {
        /// The contract version the daemon speaks.
        version: u32,
    },
    /// Send a signal.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Who gets it.
        to: SignalTarget,
    },
    /// SIGKILL for everything the job ever forked.
    Kill,
    /// Stop the job's processes where they stand.
    Freeze,
    /// Let them go on.
    Thaw,
    /// The exit is committed in the daemon's store: clean up and leave.
    AckExit,
    /// Text typed to a job that has a terminal.
    PtyInput {
        /// What was typed.
        text: String,
    },
    /// The job's terminal has a new size.
    Resize(TtySize),
    /// A type this build does not know.
    #[serde(other)]
    Unknown,
}

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalTarget {
    /// The main process alone.
    Main,
    /// The main process's group.
    Group,
    /// Every process of the attempt.
    All,
}

/// A frame from a shim to the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromShim {
    /// The first frame on every connection: who speaks, and how far the attempt is.
    Hello(Box<Hello>),
    /// Another shim already owns this attempt; this one leaves without starting anything.
    Claimed {},
    /// The command runs.
    Started(Started),
    /// The command could not be started; the attempt is over and waits for `ack_exit`.
    SpawnFailed(SpawnError),
    /// One datagram that a process of the job sent to its notify socket.
    Notify {
        /// The text, invalid UTF-8 replaced, cut at 4 KiB.
        text: String,
        /// The sender, as the kernel says.
        pid: u32,
    },
    /// `freeze` is done.
    Frozen {},
    /// `thaw` is done.
    Thawed {},
    /// A request could not be carried out.
    Refused {
        /// The request's type.
        request: String,
        /// Why, for a person.
        message: String,
    },
    /// The attempt is over and waits for `ack_exit`.
    Exited(Box<ExitRecord>),
    /// A type this build does not know.
    #[serde(other)]
    Unknown,
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShimPhase {
    /// The command is being started.
    Launching,
    /// The command runs.
    Running,
    /// The exit record is written.
    Exited,
}

/// What a shim says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The contract version the shim speaks.
    pub version: u32,
    /// The job.
    pub job: u64,
    /// Which start of it.
    pub attempt: u32,
    /// The shim's own identity.
    pub shim: ProcessId,
    /// The boot in which these process identities hold.
    pub boot_id: String,
    /// How far the attempt is.
    pub phase: ShimPhase,
    /// The main process, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<ProcessId>,
    /// When the command started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<WireStamp>,
    /// What the daemon gave along at launch.
    #[serde(default)]
    pub meta: serde_json::Value,
}

/// The command runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The main process.
    pub main: ProcessId,
    /// When it started.
    pub at: WireStamp,
    /// Which containment is in force, which may be less than was asked for.
    pub containment: ContainmentKind,
    /// The cgroup directory, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
    /// Why the cgroup that was asked for is not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_refused: Option<String>,
}

/// Content of the `claim` file: which shim owns the attempt. Made before the command starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The contract version the shim speaks.
    pub version: u32,
    /// The shim's own identity.
    pub shim: ProcessId,
    /// The boot in which it holds.
    pub boot_id: String,
    /// The job.
    pub job: u64,
    /// Which start of it.
    pub attempt: u32,
    /// What finds the job's processes when the shim is gone.
    #[serde(default)]
    pub token: String,
    /// The containment that was asked for.
    pub containment: ContainmentSpec,
    /// What the daemon gave along at launch.
    #[serde(default)]
    pub meta: serde_json::Value,
}

/// Encode a frame as one line, its newline included.
pub fn encode<T: Serialize>(frame: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(frame)?;
    line.push(b'\n');
    Ok(line)
}

/// Decode one line. A `type` this build does not know is not an error: it is `Unknown`.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(line)
}

#[cfg(test)]
mod tests;
