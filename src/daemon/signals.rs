//! Signals that were ignored when the daemon was started, as those who use `nohup`, or `&` in a script, have it.
//!
//! A program inherits what is ignored: no job could be interrupted, and its author would not know why. What is listened
//! to, however, has its usual effect again in every program that is started.

use nix::sys::signal::Signal;
use std::fs;
use tokio::signal::unix::{SignalKind, signal};

/// Nobody may listen to these. What a broken pipe does is set right by whoever starts a program.
const LEFT_ALONE: [Signal; 6] = [
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGKILL,
    Signal::SIGSEGV,
    Signal::SIGPIPE,
    Signal::SIGSTOP,
];

/// Listens to each signal that is ignored, and goes on without heeding it.
pub(super) fn stop_ignoring() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for number in ignored(&status) {
        if let Err(error) = signal(SignalKind::from_raw(number)) {
            tracing::warn!(number, %error, "a signal stays ignored, in jobs too");
        }
    }
}

/// The signals that a process ignores, of the line `SigIgn` of its status: a bit each, the first for signal 1.
fn ignored(status: &str) -> impl Iterator<Item = i32> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    // From 32 on they are the C library's, and those that have no meaning of their own.
    (1..32).filter(move |number| {
        let is_left_alone = LEFT_ALONE.iter().any(|it| *it as i32 == *number);
        mask & 1 << (number - 1) != 0 && !is_left_alone
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_bit_by_bit() {
        let numbers = |text: &str| ignored(text).collect::<Vec<_>>();
        let text = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000180001007\n";
        assert_eq!(numbers(text), [1, 2, 3]);
        for unreadable in ["SigIgn:\tx\n", ""] {
            assert!(numbers(unreadable).is_empty());
        }
    }
}
