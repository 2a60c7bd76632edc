//! The host: what its CPUs, memory, disks, interfaces, file systems and sensors do.

pub mod cpu;
pub mod disks;
pub mod memory;
pub mod networks;
pub mod power;
pub mod pressure;
pub mod sensors;
pub mod space;

use crate::model::entity::Entity;
use crate::model::metric::{Metric, Readings};
use crate::model::sample::HostSample;
use crate::model::time::Stamp;
use crate::sampling::fields;
use crate::sampling::files::{Descriptors, Files, Roots, Source};

/// What of the host is read, and how often what is dear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Mounts whose space is read; none is those of all local file systems on devices.
    pub mounts: Vec<String>,
    /// Interfaces that are read; none is the physical ones, bonds and bridges.
    pub interfaces: Vec<String>,
    /// The most parts of one sort that are read.
    pub most_parts: usize,
    /// How often space is asked for, milliseconds.
    pub space_every_ms: u64,
    /// How often temperatures and clocks are read, milliseconds.
    pub sensors_every_ms: u64,
    /// How long a file system may take to answer before it has no readings, milliseconds.
    pub answer_within_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mounts: Vec::new(),
            interfaces: Vec::new(),
            most_parts: 64,
            space_every_ms: 30_000,
            sensors_every_ms: 10_000,
            answer_within_ms: 5_000,
        }
    }
}

/// What one source adds to a sample.
#[derive(Debug, Default)]
struct Parts {
    host: Readings,
    parts: Vec<(Entity, Readings)>,
}

/// Reads the host.
#[derive(Debug)]
pub struct HostReader {
    files: Files,
    open_files: Source,
    cpu: cpu::Cpu,
    memory: memory::Memory,
    pressure: pressure::Pressure,
    disks: disks::Disks,
    networks: networks::Networks,
    power: power::Power,
    sensors: sensors::Sensors,
    space: space::Space,
}

impl HostReader {
    /// A reader of the host whose files are below `roots`.
    #[must_use]
    pub fn new(roots: &Roots, settings: &Settings) -> Self {
        Self {
            // Its files are few, and counted by nobody.
            files: Files::new(Descriptors::at_most(usize::MAX)),
            open_files: roots.proc("sys/fs/file-nr"),
            cpu: cpu::Cpu::new(roots),
            memory: memory::Memory::new(roots),
            pressure: pressure::Pressure::new(roots),
            disks: disks::Disks::new(roots, settings.most_parts),
            networks: networks::Networks::new(roots, settings),
            power: power::Power::new(roots),
            sensors: sensors::Sensors::new(roots, settings),
            space: space::Space::new(roots, settings),
        }
    }

    /// Reads what there is to read. What is dear is read at its own pace, and told until it is read again; what does
    /// not answer is not told.
    pub fn read(&mut self, at: Stamp) -> HostSample {
        let mut to = Parts::default();
        to.host
            .set(Metric::UptimeSeconds, (at.boot_ms / 1000) as f64);
        let files = &mut self.files;
        self.cpu.read(files, at, &mut to);
        self.memory.read(files, at, &mut to);
        self.pressure.read(files, at, &mut to);
        self.disks.read(files, at, &mut to);
        self.networks.read(files, at, &mut to);
        self.power.read(files, at, &mut to);
        self.sensors.read(at, &mut to);
        self.space.read(at, &mut to);
        if let Ok(text) = files.read(&mut self.open_files) {
            let open = fields::words(text).next().and_then(fields::number);
            to.host
                .set_if(Metric::OpenFiles, open.map(|open| open as f64));
        }
        self.sensors.tell_clocks(&mut to);
        to.parts.sort_by(|(one, _), (other, _)| one.cmp(other));
        HostSample {
            at,
            readings: to.host,
            parts: to.parts,
            busiest: Vec::new(),
        }
    }

    /// Reads the space of other mounts from now on; none is those of all local file systems on devices.
    pub fn look_at_mounts(&mut self, mounts: &[String]) {
        self.space.look_at(mounts);
    }

    /// Whether the host runs on its battery; absent where it has none.
    #[must_use]
    pub fn is_on_battery(&self) -> Option<bool> {
        self.sensors.is_on_battery()
    }
}

#[cfg(test)]
mod tests;
