//! The whole with its real binaries: real sockets, real processes, real disks, and things being killed.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and says what it skips and which seed it plays"
)]

mod adapters;
mod archive;
mod away;
mod bad_input;
mod bad_jobs;
mod bar;
mod drain;
mod ends;
mod expiry;
mod exports;
#[path = "../fake-nvml/mod.rs"]
#[expect(dead_code, reason = "tests of the sources look at the calls, too")]
mod fake_nvml;
mod flows;
mod gate;
mod gpu_owners;
mod gpus;
mod harness;
mod heard;
mod http;
mod measured;
mod open_files;
mod order;
mod outside;
mod polling;
mod programs;
mod progress;
mod reading;
mod restart;
mod storage;
mod storm;
mod stream;
mod streams;
mod system;
mod terminal;
mod then;
#[path = "../fixtures/gpu/trees.rs"]
mod trees;
mod usage;
mod watching;
