//! Stories that once went wrong, most of them told by the simulation. Each must end well for ever.

use crate::rig::{Rig, spec};
use stoked::engine::command::{Command, Refusal, Reply, SignalTarget, Verb};
use stoked::engine::input::Input;
use stoked::engine::step::Action;
use stoked::model::state::StateName;

#[test]
fn a_timeout_beyond_the_end_of_time_never_comes() {
    let mut rig = Rig::new(1);
    let mut endless = spec();
    endless.timeout_ms = Some(u64::MAX);
    let id = rig.one(endless, &[]);
    rig.started(id);
    rig.pass(1_000_000);
    assert_eq!(rig.state(id), StateName::Running);
}

/// While the daemon was away the job completed in time; its deadline passed before anybody looked.
#[test]
fn a_record_that_waited_for_a_new_daemon_is_no_timeout() {
    for rebooted in [false, true] {
        let mut rig = Rig::new(1);
        let mut short = spec();
        short.timeout_ms = Some(1_000);
        short.retry.max_attempts = 3;
        let id = rig.one(short, &[]);
        rig.started(id);
        let ended = rig.now.plus_ms(500);
        rig.now = rig.now.plus_ms(60_000);
        if rebooted {
            rig.reboot();
        } else {
            rig.restart();
        }
        rig.ended_at(id, 0, ended);
        assert_eq!(rig.state(id), StateName::Completed, "rebooted: {rebooted}");
    }
}

#[test]
fn what_ended_after_its_timeout_timed_out_however_it_ended() {
    let mut rig = Rig::new(1);
    let mut short = spec();
    short.timeout_ms = Some(1_000);
    let id = rig.one(short, &[]);
    rig.started(id);
    rig.pass(1_000);
    rig.pass(1);
    rig.ended(id, 0);
    assert_eq!(rig.state(id), StateName::TimedOut);
}

/// Its time had come while its group was full; then the wall clock was set back.
#[test]
fn a_wall_clock_set_back_makes_a_ready_job_wait_again() {
    let mut rig = Rig::new(1);
    let first = rig.one(spec(), &[]);
    rig.started(first);
    let mut later = spec();
    later.not_before_ms = Some(rig.now.wall_ms + 1_000);
    let later = rig.one(later, &[]);
    rig.pass(2_000);
    rig.now.wall_ms -= 2_000;
    rig.ended(first, 0);
    assert_eq!(rig.state(later), StateName::Queued);
    let wakeup = rig.engine.next_wakeup(rig.now);
    assert_eq!(wakeup, Some(rig.now.boot_ms + 1_000));
    rig.pass(1_000);
    assert_eq!(rig.state(later), StateName::Starting);
}

/// A failed, so B was skipped; then A was removed, and nothing tells any more that it failed.
#[test]
fn removing_what_failed_does_not_let_its_waiters_run() {
    let mut rig = Rig::new(1);
    let failing = rig.one(spec(), &[]);
    let waiter = rig.one(spec(), &[failing]);
    rig.started(failing);
    rig.ended(failing, 1);
    assert_eq!(rig.state(waiter), StateName::Skipped);
    assert_eq!(rig.verb(failing, Verb::Remove), Ok(Reply::Removed));
    let refused = rig.verb(waiter, Verb::Retry).unwrap_err();
    assert_eq!(refused, Refusal::UnknownDependency(failing.to_string()));
    assert_eq!(rig.state(waiter), StateName::Skipped);
}

#[test]
fn removing_what_completed_does_not_keep_its_waiters_from_running_again() {
    let mut rig = Rig::new(1);
    let first = rig.one(spec(), &[]);
    let waiter = rig.one(spec(), &[first]);
    for id in [first, waiter] {
        rig.started(id);
        rig.ended(id, 0);
    }
    assert_eq!(rig.verb(first, Verb::Remove), Ok(Reply::Removed));
    rig.verb(waiter, Verb::Retry).unwrap();
    assert_eq!(rig.state(waiter), StateName::Starting);
}

/// Claimed before the host went down, started after: it belongs to the boot in which it runs.
#[test]
fn what_starts_after_a_reboot_belongs_to_the_new_boot() {
    let mut rig = Rig::new(1);
    let id = rig.one(spec(), &[]);
    rig.reboot();
    let attempt = rig.attempt(id);
    rig.report(Input::NeverStarted { attempt });
    let stored = rig.job(id).clone();
    assert_eq!(stored.attempt.as_ref().unwrap().boot_id, rig.boot_id);
    let [Action::Launch { job }] = rig.actions.as_slice() else {
        panic!("{:?}", rig.actions);
    };
    assert_eq!(**job, stored);
}

/// Cancelled while its shim was still being started: nobody was there to hear the signal.
#[test]
fn what_starts_while_it_is_stopping_is_asked_to_end_once_it_runs() {
    for grace_ms in [0, 5_000] {
        let mut rig = Rig::new(1);
        let id = rig.one(spec(), &[]);
        let grace_ms = Some(grace_ms);
        rig.verb(id, Verb::Cancel { grace_ms }).unwrap();
        rig.started(id);
        let attempt = rig.attempt(id);
        let sent = if grace_ms == Some(0) {
            Action::Kill { attempt }
        } else {
            Action::Signal {
                attempt,
                signal: 15,
                to: SignalTarget::Group,
            }
        };
        assert_eq!(rig.actions, [sent]);
    }
}

/// "Attempts since a person last queued it": a restart is a person queueing it.
#[test]
fn a_restart_gives_back_the_automatic_retries() {
    let mut rig = Rig::new(1);
    let mut stubborn = spec();
    stubborn.retry.max_attempts = 2;
    let id = rig.one(stubborn, &[]);
    rig.started(id);
    rig.ended(id, 1);
    assert_eq!(rig.state(id), StateName::Backoff);
    rig.verb(id, Verb::Restart { grace_ms: None }).unwrap();
    rig.started(id);
    rig.verb(id, Verb::Restart { grace_ms: None }).unwrap();
    rig.ended(id, 143);
    assert_eq!(rig.state(id), StateName::Starting);
    rig.started(id);
    rig.ended(id, 1);
    assert_eq!(rig.state(id), StateName::Backoff);
}

#[test]
fn the_longest_waits_do_not_overflow() {
    let mut rig = Rig::new(2);
    let mut patient = spec();
    patient.retry.max_attempts = u32::MAX;
    patient.retry.backoff_ms = u64::MAX;
    patient.retry.backoff_cap_ms = u64::MAX;
    patient.stop.grace_ms = u64::MAX;
    let waiting = rig.one(patient.clone(), &[]);
    rig.started(waiting);
    rig.ended(waiting, 1);
    let stopping = rig.one(patient.clone(), &[]);
    rig.started(stopping);
    rig.verb(stopping, Verb::Cancel { grace_ms: None }).unwrap();
    patient.not_before_ms = Some(i64::MAX);
    let never = rig.one(patient.clone(), &[]);
    patient.not_before_ms = Some(i64::MIN);
    let always = rig.one(patient, &[]);
    rig.pass(1_000_000);
    rig.restart();
    assert_eq!(rig.state(waiting), StateName::Backoff);
    assert_eq!(rig.state(stopping), StateName::Stopping);
    assert_eq!(rig.state(never), StateName::Queued);
    assert_eq!(rig.state(always), StateName::Starting);
    rig.reboot();
    rig.pass(1_000_000);
    assert_eq!(rig.state(waiting), StateName::Backoff);
}

/// A restart that was accepted and then ended as cancelled had promised something else.
#[test]
fn a_restart_is_refused_while_a_cancel_is_under_way() {
    let mut rig = Rig::new(1);
    let id = rig.one(spec(), &[]);
    rig.started(id);
    rig.verb(id, Verb::Cancel { grace_ms: None }).unwrap();
    let refused = rig.verb(id, Verb::Restart { grace_ms: None });
    let refused = refused.unwrap_err().to_string();
    assert_eq!(
        refused,
        "job 1 is stopping, it cannot be restarted before it has ended"
    );
    rig.ended(id, 143);
    assert_eq!(rig.state(id), StateName::Cancelled);
}

/// Claimed, never launched because the daemon died, cancelled before the new one had looked.
#[test]
fn what_never_ran_ends_as_it_was_asked_to() {
    for (verb, state) in [
        (Verb::Cancel { grace_ms: None }, StateName::Cancelled),
        (Verb::Restart { grace_ms: None }, StateName::Starting),
    ] {
        let mut rig = Rig::new(1);
        let id = rig.one(spec(), &[]);
        rig.restart();
        rig.verb(id, verb).unwrap();
        let attempt = rig.attempt(id);
        rig.report(Input::NeverStarted { attempt });
        assert_eq!(rig.state(id), state);
    }
}

/// The boot clock starts anew; the wall clock says how long is still to wait, unless it is nonsense.
#[test]
fn a_wait_goes_on_over_a_reboot_and_never_grows() {
    for (set_back_ms, still_to_wait_ms) in [(0, 6_000), (1_000_000_000_000, 11_000)] {
        let mut rig = Rig::new(1);
        let mut stubborn = spec();
        stubborn.retry.max_attempts = 2;
        stubborn.retry.backoff_ms = 10_000;
        stubborn.retry.backoff_cap_ms = 10_000;
        let id = rig.one(stubborn, &[]);
        rig.started(id);
        rig.ended(id, 1);
        let due = rig.engine.next_wakeup(rig.now).unwrap();
        let wait_ms = due - rig.now.boot_ms;
        rig.now.wall_ms += i64::try_from(wait_ms).unwrap() - 6_000 - set_back_ms;
        rig.reboot();
        let due = rig.engine.next_wakeup(rig.now).unwrap();
        assert_eq!(due - rig.now.boot_ms, still_to_wait_ms);
    }
}

/// Edges of a job that began are gone: who it waited for may run again without it noticing.
#[test]
fn what_runs_does_not_notice_that_what_it_waited_for_runs_again() {
    let mut rig = Rig::new(2);
    let first = rig.one(spec(), &[]);
    let second = rig.one(spec(), &[first]);
    rig.started(first);
    rig.ended(first, 0);
    rig.started(second);
    rig.verb(first, Verb::Retry).unwrap();
    rig.started(first);
    rig.ended(first, 1);
    assert_eq!(rig.state(second), StateName::Running);
    rig.ended(second, 0);
    assert_eq!(rig.state(second), StateName::Completed);
}

/// Its month was about to be deleted when somebody queued it again.
#[test]
fn what_lives_again_does_not_go_with_what_is_over() {
    let mut rig = Rig::new(1);
    let (over, again) = (rig.one(spec(), &[]), rig.one(spec(), &[]));
    for id in [over, again] {
        rig.started(id);
        rig.ended(id, 0);
    }
    rig.verb(again, Verb::Retry).unwrap();
    rig.started(again);
    let jobs = vec![(over, 0), (again, 0)];
    assert_eq!(rig.ask(Command::Expire { jobs }), Ok(Reply::Removed));
    assert_eq!(rig.state(again), StateName::Running);
    rig.ended(again, 0);
    assert_eq!(rig.state(again), StateName::Completed);
    let gone = rig.verb(over, Verb::Retry);
    assert_eq!(gone, Err(Refusal::UnknownJob(over)));
}
