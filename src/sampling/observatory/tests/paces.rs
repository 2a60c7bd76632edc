//! How often: on battery, while somebody looks, and when jobs begin faster than anything should be read.

use super::*;

#[test]
fn on_battery_it_is_slower_until_somebody_looks() {
    let mut world = World::new(Made {
        on_battery: true,
        ..Made::default()
    });
    world.pass(5_000);
    world.pass(6_000);
    assert_eq!(world.due(6_001, None), Some(30_000), "nothing runs");
    world.observatory.watch(&watched(1, 6_001));
    assert_eq!(world.pass(6_001).jobs.len(), 1);
    assert_eq!(world.due(6_002, None), Some(30_000), "a job runs");
    world.pass(30_000);
    assert_eq!(world.due(30_001, None), Some(60_000), "as seldom as before");
    assert_eq!(world.due(30_002, Some(0)), Some(31_000), "somebody looks");
    world.pass(31_000);
    assert_eq!(world.due(31_001, Some(0)), Some(32_000));
    assert_eq!(world.due(31_002, Some(250)), Some(31_250), "and closely");
    world.pass(31_250);
    assert_eq!(world.due(31_251, Some(250)), Some(31_500));
    world.pass(31_500);
    // Who looks no more is noticed with the next pass.
    world.due(31_501, None);
    world.pass(31_750);
    assert_eq!(world.due(31_751, None), Some(60_000));
    world.observatory.senses.on_battery = false;
    world.pass(60_000);
    assert_eq!(world.due(60_001, None), Some(62_000), "it is plugged in");
}

#[test]
fn many_jobs_that_begin_at_once_are_one_pass() {
    let mut world = World::new(Made::default());
    world.pass(5_000);
    world.log();
    let mut points = 0;
    for job in 1..=500 {
        world.observatory.watch(&watched(job, 5_500));
        let found = world.turn(5_500);
        points += found.len();
    }
    assert_eq!(world.log(), ["begin", "gpus", "jobs"], "of the first one");
    assert_eq!(points, 1);
    assert_eq!(
        world.due(5_500, None),
        Some(5_600),
        "and soon of the others"
    );
    assert_eq!(world.pass(5_600).jobs.len(), 500);
    assert_eq!(world.due(5_600, None), Some(6_000));
}

/// A job each millisecond, of which a few run at any time.
#[test]
fn a_storm_of_jobs_is_looked_at_no_more_often_than_the_shortest_pace() {
    let mut world = World::new(Made::default());
    world.pass(5_000);
    world.log();
    let (mut looks, mut points) = (Vec::new(), 0);
    for ms in 5_001..10_000 {
        world.observatory.watch(&watched(ms, ms));
        world.observatory.forget(attempt(ms - 20));
        for found in world.turn(ms) {
            let Found::Pass(pass) = found else { continue };
            points += pass.jobs.len();
        }
        if world.log().contains(&"jobs") {
            looks.push(ms);
        }
    }
    let is_near = |pair: &[u64]| pair[1] - pair[0] < 100;
    assert!(!looks.windows(2).any(is_near), "{looks:?}");
    assert!((48..=50).contains(&looks.len()), "{}", looks.len());
    assert!(points <= 20 * looks.len(), "{points}");
}

#[test]
fn while_a_pass_waits_for_gpus_nothing_else_is_due() {
    let mut world = World::new(Made {
        is_slow: true,
        ..Made::default()
    });
    assert!(world.turn(5_000).is_empty());
    world.observatory.watch(&watched(1, 5_001));
    assert_eq!(
        world.due(5_001, None),
        Some(5_050),
        "nobody turns round and round"
    );
    world.pass(5_050);
    assert_eq!(world.due(5_050, None), Some(0));
    world.turn(5_050);
    assert!(world.log().contains(&"jobs"));
}
