//! What the API reads, from the store and the log files.

use crate::api::ports::{
    Archive, GroupRecord, JobFilter, JobPage, JobRecord, LogChunk, LogContent, LogReader,
    LogSelection, LogStart, LogStore, LogTrouble, LogWatch, ProgressRecord, ReadTrouble,
};
use crate::logs::read::{self, Content, Selection};
use crate::logs::watch::{Watch, Watcher};
use crate::model::event::Event;
use crate::model::group::Group;
use crate::model::id::{AttemptId, EnvId, JobId, Seq};
use crate::store::{self, EventFilter, Reader, StoreError};
use std::path::PathBuf;
use std::pin::Pin;

/// The store, as the API reads it.
#[derive(Clone, Debug)]
pub struct Stored {
    reader: Reader,
}

impl Stored {
    /// Reads through `reader`.
    #[must_use]
    pub fn new(reader: Reader) -> Self {
        Self { reader }
    }
}

impl Archive for Stored {
    fn jobs(
        &self,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: usize,
    ) -> Result<JobPage, ReadTrouble> {
        let filter = store::JobFilter {
            states: filter.states.clone(),
            uids: filter.uids.clone(),
            users: filter.users.clone(),
            groups: filter.groups.clone(),
            kinds: filter.kinds.clone(),
            labels: filter.labels.clone(),
            flow: filter.flow.clone(),
            name: filter.name.clone(),
            since_ms: filter.since_ms,
            until_ms: filter.until_ms,
            ids: None,
        };
        let page = self.reader.jobs(&filter, before, limit).map_err(trouble)?;
        Ok(JobPage {
            items: page.items,
            more: page.next.is_some(),
            as_of: page.as_of,
        })
    }

    fn job(&self, id: JobId) -> Result<Option<JobRecord>, ReadTrouble> {
        let found = self.reader.job(id).map_err(trouble)?;
        Ok(found.map(|found| JobRecord {
            job: found.job,
            attempts: found.attempts,
            as_of: found.as_of,
        }))
    }

    fn owner(&self, id: JobId) -> Result<Option<u32>, ReadTrouble> {
        self.reader.owner(id).map_err(trouble)
    }

    fn environment_names(&self, id: &EnvId) -> Result<Vec<String>, ReadTrouble> {
        let names = self.reader.environment_names(id).map_err(trouble)?;
        Ok(names.unwrap_or_default())
    }

    fn groups(&self) -> Result<Vec<Group>, ReadTrouble> {
        self.reader.groups().map_err(trouble)
    }

    fn group_records(&self) -> Result<Vec<GroupRecord>, ReadTrouble> {
        let (groups, _) = self.reader.group_counts().map_err(trouble)?;
        let record = |count: store::GroupCount| GroupRecord {
            group: count.group,
            active: count.active,
            waiting: count.waiting,
        };
        Ok(groups.into_iter().map(record).collect())
    }

    fn events(&self, after: Seq, up_to: Seq, limit: usize) -> Result<Vec<Event>, ReadTrouble> {
        let filter = EventFilter::default();
        let page = self.reader.events(after, limit, &filter).map_err(trouble)?;
        let mut events = page.events;
        events.retain(|event| event.seq.is_none_or(|seq| seq <= up_to));
        Ok(events)
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
        let points = self.reader.progress(attempt, since_ms, until_ms, most);
        let record = |point: store::ProgressPoint| ProgressRecord {
            at_ms: point.at_ms,
            body: point.body,
        };
        Ok(points.map_err(trouble)?.into_iter().map(record).collect())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err passes on")]
fn trouble(error: StoreError) -> ReadTrouble {
    ReadTrouble(error.to_string())
}

/// The logs, as the API reads them.
#[derive(Clone, Debug)]
pub struct Logs {
    dir: PathBuf,
    watcher: Watcher,
}

impl Logs {
    /// Reads the logs in `dir`.
    #[must_use]
    pub fn new(dir: PathBuf, watcher: Watcher) -> Self {
        Self { dir, watcher }
    }

    fn dir(&self, attempt: AttemptId) -> PathBuf {
        self.dir.join(attempt.to_string())
    }
}

impl LogStore for Logs {
    fn open(
        &self,
        attempt: AttemptId,
        selection: LogSelection,
        start: &LogStart,
    ) -> Result<Box<dyn LogReader>, LogTrouble> {
        let selection = match selection {
            LogSelection::Stdout => Selection::Stdout,
            LogSelection::Stderr => Selection::Stderr,
            LogSelection::Both => Selection::Both,
        };
        let from = match start {
            LogStart::Start => read::From::Start,
            LogStart::Tail(lines) => read::From::Tail { lines: *lines },
            LogStart::Since(wall_ms) => read::From::Since { wall_ms: *wall_ms },
            LogStart::Cursor(text) => {
                let cursor = text.parse();
                read::From::Offset(cursor.map_err(|_| LogTrouble::BadCursor(text.clone()))?)
            }
        };
        let reader = read::open(&self.dir(attempt), selection, from)?;
        Ok(Box::new(Output(reader)))
    }

    fn watch(&self, attempt: AttemptId) -> Box<dyn LogWatch> {
        Box::new(Changes(self.watcher.watch(&self.dir(attempt))))
    }
}

struct Output(read::Reader);

impl LogReader for Output {
    fn next_chunk(&mut self, max_bytes: usize) -> std::io::Result<Option<LogChunk>> {
        let chunk = self.0.next_chunk(max_bytes)?;
        Ok(chunk.map(|chunk| LogChunk {
            stream: chunk.stream.as_str(),
            offset: chunk.offset,
            at_wall_ms: chunk.at_wall_ms,
            content: match chunk.content {
                Content::Bytes(bytes) => LogContent::Bytes(bytes),
                Content::Gap { bytes } => LogContent::Gap(bytes),
            },
        }))
    }

    fn cursor(&self) -> String {
        self.0.cursor().to_string()
    }
}

struct Changes(Watch);

impl LogWatch for Changes {
    fn changed(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.0.changed())
    }
}
