//! The table of routes against its document, and what is said of routes that are not in it.

use super::harness::*;
use crate::api::openapi::document;
use crate::api::routes::table;
use crate::wire::error::ProblemKind;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn the_document_cannot_change_unseen() {
    let text = serde_json::to_string_pretty(&document()).unwrap();
    insta::assert_snapshot!("openapi", text);
}

#[test]
fn the_document_holds_together() {
    let document = document();
    let mut operations = BTreeSet::new();
    for route in table() {
        let operation = &document["paths"][route.path][route.method.as_str().to_ascii_lowercase()];
        assert!(
            operation["summary"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{}",
            route.path
        );
        assert!(
            operations.insert(route.operation),
            "{} is there twice",
            route.operation
        );
    }
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{reference}"
        );
    }
}

fn collect_references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                into.push(reference.clone());
            }
            fields
                .values()
                .for_each(|value| collect_references(value, into));
        }
        Value::Array(items) => items
            .iter()
            .for_each(|value| collect_references(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn every_route_of_the_table_answers() {
    let daemon = Daemon::start();
    for route in table() {
        if route.operation == "events" {
            continue;
        }
        let path = route.path.replace("{id}", "77").replace("{name}", "none");
        let reply = daemon
            .call(route.method.as_str(), &path, Some(json!({})))
            .await;
        let routed = reply.status.is_success() || {
            let problem = reply.problem();
            !problem.is(ProblemKind::UnknownRoute)
                && !problem.is(ProblemKind::MethodNotAllowed)
                && !problem.is(ProblemKind::Internal)
        };
        assert!(routed, "{} {path}: {reply:?}", route.method);
    }
}

#[tokio::test]
async fn other_routes_methods_and_parameters_are_named() {
    let daemon = Daemon::start();
    let problem = daemon.get("/v1/job").await.problem();
    assert!(problem.is(ProblemKind::UnknownRoute));
    assert!(problem.hint.unwrap().contains("/v1/jobs"));
    let reply = daemon.call("PATCH", "/v1/jobs", None).await;
    assert!(reply.problem().is(ProblemKind::MethodNotAllowed));
    assert!(reply.headers["allow"].to_str().unwrap().contains("GET"));
    assert_eq!(reply.headers["stoked-api"], "1");
    let problem = daemon.get("/v1/version?x=1").await.problem();
    assert_eq!(problem.field.as_deref(), Some("x"));
}

#[tokio::test]
async fn the_daemon_says_what_and_how_it_is() {
    let daemon = Daemon::start();
    let version = daemon.get("/v1/version").await.json();
    assert_eq!(version["epoch"], &*daemon.bus.epoch());
    assert_eq!(
        (&version["mode"], &version["api_level"]),
        (&json!("user"), &json!(1))
    );
    let health = daemon.get("/v1/health").await.json();
    assert_eq!(health["health"], "degraded");
    assert_eq!(health["components"].as_array().unwrap().len(), 2);
    assert_eq!(daemon.get("/v1/openapi.json").await.json(), document());
}
