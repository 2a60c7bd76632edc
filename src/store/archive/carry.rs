//! Carries whole jobs from one database to another: the rows as they are, nothing read into them.

use crate::model::id::JobId;
use crate::store::rows::integer;
use rusqlite::types::Value;
use rusqlite::{Connection, Params, params_from_iter};

/// A table that a job has rows in: its name, the column with the number of the job, and its columns.
pub(crate) struct Table {
    pub(super) name: &'static str,
    pub(super) job: &'static str,
    columns: &'static str,
}

const JOBS: Table = Table {
    name: "jobs",
    job: "id",
    columns: "id, uid, gid, user, name, kind, grp, flow, state, is_final, state_data, priority, not_before_ms, \
              unmet, tries, attempt, created_wall_ms, created_boot_ms, finished_wall_ms, finished_boot_ms",
};

/// What a job has in the main database, itself first.
pub(super) const OF_JOB: [Table; 5] = [
    JOBS,
    Table {
        name: "job_specs",
        job: "job",
        columns: "job, spec",
    },
    Table {
        name: "job_deps",
        job: "job",
        columns: "job, dependency",
    },
    Table {
        name: "job_labels",
        job: "job",
        columns: "job, name, value",
    },
    Table {
        name: "attempts",
        job: "job",
        columns: "job, attempt, boot_id, claimed_wall_ms, claimed_boot_ms, started_wall_ms, started_boot_ms, \
                  ended_wall_ms, ended_boot_ms, pid, start_ticks, containment, ending, usage, progress, tally",
    },
];

/// What a job has in the progress history.
pub(crate) const OF_PROGRESS: [Table; 2] = [
    Table {
        name: "points",
        job: "job",
        columns: "job, attempt, at_ms, body",
    },
    Table {
        name: "newest",
        job: "job",
        columns: "job, attempt, at_ms, body",
    },
];

pub(super) const EVENT_COLUMNS: &str = "seq, at_ms, channel, kind, uid, is_final, job, body";

impl Table {
    /// Copies the rows of a job, in the place of those that are there; answers how many.
    pub(super) fn carry(
        &self,
        from: &Connection,
        to: &Connection,
        id: JobId,
    ) -> rusqlite::Result<usize> {
        self.clear(to, id)?;
        let Self { name, job, columns } = self;
        carry(
            from,
            to,
            &format!("SELECT {columns} FROM {name} WHERE {job} = ?1"),
            [integer(id.0)?],
            &format!(
                "INSERT INTO {name} ({columns}) VALUES ({})",
                places(columns)
            ),
        )
    }

    /// Adds the rows of a job that are not there.
    pub(crate) fn add(
        &self,
        from: &Connection,
        to: &Connection,
        id: JobId,
    ) -> rusqlite::Result<()> {
        let Self { name, job, columns } = self;
        carry(
            from,
            to,
            &format!("SELECT {columns} FROM {name} WHERE {job} = ?1"),
            [integer(id.0)?],
            &format!(
                "INSERT OR IGNORE INTO {name} ({columns}) VALUES ({})",
                places(columns)
            ),
        )?;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn columns(&self) -> Vec<&str> {
        self.columns.split(',').map(str::trim).collect()
    }

    /// Deletes the rows of a job.
    pub(super) fn clear(&self, connection: &Connection, id: JobId) -> rusqlite::Result<()> {
        let Self { name, job, .. } = self;
        connection
            .prepare_cached(&format!("DELETE FROM {name} WHERE {job} = ?1"))?
            .execute([integer(id.0)?])?;
        Ok(())
    }
}

/// Inserts into one database what is selected from another; answers how many rows.
pub(super) fn carry(
    from: &Connection,
    to: &Connection,
    select: &str,
    bounds: impl Params,
    insert: &str,
) -> rusqlite::Result<usize> {
    let mut select = from.prepare_cached(select)?;
    let mut insert = to.prepare_cached(insert)?;
    let columns = select.column_count();
    let mut rows = select.query(bounds)?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let values: rusqlite::Result<Vec<Value>> = (0..columns).map(|at| row.get(at)).collect();
        insert.execute(params_from_iter(values?))?;
        count += 1;
    }
    Ok(count)
}

/// `?, ?, ?` for so many columns.
pub(super) fn places(columns: &str) -> String {
    let count = columns.split(',').count();
    vec!["?"; count].join(", ")
}
