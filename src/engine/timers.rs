//! What is due when. Timers are data: a spurious look changes nothing.

use crate::model::id::JobId;
use crate::model::time::Stamp;
use std::collections::{BTreeMap, BTreeSet};

/// The clock a timer is measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Milliseconds on the boot clock: timeouts, graces, waits.
    Boot(u64),
    /// Milliseconds on the wall clock: a time of day somebody named. Setting the clock moves it.
    Wall(i64),
}

/// At most one timer per job: a job waits for one thing at a time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_job: BTreeMap<JobId, Due>,
    boot: BTreeSet<(u64, JobId)>,
    wall: BTreeSet<(i64, JobId)>,
}

impl Timers {
    /// Sets the timer of a job; replaces the one it had.
    pub(super) fn set(&mut self, id: JobId, due: Due) {
        self.clear(id);
        self.by_job.insert(id, due);
        match due {
            Due::Boot(at) => self.boot.insert((at, id)),
            Due::Wall(at) => self.wall.insert((at, id)),
        };
    }

    /// Removes the timer of a job, if it has one.
    pub(super) fn clear(&mut self, id: JobId) {
        match self.by_job.remove(&id) {
            Some(Due::Boot(at)) => self.boot.remove(&(at, id)),
            Some(Due::Wall(at)) => self.wall.remove(&(at, id)),
            None => false,
        };
    }

    /// Takes a job whose timer is due.
    pub(super) fn pop_due(&mut self, now: Stamp) -> Option<JobId> {
        let boot = self.boot.first().filter(|(at, _)| *at <= now.boot_ms);
        let wall = self.wall.first().filter(|(at, _)| *at <= now.wall_ms);
        let id = boot.map(|(_, id)| *id).or(wall.map(|(_, id)| *id))?;
        self.clear(id);
        Some(id)
    }

    /// When to look again, on the boot clock as it runs now.
    pub(super) fn next(&self, now: Stamp) -> Option<u64> {
        let wall = self.wall.first().map(|(at, _)| {
            let at = Stamp {
                wall_ms: *at,
                boot_ms: 0,
            };
            at.rebased(now).boot_ms
        });
        let boot = self.boot.first().map(|(at, _)| *at);
        boot.into_iter().chain(wall).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_of_both_clocks_counts_and_clock_changes_move_wall_timers() {
        let now = Stamp {
            wall_ms: 1_000_000,
            boot_ms: 500,
        };
        let mut timers = Timers::default();
        timers.set(JobId(1), Due::Boot(900));
        timers.set(JobId(2), Due::Wall(1_000_100));
        assert_eq!(timers.next(now), Some(600));
        let set_forward = Stamp {
            wall_ms: 2_000_000,
            boot_ms: 510,
        };
        assert_eq!(timers.pop_due(set_forward), Some(JobId(2)));
        assert_eq!(timers.pop_due(set_forward), None);
        timers.clear(JobId(1));
        assert_eq!(timers.next(set_forward), None);
    }
}
