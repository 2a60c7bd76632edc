//! The named steps of a job, and how far the whole is where all of them are known.

use crate::model::time::Stamp;

use super::clean::MAX_STEPS;
use super::{Observation, Progress, Rank, ReportedStep, Source, StepReport, StepState};

/// Steps that are over, steps in all, and the part of their weights that is done.
struct Whole {
    over: f64,
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

    /// Takes in reports of steps; percent follows from them where nothing better is said.
    pub(super) fn take_steps(
        &mut self,
        reports: Vec<StepReport>,
        source: &Source,
        at: Stamp,
    ) -> bool {
        let mut changed = false;
        for report in reports {
            changed |= self.take_step(report, at);
        }
        if source.is_explicit() && !self.steps.is_empty() {
            changed |= self.lead_by_steps(source, at);
        }
        changed
    }

    fn take_step(&mut self, report: StepReport, at: Stamp) -> bool {
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
            return false;
        }
        self.steps.push(ReportedStep {
            report,
            started_at_ms: begun,
            finished_at_ms: ended,
        });
        true
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
        plan.dropped_weight = Some(plan.dropped_weight.unwrap_or(0.0) + weight(&step));
        plan.dropped_done =
            Some(plan.dropped_done.unwrap_or(0.0) + weight(&step) * part_done(&step));
        true
    }

    /// Lets the steps say how far the whole is, where all are known and no count of the job leads.
    fn lead_by_steps(&mut self, source: &Source, at: Stamp) -> bool {
        let Some(whole) = self.whole() else {
            return false;
        };
        let counts = self.percent.is_some() || self.step.is_some() || self.epoch.is_some();
        let lead = self.counting.lead.as_ref();
        if lead.is_some_and(|lead| lead.rank == Rank::Explicit && counts) {
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
        self.step = Some(whole.over);
        self.total_steps = Some(whole.steps);
        self.estimated = false;
        let moved = before != (self.percent, self.step, self.total_steps);
        if moved {
            self.advanced_at = Some(at);
        }
        moved
    }

    /// How far all steps are together; `None` while it is unknown which there are.
    fn whole(&self) -> Option<Whole> {
        let plan = &self.counting.plan;
        let known = count(self.steps.len()) + f64::from(plan.dropped);
        let unknown = match plan.steps {
            Some(all) => (all - known).max(0.0),
            None if plan.is_announced => 0.0,
            None => return None,
        };
        let reports = || self.steps.iter().map(|step| &step.report);
        let weights: f64 = reports().map(weight).sum();
        let done: f64 = reports().map(|step| weight(step) * part_done(step)).sum();
        // Steps that nobody has named yet weigh 1 like any other.
        let all = weights + plan.dropped_weight.unwrap_or(0.0) + unknown;
        let over = reports().filter(|step| step.state.is_final()).count();
        (all > 0.0).then(|| Whole {
            over: count(over) + f64::from(plan.dropped),
            steps: known + unknown,
            part: (done + plan.dropped_done.unwrap_or(0.0)) / all,
        })
    }
}

impl ReportedStep {
    /// Takes in a newer report; what it leaves out stays as it was.
    fn take(&mut self, report: StepReport, begun: Option<i64>, ended: Option<i64>) -> bool {
        let goes_on = matches!(report.state, StepState::Progress | StepState::Failed);
        let known = &self.report;
        let report = StepReport {
            kind: report.kind.or_else(|| known.kind.clone()),
            weight: report.weight.or(known.weight),
            percent: report.percent.or(known.percent.filter(|_| goes_on)),
            ..report
        };
        let changed = *known != report;
        let begins_anew = known.state.is_final() && ended.is_none();
        if begins_anew || begun.is_none() || self.started_at_ms.is_none() {
            self.started_at_ms = begun;
        }
        self.report = report;
        self.finished_at_ms = ended.map(|now| self.finished_at_ms.unwrap_or(now));
        changed
    }
}

fn weight(step: &StepReport) -> f64 {
    step.weight.unwrap_or(1.0)
}

/// How much of a step is done, 0–1. One that failed counts as far as it came: nobody does the rest.
fn part_done(step: &StepReport) -> f64 {
    match step.state {
        StepState::Pending => 0.0,
        StepState::Completed => 1.0,
        StepState::Started | StepState::Progress | StepState::Failed => {
            step.percent.unwrap_or(0.0) / 100.0
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred steps")]
fn count(steps: usize) -> f64 {
    steps as f64
}
