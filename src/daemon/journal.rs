//! What happens to jobs, as messages of the journal: each with the number of its job, and with an id that the catalog
//! (`packaging/catalog/stoked.catalog`) explains. Where the daemon does not log to the journal, there is none of it.

use crate::model::event::{Event, StateBody};
use crate::model::state::StateName;
use std::os::fd::AsFd;
use tracing::Level;

/// The target of these messages; a log for people to read line by line leaves them out.
pub(super) const TARGET: &str = "stoked::job";

/// A command began to run.
const STARTED: &str = "7e8422fbd776439daa25786f2884c8f1";
/// A job ended well.
const COMPLETED: &str = "65bb3bfe4c734acfacff71e5ec8a928c";
/// A job failed, or nobody knows how it ended.
const FAILED: &str = "b2bc34161e534f329dea24650d5eced4";
/// A job was ended because somebody or something asked for it.
const ENDED: &str = "cde705691c34445e879ea72f6f834d52";

/// Whether standard error goes to the journal, see `$JOURNAL_STREAM` in `systemd.exec(5)`.
pub(super) fn is_listening() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let here = rustix::fs::fstat(std::io::stderr().as_fd());
    here.is_ok_and(|here| stream == format!("{}:{}", here.st_dev, here.st_ino))
}

/// Tells what has happened to jobs.
pub(super) fn tell(events: &[Event]) {
    if !tracing::enabled!(target: TARGET, Level::INFO) {
        return;
    }
    let states = events
        .iter()
        .filter(|event| event.seq.is_some() && event.channel.ends_with("/state"));
    let bodies = states.filter_map(|event| serde_json::from_str::<StateBody>(&event.body).ok());
    bodies.for_each(|body| tell_of(&body));
}

fn tell_of(body: &StateBody) {
    let (id, is_bad) = match body.state {
        StateName::Running if body.from == Some(StateName::Starting) => (STARTED, false),
        StateName::Completed => (COMPLETED, false),
        StateName::Failed | StateName::TimedOut | StateName::Lost => (FAILED, true),
        StateName::Cancelled | StateName::Skipped => (ENDED, false),
        StateName::Held
        | StateName::Queued
        | StateName::Starting
        | StateName::Running
        | StateName::Paused
        | StateName::Stopping
        | StateName::Backoff => return,
    };
    let what = sentence(body);
    let (job, attempt) = (body.job.0, body.attempt);
    let (user, name, state) = (&*body.user, &*body.name, body.state.as_str());
    if is_bad {
        tracing::warn!(
            target: TARGET, MESSAGE_ID = id, STOKED_JOB = job, STOKED_ATTEMPT = attempt, STOKED_USER = user,
            STOKED_JOB_NAME = name, STOKED_STATE = state, "{what}"
        );
    } else {
        tracing::info!(
            target: TARGET, MESSAGE_ID = id, STOKED_JOB = job, STOKED_ATTEMPT = attempt, STOKED_USER = user,
            STOKED_JOB_NAME = name, STOKED_STATE = state, "{what}"
        );
    }
}

/// What happened, for people. Whoever may read the journal administers the host.
fn sentence(body: &StateBody) -> String {
    let job = format!("job {} ({}) of {}", body.job, body.name, body.user);
    let why = body
        .failure
        .as_ref()
        .map(|failure| failure.message.as_str());
    let why = why.filter(|why| !why.is_empty());
    let what = match body.state {
        StateName::Running => "started",
        StateName::Completed => "completed",
        StateName::Failed => "failed",
        StateName::TimedOut => "ran too long",
        StateName::Lost => "was lost",
        StateName::Cancelled => "was cancelled",
        StateName::Skipped => "was skipped",
        StateName::Held
        | StateName::Queued
        | StateName::Starting
        | StateName::Paused
        | StateName::Stopping
        | StateName::Backoff => "waits",
    };
    match why {
        Some(why) => format!("{job} {what}: {why}"),
        None => format!("{job} {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_explains_every_message() {
        let catalog = include_str!("../../packaging/catalog/stoked.catalog");
        let explained = catalog.lines().filter_map(|line| line.strip_prefix("-- "));
        let explained: Vec<&str> = explained.filter(|id| !id.is_empty()).collect();
        let said = [STARTED, COMPLETED, FAILED, ENDED, crate::api::audit::ACTED];
        assert_eq!(explained, said);
    }

    #[test]
    fn a_sentence_says_which_job_and_why() {
        let body = r#"{"job": 42, "name": "train", "group": "default", "user": "alice", "state": "failed",
            "failure": {"class": "exit", "message": "exit code 3"}}"#;
        let body: StateBody = serde_json::from_str(body).unwrap();
        assert_eq!(
            sentence(&body),
            "job 42 (train) of alice failed: exit code 3"
        );
    }
}
