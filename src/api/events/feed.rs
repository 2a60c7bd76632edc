//! Makes one event stream: hello, replay, snapshot, then live until the end.

use crate::api::events::render::{Format, heartbeat, message};
use crate::api::events::snapshot::{Shown, Snapshot, Stage, present};
use crate::api::limits::Slot;
use crate::api::ports::Look;
use crate::api::pull::Pull;
use crate::api::visit::Visit;
use crate::auth::Action;
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
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Events of one step of the replay.
const REPLAY_STEP: u64 = 500;

/// From so few events before the newest one on, what happens meanwhile is queued.
const NEAR: u64 = 256;

/// How many events are read for the price of one that is sent.
const READ_FOR_ONE_SENT: u64 = 10;

/// A piece is sent when it is this long, even if more waits.
const PIECE_BYTES: usize = 64 << 10;

/// What a stream begins with.
pub(super) struct Opening {
    pub(super) shared: Visit,
    pub(super) events: Subscription,
    pub(super) slot: Slot,
    /// Kept while somebody looks at what is measured.
    pub(super) look: Option<Look>,
    pub(super) format: Format,
    /// Replay what came after this.
    pub(super) after: Option<Seq>,
    pub(super) snapshot: bool,
    /// The one job that is watched, as it was after the stream was registered.
    pub(super) watched: Option<JobHistory>,
}

/// What makes a stream.
pub(super) struct Feed {
    shared: Visit,
    events: Subscription,
    _slot: Slot,
    _look: Option<Look>,
    format: Format,
    phase: Phase,
    after: Option<Seq>,
    snapshot: bool,
    shown: Shown,
    watched: Option<JobHistory>,
    /// Whether the newest event of the watched job that was replayed is a final one.
    replayed_final: Option<bool>,
    /// Whether what came before the stream is dealt with.
    settled: bool,
    /// Whether what happens is not queued, because the history is read first.
    detached: bool,
    /// When the history may be read again.
    read_at: Instant,
    /// The cursor that the client has.
    told: Option<Seq>,
    /// The newest event that was left out because the snapshot shows what came after it.
    passed: Option<Seq>,
    quiet_until: Instant,
    /// When the cursor of the client is to be moved on at the latest.
    bookmark_at: Instant,
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
        let now = Instant::now();
        let mut events = opening.events;
        if let Some(after) = opening.after {
            events.detach(after);
        }
        Self {
            quiet_until: now + opening.shared.limits.heartbeat,
            bookmark_at: now + opening.shared.limits.bookmark,
            shared: opening.shared,
            events,
            _slot: opening.slot,
            _look: opening.look,
            format: opening.format,
            phase: Phase::Hello,
            after: opening.after,
            snapshot: opening.snapshot,
            shown: Shown::default(),
            watched: opening.watched,
            replayed_final: None,
            settled: false,
            detached: opening.after.is_some(),
            read_at: now,
            told: None,
            passed: None,
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
        match (self.settled, self.snapshot) {
            (true, _) => Phase::Live,
            (false, true) => Phase::Snapshot(Snapshot::new()),
            (false, false) => Phase::Settle,
        }
    }

    /// Sends the next events after `after`, from memory or from the store.
    ///
    /// Only near the newest event is what happens queued: so the queue has room for it, however long
    /// the replay takes.
    async fn replay(&mut self, after: Seq) -> io::Result<()> {
        if let Some(retry_ms) = self.events.closed() {
            self.bye(retry_ms);
            return Ok(());
        }
        let mut target = self.events.registered_head();
        if self.detached {
            target = self.shared.bus.bounds().1;
            if target.0.saturating_sub(after.0) <= NEAR {
                self.events.attach();
                self.detached = false;
                target = self.events.registered_head();
            }
        }
        if after >= target {
            if self.told.is_some_and(|told| told < target) {
                self.bookmark(target);
            }
            self.phase = self.after_replay();
            return Ok(());
        }
        self.told.get_or_insert(after);
        let up_to = Seq(target.0.min(after.0.saturating_add(REPLAY_STEP)));
        let (events, reached) = match self.shared.bus.replay(after, up_to) {
            Replay::Ring(events) => (events, up_to),
            Replay::TooOld => match self.stored(after, up_to, target).await? {
                Some(page) => page,
                None => return Ok(()),
            },
        };
        self.phase = Phase::Replay(reached);
        for event in &events {
            if self.events.filter().admits(event) {
                self.replayed(event);
            }
            if matches!(self.phase, Phase::Over) {
                break;
            }
        }
        Ok(())
    }

    fn replayed(&mut self, event: &Arc<Event>) {
        self.event(event, 0);
        self.replayed_final = Some(event.is_final);
        if self.settled && event.is_final && self.events.filter().single_job().is_some() {
            self.end();
        }
    }

    /// Events from the store, and how far that reaches; nothing where the stream is over instead.
    async fn stored(
        &mut self,
        after: Seq,
        up_to: Seq,
        target: Seq,
    ) -> io::Result<Option<(Vec<Arc<Event>>, Seq)>> {
        let stop = self.shared.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                self.bye(self.events.closed().unwrap_or_default());
                return Ok(None);
            }
            // The last few are owed to nobody: what follows them waits in the queue already.
            () = sleep_until(self.read_at), if self.detached => {}
            () = std::future::ready(()), if !self.detached => {}
        }
        let limit = usize::try_from(REPLAY_STEP).unwrap_or(usize::MAX);
        // Those of one job are found without reading the others.
        let job = self.events.filter().single_job();
        let filter = EventFilter {
            job,
            up_to: Some(if job.is_some() { target } else { up_to }),
            ..EventFilter::default()
        };
        let page = self
            .shared
            .read(move |archive| archive.events(after, limit, &filter))
            .await
            .map_err(|failure| io::Error::other(failure.0.title))?;
        if page.oldest.0 > after.0 + 1 {
            // They were trimmed since the cursor was checked, or before the client got so far.
            self.gap(after.0 + 1, page.oldest.0 - 1, "trimmed");
            return Ok(None);
        }
        self.pay_for(&page.events);
        let events = page.events.into_iter().map(Arc::new).collect();
        Ok(Some((events, page.reached)))
    }

    /// The next events of the store come when these are paid for with time.
    fn pay_for(&mut self, events: &[Event]) {
        let admitted = |event: &&Event| self.events.filter().admits(event);
        let sent = events.iter().filter(admitted).count() as u64;
        let cost = sent.max(events.len() as u64 / READ_FOR_ONE_SENT);
        let per_second = u64::from(self.shared.limits.replay_per_second.max(1));
        let time = Duration::from_micros(cost.saturating_mul(1_000_000) / per_second);
        self.read_at = self.read_at.max(Instant::now()) + time;
    }

    async fn snapshot(&mut self, mut snapshot: Snapshot) -> io::Result<()> {
        let page = snapshot.next(&self.shared, &mut self.events).await?;
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
        self.settled = true;
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
        let wake = self.quiet_until.min(self.bookmark_at);
        let mut next = tokio::select! {
            biased;
            delivery = self.events.next() => Some(delivery),
            () = sleep_until(wake) => None,
        };
        while let Some(delivery) = next.take() {
            self.deliver(delivery);
            if self.out.len() < PIECE_BYTES && matches!(self.phase, Phase::Live) {
                next = self.events.try_next();
            }
        }
        if matches!(self.phase, Phase::Live) {
            self.keep_alive(Instant::now());
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Event(event, _) if self.shown.supersedes(&event) => self.passed = event.seq,
            Delivery::Event(event, coalesced) => {
                self.event(&event, coalesced);
                if event.is_final && self.events.filter().single_job().is_some() {
                    self.end();
                }
            }
            Delivery::Bookmark(seq) => self.bookmark(seq),
            Delivery::Behind { after } => {
                self.detached = true;
                self.phase = Phase::Replay(after);
            }
            Delivery::Gap { from, to, reason } => self.gap(from.0, to.0, reason),
            Delivery::Closed { retry_ms } => self.bye(retry_ms),
        }
    }

    /// Moves the cursor on where nothing with a cursor came for a while, and shows a sign of life
    /// where nothing came at all. Looked at after every piece too: telemetry never ends.
    fn keep_alive(&mut self, now: Instant) {
        let (quiet, overdue) = (now >= self.quiet_until, now >= self.bookmark_at);
        if !quiet && !overdue {
            return;
        }
        if let Some(seq) = self.events.bookmark().or(self.passed) {
            return self.bookmark(seq);
        }
        if quiet && self.out.is_empty() {
            heartbeat(&mut self.out, self.format);
        }
        if overdue {
            self.bookmark_at = now + self.shared.limits.bookmark;
        }
    }

    fn event(&mut self, event: &Arc<Event>, coalesced: u64) {
        let seen_as = match event.uid {
            Some(owner) => self.shared.audience(owner),
            None if self.shared.may(Action::SeeUse, None) => Audience::Owner,
            // What is nobody's may name jobs of anybody.
            None => Audience::Stranger,
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
        self.passed = None;
        self.bookmark_at = Instant::now() + self.shared.limits.bookmark;
    }

    fn gap(&mut self, from: u64, to: u64, reason: &str) {
        let reason = reason.to_owned();
        self.say("gap", None, &Gap { from, to, reason });
        self.phase = Phase::Over;
    }

    fn bye(&mut self, retry_ms: u64) {
        let reason = "shutdown".to_owned();
        self.say("bye", None, &Bye { reason, retry_ms });
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
                self.quiet_until = Instant::now() + self.shared.limits.heartbeat;
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
