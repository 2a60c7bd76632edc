//! History for people: several runs over one axis, and where the time of a run went.

use crate::api::call::{Call, Param, harmless};
use crate::api::problem::{Failure, invalid, not_found};
use crate::api::progress::{POINTS, attempt_of, newest, number_of_points};
use crate::api::routes::{Answer, Content, Route, schema};
use crate::api::service::json;
use crate::auth::Action;
use crate::model::attempt::Attempt;
use crate::model::comparison::{Axis, Scatter, Track, align};
use crate::model::curve::{Quantity, Spread};
use crate::model::id::{AttemptId, JobId};
use crate::model::phases::Phases;
use crate::model::progress::Progress;
use crate::store::{JobHistory, Stretch};
use crate::wire::comparison::{Comparison, PhaseList, Run, RunQuantity};
use crate::wire::convert::{Audience, phase_view, run_point, timestamp};
use crate::wire::error::ProblemKind;
use axum::http::{Method, StatusCode};

/// Most runs, and most quantities, of one request.
const MOST_RUNS: usize = 20;
const MOST_QUANTITIES: usize = 20;

const COMPARE: &[Param] = &[
    Param {
        name: "run",
        of_type: "string",
        repeatable: true,
        summary: "Jobs (42: its newest attempt) or attempts (42.1), at most 20",
    },
    Param {
        name: "quantity",
        of_type: "string",
        repeatable: true,
        summary: "What of them: percent, step, rate, metric.NAME, …, at most 20; all metrics of the first run unless given",
    },
    Param {
        name: "x",
        of_type: "string",
        repeatable: false,
        summary: "The axis: time (since each began), step or percent; time unless given",
    },
    Param {
        name: "points",
        of_type: "integer",
        repeatable: false,
        summary: "Most points of each, 1 to 10000; 1000 unless given",
    },
];

const PHASES: &[Param] = &[Param {
    name: "attempt",
    of_type: "integer",
    repeatable: false,
    summary: "Which attempt; the newest unless given",
}];

pub(super) fn routes() -> Vec<Route> {
    use ProblemKind as P;
    vec![
        Route::new(Method::GET, "/v1/compare", "compare", COMPARE, compare)
            .says("Several runs, drawn over one axis")
            .gives(200, Content::Json(schema::<Comparison>))
            .fails(&[P::InvalidRequest, P::NotFound, P::NotPermitted]),
        Route::new(
            Method::GET,
            "/v1/jobs/{id}/phases",
            "job_phases",
            PHASES,
            phases,
        )
        .says("Where the time of an attempt went, slowest part first")
        .gives(200, Content::Json(schema::<PhaseList>))
        .fails(&[P::InvalidRequest, P::NotFound]),
    ]
}

/// A run that was asked for.
struct Wanted {
    record: JobHistory,
    attempt: u32,
}

impl Wanted {
    fn started_ms(&self) -> Option<i64> {
        let attempt = self.attempt()?;
        Some(attempt.started.unwrap_or(attempt.claimed).wall_ms)
    }

    fn attempt(&self) -> Option<&Attempt> {
        let mut attempts = self.record.attempts.iter();
        attempts.find(|it| it.id.attempt == self.attempt)
    }

    fn stretch(&self) -> Stretch {
        Stretch {
            job: self.record.job.id,
            attempt: Some(self.attempt),
            since_ms: i64::MIN,
            until_ms: i64::MAX,
        }
    }
}

/// What a run told, point by point.
type Points = Vec<(i64, Progress)>;

async fn wanted(call: &Call, text: &str) -> Result<Wanted, Failure> {
    let attempt: Option<AttemptId> = text.parse().ok();
    let job = attempt.map(|it| it.job);
    let Some(job) = job.or_else(|| text.parse().ok().map(JobId)) else {
        let text = harmless(text);
        let why = format!("\"{text}\" is neither a job nor an attempt: write 42 or 42.1");
        return Err(invalid("run", why));
    };
    let record = call.shared.read(move |archive| archive.job(job)).await?;
    let record = record.ok_or_else(|| not_found(format_args!("job {job}")))?;
    let attempt = attempt_of(&record, attempt.map(|it| it.attempt))?;
    Ok(Wanted { record, attempt })
}

async fn points(call: &Call, run: &Wanted) -> Result<Points, Failure> {
    let stretch = run.stretch();
    let newest = newest(call, &run.record, run.attempt);
    let read = move |archive: &crate::store::Reader| archive.progress_points(&stretch, newest);
    call.shared.read(read).await
}

async fn compare(call: Call) -> Answer {
    let axis: Option<Axis> = call.value("x", "time, step or percent")?;
    let axis = axis.unwrap_or(Axis::Time);
    let most = number_of_points("points", call.value("points", POINTS)?)?;
    let texts: Vec<&str> = call.values("run").collect();
    if texts.is_empty() || texts.len() > MOST_RUNS {
        let why = format_args!("name 1 to {MOST_RUNS} runs, as in run=42&run=43.1");
        return Err(invalid("run", why));
    }
    let mut runs: Vec<(Wanted, Points)> = Vec::new();
    for text in texts {
        let run = wanted(&call, text).await?;
        let points = points(&call, &run).await?;
        runs.push((run, points));
    }
    let quantities = quantities(&call, &runs)?;
    for (run, _) in &runs {
        let owner = run.record.job.owner.uid;
        let is_private = |quantity: &Quantity| matches!(quantity, Quantity::Metric(_));
        if call.audience(owner) != Audience::Owner && quantities.iter().any(is_private) {
            // Says why, and whom to ask.
            call.permit(Action::ReadJob, Some(owner))?;
        }
    }
    let mut shown: Vec<Run> = runs.iter().map(|(run, _)| empty_run(run)).collect();
    for quantity in &quantities {
        let scatters = runs.iter();
        let scatters = scatters.map(|(run, points)| scatter(axis, quantity, run, points));
        let aligned = align(scatters.collect(), most);
        for (run, points) in shown.iter_mut().zip(aligned) {
            run.quantities.push(RunQuantity {
                name: quantity.to_string(),
                unit: quantity.unit().map(str::to_owned),
                points: points
                    .iter()
                    .map(|(x, spread)| run_point(*x, spread))
                    .collect(),
            });
        }
    }
    let x = axis.to_string();
    json(StatusCode::OK, &Comparison { x, runs: shown })
}

fn quantities(call: &Call, runs: &[(Wanted, Points)]) -> Result<Vec<Quantity>, Failure> {
    let mut quantities: Vec<Quantity> = Vec::new();
    for text in call.values("quantity") {
        let quantity = text.parse().map_err(|error| {
            invalid("quantity", format_args!("\"{}\": {error}", harmless(text)))
        })?;
        if !quantities.contains(&quantity) {
            quantities.push(quantity);
        }
    }
    if quantities.is_empty() {
        let first = runs.first().and_then(|(_, points)| points.last());
        let metrics = first
            .iter()
            .flat_map(|(_, progress)| progress.metrics.keys());
        quantities.extend(metrics.cloned().map(Quantity::Metric).take(MOST_QUANTITIES));
    }
    if quantities.is_empty() || quantities.len() > MOST_QUANTITIES {
        let why = format_args!(
            "name 1 to {MOST_QUANTITIES}, as in quantity=percent or quantity=metric.loss"
        );
        return Err(invalid("quantity", why));
    }
    Ok(quantities)
}

fn empty_run(run: &Wanted) -> Run {
    let job = &run.record.job;
    let started = run.attempt().and_then(|attempt| attempt.started);
    Run {
        job: job.id.0,
        attempt: run.attempt,
        name: job.spec.name.clone(),
        started_at: started.map(|at| timestamp(at.wall_ms)),
        quantities: Vec::new(),
    }
}

fn scatter(axis: Axis, quantity: &Quantity, run: &Wanted, points: &Points) -> Scatter {
    let began_ms = run.started_ms().unwrap_or_default();
    let mut track = Track::default();
    for (at_ms, progress) in points {
        let x = match axis {
            Axis::Time => Some((at_ms - began_ms) as f64 / 1_000.0),
            Axis::Step => progress.step,
            Axis::Percent => progress.percent,
        };
        x.into_iter().for_each(|x| track.add(*at_ms, x));
    }
    let values = points.iter().filter_map(|(at_ms, progress)| {
        let value = quantity.of(progress)?;
        Some((track.at(*at_ms)?, Spread::of(value)))
    });
    values.collect()
}

async fn phases(call: Call) -> Answer {
    let id = call.job_id()?;
    let attempt: Option<u32> = call.value("attempt", "the number of an attempt")?;
    let record = call.shared.read(move |archive| archive.job(id)).await?;
    let record = record.ok_or_else(|| not_found(format_args!("job {id}")))?;
    let attempt = attempt_of(&record, attempt)?;
    let run = Wanted { record, attempt };
    let points = points(&call, &run).await?;
    let mut phases = Phases::default();
    for (at_ms, progress) in &points {
        phases.add(*at_ms, progress);
    }
    let ended = run.attempt().and_then(|attempt| attempt.ended);
    let end_ms = ended.map_or_else(crate::api::now_ms, |at| at.wall_ms);
    let ran_ms = run
        .started_ms()
        .map(|began_ms| end_ms.saturating_sub(began_ms));
    let audience = call.audience(run.record.job.owner.uid);
    let parts = phases.finish(end_ms);
    // What a job calls its phases is its owner's alone, as in its progress.
    let parts = parts.iter().filter(|_| audience == Audience::Owner);
    let items = parts.map(|part| phase_view(part, ran_ms)).collect();
    json(StatusCode::OK, &PhaseList { attempt, items })
}
