//! Readers of the host, on its own files and on made-up ones.

use super::*;

fn at(boot_ms: u64) -> Stamp {
    Stamp {
        wall_ms: 0,
        boot_ms,
    }
}

#[test]
fn the_own_host_is_read() {
    let mut reader = HostReader::new(&Roots::default(), &Settings::default());
    let first = reader.read(at(10_000));
    assert_eq!(first.readings.get(Metric::CpuPercent), None);
    assert!(first.readings.get(Metric::MemoryTotalBytes).unwrap() > 1e6);
    reader.space.settle(at(10_000));
    reader.sensors.settle(at(10_000));
    let second = reader.read(at(11_000));
    assert!(second.readings.get(Metric::Load1).is_some());
    assert!(second.parts.is_sorted_by_key(|(entity, _)| entity.clone()));
    let has = |wanted: fn(&Entity) -> bool| second.parts.iter().any(|(it, _)| wanted(it));
    assert!(has(|entity| matches!(entity, Entity::Core(_))));
}
