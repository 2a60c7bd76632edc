//! Disks: whole ones, not their partitions, and none that is made of memory or of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::entity::Entity;
use crate::model::metric::{Metric, Readings};
use crate::model::time::Stamp;
use crate::sampling::fields::{lines, name, number, sole, words};
use crate::sampling::files::{Files, Roots, Source};
use crate::sampling::rates::Meter;

use super::Parts;

/// The kernel counts in sectors of this size, whatever a disk's own are.
const SECTOR_BYTES: u64 = 512;

/// A line of `/proc/diskstats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskLine<'a> {
    /// The device.
    pub name: &'a [u8],
    /// Operations that read.
    pub reads: u64,
    /// What they read.
    pub read_sectors: u64,
    /// How long they took together.
    pub read_ms: u64,
    /// Operations that wrote.
    pub writes: u64,
    /// What they wrote.
    pub written_sectors: u64,
    /// How long they took together.
    pub write_ms: u64,
    /// How long any was under way.
    pub busy_ms: u64,
    /// How long each was under way, together.
    pub queue_ms: u64,
}

impl<'a> DiskLine<'a> {
    /// Reads a line.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words = words(line).skip(2);
        let name = words.next()?;
        let mut counts = [0; 11];
        for count in &mut counts {
            *count = number(words.next()?)?;
        }
        let [
            reads,
            _,
            read_sectors,
            read_ms,
            writes,
            _,
            written_sectors,
            write_ms,
            _,
            busy_ms,
            queue_ms,
        ] = counts;
        Some(Self {
            name,
            reads,
            read_sectors,
            read_ms,
            writes,
            written_sectors,
            write_ms,
            busy_ms,
            queue_ms,
        })
    }
}

/// What a device is, decided when it is first seen.
#[derive(Debug)]
struct Device {
    /// As the kernel lists it.
    name: Vec<u8>,
    /// Whether it was there in this pass.
    is_seen: bool,
    /// Absent where it is no disk.
    disk: Option<Box<Disk>>,
}

#[derive(Debug)]
struct Disk {
    entity: Entity,
    /// Made of other disks, whose counts include its own.
    is_stacked: bool,
    before: Option<Counts>,
    meters: Meters,
}

#[derive(Debug, Default)]
struct Meters {
    read_bytes: Meter,
    written_bytes: Meter,
    reads: Meter,
    writes: Meter,
    busy_ms: Meter,
    queue_ms: Meter,
}

/// What latencies are made of.
#[derive(Clone, Copy, Debug)]
struct Counts {
    reads: u64,
    read_ms: u64,
    writes: u64,
    write_ms: u64,
}

/// Reads `/proc/diskstats`.
#[derive(Debug)]
pub(super) struct Disks {
    stats: Source,
    block: PathBuf,
    /// In the order of the file, which hardly ever changes.
    devices: Vec<Device>,
    most: usize,
}

impl Disks {
    pub(super) fn new(roots: &Roots, most: usize) -> Self {
        Self {
            stats: roots.proc("diskstats"),
            block: roots.sys.join("block"),
            devices: Vec::new(),
            most,
        }
    }

    pub(super) fn read(&mut self, files: &mut Files, at: Stamp, to: &mut Parts) {
        let Ok(text) = files.read(&mut self.stats) else {
            self.devices.clear();
            return;
        };
        let mut sums = Sums::default();
        let mut next = 0;
        let mut told = 0;
        for line in lines(text).filter_map(DiskLine::parse) {
            let place = place_of(&mut self.devices, next, line.name, &self.block);
            next = place + 1;
            let device = &mut self.devices[place];
            device.is_seen = true;
            let Some(disk) = &mut device.disk else {
                continue;
            };
            if told < self.most {
                told += 1;
                let readings = disk.tell(&line, at);
                sums.add(disk, &line, &readings);
                to.parts.push((disk.entity.clone(), readings));
            }
        }
        // One that comes back is another device, perhaps of another kind.
        self.devices
            .retain_mut(|device| std::mem::take(&mut device.is_seen));
        sums.tell(&mut to.host);
    }
}

/// Where a device is among those that are known, most likely just here; else it is put here.
fn place_of(devices: &mut Vec<Device>, here: usize, name: &[u8], block: &Path) -> usize {
    if devices.get(here).is_some_and(|it| it.name == name) {
        return here;
    }
    if let Some(place) = devices.iter().position(|it| it.name == name) {
        return place;
    }
    let here = here.min(devices.len());
    let device = Device {
        name: name.to_vec(),
        is_seen: false,
        disk: recognise(block, name).map(Box::new),
    };
    devices.insert(here, device);
    here
}

/// Whether a device is a disk, and what it is called.
fn recognise(block: &Path, device: &[u8]) -> Option<Disk> {
    let listed = name(device);
    if ["loop", "ram", "zram", "fd", "sr"].iter().any(|kind| {
        let number = listed.strip_prefix(kind);
        number.is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_digit()))
    }) {
        return None;
    }
    // A name with a slash has an exclamation mark in its place there.
    let dir = block.join(listed.replace('/', "!"));
    // Partitions are below their disks, and a path to a disk with several is no disk of its own.
    let is_hidden = std::fs::read(dir.join("hidden")).is_ok_and(|text| sole(&text) == Some(1));
    if !dir.is_dir() || is_hidden {
        return None;
    }
    let mapped = std::fs::read(dir.join("dm/name")).map(|text| name(&text));
    let called = mapped.ok().filter(|name| !name.is_empty());
    let called: Arc<str> = called.unwrap_or(listed).into();
    let is_stacked =
        std::fs::read_dir(dir.join("slaves")).is_ok_and(|mut entries| entries.next().is_some());
    Some(Disk {
        entity: Entity::Disk(called),
        is_stacked,
        before: None,
        meters: Meters::default(),
    })
}

impl Disk {
    fn tell(&mut self, line: &DiskLine<'_>, at: Stamp) -> Readings {
        let mut to = Readings::default();
        let meters = &mut self.meters;
        let read = line.read_sectors.saturating_mul(SECTOR_BYTES);
        let written = line.written_sectors.saturating_mul(SECTOR_BYTES);
        to.set(Metric::IoReadBytes, read as f64);
        to.set(Metric::IoWriteBytes, written as f64);
        to.set(Metric::IoReads, line.reads as f64);
        to.set(Metric::IoWrites, line.writes as f64);
        to.set(Metric::IoBusySeconds, line.busy_ms as f64 / 1000.0);
        let rate = meters.read_bytes.per_second(read, at);
        to.set_if(Metric::IoReadBytesPerSecond, rate);
        let rate = meters.written_bytes.per_second(written, at);
        to.set_if(Metric::IoWriteBytesPerSecond, rate);
        let rate = meters.reads.per_second(line.reads, at);
        to.set_if(Metric::IoReadsPerSecond, rate);
        let rate = meters.writes.per_second(line.writes, at);
        to.set_if(Metric::IoWritesPerSecond, rate);
        let busy = meters.busy_ms.per_second(line.busy_ms, at);
        to.set_if(Metric::IoBusyPercent, busy.map(|ms| (ms / 10.0).min(100.0)));
        let queue = meters.queue_ms.per_second(line.queue_ms, at);
        to.set_if(Metric::IoQueue, queue.map(|ms| ms / 1000.0));
        self.tell_latencies(line, &mut to);
        to
    }

    /// Without an operation there is no latency.
    fn tell_latencies(&mut self, line: &DiskLine<'_>, to: &mut Readings) {
        let now = Counts {
            reads: line.reads,
            read_ms: line.read_ms,
            writes: line.writes,
            write_ms: line.write_ms,
        };
        let Some(before) = self.before.replace(now) else {
            return;
        };
        let mean = |ms: u64, ms_before: u64, count: u64, count_before: u64| {
            let ms = ms.checked_sub(ms_before)?;
            let count = count.checked_sub(count_before).filter(|it| *it > 0)?;
            Some(ms as f64 / count as f64)
        };
        let read = mean(now.read_ms, before.read_ms, now.reads, before.reads);
        to.set_if(Metric::IoReadMilliseconds, read);
        let write = mean(now.write_ms, before.write_ms, now.writes, before.writes);
        to.set_if(Metric::IoWriteMilliseconds, write);
    }
}

/// Of all disks that are not made of others: the host's.
#[derive(Debug, Default)]
struct Sums {
    totals: Option<(u64, u64)>,
    rates: Option<(f64, f64)>,
}

impl Sums {
    fn add(&mut self, disk: &Disk, line: &DiskLine<'_>, readings: &Readings) {
        if disk.is_stacked {
            return;
        }
        let (read, written) = self.totals.unwrap_or_default();
        self.totals = Some((
            read.saturating_add(line.read_sectors),
            written.saturating_add(line.written_sectors),
        ));
        let rates = readings
            .get(Metric::IoReadBytesPerSecond)
            .zip(readings.get(Metric::IoWriteBytesPerSecond));
        if let Some((more_read, more_written)) = rates {
            let (read, written) = self.rates.unwrap_or_default();
            self.rates = Some((read + more_read, written + more_written));
        }
    }

    fn tell(&self, to: &mut Readings) {
        let bytes = |sectors: u64| sectors as f64 * SECTOR_BYTES as f64;
        if let Some((read, written)) = self.totals {
            to.set(Metric::IoReadBytes, bytes(read));
            to.set(Metric::IoWriteBytes, bytes(written));
        }
        if let Some((read, written)) = self.rates {
            to.set(Metric::IoReadBytesPerSecond, read);
            to.set(Metric::IoWriteBytesPerSecond, written);
        }
    }
}
