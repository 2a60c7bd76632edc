//! The OpenAPI 3.1 document, made from the table of routes and the types of the wire.

use crate::api::call::Param;
use crate::api::routes::{Content, Route, schema, table};
use crate::wire::error::{MEDIA_TYPE, Problem, ProblemKind};
use crate::wire::event::{Bye, EventView, Gap, Hello};
use crate::wire::log::LogPiece;
use crate::wire::message::ProgressMessage;
use crate::wire::service::API_LEVEL;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// What any request may be answered with, whatever its route.
const EVERYWHERE: [ProblemKind; 4] = [
    ProblemKind::InvalidRequest,
    ProblemKind::LimitReached,
    ProblemKind::ShuttingDown,
    ProblemKind::Internal,
];

/// The document.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for route in table() {
        let operation = operation(&route, &mut generator);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    // What stands in streams is in no body, and has schemas all the same.
    for of_stream in [
        schema::<Problem>,
        schema::<Hello>,
        schema::<EventView>,
        schema::<ProgressMessage>,
        schema::<Gap>,
        schema::<Bye>,
        schema::<LogPiece>,
    ] {
        of_stream(&mut generator);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "stoked",
            "version": format!("1.{API_LEVEL}"),
            "description": "Jobs, their output, progress and events, on the daemon's Unix socket. \
                Additive only: fields and routes are added, never renamed or removed.",
        },
        "servers": [{ "url": "http://stoked", "description": "Over the Unix socket; the host name does not matter." }],
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true) },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let in_path = path_names(route.path).map(|name| {
        let of_type = if name == "id" { "integer" } else { "string" };
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": of_type } })
    });
    let in_query = route.query.iter().map(|param| parameter(param, "query"));
    let in_header = route.headers.iter().map(|param| parameter(param, "header"));
    let parameters: Vec<Value> = in_path.chain(in_query).chain(in_header).collect();
    let mut operation = json!({
        "operationId": route.operation,
        "summary": route.summary,
        "responses": responses(route, generator),
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some((body, required)) = route.body {
        operation["requestBody"] = json!({
            "required": required,
            "content": { "application/json": { "schema": body(generator) } },
        });
    }
    operation
}

fn path_names(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn parameter(param: &Param, place: &str) -> Value {
    let one = json!({ "type": param.of_type });
    let schema = if param.repeatable {
        json!({ "type": "array", "items": one })
    } else {
        one
    };
    json!({
        "name": param.name,
        "in": place,
        "required": false,
        "description": param.summary,
        "schema": schema,
    })
}

fn responses(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    let good = match route.content {
        Content::Empty => json!({ "description": "Done." }),
        Content::Json(schema) => json!({
            "description": "Done.",
            "content": { "application/json": { "schema": schema(generator) } },
        }),
        Content::Stream(types, description) => {
            let content: Map<String, Value> = types
                .iter()
                .map(|media_type| ((*media_type).to_owned(), json!({})))
                .collect();
            json!({ "description": description, "content": content })
        }
    };
    responses.insert(route.status.to_string(), good);
    let mut problems: Vec<ProblemKind> = ProblemKind::ALL.into();
    problems.retain(|kind| route.problems.contains(kind) || EVERYWHERE.contains(kind));
    for kind in problems {
        let status = kind.status().to_string();
        let entry = responses.entry(status).or_insert_with(|| {
            let problem = schema::<Problem>(generator);
            json!({
                "description": "",
                "content": { MEDIA_TYPE: { "schema": problem } },
            })
        });
        let known = entry["description"].as_str().unwrap_or_default();
        let separator = if known.is_empty() { "" } else { ", " };
        entry["description"] = format!("{known}{separator}{}", kind.name()).into();
    }
    responses.into()
}
