//! The daemon's side of supervision: launches shims, adopts them after a restart, talks to them.
