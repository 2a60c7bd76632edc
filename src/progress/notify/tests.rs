//! Texts of the notify socket.

use proptest::prelude::*;

use super::*;

fn seen(text: &str) -> Observation {
    read(text).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn facts_of_the_service_kind() {
    let all = seen("READY=1\nSTATUS=serving, a=b\nWATCHDOG=1\nSTOPPING=1\nMAINPID=5\n");
    assert!(all.ready && all.stopping && all.heartbeat);
    assert_eq!(
        (all.status.as_deref(), all.message.as_deref()),
        (Some("serving, a=b"), Some("serving, a=b"))
    );
    assert_eq!(all.source, Source::Notify);
    for alive in ["WATCHDOG=1", "RELOADING=1", "EXTEND_TIMEOUT_USEC=5000000"] {
        assert!(seen(alive).heartbeat, "{alive}");
        assert!(!seen(alive).has_counts(), "{alive}");
    }
}

#[test]
fn progress_in_all_its_forms() {
    let counts = |text: &str| {
        let seen = seen(text);
        (seen.step, seen.total_steps, seen.percent)
    };
    assert_eq!(
        counts("X_STOKED_PROGRESS=500/1000"),
        (Some(500.0), Some(1000.0), None)
    );
    assert_eq!(
        counts("X_STOKED_PROGRESS= 5 / 9 "),
        (Some(5.0), Some(9.0), None)
    );
    assert_eq!(counts("X_STOKED_PROGRESS=45%"), (None, None, Some(45.0)));
    assert_eq!(counts("X_STOKED_PROGRESS=45.2 %"), (None, None, Some(45.2)));
    assert_eq!(counts("X_STOKED_PROGRESS=500"), (Some(500.0), None, None));
    assert_eq!(
        counts("X_STOKED_PROGRESS=1/9\nX_STOKED_PROGRESS=9%"),
        (None, None, Some(9.0))
    );
    let epoch = seen("X_STOKED_EPOCH=2/3");
    assert_eq!((epoch.epoch, epoch.total_epochs), (Some(2.0), Some(3.0)));
    assert_eq!(seen("X_STOKED_EPOCH=2").epoch, Some(2.0));
    assert_eq!(
        seen("X_STOKED_PHASE=warm-up").phase.as_deref(),
        Some("warm-up")
    );
}

#[test]
fn metrics_and_steps_add_up() {
    let seen = seen(
        "X_STOKED_METRIC=loss=0.2\nX_STOKED_METRIC=lr=1e-4\nX_STOKED_METRIC=bad=x\nX_STOKED_STEP=a:b:completed\nX_STOKED_STEP=eval:45%\nX_STOKED_STEP=x:unknown",
    );
    assert_eq!(
        seen.metrics,
        [("loss".to_owned(), 0.2), ("lr".to_owned(), 1e-4)].into()
    );
    let steps: Vec<_> = seen
        .steps
        .iter()
        .map(|it| (it.name.as_str(), it.state, it.percent))
        .collect();
    assert_eq!(
        steps,
        [
            ("a:b", StepState::Completed, None),
            ("eval", StepState::Progress, Some(45.0))
        ]
    );
}

#[test]
fn steps_are_announced_and_weigh() {
    let seen = seen(
        "X_STOKED_STEPS=prepare, fit=8,,bad=x,evaluate\nX_STOKED_STEP=fit:started weight=9 kind=epoch so=what",
    );
    let steps: Vec<_> = seen
        .steps
        .iter()
        .map(|it| (it.name.as_str(), it.state, it.weight, it.kind.as_deref()))
        .collect();
    assert_eq!(
        steps,
        [
            ("prepare", StepState::Pending, None, None),
            ("fit", StepState::Pending, Some(8.0), None),
            ("evaluate", StepState::Pending, None, None),
            ("fit", StepState::Started, Some(9.0), Some("epoch")),
        ]
    );
}

#[test]
fn that_there_is_too_much_is_said() {
    let names: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    let many = seen(&format!("X_STOKED_STEPS={}", names.join(",")));
    assert!(many.steps.len() == MAX_STEPS && many.steps_left_out);
    let lines = names.iter().map(|it| format!("X_STOKED_METRIC={it}=1\n"));
    let many = seen(&lines.collect::<String>());
    assert!(many.metrics.len() == MAX_METRICS && many.metrics_left_out);
}

#[test]
fn nothing_about_progress() {
    for text in [
        "",
        "\n\n",
        "MAINPID=5",
        "READY=0",
        "WATCHDOG=trigger",
        "X_STOKED_PROGRESS=",
        "X_STOKED_PROGRESS=9/5",
        "X_STOKED_PROGRESS=1/0",
        "X_STOKED_PROGRESS=145%",
        "X_STOKED_PROGRESS=-1",
        "X_STOKED_PROGRESS=nan",
        "X_STOKED_METRIC=loss",
        "X_STOKED_METRIC=loss=inf",
        "X_STOKED_STEP=done",
        "ready=1",
        "EXTEND_TIMEOUT_USEC=soon",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn nothing_that_is_said_does_harm(text in any::<String>(), field in "X_STOKED_(PROGRESS|METRIC|STEPS?|EPOCH)=[0-9/%:=.,a-z -]{0,20}") {
        drop(read(&text));
        drop(read(&field));
    }
}
