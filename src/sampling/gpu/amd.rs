//! AMD's GPUs, through files of the kernel's driver (`amdgpu`).

use crate::model::gpu::{
    GpuCondition, GpuIdentity, GpuProcess, GpuProcessKind, GpuSample, GpuUuid,
};
use crate::model::metric::{Metric, Readings};
use crate::sampling::gpu::cards::{Card, cards, read, read_number};
use crate::sampling::gpu::drm::{Client, Scan};
use crate::sampling::gpu::pids::PidSpace;
use crate::sampling::gpu::sleep::{Pci, Rest};
use crate::sampling::gpu::{GpuError, GpuSource, Looked, kfd};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// AMD's number among makers of PCI devices.
pub const AMD: u64 = 0x1002;

/// AMD's GPUs.
#[derive(Debug)]
pub struct AmdSource {
    sys: PathBuf,
    scan: Scan,
    pids: PidSpace,
    /// Of each card, by its place: they sleep apart.
    rests: BTreeMap<String, Rest>,
}

impl AmdSource {
    /// `sys` and `proc` are where the kernel tells of devices and processes; `sees_all`: of those of all users.
    #[must_use]
    pub fn new(sys: PathBuf, proc: PathBuf, sees_all: bool) -> Self {
        Self {
            sys,
            scan: Scan::new(proc, sees_all),
            pids: PidSpace::Outermost,
            rests: BTreeMap::new(),
        }
    }

    /// Which processes the door for computing speaks of: ids that mean something else here are left out.
    #[must_use]
    pub fn with_pids(self, pids: PidSpace) -> Self {
        Self { pids, ..self }
    }

    /// Looks at all of them.
    fn look_at_all(&mut self, now: Instant) -> Vec<GpuSample> {
        let cards = cards(&self.sys, AMD);
        let clients = self.scan.look(now);
        let looked = cards.iter().enumerate().map(|(index, card)| {
            let clients = clients.get(&card.bus_id).map_or(&[][..], Vec::as_slice);
            self.look(card, u32::try_from(index).unwrap_or(u32::MAX), clients, now)
        });
        looked.collect()
    }

    /// Looks at one, unless it sleeps or is about to: reading its files sets the clock back after which it may.
    fn look(&mut self, card: &Card, index: u32, clients: &[Client], now: Instant) -> GpuSample {
        let computing = kfd::processes(&self.sys, &card.bus_id);
        let place = [Pci::of_dir(&card.device(), card.bus_id.clone())];
        let rest = self.rests.entry(card.bus_id.clone());
        let rest = rest.or_insert_with(|| Rest::new(self.sys.clone(), false));
        if !clients.is_empty() || !computing.is_empty() {
            rest.end();
        }
        if rest.lets_sleep(&place, now) {
            return GpuSample::unmeasured(identity(card, index), GpuCondition::Asleep);
        }
        let sample = self.measure(card, index, clients, computing);
        let rest = self.rests.get_mut(&card.bus_id);
        if let Some(rest) = rest
            && rest.wants_rest(&place, std::slice::from_ref(&sample))
        {
            rest.begin();
        }
        sample
    }

    fn measure(
        &self,
        card: &Card,
        index: u32,
        clients: &[Client],
        computing: Vec<GpuProcess>,
    ) -> GpuSample {
        let mut sample = GpuSample {
            sees_all_processes: self.scan.sees_all,
            ..GpuSample::unmeasured(identity(card, index), GpuCondition::Ok)
        };
        device(&card.device(), &mut sample.readings);
        if let Some(dir) = card.sensors() {
            sensors(&dir, &mut sample.readings);
        }
        sample.processes = clients.iter().map(process).collect();
        if !computing.is_empty() {
            // What is computed through that door is counted nowhere, process by process.
            for process in &mut sample.processes {
                process.utilization_percent = None;
            }
            let is_here = self.pids == PidSpace::Outermost;
            let listed = |pid: u32| clients.iter().any(|client| client.pid == pid);
            let others = computing
                .into_iter()
                .filter(|it| is_here && !listed(it.pid));
            sample.processes.extend(others);
        }
        sample
    }
}

impl GpuSource for AmdSource {
    fn sample(&mut self) -> Result<Looked, GpuError> {
        // No process has to end for them to sleep.
        Ok(Looked {
            gpus: self.look_at_all(Instant::now()),
            rest: false,
        })
    }
}

fn identity(card: &Card, index: u32) -> GpuIdentity {
    let device = card.device();
    let unique = read(&device.join("unique_id"));
    let name = read(&device.join("product_name"));
    let number = read(&device.join("device"));
    GpuIdentity {
        uuid: GpuUuid(match unique {
            Some(id) => format!("AMD-{id}").into(),
            None => format!("PCI-{}", card.bus_id).into(),
        }),
        index,
        name: name.unwrap_or_else(|| {
            let number = number.as_deref().unwrap_or_default();
            format!("AMD GPU {}", number.trim_start_matches("0x"))
                .trim()
                .to_owned()
        }),
        vendor: "amd".to_owned(),
        pci_bus_id: Some(card.bus_id.clone()),
        driver: Some(card.driver.clone()).filter(|it| !it.is_empty()),
        part_of: None,
    }
}

fn device(dir: &Path, to: &mut Readings) {
    let number = |name: &str| read_number(&dir.join(name));
    to.set_if(Metric::UtilizationPercent, number("gpu_busy_percent"));
    to.set_if(Metric::MemoryUtilizationPercent, number("mem_busy_percent"));
    let (used, total) = (number("mem_info_vram_used"), number("mem_info_vram_total"));
    to.set_if(Metric::MemoryUsedBytes, used);
    to.set_if(Metric::MemoryTotalBytes, total);
    if let (Some(used), Some(total)) = (used, total.filter(|it| *it > 0.0)) {
        to.set(Metric::MemoryPercent, used / total * 100.0);
    }
    to.set_if(Metric::PcieWidth, number("current_link_width"));
    let speed = read(&dir.join("current_link_speed"));
    to.set_if(
        Metric::PcieGeneration,
        speed.as_deref().and_then(generation),
    );
    to.set_if(Metric::PcieReplays, number("pcie_replay_count"));
    let errors = read(&dir.join("ras/umc_err_count")).unwrap_or_default();
    for line in errors.lines() {
        let metric = match line.split_once(':') {
            Some(("ue", _)) => Metric::EccUncorrected,
            Some(("ce", _)) => Metric::EccCorrected,
            _ => continue,
        };
        let count = line
            .split_once(':')
            .and_then(|(_, it)| it.trim().parse().ok());
        to.set_if(metric, count);
    }
}

/// Generation of PCI Express, from a speed such as `16.0 GT/s PCIe`.
#[must_use]
pub fn generation(speed: &str) -> Option<f64> {
    let speed: f64 = speed.split(' ').next()?.parse().ok()?;
    let speeds = [2.5, 5.0, 8.0, 16.0, 32.0, 64.0];
    let place = speeds.iter().position(|it| *it == speed)?;
    Some(place as f64 + 1.0)
}

/// Sensors count in thousandths of degrees, millionths of watts and hertz.
fn sensors(dir: &Path, to: &mut Readings) {
    let number = |name: &str| read_number(&dir.join(name));
    let power = number("power1_average").or_else(|| number("power1_input"));
    to.set_if(Metric::PowerWatts, power.map(|it| it / 1e6));
    to.set_if(
        Metric::PowerLimitWatts,
        number("power1_cap").map(|it| it / 1e6),
    );
    to.set_if(
        Metric::EnergyJoules,
        number("energy1_input").map(|it| it / 1e6),
    );
    to.set_if(
        Metric::ClockMegahertz,
        number("freq1_input").map(|it| it / 1e6),
    );
    to.set_if(
        Metric::MemoryClockMegahertz,
        number("freq2_input").map(|it| it / 1e6),
    );
    let fan = number("fan1_input").zip(number("fan1_max").filter(|it| *it > 0.0));
    let percent = fan.map(|(speed, most)| (speed / most * 100.0).min(100.0));
    let level = number("pwm1").map(|it| (it / 255.0 * 100.0).min(100.0));
    to.set_if(Metric::FanPercent, percent.or(level));
    for place in 1..=3 {
        let celsius = number(&format!("temp{place}_input")).map(|it| it / 1_000.0);
        let label = read(&dir.join(format!("temp{place}_label")));
        match label.as_deref() {
            Some("mem") => to.set_if(Metric::MemoryTemperatureCelsius, celsius),
            Some("edge") | None if place == 1 => {
                to.set_if(Metric::TemperatureCelsius, celsius);
                let limit = number("temp1_crit").map(|it| it / 1_000.0);
                to.set_if(Metric::TemperatureLimitCelsius, limit);
            }
            // Newer boards have no sensor at the edge.
            Some("junction") if to.get(Metric::TemperatureCelsius).is_none() => {
                to.set_if(Metric::TemperatureCelsius, celsius);
            }
            _ => {}
        }
    }
}

/// Which engine does what: `gfx` draws and computes, `compute` computes, `enc…` and `dec…`, or `jpeg`, code.
fn process(client: &Client) -> GpuProcess {
    let most = |wanted: &dyn Fn(&str) -> bool| {
        let engines = client.engines.as_ref()?.iter();
        let wanted = engines.filter(|(name, _)| wanted(name));
        // An engine that never worked for a process is not listed with it.
        let percents = wanted.map(|(_, percent)| *percent);
        Some(percents.fold(0.0, f64::max))
    };
    let computes = |name: &str| name == "gfx" || name == "compute";
    let draws = client.used.contains("gfx");
    GpuProcess {
        pid: client.pid,
        kind: if client.used.contains("compute") && !draws {
            GpuProcessKind::Compute
        } else {
            GpuProcessKind::Graphics
        },
        memory_bytes: client.memory_bytes,
        utilization_percent: most(&computes),
        encoder_percent: most(&|name| name.starts_with("enc")).filter(|it| *it > 0.0),
        decoder_percent: most(&|name| name.starts_with("dec") || name == "jpeg")
            .filter(|it| *it > 0.0),
    }
}

#[cfg(test)]
mod tests;
