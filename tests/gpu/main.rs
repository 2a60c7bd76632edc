//! GPUs without a GPU: the real sources, in the real process that looks, on a fake driver.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod eyes;
#[path = "../fake-nvml/mod.rs"]
mod fake_nvml;
mod lives;
mod nvml;
mod others;
mod sleep;
mod traffic;
#[path = "../fixtures/gpu/trees.rs"]
mod trees;
