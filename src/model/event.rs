//! Events: what happened, on one channel, with time and a typed body.

use crate::model::attempt::Process;
use crate::model::change::Change;
use crate::model::failure::{Exit, Failure};
use crate::model::flow::FlowKey;
use crate::model::gpu::GpuUuid;
use crate::model::id::{JobId, Seq};
use crate::model::job::{Job, QueueReason};
use crate::model::progress::Progress;
use crate::model::state::{JobState, StateName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Where an event belongs: `{entity}/{id}/{event}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    /// `job`, `group`, `daemon`, …
    pub entity: &'static str,
    /// Number or name of the entity.
    pub id: String,
    /// `state`, `progress`, `log`, …
    pub topic: &'static str,
}

impl Channel {
    /// A channel of a job.
    #[must_use]
    pub fn job(id: JobId, topic: &'static str) -> Self {
        Self {
            entity: "job",
            id: id.to_string(),
            topic,
        }
    }

    /// The channel that tells whether the host is drained.
    #[must_use]
    pub fn drain() -> Self {
        Self {
            entity: "daemon",
            id: "self".to_owned(),
            topic: "drain",
        }
    }

    /// The channel of a group's state.
    #[must_use]
    pub fn group(name: &str) -> Self {
        Self {
            entity: "group",
            id: name.to_owned(),
            topic: "state",
        }
    }
}

/// The channel of a flow's progress.
///
/// Several users may use one name, and the newest value of one must not take the place of another's. So it ends with
/// the owner inside the daemon, and [`shown_channel`] is what everybody sees.
#[must_use]
pub fn flow_channel(key: &FlowKey) -> String {
    format!("flow/{}/progress@{}", key.name, key.uid)
}

/// A channel as it is shown and asked for.
#[must_use]
pub fn shown_channel(channel: &str) -> &str {
    let owned = channel
        .starts_with("flow/")
        .then(|| channel.rsplit_once('@'));
    owned.flatten().map_or(channel, |(shown, _)| shown)
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.entity, self.id, self.topic)
    }
}

/// One thing that happened. With a `seq` it is durable (lifecycle), without it is telemetry.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number; `None` for telemetry, and for a durable event that is not committed yet.
    pub seq: Option<Seq>,
    /// Wall-clock time, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Where it belongs, as text.
    pub channel: Arc<str>,
    /// Its type: `state`, the name of a final state, `edited`, `removed`, `progress`, …
    pub kind: Arc<str>,
    /// Whose entity it is about; `None` where it is everybody's.
    pub uid: Option<u32>,
    /// Whether it is the last one of its entity (a job that reached a final state).
    pub is_final: bool,
    /// JSON object with the fields of its type.
    pub body: Arc<str>,
}

/// The type of a stored event as it is told today. Until 0.1 a final state was told as `state`, like
/// every other one, and such events may be replayed for as long as they are kept.
#[must_use]
pub fn present_kind(stored: String, is_final: bool, body: &str) -> Arc<str> {
    #[derive(Deserialize)]
    struct Told {
        state: StateName,
    }
    if stored == "state"
        && is_final
        && let Ok(Told { state }) = serde_json::from_str(body)
    {
        return state_kind(state).into();
    }
    stored.into()
}

/// The body of a `job/N/state` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateBody {
    /// The job.
    pub job: JobId,
    /// Its name; empty where whoever is told may not know it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_kind: Option<String>,
    /// Its flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// Name of its owner.
    pub user: String,
    /// The state it is in now.
    pub state: StateName,
    /// The state it came from; absent when it was just submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<StateName>,
    /// Why it waits, where that lies in the job itself: `Dependency` or `NotBefore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<QueueReason>,
    /// Number of its present attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Main process of the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How the attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When it starts again by itself, milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at_ms: Option<i64>,
    /// How far it came, percent, where it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// The last value of every metric, where it ended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// What went wrong, in the job's own words or else in ours, where it ended badly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The type of an event that tells of this state: a final one is told by its name, so that whoever
/// waits for an end need not look into the others.
#[must_use]
pub fn state_kind(state: StateName) -> &'static str {
    if state.is_final() {
        state.as_str()
    } else {
        "state"
    }
}

impl StateBody {
    /// The body that describes `job` as it is.
    #[must_use]
    pub fn of(job: &Job, from: Option<StateName>, now_wall_ms: i64) -> Self {
        let attempt = job.attempt.as_ref();
        let ended = attempt.and_then(|attempt| attempt.ending.as_ref());
        let last = attempt
            .filter(|_| job.state.is_final())
            .and_then(|attempt| attempt.progress.as_deref());
        let retry_at_ms = if let JobState::Backoff { until, .. } = &job.state {
            Some(until.wall_ms)
        } else {
            None
        };
        Self {
            job: job.id,
            name: job.spec.name.clone(),
            group: job.spec.group.clone(),
            job_kind: job.spec.kind.clone(),
            flow: job.spec.flow.clone(),
            user: job.owner.user.clone(),
            state: job.state.name(),
            from,
            reason: job.queue_reason(None, now_wall_ms).filter(|reason| {
                // The others depend on the group, which moves on without an event of this job.
                matches!(reason, QueueReason::Dependency | QueueReason::NotBefore)
            }),
            attempt: attempt.map(|attempt| attempt.id.attempt),
            pid: attempt
                .filter(|_| job.state.holds_place())
                .and_then(|attempt| attempt.main)
                .map(|Process { pid, .. }| pid),
            exit: ended.and_then(|ending| ending.exit()),
            failure: job.state.failure().cloned(),
            retry_at_ms,
            progress: last.and_then(|progress| progress.percent),
            metrics: last.map_or_else(BTreeMap::new, |progress| progress.metrics.clone()),
            error: final_error(job),
        }
    }
}

/// What went wrong with a job that ended badly.
fn final_error(job: &Job) -> Option<String> {
    let failure = job.state.failure().filter(|_| job.state.is_final())?;
    let attempt = job.attempt.as_ref();
    let said = attempt.and_then(|attempt| attempt.progress.as_deref()?.error.clone());
    said.or_else(|| Some(failure.message.clone()))
        .filter(|words| !words.is_empty())
}

/// The body of a `daemon/self/drain` event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainBody {
    /// Whether nothing new starts.
    pub draining: bool,
}

/// The body of a `job/N/progress` event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProgressBody {
    /// The job.
    pub job: JobId,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Which start of it.
    pub attempt: u32,
    /// The state of the job.
    pub status: StateName,
    /// What is known of how far it is.
    pub progress: Progress,
    /// What it uses of GPUs, where it uses any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuFigures>,
}

/// What a job uses of a GPU, beside its progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuFigures {
    /// Index of the GPU.
    pub index: u32,
    /// Its identity.
    pub uuid: GpuUuid,
    /// How much it computes for the job, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilization_percent: Option<f64>,
    /// Memory that the job holds, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

impl Event {
    /// The event that shows how far a job is, with what it uses of GPUs: one more field at the end of its body.
    #[must_use]
    pub fn with_gpus(self, gpus: &[GpuFigures]) -> Self {
        match self.body.strip_suffix('}') {
            Some(open) if !gpus.is_empty() && open.len() > 1 => Self {
                body: format!("{open},\"gpus\":{}}}", json(&gpus)).into(),
                ..self
            },
            Some(_) | None => self,
        }
    }

    /// The event that shows the state of `job`, without a number.
    #[must_use]
    pub fn state(job: &Job, from: Option<StateName>, at_ms: i64) -> Self {
        Self {
            seq: None,
            at_ms,
            channel: Channel::job(job.id, "state").to_string().into(),
            kind: state_kind(job.state.name()).into(),
            uid: Some(job.owner.uid),
            is_final: job.state.is_final(),
            body: json(&StateBody::of(job, from, at_ms)).into(),
        }
    }

    /// The telemetry event that shows the progress of the present attempt of `job`, where there is one.
    #[must_use]
    pub fn progress(job: &Job, at_ms: i64) -> Option<Self> {
        let attempt = job.attempt.as_ref()?;
        let body = ProgressBody {
            job: job.id,
            name: job.spec.name.clone(),
            attempt: attempt.id.attempt,
            status: job.state.name(),
            progress: attempt.progress.as_deref()?.clone(),
            gpus: Vec::new(),
        };
        Some(Self {
            seq: None,
            at_ms,
            channel: Channel::job(job.id, "progress").to_string().into(),
            kind: "progress".into(),
            uid: Some(job.owner.uid),
            is_final: false,
            body: json(&body).into(),
        })
    }
}

impl Change {
    /// Whether [`event`](Self::event) gives one.
    #[must_use]
    pub fn has_event(&self) -> bool {
        match self {
            Self::JobAdded { .. }
            | Self::JobMoved { .. }
            | Self::JobEdited { .. }
            | Self::JobRemoved { .. }
            | Self::JobExpired { .. }
            | Self::GpuFailed { .. }
            | Self::GroupSet { .. }
            | Self::GroupRemoved { .. }
            | Self::DrainSet { .. } => true,
            Self::EnvironmentSeen { .. }
            | Self::Tallied { .. }
            | Self::DependencyMet { .. }
            | Self::KeyUsed { .. } => false,
        }
    }

    /// The durable event that follows from this change, where one does; without its `seq`.
    #[must_use]
    pub fn event(&self) -> Option<Event> {
        let draft = |channel: Channel, kind: &str, uid, at_ms, is_final, body: String| Event {
            seq: None,
            at_ms,
            channel: channel.to_string().into(),
            kind: kind.into(),
            uid,
            is_final,
            body: body.into(),
        };
        match self {
            Self::JobAdded { job } => Some(Event::state(job, None, job.created.wall_ms)),
            Self::JobMoved { job, from, at } => Some(Event::state(job, Some(*from), at.wall_ms)),
            Self::JobEdited { job, at, .. } => Some(draft(
                Channel::job(job.id, "state"),
                "edited",
                Some(job.owner.uid),
                at.wall_ms,
                false,
                json(&StateBody::of(job, None, at.wall_ms)),
            )),
            Self::JobRemoved { job, uid, at } | Self::JobExpired { job, uid, at } => Some(draft(
                Channel::job(*job, "state"),
                "removed",
                Some(*uid),
                at.wall_ms,
                true,
                format!("{{\"job\":{job}}}"),
            )),
            Self::GroupSet { group, at } => Some(draft(
                Channel::group(&group.name),
                "group",
                None,
                at.wall_ms,
                false,
                json(group),
            )),
            Self::GroupRemoved { name, at } => Some(draft(
                Channel::group(name),
                "group_removed",
                None,
                at.wall_ms,
                true,
                json(&serde_json::json!({ "name": name })),
            )),
            Self::DrainSet { draining, at } => Some(draft(
                Channel::drain(),
                "drain",
                None,
                at.wall_ms,
                false,
                json(&DrainBody {
                    draining: *draining,
                }),
            )),
            Self::GpuFailed { fault } => Some(draft(
                fault.channel(),
                "xid",
                None,
                fault.xid.at_ms,
                false,
                json(fault),
            )),
            Self::EnvironmentSeen { .. }
            | Self::Tallied { .. }
            | Self::DependencyMet { .. }
            | Self::KeyUsed { .. } => None,
        }
    }
}

/// JSON text of a body. Bodies are plain data with string keys, which always have one.
fn json<T: Serialize>(body: &T) -> String {
    serde_json::to_string(body).unwrap_or_else(|_| "{}".to_owned())
}
