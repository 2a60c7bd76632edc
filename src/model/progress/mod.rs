//! Progress of an attempt: what its sources saw ([`Observation`]), merged into one state
//! ([`Progress`]) and given an ETA ([`Tracker`]). Pure.

mod clean;
mod merge;
mod observation;
mod steps;
mod track;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use crate::model::time::Stamp;

pub use clean::{MAX_METRICS, MAX_NAME_CHARS, MAX_STEPS, MAX_TEXT_CHARS, step_name};
pub use observation::{MoreSteps, Observation, Source, StepReport, StepState};
pub use steps::Excess;
pub use track::Tracker;

/// The merged present state of an attempt's progress; whatever is unknown is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// How much is done, 0–100; never falls while `phase_number` stays the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Units done.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "count")]
    pub step: Option<f64>,
    /// Units there are.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "count")]
    pub total_steps: Option<f64>,
    /// The epoch the job is in.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "count")]
    pub epoch: Option<f64>,
    /// Epochs there are.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "count")]
    pub total_epochs: Option<f64>,
    /// What the job is at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// How often counting began anew: a new epoch's bar, a second download, a restart.
    pub phase_number: u32,
    /// The newest word for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The job's own word for its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What the job says went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Units per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// What one unit is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The counts were estimated from outside, because nobody says how far the job is.
    #[serde(skip_serializing_if = "is_false")]
    pub estimated: bool,
    /// Seconds until done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<f64>,
    /// One in ten would be done earlier than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_low_seconds: Option<f64>,
    /// One in ten would be done later than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_high_seconds: Option<f64>,
    /// What the time that is left is known from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_basis: Option<EtaBasis>,
    /// The newest value of every named number.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// More metrics were given than are kept.
    #[serde(skip_serializing_if = "is_false")]
    pub metrics_left_out: bool,
    /// The steps the job announced or reported, in order of their first report.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<ReportedStep>,
    /// The job said that it has started up.
    pub ready: bool,
    /// The job said that it is ending.
    pub stopping: bool,
    /// When something here last changed, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at_ms: Option<i64>,
    /// When the counts last moved: the clock of the stall watchdog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advanced_at: Option<Stamp>,
    /// When anything was last heard, heartbeats included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<Stamp>,
    /// Who says how far the job is, and what was learned about how it counts.
    pub counting: Counting,
}

/// What the merge must remember between observations; stored with the rest, shown to nobody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counting {
    /// The source whose counts are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lead: Option<Lead>,
    /// Steps start again in every epoch.
    pub steps_in_epoch: bool,
    /// The job counts its epochs from 0.
    pub epochs_from_zero: bool,
    /// That was concluded from steps that ran ahead of the epochs, and not said or seen.
    #[serde(skip_serializing_if = "is_false")]
    pub steps_outran: bool,
    /// The job reports fractions of epochs.
    #[serde(skip_serializing_if = "is_false")]
    pub epochs_in_parts: bool,
    /// The epoch in which `step` was last reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch_of_step: Option<f64>,
    /// An explicit source named the phase, so adapters no longer do.
    pub phase_is_explicit: bool,
    /// The lead's own claims of rate and ETA, used until ours are good enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_rate: Option<f64>,
    /// See `claimed_rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_eta: Option<ClaimedEta>,
    /// Whether, and how, the job said which steps there are in all.
    #[serde(skip_serializing_if = "Plan::is_empty")]
    pub plan: Plan,
}

/// What is known of all named steps of a job, beyond those that are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// Steps were announced before they began, so that all of them are known.
    #[serde(skip_serializing_if = "is_false")]
    pub is_announced: bool,
    /// The job said how many there are, without counting them itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<f64>,
    /// Steps that are over and made room for others.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped: u32,
    /// How many of those failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped_failed: u32,
    /// What those weigh together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_weight: Option<f64>,
    /// How much of that was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_done: Option<f64>,
    /// Steps of the newest list that are beyond those that are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more: Option<MoreSteps>,
    /// There was no room for a step, so that nobody knows any more how far all of them are.
    #[serde(skip_serializing_if = "is_false")]
    pub is_overfull: bool,
}

impl Plan {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What an ETA is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EtaBasis {
    /// The pace of the job, measured here.
    Rate,
    /// The job's own word.
    Claim,
    /// How long earlier runs of the same took.
    History,
}

impl EtaBasis {
    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Claim => "claim",
            Self::History => "history",
        }
    }
}

/// The source whose counts are shown, and since when it has been silent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lead {
    /// Who.
    pub source: Source,
    /// How much its counts are worth.
    pub rank: Rank,
    /// When it last reported counts.
    pub at: Stamp,
}

/// How much a source's counts are worth; a higher rank takes the lead at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// Nobody said so: it was estimated from outside.
    Estimated,
    /// An adapter saw epochs only.
    GuessedEpochs,
    /// The generic adapter saw units or percent in a text it knows nothing of.
    GuessedSteps,
    /// An adapter that knows the program saw units or percent.
    NamedSteps,
    /// It follows from the named steps of which the job told all.
    Plan,
    /// The job said so itself.
    Explicit,
}

/// The job's own ETA and when it said so.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimedEta {
    /// Seconds until done, at that time.
    pub seconds: f64,
    /// That time.
    pub at: Stamp,
}

/// Which earlier runs are the same as one that runs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SameRuns {
    /// Whose they are.
    pub uid: u32,
    /// Their name.
    pub name: String,
    /// Their command too, where the name is only that of the program.
    pub command: Option<Vec<String>>,
    /// Their kind, where none has the name.
    pub kind: Option<String>,
}

/// A step as it stands now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportedStep {
    /// The newest report of it.
    #[serde(flatten)]
    pub report: StepReport,
    /// When it began; absent while it is only announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<i64>,
    /// When it was reported as ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at_ms: Option<i64>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Writes whole numbers as such: a client expects `500`, not `500.0`.
fn count<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked to be whole and below 2^53"
        )]
        Some(value) if value.fract() == 0.0 && value.abs() < EXACT => {
            serializer.serialize_i64(*value as i64)
        }
        Some(value) => serializer.serialize_f64(*value),
        None => serializer.serialize_none(),
    }
}
