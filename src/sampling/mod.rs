//! Readers of what the host, its processes and its jobs use: everything that opens a file of `/proc` or `/sys`, or of a
//! job's cgroup, to measure. They decide nothing, and never wait for a device.

pub mod files;
pub mod host;
pub mod jobs;
pub mod processes;
pub mod rates;

mod aside;

pub use crate::contain::fields;
