//! Observers of progress: text adapters, progress.json, sd_notify datagrams and open files turned into observations.
//!
//! They say what they saw and nothing more: which source to believe is decided in `model::progress`.

pub mod adapters;
pub mod file;
pub mod notify;
pub mod open_files;
pub mod text;

mod number;
