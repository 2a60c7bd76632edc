//! Events in the archive: moved from the oldest on, so that the numbers in the main database never have a hole, and read
//! as if they had never moved.

use crate::model::event::Event;
use crate::model::id::Seq;
use crate::store::archive::carry::{EVENT_COLUMNS, carry, places};
use crate::store::archive::{Archive, Month, reader, writer};
use crate::store::error::StoreError;
use crate::store::open::{self, Files};
use crate::store::reader::{EventFilter, events};
use crate::store::rows::{self, integer};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

/// Events that are copied at a time.
const BATCH: u64 = 4_000;

/// Events that are deleted in one transaction.
const PART: u64 = 400;

/// What of a month of events was copied.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: u64,
    last: u64,
    count: i64,
}

impl Archive {
    /// Moves a bounded number of the oldest events: those from before `before_ms`, and those beyond the newest `keep`.
    /// Answers how many went, and none once nothing is left to move.
    ///
    /// # Errors
    /// [`StoreError`] where a month or the main database cannot be written; nothing is lost then.
    pub fn move_events(&self, before_ms: i64, keep: u64) -> Result<u64, StoreError> {
        let main = open::reader(&self.files.database)?;
        let fail = |error: rusqlite::Error| StoreError::of(&error, &self.files.database);
        let Some((from, to)) = due(&main, before_ms, keep).map_err(fail)? else {
            return Ok(0);
        };
        let spans = spans(&main, from, to).map_err(fail)?;
        for month in spans.keys() {
            self.copy_events(&main, *month, from, to)?;
        }
        drop(main);
        self.let_go(from, to, &spans)?;
        Ok(to - from + 1)
    }

    fn copy_events(
        &self,
        main: &Connection,
        month: Month,
        from: u64,
        to: u64,
    ) -> Result<(), StoreError> {
        let mut file = writer(&self.files, month)?;
        let mut copy = || -> rusqlite::Result<()> {
            let transaction = file.transaction()?;
            let (begin, end) = bounds(main, month, from, to)?;
            carry(
                main,
                &transaction,
                &format!(
                    "SELECT {EVENT_COLUMNS} FROM events WHERE seq BETWEEN ?1 AND ?2 \
                     AND at_ms >= ?3 AND at_ms < ?4"
                ),
                params![integer(from)?, integer(to)?, begin, end],
                &format!(
                    "INSERT OR REPLACE INTO events ({EVENT_COLUMNS}) VALUES ({})",
                    places(EVENT_COLUMNS)
                ),
            )?;
            transaction.commit()
        };
        copy().map_err(|error| StoreError::of(&error, &month.path(&self.files)))
    }

    /// First it is noted where they are, then they are deleted, the oldest first.
    fn let_go(&self, from: u64, to: u64, spans: &BTreeMap<Month, Span>) -> Result<(), StoreError> {
        let noted = spans.clone();
        self.store
            .with_writer(move |writer| writer.write(|connection| note(connection, &noted)))?;
        let mut reached = from;
        while reached <= to {
            let up_to = to.min(reached.saturating_add(PART - 1));
            self.store.with_writer(move |writer| {
                writer.write(|connection| {
                    connection
                        .prepare_cached("DELETE FROM events WHERE seq <= ?1")?
                        .execute([integer(up_to)?])
                })
            })?;
            reached = up_to + 1;
        }
        Ok(())
    }
}

/// The first and the last event to move now. They follow each other: a gap would be a hidden hole.
fn due(main: &Connection, before_ms: i64, keep: u64) -> rusqlite::Result<Option<(u64, u64)>> {
    let first: Option<i64> = main
        .prepare_cached("SELECT min(seq) FROM events")?
        .query_row([], |row| row.get(0))?;
    let Some(from) = first.and_then(|seq| u64::try_from(seq).ok()) else {
        return Ok(None);
    };
    let head = rows::head(main)?.0;
    let most = from.saturating_add(BATCH - 1).min(head);
    let younger: Option<i64> = main
        .prepare_cached("SELECT min(seq) FROM events WHERE seq <= ?1 AND at_ms >= ?2")?
        .query_row(params![integer(most)?, before_ms], |row| row.get(0))?;
    let by_age = younger
        .and_then(|seq| u64::try_from(seq).ok())
        .map_or(most, |seq| seq.saturating_sub(1));
    let by_number = head.saturating_sub(keep).min(most);
    let to = by_age.max(by_number);
    Ok((to >= from).then_some((from, to)))
}

/// What of each month is in a stretch.
fn spans(main: &Connection, from: u64, to: u64) -> rusqlite::Result<BTreeMap<Month, Span>> {
    let mut statement = main
        .prepare_cached("SELECT seq, at_ms FROM events WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq")?;
    let mut found = statement.query([integer(from)?, integer(to)?])?;
    let mut spans: BTreeMap<Month, Span> = BTreeMap::new();
    while let Some(row) = found.next()? {
        let seq: i64 = row.get(0)?;
        let seq = u64::try_from(seq).unwrap_or_default();
        let span = spans.entry(Month::of(row.get(1)?)).or_insert(Span {
            first: seq,
            last: seq,
            count: 0,
        });
        span.last = seq;
        span.count += 1;
    }
    Ok(spans)
}

/// The times of the month. What no calendar has is in the first or the last one, which are then open at that side.
fn bounds(main: &Connection, month: Month, from: u64, to: u64) -> rusqlite::Result<(i64, i64)> {
    let (least, most): (i64, i64) = main
        .prepare_cached("SELECT min(at_ms), max(at_ms) FROM events WHERE seq BETWEEN ?1 AND ?2")?
        .query_row([integer(from)?, integer(to)?], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let begin = Month(month.0.saturating_sub(1)).end_ms();
    let begin = if Month::of(least) == month {
        least
    } else {
        begin
    };
    let end = month.end_ms();
    let end = if Month::of(most) == month {
        i64::MAX
    } else {
        end
    };
    Ok((begin, end))
}

fn note(connection: &Connection, spans: &BTreeMap<Month, Span>) -> rusqlite::Result<()> {
    for (month, span) in spans {
        // Moved again after a crash, they are counted again; `verify` counts what is there.
        connection
            .prepare_cached(
                "INSERT INTO archived_events (month, first_seq, last_seq, count) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (month) DO UPDATE SET first_seq = min(first_seq, ?2), \
                 last_seq = max(last_seq, ?3), count = count + CASE WHEN ?2 > last_seq THEN ?4 ELSE 0 END",
            )?
            .execute(params![
                month.number(),
                integer(span.first)?,
                integer(span.last)?,
                span.count
            ])?;
    }
    Ok(())
}

/// The oldest event that is archived; none where none is.
pub(crate) fn oldest(connection: &Connection) -> rusqlite::Result<Option<Seq>> {
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT min(first_seq) FROM archived_events")?
        .query_row([], |row| row.get(0))?;
    Ok(oldest.and_then(|seq| u64::try_from(seq).ok()).map(Seq))
}

/// Archived events of `filter` after `after`, oldest first, at most `limit`: those from before the events of the main
/// database. Where a month cannot be read, the first event after it comes along: from there on nothing is missing.
pub(crate) fn page(
    main: &Connection,
    files: &Files,
    after: Seq,
    limit: usize,
    filter: &EventFilter,
) -> rusqlite::Result<(Vec<Event>, Option<Seq>)> {
    let first_here = rows::oldest_here(main)?;
    // Those that are deleted here at this moment are in both, and count here.
    let last = Seq(first_here.0.saturating_sub(1));
    let up_to = filter.up_to.map_or(last, |up_to| up_to.min(last));
    if after >= up_to {
        return Ok((Vec::new(), None));
    }
    let filter = EventFilter {
        up_to: Some(up_to),
        ..filter.clone()
    };
    let months: Vec<(Month, u64, u64)> = main
        .prepare_cached(
            "SELECT month, first_seq, last_seq FROM archived_events WHERE last_seq > ?1 AND first_seq <= ?2 \
             ORDER BY first_seq",
        )?
        .query_map(
            params![i64::try_from(after.0).unwrap_or(i64::MAX), integer(up_to.0)?],
            |row| {
                let seq = |at| row.get(at).map(|seq: i64| u64::try_from(seq).unwrap_or_default());
                Ok((Month::of_number(row.get(0)?)?, seq(1)?, seq(2)?))
            },
        )?
        .collect::<rusqlite::Result<_>>()?;
    let mut found: Vec<Event> = Vec::new();
    let mut whole_from = None;
    for (month, first, last) in months {
        let enough = found
            .get(limit.saturating_sub(1))
            .and_then(|event| event.seq);
        if enough.is_some_and(|seq| seq.0 < first) {
            break;
        }
        let read = reader(files, month).and_then(|file| {
            events(&file, after, limit, &filter)
                .map_err(|error| StoreError::of(&error, &month.path(files)))
        });
        match read {
            Ok(events) => found.extend(events),
            Err(error) => {
                tracing::warn!(%error, "events are left out");
                whole_from = whole_from.max(Some(Seq(last + 1)));
            }
        }
        // The clock may have been set back between two months.
        found.sort_by_key(|event| event.seq);
        found.truncate(limit);
    }
    Ok((found, whole_from))
}
