//! Groups as clients see them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A named queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// How many of its jobs may hold a place at once.
    pub parallelism: u32,
    /// Whether it starts nothing new.
    pub paused: bool,
    /// Jobs that hold a place.
    pub active: u64,
    /// Jobs that wait.
    pub waiting: u64,
}

/// Answer of `GET /v1/groups`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupList {
    /// The groups, by name.
    pub items: Vec<GroupView>,
}
