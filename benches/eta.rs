//! How far ETAs are from the truth, against the naive ones: the same numbers on every run and every host.
//!
//! `cargo bench --bench eta`. The error is the mean of |log(ETA ÷ truth)| from 5 % to 95 % of a run: 0.10 is off
//! by about a tenth. `covered` says how often the truth lies between p10 and p90, which should be 80 %.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench prints, and its numbers are small"
)]

#[path = "eta/score.rs"]
mod score;
#[path = "eta/traces.rs"]
mod traces;

use score::{Score, mean, score};
use std::path::Path;

/// Runs of each synthetic trace.
const SEEDS: u64 = 20;

fn main() {
    let runs: Vec<Vec<traces::Trace>> = (1..=SEEDS).map(traces::synthetic).collect();
    println!("trace                     ours  naive moving  covered  width  known");
    let mut all = Vec::new();
    for sort in 0..runs[0].len() {
        let scores: Vec<Score> = runs.iter().map(|run| score(&run[sort])).collect();
        let name = &runs[0][sort].name;
        all.push(mean(&scores));
        row(name, mean(&scores));
    }
    row("ALL SYNTHETIC", mean(&all));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/eta");
    let mut real = Vec::new();
    for trace in traces::recorded(&folder) {
        real.push(score(&trace));
        row(&trace.name, score(&trace));
    }
    row("ALL RECORDED", mean(&real));
}

fn row(name: &str, it: Score) {
    println!(
        "{name:<24} {:>5.3}  {:>5.3}  {:>5.3}    {:>3.0} %  {:>5.2}  {:>3.0} %",
        it.ours,
        it.naive,
        it.moving,
        it.covered * 100.0,
        it.width,
        it.known * 100.0
    );
}
