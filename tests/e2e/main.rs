//! The whole with its real binaries: real sockets, real processes, real disks, and things being killed.

mod gate;
mod harness;
mod http;
mod outside;
mod stream;
