//! Bars one by one, and bars below bars.

use super::*;
use crate::progress::adapters::{Catalogue, said};

/// The bars of one stream, read by the shipped adapter of tqdm.
fn read(bars: &mut Bars, text: &str, end: End) -> Option<Observation> {
    let catalogue = Catalogue::shipped();
    let tqdm = catalogue.find("tqdm").unwrap();
    let rules = tqdm.lines().iter();
    let mut said = rules.filter_map(|rule| said::read(rule, text, &Said::default()));
    bars.read("tqdm", said.next()?, end, false)
}

fn alone(text: &str) -> Option<Observation> {
    read(&mut Bars::default(), text, End::Return)
}

#[test]
fn a_bar_is_read_whole() {
    let seen =
        alone(" 45%|████▌     | 450/1000 [00:12<00:15, 35.9it/s, loss=0.2, acc=91.5%, mode=x]")
            .unwrap();
    assert_eq!((seen.step, seen.total_steps), (Some(450.0), Some(1000.0)));
    assert_eq!((seen.rate, seen.eta_seconds), (Some(35.9), Some(15.0)));
    assert_eq!(seen.unit.as_deref(), Some("it"));
    assert_eq!(seen.percent, None, "it follows from the steps");
    assert_eq!(
        seen.metrics,
        [("acc".to_owned(), 91.5), ("loss".to_owned(), 0.2)].into()
    );
    assert_eq!(seen.phase, None);
}

#[test]
fn amounts_units_and_rates() {
    let table = [
        ("450it [00:12, 35.9it/s]", 450.0, None, "it", Some(35.9)),
        ("x: 512kB [00:00, 4.36MB/s]", 512e3, None, "B", Some(4.36e6)),
        (
            "30 examples [00:12, 2.5 examples/s]",
            30.0,
            None,
            "examples",
            Some(2.5),
        ),
        ("0it [00:00, ?it/s]", 0.0, None, "it", None),
        (
            "  0%|   | 0/3 [00:00<?, ? examples/s]",
            0.0,
            Some(3.0),
            "examples",
            None,
        ),
        (
            " 33%|#  | 1/3 [00:01<00:02,  4.00s/it]",
            1.0,
            Some(3.0),
            "it",
            Some(0.25),
        ),
        (
            "  1%|   | 1.2M/3.4G [00:01<1:00:02, 8.30MB/s]",
            1.2e6,
            Some(3.4e9),
            "B",
            Some(8.3e6),
        ),
        (
            "  1%|   | 1.00M/2.00M [00:01<00:02, 1.00MiB/s]",
            1048576.0,
            Some(2097152.0),
            "B",
            Some(1048576.0),
        ),
        (
            "100%|###| 7/0 [00:01<00:02, 1.0it/s]",
            7.0,
            None,
            "it",
            Some(1.0),
        ),
        (
            "  9%| | 0.5/5.5 [00:01<?, 1.0it/s]",
            0.5,
            Some(5.5),
            "it",
            Some(1.0),
        ),
    ];
    for (line, step, total, unit, rate) in table {
        let seen = alone(line).unwrap_or_else(|| panic!("{line}"));
        assert_eq!((seen.step, seen.total_steps), (Some(step), total), "{line}");
        assert_eq!(
            (seen.unit.as_deref(), seen.rate),
            (Some(unit), rate),
            "{line}"
        );
    }
}

#[test]
fn descriptions_are_phases_or_epochs() {
    let table = [
        (
            "Map (num_proc=4):  45%|#| 1/2 [00:01<00:02, 1.0it/s]",
            Some("Map (num_proc=4)"),
            None,
            None,
        ),
        (
            "Epoch 2/3:  45%|#| 1/2 [00:01<00:02, 1.0it/s]",
            None,
            Some(2.0),
            Some(3.0),
        ),
        (
            "Epoch [2/3] train:  45%|#| 1/2 [00:01<00:02, 1.0it/s]",
            Some("train"),
            Some(2.0),
            Some(3.0),
        ),
        (
            "epoch 2:  45%|#| 1/2 [00:01<00:02, 1.0it/s]",
            None,
            Some(2.0),
            None,
        ),
        (
            "a | b: c:  45%|#| 1/2 [00:01<00:02, 1.0it/s]",
            Some("a | b: c"),
            None,
            None,
        ),
        ("x:  45% 1/2 [00:01<00:02, 1.0it/s]", Some("x"), None, None),
    ];
    for (line, phase, epoch, total) in table {
        let seen = alone(line).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(seen.phase.as_deref(), phase, "{line}");
        assert_eq!((seen.epoch, seen.total_epochs), (epoch, total), "{line}");
        assert_eq!(seen.steps_in_epoch, epoch.is_some(), "{line}");
    }
}

#[test]
fn no_bars() {
    for line in [
        "2026-11-22 16:58 [00:12] done 1/2",
        "[12/340] building",
        "1/2 [00:01<00:02]",
        "1/2 [00:01<00:02, 1.0it/s",
        "x [00:01<00:02, 1.0it/s]",
        "-1/2 [00:01<00:02, 1.0it/s]",
        "[00:01<00:02, 1.0it/s]",
        "1/2 [00:1<00:02, fast]",
        "1e9/2 [00:01<00:02, 1.0it/s]",
    ] {
        assert_eq!(alone(line), None, "{line}");
    }
}

#[test]
fn the_outer_bar_leads() {
    let mut bars = Bars::default();
    let outer = |n: u32| format!("Files:  0%|#| {n}/4 [00:01<00:02, 1.0it/s]");
    let inner =
        |what: &str, n: u32| format!("{what}:  0%|#| {n}/10 [00:01<00:02, 9.0it/s, loss=0.{n}]");
    read(&mut bars, &outer(1), End::Newline).unwrap();
    let seen = read(&mut bars, &inner("part 7", 5), End::Up).unwrap();
    assert_eq!(
        (seen.step, seen.total_steps, seen.percent),
        (Some(1.0), Some(4.0), Some(37.5))
    );
    assert_eq!(
        (seen.phase.as_deref(), seen.metrics["loss"]),
        (Some("part 7"), 0.5)
    );
    // Another bar below gives its metrics only; the inner one never takes back what it said.
    let seen = read(&mut bars, &inner("check", 1), End::Up).unwrap();
    assert_eq!((seen.percent, seen.metrics["loss"]), (Some(37.5), 0.1));
    let seen = read(&mut bars, &inner("part 8", 2), End::Up).unwrap();
    assert_eq!(seen.percent, Some(37.5));
    // A finished inner bar takes the outer one's place on the screen for good.
    let seen = read(&mut bars, &inner("part 8", 10), End::Newline).unwrap();
    assert_eq!(seen.percent, Some(50.0));
    let seen = read(&mut bars, &outer(2), End::Newline).unwrap();
    assert_eq!((seen.step, seen.percent), (Some(2.0), None));
}

#[test]
fn an_outer_bar_of_epochs_counts_epochs() {
    let mut bars = Bars::default();
    read(
        &mut bars,
        "Epoch:  33%|#| 1/3 [00:01<00:02, 1.0it/s]",
        End::Newline,
    )
    .unwrap();
    let seen = read(
        &mut bars,
        "batch:  50%|#| 5/10 [00:01<00:02, 9.0it/s]",
        End::Up,
    )
    .unwrap();
    assert_eq!((seen.epoch, seen.total_epochs), (Some(2.0), Some(3.0)));
    assert_eq!(
        (seen.step, seen.total_steps, seen.percent),
        (Some(5.0), Some(10.0), Some(50.0))
    );
}

#[test]
fn a_second_bar_after_the_first_is_a_new_one() {
    let mut bars = Bars::default();
    read(
        &mut bars,
        "a:  40%|#| 4/10 [00:01<00:02, 1.0it/s]",
        End::Newline,
    )
    .unwrap();
    let seen = read(
        &mut bars,
        "b:  10%|#| 2/20 [00:01<00:02, 1.0it/s]",
        End::Return,
    )
    .unwrap();
    assert_eq!((seen.step, seen.total_steps), (Some(2.0), Some(20.0)));
}
