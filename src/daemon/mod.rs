//! Composition root of the daemon: settings, adapters, doors, drain.
