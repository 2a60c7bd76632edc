//! The progress of flows, as events: counted from what happens, told a few times a second at most.
//!
//! A task of its own, because a flow that is not known must be read from the store first, and the control task
//! never waits for a read. It sleeps while nothing happens in a flow.

use crate::daemon::clock;
use crate::events::Bus;
use crate::model::event::{Event, flow_channel};
use crate::model::flow::{Flow, FlowKey, FlowNews, Flows, Outcome, Sieve};
use crate::model::id::JobId;
use crate::model::job::Job;
use crate::store::{FlowRecord, Reader};
use crate::wire::convert::flow_view;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How far apart two events of one flow are at least.
const SPACING: Duration = Duration::from_millis(200);

/// Most news taken in before what has changed is told.
const BATCH: usize = 1_024;

/// Where the control task leaves what happened.
#[derive(Debug)]
pub(super) struct FlowFeed {
    sieve: Sieve,
    news: UnboundedSender<FlowNews>,
}

impl FlowFeed {
    /// Passes on what flows need of `events`.
    pub(super) fn take(&mut self, events: &[Event]) {
        for event in events {
            if let Some(news) = self.sieve.pick(event) {
                // Nobody takes it only while the daemon goes down.
                let _sent = self.news.send(news);
            }
        }
    }
}

/// Counts flows and tells how far they are.
pub(super) struct FlowTeller {
    flows: Flows,
    inbox: UnboundedReceiver<FlowNews>,
    reader: Reader,
    bus: Bus,
    /// Flows that have changed and were not told.
    changed: BTreeSet<FlowKey>,
    /// Those of them that must be read again first.
    doubtful: BTreeSet<FlowKey>,
    /// When a flow may be told again that was told lately.
    free_at: BTreeMap<FlowKey, Instant>,
}

/// The feed and the teller, with what the `live` jobs say of flows.
pub(super) fn flows<'a>(
    live: impl IntoIterator<Item = &'a Job>,
    reader: Reader,
    bus: Bus,
) -> (FlowFeed, FlowTeller) {
    let of_flows: Vec<(&Job, &String)> = live
        .into_iter()
        .filter_map(|job| Some((job, job.spec.flow.as_ref()?)))
        .collect();
    let active = of_flows.iter().filter(|(job, _)| job.state.holds_place());
    let sieve = Sieve::knowing(active.map(|(job, _)| job.id));
    let changed = of_flows.iter().map(|(job, name)| FlowKey {
        uid: job.owner.uid,
        name: name.as_str().into(),
    });
    let (news, inbox) = unbounded_channel();
    let teller = FlowTeller {
        flows: Flows::default(),
        inbox,
        reader,
        bus,
        changed: changed.collect(),
        doubtful: BTreeSet::new(),
        free_at: BTreeMap::new(),
    };
    (FlowFeed { sieve, news }, teller)
}

impl FlowTeller {
    /// Runs until `stop`, or until nothing can happen any more.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        self.doubtful = self.changed.clone();
        loop {
            let due = self.tell(Instant::now()).await;
            let first = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                news = self.inbox.recv() => match news {
                    Some(news) => Some(news),
                    None => return,
                },
                () = until(due) => None,
            };
            let mut taken = 0;
            let mut next = first;
            while let Some(news) = next.take() {
                self.take(news).await;
                taken += 1;
                if taken < BATCH {
                    next = self.inbox.try_recv().ok();
                }
            }
        }
    }

    async fn take(&mut self, news: FlowNews) {
        match self.flows.take(news) {
            Outcome::Nothing => {}
            Outcome::Changed(key) => drop(self.changed.insert(key)),
            Outcome::Unknown(key) => self.read(key).await,
            Outcome::Doubtful(keys) => {
                // Somebody may remove thousands of jobs at once: one look shows what all of them mean.
                self.doubtful.extend(keys.iter().cloned());
                self.changed.extend(keys);
            }
        }
    }

    /// Knows a flow from what is stored. What happened since then is in the inbox.
    async fn read(&mut self, key: FlowKey) {
        let (reader, wanted) = (self.reader.clone(), key.clone());
        let read = tokio::task::spawn_blocking(move || reader.flow(&wanted)).await;
        match read {
            Ok(Ok(Some(record))) => {
                let FlowRecord {
                    key, flow, as_of, ..
                } = record.with_progress(|job| self.latest(job));
                self.flows.know(key.clone(), flow, as_of);
                self.changed.insert(key);
            }
            // Every job of it is gone, and so is the flow.
            Ok(Ok(None)) => self.flows.forget(&key),
            // It is read again when the next thing happens in it.
            Ok(Err(error)) => {
                tracing::debug!(flow = %key.name, %error, "a flow cannot be read");
                self.flows.forget(&key);
            }
            Err(_) => self.flows.forget(&key),
        }
    }

    fn latest(&self, job: JobId) -> Option<std::sync::Arc<Event>> {
        self.bus.latest(&format!("job/{job}/progress"))
    }

    /// Tells of the flows that have changed and may be told; answers when the next of the others may.
    async fn tell(&mut self, now: Instant) -> Option<Instant> {
        self.free_at.retain(|_, free_at| *free_at > now);
        let changed = std::mem::take(&mut self.changed);
        let (wait, ready): (BTreeSet<_>, BTreeSet<_>) = changed
            .into_iter()
            .partition(|key| self.free_at.contains_key(key));
        self.changed = wait;
        let mut events = Vec::with_capacity(ready.len());
        for key in ready {
            if self.doubtful.remove(&key) {
                self.read(key.clone()).await;
                self.changed.remove(&key);
            }
            let Some(flow) = self.flows.get(&key) else {
                continue;
            };
            events.push(event(&key, flow));
            if flow.is_over() {
                self.flows.forget(&key);
            }
            self.free_at.insert(key, now + SPACING);
        }
        self.bus.publish(&events);
        let waiting = self.changed.iter().filter_map(|key| self.free_at.get(key));
        waiting.min().copied()
    }
}

/// The telemetry event that shows a flow; the last one for now where nothing will happen by itself any more.
fn event(key: &FlowKey, flow: &Flow) -> Event {
    let body = serde_json::to_string(&flow_view(key, flow));
    Event {
        seq: None,
        at_ms: clock::now().wall_ms,
        channel: flow_channel(key).into(),
        kind: "flow".into(),
        uid: Some(key.uid),
        is_final: flow.is_over(),
        // Plain data with string keys always has a JSON text.
        body: body.unwrap_or_else(|_| "{}".to_owned()).into(),
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
