//! The nouns of stoked and the rules of one noun: no I/O, no clock, no async.

pub mod eta;
pub mod progress;
pub mod time;
