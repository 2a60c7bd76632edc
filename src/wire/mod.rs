//! The public contracts: the JSON of the socket API (v1) and the frames between daemon and shim.
//!
//! Additive only: a field is never renamed, removed or given another meaning. `wire` is not `model`:
//! [`convert`] is the only place where one becomes the other, so the inside may change freely.

pub mod archive;
pub mod comparison;
pub mod convert;
pub mod error;
pub mod event;
pub mod flow;
pub mod group;
pub mod host;
pub mod job;
pub mod limits;
pub mod log;
pub mod measured;
pub mod message;
pub mod progress;
pub mod request;
pub mod series;
pub mod service;
pub mod shim;
pub mod usage;
pub mod values;
pub mod words;
