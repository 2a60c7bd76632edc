//! One run: what is old enough goes, in small steps that can each be the last.

use crate::daemon::archiving::{Rules, Tools, sweep};
use crate::daemon::clock;
use crate::daemon::log_dirs::LogDirs;
use crate::logs::retain;
use crate::model::id::JobId;
use crate::store::StoreError;
use crate::store::archive::{Due, LogState, Month};
use crate::wire::archive::ArchiveRun;
use std::collections::BTreeMap;
use std::io;

/// Jobs that are looked up at a time.
const PAGE: usize = 4_000;

/// Jobs that are copied and synced at a time.
const BATCH: usize = 500;

/// Jobs of a month that expire at a time: whoever commits meanwhile waits for them.
const AT_ONCE: usize = 64;

/// Logs that are compressed are older than those that are not yet.
const OLDEST_FIRST: [LogState; 2] = [LogState::Compressed, LogState::Plain];

/// A run that goes on.
pub(super) struct Run<'a> {
    tools: &'a Tools,
    rules: Rules,
    now_ms: i64,
    older_than_ms: Option<i64>,
    logs: LogDirs,
    done: ArchiveRun,
    /// A month that stays although it is to go.
    stuck: Option<Month>,
}

impl<'a> Run<'a> {
    /// A run by the rules, or with another age than they say.
    pub(super) fn of(tools: &'a Tools, rules: Rules, older_than_ms: Option<u64>) -> Self {
        Self {
            tools,
            rules,
            now_ms: clock::now().wall_ms,
            older_than_ms: older_than_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)),
            logs: LogDirs::default(),
            done: ArchiveRun::default(),
            stuck: None,
        }
    }

    /// Does everything, as far as it gets.
    pub(super) fn all(mut self) -> ArchiveRun {
        if let Err(error) = self.steps() {
            self.done.problem = Some(format!("failed to {error}"));
        }
        self.done
    }

    fn steps(&mut self) -> Result<(), StoreError> {
        self.move_jobs()?;
        self.move_old_events()?;
        // What is archived by now runs no more, so that no logs come after these.
        self.logs = self.tools.log_dirs()?;
        self.compress_logs()?;
        self.delete_logs()?;
        self.delete_too_many_logs()?;
        self.delete_months()?;
        sweep(self.tools)?;
        while self.tools.archive.vacuum()? {
            self.tools.check()?;
        }
        match self.stuck {
            None => Ok(()),
            Some(month) => Err(StoreError::Io {
                path: self.tools.logs.clone(),
                why: format!(
                    "logs of {month} cannot be removed, so that it stays; see the journal of stoked"
                ),
            }),
        }
    }

    /// The time before which something of an age is too old.
    fn before(&self, age_ms: Option<i64>) -> Option<i64> {
        age_ms.map(|age_ms| self.now_ms.saturating_sub(age_ms))
    }

    /// The time before which jobs and events are archived. What ends in this very millisecond is old enough for
    /// somebody who asks for everything.
    fn archived_before(&self) -> Option<i64> {
        let asked = self.older_than_ms.map(|age_ms| age_ms.saturating_sub(1));
        self.before(asked.or(self.rules.archive_ms))
    }

    fn move_jobs(&mut self) -> Result<(), StoreError> {
        let Some(before_ms) = self.archived_before() else {
            return Ok(());
        };
        let mut after = JobId(0);
        loop {
            self.tools.check()?;
            let due = self.tools.archive.due(before_ms, after, PAGE)?;
            let Some(last) = due.last() else {
                return Ok(());
            };
            after = last.job;
            let mut months: BTreeMap<Month, Vec<Due>> = BTreeMap::new();
            for job in due {
                months.entry(job.month()).or_default().push(job);
            }
            for (month, mut jobs) in months {
                for batch in jobs.chunks_mut(BATCH) {
                    self.tools.check()?;
                    self.tools.archive.copy(month, batch)?;
                    let moved = self.tools.archive.hand_over(month, batch)?;
                    self.done.jobs += moved.len() as u64;
                }
            }
        }
    }

    fn move_old_events(&mut self) -> Result<(), StoreError> {
        let Some(before_ms) = self.archived_before() else {
            return Ok(());
        };
        loop {
            self.tools.check()?;
            let moved = self
                .tools
                .archive
                .move_events(before_ms, self.rules.events)?;
            self.done.events += moved;
            if moved == 0 {
                return Ok(());
            }
        }
    }

    /// Moves the events that are too many.
    pub(super) fn move_events(mut self) -> Result<(), StoreError> {
        if self.rules.archive_ms.is_none() {
            return Ok(());
        }
        self.move_old_events()
    }

    fn compress_logs(&mut self) -> Result<(), StoreError> {
        let age_ms = self.rules.logs_ms;
        let age_ms = age_ms.map(|age_ms| age_ms.min(self.older_than_ms.unwrap_or(age_ms)));
        let Some(before_ms) = self.before(age_ms) else {
            return Ok(());
        };
        let tools = self.tools;
        tools.each_with_logs(&[LogState::Plain], before_ms.saturating_add(1), |jobs| {
            let mut done = Vec::with_capacity(jobs.len());
            for job in jobs {
                tools.check()?;
                match self.compress(*job) {
                    Ok(()) => done.push(*job),
                    // A full disk stops everything; a log that cannot be read stops nothing.
                    Err(error) if is_full(&error) => {
                        tools.archive.note_logs(&done, LogState::Compressed)?;
                        return Err(StoreError::Full {
                            path: tools.logs.clone(),
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%job, %error, "its log stays as it is");
                    }
                }
            }
            self.done.logs_compressed += done.len() as u64;
            tools.archive.note_logs(&done, LogState::Compressed)?;
            Ok(true)
        })
    }

    fn compress(&mut self, job: JobId) -> io::Result<()> {
        for dir in self.logs.of(job) {
            let saved = retain::compress(&dir)?;
            self.done.log_bytes_before += saved.plain_bytes;
            self.done.log_bytes_after += saved.packed_bytes;
        }
        Ok(())
    }

    fn delete_logs(&mut self) -> Result<(), StoreError> {
        let Some(before_ms) = self.before(self.rules.delete_logs_ms) else {
            return Ok(());
        };
        let tools = self.tools;
        tools.each_with_logs(&OLDEST_FIRST, before_ms, |jobs| {
            tools.check()?;
            self.remove_logs(jobs)?;
            Ok(true)
        })
    }

    /// The oldest logs go until the rest is no more than is wanted.
    fn delete_too_many_logs(&mut self) -> Result<(), StoreError> {
        let (tools, most) = (self.tools, self.rules.most_log_bytes);
        if most == 0 {
            return Ok(());
        }
        let mut bytes: u64 = 0;
        tools.each_with_logs(&OLDEST_FIRST, i64::MAX, |jobs| {
            tools.check()?;
            bytes += jobs.iter().map(|job| self.logs.bytes(*job)).sum::<u64>();
            Ok(true)
        })?;
        tools.each_with_logs(&OLDEST_FIRST, i64::MAX, |jobs| {
            tools.check()?;
            let mut going = Vec::new();
            for job in jobs {
                if bytes <= most {
                    break;
                }
                bytes = bytes.saturating_sub(self.logs.bytes(*job));
                going.push(*job);
            }
            self.remove_logs(&going)?;
            Ok(bytes > most)
        })
    }

    fn remove_logs(&mut self, jobs: &[JobId]) -> Result<(), StoreError> {
        let is_gone = |job: &JobId| self.logs.remove(*job);
        let done: Vec<JobId> = jobs.iter().copied().filter(is_gone).collect();
        self.done.logs_deleted += done.len() as u64;
        self.tools.archive.note_logs(&done, LogState::Gone)
    }

    /// Whole months go: first it is said that they do, then the logs, the jobs and the file.
    fn delete_months(&mut self) -> Result<(), StoreError> {
        let before_ms = self.before(self.rules.delete_ms);
        let archive = &self.tools.archive;
        let expired = archive.expired(before_ms, self.rules.most_bytes)?;
        if !expired.is_empty() {
            // What a crash has left of the jobs would be nobody's then.
            archive.clear_progress()?;
        }
        for month in expired {
            archive.condemn(month)?;
            if self.delete_jobs(month)? {
                archive.drop_month(month)?;
                self.done.months_deleted.push(month.to_string());
                // Whoever would have gone on with an event of that month is told where events begin now.
                self.tools.bus.trim(self.tools.store.reader().bounds()?.0);
            }
        }
        Ok(())
    }

    /// The jobs of a condemned month go, each after its logs: whose these were nobody would know any more. Answers
    /// whether all of them went.
    fn delete_jobs(&mut self, month: Month) -> Result<bool, StoreError> {
        let (mut after, mut are_gone) = (JobId(0), true);
        loop {
            self.tools.check()?;
            let some = self.tools.archive.jobs_of(month, after, AT_ONCE)?;
            let Some((last, _)) = some.last() else {
                return Ok(are_gone);
            };
            after = *last;
            let count = some.len();
            let gone = some.into_iter().filter(|(job, _)| self.logs.remove(*job));
            let gone: Vec<(JobId, u32)> = gone.collect();
            if gone.len() < count {
                are_gone = false;
                self.stuck = Some(month);
            }
            self.tools.expire(gone)?;
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}
