//! The messages of an event stream. In server-sent events `event:` is [`StreamMessage::kind`], and `data:` the JSON.

use crate::wire::values::Cursor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that happened. Lifecycle events carry `seq`; telemetry (progress, log) does not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
    /// When.
    pub time: jiff::Timestamp,
    /// Where it belongs: `job/42/state`, `job/42/progress`, …
    pub channel: String,
    /// What it is: `state`, the name of a final state (`completed`, `failed`, `cancelled`, `timed_out`,
    /// `skipped`, `lost`), `edited`, `removed`, `progress`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Its number, where it is a lifecycle event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// How many older values of this channel were left out because the client was slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coalesced: Option<u64>,
    /// Fields of its type: those of `ProgressMessage` where it is `progress`.
    pub body: serde_json::Value,
}

/// First message of every stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    /// Identity of the database.
    pub epoch: String,
    /// The newest event.
    pub head: u64,
    /// The oldest event that can be replayed.
    pub oldest: u64,
    /// After how much silence a heartbeat comes, milliseconds.
    pub heartbeat_ms: u64,
    /// Version of the daemon.
    pub version: String,
}

/// Events were lost to this client: it must list again, and go on from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// First event it did not get.
    pub from: u64,
    /// Last event it did not get.
    pub to: u64,
    /// Why: `slow_consumer`, `trimmed`.
    pub reason: String,
}

/// The daemon goes down; the client may come back after `retry_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bye {
    /// Why, as a stable word: `shutdown`.
    #[serde(default)]
    pub reason: String,
    /// When to come back, milliseconds.
    pub retry_ms: u64,
}

/// Everything that may come out of `GET /v1/events`.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamMessage {
    /// First message.
    Hello(Hello),
    /// An event; `id` is its cursor where it is durable.
    Event(EventView, Option<Cursor>),
    /// The snapshot that was asked for is complete.
    SnapshotEnd,
    /// Nothing that the client asked for, but its cursor may move on.
    Bookmark(Cursor),
    /// Events were lost; last message.
    Gap(Gap),
    /// The one job of this stream is finished and all was sent; last message.
    End,
    /// The daemon goes down; last message.
    Bye(Bye),
}

impl StreamMessage {
    /// The value of `event:`.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Hello(_) => "hello",
            Self::Event(event, _) => &event.kind,
            Self::SnapshotEnd => "snapshot_end",
            Self::Bookmark(_) => "bookmark",
            Self::Gap(_) => "gap",
            Self::End => "end",
            Self::Bye(_) => "bye",
        }
    }
}
