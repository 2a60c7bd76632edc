//! Values of properties, and what is told of a job, a GPU and the host.
//!
//! Each map holds what is known; what is not in it has no value, and is left out where all properties are asked for.

use crate::dbus::coalesce::{Values, half_percent, steady_end};
use crate::model::id::{AttemptId, JobId};
use crate::model::metric::{Metric, Readings};
use crate::model::sample::{GpuState, Snapshot};
use crate::model::state::StateName;
use crate::wire::job::JobView;
use std::collections::BTreeMap;
use zbus::{ObjectPath, Variant, fdo};

/// What everybody may know of all jobs together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// How many are in each state that is not final.
    pub counts: BTreeMap<StateName, u64>,
    /// Whether no job starts any more.
    pub draining: bool,
}

/// Where everything is.
pub(super) const ROOT: &str = "/io/stoked/Stoked1";

/// Where a job is.
pub(super) fn job_path(id: u32) -> String {
    format!("{ROOT}/job/{id}")
}

/// Where a GPU is.
pub(super) fn gpu_path(index: u32) -> String {
    format!("{ROOT}/gpu/{index}")
}

/// Where the host is.
pub(super) fn host_path() -> String {
    format!("{ROOT}/host")
}

/// A path that was made of our own words and numbers.
pub(super) fn object_path(path: String) -> zbus::Result<ObjectPath<'static>> {
    ObjectPath::try_from(path)
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    /// `s`
    Text(String),
    /// `b`
    Flag(bool),
    /// `i`
    Signed(i32),
    /// `u`
    Number(u32),
    /// `t`
    Large(u64),
    /// `d`
    Real(f64),
    /// `ao`
    Paths(Vec<String>),
}

impl From<&Told> for Variant<'static> {
    fn from(told: &Told) -> Self {
        match told {
            Told::Text(it) => it.clone().into(),
            Told::Flag(it) => (*it).into(),
            Told::Signed(it) => (*it).into(),
            Told::Number(it) => (*it).into(),
            Told::Large(it) => (*it).into(),
            Told::Real(it) => (*it).into(),
            Told::Paths(it) => {
                let paths = it.iter().cloned().filter_map(|it| object_path(it).ok());
                paths.collect::<Vec<ObjectPath<'static>>>().into()
            }
        }
    }
}

/// A value of a property, as what it is.
pub(super) fn pick<T>(values: &Values<Told>, name: &str) -> fdo::Result<T>
where
    T: TryFrom<Variant<'static>>,
{
    let told = values.get(name).map(Variant::from);
    told.and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| fdo::Error::Failed(format!("{name} is not known")))
}

/// The property that counts the jobs of a state; nothing of a state that is final.
fn count_name(state: StateName) -> Option<&'static str> {
    Some(match state {
        StateName::Held => "JobsHeld",
        StateName::Queued => "JobsQueued",
        StateName::Starting => "JobsStarting",
        StateName::Running => "JobsRunning",
        StateName::Paused => "JobsPaused",
        StateName::Stopping => "JobsStopping",
        StateName::Backoff => "JobsBackoff",
        StateName::Completed
        | StateName::Failed
        | StateName::Cancelled
        | StateName::TimedOut
        | StateName::Skipped
        | StateName::Lost => return None,
    })
}

/// How many jobs are in each state, those without any too, and whether any starts.
pub(super) fn of_overview(overview: &Overview) -> Values<Told> {
    let states = StateName::ALL.into_iter();
    let counted = states.filter_map(|state| {
        let count = overview.counts.get(&state).copied().unwrap_or(0);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Some((count_name(state)?, Told::Number(count)))
    });
    let draining = ("Draining", Told::Flag(overview.draining));
    counted.chain([draining]).collect()
}

/// A job as everybody may see it, but its name; `told_end_us` is what was told of its end before.
pub(super) fn of_job(view: &JobView, told_end_us: Option<u64>, now_us: u64) -> Values<Told> {
    let progress = view.progress.as_ref();
    let percent = progress.and_then(|it| it.percent);
    let left = progress.and_then(|it| it.eta_seconds);
    let goes_on = view.finished_at.is_none();
    let left = left.filter(|it| goes_on && it.is_finite() && *it >= 0.0);
    let end_us = left.map_or(0, |left| now_us.saturating_add((left * 1e6) as u64));
    let gpus = view.usage.iter().flat_map(|usage| &usage.gpus);
    let gpus = gpus.filter_map(|gpu| gpu.index).map(gpu_path);
    let exit = view.exit.as_ref();
    let submitted_us = view.created_at.as_microsecond();
    Values::from([
        (
            "Id",
            Told::Number(u32::try_from(view.id).unwrap_or(u32::MAX)),
        ),
        ("OwnerUID", Told::Number(view.owner.uid)),
        (
            "SubmittedUSec",
            Told::Large(u64::try_from(submitted_us).unwrap_or(0)),
        ),
        ("Attempt", Told::Number(view.attempt.unwrap_or(0))),
        ("State", Told::Text(view.state.clone())),
        (
            "StateReason",
            Told::Text(view.reason.clone().unwrap_or_default()),
        ),
        ("Progress", Told::Real(half_percent(percent.unwrap_or(0.0)))),
        ("ProgressValid", Told::Flag(percent.is_some())),
        (
            "ExpectedEndUSec",
            Told::Large(steady_end(told_end_us, end_us, now_us)),
        ),
        ("Gpus", Told::Paths(gpus.collect())),
        (
            "ExitCode",
            Told::Signed(exit.and_then(|it| it.code).unwrap_or(-1)),
        ),
        (
            "ExitSignal",
            Told::Signed(exit.and_then(|it| it.signal).unwrap_or(0)),
        ),
    ])
}

/// What the present attempt of a job uses.
pub(super) fn of_job_use(snapshot: &Snapshot, attempt: AttemptId) -> Values<Told> {
    let Some(sample) = snapshot.jobs.get(&attempt) else {
        return Values::new();
    };
    measured(
        &sample.readings,
        &[
            ("CpuPercent", Metric::CpuPercent, Told::Real),
            ("MemoryBytes", Metric::MemoryBytes, large),
        ],
    )
}

/// The attempt that a job's properties tell of, where it has one.
pub(super) fn attempt_of(job: &Values<Told>) -> Option<AttemptId> {
    match (job.get("Id"), job.get("Attempt")) {
        (Some(Told::Number(id)), Some(Told::Number(attempt))) if *attempt > 0 => Some(AttemptId {
            job: JobId(u64::from(*id)),
            attempt: *attempt,
        }),
        _ => None,
    }
}

/// What a GPU is.
pub(super) fn of_gpu(state: &GpuState) -> Values<Told> {
    let identity = &state.sample.identity;
    let mut values = Values::from([
        ("Index", Told::Number(identity.index)),
        ("UUID", Told::Text(identity.uuid.to_string())),
        ("Name", Told::Text(identity.name.clone())),
    ]);
    if let Some(bus_id) = &identity.pci_bus_id {
        values.insert("PciBusId", Told::Text(bus_id.clone()));
    }
    values
}

/// How a GPU is, and what it does; which jobs use it where that may be known.
pub(super) fn of_gpu_use(state: &GpuState, with_jobs: bool) -> Values<Told> {
    let mut values = measured(
        &state.sample.readings,
        &[
            ("UtilPercent", Metric::UtilizationPercent, number),
            ("MemoryUsed", Metric::MemoryUsedBytes, large),
            ("MemoryTotal", Metric::MemoryTotalBytes, large),
            ("PowerMilliwatt", Metric::PowerWatts, |watts| {
                number(watts * 1_000.0)
            }),
            ("TempC", Metric::TemperatureCelsius, |degrees| {
                Told::Signed(degrees.round() as i32)
            }),
        ],
    );
    let health = state.sample.condition.as_str().to_owned();
    values.insert("Health", Told::Text(health));
    let mut jobs: Vec<u64> = state
        .holders
        .iter()
        .filter(|_| with_jobs)
        .filter_map(|holder| Some(holder.attempt()?.job.0))
        .collect();
    jobs.sort_unstable();
    jobs.dedup();
    let jobs = jobs.into_iter().filter_map(|id| u32::try_from(id).ok());
    values.insert("Jobs", Told::Paths(jobs.map(job_path).collect()));
    values
}

/// What the host does.
pub(super) fn of_host(snapshot: &Snapshot) -> Values<Told> {
    let Some(sample) = &snapshot.host else {
        return Values::new();
    };
    measured(
        &sample.readings,
        &[
            ("CpuPercent", Metric::CpuPercent, Told::Real),
            ("CpuCount", Metric::CpuCount, number),
            ("Load1", Metric::Load1, Told::Real),
            ("MemoryUsed", Metric::MemoryUsedBytes, large),
            ("MemoryTotal", Metric::MemoryTotalBytes, large),
        ],
    )
}

/// A property, what it is measured as, and how that is told.
type Reading = (&'static str, Metric, fn(f64) -> Told);

fn measured(readings: &Readings, wanted: &[Reading]) -> Values<Told> {
    let known = wanted.iter().filter_map(|(name, metric, told)| {
        let value = metric.definition().rounded(readings.get(*metric)?);
        Some((*name, told(value)))
    });
    known.collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what cannot be told is told as the nearest that can"
)]
fn number(value: f64) -> Told {
    Told::Number(value.round() as u32)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what cannot be told is told as the nearest that can"
)]
fn large(value: f64) -> Told {
    Told::Large(value.round() as u64)
}
