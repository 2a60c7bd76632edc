//! The output of a job: ranges, tails, and following it while it is written.
//!
//! A follow answer ends well only after the end of the attempt was delivered. When the daemon goes down
//! before that, the connection breaks off, so that the client knows that it must come back.

mod feed;

use crate::api::call::{Call, Param, harmless};
use crate::api::logs::feed::{Attempts, Feed, Format, attempt_cursor};
use crate::api::problem::{Failure, invalid, not_found};
use crate::api::pull;
use crate::api::routes::{Answer, Content, Route};
use crate::api::service::with_type;
use crate::auth::Action;
use crate::logs::read::{From, Selection};
use crate::model::id::JobId;
use crate::wire::error::ProblemKind;
use crate::wire::log::{HEARTBEAT_HEADER, NDJSON};
use axum::http::{Method, StatusCode};

const fn text(name: &'static str, summary: &'static str) -> Param {
    Param {
        name,
        of_type: "string",
        repeatable: false,
        summary,
    }
}

const LOGS: &[Param] = &[
    text(
        "attempt",
        "Number of an attempt, or `all`; the newest unless given",
    ),
    text("stream", "`stdout`, `stderr` or `both`; both unless given"),
    Param {
        of_type: "integer",
        ..text("tail", "Begin with the last so many lines")
    },
    text(
        "since",
        "Begin with what was written at this time (RFC 3339)",
    ),
    text("offset", "Go on after this `cursor`"),
    Param {
        of_type: "boolean",
        ..text("follow", "Keep the answer open until the attempt has ended")
    },
    text(
        "format",
        "`text` for the bytes as they are, `json` for lines of JSON; text unless given",
    ),
];

pub(super) fn routes() -> Vec<Route> {
    use ProblemKind as P;
    let content = Content::Stream(
        &["text/plain", NDJSON],
        "The output as the job wrote it; with `format=json` one LogPiece per line. While `format=json` is followed, an \
         empty line is a sign of life: one comes after so many milliseconds without output as the header \
         `stoked-heartbeat-ms` of the answer says. The bytes as they are leave no room for that. Whoever closes the \
         connection has left: nothing is kept for it, whether or not the job writes.",
    );
    vec![
        Route::new(Method::GET, "/v1/jobs/{id}/logs", "job_logs", LOGS, logs)
            .says("The output of a job")
            .gives(200, content)
            .fails(&[P::InvalidRequest, P::NotFound, P::NotPermitted]),
    ]
}

async fn logs(call: Call) -> Answer {
    let id = call.job_id()?;
    let format = format(&call)?;
    let selection = selection(&call)?;
    let follow = call.switch("follow")?;
    let (from_cursor, start) = start(&call)?;
    let wanted = wanted(&call, from_cursor)?;
    let owner = call.shared.owner(id).await?;
    call.permit(Action::ReadJob, Some(owner))?;
    let feed = Feed::open(&call.shared, id, wanted, selection, start, format, follow).await?;
    let heartbeat = feed.heartbeat();
    let media_type = match format {
        Format::Text => "text/plain; charset=utf-8",
        Format::Json => NDJSON,
    };
    let mut response = with_type(StatusCode::OK, media_type, pull::body(feed));
    if let Some(heartbeat) = heartbeat {
        let ms = u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX);
        let headers = response.headers_mut();
        headers.insert(HEARTBEAT_HEADER, ms.into());
    }
    Ok(response)
}

fn format(call: &Call) -> Result<Format, Failure> {
    match call.text("format") {
        None | Some("text") => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some(other) => {
            let why = format!("\"{}\" is neither text nor json", harmless(other));
            Err(invalid("format", why))
        }
    }
}

fn selection(call: &Call) -> Result<Selection, Failure> {
    match call.text("stream") {
        None | Some("both") => Ok(Selection::Both),
        Some("stdout") => Ok(Selection::Stdout),
        Some("stderr") => Ok(Selection::Stderr),
        Some(other) => {
            let why = format!("\"{}\" is not stdout, stderr or both", harmless(other));
            Err(invalid("stream", why))
        }
    }
}

/// Where reading begins, and of which attempt, where a cursor says so.
fn start(call: &Call) -> Result<(Option<u32>, From), Failure> {
    let tail: Option<u64> = call.value("tail", "a number of lines")?;
    let since = call.instant_ms("since")?;
    let offset = call.text("offset");
    match (tail, since, offset) {
        (None, None, None) => Ok((None, From::Start)),
        (Some(lines), None, None) => Ok((None, From::Tail { lines })),
        (None, Some(ms), None) => Ok((None, From::Since { wall_ms: ms })),
        (None, None, Some(cursor)) => {
            let (attempt, place) = attempt_cursor(cursor).ok_or_else(|| {
                let why = format!("\"{}\" is not a cursor of a log", harmless(cursor));
                invalid("offset", why)
            })?;
            Ok((Some(attempt), From::Offset(place)))
        }
        _ => Err(invalid("offset", "give one of tail, since and offset")),
    }
}

fn wanted(call: &Call, from_cursor: Option<u32>) -> Result<Attempts, Failure> {
    let named = match call.text("attempt") {
        Some("all") => return Ok(Attempts::AllFrom(from_cursor.unwrap_or(1))),
        Some(_) => call.value::<u32>("attempt", "the number of an attempt, or all")?,
        None => None,
    };
    match (named, from_cursor) {
        (Some(named), Some(other)) if named != other => Err(invalid(
            "offset",
            format_args!("it is a cursor of attempt {other}"),
        )),
        (Some(number), _) | (None, Some(number)) => Ok(Attempts::One(number)),
        (None, None) => Ok(Attempts::Newest),
    }
}

pub(super) fn missing_attempt(number: u32, id: JobId) -> Failure {
    not_found(format_args!("attempt {number} of job {id}"))
}
