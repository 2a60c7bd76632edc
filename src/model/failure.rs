//! How an attempt ended, and why it counts as failed.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What the kernel said when the main process ended: exactly one of `code` and `signal` is present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status, 0–255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// Number of the signal that killed the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether a core was dumped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub core_dumped: bool,
}

impl Exit {
    /// The process ended by itself with `code`.
    #[must_use]
    pub fn with_code(code: i32) -> Self {
        Self {
            code: Some(code),
            ..Self::default()
        }
    }

    /// The process was killed by `signal`.
    #[must_use]
    pub fn with_signal(signal: i32) -> Self {
        Self {
            signal: Some(signal),
            ..Self::default()
        }
    }

    /// Whether the process ended by itself with status 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit status {code}"),
            (None, Some(signal)) if self.core_dumped => write!(f, "signal {signal} (core dumped)"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => f.write_str("unknown end"),
        }
    }
}

/// The class of a failure; stable names, used in the API, in retry policies and in statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Ended by itself with a status other than 0.
    Exit,
    /// Killed by a signal that stoked did not send.
    Signal,
    /// Killed because memory ran out.
    Oom,
    /// Ran longer than it may.
    Timeout,
    /// Gave no sign of life for too long.
    Stalled,
    /// Could not be started: command missing, working directory gone, permission.
    Spawn,
    /// Its GPU failed.
    Gpu,
    /// A job it depends on ended badly.
    Dependency,
    /// The host went down under it, or nothing is left that saw its end.
    HostLost,
    /// Hit a limit of its own, other than memory.
    ResourceLimit,
    /// Used up its budget.
    Budget,
}

impl FailureClass {
    /// Every class, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Exit,
        Self::Signal,
        Self::Oom,
        Self::Timeout,
        Self::Stalled,
        Self::Spawn,
        Self::Gpu,
        Self::Dependency,
        Self::HostLost,
        Self::ResourceLimit,
        Self::Budget,
    ];

    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Signal => "signal",
            Self::Oom => "oom",
            Self::Timeout => "timeout",
            Self::Stalled => "stalled",
            Self::Spawn => "spawn",
            Self::Gpu => "gpu",
            Self::Dependency => "dependency",
            Self::HostLost => "host_lost",
            Self::ResourceLimit => "resource_limit",
            Self::Budget => "budget",
        }
    }
}

/// Why an attempt or a job counts as failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The class, for programs.
    pub class: FailureClass,
    /// One sentence for people: what happened, to what, and where there is one, the way out.
    pub message: String,
}

impl Failure {
    /// A failure of `class` that `message` explains.
    #[must_use]
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
        }
    }
}

/// How an attempt ended, as its observers saw it. Never a guess: an unseen end is [`Ending::Unseen`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum Ending {
    /// The main process ended and its status was read.
    Exited {
        /// What the kernel said.
        exit: Exit,
        /// Whether the kernel's memory killer ended it.
        oom_killed: bool,
    },
    /// The command never ran.
    NotStarted {
        /// Why.
        failure: Failure,
    },
    /// Its end was seen but not its status: for example its shim was killed and what it left was ended.
    Broken {
        /// Why.
        failure: Failure,
    },
    /// Nobody saw its end: success or failure is not known.
    Unseen {
        /// What is known.
        failure: Failure,
    },
}

impl Ending {
    /// The exit status, where there is one.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        match self {
            Self::Exited { exit, .. } => Some(*exit),
            Self::NotStarted { .. } | Self::Broken { .. } | Self::Unseen { .. } => None,
        }
    }

    /// Why this ending is a failure; `None` for success.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Self::Exited { exit, .. } if exit.is_success() => None,
            Self::Exited {
                exit,
                oom_killed: true,
            } => Some(Failure::new(
                FailureClass::Oom,
                format!("the kernel killed it because memory ran out ({exit})"),
            )),
            Self::Exited { exit, .. } if exit.signal.is_some() => Some(Failure::new(
                FailureClass::Signal,
                format!("killed by {exit}"),
            )),
            Self::Exited { exit, .. } => Some(Failure::new(
                FailureClass::Exit,
                format!("ended with {exit}"),
            )),
            Self::NotStarted { failure } | Self::Broken { failure } | Self::Unseen { failure } => {
                Some(failure.clone())
            }
        }
    }
}
