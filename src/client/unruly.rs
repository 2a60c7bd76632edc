//! Whatever happens between client and daemon: no event is missed without a word, none comes twice, and in the end the
//! client knows what the daemon knows. Random faults, real sockets, virtual time.

mod daemon;
mod harm;

use crate::client::unruly::daemon::{Daemon, World};
use crate::client::unruly::harm::{Fault, fault};
use crate::client::{
    Client, EventQuery, Events, JobQuery, LogItem, LogOutput, LogQuery, News, StreamItem,
};
use crate::wire::event::{EventView, StreamMessage};
use crate::wire::values::Cursor;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

/// What happens on the daemon's side.
#[derive(Clone, Debug)]
enum Deed {
    /// Jobs move.
    Moves(Vec<u64>),
    /// A job tells how far it is.
    Progress(u64),
    /// The process is killed; the next one is up after so many milliseconds.
    Killed(u64),
    /// The same, and the next one has another database.
    OtherDatabase(u64),
    /// Old events are forgotten.
    Trimmed,
    /// All connections break, and this is what comes to the next ones.
    Faults(Vec<Fault>),
    /// Time passes, milliseconds.
    Quiet(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => proptest::collection::vec(1..=JOBS, 1..6).prop_map(Deed::Moves),
        4 => (1..=JOBS).prop_map(Deed::Progress),
        2 => (0u64..5_000).prop_map(Deed::Killed),
        1 => (0u64..5_000).prop_map(Deed::OtherDatabase),
        1 => Just(Deed::Trimmed),
        4 => proptest::collection::vec(fault(), 1..4).prop_map(Deed::Faults),
        4 => (0u64..60_000).prop_map(Deed::Quiet),
    ]
}

const JOBS: u64 = 4;

/// What the client came to know.
#[derive(Debug, Default)]
struct Mirror {
    states: BTreeMap<u64, String>,
    progress: BTreeMap<u64, u64>,
    /// The newest event that is accounted for.
    cursor: Option<Cursor>,
    is_in_snapshot: bool,
}

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
struct Habit {
    /// Wants only this job.
    only: Option<u64>,
    /// Wants a snapshot instead of listing by itself.
    has_snapshot: bool,
}

impl Habit {
    fn wants(self, job: u64) -> bool {
        self.only.is_none_or(|only| only == job)
    }

    fn query(self, after: Option<Cursor>) -> EventQuery {
        EventQuery {
            channels: self
                .only
                .iter()
                .map(|only| format!("job/{only}/*"))
                .collect(),
            snapshot: self.has_snapshot,
            after,
            ..EventQuery::default()
        }
    }
}

impl Mirror {
    fn event(&mut self, event: &EventView, cursor: Option<Cursor>, world: &World, habit: Habit) {
        match (News::of(event), cursor) {
            (News::State(body), Some(cursor)) => {
                let known = self
                    .cursor
                    .replace(cursor.clone())
                    .expect("an event before hello");
                assert_eq!(known.epoch, cursor.epoch, "another database without a word");
                let between = world.events(&cursor.epoch, known.seq, cursor.seq);
                let missed: Vec<_> = between.filter(|it| habit.wants(it.job)).collect();
                assert_eq!(
                    missed.len(),
                    1,
                    "after {known} came {cursor}, between them {missed:?}"
                );
                assert_eq!(
                    (missed[0].job, missed[0].state.as_str()),
                    (body.job, body.state.as_str())
                );
                self.states.insert(body.job, body.state);
            }
            (News::State(body), None) => {
                assert!(self.is_in_snapshot, "a state of no number: {body:?}");
                self.states.insert(body.job, body.state);
            }
            (News::Progress(job, body), None) => {
                let percent = body["progress"].as_u64().expect("a percentage");
                self.progress.insert(job, percent);
            }
            (News::Other, _) => {}
            other => panic!("{other:?}"),
        }
    }

    fn is_level_with(&self, world: &World, habit: Habit) -> bool {
        let states: BTreeMap<_, _> = world
            .states
            .iter()
            .filter(|(job, _)| habit.wants(**job))
            .collect();
        let progress: BTreeMap<_, _> = world
            .progress
            .iter()
            .filter(|(job, _)| habit.wants(**job))
            .collect();
        let has_progress = !habit.has_snapshot || self.progress.iter().eq(progress);
        self.states.iter().eq(states) && has_progress
    }
}

/// A client at work: reads its stream as a program would.
struct Reader {
    client: Client,
    events: Events,
    mirror: Mirror,
    habit: Habit,
    polls: u32,
}

impl Reader {
    async fn new(daemon: &Daemon, habit: Habit) -> Self {
        let client = daemon.client();
        let mut reader = Self {
            events: client.events(habit.query(None)),
            client,
            mirror: Mirror::default(),
            habit,
            polls: 0,
        };
        if !habit.has_snapshot {
            let cursor = reader.list().await;
            reader.events = reader.client.events(habit.query(Some(cursor)));
        }
        reader
    }

    /// What the daemon says when it is asked; asked until it answers.
    async fn list(&mut self) -> Cursor {
        loop {
            match self.client.jobs(&JobQuery::default()).await {
                Ok(list) => {
                    let jobs = list.items.into_iter().map(|job| (job.id, job.state));
                    self.mirror.states = jobs.filter(|(job, _)| self.habit.wants(*job)).collect();
                    self.mirror.cursor = Some(list.as_of.clone());
                    return list.as_of;
                }
                Err(error) => assert!(error.is_passing(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    async fn step(&mut self, daemon: &Daemon) {
        let item = self
            .events
            .next()
            .await
            .expect("no refusal is final")
            .expect("the stream has no end");
        match item {
            StreamItem::Message(StreamMessage::Hello(hello)) => {
                let head = Cursor {
                    epoch: hello.epoch,
                    seq: hello.head,
                };
                self.mirror.is_in_snapshot |= self.mirror.cursor.is_none();
                self.mirror.cursor.get_or_insert(head);
            }
            StreamItem::Message(StreamMessage::SnapshotEnd) => self.mirror.is_in_snapshot = false,
            StreamItem::Message(StreamMessage::Event(event, cursor)) => {
                self.mirror
                    .event(&event, cursor, &daemon.world(), self.habit);
            }
            StreamItem::Message(_) | StreamItem::Back | StreamItem::Lost { .. } => {}
            StreamItem::Relist => {
                self.mirror = Mirror::default();
                if !self.habit.has_snapshot {
                    let cursor = self.list().await;
                    self.events.resume_after(cursor);
                }
            }
            StreamItem::Poll => self.polls += 1,
        }
    }
}

async fn play(deeds: Vec<Deed>, habit: Habit) {
    let daemon = Daemon::start(JOBS);
    let mut reader = Reader::new(&daemon, habit).await;
    let is_over = Cell::new(false);
    let acting = async {
        for deed in deeds {
            match deed {
                Deed::Moves(jobs) => jobs.iter().for_each(|job| daemon.move_on(*job)),
                Deed::Progress(job) => daemon.progress(job),
                Deed::Killed(ms) => daemon.restart(Duration::from_millis(ms)).await,
                Deed::OtherDatabase(ms) => {
                    daemon.forget_everything();
                    daemon.restart(Duration::from_millis(ms)).await;
                }
                Deed::Trimmed => daemon.trim(),
                Deed::Faults(faults) => {
                    daemon.fail_with(faults);
                    daemon.restart(Duration::ZERO).await;
                }
                Deed::Quiet(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            }
        }
        daemon.heal();
        (1..=JOBS).for_each(|job| daemon.move_on(job));
        is_over.set(true);
    };
    // A step is not cut short: it would leave a list half read.
    let reading = async {
        loop {
            reader.step(&daemon).await;
            if is_over.get() && reader.mirror.is_level_with(&daemon.world(), habit) {
                return;
            }
        }
    };
    // Twice the longest wait for silence and for the next attempt; far more than it ever takes.
    let timeout = Duration::from_secs(3600);
    let both = async { tokio::join!(acting, reading) };
    assert!(
        tokio::time::timeout(timeout, both).await.is_ok(),
        "it never came level: {:?} but {:?}",
        reader.mirror,
        daemon.world()
    );
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_missed_without_a_word_and_nothing_comes_twice(
        deeds in proptest::collection::vec(deed(), 1..40),
        only in proptest::option::of(1..=JOBS),
        has_snapshot in any::<bool>(),
    ) {
        runtime().block_on(play(deeds, Habit { only, has_snapshot }));
    }

    #[test]
    fn a_log_is_the_same_to_the_byte(
        faults in proptest::collection::vec(fault(), 0..12),
    ) {
        runtime().block_on(async {
            let daemon = Daemon::start(0);
            daemon.fail_with(faults.into_iter().filter(Fault::is_for_logs).collect());
            let mut log = daemon.client().logs(LogQuery { job: 7, follow: true, ..LogQuery::default() });
            let mut read = Vec::new();
            while let Some(item) = log.next().await.unwrap() {
                match item {
                    LogItem::Piece(LogOutput::Stdout(bytes), _) => read.extend(bytes),
                    LogItem::Lost { .. } | LogItem::Back => {}
                    LogItem::Piece(other, _) => panic!("{other:?}"),
                }
            }
            assert!(read == daemon::output(), "{}", String::from_utf8_lossy(&read));
        });
    }
}
