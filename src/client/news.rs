//! What an event tells about a job. Decided by its channel and its body, not by its type: types are added over time.

use crate::wire::event::EventView;
use crate::wire::job::{ExitView, FailureView};
use serde::Deserialize;
use serde_json::Value;

/// The body of a `job/N/state` event, as far as clients need it. More fields may come.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct JobStateBody {
    /// The job.
    pub job: u64,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The state it is in now.
    pub state: String,
    /// The state it came from.
    pub from: Option<String>,
    /// Why it waits.
    pub reason: Option<String>,
    /// Number of its present attempt.
    pub attempt: Option<u32>,
    /// How the attempt ended.
    pub exit: Option<ExitView>,
    /// Why it failed.
    pub failure: Option<FailureView>,
}

/// What an event is to whoever follows jobs.
#[derive(Clone, Debug, PartialEq)]
pub enum News<'a> {
    /// A job moved, or was submitted.
    State(JobStateBody),
    /// A waiting job was changed.
    Edited(JobStateBody),
    /// A job was removed.
    Removed(u64),
    /// How far a job is.
    Progress(u64, &'a Value),
    /// Something else.
    Other,
}

impl<'a> News<'a> {
    /// Reads `event`.
    #[must_use]
    pub fn of(event: &'a EventView) -> Self {
        let Some((job, topic)) = job_channel(&event.channel) else {
            return Self::Other;
        };
        match (topic, event.kind.as_str()) {
            ("progress", _) => Self::Progress(job, &event.body),
            ("state", "removed") => Self::Removed(job),
            ("state", kind) => match JobStateBody::deserialize(&event.body) {
                Ok(body) if kind == "edited" => Self::Edited(body),
                Ok(body) => Self::State(body),
                Err(_) => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

/// Job and topic of a job's channel.
fn job_channel(channel: &str) -> Option<(u64, &str)> {
    let (id, topic) = channel.strip_prefix("job/")?.split_once('/')?;
    Some((id.parse().ok()?, topic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_channel_decides_and_not_the_type() {
        let event = |channel: &str, kind: &str, body: Value| EventView {
            time: jiff::Timestamp::UNIX_EPOCH,
            channel: channel.into(),
            kind: kind.into(),
            seq: None,
            coalesced: None,
            body,
        };
        let failed = json!({"job": 4, "state": "failed", "new": 1});
        for kind in ["state", "failed", "of_the_future"] {
            let event = event("job/4/state", kind, failed.clone());
            let News::State(body) = News::of(&event) else {
                panic!("{kind}")
            };
            assert_eq!((body.job, body.state.as_str()), (4, "failed"));
        }
        let removed = event("job/4/state", "removed", json!({"job": 4}));
        assert_eq!(News::of(&removed), News::Removed(4));
        let edited = event("job/4/state", "edited", failed.clone());
        assert!(matches!(News::of(&edited), News::Edited(_)));
        let progress = event("job/4/progress", "x", json!({"progress": 3}));
        assert_eq!(
            News::of(&progress),
            News::Progress(4, &json!({"progress": 3}))
        );
        for (channel, body) in [
            ("job/x/state", &failed),
            ("group/4/state", &failed),
            ("job/4/log", &failed),
            ("job/4/state", &json!({})),
        ] {
            let event = event(channel, "state", body.clone());
            assert_eq!(News::of(&event), News::Other, "{channel}");
        }
    }
}
