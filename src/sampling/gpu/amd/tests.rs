//! A recorded tree of files, read.

use super::*;
use crate::sampling::gpu::cards::tests::Tree;
use std::time::Duration;

const CARD: &str = include_str!("../../../../tests/fixtures/gpu/amd.tree");
const ROCM: &str = include_str!("../../../../tests/fixtures/gpu/rocm.tree");

fn source(tree: &Tree) -> AmdSource {
    AmdSource::new(tree.path("sys"), tree.path("proc"), true)
}

#[test]
fn a_card_is_what_its_files_say() {
    let tree = Tree::new(CARD);
    let gpus = source(&tree).sample().unwrap().gpus;
    assert_eq!(gpus.len(), 2);
    let gpu = &gpus[0];
    assert_eq!(gpu.identity.uuid.as_str(), "AMD-48a3f2b1c0de7e55");
    assert_eq!(gpu.identity.name, "AMD GPU 744c");
    assert_eq!(gpu.identity.driver.as_deref(), Some("amdgpu"));
    assert_eq!(gpu.identity.pci_bus_id.as_deref(), Some("0000:03:00.0"));
    let readings: Vec<_> = gpu.readings.iter().collect();
    let expected = [
        (Metric::MemoryUsedBytes, 6_438_256_640.0),
        (Metric::MemoryTotalBytes, 25_753_026_560.0),
        (Metric::MemoryPercent, 25.0),
        (Metric::UtilizationPercent, 37.0),
        (Metric::MemoryUtilizationPercent, 12.0),
        (Metric::PowerWatts, 112.0),
        (Metric::PowerLimitWatts, 327.0),
        (Metric::TemperatureCelsius, 51.0),
        (Metric::MemoryTemperatureCelsius, 58.0),
        (Metric::TemperatureLimitCelsius, 100.0),
        (Metric::FanPercent, 25.0),
        (Metric::ClockMegahertz, 2371.0),
        (Metric::MemoryClockMegahertz, 1249.0),
        (Metric::PcieGeneration, 4.0),
        (Metric::PcieWidth, 16.0),
        (Metric::PcieReplays, 2.0),
        (Metric::EccCorrected, 5.0),
        (Metric::EccUncorrected, 1.0),
    ];
    assert_eq!(readings, expected);
}

#[test]
fn its_processes_are_those_with_a_descriptor_of_it() {
    let tree = Tree::new(CARD);
    let mut source = source(&tree);
    let processes = source.sample().unwrap().gpus.remove(0).processes;
    let found: Vec<_> = processes
        .iter()
        .map(|it| (it.pid, it.kind, it.memory_bytes))
        .collect();
    let gib = 1 << 30;
    assert_eq!(
        found,
        [
            (4242, GpuProcessKind::Graphics, Some(4 * gib)),
            (4243, GpuProcessKind::Compute, Some(gib)),
        ]
    );
    assert!(processes.iter().all(|it| it.utilization_percent.is_none()));
    let again = source.sample().unwrap().gpus.remove(0);
    assert!(again.sees_all_processes);
    let shares: Vec<_> = again
        .processes
        .iter()
        .map(|it| it.utilization_percent)
        .collect();
    assert_eq!(shares, [Some(0.0); 2], "nothing was done in between");
}

#[test]
fn a_sleeping_card_is_left_alone() {
    let tree = Tree::new(CARD);
    let gpu = source(&tree).sample().unwrap().gpus.remove(1);
    assert_eq!(gpu.condition, GpuCondition::Asleep);
    assert!(gpu.readings.is_empty());
    assert_eq!(gpu.identity.uuid.as_str(), "PCI-0000:0a:00.0");
}

#[test]
fn an_unused_card_is_let_fall_asleep() {
    const POWER: &str = "sys/devices/pci0000:00/0000:03:00.0/power";
    let tree = Tree::new(CARD);
    for client in ["4242", "4243"] {
        tree.remove(&format!("proc/{client}"));
    }
    tree.write(&format!(
        "{POWER}/control = auto\nsys/devices/pci0000:00/0000:03:00.0/gpu_busy_percent = 0\n"
    ));
    let mut source = source(&tree);
    let began = Instant::now();
    let mut at = |seconds| {
        let gpus = source.look_at_all(began + Duration::from_secs(seconds));
        gpus[0].condition
    };
    let (ok, asleep) = (GpuCondition::Ok, GpuCondition::Asleep);
    assert_eq!([0, 2, 4, 6, 8].map(&mut at), [ok; 5]);
    assert_eq!([10, 20, 39].map(&mut at), [asleep; 3], "it gets time");
    tree.write(&format!("{POWER}/runtime_status = suspended\n"));
    assert_eq!([50, 500].map(&mut at), [asleep; 2]);
    tree.write(&format!("{POWER}/runtime_status = active\n"));
    assert_eq!([502, 504, 506, 508, 510].map(&mut at), [ok; 5]);
    assert_eq!(at(512), asleep);
    // Somebody comes to use it meanwhile.
    let client = CARD.lines().filter(|line| line.starts_with("proc/4242"));
    tree.write(&client.collect::<Vec<_>>().join("\n"));
    assert_eq!([518, 520].map(&mut at), [ok; 2]);
    tree.remove("proc/4242");
    assert_eq!([530, 532, 534, 536, 538].map(&mut at), [ok; 5]);
    assert_eq!([540, 570].map(&mut at), [asleep, ok], "it does not");
    assert_eq!([572, 574, 576, 578, 580, 582].map(&mut at), [ok; 6]);
}

#[test]
fn ids_of_another_namespace_are_not_listed() {
    let tree = Tree::new(&(CARD.to_owned() + ROCM));
    let gpu = source(&tree).with_pids(PidSpace::Inner).sample().unwrap();
    let pids: Vec<u32> = gpu.gpus[0].processes.iter().map(|it| it.pid).collect();
    assert_eq!(pids, [4242, 4243]);
}

#[test]
fn who_computes_through_the_other_door_is_listed_and_not_measured() {
    let tree = Tree::new(&(CARD.to_owned() + ROCM));
    let mut source = source(&tree);
    source.sample().unwrap();
    let gpu = source.sample().unwrap().gpus.remove(0);
    let found: Vec<_> = gpu
        .processes
        .iter()
        .map(|it| (it.pid, it.utilization_percent))
        .collect();
    assert_eq!(found, [(4242, None), (4243, None), (4300, None)]);
    assert_eq!(gpu.processes[2].memory_bytes, Some(2 << 30));
}

#[test]
fn missing_files_are_missing_values() {
    let tree = Tree::new(CARD);
    for name in [
        "gpu_busy_percent",
        "hwmon",
        "unique_id",
        "mem_info_vram_total",
    ] {
        tree.remove(&format!("sys/devices/pci0000:00/0000:03:00.0/{name}"));
    }
    let gpu = source(&tree).sample().unwrap().gpus.remove(0);
    assert_eq!(gpu.identity.uuid.as_str(), "PCI-0000:03:00.0");
    for metric in [
        Metric::UtilizationPercent,
        Metric::PowerWatts,
        Metric::MemoryPercent,
    ] {
        assert_eq!(gpu.readings.get(metric), None, "{metric}");
    }
    let nothing = Tree::new("");
    assert_eq!(source(&nothing).sample().unwrap().gpus, []);
}
