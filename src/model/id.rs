//! Identities: of jobs, attempts, events and environments. Newtypes, so that none is mistaken for another.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Number of a job. Counts up from 1 and is never used twice, not even after the job was removed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One start of a job, written `42.2`: the second attempt of job 42.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct AttemptId {
    /// The job.
    pub job: JobId,
    /// Which start of it, counting from 1.
    pub attempt: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.job, self.attempt)
    }
}

/// A text that is not an attempt's name.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not an attempt: write JOB.ATTEMPT, as in 42.1")]
pub struct NotAnAttempt(String);

impl FromStr for AttemptId {
    type Err = NotAnAttempt;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text
            .split_once('.')
            .and_then(|(job, attempt)| Some((job.parse().ok()?, attempt.parse().ok()?)));
        match parsed {
            Some((job, attempt)) if attempt > 0 => Ok(Self {
                job: JobId(job),
                attempt,
            }),
            _ => Err(NotAnAttempt(text.to_owned())),
        }
    }
}

/// Number of a durable event, assigned in the transaction that made it happen.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Identity of a stored environment: the hash of its content, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnvId(pub String);
