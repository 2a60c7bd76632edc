//! The named steps of a job, and how far the whole is where all of them are known.

use crate::model::time::Stamp;
use std::collections::BTreeSet;
use std::fmt;

use super::clean::{MAX_METRICS, MAX_STEPS, step_name};
use super::{MoreSteps, Observation, Progress, Rank, ReportedStep, Source, StepReport, StepState};

/// Why a report is more than an attempt keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Excess {
    /// More steps than [`MAX_STEPS`].
    Steps,
    /// More metrics than [`MAX_METRICS`].
    Metrics,
}

impl Excess {
    /// How many are kept.
    #[must_use]
    pub fn limit(self) -> usize {
        match self {
            Self::Steps => MAX_STEPS,
            Self::Metrics => MAX_METRICS,
        }
    }

    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Metrics => "metrics",
        }
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a report changed of the steps.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    changed: bool,
    /// A step ended or came further.
    moved: bool,
}

/// Steps that ended well, steps in all, and the part of their weights that is done.
struct Whole {
    completed: f64,
    steps: f64,
    part: f64,
}

impl Progress {
    /// Takes in how many steps there are, where the job says so without counting them itself.
    pub(super) fn take_plan(&mut self, seen: &Observation) {
        if seen.source.is_explicit() && !seen.has_counts() && seen.total_steps.is_some() {
            self.counting.plan.steps = seen.total_steps;
        }
    }

    /// What of a report there is no room for, where somebody is there to be told.
    #[must_use]
    pub fn excess(&self, seen: &Observation) -> Option<Excess> {
        let is_new = |name: &&String| !self.metrics.contains_key(*name);
        let metrics = self.metrics.len() + seen.metrics.keys().filter(is_new).count();
        if metrics > MAX_METRICS {
            return Some(Excess::Metrics);
        }
        let known = |name: &str| self.steps.iter().any(|step| step.report.name == name);
        let unknown: BTreeSet<String> = seen
            .steps
            .iter()
            .filter_map(|step| step_name(&step.name))
            .filter(|name| !known(name))
            .collect();
        let over = |step: &&ReportedStep| step.report.state.is_final();
        // Steps that are over make room.
        let kept = self.steps.len() - self.steps.iter().filter(over).count();
        (kept + unknown.len() > MAX_STEPS).then_some(Excess::Steps)
    }

    /// Takes in reports of steps; percent follows from them where nothing better was said since.
    pub(super) fn take_steps(&mut self, seen: Observation, at: Stamp) -> bool {
        let counted = seen.gives_percent();
        let more = seen.more_steps.filter(|_| !seen.steps.is_empty());
        let mut taken = Taken::default();
        if !seen.steps.is_empty() && seen.source == Source::File {
            // The file is one list: what it says now stands for what it said before.
            let before = self.counting.plan.more.take();
            let done = |more: &Option<MoreSteps>| more.as_ref().map_or(0.0, |more| more.done);
            taken.changed |= before != more;
            taken.moved |= done(&before) != done(&more);
            self.counting.plan.more = more;
        }
        let was_overfull = self.counting.plan.is_overfull;
        self.counting.plan.is_overfull |= seen.steps_left_out;
        for report in seen.steps {
            let step = self.take_step(report, at);
            taken.changed |= step.changed;
            taken.moved |= step.moved;
        }
        taken.changed |= was_overfull != self.counting.plan.is_overfull;
        if seen.source.is_explicit() && !self.steps.is_empty() {
            taken.changed |= self.lead_by_steps(&seen.source, taken.moved && !counted, at);
        }
        taken.changed
    }

    fn take_step(&mut self, report: StepReport, at: Stamp) -> Taken {
        let begun = (report.state != StepState::Pending).then_some(at.wall_ms);
        let ended = report.state.is_final().then_some(at.wall_ms);
        self.counting.plan.is_announced |= report.state == StepState::Pending;
        if let Some(known) = self
            .steps
            .iter_mut()
            .find(|step| step.report.name == report.name)
        {
            return known.take(report, begun, ended);
        }
        if self.steps.len() >= MAX_STEPS && !self.drop_step() {
            self.counting.plan.is_overfull = true;
            return Taken::default();
        }
        let moved = ended.is_some() || report.percent.is_some();
        self.steps.push(ReportedStep {
            report,
            started_at_ms: begun,
            finished_at_ms: ended,
        });
        Taken {
            changed: true,
            moved,
        }
    }

    /// The oldest step that is over makes room: what still runs is what people look for.
    fn drop_step(&mut self) -> bool {
        let over = |step: &ReportedStep| step.report.state.is_final();
        let Some(place) = self.steps.iter().position(over) else {
            return false;
        };
        let step = self.steps.remove(place).report;
        let plan = &mut self.counting.plan;
        plan.dropped = plan.dropped.saturating_add(1);
        plan.dropped_failed += u32::from(step.state == StepState::Failed);
        let (weight, part) = (step.weight_or_one(), step.part_done());
        plan.dropped_weight = Some(plan.dropped_weight.unwrap_or(0.0) + weight);
        plan.dropped_done = Some(plan.dropped_done.unwrap_or(0.0) + weight * part);
        true
    }

    /// Lets the steps say how far the whole is, where all are known and no count of the job leads, or where they
    /// moved after it.
    fn lead_by_steps(&mut self, source: &Source, moved: bool, at: Stamp) -> bool {
        let Some(whole) = self.whole() else {
            return self.lose_plan();
        };
        let counts = self.percent.is_some() || self.step.is_some() || self.epoch.is_some();
        let lead = self.counting.lead.as_ref();
        if lead.is_some_and(|lead| lead.rank == Rank::Explicit && counts && !moved) {
            return false;
        }
        if self.follow(source, Rank::Plan, at) {
            self.rate = None;
            self.counting.claimed_rate = None;
            self.counting.claimed_eta = None;
        }
        if let Some(lead) = &mut self.counting.lead {
            // A bare total of the same source had a higher rank; what it counts are these steps.
            lead.rank = Rank::Plan;
        }
        let percent = self.held((whole.part * 100.0).clamp(0.0, 100.0));
        if self.percent.is_some_and(|old| percent < old) {
            self.begin_phase();
        }
        let before = (self.percent, self.step, self.total_steps);
        self.percent = Some(percent);
        self.step = Some(whole.completed);
        self.total_steps = Some(whole.steps);
        self.estimated = false;
        let moved = before != (self.percent, self.step, self.total_steps);
        if moved {
            self.advanced_at = Some(at);
        }
        moved
    }

    /// How far the steps are together is not known any more: nothing is better than what was true once.
    fn lose_plan(&mut self) -> bool {
        if !matches!(&self.counting.lead, Some(lead) if lead.rank == Rank::Plan) {
            return false;
        }
        self.begin_phase();
        self.counting.lead = None;
        self.step = None;
        self.total_steps = None;
        self.percent = None;
        true
    }

    /// How far all steps are together; `None` while it is unknown which there are.
    fn whole(&self) -> Option<Whole> {
        let plan = &self.counting.plan;
        if plan.is_overfull {
            return None;
        }
        let none = MoreSteps::default();
        let more = plan.more.as_ref().unwrap_or(&none);
        let known = count(self.steps.len()) + f64::from(plan.dropped) + f64::from(more.steps);
        let unknown = match plan.steps {
            Some(all) => (all - known).max(0.0),
            None if plan.is_announced => 0.0,
            None => return None,
        };
        let reports = || self.steps.iter().map(|step| &step.report);
        let weights: f64 = reports().map(StepReport::weight_or_one).sum();
        let done: f64 = reports()
            .map(|step| step.weight_or_one() * step.part_done())
            .sum();
        // Steps that nobody has named yet weigh 1 like any other.
        let all = weights + plan.dropped_weight.unwrap_or(0.0) + more.weight + unknown;
        let completed = reports().filter(|step| step.state == StepState::Completed);
        let dropped = plan.dropped.saturating_sub(plan.dropped_failed);
        (all > 0.0).then(|| Whole {
            completed: count(completed.count()) + f64::from(dropped) + f64::from(more.completed),
            steps: known + unknown,
            part: (done + plan.dropped_done.unwrap_or(0.0) + more.done) / all,
        })
    }
}

impl ReportedStep {
    /// Takes in a newer report; what it leaves out stays as it was. Only a new beginning takes back what was done.
    fn take(&mut self, report: StepReport, begun: Option<i64>, ended: Option<i64>) -> Taken {
        let known = &self.report;
        let is_late = known.state == StepState::Completed && report.state == StepState::Progress;
        let goes_on = matches!(report.state, StepState::Progress | StepState::Failed);
        let before = known.percent.filter(|_| goes_on);
        let (begun, ended) = if is_late {
            (self.started_at_ms, self.finished_at_ms)
        } else {
            (begun, ended)
        };
        let report = StepReport {
            kind: report.kind.or_else(|| known.kind.clone()),
            weight: report.weight.or(known.weight),
            percent: match (report.percent, before) {
                _ if is_late => known.percent,
                (Some(new), Some(old)) => Some(new.max(old)),
                (new, old) => new.or(old),
            },
            state: if is_late { known.state } else { report.state },
            ..report
        };
        let changed = *known != report;
        let moved = (report.state.is_final() && !known.state.is_final())
            || (known.percent != report.percent && report.percent.is_some());
        let begins_anew = known.state.is_final() && ended.is_none();
        if begins_anew || begun.is_none() || self.started_at_ms.is_none() {
            self.started_at_ms = begun;
        }
        self.report = report;
        self.finished_at_ms = ended.map(|now| self.finished_at_ms.unwrap_or(now));
        Taken { changed, moved }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred steps")]
fn count(steps: usize) -> f64 {
    steps as f64
}
