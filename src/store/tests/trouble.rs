//! Trouble: killed, full, read-only, damaged.
