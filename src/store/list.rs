//! Lists of jobs: filters, pages, and the queries that answer them without reading the whole history.

use crate::model::id::{JobId, Seq};
use crate::model::job::Job;
use crate::model::state::StateName;
use crate::store::{error, rows};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use std::collections::BTreeSet;

/// Which jobs; every part that is given must fit. What is empty or absent does not narrow the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In one of these states.
    pub states: Vec<StateName>,
    /// Of one of these users.
    pub uids: Vec<u32>,
    /// Of one of these users, by name.
    pub users: Vec<String>,
    /// In one of these groups.
    pub groups: Vec<String>,
    /// Of one of these kinds.
    pub kinds: Vec<String>,
    /// Of this flow.
    pub flow: Option<String>,
    /// With this name.
    pub name: Option<String>,
    /// With all of these labels; without a value, any value will do.
    pub labels: Vec<(String, Option<String>)>,
    /// Submitted at or after this wall-clock time.
    pub since_ms: Option<i64>,
    /// Submitted before this wall-clock time.
    pub until_ms: Option<i64>,
    /// One of these.
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

/// A column with more values than this narrows instead of branching: SQLite allows 500 branches.
const MOST_BRANCHES: usize = 64;

/// Largest page.
const MOST_ITEMS: usize = 10_000;

/// The numbers that fit, largest first.
fn numbers(
    connection: &Connection,
    filter: &JobFilter,
    after: Option<JobId>,
    limit: usize,
) -> rusqlite::Result<Vec<u64>> {
    let mut query = Query::default();
    let (from, id) = query.source(filter);
    let branches = query.branches(filter);
    query.narrow(filter, after);
    let limit = query.bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let conditions = &query.conditions;
    let selects: Vec<String> = branches
        .iter()
        .map(|branch| format!("SELECT {id} AS id FROM {from}{branch}{conditions}"))
        .collect();
    let sql = format!(
        "{} ORDER BY 1 DESC LIMIT {limit}",
        selects.join(" UNION ALL ")
    );
    connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(query.values), |row| {
            let id: i64 = row.get(0)?;
            u64::try_from(id).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, id))
        })?
        .collect()
}

/// A query in the making: what is bound, and what every job must fit.
#[derive(Default)]
struct Query {
    values: Vec<Value>,
    conditions: String,
}

impl Query {
    /// Where the numbers come from, and the column that holds them.
    fn source(&mut self, filter: &JobFilter) -> (String, &'static str) {
        let valued = filter.labels.iter().find_map(|(name, value)| {
            let value = value.as_ref()?;
            Some((name, value))
        });
        // A label is what narrows most, and its index gives the numbers in order.
        let Some((name, value)) = valued else {
            return ("jobs WHERE TRUE".to_owned(), "jobs.id");
        };
        let name = self.bind(name.clone());
        let value = self.bind(value.clone());
        let from = format!(
            "job_labels INDEXED BY job_labels_by_value CROSS JOIN jobs ON jobs.id = job_labels.job \
             WHERE job_labels.name = {name} AND job_labels.value = {value}"
        );
        (from, "job_labels.job")
    }

    /// One branch for each value of the first column that the filter names: each branch comes in order
    /// out of the index of that column, and SQLite merges them as it goes. `IN (…)` would sort every
    /// match, or read every job. Further columns narrow within the branches.
    fn branches(&mut self, filter: &JobFilter) -> Vec<String> {
        let texts = |values: &[String]| values.iter().cloned().map(Value::from).collect();
        let states: BTreeSet<StateName> = filter.states.iter().copied().collect();
        let columns: [(&str, Vec<Value>); 5] = [
            (
                "state",
                states
                    .iter()
                    .map(|state| state.as_str().to_owned().into())
                    .collect(),
            ),
            (
                "uid",
                filter
                    .uids
                    .iter()
                    .map(|uid| i64::from(*uid).into())
                    .collect(),
            ),
            ("user", texts(&filter.users)),
            ("grp", texts(&filter.groups)),
            ("kind", texts(&filter.kinds)),
        ];
        let mut branches = Vec::new();
        for (column, mut values) in columns {
            // A value named twice must not list its jobs twice.
            let mut distinct: Vec<Value> = Vec::new();
            values.retain(|value| {
                let new = !distinct.contains(value);
                distinct.extend(new.then(|| value.clone()));
                new
            });
            let places: Vec<String> = values.into_iter().map(|value| self.bind(value)).collect();
            match places.as_slice() {
                [] => {}
                _ if branches.is_empty() && places.len() <= MOST_BRANCHES => {
                    let branch = |place| format!(" AND jobs.{column} = {place}");
                    branches.extend(places.iter().map(branch));
                }
                [place] => self.and(&format!("jobs.{column} = {place}")),
                // The plus keeps SQLite from driving by this column, and thus from sorting.
                places => self.and(&format!("+jobs.{column} IN ({})", places.join(", "))),
            }
        }
        if branches.is_empty() {
            branches.push(String::new());
        }
        branches
    }

    /// Everything of the filter that is one condition.
    fn narrow(&mut self, filter: &JobFilter, after: Option<JobId>) {
        let after = after.map(|after| i64::try_from(after.0).unwrap_or(i64::MAX).into());
        let ids = filter.ids.as_ref().map(|ids| {
            let ids: Vec<u64> = ids.iter().map(|id| id.0).collect();
            serde_json::json!(ids).to_string().into()
        });
        let parts: [(&str, Option<Value>); 6] = [
            ("jobs.id <", after),
            ("jobs.flow =", filter.flow.clone().map(Value::from)),
            ("jobs.name =", filter.name.clone().map(Value::from)),
            ("jobs.created_wall_ms >=", filter.since_ms.map(Value::from)),
            ("jobs.created_wall_ms <", filter.until_ms.map(Value::from)),
            ("jobs.id IN (SELECT value FROM json_each", ids),
        ];
        for (condition, value) in parts {
            let Some(value) = value else { continue };
            let place = self.bind(value);
            if condition.contains('(') {
                self.and(&format!("{condition}({place}))"));
            } else {
                self.and(&format!("{condition} {place}"));
            }
        }
        for (name, value) in &filter.labels {
            let name = self.bind(name.clone());
            let value = value.as_ref().map_or(String::new(), |value| {
                format!(" AND other.value = {}", self.bind(value.clone()))
            });
            self.and(&format!(
                "EXISTS (SELECT 1 FROM job_labels other WHERE other.job = jobs.id \
                 AND other.name = {name}{value})"
            ));
        }
    }

    fn and(&mut self, condition: &str) {
        self.conditions.push_str(" AND ");
        self.conditions.push_str(condition);
    }

    /// Keeps `value` for binding; answers its place in the text.
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }
}
