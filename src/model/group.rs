//! A named queue with a parallelism limit, and what keeps jobs from starting.

use serde::{Deserialize, Serialize};

/// Name of the group that always exists.
pub const DEFAULT_GROUP: &str = "default";

/// Whether a group may be called so. A name is part of a path of the API, and is shown to people.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let harmless = |c: char| !c.is_control() && c != '/';
    !name.is_empty() && name.chars().count() <= 128 && name.chars().all(harmless)
}

/// A named queue with a parallelism limit; can be paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// How many of its jobs may hold a place at once; 0 starts none.
    pub parallelism: u32,
    /// Whether it starts nothing new; what runs goes on.
    pub paused: bool,
}

/// What decides which waiting jobs may start at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// Every group.
    pub groups: Vec<Group>,
    /// Whether the host is drained: nothing new starts, whatever its group; what runs goes on.
    pub draining: bool,
}

impl Gates {
    /// The group called `name`.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }
}
