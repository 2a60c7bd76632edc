//! What is read of a driver is what the driver says, and what it does not say is absent.

use crate::fake_nvml::{FakeDriver, gpu, uuid};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stoked::model::gpu::{GpuCondition, GpuProcessKind, GpuSample, Xid};
use stoked::model::metric::Metric;
use stoked::sampling::gpu::nvml::{NvmlSource, Options};
use stoked::sampling::gpu::{GpuError, GpuSource};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

pub(crate) struct Looking {
    pub(crate) source: NvmlSource,
    sys: PathBuf,
    xids: Receiver<Xid>,
}

impl Looking {
    pub(crate) fn at(fake: &FakeDriver) -> Self {
        Self::after(fake, false)
    }

    pub(crate) fn after(fake: &FakeDriver, rested: bool) -> Self {
        let (sender, xids) = channel();
        let sender = Mutex::new(sender);
        let sys = fake.dir().join("sys");
        let source = NvmlSource::new(Options {
            library: Some(fake.library()),
            sys: sys.clone(),
            known: Vec::new(),
            rested,
            sees_all: true,
            reads_log: false,
            tell: Arc::new(move |xid| sender.lock().unwrap().send(xid).unwrap()),
            looks: Box::new(|_| {}),
        });
        Self { source, sys, xids }
    }

    pub(crate) fn all(&mut self) -> Vec<GpuSample> {
        self.source.sample().unwrap().gpus
    }

    pub(crate) fn one(&mut self) -> GpuSample {
        let mut all = self.all();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// Puts a GPU into the kernel's list of devices.
    pub(crate) fn list(&self, bus_id: &str, status: &str, control: &str) {
        let dir = self.sys.join("bus/pci/devices").join(bus_id);
        std::fs::create_dir_all(dir.join("power")).unwrap();
        let files = [
            ("vendor", "0x10de"),
            ("class", "0x030000"),
            ("device", "0x2330"),
            ("power/runtime_status", status),
            ("power/control", control),
        ];
        for (name, text) in files {
            std::fs::write(dir.join(name), format!("{text}\n")).unwrap();
        }
    }
}

pub(crate) fn values(sample: &GpuSample, metrics: &[Metric]) -> Vec<Option<f64>> {
    let values = metrics.iter().map(|metric| sample.readings.get(*metric));
    values.collect()
}

#[test]
fn a_gpu_is_what_its_driver_says() {
    let fake =
        FakeDriver::new(&(gpu(0) + "clock 10\ngpu 0 fans 2\ngpu 0 fan 30\ngpu 0 throttle 0x64\n"));
    let sample = Looking::at(&fake).one();
    assert_eq!(sample.identity.uuid.as_str(), uuid(0));
    assert_eq!(sample.identity.name, "NVIDIA Fake H100");
    assert_eq!(sample.identity.pci_bus_id.as_deref(), Some("0000:60:00.0"));
    assert_eq!(sample.identity.driver.as_deref(), Some("575.57.08"));
    assert_eq!(sample.condition, GpuCondition::Ok);
    let expected = [
        (Metric::UtilizationPercent, 85.0),
        (Metric::MemoryUtilizationPercent, 40.0),
        (Metric::MemoryUsedBytes, 18.0 * GIB),
        (Metric::MemoryTotalBytes, 80.0 * GIB),
        (Metric::MemoryReservedBytes, GIB),
        (Metric::MemoryPercent, 22.5),
        (Metric::PowerWatts, 250.0),
        (Metric::PowerLimitWatts, 700.0),
        (Metric::EnergyJoules, 2_500.0),
        (Metric::TemperatureCelsius, 66.0),
        (Metric::TemperatureLimitCelsius, 90.0),
        (Metric::FanPercent, 30.0),
        (Metric::ClockMegahertz, 1980.0),
        (Metric::ClockLimitMegahertz, 2100.0),
        (Metric::MemoryClockMegahertz, 2619.0),
        (Metric::PerformanceState, 0.0),
    ];
    for (metric, value) in expected {
        assert_eq!(sample.readings.get(metric), Some(value), "{metric}");
    }
}

#[test]
fn what_a_gpu_does_not_tell_is_absent_and_asked_for_once() {
    let fake =
        FakeDriver::new("gpu 0 uuid GPU-old\ngpu 0 name Old\nfail nvmlDeviceGetTemperature 999\n");
    let mut looking = Looking::at(&fake);
    let sample = looking.one();
    assert!(sample.readings.is_empty(), "{:?}", sample.readings);
    assert_eq!(sample.identity.pci_bus_id, None);
    fake.forget_calls();
    looking.one();
    let calls = fake.calls();
    assert!(
        !calls.contains(&"nvmlDeviceGetPowerUsage 0".to_owned()),
        "{calls:?}"
    );
    assert!(
        calls.contains(&"nvmlDeviceGetTemperature 0".to_owned()),
        "what failed otherwise is tried again: {calls:?}"
    );
}

#[test]
fn throttling_is_told_by_reason() {
    let flags = [
        Metric::ThrottledByPower,
        Metric::ThrottledByHeat,
        Metric::ThrottledByHardware,
    ];
    let fake = FakeDriver::new("gpu 0 uuid a\ngpu 0 throttle 1\n");
    let mut looking = Looking::at(&fake);
    assert_eq!(values(&looking.one(), &flags), [Some(0.0); 3]);
    for (bits, expected) in [
        (4, [1.0, 0.0, 0.0]),
        (32, [0.0, 1.0, 0.0]),
        (0x48, [0.0, 1.0, 1.0]),
        (0x80, [0.0, 0.0, 1.0]),
    ] {
        fake.say(&format!("gpu 0 uuid a\ngpu 0 throttle {bits}\n"));
        assert_eq!(values(&looking.one(), &flags), expected.map(Some), "{bits}");
    }
}

#[test]
fn energy_is_the_integral_of_power() {
    let curve = "gpu 0 uuid a\ngpu 0 power 0:100,10:300,20:300,30:0\n";
    let fake = FakeDriver::new(&format!("{curve}clock 0\n"));
    let mut looking = Looking::at(&fake);
    for (second, joules) in [
        (0, 0.0),
        (5, 750.0),
        (10, 2_000.0),
        (20, 5_000.0),
        (30, 6_500.0),
        (90, 6_500.0),
    ] {
        fake.say(&format!("{curve}clock {second}\n"));
        let sample = looking.one();
        assert_eq!(
            sample.readings.get(Metric::EnergyJoules),
            Some(joules),
            "{second}"
        );
    }
}

#[test]
fn errors_of_memory_are_told() {
    let fake = FakeDriver::new(
        "gpu 0 uuid a\ngpu 0 ecc.corrected 3\ngpu 0 ecc.uncorrected 1\ngpu 0 retired.single 2\ngpu 0 retired.double 1\n\
         gpu 0 remap.corrected 4\ngpu 0 remap.uncorrected 5\ngpu 0 remap.pending 1\ngpu 0 remap.failed 0\ngpu 0 memory.temperature 71\n",
    );
    let sample = Looking::at(&fake).one();
    let expected = [
        (Metric::EccCorrected, 3.0),
        (Metric::EccUncorrected, 1.0),
        (Metric::PagesRetired, 3.0),
        (Metric::RowsRemappedCorrected, 4.0),
        (Metric::RowsRemappedUncorrected, 5.0),
        (Metric::RowRemapPending, 1.0),
        (Metric::RowRemapFailed, 0.0),
        (Metric::MemoryTemperatureCelsius, 71.0),
    ];
    for (metric, value) in expected {
        assert_eq!(sample.readings.get(metric), Some(value), "{metric}");
    }
}

#[test]
fn units_of_newer_gpus_are_told_from_the_second_look_on() {
    let control = "gpu 0 uuid a\ngpu 0 gpm.sm 0:0,10:100\n";
    let fake = FakeDriver::new(&format!("{control}clock 0\n"));
    let mut looking = Looking::at(&fake);
    assert_eq!(looking.one().readings.get(Metric::SmActivePercent), None);
    fake.say(&format!("{control}clock 10\n"));
    assert_eq!(
        looking.one().readings.get(Metric::SmActivePercent),
        Some(50.0)
    );
}

#[test]
fn processes_are_listed_with_what_they_use() {
    let fake = FakeDriver::new(
        "gpu 0 uuid a\nprocess 0 100 compute 8G 70 20 0 0\nprocess 0 100 graphics 8G 70 20 0 0\n\
         process 0 200 compute - 0 0 0 0\nprocess 0 300 mps 1G 15 5 10 0\nrow 0 300 @1 90 0 0 0\n",
    );
    let sample = Looking::at(&fake).one();
    let found: Vec<_> = sample
        .processes
        .iter()
        .map(|it| {
            (
                it.pid,
                it.kind,
                it.memory_bytes,
                it.utilization_percent,
                it.encoder_percent,
            )
        })
        .collect();
    let gib = |count: u64| Some(count * 1024 * 1024 * 1024);
    assert_eq!(
        found,
        [
            (100, GpuProcessKind::Compute, gib(8), Some(70.0), None),
            (200, GpuProcessKind::Compute, None, None, None),
            (100, GpuProcessKind::Graphics, gib(8), Some(70.0), None),
            (300, GpuProcessKind::Mps, gib(1), Some(15.0), Some(10.0)),
        ]
    );
}

#[test]
fn nonsense_in_the_ring_is_not_taken() {
    let fake = FakeDriver::new(
        "gpu 0 uuid a\nprocess 0 100 compute 1G 0 0 0 0\nprocess 0 101 compute 1G 0 0 0 0\nprocess 0 102 compute 1G 0 0 0 0\n\
         row 0 100 10 101 0 0 0\nrow 0 0 10 50 0 0 0\nrow 0 999 10 50 0 0 0\nrow 0 101 60000 50 0 0 0\nrow 0 102 10 50 0 200 0\n",
    );
    let sample = Looking::at(&fake).one();
    assert!(
        sample
            .processes
            .iter()
            .all(|it| it.utilization_percent.is_none()),
        "{:?}",
        sample.processes
    );
}

#[test]
fn an_empty_ring_means_that_nobody_computes() {
    let fake = FakeDriver::new("gpu 0 uuid a\nprocess 0 100 compute 1G 0 0 0 0\n");
    let sample = Looking::at(&fake).one();
    assert_eq!(sample.processes[0].utilization_percent, None);
}

#[test]
fn a_ring_that_cannot_be_read_says_nothing() {
    for why in [
        "fail nvmlDeviceGetProcessUtilization 3",
        "fail nvmlDeviceGetProcessUtilization 4",
        "ring 0 1",
    ] {
        let processes: String = (0..3)
            .map(|it| format!("process 0 10{it} compute 1G 30 0 0 0\n"))
            .collect();
        let fake = FakeDriver::new(&format!("gpu 0 uuid a\n{processes}{why}\n"));
        let sample = Looking::at(&fake).one();
        assert_eq!(sample.processes.len(), 3, "{why}");
        assert!(
            sample
                .processes
                .iter()
                .all(|it| it.utilization_percent.is_none()),
            "{why}"
        );
    }
}

#[test]
fn the_ring_is_asked_for_what_is_new_alone() {
    let fake = FakeDriver::new("gpu 0 uuid a\nprocess 0 100 compute 1G 30 0 0 0\n");
    let before = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    Looking::at(&fake).one();
    let calls = fake.calls();
    let since = calls
        .iter()
        .find_map(|call| call.strip_prefix("nvmlDeviceGetProcessUtilization 0 since="));
    let since: u128 = since.unwrap().parse().unwrap();
    let before = before.as_micros();
    assert!(
        (before - 1_000_000..=before + 60_000_000).contains(&(since)),
        "not since ever, but for a second: {since}"
    );
}

#[test]
fn gpus_are_told_apart_by_their_uuid() {
    let fake = FakeDriver::new(&(gpu(0) + &gpu(1)));
    let mut looking = Looking::at(&fake);
    let name = |all: &[GpuSample]| {
        all.iter()
            .map(|it| (it.identity.index, it.identity.uuid.to_string()))
            .collect::<Vec<_>>()
    };
    assert_eq!(name(&looking.all()), [(0, uuid(0)), (1, uuid(1))]);
    // The first one fell off the bus, and is not even listed.
    fake.say(&gpu(1));
    let all = looking.all();
    assert_eq!(name(&all), [(0, uuid(1)), (1, uuid(0))]);
    let conditions: Vec<_> = all.iter().map(|it| it.condition).collect();
    assert_eq!(conditions, [GpuCondition::Ok, GpuCondition::Lost]);
}

#[test]
fn a_lost_gpu_leaves_the_others_alone() {
    let fake = FakeDriver::new(&(gpu(0) + &gpu(1)));
    let mut looking = Looking::at(&fake);
    looking.all();
    fake.say(&(gpu(0) + &gpu(1) + "gpu 0 lost 1\n"));
    let all = looking.all();
    assert_eq!(all[0].condition, GpuCondition::Lost);
    assert_eq!(all[0].identity.uuid.as_str(), uuid(0));
    assert!(all[0].readings.is_empty());
    assert_eq!(all[1].readings.get(Metric::PowerWatts), Some(250.0));
    fake.say(&(gpu(0) + &gpu(1)));
    assert_eq!(
        looking.all()[0].condition,
        GpuCondition::Lost,
        "until the driver is opened anew"
    );
    assert_eq!(Looking::at(&fake).all()[0].condition, GpuCondition::Ok);
}

#[test]
fn a_driver_that_cannot_be_used_says_why() {
    for (code, expected) in [
        (9, "not loaded"),
        (18, "replaced"),
        (4, "not permitted"),
        (17, "not permitted"),
        (999, "internal"),
    ] {
        let fake = FakeDriver::new(&format!("fail nvmlInit_v2 {code}\n"));
        let error = Looking::at(&fake).source.sample().unwrap_err().to_string();
        assert!(error.contains(expected), "{code}: {error}");
    }
    let fake = FakeDriver::new("");
    std::fs::write(fake.library(), "no library").unwrap();
    let error = Looking::at(&fake).source.sample().unwrap_err();
    assert!(matches!(error, GpuError::Library(_)), "{error}");
}

#[test]
fn a_driver_that_was_replaced_ends_it() {
    let fake = FakeDriver::new(&gpu(0));
    let mut looking = Looking::at(&fake);
    looking.one();
    fake.say(&(gpu(0) + "fail * 18\n"));
    assert!(matches!(looking.source.sample(), Err(GpuError::Mismatch)));
}

#[test]
fn parts_of_a_gpu_are_gpus_with_their_own_memory_and_processes() {
    let part = |number: u32| {
        format!(
            "mig 0 {number} uuid MIG-{number}\nmig 0 {number} name Fake 3g.40gb\nmig 0 {number} memory.total 40G\n\
             mig 0 {number} memory.used {}G\nmig 0 {number} instance {}\nmig 0 {number} gpm.sm 30\n",
            number + 1,
            number + 5
        )
    };
    let control =
        gpu(0) + "gpu 0 mig 1\n" + &part(0) + &part(1) + "process 0 100 compute 2G 0 0 0 0 6\n";
    let fake = FakeDriver::new(&control);
    let mut looking = Looking::at(&fake);
    let all = looking.all();
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!(all[0].readings.get(Metric::UtilizationPercent), None);
    assert!(all[0].processes.is_empty(), "they are those of its parts");
    let indexes: Vec<_> = all.iter().map(|it| it.identity.index).collect();
    assert_eq!(indexes, [0, 1, 2]);
    assert_eq!(all[2].identity.part_of.as_ref().unwrap().as_str(), uuid(0));
    assert_eq!(
        all[2].readings.get(Metric::MemoryUsedBytes),
        Some(2.0 * GIB)
    );
    let pids: Vec<Vec<u32>> = all
        .iter()
        .map(|it| it.processes.iter().map(|it| it.pid).collect())
        .collect();
    assert_eq!(pids, [vec![], vec![], vec![100]]);
    assert_eq!(
        looking.all()[2].readings.get(Metric::SmActivePercent),
        Some(30.0)
    );
    // It is taken apart anew.
    fake.say(&(gpu(0) + "gpu 0 mig 1\n" + &part(1)));
    assert_eq!(looking.all().len(), 2);
    // And whole again, it tells what it did not tell before.
    fake.say(&(gpu(0) + "gpu 0 mig 1\n"));
    let divided = looking.one();
    assert_eq!(divided.readings.get(Metric::UtilizationPercent), None);
    fake.say(&(gpu(0) + "process 0 100 compute 2G 60 0 0 0\n"));
    let whole = looking.one();
    assert_eq!(whole.readings.get(Metric::UtilizationPercent), Some(85.0));
    assert_eq!(whole.processes[0].utilization_percent, Some(60.0));
}

#[test]
fn errors_of_the_driver_are_heard_while_it_is_open() {
    let fake = FakeDriver::new(&(gpu(0) + &gpu(1) + "gpu 1 events 3\nxid 0 13 1\n"));
    let mut looking = Looking::at(&fake);
    looking.all();
    fake.say(&(gpu(0) + &gpu(1) + "gpu 1 events 3\nxid 0 13 1\nxid 0 79 2\nxid 1 48 3\n"));
    let xid = looking.xids.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!((xid.code, xid.uuid.unwrap().to_string()), (79, uuid(0)));
    assert_eq!(xid.pci_bus_id.as_deref(), Some("0000:60:00.0"));
}

#[test]
fn a_gpu_says_whether_errors_of_its_driver_would_be_told() {
    let fake = FakeDriver::new(&(gpu(0) + &gpu(1) + "gpu 1 events 1\n"));
    let told: Vec<_> = Looking::at(&fake)
        .all()
        .iter()
        .map(|it| it.tells_xids)
        .collect();
    assert_eq!(told, [true, false]);
}
