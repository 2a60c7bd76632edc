//! What the daemon says about itself: version, health, and whether it starts anything.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the API: raised by one with every addition.
pub const API_LEVEL: u32 = 1;

/// Answer of `GET /v1/version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionView {
    /// Version of the daemon.
    pub version: String,
    /// Version of the API: raised by one with every addition.
    pub api_level: u32,
    /// Identity of its database: the first half of every cursor.
    pub epoch: String,
    /// `user` or `system`.
    pub mode: String,
    /// Process id of the daemon.
    pub pid: u32,
}

/// How well a part of the daemon is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// All is well.
    Healthy,
    /// It works, but not as it should.
    Degraded,
    /// It does not work.
    Unhealthy,
}

/// One part of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComponentView {
    /// Its name: `store`, `engine`, `supervision`, `bus`, …
    pub name: String,
    /// How well it is.
    pub health: Health,
    /// What is wrong and what to do, where something is; else what is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Answer of `GET /v1/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthView {
    /// The worst of its components.
    pub health: Health,
    /// The components.
    pub components: Vec<ComponentView>,
}

/// Whether the host is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrainView {
    /// Whether nothing new starts; what runs goes on.
    pub draining: bool,
    /// Jobs that hold a place still.
    pub active: u64,
}

/// Body of `PUT /v1/drain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainPut {
    /// Whether nothing new shall start.
    pub draining: bool,
}
