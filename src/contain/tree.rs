//! The process tree of an attempt, for hosts where no cgroup may be written.
//!
//! While the shim lives it is the subreaper of everything the job forked, so the tree below it
//! is complete, daemons included. When it is dead, the job's processes are recognised by the
//! token in their environment, by the session of a main process that still lives, and by
//! descent from either; a process that shows none of these is left alone, whatever its pid.

use std::collections::{BTreeSet, VecDeque};
use std::fs;

use rustix::process::Signal;

use super::identity::{self, ProcessId, Stat};
use super::{ContainError, identity::signal_each};

/// The environment variable that marks the processes of one attempt.
pub const TOKEN_VARIABLE: &str = "STOKED_ATTEMPT_TOKEN";

/// How often processes are looked for again while they are being stopped. A fork bomb needs a
/// few rounds, since what is found is stopped before the next look.
const MAX_ROUNDS: u32 = 64;

/// How the processes of one attempt are recognised.
#[derive(Debug, Clone)]
pub struct Tree {
    shim: Option<ProcessId>,
    token: Option<String>,
    main: Option<ProcessId>,
    spared: Option<ProcessId>,
}

impl Tree {
    /// Everything below a living shim; this is how the shim sees its own job.
    #[must_use]
    pub fn below(shim: ProcessId) -> Self {
        Self {
            shim: Some(shim),
            token: None,
            main: None,
            spared: None,
        }
    }

    /// The same without a process of the shim's own and what descends from that; but with the main process, which does so
    /// when it is new.
    #[must_use]
    pub fn sparing(mut self, process: Option<ProcessId>, main: Option<ProcessId>) -> Self {
        self.spared = process;
        self.main = main.filter(|_| process.is_some());
        self
    }

    /// Everything of an attempt whose shim may be dead; identities are of the running boot.
    #[must_use]
    pub fn of_attempt(shim: Option<ProcessId>, token: &str, main: Option<ProcessId>) -> Self {
        Self {
            shim,
            token: (!token.is_empty()).then(|| token.to_owned()),
            main,
            spared: None,
        }
    }

    /// The living processes, neither the shim nor the caller among them.
    pub fn pids(&self) -> Result<Vec<ProcessId>, ContainError> {
        let all = identity::all().map_err(|source| ContainError::access("/proc", source))?;
        Ok(self.select(&all, carries))
    }

    /// SIGKILL for all, stopped first so that forks cannot outrun the search.
    pub(crate) fn sweep(&self) -> Result<u32, ContainError> {
        let found = self.stop_all()?;
        // Some may end by the first deaths: a group that is stopped and loses its parent gets
        // SIGHUP. They count as well.
        signal_each(&found, Signal::KILL);
        Ok(u32::try_from(found.len()).unwrap_or(u32::MAX))
    }

    /// SIGSTOP for all until none is found that has not got it.
    pub(crate) fn freeze(&self) -> Result<(), ContainError> {
        self.stop_all().map(|_| ())
    }

    pub(crate) fn signal_all(&self, signal: Signal) -> Result<u32, ContainError> {
        Ok(signal_each(&self.pids()?, signal))
    }

    fn stop_all(&self) -> Result<Vec<ProcessId>, ContainError> {
        let mut stopped = BTreeSet::new();
        for _ in 0..MAX_ROUNDS {
            let mut found_new = false;
            for process in self.pids()? {
                if stopped.insert(process) {
                    found_new = true;
                    signal_each(&[process], Signal::STOP);
                }
            }
            if !found_new {
                break;
            }
        }
        Ok(stopped.into_iter().collect())
    }

    /// The choice among all processes; `carries(pid, entry)` says whether an environment has an
    /// entry.
    fn select(&self, all: &[Stat], carries: impl Fn(u32, &str) -> bool) -> Vec<ProcessId> {
        let own_pid = std::process::id();
        let shim_pid = self.living(all, self.shim);
        // A session is named by its leader's pid: with the leader gone the name may be a
        // stranger's by now.
        let session = self.living(all, self.main);
        let spared = self.living(all, self.spared);
        let entry = self
            .token
            .as_ref()
            .map(|token| format!("{TOKEN_VARIABLE}={token}"));
        let mut chosen: BTreeSet<u32> = all
            .iter()
            .filter(|stat| {
                Some(stat.parent) == shim_pid
                    || Some(stat.session) == session
                    || Some(stat.id) == self.main
                    || entry
                        .as_ref()
                        .is_some_and(|entry| carries(stat.id.pid, entry))
            })
            .map(|stat| stat.id.pid)
            .filter(|pid| *pid != own_pid && Some(*pid) != shim_pid && Some(*pid) != spared)
            .collect();
        add_descendants(all, &mut chosen, |pid| {
            pid == own_pid || Some(pid) == spared
        });
        all.iter()
            .filter(|stat| !stat.dead && chosen.contains(&stat.id.pid))
            .map(|stat| stat.id)
            .collect()
    }

    fn living(&self, all: &[Stat], process: Option<ProcessId>) -> Option<u32> {
        let process = process?;
        all.iter()
            .any(|stat| stat.id == process)
            .then_some(process.pid)
    }
}

/// Some of the living processes that a shim has below it, `main` being one of its children: found from parents to
/// children, without a look at every process of the host, and at most `most`. For looks that are often repeated
/// and may miss what is just forking.
#[must_use]
pub fn glance(main: &ProcessId, most: usize) -> Vec<ProcessId> {
    let Ok(stat) = identity::stat(main.pid) else {
        return Vec::new();
    };
    if stat.id != *main {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut parents = VecDeque::from([stat.parent]);
    while let Some(parent) = parents.pop_front() {
        for child in children(parent) {
            if found.len() >= most {
                return found;
            }
            if let Ok(stat) = identity::stat(child)
                && stat.parent == parent
                && !stat.dead
            {
                found.push(stat.id);
                parents.push_back(child);
            }
        }
    }
    found
}

/// The children of every thread of a process; none where the kernel does not list them.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let lists = threads.into_iter().flatten().flatten().map(|thread| {
        let list = fs::read_to_string(thread.path().join("children"));
        list.unwrap_or_default()
    });
    let children: Vec<String> = lists.collect();
    children
        .iter()
        .flat_map(|list| list.split_ascii_whitespace())
        .filter_map(|child| child.parse().ok())
        .collect()
}

fn add_descendants(all: &[Stat], chosen: &mut BTreeSet<u32>, is_left_out: impl Fn(u32) -> bool) {
    loop {
        let before = chosen.len();
        for stat in all {
            if chosen.contains(&stat.parent) && !is_left_out(stat.id.pid) {
                chosen.insert(stat.id.pid);
            }
        }
        if chosen.len() == before {
            return;
        }
    }
}

/// Whether the environment a process was started with has exactly this entry. One that cannot be
/// read is another user's.
fn carries(pid: u32, entry: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
        environment
            .split(|&byte| byte == 0)
            .any(|found| found == entry.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: u32, parent: u32, session: u32) -> Stat {
        Stat {
            id: ProcessId {
                pid,
                start_ticks: u64::from(pid) * 10,
            },
            parent,
            session,
            dead: false,
        }
    }

    fn pids(found: &[ProcessId]) -> Vec<u32> {
        found.iter().map(|process| process.pid).collect()
    }

    #[test]
    fn below_a_shim_is_everything_that_descends_from_it() {
        let all = [
            stat(1, 0, 1),
            stat(10, 1, 10),
            stat(13, 12, 13),
            stat(11, 10, 11),
            stat(12, 11, 11),
            stat(20, 1, 20),
        ];
        let tree = Tree::below(all[1].id);
        assert_eq!(pids(&tree.select(&all, |_, _| false)), [13, 11, 12]);
        let recycled = Tree::below(ProcessId {
            start_ticks: 7,
            ..all[1].id
        });
        assert!(recycled.select(&all, |_, _| false).is_empty());
        let spared = Tree::below(all[1].id).sparing(Some(all[4].id), None);
        assert_eq!(pids(&spared.select(&all, |_, _| false)), [11]);
        let spared = Tree::below(all[1].id).sparing(Some(all[3].id), None);
        assert!(spared.select(&all, |_, _| false).is_empty());
        let spared = Tree::below(all[1].id).sparing(Some(all[3].id), Some(all[4].id));
        assert_eq!(pids(&spared.select(&all, |_, _| false)), [13, 12]);
        let stranger = ProcessId {
            start_ticks: 7,
            ..all[4].id
        };
        let spared = Tree::below(all[1].id).sparing(Some(stranger), None);
        assert_eq!(spared.select(&all, |_, _| false).len(), 3);
    }

    #[test]
    fn without_a_shim_token_session_and_descent_decide() {
        let all = [
            stat(1, 0, 1),
            stat(11, 1, 11),
            stat(12, 1, 11),
            stat(30, 1, 30),
            stat(31, 30, 30),
            stat(40, 1, 40),
        ];
        let carries = |pid, entry: &str| pid == 30 && entry == "STOKED_ATTEMPT_TOKEN=abc";
        let shim = ProcessId {
            pid: 10,
            start_ticks: 1,
        };
        let tree = Tree::of_attempt(Some(shim), "abc", Some(all[1].id));
        assert_eq!(pids(&tree.select(&all, carries)), [11, 12, 30, 31]);
        let stranger = ProcessId {
            start_ticks: 3,
            ..all[1].id
        };
        let tree = Tree::of_attempt(Some(shim), "abc", Some(stranger));
        assert_eq!(pids(&tree.select(&all, carries)), [30, 31]);
    }

    #[test]
    fn a_glance_finds_children_of_children() {
        let script = "cat & cat; wait";
        let mut shell = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let main = identity::of_pid(shell.id()).unwrap();
        // The second one answers, so both are there.
        let mut input = shell.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, b"x").unwrap();
        std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let found = glance(&main, 1000);
        assert!(found.contains(&main), "{found:?}");
        assert!(found.len() >= 2, "{found:?}");
        assert_eq!(glance(&main, 1).len(), 1);
        let stranger = ProcessId {
            start_ticks: main.start_ticks + 1,
            ..main
        };
        assert!(glance(&stranger, 1000).is_empty());
        drop(input);
        shell.wait().unwrap();
        assert!(glance(&main, 1000).is_empty());
    }

    #[test]
    fn an_empty_token_finds_nobody() {
        let all = [stat(1, 0, 1), stat(30, 1, 30)];
        let tree = Tree::of_attempt(None, "", None);
        assert!(tree.select(&all, |_, _| true).is_empty());
    }
}
