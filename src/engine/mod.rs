//! The pure state machine that decides everything: `handle(now, input) -> Step`.
