//! What every request shares, as one user may use it: what he may not know is not there, and reads wait for his turn.

use crate::api::Shared;
use crate::api::problem::{Failure, internal, not_found};
use crate::auth::{Action, Decision, Subject, decide, polkit};
use crate::model::id::JobId;
use crate::store::{JobFilter, JobHistory, Reader, StoreError};
use crate::wire::convert::Audience;
use crate::wire::error::{Problem, ProblemKind};
use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

/// The visit of a user.
#[derive(Clone)]
pub(super) struct Visit {
    pub(super) shared: Arc<Shared>,
    pub(super) subject: Arc<Subject>,
}

impl Deref for Visit {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Visit {
    /// Whether this user may do something; `owner` is the user of the job it is about.
    pub(super) fn may(&self, action: Action, owner: Option<u32>) -> bool {
        decide(&self.subject, action, owner, &self.policy).is_allowed()
    }

    /// Refuses what this user may not do, and says who may; `owner` is the user of the job it is about.
    pub(super) fn permit(&self, action: Action, owner: Option<u32>) -> Result<(), Failure> {
        match decide(&self.subject, action, owner, &self.policy) {
            Decision::Allow => Ok(()),
            Decision::Deny(why) => {
                let problem = Problem::new(ProblemKind::NotPermitted, "you may not do this");
                let mut problem = problem.detail(why);
                problem.hint = polkit::way_out(action, &self.policy);
                Err(problem.into())
            }
        }
    }

    /// How much of a job of `owner` this user sees, once it is clear that he may know of it.
    pub(super) fn audience(&self, owner: u32) -> Audience {
        if self.may(Action::ReadJob, Some(owner)) {
            Audience::Owner
        } else if self.may(Action::SeeUse, Some(owner)) {
            Audience::Anybody
        } else {
            Audience::Stranger
        }
    }

    /// Runs a read of the store where blocking holds nobody up.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        let archive = self.archive.clone();
        Ok(self.blocking(move || read(&archive)).await??)
    }

    /// All that is known of a job, archived or not. One that this user may not know of is answered like one that is not.
    pub(super) async fn job(&self, id: JobId) -> Result<JobHistory, Failure> {
        let record = self.read(move |archive| archive.job(id)).await?;
        let known = record.filter(|it| self.may(Action::SeeJob, Some(it.job.owner.uid)));
        known.ok_or_else(|| not_found(format_args!("job {id}")))
    }

    /// Whose a job is, likewise.
    pub(super) async fn owner(&self, id: JobId) -> Result<u32, Failure> {
        let owner = self.read(move |archive| archive.owner(id)).await?;
        let known = owner.filter(|owner| self.may(Action::SeeJob, Some(*owner)));
        known.ok_or_else(|| not_found(format_args!("job {id}")))
    }

    /// Those of some jobs of which this user may know what they use; one that is gone is of who may know it of all.
    pub(super) async fn seen_in_use(
        &self,
        jobs: BTreeSet<JobId>,
    ) -> Result<BTreeSet<JobId>, Failure> {
        let visit = self.clone();
        self.read(move |archive| {
            let mut seen = BTreeSet::new();
            for job in jobs {
                let owner = archive.owner(job)?;
                seen.extend(visit.may(Action::SeeUse, owner).then_some(job));
            }
            Ok(seen)
        })
        .await
    }

    /// Narrows a list to jobs that this user may know of, and to his own where it asks for what he may not know of others:
    /// else what is hidden could be found out by asking for it.
    pub(super) fn narrow(&self, filter: &mut JobFilter) {
        let asks_for_labels = !filter.labels.is_empty();
        let asks_for_words =
            filter.name.is_some() || filter.flow.is_some() || !filter.kinds.is_empty();
        let action = match (asks_for_labels, asks_for_words) {
            (true, _) => Action::ReadJob,
            (false, true) => Action::SeeUse,
            (false, false) => Action::SeeJob,
        };
        if !self.may(action, None) {
            filter.only_of(self.subject.uid);
        }
    }

    /// Runs something that blocks on a thread for that.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = self.turns.take(self.subject.uid).await;
        let work = move || {
            // Also where the client has left meanwhile.
            let _turn = turn;
            work()
        };
        let done = self.tracker.spawn_blocking(work).await;
        done.map_err(|error| internal(format_args!("a read ended: {error}")))
    }
}
