//! The rules of merging, as tables.

mod any;
mod lead;
mod steps;
mod timing;

use super::*;

fn at(second: u64) -> Stamp {
    Stamp::default().plus_ms(second * 1000)
}

fn adapter(name: &str) -> Observation {
    Observation::new(Source::Adapter(name.to_owned()))
}

fn steps(source: Source, step: f64, total: f64) -> Observation {
    Observation {
        step: Some(step),
        total_steps: Some(total),
        ..Observation::new(source)
    }
}

fn bar(step: f64, total: f64) -> Observation {
    steps(Source::Adapter("tqdm".to_owned()), step, total)
}

fn epoch(source: Source, epoch: f64, total: f64) -> Observation {
    Observation {
        epoch: Some(epoch),
        total_epochs: Some(total),
        ..Observation::new(source)
    }
}

fn percent(source: Source, percent: f64) -> Observation {
    Observation {
        percent: Some(percent),
        ..Observation::new(source)
    }
}

/// Percent and phase number.
type Shown = (Option<f64>, u32);

/// Observes one after the other, a second apart, and returns what is shown after each.
fn run(seen: impl IntoIterator<Item = Observation>) -> Vec<Shown> {
    let mut progress = Progress::default();
    (0..)
        .zip(seen)
        .map(|(second, observation)| {
            progress.observe(observation, at(second));
            let rounded = progress.percent.map(|it| (it * 100.0).round() / 100.0);
            (rounded, progress.phase_number)
        })
        .collect()
}

#[test]
fn percent_comes_from_the_best_that_is_said() {
    let ratio = || Source::Adapter("ratio".to_owned());
    let in_epoch = |number: f64, step: f64| Observation {
        steps_in_epoch: true,
        ..Observation {
            step: Some(step),
            total_steps: Some(10.0),
            ..epoch(ratio(), number, 4.0)
        }
    };
    let table: [(&str, Vec<Observation>, Option<f64>); 11] = [
        (
            "its own",
            vec![Observation {
                percent: Some(45.0),
                ..bar(1.0, 10.0)
            }],
            Some(45.0),
        ),
        (
            "its own, cut",
            vec![percent(Source::Api, 250.0)],
            Some(100.0),
        ),
        ("step / total", vec![bar(450.0, 1000.0)], Some(45.0)),
        ("more than total", vec![bar(12.0, 10.0)], None),
        (
            "half of a pair",
            vec![bar(1.0, 10.0), steps(Source::File, -1.0, 3.0)],
            Some(10.0),
        ),
        (
            "a pair that cannot be",
            vec![epoch(Source::File, 1.0, 4.0), epoch(Source::File, 5.0, 3.0)],
            Some(0.0),
        ),
        ("nothing of 0", vec![steps(Source::Api, 0.0, 0.0)], None),
        (
            "epochs done",
            vec![epoch(Source::File, 3.0, 4.0)],
            Some(50.0),
        ),
        (
            "a part of epochs",
            vec![epoch(Source::File, 0.5, 4.0)],
            Some(12.5),
        ),
        ("steps in epochs", vec![in_epoch(3.0, 5.0)], Some(62.5)),
        (
            "a new epoch",
            vec![in_epoch(2.0, 10.0), epoch(ratio(), 3.0, 4.0)],
            Some(50.0),
        ),
    ];
    for (what, seen, expected) in table {
        assert_eq!(run(seen).pop(), Some((expected, 0)), "{what}");
    }
}

#[test]
fn a_part_told_by_hand_keeps_the_rest() {
    let api = || Observation::new(Source::Api);
    let mut progress = Progress::default();
    progress.observe(steps(Source::Api, 3.0, 10.0), at(0));
    progress.observe(
        Observation {
            step: Some(4.0),
            ..api()
        },
        at(1),
    );
    assert_eq!(
        (progress.percent, progress.total_steps),
        (Some(40.0), Some(10.0))
    );
    progress.observe(
        Observation {
            total_steps: Some(8.0),
            ..api()
        },
        at(2),
    );
    assert_eq!((progress.percent, progress.step), (Some(50.0), Some(4.0)));
    progress.observe(
        Observation {
            message: Some("evaluating".into()),
            ..api()
        },
        at(3),
    );
    assert_eq!(progress.percent, Some(50.0));
}

#[test]
fn a_count_that_outgrows_its_whole_makes_that_unknown() {
    let more = Observation {
        step: Some(12.0),
        ..Observation::new(Source::Api)
    };
    let mut progress = Progress::default();
    progress.observe(steps(Source::Api, 3.0, 10.0), at(0));
    progress.observe(more, at(1));
    assert_eq!((progress.step, progress.total_steps), (Some(12.0), None));
    assert_eq!((progress.percent, progress.phase_number), (None, 1));
}

#[test]
fn an_adapter_shows_the_bar_it_sees_and_no_other() {
    let counter = Observation {
        step: Some(5.0),
        ..adapter("tqdm")
    };
    let mut progress = Progress::default();
    progress.observe(bar(10.0, 10.0), at(0));
    progress.observe(counter, at(1));
    assert_eq!((progress.percent, progress.total_steps), (None, None));
    assert_eq!((progress.step, progress.phase_number), (Some(5.0), 1));
}

#[test]
fn running_backwards_is_a_new_phase_or_noise() {
    let api = |part| percent(Source::Api, part);
    let table: [(&str, Vec<Observation>, Shown); 6] = [
        (
            "a second bar",
            vec![bar(10.0, 10.0), bar(1.0, 10.0)],
            (Some(10.0), 1),
        ),
        (
            "a shorter bar",
            vec![bar(3.0, 100.0), bar(1.0, 50.0)],
            (Some(2.0), 1),
        ),
        (
            "noise",
            vec![bar(45.0, 100.0), bar(44.0, 100.0)],
            (Some(45.0), 0),
        ),
        ("said by hand", vec![api(45.0), api(44.0)], (Some(44.0), 1)),
        (
            "more to do",
            vec![bar(10.0, 20.0), bar(11.0, 40.0)],
            (Some(27.5), 1),
        ),
        (
            "the same again",
            vec![bar(10.0, 20.0), bar(10.0, 20.0)],
            (Some(50.0), 0),
        ),
    ];
    for (what, seen, expected) in table {
        assert_eq!(run(seen).pop(), Some(expected), "{what}");
    }
}

#[test]
fn a_new_phase_forgets_a_guessed_name_and_keeps_a_given_one() {
    let named = |source, name: &str, part| Observation {
        phase: Some(name.to_owned()),
        ..percent(source, part)
    };
    let tqdm = || Source::Adapter("tqdm".to_owned());
    let mut progress = Progress::default();
    progress.observe(named(tqdm(), "first", 90.0), at(0));
    progress.observe(percent(tqdm(), 0.0), at(1));
    assert_eq!(
        (progress.phase.as_deref(), progress.phase_number),
        (None, 1)
    );
    progress.observe(
        Observation {
            phase: Some("mine".into()),
            ..Observation::new(Source::Notify)
        },
        at(2),
    );
    progress.observe(named(tqdm(), "guessed", 50.0), at(3));
    progress.observe(percent(tqdm(), 0.0), at(4));
    assert_eq!(
        (progress.phase.as_deref(), progress.phase_number),
        (Some("mine"), 2)
    );
}

#[test]
fn everybody_may_add_metrics_and_epochs_fill_a_gap() {
    let mut logged = adapter("huggingface");
    logged.epoch = Some(0.5);
    logged.metrics.insert("loss".into(), 0.2);
    let mut progress = Progress::default();
    progress.observe(bar(50.0, 100.0), at(0));
    assert!(progress.observe(logged.clone(), at(1)));
    assert_eq!((progress.percent, progress.epoch), (Some(50.0), Some(0.5)));
    assert_eq!(progress.metrics["loss"], 0.2);
    assert!(!progress.observe(logged.clone(), at(2)), "nothing new");
    let mut told = Progress::default();
    told.observe(percent(Source::Api, 10.0), at(0));
    told.observe(logged, at(1));
    assert_eq!((told.epoch, told.metrics.len()), (None, 1));
}

#[test]
fn more_epochs_than_there_were_to_be_are_of_an_unknown_number() {
    let mut progress = Progress::default();
    progress.observe(epoch(adapter("marks").source, 3.0, 3.0), at(0));
    let more = Observation {
        epoch: Some(4.0),
        ..adapter("marks")
    };
    progress.observe(more, at(1));
    assert_eq!((progress.epoch, progress.total_epochs), (Some(4.0), None));
}

#[test]
fn steps_that_start_again_in_every_epoch_are_noticed() {
    // `Epoch 1/2` is printed, then an unlabelled bar runs to its end; and again.
    let heading = |number| epoch(Source::Adapter("ratio".to_owned()), number, 2.0);
    let seen = [
        heading(1.0),
        bar(0.0, 10.0),
        bar(10.0, 10.0),
        heading(2.0),
        bar(0.0, 10.0),
        bar(5.0, 10.0),
    ];
    let shown = run(seen);
    // A whole bar in the first of two epochs cannot be the whole job.
    assert_eq!(shown[2], (Some(50.0), 0));
    assert_eq!(shown[4..], [(Some(50.0), 0), (Some(75.0), 0)]);
    // The same from a file that says both at once, with epochs from 0.
    let both = |number, step| Observation {
        step: Some(step),
        total_steps: Some(10.0),
        ..epoch(Source::File, number, 2.0)
    };
    let shown = run([
        both(0.0, 1.0),
        both(0.0, 10.0),
        both(1.0, 1.0),
        both(1.0, 10.0),
    ]);
    assert_eq!(
        shown,
        [
            (Some(10.0), 0),
            (Some(50.0), 0),
            (Some(55.0), 0),
            (Some(100.0), 0)
        ]
    );
}

#[test]
fn what_changed_is_told_and_dated() {
    let mut progress = Progress::default();
    assert!(progress.observe(bar(1.0, 10.0), at(1)));
    assert!(!progress.observe(bar(1.0, 10.0), at(2)));
    let beat = Observation {
        heartbeat: true,
        ..Observation::new(Source::Notify)
    };
    assert!(!progress.observe(beat, at(3)));
    assert_eq!(progress.updated_at_ms, Some(1000));
    assert_eq!(
        (progress.advanced_at, progress.heard_at),
        (Some(at(1)), Some(at(3)))
    );
    let ready = Observation {
        ready: true,
        ..Observation::new(Source::Notify)
    };
    assert!(progress.observe(ready.clone(), at(4)) && !progress.observe(ready, at(5)));
}

#[test]
fn nonsense_is_left_out() {
    let mut seen = Observation::new(Source::Api);
    seen.step = Some(f64::NAN);
    seen.percent = Some(-1.0);
    seen.total_epochs = Some(f64::INFINITY);
    seen.message = Some("\u{1b}[31mred\u{7}\nand \u{202e}more".into());
    seen.phase = Some("ä".repeat(500));
    seen.status = Some(" \n ".into());
    seen.metrics = (0..100).map(|i| (format!("m{i:02}"), 1.0)).collect();
    seen.metrics.insert("a b\n".into(), -2.0);
    seen.metrics.insert("nan".into(), f64::NAN);
    let mut progress = Progress::default();
    progress.observe(seen, at(0));
    assert_eq!(
        (progress.step, progress.percent, progress.total_epochs),
        (None, None, None)
    );
    assert_eq!(progress.message.as_deref(), Some("[31mred and more"));
    assert_eq!(progress.phase.unwrap().chars().count(), MAX_TEXT_CHARS);
    assert_eq!(progress.status, None);
    assert_eq!(progress.metrics.len(), MAX_METRICS);
    assert_eq!(progress.metrics["a_b"], -2.0);
    assert!(!progress.metrics.contains_key("nan"));
    assert!(progress.metrics_left_out, "and it is said");
}

#[test]
fn steps_are_kept_by_name_and_bounded() {
    let report = |name: &str, state| Observation {
        steps: vec![StepReport {
            kind: Some("file".into()).filter(|_| state == StepState::Started),
            ..StepReport::new(name, state)
        }],
        ..Observation::new(Source::Api)
    };
    let mut progress = Progress::default();
    progress.observe(report("running", StepState::Started), at(1));
    for number in 0..500 {
        let name = format!("file {number}");
        progress.observe(report(&name, StepState::Started), at(2));
        assert!(progress.observe(report(&name, StepState::Completed), at(3)));
        assert!(!progress.observe(report(&name, StepState::Completed), at(4)));
    }
    assert_eq!(progress.steps.len(), MAX_STEPS);
    assert_eq!(
        progress.steps[0].report.name, "running",
        "what runs is not dropped"
    );
    let last = progress.steps.last().unwrap();
    assert_eq!(last.report.name, "file 499");
    assert_eq!(last.report.kind.as_deref(), Some("file"));
    assert_eq!(
        (last.started_at_ms, last.finished_at_ms),
        (Some(2000), Some(3000))
    );
    progress.observe(report("file 499", StepState::Started), at(9));
    let again = progress.steps.last().unwrap();
    assert_eq!(
        (again.started_at_ms, again.finished_at_ms),
        (Some(9000), None)
    );
}

#[test]
fn json_has_whole_numbers_and_no_nulls() {
    let mut progress = Progress::default();
    progress.observe(bar(500.0, 1000.0), at(1));
    progress.observe(epoch(Source::Adapter("hf".into()), 0.5, 3.0), at(1));
    let json = serde_json::to_value(&progress).unwrap();
    assert_eq!(json["step"].to_string(), "500");
    assert_eq!(json["epoch"].to_string(), "0.5");
    assert!(!json.to_string().contains("null"));
    let back: Progress = serde_json::from_value(json).unwrap();
    assert_eq!(back, progress);
}

#[test]
fn the_jobs_own_eta_holds_until_there_is_a_better_one() {
    let claim = |step| Observation {
        eta_seconds: Some(500.0),
        ..bar(step, 100.0)
    };
    let mut tracker = Tracker::default();
    tracker.observe(claim(1.0), at(0));
    assert_eq!(tracker.progress().eta_seconds, Some(500.0));
    tracker.refresh(at(20));
    assert_eq!(tracker.progress().eta_seconds, Some(480.0));
    tracker.refresh(at(120));
    assert_eq!(
        tracker.progress().eta_seconds,
        None,
        "an old claim is not believed"
    );
    for second in 121..=140_u32 {
        tracker.observe(claim(f64::from(second) - 119.0), at(second.into()));
    }
    let progress = tracker.progress();
    assert!(
        (progress.eta_seconds.unwrap() - 79.0).abs() < 2.0,
        "{progress:?}"
    );
    assert!((progress.rate.unwrap() - 1.0).abs() < 0.05, "{progress:?}");
    assert!(progress.eta_low_seconds <= progress.eta_seconds);
    assert!(progress.eta_seconds <= progress.eta_high_seconds);
    tracker.refresh(at(1000));
    assert_eq!(
        tracker.progress().eta_seconds,
        None,
        "a stalled job's end is unknown"
    );
}

#[test]
fn a_new_phase_has_an_eta_of_its_own_and_a_pause_does_not_count() {
    let mut tracker = Tracker::default();
    for second in 0..=10_u32 {
        tracker.observe(bar(f64::from(second) * 10.0, 100.0), at(second.into()));
    }
    tracker.observe(bar(0.0, 1000.0), at(11));
    assert_eq!(tracker.progress().eta_seconds, None);
    for second in 1..=10_u32 {
        tracker.observe(
            bar(f64::from(second) * 10.0, 1000.0),
            at(11 + u64::from(second)),
        );
    }
    assert!((tracker.progress().eta_seconds.unwrap() - 90.0).abs() < 1.0);
    tracker.paused(at(21));
    tracker.refresh(at(5000));
    assert!((tracker.progress().eta_seconds.unwrap() - 90.0).abs() < 1.0);
    tracker.resumed(at(5000));
    tracker.observe(bar(110.0, 1000.0), at(5001));
    assert!((tracker.progress().eta_seconds.unwrap() - 89.0).abs() < 1.0);
}

#[test]
fn an_estimate_is_marked_while_it_leads() {
    let mut progress = Progress::default();
    let estimate = Observation {
        estimated: true,
        ..percent(Source::Adapter("open_files".into()), 40.0)
    };
    progress.observe(estimate.clone(), at(0));
    assert!(progress.estimated);
    progress.observe(bar(30.0, 100.0), at(1));
    assert!(!progress.estimated);
    progress.observe(estimate, at(900));
    assert_eq!((progress.percent, progress.estimated), (Some(30.0), false));
}
