//! The whole state table as a snapshot: a changed move is a changed line.

use super::*;
use crate::model::failure::Exit;

const T0: Stamp = Stamp {
    wall_ms: 1_000_000,
    boot_ms: 1_000,
};

fn failure() -> Failure {
    Failure::new(FailureClass::Exit, "ended with exit status 1")
}

fn states() -> Vec<(&'static str, JobState)> {
    let stopping = |cause| JobState::Stopping {
        since: T0,
        cause,
        kill_at: T0.plus_ms(10_000),
        killed: false,
    };
    vec![
        (
            "held/owner",
            JobState::Held {
                waits_for: HeldFor::Owner,
            },
        ),
        (
            "held/approval",
            JobState::Held {
                waits_for: HeldFor::Approval,
            },
        ),
        ("queued", JobState::Queued),
        ("starting", JobState::Starting { since: T0 }),
        (
            "running",
            JobState::Running {
                since: T0,
                ran_before_ms: 0,
            },
        ),
        (
            "paused",
            JobState::Paused {
                since: T0,
                ran_before_ms: 7,
            },
        ),
        ("stopping/cancel", stopping(StopCause::Cancel)),
        ("stopping/timeout", stopping(StopCause::Timeout)),
        ("stopping/restart", stopping(StopCause::Restart)),
        (
            "backoff",
            JobState::Backoff {
                until: T0.plus_ms(5),
                failure: failure(),
            },
        ),
        ("completed", JobState::Completed),
        (
            "failed",
            JobState::Failed {
                failure: failure(),
                exit: None,
            },
        ),
        ("cancelled", JobState::Cancelled),
        ("timed_out", JobState::TimedOut { failure: failure() }),
        ("skipped", JobState::Skipped { failure: failure() }),
        ("lost", JobState::Lost { failure: failure() }),
    ]
}

fn events() -> Vec<(&'static str, JobEvent)> {
    let ended = |ending| JobEvent::Ended {
        ending,
        retry_at: None,
        unasked: false,
    };
    let exited = |code| Ending::Exited {
        exit: Exit::with_code(code),
        oom_killed: false,
    };
    let stop = |cause| JobEvent::StopAsked {
        cause,
        kill_at: T0.plus_ms(5_000),
    };
    vec![
        ("hold", JobEvent::Hold),
        ("release", JobEvent::Release),
        ("approve", JobEvent::Approve),
        ("claimed", JobEvent::Claimed),
        ("started", JobEvent::Started { at: T0 }),
        ("pause", JobEvent::Pause),
        ("resume", JobEvent::Resume),
        ("stop cancel", stop(StopCause::Cancel)),
        ("stop timeout", stop(StopCause::Timeout)),
        ("stop restart", stop(StopCause::Restart)),
        ("grace over", JobEvent::GraceOver),
        ("ended 0", ended(exited(0))),
        ("ended 1", ended(exited(1))),
        (
            "ended 1, retry",
            JobEvent::Ended {
                ending: exited(1),
                retry_at: Some(T0.plus_ms(9)),
                unasked: false,
            },
        ),
        (
            "ended 0 unasked",
            JobEvent::Ended {
                ending: exited(0),
                retry_at: None,
                unasked: true,
            },
        ),
        ("unseen", ended(Ending::Unseen { failure: failure() })),
        ("retry due", JobEvent::RetryDue),
        (
            "dependency failed",
            JobEvent::DependencyFailed { failure: failure() },
        ),
        ("again", JobEvent::Again),
    ]
}

#[test]
fn the_table() {
    let mut table = String::new();
    for (state_name, state) in states() {
        table.push_str(state_name);
        table.push('\n');
        for (event_name, event) in events() {
            if let Ok(next) = state.apply(&event, T0.plus_ms(100)) {
                table.push_str(&format!("    {event_name:<18} -> {}", next.name()));
                if let JobState::Stopping { cause, killed, .. } = next {
                    table.push_str(&format!(" {cause:?} killed={killed}").to_lowercase());
                }
                table.push('\n');
            }
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn time_frozen_does_not_count_as_run() {
    let running = JobState::Running {
        since: T0,
        ran_before_ms: 40,
    };
    let paused = running.apply(&JobEvent::Pause, T0.plus_ms(100)).unwrap();
    let resumed = paused.apply(&JobEvent::Resume, T0.plus_ms(9_000)).unwrap();
    assert_eq!(
        resumed,
        JobState::Running {
            since: T0.plus_ms(9_000),
            ran_before_ms: 140
        }
    );
}

#[test]
fn no_event_leaves_a_final_state_but_again() {
    for (name, state) in states().into_iter().filter(|(_, state)| state.is_final()) {
        for (event_name, event) in events() {
            assert_eq!(
                state.apply(&event, T0).is_ok(),
                event == JobEvent::Again,
                "{name} on {event_name}"
            );
        }
    }
}
