//! The archive of the API, read from the store.

use crate::api::ports::{
    Archive, GroupRecord, JobFilter, JobPage, JobRecord, ProgressRecord, ReadTrouble,
};
use crate::model::event::Event;
use crate::model::group::Group;
use crate::model::id::{AttemptId, EnvId, JobId, Seq};
use crate::store::{EventFilter, JobFilter as StoredFilter, Reader, StoreError};

impl From<StoreError> for ReadTrouble {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

impl Archive for Reader {
    fn jobs(
        &self,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: usize,
    ) -> Result<JobPage, ReadTrouble> {
        let page = self.jobs(&stored(filter), before, limit)?;
        Ok(JobPage {
            more: page.next.is_some(),
            items: page.items,
            as_of: page.as_of,
        })
    }

    fn job(&self, id: JobId) -> Result<Option<JobRecord>, ReadTrouble> {
        // The store keeps numbers as SQLite does; one beyond that names no job.
        if i64::try_from(id.0).is_err() {
            return Ok(None);
        }
        let found = self.job(id)?;
        Ok(found.map(|history| JobRecord {
            job: history.job,
            attempts: history.attempts,
            as_of: history.as_of,
        }))
    }

    fn owner(&self, id: JobId) -> Result<Option<u32>, ReadTrouble> {
        Ok(self.owner(id)?)
    }

    fn environment_names(&self, id: &EnvId) -> Result<Vec<String>, ReadTrouble> {
        Ok(self.environment_names(id)?.unwrap_or_default())
    }

    fn groups(&self) -> Result<Vec<Group>, ReadTrouble> {
        Ok(self.groups()?)
    }

    fn group_records(&self) -> Result<Vec<GroupRecord>, ReadTrouble> {
        let (counts, _) = self.group_counts()?;
        let record = |count: crate::store::GroupCount| GroupRecord {
            group: count.group,
            active: count.active,
            waiting: count.waiting,
        };
        Ok(counts.into_iter().map(record).collect())
    }

    fn events(&self, after: Seq, up_to: Seq, limit: usize) -> Result<Vec<Event>, ReadTrouble> {
        let filter = EventFilter {
            up_to: Some(up_to),
            ..EventFilter::default()
        };
        Ok(self.events(after, limit, &filter)?.events)
    }

    fn progress(
        &self,
        attempt: AttemptId,
        since_ms: Option<i64>,
        until_ms: Option<i64>,
        most: usize,
    ) -> Result<Vec<ProgressRecord>, ReadTrouble> {
        let since_ms = since_ms.unwrap_or(i64::MIN);
        let until_ms = until_ms.unwrap_or(i64::MAX);
        let points = self.progress(attempt, since_ms, until_ms, most)?;
        let record = |point: crate::store::ProgressPoint| ProgressRecord {
            at_ms: point.at_ms,
            body: point.body,
        };
        Ok(points.into_iter().map(record).collect())
    }
}

fn stored(filter: &JobFilter) -> StoredFilter {
    StoredFilter {
        states: filter.states.clone(),
        uids: filter.uids.clone(),
        users: filter.users.clone(),
        groups: filter.groups.clone(),
        kinds: filter.kinds.clone(),
        flow: filter.flow.clone(),
        name: filter.name.clone(),
        labels: filter.labels.clone(),
        since_ms: filter.since_ms,
        until_ms: filter.until_ms,
        ids: None,
    }
}
