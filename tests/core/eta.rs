//! The estimator against the naive ones, on the traces of `cargo bench --bench eta`: what must stay true.

#[path = "../../benches/eta/score.rs"]
mod score;
#[path = "../../benches/eta/traces.rs"]
mod traces;

use score::{Score, mean, score};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

const SEEDS: u64 = 20;

static SYNTHETIC: LazyLock<BTreeMap<String, Score>> = LazyLock::new(synthetic);

fn synthetic() -> BTreeMap<String, Score> {
    let mut scores: BTreeMap<String, Vec<Score>> = BTreeMap::new();
    for trace in (1..=SEEDS).flat_map(traces::synthetic) {
        scores
            .entry(trace.name.clone())
            .or_default()
            .push(score(&trace));
    }
    let means = scores.into_iter().map(|(name, all)| (name, mean(&all)));
    means.collect()
}

fn recorded() -> Vec<Score> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/eta");
    traces::recorded(&folder).iter().map(score).collect()
}

#[test]
fn no_naive_estimate_is_much_better_anywhere() {
    for (name, it) in &*SYNTHETIC {
        assert!(it.ours < it.naive + 0.04, "{name}: {it:?}");
        // A moving average with so short a memory sees a steady change of pace a little earlier.
        assert!(it.ours < it.moving + 0.16, "{name}: {it:?}");
    }
}

#[test]
fn where_the_past_misleads_ours_is_far_better() {
    let scores = &*SYNTHETIC;
    for name in ["resumed at 60 %", "paused for an hour"] {
        assert!(scores[name].ours < scores[name].naive / 20.0, "{name}");
    }
    for name in ["slowed at once", "slow start", "slowing"] {
        assert!(scores[name].ours < scores[name].naive * 0.7, "{name}");
    }
    for name in ["noisy", "noisy steps", "bursty", "epochs, evaluated"] {
        assert!(scores[name].ours < scores[name].moving * 0.4, "{name}");
    }
    assert!(scores["constant"].ours < 0.001);
}

#[test]
fn over_everything_ours_is_best_and_its_range_holds_four_times_out_of_five() {
    let made_up = mean(&SYNTHETIC.values().copied().collect::<Vec<_>>());
    let real = mean(&recorded());
    for (what, it) in [("made up", made_up), ("recorded", real)] {
        assert!(it.ours < it.naive * 0.5, "{what}: {it:?}");
        assert!(it.ours < it.moving * 0.85, "{what}: {it:?}");
        assert!((0.70..=0.90).contains(&it.covered), "{what}: {it:?}");
    }
}

#[test]
fn of_steady_work_the_range_is_narrow_and_right() {
    let scores = &*SYNTHETIC;
    for name in [
        "noisy",
        "noisy steps",
        "resumed at 60 %",
        "paused for an hour",
    ] {
        let it = scores[name];
        assert!(it.covered > 0.8 && it.width < 0.4, "{name}: {it:?}");
    }
}
