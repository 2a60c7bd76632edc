//! Drives the real shim binary with a fake daemon.

mod attempt_dir;
mod contain;
mod daemon;
mod output;
mod start;
