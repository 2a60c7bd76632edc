//! What subscribers observe: order, coalescing, gaps, bookmarks — also under concurrent publishing.

use super::*;
use crate::events::pattern::{Pattern, Sight};
use crate::events::queue::SLOW_CONSUMER;
use proptest::prelude::*;

fn bus(ring: usize) -> Bus {
    Bus::new(BusOptions {
        epoch: "e1".to_owned(),
        head: Seq(0),
        oldest: Seq(1),
        ring,
    })
}

fn lifecycle(seq: u64, channel: &str) -> Event {
    Event {
        seq: Some(Seq(seq)),
        at_ms: 0,
        channel: channel.into(),
        kind: "state".into(),
        uid: Some(1000),
        is_final: false,
        body: "{}".into(),
    }
}

fn telemetry(value: u64, channel: &str) -> Event {
    Event {
        seq: None,
        kind: "progress".into(),
        body: value.to_string().into(),
        ..lifecycle(0, channel)
    }
}

fn drain(subscription: &mut Subscription) -> Vec<Delivery> {
    std::iter::from_fn(|| subscription.try_next()).collect()
}

/// `seq` of lifecycle events, `value+coalesced` of telemetry.
fn words(deliveries: &[Delivery]) -> Vec<String> {
    let word = |delivery: &Delivery| match delivery {
        Delivery::Event(event, coalesced) => match event.seq {
            Some(seq) => seq.to_string(),
            None => format!("{}+{coalesced}", event.body),
        },
        Delivery::Bookmark(seq) => format!("bookmark {seq}"),
        Delivery::Behind { after } => format!("behind {after}"),
        Delivery::Gap { from, to, reason } => format!("gap {from}-{to} {reason}"),
        Delivery::Closed { retry_ms } => format!("closed {retry_ms}"),
    };
    deliveries.iter().map(word).collect()
}

#[test]
fn flows_of_two_users_with_one_name_do_not_stand_for_each_other() {
    let bus = bus(8);
    let filter = Filter {
        channels: vec!["flow/nightly/progress".parse().unwrap()],
        ..Filter::everything()
    };
    let mut all = bus.subscribe(filter.clone(), QueueOptions::default());
    bus.publish(&[
        telemetry(1, "flow/nightly/progress@1000"),
        telemetry(2, "flow/nightly/progress@1001"),
        telemetry(3, "flow/nightly/progress@1000"),
        telemetry(4, "flow/other/progress@1000"),
    ]);
    assert_eq!(words(&drain(&mut all)), ["3+1", "2+0"]);
    assert_eq!(bus.latest_of(&filter).len(), 2);
    let last = Event {
        is_final: true,
        ..telemetry(5, "flow/nightly/progress@1000")
    };
    bus.publish(&[last]);
    assert_eq!(words(&drain(&mut all)), ["5+0"], "the last value is told");
    assert_eq!(bus.latest_of(&filter).len(), 1, "and not kept");
}

#[test]
fn telemetry_keeps_the_newest_and_its_place_among_states() {
    let bus = bus(8);
    let mut all = bus.subscribe(Filter::everything(), QueueOptions::default());
    bus.publish(&[
        telemetry(1, "job/1/progress"),
        telemetry(2, "job/1/progress"),
        telemetry(7, "job/2/progress"),
        lifecycle(1, "job/1/state"),
        telemetry(3, "job/1/progress"),
        telemetry(4, "job/1/progress"),
        telemetry(8, "job/2/progress"),
    ]);
    assert_eq!(words(&drain(&mut all)), ["2+1", "8+1", "1", "4+1"]);
    bus.publish(&[telemetry(5, "job/1/progress")]);
    assert_eq!(words(&drain(&mut all)), ["5+0"]);
}

#[test]
fn the_newest_telemetry_is_kept_until_the_final_event() {
    let bus = bus(8);
    bus.publish(&[
        telemetry(1, "job/1/progress"),
        telemetry(2, "job/1/progress"),
        telemetry(9, "job/12/progress"),
    ]);
    assert_eq!(&*bus.latest("job/1/progress").unwrap().body, "2");
    let one = Filter::of(vec![Pattern::job(crate::model::id::JobId(12))]);
    assert_eq!(bus.latest_of(&one).len(), 1);
    assert_eq!(bus.latest_of(&Filter::everything()).len(), 2);
    let last = Event {
        is_final: true,
        ..lifecycle(1, "job/1/state")
    };
    bus.publish(&[last]);
    assert_eq!(bus.latest("job/1/progress"), None);
    assert!(bus.latest("job/12/progress").is_some());
}

#[test]
fn what_was_shown_at_once_does_not_come_again() {
    let bus = bus(8);
    let options = QueueOptions {
        channels: 2,
        ..QueueOptions::default()
    };
    let mut all = bus.subscribe(Filter::everything(), options);
    let last = Event {
        is_final: true,
        ..lifecycle(2, "job/2/state")
    };
    bus.publish(&[
        telemetry(1, "job/1/progress"),
        lifecycle(1, "job/1/state"),
        telemetry(2, "job/1/progress"),
        telemetry(3, "job/2/progress"),
        telemetry(5, "job/5/progress"),
        last,
        telemetry(4, "job/3/progress"),
    ]);
    let bodies = |events: &[Arc<Event>]| {
        let bodies = events.iter().map(|event| event.body.to_string());
        bodies.collect::<Vec<_>>()
    };
    assert_eq!(bodies(&all.newest_telemetry()), ["2", "4", "5"]);
    assert_eq!(
        words(&drain(&mut all)),
        ["1", "3+0", "2"],
        "the last words of job 2 were not shown"
    );
    // There is room for two: what is newest everywhere follows, but for what was shown.
    let (one, five) = (
        telemetry(6, "job/1/progress"),
        telemetry(7, "job/5/progress"),
    );
    bus.publish(&[one, five, telemetry(8, "job/6/progress")]);
    let later = words(&drain(&mut all));
    assert_eq!(later.last().map(String::as_str), Some("8+0"));
    assert!(!later.contains(&"4+0".to_owned()), "{later:?}");
    all.detach(Seq(2));
    all.attach();
    let again = ["6+0", "4+0"];
    assert_eq!(words(&drain(&mut all))[..2], again, "history begins anew");
}

#[test]
fn what_follows_a_final_event_is_told_although_it_was_shown() {
    let bus = bus(8);
    let mut all = bus.subscribe(Filter::everything(), QueueOptions::default());
    let last = Event {
        is_final: true,
        ..lifecycle(1, "job/1/state")
    };
    bus.publish(&[
        telemetry(1, "job/1/progress"),
        last,
        telemetry(2, "job/1/progress"),
    ]);
    assert_eq!(all.newest_telemetry().len(), 1);
    assert_eq!(words(&drain(&mut all)), ["1", "2+0"]);
    bus.publish(&[telemetry(3, "job/1/progress")]);
    assert_eq!(words(&drain(&mut all)), ["3+0"]);
}

#[test]
fn overflow_is_a_gap_and_the_last_word() {
    let bus = bus(8);
    let options = QueueOptions {
        lifecycle: 2,
        channels: 1,
        ..QueueOptions::default()
    };
    let mut slow = bus.subscribe(Filter::everything(), options);
    let mut quick = bus.subscribe(Filter::everything(), QueueOptions::default());
    for seq in 1..=4 {
        bus.publish(&[lifecycle(seq, "job/1/state")]);
    }
    let heard: Vec<Delivery> = (0..3).filter_map(|_| slow.try_next()).collect();
    assert_eq!(
        words(&heard),
        [
            format!("gap 1-3 {SLOW_CONSUMER}"),
            "closed 0".into(),
            "closed 0".into()
        ]
    );
    assert_eq!(words(&drain(&mut quick)), ["1", "2", "3", "4"]);
    assert_eq!(bus.subscribers(), 1, "the slow one is no burden any more");
}

#[test]
fn replay_ends_where_the_queue_begins() {
    let bus = bus(4);
    for seq in 1..=6 {
        bus.publish(&[lifecycle(seq, "job/1/state")]);
    }
    let live = bus.subscribe(Filter::everything(), QueueOptions::default());
    bus.publish(&[lifecycle(7, "job/1/state")]);
    let replayed = |after| match bus.replay(Seq(after), live.registered_head()) {
        Replay::Ring(events) => Some(
            events
                .iter()
                .filter_map(|event| event.seq)
                .map(|seq| seq.0)
                .collect::<Vec<_>>(),
        ),
        Replay::TooOld => None,
    };
    assert_eq!(replayed(1), None);
    assert_eq!(
        replayed(2),
        None,
        "event 3 fell out of the ring with event 7"
    );
    assert_eq!(replayed(3), Some(vec![4, 5, 6]));
    assert_eq!(replayed(5), Some(vec![6]));
    assert_eq!(replayed(6), Some(vec![]));
    assert_eq!(replayed(u64::MAX), Some(vec![]));
}

#[test]
fn what_was_published_before_is_skipped_and_a_hole_empties_the_ring() {
    let bus = bus(8);
    bus.publish(&[
        lifecycle(1, "job/1/state"),
        lifecycle(1, "job/1/state"),
        lifecycle(5, "job/1/state"),
    ]);
    assert_eq!(bus.bounds(), (Seq(1), Seq(5)));
    assert_eq!(bus.replay(Seq(0), Seq(5)), Replay::TooOld);
    assert!(matches!(bus.replay(Seq(4), Seq(5)), Replay::Ring(events) if events.len() == 1));
}

#[test]
fn bookmarks_move_filtered_subscribers_on() {
    let bus = bus(8);
    let filter = Filter::of(vec!["job/1/*".parse().unwrap()]);
    let mut one = bus.subscribe(filter, QueueOptions::default());
    assert_eq!(one.bookmark(), None, "nothing happened since it came");
    bus.publish(&[lifecycle(1, "job/2/state"), lifecycle(2, "job/2/state")]);
    assert_eq!(one.bookmark(), Some(Seq(2)));
    assert_eq!(one.bookmark(), None);
    bus.publish(&[lifecycle(3, "job/1/state"), lifecycle(4, "job/2/state")]);
    assert_eq!(one.bookmark(), None, "an event waits");
    bus.trim(Seq(4));
    bus.trim(Seq(4));
    assert_eq!(words(&drain(&mut one)), ["3", "bookmark 4"]);
    assert_eq!(bus.bounds(), (Seq(4), Seq(4)));
}

#[test]
fn a_subscriber_sees_its_own_and_nobodys() {
    let bus = bus(8);
    let filter = Filter {
        sight: Sight::Only(7),
        ..Filter::everything()
    };
    let mut seven = bus.subscribe(filter, QueueOptions::default());
    let with_uid = |seq, uid| Event {
        uid,
        ..lifecycle(seq, "job/1/state")
    };
    bus.publish(&[
        with_uid(1, Some(7)),
        with_uid(2, Some(8)),
        with_uid(3, None),
    ]);
    assert_eq!(words(&drain(&mut seven)), ["1", "3"]);
}

#[test]
fn closing_ends_every_subscription_after_what_waits() {
    let bus = bus(8);
    let mut early = bus.subscribe(Filter::everything(), QueueOptions::default());
    bus.publish(&[lifecycle(1, "job/1/state")]);
    bus.close(250);
    let mut late = bus.subscribe(Filter::everything(), QueueOptions::default());
    bus.publish(&[lifecycle(2, "job/1/state")]);
    assert_eq!(
        words(&[early.try_next().unwrap(), early.try_next().unwrap()]),
        ["1", "closed 250"]
    );
    assert_eq!(words(&[late.try_next().unwrap()]), ["closed 250"]);
}

#[test]
fn who_reads_history_first_gets_nothing_twice_and_what_is_newest_after_it() {
    let bus = bus(64);
    let mut one = bus.subscribe(Filter::everything(), QueueOptions::default());
    bus.publish(&[lifecycle(1, "job/1/state"), telemetry(7, "job/2/progress")]);
    // Between its registration and this, it was queued for already.
    one.detach(Seq(0));
    bus.publish(&[lifecycle(2, "job/1/state"), telemetry(8, "job/2/progress")]);
    assert_eq!(words(&[one.try_next().unwrap()]), ["behind 0"]);
    one.attach();
    assert_eq!(one.registered_head(), Seq(2));
    bus.publish(&[lifecycle(3, "job/1/state")]);
    assert_eq!(words(&drain(&mut one)), ["8+0", "3"]);
}

#[test]
fn more_at_once_than_fits_is_read_from_the_history() {
    let bus = bus(64);
    let options = QueueOptions {
        lifecycle: 2,
        ..QueueOptions::default()
    };
    let mut one = bus.subscribe(Filter::everything(), options);
    let batch: Vec<Event> = (1..=9).map(|seq| lifecycle(seq, "job/1/state")).collect();
    bus.publish(&batch);
    let heard: Vec<Delivery> = (0..3).filter_map(|_| one.try_next()).collect();
    assert_eq!(words(&heard), ["1", "2", "behind 2"]);
    one.attach();
    for seq in 10..=13 {
        // Nothing was taken since: it is still at the history.
        bus.publish(&[lifecycle(seq, "job/1/state")]);
    }
    let heard: Vec<Delivery> = (0..3).filter_map(|_| one.try_next()).collect();
    assert_eq!(words(&heard), ["10", "11", "behind 11"]);
}

#[derive(Clone, Debug)]
enum Act {
    Lifecycle(u8),
    Telemetry(u8),
    Read(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0u8..4).prop_map(Act::Lifecycle),
        (0u8..4).prop_map(Act::Telemetry),
        (0u8..6).prop_map(Act::Read),
    ]
}

/// Checks one subscriber's observations: no event missing before the end or an explicit gap.
#[derive(Default)]
struct Witness {
    last: u64,
    ended: bool,
    newest: BTreeMap<String, String>,
}

impl Witness {
    fn hear(&mut self, delivery: &Delivery) {
        match delivery {
            Delivery::Event(event, _) => match event.seq {
                Some(seq) => {
                    assert!(!self.ended);
                    assert_eq!(seq.0, self.last + 1, "an event is missing or out of order");
                    self.last = seq.0;
                }
                None => {
                    self.newest
                        .insert(event.channel.to_string(), event.body.to_string());
                }
            },
            Delivery::Gap { from, to, .. } => {
                assert_eq!(from.0, self.last + 1);
                assert!(to >= from);
                self.ended = true;
            }
            Delivery::Bookmark(_) => {}
            Delivery::Behind { after } => panic!("one by one never gets behind, at {after}"),
            Delivery::Closed { .. } => self.ended = true,
        }
    }
}

proptest! {
    #[test]
    fn whatever_the_pace_nothing_is_lost_silently(acts in prop::collection::vec(act(), 1..200), room in 1usize..20) {
        let bus = bus(16);
        let options = QueueOptions { lifecycle: room, ..QueueOptions::default() };
        let mut subscription = bus.subscribe(Filter::everything(), options);
        let (mut witness, mut seq, mut value) = (Witness::default(), 0, 0);
        for act in acts {
            match act {
                Act::Lifecycle(job) => {
                    seq += 1;
                    bus.publish(&[lifecycle(seq, &format!("job/{job}/state"))]);
                }
                Act::Telemetry(job) => {
                    value += 1;
                    bus.publish(&[telemetry(value, &format!("job/{job}/progress"))]);
                }
                Act::Read(times) => {
                    for _ in 0..times {
                        if let Some(delivery) = subscription.try_next() {
                            witness.hear(&delivery);
                        }
                    }
                }
            }
        }
        bus.close(0);
        while !witness.ended {
            witness.hear(&subscription.try_next().unwrap());
        }
        if witness.last == seq {
            for event in bus.latest_of(&Filter::everything()) {
                prop_assert_eq!(witness.newest.get(&*event.channel).map(String::as_str), Some(&*event.body));
            }
        }
    }
}

#[test]
fn concurrent_publishing_replay_and_reading_agree() {
    const EVENTS: u64 = 4_000;
    let bus = bus(usize::try_from(EVENTS).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap();
    let readers: Vec<_> = (0..8usize)
        .map(|reader| {
            let bus = bus.clone();
            runtime.spawn(async move {
                let options = QueueOptions {
                    lifecycle: if reader % 2 == 0 { 8 } else { 100_000 },
                    channels: 16,
                    ..QueueOptions::default()
                };
                let mut subscription = bus.subscribe(Filter::everything(), options);
                let mut witness = Witness::default();
                let Replay::Ring(backlog) = bus.replay(Seq(0), subscription.registered_head())
                else {
                    panic!("the ring holds everything");
                };
                for event in backlog {
                    witness.hear(&Delivery::Event(event, 0));
                }
                while !witness.ended && witness.last < EVENTS {
                    witness.hear(&subscription.next().await);
                }
                (reader, witness.last)
            })
        })
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for seq in 1..=EVENTS {
                bus.publish(&[
                    lifecycle(seq, "job/1/state"),
                    telemetry(seq, "job/1/progress"),
                ]);
            }
        });
    });
    for reader in readers {
        let (reader, last) = runtime.block_on(reader).unwrap();
        assert!(
            last == EVENTS || reader % 2 == 0,
            "reader {reader} got to {last}"
        );
    }
    assert_eq!(bus.subscribers(), 0);
}
