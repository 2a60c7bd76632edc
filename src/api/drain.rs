//! Draining: keeping everything from starting, so that the host can be taken down; what runs goes on.

use crate::api::audit;
use crate::api::call::Call;
use crate::api::problem::{Failure, internal};
use crate::api::routes::{Answer, Content, Route, schema};
use crate::api::service::json;
use crate::auth::Action;
use crate::control::command::{Command, Reply};
use crate::store::Reader;
use crate::wire::error::ProblemKind;
use crate::wire::service::{DrainPut, DrainView};
use axum::http::{Method, StatusCode};

pub(super) fn routes() -> Vec<Route> {
    let path = "/v1/drain";
    let gives = || Content::Json(schema::<DrainView>);
    vec![
        Route::new(Method::GET, path, "drain", &[], show)
            .says("Whether the host is drained, and how many jobs still run")
            .gives(200, gives()),
        Route::new(Method::PUT, path, "put_drain", &[], put)
            .says("Keep everything from starting that has not, or let it start again")
            .takes(schema::<DrainPut>)
            .gives(200, gives())
            .fails(&[
                ProblemKind::InvalidRequest,
                ProblemKind::NotPermitted,
                ProblemKind::StorageUnavailable,
            ]),
    ]
}

async fn show(call: Call) -> Answer {
    json(StatusCode::OK, &view(&call).await?)
}

async fn put(mut call: Call) -> Answer {
    let DrainPut { draining } = call.json().await?;
    call.permit(Action::Drain, None)?;
    let was = call.shared.read(Reader::gates).await?.draining;
    let command = Command::Drain { draining };
    let Reply::Draining(_) = call.shared.control.command(command).await? else {
        return Err(internal("a drain was answered with something else"));
    };
    if was != draining {
        let deed = match draining {
            true => "drained the host: nothing new starts",
            false => "let jobs start again",
        };
        audit::of_all(&call.subject, deed);
    }
    json(StatusCode::OK, &view(&call).await?)
}

async fn view(call: &Call) -> Result<DrainView, Failure> {
    let always = call.shared.default_group.clone();
    let (gates, (counts, _)) = call
        .shared
        .read(move |archive| Ok((archive.gates()?, archive.group_counts(&always)?)))
        .await?;
    Ok(DrainView {
        draining: gates.draining,
        active: counts.iter().map(|count| count.active).sum(),
    })
}
