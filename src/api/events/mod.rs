//! `GET /v1/events`: what happens, as it happens, from any cursor on, without gap or overlap.

pub(super) mod feed;
pub(super) mod render;
mod snapshot;
mod wanted;

pub use wanted::check_event_query;

use crate::api::call::{Call, Param, harmless};
use crate::api::events::feed::{Feed, Opening};
use crate::api::events::render::Format;
use crate::api::events::wanted::{Begin, EVENTS, LAST_EVENT_ID, Wanted};
use crate::api::problem::{Failure, cursor_gone, invalid};
use crate::api::pull;
use crate::api::routes::{Answer, Content, Route};
use crate::api::service::with_type;
use crate::auth::{Action, peer};
use crate::events::Subscription;
use crate::events::pattern::{Filter, Sight};
use crate::events::queue::QueueOptions;
use crate::model::id::Seq;
use crate::wire::error::ProblemKind;
use crate::wire::log::NDJSON;
use axum::http::{HeaderValue, Method, StatusCode, header};

const EVENT_STREAM: &str = "text/event-stream";

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
    let shared = &call.shared;
    let last = call.headers.get(LAST_EVENT_ID);
    let last = last.map(|value| value.to_str().unwrap_or("unreadable"));
    let wanted = Wanted::read(&call, last, shared.limits.channels_per_stream)?;
    let filter = filter(&call, wanted.filter, wanted.owners).await?;
    let format = format(&call);
    if let Some(id) = filter.single_job() {
        // Whether there is room for one more is told of jobs that this client may know of.
        shared.owner(id).await?;
    }
    let queue = QueueOptions {
        min_interval: wanted.min_interval,
        ..shared.limits.queue
    };
    let slot = shared
        .ledger
        .stream(call.subject.uid, filter.single_job())?;
    // Registered before anything is read: what happens from now on is in its queue.
    let events = shared.bus.subscribe(filter, queue);
    let after = position(wanted.begin, &events)?;
    let watched = match events.filter().single_job() {
        None => None,
        Some(id) => Some(shared.job(id).await?),
    };
    if events.filter().admits_metrics() {
        shared.gauges.tell();
    }
    let looks = events.filter().asks_for_metrics();
    let look = looks.then(|| shared.gauges.look(wanted.min_interval));
    let feed = Feed::open(Opening {
        look,
        shared: shared.clone(),
        events,
        slot,
        format,
        after,
        snapshot: wanted.snapshot,
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

/// The filter with what only the daemon knows: whom the names are of, and what this client may see.
async fn filter(call: &Call, mut filter: Filter, owners: Vec<String>) -> Result<Filter, Failure> {
    for name in owners {
        let unknown = invalid(
            "owner",
            format_args!("there is no user \"{}\"", harmless(&name)),
        );
        // The host's directory may be slow.
        let found = call.shared.blocking(move || peer::uid_of(&name)).await?;
        filter.owners.push(found.ok_or(unknown)?);
    }
    let own = call.subject.uid;
    filter.sight = if call.shared.may(Action::SeeUse, None) {
        Sight::Everybody
    } else if call.shared.may(Action::SeeJob, None) {
        Sight::States(own)
    } else {
        Sight::Only(own)
    };
    Ok(filter)
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
