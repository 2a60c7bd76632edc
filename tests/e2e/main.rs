//! The whole with its real binaries: real sockets, real processes, real disks, and things being killed.

mod bad_input;
mod bad_jobs;
mod ends;
mod gate;
mod harness;
mod http;
mod order;
mod outside;
mod progress;
mod reading;
mod restart;
mod storage;
mod storm;
mod stream;
