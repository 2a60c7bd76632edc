//! The one table of routes. The router and the OpenAPI document are both made from it, so neither
//! can have a route, a parameter or a body that the other does not.

use crate::api::Shared;
use crate::api::call::{Call, Param};
use crate::api::problem::{Failure, nearest};
use crate::api::{
    archive, compare, drain, events, flows, groups, jobs, logs, metrics, operations, phases,
    progress, series, service, verbs,
};
use crate::wire::error::{Problem, ProblemKind};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

/// What a handler gives.
pub(super) type Answer = Result<Response, Failure>;

/// Makes the schema of a body.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The body of a successful answer.
#[derive(Clone, Copy)]
pub(super) enum Content {
    /// Nothing.
    Empty,
    /// JSON of a type.
    Json(SchemaOf),
    /// Any of these media types; what they hold is in the description.
    Stream(&'static [&'static str], &'static str),
}

/// One route.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// Stable name of the operation, for generated clients.
    pub(super) operation: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: &'static [Param],
    pub(super) headers: &'static [Param],
    /// Schema of the body, and whether it may be absent.
    pub(super) body: Option<(SchemaOf, bool)>,
    pub(super) status: u16,
    pub(super) content: Content,
    pub(super) problems: &'static [ProblemKind],
    pub(super) handler: MethodRouter<Arc<Shared>>,
}

/// The schema of `T`.
pub(super) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Route {
    /// A route without parameters or body that answers 200 with nothing.
    pub(super) fn new<H, F>(
        method: Method,
        path: &'static str,
        operation: &'static str,
        query: &'static [Param],
        handler: H,
    ) -> Self
    where
        H: Fn(Call) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let filter = match method {
            Method::POST => MethodFilter::POST,
            Method::PUT => MethodFilter::PUT,
            Method::DELETE => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        };
        let endpoint = move |State(shared): State<Arc<Shared>>, request: Request| {
            let handler = handler.clone();
            async move {
                let call = Call::read(shared, request, query).await?;
                handler(call).await
            }
        };
        Self {
            method,
            path,
            operation,
            summary: "",
            query,
            headers: &[],
            body: None,
            status: 200,
            content: Content::Empty,
            problems: &[],
            handler: on(filter, endpoint),
        }
    }

    pub(super) fn says(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    pub(super) fn headers(mut self, headers: &'static [Param]) -> Self {
        self.headers = headers;
        self
    }

    pub(super) fn takes(mut self, body: SchemaOf) -> Self {
        self.body = Some((body, true));
        self
    }

    pub(super) fn may_take(mut self, body: SchemaOf) -> Self {
        self.body = Some((body, false));
        self
    }

    pub(super) fn gives(mut self, status: u16, content: Content) -> Self {
        self.status = status;
        self.content = content;
        self
    }

    pub(super) fn fails(mut self, problems: &'static [ProblemKind]) -> Self {
        self.problems = problems;
        self
    }
}

/// Every route, in the order of the document.
pub(super) fn table() -> Vec<Route> {
    let mut table = service::routes();
    table.extend(jobs::routes());
    table.extend(verbs::routes());
    table.extend(logs::routes());
    table.extend(progress::routes());
    table.extend(series::routes());
    table.extend(flows::routes());
    table.extend(groups::routes());
    table.extend(drain::routes());
    table.extend(operations::routes());
    table.extend(metrics::routes());
    table.extend(compare::routes());
    table.extend(phases::routes());
    table.extend(archive::routes());
    table.extend(events::routes());
    table
}

/// The router of the table.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in table() {
        router = router.route(route.path, route.handler);
    }
    router
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(shared)
}

async fn unknown_route(request: Request) -> Response {
    let path = request.uri().path();
    let title = format!("there is no route {}", super::call::harmless(path));
    let problem = Problem::new(ProblemKind::UnknownRoute, title);
    let known: BTreeSet<&str> = table().iter().map(|route| route.path).collect();
    let hint = match nearest(path, known) {
        Some(near) => format!("did you mean {near}? GET /v1/openapi.json lists them all"),
        None => "GET /v1/openapi.json lists them all".to_owned(),
    };
    Failure::from(problem.hint(hint)).into_response()
}

async fn wrong_method(request: Request) -> Response {
    let title = format!(
        "{} is not a method of {}",
        request.method(),
        super::call::harmless(request.uri().path())
    );
    let problem = Problem::new(ProblemKind::MethodNotAllowed, title);
    Failure::from(problem.hint("the header Allow names those there are")).into_response()
}
