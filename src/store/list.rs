//! Lists of jobs: filters, pages, and the queries that answer them without reading the whole history.

use crate::model::id::{JobId, Seq};
use crate::model::job::Job;
use crate::model::state::StateName;
use crate::store::{error, rows};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

/// Which jobs; every part that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In one of these states; empty means any.
    pub states: Vec<StateName>,
    /// Of this user.
    pub uid: Option<u32>,
    /// In this group.
    pub group: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this flow.
    pub flow: Option<String>,
    /// With this name.
    pub name: Option<String>,
    /// With all of these labels.
    pub labels: Vec<(String, String)>,
    /// Submitted at or after this wall-clock time.
    pub since_ms: Option<i64>,
    /// Submitted before this wall-clock time.
    pub until_ms: Option<i64>,
    /// One of these; `None` means any.
    pub ids: Option<Vec<JobId>>,
}

/// Part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The jobs, newest first, each with its newest attempt.
    pub items: Vec<Job>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<JobId>,
    /// The newest event that the list shows the effect of.
    pub as_of: Seq,
}

/// The jobs of `filter` with smaller numbers than `after`, at most `limit`.
///
/// Numbers first, whole jobs then: however a number is found, only one page of specs is read.
pub(crate) fn page(
    connection: &Connection,
    filter: &JobFilter,
    after: Option<JobId>,
    limit: usize,
) -> rusqlite::Result<Page> {
    let as_of = rows::head(connection)?;
    let limit = limit.clamp(1, MOST_ITEMS);
    let mut ids = numbers(connection, filter, after, limit + 1)?;
    let more = ids.len() > limit;
    ids.truncate(limit);
    let next = ids.last().filter(|_| more).copied().map(JobId);
    let mut items = Vec::with_capacity(ids.len());
    for id in ids {
        match rows::find_job(connection, JobId(id)) {
            Ok(job) => items.extend(job),
            // One row that cannot be read must not hide all the others.
            Err(error) if error::code(&error).is_none() => {
                tracing::warn!(job = id, %error, "left out of a list: its row cannot be read");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Page { items, next, as_of })
}

/// Largest page.
const MOST_ITEMS: usize = 10_000;

/// The numbers that fit, largest first.
fn numbers(
    connection: &Connection,
    filter: &JobFilter,
    after: Option<JobId>,
    limit: usize,
) -> rusqlite::Result<Vec<u64>> {
    let mut values = Vec::new();
    let conditions = conditions(filter, after, &mut values);
    let (from, id) = match filter.labels.first() {
        // A label is what narrows most: its index gives the numbers in order.
        Some((name, value)) => {
            let name = bind(&mut values, name.clone());
            let value = bind(&mut values, value.clone());
            let from = format!(
                "job_labels INDEXED BY job_labels_by_value CROSS JOIN jobs ON jobs.id = job_labels.job \
                 WHERE job_labels.name = {name} AND job_labels.value = {value}"
            );
            (from, "job_labels.job")
        }
        None => ("jobs WHERE TRUE".to_owned(), "jobs.id"),
    };
    // One branch per state: each comes in order out of the index of states, and SQLite merges them.
    // `state IN (…)` would sort every match, or read every job.
    let branch = |state: Option<&StateName>| {
        let state = state.map_or(String::new(), |state| {
            format!(" AND jobs.state = '{state}'")
        });
        format!("SELECT {id} AS id FROM {from}{state}{conditions}")
    };
    let branches: Vec<String> = match filter.states.as_slice() {
        [] => vec![branch(None)],
        states => StateName::ALL
            .iter()
            .filter(|state| states.contains(state))
            .map(|state| branch(Some(state)))
            .collect(),
    };
    let limit = bind(&mut values, i64::try_from(limit).unwrap_or(i64::MAX));
    let sql = format!(
        "{} ORDER BY 1 DESC LIMIT {limit}",
        branches.join(" UNION ALL ")
    );
    connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(values), |row| {
            let id: i64 = row.get(0)?;
            u64::try_from(id).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, id))
        })?
        .collect()
}

/// Every part of the filter but the states, as ` AND …`.
fn conditions(filter: &JobFilter, after: Option<JobId>, values: &mut Vec<Value>) -> String {
    let mut sql = String::new();
    let mut and = |condition: &str, value: Value| {
        let place = bind(values, value);
        sql.push_str(" AND ");
        sql.push_str(&condition.replace('?', &place));
    };
    if let Some(after) = after {
        let after = i64::try_from(after.0).unwrap_or(i64::MAX);
        and("jobs.id < ?", after.into());
    }
    if let Some(uid) = filter.uid {
        and("jobs.uid = ?", i64::from(uid).into());
    }
    let texts = [
        ("jobs.grp = ?", &filter.group),
        ("jobs.kind = ?", &filter.kind),
        ("jobs.flow = ?", &filter.flow),
        ("jobs.name = ?", &filter.name),
    ];
    for (condition, text) in texts {
        if let Some(text) = text {
            and(condition, text.clone().into());
        }
    }
    if let Some(since_ms) = filter.since_ms {
        and("jobs.created_wall_ms >= ?", since_ms.into());
    }
    if let Some(until_ms) = filter.until_ms {
        and("jobs.created_wall_ms < ?", until_ms.into());
    }
    if let Some(ids) = &filter.ids {
        let ids: Vec<u64> = ids.iter().map(|id| id.0).collect();
        let list = serde_json::json!(ids).to_string();
        and("jobs.id IN (SELECT value FROM json_each(?))", list.into());
    }
    for (name, value) in filter.labels.iter().skip(1) {
        // As one value, so that both are bound in one place.
        let pair = serde_json::json!([name, value]).to_string();
        and(
            "EXISTS (SELECT 1 FROM job_labels other WHERE other.job = jobs.id \
             AND other.name = ? ->> 0 AND other.value = ? ->> 1)",
            pair.into(),
        );
    }
    sql
}

/// Keeps `value` for binding; answers its place in the text.
fn bind(values: &mut Vec<Value>, value: impl Into<Value>) -> String {
    values.push(value.into());
    format!("?{}", values.len())
}
