//! The only time the core sees: always passed in, never read here.

use serde::{Deserialize, Serialize};

/// One instant on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// Milliseconds since the Unix epoch: for people, may jump.
    pub wall_ms: i64,
    /// Milliseconds since boot: for durations, never jumps.
    pub boot_ms: u64,
}
