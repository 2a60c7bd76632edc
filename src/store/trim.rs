//! Letting go of what is old: events beyond the newest so many, and keys nobody will repeat.

use crate::model::id::Seq;
use crate::store::rows::{self, integer};
use rusqlite::Connection;

/// Most events that go in one call: the writer has other things to do.
const EVENTS_PER_CALL: u64 = 10_000;

/// What to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrimPolicy {
    /// How many of the newest events stay.
    pub events_keep: u64,
    /// Events from before this wall-clock time go; `None` lets their number alone decide.
    pub events_older_than_ms: Option<i64>,
    /// Idempotency keys used before this wall-clock time go.
    pub keys_older_than_ms: i64,
}

/// How far it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// The oldest event still there; one after the newest where none is.
    pub oldest: Seq,
    /// Whether there is more to let go of: call again.
    pub more: bool,
}

/// Lets go of it, inside the writer's transaction.
pub(crate) fn trim(connection: &Connection, policy: &TrimPolicy) -> rusqlite::Result<Trimmed> {
    let oldest = rows::oldest(connection)?;
    let head = rows::head(connection)?;
    let by_number = (head.0 + 1).saturating_sub(policy.events_keep);
    let by_age = first_younger(connection, oldest, policy.events_older_than_ms)?;
    let wanted = by_number.max(by_age).min(head.0 + 1);
    let reached = wanted.min(oldest.0.saturating_add(EVENTS_PER_CALL));
    if reached > oldest.0 {
        connection
            .prepare_cached("DELETE FROM events WHERE seq < ?1")?
            .execute([integer(reached)?])?;
    }
    connection
        .prepare_cached("DELETE FROM idempotency_keys WHERE at_ms < ?1")?
        .execute([policy.keys_older_than_ms])?;
    // An environment whose jobs were refused after it was seen.
    connection
        .prepare_cached(
            "DELETE FROM environments WHERE NOT EXISTS \
             (SELECT 1 FROM jobs WHERE jobs.environment = environments.number)",
        )?
        .execute([])?;
    Ok(Trimmed {
        oldest: rows::oldest(connection)?,
        more: reached < wanted,
    })
}

/// The first event that is young enough, looking no further than one call can go. Times need not
/// ascend; only what is old from the beginning on goes, so that no gap comes to be.
fn first_younger(
    connection: &Connection,
    oldest: Seq,
    older_than_ms: Option<i64>,
) -> rusqlite::Result<u64> {
    let Some(older_than_ms) = older_than_ms else {
        return Ok(0);
    };
    let last = oldest.0.saturating_add(EVENTS_PER_CALL);
    let first: Option<i64> = connection
        .prepare_cached("SELECT min(seq) FROM events WHERE seq <= ?1 AND at_ms >= ?2")?
        .query_row([integer(last)?, older_than_ms], |row| row.get(0))?;
    // All of them are old: go as far as one call goes, and one more says that there may be more.
    Ok(first
        .and_then(|seq| u64::try_from(seq).ok())
        .unwrap_or(last + 1))
}
