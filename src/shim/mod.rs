//! The per-attempt parent process: synchronous, small, outlives the daemon.
