//! The space that becomes free inside a database, given back to the file system in small steps.

use rusqlite::Connection;

/// Pages that are given back in one transaction.
const STEP_PAGES: u32 = 64;

/// So much free space stays: what comes next is written there. Pages.
const SPARE_PAGES: i64 = 512;

/// Gives a bounded part of the free space back, and answers whether there is more. A database that was made before that
/// was possible keeps its space, and fills it again.
pub(super) fn give_back(connection: &Connection) -> rusqlite::Result<bool> {
    if free_pages(connection)? > SPARE_PAGES {
        let mut statement =
            connection.prepare_cached(&format!("PRAGMA incremental_vacuum({STEP_PAGES})"))?;
        // Each row that is asked for moves one page: to prepare and run the statement alone would move one.
        let mut pages = statement.query([])?;
        while pages.next()?.is_some() {}
    }
    Ok(free_pages(connection)? > SPARE_PAGES)
}

/// Pages that nothing is in and that can be given back.
fn free_pages(connection: &Connection) -> rusqlite::Result<i64> {
    let mode: i64 = connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
    let incremental = 2;
    if mode != incremental {
        return Ok(0);
    }
    connection.pragma_query_value(None, "freelist_count", |row| row.get(0))
}
