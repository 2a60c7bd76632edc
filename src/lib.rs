//! The library behind the `stoked` daemon, its per-attempt shim and the `stoke` client.
//!
//! Modules stand in layer order: nouns, decisions, contracts, adapters, doors, composition,
//! client side. `tests/architecture.rs` holds who may import whom.
#![doc = include_str!("ARCHITECTURE.md")]
#![forbid(unsafe_code)]

pub mod model;

pub mod engine;

pub mod wire;

pub mod config;
pub mod contain;
pub mod events;
pub mod logs;
pub mod progress;
pub mod sampling;
pub mod store;

pub mod shim;
pub mod supervise;

pub mod auth;
pub mod control;

pub mod api;

pub mod daemon;
pub mod dbus;

pub mod client;

pub mod cli;
