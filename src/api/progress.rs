//! Progress: what a job reports over the API, and its history.

use crate::api::call::{Call, Param};
use crate::api::jobs::newest_progress;
use crate::api::problem::{Failure, invalid, not_found};
use crate::api::routes::{Answer, Content, Route, schema};
use crate::api::service::json;
use crate::api::verbs::command;
use crate::auth::Action;
use crate::control::command::Verb;
use crate::model::job::Job;
use crate::model::progress::Progress;
use crate::store::{JobHistory, Stretch};
use crate::wire::convert::{observation, progress_point};
use crate::wire::error::ProblemKind;
use crate::wire::progress::{ProgressHistory, ProgressReport};
use crate::wire::values::Span;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use std::collections::BTreeSet;

mod check;

const DEFAULT_POINTS: usize = 1_000;
pub(super) const MOST_POINTS: usize = 10_000;
/// How many points may be asked for.
pub(super) const POINTS: &str = "a number from 1 to 10000";

pub(super) const SINCE: Param = Param {
    name: "since",
    of_type: "string",
    repeatable: false,
    summary: "From this time on (RFC 3339)",
};

pub(super) const UNTIL: Param = Param {
    name: "until",
    of_type: "string",
    repeatable: false,
    summary: "Up to this time (RFC 3339)",
};

const HISTORY: &[Param] = &[
    Param {
        name: "attempt",
        of_type: "integer",
        repeatable: false,
        summary: "Which attempt; the newest unless given",
    },
    SINCE,
    UNTIL,
    Param {
        name: "resolution",
        of_type: "string",
        repeatable: false,
        summary: "No more than one point for each such time: seconds, or as in 10s or 5m",
    },
    Param {
        name: "points",
        of_type: "integer",
        repeatable: false,
        summary: "Most points, 1 to 10000, spread evenly; 1000 unless given",
    },
    Param {
        name: "limit",
        of_type: "integer",
        repeatable: false,
        summary: "The same as points",
    },
    Param {
        name: "fields",
        of_type: "string",
        repeatable: true,
        summary: "Nothing but these fields of the progress, and metrics by name, as in percent,step,loss",
    },
];

pub(super) fn routes() -> Vec<Route> {
    use ProblemKind as P;
    let path = "/v1/jobs/{id}/progress";
    vec![
        Route::new(Method::POST, path, "report_progress", &[], report)
            .says("Report progress, metrics, steps or a sign of life; changes no state")
            .may_take(schema::<ProgressReport>)
            .gives(204, Content::Empty)
            .fails(&[
                P::InvalidRequest,
                P::NotFound,
                P::NotPermitted,
                P::WrongState,
            ]),
        Route::new(Method::GET, path, "progress_history", HISTORY, history)
            .says("The progress of an attempt over time")
            .gives(200, Content::Json(schema::<ProgressHistory>))
            .fails(&[P::InvalidRequest, P::NotFound, P::NotPermitted]),
    ]
}

async fn report(mut call: Call) -> Answer {
    let id = call.job_id()?;
    let report: ProgressReport = call.json_or_default().await?;
    check::check(&report)?;
    let attempt = report.attempt;
    let observation = observation(report).map_err(|wrong| {
        let field = format!("steps[{}].state", wrong.index);
        invalid(
            field,
            "a step is pending, started, progress, completed or failed",
        )
    })?;
    let observation = Box::new(observation);
    let verb = Verb::Report {
        attempt,
        observation,
    };
    command(&call, id, verb).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn history(call: Call) -> Answer {
    let id = call.job_id()?;
    let wanted: Option<u32> = call.value("attempt", "the number of an attempt")?;
    let (resolution_ms, most) = (resolution_ms(&call)?, most(&call)?);
    let since_ms = call.instant_ms("since")?.unwrap_or(i64::MIN);
    let until_ms = call.instant_ms("until")?.unwrap_or(i64::MAX);
    let fields: BTreeSet<String> = call.values("fields").map(str::to_owned).collect();
    let record = call.shared.job(id).await?;
    call.permit(Action::SeeUse, Some(record.job.owner.uid))?;
    let attempt = attempt_of(&record, wanted)?;
    let stretch = Stretch {
        job: id,
        attempt: Some(attempt),
        since_ms,
        until_ms,
    };
    let newest = newest(&call, &record, attempt);
    let points = call
        .shared
        .read(move |archive| archive.curve(&stretch, resolution_ms, most, newest))
        .await?;
    let audience = call.audience(record.job.owner.uid);
    let fields = Some(&fields).filter(|fields| !fields.is_empty());
    let items = points
        .iter()
        .map(|point| progress_point(point, audience, fields));
    let history = ProgressHistory {
        attempt,
        items: items.collect(),
    };
    json(StatusCode::OK, &history)
}

fn resolution_ms(call: &Call) -> Result<i64, Failure> {
    let wanted = "a length of time: seconds, or as in 10s or 5m";
    let span: Option<Span> = call.value("resolution", wanted)?;
    if span.is_some_and(|span| span.ms == 0) {
        return Err(invalid("resolution", "it is at least one millisecond, 1ms"));
    }
    Ok(span.map_or(1, |span| i64::try_from(span.ms).unwrap_or(i64::MAX)))
}

fn most(call: &Call) -> Result<usize, Failure> {
    let (points, limit) = (call.value("points", POINTS)?, call.value("limit", POINTS)?);
    if points.is_some() && limit.is_some() {
        return Err(invalid(
            "limit",
            "it is the same as points: give one of them",
        ));
    }
    let name = if points.is_some() { "points" } else { "limit" };
    number_of_points(name, points.or(limit))
}

/// As many points as the parameter of that name wants.
pub(super) fn number_of_points(name: &str, wanted: Option<usize>) -> Result<usize, Failure> {
    let most = wanted.unwrap_or(DEFAULT_POINTS);
    if !(1..=MOST_POINTS).contains(&most) {
        return Err(invalid(name, format_args!("it is not {POINTS}")));
    }
    Ok(most)
}

/// The number of the attempt that is meant.
pub(super) fn attempt_of(record: &JobHistory, wanted: Option<u32>) -> Result<u32, Failure> {
    let id = record.job.id;
    let numbers = record.attempts.iter().map(|attempt| attempt.id.attempt);
    match wanted {
        Some(number) => numbers
            .clone()
            .find(|known| *known == number)
            .ok_or_else(|| not_found(format_args!("attempt {number} of job {id}"))),
        None => numbers
            .max()
            .ok_or_else(|| not_found(format_args!("attempt of job {id}: it has not started yet"))),
    }
}

/// What an attempt said last and when, which the history may have yet to learn: whoever has been told that a
/// report was taken finds it here.
pub(super) fn newest(call: &Call, record: &JobHistory, attempt: u32) -> Option<(i64, Progress)> {
    let newest = newest_progress(&call.shared, &record.job);
    let is_present = |job: &Job| job.attempt.as_ref().map(|it| it.id.attempt) == Some(attempt);
    newest.filter(|_| is_present(&record.job)).or_else(|| {
        let mut attempts = record.attempts.iter();
        let last = attempts.find(|it| it.id.attempt == attempt)?;
        let progress = last.progress.as_deref()?;
        Some((progress.updated_at_ms?, progress.clone()))
    })
}
