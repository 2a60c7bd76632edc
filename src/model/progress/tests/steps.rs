//! Named steps: what they say about the whole, and what epochs say about steps.

use super::*;

fn told(steps: &[(&str, StepState, Option<f64>)]) -> Observation {
    let report = |(name, state, percent): &(&str, StepState, Option<f64>)| StepReport {
        percent: *percent,
        ..StepReport::new(*name, *state)
    };
    Observation {
        steps: steps.iter().map(report).collect(),
        ..Observation::new(Source::Api)
    }
}

fn announced(steps: &[(&str, f64)]) -> Observation {
    let report = |(name, weight): &(&str, f64)| StepReport {
        weight: Some(*weight),
        ..StepReport::new(*name, StepState::Pending)
    };
    Observation {
        steps: steps.iter().map(report).collect(),
        ..Observation::new(Source::Api)
    }
}

fn total(steps: f64) -> Observation {
    Observation {
        total_steps: Some(steps),
        ..Observation::new(Source::Api)
    }
}

#[test]
fn percent_is_the_weight_that_is_done() {
    let shown = run([
        announced(&[("prepare", 1.0), ("fit", 8.0), ("evaluate", 1.0)]),
        told(&[("prepare", StepState::Started, None)]),
        told(&[
            ("prepare", StepState::Completed, None),
            ("fit", StepState::Started, None),
        ]),
        told(&[("fit", StepState::Progress, Some(50.0))]),
        told(&[("fit", StepState::Failed, None)]),
        told(&[("evaluate", StepState::Completed, None)]),
    ]);
    let percents: Vec<_> = shown.iter().map(|it| it.0.unwrap()).collect();
    assert_eq!(percents, [0.0, 0.0, 10.0, 50.0, 50.0, 60.0]);
    assert!(shown.iter().all(|it| it.1 == 0));
}

#[test]
fn without_the_whole_there_is_no_percent() {
    let shown = run([
        told(&[("a", StepState::Completed, None)]),
        told(&[("b", StepState::Started, None)]),
        total(4.0),
        told(&[("b", StepState::Completed, None)]),
    ]);
    assert_eq!(
        shown,
        [(None, 0), (None, 0), (Some(25.0), 0), (Some(50.0), 0)]
    );
    let mut progress = Progress::default();
    progress.observe(total(4.0), at(0));
    progress.observe(told(&[("a", StepState::Completed, None)]), at(1));
    assert_eq!(
        (progress.percent, progress.step, progress.total_steps),
        (Some(25.0), Some(1.0), Some(4.0))
    );
}

#[test]
fn steps_give_way_to_the_jobs_own_count_and_to_no_guess() {
    let mut progress = Progress::default();
    progress.observe(bar(90.0, 100.0), at(0));
    progress.observe(announced(&[("a", 1.0), ("b", 1.0)]), at(1));
    assert_eq!((progress.percent, progress.phase_number), (Some(0.0), 1));
    progress.observe(told(&[("a", StepState::Completed, None)]), at(2));
    progress.observe(bar(95.0, 100.0), at(900));
    assert_eq!((progress.percent, progress.phase_number), (Some(50.0), 1));
    progress.observe(steps(Source::Api, 7.0, 10.0), at(901));
    progress.observe(told(&[("b", StepState::Completed, None)]), at(902));
    assert_eq!((progress.percent, progress.step), (Some(70.0), Some(7.0)));
}

#[test]
fn a_step_nobody_announced_and_one_that_begins_anew_are_new_phases() {
    let shown = run([
        announced(&[("a", 1.0), ("b", 1.0)]),
        told(&[("a", StepState::Completed, None)]),
        told(&[("c", StepState::Started, None)]),
        told(&[("a", StepState::Started, None)]),
    ]);
    assert_eq!(
        shown[1..],
        [(Some(50.0), 0), (Some(33.33), 1), (Some(0.0), 2)]
    );
}

#[test]
fn steps_that_made_room_still_count() {
    let names: Vec<String> = (0..1000).map(|number| format!("file {number}")).collect();
    let mut progress = Progress::default();
    progress.observe(total(1000.0), at(0));
    for name in &names {
        progress.observe(told(&[(name, StepState::Completed, None)]), at(1));
    }
    assert_eq!(progress.steps.len(), MAX_STEPS);
    assert_eq!((progress.percent, progress.phase_number), (Some(100.0), 0));
    assert_eq!(progress.step, Some(1000.0));
}

#[test]
fn when_a_step_began_is_known_from_its_beginning() {
    let mut progress = Progress::default();
    progress.observe(announced(&[("a", 2.0)]), at(1));
    assert_eq!(progress.steps[0].started_at_ms, None);
    progress.observe(told(&[("a", StepState::Started, None)]), at(5));
    progress.observe(told(&[("a", StepState::Completed, None)]), at(9));
    let step = &progress.steps[0];
    assert_eq!(
        (step.started_at_ms, step.finished_at_ms, step.report.weight),
        (Some(5000), Some(9000), Some(2.0))
    );
}

#[test]
fn steps_that_run_ahead_of_the_first_epoch_are_those_of_the_epoch() {
    let both = |number: f64, step: f64, epochs: f64| Observation {
        total_epochs: Some(epochs),
        epoch: Some(number),
        ..steps(Source::File, step, 100.0)
    };
    let shown = run([
        both(1.0, 10.0, 5.0),
        both(1.0, 30.0, 5.0),
        both(1.0, 100.0, 5.0),
        both(2.0, 1.0, 5.0),
    ]);
    assert_eq!(
        shown,
        [
            (Some(10.0), 0),
            (Some(6.0), 1),
            (Some(20.0), 1),
            (Some(20.2), 1)
        ]
    );
    let over_all = run([
        both(1.0, 20.0, 5.0),
        both(2.0, 21.0, 5.0),
        both(2.0, 40.0, 5.0),
        both(5.0, 100.0, 5.0),
    ]);
    assert_eq!(
        over_all.last(),
        Some(&(Some(100.0), 0)),
        "steps over all epochs stay that"
    );
    let in_parts = |epoch: f64, step: f64| both(epoch, step, 5.0);
    let shown = run([
        in_parts(0.52, 10.0),
        in_parts(1.0, 20.6),
        in_parts(4.99, 100.0),
    ]);
    assert_eq!(
        shown.last(),
        Some(&(Some(100.0), 0)),
        "rounded parts of epochs mislead nobody"
    );
}

#[test]
fn who_misjudged_the_steps_learns_it_in_the_next_epoch() {
    let both = |number: f64, step: f64| Observation {
        total_epochs: Some(4.0),
        epoch: Some(number),
        ..steps(Source::File, step, 100.0)
    };
    // The epoch is told a little late.
    let shown = run([both(1.0, 30.0), both(2.0, 40.0), both(3.0, 60.0)]);
    assert_eq!(shown[1..], [(Some(40.0), 0), (Some(60.0), 0)]);
}
