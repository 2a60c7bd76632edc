//! New jobs: all of a submission, or none.

use crate::engine::Engine;
use crate::engine::command::{Dependency, Draft, Refusal, Reply, Submission};
use crate::engine::deps::find_cycle;
use crate::engine::needs::Cold;
use crate::engine::step::Step;
use crate::model::change::Change;
use crate::model::id::JobId;
use crate::model::job::Job;
use crate::model::state::JobState;
use crate::model::time::Stamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A dependency within its submission, or on a job that exists.
enum Resolved {
    Own(usize),
    Other(JobId),
}

impl Engine {
    /// Accepts a submission: resolves its dependencies, numbers its jobs, queues them.
    pub(super) fn submit(
        &mut self,
        submission: Submission,
        cold: &Cold,
        now: Stamp,
        step: &mut Step,
    ) -> Result<Reply, Refusal> {
        let key = submission.key.clone();
        if let (Some(key), Some(Some((fingerprint, ids)))) = (&key, &cold.key) {
            if *fingerprint != key.fingerprint {
                return Err(Refusal::KeyReused(key.key.clone()));
            }
            return Ok(Reply::Submitted {
                ids: ids.clone(),
                repeated: true,
            });
        }
        self.room_for(&submission.owner, submission.jobs.len())?;
        let resolved = self.resolve(&submission, cold)?;
        let ids: Vec<JobId> = (self.next_job.0..)
            .map(JobId)
            .take(submission.jobs.len())
            .collect();
        self.next_job = JobId(self.next_job.0 + ids.len() as u64);
        for (id, content) in submission.environments {
            step.changes.push(Change::EnvironmentSeen { id, content });
        }
        for ((draft, dependencies), id) in submission.jobs.into_iter().zip(resolved).zip(&ids) {
            let Draft { mut spec, held, .. } = draft;
            spec.after_ok = dependencies
                .into_iter()
                .map(|dependency| match dependency {
                    Resolved::Own(index) => ids[index],
                    Resolved::Other(id) => id,
                })
                .collect();
            spec.after_ok.sort_unstable();
            spec.after_ok.dedup();
            let state = held.map_or(JobState::Queued, |waits_for| JobState::Held { waits_for });
            let owner = Arc::clone(&submission.owner);
            let job = Job::new(*id, owner, Arc::new(spec), state, now);
            self.admit(job);
        }
        // Only now: a job may wait for a later one of its submission.
        for id in &ids {
            self.enter(*id, now);
            if let Some(job) = self.jobs.get(id) {
                let job = Arc::clone(job);
                step.changes.push(Change::JobAdded { job });
            }
        }
        for id in &ids {
            self.skip_where_hopeless(*id, cold, now, step);
        }
        step.changes.extend(key.map(|key| Change::KeyUsed {
            key,
            ids: ids.clone(),
            at: now,
        }));
        Ok(Reply::Submitted {
            ids,
            repeated: false,
        })
    }

    /// Whether a job is there, as far as who submits may know: one that waits for another is told how that ended.
    fn may_wait_for(&self, id: JobId, submission: &Submission, cold: &Cold) -> bool {
        let live = self.jobs.get(&id).map(|job| &**job);
        let found = live.or_else(|| cold.job(id));
        found.is_some_and(|job| submission.sees_others || job.owner.uid == submission.owner.uid)
    }

    /// Finds every group and every dependency; refuses what does not exist, and cycles.
    fn resolve(&self, submission: &Submission, cold: &Cold) -> Result<Vec<Vec<Resolved>>, Refusal> {
        let jobs = &submission.jobs;
        let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, draft) in jobs.iter().enumerate() {
            let group = &draft.spec.group;
            if self.queue.group(group).is_none() {
                return Err(Refusal::UnknownGroup(group.clone()));
            }
            by_name.insert(&draft.spec.name, index);
        }
        let find = |dependency: &Dependency| match dependency {
            Dependency::Name(name) => match by_name.get(name.as_str()) {
                Some(index) => Ok(Resolved::Own(*index)),
                None => cold
                    .names
                    .get(&(submission.owner.uid, name.clone()))
                    .copied()
                    .flatten()
                    .map(Resolved::Other)
                    .ok_or_else(|| Refusal::UnknownDependency(format!("\"{name}\""))),
            },
            Dependency::Id(id) if self.may_wait_for(*id, submission, cold) => {
                Ok(Resolved::Other(*id))
            }
            Dependency::Id(id) => Err(Refusal::UnknownDependency(id.to_string())),
        };
        let resolved: Vec<Vec<Resolved>> = jobs
            .iter()
            .map(|draft| draft.after_ok.iter().map(find).collect())
            .collect::<Result<_, _>>()?;
        // A job that exists cannot wait for a new one, so every cycle lies within the submission.
        let own: Vec<Vec<usize>> = resolved
            .iter()
            .map(|dependencies| {
                let own = dependencies
                    .iter()
                    .filter_map(|dependency| match dependency {
                        Resolved::Own(index) => Some(*index),
                        Resolved::Other(_) => None,
                    });
                own.collect()
            })
            .collect();
        match find_cycle(&own) {
            Some(cycle) => {
                let names = cycle.iter().map(|index| jobs[*index].spec.name.clone());
                Err(Refusal::DependencyCycle(names.collect()))
            }
            None => Ok(resolved),
        }
    }
}
