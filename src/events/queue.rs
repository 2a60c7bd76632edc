//! The bounded queue of one subscriber: lifecycle events in order, telemetry coalesced per channel.

use crate::events::pace::{Held, Pace};
use crate::events::pattern::entity_prefix;
use crate::model::event::Event;
use crate::model::id::Seq;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much may wait for one subscriber, and how often it wants telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueOptions {
    /// Lifecycle events. One more ends the subscription with a gap, or, where they came all at once,
    /// sends the subscriber to the history.
    pub lifecycle: usize,
    /// Channels whose newest telemetry may wait; that of further ones follows when there is room.
    pub channels: usize,
    /// Shortest time between two values of one channel; zero lets each one through.
    pub min_interval: Duration,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            lifecycle: 1_024,
            channels: 4_096,
            min_interval: Duration::ZERO,
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
    /// More came at once than can wait: read the history after this number, then
    /// [`crate::events::Subscription::attach`]. Until then nothing else comes but the end.
    Behind {
        /// The last event that was delivered, or that was not wanted.
        after: Seq,
    },
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

/// What the subscriber knows of where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// What happens is queued.
    Live,
    /// It reads the history from here on: nothing is queued.
    Behind(Seq),
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
    pace: Option<Pace>,
    /// Telemetry was left out: of channels after this one, and of none before it.
    left_out: Option<Arc<str>>,
    /// Telemetry that the subscriber was shown in another way, by channel, until there is newer.
    shown: BTreeMap<Arc<str>, Arc<Event>>,
    lifecycle: usize,
    /// Lifecycle events that waited when the present batch began.
    before_batch: usize,
    /// Nothing was taken since it was attached: the subscriber still reads the history before that.
    untouched: bool,
    /// The cursor that the subscriber has when it has taken everything.
    reaches: Seq,
    place: Place,
    end: Option<Delivery>,
}

impl Queue {
    pub(crate) fn new(options: QueueOptions, registered: Seq) -> Self {
        let paced = !options.min_interval.is_zero();
        Self {
            pace: paced.then(|| Pace::new(options.min_interval)),
            options,
            entries: VecDeque::new(),
            taken: 0,
            open: BTreeMap::new(),
            left_out: None,
            shown: BTreeMap::new(),
            lifecycle: 0,
            before_batch: 0,
            untouched: false,
            reaches: registered,
            place: Place::Live,
            end: None,
        }
    }

    /// Whether nothing more can be added.
    pub(crate) fn is_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Whether what happens is queued.
    pub(crate) fn is_live(&self) -> bool {
        self.place == Place::Live && !self.is_ended()
    }

    /// What is pushed from now on came at once.
    pub(crate) fn begin_batch(&mut self) {
        self.before_batch = self.lifecycle;
    }

    /// Adds an event that the subscriber wants.
    pub(crate) fn push(&mut self, event: &Arc<Event>, now: Instant) {
        if !self.is_live() {
            return;
        }
        match event.seq {
            Some(seq) => self.push_lifecycle(event, seq),
            None => {
                self.shown.remove(&event.channel);
                self.push_telemetry(event, now);
            }
        }
    }

    fn push_lifecycle(&mut self, event: &Arc<Event>, seq: Seq) {
        if self.lifecycle >= self.options.lifecycle {
            // A batch larger than the queue says nothing about how fast the subscriber reads, and neither
            // does a queue that it has not come to yet.
            if self.untouched || self.before_batch <= self.options.lifecycle / 2 {
                self.fall_behind(self.reaches);
            } else {
                self.cut(seq, SLOW_CONSUMER);
            }
            return;
        }
        if let Some(pace) = &mut self.pace {
            let held = pace.release(&event.channel);
            held.into_iter().for_each(|held| self.add_telemetry(held));
        }
        // A value that waits stays before this event and a newer one comes after it: taking the
        // old one's place would show the progress of a second attempt before the end of the first.
        remove_entity(&mut self.open, &event.channel);
        if event.is_final {
            remove_entity(&mut self.shown, &event.channel);
        }
        self.lifecycle += 1;
        self.reaches = seq;
        self.entries.push_back(Entry::Event {
            event: Arc::clone(event),
            coalesced: 0,
        });
    }

    /// Adds the newest telemetry of a channel, which was left out when it happened.
    pub(crate) fn push_again(&mut self, event: &Arc<Event>, now: Instant) {
        let shown = self.shown.get(&event.channel);
        if shown.is_some_and(|shown| Arc::ptr_eq(shown, event)) {
            return;
        }
        self.push_telemetry(event, now);
        if self.is_ended() {
            self.release_held();
        }
    }

    /// The subscriber is shown this, the newest telemetry there is, in another way: what waits on these channels is
    /// the same or older, and is let go of.
    ///
    /// Where the final event of an entity waits, what comes after it stays: to the subscriber it is of a new life.
    pub(crate) fn show(&mut self, newest: &[Arc<Event>]) {
        self.release_held();
        self.left_out = None;
        self.shown = newest
            .iter()
            .map(|event| (Arc::clone(&event.channel), Arc::clone(event)))
            .collect();
        let waiting = std::mem::take(&mut self.entries);
        let open = std::mem::take(&mut self.open);
        for (position, entry) in (self.taken..).zip(waiting) {
            if let Entry::Event { event, .. } = &entry {
                let channel = &event.channel;
                if event.seq.is_some() {
                    if event.is_final {
                        remove_entity(&mut self.shown, channel);
                    }
                } else if self.shown.contains_key(channel) {
                    continue;
                } else if open.get(channel) == Some(&position) {
                    let place = self.taken + self.entries.len() as u64;
                    self.open.insert(Arc::clone(channel), place);
                }
            }
            self.entries.push_back(entry);
        }
    }

    fn push_telemetry(&mut self, event: &Arc<Event>, now: Instant) {
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
            if !Arc::ptr_eq(old, event) {
                *old = Arc::clone(event);
                *coalesced += 1;
            }
            return;
        }
        let has_room = self.has_room();
        if let Some(pace) = &mut self.pace
            && pace.holds(&event.channel, now)
        {
            if has_room || pace.has_held(&event.channel) {
                pace.hold(event);
                return;
            }
        } else if has_room {
            self.add_telemetry(Held {
                event: Arc::clone(event),
                coalesced: 0,
            });
            return;
        }
        let reached = self.left_out.as_ref();
        if reached.is_none_or(|reached| event.channel <= *reached) {
            self.left_out = Some("".into());
        }
    }

    /// Whether the newest telemetry of one more channel may wait.
    pub(crate) fn has_room(&self) -> bool {
        let held = self.pace.as_ref().map_or(0, Pace::held);
        self.open.len() + held < self.options.channels
    }

    fn add_telemetry(&mut self, held: Held) {
        let position = self.taken + self.entries.len() as u64;
        self.open.insert(Arc::clone(&held.event.channel), position);
        self.entries.push_back(Entry::Event {
            event: held.event,
            coalesced: held.coalesced,
        });
    }

    /// Whether telemetry was left out for which there is room by now.
    pub(crate) fn left_something_out(&self) -> bool {
        self.left_out.is_some() && self.entries.is_empty() && self.place == Place::Live
    }

    /// After which channel telemetry was left out; said once.
    pub(crate) fn take_left_out(&mut self) -> Option<Arc<str>> {
        self.left_out.take()
    }

    /// Telemetry of the channels after this one has yet to follow.
    pub(crate) fn leave_out_after(&mut self, channel: Arc<str>) {
        self.left_out = Some(channel);
    }

    /// What waits for its time goes now: something follows that must not come before it.
    fn release_held(&mut self) {
        let held = self.pace.as_mut().map(Pace::release_all);
        for held in held.into_iter().flatten() {
            self.add_telemetry(held);
        }
    }

    /// What waits is let go of: the subscriber reads the history from `after` on, which has it too.
    pub(crate) fn start_over(&mut self, after: Seq) {
        if !self.is_ended() {
            *self = Self::new(self.options, after);
            self.place = Place::Behind(after);
        }
    }

    /// Nothing is queued from here on, until [`Self::attach`]: the subscriber reads the history.
    fn fall_behind(&mut self, after: Seq) {
        if !self.is_ended() {
            self.release_held();
            self.open.clear();
            self.left_out = None;
            self.reaches = after;
            self.place = Place::Behind(after);
        }
    }

    /// What happens after `head` is queued again.
    pub(crate) fn attach(&mut self, head: Seq) {
        self.place = Place::Live;
        self.untouched = true;
        self.reaches = self.reaches.max(head);
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
        self.entries = VecDeque::new();
        self.open = BTreeMap::new();
        self.pace = None;
        self.left_out = None;
        self.shown = BTreeMap::new();
        self.lifecycle = 0;
        self.end = Some(Delivery::Gap {
            from: lost.unwrap_or(newest),
            to: newest,
            reason,
        });
    }

    /// Lets the cursor move to `head` once everything before was taken.
    pub(crate) fn push_bookmark(&mut self, head: Seq) {
        if self.is_live() && self.reaches < head {
            self.reaches = head;
            self.entries.push_back(Entry::Bookmark(head));
        }
    }

    /// Moves the cursor to `head` at once, where nothing with a number waits.
    pub(crate) fn bookmark_now(&mut self, head: Seq) -> bool {
        let marked = |entry: &Entry| matches!(entry, Entry::Bookmark(_));
        let moves = self.is_live()
            && self.lifecycle == 0
            && self.reaches < head
            && !self.entries.iter().any(marked);
        if moves {
            self.reaches = head;
        }
        moves
    }

    /// The cursor that the subscriber has when it has taken everything that waits.
    pub(crate) fn reaches(&self) -> Seq {
        self.reaches
    }

    /// Nothing follows what waits already.
    pub(crate) fn close(&mut self, retry_ms: u64) {
        if self.is_ended() {
            return;
        }
        self.release_held();
        self.end = Some(Delivery::Closed { retry_ms });
    }

    /// When the bus was closed: when to come back.
    pub(crate) fn closed(&self) -> Option<u64> {
        match self.end {
            Some(Delivery::Closed { retry_ms }) => Some(retry_ms),
            _ => None,
        }
    }

    /// When the next of what waits for its time may be taken.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.pace.as_ref()?.next_due()
    }

    /// Takes what comes next; `None` when nothing waits.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Delivery> {
        self.untouched = false;
        while let Some(held) = self.pace.as_mut().and_then(|pace| pace.take_due(now)) {
            self.add_telemetry(held);
        }
        let Some(entry) = self.entries.pop_front() else {
            return self.take_end();
        };
        let position = self.taken;
        self.taken += 1;
        Some(match entry {
            Entry::Bookmark(seq) => Delivery::Bookmark(seq),
            Entry::Event { event, coalesced } => {
                if event.seq.is_some() {
                    self.lifecycle -= 1;
                } else {
                    if self.open.get(&event.channel) == Some(&position) {
                        self.open.remove(&event.channel);
                    }
                    if let Some(pace) = &mut self.pace {
                        pace.sent(&event.channel, now);
                    }
                }
                Delivery::Event(event, coalesced)
            }
        })
    }

    fn take_end(&mut self) -> Option<Delivery> {
        if let Some(end) = self.end.clone() {
            if let Delivery::Gap { .. } = end {
                self.end = Some(Delivery::Closed { retry_ms: 0 });
            }
            return Some(end);
        }
        match self.place {
            Place::Live => None,
            Place::Behind(after) => Some(Delivery::Behind { after }),
        }
    }
}

/// Takes out all channels of the entity that has this one.
pub(super) fn remove_entity<T>(channels: &mut BTreeMap<Arc<str>, T>, channel: &str) {
    let prefix = entity_prefix(channel);
    let range = (Bound::Included(prefix), Bound::Unbounded);
    let gone: Vec<Arc<str>> = channels
        .range::<str, _>(range)
        .take_while(|(channel, _)| channel.starts_with(prefix))
        .map(|(channel, _)| Arc::clone(channel))
        .collect();
    for channel in gone {
        channels.remove(&channel);
    }
}
