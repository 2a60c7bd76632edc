//! The `stoke` command line.
