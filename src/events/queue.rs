//! The bounded queue of one subscriber: lifecycle events in order, telemetry coalesced per channel.

use crate::events::pattern::entity_prefix;
use crate::model::event::Event;
use crate::model::id::Seq;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// How much may wait for one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueOptions {
    /// Lifecycle events; one more ends the subscription with a gap.
    pub lifecycle: usize,
    /// Channels whose newest telemetry may wait; that of further ones is left out until there is room.
    pub channels: usize,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            lifecycle: 1_024,
            channels: 4_096,
        }
    }
}

/// What a subscriber gets next.
#[derive(Clone, Debug, PartialEq)]
pub enum Delivery {
    /// An event, and how many older ones of its channel it stands for besides itself.
    Event(Arc<Event>, u64),
    /// Nothing was wanted up to this number: the cursor may move on.
    Bookmark(Seq),
    /// The subscriber was too slow; nothing follows but [`Delivery::Closed`].
    Gap {
        /// The first event it does not get.
        from: Seq,
        /// The newest event when that was decided.
        to: Seq,
        /// Why, as a stable word.
        reason: &'static str,
    },
    /// The bus was closed; the subscriber may come back after this many milliseconds.
    Closed {
        /// When.
        retry_ms: u64,
    },
}

/// Reason of a gap: the subscriber read slower than events came.
pub const SLOW_CONSUMER: &str = "slow_consumer";

#[derive(Debug)]
enum Entry {
    Event { event: Arc<Event>, coalesced: u64 },
    Bookmark(Seq),
}

/// What waits for one subscriber.
#[derive(Debug)]
pub(crate) struct Queue {
    options: QueueOptions,
    entries: VecDeque<Entry>,
    /// Entries that were taken so far: position of the front entry.
    taken: u64,
    /// Position of the telemetry entry of a channel that a newer value may replace.
    open: BTreeMap<Arc<str>, u64>,
    lifecycle: usize,
    /// The cursor that the subscriber has when it has taken everything.
    reaches: Seq,
    end: Option<Delivery>,
}

impl Queue {
    pub(crate) fn new(options: QueueOptions, registered: Seq) -> Self {
        Self {
            options,
            entries: VecDeque::new(),
            taken: 0,
            open: BTreeMap::new(),
            lifecycle: 0,
            reaches: registered,
            end: None,
        }
    }

    /// Whether nothing more can be added.
    pub(crate) fn is_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Whether the subscriber has taken everything, and more may come.
    pub(crate) fn is_drained(&self) -> bool {
        self.entries.is_empty() && !self.is_ended()
    }

    /// Adds an event that the subscriber wants.
    pub(crate) fn push(&mut self, event: &Arc<Event>) {
        if self.is_ended() {
            return;
        }
        match event.seq {
            Some(seq) => self.push_lifecycle(event, seq),
            None => self.push_telemetry(event),
        }
    }

    fn push_lifecycle(&mut self, event: &Arc<Event>, seq: Seq) {
        if self.lifecycle >= self.options.lifecycle {
            self.cut(seq, SLOW_CONSUMER);
            return;
        }
        // A value that waits stays before this event and a newer one comes after it: taking the
        // old one's place would show the progress of a second attempt before the end of the first.
        let prefix = entity_prefix(&event.channel);
        let range = (Bound::Included(prefix), Bound::Unbounded);
        let sealed: Vec<Arc<str>> = self
            .open
            .range::<str, _>(range)
            .take_while(|(channel, _)| channel.starts_with(prefix))
            .map(|(channel, _)| Arc::clone(channel))
            .collect();
        for channel in sealed {
            self.open.remove(&channel);
        }
        self.lifecycle += 1;
        self.reaches = seq;
        self.add(event);
    }

    fn push_telemetry(&mut self, event: &Arc<Event>) {
        let waiting = self
            .open
            .get(&event.channel)
            .and_then(|position| usize::try_from(position - self.taken).ok())
            .and_then(|index| self.entries.get_mut(index));
        if let Some(Entry::Event {
            event: old,
            coalesced,
        }) = waiting
        {
            *old = Arc::clone(event);
            *coalesced += 1;
        } else if self.open.len() < self.options.channels {
            let position = self.taken + self.entries.len() as u64;
            self.open.insert(Arc::clone(&event.channel), position);
            self.add(event);
        }
    }

    fn add(&mut self, event: &Arc<Event>) {
        self.entries.push_back(Entry::Event {
            event: Arc::clone(event),
            coalesced: 0,
        });
    }

    /// Drops what waits and ends with a gap up to `newest`.
    pub(crate) fn cut(&mut self, newest: Seq, reason: &'static str) {
        if self.is_ended() {
            return;
        }
        let lost = self.entries.iter().find_map(|entry| match entry {
            Entry::Event { event, .. } => event.seq,
            Entry::Bookmark(_) => None,
        });
        self.entries.clear();
        self.open.clear();
        self.lifecycle = 0;
        self.end = Some(Delivery::Gap {
            from: lost.unwrap_or(newest),
            to: newest,
            reason,
        });
    }

    /// Lets the cursor move to `head` once everything before was taken.
    pub(crate) fn push_bookmark(&mut self, head: Seq) {
        if !self.is_ended() && self.reaches < head {
            self.reaches = head;
            self.entries.push_back(Entry::Bookmark(head));
        }
    }

    /// The cursor that the subscriber has when it has taken everything that waits.
    pub(crate) fn reaches(&self) -> Seq {
        self.reaches
    }

    /// Nothing follows what waits already.
    pub(crate) fn close(&mut self, retry_ms: u64) {
        if !self.is_ended() {
            self.end = Some(Delivery::Closed { retry_ms });
        }
    }

    /// Takes what comes next; `None` when nothing waits.
    pub(crate) fn take(&mut self) -> Option<Delivery> {
        let Some(entry) = self.entries.pop_front() else {
            let end = self.end.clone()?;
            if let Delivery::Gap { .. } = end {
                self.end = Some(Delivery::Closed { retry_ms: 0 });
            }
            return Some(end);
        };
        let position = self.taken;
        self.taken += 1;
        Some(match entry {
            Entry::Bookmark(seq) => Delivery::Bookmark(seq),
            Entry::Event { event, coalesced } => {
                if event.seq.is_some() {
                    self.lifecycle -= 1;
                } else if self.open.get(&event.channel) == Some(&position) {
                    self.open.remove(&event.channel);
                }
                Delivery::Event(event, coalesced)
            }
        })
    }
}
