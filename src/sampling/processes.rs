//! The table of all processes: which there are, whose they are, and which have used CPU time since the last pass.
//!
//! A process that stands still costs one call, the look at its CPU clock. Its files are read when it is new, and later
//! only where it is among the busiest, or belongs to a job whose reader asks for more.

pub mod stat;

mod clock;
mod ended;
mod listing;
mod owner;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use procfs::prelude::FromBufRead;

use crate::model::id::AttemptId;
use crate::model::metric::Metric;
use crate::model::sample::{ForeignProcess, Holder, HostSample};
use crate::model::time::Stamp;
use crate::sampling::files::{Descriptors, Files, Missing, Roots};

use clock::Clocks;
use ended::Ended;
use listing::{Listed, Listing};
use owner::{Owner, Owners};
use stat::{Name, Stat};

pub use owner::{Token, Watch};

/// A process as the last pass found it.
#[derive(Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since boot; 0 where that is not told.
    pub start: u64,
    /// CPU time that it used, nanoseconds.
    pub cpu_ns: u64,
    /// Whether it has used any since the pass before.
    pub has_moved: bool,
    /// Its parent, when it was first seen.
    parent: u32,
    name: Name,
    /// Tells it from another one with the same id, as far as the kernel keeps it.
    inode: u64,
    grown_ns: u64,
    owner: Owner,
    detail: Option<Box<Detail>>,
}

/// What is known of a process that somebody wants to see.
#[derive(Clone, Debug)]
struct Detail {
    name: Arc<str>,
    uid: u32,
}

/// The table of all processes.
#[derive(Debug)]
pub struct Processes {
    proc: PathBuf,
    files: Files,
    descriptors: Descriptors,
    listing: Listing,
    clocks: Clocks,
    owners: Owners,
    ended: Ended,
    /// In the order of their ids.
    table: Vec<Process>,
    listed: Vec<Listed>,
    /// Whose processes are where in the table.
    members: Vec<(AttemptId, usize)>,
    /// Shims, likewise.
    shims: BTreeMap<AttemptId, usize>,
    passes: [Option<Stamp>; 2],
    page_bytes: f64,
    most_busy: usize,
}

impl Processes {
    /// A table that is still empty. At most `most_busy` processes that are no job's are told.
    #[must_use]
    pub fn new(roots: &Roots, most_busy: usize) -> Self {
        let descriptors = Descriptors::by_limit();
        Self {
            proc: roots.proc.clone(),
            files: Files::new(descriptors.clone()),
            descriptors,
            listing: Listing::new(&roots.proc),
            clocks: Clocks::new(roots),
            owners: Owners::default(),
            ended: Ended::default(),
            table: Vec::new(),
            listed: Vec::new(),
            members: Vec::new(),
            shims: BTreeMap::new(),
            passes: [None, None],
            page_bytes: rustix::param::page_size() as f64,
            most_busy,
        }
    }

    /// So many of the busiest that are no job's are told from now on.
    pub fn name_busiest(&mut self, most_busy: usize) {
        self.most_busy = most_busy;
    }

    /// What keeps descriptors to files of processes and jobs.
    #[must_use]
    pub fn descriptors(&self) -> &Descriptors {
        &self.descriptors
    }

    /// From now on processes of this attempt are recognised.
    pub fn watch(&mut self, watch: &Watch) {
        let stat_of = |pid: u32| {
            let text = std::fs::read(self.proc.join(format!("{pid}/stat"))).ok()?;
            Stat::parse(&text)
        };
        let begun = self.owners.watch(watch, stat_of);
        // Those that were seen before may be its own, unless they are older.
        for process in &mut self.table {
            if process.owner == Owner::Foreign && process.start >= begun {
                process.owner = Owner::Unknown;
            }
        }
    }

    /// The attempt is over.
    pub fn forget(&mut self, attempt: AttemptId, at: Stamp) {
        self.owners.forget(attempt);
        for process in &mut self.table {
            if process.owner.attempt() == Some(attempt) {
                self.ended.note(process, at);
                process.owner = Owner::Foreign;
            }
        }
        self.index();
    }

    /// One pass: who is there, who came, who is gone, and who moved.
    pub fn refresh(&mut self, at: Stamp) {
        self.passes = [Some(at), self.passes[0]];
        let mut listed = std::mem::take(&mut self.listed);
        self.listing.read(&mut listed);
        let mut before = std::mem::take(&mut self.table).into_iter().peekable();
        let mut table = Vec::with_capacity(listed.len() + 16);
        for one in &listed {
            while let Some(gone) = before.next_if(|it| it.pid < one.pid) {
                self.ended.note(&gone, at);
            }
            let known = before.next_if(|it| it.pid == one.pid);
            table.extend(self.look(*one, known, at));
        }
        before.for_each(|gone| self.ended.note(&gone, at));
        self.table = table;
        self.listed = listed;
        self.resolve();
        self.index();
    }

    /// A look at one process.
    fn look(&mut self, listed: Listed, known: Option<Process>, at: Stamp) -> Option<Process> {
        let now = self.clocks.read(listed.pid, &mut self.files);
        let same = known.as_ref().zip(now.as_ref().ok());
        let same = same.is_some_and(|(known, cpu_ns)| *cpu_ns >= known.cpu_ns);
        let mut process = match known {
            Some(known) if same && known.inode == listed.inode => known,
            known => {
                let new = self.first_look(listed, &now);
                let is_it = |known: &Process, new: &Process| {
                    same && known.start == new.start && known.start > 0
                };
                match (known, new) {
                    (Some(known), Some(new)) if is_it(&known, &new) => Process {
                        inode: new.inode,
                        ..known
                    },
                    (known, new) => {
                        known.iter().for_each(|gone| self.ended.note(gone, at));
                        return new;
                    }
                }
            }
        };
        let cpu_ns = now.unwrap_or(process.cpu_ns);
        process.grown_ns = cpu_ns - process.cpu_ns;
        process.has_moved = process.grown_ns > 0;
        process.cpu_ns = cpu_ns;
        Some(process)
    }

    /// A process that is new, or whose entry the kernel has made anew.
    fn first_look(&mut self, listed: Listed, now: &Result<u64, Missing>) -> Option<Process> {
        let path = self.proc.join(format!("{}/stat", listed.pid));
        let stat = match self.files.read_once(&path) {
            Ok(text) => Stat::parse(text).unwrap_or_default(),
            Err(Missing::Gone) => return None,
            // It is another user's, and hidden.
            Err(Missing::Refused) => Stat::default(),
        };
        Some(Process {
            pid: listed.pid,
            start: stat.start,
            cpu_ns: now.unwrap_or(0),
            // Readers of jobs have not seen it.
            has_moved: true,
            parent: stat.parent,
            name: stat.name,
            inode: listed.inode,
            grown_ns: 0,
            owner: Owner::Unknown,
            detail: None,
        })
    }

    /// Finds out whose the new ones are: of parents before their children, whatever their ids.
    fn resolve(&mut self) {
        let mut awaits_parents = true;
        loop {
            let (mut is_settled, mut has_progressed) = (true, false);
            for place in 0..self.table.len() {
                if self.table[place].owner != Owner::Unknown {
                    continue;
                }
                let owner = self.owner_of(place, awaits_parents);
                let is_known = owner != Owner::Unknown;
                is_settled &= is_known;
                has_progressed |= is_known;
                self.table[place].owner = owner;
            }
            if is_settled {
                return;
            }
            // Each other's parents, as an id that is used again may feign.
            awaits_parents = has_progressed;
        }
    }

    fn owner_of(&mut self, place: usize, awaits_parents: bool) -> Owner {
        let process = &self.table[place];
        if let Some(attempt) = self.owners.shim(process.pid, process.start) {
            return Owner::Shim(attempt);
        }
        if self.owners.is_empty() {
            return Owner::Foreign;
        }
        if let Some(parent) = self.place(process.parent).filter(|it| *it != place) {
            match self.table[parent].owner {
                Owner::Shim(attempt) | Owner::Job(attempt) => return Owner::Job(attempt),
                Owner::Unknown if awaits_parents => return Owner::Unknown,
                Owner::Unknown | Owner::Foreign => {}
            }
        }
        let process = &self.table[place];
        let (pid, parent, start) = (process.pid, process.parent, process.start);
        let found = self
            .owners
            .by_files(&self.proc, &mut self.files, pid, parent, start);
        found.map_or(Owner::Foreign, Owner::Job)
    }

    fn index(&mut self) {
        self.members.clear();
        self.shims.clear();
        for (place, process) in self.table.iter().enumerate() {
            match process.owner {
                Owner::Job(attempt) => self.members.push((attempt, place)),
                Owner::Shim(attempt) => {
                    self.shims.insert(attempt, place);
                }
                Owner::Unknown | Owner::Foreign => {}
            }
        }
        self.members.sort_unstable();
    }

    fn place(&self, pid: u32) -> Option<usize> {
        self.table.binary_search_by_key(&pid, |it| it.pid).ok()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.table.len()
    }

    /// The processes of an attempt, in the order of their ids; its shim is none of them.
    pub fn of(&self, attempt: AttemptId) -> impl Iterator<Item = &Process> {
        let first = self.members.partition_point(|(it, _)| *it < attempt);
        let own = self.members[first..]
            .iter()
            .take_while(move |(it, _)| *it == attempt);
        own.filter_map(|(_, place)| self.table.get(*place))
    }

    /// The shim of an attempt, while it lives.
    #[must_use]
    pub fn shim_of(&self, attempt: AttemptId) -> Option<&Process> {
        self.table.get(*self.shims.get(&attempt)?)
    }

    /// Adds what this knows to a sample of the host: the number of processes, and the busiest that are no job's.
    pub fn tell(&mut self, to: &mut HostSample) {
        to.readings.set(Metric::Processes, self.table.len() as f64);
        to.busiest = self.busiest();
    }

    fn busiest(&mut self) -> Vec<ForeignProcess> {
        let [Some(now), Some(before)] = self.passes else {
            return Vec::new();
        };
        let interval_ms = now.since_ms(before).max(1);
        let foreign = self.table.iter().enumerate();
        let mut foreign: Vec<(u64, usize)> = foreign
            .filter(|(_, it)| it.owner == Owner::Foreign && it.grown_ns > 0)
            .map(|(place, it)| (it.grown_ns, place))
            .collect();
        let by_time = |one: &(u64, usize), other: &(u64, usize)| other.cmp(one);
        if foreign.len() > self.most_busy {
            foreign.select_nth_unstable_by(self.most_busy, by_time);
            foreign.truncate(self.most_busy);
        }
        foreign.sort_unstable_by(by_time);
        let told = foreign.into_iter().filter_map(|(grown_ns, place)| {
            let process = self.table.get_mut(place)?;
            let path = self.proc.join(format!("{}/stat", process.pid));
            let stat = Stat::parse(self.files.read_once(&path).ok()?)?;
            if stat.start != process.start {
                return None;
            }
            let detail = detail(process, stat.name, &self.proc, &mut self.files)?;
            Some(ForeignProcess {
                pid: process.pid,
                name: detail.name,
                uid: detail.uid,
                cpu_percent: grown_ns as f64 / 1e4 / interval_ms as f64,
                memory_bytes: (stat.resident_pages as f64 * self.page_bytes) as u64,
            })
        });
        told.collect()
    }

    /// Whose a process is, or was a moment ago, for what is told when it may be over.
    pub fn holder_lately(&mut self, pid: u32, now: Stamp) -> Holder {
        let present = self.place(pid).map(|place| self.table[place].start);
        match self.ended.whose(pid, now) {
            Some((start, attempt)) if present.is_none_or(|it| it == start) => Holder::Job(attempt),
            Some(_) | None => self.holder(pid),
        }
    }

    /// Whose a process is, for one that uses a GPU.
    pub fn holder(&mut self, pid: u32) -> Holder {
        let Some(place) = self.place(pid) else {
            return Holder::Unknown;
        };
        if let Some(attempt) = self.table[place].owner.attempt() {
            return Holder::Job(attempt);
        }
        // It may have been moved into a job's cgroup since it was first seen; and a container that a job had made is
        // recognised by the token alone.
        if let Some(attempt) = self.owners.claimed(&self.proc, &mut self.files, pid) {
            self.table[place].owner = Owner::Job(attempt);
            self.index();
            return Holder::Job(attempt);
        }
        let process = &mut self.table[place];
        // It may have become another program since.
        let path = self.proc.join(format!("{pid}/stat"));
        let stat = self.files.read_once(&path).ok().and_then(Stat::parse);
        let Some(name) = stat
            .filter(|it| it.start == process.start)
            .map(|it| it.name)
        else {
            return Holder::Unknown;
        };
        match detail(process, name, &self.proc, &mut self.files) {
            Some(Detail { name, uid }) => Holder::Foreign { uid, name },
            None => Holder::Unknown,
        }
    }
}

/// Name and user of a process, which are read anew when it has become another program.
fn detail(
    process: &mut Process,
    name: Name,
    proc: &std::path::Path,
    files: &mut Files,
) -> Option<Detail> {
    if let Some(detail) = process.detail.as_ref().filter(|_| process.name == name) {
        return Some(Detail::clone(detail));
    }
    let text = files.read_once(&proc.join(format!("{}/status", process.pid)));
    let text = text.ok()?;
    let uid = procfs::process::Status::from_buf_read(text).ok()?.euid;
    let detail = Detail {
        name: name.text().into(),
        uid,
    };
    process.name = name;
    process.detail = Some(Box::new(detail.clone()));
    Some(detail)
}

#[cfg(test)]
mod tests;
