//! Output of a job, piece by piece: what `GET /v1/jobs/{id}/logs?format=json` sends, one JSON object per line.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The media type of lines of JSON.
pub const NDJSON: &str = "application/x-ndjson";

/// The header of an answer that is followed which says after how much silence a sign of life comes, milliseconds.
pub const HEARTBEAT_HEADER: &str = "stoked-heartbeat-ms";

/// A piece of output, a loss, or the end. Exactly one of `text`, `base64`, `gap_bytes` and `end` is present.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogPiece {
    /// The attempt that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// `stdout` or `stderr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Its place in that stream, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// When it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<jiff::Timestamp>,
    /// What was written, where it is UTF-8. A piece ends anywhere, not only after a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What was written, where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// So many bytes were written and not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_bytes: Option<u64>,
    /// Nothing follows: everything was sent, and where it was followed, the job has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end: bool,
    /// Where to go on after this piece, for `offset=`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
