//! Series: which there are, and their points. Of jobs, so far: how they got on and what they measured themselves.

use crate::api::call::{Call, Param, harmless};
use crate::api::jobs::newest_progress;
use crate::api::problem::{Failure, invalid, not_found};
use crate::api::progress::{POINTS, SINCE, UNTIL, newest, number_of_points};
use crate::api::routes::{Answer, Content, Route, schema};
use crate::api::service::json;
use crate::auth::Action;
use crate::model::curve::{Line, Quantity};
use crate::model::id::JobId;
use crate::store::{JobHistory, Stretch};
use crate::wire::convert::{Audience, series_point};
use crate::wire::error::ProblemKind;
use crate::wire::series::{Series, SeriesData, SeriesInfo, SeriesList};
use axum::http::{Method, StatusCode};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Most series of one request.
const MOST_SERIES: usize = 50;

const LIST: &[Param] = &[Param {
    name: "job",
    of_type: "integer",
    repeatable: false,
    summary: "The job whose series are wanted",
}];

const QUERY: &[Param] = &[
    Param {
        name: "name",
        of_type: "string",
        repeatable: true,
        summary: "Names of series, as in job/42/metric.loss; at most 50",
    },
    SINCE,
    UNTIL,
    Param {
        name: "points",
        of_type: "integer",
        repeatable: false,
        summary: "Most points of each, 1 to 10000; 1000 unless given",
    },
];

pub(super) fn routes() -> Vec<Route> {
    use ProblemKind as P;
    vec![
        Route::new(Method::GET, "/v1/series", "list_series", LIST, list)
            .says("Which series there are of a job")
            .gives(200, Content::Json(schema::<SeriesList>))
            .fails(&[P::InvalidRequest, P::NotFound]),
        Route::new(
            Method::GET,
            "/v1/series/query",
            "query_series",
            QUERY,
            query,
        )
        .says("Series over time, all attempts of a job one after the other")
        .gives(200, Content::Json(schema::<SeriesData>))
        .fails(&[P::InvalidRequest, P::NotFound, P::NotPermitted]),
    ]
}

/// The name of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SeriesName {
    job: JobId,
    quantity: Quantity,
}

impl fmt::Display for SeriesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job/{}/{}", self.job, self.quantity)
    }
}

impl FromStr for SeriesName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("job/").and_then(|it| it.split_once('/'));
        let job = rest.and_then(|(id, _)| id.parse().ok().map(JobId));
        let (Some((_, quantity)), Some(job)) = (rest, job) else {
            let text = harmless(text);
            return Err(format!(
                "\"{text}\" is no series: they are named as in job/42/percent or job/42/metric.loss"
            ));
        };
        match quantity.parse() {
            Ok(quantity) => Ok(Self { job, quantity }),
            Err(error) => Err(format!("\"{}\" is no series: {error}", harmless(text))),
        }
    }
}

async fn list(call: Call) -> Answer {
    let Some(id) = call.value("job", "the number of a job")?.map(JobId) else {
        return Err(invalid("job", "name one, as in job=42"));
    };
    let record = record(&call, id).await?;
    let audience = call.audience(record.job.owner.uid);
    let newest = newest_progress(&call.shared, &record.job).map(|(_, progress)| progress);
    let stored = record.attempts.iter();
    let stored = stored.filter_map(|attempt| attempt.progress.as_deref());
    let quantities: BTreeSet<Quantity> = stored
        .chain(&newest)
        .flat_map(Quantity::all_of)
        .filter(|quantity| may_see(quantity, audience))
        .collect();
    let items = quantities.into_iter().map(|quantity| SeriesInfo {
        unit: quantity.unit().map(str::to_owned),
        name: SeriesName { job: id, quantity }.to_string(),
        first: None,
        last: None,
    });
    let items = items.collect();
    json(StatusCode::OK, &SeriesList { items })
}

/// What a job measures itself is its owner's alone, as in the job itself.
fn may_see(quantity: &Quantity, audience: Audience) -> bool {
    audience == Audience::Owner || !matches!(quantity, Quantity::Metric(_))
}

async fn record(call: &Call, id: JobId) -> Result<JobHistory, Failure> {
    let record = call.shared.read(move |archive| archive.job(id)).await?;
    record.ok_or_else(|| not_found(format_args!("job {id}")))
}

async fn query(call: Call) -> Answer {
    let names = names(&call)?;
    let since_ms = call.instant_ms("since")?.unwrap_or(i64::MIN);
    let until_ms = call.instant_ms("until")?.unwrap_or(i64::MAX);
    let most = number_of_points("points", call.value("points", POINTS)?)?;
    let mut by_job: BTreeMap<JobId, Vec<usize>> = BTreeMap::new();
    for (place, name) in names.iter().enumerate() {
        by_job.entry(name.job).or_default().push(place);
    }
    let mut items: BTreeMap<usize, Series> = BTreeMap::new();
    for (job, places) in by_job {
        let record = record(&call, job).await?;
        let owner = record.job.owner.uid;
        let quantities: Vec<Quantity> = places
            .iter()
            .filter_map(|place| names.get(*place))
            .map(|name| name.quantity.clone())
            .collect();
        if !quantities
            .iter()
            .all(|quantity| may_see(quantity, call.audience(owner)))
        {
            // Says why, and whom to ask.
            call.permit(Action::ReadJob, Some(owner))?;
        }
        let present = record.job.attempt.as_ref();
        let newest = present.and_then(|it| newest(&call, &record, it.id.attempt));
        let stretch = Stretch {
            job,
            attempt: None,
            since_ms,
            until_ms,
        };
        let lines = call
            .shared
            .read(move |archive| archive.lines(&stretch, &quantities, most, newest))
            .await?;
        for (place, line) in places.into_iter().zip(lines) {
            items.extend(names.get(place).map(|name| (place, series(name, line))));
        }
    }
    let items = items.into_values().collect();
    json(StatusCode::OK, &SeriesData { items })
}

fn names(call: &Call) -> Result<Vec<SeriesName>, Failure> {
    let mut names: Vec<SeriesName> = Vec::new();
    for text in call.values("name") {
        let name = text.parse().map_err(|why| invalid("name", why))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() || names.len() > MOST_SERIES {
        let why = format_args!("name 1 to {MOST_SERIES} series, as in name=job/42/percent");
        return Err(invalid("name", why));
    }
    Ok(names)
}

fn series(name: &SeriesName, line: Line) -> Series {
    let points = line.into_points().into_iter();
    Series {
        name: name.to_string(),
        unit: name.quantity.unit().map(str::to_owned),
        points: points
            .map(|(at_ms, spread)| series_point(at_ms, &spread))
            .collect(),
    }
}
