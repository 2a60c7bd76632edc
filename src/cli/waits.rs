//! Why a job does not start: said once for each reason, when somebody has waited for it for a while.

use crate::cli::output::table::words_of;
use crate::cli::output::text::duration;
use crate::wire::job::JobView;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// A shorter wait needs no words.
const A_WHILE: Duration = Duration::from_secs(2);
/// Reasons change without an event; this is the longest time between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// When to look why a job waits, and what was said about it.
#[derive(Debug, Default)]
pub struct Waits {
    next: Option<Instant>,
    pause: Duration,
    said: BTreeSet<String>,
}

impl Waits {
    /// The job is in this state now.
    pub fn is_in(&mut self, state: &str) {
        if !matches!(state, "queued" | "held" | "backoff") {
            self.next = None;
        } else if self.next.is_none() {
            self.pause = A_WHILE;
            self.next = Some(Instant::now() + self.pause);
        }
    }

    /// Returns when it is time to look.
    pub async fn look(&mut self) {
        match self.next {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.next = Some(Instant::now() + self.pause);
    }

    /// What there is to say about a job that was looked at because of this, where it was not said before.
    pub fn news(&mut self, job: &JobView) -> Option<String> {
        self.next?;
        let reason = (job.state.clone(), job.reason.clone());
        let is_new = self.said.insert(format!("{reason:?}"));
        is_new.then(|| why(job))
    }
}

/// Why `job` waits, in words.
fn why(job: &JobView) -> String {
    let id = job.id;
    let group = &job.group;
    match (job.state.as_str(), job.reason.as_deref()) {
        ("held", _) => {
            format!("job {id} is held: `stoke release {id}` or `stoke approve {id}` lets it go")
        }
        ("backoff", _) => {
            let left = job
                .retry_at
                .map(|at| at.duration_since(jiff::Timestamp::now()));
            let left = left.map_or(0.0, |left| left.as_secs_f64().max(0.0));
            format!(
                "job {id} failed, and starts again in {}",
                duration(left.ceil())
            )
        }
        (_, Some("Dependency")) => {
            let ids: Vec<_> = job.depends_on.iter().map(u64::to_string).collect();
            format!("job {id} waits for other jobs: {}", ids.join(", "))
        }
        (_, Some("NotBefore")) => format!("job {id} waits for its start time"),
        (_, Some("GroupLimit")) => {
            format!("job {id} waits: group {group} is full (`stoke groups` shows it)")
        }
        (_, Some("GroupPaused")) => {
            format!(
                "job {id} waits: group {group} is paused (`stoke groups {group} --resume` lets it go on)"
            )
        }
        (_, Some("Draining")) => {
            format!("job {id} waits: the host is drained (`stoke drain --undo` ends this)")
        }
        (state, Some(reason)) => format!("job {id} is {state}: {}", words_of(reason)),
        (state, None) => format!("job {id} is {state}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job(state: &str, reason: Option<&str>) -> JobView {
        let job = json!({"id": 7, "name": "x", "state": state, "reason": reason, "group": "gpu", "priority": 5,
            "owner": {"uid": 0, "user": "u"}, "created_at": "2026-11-22T10:00:00Z", "depends_on": [3, 4]});
        serde_json::from_value(job).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn each_reason_is_said_once_and_looked_for_more_and_more_seldom() {
        let mut waits = Waits::default();
        assert_eq!(waits.news(&job("queued", None)), None, "nobody waits yet");
        waits.is_in("queued");
        let start = Instant::now();
        waits.look().await;
        assert_eq!(start.elapsed().as_secs(), 2);
        let full = "job 7 waits: group gpu is full (`stoke groups` shows it)";
        let full_job = job("queued", Some("GroupLimit"));
        assert_eq!(waits.news(&full_job).as_deref(), Some(full));
        waits.is_in("queued");
        waits.look().await;
        assert_eq!(start.elapsed().as_secs(), 6);
        assert_eq!(waits.news(&full_job), None);
        let others = "job 7 waits for other jobs: 3, 4";
        let waiting = job("queued", Some("Dependency"));
        assert_eq!(waits.news(&waiting).as_deref(), Some(others));
        for _ in 0..8 {
            waits.look().await;
        }
        let before = Instant::now();
        waits.look().await;
        assert_eq!(before.elapsed(), LONGEST_PAUSE);
        waits.is_in("running");
        assert_eq!(waits.news(&full_job), None);
    }
}
