//! Series: which there are, and their points: of jobs how they got on and what they measured themselves, and of
//! everything what was measured from outside.

use crate::api::call::{Call, Param};
use crate::api::jobs::newest_progress;
use crate::api::problem::{Failure, invalid};
use crate::api::progress::{POINTS, SINCE, UNTIL, newest, number_of_points};
use crate::api::routes::{Answer, Content, Route, schema};
use crate::api::service::json;
use crate::auth::Action;
use crate::model::attempt::Attempt;
use crate::model::curve::{Line, Quantity};
use crate::model::entity::{Entity, SeriesKey};
use crate::model::id::{AttemptId, JobId};
use crate::model::metric::Metric;
use crate::store::{Range, Reader, SamplePoint, Stretch};
use crate::wire::convert::{Audience, series_point, timestamp};
use crate::wire::error::ProblemKind;
use crate::wire::series::{Series, SeriesData, SeriesInfo, SeriesList, SeriesPoint};
use axum::http::{Method, StatusCode};
use name::{Of, SeriesName, Target, Wanted};
use std::collections::{BTreeMap, BTreeSet};

mod name;

/// Of what lives for ever, so much is shown unless more is asked for.
const LATELY_MS: i64 = 3_600_000;

/// What is asked of every series of a request.
struct Asked {
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    most: usize,
    percentiles: bool,
}

/// Most series of one request.
const MOST_SERIES: usize = 50;

const LIST: &[Param] = &[
    Param {
        name: "entity",
        of_type: "string",
        repeatable: false,
        summary: "What they are of: host (with its devices), gpu/0, job/42 or job/42.1; everything measured lately unless given",
    },
    Param {
        name: "job",
        of_type: "integer",
        repeatable: false,
        summary: "The same as entity=job/ID",
    },
    SINCE,
    UNTIL,
];

const QUERY: &[Param] = &[
    Param {
        name: "name",
        of_type: "string",
        repeatable: true,
        summary: "Names of series, as in host/cpu.percent, gpu/0/power.watts, job/42/metric.loss; at most 50",
    },
    SINCE,
    UNTIL,
    Param {
        name: "points",
        of_type: "integer",
        repeatable: false,
        summary: "Most points of each, 1 to 10000; 1000 unless given",
    },
    Param {
        name: "percentiles",
        of_type: "boolean",
        repeatable: false,
        summary: "Also p50, p95 and p99 of each point, of what was measured from outside",
    },
];

pub(super) fn routes() -> Vec<Route> {
    use ProblemKind as P;
    vec![
        Route::new(Method::GET, "/v1/series", "list_series", LIST, list)
            .says("Which series there are")
            .gives(200, Content::Json(schema::<SeriesList>))
            .fails(&[P::InvalidRequest, P::NotFound, P::NotPermitted]),
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

async fn list(call: Call) -> Answer {
    let job = call.value("job", "the number of a job")?.map(JobId);
    let text = job.map_or_else(
        || call.text("entity").map(str::to_owned),
        |job| Some(format!("job/{job}")),
    );
    let wanted = match &text {
        Some(text) => Some(Wanted::read(text, &call.shared.gauges.newest())?),
        None => None,
    };
    let mut items = Vec::new();
    if let Some(Wanted::Job(id)) = wanted {
        items.extend(own_series(&call, id).await?);
    }
    let (since_ms, until_ms) = span(&call)?;
    let until_ms = until_ms.unwrap_or(i64::MAX);
    let lately = crate::api::now_ms() - LATELY_MS;
    let since_ms = since_ms.unwrap_or(if wanted.is_some() { i64::MIN } else { lately });
    let samples = call.shared.samples.clone();
    let read = move || {
        let is_wanted = |entity: &Entity| wanted.as_ref().is_none_or(|it| it.covers(entity));
        samples.series(&is_wanted, since_ms, until_ms)
    };
    let mut measured = call.shared.blocking(read).await??;
    let attempts = measured.keys().filter_map(|key| key.entity.attempt());
    let attempts: BTreeSet<AttemptId> = attempts.collect();
    if !call.shared.may(Action::SeeUse, None) {
        let jobs = attempts.iter().map(|attempt| attempt.job);
        let seen = call.shared.seen_in_use(jobs.collect()).await?;
        let is_seen = |attempt: AttemptId| seen.contains(&attempt.job);
        measured.retain(|key, _| key.entity.attempt().is_none_or(is_seen));
    }
    let lives = lives(&call, attempts).await?;
    items.extend(measured.into_iter().map(|(key, kept)| {
        // How long something is kept is known by the hour only; an attempt has no samples beyond its life.
        let life = key.entity.attempt().and_then(|attempt| lives.get(&attempt));
        let (first_ms, last_ms) = life.copied().unwrap_or((i64::MIN, i64::MAX));
        let last_ms = last_ms.min(crate::api::now_ms());
        SeriesInfo {
            name: key.to_string(),
            unit: Some(key.metric.definition().unit.as_str().to_owned()),
            first: Some(timestamp(
                kept.first_ms.clamp(first_ms, last_ms.max(first_ms)),
            )),
            last: Some(timestamp(kept.last_ms.min(last_ms))),
        }
    }));
    json(StatusCode::OK, &SeriesList { items })
}

/// The time that is asked about.
fn span(call: &Call) -> Result<(Option<i64>, Option<i64>), Failure> {
    let since_ms = call.instant_ms("since")?;
    let until_ms = call.instant_ms("until")?;
    if since_ms > until_ms && until_ms.is_some() {
        return Err(invalid("until", format_args!("it is before since")));
    }
    Ok((since_ms, until_ms))
}

/// From when to when attempts lived, as far as they are known.
async fn lives(
    call: &Call,
    attempts: BTreeSet<AttemptId>,
) -> Result<BTreeMap<AttemptId, (i64, i64)>, Failure> {
    let jobs: BTreeSet<JobId> = attempts.iter().map(|attempt| attempt.job).collect();
    let read = move |archive: &Reader| {
        let mut lives = BTreeMap::new();
        for job in jobs {
            let record = archive.job(job)?;
            for attempt in record.iter().flat_map(|record| &record.attempts) {
                let last_ms = attempt.ended.map_or(i64::MAX, |at| at.wall_ms);
                lives.insert(attempt.id, (attempt.claimed.wall_ms, last_ms));
            }
        }
        Ok(lives)
    };
    call.shared.read(read).await
}

/// What a job tells of itself.
async fn own_series(call: &Call, id: JobId) -> Result<Vec<SeriesInfo>, Failure> {
    let record = call.shared.job(id).await?;
    call.permit(Action::SeeUse, Some(record.job.owner.uid))?;
    let audience = call.audience(record.job.owner.uid);
    let newest = newest_progress(&call.shared, &record.job);
    let present = record.job.attempt.as_ref().map(|attempt| attempt.id);
    let mut spans: BTreeMap<Quantity, (i64, i64)> = BTreeMap::new();
    for attempt in &record.attempts {
        let newest = newest.as_ref().filter(|_| present == Some(attempt.id));
        let newest = newest.map(|(_, progress)| progress);
        let Some(progress) = newest.or(attempt.progress.as_deref()) else {
            continue;
        };
        let first_ms = attempt.claimed.wall_ms;
        let last_ms = progress.updated_at_ms.unwrap_or(first_ms).max(first_ms);
        for quantity in Quantity::all_of(progress) {
            let span = spans.entry(quantity).or_insert((first_ms, last_ms));
            *span = (span.0.min(first_ms), span.1.max(last_ms));
        }
    }
    let spans = spans.into_iter();
    let seen = spans.filter(|(quantity, _)| may_see(quantity, audience));
    let items = seen.map(|(quantity, (first_ms, last_ms))| SeriesInfo {
        unit: quantity.unit().map(str::to_owned),
        name: format!("job/{id}/{quantity}"),
        first: Some(timestamp(first_ms)),
        last: Some(timestamp(last_ms)),
    });
    Ok(items.collect())
}

/// What a job measures itself is its owner's alone, as in the job itself.
fn may_see(quantity: &Quantity, audience: Audience) -> bool {
    audience == Audience::Owner || !matches!(quantity, Quantity::Metric(_))
}

async fn query(call: Call) -> Answer {
    let names = names(&call)?;
    let (since_ms, until_ms) = span(&call)?;
    let most = number_of_points("points", call.value("points", POINTS)?)?;
    let asked = Asked {
        since_ms,
        until_ms,
        most,
        percentiles: call.switch("percentiles")?,
    };
    let mut own: BTreeMap<JobId, Vec<usize>> = BTreeMap::new();
    let mut items: BTreeMap<usize, Series> = BTreeMap::new();
    for (place, name) in names.iter().enumerate() {
        match &name.of {
            Of::Own(job, _) => own.entry(*job).or_default().push(place),
            Of::Measured(target, metric) => {
                let series = measured(&call, &asked, name, target, *metric).await?;
                items.insert(place, series);
            }
        }
    }
    for (job, places) in own {
        let wanted: Vec<(usize, &SeriesName, Quantity)> = places
            .into_iter()
            .filter_map(|place| {
                let name = names.get(place)?;
                let Of::Own(_, quantity) = &name.of else {
                    return None;
                };
                Some((place, name, quantity.clone()))
            })
            .collect();
        let lines = own_lines(&call, &asked, job, &wanted).await?;
        for ((place, name, quantity), line) in wanted.into_iter().zip(lines) {
            items.insert(place, own_line(name, &quantity, line));
        }
    }
    let items = items.into_values().collect();
    json(StatusCode::OK, &SeriesData { items })
}

async fn own_lines(
    call: &Call,
    asked: &Asked,
    job: JobId,
    wanted: &[(usize, &SeriesName, Quantity)],
) -> Result<Vec<Line>, Failure> {
    let record = call.shared.job(job).await?;
    let owner = record.job.owner.uid;
    call.permit(Action::SeeUse, Some(owner))?;
    let quantities: Vec<Quantity> = wanted.iter().map(|(_, _, it)| it.clone()).collect();
    let audience = call.audience(owner);
    if !quantities.iter().all(|it| may_see(it, audience)) {
        // Says why, and whom to ask.
        call.permit(Action::ReadJob, Some(owner))?;
    }
    let present = record.job.attempt.as_ref();
    let newest = present.and_then(|it| newest(call, &record, it.id.attempt));
    let stretch = Stretch {
        job,
        attempt: None,
        since_ms: asked.since_ms.unwrap_or(i64::MIN),
        until_ms: asked.until_ms.unwrap_or(i64::MAX),
    };
    let most = asked.most;
    let read = move |archive: &Reader| archive.lines(&stretch, &quantities, most, newest);
    call.shared.read(read).await
}

/// A series of what was measured from outside.
async fn measured(
    call: &Call,
    asked: &Asked,
    name: &SeriesName,
    target: &Target,
    metric: Metric,
) -> Result<Series, Failure> {
    let now_ms = crate::api::now_ms();
    let (entities, lived) = match target {
        Target::One(entity) => match entity.attempt() {
            Some(attempt) if !is_seen(call, attempt.job).await? => (Vec::new(), None),
            Some(_) | None => (vec![entity.clone()], None),
        },
        Target::Job(job, gpu) => {
            let record = call.shared.job(*job).await?;
            call.permit(Action::SeeUse, Some(record.job.owner.uid))?;
            let entities = record.attempts.iter().map(|attempt| match gpu {
                None => Entity::Job(attempt.id),
                Some(uuid) => Entity::JobGpu(attempt.id, uuid.clone()),
            });
            (entities.collect(), lived(&record.attempts, now_ms))
        }
    };
    // Of what lives for ever, the last hour; of a job, its life.
    let (first_ms, last_ms) = lived.unwrap_or((now_ms - LATELY_MS, now_ms));
    let range = Range {
        since_ms: asked.since_ms.unwrap_or(first_ms),
        until_ms: asked.until_ms.unwrap_or(last_ms),
        most: asked.most,
        percentiles: asked.percentiles,
    };
    let keys: Vec<SeriesKey> = entities
        .into_iter()
        .map(|entity| SeriesKey { entity, metric })
        .collect();
    let samples = call.shared.samples.clone();
    let lines = call
        .shared
        .blocking(move || samples.query(&keys, range))
        .await??;
    let mut points: Vec<_> = lines.into_iter().flatten().collect();
    points.sort_by_key(|point| point.at_ms);
    Ok(Series {
        name: name.text.clone(),
        unit: Some(metric.definition().unit.as_str().to_owned()),
        points: points.iter().map(sample_point).collect(),
    })
}

/// Whether what a job uses is shown to the caller; samples of jobs that are gone are to whom all is shown.
///
/// # Errors
/// The caller may know of the job, but not of this.
async fn is_seen(call: &Call, job: JobId) -> Result<bool, Failure> {
    if call.shared.may(Action::SeeUse, None) {
        return Ok(true);
    }
    let known = call.shared.read(move |archive| archive.owner(job)).await?;
    let Some(owner) = known.filter(|owner| call.shared.may(Action::SeeJob, Some(*owner))) else {
        return Ok(false);
    };
    call.permit(Action::SeeUse, Some(owner))?;
    Ok(true)
}

/// From the first start of a job to its last end.
fn lived(attempts: &[Attempt], now_ms: i64) -> Option<(i64, i64)> {
    let first_ms = attempts.iter().map(|it| it.claimed.wall_ms).min()?;
    let ends = attempts.iter();
    let last_ms = ends
        .map(|it| it.ended.map_or(now_ms, |at| at.wall_ms))
        .max()?;
    Some((first_ms, last_ms.max(first_ms)))
}

fn sample_point(point: &SamplePoint) -> SeriesPoint {
    let spread = &point.spread;
    let quantile = |part| {
        let value = point.sketch.as_ref()?.quantile(part)?;
        // A sketch is near, and never beyond what was seen.
        Some(value.clamp(spread.min, spread.max))
    };
    SeriesPoint {
        p50: quantile(0.5),
        p95: quantile(0.95),
        p99: quantile(0.99),
        ..series_point(point.at_ms, spread)
    }
}

fn names(call: &Call) -> Result<Vec<SeriesName>, Failure> {
    let newest = call.shared.gauges.newest();
    let mut names: Vec<SeriesName> = Vec::new();
    for text in call.values("name") {
        let name = SeriesName::read(text, &newest)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() || names.len() > MOST_SERIES {
        let why = format_args!("name 1 to {MOST_SERIES} series, as in name=host/cpu.percent");
        return Err(invalid("name", why));
    }
    Ok(names)
}

fn own_line(name: &SeriesName, quantity: &Quantity, line: Line) -> Series {
    let points = line.into_points().into_iter();
    Series {
        name: name.text.clone(),
        unit: quantity.unit().map(str::to_owned),
        points: points
            .map(|(at_ms, spread)| series_point(at_ms, &spread))
            .collect(),
    }
}
