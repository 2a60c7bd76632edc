//! Runs that somebody asks about: attempts of jobs, with what they told.

use crate::api::call::{Call, harmless};
use crate::api::problem::{Failure, invalid};
use crate::api::progress::{attempt_of, newest};
use crate::auth::Action;
use crate::model::attempt::Attempt;
use crate::model::id::{AttemptId, JobId};
use crate::model::progress::Progress;
use crate::store::{JobHistory, Reader, Stretch};

/// What a run told, point by point.
pub(super) type Told = Vec<(i64, Progress)>;

/// A run that was asked for.
#[derive(Debug)]
pub(super) struct Run {
    /// Its job.
    pub(super) record: JobHistory,
    /// Which attempt of it.
    pub(super) id: AttemptId,
}

impl Run {
    /// Of a job, and of an attempt of it where one is named; the newest else.
    pub(super) async fn of(call: &Call, job: JobId, attempt: Option<u32>) -> Result<Self, Failure> {
        let record = call.shared.job(job).await?;
        call.permit(Action::SeeUse, Some(record.job.owner.uid))?;
        let attempt = attempt_of(&record, attempt)?;
        let id = AttemptId { job, attempt };
        Ok(Self { record, id })
    }

    /// Of a job (`42`: its newest attempt) or of an attempt (`42.1`).
    pub(super) async fn named(call: &Call, text: &str) -> Result<Self, Failure> {
        let attempt: Option<AttemptId> = text.parse().ok();
        let job = attempt.map(|it| it.job);
        let Some(job) = job.or_else(|| text.parse().ok().map(JobId)) else {
            let text = harmless(text);
            let why = format!("\"{text}\" is neither a job nor an attempt: write 42 or 42.1");
            return Err(invalid("run", why));
        };
        Self::of(call, job, attempt.map(|it| it.attempt)).await
    }

    /// The user whose it is.
    pub(super) fn owner(&self) -> u32 {
        self.record.job.owner.uid
    }

    /// The attempt itself.
    pub(super) fn attempt(&self) -> Option<&Attempt> {
        let mut attempts = self.record.attempts.iter();
        attempts.find(|it| it.id == self.id)
    }

    /// When it began to run, or else when it was to.
    pub(super) fn began_ms(&self) -> Option<i64> {
        let attempt = self.attempt()?;
        Some(attempt.started.unwrap_or(attempt.claimed).wall_ms)
    }

    /// When it ended; now, where it has not.
    pub(super) fn end_ms(&self) -> i64 {
        let ended = self.attempt().and_then(|attempt| attempt.ended);
        ended.map_or_else(crate::api::now_ms, |at| at.wall_ms)
    }

    /// All that it told.
    pub(super) async fn told(&self, call: &Call) -> Result<Told, Failure> {
        let stretch = Stretch {
            job: self.id.job,
            attempt: Some(self.id.attempt),
            since_ms: i64::MIN,
            until_ms: i64::MAX,
        };
        let newest = newest(call, &self.record, self.id.attempt);
        let read = move |archive: &Reader| archive.progress_points(&stretch, newest);
        call.shared.read(read).await
    }
}
