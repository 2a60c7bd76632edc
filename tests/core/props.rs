//! The engine against the reference, over any sequence of operations; a difference shrinks to a short story.

use crate::reference::{End, Lane, Plain, Reference, Wish};
use crate::rig::{Rig, START, spec};
use proptest::prelude::*;
use stoked::engine::command::{Command, Dependency, Draft, Edit, Refusal, Verb};
use stoked::engine::input::Input;
use stoked::engine::step::Action;
use stoked::model::failure::{Ending, Failure, FailureClass};
use stoked::model::id::{AttemptId, JobId};
use stoked::model::job::QueueReason;
use stoked::model::retry::RetryPolicy;
use stoked::model::spec::{JobSpec, StopPolicy};
use stoked::model::state::{HeldFor, JobState, StateName};

const LANES: [&str; 2] = ["default", "other"];

/// One new job.
#[derive(Clone, Debug)]
struct New {
    lane: usize,
    rank: u8,
    held: u8,
    not_before: Option<i64>,
    timeout: Option<u64>,
    grace: u64,
    retry: (u32, u64),
    /// Jobs it waits for, counted back from the last one of its submission.
    after: Vec<usize>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Op {
    Submit(u32, Vec<New>),
    Quota(Option<u32>),
    Wish(usize, Wish),
    Started(usize),
    Ended(usize, End),
    Pass(u64),
    Jump(i64),
    Lane(usize, u32, bool),
    Drain(bool),
    Crash,
}

fn new() -> impl Strategy<Value = New> {
    (
        (0..2usize, 0..4u8, 0..8u8),
        prop::option::weighted(0.2, -30..60i64),
        prop::option::weighted(0.3, 0..60u64),
        prop::sample::select(vec![0u64, 10, 40]),
        (1..4u32, 0..4u64),
        prop::collection::vec(0..6usize, 0..3),
    )
        .prop_map(
            |((lane, rank, held), not_before, timeout, grace, retry, after)| New {
                lane,
                rank,
                held,
                not_before,
                timeout,
                grace,
                retry,
                after,
            },
        )
}

fn wish() -> impl Strategy<Value = Wish> {
    let grace = || prop::option::of(0..30u64);
    prop_oneof![
        grace().prop_map(Wish::Cancel),
        grace().prop_map(Wish::Restart),
        Just(Wish::Pause),
        Just(Wish::Resume),
        Just(Wish::Hold),
        Just(Wish::Release),
        Just(Wish::Approve),
        Just(Wish::Reject),
        Just(Wish::Retry),
        Just(Wish::Remove),
        (0..4u8).prop_map(Wish::Rank),
        (0..2usize).prop_map(Wish::Move),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let end = prop::sample::select(vec![End::Well, End::Well, End::Badly, End::Unseen]);
    prop_oneof![
        3 => (0..3u32, prop::collection::vec(new(), 1..4))
            .prop_map(|(owner, new)| Op::Submit(owner, new)),
        1 => prop::option::of(0..6u32).prop_map(Op::Quota),
        5 => (0..16usize, wish()).prop_map(|(id, wish)| Op::Wish(id, wish)),
        4 => (0..16usize).prop_map(Op::Started),
        4 => (0..16usize, end).prop_map(|(id, end)| Op::Ended(id, end)),
        2 => (0..30u64).prop_map(Op::Pass),
        1 => (-60..60i64).prop_map(Op::Jump),
        1 => (0..2usize, 0..4u32, prop::bool::weighted(0.2))
            .prop_map(|(lane, places, paused)| Op::Lane(lane, places, paused)),
        1 => prop::bool::weighted(0.3).prop_map(Op::Drain),
        1 => Just(Op::Crash),
    ]
}

/// The engine and the reference, side by side.
struct Pair {
    rig: Rig,
    plain: Reference,
}

impl Pair {
    fn new() -> Self {
        let mut rig = Rig::new(2);
        rig.group("other", 1, false);
        let lane = |places| Lane {
            places,
            paused: false,
        };
        let plain = Reference {
            lanes: vec![lane(2), lane(1)],
            now: START,
            ..Reference::default()
        };
        Self { rig, plain }
    }

    /// The job that `index` means, counted back from the newest.
    fn target(&self, index: usize) -> Option<usize> {
        self.plain.jobs.len().checked_sub(index + 1)
    }

    fn play(&mut self, op: &Op) {
        self.rig.actions.clear();
        match op {
            Op::Submit(owner, new) => self.submit(*owner, new),
            Op::Quota(most) => {
                self.plain.most = *most;
                self.rig.quota(*most);
            }
            Op::Wish(index, wish) => {
                if let Some(id) = self.target(*index) {
                    let granted = self.rig.verb(job_id(id), verb(*wish)).is_ok();
                    assert_eq!(granted, self.plain.wish(id, *wish), "{wish:?} of {id}");
                }
            }
            Op::Started(index) => self.started(*index),
            Op::Ended(index, end) => self.ended(*index, *end),
            Op::Pass(ms) => {
                self.plain.now = self.plain.now.plus_ms(*ms);
                self.rig.pass(*ms);
            }
            Op::Jump(ms) => {
                self.plain.now.wall_ms += ms;
                self.rig.now = self.plain.now;
                self.rig.report(Input::Tick);
            }
            Op::Lane(lane, places, paused) => {
                self.plain.lanes[*lane] = Lane {
                    places: *places,
                    paused: *paused,
                };
                self.rig.group(LANES[*lane], *places, *paused);
            }
            Op::Drain(draining) => {
                let draining = *draining;
                self.plain.draining = draining;
                self.rig.ask(Command::Drain { draining }).unwrap();
            }
            Op::Crash => self.rig.restart(),
        }
        self.plain.settle();
        self.compare(op);
    }

    fn submit(&mut self, owner: u32, new: &[New]) {
        let fits = self.plain.room(owner, new.len());
        let first = self.plain.jobs.len();
        let end = first + new.len();
        let (mut drafts, mut plains) = (Vec::new(), Vec::new());
        for (offset, new) in new.iter().enumerate() {
            // Later jobs of the same submission wait for earlier ones by name, so there is no cycle.
            let own = first + offset;
            let after: Vec<usize> = new
                .after
                .iter()
                .filter_map(|back| (end - 1).checked_sub(*back))
                .filter(|id| *id < own && !self.plain.jobs.get(*id).is_some_and(|it| it.removed))
                .collect();
            drafts.push(draft(own, first, new, &after));
            plains.push(Plain {
                owner,
                ..plain(new, after)
            });
        }
        let submitted = self.rig.submit_of(owner, drafts);
        if !fits {
            let refused = matches!(submitted, Err(Refusal::TooManyJobs { .. }));
            assert!(refused, "{submitted:?}");
            return;
        }
        submitted.unwrap();
        self.plain.jobs.extend(plains);
        for id in first..end {
            let bad = |it: &&usize| {
                let state = self.plain.jobs[**it].state;
                state.is_final() && state != StateName::Completed
            };
            if self.plain.jobs[id].after.iter().find(bad).is_some() {
                self.plain.finish(id, StateName::Skipped);
            }
        }
    }

    fn started(&mut self, index: usize) {
        let Some(id) = self.target(index) else {
            return;
        };
        // Also one that is not running, and one that has already started.
        if self.plain.jobs[id].attempts > 0 && !self.plain.jobs[id].removed {
            self.rig.started(job_id(id));
            self.plain.started(id);
        }
    }

    fn ended(&mut self, index: usize, end: End) {
        let Some(id) = self.target(index) else {
            return;
        };
        let attempts = self.plain.jobs[id].attempts;
        if attempts == 0 || self.plain.jobs[id].removed {
            return;
        }
        match end {
            End::Well => self.rig.ended(job_id(id), 0),
            End::Badly => self.rig.ended(job_id(id), 1),
            End::Unseen => self.rig.report(Input::Ended {
                attempt: AttemptId {
                    job: job_id(id),
                    attempt: attempts,
                },
                ending: Ending::Unseen {
                    failure: Failure::new(FailureClass::HostLost, "gone"),
                },
                usage: None,
                at: self.rig.now,
            }),
        }
        self.plain.ended(id, end);
    }

    fn compare(&mut self, op: &Op) {
        let mut launched = Vec::new();
        for action in &self.rig.actions {
            if let Action::Launch { job } = action {
                launched.push(usize::try_from(job.id.0).unwrap() - 1);
            }
        }
        let expected = std::mem::take(&mut self.plain.launched);
        assert_eq!(launched, expected, "launched after {op:?}");
        for owner in 0..3 {
            let live = self.rig.engine.live_of(owner);
            assert_eq!(
                live,
                self.plain.live_of(owner) as u64,
                "of {owner} after {op:?}"
            );
        }
        for id in 0..self.plain.jobs.len() {
            self.compare_job(id, op);
        }
    }

    fn compare_job(&self, id: usize, op: &Op) {
        let plain = &self.plain.jobs[id];
        let live = self.rig.engine.job(job_id(id));
        if plain.removed || plain.state.is_final() {
            assert!(live.is_none(), "job {id} lives on after {op:?}");
        }
        if plain.removed {
            return;
        }
        let job = live.map_or_else(|| self.rig.job(job_id(id)), |job| &**job);
        let attempts = job.attempt.as_ref().map_or(0, |it| it.id.attempt);
        assert_eq!(
            (job.state.name(), attempts, job.tries),
            (plain.state, plain.attempts, plain.tries),
            "job {id} after {op:?}"
        );
        if let JobState::Stopping { killed, .. } = job.state {
            assert_eq!(killed, plain.killed, "job {id} after {op:?}");
        }
        if live.is_some() && !plain.on_the_way() {
            let unmet = usize::try_from(job.unmet).unwrap();
            assert_eq!(unmet, self.plain.unmet(id), "job {id} after {op:?}");
        }
        let gates = self.rig.engine.gates();
        let reason = job.queue_reason(Some(&gates), self.rig.now.wall_ms);
        assert_eq!(reason, self.reason(id), "job {id} after {op:?}");
    }

    fn reason(&self, id: usize) -> Option<QueueReason> {
        let plain = &self.plain.jobs[id];
        (plain.state == StateName::Queued).then(|| {
            if self.plain.unmet(id) > 0 {
                QueueReason::Dependency
            } else if self.plain.early(id) {
                QueueReason::NotBefore
            } else if self.plain.draining {
                QueueReason::Draining
            } else if self.plain.lanes[plain.lane].paused {
                QueueReason::GroupPaused
            } else {
                QueueReason::GroupLimit
            }
        })
    }
}

fn job_id(id: usize) -> JobId {
    JobId(id as u64 + 1)
}

fn verb(wish: Wish) -> Verb {
    let edit = |edit| Verb::Edit(Box::new(edit));
    match wish {
        Wish::Cancel(grace_ms) => Verb::Cancel { grace_ms },
        Wish::Restart(grace_ms) => Verb::Restart { grace_ms },
        Wish::Pause => Verb::Pause,
        Wish::Resume => Verb::Resume,
        Wish::Hold => Verb::Hold,
        Wish::Release => Verb::Release,
        Wish::Approve => Verb::Approve,
        Wish::Reject => Verb::Reject,
        Wish::Retry => Verb::Retry,
        Wish::Remove => Verb::Remove,
        Wish::Rank(rank) => edit(Edit {
            priority: Some(rank),
            ..Edit::default()
        }),
        Wish::Move(lane) => edit(Edit {
            group: Some(LANES[lane].to_owned()),
            ..Edit::default()
        }),
    }
}

fn draft(own: usize, first: usize, new: &New, after: &[usize]) -> Draft {
    let (max_attempts, backoff_ms) = new.retry;
    let spec = JobSpec {
        name: format!("job{own}"),
        group: LANES[new.lane].to_owned(),
        priority: new.rank,
        not_before_ms: new.not_before.map(|ahead| START.wall_ms + ahead),
        timeout_ms: new.timeout,
        stop: StopPolicy {
            signal: 15,
            grace_ms: new.grace,
        },
        retry: RetryPolicy {
            max_attempts,
            backoff_ms,
            // Below ten there is no jitter.
            backoff_cap_ms: 9,
            ..RetryPolicy::default()
        },
        ..spec()
    };
    let after_ok = after.iter().map(|id| {
        if *id >= first {
            Dependency::Name(format!("job{id}"))
        } else {
            Dependency::Id(job_id(*id))
        }
    });
    Draft {
        spec,
        held: match new.held {
            0 => Some(HeldFor::Owner),
            1 => Some(HeldFor::Approval),
            _ => None,
        },
        after_ok: after_ok.collect(),
    }
}

fn plain(new: &New, mut after: Vec<usize>) -> Plain {
    after.sort_unstable();
    after.dedup();
    let state = if new.held < 2 {
        StateName::Held
    } else {
        StateName::Queued
    };
    let (max_attempts, backoff) = new.retry;
    Plain {
        rank: new.rank,
        not_before: new.not_before.map(|ahead| START.wall_ms + ahead),
        timeout: new.timeout,
        grace: new.grace,
        max_attempts,
        backoff,
        after,
        approval: new.held == 1,
        ..Plain::new(state, new.lane)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(2_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_engine_does_what_the_reference_does(ops in prop::collection::vec(op(), 1..60)) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.play(op);
        }
    }
}
