//! What can be done with one job, each verb as a route of its own.

use crate::api::audit;
use crate::api::call::Call;
use crate::api::jobs::{can_limit, view};
use crate::api::problem::{Failure, internal, invalid};
use crate::api::routes::{Answer, Content, Route, SchemaOf, schema};
use crate::api::service::json;
use crate::api::submit::{check_edit, signal};
use crate::auth::Action;
use crate::control::command::{Command, Reply, SignalTarget, Verb};
use crate::model::group::Gates;
use crate::model::id::JobId;
use crate::model::state::JobState;
use crate::store::Reader;
use crate::wire::error::ProblemKind;
use crate::wire::job::JobView;
use crate::wire::request;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use serde::Deserialize;

const PROBLEMS: &[ProblemKind] = &[
    ProblemKind::InvalidRequest,
    ProblemKind::NotFound,
    ProblemKind::NotPermitted,
    ProblemKind::WrongState,
    ProblemKind::StorageUnavailable,
];

/// The body of a verb that takes none: nothing, or an empty object.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

/// A verb without a body: path, operation, summary, and what it asks of the engine.
type Plain = (&'static str, &'static str, &'static str, fn() -> Verb);

pub(super) fn routes() -> Vec<Route> {
    let mut table = vec![
        with_body(
            "/v1/jobs/{id}/cancel",
            "cancel_job",
            "End it, and keep it from starting",
            schema::<request::StopRequest>,
            |mut call: Call| async move {
                let asked: request::StopRequest = call.json_or_default().await?;
                let grace_ms = asked.grace.map(|span| span.ms);
                act(&call, Verb::Cancel { grace_ms }).await
            },
        ),
        with_body(
            "/v1/jobs/{id}/restart",
            "restart_job",
            "End it, and queue it again",
            schema::<request::StopRequest>,
            |mut call: Call| async move {
                let asked: request::StopRequest = call.json_or_default().await?;
                let grace_ms = asked.grace.map(|span| span.ms);
                act(&call, Verb::Restart { grace_ms }).await
            },
        ),
        must_take(with_body(
            "/v1/jobs/{id}/signal",
            "signal_job",
            "Send it a signal; changes no state",
            schema::<request::SignalRequest>,
            send_signal,
        )),
        must_take(with_body(
            "/v1/jobs/{id}/edit",
            "edit_job",
            "Change what a waiting job asks for",
            schema::<request::JobEdit>,
            |mut call: Call| async move {
                let edit = check_edit(call.json().await?)?;
                if edit.limits.limits_anything() {
                    can_limit(&call.shared)?;
                }
                act(&call, Verb::Edit(Box::new(edit))).await
            },
        )),
    ];
    let plain: [Plain; 8] = [
        ("/v1/jobs/{id}/pause", "pause_job", "Freeze it", || {
            Verb::Pause
        }),
        (
            "/v1/jobs/{id}/resume",
            "resume_job",
            "Let a frozen job go on",
            || Verb::Resume,
        ),
        (
            "/v1/jobs/{id}/hold",
            "hold_job",
            "Keep it from starting",
            || Verb::Hold,
        ),
        (
            "/v1/jobs/{id}/release",
            "release_job",
            "Let a held job go",
            || Verb::Release,
        ),
        (
            "/v1/jobs/{id}/approve",
            "approve_job",
            "Let a job go that waits for approval",
            || Verb::Approve,
        ),
        (
            "/v1/jobs/{id}/reject",
            "reject_job",
            "Cancel a job that waits for approval",
            || Verb::Reject,
        ),
        (
            "/v1/jobs/{id}/retry",
            "retry_job",
            "Queue a finished job again",
            || Verb::Retry,
        ),
        (
            "/v1/jobs/{id}/remove",
            "remove_job",
            "Forget a finished job with its history",
            || Verb::Remove,
        ),
    ];
    for (path, operation, summary, verb) in plain {
        let removes = matches!(verb(), Verb::Remove);
        table.push(route(Method::POST, path, operation, summary, removes, verb));
    }
    table.push(route(
        Method::DELETE,
        "/v1/jobs/{id}",
        "delete_job",
        "Forget a finished job with its history",
        true,
        || Verb::Remove,
    ));
    table
}

fn with_body<H, F>(
    path: &'static str,
    operation: &'static str,
    summary: &'static str,
    body: SchemaOf,
    handler: H,
) -> Route
where
    H: Fn(Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    Route::new(Method::POST, path, operation, &[], handler)
        .says(summary)
        .may_take(body)
        .gives(200, Content::Json(schema::<JobView>))
        .fails(PROBLEMS)
}

fn must_take(mut route: Route) -> Route {
    route.body = route.body.map(|(body, _)| (body, true));
    route
}

fn route(
    method: Method,
    path: &'static str,
    operation: &'static str,
    summary: &'static str,
    removes: bool,
    verb: fn() -> Verb,
) -> Route {
    let handler = move |mut call: Call| async move {
        let NoFields {} = call.json_or_default().await?;
        act(&call, verb()).await
    };
    let (status, content) = if removes {
        (204, Content::Empty)
    } else {
        (200, Content::Json(schema::<JobView>))
    };
    Route::new(method, path, operation, &[], handler)
        .says(summary)
        .gives(status, content)
        .fails(PROBLEMS)
}

async fn send_signal(mut call: Call) -> Answer {
    let asked: request::SignalRequest = call.json().await?;
    let number = signal(&asked.signal).map_err(|why| invalid("signal", why))?;
    let to = match asked.to {
        request::SignalTarget::Main => SignalTarget::Main,
        request::SignalTarget::Group => SignalTarget::Group,
        request::SignalTarget::All => SignalTarget::All,
    };
    let verb = Verb::Signal { signal: number, to };
    act(&call, verb).await
}

/// Gives the engine a verb, once it is clear that the caller may.
pub(super) async fn command(call: &Call, id: JobId, verb: Verb) -> Result<Reply, Failure> {
    let owner = call.shared.owner(id).await?;
    call.permit(Action::ControlJob, Some(owner))?;
    let deed = audit::deed(&verb);
    let reply = call.shared.control.command(Command::Job { id, verb });
    let reply = reply.await?;
    audit::of_job(&call.subject, owner, id, deed);
    Ok(reply)
}

async fn act(call: &Call, verb: Verb) -> Answer {
    let id = call.job_id()?;
    match command(call, id, verb).await? {
        Reply::Job(job) => {
            let gates = if job.state == JobState::Queued {
                call.shared.read(Reader::gates).await?
            } else {
                Gates::default()
            };
            json(StatusCode::OK, &view(call, &job, &gates))
        }
        Reply::Removed => Ok(StatusCode::NO_CONTENT.into_response()),
        other @ (Reply::Submitted { .. }
        | Reply::Group(_)
        | Reply::Draining(_)
        | Reply::GoingDown { .. }
        | Reply::Noted) => Err(internal(format_args!("a verb was answered with {other:?}"))),
    }
}
