//! The directories that logs are in, one for each attempt, as they are found: whose an attempt was may not be known any
//! more.

use crate::logs::retain;
use crate::model::id::{AttemptId, JobId};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The log directories that were there at one time.
#[derive(Debug, Default)]
pub(super) struct LogDirs {
    dir: PathBuf,
    /// By job and number.
    attempts: Vec<AttemptId>,
}

impl LogDirs {
    /// Looks which are there in `dir`. What is named otherwise is none.
    pub(super) fn look(dir: &Path) -> io::Result<Self> {
        let mut attempts = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            attempts.extend(
                name.to_str()
                    .and_then(|name| name.parse::<AttemptId>().ok()),
            );
        }
        attempts.sort_unstable();
        Ok(Self {
            dir: dir.to_owned(),
            attempts,
        })
    }

    /// Those of a job.
    pub(super) fn of(&self, job: JobId) -> impl Iterator<Item = PathBuf> + '_ {
        let from = self.attempts.partition_point(|it| it.job < job);
        let own = self.attempts[from..]
            .iter()
            .take_while(move |it| it.job == job);
        own.map(|attempt| self.dir.join(attempt.to_string()))
    }

    /// Bytes in those of a job; what cannot be read has none.
    pub(super) fn bytes(&self, job: JobId) -> u64 {
        let sizes = self.of(job).map(|dir| retain::size_bytes(&dir));
        sizes.map(Result::unwrap_or_default).sum()
    }

    /// Removes those of a job. Answers whether it could; where not, it says why.
    pub(super) fn remove(&self, job: JobId) -> bool {
        let mut is_gone = true;
        for dir in self.of(job) {
            if let Err(error) = retain::remove(&dir) {
                tracing::warn!(dir = %dir.display(), %error, "a log cannot be removed");
                is_gone = false;
            }
        }
        is_gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_of_a_job_are_all_of_its_attempts_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        for name in ["7.1", "7.12", "70.1", "6.9", "7.x", "7", "x"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        fs::write(root.path().join("7.12/stdout.0"), "12345").unwrap();
        let logs = LogDirs::look(root.path()).unwrap();
        let job = JobId(7);
        let found: Vec<PathBuf> = logs.of(job).collect();
        assert_eq!(found, ["7.1", "7.12"].map(|name| root.path().join(name)));
        assert_eq!((logs.bytes(job), logs.bytes(JobId(6))), (5, 0));
        assert!(logs.remove(job) && logs.remove(JobId(8)));
        let left = LogDirs::look(root.path()).unwrap();
        assert_eq!(left.attempts.len(), 2);
        assert!(root.path().join("7.x").exists());
    }
}
