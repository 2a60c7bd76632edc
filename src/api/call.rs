//! One request, read and checked: who asks, for what, with which parameters and which body.
//! Whatever is not known is refused by name, with what was probably meant.

use crate::api::Shared;
use crate::api::problem::{Failure, internal, invalid, nearest, not_found};
use crate::api::query::Query;
use crate::api::visit::Visit;
use crate::auth::{Action, Subject};
use crate::control::CommandError;
use crate::model::id::JobId;
use crate::wire::convert::Audience;
use crate::wire::error::{Problem, ProblemKind};
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

/// A query parameter of a route: what the document says of it, and what is accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    /// JSON type in the document: `string`, `integer` or `boolean`.
    pub(crate) of_type: &'static str,
    pub(crate) repeatable: bool,
    pub(crate) summary: &'static str,
}

/// One request.
pub(crate) struct Call {
    pub(crate) shared: Visit,
    pub(crate) subject: Arc<Subject>,
    pub(crate) headers: HeaderMap,
    path: Vec<(String, String)>,
    query: Query,
    /// Never locked: it only lets a call be looked at from several places at once, which a body alone does not.
    body: Mutex<Body>,
}

impl Deref for Call {
    type Target = Query;

    fn deref(&self) -> &Query {
        &self.query
    }
}

impl Call {
    pub(crate) async fn read(
        shared: Arc<Shared>,
        request: Request,
        params: &'static [Param],
    ) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        let subject = parts.extensions.get::<Arc<Subject>>().cloned();
        let subject = subject.ok_or_else(|| internal("a request without a subject"))?;
        let path = RawPathParams::from_request_parts(&mut parts, &())
            .await
            .map_err(|error| invalid("path", error))?;
        let path = path
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let query = Query::read(&parts.uri, params)?;
        Ok(Self {
            shared: Visit {
                shared,
                subject: Arc::clone(&subject),
            },
            subject,
            headers: parts.headers,
            path,
            query,
            body: Mutex::new(body),
        })
    }

    /// A part of the path.
    pub(crate) fn path(&self, name: &str) -> &str {
        let found = self.path.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The job that the path names.
    pub(crate) fn job_id(&self) -> Result<JobId, Failure> {
        let text = self.path("id");
        match text.parse::<u64>() {
            // The store counts no further than this.
            Ok(id) if i64::try_from(id).is_ok() => Ok(JobId(id)),
            Ok(_) | Err(_) => Err(not_found(format_args!(
                "job \"{}\": a job is named by its number",
                harmless(text)
            ))),
        }
    }

    /// Refuses what the caller may not do; `owner` is the user of the job it is about.
    pub(crate) fn permit(&self, action: Action, owner: Option<u32>) -> Result<(), Failure> {
        self.shared.permit(action, owner)
    }

    /// How much of a job of `owner` the caller sees.
    pub(crate) fn audience(&self, owner: u32) -> Audience {
        self.shared.audience(owner)
    }

    /// The body, whole, and the place it takes while it is worked on.
    pub(crate) async fn bytes(&mut self) -> Result<Bytes, Failure> {
        let limits = &self.shared.limits;
        let most = limits.body_bytes;
        let announced = self
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|bytes| bytes > most) {
            return Err(too_large(most));
        }
        let _place = self
            .shared
            .ledger
            .body(self.subject.uid, announced.unwrap_or(most))?;
        let body = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        let body = Limited::new(std::mem::take(body), most).collect();
        let body = tokio::time::timeout(limits.body_time, body);
        let received = tokio::select! {
            biased;
            received = body => received,
            () = self.shared.stop.cancelled() => return Err(CommandError::Stopped.into()),
        };
        match received {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(most)),
            Ok(Err(error)) => Err(invalid("body", error)),
            Err(_late) => Err(invalid("body", "it did not come in time")),
        }
    }

    /// The body as JSON; an empty one as what `T` is without anything.
    pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(
        &mut self,
    ) -> Result<T, Failure> {
        let bytes = self.bytes().await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(T::default());
        }
        self.check_type()?;
        parse(&bytes)
    }

    /// The body as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let bytes = self.bytes().await?;
        self.check_type()?;
        parse(&bytes)
    }

    /// Refuses bodies that say that they are something else than JSON.
    pub(crate) fn check_type(&self) -> Result<(), Failure> {
        let Some(given) = self.headers.get(header::CONTENT_TYPE) else {
            return Ok(());
        };
        let given = given.to_str().unwrap_or("unreadable");
        let media = given.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case("application/json") || media.ends_with("+json") {
            return Ok(());
        }
        let why = format!("bodies are JSON, this one says it is {}", harmless(media));
        let Failure(problem) = invalid("Content-Type", why);
        Err(problem
            .hint("send the header Content-Type: application/json")
            .into())
    }
}

/// Text of a client inside our own sentence.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

fn too_large(most: usize) -> Failure {
    Problem::new(
        ProblemKind::TooLarge,
        format!("the body is larger than {most} bytes"),
    )
    .hint("send it in several requests")
    .into()
}

pub(super) fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Failure {
    let name = harmless(name);
    let problem = Problem::new(
        ProblemKind::InvalidRequest,
        format!("unknown {what} \"{name}\""),
    );
    let names: Vec<&str> = known.clone().collect();
    let problem = match nearest(&name, known) {
        Some(near) => problem.hint(format!("did you mean \"{near}\"?")),
        None if names.is_empty() => problem.hint("there is none here"),
        None => problem.hint(format!("known: {}", names.join(", "))),
    };
    if name.is_empty() {
        return problem.into();
    }
    problem.field(name).into()
}

/// Reads JSON; what is wrong is said with its place in the text and in the structure.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let mut text = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let path = error.path().to_string();
        (path, error.into_inner())
    });
    let read = read.and_then(|value| match text.end() {
        Ok(()) => Ok(value),
        Err(error) => Err((".".to_owned(), error)),
    });
    read.map_err(|(path, error)| bad_json(&path, &error))
}

fn bad_json(path: &str, error: &serde_json::Error) -> Failure {
    let full = error.to_string();
    let message = full
        .rsplit_once(" at line ")
        .map_or(&*full, |(text, _)| text);
    let place = format!("line {}, column {}", error.line(), error.column());
    // Where the text is torn, the field it was torn in is by chance.
    let torn = error.is_syntax() || error.is_eof();
    let field = (path != "." && !torn).then(|| path.to_owned());
    if let Some(named) = message.strip_prefix("unknown field `") {
        // The name is the client's and may hold anything, backticks too; what is expected is ours.
        let parts = ["`, expected ", "`, there are "]
            .iter()
            .find_map(|part| named.rsplit_once(part));
        let (name, expected) = parts.unwrap_or((named, ""));
        let known = expected.split('`').skip(1).step_by(2);
        let Failure(problem) = unknown("field", name, known);
        let field = match path.rsplit_once('.') {
            _ if path == "." => name.to_owned(),
            Some((_, last)) if last == name => path.to_owned(),
            None if path == name => path.to_owned(),
            Some(_) | None => format!("{path}.{name}"),
        };
        return problem.detail(place).field(harmless(&field)).into();
    }
    let title = match &field {
        Some(field) => format!("{} is not acceptable", harmless(field)),
        None if !torn => "the body is not acceptable".to_owned(),
        None => "the body is not JSON".to_owned(),
    };
    let message: String = message
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .collect();
    let mut problem = Problem::new(ProblemKind::InvalidRequest, title);
    problem.detail = Some(format!("{message} ({place})"));
    problem.field = field.as_deref().map(harmless);
    problem.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::request::{JobBatch, JobSubmit};

    fn problem<T: DeserializeOwned>(text: &str) -> Problem {
        let Err(Failure(problem)) = parse::<T>(text.as_bytes()) else {
            panic!("{text} was read");
        };
        *problem
    }

    #[test]
    fn wrong_json_is_named_with_its_place() {
        let torn = problem::<JobSubmit>("{\n  \"command\": [\"a\"");
        assert_eq!(torn.title, "the body is not JSON");
        assert!(torn.detail.unwrap().contains("line 2"));

        let unknown = problem::<JobSubmit>("{\"command\": [\"a\"], \"comand\": 1}");
        assert_eq!(unknown.title, "unknown field \"comand\"");
        assert_eq!(unknown.hint.as_deref(), Some("did you mean \"command\"?"));
        assert_eq!(unknown.field.as_deref(), Some("comand"));

        let deep = problem::<JobBatch>(
            "{\"jobs\": [{\"command\": [\"a\"]}, {\"command\": [\"a\"], \"retry\": {\"tries\": 1}}]}",
        );
        assert_eq!(deep.field.as_deref(), Some("jobs[1].retry.tries"));

        let wrong =
            problem::<JobBatch>("{\"jobs\": [{\"command\": [\"a\"], \"priority\": \"high\"}]}");
        assert_eq!(wrong.field.as_deref(), Some("jobs[0].priority"));
        assert!(wrong.detail.unwrap().contains("line 1, column"));

        let missing = problem::<JobSubmit>("{}");
        assert!(missing.detail.unwrap().contains("command"));

        let trailing = problem::<JobSubmit>("{\"command\": [\"a\"]} x");
        assert_eq!(trailing.title, "the body is not JSON");
    }
}
