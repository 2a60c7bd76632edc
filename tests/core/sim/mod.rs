//! Whole-engine simulation: virtual time, a hostile host, crashes at every point, invariants after every input.
//!
//! `STOKED_SIM_SEED=N` plays one world again; `STOKED_SIM_INPUTS=N` plays longer, with fresh seeds.

mod check;
mod host;
mod inputs;
mod shown;
mod store;
mod world;

use crate::sim::world::{Tally, World};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Inputs of one world: short enough that a failing one is quickly played again.
const WORLD_INPUTS: u64 = 2_500;

/// Inputs of all worlds, unless the environment says more.
const ALL_INPUTS: u64 = 1_000_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

fn play(seed: u64) -> Tally {
    World::new(seed).play(WORLD_INPUTS)
}

#[test]
fn a_million_inputs_and_faults_break_nothing() {
    if let Some(seed) = number("STOKED_SIM_SEED") {
        println!("world {seed}: {:?}", play(seed));
        return;
    }
    let inputs = number("STOKED_SIM_INPUTS");
    let first = match inputs {
        None => 1,
        Some(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_micros() as u64,
    };
    let wanted = inputs.unwrap_or(ALL_INPUTS);
    let next = AtomicU64::new(first);
    let total = Mutex::new(Tally::default());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while total.lock().unwrap().inputs < wanted {
                    let tally = play(next.fetch_add(1, Ordering::Relaxed));
                    total.lock().unwrap().add(&tally);
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    println!("simulated {total:?}");
    assert!(total.inputs >= wanted);
    assert!(total.told > 0 && total.crashes > 0 && total.reboots > 0 && total.refusals > 0);
}
