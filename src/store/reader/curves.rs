//! Reading the progress history: curves, lines and last words.

use crate::model::curve::{Curve, CurvePoint, Grid, Line, Quantity};
use crate::model::id::{AttemptId, JobId};
use crate::model::progress::Progress;
use crate::store::archive::{self, Months};
use crate::store::error::StoreError;
use crate::store::history::{self, ProgressPoint, Stretch};
use crate::store::open;
use crate::store::reader::Reader;
use rusqlite::Connection;

impl Reader {
    /// The progress of `stretch`, gathered into cells of `resolution_ms` or wider ones, at most `most`; the newest
    /// value of each is the one that is shown. `newest` goes last where it is newer than what is stored.
    ///
    /// # Errors
    /// [`StoreError`] where the history cannot be read.
    pub fn curve(
        &self,
        stretch: &Stretch,
        resolution_ms: i64,
        most: usize,
        newest: Option<(i64, Progress)>,
    ) -> Result<Vec<CurvePoint>, StoreError> {
        self.history_of(stretch.job, |connection| {
            let (grid, newest) = grid(connection, stretch, resolution_ms, most, newest)?;
            let mut curve = Curve::new(grid);
            if let Some(connection) = connection {
                history::scan(connection, stretch, |at_ms, body| {
                    // One that cannot be read must not hide all the others.
                    if let Ok(progress) = serde_json::from_str(body) {
                        curve.add(at_ms, progress);
                    }
                })?;
            }
            if let Some((at_ms, progress)) = newest {
                curve.add(at_ms, progress);
            }
            Ok(curve.into_points())
        })
    }

    /// Quantities of the progress of `stretch` over time, one line for each of `quantities`; else as
    /// [`curve`](Self::curve).
    ///
    /// # Errors
    /// [`StoreError`] where the history cannot be read.
    pub fn lines(
        &self,
        stretch: &Stretch,
        quantities: &[Quantity],
        most: usize,
        newest: Option<(i64, Progress)>,
    ) -> Result<Vec<Line>, StoreError> {
        self.history_of(stretch.job, |connection| {
            let (grid, newest) = grid(connection, stretch, 1, most, newest)?;
            let mut lines: Vec<Line> = quantities.iter().map(|_| Line::new(grid)).collect();
            let mut add = |at_ms, progress: &Progress| {
                for (line, quantity) in lines.iter_mut().zip(quantities) {
                    if let Some(value) = quantity.of(progress) {
                        line.add(at_ms, value);
                    }
                }
            };
            if let Some(connection) = connection {
                history::scan(connection, stretch, |at_ms, body| {
                    if let Ok(progress) = serde_json::from_str(body) {
                        add(at_ms, &progress);
                    }
                })?;
            }
            if let Some((at_ms, progress)) = newest {
                add(at_ms, &progress);
            }
            Ok(lines)
        })
    }

    /// Every stored point of `stretch`, attempt by attempt, oldest first; `newest` goes last where it is newer.
    ///
    /// # Errors
    /// [`StoreError`] where the history cannot be read.
    pub fn progress_points(
        &self,
        stretch: &Stretch,
        newest: Option<(i64, Progress)>,
    ) -> Result<Vec<(i64, Progress)>, StoreError> {
        self.history_of(stretch.job, |connection| {
            let mut points: Vec<(i64, Progress)> = Vec::new();
            if let Some(connection) = connection {
                history::scan(connection, stretch, |at_ms, body| {
                    let progress = serde_json::from_str(body);
                    points.extend(progress.ok().map(|progress| (at_ms, progress)));
                })?;
            }
            let last_ms = points.last().map(|(at_ms, _)| *at_ms);
            points.extend(newest.filter(|(at_ms, _)| last_ms.is_none_or(|last| *at_ms > last)));
            Ok(points)
        })
    }

    /// What each of `attempts` said last, where it said anything.
    ///
    /// # Errors
    /// [`StoreError`] where the history cannot be read.
    pub fn last_progress(&self, attempts: &[AttemptId]) -> Result<Vec<ProgressPoint>, StoreError> {
        if attempts.is_empty() {
            return Ok(Vec::new());
        }
        self.history(|connection| {
            let Some(connection) = connection else {
                return Ok(Vec::new());
            };
            let last = attempts
                .iter()
                .map(|attempt| history::last(connection, *attempt));
            let found: rusqlite::Result<Vec<_>> = last.collect();
            Ok(found?.into_iter().flatten().collect())
        })
    }

    /// Runs `work` on what has the progress of a job: the progress history, or a month of the archive.
    fn history_of<T>(
        &self,
        job: JobId,
        work: impl FnOnce(Option<&Connection>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let month = self.read(|connection| archive::month_of(connection, job))?;
        let Some(month) = month else {
            return self.history(work);
        };
        let files = &self.shared.files;
        let mut months = Months::new(files);
        work(Some(months.open(month)?)).map_err(|error| StoreError::of(&error, &month.path(files)))
    }

    /// Runs `work` on the progress history, where there is one yet.
    pub(super) fn history<T>(
        &self,
        work: impl FnOnce(Option<&Connection>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let path = &self.shared.files.progress;
        // Rarely asked for: a connection of its own each time keeps none open.
        let mut connection = if path.exists() {
            Some(open::reader(path)?)
        } else {
            None
        };
        let outcome = match &mut connection {
            None => work(None),
            // One transaction, so that what is counted is what is read.
            Some(connection) => connection
                .transaction()
                .and_then(|transaction| work(Some(&transaction))),
        };
        outcome.map_err(|error| StoreError::of(&error, path))
    }
}

/// Progress that is not stored yet, and when it was seen.
type Unstored = Option<(i64, Progress)>;

/// The grid over the points of `stretch`, and `newest` where it belongs to them.
fn grid(
    connection: Option<&Connection>,
    stretch: &Stretch,
    resolution_ms: i64,
    most: usize,
    newest: Unstored,
) -> rusqlite::Result<(Grid, Unstored)> {
    let stored = match connection {
        Some(connection) => history::extent(connection, stretch)?,
        None => None,
    };
    let wanted = stretch.since_ms..=stretch.until_ms;
    let newest = newest.filter(|(at_ms, _)| {
        wanted.contains(at_ms) && stored.is_none_or(|(_, last)| *at_ms > last)
    });
    let unstored = newest.as_ref().map(|(at_ms, _)| *at_ms);
    let first = stored.map(|(first, _)| first).or(unstored);
    let last = unstored.or(stored.map(|(_, last)| last));
    let (first, last) = first.zip(last).unwrap_or_default();
    Ok((Grid::over(first, last, resolution_ms, most), newest))
}
