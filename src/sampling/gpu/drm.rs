//! What the kernel tells of each process that draws or computes through its graphics interface (DRM): lines of
//! `/proc/PID/fdinfo/FD`, the same for all drivers that have them.

mod scan;

pub use scan::{Client, Scan};

use std::collections::BTreeMap;

/// What a driver tells of one client. A process may have several, and several descriptors may be one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FdInfo {
    /// Name of the driver.
    pub driver: String,
    /// Place of the device on the bus.
    pub bus_id: Option<String>,
    /// Number of the client, unique on the device.
    pub client: Option<u64>,
    /// Work done by each engine.
    pub engines: BTreeMap<String, Engine>,
    /// Memory in each region, bytes.
    pub memory: BTreeMap<String, Memory>,
}

/// What an engine did for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Engine {
    /// Nanoseconds in which it was busy.
    pub busy_ns: Option<u64>,
    /// Cycles in which it was busy, and all cycles that went by.
    pub cycles: (Option<u64>, Option<u64>),
    /// How many engines of this name there are; 0 where that is not told.
    pub capacity: u64,
}

/// What a client holds of a region of memory; some drivers tell only of one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// In the region now.
    pub resident: Option<u64>,
    /// As older drivers tell it.
    pub plain: Option<u64>,
    /// Wherever it is now.
    pub total: Option<u64>,
}

impl Memory {
    /// The best that is known of it.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.resident.or(self.plain).or(self.total)
    }
}

/// Reads what a driver tells; nothing where the descriptor is of no graphics device.
#[must_use]
pub fn parse(text: &str) -> Option<FdInfo> {
    let mut info = FdInfo::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        if let Some(key) = key.strip_prefix("drm-") {
            info.take(key, value.trim());
        }
    }
    (!info.driver.is_empty()).then_some(info)
}

impl FdInfo {
    fn take(&mut self, key: &str, value: &str) {
        let engine = |info: &mut Self, name: &str, set: &dyn Fn(&mut Engine)| {
            set(info.engines.entry(name.to_owned()).or_default());
        };
        let memory = |info: &mut Self, name: &str, set: &dyn Fn(&mut Memory)| {
            set(info.memory.entry(name.to_owned()).or_default());
        };
        let number = number(value);
        match key {
            "driver" => value.clone_into(&mut self.driver),
            "pdev" => self.bus_id = super::kernel_log::bus_id(value),
            "client-id" => self.client = number,
            _ => {
                if let Some(name) = key.strip_prefix("engine-capacity-") {
                    engine(self, name, &|it| it.capacity = number.unwrap_or(0));
                } else if let Some(name) = key.strip_prefix("engine-") {
                    engine(self, name, &|it| it.busy_ns = number);
                } else if let Some(name) = key.strip_prefix("total-cycles-") {
                    engine(self, name, &|it| it.cycles.1 = number);
                } else if let Some(name) = key.strip_prefix("cycles-") {
                    engine(self, name, &|it| it.cycles.0 = number);
                } else if let Some(name) = key.strip_prefix("resident-") {
                    memory(self, name, &|it| it.resident = number);
                } else if let Some(name) = key.strip_prefix("memory-") {
                    memory(self, name, &|it| it.plain = number);
                } else if let Some(name) = key.strip_prefix("total-") {
                    memory(self, name, &|it| it.total = number);
                }
            }
        }
    }

    /// Memory of the device that a client holds, in all of its regions (`vram`, `vram0`, `local0`).
    #[must_use]
    pub fn device_bytes(&self) -> Option<u64> {
        let of_device = |name: &str| name.starts_with("vram") || name.starts_with("local");
        let regions = self.memory.iter().filter(|(name, _)| of_device(name));
        regions
            .filter_map(|(_, memory)| memory.bytes())
            .reduce(u64::saturating_add)
    }
}

/// A number with an optional unit: `123 KiB`, `456 ns`, `7`.
fn number(value: &str) -> Option<u64> {
    let (digits, unit) = value.split_once(' ').unwrap_or((value, ""));
    let digits: u64 = digits.parse().ok()?;
    let times = match unit.trim() {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 1,
    };
    digits.checked_mul(times)
}

#[cfg(test)]
mod tests;
