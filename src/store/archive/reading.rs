//! Reading archived jobs: the files of the months that are needed, each opened once and closed again.

use crate::model::attempt::Attempt;
use crate::model::id::JobId;
use crate::model::job::Job;
use crate::model::progress::SameRuns;
use crate::store::archive::{Month, archived, catalogue, open_file, reader};
use crate::store::error::StoreError;
use crate::store::open::Files;
use crate::store::past;
use crate::store::rows;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Most archived runs of a name that are looked at.
const MOST_RUNS: i64 = 20;

/// The months that one read has needed so far.
pub(crate) struct Months<'a> {
    files: &'a Files,
    open: BTreeMap<Month, Option<Connection>>,
}

impl<'a> Months<'a> {
    pub(crate) fn new(files: &'a Files) -> Self {
        Self {
            files,
            open: BTreeMap::new(),
        }
    }

    /// Where the files are.
    pub(crate) fn files(&self) -> &'a Files {
        self.files
    }

    /// The file of a month.
    ///
    /// # Errors
    /// [`StoreError`] where it is missing or damaged; the second time it says no more than that.
    pub(crate) fn open(&mut self, month: Month) -> Result<&Connection, StoreError> {
        let found = match self.open.entry(month) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => match reader(self.files, month) {
                Ok(file) => free.insert(Some(file)),
                Err(error) => {
                    free.insert(None);
                    return Err(error);
                }
            },
        };
        found.as_ref().ok_or_else(|| StoreError::Archived {
            path: month.path(self.files),
            why: "it cannot be read".to_owned(),
        })
    }

    /// The months that could not be read.
    pub(crate) fn unreadable(&self) -> Vec<Month> {
        let closed = self.open.iter().filter(|(_, file)| file.is_none());
        closed.map(|(month, _)| *month).collect()
    }

    /// A job that the catalogue says is in a month.
    pub(crate) fn job(&mut self, month: Month, id: JobId) -> Result<Job, StoreError> {
        let path = month.path(self.files);
        let file = self.open(month)?;
        let error = match rows::find_job(file, id) {
            Ok(Some(job)) => return Ok(job),
            // It may have been removed meanwhile; verifying finds out.
            Ok(None) => StoreError::Archived {
                path,
                why: format!("job {id} is not in it, which should be"),
            },
            Err(error) => {
                let error = archived(&error, &path);
                self.files.damage.found(&path, &error.to_string());
                error
            }
        };
        // What cannot be read here cannot be read there either.
        self.open.insert(month, None);
        Err(error)
    }

    /// Every attempt of a job of a month, oldest first.
    pub(crate) fn attempts(&mut self, month: Month, id: JobId) -> Result<Vec<Attempt>, StoreError> {
        let path = month.path(self.files);
        let file = self.open(month)?;
        rows::attempts(file, id).map_err(|error| archived(&error, &path))
    }
}

/// How long archived completed runs of the same name took, milliseconds, the newest first.
pub(crate) fn past_runs(
    main: &Connection,
    files: &Files,
    same: &SameRuns,
) -> rusqlite::Result<Vec<u64>> {
    let candidates: Vec<(JobId, Month)> = main
        .prepare_cached(
            "SELECT id, month FROM archived INDEXED BY archived_by_name \
             WHERE uid = ?1 AND name = ?2 AND state = 'completed' ORDER BY id DESC LIMIT ?3",
        )?
        .query_map(params![same.uid, same.name, MOST_RUNS], |row| {
            let id: i64 = row.get(0)?;
            let id = u64::try_from(id).unwrap_or_default();
            Ok((JobId(id), Month::of_number(row.get(1)?)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut months = Months::new(files);
    let mut took = Vec::new();
    for (id, month) in candidates {
        // An estimate does without what cannot be read.
        if let Ok(job) = months.job(month, id)
            && same
                .command
                .as_ref()
                .is_none_or(|command| *command == job.spec.command)
        {
            took.extend(past::took_of(&job));
        }
    }
    Ok(took)
}

/// Enters every job of the files that are there, where the catalogue was lost with the main database; answers how many,
/// and the largest number among them. Files that cannot be read stay out, and stay.
pub(crate) fn adopt_all(main: &Connection, files: &Files) -> rusqlite::Result<(usize, JobId)> {
    let mut count = 0;
    let mut largest = JobId(0);
    let names = std::fs::read_dir(&files.archive)
        .into_iter()
        .flatten()
        .flatten();
    for entry in names {
        let name = entry.file_name();
        let month = name
            .to_str()
            .and_then(|name| Month::parse(name.strip_suffix(".db")?));
        let Some(month) = month else { continue };
        let adopted = open_file(&entry.path()).and_then(|file| {
            adopt_file(main, &file, month).map_err(|error| archived(&error, &entry.path()))
        });
        match adopted {
            Ok((jobs, last)) => {
                count += jobs;
                largest = largest.max(last);
            }
            Err(error) => tracing::warn!(%error, "a month of the archive is left out"),
        }
    }
    Ok((count, largest))
}

/// Enters the jobs and events of one file; answers how many jobs were new, and the largest number in it.
pub(super) fn adopt_file(
    main: &Connection,
    file: &Connection,
    month: Month,
) -> rusqlite::Result<(usize, JobId)> {
    let mut statement = file.prepare("SELECT id FROM jobs ORDER BY id")?;
    let mut ids = statement.query([])?;
    let mut count = 0;
    let mut largest = 0;
    while let Some(row) = ids.next()? {
        let id: i64 = row.get(0)?;
        count += usize::from(catalogue::adopt(main, file, id, month)?);
        largest = largest.max(id);
    }
    Ok((count, rows::job_of(largest)))
}
