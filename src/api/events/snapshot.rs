//! The present state of everything a watcher asked for, page by page.

use crate::api::visit::Visit;
use crate::events::Subscription;
use crate::events::pattern::Filter;
use crate::model::event::{Channel, Event};
use crate::model::group::Group;
use crate::model::id::{JobId, Seq};
use crate::model::job::Job;
use crate::model::state::StateName;
use crate::store::{JobFilter, Reader};
use std::io;
use std::sync::Arc;

const PAGE: usize = 500;

/// Where a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Groups,
    /// Jobs with smaller numbers than this.
    Jobs(Option<JobId>),
    Telemetry,
    Over,
}

/// A snapshot that is being sent.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) stage: Stage,
    shown: Shown,
}

/// Which events the watcher has seen as part of a snapshot: newer pages first, each with the smallest
/// number on it and the newest event that it shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pages: Vec<(JobId, Seq)>,
}

impl Shown {
    /// Whether the snapshot shows a later state of that job than this event.
    ///
    /// Without this, a watcher would see a job go back to a state that it had left before the snapshot.
    /// A final event is never left out: a job that has ended is on no page.
    pub(super) fn supersedes(&self, event: &Event) -> bool {
        let Some(seq) = event.seq.filter(|_| !event.is_final) else {
            return false;
        };
        let Some(id) = job_of(event) else {
            return false;
        };
        let page = self.pages.iter().find(|(lowest, _)| id >= *lowest);
        page.is_some_and(|(_, as_of)| seq <= *as_of)
    }
}

fn job_of(event: &Event) -> Option<JobId> {
    let rest = event.channel.strip_prefix("job/")?;
    let (id, _) = rest.split_once('/')?;
    id.parse().ok().map(JobId)
}

impl Snapshot {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Groups,
            shown: Shown::default(),
        }
    }

    pub(super) fn shown(self) -> Shown {
        self.shown
    }

    /// The next page of it; may be empty before the end.
    pub(super) async fn next(
        &mut self,
        shared: &Visit,
        events: &mut Subscription,
    ) -> io::Result<Vec<Arc<Event>>> {
        if self.stage == Stage::Telemetry {
            self.stage = Stage::Over;
            return Ok(events.newest_telemetry());
        }
        let filter = events.filter();
        match self.stage {
            Stage::Groups => {
                self.stage = Stage::Jobs(None);
                groups(shared, filter).await
            }
            Stage::Jobs(_) if !filter.reaches("job") => {
                self.stage = Stage::Telemetry;
                Ok(Vec::new())
            }
            Stage::Jobs(before) => self.jobs(before, shared, filter).await,
            Stage::Telemetry | Stage::Over => Ok(Vec::new()),
        }
    }

    async fn jobs(
        &mut self,
        before: Option<JobId>,
        shared: &Visit,
        filter: &Filter,
    ) -> io::Result<Vec<Arc<Event>>> {
        let live = StateName::ALL.into_iter().filter(|state| !state.is_final());
        let wanted = JobFilter {
            states: live.collect(),
            ..JobFilter::default()
        };
        let one = filter.single_job();
        // The one job is on the page that begins right above it.
        let (before, limit) = match one {
            Some(id) => (Some(JobId(id.0.saturating_add(1))), 1),
            None => (before, PAGE),
        };
        let page = shared
            .read(move |archive| archive.jobs(&wanted, before, limit))
            .await
            .map_err(|failure| io::Error::other(failure.0.title))?;
        let lowest = page.items.last().map(|job| job.id);
        self.stage = match lowest {
            Some(lowest) if page.next.is_some() && one.is_none() => Stage::Jobs(Some(lowest)),
            Some(_) | None => Stage::Telemetry,
        };
        // Below the last page there is no live job: what it shows holds down to the first number.
        let covers = lowest
            .filter(|_| page.next.is_some() && one.is_none())
            .unwrap_or(JobId(0));
        self.shown.pages.push((covers, page.as_of));
        let events = page.items.iter().map(|job| Arc::new(present(job)));
        Ok(events.filter(|event| filter.admits(event)).collect())
    }
}

async fn groups(shared: &Visit, filter: &Filter) -> io::Result<Vec<Arc<Event>>> {
    if !filter.reaches("group") {
        return Ok(Vec::new());
    }
    let gates = shared
        .read(Reader::gates)
        .await
        .map_err(|failure| io::Error::other(failure.0.title))?;
    let events = gates
        .groups
        .iter()
        .map(|group| Arc::new(group_event(group)));
    Ok(events.filter(|event| filter.admits(event)).collect())
}

fn group_event(group: &Group) -> Event {
    Event {
        seq: None,
        at_ms: crate::api::now_ms(),
        channel: Channel::group(&group.name).to_string().into(),
        kind: "group".into(),
        uid: None,
        is_final: false,
        body: serde_json::to_string(group).unwrap_or_default().into(),
    }
}

/// The event that shows a job as it is now. It has no number: it happened at no time.
pub(super) fn present(job: &Job) -> Event {
    let at_ms = job
        .finished
        .map_or_else(crate::api::now_ms, |at| at.wall_ms);
    Event::state(job, None, at_ms)
}
