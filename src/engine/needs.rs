//! What the engine must be told about finished jobs before it can decide on a command.
//!
//! The engine holds live jobs only, so that its memory does not grow with history. The few commands
//! that touch finished ones say here what they need; the control task fetches it from the store,
//! after everything decided so far is committed, and hands it in as [`Cold`].

use crate::engine::Engine;
use crate::engine::command::{Command, Dependency, Submission, Verb};
use crate::model::change::IdempotencyKey;
use crate::model::id::JobId;
use crate::model::job::Job;
use std::collections::{BTreeMap, BTreeSet};

/// What to fetch from the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Jobs by number.
    pub jobs: BTreeSet<JobId>,
    /// The newest job of this owner with this name.
    pub names: BTreeSet<(u32, String)>,
    /// What this key was used for.
    pub key: Option<IdempotencyKey>,
}

impl Needs {
    /// Whether nothing has to be fetched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.names.is_empty() && self.key.is_none()
    }
}

/// What was fetched. An entry without a value was looked for and does not exist.
#[derive(Clone, Debug, Default)]
pub struct Cold {
    /// Jobs by number.
    pub jobs: BTreeMap<JobId, Option<Job>>,
    /// Newest job of an owner by name.
    pub names: BTreeMap<(u32, String), Option<JobId>>,
    /// Fingerprint and jobs of the key, where it was used; `None` when it was not looked for.
    pub key: Option<Option<(String, Vec<JobId>)>>,
}

impl Cold {
    /// Adds what was fetched later.
    pub fn merge(&mut self, more: Self) {
        self.jobs.extend(more.jobs);
        self.names.extend(more.names);
        self.key = more.key.or(self.key.take());
    }

    /// The job called `id`, where it exists.
    pub(super) fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id)?.as_ref()
    }
}

impl Engine {
    /// What must be fetched, beyond what `cold` has, before `command` can be decided.
    ///
    /// Empty for everything about live jobs. Ask again after fetching: what was found may refer further.
    #[must_use]
    pub fn needs(&self, command: &Command, cold: &Cold) -> Needs {
        let mut needs = Needs::default();
        match command {
            Command::Submit(submission) => self.needs_of_submission(submission, cold, &mut needs),
            Command::Job { id, verb } => {
                self.need_job(*id, cold, &mut needs);
                let again = matches!(verb, Verb::Retry | Verb::Restart { .. });
                if let Some(job) = cold.job(*id).filter(|_| again) {
                    for dependency in &job.spec.after_ok {
                        self.need_job(*dependency, cold, &mut needs);
                    }
                }
            }
            Command::SetGroup { .. }
            | Command::RemoveGroup { .. }
            | Command::Drain { .. }
            | Command::GoDown { .. }
            | Command::Expire { .. }
            | Command::SetQuota(_) => {}
        }
        needs
    }

    fn needs_of_submission(&self, submission: &Submission, cold: &Cold, needs: &mut Needs) {
        if cold.key.is_none() {
            needs.key.clone_from(&submission.key);
        }
        let own: BTreeSet<&str> = submission
            .jobs
            .iter()
            .map(|draft| draft.spec.name.as_str())
            .collect();
        for dependency in submission.jobs.iter().flat_map(|draft| &draft.after_ok) {
            match dependency {
                Dependency::Id(id) => self.need_job(*id, cold, needs),
                Dependency::Name(name) if own.contains(name.as_str()) => {}
                Dependency::Name(name) => {
                    let name = (submission.owner.uid, name.clone());
                    match cold.names.get(&name) {
                        None => {
                            needs.names.insert(name);
                        }
                        Some(Some(id)) => self.need_job(*id, cold, needs),
                        Some(None) => {}
                    }
                }
            }
        }
    }

    fn need_job(&self, id: JobId, cold: &Cold, needs: &mut Needs) {
        if !self.jobs.contains_key(&id) && !cold.jobs.contains_key(&id) {
            needs.jobs.insert(id);
        }
    }
}
