//! GPUs that sleep are left alone.
//!
//! Whether one sleeps is read from the kernel, without the driver. NVIDIA's open driver keeps a GPU awake, so where GPUs
//! may sleep and none is used, the process that holds it open ends ([`Rest::wants_rest`]), and the next one opens the
//! driver only when a GPU woke up for somebody else. AMD's keeps one awake whose files are read, so each is left alone
//! for a while by itself ([`Rest::begin`]).

use crate::model::gpu::{GpuCondition, GpuIdentity, GpuSample, GpuUuid};
use crate::model::metric::Metric;
use crate::sampling::gpu::cards::{read, read_hex};
use crate::sampling::gpu::kernel_log::bus_id;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// NVIDIA's number among makers of PCI devices.
const NVIDIA: u64 = 0x10de;

/// Class of devices that draw, in the upper byte.
const DISPLAY: u64 = 0x03;

/// How many looks without any use make a GPU one that may sleep.
const IDLE_LOOKS: u32 = 5;

/// How long a GPU gets to fall asleep once the driver was closed.
const FALLING_ASLEEP: Duration = Duration::from_secs(30);

/// A GPU, as the kernel lists it on the PCI bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pci {
    /// Its place: `0000:61:00.0`.
    pub bus_id: String,
    /// It is switched off to save energy.
    pub is_asleep: bool,
    /// The kernel may switch it off.
    pub may_sleep: bool,
    /// What it is, in the numbers of its maker.
    pub device: u64,
}

impl Pci {
    /// The one that the kernel keeps in this directory, at a place.
    pub(super) fn of_dir(dir: &Path, bus_id: String) -> Self {
        let power = |name: &str| read(&dir.join("power").join(name));
        Self {
            bus_id,
            is_asleep: power("runtime_status").as_deref() == Some("suspended"),
            may_sleep: power("control").as_deref() == Some("auto"),
            device: read_hex(&dir.join("device")).unwrap_or(0),
        }
    }

    /// For one that has never been seen awake.
    pub(super) fn identity(&self, order: usize) -> GpuIdentity {
        GpuIdentity {
            uuid: GpuUuid(format!("PCI-{}", self.bus_id).into()),
            index: u32::try_from(order).unwrap_or(u32::MAX),
            name: format!("NVIDIA GPU {:04x}", self.device),
            vendor: "nvidia".to_owned(),
            pci_bus_id: Some(self.bus_id.clone()),
            driver: None,
            part_of: None,
        }
    }
}

/// Decides when GPUs are let sleep.
#[derive(Debug)]
pub struct Rest {
    sys: PathBuf,
    /// Since when the driver is closed for that, where the process before closed it.
    since: Option<Instant>,
    rested: bool,
    may_rest: bool,
    idle_looks: u32,
}

impl Rest {
    /// `rested`: the process before ended so that GPUs could fall asleep.
    #[must_use]
    pub fn new(sys: PathBuf, rested: bool) -> Self {
        Self {
            sys,
            since: None,
            rested,
            may_rest: true,
            idle_looks: 0,
        }
    }

    /// NVIDIA's GPUs, by their place. Nothing of it wakes a device.
    #[must_use]
    pub fn pci(&self) -> Vec<Pci> {
        let entries = std::fs::read_dir(self.sys.join("bus/pci/devices"));
        let mut found: Vec<Pci> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let dir = entry.path();
                let is_gpu = read_hex(&dir.join("vendor")) == Some(NVIDIA)
                    && read_hex(&dir.join("class")).map(|class| class >> 16) == Some(DISPLAY);
                let bus_id = bus_id(entry.file_name().to_str()?).filter(|_| is_gpu)?;
                Some(Pci::of_dir(&dir, bus_id))
            })
            .collect();
        found.sort_by(|one, other| one.bus_id.cmp(&other.bus_id));
        found
    }

    /// They are left alone from now on, to fall asleep.
    pub fn begin(&mut self) {
        (self.rested, self.since, self.idle_looks) = (true, None, 0);
    }

    /// Somebody uses one that was left alone.
    pub fn end(&mut self) {
        self.rested = false;
    }

    /// Whether a closed driver stays closed: all GPUs sleep, or are about to.
    pub fn lets_sleep(&mut self, pci: &[Pci], now: Instant) -> bool {
        if pci.is_empty() {
            return false;
        }
        if pci.iter().all(|it| it.is_asleep) {
            self.rested = false;
            return true;
        }
        if !self.rested {
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let is_falling = now.saturating_duration_since(since) < FALLING_ASLEEP;
        if !is_falling {
            // It does not, whatever its settings say: then there is no sense in trying again.
            self.rested = false;
            self.may_rest = false;
        }
        is_falling
    }

    /// Whether the process should end, because all GPUs may sleep and nobody has used one for a while.
    pub fn wants_rest(&mut self, pci: &[Pci], gpus: &[GpuSample]) -> bool {
        let may_sleep =
            self.may_rest && !pci.is_empty() && pci.iter().all(|it| it.may_sleep || it.is_asleep);
        if may_sleep && gpus.iter().all(is_idle) {
            self.idle_looks += 1;
        } else {
            self.idle_looks = 0;
        }
        self.idle_looks >= IDLE_LOOKS
    }
}

fn is_idle(gpu: &GpuSample) -> bool {
    let is_busy = gpu
        .readings
        .get(Metric::UtilizationPercent)
        .is_some_and(|percent| percent > 0.0);
    match gpu.condition {
        GpuCondition::Asleep => true,
        GpuCondition::Ok => !is_busy && gpu.processes.is_empty(),
        GpuCondition::Lost | GpuCondition::Unresponsive => false,
    }
}
