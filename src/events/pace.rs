//! Keeps the telemetry that one subscriber gets apart in time, channel by channel.
//!
//! A value that comes too early waits, and a newer one takes its place; when its time has come, or a
//! lifecycle event of its entity follows, it goes on. So the last one always arrives, and nothing
//! wakes up for a channel on which nothing waits.

use crate::events::pattern::entity_prefix;
use crate::model::event::Event;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Channels beyond this many are looked through for those whose time is over.
const LEAST_PURGE: usize = 64;

/// A value that waits, and how many older ones it stands for besides itself.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) event: Arc<Event>,
    pub(super) coalesced: u64,
}

#[derive(Debug)]
struct Paced {
    free_at: Instant,
    held: Option<Held>,
}

/// What waits for its time, and what was sent lately.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    channels: BTreeMap<Arc<str>, Paced>,
    /// The channels on which something waits, by the time it may go.
    due: BTreeSet<(Instant, Arc<str>)>,
    purge_at: usize,
}

impl Pace {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            channels: BTreeMap::new(),
            due: BTreeSet::new(),
            purge_at: LEAST_PURGE,
        }
    }

    /// Whether the next value on this channel has to wait.
    pub(super) fn holds(&self, channel: &str, now: Instant) -> bool {
        let paced = self.channels.get(channel);
        paced.is_some_and(|paced| now < paced.free_at || paced.held.is_some())
    }

    /// Whether a value waits on this channel.
    pub(super) fn has_held(&self, channel: &str) -> bool {
        self.channels
            .get(channel)
            .is_some_and(|paced| paced.held.is_some())
    }

    /// Lets a value wait whose channel has to, in place of the one that waits there.
    pub(super) fn hold(&mut self, event: &Arc<Event>) {
        let Some(paced) = self.channels.get_mut(&event.channel) else {
            return;
        };
        if let Some(held) = &mut paced.held {
            held.coalesced += 1;
            held.event = Arc::clone(event);
        } else {
            paced.held = Some(Held {
                event: Arc::clone(event),
                coalesced: 0,
            });
            self.due.insert((paced.free_at, Arc::clone(&event.channel)));
        }
    }

    /// How many channels have something that waits.
    pub(super) fn held(&self) -> usize {
        self.due.len()
    }

    /// When the first of what waits may go.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The next value whose time has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Held> {
        if self.next_due().is_none_or(|at| now < at) {
            return None;
        }
        let (_, channel) = self.due.pop_first()?;
        self.channels.get_mut(&channel)?.held.take()
    }

    /// Something was sent on this channel: the next one waits.
    pub(super) fn sent(&mut self, channel: &Arc<str>, now: Instant) {
        if self.channels.len() >= self.purge_at {
            self.channels
                .retain(|_, paced| paced.held.is_some() || now < paced.free_at);
            self.purge_at = LEAST_PURGE.max(2 * self.channels.len());
        }
        let free_at = now + self.interval;
        let paced = self.channels.entry(Arc::clone(channel)).or_insert(Paced {
            free_at,
            held: None,
        });
        if paced.held.is_some() {
            self.due.remove(&(paced.free_at, Arc::clone(channel)));
            self.due.insert((free_at, Arc::clone(channel)));
        }
        paced.free_at = free_at;
    }

    /// A lifecycle event of an entity follows: what waits on its channels has to go before it.
    pub(super) fn release(&mut self, channel: &str) -> Vec<Held> {
        let prefix = entity_prefix(channel);
        let range = (Bound::Included(prefix), Bound::Unbounded);
        let mut released = Vec::new();
        for (channel, paced) in self.channels.range_mut::<str, _>(range) {
            if !channel.starts_with(prefix) {
                break;
            }
            if let Some(held) = paced.held.take() {
                self.due.remove(&(paced.free_at, Arc::clone(channel)));
                released.push(held);
            }
        }
        released
    }

    /// Nothing follows: what waits has to go now.
    pub(super) fn release_all(&mut self) -> Vec<Held> {
        self.due.clear();
        let held = self.channels.values_mut();
        held.filter_map(|paced| paced.held.take()).collect()
    }
}
