//! Brings a database to the newest schema: an append-only list driven by `user_version`.
//!
//! Two rules: an entry is never changed or removed once it was released, and forward is the only way.

use crate::store::error::StoreError;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

/// The newest schema, for a database that is made now.
const NEWEST: &str = include_str!("schema.sql");

/// How to get from version `n` (the index) to `n + 1`.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
];

/// Marks the file as ours ("stkd").
const APPLICATION_ID: i64 = 0x7374_6b64;

/// The version of the schema that this program writes.
pub(crate) fn newest_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Makes the schema, or brings it up to date; all of it or nothing.
pub(crate) fn migrate(
    connection: &mut Connection,
    path: &Path,
    now_ms: i64,
) -> Result<(), StoreError> {
    let fail = |error: rusqlite::Error| StoreError::of_opening(&error, path);
    let found = version(connection).map_err(fail)?;
    let known = newest_version();
    if found == known {
        return Ok(());
    }
    if found > known {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(fail)?;
    // Looked at again under the write lock: nobody else migrates now.
    let found = version(&transaction).map_err(fail)?;
    if found == 0 {
        begin(&transaction, now_ms).map_err(fail)?;
    } else {
        let from = usize::try_from(found).unwrap_or(usize::MAX);
        for migration in MIGRATIONS.iter().skip(from) {
            transaction.execute_batch(migration).map_err(fail)?;
        }
    }
    transaction
        .pragma_update(None, "user_version", known)
        .map_err(fail)?;
    transaction.commit().map_err(fail)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// A new database, with an identity of its own.
fn begin(connection: &Connection, now_ms: i64) -> rusqlite::Result<()> {
    connection.execute_batch(NEWEST)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.execute(
        "INSERT INTO meta (key, value) VALUES ('epoch', lower(hex(randomblob(8)))), ('created_ms', ?1)",
        [now_ms.to_string()],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, kind and normalised text of everything in a schema.
    fn objects(connection: &Connection) -> Vec<(String, String, String)> {
        let mut statement = connection
            .prepare("SELECT name, type, coalesce(sql, '') FROM sqlite_master ORDER BY name")
            .unwrap();
        statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn migrating_ends_where_the_schema_file_begins() {
        let fresh = Connection::open_in_memory().unwrap();
        fresh.execute_batch(NEWEST).unwrap();
        let migrated = Connection::open_in_memory().unwrap();
        for migration in MIGRATIONS {
            migrated.execute_batch(migration).unwrap();
        }
        assert_eq!(objects(&fresh), objects(&migrated));
        assert!(objects(&fresh).len() > 10);
    }

    #[test]
    fn every_table_is_strict() {
        let mut fresh = Connection::open_in_memory().unwrap();
        migrate(&mut fresh, Path::new(":memory:"), 0).unwrap();
        let loose: Vec<String> = fresh
            .prepare("SELECT name FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%' AND NOT strict")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(loose, Vec::<String>::new());
    }

    #[test]
    fn a_newer_file_is_refused_and_left_alone() {
        let mut newer = Connection::open_in_memory().unwrap();
        newer.pragma_update(None, "user_version", 99).unwrap();
        let error = migrate(&mut newer, Path::new("/x/stoked.db"), 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "open /x/stoked.db: a newer stoked wrote it (schema 99, this one knows 4); install that version again"
        );
        assert_eq!(version(&newer).unwrap(), 99);
        assert!(objects(&newer).is_empty());
    }

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, Path::new(":memory:"), 0).unwrap();
        let before = objects(&connection);
        migrate(&mut connection, Path::new(":memory:"), 0).unwrap();
        assert_eq!(objects(&connection), before);
    }
}
