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
    assert_eq!(
        (progress.percent, progress.step),
        (Some(100.0), Some(2.0)),
        "they moved after it"
    );
}

#[test]
fn what_the_job_told_last_leads() {
    let done = |name: &str| told(&[(name, StepState::Completed, None)]);
    let plan = || announced(&[("a", 1.0), ("b", 1.0)]);
    for count in [percent(Source::Notify, 10.0), steps(Source::Api, 1.0, 50.0)] {
        let shown = run([count, plan(), done("a"), done("b")]);
        assert!(shown[1].0 < Some(11.0), "to announce is not to move");
        assert_eq!(shown[2..], [(Some(50.0), 0), (Some(100.0), 0)]);
    }
    let between = run([
        plan(),
        done("a"),
        steps(Source::Api, 30.0, 50.0),
        done("a"),
        told(&[("b", StepState::Started, None)]),
        done("b"),
    ]);
    let percents: Vec<_> = between.iter().map(|it| it.0.unwrap()).collect();
    assert_eq!(percents, [0.0, 50.0, 60.0, 60.0, 60.0, 100.0]);
    let both = Observation {
        percent: Some(30.0),
        ..done("a")
    };
    assert_eq!(run([plan(), both]).pop(), Some((Some(30.0), 0)));
    let bare = Observation {
        step: Some(7.0),
        ..Observation::new(Source::Api)
    };
    let shown = run([plan(), done("a"), bare]);
    assert_eq!(shown.last(), Some(&(Some(50.0), 0)), "no percent follows");
}

#[test]
fn steps_that_found_no_room_make_percent_unknown() {
    let names: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    let all = |state| {
        let report = |name: &String| StepReport::new(name, state);
        Observation {
            steps: names.iter().map(report).collect(),
            ..Observation::new(Source::Notify)
        }
    };
    let mut progress = Progress::default();
    progress.observe(told(&[("0", StepState::Pending, None)]), at(0));
    assert_eq!(
        progress.excess(&all(StepState::Pending)),
        Some(Excess::Steps)
    );
    progress.observe(all(StepState::Pending), at(1));
    assert_eq!((progress.percent, progress.phase_number), (None, 1));
    let mut few = all(StepState::Completed);
    few.steps.truncate(200);
    progress.observe(few, at(2));
    assert_eq!((progress.percent, progress.step), (None, None));
    progress.observe(percent(Source::Notify, 40.0), at(3));
    assert_eq!(progress.percent, Some(40.0));
}

#[test]
fn the_steps_of_a_list_that_are_not_kept_are_counted() {
    let list = |completed: u32| {
        let mut seen = Observation::new(Source::File);
        for number in 0..5000_u32 {
            let state = if number < completed {
                StepState::Completed
            } else {
                StepState::Pending
            };
            let step = StepReport::new(number.to_string(), state);
            if seen.steps.len() < MAX_STEPS {
                seen.steps.push(step);
            } else {
                seen.more_steps.get_or_insert_default().count(step);
            }
        }
        seen
    };
    let mut progress = Progress::default();
    for completed in [0, 100, 2500, 2500, 5000] {
        progress.observe(list(completed), at(1));
        let whole = f64::from(completed);
        assert_eq!(progress.percent, Some(whole / 50.0));
        assert_eq!(
            (progress.step, progress.total_steps),
            (Some(whole), Some(5000.0))
        );
    }
    assert_eq!(progress.phase_number, 0);
}

#[test]
fn a_step_never_goes_back_unless_it_begins_anew() {
    let part = |percent| told(&[("b", StepState::Progress, Some(percent))]);
    let shown = run([
        announced(&[("a", 1.0), ("b", 1.0)]),
        part(50.0),
        part(20.0),
        told(&[("b", StepState::Completed, None)]),
        part(10.0),
        told(&[("b", StepState::Started, None)]),
        part(10.0),
    ]);
    let expected = [
        (25.0, 0),
        (25.0, 0),
        (50.0, 0),
        (50.0, 0),
        (0.0, 1),
        (5.0, 1),
    ];
    assert_eq!(shown[1..], expected.map(|it| (Some(it.0), it.1)));
}

#[test]
fn a_step_that_failed_is_not_done() {
    let mut progress = Progress::default();
    progress.observe(announced(&[("a", 1.0), ("b", 1.0), ("c", 1.0)]), at(0));
    progress.observe(told(&[("a", StepState::Failed, None)]), at(1));
    progress.observe(told(&[("b", StepState::Completed, None)]), at(2));
    progress.observe(told(&[("c", StepState::Completed, None)]), at(3));
    assert_eq!(
        (progress.step, progress.total_steps),
        (Some(2.0), Some(3.0))
    );
    assert!(progress.percent.unwrap() < 67.0);
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
