//! The bus: publishes events to subscribers through bounded queues; the publisher never waits.
//!
//! Durable events keep their order and are never left out silently: a subscriber that is too slow
//! gets a gap as its last word. Of telemetry only the newest value per channel waits. Nothing wakes
//! up when nothing happens.

mod pace;
pub mod pattern;
pub mod queue;
pub mod ring;

#[cfg(test)]
mod tests;

use crate::events::pattern::Filter;
use crate::events::queue::{Delivery, Queue, QueueOptions};
use crate::events::ring::{Replay, Ring};
use crate::model::event::Event;
use crate::model::id::Seq;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// How many durable events are kept in memory for replay, unless set otherwise.
pub const DEFAULT_RING: usize = 8_192;

/// What a bus starts with.
#[derive(Clone, Debug)]
pub struct BusOptions {
    /// Identity of the database the numbers belong to.
    pub epoch: String,
    /// The newest durable event.
    pub head: Seq,
    /// The oldest durable event that can still be read.
    pub oldest: Seq,
    /// How many durable events are kept in memory for replay.
    pub ring: usize,
}

/// The bus; cheap to clone.
#[derive(Clone, Debug)]
pub struct Bus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    epoch: Arc<str>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    head: Seq,
    oldest: Seq,
    ring: Ring,
    latest: BTreeMap<Arc<str>, Arc<Event>>,
    subscribers: BTreeMap<u64, Arc<Subscriber>>,
    next_subscriber: u64,
    closed: Option<u64>,
}

#[derive(Debug)]
struct Subscriber {
    filter: Filter,
    queue: Mutex<Queue>,
    arrived: Notify,
}

/// A poisoned lock means that a thread panicked while it held it; every change under these locks is
/// complete before anything that could panic, so what is there is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bus {
    /// A bus without subscribers.
    #[must_use]
    pub fn new(options: BusOptions) -> Self {
        let state = State {
            head: options.head,
            oldest: options.oldest,
            ring: Ring::new(options.ring),
            latest: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            next_subscriber: 0,
            closed: None,
        };
        Self {
            shared: Arc::new(Shared {
                epoch: options.epoch.into(),
                state: Mutex::new(state),
            }),
        }
    }

    /// Publishes committed events and telemetry, in order. Never waits for a subscriber.
    ///
    /// The numbers of durable events ascend over all calls; one that was published before is skipped.
    pub fn publish(&self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let mut state = lock(&self.shared.state);
        let mut fresh = Vec::with_capacity(events.len());
        for event in events {
            if event.seq.is_some_and(|seq| seq <= state.head) {
                continue;
            }
            let event = Arc::new(event.clone());
            state.remember(&event);
            fresh.push(event);
        }
        state.fan_out(&fresh);
    }

    /// Registers a subscriber: every event from now on that `filter` admits is queued for it.
    #[must_use]
    pub fn subscribe(&self, filter: Filter, options: QueueOptions) -> Subscription {
        let mut state = lock(&self.shared.state);
        let mut queue = Queue::new(options, state.head);
        if let Some(retry_ms) = state.closed {
            queue.close(retry_ms);
        }
        let subscriber = Arc::new(Subscriber {
            filter,
            queue: Mutex::new(queue),
            arrived: Notify::new(),
        });
        let number = state.next_subscriber;
        state.next_subscriber += 1;
        state.subscribers.insert(number, Arc::clone(&subscriber));
        Subscription {
            registered_head: state.head,
            oldest: state.oldest,
            number,
            subscriber,
            shared: Arc::clone(&self.shared),
        }
    }

    /// The durable events after `after` up to and with `up_to`, where all of them are in memory.
    ///
    /// A subscriber passes its [`Subscription::registered_head`]: what comes later is in its queue.
    #[must_use]
    pub fn replay(&self, after: Seq, up_to: Seq) -> Replay {
        lock(&self.shared.state).ring.replay(after, up_to)
    }

    /// The newest telemetry of a channel, until the final event of its entity.
    #[must_use]
    pub fn latest(&self, channel: &str) -> Option<Arc<Event>> {
        lock(&self.shared.state).latest.get(channel).cloned()
    }

    /// The newest telemetry of every channel that `filter` admits, by channel.
    #[must_use]
    pub fn latest_of(&self, filter: &Filter) -> Vec<Arc<Event>> {
        lock(&self.shared.state).latest_of(filter)
    }

    /// Identity of the database: the first half of every cursor.
    #[must_use]
    pub fn epoch(&self) -> Arc<str> {
        Arc::clone(&self.shared.epoch)
    }

    /// The oldest durable event that can still be read, and the newest.
    #[must_use]
    pub fn bounds(&self) -> (Seq, Seq) {
        let state = lock(&self.shared.state);
        (state.oldest, state.head)
    }

    /// How many subscribers there are.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        lock(&self.shared.state).subscribers.len()
    }

    /// How many of them may want what is measured.
    #[must_use]
    pub fn metrics_subscribers(&self) -> usize {
        let state = lock(&self.shared.state);
        let all = state.subscribers.values();
        all.filter(|subscriber| subscriber.filter.admits_metrics())
            .count()
    }

    /// Events before `oldest` are about to be trimmed from the store.
    ///
    /// Subscribers whose cursor would become too old get a bookmark first, so that one that goes
    /// away now can still come back without listing again.
    pub fn announce_trim(&self, oldest: Seq) {
        let state = lock(&self.shared.state);
        for subscriber in state.subscribers.values() {
            let mut queue = lock(&subscriber.queue);
            if queue.reaches() < oldest {
                queue.push_bookmark(state.head);
                subscriber.arrived.notify_one();
            }
        }
    }

    /// Events before `oldest` were trimmed from the store: nobody can begin before them any more.
    pub fn trim(&self, oldest: Seq) {
        self.announce_trim(oldest);
        let mut state = lock(&self.shared.state);
        state.oldest = state.oldest.max(oldest);
    }

    /// Ends every subscription, also future ones: first what waits for it, then [`Delivery::Closed`].
    pub fn close(&self, retry_ms: u64) {
        let mut state = lock(&self.shared.state);
        state.closed = Some(retry_ms);
        for subscriber in state.subscribers.values() {
            lock(&subscriber.queue).close(retry_ms);
            subscriber.arrived.notify_one();
        }
    }
}

impl State {
    fn remember(&mut self, event: &Arc<Event>) {
        if let Some(seq) = event.seq {
            self.head = seq;
            self.ring.push(Arc::clone(event));
            if event.is_final {
                queue::remove_entity(&mut self.latest, &event.channel);
            }
        } else if event.is_final {
            self.latest.remove(&event.channel);
        } else {
            self.latest
                .insert(Arc::clone(&event.channel), Arc::clone(event));
        }
    }

    fn latest_of(&self, filter: &Filter) -> Vec<Arc<Event>> {
        let admitted = self.latest.values().filter(|event| filter.admits(event));
        admitted.cloned().collect()
    }

    /// Queues a batch for everybody who wants it, and wakes each of them once.
    fn fan_out(&mut self, events: &[Arc<Event>]) {
        let now = Instant::now();
        self.subscribers.retain(|_, subscriber| {
            let mut wanted = events
                .iter()
                .filter(|event| subscriber.filter.admits(event))
                .peekable();
            if wanted.peek().is_none() {
                return true;
            }
            let mut queue = lock(&subscriber.queue);
            queue.begin_batch();
            for event in wanted {
                queue.push(event, now);
                if !queue.is_live() {
                    break;
                }
            }
            subscriber.arrived.notify_one();
            !queue.is_ended()
        });
    }

    /// Queues the newest telemetry of the channels after `after`, as far as there is room.
    fn recall(&self, filter: &Filter, after: &str, queue: &mut Queue, now: Instant) {
        let range = (Bound::Excluded(after), Bound::Unbounded);
        let mut reached: Arc<str> = after.into();
        for (channel, event) in self.latest.range::<str, _>(range) {
            if !filter.admits(event) {
                continue;
            }
            if !queue.has_room() {
                return queue.leave_out_after(reached);
            }
            queue.push_again(event, now);
            reached = Arc::clone(channel);
        }
    }
}

/// One subscriber's end of the bus. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    registered_head: Seq,
    oldest: Seq,
    number: u64,
    subscriber: Arc<Subscriber>,
    shared: Arc<Shared>,
}

impl Subscription {
    /// Identity of the database that the numbers of this subscription belong to.
    #[must_use]
    pub fn epoch(&self) -> &str {
        &self.shared.epoch
    }

    /// The newest durable event when this subscriber was registered: later ones are in its queue.
    #[must_use]
    pub fn registered_head(&self) -> Seq {
        self.registered_head
    }

    /// The oldest durable event that could be read when this subscriber was registered.
    #[must_use]
    pub fn oldest(&self) -> Seq {
        self.oldest
    }

    /// What this subscriber wants and may see.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        &self.subscriber.filter
    }

    /// What comes next. Dropping the future loses nothing.
    ///
    /// After [`Delivery::Gap`] and [`Delivery::Closed`] there is only [`Delivery::Closed`].
    pub async fn next(&mut self) -> Delivery {
        loop {
            let now = Instant::now();
            if let Some(delivery) = self.take(now) {
                return delivery;
            }
            let due = lock(&self.subscriber.queue).next_due();
            let arrived = self.subscriber.arrived.notified();
            match due {
                None => arrived.await,
                // Whichever comes first: the queue is looked at again.
                Some(due) => drop(tokio::time::timeout_at(due.into(), arrived).await),
            }
        }
    }

    /// What comes next, where something waits already.
    pub fn try_next(&mut self) -> Option<Delivery> {
        self.take(Instant::now())
    }

    fn take(&mut self, now: Instant) -> Option<Delivery> {
        let mut queue = lock(&self.subscriber.queue);
        if !queue.left_something_out() {
            return queue.take(now);
        }
        drop(queue);
        // In this order, as everywhere.
        let state = lock(&self.shared.state);
        let mut queue = lock(&self.subscriber.queue);
        if let Some(after) = queue.take_left_out() {
            state.recall(&self.subscriber.filter, &after, &mut queue, now);
        }
        queue.take(now)
    }

    /// The newest telemetry of every channel that it wants, by channel, to be shown now: what waits and is not newer
    /// does not come any more.
    pub fn newest_telemetry(&mut self) -> Vec<Arc<Event>> {
        let state = lock(&self.shared.state);
        let newest = state.latest_of(&self.subscriber.filter);
        lock(&self.subscriber.queue).show(&newest);
        newest
    }

    /// Reads the history after `after` first: what happens meanwhile is not queued, however long it takes.
    pub fn detach(&mut self, after: Seq) {
        lock(&self.subscriber.queue).start_over(after);
    }

    /// What happens from now on is queued again; the history is to be read up to
    /// [`Self::registered_head`], which this moves. The newest telemetry follows.
    pub fn attach(&mut self) {
        let state = lock(&self.shared.state);
        let mut queue = lock(&self.subscriber.queue);
        if queue.is_ended() {
            return;
        }
        self.registered_head = state.head;
        queue.attach(state.head);
        state.recall(&self.subscriber.filter, "", &mut queue, Instant::now());
    }

    /// When the bus was closed: after how many milliseconds to come back.
    #[must_use]
    pub fn closed(&self) -> Option<u64> {
        lock(&self.subscriber.queue).closed()
    }

    /// Where the cursor may move to now: the newest event, if that is news and none waits.
    pub fn bookmark(&mut self) -> Option<Seq> {
        let state = lock(&self.shared.state);
        let mut queue = lock(&self.subscriber.queue);
        queue.bookmark_now(state.head).then_some(state.head)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        lock(&self.shared.state).subscribers.remove(&self.number);
    }
}
