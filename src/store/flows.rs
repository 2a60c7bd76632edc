//! Flows, counted where they are stored: from one index, never from whole jobs.

use crate::model::event::Event;
use crate::model::flow::{Flow, FlowKey, Part};
use crate::model::id::{JobId, Seq};
use crate::model::state::StateName;
use crate::store::rows;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A flow as it is stored. How far its running jobs are is not.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowRecord {
    /// Which.
    pub key: FlowKey,
    /// What is in it.
    pub flow: Flow,
    /// The present attempts of those that hold a place.
    pub attempts: BTreeMap<JobId, u32>,
    /// The newest job in it.
    pub newest: JobId,
    /// The newest event that this shows the effect of.
    pub as_of: Seq,
}

impl FlowRecord {
    /// Adds how far the running jobs are, by the newest event that `latest` has of each.
    #[must_use]
    pub fn with_progress(mut self, latest: impl Fn(JobId) -> Option<Arc<Event>>) -> Self {
        for (job, attempt) in &self.attempts {
            let part = latest(*job).and_then(|event| Part::told(&event, *attempt));
            self.flow.active.insert(*job, part.unwrap_or_default());
        }
        self
    }
}

/// Part of the list of flows.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowPage {
    /// The flows, the one with the newest job first.
    pub items: Vec<FlowRecord>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<JobId>,
    /// The newest event that the list shows the effect of.
    pub as_of: Seq,
}

/// What one group of rows says: the jobs of one flow in one state.
struct Group {
    key: FlowKey,
    state: Option<StateName>,
    count: u64,
    oldest: JobId,
    newest: JobId,
    finished_ms: Option<i64>,
}

fn group(row: &Row<'_>) -> rusqlite::Result<Group> {
    let number = |at: usize| -> rusqlite::Result<u64> {
        let value: i64 = row.get(at)?;
        u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, value))
    };
    Ok(Group {
        key: FlowKey {
            name: row.get::<_, String>(0)?.into(),
            uid: row.get(1)?,
        },
        state: StateName::parse(row.get_ref(2)?.as_str()?),
        count: number(3)?,
        oldest: JobId(number(4)?),
        newest: JobId(number(5)?),
        finished_ms: row.get(6)?,
    })
}

/// Groups of the jobs of one table that fit `condition`.
fn groups_of(table: &str, condition: &str) -> String {
    format!(
        "SELECT flow, uid, state, count(*), min(id), max(id), max(finished_wall_ms) \
         FROM {table} INDEXED BY {table}_by_flow_state WHERE {condition} GROUP BY flow, uid, state"
    )
}

/// Groups of all jobs, archived or not, that fit `condition`.
fn groups(condition: &str) -> String {
    let [here, archived] = ["jobs", "archived"].map(|table| groups_of(table, condition));
    format!("{here} UNION ALL {archived}")
}

/// A flow while its groups are read.
#[derive(Default)]
struct Gathered {
    flow: Flow,
    oldest: Option<JobId>,
    newest: JobId,
}

impl Gathered {
    fn add(&mut self, group: &Group) {
        if let Some(state) = group.state {
            *self.flow.counts.entry(state).or_default() += group.count;
        }
        self.oldest = Some(self.oldest.map_or(group.oldest, |it| it.min(group.oldest)));
        self.newest = self.newest.max(group.newest);
        self.flow.last_finished_ms = self.flow.last_finished_ms.max(group.finished_ms);
    }
}

/// The flow called `key`, where it has jobs.
pub(crate) fn one(connection: &Connection, key: &FlowKey) -> rusqlite::Result<Option<FlowRecord>> {
    let as_of = rows::head(connection)?;
    let mut statement = connection.prepare_cached(&groups("flow = ?1 AND uid = ?2"))?;
    let groups = statement.query_map(params![&*key.name, key.uid], group)?;
    let mut gathered = Gathered::default();
    for group in groups {
        gathered.add(&group?);
    }
    record(connection, key.clone(), gathered, as_of)
}

/// The flows of `uid`, or of everybody, whose newest job has a smaller number than `before`; at most `limit`.
pub(crate) fn page(
    connection: &Connection,
    uid: Option<u32>,
    before: Option<JobId>,
    limit: usize,
) -> rusqlite::Result<FlowPage> {
    let as_of = rows::head(connection)?;
    let condition = "flow IS NOT NULL AND (?1 IS NULL OR uid = ?1)";
    let mut statement = connection.prepare_cached(&groups(condition))?;
    let mut all: BTreeMap<FlowKey, Gathered> = BTreeMap::new();
    for group in statement.query_map([uid], group)? {
        let group = group?;
        all.entry(group.key.clone()).or_default().add(&group);
    }
    let mut found: Vec<(FlowKey, Gathered)> = all
        .into_iter()
        .filter(|(_, flow)| before.is_none_or(|before| flow.newest < before))
        .collect();
    found.sort_by_key(|(_, flow)| std::cmp::Reverse(flow.newest));
    let next = found.get(limit).and_then(|_| found.get(limit - 1));
    let next = next.map(|(_, flow)| flow.newest);
    let mut items = Vec::with_capacity(found.len().min(limit));
    for (key, gathered) in found.into_iter().take(limit) {
        items.extend(record(connection, key, gathered, as_of)?);
    }
    Ok(FlowPage { items, next, as_of })
}

/// Whose flows of this name there are.
pub(crate) fn owners(connection: &Connection, name: &str) -> rusqlite::Result<Vec<u32>> {
    connection
        .prepare_cached(
            "SELECT uid FROM jobs INDEXED BY jobs_by_flow_state WHERE flow = ?1 \
             UNION SELECT uid FROM archived INDEXED BY archived_by_flow_state WHERE flow = ?1",
        )?
        .query_map([name], |row| row.get(0))?
        .collect()
}

/// The number of a user who has submitted a job.
pub(crate) fn uid_of(connection: &Connection, user: &str) -> rusqlite::Result<Option<u32>> {
    connection
        .prepare_cached(
            "SELECT uid FROM (SELECT uid FROM jobs WHERE user = ?1 LIMIT 1) \
             UNION ALL SELECT uid FROM (SELECT uid FROM archived WHERE user = ?1 LIMIT 1)",
        )?
        .query_row([user], |row| row.get(0))
        .optional()
}

fn record(
    connection: &Connection,
    key: FlowKey,
    gathered: Gathered,
    as_of: Seq,
) -> rusqlite::Result<Option<FlowRecord>> {
    let Gathered {
        mut flow,
        oldest,
        newest,
    } = gathered;
    let Some(oldest) = oldest else {
        return Ok(None);
    };
    (flow.user, flow.first_submitted_ms) = connection
        .prepare_cached(
            "SELECT user, created_wall_ms FROM jobs WHERE id = ?1 \
             UNION ALL SELECT user, created_wall_ms FROM archived WHERE id = ?1",
        )?
        .query_row([rows::integer(oldest.0)?], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let mut attempts = BTreeMap::new();
    let places = flow.counts.keys().filter(|state| state.holds_place());
    for state in places {
        let mut statement = connection.prepare_cached(
            "SELECT id, attempt FROM jobs INDEXED BY jobs_by_flow_state \
             WHERE flow = ?1 AND uid = ?2 AND state = ?3",
        )?;
        let mut rows = statement.query(params![&*key.name, key.uid, state.as_str()])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let id =
                u64::try_from(id).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, id))?;
            flow.active.insert(JobId(id), Part::default());
            if let Some(attempt) = row.get(1)? {
                attempts.insert(JobId(id), attempt);
            }
        }
    }
    Ok(Some(FlowRecord {
        key,
        flow,
        attempts,
        newest,
        as_of,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_counted_from_an_index_alone() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(include_str!("schema.sql"))
            .unwrap();
        let conditions = ["flow = 'a' AND uid = 1", "flow IS NOT NULL"];
        for (condition, table) in conditions.into_iter().zip(["jobs", "archived"].repeat(2)) {
            let sql = format!("EXPLAIN QUERY PLAN {}", groups_of(table, condition));
            let plan: Vec<String> = connection
                .prepare(&sql)
                .unwrap()
                .query_map([], |row| row.get(3))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let [step] = plan.as_slice() else {
                panic!("it sorts: {plan:?}");
            };
            assert!(
                step.contains(&format!("USING COVERING INDEX {table}_by_flow_state")),
                "{step}"
            );
        }
    }
}
