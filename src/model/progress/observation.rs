//! What one source saw of a job's progress at one time, before it is merged with what others saw.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::clean::clean_step;
use super::is_false;

/// Who saw it. The order of trust is in [`super::Progress::observe`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An adapter of this name guessed it from the job's output.
    Adapter(String),
    /// The job's `progress.json` says so.
    File,
    /// The job said so over its notify socket.
    Notify,
    /// The job, or somebody for it, said so over the API.
    Api,
}

impl Source {
    /// Whether the job said it on purpose, as against an adapter's guess.
    #[must_use]
    pub fn is_explicit(&self) -> bool {
        !matches!(self, Self::Adapter(_))
    }
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It was announced and has not begun.
    Pending,
    /// It has begun.
    Started,
    /// It goes on.
    Progress,
    /// It ended well.
    Completed,
    /// It ended badly.
    Failed,
}

impl StepState {
    /// The state of this name, with the words people use for it.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word.trim().to_ascii_lowercase().as_str() {
            "pending" | "planned" | "waiting" | "todo" => Self::Pending,
            "started" | "start" | "begin" | "begun" => Self::Started,
            "progress" | "running" | "in_progress" => Self::Progress,
            "completed" | "complete" | "done" | "finished" | "success" => Self::Completed,
            "failed" | "fail" | "error" => Self::Failed,
            _ => return None,
        })
    }

    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Started => "started",
            Self::Progress => "progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing more is expected of the step.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// A job's word about one of its steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// What the job calls it; the same name is the same step.
    pub name: String,
    /// What sort of step it is (`epoch`, `file`, …), where the job says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// How far it is.
    pub state: StepState,
    /// How much of it is done, 0–100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Its share of the whole, beside that of the other steps; 1 where the job does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// A word for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl StepReport {
    /// A report that says no more than where a step is.
    #[must_use]
    pub fn new(name: impl Into<String>, state: StepState) -> Self {
        Self {
            name: name.into(),
            kind: None,
            state,
            percent: None,
            weight: None,
            message: None,
        }
    }

    /// Its share of the whole, of which every step has one.
    #[must_use]
    pub(super) fn weight_or_one(&self) -> f64 {
        self.weight.unwrap_or(1.0)
    }

    /// How much of it is done, 0–1. One that failed counts as far as it came: nobody does the rest.
    #[must_use]
    pub(super) fn part_done(&self) -> f64 {
        match self.state {
            StepState::Pending => 0.0,
            StepState::Completed => 1.0,
            StepState::Started | StepState::Progress | StepState::Failed => {
                self.percent.unwrap_or(0.0) / 100.0
            }
        }
    }
}

/// What is known of steps beyond those that are kept by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MoreSteps {
    /// How many.
    pub steps: u32,
    /// How many of them ended well.
    pub completed: u32,
    /// How many of them ended badly.
    pub failed: u32,
    /// What they weigh together.
    pub weight: f64,
    /// How much of that is done.
    pub done: f64,
}

impl MoreSteps {
    /// Counts one more, if it is fit to be kept.
    pub fn count(&mut self, step: StepReport) {
        let Some(step) = clean_step(step) else { return };
        let ended = |state| u32::from(step.state == state);
        self.steps = self.steps.saturating_add(1);
        self.completed = self.completed.saturating_add(ended(StepState::Completed));
        self.failed = self.failed.saturating_add(ended(StepState::Failed));
        self.weight += step.weight_or_one();
        self.done += step.weight_or_one() * step.part_done();
    }
}

/// What one source saw at one time; whatever it did not see is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Who saw it.
    pub source: Source,
    /// When it was said, where that is known to be before it was seen; milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said_at_ms: Option<i64>,
    /// Units done: steps, files, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<f64>,
    /// Units there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_steps: Option<f64>,
    /// The source's own percentage, 0–100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// The epoch the job is in (from 1, as printed), or a fraction of epochs done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<f64>,
    /// Epochs there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_epochs: Option<f64>,
    /// The source knows that `step` counts within the epoch, not over the whole job.
    #[serde(default, skip_serializing_if = "is_false")]
    pub steps_in_epoch: bool,
    /// The counts were not said by anybody, but estimated from outside, as from an open file.
    #[serde(default, skip_serializing_if = "is_false")]
    pub estimated: bool,
    /// What the job is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// A word for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Units per second, as the job measures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// What one unit is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// How long the job itself thinks it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<f64>,
    /// Named numbers: loss, accuracy, tokens per second.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// More metrics were given than are kept.
    #[serde(default, skip_serializing_if = "is_false")]
    pub metrics_left_out: bool,
    /// The job's own word for its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What the job says went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Steps announced, begun, advanced or ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
    /// Steps that are told in one list with these and not kept by name. A newer list replaces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_steps: Option<MoreSteps>,
    /// Reports of steps were too many at once to be taken in.
    #[serde(default, skip_serializing_if = "is_false")]
    pub steps_left_out: bool,
    /// The job says that it has started up (`READY=1`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub ready: bool,
    /// The job says that it is ending (`STOPPING=1`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub stopping: bool,
    /// The job says that it is alive (`WATCHDOG=1`, a heartbeat).
    #[serde(default, skip_serializing_if = "is_false")]
    pub heartbeat: bool,
}

impl Observation {
    /// Nothing seen yet by `source`.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self {
            source,
            said_at_ms: None,
            step: None,
            total_steps: None,
            percent: None,
            epoch: None,
            total_epochs: None,
            steps_in_epoch: false,
            estimated: false,
            phase: None,
            message: None,
            rate: None,
            unit: None,
            eta_seconds: None,
            metrics: BTreeMap::new(),
            metrics_left_out: false,
            status: None,
            error: None,
            steps: Vec::new(),
            more_steps: None,
            steps_left_out: false,
            ready: false,
            stopping: false,
            heartbeat: false,
        }
    }

    /// Whether it says how far the job is.
    #[must_use]
    pub fn has_counts(&self) -> bool {
        self.has_steps() || self.epoch.is_some()
    }

    /// Whether it says how far the job is in units or percent, not in epochs only.
    #[must_use]
    pub fn has_steps(&self) -> bool {
        self.step.is_some() || self.percent.is_some()
    }

    /// Whether a percentage follows from it alone.
    #[must_use]
    pub(super) fn gives_percent(&self) -> bool {
        let of_steps = self.step.is_some() && self.total_steps.is_some();
        let of_epochs = self.epoch.is_some() && self.total_epochs.is_some();
        self.percent.is_some() || of_steps || of_epochs
    }

    /// Whether nothing at all was seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::new(self.source.clone())
    }

    /// Takes in a newer observation of the same source, so that a flood of them becomes one.
    ///
    /// Counts replace counts as a whole, because half of an old bar and half of a new one tell a
    /// lie; metrics and steps add up. The outcome does not depend on how a sequence is grouped.
    pub fn absorb(&mut self, newer: Self) {
        self.said_at_ms = newer.said_at_ms.or(self.said_at_ms);
        if newer.has_counts() {
            self.step = newer.step;
            self.total_steps = newer.total_steps;
            self.percent = newer.percent;
            self.epoch = newer.epoch;
            self.total_epochs = newer.total_epochs;
            self.steps_in_epoch = newer.steps_in_epoch;
            self.estimated = newer.estimated;
            self.phase = newer.phase;
            self.rate = newer.rate;
            self.unit = newer.unit;
            self.eta_seconds = newer.eta_seconds;
        } else if newer.phase.is_some() {
            self.phase = newer.phase;
        }
        self.message = newer.message.or(self.message.take());
        self.status = newer.status.or(self.status.take());
        self.error = newer.error.or(self.error.take());
        self.metrics.extend(newer.metrics);
        self.metrics_left_out |= newer.metrics_left_out;
        self.steps.extend(newer.steps);
        self.more_steps = newer.more_steps.or(self.more_steps.take());
        self.steps_left_out |= newer.steps_left_out;
        self.ready |= newer.ready;
        self.stopping |= newer.stopping;
        self.heartbeat |= newer.heartbeat;
    }
}
