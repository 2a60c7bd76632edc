//! Readers of the host, on its own files and on made-up ones.

use super::*;
use crate::sampling::host::cpu::Stat;
use crate::sampling::host::disks::DiskLine;
use crate::sampling::host::memory::{MemInfo, VmStat};
use crate::sampling::host::networks::NetLine;
use crate::sampling::host::pressure::Stalls;
use crate::sampling::host::sensors::Look;
use proptest::prelude::*;
use std::fs;

fn at(boot_ms: u64) -> Stamp {
    Stamp {
        wall_ms: 0,
        boot_ms,
    }
}

/// Made-up files of a kernel.
struct Tree {
    root: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("proc")).unwrap();
        fs::create_dir(root.path().join("sys")).unwrap();
        Self { root }
    }

    fn roots(&self) -> Roots {
        Roots {
            proc: self.root.path().join("proc"),
            sys: self.root.path().join("sys"),
        }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn dir(&self, path: &str) {
        fs::create_dir_all(self.root.path().join(path)).unwrap();
    }

    fn remove(&self, path: &str) {
        let path = self.root.path().join(path);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }

    fn link(&self, to: &str, path: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(self.root.path().join(to), path).unwrap();
    }

    fn reader(&self, settings: &Settings) -> HostReader {
        HostReader::new(&self.roots(), settings)
    }
}

fn part<'a>(sample: &'a HostSample, name: &str) -> Option<&'a Readings> {
    let entity: Entity = name.parse().unwrap();
    let mut parts = sample.parts.iter();
    parts.find(|(it, _)| *it == entity).map(|(_, it)| it)
}

fn names(sample: &HostSample) -> Vec<String> {
    sample.parts.iter().map(|(it, _)| it.to_string()).collect()
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
    assert!(part(&second, "host/core/0").is_some());
}

#[test]
fn without_any_file_there_is_a_sample_all_the_same() {
    let tree = Tree::new();
    let mut reader = tree.reader(&Settings::default());
    for boot_ms in [1_000, 2_000] {
        let sample = reader.read(at(boot_ms));
        let told: Vec<_> = sample.readings.iter().map(|(it, _)| it).collect();
        assert_eq!(told, [Metric::UptimeSeconds]);
        assert_eq!(names(&sample), Vec::<String>::new());
    }
    assert_eq!(reader.is_on_battery(), None);
}

const STAT: &str = "cpu  100 10 50 800 40 5 5 10 0 0\n\
    cpu0 60 5 25 400 20 3 2 5 0 0\ncpu2 40 5 25 400 20 2 3 5 0 0\n\
    intr 12345 0 1 2\nctxt 5000\nbtime 1\nprocesses 700\nprocs_running 3\nprocs_blocked 1\n\
    softirq 1 2 3\n";

#[test]
fn cpu_time_is_shared_out_over_the_ticks_that_went_by() {
    let tree = Tree::new();
    tree.write("proc/stat", STAT);
    tree.write("proc/loadavg", "0.50 0.25 0.10 3/456 7890\n");
    let mut reader = tree.reader(&Settings::default());
    let first = reader.read(at(1_000)).readings;
    assert_eq!(first.get(Metric::CpuPercent), None);
    assert_eq!(first.get(Metric::CpuCount), Some(2.0));
    assert_eq!(first.get(Metric::Threads), Some(456.0));
    assert_eq!(first.get(Metric::ProcessesBlocked), Some(1.0));
    // A hundred ticks: 30 in user mode, 20 in the kernel, 10 waiting, 10 stolen, the others idle; a core is new.
    tree.write(
        "proc/stat",
        "cpu  120 20 60 830 50 10 10 20 0 0\ncpu0 70 5 25 420 20 3 2 5 0 0\n\
        cpu1 1 1 1 1\ncpu2 30 5 25 400 20 2 3 5\nctxt 5500\nprocesses 704\n",
    );
    let second = reader.read(at(3_000));
    let get = |metric| second.readings.get(metric).unwrap();
    assert_eq!(get(Metric::CpuPercent), 50.0);
    assert_eq!(get(Metric::CpuUserPercent), 30.0);
    assert_eq!(get(Metric::CpuSystemPercent), 20.0);
    assert_eq!(get(Metric::CpuIowaitPercent), 10.0);
    assert_eq!(get(Metric::CpuStealPercent), 10.0);
    assert_eq!(get(Metric::ContextSwitchesPerSecond), 250.0);
    assert_eq!(get(Metric::ForksPerSecond), 2.0);
    let core = |name: &str| part(&second, name).unwrap().get(Metric::CpuPercent);
    assert!((core("host/core/0").unwrap() - 1000.0 / 30.0).abs() < 1e-9);
    // One had no reading before, and the other's counter fell.
    assert_eq!((core("host/core/1"), core("host/core/2")), (None, None));
    // A pass without the file is a gap, and so is the rate after it.
    tree.write("proc/stat", "");
    assert_eq!(
        reader.read(at(4_000)).readings.get(Metric::CpuSeconds),
        None
    );
    tree.write("proc/stat", STAT);
    let after = reader.read(at(5_000)).readings;
    assert_eq!(after.get(Metric::CpuPercent), None);
    assert!(after.get(Metric::CpuSeconds).is_some());
}

#[test]
fn idle_time_that_the_kernel_takes_back_is_no_gap() {
    let before = cpu::Modes {
        user: 10,
        idle: 100,
        iowait: 50,
        ..cpu::Modes::default()
    };
    let now = cpu::Modes {
        user: 20,
        idle: 190,
        iowait: 49,
        ..cpu::Modes::default()
    };
    assert_eq!(now.shares_since(&before).unwrap().user, 10.0);
    assert_eq!(now.shares_since(&now), None);
}

#[test]
fn memory_in_use_is_what_cannot_be_had() {
    let tree = Tree::new();
    let text = "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 400 kB\nBuffers: 50 kB\n\
        Cached: 300 kB\nShmem: 30 kB\nSReclaimable: 20 kB\nDirty: 7 kB\nSwapTotal: 200 kB\n\
        SwapFree: 150 kB\nHugePages_Total: 0\n";
    tree.write("proc/meminfo", text);
    tree.write(
        "proc/vmstat",
        "pgmajfault 10\npswpin 1\npswpout 2\noom_kill 3\n",
    );
    let mut reader = tree.reader(&Settings::default());
    let sample = reader.read(at(1_000)).readings;
    let kib = |metric| sample.get(metric).unwrap() / 1024.0;
    assert_eq!(kib(Metric::MemoryUsedBytes), 600.0);
    assert_eq!(kib(Metric::MemoryCachedBytes), 340.0);
    assert_eq!(kib(Metric::SwapBytes), 50.0);
    assert_eq!(sample.get(Metric::MemoryPercent), Some(60.0));
    assert_eq!(sample.get(Metric::OomKills), Some(3.0));
    assert_eq!(sample.get(Metric::MajorFaultsPerSecond), None);
    tree.write("proc/vmstat", "pgmajfault 30\npswpin 3\npswpout 2\n");
    let old = text.replace("MemAvailable: 400 kB\n", "");
    tree.write("proc/meminfo", &old);
    let sample = reader.read(at(3_000)).readings;
    assert_eq!(sample.get(Metric::MajorFaultsPerSecond), Some(10.0));
    let page = rustix::param::page_size() as f64;
    assert_eq!(sample.get(Metric::SwapInBytesPerSecond), Some(page));
    assert_eq!(sample.get(Metric::SwapOutBytesPerSecond), Some(0.0));
    assert_eq!(sample.get(Metric::OomKills), None);
    let available = sample.get(Metric::MemoryAvailableBytes).unwrap();
    assert_eq!(available / 1024.0, 440.0);
}

#[test]
fn pressure_is_the_share_of_the_interval() {
    let tree = Tree::new();
    let text = |some: u64, full: u64| {
        format!(
            "some avg10=1.00 avg60=2.00 avg300=3.00 total={some}\n\
            full avg10=0.00 avg60=0.00 avg300=0.00 total={full}\n"
        )
    };
    tree.write("proc/pressure/io", &text(1_000_000, 500_000));
    let mut reader = tree.reader(&Settings::default());
    assert_eq!(
        reader
            .read(at(1_000))
            .readings
            .get(Metric::PressureIoPercent),
        None
    );
    tree.write("proc/pressure/io", &text(1_500_000, 600_000));
    let sample = reader.read(at(3_000)).readings;
    assert_eq!(sample.get(Metric::PressureIoPercent), Some(25.0));
    assert_eq!(sample.get(Metric::PressureIoFullPercent), Some(5.0));
    assert_eq!(sample.get(Metric::PressureCpuPercent), None);
}

fn disk_line(name: &str, count: u64) -> String {
    let (sectors, ms) = (count * 8, count * 3);
    format!(
        "   8  0 {name} {count} 0 {sectors} {ms} {count} 0 {sectors} {ms} 0 {ms} {ms} 0 0 0 0\n"
    )
}

#[test]
fn whole_disks_are_told_and_nothing_else() {
    let tree = Tree::new();
    for disk in ["sda", "nvme0c0n1", "nvme0n1", "loop0", "dm-0", "cciss!c0d0"] {
        tree.dir(&format!("sys/block/{disk}/slaves"));
    }
    tree.write("sys/block/nvme0c0n1/hidden", "1\n");
    tree.write("sys/block/dm-0/dm/name", "vg-root\n");
    tree.dir("sys/block/dm-0/slaves/sda");
    let listed = [
        "sda",
        "sda1",
        "nvme0c0n1",
        "nvme0n1",
        "loop0",
        "zram0",
        "dm-0",
        "cciss/c0d0",
    ];
    let all = |count: u64| -> String {
        let lines = listed.iter().map(|name| disk_line(name, count));
        lines.chain(["8 0 short 1\n".to_owned()]).collect()
    };
    tree.write("proc/diskstats", &all(1_000));
    let mut reader = tree.reader(&Settings::default());
    let first = reader.read(at(1_000));
    let wanted = [
        "host/disk/cciss%2Fc0d0",
        "host/disk/nvme0n1",
        "host/disk/sda",
        "host/disk/vg-root",
    ];
    assert_eq!(names(&first), wanted);
    tree.write("proc/diskstats", &all(1_100));
    let second = reader.read(at(2_000));
    let disk = part(&second, "host/disk/sda").unwrap();
    let get = |metric| disk.get(metric).unwrap();
    assert_eq!(get(Metric::IoReadsPerSecond), 100.0);
    assert_eq!(get(Metric::IoReadBytesPerSecond), 100.0 * 8.0 * 512.0);
    assert_eq!(get(Metric::IoWriteMilliseconds), 3.0);
    assert_eq!(get(Metric::IoBusyPercent), 30.0);
    assert_eq!(get(Metric::IoQueue), 0.3);
    // Of the three disks that are not made of others.
    let sum = second.readings.get(Metric::IoReadBytesPerSecond);
    assert_eq!(sum, Some(3.0 * 100.0 * 8.0 * 512.0));
    // One is gone, the counters of another begin anew, and nothing was asked of the third.
    let later: String = [disk_line("dm-0", 5), disk_line("nvme0n1", 1_100)].concat();
    tree.write("proc/diskstats", &later);
    let third = reader.read(at(3_000));
    assert_eq!(names(&third), ["host/disk/nvme0n1", "host/disk/vg-root"]);
    let anew = part(&third, "host/disk/vg-root").unwrap();
    assert_eq!(anew.get(Metric::IoReadsPerSecond), None);
    assert_eq!(anew.get(Metric::IoReadMilliseconds), None);
    let idle = part(&third, "host/disk/nvme0n1").unwrap();
    assert_eq!(idle.get(Metric::IoReadsPerSecond), Some(0.0));
    assert_eq!(idle.get(Metric::IoReadMilliseconds), None);
    // It is back, and has no rate yet.
    tree.write("proc/diskstats", &all(1_200));
    let fourth = reader.read(at(4_000));
    let back = part(&fourth, "host/disk/sda").unwrap();
    assert_eq!(back.get(Metric::IoReadsPerSecond), None);
    assert_eq!(back.get(Metric::IoReads), Some(1_200.0));
    let few = Settings {
        most_parts: 2,
        ..Settings::default()
    };
    assert_eq!(tree.reader(&few).read(at(1_000)).parts.len(), 2);
}

fn net_line(name: &str, bytes: u64) -> String {
    format!("{name:>6}: {bytes} 10 1 2 0 0 0 0 {bytes} 20 3 4 0 0 0 0\n")
}

const NET_HEAD: &str =
    "Inter-|   Receive                |  Transmit\n face |bytes    packets errs drop\n";

#[test]
fn interfaces_of_containers_are_not_told() {
    let tree = Tree::new();
    tree.dir("sys/class/net/eth0/device");
    tree.dir("sys/class/net/docker0/bridge");
    tree.dir("sys/class/net/bond0/bonding");
    let all = |bytes: u64| -> String {
        let lines = ["lo", "veth12", "eth0", "docker0", "bond0", "tun0"];
        let lines = lines.iter().map(|name| net_line(name, bytes));
        std::iter::once(NET_HEAD.to_owned()).chain(lines).collect()
    };
    tree.write("proc/net/dev", &all(1_000));
    let mut reader = tree.reader(&Settings::default());
    let first = reader.read(at(1_000));
    let wanted = ["host/net/bond0", "host/net/docker0", "host/net/eth0"];
    assert_eq!(names(&first), wanted);
    tree.write("proc/net/dev", &all(3_000));
    let second = reader.read(at(2_000));
    let eth0 = part(&second, "host/net/eth0").unwrap();
    assert_eq!(eth0.get(Metric::NetReceiveBytesPerSecond), Some(2_000.0));
    assert_eq!(eth0.get(Metric::NetErrors), Some(10.0));
    let sum = second.readings.get(Metric::NetTransmitBytesPerSecond);
    assert_eq!(sum, Some(2_000.0));
    let named = Settings {
        interfaces: ["tun0", "veth12", "no-such"].map(str::to_owned).into(),
        ..Settings::default()
    };
    let sample = tree.reader(&named).read(at(1_000));
    assert_eq!(names(&sample), ["host/net/tun0", "host/net/veth12"]);
    // Inside a container there is nothing better than what it was given.
    tree.remove("sys/class/net");
    let text = [NET_HEAD.to_owned(), net_line("lo", 1), net_line("eth0", 1)].concat();
    tree.write("proc/net/dev", &text);
    let sample = tree.reader(&Settings::default()).read(at(1_000));
    assert_eq!(names(&sample), ["host/net/eth0"]);
    // They change places, one goes and one comes.
    let text = [net_line("tun1", 5), net_line("eth0", 9)].concat();
    tree.write("proc/net/dev", &text);
    let sample = reader.read(at(3_000));
    assert_eq!(names(&sample), ["host/net/eth0"]);
}

fn chip(tree: &Tree, number: u32, name: &str, device: &str) -> String {
    let dir = format!("sys/class/hwmon/hwmon{number}");
    tree.write(&format!("{dir}/name"), &format!("{name}\n"));
    if !device.is_empty() {
        tree.dir(&format!("sys/devices/{device}"));
        tree.link(&format!("sys/devices/{device}"), &format!("{dir}/device"));
    }
    dir
}

#[test]
fn sensors_are_told_apart_and_sleepers_left_alone() {
    let tree = Tree::new();
    let dir = chip(&tree, 0, "k10temp", "0000:00:18.3");
    tree.write(&format!("{dir}/temp1_input"), "45125\n");
    tree.write(&format!("{dir}/temp1_label"), "Tctl\n");
    tree.write(&format!("{dir}/temp2_input"), "-128000\n");
    tree.write(&format!("{dir}/temp3_input"), "no number\n");
    for (number, disk) in [(1, "nvme0"), (12, "nvme1")] {
        let dir = chip(&tree, number, "nvme", disk);
        tree.write(&format!("{dir}/temp1_input"), &format!("{number}000\n"));
        tree.write(&format!("{dir}/temp1_label"), "Composite\n");
        tree.write(&format!("{dir}/temp2_input"), "30000\n");
        tree.write(&format!("{dir}/temp2_label"), "Sensor 1\n");
    }
    for (number, name, status) in [(3, "amdgpu", "active"), (4, "iwlwifi_1", "suspended")] {
        let dir = chip(&tree, number, name, name);
        tree.write(&format!("sys/devices/{name}/power/runtime_status"), status);
        tree.write(&format!("{dir}/temp1_input"), "50000\n");
    }
    let look = Look::take(&tree.roots().sys, 64);
    let told: Vec<(&str, f64)> = look
        .temperatures
        .iter()
        .map(|(it, c)| (&**it, *c))
        .collect();
    let wanted = [
        ("k10temp:Tctl", 45.125),
        ("nvme-nvme0:Composite", 1.0),
        ("nvme-nvme0:Sensor_1", 30.0),
        ("nvme-nvme1:Composite", 12.0),
        ("nvme-nvme1:Sensor_1", 30.0),
    ];
    assert_eq!(told, wanted);
    assert_eq!(Look::take(&tree.roots().sys, 2).temperatures.len(), 2);
}

#[test]
fn clocks_belong_to_their_cores_until_they_are_old() {
    let tree = Tree::new();
    tree.write("proc/stat", STAT);
    let clock = "sys/devices/system/cpu/cpu2/cpufreq/scaling_cur_freq";
    tree.write(clock, "3200000\n");
    let dir = chip(&tree, 0, "coretemp", "");
    tree.write(&format!("{dir}/temp1_input"), "40000\n");
    let mut reader = tree.reader(&Settings::default());
    assert_eq!(
        part(&reader.read(at(1_000)), "host/sensor/coretemp:temp1"),
        None
    );
    reader.sensors.settle(at(1_000));
    let sample = reader.read(at(2_000));
    let core = part(&sample, "host/core/2").unwrap();
    assert_eq!(core.get(Metric::CpuClockMegahertz), Some(3_200.0));
    assert!(part(&sample, "host/sensor/coretemp:temp1").is_some());
}

#[test]
fn a_battery_feeds_the_host_or_a_mouse() {
    let tree = Tree::new();
    let battery = || Look::take(&tree.roots().sys, 8).is_on_battery;
    tree.write("sys/class/power_supply/AC/type", "Mains\n");
    tree.write("sys/class/power_supply/AC/online", "0\n");
    assert_eq!(battery(), None);
    tree.write("sys/class/power_supply/hid/type", "Battery\n");
    tree.write("sys/class/power_supply/hid/scope", "Device\n");
    tree.write("sys/class/power_supply/hid/status", "Discharging\n");
    assert_eq!(battery(), None);
    tree.write("sys/class/power_supply/BAT0/type", "Battery\n");
    tree.write("sys/class/power_supply/BAT0/status", "Discharging\n");
    assert_eq!(battery(), Some(true));
    tree.write("sys/class/power_supply/AC/online", "1\n");
    assert_eq!(battery(), Some(false));
}

#[test]
fn energy_goes_on_where_its_counter_begins_anew() {
    let tree = Tree::new();
    let zone = |name: &str, kind: &str, energy: u64| {
        let dir = format!("sys/class/powercap/{name}");
        tree.write(&format!("{dir}/name"), &format!("{kind}\n"));
        tree.write(&format!("{dir}/energy_uj"), &format!("{energy}\n"));
        tree.write(&format!("{dir}/max_energy_range_uj"), "1000000000\n");
    };
    zone("intel-rapl:0", "package-0", 999_000_000);
    zone("intel-rapl:1", "package-1", 5_000_000);
    zone("intel-rapl:0:0", "core", 1);
    zone("intel-rapl:2", "psys", 1);
    zone("intel-rapl-mmio:0", "package-0", 1);
    let mut reader = tree.reader(&Settings::default());
    let first = reader.read(at(1_000)).readings;
    assert_eq!(first.get(Metric::CpuEnergyJoules), Some(0.0));
    zone("intel-rapl:0", "package-0", 9_000_000);
    zone("intel-rapl:1", "package-1", 15_000_000);
    let second = reader.read(at(3_000)).readings;
    assert_eq!(second.get(Metric::CpuEnergyJoules), Some(20.0));
    assert_eq!(second.get(Metric::CpuPowerWatts), Some(10.0));
}

#[test]
fn a_directory_in_the_place_of_a_file_is_no_file() {
    let tree = Tree::new();
    tree.dir("proc/stat");
    tree.write("proc/meminfo", "\0\0\0");
    let sample = tree.reader(&Settings::default()).read(at(1_000));
    assert_eq!(sample.readings.iter().count(), 1);
}

proptest! {
    #[test]
    fn any_bytes_do(text in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut stat = Stat::default();
        stat.parse(&text);
        let _ = (MemInfo::parse(&text), VmStat::parse(&text), Stalls::parse(&text));
        let _ = (DiskLine::parse(&text), NetLine::parse(&text));
        drop(space::local_mounts(&text));
    }

    #[test]
    fn shares_add_up_to_no_more_than_all(
        before in prop::array::uniform5(0_u64..1 << 40),
        more in prop::array::uniform5(0_u64..1 << 20),
    ) {
        let modes = |it: [u64; 5]| cpu::Modes {
            user: it[0], system: it[1], idle: it[2], iowait: it[3], steal: it[4],
        };
        let mut now = before;
        now.iter_mut().zip(more).for_each(|(it, more)| *it += more);
        if let Some(shares) = modes(now).shares_since(&modes(before)) {
            let sum = shares.user + shares.system + shares.iowait + shares.steal;
            prop_assert!((0.0..=100.0 + 1e-9).contains(&sum));
        } else {
            prop_assert!(more.iter().all(|it| *it == 0));
        }
    }
}
