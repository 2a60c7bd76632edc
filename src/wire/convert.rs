//! From the model to the wire and back, and nowhere else. Also the only place that decides which
//! fields somebody other than the owner gets to see.

use crate::model::attempt::{Attempt, Usage};
use crate::model::event::{Event, ProgressBody, StateBody};
use crate::model::failure::{Exit, Failure};
use crate::model::group::{Gates, Group};
use crate::model::job::Job;
use crate::model::limits::{Limits, write_numbers};
use crate::model::progress::{
    Excess, Observation, Progress, ReportedStep, Source, StepReport, StepState,
};
use crate::model::sample::JobSample;
use crate::model::state::{HeldFor, JobState, StateName};
use crate::model::tally::Tally;
use crate::wire::group::GroupView;
use crate::wire::job::{AttemptUsage, AttemptView, ExitView, FailureView, JobView, OwnerView};
use crate::wire::limits::LimitsView;
use crate::wire::progress::{ProgressReport, ProgressView, StepSubmit, StepView};
use crate::wire::values::Span;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

mod curve;
mod flow;
mod measured;
mod message;

pub use curve::{phase_view, progress_point, run_point, series_point};
pub use flow::flow_view;
pub use measured::{Users, gpu_usage, gpu_view, host_view, job_metrics, usage_view};
pub use message::progress_message;

/// How much of a job somebody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audience {
    /// That there is a job, its group, its state and its times.
    Stranger,
    /// Also its name, how far it is and what it uses.
    Anybody,
    /// Also the command, the directory, failure messages and the like.
    Owner,
}

/// The instant `wall_ms` as the wire writes it; one that no calendar has is the nearest that one has.
#[must_use]
pub fn timestamp(wall_ms: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(wall_ms).unwrap_or(if wall_ms < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    })
}

/// What is not in the job itself, and shown with it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// What it may wait for besides other jobs and its time.
    pub gates: Option<&'a Gates>,
    /// Its newest progress, where that is newer than the stored one.
    pub progress: Option<&'a Progress>,
    /// What its present attempt uses.
    pub usage: Option<&'a JobSample>,
    /// Now, milliseconds since 1970 UTC.
    pub now_wall_ms: i64,
}

/// A job as `audience` sees it; without its attempts and the names of its environment.
#[must_use]
pub fn job_view(job: &Job, audience: Audience, around: Surroundings<'_>) -> JobView {
    let spec = &job.spec;
    let full = audience == Audience::Owner;
    let attempt = job.attempt.as_ref();
    if audience == Audience::Stranger {
        return stranger_view(job, around);
    }
    // While it waits to be tried again, how far the attempt before was says nothing of now.
    let has_attempt = job.state.holds_place() || job.state.is_final();
    let stored = attempt
        .and_then(|attempt| attempt.progress.as_deref())
        .filter(|_| has_attempt);
    let progress = around.progress.filter(|_| !job.state.is_final());
    let retry_at = if let JobState::Backoff { until, .. } = &job.state {
        Some(timestamp(until.wall_ms))
    } else {
        None
    };
    JobView {
        id: job.id.0,
        name: spec.name.clone(),
        kind: spec.kind.clone(),
        group: spec.group.clone(),
        flow: spec.flow.clone(),
        owner: OwnerView {
            uid: job.owner.uid,
            user: job.owner.user.clone(),
        },
        state: job.state.name().as_str().to_owned(),
        reason: reason(job, around).map(str::to_owned),
        command: if full {
            spec.command.clone()
        } else {
            Vec::new()
        },
        cwd: full.then(|| spec.cwd.clone()),
        env_names: Vec::new(),
        priority: Some(spec.priority),
        labels: if full {
            spec.labels.clone()
        } else {
            Default::default()
        },
        created_at: timestamp(job.created.wall_ms),
        not_before: spec.not_before_ms.map(timestamp),
        started_at: attempt
            .and_then(|a| a.started)
            .map(|at| timestamp(at.wall_ms)),
        finished_at: job.finished.map(|at| timestamp(at.wall_ms)),
        retry_at,
        attempt: attempt.map(|attempt| attempt.id.attempt),
        pid: attempt
            .filter(|_| job.state.holds_place())
            .and_then(|attempt| attempt.main)
            .map(|main| main.pid),
        attempts: Vec::new(),
        exit: attempt
            .and_then(|attempt| attempt.ending.as_ref())
            .and_then(|ending| ending.exit())
            .map(exit_view),
        failure: job
            .state
            .failure()
            .map(|failure| failure_view(failure, audience)),
        progress: progress.or(stored).map(|p| progress_view(p, audience)),
        usage: around
            .usage
            .filter(|_| job.state.holds_place())
            .map(usage_view),
        depends_on: spec.after_ok.iter().map(|id| id.0).collect(),
        timeout: spec.timeout_ms.map(Span::from_ms),
        max_attempts: Some(spec.retry.max_attempts).filter(|most| *most > 1),
        tty: spec.tty,
        limits: limits_view(&spec.limits),
    }
}

/// As much of a job as its state says. What is named here is all: whatever else a job gets is not for strangers.
fn stranger_view(job: &Job, around: Surroundings<'_>) -> JobView {
    let attempt = job.attempt.as_ref();
    let started = attempt.and_then(|attempt| attempt.started);
    JobView {
        id: job.id.0,
        group: job.spec.group.clone(),
        owner: OwnerView {
            uid: job.owner.uid,
            user: job.owner.user.clone(),
        },
        state: job.state.name().as_str().to_owned(),
        reason: reason(job, around).map(str::to_owned),
        created_at: timestamp(job.created.wall_ms),
        started_at: started.map(|at| timestamp(at.wall_ms)),
        finished_at: job.finished.map(|at| timestamp(at.wall_ms)),
        attempt: attempt.map(|attempt| attempt.id.attempt),
        ..JobView::default()
    }
}

/// Limits, where there are any.
fn limits_view(limits: &Limits) -> Option<LimitsView> {
    (!limits.is_empty()).then(|| LimitsView {
        memory_max_bytes: limits.memory_max_bytes,
        cpu_weight: limits.cpu_weight,
        io_weight: limits.io_weight,
        tasks_max: limits.tasks_max,
        allowed_cpus: (!limits.allowed_cpus.is_empty())
            .then(|| write_numbers(&limits.allowed_cpus)),
        gpus: limits.gpus.clone(),
    })
}

/// Why a job waits, where it is queued or held.
fn reason(job: &Job, around: Surroundings<'_>) -> Option<&'static str> {
    if let JobState::Held { waits_for } = &job.state {
        return Some(match waits_for {
            HeldFor::Owner => "Owner",
            HeldFor::Approval => "Approval",
        });
    }
    job.queue_reason(around.gates, around.now_wall_ms)
        .map(|reason| reason.as_str())
}

/// An attempt as `audience` sees it.
#[must_use]
pub fn attempt_view(attempt: &Attempt, audience: Audience) -> AttemptView {
    let times = AttemptView {
        attempt: attempt.id.attempt,
        claimed_at: timestamp(attempt.claimed.wall_ms),
        started_at: attempt.started.map(|at| timestamp(at.wall_ms)),
        finished_at: attempt.ended.map(|at| timestamp(at.wall_ms)),
        ..AttemptView::default()
    };
    if audience == Audience::Stranger {
        return times;
    }
    let ending = attempt.ending.as_ref();
    let failure = ending.and_then(|ending| ending.failure());
    let tally = attempt.tally.as_deref();
    AttemptView {
        pid: attempt.main.map(|main| main.pid),
        containment: attempt.containment.clone(),
        exit: ending.and_then(|ending| ending.exit()).map(exit_view),
        failure: failure.map(|failure| failure_view(&failure, audience)),
        usage: attempt
            .usage
            .as_ref()
            .map(|usage| attempt_usage(usage, tally)),
        gpu_usage: tally.filter(|it| it.has_devices()).map(gpu_usage),
        progress: attempt
            .progress
            .as_deref()
            .map(|p| progress_view(p, audience)),
        ..times
    }
}

fn exit_view(exit: Exit) -> ExitView {
    ExitView {
        code: exit.code,
        signal: exit.signal,
        core_dumped: exit.core_dumped,
    }
}

fn failure_view(failure: &Failure, audience: Audience) -> FailureView {
    let message = Some(failure.message.clone());
    FailureView {
        class: failure.class.as_str().to_owned(),
        message: message.filter(|text| audience == Audience::Owner && !text.is_empty()),
    }
}

fn attempt_usage(usage: &Usage, tally: Option<&Tally>) -> AttemptUsage {
    // Between two looks one process may have had more than all had at either.
    let seen = tally.and_then(|tally| tally.memory_peak_bytes);
    let seen = seen.map(|bytes| bytes.max(usage.max_rss_bytes));
    let seconds = |us: Option<u64>| us.map(|us| us as f64 / 1e6);
    AttemptUsage {
        user_cpu_seconds: usage.user_cpu_ms as f64 / 1000.0,
        system_cpu_seconds: usage.system_cpu_ms as f64 / 1000.0,
        max_rss_bytes: usage.max_rss_bytes,
        killed_leftovers: usage.killed_leftovers,
        dropped_output_bytes: usage.dropped_output_bytes,
        cpu_seconds: seconds(usage.cpu_us),
        throttled_seconds: seconds(usage.throttled_us),
        memory_peak_bytes: usage.memory_peak_bytes.or(seen),
        memory_charged_peak_bytes: usage.memory_charged_peak_bytes,
        io_read_bytes: usage.io_read_bytes,
        io_write_bytes: usage.io_write_bytes,
        oom_kills: usage.oom_kills,
    }
}

/// Progress as `audience` sees it: how far, to everybody; in whose words and by which numbers, only to the owner.
#[must_use]
pub fn progress_view(progress: &Progress, audience: Audience) -> ProgressView {
    let full = audience == Audience::Owner;
    let source = progress.counting.lead.as_ref().map(|lead| &lead.source);
    ProgressView {
        percent: progress.percent,
        step: progress.step,
        total_steps: progress.total_steps,
        epoch: progress.epoch,
        total_epochs: progress.total_epochs,
        phase: progress.phase.clone().filter(|_| full),
        phase_number: progress.phase_number,
        message: progress.message.clone().filter(|_| full),
        rate: progress.rate,
        unit: progress.unit.clone(),
        eta_seconds: progress.eta_seconds,
        eta_low_seconds: progress.eta_low_seconds,
        eta_high_seconds: progress.eta_high_seconds,
        eta_basis: progress.eta_basis.map(|basis| basis.as_str().to_owned()),
        estimated: progress.estimated,
        metrics: if full {
            progress.metrics.clone()
        } else {
            Default::default()
        },
        steps: progress
            .steps
            .iter()
            .filter(|_| full)
            .map(step_view)
            .collect(),
        left_out: left_out(progress).map(str::to_owned).collect(),
        source: source.map(source_name),
        updated_at: progress.updated_at_ms.map(timestamp),
    }
}

/// Of what more was reported than is kept.
fn left_out(progress: &Progress) -> impl Iterator<Item = &'static str> {
    let plan = &progress.counting.plan;
    let steps = plan.is_overfull || plan.more.is_some();
    let names = [
        (steps, Excess::Steps),
        (progress.metrics_left_out, Excess::Metrics),
    ];
    names
        .into_iter()
        .filter_map(|(is_so, name)| is_so.then_some(name.as_str()))
}

fn source_name(source: &Source) -> String {
    match source {
        Source::Adapter(name) => name.clone(),
        Source::File => "file".to_owned(),
        Source::Notify => "notify".to_owned(),
        Source::Api => "api".to_owned(),
    }
}

fn step_view(step: &ReportedStep) -> StepView {
    StepView {
        name: step.report.name.clone(),
        kind: step.report.kind.clone(),
        state: step.report.state.as_str().to_owned(),
        percent: step.report.percent,
        weight: step.report.weight,
        message: step.report.message.clone(),
    }
}

/// A step's state that is none: its place in the list, and what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownStepState {
    /// Place of the step in the report.
    pub index: usize,
    /// What was written.
    pub state: String,
}

/// What a report over the API says.
///
/// # Errors
/// [`UnknownStepState`] where a step is in none of the five states.
pub fn observation(report: ProgressReport) -> Result<Observation, UnknownStepState> {
    let step = |(index, step): (usize, StepSubmit)| match StepState::from_word(&step.state) {
        None => Err(UnknownStepState {
            index,
            state: step.state,
        }),
        Some(state) => Ok(StepReport {
            name: step.name,
            kind: step.kind,
            state,
            percent: step.percent,
            weight: step.weight,
            message: step.message,
        }),
    };
    let steps: Result<Vec<_>, _> = report.steps.into_iter().enumerate().map(step).collect();
    Ok(Observation {
        step: report.step,
        total_steps: report.total_steps,
        percent: report.percent,
        epoch: report.epoch,
        total_epochs: report.total_epochs,
        phase: report.phase,
        message: report.message,
        rate: report.rate,
        unit: report.unit,
        eta_seconds: report.eta_seconds,
        metrics: report.metrics,
        steps: steps?,
        // A report without any field is a sign of life, and every other one is one too.
        heartbeat: true,
        ..Observation::new(Source::Api)
    })
}

/// A group with its numbers.
#[must_use]
pub fn group_view(group: &Group, active: u64, waiting: u64) -> GroupView {
    GroupView {
        name: group.name.clone(),
        parallelism: group.parallelism,
        paused: group.paused,
        active,
        waiting,
    }
}

/// The body of an event as `audience` sees it, as JSON text.
#[must_use]
pub fn event_body(event: &Event, audience: Audience) -> String {
    let full = audience == Audience::Owner;
    let converted = match &*event.kind {
        // What GPUs do is for everybody to see; which jobs use them is not.
        _ if audience == Audience::Stranger && event.channel.starts_with("gpu/") => gpu_body(event),
        _ if event.uid.is_none() => one_line(&event.body),
        "removed" => one_line(&event.body),
        kind if !full && (kind == "edited" || kind == "state" || is_final_state(kind)) => {
            state_body(event, audience)
        }
        _ if audience == Audience::Stranger => None,
        "progress" => progress_body(event, audience),
        // What jobs use is for everybody to see.
        "metrics" | "flow" => one_line(&event.body),
        _ if full => one_line(&event.body),
        // What this audience may see of other kinds is not known here: nothing.
        _ => None,
    };
    converted.unwrap_or_else(|| "{}".to_owned())
}

/// What was measured of something, or went wrong with it, without the jobs that it names.
fn gpu_body(event: &Event) -> Option<String> {
    let mut body: Map<String, Value> = serde_json::from_str(&event.body).ok()?;
    for name in ["job", "attempt", "pid", "process"] {
        body.remove(name);
    }
    if let Some(Value::Array(processes)) = body.get_mut("processes") {
        processes.retain(|process| process.get("job").is_none());
    }
    serde_json::to_string(&body).ok()
}

fn is_final_state(kind: &str) -> bool {
    StateName::parse(kind).is_some_and(StateName::is_final)
}

fn progress_body(event: &Event, audience: Audience) -> Option<String> {
    let body: ProgressBody = serde_json::from_str(&event.body).ok()?;
    let message = progress_message(&body, event.at_ms, audience);
    serde_json::to_string(&message).ok()
}

fn state_body(event: &Event, audience: Audience) -> Option<String> {
    let mut body: StateBody = serde_json::from_str(&event.body).ok()?;
    if audience == Audience::Stranger {
        body = StateBody {
            job: body.job,
            name: String::new(),
            group: body.group,
            job_kind: None,
            flow: None,
            user: body.user,
            state: body.state,
            from: body.from,
            reason: body.reason,
            attempt: body.attempt,
            pid: None,
            exit: None,
            failure: None,
            retry_at_ms: None,
            progress: None,
            metrics: BTreeMap::new(),
            error: None,
        };
    }
    if let Some(failure) = &mut body.failure {
        failure.message.clear();
    }
    body.metrics.clear();
    body.error = None;
    serde_json::to_string(&body).ok()
}

/// `body` if it is JSON, without line ends, which a stream of lines could not carry.
fn one_line(body: &str) -> Option<String> {
    let raw: &serde_json::value::RawValue = serde_json::from_str(body).ok()?;
    let text = raw.get();
    // Inside JSON text, a line end can only stand between tokens.
    Some(if text.contains(['\n', '\r']) {
        text.replace(['\n', '\r'], " ")
    } else {
        text.to_owned()
    })
}

#[cfg(test)]
mod tests;
