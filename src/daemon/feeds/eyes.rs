//! What reads the traces of one attempt, and where it stands. All of it blocks on files.

use crate::contain::{Cgroup, ProcessId, tree};
use crate::logs::Stream;
use crate::logs::read::{self, Content, From, Reader, Selection};
use crate::logs::watch::{Watch, Watcher};
use crate::model::attempt::Process;
use crate::model::progress::Observation;
use crate::progress::adapters::{Catalogue, Hints};
use crate::progress::file;
use crate::progress::open_files::{OpenFiles, Scope, Sight};
use crate::progress::text::TextFeed;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Most output read in one look; what a flood leaves unread beyond it is skipped up to its end.
const LOOK_BYTES: usize = 1 << 20;

/// Most output read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// How much of the end of a long output is read: the newest bar is in it.
const TAIL_BYTES: u64 = 64 << 10;

/// Processes of one attempt whose files are looked at.
const MOST_PROCESSES: usize = 256;

/// What reads a trace, once or as often as it changes.
pub(super) trait Eyes: Send + 'static {
    /// Where the trace is.
    fn place(&mut self) -> &mut Place;

    /// Reads what is new.
    fn read(&mut self) -> Vec<Observation>;

    /// Watches on, then reads what is new.
    fn look(&mut self) -> Vec<Observation> {
        self.place().arm();
        self.read()
    }
}

/// A path that is watched from the first look on.
pub(super) struct Place {
    path: PathBuf,
    watcher: Watcher,
    watch: Option<Watch>,
}

impl Place {
    pub(super) fn new(path: PathBuf, watcher: Watcher) -> Self {
        Self {
            path,
            watcher,
            watch: None,
        }
    }

    fn arm(&mut self) {
        match &mut self.watch {
            Some(watch) => watch.arm(),
            None => self.watch = Some(self.watcher.watch(&self.path)),
        }
    }

    /// Waits until something changes after a look. The only thing here that does not block.
    pub(super) async fn changed(&mut self) {
        match &mut self.watch {
            Some(watch) => watch.told().await,
            None => std::future::pending().await,
        }
    }
}

/// Reads the output of an attempt.
pub(super) struct OutputEyes {
    log_dir: Place,
    reader: Option<Reader>,
    stdout: TextFeed,
    stderr: TextFeed,
    is_first: bool,
    is_resumed: bool,
}

impl OutputEyes {
    /// Of an attempt that `is_resumed`, the output that is there already was read by an earlier daemon, or most of it.
    pub(super) fn new(
        log_dir: Place,
        catalogue: &Arc<Catalogue>,
        hints: &Hints,
        is_resumed: bool,
    ) -> Self {
        let feed = || TextFeed::new(catalogue, hints);
        Self {
            log_dir,
            reader: None,
            stdout: feed(),
            stderr: feed(),
            is_first: true,
            is_resumed,
        }
    }

    fn read_on(&mut self, seen: &mut Vec<Observation>) -> std::io::Result<()> {
        for _ in 0..2 {
            let mut reader = match self.reader.take() {
                Some(reader) => reader,
                None => read::open(
                    &self.log_dir.path,
                    Selection::Both,
                    From::TailBytes(TAIL_BYTES),
                )?,
            };
            let mut budget = LOOK_BYTES;
            while budget > 0 {
                let Some(chunk) = reader.next_chunk(budget.min(CHUNK_BYTES))? else {
                    self.reader = Some(reader);
                    return Ok(());
                };
                if let Content::Bytes(bytes) = &chunk.content {
                    budget = budget.saturating_sub(bytes.len());
                    let before = seen.len();
                    match chunk.stream {
                        Stream::Stdout => self.stdout.push(bytes, seen),
                        Stream::Stderr => self.stderr.push(bytes, seen),
                    }
                    for new in seen.iter_mut().skip(before).filter(|_| self.is_first) {
                        new.said_at_ms = Some(chunk.at_wall_ms);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Eyes for OutputEyes {
    fn place(&mut self) -> &mut Place {
        &mut self.log_dir
    }

    /// Reads up to the end; of a flood, the beginning and the end. At first, what is there may have been there for long.
    /// What an earlier daemon may have read is told as the last word of each adapter: one by one, it would run backwards.
    fn read(&mut self) -> Vec<Observation> {
        let mut seen = Vec::new();
        if let Err(error) = self.read_on(&mut seen) {
            tracing::debug!(%error, dir = %self.log_dir.path.display(), "output cannot be read");
        }
        if std::mem::take(&mut self.is_first) && self.is_resumed {
            seen = last_words(seen);
        }
        seen
    }
}

/// One observation of each source, in the order of their last ones.
fn last_words(seen: Vec<Observation>) -> Vec<Observation> {
    let mut words: Vec<Observation> = Vec::new();
    for new in seen {
        let before = words.iter().position(|it| it.source == new.source);
        let word = match before.map(|at| words.remove(at)) {
            Some(mut word) => {
                word.absorb(new);
                word
            }
            None => new,
        };
        words.push(word);
    }
    words
}

/// Reads the progress file of an attempt.
pub(super) struct FileEyes {
    file: Place,
    uid: u32,
    is_first: bool,
    last: Option<Observation>,
}

impl FileEyes {
    pub(super) fn new(file: Place, uid: u32) -> Self {
        Self {
            file,
            uid,
            is_first: true,
            last: None,
        }
    }
}

impl Eyes for FileEyes {
    fn place(&mut self) -> &mut Place {
        &mut self.file
    }

    /// Reads it whole, where it says something else than before. At first, what it says may have been there for long.
    fn read(&mut self) -> Vec<Observation> {
        let said_at_ms = if std::mem::take(&mut self.is_first) {
            written_ms(&self.file.path)
        } else {
            None
        };
        match file::read_owned(&self.file.path, self.uid) {
            Ok(found) if found != self.last => {
                self.last.clone_from(&found);
                let found = found.into_iter();
                found.map(|it| Observation { said_at_ms, ..it }).collect()
            }
            Ok(_) => Vec::new(),
            // Torn writes are common; a file that stays wrong is the job's business.
            Err(error) => {
                tracing::debug!(%error, "a progress file cannot be read");
                Vec::new()
            }
        }
    }
}

/// When a file was last written, in milliseconds since 1970.
fn written_ms(path: &Path) -> Option<i64> {
    let written = std::fs::metadata(path).and_then(|it| it.modified()).ok()?;
    let since = written.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// Looks at the files that the processes of an attempt have open.
pub(super) struct OpenFilesEyes {
    files: OpenFiles,
    main: Process,
    cgroup: Option<PathBuf>,
}

impl OpenFilesEyes {
    /// The processes are those in `cgroup`, else those around `main`.
    pub(super) fn new(main: Process, cgroup: Option<PathBuf>) -> Self {
        Self {
            files: OpenFiles::default(),
            main,
            cgroup,
        }
    }

    pub(super) fn look(&mut self, scope: &Scope, any_program: bool) -> Sight {
        let processes = self.processes();
        self.files.look(&processes, scope, any_program)
    }

    fn processes(&self) -> Vec<Process> {
        let found = match &self.cgroup {
            Some(dir) => in_cgroup(dir),
            None => {
                let main = ProcessId {
                    pid: self.main.pid,
                    start_ticks: self.main.start_ticks,
                };
                tree::glance(&main, MOST_PROCESSES)
            }
        };
        let process = |found: ProcessId| Process {
            pid: found.pid,
            start_ticks: found.start_ticks,
        };
        found.into_iter().map(process).collect()
    }
}

/// One that is gone has none.
fn in_cgroup(dir: &Path) -> Vec<ProcessId> {
    Cgroup::at(dir.to_owned()).pids().unwrap_or_default()
}
