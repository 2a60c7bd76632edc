//! Makes one event stream: hello, replay, snapshot, then live until the end.

use crate::api::Shared;
use crate::api::call::audience;
use crate::api::events::render::{Format, heartbeat, message};
use crate::api::events::snapshot::{Shown, Snapshot, Stage, present};
use crate::api::limits::Slot;
use crate::api::pull::Pull;
use crate::auth::Subject;
use crate::events::Subscription;
use crate::events::queue::Delivery;
use crate::events::ring::Replay;
use crate::model::event::Event;
use crate::model::id::Seq;
use crate::store::{EventFilter, JobHistory};
use crate::wire::convert::Audience;
use crate::wire::event::{Bye, Gap, Hello};
use axum::body::Bytes;
use std::io;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

/// Events of one step of the replay.
const REPLAY_STEP: u64 = 500;

/// A piece is sent when it is this long, even if more waits.
const PIECE_BYTES: usize = 64 << 10;

/// What a stream begins with.
pub(super) struct Opening {
    pub(super) shared: Arc<Shared>,
    pub(super) subject: Arc<Subject>,
    pub(super) events: Subscription,
    pub(super) slot: Slot,
    pub(super) format: Format,
    /// Replay what came after this.
    pub(super) after: Option<Seq>,
    pub(super) snapshot: bool,
    /// The one job that is watched, as it was after the stream was registered.
    pub(super) watched: Option<JobHistory>,
}

/// What makes a stream.
pub(super) struct Feed {
    shared: Arc<Shared>,
    subject: Arc<Subject>,
    events: Subscription,
    _slot: Slot,
    format: Format,
    phase: Phase,
    after: Option<Seq>,
    snapshot: bool,
    shown: Shown,
    watched: Option<JobHistory>,
    /// Whether the newest event of the watched job that was replayed is a final one.
    replayed_final: Option<bool>,
    /// The cursor that the client has.
    told: Option<Seq>,
    quiet_until: Instant,
    out: String,
}

enum Phase {
    Hello,
    Replay(Seq),
    Snapshot(Snapshot),
    Settle,
    Live,
    Over,
}

impl Feed {
    pub(super) fn open(opening: Opening) -> Self {
        Self {
            quiet_until: Instant::now() + opening.shared.limits.heartbeat,
            shared: opening.shared,
            subject: opening.subject,
            events: opening.events,
            _slot: opening.slot,
            format: opening.format,
            phase: Phase::Hello,
            after: opening.after,
            snapshot: opening.snapshot,
            shown: Shown::default(),
            watched: opening.watched,
            replayed_final: None,
            told: None,
            out: String::new(),
        }
    }

    fn hello(&mut self) {
        let head = self.events.registered_head();
        let hello = Hello {
            epoch: self.events.epoch().to_owned(),
            head: head.0,
            oldest: self.events.oldest().0,
            heartbeat_ms: u64::try_from(self.shared.limits.heartbeat.as_millis())
                .unwrap_or(u64::MAX),
            version: self.shared.version.clone(),
        };
        self.say("hello", None, &hello);
        self.phase = match self.after {
            Some(after) => Phase::Replay(after),
            None => self.after_replay(),
        };
    }

    fn after_replay(&self) -> Phase {
        if self.snapshot {
            Phase::Snapshot(Snapshot::new())
        } else {
            Phase::Settle
        }
    }

    /// Sends the next events after `after`, from memory or from the store.
    async fn replay(&mut self, after: Seq) -> io::Result<()> {
        let head = self.events.registered_head();
        if after >= head {
            if self.told.is_some_and(|told| told < head) {
                self.bookmark(head);
            }
            self.phase = self.after_replay();
            return Ok(());
        }
        let up_to = Seq(head.0.min(after.0.saturating_add(REPLAY_STEP)));
        let events = match self.shared.bus.replay(after, up_to) {
            Replay::Ring(events) => events,
            Replay::TooOld => self.stored(after, up_to).await?,
        };
        let first = events.first().and_then(|event| event.seq);
        if first != Some(Seq(after.0 + 1)) {
            // They were trimmed since the cursor was checked.
            let to = first.map_or(up_to.0, |first| first.0.saturating_sub(1));
            self.gap(after.0 + 1, to, "trimmed");
            return Ok(());
        }
        self.told.get_or_insert(after);
        let mut newest = after;
        for event in &events {
            newest = event.seq.unwrap_or(newest);
            if self.events.filter().admits(event) {
                self.event(event, 0);
                self.replayed_final = Some(event.is_final);
            }
        }
        self.phase = Phase::Replay(newest);
        Ok(())
    }

    async fn stored(&self, after: Seq, up_to: Seq) -> io::Result<Vec<Arc<Event>>> {
        let limit = usize::try_from(REPLAY_STEP).unwrap_or(usize::MAX);
        let filter = EventFilter {
            up_to: Some(up_to),
            ..EventFilter::default()
        };
        let page = self
            .shared
            .read(move |archive| archive.events(after, limit, &filter))
            .await
            .map_err(|failure| io::Error::other(failure.0.title))?;
        Ok(page.events.into_iter().map(Arc::new).collect())
    }

    async fn snapshot(&mut self, mut snapshot: Snapshot) -> io::Result<()> {
        let page = snapshot.next(&self.shared, self.events.filter()).await?;
        for event in &page {
            self.event(event, 0);
        }
        if snapshot.stage == Stage::Over {
            self.say("snapshot_end", None, &serde_json::json!({}));
            // Somebody who replays wants every event, also those that the snapshot shows.
            if self.after.is_none() {
                self.shown = snapshot.shown();
            }
            self.phase = Phase::Settle;
        } else {
            self.phase = Phase::Snapshot(snapshot);
        }
        Ok(())
    }

    /// Before going live: a job that is finished already has its end told at once.
    fn settle(&mut self) {
        self.phase = Phase::Live;
        let Some(record) = self.watched.take() else {
            return;
        };
        match self.replayed_final {
            Some(true) => self.end(),
            // Its final event came after the stream was registered, so it is in the queue.
            Some(false) => {}
            None if record.job.state.is_final() => {
                let last = Arc::new(present(&record.job));
                self.event(&last, 0);
                self.end();
            }
            None => {}
        }
    }

    async fn live(&mut self) {
        let quiet_until = self.quiet_until;
        let delivery = tokio::select! {
            biased;
            delivery = self.events.next() => delivery,
            () = sleep_until(quiet_until) => return self.break_silence(),
        };
        let mut next = Some(delivery);
        while let Some(delivery) = next.take() {
            self.deliver(delivery);
            if self.out.len() < PIECE_BYTES && !matches!(self.phase, Phase::Over) {
                next = self.events.try_next();
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Event(event, _) if self.shown.supersedes(&event) => {}
            Delivery::Event(event, coalesced) => {
                self.event(&event, coalesced);
                if event.is_final && self.events.filter().single_job().is_some() {
                    self.end();
                }
            }
            Delivery::Bookmark(seq) => self.bookmark(seq),
            Delivery::Gap { from, to, reason } => self.gap(from.0, to.0, reason),
            Delivery::Closed { retry_ms } => {
                self.say("bye", None, &Bye { retry_ms });
                self.phase = Phase::Over;
            }
        }
    }

    /// Nothing with a cursor was sent for a while: moves the cursor on, or just shows a sign of life.
    fn break_silence(&mut self) {
        match self.events.bookmark() {
            Some(seq) => self.bookmark(seq),
            None => heartbeat(&mut self.out, self.format),
        }
        self.quiet_until = Instant::now() + self.shared.limits.heartbeat;
    }

    fn event(&mut self, event: &Arc<Event>, coalesced: u64) {
        let seen_as = match event.uid {
            Some(owner) => audience(&self.subject, owner, &self.shared),
            None => Audience::Owner,
        };
        let epoch = self.events.epoch();
        self.shared
            .renderer
            .event(&mut self.out, self.format, epoch, event, seen_as, coalesced);
        if event.seq.is_some() {
            self.advance(event.seq);
        }
    }

    fn bookmark(&mut self, seq: Seq) {
        let id = format!("{}:{seq}", self.events.epoch());
        self.say("bookmark", Some(&id), &serde_json::json!({ "seq": seq.0 }));
        self.advance(Some(seq));
    }

    fn advance(&mut self, told: Option<Seq>) {
        self.told = told;
        self.quiet_until = Instant::now() + self.shared.limits.heartbeat;
    }

    fn gap(&mut self, from: u64, to: u64, reason: &str) {
        let reason = reason.to_owned();
        self.say("gap", None, &Gap { from, to, reason });
        self.phase = Phase::Over;
    }

    fn end(&mut self) {
        self.say("end", None, &serde_json::json!({}));
        self.phase = Phase::Over;
    }

    fn say<T: serde::Serialize>(&mut self, kind: &str, id: Option<&str>, body: &T) {
        message(&mut self.out, self.format, kind, id, body);
    }
}

impl Pull for Feed {
    async fn pull(mut self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            if !self.out.is_empty() {
                let piece = std::mem::take(&mut self.out);
                return Ok(Some((piece.into(), self)));
            }
            match std::mem::replace(&mut self.phase, Phase::Over) {
                Phase::Hello => self.hello(),
                Phase::Replay(after) => self.replay(after).await?,
                Phase::Snapshot(snapshot) => self.snapshot(snapshot).await?,
                Phase::Settle => self.settle(),
                Phase::Live => {
                    self.phase = Phase::Live;
                    self.live().await;
                }
                Phase::Over => return Ok(None),
            }
        }
    }
}
