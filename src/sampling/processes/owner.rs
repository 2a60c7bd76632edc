//! Whose a process is: known by its parents up to a shim, by the cgroup it lives in, or by the token in its environment.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use procfs::prelude::FromBufRead;

use crate::contain::tree::TOKEN_VARIABLE;
use crate::model::attempt::Process;
use crate::model::id::AttemptId;
use crate::sampling::fields::lines;
use crate::sampling::files::Files;

use super::stat::Stat;

/// Whose a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Not looked at yet.
    Unknown,
    /// No job's.
    Foreign,
    /// It is the shim of an attempt.
    Shim(AttemptId),
    /// An attempt's.
    Job(AttemptId),
}

impl Owner {
    pub(super) fn attempt(self) -> Option<AttemptId> {
        match self {
            Self::Unknown | Self::Foreign => None,
            Self::Shim(attempt) | Self::Job(attempt) => Some(attempt),
        }
    }
}

/// The secret in the environment of an attempt's processes.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Nobody can guess it.
    pub secret: String,
    /// As whom the attempt runs. Who shows the secret counts only if it runs as the same user, or as root, as containers
    /// do: another user who got hold of it can charge nothing to the job.
    pub uid: u32,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("uid", &self.uid)
            .finish_non_exhaustive()
    }
}

/// How the processes of an attempt are recognised, and where its use is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Which.
    pub attempt: AttemptId,
    /// Its shim; where that is not known, the parent of the main process.
    pub shim: Option<Process>,
    /// Its main process.
    pub main: Option<Process>,
    /// Its cgroup, should it be in one.
    pub cgroup: Option<PathBuf>,
    /// What its environment shows, where it is known.
    pub token: Option<Token>,
    /// It has run for a while, and may have been sampled by an earlier daemon.
    pub is_adopted: bool,
}

/// All attempts that are watched.
#[derive(Debug, Default)]
pub(super) struct Owners {
    watches: BTreeMap<AttemptId, Watch>,
    shims: HashMap<u32, (u64, AttemptId)>,
    /// By the last two parts of their path, which are unique on a host, however much of the path a namespace shows.
    cgroups: HashMap<String, AttemptId>,
    /// With as whom it runs.
    tokens: HashMap<String, (AttemptId, u32)>,
    /// No process that started before all shims is a job's.
    oldest: u64,
}

impl Owners {
    pub(super) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// Recognises its processes from now on. Says when the first of them began.
    pub(super) fn watch(&mut self, watch: &Watch, stat_of: impl Fn(u32) -> Option<Stat>) -> u64 {
        let mut watch = watch.clone();
        if watch.shim.is_none() {
            let main = watch.main.and_then(|main| {
                let stat = stat_of(main.pid)?;
                (stat.start == main.start_ticks).then_some(stat)
            });
            watch.shim = main.and_then(|main| {
                let shim = stat_of(main.parent)?;
                // Whoever adopted an orphan may be anybody.
                let is_its = main.parent > 1 && shim.name.text().starts_with("stoked-shim");
                is_its.then_some(Process {
                    pid: main.parent,
                    start_ticks: shim.start,
                })
            });
        }
        let begun = begun(&watch);
        self.watches.insert(watch.attempt, watch);
        self.index();
        begun
    }

    pub(super) fn forget(&mut self, attempt: AttemptId) {
        self.watches.remove(&attempt);
        self.index();
    }

    fn index(&mut self) {
        self.shims.clear();
        self.cgroups.clear();
        self.tokens.clear();
        self.oldest = u64::MAX;
        for (attempt, watch) in &self.watches {
            if let Some(shim) = watch.shim {
                self.shims.insert(shim.pid, (shim.start_ticks, *attempt));
            }
            self.oldest = self.oldest.min(begun(watch));
            let cgroup = watch.cgroup.as_deref().and_then(last_two);
            self.cgroups.extend(cgroup.map(|it| (it, *attempt)));
            let token = watch.token.clone().filter(|it| !it.secret.is_empty());
            let token = token.map(|it| (it.secret, (*attempt, it.uid)));
            self.tokens.extend(token);
        }
    }

    /// The attempt whose shim this very process is.
    pub(super) fn shim(&self, pid: u32, start: u64) -> Option<AttemptId> {
        let (begun, attempt) = self.shims.get(&pid)?;
        (*begun == start).then_some(*attempt)
    }

    /// Whose a process is that no parent tells of: by its cgroup; and by its token where it was left to the first
    /// process of the host, as only a job without a shim is.
    pub(super) fn by_files(
        &self,
        proc: &Path,
        files: &mut Files,
        pid: u32,
        parent: u32,
        start: u64,
    ) -> Option<AttemptId> {
        if start < self.oldest {
            return None;
        }
        let by_cgroup = self.by_cgroup(proc, files, pid);
        by_cgroup.or_else(|| {
            let is_left = parent <= 1;
            is_left.then(|| self.by_token(proc, files, pid)).flatten()
        })
    }

    /// Whose a process is by what it carries itself.
    pub(super) fn claimed(&self, proc: &Path, files: &mut Files, pid: u32) -> Option<AttemptId> {
        self.by_cgroup(proc, files, pid)
            .or_else(|| self.by_token(proc, files, pid))
    }

    fn by_cgroup(&self, proc: &Path, files: &mut Files, pid: u32) -> Option<AttemptId> {
        if self.cgroups.is_empty() {
            return None;
        }
        let text = files.read_once(&proc.join(format!("{pid}/cgroup"))).ok()?;
        let path = lines(text).find_map(|line| line.strip_prefix(b"0::"))?;
        let path = std::str::from_utf8(path).ok()?;
        let found = pairs(path).filter_map(|pair| self.cgroups.get(pair));
        // A daemon that is a job itself has its jobs further down.
        found.last().copied()
    }

    fn by_token(&self, proc: &Path, files: &mut Files, pid: u32) -> Option<AttemptId> {
        if self.tokens.is_empty() {
            return None;
        }
        let text = files.read_once(&proc.join(format!("{pid}/environ"))).ok()?;
        let token = text.split(|&byte| byte == 0).find_map(|entry| {
            entry
                .strip_prefix(TOKEN_VARIABLE.as_bytes())?
                .strip_prefix(b"=")
        });
        let token = std::str::from_utf8(token?).ok()?;
        let (attempt, uid) = *self.tokens.get(token)?;
        let text = files.read_once(&proc.join(format!("{pid}/status"))).ok()?;
        // The real one: a program that another user installed to run as root shows the environment of whoever starts it.
        let real = procfs::process::Status::from_buf_read(text).ok()?.ruid;
        (real == uid || real == 0).then_some(attempt)
    }
}

/// When the first process of an attempt started, in clock ticks since boot.
fn begun(watch: &Watch) -> u64 {
    watch.shim.or(watch.main).map_or(0, |it| it.start_ticks)
}

/// The last two parts of a path.
fn last_two(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let parent = path.parent()?.file_name()?.to_str()?;
    Some(format!("{parent}/{name}"))
}

/// Every two parts of a path that follow each other.
fn pairs(path: &str) -> impl Iterator<Item = &str> {
    let path = path.trim_start_matches('/');
    let starts = std::iter::once(0).chain(path.match_indices('/').map(|(at, _)| at + 1));
    starts.filter_map(move |start| {
        let rest = path.get(start..)?;
        let mut slashes = rest.match_indices('/').map(|(at, _)| at);
        slashes.next()?;
        Some(slashes.next().map_or(rest, |end| &rest[..end]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_looked_at_two_parts_at_a_time() {
        let found: Vec<&str> = pairs("/a/stoked-x/42.1/sub").collect();
        assert_eq!(found, ["a/stoked-x", "stoked-x/42.1", "42.1/sub"]);
        assert_eq!(pairs("/").count(), 0);
        assert_eq!(pairs("/a").count(), 0);
        let dir = Path::new("/sys/fs/cgroup/stoked-x/42.1");
        assert_eq!(last_two(dir).unwrap(), "stoked-x/42.1");
    }
}
