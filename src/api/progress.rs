//! Progress: what a job reports over the API, and its history.

use crate::api::call::{Call, Param};
use crate::api::problem::{invalid, not_found};
use crate::api::routes::{Answer, Content, Route, schema};
use crate::api::service::json;
use crate::api::verbs::command;
use crate::control::command::Verb;
use crate::model::id::AttemptId;
use crate::model::progress::Progress;
use crate::wire::convert::{observation, progress_view, timestamp};
use crate::wire::error::ProblemKind;
use crate::wire::progress::{ProgressHistory, ProgressPoint, ProgressReport};
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;

const DEFAULT_POINTS: usize = 1_000;
const MOST_POINTS: usize = 10_000;

const HISTORY: &[Param] = &[
    Param {
        name: "attempt",
        of_type: "integer",
        repeatable: false,
        summary: "Which attempt; the newest unless given",
    },
    Param {
        name: "since",
        of_type: "string",
        repeatable: false,
        summary: "From this time on (RFC 3339)",
    },
    Param {
        name: "until",
        of_type: "string",
        repeatable: false,
        summary: "Up to this time (RFC 3339)",
    },
    Param {
        name: "limit",
        of_type: "integer",
        repeatable: false,
        summary: "Most points, 1 to 10000, thinned evenly; 1000 unless given",
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
            .fails(&[P::InvalidRequest, P::NotFound]),
    ]
}

async fn report(mut call: Call) -> Answer {
    let id = call.job_id()?;
    let report: ProgressReport = call.json_or_default().await?;
    if report
        .percent
        .is_some_and(|percent| !(0.0..=100.0).contains(&percent))
    {
        return Err(invalid("percent", "it goes from 0 to 100"));
    }
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
    let since = call.instant_ms("since")?;
    let until = call.instant_ms("until")?;
    let range = "a number from 1 to 10000";
    let most = call.value("limit", range)?.unwrap_or(DEFAULT_POINTS);
    if !(1..=MOST_POINTS).contains(&most) {
        return Err(invalid("limit", format_args!("it is not {range}")));
    }
    let record = call.shared.read(move |archive| archive.job(id)).await?;
    let record = record.ok_or_else(|| not_found(format_args!("job {id}")))?;
    let numbers = record.attempts.iter().map(|attempt| attempt.id.attempt);
    let attempt = match wanted {
        Some(number) => numbers.clone().find(|known| *known == number),
        None => numbers.max(),
    };
    let Some(attempt) = attempt else {
        return Err(match wanted {
            Some(number) => not_found(format_args!("attempt {number} of job {id}")),
            None => not_found(format_args!("attempt of job {id}: it has not started yet")),
        });
    };
    let name = AttemptId { job: id, attempt };
    let points = call
        .shared
        .read(move |archive| {
            let (since, until) = (since.unwrap_or(i64::MIN), until.unwrap_or(i64::MAX));
            archive.progress(name, since, until, most)
        })
        .await?;
    let audience = call.audience(record.job.owner.uid);
    let items = points.into_iter().filter_map(|point| {
        let progress: Progress = serde_json::from_str(&point.body).ok()?;
        Some(ProgressPoint {
            time: timestamp(point.at_ms),
            progress: progress_view(&progress, audience),
        })
    });
    let history = ProgressHistory {
        attempt,
        items: items.collect(),
    };
    json(StatusCode::OK, &history)
}
