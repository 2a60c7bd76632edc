//! Files of the kernel's that are read again and again: kept open where descriptors are to spare, since opening one
//! costs more than reading it, and read into one buffer for all.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, pread};
use rustix::process::{Resource, getrlimit};

/// What a buffer begins with: more than all but the files of big hosts.
const BUFFER_BYTES: usize = 16 << 10;
/// What no file of the kernel's exceeds.
const MAX_BUFFER_BYTES: usize = 16 << 20;
/// The kernel gives lists record by record, as many as fit in its own page; so less than this is the end.
const SURELY_WHOLE_BYTES: usize = 2 << 10;
/// Failures in a row before a file is asked for rarely.
const STRIKES: u8 = 3;
/// How rarely: one of so many times.
const RARELY: u8 = 64;
/// The share of the descriptors that this process may have which readers keep: one part of so many.
const SHARE: u64 = 4;
/// The most descriptors kept, however many there may be.
const MOST_KEPT: usize = 16 << 10;

/// Where the kernel's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            sys: "/sys".into(),
        }
    }
}

impl Roots {
    /// A file below `/proc`.
    #[must_use]
    pub fn proc(&self, path: &str) -> Source {
        Source::new(self.proc.join(path))
    }

    /// A file below `/sys`.
    #[must_use]
    pub fn sys(&self, path: &str) -> Source {
        Source::new(self.sys.join(path))
    }
}

/// Why a file could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is not there, or what it told of is gone.
    Gone,
    /// It is there, and is not told.
    Refused,
}

impl From<Errno> for Missing {
    fn from(error: Errno) -> Self {
        match error {
            // A process that is gone, and a cgroup or device.
            Errno::NOENT | Errno::SRCH | Errno::NODEV | Errno::NXIO | Errno::NOTDIR => Self::Gone,
            _ => Self::Refused,
        }
    }
}

impl From<io::Error> for Missing {
    fn from(error: io::Error) -> Self {
        Errno::from_io_error(&error).map_or(Self::Refused, Self::from)
    }
}

/// How many descriptors may be kept, among all who read.
#[derive(Clone, Debug)]
pub struct Descriptors(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    kept: AtomicUsize,
    most: usize,
}

impl Descriptors {
    /// At most so many.
    #[must_use]
    pub fn at_most(most: usize) -> Self {
        Self(Arc::new(Budget {
            kept: AtomicUsize::new(0),
            most,
        }))
    }

    /// A share of what this process may have.
    #[must_use]
    pub fn by_limit() -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        let share = limit.map_or(MOST_KEPT, |limit| {
            usize::try_from(limit / SHARE).unwrap_or(MOST_KEPT)
        });
        Self::at_most(share.min(MOST_KEPT))
    }

    /// How many are kept now.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.0.kept.load(Ordering::Relaxed)
    }

    fn take(&self) -> Option<Permit> {
        let more = |kept: usize| (kept < self.0.most).then_some(kept + 1);
        let taken = self
            .0
            .kept
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| Permit(Arc::clone(&self.0)))
    }
}

/// The right to keep one descriptor; given back when it is dropped.
#[derive(Debug)]
struct Permit(Arc<Budget>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.kept.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file that is read again and again.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    kept: Option<(File, Permit)>,
    strikes: u8,
    skipped: u8,
    missing: Missing,
}

impl Source {
    /// The file at this path.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            kept: None,
            strikes: 0,
            skipped: 0,
            missing: Missing::Gone,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives up its descriptor, where one is kept.
    pub fn close(&mut self) {
        self.kept = None;
    }

    /// A file that is never there, as on hosts without its controller, must not cost a look each time.
    fn is_given_up(&mut self) -> bool {
        if self.strikes < STRIKES {
            return false;
        }
        self.skipped = (self.skipped + 1) % RARELY;
        self.skipped != 0
    }
}

/// Reads files, all into one buffer.
#[derive(Debug)]
pub struct Files {
    buffer: Vec<u8>,
    descriptors: Descriptors,
}

impl Files {
    /// A reader that keeps descriptors from these.
    #[must_use]
    pub fn new(descriptors: Descriptors) -> Self {
        Self {
            buffer: vec![0; BUFFER_BYTES],
            descriptors,
        }
    }

    /// Reads a file from its beginning. What was read stays until the next one is.
    pub fn read(&mut self, source: &mut Source) -> Result<&[u8], Missing> {
        if source.is_given_up() {
            return Err(source.missing);
        }
        match self.read_into(source) {
            Ok(length) => {
                source.strikes = 0;
                Ok(&self.buffer[..length])
            }
            Err(missing) => {
                source.kept = None;
                source.strikes = source.strikes.saturating_add(1);
                source.missing = missing;
                Err(missing)
            }
        }
    }

    /// Reads a file that is not read again soon.
    pub fn read_once(&mut self, path: &Path) -> Result<&[u8], Missing> {
        let file = open(path)?;
        let length = fill(&file, &mut self.buffer)?;
        Ok(&self.buffer[..length])
    }

    fn read_into(&mut self, source: &mut Source) -> Result<usize, Missing> {
        if let Some((file, _)) = &source.kept {
            return Ok(fill(file, &mut self.buffer)?);
        }
        let file = open(&source.path)?;
        let length = fill(&file, &mut self.buffer)?;
        source.kept = self.descriptors.take().map(|permit| (file, permit));
        Ok(length)
    }
}

fn open(path: &Path) -> Result<File, Errno> {
    // Without NONBLOCK a named pipe in the place of a file would hold the reader for ever.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    rustix::fs::open(path, flags, Mode::empty()).map(File::from)
}

/// Reads all of a file; the buffer grows where it is too small.
fn fill(file: &File, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
    let mut length = 0;
    loop {
        let count = match pread(file, &mut buffer[length..], length as u64) {
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error),
        };
        length += count;
        if count < SURELY_WHOLE_BYTES && length < buffer.len() {
            return Ok(length);
        }
        if length == buffer.len() {
            if length >= MAX_BUFFER_BYTES {
                return Ok(length);
            }
            buffer.resize(length * 2, 0);
        }
    }
}
