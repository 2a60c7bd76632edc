//! Progress of an attempt: what its observers saw, merged.

use serde::{Deserialize, Serialize};

/// What one source saw at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {}

/// The merged present state of an attempt's progress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {}

impl Progress {
    /// Merges what a source saw.
    pub fn observe(&mut self, _observation: Observation, _at: crate::model::time::Stamp) -> bool {
        false
    }
}
