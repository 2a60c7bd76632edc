//! What shall not start, and what ends with the daemon.

use crate::rig::{Rig, draft, spec};
use stoked::engine::command::{Command, Reply, Verb};
use stoked::engine::step::Action;
use stoked::model::state::{StateName, StopCause};

fn drain(rig: &mut Rig, draining: bool) {
    let told = rig.ask(Command::Drain { draining });
    assert_eq!(told, Ok(Reply::Draining(draining)));
}

#[test]
fn nothing_starts_on_a_drained_host_and_all_of_it_after_that() {
    let mut rig = Rig::new(2);
    let running = rig.one(spec(), &[]);
    rig.started(running);
    drain(&mut rig, true);
    let ids = rig.submit(vec![draft(spec(), &[]), draft(spec(), &[running])]);
    let ids = ids.unwrap();
    rig.group("default", 5, false);
    rig.ended(running, 0);
    rig.restart();
    for id in &ids {
        assert_eq!(rig.state(*id), StateName::Queued);
    }
    drain(&mut rig, false);
    for id in &ids {
        assert_eq!(rig.state(*id), StateName::Starting);
    }
}

#[test]
fn what_runs_ends_with_the_daemon_and_nothing_takes_its_place() {
    for (cause, after) in [
        (StopCause::Cancel, StateName::Cancelled),
        (StopCause::Restart, StateName::Starting),
    ] {
        let mut rig = Rig::new(1);
        let mut patient = spec();
        patient.stop.grace_ms = 7_000;
        let running = rig.one(patient, &[]);
        rig.started(running);
        let waiting = rig.one(spec(), &[]);
        let killed_by = rig.now.plus_ms(7_000);
        let told = rig.ask(Command::GoDown { cause });
        assert_eq!(told, Ok(Reply::GoingDown { killed_by }));
        assert_eq!(rig.state(running), StateName::Stopping);
        let is_asked = |action: &Action| matches!(action, Action::Signal { .. });
        assert!(rig.actions.iter().any(is_asked), "{:?}", rig.actions);
        rig.ended(running, 0);
        rig.pass(1_000);
        assert_eq!(rig.state(waiting), StateName::Queued);
        // The next daemon knows nothing of it.
        rig.restart();
        assert_eq!(rig.state(running), after);
        let of_waiting = match cause {
            StopCause::Restart => StateName::Queued,
            StopCause::Cancel | StopCause::Timeout => StateName::Starting,
        };
        assert_eq!(rig.state(waiting), of_waiting);
    }
}

/// It was cancelled before, and that stays so.
#[test]
fn what_ends_already_does_not_begin_again() {
    let mut rig = Rig::new(1);
    let running = rig.one(spec(), &[]);
    rig.started(running);
    rig.verb(running, Verb::Cancel { grace_ms: None }).unwrap();
    let cause = StopCause::Restart;
    rig.ask(Command::GoDown { cause }).unwrap();
    rig.ended(running, 0);
    assert_eq!(rig.state(running), StateName::Cancelled);
}
