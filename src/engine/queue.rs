//! The order of waiting jobs and the places of their groups: the seam where scheduling grows.
//!
//! Only jobs that could start now are in here; the others wait with their dependencies or with a
//! timer. So a decision costs the logarithm of the queue, whatever waits for something else.

use crate::model::group::Group;
use crate::model::id::JobId;
use std::collections::{BTreeMap, BTreeSet};

/// Where a job stands among those of its group: priority first, then age (numbers count up).
type Rank = (u8, JobId);

/// One group with what it holds.
#[derive(Debug)]
struct Lane {
    group: Group,
    ready: BTreeSet<Rank>,
    /// Jobs that hold a place.
    taken: u32,
    /// Jobs that belong to this group and are not final, whatever they wait for.
    members: u32,
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: BTreeMap<String, Lane>,
    /// Groups in which something changed since the last look.
    stale: BTreeSet<String>,
    /// Whether nothing starts, whatever its group.
    draining: bool,
    /// The same for as long as this daemon lives.
    closed: bool,
}

impl Queue {
    /// Makes a group or replaces its settings.
    pub(super) fn set_group(&mut self, group: Group) {
        self.stale.insert(group.name.clone());
        match self.lanes.get_mut(&group.name) {
            Some(lane) => lane.group = group,
            None => {
                let lane = Lane {
                    group: group.clone(),
                    ready: BTreeSet::new(),
                    taken: 0,
                    members: 0,
                };
                self.lanes.insert(group.name, lane);
            }
        }
    }

    /// Removes a group; the caller made sure that it has no members.
    pub(super) fn remove_group(&mut self, name: &str) {
        self.lanes.remove(name);
        self.stale.remove(name);
    }

    /// The group called `name`.
    pub(super) fn group(&self, name: &str) -> Option<&Group> {
        self.lanes.get(name).map(|lane| &lane.group)
    }

    /// How many jobs of a group are not final.
    pub(super) fn members(&self, name: &str) -> u32 {
        self.lanes.get(name).map_or(0, |lane| lane.members)
    }

    /// How many jobs of a group hold a place.
    pub(super) fn taken(&self, name: &str) -> u32 {
        self.lanes.get(name).map_or(0, |lane| lane.taken)
    }

    /// All groups.
    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.lanes.values().map(|lane| &lane.group)
    }

    /// Counts a job in or out of its group.
    pub(super) fn count_member(&mut self, group: &str, joins: bool) {
        if let Some(lane) = self.lanes.get_mut(group) {
            lane.members = step(lane.members, joins);
        }
    }

    /// Takes or frees a place.
    pub(super) fn count_place(&mut self, group: &str, takes: bool) {
        if let Some(lane) = self.lanes.get_mut(group) {
            lane.taken = step(lane.taken, takes);
            self.stale.insert(group.to_owned());
        }
    }

    /// Adds a job that could start now.
    pub(super) fn add_ready(&mut self, group: &str, priority: u8, id: JobId) {
        if let Some(lane) = self.lanes.get_mut(group) {
            lane.ready.insert((priority, id));
            self.stale.insert(group.to_owned());
        }
    }

    /// Removes a job that could start; nothing happens where it is not in here.
    pub(super) fn remove_ready(&mut self, group: &str, priority: u8, id: JobId) {
        if let Some(lane) = self.lanes.get_mut(group) {
            lane.ready.remove(&(priority, id));
        }
    }

    /// Whether nothing starts.
    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Keeps everything from starting, or lets it.
    pub(super) fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Lets nothing start any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether that was said.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The job that starts next, if any may. Call until it says `None`; claim each in between.
    pub(super) fn next(&mut self) -> Option<JobId> {
        if self.draining || self.closed {
            // What becomes stale meanwhile stays so until something may start again.
            return None;
        }
        while let Some(name) = self.stale.first() {
            if let Some(Lane {
                group,
                ready,
                taken,
                ..
            }) = self.lanes.get(name)
            {
                let free = !group.paused && *taken < group.parallelism;
                if let Some((_, id)) = ready.first().filter(|_| free) {
                    return Some(*id);
                }
            }
            self.stale.pop_first();
        }
        None
    }
}

fn step(count: u32, up: bool) -> u32 {
    if up {
        count.saturating_add(1)
    } else {
        count.saturating_sub(1)
    }
}
