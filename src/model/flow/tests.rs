//! Counting is compared with looking at all jobs, over random lives.

use super::*;
use proptest::prelude::*;

fn key() -> FlowKey {
    FlowKey {
        uid: 1000,
        name: "nightly".into(),
    }
}

fn flow(states: &[(StateName, Part)]) -> Flow {
    let mut flow = Flow::default();
    for (id, (state, part)) in (1..).zip(states) {
        flow.moved(JobId(id), None, *state, 0);
        if let Some(known) = flow.active.get_mut(&JobId(id)) {
            *known = *part;
        }
    }
    flow
}

fn part(percent: f64, eta_seconds: f64) -> Part {
    Part {
        percent: Some(percent),
        eta_seconds: Some(eta_seconds),
    }
}

const NONE: Part = Part {
    percent: None,
    eta_seconds: None,
};

#[test]
fn percent_is_the_mean_and_nothing_is_made_up() {
    use StateName as S;
    let half = flow(&[
        (S::Completed, NONE),
        (S::Running, part(50.0, 30.0)),
        (S::Failed, NONE),
        (S::Queued, NONE),
        (S::Paused, NONE),
    ]);
    assert_eq!(half.percent(), Some(30.0));
    assert_eq!(
        half.eta_seconds(),
        None,
        "nobody knows how long the waiting one takes"
    );
    let sums = half.sums();
    assert_eq!((sums.total, sums.pending, sums.running), (5, 1, 2));
    assert_eq!((sums.completed, sums.failed, sums.skipped), (1, 1, 0));
    let last = flow(&[
        (S::Running, part(50.0, 30.0)),
        (S::Stopping, part(10.0, 90.0)),
    ]);
    assert_eq!(last.eta_seconds(), Some(90.0));
    let silent = flow(&[(S::Running, part(50.0, 30.0)), (S::Running, NONE)]);
    assert_eq!((silent.eta_seconds(), silent.percent()), (None, Some(25.0)));
    let over = flow(&[(S::Completed, NONE), (S::Lost, NONE)]);
    assert_eq!(
        (over.eta_seconds(), over.percent(), over.is_over()),
        (None, Some(50.0), true)
    );
    assert_eq!(Flow::default().percent(), None);
}

fn event(kind: &str, seq: Option<u64>, channel: &str, body: &str) -> Event {
    Event {
        seq: seq.map(Seq),
        at_ms: 5,
        channel: channel.into(),
        kind: kind.into(),
        uid: Some(1000),
        is_final: false,
        body: body.into(),
    }
}

#[test]
fn only_events_of_flows_pass_the_sieve() {
    let mut sieve = Sieve::default();
    let progress = r#"{"job":7,"name":"x","attempt":1,"status":"running","progress":{"percent":40.0,"eta_seconds":9.5}}"#;
    let told = event("progress", None, "job/7/progress", progress);
    assert_eq!(sieve.pick(&told), None, "it is not known to be of a flow");
    let plain = r#"{"job":7,"name":"\"flow\":","user":"ann","state":"running"}"#;
    assert_eq!(
        sieve.pick(&event("state", Some(1), "job/7/state", plain)),
        None
    );
    let body =
        r#"{"job":7,"name":"x","flow":"nightly","user":"ann","state":"starting","from":"queued"}"#;
    let moved = sieve.pick(&event("state", Some(2), "job/7/state", body));
    let wanted = FlowNews::Moved {
        key: key(),
        user: "ann".into(),
        job: JobId(7),
        from: Some(StateName::Queued),
        to: StateName::Starting,
        seq: Seq(2),
        at_ms: 5,
    };
    assert_eq!(moved, Some(wanted));
    assert_eq!(
        sieve.pick(&event("edited", Some(3), "job/7/state", body)),
        None
    );
    let news = FlowNews::Told {
        job: JobId(7),
        part: part(40.0, 9.5),
    };
    assert_eq!(sieve.pick(&told), Some(news));
    let removed = event("removed", Some(4), "job/3/state", "{\"job\":3}");
    assert_eq!(sieve.pick(&removed), Some(FlowNews::Removed { uid: 1000 }));
}

#[test]
fn what_was_read_from_the_store_is_not_counted_twice() {
    let mut flows = Flows::default();
    let submitted = |seq| FlowNews::Moved {
        key: key(),
        user: "ann".into(),
        job: JobId(1),
        from: None,
        to: StateName::Queued,
        seq: Seq(seq),
        at_ms: 0,
    };
    assert_eq!(flows.take(submitted(4)), Outcome::Unknown(key()));
    flows.know(key(), flow(&[(StateName::Queued, NONE)]), Seq(4));
    assert_eq!(flows.take(submitted(4)), Outcome::Nothing);
    assert_eq!(flows.get(&key()).unwrap().sums().total, 1);
    assert_eq!(flows.take(submitted(5)), Outcome::Changed(key()));
    assert_eq!(flows.get(&key()).unwrap().sums().total, 2);
    assert_eq!(
        flows.take(FlowNews::Removed { uid: 1000 }),
        Outcome::Doubtful(vec![key()])
    );
    assert_eq!(
        flows.take(FlowNews::Removed { uid: 1 }),
        Outcome::Doubtful(vec![])
    );
    flows.forget(&key());
    assert!(flows.get(&key()).is_none());
}

#[test]
fn a_value_that_was_told_before_changes_nothing() {
    let mut flows = Flows::default();
    flows.know(key(), flow(&[(StateName::Running, NONE)]), Seq(1));
    let told = |percent| FlowNews::Told {
        job: JobId(1),
        part: part(percent, 1.0),
    };
    assert_eq!(flows.take(told(10.0)), Outcome::Changed(key()));
    assert_eq!(flows.take(told(10.0)), Outcome::Nothing);
    let other = FlowNews::Told {
        job: JobId(2),
        part: NONE,
    };
    assert_eq!(flows.take(other), Outcome::Nothing);
}

proptest! {
    #[test]
    fn counting_agrees_with_looking(
        moves in prop::collection::vec((1_u64..8, 0_usize..13, 0.0_f64..100.0), 1..200),
        read_at in 0_usize..200,
    ) {
        let mut jobs: BTreeMap<JobId, (StateName, f64)> = BTreeMap::new();
        let mut flows = Flows::default();
        flows.know(key(), Flow::default(), Seq(0));
        for (place, (id, state, percent)) in moves.into_iter().enumerate() {
            let (job, to) = (JobId(id), StateName::ALL[state]);
            let from = jobs.insert(job, (to, percent)).map(|(from, _)| from);
            let seq = Seq(place as u64 + 1);
            let news = FlowNews::Moved {
                key: key(), user: "ann".into(), job, from, to, seq, at_ms: 0,
            };
            flows.take(news.clone());
            flows.take(FlowNews::Told { job, part: part(percent, percent) });
            if place == read_at {
                // A flow that is read again in the middle is what it was.
                let same = flows.get(&key()).unwrap().clone();
                flows.know(key(), same, seq);
                flows.take(news);
            }
            let known = flows.get(&key()).unwrap();
            let sums = known.sums();
            prop_assert_eq!(sums.total, jobs.len() as u64);
            let part = |(state, percent): &(StateName, f64)| {
                if *state == StateName::Completed {
                    100.0
                } else if state.holds_place() {
                    *percent
                } else {
                    0.0
                }
            };
            let sum: f64 = jobs.values().map(part).sum();
            let mean = sum / jobs.len() as f64;
            prop_assert!((known.percent().unwrap() - mean).abs() < 1e-9);
            prop_assert_eq!(known.is_over(), jobs.values().all(|(state, _)| state.is_final()));
            prop_assert_eq!(
                sums.pending + sums.running + sums.completed + sums.failed + sums.cancelled + sums.skipped,
                sums.total
            );
        }
    }
}
