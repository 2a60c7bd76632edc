//! Keeps what is stored of one attempt within bounds, whatever it reports and however long it runs.

use crate::model::curve::Grid;
use crate::model::id::AttemptId;
use crate::store::rows::integer;
use rusqlite::{Transaction, params};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Most points of one attempt. More than that are thinned to half.
const MOST_POINTS: usize = 20_000;

/// Most bytes of one attempt's points.
const MOST_BYTES: usize = 8 << 20;

/// What is stored of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bulk {
    pub(super) points: usize,
    /// Their bodies.
    pub(super) bytes: usize,
    pub(super) newest_ms: i64,
}

impl Bulk {
    pub(super) fn read(
        transaction: &Transaction<'_>,
        attempt: AttemptId,
    ) -> rusqlite::Result<Self> {
        let (points, bytes, newest): (i64, i64, Option<i64>) = transaction
            .prepare_cached(
                "SELECT count(*), coalesce(sum(octet_length(body)), 0), max(at_ms) FROM points \
                 WHERE job = ?1 AND attempt = ?2",
            )?
            .query_row(params![integer(attempt.job.0)?, attempt.attempt], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        Ok(Self {
            points: usize::try_from(points).unwrap_or_default(),
            bytes: usize::try_from(bytes).unwrap_or_default(),
            newest_ms: newest.unwrap_or(i64::MIN),
        })
    }

    pub(super) fn is_too_much(&self) -> bool {
        self.points > MOST_POINTS || self.bytes > MOST_BYTES
    }
}

/// Leaves about half of the points, evenly over the time they cover: the first and the last one, those where a
/// metric was smallest or largest, and the newest of every stretch.
///
/// The stretches grow with the time that is covered, so that what is old does not get ever sparser than the rest.
pub(super) fn thin(
    transaction: &Transaction<'_>,
    attempt: AttemptId,
    bulk: &Bulk,
) -> rusqlite::Result<Bulk> {
    let (times, kept) = choose(transaction, attempt, bulk)?;
    let mut delete = transaction
        .prepare_cached("DELETE FROM points WHERE job = ?1 AND attempt = ?2 AND at_ms = ?3")?;
    let job = integer(attempt.job.0)?;
    for at_ms in times.difference(&kept) {
        delete.execute(params![job, attempt.attempt, at_ms])?;
    }
    Bulk::read(transaction, attempt)
}

#[derive(Deserialize)]
struct Metrics<'a> {
    #[serde(borrow, default)]
    metrics: BTreeMap<Cow<'a, str>, f64>,
}

/// Where a metric was smallest and largest.
struct Extremes {
    min: (f64, i64),
    max: (f64, i64),
}

/// The times of all points, and of those that stay.
fn choose(
    transaction: &Transaction<'_>,
    attempt: AttemptId,
    bulk: &Bulk,
) -> rusqlite::Result<(BTreeSet<i64>, BTreeSet<i64>)> {
    let mut select = transaction.prepare_cached(
        "SELECT at_ms, body FROM points WHERE job = ?1 AND attempt = ?2 ORDER BY at_ms",
    )?;
    let mut rows = select.query(params![integer(attempt.job.0)?, attempt.attempt])?;
    let mut times = BTreeSet::new();
    let mut extremes: BTreeMap<String, Extremes> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let at_ms = row.get(0)?;
        times.insert(at_ms);
        // One that cannot be read has no extremes, and goes or stays like any other.
        if let Ok(Metrics { metrics }) = serde_json::from_str(row.get_ref(1)?.as_str()?) {
            for (name, value) in metrics {
                note(&mut extremes, &name, value, at_ms);
            }
        }
    }
    let (first, last) = (times.first().copied(), times.last().copied());
    let ends = first.zip(last).unwrap_or_default();
    let grid = Grid::over(ends.0, ends.1, 1, bulk.points / 2);
    let newest: BTreeMap<i64, i64> = times
        .iter()
        .map(|at_ms| (grid.cell(*at_ms), *at_ms))
        .collect();
    let turns = extremes.values().flat_map(|it| [it.min.1, it.max.1]);
    let kept = newest.into_values().chain(first).chain(turns).collect();
    Ok((times, kept))
}

fn note(extremes: &mut BTreeMap<String, Extremes>, name: &str, value: f64, at_ms: i64) {
    let here = (value, at_ms);
    match extremes.get_mut(name) {
        Some(known) => {
            if value < known.min.0 {
                known.min = here;
            }
            if value > known.max.0 {
                known.max = here;
            }
        }
        None => {
            let only = Extremes {
                min: here,
                max: here,
            };
            extremes.insert(name.to_owned(), only);
        }
    }
}
