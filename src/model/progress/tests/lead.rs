//! Whom of several that speak is believed.

use super::*;

#[test]
fn who_leads() {
    let named = |name: &str| Source::Adapter(name.to_owned());
    let ratio = || named("ratio");
    let estimate = |part| Observation {
        estimated: true,
        ..percent(named("open_files"), part)
    };
    // (what, first at second 0, then, its second, percent shown then)
    let table = [
        (
            "a job's word beats a guess",
            bar(50.0, 100.0),
            percent(Source::Api, 60.0),
            1,
            60.0,
        ),
        (
            "a guess never beats a word",
            percent(Source::File, 50.0),
            bar(90.0, 100.0),
            900,
            50.0,
        ),
        (
            "the first guess stays",
            bar(50.0, 100.0),
            percent(named("wget"), 90.0),
            29,
            50.0,
        ),
        (
            "a silent guess is replaced",
            bar(50.0, 100.0),
            percent(named("wget"), 90.0),
            30,
            90.0,
        ),
        (
            "whoever knows the program beats whoever knows nothing",
            percent(ratio(), 90.0),
            bar(50.0, 100.0),
            1,
            50.0,
        ),
        (
            "and is never beaten by it",
            bar(50.0, 100.0),
            percent(ratio(), 90.0),
            900,
            50.0,
        ),
        (
            "until it has come to its end",
            bar(100.0, 100.0),
            percent(ratio(), 10.0),
            30,
            10.0,
        ),
        (
            "for good",
            bar(100.0, 100.0),
            percent(ratio(), 10.0),
            29,
            100.0,
        ),
        (
            "any guess beats an estimate",
            estimate(40.0),
            percent(ratio(), 90.0),
            1,
            90.0,
        ),
        (
            "an estimate beats nothing that was said",
            percent(ratio(), 90.0),
            estimate(95.0),
            900,
            90.0,
        ),
        (
            "units beat epochs",
            epoch(ratio(), 1.0, 3.0),
            bar(30.0, 100.0),
            1,
            30.0,
        ),
        (
            "epochs do not beat units",
            bar(90.0, 100.0),
            epoch(ratio(), 2.0, 3.0),
            900,
            90.0,
        ),
        (
            "a word stays beside a word",
            percent(Source::Api, 5.0),
            percent(Source::File, 9.0),
            29,
            5.0,
        ),
        (
            "a silent word is replaced",
            percent(Source::Api, 5.0),
            percent(Source::File, 9.0),
            30,
            9.0,
        ),
    ];
    for (what, first, then, second, expected) in table {
        let mut progress = Progress::default();
        progress.observe(first, at(0));
        progress.observe(then, at(second));
        assert_eq!(progress.percent, Some(expected), "{what}");
    }
}

#[test]
fn who_has_come_to_the_end_makes_way_for_the_next_program() {
    let named = |name: &str| Source::Adapter(name.to_owned());
    let mut progress = Progress::default();
    progress.observe(percent(named("git"), 100.0), at(0));
    progress.observe(percent(named("joblib"), 100.0), at(1));
    let lead = |progress: &Progress| progress.counting.lead.as_ref().unwrap().source.clone();
    assert_eq!(lead(&progress), named("git"), "it is at its end as well");
    progress.observe(percent(named("ratio"), 3.0), at(1));
    assert_eq!(lead(&progress), named("git"), "it guesses");
    progress.observe(percent(named("cmake"), 3.0), at(1));
    assert_eq!(lead(&progress), named("cmake"));
    assert_eq!((progress.percent, progress.phase_number), (Some(3.0), 1));
}

#[test]
fn a_new_lead_inherits_no_counts() {
    let mut progress = Progress::default();
    progress.observe(bar(50.0, 100.0), at(0));
    progress.observe(
        Observation {
            step: Some(7.0),
            ..Observation::new(Source::Api)
        },
        at(1),
    );
    assert_eq!((progress.step, progress.total_steps), (Some(7.0), None));
    assert_eq!((progress.percent, progress.phase_number), (None, 1));
}
