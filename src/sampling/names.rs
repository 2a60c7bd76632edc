//! Names of users, looked up aside: the host's directory of users may be on another machine, and not answer.

use nix::unistd::{Uid, User};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

/// Names by user, as far as they are known.
pub type Users = BTreeMap<u32, Arc<str>>;

/// Users are forgotten beyond this many.
const MOST: usize = 1_024;

/// Looks names up on a thread that ends with it. Each user is asked for once.
#[derive(Debug, Default)]
pub struct Names {
    known: Arc<Mutex<Arc<Users>>>,
    asked: BTreeSet<u32>,
    inbox: Option<Sender<u32>>,
}

impl Names {
    /// A user was met: its name will be known soon, where it has one.
    pub fn meet(&mut self, uid: u32) {
        if self.asked.len() >= MOST {
            self.asked.clear();
            *self.lock() = Arc::default();
        }
        if !self.asked.insert(uid) {
            return;
        }
        let inbox = self.inbox.get_or_insert_with(|| start(&self.known));
        // A thread that could not be started leaves users without names.
        let _sent = inbox.send(uid);
    }

    /// Every name that is known.
    #[must_use]
    pub fn known(&self) -> Arc<Users> {
        Arc::clone(&self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arc<Users>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start(known: &Arc<Mutex<Arc<Users>>>) -> Sender<u32> {
    let (inbox, met) = channel();
    let known = Arc::clone(known);
    let thread = Builder::new()
        .name("user-names".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || look_up(&met, &known));
    if let Err(error) = thread {
        tracing::warn!(%error, "names of users are not looked up");
    }
    inbox
}

fn look_up(met: &Receiver<u32>, known: &Mutex<Arc<Users>>) {
    while let Ok(uid) = met.recv() {
        let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else {
            continue;
        };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut known).insert(uid, user.name.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_that_were_met_long_ago_are_forgotten() {
        let mut names = Names::default();
        for number in 0..3_000 {
            names.meet(3_000_000_000 + number);
            assert!(names.asked.len() <= MOST);
        }
    }

    #[test]
    fn names_come_by_and_by() {
        let mut names = Names::default();
        names.meet(0);
        names.meet(3_999_999_999);
        names.meet(0);
        while names.known().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(&*names.known()[&0], "root");
    }
}
