//! Turns to read: only so many reads of the store and of logs go on at once, and users take turns.
//!
//! Whoever asks for much waits behind those who ask for little: the next turn is for the user who
//! holds the fewest, and among equals for who has waited longest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Who reads, and who waits for it.
#[derive(Debug)]
pub(super) struct Turns {
    most: usize,
    most_per_uid: usize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    in_use: usize,
    users: BTreeMap<u32, User>,
    next_ticket: u64,
}

#[derive(Debug, Default)]
struct User {
    in_use: usize,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    door: oneshot::Sender<Turn>,
}

impl Turns {
    pub(super) fn new(most: usize, most_per_uid: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_per_uid,
            line: Mutex::default(),
        })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // The line is whole after every statement.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of `uid`. Whoever stops waiting has left the line.
    pub(super) async fn take(self: &Arc<Self>, uid: u32) -> Turn {
        let called = {
            let mut line = self.line();
            if line.in_use < self.most && line.of(uid).in_use < self.most_per_uid {
                line.in_use += 1;
                line.of(uid).in_use += 1;
                return self.turn(uid);
            }
            let ticket = line.next_ticket;
            line.next_ticket += 1;
            let (door, called) = oneshot::channel();
            line.of(uid).waiting.push_back(Waiting { ticket, door });
            called
        };
        match called.await {
            Ok(turn) => turn,
            // The line lives as long as this borrow of it, and nobody is sent away from it.
            Err(_) => self.turn_beyond(uid),
        }
    }

    fn turn_beyond(self: &Arc<Self>, uid: u32) -> Turn {
        let mut line = self.line();
        line.in_use += 1;
        line.of(uid).in_use += 1;
        drop(line);
        self.turn(uid)
    }

    fn turn(self: &Arc<Self>, uid: u32) -> Turn {
        Turn {
            turns: Arc::clone(self),
            uid,
        }
    }

    fn give_back(self: &Arc<Self>, uid: u32) {
        let next = {
            let mut line = self.line();
            line.in_use -= 1;
            line.of(uid).in_use -= 1;
            line.forget(uid);
            line.call(self.most, self.most_per_uid)
        };
        if let Some((uid, door)) = next {
            // Who has left in this very moment gives it back by dropping it.
            drop(door.send(self.turn(uid)));
        }
    }
}

impl Line {
    fn of(&mut self, uid: u32) -> &mut User {
        self.users.entry(uid).or_default()
    }

    fn forget(&mut self, uid: u32) {
        let idle = |user: &User| user.in_use == 0 && user.waiting.is_empty();
        if self.users.get(&uid).is_some_and(idle) {
            self.users.remove(&uid);
        }
    }

    /// Whose turn it is now; it counts as taken.
    fn call(&mut self, most: usize, most_per_uid: usize) -> Option<(u32, oneshot::Sender<Turn>)> {
        if self.in_use >= most {
            return None;
        }
        self.users.retain(|_, user| {
            user.waiting.retain(|waiting| !waiting.door.is_closed());
            user.in_use > 0 || !user.waiting.is_empty()
        });
        let ready = self.users.iter_mut().filter_map(|(uid, user)| {
            let ticket = user.waiting.front()?.ticket;
            (user.in_use < most_per_uid).then_some((user.in_use, ticket, *uid))
        });
        let (_, _, uid) = ready.min()?;
        let user = self.of(uid);
        let waiting = user.waiting.pop_front()?;
        user.in_use += 1;
        self.in_use += 1;
        Some((uid, waiting.door))
    }
}

/// One turn; dropping it is the next one's turn.
#[derive(Debug)]
#[must_use = "dropping it ends the turn"]
pub(super) struct Turn {
    turns: Arc<Turns>,
    uid: u32,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let turns = Arc::clone(&self.turns);
        turns.give_back(self.uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    type Waiter = Pin<Box<dyn Future<Output = Turn>>>;

    fn asks(turns: &Arc<Turns>, uid: u32) -> Waiter {
        let turns = Arc::clone(turns);
        let mut waiter: Waiter = Box::pin(async move { turns.take(uid).await });
        assert!(poll(&mut waiter).is_none(), "it has to wait");
        waiter
    }

    fn poll(waiter: &mut Waiter) -> Option<Turn> {
        match waiter
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn who_asks_for_little_does_not_wait_behind_a_crowd() {
        let turns = Turns::new(2, 2);
        let mut held = vec![turns.take(1).await, turns.take(1).await];
        let mut crowd: Vec<Waiter> = (0..100).map(|_| asks(&turns, 1)).collect();
        let mut other = asks(&turns, 2);
        held.pop();
        let other = poll(&mut other).expect("the next turn is the other's");
        assert!(crowd.iter_mut().all(|waiter| poll(waiter).is_none()));
        drop(other);
        held.extend(poll(&mut crowd[0]));
        assert_eq!(held.len(), 2, "then it is the first of the crowd");
    }

    #[tokio::test]
    async fn nobody_may_hold_every_turn() {
        let turns = Turns::new(3, 2);
        let held = [turns.take(1).await, turns.take(1).await];
        let waiting = asks(&turns, 1);
        let other = turns.take(2).await;
        drop((held, other, waiting));
        let line = turns.line();
        assert!(line.in_use == 0 && line.users.is_empty());
    }

    #[tokio::test]
    async fn who_leaves_the_line_holds_nobody_up() {
        let turns = Turns::new(1, 1);
        let held = turns.take(1).await;
        let gone = asks(&turns, 2);
        let called_and_gone = asks(&turns, 3);
        let mut last = asks(&turns, 4);
        drop(gone);
        drop(held);
        drop(called_and_gone);
        assert!(poll(&mut last).is_some());
        assert_eq!(turns.line().in_use, 0);
    }
}
