//! Who waits for whom, and whether a submission waits for itself.

use crate::model::id::JobId;
use std::collections::{BTreeMap, BTreeSet};

/// Edges from a job to those that wait for it. Only waiting jobs have edges.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    of: BTreeMap<JobId, BTreeSet<JobId>>,
}

impl Waiters {
    /// `waiter` waits for each of `dependencies`.
    pub(super) fn add(&mut self, waiter: JobId, dependencies: &[JobId]) {
        for dependency in dependencies {
            self.of.entry(*dependency).or_default().insert(waiter);
        }
    }

    /// `waiter` waits no more.
    pub(super) fn remove(&mut self, waiter: JobId, dependencies: &[JobId]) {
        for dependency in dependencies {
            if let Some(waiters) = self.of.get_mut(dependency) {
                waiters.remove(&waiter);
                if waiters.is_empty() {
                    self.of.remove(dependency);
                }
            }
        }
    }

    /// Who waits for `dependency`.
    pub(super) fn of(&self, dependency: JobId) -> Vec<JobId> {
        self.of
            .get(&dependency)
            .map(|waiters| waiters.iter().copied().collect())
            .unwrap_or_default()
    }
}

/// A cycle in `edges` (from each job to those it waits for), as the jobs on it in order, the first again at the end.
///
/// Takes away jobs that wait for nothing until none is left (Kahn's algorithm); what remains
/// contains a cycle, found by walking. Without recursion: a chain of 100,000 jobs is no reason to
/// run out of stack.
pub(super) fn find_cycle(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut waits_for: Vec<usize> = edges.iter().map(Vec::len).collect();
    let mut waited_by = vec![Vec::new(); edges.len()];
    for (waiter, dependencies) in edges.iter().enumerate() {
        for dependency in dependencies {
            waited_by[*dependency].push(waiter);
        }
    }
    let mut free: Vec<usize> = (0..edges.len())
        .filter(|job| waits_for[*job] == 0)
        .collect();
    while let Some(job) = free.pop() {
        for waiter in &waited_by[job] {
            waits_for[*waiter] -= 1;
            if waits_for[*waiter] == 0 {
                free.push(*waiter);
            }
        }
    }
    let stuck = |job: &usize| waits_for[*job] > 0;
    let mut next = (0..edges.len()).find(stuck)?;
    let mut path = Vec::new();
    let mut place_on_path = vec![None; edges.len()];
    loop {
        if let Some(start) = place_on_path[next] {
            path.drain(..start);
            path.push(next);
            return Some(path);
        }
        place_on_path[next] = Some(path.len());
        path.push(next);
        // A stuck job waits for another stuck one, so the walk goes on until it meets itself.
        next = *edges[next].iter().find(|job| stuck(job))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_found_and_named_in_order() {
        assert_eq!(find_cycle(&[vec![], vec![0], vec![0, 1]]), None);
        assert_eq!(find_cycle(&[vec![0]]), Some(vec![0, 0]));
        assert_eq!(
            find_cycle(&[vec![], vec![2, 0], vec![3], vec![1], vec![1]]),
            Some(vec![1, 2, 3, 1])
        );
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let chain: Vec<Vec<usize>> = (0..100_000usize)
            .map(|job| job.checked_sub(1).into_iter().collect())
            .collect();
        assert_eq!(find_cycle(&chain), None);
    }
}
