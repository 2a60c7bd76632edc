//! What the kernel has counted for an attempt: in the files of its cgroup, and process by process.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::cgroup::Cgroup;
use super::fields::{lines, name, number, pair, sole, words};

/// Where block devices are found by their numbers.
const BLOCK: &str = "/sys/dev/block";

/// `cpu.stat`, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStat {
    /// CPU time.
    pub usage: Option<u64>,
    /// In user mode.
    pub user: Option<u64>,
    /// In the kernel.
    pub system: Option<u64>,
    /// How long a limit kept it from running; absent without the controller.
    pub throttled: Option<u64>,
}

impl CpuStat {
    /// Reads the file.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut stat = Self::default();
        for (key, value) in lines(text).filter_map(pair) {
            match key {
                b"usage_usec" => stat.usage = Some(value),
                b"user_usec" => stat.user = Some(value),
                b"system_usec" => stat.system = Some(value),
                b"throttled_usec" => stat.throttled = Some(value),
                _ => {}
            }
        }
        stat
    }
}

/// A line of `io.stat`, or several added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoStat {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Operations that read.
    pub reads: u64,
    /// Operations that wrote.
    pub writes: u64,
}

impl IoStat {
    /// Reads a line: the device's numbers, as `8:0`, and what was done with it.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<(&[u8], Self)> {
        let mut words = words(line);
        let device = words.next()?;
        let mut stat = Self::default();
        for word in words {
            let Some(at) = word.iter().position(|&byte| byte == b'=') else {
                continue;
            };
            let Some(value) = number(&word[at + 1..]) else {
                continue;
            };
            match &word[..at] {
                b"rbytes" => stat.read_bytes = value,
                b"wbytes" => stat.written_bytes = value,
                b"rios" => stat.reads = value,
                b"wios" => stat.writes = value,
                _ => {}
            }
        }
        device.contains(&b':').then_some((device, stat))
    }

    fn plus(self, other: Self) -> Self {
        Self {
            read_bytes: self.read_bytes.saturating_add(other.read_bytes),
            written_bytes: self.written_bytes.saturating_add(other.written_bytes),
            reads: self.reads.saturating_add(other.reads),
            writes: self.writes.saturating_add(other.writes),
        }
    }
}

/// Adds up `io.stat` over the devices that data really go to: a device made of others, or of a file, has its data
/// counted once more there.
#[must_use]
pub fn sum_io(text: &[u8], mut is_counted: impl FnMut(&[u8]) -> bool) -> IoStat {
    let devices = lines(text).filter_map(IoStat::parse);
    devices
        .filter(|(device, _)| is_counted(device))
        .fold(IoStat::default(), |sum, (_, stat)| sum.plus(stat))
}

/// Whether data that go to a device, named by its numbers in `/sys/dev/block`, go no further.
#[must_use]
pub fn is_lowest(block: &Path, device: &[u8]) -> bool {
    let dir = block.join(name(device));
    let real = std::fs::canonicalize(&dir).unwrap_or_default();
    let called = real.file_name().unwrap_or_default().to_string_lossy();
    let is_made_up = ["loop", "ram", "zram"]
        .iter()
        .any(|kind| called.starts_with(kind));
    let mut slaves = std::fs::read_dir(dir.join("slaves")).into_iter().flatten();
    !is_made_up && slaves.next().is_none()
}

/// The number beside a key, in a file that has one per line.
#[must_use]
pub fn find(text: &[u8], key: &[u8]) -> Option<u64> {
    let mut pairs = lines(text).filter_map(pair);
    pairs.find(|(it, _)| *it == key).map(|(_, value)| value)
}

/// `memory.stat`, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStat {
    /// Memory that holds no file.
    pub anonymous: Option<u64>,
    /// How much of what is charged is page cache. Files in memory (`tmpfs`) are none: they cannot be given back.
    pub cache: u64,
}

impl MemoryStat {
    /// Reads the file.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut stat = Self::default();
        for (key, value) in lines(text).filter_map(pair) {
            match key {
                b"anon" => stat.anonymous = Some(value),
                b"active_file" | b"inactive_file" => stat.cache = stat.cache.saturating_add(value),
                _ => {}
            }
        }
        stat
    }
}

/// What a process and its children that have ended read from disks and wrote to them, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Read.
    pub read: u64,
    /// Written.
    pub written: u64,
}

impl Io {
    /// Reads the file.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (mut read, mut written) = (None, None);
        for (key, value) in lines(text).filter_map(pair) {
            match key {
                b"read_bytes:" => read = Some(value),
                b"write_bytes:" => written = Some(value),
                _ => {}
            }
        }
        Some(Self {
            read: read?,
            written: written?,
        })
    }

    /// Both added up.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            read: self.read.saturating_add(other.read),
            written: self.written.saturating_add(other.written),
        }
    }
}

/// All that a cgroup has counted from its beginning. What its controllers do not tell is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// CPU time.
    pub cpu: CpuStat,
    /// The most memory that was charged at once, page cache included, bytes.
    pub memory_charged_peak: Option<u64>,
    /// How much page cache is charged now, bytes.
    pub memory_cache: Option<u64>,
    /// Processes that were killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Input and output.
    pub io: Option<IoStat>,
}

impl Totals {
    /// Reads them.
    #[must_use]
    pub fn of(cgroup: &Cgroup) -> Self {
        let read = |file: &str| fs::read(cgroup.dir().join(file)).ok();
        let counted = |device: &[u8]| is_lowest(Path::new(BLOCK), device);
        Self {
            cpu: read("cpu.stat").map_or_else(CpuStat::default, |text| CpuStat::parse(&text)),
            memory_charged_peak: read("memory.peak").and_then(|text| sole(&text)),
            memory_cache: read("memory.stat").map(|text| MemoryStat::parse(&text).cache),
            oom_kills: read("memory.events").and_then(|text| find(&text, b"oom_kill")),
            io: read("io.stat").map(|text| sum_io(&text, counted)),
        }
    }
}

/// What a process read and wrote, unreaped ones included; absent where that is not told.
#[must_use]
pub fn io_of(pid: u32) -> Option<Io> {
    io_in(File::open(format!("/proc/{pid}/io")).ok()?)
}

/// The same from its file, which was opened before.
#[must_use]
pub fn io_in(mut file: File) -> Option<Io> {
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    Io::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_needs_both_numbers() {
        let text = b"rchar: 5\nwchar: 6\nsyscr: 1\nsyscw: 1\nread_bytes: 4096\nwrite_bytes: 8192\n\
            cancelled_write_bytes: 0\n";
        let io = Io {
            read: 4096,
            written: 8192,
        };
        assert_eq!(Io::parse(text), Some(io));
        assert_eq!(Io::parse(b"read_bytes: 4096\n"), None);
    }

    #[test]
    fn only_what_data_really_go_to_is_added_up() {
        let text = b"253:0 rbytes=100 wbytes=200 rios=1 wios=2 dbytes=0 dios=0\n\
            8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n\
            8:16 \n7:0 rbytes=x\nnonsense\n";
        let sum = sum_io(text, |device| device != b"253:0");
        let wanted = IoStat {
            read_bytes: 10,
            written_bytes: 20,
            reads: 1,
            writes: 2,
        };
        assert_eq!(sum, wanted);
    }

    #[test]
    fn devices_made_of_others_are_not_the_lowest() {
        let sys = tempfile::tempdir().unwrap();
        let block = sys.path().join("dev/block");
        fs::create_dir_all(&block).unwrap();
        for (device, called) in [("8:0", "sda"), ("253:0", "dm-0"), ("7:0", "loop0")] {
            let dir = sys.path().join("devices").join(called);
            fs::create_dir_all(dir.join("slaves")).unwrap();
            std::os::unix::fs::symlink(&dir, block.join(device)).unwrap();
        }
        fs::create_dir(sys.path().join("devices/dm-0/slaves/sda")).unwrap();
        let lowest = |device: &[u8]| is_lowest(&block, device);
        assert!(lowest(b"8:0"));
        assert!(!lowest(b"253:0") && !lowest(b"7:0"));
        // One that is gone by now was there when it was counted.
        assert!(lowest(b"8:16"));
    }

    #[test]
    fn a_cgroup_without_controllers_tells_cpu_time_alone() {
        let dir = tempfile::tempdir().unwrap();
        let text = "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnice_usec 0\n";
        fs::write(dir.path().join("cpu.stat"), text).unwrap();
        let cgroup = Cgroup::at(dir.path().to_owned());
        let totals = Totals::of(&cgroup);
        assert_eq!(totals.cpu.usage, Some(1500));
        assert_eq!(totals.cpu.throttled, None);
        let without = Totals {
            cpu: CpuStat::default(),
            ..totals
        };
        assert_eq!(without, Totals::default());
        fs::write(dir.path().join("memory.peak"), "4096\n").unwrap();
        fs::write(
            dir.path().join("memory.events"),
            "low 0\noom 1\noom_kill 2\n",
        )
        .unwrap();
        fs::write(
            dir.path().join("memory.stat"),
            "file 9\ninactive_file 5\nactive_file 2\n",
        )
        .unwrap();
        fs::write(dir.path().join("io.stat"), "").unwrap();
        let totals = Totals::of(&cgroup);
        assert_eq!(totals.memory_charged_peak, Some(4096));
        assert_eq!(totals.memory_cache, Some(7));
        assert_eq!(totals.oom_kills, Some(2));
        assert_eq!(totals.io, Some(IoStat::default()));
    }
}
