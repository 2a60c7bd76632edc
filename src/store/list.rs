//! Lists of jobs: filters, pages, and the queries that answer them without reading the whole history.

use crate::model::id::{JobId, Seq};
use crate::model::job::Job;
use crate::model::state::StateName;
use crate::store::archive::{self, Month, Months};
use crate::store::open::Files;
use crate::store::{error, rows};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

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

impl JobFilter {
    /// Leaves jobs of this user alone, as far as they fit.
    pub fn only_of(&mut self, uid: u32) {
        if self.uids.is_empty() || self.uids.contains(&uid) {
            self.uids = vec![uid];
        } else {
            self.ids = Some(Vec::new());
        }
    }
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
    /// Months of the archive that cannot be read: jobs of theirs are left out.
    pub unreadable: Vec<Month>,
}

/// The jobs of `filter` with smaller numbers than `after`, at most `limit`.
///
/// Numbers first, whole jobs then: however a number is found, only one page of specs is read.
pub(crate) fn page(
    connection: &Connection,
    files: &Files,
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
    let mut months = Months::new(files);
    for id in ids {
        match rows::find_job(connection, JobId(id)) {
            Ok(Some(job)) => items.push(job),
            Ok(None) => items.extend(archived_job(connection, &mut months, JobId(id))?),
            // One row that cannot be read must not hide all the others.
            Err(error) if error::code(&error).is_none() => {
                tracing::warn!(job = id, %error, "left out of a list: its row cannot be read");
            }
            Err(error) => return Err(error),
        }
    }
    let unreadable = months.unreadable();
    Ok(Page {
        items,
        next,
        as_of,
        unreadable,
    })
}

/// A job from the archive. Where its month cannot be read the list goes on without it.
fn archived_job(
    connection: &Connection,
    months: &mut Months<'_>,
    id: JobId,
) -> rusqlite::Result<Option<Job>> {
    let Some(month) = archive::month_of(connection, id)? else {
        return Ok(None);
    };
    match months.job(month, id) {
        Ok(job) => Ok(Some(job)),
        Err(error) => {
            tracing::debug!(job = %id, %error, "left out of a list");
            Ok(None)
        }
    }
}

/// A column with more values than this narrows without an index: SQLite allows 500 branches, and each
/// of these may be split by the 13 states.
const MOST_BRANCHES: usize = 32;

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
    let mut selects = query.selects(&HERE, filter, after);
    // What is archived is finished.
    let any_final = filter.states.is_empty() || filter.states.iter().any(|state| state.is_final());
    if any_final {
        selects.extend(query.selects(&ARCHIVED, filter, after));
    }
    let limit = query.bind(i64::try_from(limit).unwrap_or(i64::MAX));
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

/// A pair of tables that jobs are listed from. Both are called `jobs` and `job_labels` in the queries: they have the
/// columns that lists filter by in common.
struct Tables {
    jobs: &'static str,
    labels: &'static str,
    labels_index: &'static str,
    /// Whether each column has an index that gives numbers in order; else only flows and names have.
    has_every_index: bool,
}

const HERE: Tables = Tables {
    jobs: "jobs",
    labels: "job_labels",
    labels_index: "job_labels_by_value",
    has_every_index: true,
};

const ARCHIVED: Tables = Tables {
    jobs: "archived",
    labels: "archived_labels",
    labels_index: "archived_labels_by_value",
    has_every_index: false,
};

impl Query {
    /// The queries for the numbers in one pair of tables; each gives them in order.
    fn selects(
        &mut self,
        tables: &Tables,
        filter: &JobFilter,
        after: Option<JobId>,
    ) -> Vec<String> {
        let (from, id) = self.source(tables, filter);
        let branches = self.branches(tables, filter);
        self.conditions.clear();
        self.narrow(tables, filter, after);
        let conditions = &self.conditions;
        branches
            .iter()
            .map(|branch| format!("SELECT {id} AS id FROM {from}{branch}{conditions}"))
            .collect()
    }

    /// Where the numbers come from, and the column that holds them.
    fn source(&mut self, tables: &Tables, filter: &JobFilter) -> (String, &'static str) {
        let Tables {
            jobs,
            labels,
            labels_index,
            ..
        } = tables;
        let Some((name, value)) = valued_label(filter) else {
            return (format!("{jobs} AS jobs WHERE TRUE"), "jobs.id");
        };
        let name = self.bind(name.to_owned());
        let value = self.bind(value.to_owned());
        let from = format!(
            "{labels} AS job_labels INDEXED BY {labels_index} CROSS JOIN {jobs} AS jobs \
             ON jobs.id = job_labels.job \
             WHERE job_labels.name = {name} AND job_labels.value = {value}"
        );
        (from, "job_labels.job")
    }

    /// The conditions that lead to the jobs by an index: one branch for each value, or pair of values,
    /// of the columns of that index. Each branch comes in order, and SQLite merges them as it goes;
    /// `IN (…)` would sort every match, or read every job.
    ///
    /// Which index that is, is decided here: SQLite knows the columns, but not that few jobs are live.
    fn branches(&mut self, tables: &Tables, filter: &JobFilter) -> Vec<String> {
        let columns = columns(filter);
        let by = |name: &str| columns.iter().find(|column| column.name == name);
        // What is found by its label or number needs no other index.
        if valued_label(filter).is_some() || filter.ids.is_some() {
            return vec![String::new()];
        }
        let first = columns.iter().find(|column| !column.values.is_empty());
        let Some(first) = first.filter(|column| column.values.len() <= MOST_BRANCHES) else {
            return vec![String::new()];
        };
        if !tables.has_every_index {
            // From the newest on, which is where most of them are looked for.
            let has_index = match first.name {
                "flow" => true,
                "uid" => filter.name.is_some(),
                _ => false,
            };
            return if has_index {
                self.alternatives(first)
            } else {
                vec![String::new()]
            };
        }
        let mut branches = self.alternatives(first);
        let states = by("state").filter(|_| first.name == "uid" && filter.name.is_none());
        if let Some(states) = states {
            let every = Column::of(
                "state",
                StateName::ALL.map(|state| state.as_str().to_owned()),
            );
            let states = if states.values.is_empty() {
                &every
            } else {
                states
            };
            let states = self.alternatives(states);
            branches = branches
                .iter()
                .flat_map(|uid| states.iter().map(move |state| format!("{uid}{state}")))
                .collect();
        }
        branches
    }

    /// ` AND column = value`, for each value.
    fn alternatives(&mut self, column: &Column) -> Vec<String> {
        let name = column.name;
        let places = column.values.iter().map(|value| self.bind(value.clone()));
        places
            .map(|place| format!(" AND jobs.{name} = {place}"))
            .collect()
    }

    /// Everything of the filter. The plus keeps SQLite from taking another index than the one that
    /// was decided on.
    fn narrow(&mut self, tables: &Tables, filter: &JobFilter, after: Option<JobId>) {
        for column in columns(filter) {
            let name = column.name;
            let places: Vec<String> = column
                .values
                .into_iter()
                .map(|value| self.bind(value))
                .collect();
            if !places.is_empty() {
                self.and(&format!("+jobs.{name} IN ({})", places.join(", ")));
            }
        }
        if let Some(name) = &filter.name {
            let place = self.bind(name.clone());
            self.and(&format!("jobs.name = {place}"));
        }
        if let Some(after) = after {
            let place = self.bind(i64::try_from(after.0).unwrap_or(i64::MAX));
            self.and(&format!("jobs.id < {place}"));
        }
        if let Some(since_ms) = filter.since_ms {
            let place = self.bind(since_ms);
            self.and(&format!("jobs.created_wall_ms >= {place}"));
        }
        if let Some(until_ms) = filter.until_ms {
            let place = self.bind(until_ms);
            self.and(&format!("jobs.created_wall_ms < {place}"));
        }
        if let Some(ids) = &filter.ids {
            let ids: Vec<u64> = ids.iter().map(|id| id.0).collect();
            let place = self.bind(serde_json::json!(ids).to_string());
            self.and(&format!(
                "jobs.id IN (SELECT value FROM json_each({place}))"
            ));
        }
        for (name, value) in &filter.labels {
            let name = self.bind(name.clone());
            let value = value.as_ref().map_or(String::new(), |value| {
                format!(" AND other.value = {}", self.bind(value.clone()))
            });
            self.and(&format!(
                "EXISTS (SELECT 1 FROM {} other WHERE other.job = jobs.id \
                 AND other.name = {name}{value})",
                tables.labels
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

/// A column that may have one of some values.
struct Column {
    name: &'static str,
    values: Vec<Value>,
}

impl Column {
    /// A value that is named twice counts once, or its jobs would be listed twice.
    fn of<T: Into<Value>>(name: &'static str, wanted: impl IntoIterator<Item = T>) -> Self {
        let mut values: Vec<Value> = Vec::new();
        for value in wanted {
            let value = value.into();
            if !values.contains(&value) {
                values.push(value);
            }
        }
        Self { name, values }
    }
}

/// The columns that lists branch by, the one that narrows most first.
fn columns(filter: &JobFilter) -> [Column; 6] {
    let states = filter.states.iter().map(|state| state.as_str().to_owned());
    [
        Column::of("flow", filter.flow.clone()),
        Column::of("uid", filter.uids.iter().map(|uid| i64::from(*uid))),
        Column::of("state", states),
        Column::of("user", filter.users.clone()),
        Column::of("grp", filter.groups.clone()),
        Column::of("kind", filter.kinds.clone()),
    ]
}

/// The first label that is wanted with a value: its index gives the numbers in order.
fn valued_label(filter: &JobFilter) -> Option<(&str, &str)> {
    let mut labels = filter.labels.iter();
    labels.find_map(|(name, value)| Some((name.as_str(), value.as_deref()?)))
}
