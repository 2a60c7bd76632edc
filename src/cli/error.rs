//! What a person is told when something fails, and the exit status that goes with it.

use crate::cli::output::style::{Look, Tone};
use crate::cli::output::text::harmless;
use crate::client::ClientError;
use crate::wire::error::{Problem, ProblemKind};
use std::error::Error;
use std::io;

/// Whose fault it is, so to say; decides the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something failed.
    Failed,
    /// The command line or a file makes no sense.
    Usage,
    /// No daemon answers.
    NoDaemon,
    /// There is no such job, group or attempt.
    NotFound,
    /// The caller may not do that.
    NotPermitted,
    /// Whoever read the output has gone: end without a word.
    BrokenPipe,
}

impl Kind {
    /// The exit status.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoDaemon => 3,
            Self::NotFound => 4,
            Self::NotPermitted => 5,
            // What a shell shows for a program that SIGPIPE ended.
            Self::BrokenPipe => 141,
        }
    }
}

/// An error as it is shown: what failed, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    /// Decides the exit status.
    pub kind: Kind,
    /// What failed, in one line.
    pub message: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// What to do.
    pub hints: Vec<String>,
}

impl CliError {
    /// An error of `kind`.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Something on the command line or in a file is wrong.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Something failed because of `error`; `message` completes "failed to …".
    #[must_use]
    pub fn failed(message: impl AsRef<str>, error: &dyn Error) -> Self {
        let mut new = Self::new(Kind::Failed, format!("failed to {}", message.as_ref()));
        new.causes.push(error.to_string());
        new.causes.extend(sources(error));
        new
    }

    /// Adds a cause.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The lines to show.
    #[must_use]
    pub fn render(&self, look: &Look) -> String {
        let label = |tone, text: &str| look.paint(tone, text);
        let mut out = format!(
            "{} {}\n",
            label(Tone::Bad, "stoke:"),
            harmless(&self.message)
        );
        for cause in &self.causes {
            for (n, line) in cause.lines().enumerate() {
                let head = if n == 0 { "because:" } else { "        " };
                out += &format!("  {} {}\n", label(Tone::Faint, head), harmless(line));
            }
        }
        for hint in &self.hints {
            out += &format!("  {} {}\n", label(Tone::Waiting, "hint:"), harmless(hint));
        }
        out
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let kind = match &error {
            ClientError::Problem(problem) => return problem.as_ref().into(),
            ClientError::NoDaemon { why, .. } if why.kind() == io::ErrorKind::PermissionDenied => {
                Kind::NotPermitted
            }
            ClientError::NoDaemon { .. } => Kind::NoDaemon,
            ClientError::Protocol { .. } | ClientError::Silent { .. } | ClientError::Io(_) => {
                Kind::Failed
            }
        };
        let mut new = Self::new(kind, format!("failed to {error}"));
        new.causes.extend(sources(&error));
        match error {
            ClientError::NoDaemon { .. } => {
                new.hint("`stoke doctor` says where daemons are looked for")
            }
            ClientError::Protocol { .. } => {
                new.hint("`stoke doctor` says whether client and daemon are of the same version")
            }
            ClientError::Silent { .. } => {
                new.hint("`stoke health` may say what keeps the daemon busy")
            }
            ClientError::Io(_) | ClientError::Problem(_) => {
                new.hint("the request may have been carried out: look before you repeat it")
            }
        }
    }
}

impl From<&Problem> for CliError {
    fn from(problem: &Problem) -> Self {
        let is = |kind| problem.is(kind);
        let kind = if is(ProblemKind::NotFound) {
            Kind::NotFound
        } else if is(ProblemKind::NotPermitted) {
            Kind::NotPermitted
        } else if is(ProblemKind::InvalidRequest) || is(ProblemKind::DependencyCycle) {
            Kind::Usage
        } else {
            Kind::Failed
        };
        let mut new = Self::new(kind, problem.title.clone());
        if let Some(field) = &problem.field {
            new.message += &format!(" ({field})");
        }
        new.causes.extend(problem.detail.clone());
        if is(ProblemKind::NotFound) && problem.field.as_deref() == Some("group") {
            // The API's own hint speaks of its routes.
            new.message = problem.title.clone();
            new = new.hint("`stoke groups` lists them, `stoke groups NAME --parallel N` makes one");
        } else {
            new.hints.extend(problem.hint.clone());
        }
        if is(ProblemKind::UnknownRoute) || is(ProblemKind::MethodNotAllowed) {
            new = new.hint(
                "the daemon is older than this client: restart it (running jobs do not notice)",
            );
        }
        new
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Kind::BrokenPipe, "the output is not read any more");
        }
        Self::failed("write the output", &error)
    }
}

/// The chain below an error, without what an outer one has said already.
fn sources(error: &dyn Error) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if causes.last().is_none_or(|last| !last.contains(&text)) {
            causes.push(text);
        }
        source = error.source();
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look() -> Look {
        Look {
            colour: false,
            width: 80,
            now: jiff::Timestamp::UNIX_EPOCH,
            zone: jiff::tz::TimeZone::UTC,
        }
    }

    #[test]
    fn a_refusal_is_shown_with_its_reason_and_its_hint() {
        let problem = Problem::new(ProblemKind::NotFound, "There is no job 7\u{1b}")
            .detail("it was removed")
            .hint("`stoke ls -a` lists what there is");
        let error = CliError::from(&problem);
        assert_eq!(error.kind.status(), 4);
        assert_eq!(
            error.render(&look()),
            "stoke: There is no job 7\\e\n  because: it was removed\n  hint: `stoke ls -a` lists what there is\n"
        );
    }

    #[test]
    fn statuses_are_the_documented_ones() {
        let why = || io::Error::from(io::ErrorKind::NotFound);
        let absent = ClientError::NoDaemon {
            path: "/x".into(),
            why: why(),
        };
        let absent = CliError::from(absent);
        assert_eq!((absent.kind, absent.kind.status()), (Kind::NoDaemon, 3));
        assert_eq!(absent.message, "failed to reach a daemon at /x");
        let pipe = CliError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(pipe.kind, Kind::BrokenPipe);
        let status = |kind| CliError::from(&Problem::new(kind, "x")).kind.status();
        assert_eq!(status(ProblemKind::NotPermitted), 5);
        assert_eq!(status(ProblemKind::InvalidRequest), 2);
        assert_eq!(status(ProblemKind::WrongState), 1);
    }
}
