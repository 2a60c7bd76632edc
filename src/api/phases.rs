//! Where the time of a run went.

use crate::api::call::{Call, Param};
use crate::api::progress::newest;
use crate::api::routes::{Answer, Content, Route, schema};
use crate::api::runs::Run;
use crate::api::service::json;
use crate::model::phases::Phases;
use crate::wire::comparison::PhaseList;
use crate::wire::convert::{Audience, phase_view};
use crate::wire::error::ProblemKind;
use axum::http::{Method, StatusCode};

const PHASES: &[Param] = &[Param {
    name: "attempt",
    of_type: "integer",
    repeatable: false,
    summary: "Which attempt; the newest unless given",
}];

pub(super) fn routes() -> Vec<Route> {
    use ProblemKind as P;
    vec![
        Route::new(
            Method::GET,
            "/v1/jobs/{id}/phases",
            "job_phases",
            PHASES,
            phases,
        )
        .says("Where the time of an attempt went, slowest part first")
        .gives(200, Content::Json(schema::<PhaseList>))
        .fails(&[P::InvalidRequest, P::NotFound, P::NotPermitted]),
    ]
}

async fn phases(call: Call) -> Answer {
    let id = call.job_id()?;
    let attempt: Option<u32> = call.value("attempt", "the number of an attempt")?;
    let run = Run::of(&call, id, attempt).await?;
    let told = run.told(&call).await?;
    let mut phases = Phases::default();
    for (at_ms, progress) in &told {
        phases.add(*at_ms, progress);
    }
    let end_ms = run.end_ms();
    let ran_ms = run
        .began_ms()
        .map(|began_ms| end_ms.saturating_sub(began_ms));
    let audience = call.audience(run.owner());
    let newest = newest(&call, &run.record, run.id.attempt);
    let steps = newest.map(|(_, progress)| progress.steps);
    let parts = phases.finish(end_ms, &steps.unwrap_or_default());
    // What a job calls its phases is its owner's alone, as in its progress.
    let parts = parts.iter().filter(|_| audience == Audience::Owner);
    let items = parts.map(|part| phase_view(part, ran_ms)).collect();
    let attempt = run.id.attempt;
    json(StatusCode::OK, &PhaseList { attempt, items })
}
