//! What clients are shown of progress over time: its pace, silence, pauses, attempts, earlier runs.

use crate::rig::{Rig, spec};
use stoked::engine::command::Verb;
use stoked::engine::input::Input;
use stoked::engine::step::Action;
use stoked::model::id::JobId;
use stoked::model::progress::{EtaBasis, Observation, Progress, Source};
use stoked::model::retry::RetryPolicy;
use stoked::model::spec::JobSpec;
use stoked::model::state::StateName;

/// A running job.
fn running(spec: JobSpec) -> (Rig, JobId) {
    let mut rig = Rig::new(1);
    let id = rig.one(spec, &[]);
    rig.started(id);
    (rig, id)
}

fn step(rig: &mut Rig, id: JobId, done: u32, total: u32) {
    seen(rig, id, done, total, None);
}

/// What lay in its output since a while ago is seen now.
fn step_of_before(rig: &mut Rig, id: JobId, done: u32, total: u32, ago_ms: i64) {
    let said_at_ms = Some(rig.now.wall_ms - ago_ms);
    seen(rig, id, done, total, said_at_ms);
}

fn seen(rig: &mut Rig, id: JobId, done: u32, total: u32, said_at_ms: Option<i64>) {
    let attempt = rig.attempt(id);
    rig.report(Input::Observed {
        attempt,
        observation: Box::new(Observation {
            step: Some(f64::from(done)),
            total_steps: Some(f64::from(total)),
            said_at_ms,
            ..Observation::new(Source::Api)
        }),
    });
}

/// Runs at one unit a second.
fn run(rig: &mut Rig, id: JobId, from: u32, to: u32, total: u32) {
    for done in from..=to {
        step(rig, id, done, total);
        rig.pass(1_000);
    }
}

fn last(rig: &Rig) -> &Progress {
    &rig.told.last().unwrap().progress
}

/// Wakes up whenever something is due, for so long; says how often.
fn sleep(rig: &mut Rig, ms: u64) -> usize {
    let until = rig.now.boot_ms + ms;
    let mut woken = 0;
    while let Some(at) = rig.engine.next_wakeup(rig.now).filter(|at| *at <= until) {
        rig.pass(at - rig.now.boot_ms);
        woken += 1;
        assert!(woken < 1_000, "it never sleeps");
    }
    rig.pass(until - rig.now.boot_ms);
    woken
}

#[test]
fn the_first_value_is_told_at_once_and_the_last_one_always() {
    let (mut rig, id) = running(spec());
    for done in 1..=10 {
        step(&mut rig, id, done, 100);
    }
    assert_eq!(rig.told.len(), 1);
    sleep(&mut rig, 60);
    assert_eq!((rig.told.len(), last(&rig).step), (2, Some(10.0)));
    step(&mut rig, id, 11, 100);
    step(&mut rig, id, 12, 100);
    rig.ended(id, 0);
    assert_eq!(last(&rig).step, Some(12.0));
    assert_eq!(rig.told.last().unwrap().status, StateName::Running);
    let told = rig.told.len();
    assert_eq!((sleep(&mut rig, 900_000), rig.told.len()), (0, told));
    assert_eq!(rig.engine.next_wakeup(rig.now), None);
}

#[test]
fn a_silent_job_loses_its_eta_with_few_wakeups() {
    let (mut rig, id) = running(spec());
    run(&mut rig, id, 0, 60, 1_000);
    let eta = last(&rig).eta_seconds.unwrap();
    assert!((eta - 940.0).abs() < 10.0, "{eta}");
    let woken = sleep(&mut rig, 3_600_000);
    assert!(woken <= 6, "{woken}");
    assert_eq!(last(&rig).eta_seconds, None);
    assert_eq!(rig.engine.next_wakeup(rig.now), None);
}

/// Nobody could write down what the job said for ten minutes, and then a new daemon read what was there.
#[test]
fn what_is_read_late_was_said_when_it_was_written() {
    let (mut rig, id) = running(spec());
    run(&mut rig, id, 0, 60, 2_000);
    rig.restart();
    rig.pass(600_000);
    step_of_before(&mut rig, id, 61, 2_000, 600_000);
    run(&mut rig, id, 661, 666, 2_000);
    let eta = last(&rig).eta_seconds.unwrap();
    assert!((eta - 1_334.0).abs() < 30.0, "{eta}");
}

#[test]
fn nothing_was_said_before_it_was_last_heard_or_it_began() {
    let (mut rig, id) = running(spec());
    rig.pass(10_000);
    step_of_before(&mut rig, id, 1, 2_000, 86_400_000);
    let first = last(&rig).heard_at.unwrap();
    assert_eq!(rig.now.since_ms(first), 10_000, "since it runs");
    rig.pass(10_000);
    step_of_before(&mut rig, id, 2, 2_000, -5_000);
    rig.pass(10_000);
    step_of_before(&mut rig, id, 3, 2_000, 86_400_000);
    let last = last(&rig).heard_at.unwrap();
    assert_eq!(rig.now.since_ms(last), 10_000, "since the one before");
}

#[test]
fn time_stands_still_while_paused_also_over_a_restart() {
    let (mut rig, id) = running(spec());
    run(&mut rig, id, 0, 60, 1_000);
    rig.verb(id, Verb::Pause).unwrap();
    let before = last(&rig).eta_seconds.unwrap();
    // Only to tell that it has no rate now.
    assert!(sleep(&mut rig, 3_600_000) <= 1);
    assert_eq!(last(&rig).rate, None);
    rig.verb(id, Verb::Resume).unwrap();
    run(&mut rig, id, 61, 62, 1_000);
    let after = last(&rig).eta_seconds.unwrap();
    assert!((before - after).abs() < 10.0, "{before} {after}");
    rig.verb(id, Verb::Pause).unwrap();
    rig.restart();
    // The last words of a pipe that was still full.
    step(&mut rig, id, 63, 1_000);
    assert!(sleep(&mut rig, 7_200_000) <= 1);
    rig.verb(id, Verb::Resume).unwrap();
    run(&mut rig, id, 64, 80, 1_000);
    let eta = last(&rig).eta_seconds.unwrap();
    assert!((eta - 920.0).abs() < 30.0, "{eta}");
}

#[test]
fn a_new_attempt_begins_anew() {
    let (mut rig, id) = running(JobSpec {
        retry: RetryPolicy {
            max_attempts: 2,
            backoff_ms: 60_000,
            ..RetryPolicy::default()
        },
        ..spec()
    });
    run(&mut rig, id, 0, 60, 1_000);
    rig.ended(id, 1);
    assert_eq!(
        last(&rig).eta_seconds,
        None,
        "what is over has nothing left"
    );
    assert_eq!(rig.state(id), StateName::Backoff);
    rig.pass(100_000);
    rig.started(id);
    step(&mut rig, id, 0, 1_000);
    assert_eq!(rig.told.last().unwrap().attempt, 2);
    assert_eq!(last(&rig).eta_seconds, None);
    for done in 1..=20_u32 {
        rig.pass(500);
        step(&mut rig, id, done, 1_000);
    }
    let eta = last(&rig).eta_seconds.unwrap();
    assert!((eta - 490.0).abs() < 10.0, "{eta}");
}

#[test]
fn earlier_runs_are_asked_for_once_and_late() {
    let mut named = spec();
    named.name = "nightly".to_owned();
    let (mut rig, id) = running(named);
    rig.pass(4_999);
    assert!(rig.actions.is_empty() && rig.told.is_empty());
    rig.pass(1);
    let attempt = rig.attempt(id);
    let [Action::Recall { attempt: of, same }] = &rig.actions[..] else {
        panic!("{:?}", rig.actions);
    };
    assert_eq!(
        (*of, same.name.as_str(), &same.command),
        (attempt, "nightly", &None)
    );
    rig.report(Input::PastRuns {
        attempt,
        active_ms: vec![100_000, 90_000, 110_000],
    });
    assert_eq!(last(&rig).eta_seconds, Some(95.0));
    assert_eq!(last(&rig).eta_basis, Some(EtaBasis::History));
    assert_eq!(last(&rig).percent, None, "how far it is stays unknown");
    rig.verb(id, Verb::Pause).unwrap();
    assert_eq!(sleep(&mut rig, 900_000), 0);
    rig.verb(id, Verb::Resume).unwrap();
    rig.pass(10_000);
    assert!((last(&rig).eta_seconds.unwrap() - 85.0).abs() < 1.0);
    let woken = sleep(&mut rig, 3_600_000);
    assert!(woken < 30, "{woken}");
    assert_eq!(last(&rig).eta_seconds, None, "longer than all of them");
}

#[test]
fn a_short_job_asks_for_nothing() {
    let (mut rig, id) = running(spec());
    rig.pass(3_000);
    rig.ended(id, 0);
    sleep(&mut rig, 60_000);
    assert!(rig.actions.is_empty() && rig.told.is_empty());
}
