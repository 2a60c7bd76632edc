//! How many live jobs each user has: counted as they come and go, so that nobody is kept waiting for a count.

use crate::engine::Engine;
use crate::engine::command::Refusal;
use crate::model::id::JobId;
use crate::model::job::{Job, Owner};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Live jobs by user; who has none is not in it.
#[derive(Debug, Default)]
pub(super) struct Population {
    of: BTreeMap<u32, u64>,
}

impl Population {
    fn come(&mut self, uid: u32) {
        *self.of.entry(uid).or_default() += 1;
    }

    fn go(&mut self, uid: u32) {
        if let Some(count) = self.of.get_mut(&uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of.remove(&uid);
            }
        }
    }

    fn of(&self, uid: u32) -> u64 {
        self.of.get(&uid).copied().unwrap_or(0)
    }
}

impl Engine {
    /// How many live jobs a user has.
    #[must_use]
    pub fn live_of(&self, uid: u32) -> u64 {
        self.population.of(uid)
    }

    /// Takes a job in that was not live before.
    pub(super) fn admit(&mut self, job: Job) {
        self.population.come(job.owner.uid);
        self.jobs.insert(job.id, Arc::new(job));
    }

    /// Lets a live job go that has ended.
    pub(super) fn dismiss(&mut self, id: JobId) {
        if let Some(job) = self.jobs.remove(&id) {
            self.population.go(job.owner.uid);
        }
    }

    /// Refuses jobs that would be too many for one user.
    pub(super) fn room_for(&self, owner: &Owner, more: usize) -> Result<(), Refusal> {
        let (live, more) = (self.live_of(owner.uid), more as u64);
        match self.quota.of(owner.uid) {
            Some(most) if live + more > u64::from(most) => Err(Refusal::TooManyJobs {
                user: owner.user.clone(),
                live,
                more,
                most,
            }),
            Some(_) | None => Ok(()),
        }
    }
}
