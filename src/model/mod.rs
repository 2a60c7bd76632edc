//! The nouns of stoked and the rules of one noun: no I/O, no clock, no async.
//!
//! Time is always an argument ([`time::Stamp`]); nothing here reads a clock, a file or a random number.

pub mod access;
pub mod attempt;
pub mod attribution;
pub mod cadence;
pub mod change;
pub mod comparison;
pub mod curve;
pub mod entity;
pub mod eta;
pub mod event;
pub mod failure;
pub mod flow;
pub mod gpu;
pub mod group;
pub mod id;
pub mod job;
pub mod limits;
pub mod metric;
pub mod peak;
pub mod phases;
pub mod progress;
pub mod retry;
pub mod sample;
pub mod sketch;
pub mod spec;
pub mod state;
pub mod tally;
pub mod time;
pub mod transition;
pub mod xid;
