//! Errors on the wire: RFC 9457 `application/problem+json` with stable types.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The media type of an error.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What is stable about an error: programs decide by `type`, people read the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Stable name of the kind of error, `stoked:NAME`.
    #[serde(rename = "type")]
    pub kind: String,
    /// HTTP status.
    pub status: u16,
    /// What failed, in one sentence.
    pub title: String,
    /// On what, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The field of the request that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// For `stoked:cursor-gone`: the oldest event that can still be replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// For `stoked:cursor-gone`: the newest event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// When it makes sense to try again, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// The kinds of error, each with its HTTP status. Never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The request is malformed: JSON, a field, a value.
    InvalidRequest,
    /// No such route.
    UnknownRoute,
    /// The route exists, but not with this method.
    MethodNotAllowed,
    /// No such job, group or attempt.
    NotFound,
    /// The caller may not do this.
    NotPermitted,
    /// The job is not in a state that allows it.
    WrongState,
    /// The dependencies form a cycle.
    DependencyCycle,
    /// An idempotency key was used for another request.
    KeyReused,
    /// The cursor is too old or of another database.
    CursorGone,
    /// The request is larger than allowed.
    TooLarge,
    /// The caller is at one of its limits.
    LimitReached,
    /// The store cannot be written now.
    StorageUnavailable,
    /// The daemon is going down.
    ShuttingDown,
    /// A bug: the journal has more.
    Internal,
}

impl ProblemKind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::InvalidRequest,
        Self::UnknownRoute,
        Self::MethodNotAllowed,
        Self::NotFound,
        Self::NotPermitted,
        Self::WrongState,
        Self::DependencyCycle,
        Self::KeyReused,
        Self::CursorGone,
        Self::TooLarge,
        Self::LimitReached,
        Self::StorageUnavailable,
        Self::ShuttingDown,
        Self::Internal,
    ];

    /// The stable `type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "stoked:invalid-request",
            Self::UnknownRoute => "stoked:unknown-route",
            Self::MethodNotAllowed => "stoked:method-not-allowed",
            Self::NotFound => "stoked:not-found",
            Self::NotPermitted => "stoked:not-permitted",
            Self::WrongState => "stoked:wrong-state",
            Self::DependencyCycle => "stoked:dependency-cycle",
            Self::KeyReused => "stoked:key-reused",
            Self::CursorGone => "stoked:cursor-gone",
            Self::TooLarge => "stoked:too-large",
            Self::LimitReached => "stoked:limit-reached",
            Self::StorageUnavailable => "stoked:storage-unavailable",
            Self::ShuttingDown => "stoked:shutting-down",
            Self::Internal => "stoked:internal",
        }
    }

    /// The HTTP status it is sent with.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest | Self::DependencyCycle => 400,
            Self::NotPermitted => 403,
            Self::UnknownRoute | Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::WrongState | Self::KeyReused => 409,
            Self::CursorGone => 410,
            Self::TooLarge => 413,
            Self::LimitReached => 429,
            Self::Internal => 500,
            Self::ShuttingDown => 503,
            Self::StorageUnavailable => 507,
        }
    }
}

impl Problem {
    /// An error of `kind` with what failed in one sentence.
    #[must_use]
    pub fn new(kind: ProblemKind, title: impl Into<String>) -> Self {
        Self {
            kind: kind.name().to_owned(),
            status: kind.status(),
            title: title.into(),
            detail: None,
            hint: None,
            field: None,
            oldest: None,
            head: None,
            retry_after_ms: None,
        }
    }

    /// Adds on what it failed, and why.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the field of the request that is wrong.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Whether it is of `kind`.
    #[must_use]
    pub fn is(&self, kind: ProblemKind) -> bool {
        self.kind == kind.name()
    }
}
