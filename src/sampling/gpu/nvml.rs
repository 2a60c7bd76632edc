//! NVIDIA's GPUs, through the library of their driver, which is loaded when it is there.
//!
//! The library is opened once at most in the life of a process, and closed by its end: that is the only way to be
//! sure that nothing of an old driver stays mapped and that nothing keeps a GPU awake. What is lost, asleep or was
//! never seen is known by its place on the bus (see [`sleep`]).
//!
//! [`sleep`]: crate::sampling::gpu::sleep

mod asked;
mod board;
mod faults;
mod processes;
mod rare;

use crate::model::gpu::{GpuCondition, GpuIdentity, GpuSample, GpuUuid, Xid};
use crate::sampling::gpu::kernel_log::bus_id;
use crate::sampling::gpu::sleep::{Pci, Rest};
use crate::sampling::gpu::talk::Spot;
use crate::sampling::gpu::{GpuError, GpuSource, Looked};
use board::{Board, Found};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// What the library is called where nothing else is said.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// Takes an error that the library told of.
pub type Teller = Arc<dyn Fn(Xid) + Send + Sync>;

/// What is known before the first look.
pub struct Options {
    /// The library; by its usual name where it is not said.
    pub library: Option<PathBuf>,
    /// Where the kernel tells of devices: `/sys`.
    pub sys: PathBuf,
    /// GPUs that answered before.
    pub known: Vec<GpuIdentity>,
    /// The process before ended so that GPUs could fall asleep.
    pub rested: bool,
    /// Whether the processes that the library lists are all there are to this process, too.
    pub sees_all: bool,
    /// Whether the kernel's log is read for errors.
    pub reads_log: bool,
    /// Takes errors.
    pub tell: Teller,
    /// Told which GPU is asked next, which may not return.
    pub looks: Box<dyn Fn(Spot) + Send>,
}

/// NVIDIA's GPUs.
pub struct NvmlSource {
    library: Option<PathBuf>,
    tell: Teller,
    looks: Box<dyn Fn(Spot) + Send>,
    left_out: Vec<Spot>,
    nvml: Option<&'static Nvml>,
    driver: Option<String>,
    boards: BTreeMap<GpuUuid, Board>,
    known: BTreeMap<GpuUuid, GpuIdentity>,
    rest: Rest,
    sees_all: bool,
    reads_log: bool,
}

impl NvmlSource {
    /// Touches nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let known = options.known.into_iter();
        Self {
            library: options.library,
            tell: options.tell,
            looks: options.looks,
            left_out: Vec::new(),
            nvml: None,
            driver: None,
            boards: BTreeMap::new(),
            known: known.map(|it| (it.uuid.clone(), it)).collect(),
            rest: Rest::new(options.sys, options.rested),
            sees_all: options.sees_all,
            reads_log: options.reads_log,
        }
    }

    /// Opens the library, for as long as this process lives.
    fn open(&mut self) -> Result<&'static Nvml, GpuError> {
        if let Some(nvml) = self.nvml {
            return Ok(nvml);
        }
        let path = self
            .library
            .as_deref()
            .map_or(OsStr::new(LIBRARY), |it| it.as_os_str());
        let nvml = Nvml::builder().lib_path(path).init().map_err(failed)?;
        let nvml: &'static Nvml = Box::leak(Box::new(nvml));
        self.driver = nvml.sys_driver_version().ok();
        self.nvml = Some(nvml);
        Ok(nvml)
    }

    /// Every GPU, by its number; those that sleep are not touched.
    fn spots(nvml: &Nvml, pci: &[Pci]) -> Result<Vec<Spot>, GpuError> {
        if pci.iter().any(|it| it.is_asleep) {
            let awake = pci.iter().filter(|it| !it.is_asleep);
            return Ok(awake.map(|it| Spot::Bus(it.bus_id.clone())).collect());
        }
        let count = nvml.device_count().map_err(failed)?;
        Ok((0..count).map(Spot::Index).collect())
    }

    /// Looks at one GPU and at its parts.
    fn look(
        &mut self,
        nvml: &'static Nvml,
        spot: &Spot,
        next_part: &mut u32,
    ) -> Result<Vec<GpuSample>, NvmlError> {
        let (device, listed_index) = match spot {
            Spot::Index(index) => (nvml.device_by_index(*index)?, Some(*index)),
            Spot::Bus(place) => (nvml.device_by_pci_bus_id(place.as_str())?, None),
        };
        let device = &device;
        let uuid = GpuUuid(device.uuid()?.into());
        if !self.boards.contains_key(&uuid) {
            let identity = self.identify(device, &uuid, listed_index)?;
            let tells_xids = faults::listen(device, &identity, &self.tell) || self.reads_log;
            self.known.insert(uuid.clone(), identity);
            self.boards.insert(uuid.clone(), Board::new(tells_xids));
        }
        if let (Some(known), Some(index)) = (self.known.get_mut(&uuid), listed_index) {
            known.index = index;
        }
        let Some(identity) = self.known.get(&uuid).cloned() else {
            return Ok(Vec::new());
        };
        let parts = board::parts(device);
        let board = self.boards.entry(uuid).or_default();
        let found = board.look(device, parts.is_some(), Instant::now())?;
        let tells_xids = board.tells_xids;
        let mut samples = vec![GpuSample {
            tells_xids,
            ..self.sample_of(identity.clone(), found)
        }];
        for part in parts.into_iter().flatten() {
            // A part that was just taken away is none.
            if let Ok(found) = self.look_at_part(device, &part, &identity, *next_part) {
                *next_part += 1;
                samples.push(found);
            }
        }
        Ok(samples)
    }

    fn look_at_part(
        &mut self,
        device: &Device<'static>,
        part: &Device<'static>,
        whole: &GpuIdentity,
        index: u32,
    ) -> Result<GpuSample, NvmlError> {
        let uuid = GpuUuid(part.uuid()?.into());
        let identity = GpuIdentity {
            uuid: uuid.clone(),
            index,
            name: part.name().unwrap_or_else(|_| whole.name.clone()),
            part_of: Some(whole.uuid.clone()),
            ..whole.clone()
        };
        let board = self.boards.entry(uuid).or_default();
        let found = board.look_at_part(device, part)?;
        Ok(self.sample_of(identity, found))
    }

    fn sample_of(&self, identity: GpuIdentity, found: Found) -> GpuSample {
        GpuSample {
            readings: found.readings,
            processes: found.processes,
            sees_all_processes: self.sees_all,
            ..GpuSample::unmeasured(identity, GpuCondition::Ok)
        }
    }

    fn identify(
        &self,
        device: &Device<'static>,
        uuid: &GpuUuid,
        index: Option<u32>,
    ) -> Result<GpuIdentity, NvmlError> {
        let index = match index {
            Some(index) => index,
            None => device.index()?,
        };
        let place = device.pci_info().ok();
        Ok(GpuIdentity {
            uuid: uuid.clone(),
            index,
            name: device.name().unwrap_or_else(|_| "NVIDIA GPU".to_owned()),
            vendor: "nvidia".to_owned(),
            pci_bus_id: place.and_then(|it| bus_id(&it.bus_id)),
            driver: self.driver.clone(),
            part_of: None,
        })
    }

    /// What is known of a GPU there.
    fn known_at(&self, spot: &Spot) -> Option<&GpuIdentity> {
        self.known.values().find(|it| spot.is_of(it))
    }

    fn asleep(&self, pci: &Pci, order: usize) -> GpuSample {
        let known = self.known_at(&Spot::Bus(pci.bus_id.clone())).cloned();
        let identity = known.unwrap_or_else(|| pci.identity(order));
        GpuSample::unmeasured(identity, GpuCondition::Asleep)
    }

    /// Looks through the library.
    fn look_at_all(&mut self, pci: &[Pci]) -> Result<Vec<GpuSample>, GpuError> {
        let nvml = self.open()?;
        let spots = Self::spots(nvml, pci)?;
        let sleeping = pci.iter().enumerate().filter(|(_, it)| it.is_asleep);
        let mut samples: Vec<_> = sleeping.map(|(order, it)| self.asleep(it, order)).collect();
        let mut next_part = u32::try_from(pci.len().max(spots.len())).unwrap_or(u32::MAX);
        // Where there is but one, nothing is saved by leaving it out.
        let is_told = spots.len() > 1;
        for spot in spots {
            if self.left_out.contains(&spot) {
                let known = self.known_at(&spot).cloned();
                let silent = GpuCondition::Unresponsive;
                samples.extend(known.map(|it| GpuSample::unmeasured(it, silent)));
                continue;
            }
            if is_told {
                (self.looks)(spot.clone());
            }
            match self.look(nvml, &spot, &mut next_part) {
                Ok(found) => samples.extend(found),
                Err(error) if is_of_driver(&error) => return Err(failed(error)),
                Err(error) => {
                    let condition = if is_lost(&error) {
                        GpuCondition::Lost
                    } else {
                        GpuCondition::Unresponsive
                    };
                    let known = self.known_at(&spot).cloned();
                    samples.extend(known.map(|it| GpuSample::unmeasured(it, condition)));
                }
            }
        }
        self.add_missing(&mut samples, next_part);
        samples.sort_by_key(|it| it.identity.index);
        Ok(samples)
    }

    /// A GPU that answered before and is not even listed any more fell off the bus. Another one may have its index.
    fn add_missing(&self, samples: &mut Vec<GpuSample>, mut next_index: u32) {
        let missing = self.known.values().filter(|it| it.part_of.is_none());
        let missing =
            missing.filter(|it| !samples.iter().any(|sample| sample.identity.uuid == it.uuid));
        for identity in missing.cloned().collect::<Vec<_>>() {
            let mut lost = GpuSample::unmeasured(identity, GpuCondition::Lost);
            let index = lost.identity.index;
            if samples.iter().any(|it| it.identity.index == index) {
                lost.identity.index = next_index;
                next_index += 1;
            }
            samples.push(lost);
        }
    }
}

impl GpuSource for NvmlSource {
    fn sample(&mut self) -> Result<Looked, GpuError> {
        let pci = self.rest.pci();
        if self.nvml.is_none() && self.rest.lets_sleep(&pci, Instant::now()) {
            let gpus = pci.iter().enumerate();
            let gpus = gpus.map(|(order, it)| self.asleep(it, order)).collect();
            return Ok(Looked { gpus, rest: false });
        }
        let gpus = self.look_at_all(&pci)?;
        let rest = self.rest.wants_rest(&pci, &gpus);
        Ok(Looked { gpus, rest })
    }

    fn leave_out(&mut self, spots: Vec<Spot>) {
        self.left_out = spots;
    }
}

/// Codes of newer drivers that the wrapper has no name for.
const GPU_NOT_FOUND: u32 = 28;

/// The GPU is gone, or of no use before a reset.
fn is_lost(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::GpuLost
            | NvmlError::ResetRequired
            | NvmlError::IrqIssue
            | NvmlError::NotFound
            | NvmlError::UnexpectedVariant(GPU_NOT_FOUND)
    )
}

/// It is the driver as a whole that fails, not one GPU.
fn is_of_driver(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::Uninitialized | NvmlError::DriverNotLoaded | NvmlError::LibRmVersionMismatch
    )
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most of the driver's many errors are told in its words"
)]
fn failed(error: NvmlError) -> GpuError {
    match error {
        NvmlError::LibloadingError(cause) => GpuError::Library(cause.to_string()),
        NvmlError::FailedToLoadSymbol(cause) => GpuError::Library(cause),
        NvmlError::DriverNotLoaded => GpuError::NoDriver,
        NvmlError::LibRmVersionMismatch => GpuError::Mismatch,
        NvmlError::NoPermission | NvmlError::OperatingSystem => GpuError::Permission,
        other => GpuError::Driver(other.to_string()),
    }
}
