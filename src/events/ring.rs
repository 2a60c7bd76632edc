//! The newest durable events, bounded: what a reader that was away for a moment gets without the store.

use crate::model::event::Event;
use crate::model::id::Seq;
use std::collections::VecDeque;
use std::sync::Arc;

/// What can be replayed from memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Replay {
    /// Every event that was asked for.
    Ring(Vec<Arc<Event>>),
    /// Some are older than the ring: read them from the store.
    TooOld,
}

/// Events with numbers that follow each other.
#[derive(Debug)]
pub(crate) struct Ring {
    events: VecDeque<Arc<Event>>,
    limit: usize,
}

impl Ring {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            events: VecDeque::new(),
            limit,
        }
    }

    /// Adds the next event. A hole in the numbers empties the ring: the store has the rest.
    pub(crate) fn push(&mut self, event: Arc<Event>) {
        let last = self.events.back().and_then(|last| last.seq);
        let follows = last.is_none_or(|last| event.seq == Some(Seq(last.0 + 1)));
        if !follows {
            self.events.clear();
        }
        self.events.push_back(event);
        if self.events.len() > self.limit {
            self.events.pop_front();
        }
    }

    /// The events after `after` up to and with `up_to`.
    pub(crate) fn replay(&self, after: Seq, up_to: Seq) -> Replay {
        if after >= up_to {
            return Replay::Ring(Vec::new());
        }
        let Some(first) = self.events.front().and_then(|event| event.seq) else {
            return Replay::TooOld;
        };
        if after.0 + 1 < first.0 {
            return Replay::TooOld;
        }
        let wanted = |event: &&Arc<Event>| event.seq.is_some_and(|seq| seq > after && seq <= up_to);
        let skip = usize::try_from(after.0 + 1 - first.0).unwrap_or(usize::MAX);
        Replay::Ring(
            self.events
                .iter()
                .skip(skip)
                .take_while(wanted)
                .cloned()
                .collect(),
        )
    }
}
