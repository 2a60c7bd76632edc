//! Intel's GPUs, through files of the kernel's drivers (`i915`, `xe`).
//!
//! These drivers tell of no use of the GPU as a whole; where every process can be seen, it is the sum of what
//! processes use of the engine that is used most.

use crate::model::gpu::{
    GpuCondition, GpuIdentity, GpuProcess, GpuProcessKind, GpuSample, GpuUuid,
};
use crate::model::metric::{Metric, Readings};
use crate::sampling::gpu::amd::generation;
use crate::sampling::gpu::cards::{Card, cards, read, read_number};
use crate::sampling::gpu::drm::{Client, Scan};
use crate::sampling::gpu::{GpuError, GpuSource, Looked};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Intel's number among makers of PCI devices.
pub const INTEL: u64 = 0x8086;

/// Intel's GPUs.
#[derive(Debug)]
pub struct IntelSource {
    sys: PathBuf,
    scan: Scan,
    has_looked: bool,
}

impl IntelSource {
    /// `sys` and `proc` are where the kernel tells of devices and processes; `sees_all`: of those of all users.
    #[must_use]
    pub fn new(sys: PathBuf, proc: PathBuf, sees_all: bool) -> Self {
        Self {
            sys,
            scan: Scan::new(proc, sees_all),
            has_looked: false,
        }
    }

    fn look(&self, card: &Card, index: u32, clients: &[Client]) -> GpuSample {
        let mut sample = GpuSample {
            identity: identity(card, index),
            condition: GpuCondition::Asleep,
            readings: Readings::default(),
            processes: Vec::new(),
            sees_all_processes: self.scan.sees_all,
            tells_xids: false,
        };
        if card.is_asleep() {
            return sample;
        }
        sample.condition = GpuCondition::Ok;
        let to = &mut sample.readings;
        clocks(card, to);
        if let Some(dir) = card.sensors() {
            sensors(&dir, to);
        }
        let device = card.device();
        to.set_if(
            Metric::PcieWidth,
            read_number(&device.join("current_link_width")),
        );
        let speed = read(&device.join("current_link_speed"));
        to.set_if(
            Metric::PcieGeneration,
            speed.as_deref().and_then(generation),
        );
        if self.scan.sees_all && self.has_looked {
            to.set(Metric::UtilizationPercent, busiest(clients));
        }
        sample.processes = clients.iter().map(process).collect();
        sample
    }
}

impl GpuSource for IntelSource {
    fn sample(&mut self) -> Result<Looked, GpuError> {
        let cards = cards(&self.sys, INTEL);
        let clients = self.scan.look(Instant::now());
        let looked = cards.iter().enumerate().map(|(index, card)| {
            let clients = clients.get(&card.bus_id).map_or(&[][..], Vec::as_slice);
            self.look(card, u32::try_from(index).unwrap_or(u32::MAX), clients)
        });
        let gpus = looked.collect();
        self.has_looked = true;
        Ok(Looked { gpus, rest: false })
    }
}

fn identity(card: &Card, index: u32) -> GpuIdentity {
    let number = read(&card.device().join("device")).unwrap_or_default();
    GpuIdentity {
        // There is no number of the board: it stays with its place.
        uuid: GpuUuid(format!("PCI-{}", card.bus_id).into()),
        index,
        name: format!("Intel GPU {}", number.trim_start_matches("0x"))
            .trim()
            .to_owned(),
        vendor: "intel".to_owned(),
        pci_bus_id: Some(card.bus_id.clone()),
        driver: Some(card.driver.clone()).filter(|it| !it.is_empty()),
        part_of: None,
    }
}

/// Where each driver tells of clocks and of what slows them down.
fn clocks(card: &Card, to: &mut Readings) {
    let xe = card.device().join("tile0/gt0/freq0");
    let (dir, [now, most], reasons) = if xe.is_dir() {
        (
            xe.clone(),
            ["act_freq", "max_freq"],
            (xe.join("throttle"), "reason_"),
        )
    } else {
        let gt = (card.dir.join("gt/gt0"), "throttle_reason_");
        (card.dir.clone(), ["gt_act_freq_mhz", "gt_max_freq_mhz"], gt)
    };
    to.set_if(Metric::ClockMegahertz, read_number(&dir.join(now)));
    to.set_if(Metric::ClockLimitMegahertz, read_number(&dir.join(most)));
    let any = |names: &[&str]| {
        let (dir, prefix) = &reasons;
        let flags = names
            .iter()
            .map(|name| read_number(&dir.join(format!("{prefix}{name}"))));
        flags.flatten().reduce(f64::max).map(|it| it.min(1.0))
    };
    to.set_if(Metric::ThrottledByPower, any(&["pl1", "pl2", "pl4"]));
    to.set_if(
        Metric::ThrottledByHeat,
        any(&["thermal", "prochot", "vr_thermalert"]),
    );
}

fn sensors(dir: &Path, to: &mut Readings) {
    let number = |name: &str| read_number(&dir.join(name));
    to.set_if(
        Metric::EnergyJoules,
        number("energy1_input").map(|it| it / 1e6),
    );
    to.set_if(
        Metric::PowerWatts,
        number("power1_input").map(|it| it / 1e6),
    );
    to.set_if(
        Metric::PowerLimitWatts,
        number("power1_max").map(|it| it / 1e6),
    );
    let celsius = (1..=4).find_map(|place| {
        let label = read(&dir.join(format!("temp{place}_label")));
        let is_it = label.is_none_or(|it| it == "pkg" || it == "gt");
        number(&format!("temp{place}_input")).filter(|_| is_it)
    });
    to.set_if(Metric::TemperatureCelsius, celsius.map(|it| it / 1_000.0));
}

/// How busy the engine is that is used most, by all together.
fn busiest(clients: &[Client]) -> f64 {
    let mut sums = BTreeMap::<&str, f64>::new();
    let engines = clients.iter().filter_map(|client| client.engines.as_ref());
    for (name, percent) in engines.flatten() {
        *sums.entry(name).or_default() += percent;
    }
    sums.into_values().fold(0.0, f64::max).min(100.0)
}

/// Engines that draw or compute, by the names of both drivers; `video` and `vcs` code in both directions and count as
/// decoding, which is most of it.
fn process(client: &Client) -> GpuProcess {
    let most = |wanted: &[&str]| {
        let engines = client.engines.as_ref()?;
        let found = wanted.iter().filter_map(|name| engines.get(*name));
        Some(found.copied().fold(0.0, f64::max))
    };
    let has_used = |wanted: &[&str]| wanted.iter().any(|name| client.used.contains(*name));
    GpuProcess {
        pid: client.pid,
        kind: if has_used(&["compute", "ccs"]) && !has_used(&["render", "rcs"]) {
            GpuProcessKind::Compute
        } else {
            GpuProcessKind::Graphics
        },
        memory_bytes: client.memory_bytes,
        utilization_percent: most(&["render", "rcs", "compute", "ccs"]),
        encoder_percent: None,
        decoder_percent: most(&["video", "vcs"]).filter(|it| *it > 0.0),
    }
}

#[cfg(test)]
mod tests;
