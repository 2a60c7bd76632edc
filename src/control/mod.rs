//! The only way into the engine: one task owns it, commits each step, publishes, then acts.
