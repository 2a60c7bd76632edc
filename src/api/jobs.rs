//! Jobs: submit, list, show.

use crate::api::Shared;
use crate::api::call::{Call, Param, harmless, parse};
use crate::api::now_ms;
use crate::api::problem::{Failure, internal, invalid, nearest};
use crate::api::routes::{Answer, Content, Route, schema};
use crate::api::service::json;
use crate::api::submit::{Checked, Place, check, fingerprint};
use crate::api::visit::Visit;
use crate::auth::{Action, Subject};
use crate::control::command::{Command, Draft, Reply, Submission};
use crate::model::change::{Environment, IdempotencyKey};
use crate::model::event::ProgressBody;
use crate::model::group::Gates;
use crate::model::id::{EnvId, JobId};
use crate::model::job::{Job, Owner};
use crate::model::progress::Progress;
use crate::model::spec::StopPolicy;
use crate::model::state::{JobState, StateName};
use crate::store::archive::Month;
use crate::store::{JobFilter, JobHistory};
use crate::wire::convert::{Surroundings, attempt_view, job_view};
use crate::wire::error::{Problem, ProblemKind};
use crate::wire::job::{JobList, JobView, Submitted};
use crate::wire::request::{JobBatch, JobSubmit};
use crate::wire::values::Cursor;
use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use schemars::{Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Bodies larger than this are read on a thread for blocking work: they take milliseconds.
const LARGE_BODY_BYTES: usize = 64 << 10;

const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;
const MAX_KEY_BYTES: usize = 255;

/// So many jobs may be asked for by number.
const MOST_NUMBERS: u64 = 10_000;

const IDEMPOTENCY_KEY: Param = Param {
    name: "Idempotency-Key",
    of_type: "string",
    repeatable: false,
    summary: "Makes a repetition of this request safe: it is answered with the jobs of the first one",
};

const fn text(name: &'static str, summary: &'static str) -> Param {
    Param {
        name,
        of_type: "string",
        repeatable: false,
        summary,
    }
}

const fn several(name: &'static str, summary: &'static str) -> Param {
    Param {
        repeatable: true,
        ..text(name, summary)
    }
}

const LIST: &[Param] = &[
    several("state", "States, or `live` and `final` for all of a sort"),
    several("owner", "Users, by number or name"),
    several("group", "Groups"),
    several("kind", "Kinds"),
    several(
        "label",
        "KEY=VALUE, or KEY for any value; all must be there. Of others they are told to administrators alone",
    ),
    text("flow", "A flow"),
    text("name", "A name, exactly"),
    several("id", "Numbers, and ranges of them such as 5-9"),
    text("since", "Submitted at this time or later (RFC 3339)"),
    text("until", "Submitted before this time (RFC 3339)"),
    Param {
        of_type: "integer",
        ..text("limit", "Most jobs on a page, 1 to 1000; 100 unless given")
    },
    text("cursor", "Where the page begins: `next` of the one before"),
];

pub(super) fn routes() -> Vec<Route> {
    use ProblemKind as P;
    vec![
        Route::new(Method::POST, "/v1/jobs", "submit", &[], submit)
            .says("Submit one job, or several in one transaction")
            .headers(&[IDEMPOTENCY_KEY])
            .takes(submit_schema)
            .gives(201, Content::Json(schema::<Submitted>))
            .fails(&[
                P::InvalidRequest,
                P::NotFound,
                P::NotPermitted,
                P::DependencyCycle,
                P::KeyReused,
                P::TooLarge,
                P::StorageUnavailable,
            ]),
        Route::new(Method::GET, "/v1/jobs", "list_jobs", LIST, list)
            .says("List jobs, newest first")
            .gives(200, Content::Json(schema::<JobList>))
            .fails(&[P::InvalidRequest, P::StorageUnavailable]),
        Route::new(Method::GET, "/v1/jobs/{id}", "show_job", &[], show)
            .says("One job with all its attempts")
            .gives(200, Content::Json(schema::<JobView>))
            .fails(&[P::NotFound, P::StorageUnavailable]),
    ]
}

fn submit_schema(generator: &mut SchemaGenerator) -> Schema {
    let one = generator.subschema_for::<JobSubmit>();
    let several = generator.subschema_for::<JobBatch>();
    schemars::json_schema!({ "oneOf": [one, several] })
}

async fn submit(mut call: Call) -> Answer {
    call.permit(Action::Submit, None)?;
    let key = idempotency_key(&call)?;
    let bytes = call.bytes().await?;
    call.check_type()?;
    let subject = Arc::clone(&call.subject);
    let shared = call.shared.clone();
    let large = bytes.len() > LARGE_BODY_BYTES;
    let read = move || read_submission(&bytes, key, &subject, &shared);
    let submission = if large {
        call.shared.blocking(read).await??
    } else {
        read()?
    };
    let ledger = &call.shared.ledger;
    ledger.submission(call.subject.uid, submission.jobs.len(), Instant::now())?;
    let command = Command::Submit(submission);
    let Reply::Submitted { ids, repeated } = call.shared.control.command(command).await? else {
        return Err(internal("a submission was answered with something else"));
    };
    let ids = ids.into_iter().map(|id| id.0).collect();
    json(StatusCode::CREATED, &Submitted { ids, repeated })
}

fn idempotency_key(call: &Call) -> Result<Option<String>, Failure> {
    let Some(given) = call.headers.get(IDEMPOTENCY_KEY.name) else {
        return Ok(None);
    };
    match given.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= MAX_KEY_BYTES => Ok(Some(key.to_owned())),
        Ok(_) | Err(_) => {
            let why = format!("a key has 1 to {MAX_KEY_BYTES} printable ASCII characters");
            Err(invalid(IDEMPOTENCY_KEY.name, why))
        }
    }
}

/// Just enough of a body to tell one job from several.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow, default)]
    jobs: Option<&'a RawValue>,
}

fn read_submission(
    bytes: &Bytes,
    key: Option<String>,
    subject: &Subject,
    shared: &Visit,
) -> Result<Submission, Failure> {
    let stop_policy = *shared.stop_policy.borrow();
    let most = shared.limits.jobs_per_request;
    let (drafts, environments) = drafts(bytes, subject, stop_policy, most)?;
    if drafts.iter().any(|draft| !draft.spec.limits.is_empty()) {
        can_limit(shared)?;
    }
    Ok(Submission {
        owner: Arc::new(Owner {
            uid: subject.uid,
            gid: subject.gid,
            user: subject.user.to_string(),
        }),
        jobs: drafts,
        environments,
        key: key.map(|key| IdempotencyKey {
            uid: subject.uid,
            key,
            fingerprint: fingerprint(bytes),
        }),
        sees_others: shared.may(Action::SeeJob, None),
    })
}

/// Refuses limits where nobody would keep them.
pub(super) fn can_limit(shared: &Shared) -> Result<(), Failure> {
    shared.health.can_limit().map_err(|why| {
        let why = format!(
            "{why}, which limit nothing: limits take a daemon whose jobs are units of systemd"
        );
        invalid("limits", why)
    })
}

type Drafts = (Vec<Draft>, BTreeMap<EnvId, Arc<Environment>>);

/// The jobs that the body of a submission asks for, at most `most`, as the engine would get them.
///
/// # Errors
/// The problem that the client is told: nothing is submitted.
pub fn check_submission(
    body: &[u8],
    subject: &Subject,
    stop: StopPolicy,
    most: usize,
) -> Result<Vec<Draft>, Box<Problem>> {
    match drafts(body, subject, stop, most) {
        Ok((drafts, _)) => Ok(drafts),
        Err(Failure(problem)) => Err(problem),
    }
}

fn drafts(
    body: &[u8],
    subject: &Subject,
    stop: StopPolicy,
    most: usize,
) -> Result<Drafts, Failure> {
    let several = serde_json::from_slice(body).is_ok_and(|shape: Shape<'_>| shape.jobs.is_some());
    let jobs = if several {
        parse::<JobBatch>(body)?.jobs
    } else {
        vec![parse::<JobSubmit>(body)?]
    };
    if jobs.is_empty() || jobs.len() > most {
        return Err(invalid(
            "jobs",
            format_args!("one request submits 1 to {most} jobs"),
        ));
    }
    check_all(jobs, several, subject, stop)
}

fn check_all(
    jobs: Vec<JobSubmit>,
    several: bool,
    subject: &Subject,
    stop: StopPolicy,
) -> Result<Drafts, Failure> {
    let mut drafts = Vec::with_capacity(jobs.len());
    let mut environments = BTreeMap::new();
    for (index, job) in jobs.into_iter().enumerate() {
        let place = if several {
            format!("jobs[{index}].")
        } else {
            String::new()
        };
        let Checked { draft, environment } = check(job, subject, stop, Place(&place))?;
        if let (Some(id), Some(content)) = (&draft.spec.env, environment) {
            environments
                .entry(id.clone())
                .or_insert_with(|| Arc::new(content));
        }
        drafts.push(draft);
    }
    Ok((drafts, environments))
}

async fn list(call: Call) -> Answer {
    let mut filter = filter(&call)?;
    call.shared.narrow(&mut filter);
    let wanted = "a number from 1 to 1000";
    let limit = call.value("limit", wanted)?.unwrap_or(DEFAULT_PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(invalid("limit", format_args!("it is not {wanted}")));
    }
    let before = call.value("cursor", "a cursor: use `next` of the page before")?;
    let before = before.map(JobId);
    let (page, gates) = call
        .shared
        .read(move |archive| {
            let page = archive.jobs(&filter, before, limit)?;
            let waits = page.items.iter().any(|job| job.state == JobState::Queued);
            let gates = match waits {
                true => archive.gates()?,
                false => Gates::default(),
            };
            Ok((page, gates))
        })
        .await?;
    let next = page.next.map(|id| id.to_string());
    let items = page
        .items
        .iter()
        .map(|job| view(&call, job, &gates))
        .collect();
    let list = JobList {
        items,
        next,
        as_of: Cursor {
            epoch: call.shared.bus.epoch().to_string(),
            seq: page.as_of.0,
        },
        unreadable_months: page.unreadable.iter().map(Month::to_string).collect(),
    };
    json(StatusCode::OK, &list)
}

fn filter(call: &Call) -> Result<JobFilter, Failure> {
    let owned = |name| call.values(name).map(str::to_owned).collect::<Vec<_>>();
    let mut filter = JobFilter {
        groups: owned("group"),
        kinds: owned("kind"),
        flow: call.text("flow").map(str::to_owned),
        name: call.text("name").map(str::to_owned),
        since_ms: call.instant_ms("since")?,
        until_ms: call.instant_ms("until")?,
        ..JobFilter::default()
    };
    for owner in call.values("owner") {
        match owner.parse() {
            Ok(uid) => filter.uids.push(uid),
            Err(_) => filter.users.push(owner.to_owned()),
        }
    }
    for label in call.values("label") {
        let (key, value) = match label.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (label, None),
        };
        filter.labels.push((key.to_owned(), value));
    }
    for name in call.values("state") {
        filter.states.extend(states(name)?);
    }
    for text in call.values("id") {
        numbers(text, filter.ids.get_or_insert_default())?;
    }
    Ok(filter)
}

/// Adds a number, or those from one to another.
fn numbers(text: &str, ids: &mut Vec<JobId>) -> Result<(), Failure> {
    let refuse = |why: &str| {
        let text = harmless(text);
        invalid("id", format_args!("\"{text}\" {why}"))
    };
    let number = |text: &str| text.parse::<u64>().ok();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (Some(first), Some(last)) = (number(first), number(last)) else {
        return Err(refuse("is neither a number nor a range such as 5-9"));
    };
    if first > last {
        return Err(refuse("is an empty range"));
    }
    if last - first >= MOST_NUMBERS.saturating_sub(ids.len() as u64) {
        return Err(refuse(&format!("names more than {MOST_NUMBERS} jobs")));
    }
    ids.extend((first..=last).map(JobId));
    Ok(())
}

fn states(name: &str) -> Result<Vec<StateName>, Failure> {
    let all = StateName::ALL.into_iter();
    match name {
        "live" => Ok(all.filter(|state| !state.is_final()).collect()),
        "final" => Ok(all.filter(|state| state.is_final()).collect()),
        _ => match StateName::parse(name) {
            Some(state) => Ok(vec![state]),
            None => {
                let known = StateName::ALL.map(StateName::as_str);
                let near = nearest(name, known).map_or_else(|| known.join(", "), str::to_owned);
                let why = format!("\"{}\" is not a state; there is {near}", harmless(name));
                Err(invalid("state", why))
            }
        },
    }
}

/// A job as the caller sees it, with its newest progress and the true reason why it waits.
pub(super) fn view(call: &Call, job: &Job, gates: &Gates) -> JobView {
    let goes_on = matches!(job.state, JobState::Running { .. });
    let now_wall_ms = now_ms();
    let progress = newest_progress(&call.shared, job).map(|told| as_of(told, goes_on, now_wall_ms));
    let gauges = call.shared.gauges.newest();
    let attempt = job.attempt.as_ref();
    let around = Surroundings {
        usage: attempt
            .and_then(|it| gauges.jobs.get(&it.id))
            .map(|it| &**it),
        gates: Some(gates),
        progress: progress.as_ref(),
        now_wall_ms,
    };
    job_view(job, call.audience(job.owner.uid), around)
}

/// What the present attempt of a running job said last, and when: the engine knows it before it is stored.
pub(super) fn newest_progress(shared: &Shared, job: &Job) -> Option<(i64, Progress)> {
    if !job.state.holds_place() {
        return None;
    }
    let event = shared.bus.latest(&format!("job/{}/progress", job.id))?;
    let body: ProgressBody = serde_json::from_str(&event.body).ok()?;
    let present = job.attempt.as_ref()?.id.attempt;
    (body.attempt == present).then_some((event.at_ms, body.progress))
}

/// Progress told at a time as it stands at `at_ms`: only of a job that goes on, time has brought the end nearer.
pub(super) fn as_of((told_ms, progress): (i64, Progress), goes_on: bool, at_ms: i64) -> Progress {
    let age_ms = u64::try_from(at_ms.saturating_sub(told_ms)).unwrap_or(0);
    progress.aged(if goes_on { age_ms } else { 0 })
}

async fn show(call: Call) -> Answer {
    let id = call.job_id()?;
    let JobHistory { job, attempts, .. } = call.shared.job(id).await?;
    let sees = call
        .shared
        .may(Action::ReadEnvironment, Some(job.owner.uid));
    let env = job.spec.env.clone().filter(|_| sees);
    let read = call.shared.read(move |archive| {
        let names = env.map(|env| archive.environment_names(&env)).transpose()?;
        Ok((names.flatten().unwrap_or_default(), archive.gates()?))
    });
    let (names, gates) = read.await?;
    let mut shown = view(&call, &job, &gates);
    let audience = call.audience(job.owner.uid);
    shown.env_names = names;
    shown.attempts = attempts
        .iter()
        .map(|attempt| attempt_view(attempt, audience))
        .collect();
    json(StatusCode::OK, &shown)
}
