//! A store made of maps. It believes nothing: every fact is checked against those before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stoked::engine::needs::{Cold, Needs};
use stoked::model::change::Change;
use stoked::model::group::{Gates, Group};
use stoked::model::id::JobId;
use stoked::model::job::Job;
use stoked::model::state::{JobState, StateName};
use stoked::model::time::Stamp;

/// What is committed.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) live: BTreeMap<JobId, Arc<Job>>,
    pub(crate) done: BTreeMap<JobId, Arc<Job>>,
    pub(crate) removed: BTreeSet<JobId>,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) draining: bool,
    keys: BTreeMap<(u32, String), (String, Vec<JobId>)>,
    /// The highest number ever given.
    pub(crate) newest: JobId,
    /// Jobs that completed at least once, whatever became of them since.
    completed: BTreeSet<JobId>,
}

impl Store {
    /// What decides which jobs may start at all.
    pub(crate) fn gates(&self) -> Gates {
        Gates {
            groups: self.groups.values().cloned().collect(),
            draining: self.draining,
        }
    }

    /// Commits one fact.
    pub(crate) fn apply(&mut self, change: &Change, now: Stamp) {
        match change {
            Change::EnvironmentSeen { .. } => {}
            Change::JobAdded { job } => self.add(job),
            Change::JobMoved { job, from, at } => {
                assert_eq!(*at, now, "job {} moved at another time", job.id);
                self.moved(job, *from, now);
            }
            Change::JobEdited { job, before, .. } => {
                let old = self.live.insert(job.id, Arc::clone(job));
                let old = old.unwrap_or_else(|| panic!("job {} edited while not live", job.id));
                assert_eq!(
                    old.spec, *before,
                    "job {} was something else before",
                    job.id
                );
                // By name: instants from before a reboot are stored anew with whatever comes next.
                let (was, is) = (old.state.name(), job.state.name());
                assert_eq!(was, is, "an edit moved job {}", job.id);
            }
            Change::DependencyMet { job, unmet } => {
                let row = self.live.get_mut(job).expect("a live job waits");
                assert_ne!(row.unmet, *unmet, "nothing changed for job {job}");
                Arc::make_mut(row).unmet = *unmet;
            }
            Change::JobRemoved { job, uid, .. } => {
                let old = self
                    .done
                    .remove(job)
                    .expect("only finished jobs are removed");
                assert_eq!(old.owner.uid, *uid);
                self.removed.insert(*job);
            }
            Change::JobExpired { .. } => panic!("nothing is archived here"),
            Change::GroupSet { group, .. } => {
                let old = self.groups.insert(group.name.clone(), group.clone());
                assert_ne!(old.as_ref(), Some(group), "nothing changed for a group");
            }
            Change::GroupRemoved { name, .. } => {
                let member = self.live.values().find(|job| job.spec.group == *name);
                assert!(member.is_none(), "group {name} still has {member:?}");
                assert!(self.groups.remove(name).is_some());
            }
            Change::DrainSet { draining, .. } => {
                assert_ne!(self.draining, *draining, "nothing changed for the host");
                self.draining = *draining;
            }
            Change::Tallied { .. } | Change::GpuFailed { .. } => {}
            Change::KeyUsed { key, ids, .. } => {
                let used = (key.fingerprint.clone(), ids.clone());
                let old = self.keys.insert((key.uid, key.key.clone()), used);
                assert!(old.is_none(), "key {} was used before", key.key);
            }
        }
    }

    fn add(&mut self, job: &Arc<Job>) {
        assert!(job.id > self.newest, "number {} is used again", job.id);
        assert!(!job.state.is_final(), "new and final");
        self.newest = job.id;
        self.live.insert(job.id, Arc::clone(job));
    }

    fn moved(&mut self, job: &Arc<Job>, from: StateName, now: Stamp) {
        let id = job.id;
        let old = match self.live.get(&id).or_else(|| self.done.get(&id)) {
            Some(old) => Arc::clone(old),
            None => panic!("job {id} moved and was never added"),
        };
        assert_eq!(old.state.name(), from, "job {id} came from elsewhere");
        assert_eq!(job.finished.is_some(), job.state.is_final(), "job {id}");
        let next = job.state.name();
        if old.state.is_final() {
            assert_eq!(next, StateName::Queued, "job {id} rose from {from}");
        }
        if next == StateName::Starting && from == StateName::Queued {
            self.check_claim(&old, job, now);
        } else if next == StateName::Skipped {
            self.check_skip(job);
        } else if next == StateName::Completed {
            self.completed.insert(id);
        }
        self.live.remove(&id);
        self.done.remove(&id);
        let rows = if job.state.is_final() {
            &mut self.done
        } else {
            &mut self.live
        };
        rows.insert(id, Arc::clone(job));
    }

    fn check_claim(&self, old: &Job, job: &Job, now: Stamp) {
        let id = job.id;
        assert_eq!(
            job.attempt.as_ref().map(|attempt| attempt.id),
            Some(old.next_attempt()),
            "attempts of job {id} are not counted up"
        );
        let group = &job.spec.group;
        let limits = self.groups.get(group).expect("a claim is in a group");
        let taken = self.taken(group);
        assert!(!self.draining, "job {id} claimed on a drained host");
        assert!(!limits.paused, "job {id} claimed in a paused group");
        assert!(
            taken < limits.parallelism,
            "group {group} is over its limit"
        );
        assert!(
            old.spec.not_before_ms.is_none_or(|at| at <= now.wall_ms),
            "job {id} claimed before its time"
        );
        for dependency in &job.spec.after_ok {
            // One that completed, was queued again and failed the second time does not count
            // against a job that had already begun: it started rightly.
            let met = self.completed.contains(dependency)
                && !self.live.contains_key(dependency)
                && (!self.ended_badly(*dependency) || old.attempt.is_some());
            assert!(
                met,
                "job {id} claimed although {dependency} did not complete"
            );
        }
        let rank = (job.spec.priority, id);
        let overtaken = self.live.values().find(|other| {
            other.spec.group == *group
                && (other.spec.priority, other.id) < rank
                && self.startable(other, now)
        });
        assert!(overtaken.is_none(), "job {id} overtook {overtaken:?}");
    }

    fn check_skip(&self, job: &Job) {
        assert!(
            job.spec.after_ok.iter().any(|it| self.ended_badly(*it)),
            "job {} skipped without a reason",
            job.id
        );
    }

    /// Whether `id` is final and did not complete.
    pub(crate) fn ended_badly(&self, id: JobId) -> bool {
        self.done
            .get(&id)
            .is_some_and(|job| job.state != JobState::Completed)
    }

    /// How many jobs of a group hold a place.
    pub(crate) fn taken(&self, group: &str) -> u32 {
        let holds = |job: &&Arc<Job>| job.spec.group == group && job.state.holds_place();
        u32::try_from(self.live.values().filter(holds).count()).unwrap()
    }

    /// How many of the jobs it waits for are still live.
    pub(crate) fn unmet(&self, job: &Job) -> u32 {
        let live = |id: &&JobId| self.live.contains_key(id);
        u32::try_from(job.spec.after_ok.iter().filter(live).count()).unwrap()
    }

    /// Whether nothing but its group keeps a job from starting.
    pub(crate) fn startable(&self, job: &Job, now: Stamp) -> bool {
        job.state == JobState::Queued
            && self.unmet(job) == 0
            && job.spec.not_before_ms.is_none_or(|at| at <= now.wall_ms)
    }

    /// Fetches what the engine asks for.
    pub(crate) fn fetch(&self, needs: Needs, cold: &mut Cold) {
        for id in needs.jobs {
            let row = self.live.get(&id).or_else(|| self.done.get(&id));
            cold.jobs.insert(id, row.map(|job| (**job).clone()));
        }
        for (uid, name) in needs.names {
            let named = |job: &&Arc<Job>| job.owner.uid == uid && job.spec.name == name;
            let newest = |rows: &BTreeMap<JobId, Arc<Job>>| {
                rows.values().rev().find(named).map(|job| job.id)
            };
            let id = newest(&self.live).max(newest(&self.done));
            cold.names.insert((uid, name), id);
        }
        if let Some(key) = needs.key {
            cold.key = Some(self.keys.get(&(key.uid, key.key)).cloned());
        }
    }
}
