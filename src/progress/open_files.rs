//! How far a job is that says nothing: from the offset and the size of a file that one of its processes reads or
//! writes. An estimate, and marked as one: of several files it knows one, and nothing of what comes after.
//!
//! One file is followed for as long as it is open. It must have been seen to move: a file that is mapped into
//! memory, or only kept open, has an offset that means nothing. One that goes back and forth is given up.

mod scan;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use scan::{Key, OpenFile};

use crate::model::attempt::Process;
use crate::model::progress::{Observation, Source};

/// What an estimate names as its source.
pub const SOURCE: &str = "open-files";

/// Processes of one job that are looked at.
const MOST_PROCESSES: usize = 256;

/// How often a file may be read again from an earlier place before it is one that is read anyhow.
const MOST_REWINDS: u32 = 2;

/// Looks after which a file that has not moved is not waited for.
const WAITED_FOR: u32 = 2;

/// Looks that only found files never seen before, after which what is written counts: files that are over so
/// soon tell nothing of the whole.
const MOST_UNDECIDED: u32 = 3;

/// What is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Names of the programs whose files count.
    pub programs: Vec<String>,
    /// Directories whose files never count: stoked's own.
    pub excluded: Vec<PathBuf>,
}

impl Scope {
    fn has_program(&self, comm: &[u8]) -> bool {
        self.programs
            .iter()
            .any(|name| scan::is_program(name, comm))
    }

    fn excludes(&self, path: &[u8]) -> bool {
        self.excluded.iter().any(|dir| {
            let rest = path.strip_prefix(dir.as_os_str().as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }
}

/// What one look found.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// How far the job is, changed since the last look; without counts where nothing tells that any more.
    Moved(Box<Observation>),
    /// Files that may move: worth another look soon.
    Perhaps,
    /// Nothing, or nothing new.
    Nothing,
}

/// Follows the files of one attempt.
#[derive(Clone, Debug, Default)]
pub struct OpenFiles {
    tracks: BTreeMap<Key, Track>,
    followed: Option<Key>,
    undecided: u32,
    last: Option<(Key, u64, Option<u64>)>,
}

/// What was learned of one open file.
#[derive(Clone, Debug)]
struct Track {
    offset: u64,
    size: u64,
    looks: u32,
    has_moved: bool,
    rewinds: u32,
    /// The size is what it will be in the end; once that proves wrong it is not believed again.
    is_whole: Option<bool>,
}

impl OpenFiles {
    /// Looks at the files of `processes`; at those of every program where `any_program`, else at those of
    /// the programs in `scope`. Blocks on `/proc` only.
    pub fn look(&mut self, processes: &[Process], scope: &Scope, any_program: bool) -> Sight {
        let files = processes
            .iter()
            .take(MOST_PROCESSES)
            .flat_map(|process| scan::open_files(*process, scope, any_program))
            .collect();
        self.see(files)
    }

    /// Takes in the files that are open now.
    fn see(&mut self, files: Vec<OpenFile>) -> Sight {
        let before = std::mem::take(&mut self.tracks);
        for file in &files {
            let track = Track::next(before.get(&file.key), file);
            self.tracks.insert(file.key, track);
        }
        let usable = |key: &Key| self.tracks.get(key).is_some_and(Track::is_usable);
        if !self.followed.as_ref().is_some_and(usable) {
            match self.choose(&files) {
                Choice::This(key) => self.followed = Some(key),
                Choice::Wait => return self.wait(),
                Choice::None => return self.lose(),
            }
        }
        self.undecided = 0;
        let followed = files.iter().find(|file| Some(file.key) == self.followed);
        followed.map_or(Sight::Nothing, |file| self.show(file))
    }

    fn wait(&mut self) -> Sight {
        self.followed = None;
        self.undecided = self.undecided.saturating_add(1);
        if self.undecided > MOST_UNDECIDED {
            return self.take_back();
        }
        Sight::Perhaps
    }

    /// Nothing is there to follow. What was said of a file that is closed now is taken back, unless the next look,
    /// which comes soon, finds another.
    fn lose(&mut self) -> Sight {
        self.undecided = 0;
        let was_followed = self.followed.take().is_some();
        if was_followed {
            return Sight::Perhaps;
        }
        self.take_back()
    }

    fn take_back(&mut self) -> Sight {
        if self.last.take().is_none() {
            return Sight::Nothing;
        }
        Sight::Moved(Box::new(withdrawal()))
    }

    /// The largest file that is read, else the largest that is written.
    fn choose(&self, files: &[OpenFile]) -> Choice {
        let usable = |file: &&OpenFile| self.track(file).is_some_and(Track::is_usable);
        let moved = |file: &&OpenFile| self.track(file).is_some_and(|track| track.has_moved);
        let is_young = |file: &OpenFile| {
            let track = self.track(file);
            track.is_some_and(|track| !track.has_moved && track.looks <= WAITED_FOR)
        };
        let largest = |is_read: bool| {
            let of_sort = files.iter().filter(|file| file.is_read == is_read);
            // Of several that are the same size, the one that was there first.
            let candidates = of_sort.filter(usable).filter(moved).rev();
            candidates.max_by_key(|file| file.size).map(|file| file.key)
        };
        if let Some(key) = largest(true) {
            return Choice::This(key);
        }
        let may_come = files.iter().any(|file| file.is_read && is_young(file));
        if may_come && self.undecided < MOST_UNDECIDED {
            return Choice::Wait;
        }
        match largest(false) {
            Some(key) => Choice::This(key),
            None if files.iter().any(is_young) => Choice::Wait,
            None => Choice::None,
        }
    }

    fn track(&self, file: &OpenFile) -> Option<&Track> {
        self.tracks.get(&file.key)
    }

    fn show(&mut self, file: &OpenFile) -> Sight {
        let is_whole = self.track(file).is_some_and(|it| it.is_whole == Some(true));
        let total = (file.is_read || is_whole).then_some(file.size);
        let done = total.map_or(file.offset, |total| file.offset.min(total));
        let now = (file.key, done, total);
        if self.last == Some(now) {
            return Sight::Nothing;
        }
        self.last = Some(now);
        let mut seen = Observation::new(Source::Adapter(SOURCE.to_owned()));
        seen.estimated = true;
        seen.step = Some(count(done));
        seen.total_steps = total.map(count);
        seen.unit = Some("B".to_owned());
        seen.phase = Some(file.name.clone());
        Sight::Moved(Box::new(seen))
    }
}

/// Which file to follow.
enum Choice {
    This(Key),
    Wait,
    None,
}

impl Track {
    fn next(before: Option<&Self>, file: &OpenFile) -> Self {
        let Some(before) = before else {
            return Self {
                offset: file.offset,
                size: file.size,
                looks: 1,
                has_moved: false,
                rewinds: 0,
                is_whole: None,
            };
        };
        let same_size = file.size == before.size;
        let seems_whole = file.is_allocated && same_size && file.offset < file.size;
        let is_whole = match before.is_whole {
            None if seems_whole => Some(true),
            Some(true) if !same_size => Some(false),
            known => known,
        };
        Self {
            offset: file.offset,
            size: file.size,
            looks: before.looks.saturating_add(1),
            has_moved: before.has_moved || file.offset > before.offset,
            rewinds: before.rewinds + u32::from(file.offset < before.offset),
            is_whole,
        }
    }

    fn is_usable(&self) -> bool {
        self.rewinds <= MOST_REWINDS
    }
}

/// Takes back whatever was estimated.
#[must_use]
pub fn withdrawal() -> Observation {
    let mut seen = Observation::new(Source::Adapter(SOURCE.to_owned()));
    seen.estimated = true;
    seen
}

#[expect(
    clippy::cast_precision_loss,
    reason = "beyond 8 PiB a byte more or less shows nowhere"
)]
fn count(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests;
