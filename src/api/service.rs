//! What the daemon says about itself: version, health, and the document of this API.

use crate::api::call::Call;
use crate::api::openapi;
use crate::api::routes::{Answer, Content, Route, schema};
use crate::wire::service::{API_LEVEL, ComponentView, Health, HealthView, VersionView};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;

/// An answer in JSON.
pub(super) fn json<T: Serialize>(status: StatusCode, body: &T) -> Answer {
    let body = serde_json::to_vec(body).map_err(super::problem::internal)?;
    Ok(with_type(status, "application/json", body))
}

pub(super) fn with_type(
    status: StatusCode,
    media_type: &'static str,
    body: impl IntoResponse,
) -> Response {
    let mut response = (status, body).into_response();
    let media_type = HeaderValue::from_static(media_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    response
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v1/version", "version", &[], version)
            .says("Versions of the daemon and of this API, and the identity of its database")
            .gives(200, Content::Json(schema::<VersionView>)),
        Route::new(Method::GET, "/v1/health", "health", &[], health)
            .says("How well each part of the daemon is")
            .gives(200, Content::Json(schema::<HealthView>)),
        Route::new(Method::GET, "/v1/openapi.json", "openapi", &[], document)
            .says("This document")
            .gives(
                200,
                Content::Stream(&["application/json"], "An OpenAPI 3.1 document."),
            ),
    ]
}

async fn version(call: Call) -> Answer {
    let view = VersionView {
        version: call.shared.version.clone(),
        api_level: API_LEVEL,
        epoch: call.shared.bus.epoch().to_string(),
        mode: call.shared.policy.mode.as_str().to_owned(),
        pid: std::process::id(),
    };
    json(StatusCode::OK, &view)
}

async fn health(call: Call) -> Answer {
    let source = Arc::clone(&call.shared.health);
    let mut components = call.shared.blocking(move || source.components()).await?;
    let (connections, streams) = call.shared.ledger.in_use();
    components.push(ComponentView {
        name: "api".to_owned(),
        health: Health::Healthy,
        message: Some(format!(
            "{connections} connections, {streams} event streams"
        )),
    });
    let worst = components.iter().map(|component| component.health).max();
    let view = HealthView {
        health: worst.unwrap_or(Health::Healthy),
        components,
    };
    json(StatusCode::OK, &view)
}

async fn document(_call: Call) -> Answer {
    json(StatusCode::OK, &openapi::document())
}
