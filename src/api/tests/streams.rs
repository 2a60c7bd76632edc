//! Whatever clients do and whenever history goes: what a stream carries is whole, or says where it is not.

use super::harness::*;
use crate::api::limits::Limits;
use crate::auth::Mode;
use crate::events::Subscription;
use crate::events::pattern::{Class, Filter, Pattern};
use crate::events::queue::{Delivery, QueueOptions};
use crate::model::event::Event;
use crate::model::id::JobId;
use crate::store::TrimPolicy;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Jobs that run and report.
const RUNNING: usize = 6;

const CLIENTS: usize = 5;

/// Long enough for what is there already, short enough for what is not.
const A_MOMENT: Duration = Duration::from_millis(4);

#[derive(Clone, Debug)]
enum Act {
    Submit(usize),
    Report(usize),
    End(usize),
    Trim(u64),
    Open {
        client: usize,
        from: From,
        watch: usize,
        paced: bool,
    },
    Read {
        client: usize,
        messages: usize,
    },
    Leave(usize),
}

#[derive(Clone, Copy, Debug)]
enum From {
    Snapshot,
    Oldest,
    Cursor,
    OtherEpoch,
}

const WATCHES: [&str; 5] = [
    "channel=*",
    "channel=job/*/state",
    "channel=job/1*/*",
    "class=lifecycle",
    "job=2",
];

fn filter_of(watch: usize) -> Filter {
    let one = |text: &str| Filter::of(vec![text.parse().unwrap()]);
    match watch {
        0 => Filter::everything(),
        1 => one("job/*/state"),
        2 => one("job/1*/*"),
        3 => Filter {
            class: Some(Class::Lifecycle),
            ..Filter::everything()
        },
        _ => Filter::of(vec![Pattern::job(JobId(2))]),
    }
}

fn act() -> impl Strategy<Value = Act> {
    let from = prop_oneof![
        2 => Just(From::Snapshot),
        2 => Just(From::Oldest),
        6 => Just(From::Cursor),
        1 => Just(From::OtherEpoch),
    ];
    let open = (0..CLIENTS, from, 0..WATCHES.len(), any::<bool>());
    prop_oneof![
        3 => (1usize..60).prop_map(Act::Submit),
        8 => (0..RUNNING).prop_map(Act::Report),
        1 => (0..RUNNING).prop_map(Act::End),
        1 => (0u64..80).prop_map(Act::Trim),
        5 => open.prop_map(|(client, from, watch, paced)| Act::Open { client, from, watch, paced }),
        8 => (0..CLIENTS, 1usize..60).prop_map(|(client, messages)| Act::Read { client, messages }),
        1 => (0..CLIENTS).prop_map(Act::Leave),
    ]
}

/// Every lifecycle event there ever was.
struct Chronicle {
    watch: Subscription,
    events: BTreeMap<u64, Arc<Event>>,
}

impl Chronicle {
    fn new(daemon: &Daemon) -> Self {
        let options = QueueOptions {
            lifecycle: 1 << 20,
            ..QueueOptions::default()
        };
        Self {
            watch: daemon.bus.subscribe(Filter::everything(), options),
            events: BTreeMap::new(),
        }
    }

    fn update(&mut self) -> u64 {
        while let Some(Delivery::Event(event, _)) = self.watch.try_next() {
            if let Some(seq) = event.seq {
                self.events.insert(seq.0, event);
            }
        }
        self.events.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    /// The first event that the filter admits between two numbers, both left out.
    fn missing(&self, filter: &Filter, after: u64, before: u64) -> Option<u64> {
        let between = self.events.range(after + 1..before.max(after + 1));
        let mut wanted = between.filter(|(_, event)| filter.admits(event));
        wanted.next().map(|(seq, _)| *seq)
    }
}

/// One client and what it knows.
#[derive(Default)]
struct Client {
    raw: Option<RawClient>,
    watch: usize,
    /// Its cursor.
    told: u64,
    /// Up to here a snapshot may have shown what an event says.
    excused: u64,
    /// The newest step it was shown, by channel.
    newest: BTreeMap<String, f64>,
    /// What the stream showed of progress before its snapshot ended, by channel.
    in_snapshot: BTreeMap<String, Message>,
    is_in_snapshot: bool,
}

impl Client {
    async fn open(&mut self, daemon: &Daemon, from: From, watch: usize, paced: bool) {
        // Coming back with another filter is a new beginning, not a resumption.
        let from = if watch == self.watch {
            from
        } else {
            From::Snapshot
        };
        *self = Self {
            watch,
            told: self.told,
            newest: std::mem::take(&mut self.newest),
            ..Self::default()
        };
        let epoch = daemon.bus.epoch();
        let begin = match from {
            From::Snapshot => "snapshot=1".to_owned(),
            From::Oldest => "after=0".to_owned(),
            From::Cursor => format!("after={epoch}:{}", self.told),
            From::OtherEpoch => format!("after=another:{}", self.told),
        };
        let interval = if paced { 200 } else { 0 };
        let query = format!("{}&{begin}&min_interval_ms={interval}", WATCHES[watch]);
        let mut raw = RawClient::connect(daemon).await;
        raw.write(&format!(
            "GET /v1/events?{query} HTTP/1.1\r\nhost: x\r\n\r\n"
        ))
        .await;
        let head = raw.until("\r\n\r\n").await;
        let (oldest, newest) = daemon.bus.bounds();
        if head.starts_with("HTTP/1.1 410") {
            let is_gone = self.told + 1 < oldest.0 || self.told > newest.0;
            assert!(
                matches!(from, From::OtherEpoch) || is_gone,
                "{query}: {oldest}..{newest}"
            );
            return;
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{query}: {head}");
        assert!(!matches!(from, From::OtherEpoch));
        let hello = raw.message().await;
        match from {
            From::Snapshot => {
                self.told = hello.data["head"].as_u64().unwrap();
                self.newest.clear();
                self.excused = u64::MAX;
                self.is_in_snapshot = true;
            }
            From::Oldest => self.told = hello.data["oldest"].as_u64().unwrap() - 1,
            From::Cursor | From::OtherEpoch => {}
        }
        self.raw = Some(raw);
    }

    async fn read(&mut self, chronicle: &mut Chronicle) -> bool {
        let Some(raw) = &mut self.raw else {
            return false;
        };
        let Ok(message) = tokio::time::timeout(A_MOMENT, raw.message()).await else {
            return false;
        };
        self.hear(&message, chronicle);
        true
    }

    fn hear(&mut self, message: &Message, chronicle: &mut Chronicle) {
        let head = chronicle.update();
        let filter = filter_of(self.watch);
        let whole = |told: u64, excused: u64, before: u64| {
            let missing = chronicle.missing(&filter, told, before);
            let missing = missing.filter(|seq| *seq > excused);
            assert_eq!(missing, None, "missing before {message:?}, told {told}");
        };
        match message.event.as_str() {
            "end" => self.raw = None,
            "snapshot_end" => {
                self.excused = head;
                self.is_in_snapshot = false;
            }
            "gap" => {
                whole(
                    self.told,
                    self.excused,
                    message.data["from"].as_u64().unwrap(),
                );
                let to = message.data["to"].as_u64().unwrap();
                assert!(to > self.told && to <= head, "{message:?}");
                self.raw = None;
                // It is to list again; what it knows no longer counts.
                self.newest.clear();
                self.told = head;
            }
            "bookmark" => {
                let seq = message.data["seq"].as_u64().unwrap();
                assert!(
                    seq >= self.told && seq <= head,
                    "{message:?} told {}",
                    self.told
                );
                whole(self.told, self.excused, seq + 1);
                self.told = seq;
            }
            "progress" => {
                let step = message.data["body"]["current_step"].as_f64().unwrap();
                let channel = message.data["channel"].as_str().unwrap().to_owned();
                if self.is_in_snapshot {
                    self.in_snapshot.insert(channel.clone(), message.clone());
                } else if let Some(shown) = self.in_snapshot.get(&channel) {
                    let before = shown.data["body"]["current_step"].as_f64().unwrap();
                    // An estimate may change where the step does not.
                    let is_newer = step > before || step == before && message != shown;
                    assert!(is_newer, "not newer than the snapshot: {message:?}");
                }
                self.newest.insert(channel, step);
            }
            _ => {
                let Some(seq) = message.data["seq"].as_u64() else {
                    return; // A part of a snapshot.
                };
                assert!(
                    seq > self.told,
                    "twice or out of order: {message:?} told {}",
                    self.told
                );
                assert!(filter.admits(&chronicle.events[&seq]), "{message:?}");
                whole(self.told, self.excused, seq);
                self.told = seq;
            }
        }
    }

    /// Reads until nothing is left that it should have.
    async fn catch_up(&mut self, daemon: &Daemon, chronicle: &mut Chronicle) {
        let head = chronicle.update();
        let filter = filter_of(self.watch);
        let shown: BTreeMap<String, f64> = daemon
            .bus
            .latest_of(&filter)
            .iter()
            .map(|event| {
                let body: serde_json::Value = serde_json::from_str(&event.body).unwrap();
                let step = body["progress"]["step"].as_f64().unwrap();
                (event.channel.to_string(), step)
            })
            .collect();
        loop {
            let knows = shown
                .iter()
                .all(|(channel, step)| self.newest.get(channel) == Some(step));
            let Some(raw) = &mut self.raw else { return };
            if knows && self.told >= head {
                return;
            }
            // Heartbeats alone are no answer.
            let message = soon(raw.message()).await;
            self.hear(&message, chronicle);
        }
    }
}

async fn play(acts: Vec<Act>, room: usize, channels: usize) {
    let limits = Limits {
        queue: QueueOptions {
            lifecycle: room,
            channels,
            ..QueueOptions::default()
        },
        heartbeat: Duration::from_millis(15),
        replay_per_second: 20_000,
        ..quick_limits()
    };
    let daemon = Daemon::with(limits, Mode::User { uid: own_uid() }, 16);
    let mut chronicle = Chronicle::new(&daemon);
    let mut jobs = Vec::new();
    daemon
        .call(
            "PUT",
            "/v1/groups/default",
            Some(json!({ "parallelism": RUNNING })),
        )
        .await;
    for _ in 0..RUNNING {
        let job = daemon.submit("runs").await;
        daemon.started(job, 1).await;
        jobs.push(Some(job));
    }
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::default()).collect();
    for (step, act) in (1u64..).zip(acts) {
        match act {
            Act::Submit(count) => {
                let batch = vec![json!({ "command": ["a"], "hold": true }); count];
                daemon.post("/v1/jobs", json!({ "jobs": batch })).await;
            }
            Act::Report(place) => {
                if let Some(job) = jobs[place] {
                    let report = json!({ "step": step, "total_steps": 1_000_000 });
                    daemon
                        .post(&format!("/v1/jobs/{job}/progress"), report)
                        .await;
                }
            }
            Act::End(place) => {
                if let Some(job) = jobs[place].take() {
                    daemon.ended(job, 1, 0).await;
                }
            }
            Act::Trim(events_keep) => {
                let policy = TrimPolicy {
                    events_keep,
                    events_older_than_ms: None,
                    keys_older_than_ms: 0,
                };
                let trimmed = daemon.store.trim(policy).await.unwrap();
                daemon.bus.trim(trimmed.oldest);
            }
            Act::Open {
                client,
                from,
                watch,
                paced,
            } => {
                clients[client].open(&daemon, from, watch, paced).await;
            }
            Act::Read { client, messages } => {
                for _ in 0..messages {
                    if !clients[client].read(&mut chronicle).await {
                        break;
                    }
                }
            }
            Act::Leave(client) => clients[client].raw = None,
        }
    }
    for client in &mut clients {
        client.catch_up(&daemon, &mut chronicle).await;
    }
}

proptest! {
    // A client that waits for what never comes fails late: shrinking such a case has to end some time.
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 20, ..ProptestConfig::default() })]
    #[test]
    fn whatever_clients_do_no_stream_lies(
        acts in prop::collection::vec(act(), 20..120),
        room in 2usize..40,
        channels in 1usize..8,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(play(acts, room, channels));
    }
}
