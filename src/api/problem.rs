//! Every failure of a request, as the one kind of answer that clients know: `application/problem+json`.

use crate::control::CommandError;
use crate::control::command::Refusal;
use crate::model::state::StateName;
use crate::model::transition::Illegal;
use crate::store::StoreError;
use crate::wire::error::{MEDIA_TYPE, Problem, ProblemKind};
use crate::wire::values::Cursor;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::fmt::Display;

/// A failed request; boxed, because most requests succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) Box<Problem>);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(ms) = self.0.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
        }
        response
    }
}

/// The whole answer to a connection that gets no further, as bytes.
pub(crate) fn last_words(problem: &Problem) -> Vec<u8> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_string(problem).unwrap_or_default();
    let again = problem.retry_after_ms.map_or_else(String::new, |ms| {
        format!("retry-after: {}\r\n", ms.div_ceil(1000))
    });
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {MEDIA_TYPE}\r\nstoked-api: {level}\r\n{again}\
         connection: close\r\ncontent-length: {length}\r\n\r\n{body}",
        level = crate::wire::service::API_LEVEL,
        length = body.len(),
    )
    .into_bytes()
}

/// A value of the request is wrong: which, and why.
pub(crate) fn invalid(field: impl Into<String>, why: impl Display) -> Failure {
    let field = field.into();
    Problem::new(
        ProblemKind::InvalidRequest,
        format!("{field} is not acceptable"),
    )
    .detail(why.to_string())
    .field(field)
    .into()
}

/// There is no such thing.
pub(crate) fn not_found(what: impl Display) -> Failure {
    Problem::new(ProblemKind::NotFound, format!("there is no {what}")).into()
}

/// A cursor that cannot be continued from.
pub(crate) fn cursor_gone(why: &str, epoch: &str, oldest: u64, head: u64) -> Failure {
    let cursor = |seq| {
        Cursor {
            epoch: epoch.to_owned(),
            seq,
        }
        .to_string()
    };
    let mut problem = Problem::new(
        ProblemKind::CursorGone,
        "events after this cursor cannot be replayed",
    )
    .detail(why)
    .hint("list again, and watch from the list's as_of");
    problem.oldest = Some(cursor(oldest));
    problem.head = Some(cursor(head));
    problem.into()
}

/// A bug of ours; what happened is in the journal.
pub(crate) fn internal(what: impl Display) -> Failure {
    tracing::error!(%what, "request failed by a bug");
    Problem::new(ProblemKind::Internal, "the daemon failed to answer")
        .hint("its journal says why; please report it")
        .into()
}

impl From<StoreError> for Failure {
    fn from(trouble: StoreError) -> Self {
        Problem::new(
            ProblemKind::StorageUnavailable,
            "the store cannot be read now",
        )
        .detail(trouble.to_string())
        .hint("running jobs go on; GET /v1/health says how the store is")
        .into()
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Refused(refusal) => refused(&refusal).into(),
            CommandError::Storage(_) => Problem::new(
                ProblemKind::StorageUnavailable,
                "nothing can be stored now, so nothing was changed",
            )
            .detail(error.to_string())
            .hint("running jobs go on; `stoke doctor` and GET /v1/health say how the store is")
            .into(),
            CommandError::Stopped => Problem::new(
                ProblemKind::ShuttingDown,
                "the daemon is going down, nothing was changed",
            )
            .hint("try again in a moment")
            .into(),
        }
    }
}

/// One to one: each refusal of the engine has its kind, and where there is one, its way out.
fn refused(refusal: &Refusal) -> Problem {
    let (kind, hint): (ProblemKind, Option<&str>) = match refusal {
        Refusal::UnknownJob(_) => (ProblemKind::NotFound, None),
        Refusal::UnknownGroup(_) => (
            ProblemKind::NotFound,
            Some("make it with PUT /v1/groups/NAME, or choose one of GET /v1/groups"),
        ),
        Refusal::GroupInUse { .. } => (
            ProblemKind::WrongState,
            Some("move, cancel or await its jobs first"),
        ),
        Refusal::UnknownDependency(_) => (
            ProblemKind::InvalidRequest,
            Some(
                "after_ok takes numbers of jobs, or names of the same request or of your own jobs",
            ),
        ),
        Refusal::DependencyCycle(_) => (
            ProblemKind::DependencyCycle,
            Some("take one of these dependencies away"),
        ),
        Refusal::DependencyEndedBadly { .. } => (
            ProblemKind::WrongState,
            Some("retry the job it waits for first"),
        ),
        Refusal::WrongState { illegal, .. } => (ProblemKind::WrongState, way_out(*illegal)),
        Refusal::NotThisAttempt { .. } => (ProblemKind::WrongState, None),
        Refusal::TooMuchReported { .. } => (
            ProblemKind::InvalidRequest,
            Some(
                "nothing of the report was taken: report fewer of them, or how many there are and are done",
            ),
        ),
        Refusal::TooManyJobs { .. } => (
            ProblemKind::LimitReached,
            Some(
                "wait until some have ended, or cancel some; access.max_jobs_per_user in the configuration is the limit",
            ),
        ),
        Refusal::KeyReused(_) => (
            ProblemKind::KeyReused,
            Some("use a new key for every request that is not a repetition"),
        ),
    };
    let problem = Problem::new(kind, refusal.to_string());
    let problem = match refusal {
        Refusal::UnknownDependency(_) | Refusal::DependencyCycle(_) => problem.field("after_ok"),
        Refusal::UnknownGroup(_) => problem.field("group"),
        Refusal::TooMuchReported { excess, .. } => problem.field(excess.as_str()),
        Refusal::UnknownJob(_)
        | Refusal::GroupInUse { .. }
        | Refusal::DependencyEndedBadly { .. }
        | Refusal::WrongState { .. }
        | Refusal::NotThisAttempt { .. }
        | Refusal::TooManyJobs { .. }
        | Refusal::KeyReused(_) => problem,
    };
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// What to do instead of a move that the state of a job does not allow.
fn way_out(illegal: Illegal) -> Option<&'static str> {
    let from = illegal.from;
    match illegal.event {
        "paused" if !from.is_final() => Some("hold keeps a waiting job from starting"),
        "held" if from.holds_place() => Some("pause freezes a running job"),
        "released" if from == StateName::Paused => Some("resume lets a frozen job go on"),
        "released" if from == StateName::Held => {
            Some("it waits for an approval: approve or reject it")
        }
        "approved" if from == StateName::Held => Some("nobody has to approve it: release it"),
        "resumed" if from == StateName::Held => Some("release lets a held job go"),
        "removed" => Some("cancel it first, or wait until it has ended"),
        "edited" => Some("only waiting jobs can be edited: cancel it and submit it anew"),
        "queued again" => Some("restart ends a running job and queues it again"),
        _ => None,
    }
}

/// The one of `known` that `text` was probably meant to be.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(text, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::JobId;

    #[test]
    fn every_refusal_has_its_kind() {
        let id = JobId(42);
        let illegal = Illegal {
            from: StateName::Running,
            event: "released",
        };
        for (refusal, status) in [
            (Refusal::UnknownJob(id), 404),
            (Refusal::UnknownGroup("g".into()), 404),
            (
                Refusal::GroupInUse {
                    name: "g".into(),
                    why: "3 jobs".into(),
                },
                409,
            ),
            (Refusal::UnknownDependency("x".into()), 400),
            (Refusal::DependencyCycle(vec!["a".into(), "a".into()]), 400),
            (Refusal::WrongState { id, illegal }, 409),
            (Refusal::NotThisAttempt { id, attempt: 2 }, 409),
            (
                Refusal::TooManyJobs {
                    user: "ada".into(),
                    live: 7,
                    more: 2,
                    most: 8,
                },
                429,
            ),
            (Refusal::KeyReused("k".into()), 409),
        ] {
            let failure = Failure::from(CommandError::Refused(refusal.clone()));
            assert_eq!(failure.0.status, status, "{refusal}");
            assert_eq!(failure.0.title, refusal.to_string());
        }
        assert_eq!(
            Failure::from(CommandError::Storage("full".into())).0.status,
            507
        );
        assert_eq!(Failure::from(CommandError::Stopped).0.status, 503);
    }

    #[test]
    fn last_words_are_a_whole_answer() {
        let mut problem = Problem::new(ProblemKind::LimitReached, "too many");
        problem.retry_after_ms = Some(1_001);
        let words = last_words(&problem);
        let text = String::from_utf8(words).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 429 Too Many Requests\r\n"),
            "{head}"
        );
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert!(head.contains("\r\nretry-after: 2\r\n"), "{head}");
        assert!(
            serde_json::from_str::<Problem>(body)
                .unwrap()
                .is(ProblemKind::LimitReached)
        );
    }

    #[test]
    fn the_nearest_name_is_found_or_none() {
        let known = ["command", "name", "group"];
        assert_eq!(nearest("comand", known), Some("command"));
        assert_eq!(nearest("zzz", known), None);
    }
}
