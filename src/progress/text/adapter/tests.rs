//! What is remembered from line to line.

use crate::model::progress::Observation;
use crate::progress::adapters::Hints;
use crate::progress::adapters::load::load;
use crate::progress::text::TextFeed;

/// What the adapters of a file see in a text, line by line, besides the shipped ones.
fn seen(adapters: &str, text: &str) -> Vec<Observation> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("own.toml"), adapters).unwrap();
    let loaded = load(&[directory.path().to_owned()]);
    assert!(loaded.problems.is_empty(), "{}", loaded.problems[0]);
    let mut feed = TextFeed::new(&loaded.catalogue, &Hints::default());
    let mut out = Vec::new();
    for line in text.split_inclusive('\n') {
        feed.push(line.as_bytes(), &mut out);
    }
    out
}

fn steps(seen: &[Observation]) -> Vec<(Option<f64>, Option<f64>)> {
    seen.iter().map(|it| (it.step, it.total_steps)).collect()
}

const FITS: &str = r#"
[[adapter]]
name = "fits"

[[adapter.line]]
pattern = '^FITTING (?<total>\d+)$'
start = true
keep = true

[[adapter.line]]
pattern = '^FIT score=(?<metric.score>\S+)$'
count = true
"#;

#[test]
fn lines_are_counted_from_their_start() {
    let fit = "FIT score=0.5\n";
    let all = seen(FITS, &format!("FITTING 3\n{fit}{fit}{fit}FITTING 9\n{fit}"));
    let some = |step, total| (Some(step), Some(total));
    assert_eq!(
        steps(&all),
        [
            some(1.0, 3.0),
            some(2.0, 3.0),
            some(3.0, 3.0),
            some(1.0, 9.0)
        ]
    );
}

#[test]
fn lines_whose_start_was_missed_are_not_counted() {
    let late = seen(FITS, "FIT score=0.5\n");
    assert_eq!(steps(&late), [(None, None)]);
    assert_eq!(late[0].metrics["score"], 0.5);
}

#[test]
fn a_part_of_the_output_has_lines_of_its_own() {
    let adapters = r#"
[[adapter]]
name = "table"

[[adapter.line]]
pattern = '^ITER LOSS$'
enter = "table"

[[adapter.line]]
pattern = '^BEST:$'
enter = "best"

[[adapter.line]]
within = "table"
pattern = '^XX(?<step>\d+) (?<metric.loss>\S+)$'

[[adapter.line]]
within = "best"
pattern = '^XX\d+ (?<metric.best>\S+)$'
"#;
    let all = seen(adapters, "XX1 0.9\nITER LOSS\nXX2 0.8\nBEST:\nXX1 0.7\n");
    assert_eq!(steps(&all), [(Some(2.0), None), (None, None)]);
    assert_eq!(all[1].metrics["best"], 0.7);
}

#[test]
fn others_read_what_is_passed_on() {
    let adapters = r#"
[[adapter]]
name = "below"

[[adapter.line]]
pattern = '^Epoch (?<epoch>\d+)/(?<epochs>\d+)$'
keep = true
pass = true

[[adapter.line]]
pattern = '^BATCH (?<step>\d+)/(?<total>\d+)$'
"#;
    let all = seen(adapters, "Epoch 2/3\nBATCH 4/5\nEpoch 3/3\n");
    let epochs: Vec<_> = all.iter().map(|it| (it.epoch, it.steps_in_epoch)).collect();
    assert_eq!(
        epochs,
        [(Some(2.0), false), (Some(2.0), true), (Some(3.0), false)]
    );
    assert_ne!(all[0].source, all[1].source);
}

#[test]
fn epochs_from_0_know_how_many_there_are() {
    let adapters = r#"
[[adapter]]
name = "zero"

[[adapter.line]]
pattern = '^EPOCH (?<epoch>\d+)/(?<last_epoch>\d+)$'
"#;
    let all = seen(adapters, "EPOCH 0/2\nEPOCH 2/2\n");
    let epochs: Vec<_> = all.iter().map(|it| (it.epoch, it.total_epochs)).collect();
    assert_eq!(epochs, [(Some(0.0), Some(3.0)), (Some(2.0), Some(3.0))]);
}
