//! The pure state machine that decides everything: `handle(now, input) -> Step`.

pub mod command;
pub mod input;
pub mod step;
