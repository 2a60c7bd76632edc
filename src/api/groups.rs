//! Groups: list, make, change, remove.

use crate::api::audit;
use crate::api::call::Call;
use crate::api::problem::internal;
use crate::api::routes::{Answer, Content, Route, schema};
use crate::api::service::json;
use crate::api::submit::{Place, group_name};
use crate::auth::Action;
use crate::control::command::{Command, Reply};
use crate::model::group::DEFAULT_GROUP;
use crate::store::Reader;
use crate::wire::convert::group_view;
use crate::wire::error::ProblemKind;
use crate::wire::group::{GroupList, GroupView};
use crate::wire::request::GroupPut;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;

const PROBLEMS: &[ProblemKind] = &[
    ProblemKind::InvalidRequest,
    ProblemKind::NotFound,
    ProblemKind::NotPermitted,
    ProblemKind::WrongState,
    ProblemKind::StorageUnavailable,
];

pub(super) fn routes() -> Vec<Route> {
    let one = "/v1/groups/{name}";
    let gives = || Content::Json(schema::<GroupView>);
    vec![
        Route::new(Method::GET, "/v1/groups", "list_groups", &[], list)
            .says("The groups, with how many jobs run and wait in each")
            .gives(200, Content::Json(schema::<GroupList>)),
        Route::new(Method::PUT, one, "put_group", &[], put)
            .says("Make or change a group")
            .takes(schema::<GroupPut>)
            .gives(200, gives())
            .fails(PROBLEMS),
        Route::new(Method::DELETE, one, "delete_group", &[], remove)
            .says("Remove a group without jobs")
            .gives(204, Content::Empty)
            .fails(PROBLEMS),
        Route::new(
            Method::POST,
            "/v1/groups/{name}/pause",
            "pause_group",
            &[],
            |call| pause(call, true),
        )
        .says("Start nothing new in it")
        .gives(200, gives())
        .fails(PROBLEMS),
        Route::new(
            Method::POST,
            "/v1/groups/{name}/resume",
            "resume_group",
            &[],
            |call| pause(call, false),
        )
        .says("Start jobs again")
        .gives(200, gives())
        .fails(PROBLEMS),
    ]
}

async fn list(call: Call) -> Answer {
    let always = call.shared.default_group.clone();
    let (records, _) = call
        .shared
        .read(move |archive| archive.group_counts(&always))
        .await?;
    let items = records
        .iter()
        .map(|record| group_view(&record.group, record.active, record.waiting))
        .collect();
    json(StatusCode::OK, &GroupList { items })
}

async fn put(mut call: Call) -> Answer {
    let wanted: GroupPut = call.json_or_default().await?;
    group_name(call.path("name"), Place(""))?;
    set(&call, wanted).await
}

async fn pause(call: Call, paused: bool) -> Answer {
    // A verb acts on what is there; only PUT makes a group.
    let name = call.path("name").to_owned();
    let gates = call.shared.read(Reader::gates).await?;
    if name != DEFAULT_GROUP && gates.group(&name).is_none() {
        let name = super::call::harmless(&name);
        return Err(super::problem::not_found(format_args!("group \"{name}\"")));
    }
    let wanted = GroupPut {
        parallelism: None,
        paused: Some(paused),
    };
    set(&call, wanted).await
}

async fn set(call: &Call, wanted: GroupPut) -> Answer {
    call.permit(Action::Administer, None)?;
    let command = Command::SetGroup {
        name: call.path("name").to_owned(),
        parallelism: wanted.parallelism,
        paused: wanted.paused,
    };
    let Reply::Group(group) = call.shared.control.command(command).await? else {
        return Err(internal("a group was answered with something else"));
    };
    audit::of_all(&call.subject, &format!("changed the group {}", group.name));
    let always = call.shared.default_group.clone();
    let (records, _) = call
        .shared
        .read(move |archive| archive.group_counts(&always))
        .await?;
    let known = records
        .iter()
        .find(|record| record.group.name == group.name);
    let (active, waiting) = known.map_or((0, 0), |record| (record.active, record.waiting));
    json(StatusCode::OK, &group_view(&group, active, waiting))
}

async fn remove(call: Call) -> Answer {
    call.permit(Action::Administer, None)?;
    let command = Command::RemoveGroup {
        name: call.path("name").to_owned(),
    };
    let Reply::Removed = call.shared.control.command(command).await? else {
        return Err(internal("a removal was answered with something else"));
    };
    audit::of_all(
        &call.subject,
        &format!("removed the group {}", call.path("name")),
    );
    Ok(StatusCode::NO_CONTENT.into_response())
}
