//! Log output as JSON: one [`LogChunk`] a line in `GET /v1/jobs/{id}/logs?format=json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A piece of what an attempt wrote, or a place where output is missing, or the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogChunk {
    /// `stdout` or `stderr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Where it begins in its stream, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// When it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<jiff::Timestamp>,
    /// The bytes, where they are valid UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes in base64, where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// So many bytes were written here, and not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_bytes: Option<u64>,
    /// Where to go on after this: the value of `offset=` in a later request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The attempt has ended, and all it wrote was sent: last line.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end: bool,
}
