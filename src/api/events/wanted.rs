//! What a client wants of the events: the parameters of `GET /v1/events`, read and checked.

use crate::api::call::{Param, harmless};
use crate::api::problem::{Failure, invalid};
use crate::api::query::Query;
use crate::events::pattern::{Class, Filter, Pattern};
use crate::model::id::JobId;
use crate::wire::error::Problem;
use crate::wire::values::Cursor;
use axum::http::Uri;
use axum::http::uri::InvalidUri;
use std::time::Duration;

pub(super) const LAST_EVENT_ID: &str = "Last-Event-ID";

pub(super) const EVENTS: &[Param] = &[
    Param {
        name: "channel",
        of_type: "string",
        repeatable: true,
        summary: "Channels, as in job/*/state, job/42/* or gpu/*/metrics; *, everything but metrics, unless given",
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
        summary: "Telemetry of one channel at most this often, 100 to 60000; the last value always comes; 0 is as it happens",
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

/// Which events a client wants, and how.
#[derive(Debug)]
pub(super) struct Wanted {
    /// All that the query alone says: whose events it may see is not in it.
    pub(super) filter: Filter,
    /// Users that it names and not numbers.
    pub(super) owners: Vec<String>,
    pub(super) min_interval: Duration,
    pub(super) begin: Begin,
    pub(super) snapshot: bool,
}

impl Wanted {
    /// Reads the query, and the cursor that a browser sends beside it; `most` channels may be watched.
    pub(super) fn read(query: &Query, last: Option<&str>, most: usize) -> Result<Self, Failure> {
        let mut filter = channels(query, most)?;
        filter.kinds = query.values("type").map(Into::into).collect();
        let owners: Vec<&str> = query.values("owner").collect();
        for (field, count) in [("type", filter.kinds.len()), ("owner", owners.len())] {
            if count > most {
                let why =
                    format!("one stream narrows to at most {most} (api.max_channels_per_stream)");
                return Err(invalid(field, why));
            }
        }
        filter.class = class(query)?;
        let mut names = Vec::new();
        for owner in owners {
            match owner.parse() {
                Ok(uid) => filter.owners.push(uid),
                Err(_) => names.push(owner.to_owned()),
            }
        }
        Ok(Self {
            filter,
            owners: names,
            min_interval: min_interval(query)?,
            begin: begin(query, last)?,
            snapshot: query.switch("snapshot")?,
        })
    }
}

/// The filter that a target such as `/v1/events?channel=job/42/*` asks for, with at most `most` channels; the users it
/// names and what the client may see are left out.
///
/// # Errors
/// The problem that the client is told.
pub fn check_event_query(target: &str, most: usize) -> Result<Filter, Box<Problem>> {
    let uri: Result<Uri, Failure> = target
        .parse()
        .map_err(|error: InvalidUri| invalid("target", error));
    let query = uri.and_then(|uri| Query::read(&uri, EVENTS));
    match query.and_then(|query| Wanted::read(&query, None, most)) {
        Ok(wanted) => Ok(wanted.filter),
        Err(Failure(problem)) => Err(problem),
    }
}

fn channels(query: &Query, most: usize) -> Result<Filter, Failure> {
    let job: Option<u64> = query.value("job", "the number of a job")?;
    let mut channels = Vec::new();
    if query.text("channel").is_some() && query.values("channel").next().is_none() {
        let why = "it is empty: name a channel, as in job/42/state or job/*/state, or leave it out for everything";
        return Err(invalid("channel", why));
    }
    for text in query.values("channel") {
        let pattern: Pattern = text.parse().map_err(|error| invalid("channel", error))?;
        channels.push(pattern);
    }
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

fn class(query: &Query) -> Result<Option<Class>, Failure> {
    match query.text("class") {
        None => Ok(None),
        Some("lifecycle") => Ok(Some(Class::Lifecycle)),
        Some("telemetry") => Ok(Some(Class::Telemetry)),
        Some(other) => {
            let why = format!("\"{}\" is neither lifecycle nor telemetry", harmless(other));
            Err(invalid("class", why))
        }
    }
}

/// The shortest and the longest time that may be asked for between two values of a channel.
const MIN_INTERVAL_MS: std::ops::RangeInclusive<u64> = 100..=60_000;

fn min_interval(query: &Query) -> Result<Duration, Failure> {
    let wanted = "0, or a number from 100 to 60000";
    let ms: u64 = query.value("min_interval_ms", wanted)?.unwrap_or(0);
    if ms == 0 || MIN_INTERVAL_MS.contains(&ms) {
        return Ok(Duration::from_millis(ms));
    }
    Err(invalid(
        "min_interval_ms",
        format_args!("{ms} is not {wanted}"),
    ))
}

/// Where a client wants to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Now,
    Oldest,
    After(Cursor),
}

fn begin(query: &Query, last: Option<&str>) -> Result<Begin, Failure> {
    let (field, text) = match (last, query.text("after")) {
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
