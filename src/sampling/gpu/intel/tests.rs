//! A recorded tree of files, read.

use super::*;
use crate::sampling::gpu::cards::tests::Tree;

const CARDS: &str = include_str!("../../../../tests/fixtures/gpu/intel.tree");

fn source(tree: &Tree, sees_all: bool) -> IntelSource {
    IntelSource::new(tree.path("sys"), tree.path("proc"), sees_all)
}

#[test]
fn both_drivers_files_are_read() {
    let tree = Tree::new(CARDS);
    let gpus = source(&tree, true).sample().unwrap().gpus;
    let drivers: Vec<_> = gpus
        .iter()
        .map(|it| it.identity.driver.as_deref())
        .collect();
    assert_eq!(drivers, [Some("i915"), Some("xe")]);
    let readings = |index: usize| gpus[index].readings.iter().collect::<Vec<_>>();
    assert_eq!(
        readings(0),
        [
            (Metric::ClockMegahertz, 650.0),
            (Metric::ClockLimitMegahertz, 1400.0),
            (Metric::ThrottledByPower, 1.0),
            (Metric::ThrottledByHeat, 0.0),
        ]
    );
    assert_eq!(
        readings(1),
        [
            (Metric::PowerLimitWatts, 190.0),
            (Metric::EnergyJoules, 1_234.5),
            (Metric::TemperatureCelsius, 47.0),
            (Metric::ClockMegahertz, 2400.0),
            (Metric::ClockLimitMegahertz, 2850.0),
            (Metric::ThrottledByHeat, 1.0),
        ]
    );
    let process = &gpus[1].processes[0];
    assert_eq!(
        (process.pid, process.kind, process.memory_bytes),
        (701, GpuProcessKind::Compute, Some(512 << 20))
    );
    assert_eq!(gpus[0].processes[0].kind, GpuProcessKind::Graphics);
}

#[test]
fn its_use_is_known_only_where_every_process_is_seen() {
    let tree = Tree::new(CARDS);
    let mut all = source(&tree, true);
    assert_eq!(
        all.sample().unwrap().gpus[0]
            .readings
            .get(Metric::UtilizationPercent),
        None
    );
    let second = all.sample().unwrap().gpus.remove(0);
    assert_eq!(second.readings.get(Metric::UtilizationPercent), Some(0.0));
    assert!(second.sees_all_processes);
    let mut own = source(&tree, false);
    own.sample().unwrap();
    let second = own.sample().unwrap().gpus.remove(0);
    assert_eq!(second.readings.get(Metric::UtilizationPercent), None);
    assert!(!second.sees_all_processes);
}

#[test]
fn the_engine_that_is_used_most_is_the_use_of_the_whole() {
    let client = |shares: &[(&str, f64)]| Client {
        engines: Some(
            shares
                .iter()
                .map(|(name, share)| ((*name).to_owned(), *share))
                .collect(),
        ),
        ..Client::default()
    };
    let clients = [
        client(&[("render", 40.0), ("video", 10.0)]),
        client(&[("render", 30.0)]),
    ];
    assert_eq!(busiest(&clients), 70.0);
    assert_eq!(busiest(&[]), 0.0);
}
