//! Drives the real shim binary with a fake daemon.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test stops at what it did not expect, waits for one frame among many, and says what it skips"
)]

mod attempt_dir;
mod contain;
mod daemon;
mod output;
mod session;
mod start;
mod usage;
