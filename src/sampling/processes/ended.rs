//! Whose processes were that have ended: what happened to one may be told after its end, or after that of its job.

use std::collections::VecDeque;

use crate::model::id::AttemptId;
use crate::model::time::Stamp;

use super::Process;

/// How long it is remembered, milliseconds.
const MEMORY_MS: u64 = 30_000;

/// Most processes that are remembered.
const MOST: usize = 4_096;

/// Processes of jobs that ended lately, the newest last.
#[derive(Debug, Default)]
pub(super) struct Ended(VecDeque<One>);

#[derive(Clone, Copy, Debug)]
struct One {
    pid: u32,
    start: u64,
    attempt: AttemptId,
    at: Stamp,
}

impl Ended {
    /// This one ended, or its job did. One that is no job's is not remembered.
    pub(super) fn note(&mut self, process: &Process, at: Stamp) {
        let Some(attempt) = process.owner.attempt() else {
            return;
        };
        let is_old = |one: &One| at.since_ms(one.at) >= MEMORY_MS;
        while self.0.len() >= MOST || self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
        self.0.push_back(One {
            pid: process.pid,
            start: process.start,
            attempt,
            at,
        });
    }

    /// When the last one with this id started, and whose it was.
    pub(super) fn whose(&self, pid: u32, now: Stamp) -> Option<(u64, AttemptId)> {
        let one = self.0.iter().rev().find(|one| one.pid == pid)?;
        (now.since_ms(one.at) < MEMORY_MS).then_some((one.start, one.attempt))
    }
}
