//! Flows: how far jobs are together that were submitted under one name.

use crate::api::Shared;
use crate::api::call::{Call, Param, harmless};
use crate::api::jobs::view;
use crate::api::problem::{Failure, invalid, not_found};
use crate::api::routes::{Answer, Content, Route, schema};
use crate::api::service::json;
use crate::auth::Action;
use crate::model::flow::FlowKey;
use crate::model::id::JobId;
use crate::store::{FlowRecord, JobFilter};
use crate::wire::convert::flow_view;
use crate::wire::error::ProblemKind;
use crate::wire::flow::{FlowList, FlowView};
use crate::wire::values::Cursor;
use axum::http::{Method, StatusCode};

const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

const OWNER: Param = Param {
    name: "owner",
    of_type: "string",
    repeatable: false,
    summary: "A user, by number or name",
};

const LIST: &[Param] = &[
    OWNER,
    Param {
        name: "limit",
        of_type: "integer",
        repeatable: false,
        summary: "Most flows on a page, 1 to 1000; 100 unless given",
    },
    Param {
        name: "cursor",
        of_type: "string",
        repeatable: false,
        summary: "Where the page begins: `next` of the one before",
    },
];

const SHOW: &[Param] = &[
    Param {
        summary: "Whose, by number or name; where several users have a flow of that name, yours unless given",
        ..OWNER
    },
    Param {
        name: "limit",
        of_type: "integer",
        repeatable: false,
        summary: "Most of its jobs, 1 to 1000; 100 unless given",
    },
];

pub(super) fn routes() -> Vec<Route> {
    use ProblemKind as P;
    vec![
        Route::new(Method::GET, "/v1/flows", "list_flows", LIST, list)
            .says("The flows, the one with the newest job first")
            .gives(200, Content::Json(schema::<FlowList>))
            .fails(&[P::InvalidRequest, P::StorageUnavailable]),
        Route::new(Method::GET, "/v1/flows/{name}", "show_flow", SHOW, show)
            .says("One flow with its jobs, newest first")
            .gives(200, Content::Json(schema::<FlowView>))
            .fails(&[P::InvalidRequest, P::NotFound, P::StorageUnavailable]),
    ]
}

fn limit(call: &Call) -> Result<usize, Failure> {
    let wanted = "a number from 1 to 1000";
    let limit = call.value("limit", wanted)?.unwrap_or(DEFAULT_PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(invalid("limit", format_args!("it is not {wanted}")));
    }
    Ok(limit)
}

/// The user that is named, where one is; `Err` holds the name of one who has no jobs.
async fn owner(call: &Call) -> Result<Option<Result<u32, String>>, Failure> {
    let Some(text) = call.text("owner").map(str::to_owned) else {
        return Ok(None);
    };
    if let Ok(uid) = text.parse() {
        return Ok(Some(Ok(uid)));
    }
    let name = text.clone();
    let known = call
        .shared
        .read(move |archive| archive.uid_of(&name))
        .await?;
    Ok(Some(known.ok_or(text)))
}

async fn list(call: Call) -> Answer {
    let limit = limit(&call)?;
    let before = call.value("cursor", "a cursor: use `next` of the page before")?;
    let before = before.map(JobId);
    let uid = match owner(&call).await? {
        None => None,
        // Nobody has this number, so the list is empty: like that of jobs.
        Some(Err(_)) => Some(u32::MAX),
        Some(Ok(uid)) => Some(uid),
    };
    let own = call.subject.uid;
    let uid = match uid {
        _ if call.shared.may(Action::SeeUse, None) => uid,
        None => Some(own),
        Some(uid) if uid == own => Some(own),
        // Of what he may not see there is none.
        Some(_) => Some(u32::MAX),
    };
    let page = call
        .shared
        .read(move |archive| archive.flows(uid, before, limit))
        .await?;
    let items = page.items.into_iter().map(|record| {
        let record = told(&call.shared, record);
        flow_view(&record.key, &record.flow)
    });
    let list = FlowList {
        items: items.collect(),
        next: page.next.map(|id| id.to_string()),
        as_of: Cursor {
            epoch: call.shared.bus.epoch().to_string(),
            seq: page.as_of.0,
        },
    };
    json(StatusCode::OK, &list)
}

/// A flow with the newest word of its running jobs.
fn told(shared: &Shared, record: FlowRecord) -> FlowRecord {
    record.with_progress(|job| shared.bus.latest(&format!("job/{job}/progress")))
}

async fn show(call: Call) -> Answer {
    let limit = limit(&call)?;
    let key = key(&call).await?;
    let filter = JobFilter {
        flow: Some(key.name.to_string()),
        uids: vec![key.uid],
        ..JobFilter::default()
    };
    let wanted = key.clone();
    let found = call
        .shared
        .read(move |archive| {
            let page = archive.jobs(&filter, None, limit)?;
            Ok((archive.flow(&wanted)?, page, archive.gates()?))
        })
        .await?;
    let (Some(record), page, gates) = found else {
        return Err(unknown(&key.name));
    };
    let record = told(&call.shared, record);
    let jobs = page.items.iter().map(|job| view(&call, job, &gates));
    let shown = FlowView {
        jobs: jobs.collect(),
        next: page.next.map(|id| id.to_string()),
        ..flow_view(&record.key, &record.flow)
    };
    json(StatusCode::OK, &shown)
}

fn unknown(name: &str) -> Failure {
    not_found(format_args!("flow \"{}\"", harmless(name)))
}

/// Which flow of that name is meant: the one whose owner is named, else the caller's own, else the only one.
async fn key(call: &Call) -> Result<FlowKey, Failure> {
    let name = call.path("name").to_owned();
    let wanted = name.clone();
    let owners = call
        .shared
        .read(move |archive| archive.flow_owners(&wanted))
        .await?;
    // Of flows that the caller may not see there is none.
    let is_seen = |uid: &u32| call.shared.may(Action::SeeUse, Some(*uid));
    let owners: Vec<u32> = owners.into_iter().filter(is_seen).collect();
    let uid = match owner(call).await? {
        Some(Ok(uid)) => Some(uid),
        // The same as where that user has none of that name: who has jobs at all is not for everybody to know.
        Some(Err(_)) => return Err(unknown(&name)),
        None => None,
    };
    let own = call.subject.uid;
    let uid = match (uid, owners.as_slice()) {
        (Some(uid), owners) => owners.contains(&uid).then_some(uid),
        (None, owners) if owners.contains(&own) => Some(own),
        (None, [one]) => Some(*one),
        (None, []) => None,
        (None, _) => {
            let why = "several users have a flow of that name: say whose, by number or name";
            return Err(invalid("owner", why));
        }
    };
    let uid = uid.ok_or_else(|| unknown(&name))?;
    Ok(FlowKey {
        uid,
        name: name.into(),
    })
}
