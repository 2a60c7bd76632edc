//! `GET /v1/events`: what happens, as it happens, from any cursor on, without gap or overlap.

pub(super) mod feed;
pub(super) mod render;
mod snapshot;

use crate::api::call::{Call, Param, harmless};
use crate::api::events::feed::{Feed, Opening};
use crate::api::events::render::Format;
use crate::api::problem::{Failure, cursor_gone, invalid, not_found};
use crate::api::pull;
use crate::api::routes::{Answer, Content, Route};
use crate::api::service::with_type;
use crate::auth::{Action, decide, peer};
use crate::events::Subscription;
use crate::events::pattern::{Class, Filter, Pattern, Sight};
use crate::events::queue::QueueOptions;
use crate::model::id::{JobId, Seq};
use crate::wire::error::ProblemKind;
use crate::wire::log::NDJSON;
use crate::wire::values::Cursor;
use axum::http::{HeaderValue, Method, StatusCode, header};
use std::sync::Arc;
use std::time::Duration;

const LAST_EVENT_ID: &str = "Last-Event-ID";
const EVENT_STREAM: &str = "text/event-stream";

const EVENTS: &[Param] = &[
    Param {
        name: "channel",
        of_type: "string",
        repeatable: true,
        summary: "Channels, as in job/*/state, job/42/* or *; everything unless given",
    },
    Param {
        name: "job",
        of_type: "integer",
        repeatable: false,
        summary: "One job; the stream ends after its final event",
    },
    Param {
        name: "owner",
        of_type: "string",
        repeatable: true,
        summary: "Only about what belongs to these users, by number or name",
    },
    Param {
        name: "type",
        of_type: "string",
        repeatable: true,
        summary: "Only events of these types, as in state or progress",
    },
    Param {
        name: "class",
        of_type: "string",
        repeatable: false,
        summary: "Only `lifecycle` (numbered, never left out) or only `telemetry` (newest value counts)",
    },
    Param {
        name: "min_interval_ms",
        of_type: "integer",
        repeatable: false,
        summary: "Telemetry of one channel at most this often, 200 to 60000; the last value always comes; 0 is as it happens",
    },
    Param {
        name: "after",
        of_type: "string",
        repeatable: false,
        summary: "Begin after this cursor (EPOCH:SEQ); `now` and `0`, the oldest, are understood",
    },
    Param {
        name: "snapshot",
        of_type: "boolean",
        repeatable: false,
        summary: "Send the present state of everything that matches first",
    },
];

const HEADERS: &[Param] = &[Param {
    name: LAST_EVENT_ID,
    of_type: "string",
    repeatable: false,
    summary: "As `after`, and stronger: what browsers send when they come back",
}];

pub(super) fn routes() -> Vec<Route> {
    use ProblemKind as P;
    let content = Content::Stream(
        &[EVENT_STREAM, NDJSON],
        "hello, then events, each with its type as `event`, its cursor as `id` and an EventView as \
         data; also snapshot_end, bookmark, gap, end and bye.",
    );
    vec![
        Route::new(Method::GET, "/v1/events", "events", EVENTS, events)
            .says("What happens, as it happens")
            .headers(HEADERS)
            .gives(200, content)
            .fails(&[
                P::InvalidRequest,
                P::NotFound,
                P::CursorGone,
                P::LimitReached,
            ]),
    ]
}

async fn events(call: Call) -> Answer {
    let filter = filter(&call).await?;
    let snapshot = call.switch("snapshot")?;
    let given = cursor(&call)?;
    let format = format(&call);
    let shared = &call.shared;
    let queue = QueueOptions {
        min_interval: min_interval(&call)?,
        ..shared.limits.queue
    };
    let slot = shared
        .ledger
        .stream(call.subject.uid, filter.single_job())?;
    // Registered before anything is read: what happens from now on is in its queue.
    let events = shared.bus.subscribe(filter, queue);
    let after = position(given, &events)?;
    let watched = match events.filter().single_job() {
        None => None,
        Some(id) => {
            let record = shared.read(move |archive| archive.job(id)).await?;
            Some(record.ok_or_else(|| not_found(format_args!("job {id}")))?)
        }
    };
    let feed = Feed::open(Opening {
        shared: shared.clone(),
        subject: Arc::clone(&call.subject),
        events,
        slot,
        format,
        after,
        snapshot,
        watched,
    });
    let media_type = match format {
        Format::EventStream => EVENT_STREAM,
        Format::Lines => NDJSON,
    };
    let mut response = with_type(StatusCode::OK, media_type, pull::body(feed));
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A stream that has ended has nothing to wait for.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}

fn format(call: &Call) -> Format {
    let accepted = call.headers.get(header::ACCEPT);
    let accepted = accepted.and_then(|value| value.to_str().ok()).unwrap_or("");
    if accepted.contains(NDJSON) {
        Format::Lines
    } else {
        Format::EventStream
    }
}

/// The shortest and the longest time that may be asked for between two values of a channel.
const MIN_INTERVAL_MS: std::ops::RangeInclusive<u64> = 200..=60_000;

fn min_interval(call: &Call) -> Result<Duration, Failure> {
    let wanted = "0, or a number from 200 to 60000";
    let ms: u64 = call.value("min_interval_ms", wanted)?.unwrap_or(0);
    if ms == 0 || MIN_INTERVAL_MS.contains(&ms) {
        return Ok(Duration::from_millis(ms));
    }
    Err(invalid(
        "min_interval_ms",
        format_args!("{ms} is not {wanted}"),
    ))
}

async fn filter(call: &Call) -> Result<Filter, Failure> {
    let mut filter = wanted_channels(call)?;
    filter.kinds = call.values("type").map(Into::into).collect();
    filter.owners = owners(call).await?;
    let most = call.shared.limits.channels_per_stream;
    for (field, count) in [("type", filter.kinds.len()), ("owner", filter.owners.len())] {
        if count > most {
            let why = format!("one stream narrows to at most {most} (api.max_channels_per_stream)");
            return Err(invalid(field, why));
        }
    }
    filter.class = match call.text("class") {
        None => None,
        Some("lifecycle") => Some(Class::Lifecycle),
        Some("telemetry") => Some(Class::Telemetry),
        Some(other) => {
            let why = format!("\"{}\" is neither lifecycle nor telemetry", harmless(other));
            return Err(invalid("class", why));
        }
    };
    let policy = &call.shared.policy;
    if !decide(&call.subject, Action::SeeJob, None, policy).is_allowed() {
        filter.sight = Sight::Only(call.subject.uid);
    }
    Ok(filter)
}

/// The users that are named, as numbers.
async fn owners(call: &Call) -> Result<Vec<u32>, Failure> {
    let mut owners = Vec::new();
    for owner in call.values("owner") {
        if let Ok(uid) = owner.parse() {
            owners.push(uid);
            continue;
        }
        let name = owner.to_owned();
        // The host's directory may be slow.
        let found = call.shared.blocking(move || peer::uid_of(&name)).await?;
        let unknown = || {
            invalid(
                "owner",
                format_args!("there is no user \"{}\"", harmless(owner)),
            )
        };
        owners.push(found.ok_or_else(unknown)?);
    }
    Ok(owners)
}

fn wanted_channels(call: &Call) -> Result<Filter, Failure> {
    let job: Option<u64> = call.value("job", "the number of a job")?;
    let mut channels = Vec::new();
    for text in call.values("channel") {
        let pattern: Pattern = text.parse().map_err(|error| invalid("channel", error))?;
        channels.push(pattern);
    }
    let most = call.shared.limits.channels_per_stream;
    if channels.len() > most {
        let why = format!(
            "one stream watches at most {most} (api.max_channels_per_stream); a pattern may cover many"
        );
        return Err(invalid("channel", why));
    }
    if let Some(id) = job {
        if !channels.is_empty() {
            return Err(invalid("job", "give either job or channel"));
        }
        channels.push(Pattern::job(JobId(id)));
    }
    if channels.is_empty() {
        return Ok(Filter::everything());
    }
    Ok(Filter::of(channels))
}

/// Where a client wants to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Begin {
    Now,
    Oldest,
    After(Cursor),
}

fn cursor(call: &Call) -> Result<Begin, Failure> {
    let header = call.headers.get(LAST_EVENT_ID);
    let header = header.map(|value| value.to_str().unwrap_or("unreadable"));
    let (field, text) = match (header, call.text("after")) {
        (Some(text), _) if !text.is_empty() => (LAST_EVENT_ID, text),
        (_, Some(text)) => ("after", text),
        (_, None) => return Ok(Begin::Now),
    };
    match text {
        "now" => Ok(Begin::Now),
        "0" => Ok(Begin::Oldest),
        _ => match text.parse() {
            Ok(cursor) => Ok(Begin::After(cursor)),
            Err(_) => {
                let why = format!(
                    "\"{}\" is not a cursor: it has the form EPOCH:SEQ",
                    harmless(text)
                );
                Err(invalid(field, why))
            }
        },
    }
}

/// The number after which to replay, or `None` to begin with what comes next.
fn position(begin: Begin, events: &Subscription) -> Result<Option<Seq>, Failure> {
    let epoch = events.epoch();
    let (oldest, head) = (events.oldest().0, events.registered_head().0);
    let gone = |why| Err(cursor_gone(why, epoch, oldest, head));
    match begin {
        Begin::Now => Ok(None),
        Begin::Oldest => Ok(Some(Seq(oldest.saturating_sub(1)))),
        Begin::After(cursor) if cursor.epoch != epoch => {
            gone("the cursor is of another database than the present one")
        }
        Begin::After(cursor) if cursor.seq > head => {
            gone("the cursor is newer than the newest event")
        }
        Begin::After(cursor) if cursor.seq.saturating_add(1) < oldest => {
            gone("older events than that were trimmed")
        }
        Begin::After(cursor) => Ok(Some(Seq(cursor.seq))),
    }
}
