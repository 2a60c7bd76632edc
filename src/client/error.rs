//! What can go wrong between a client and the daemon.

use crate::wire::error::{Problem, ProblemKind};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a request has no answer of the kind that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("reach a daemon at {}", path.display())]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        why: io::Error,
    },
    /// The daemon refused; nothing has changed.
    #[error("{}", .0.title)]
    Problem(Box<Problem>),
    /// The answer is not what the contract says.
    #[error("understand the daemon's answer: {what}")]
    Protocol {
        /// What is wrong with it.
        what: String,
    },
    /// The daemon gave no answer.
    #[error("get an answer within {} s", after.as_secs())]
    Silent {
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection broke, so that it is unknown whether the request was carried out.
    #[error("hear the end of the daemon's answer")]
    Io(#[source] io::Error),
}

impl ClientError {
    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol { what: what.into() }
    }

    pub(crate) fn broken(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Io(io::Error::other(why))
    }

    /// The refusal, where it is one of `kind`.
    #[must_use]
    pub fn problem(&self, kind: ProblemKind) -> Option<&Problem> {
        match self {
            Self::Problem(problem) if problem.is(kind) => Some(problem),
            Self::Problem(_)
            | Self::NoDaemon { .. }
            | Self::Protocol { .. }
            | Self::Silent { .. }
            | Self::Io(_) => None,
        }
    }

    /// Whether a later attempt may do better without anybody changing anything: the daemon is away.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        match self {
            Self::NoDaemon { why, .. } => why.kind() != io::ErrorKind::PermissionDenied,
            Self::Silent { .. } | Self::Io(_) => true,
            Self::Problem(problem) => problem.is(ProblemKind::ShuttingDown),
            Self::Protocol { .. } => false,
        }
    }

    /// Whether the daemon is there, but has no room for one more stream or request of this user now.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        match self {
            Self::Problem(problem) => {
                problem.is(ProblemKind::LimitReached)
                    || problem.status == 503 && !problem.is(ProblemKind::ShuttingDown)
            }
            Self::NoDaemon { .. } | Self::Protocol { .. } | Self::Silent { .. } | Self::Io(_) => {
                false
            }
        }
    }

    /// Whether to ask again is all that it takes: the daemon is away, at a limit, or in trouble of its own.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let is_trouble = match self {
            Self::Problem(problem) => problem.status >= 500,
            Self::NoDaemon { .. } | Self::Protocol { .. } | Self::Silent { .. } | Self::Io(_) => {
                false
            }
        };
        is_trouble || self.is_absence() || self.is_limit()
    }

    /// How long to wait before asking again, where the daemon says it.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem(problem) => problem.retry_after_ms.map(Duration::from_millis),
            Self::NoDaemon { .. } | Self::Protocol { .. } | Self::Silent { .. } | Self::Io(_) => {
                None
            }
        }
    }
}
