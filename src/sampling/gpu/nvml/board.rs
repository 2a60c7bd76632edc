//! One GPU, or a part of one: what is measured of it in a pass, and what has to be remembered for that.

use super::asked::Asked;
use super::processes::{Ring, list};
use super::rare::Rare;
use crate::model::gpu::GpuProcess;
use crate::model::metric::{Metric, Readings};
use crate::sampling::gpu::watch::wall_us;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::enums::gpm::GpmMetricId;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::gpm::{GpmSample, gpm_metrics_get};
use nvml_wrapper::struct_wrappers::device::MemoryInfo;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::{
    NVML_FI_DEV_MEMORY_TEMP, NVML_FI_DEV_PCIE_COUNT_RX_BYTES, NVML_FI_DEV_PCIE_COUNT_TX_BYTES,
};
use nvml_wrapper::{Device, Nvml};
use std::collections::BTreeMap;
use std::time::Instant;

/// Highest number of a state of performance; others mean that it is not known.
const LOWEST_STATE: u32 = 15;

/// What was found in a pass.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) readings: Readings,
    pub(super) processes: Vec<GpuProcess>,
}

/// What is remembered of a GPU between passes.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Errors of the driver are heard of.
    pub(super) tells_xids: bool,
    asked: Asked,
    is_divided: bool,
    ring: Ring,
    rare: Rare,
    counters: BTreeMap<Metric, (Instant, u64)>,
    units: Option<GpmSample<'static>>,
    parts_units: Option<(u32, GpmSample<'static>)>,
}

/// The parts of a GPU that is to be divided; there may be none yet.
pub(super) fn parts(device: &Device<'static>) -> Option<Vec<Device<'static>>> {
    let is_divided = device.mig_mode().is_ok_and(|mode| mode.current == 1);
    let most = is_divided.then(|| device.mig_device_count().unwrap_or(0))?;
    let parts = (0..most).filter_map(|index| device.mig_device_by_index(index).ok());
    Some(parts.collect())
}

impl Board {
    /// Of a whole GPU.
    pub(super) fn new(tells_xids: bool) -> Self {
        Self {
            tells_xids,
            ..Self::default()
        }
    }

    /// Looks at a whole GPU. The processes of one that is divided are those of its parts.
    ///
    /// # Errors
    /// Where it does not answer.
    pub(super) fn look(
        &mut self,
        device: &Device<'static>,
        is_divided: bool,
        now: Instant,
    ) -> Result<Found, NvmlError> {
        if std::mem::replace(&mut self.is_divided, is_divided) != is_divided {
            // What it refused as the other sort of GPU, it may tell now.
            self.asked = Asked::default();
            self.ring = Ring::default();
        }
        let mut found = Found::default();
        let to = &mut found.readings;
        self.use_and_memory(device, to)?;
        self.power(device, to)?;
        self.clocks(device, to)?;
        self.throttling(device, to)?;
        self.fields(device, to, now)?;
        self.units(device, to)?;
        self.rare.look(&mut self.asked, device, to, now)?;
        if !is_divided {
            found.processes = list(&mut self.asked, device)?;
            let (asked, processes) = (&mut self.asked, &mut found.processes);
            self.ring.measure(asked, device, processes, wall_us())?;
        }
        Ok(found)
    }

    /// Looks at a part of a GPU: its driver tells of memory and processes, and of newer ones how busy they are.
    ///
    /// # Errors
    /// Where it does not answer.
    pub(super) fn look_at_part(
        &mut self,
        whole: &Device<'static>,
        part: &Device<'static>,
    ) -> Result<Found, NvmlError> {
        let mut found = Found::default();
        let memory = self.asked.ask("memory", || part.memory_info())?;
        memory
            .iter()
            .for_each(|it| set_memory(&mut found.readings, it));
        found.processes = list(&mut self.asked, part)?;
        // Only its processes say which number it has.
        let infos = self
            .asked
            .ask("compute", || part.running_compute_processes())?;
        let number = infos
            .into_iter()
            .flatten()
            .find_map(|it| it.gpu_instance_id);
        if let Some(number) = number {
            let sample = self
                .asked
                .ask("units of part", || whole.gpm_mig_sample(number))?;
            let before = self.parts_units.take().filter(|(it, _)| *it == number);
            if let (Some((_, before)), Some(sample)) = (&before, &sample) {
                let wanted = [GpmMetricId::SmUtil];
                let [active] = means(whole.nvml(), before, sample, &wanted);
                set_active(&mut found.readings, active);
            }
            self.parts_units = sample.map(|sample| (number, sample));
        }
        Ok(found)
    }

    fn use_and_memory(&mut self, device: &Device<'_>, to: &mut Readings) -> Result<(), NvmlError> {
        if let Some(rates) = self.asked.ask("rates", || device.utilization_rates())? {
            to.set(Metric::UtilizationPercent, f64::from(rates.gpu));
            to.set(Metric::MemoryUtilizationPercent, f64::from(rates.memory));
        }
        let memory = self.asked.ask("memory", || device.memory_info())?;
        memory.iter().for_each(|it| set_memory(to, it));
        Ok(())
    }

    fn power(&mut self, device: &Device<'_>, to: &mut Readings) -> Result<(), NvmlError> {
        let milli = |value: u32| f64::from(value) / 1_000.0;
        let power = self.asked.ask("power", || device.power_usage())?;
        to.set_if(Metric::PowerWatts, power.map(milli));
        let energy = self
            .asked
            .ask("energy", || device.total_energy_consumption())?;
        to.set_if(Metric::EnergyJoules, energy.map(|it| it as f64 / 1_000.0));
        let celsius = self
            .asked
            .ask("temperature", || device.temperature(TemperatureSensor::Gpu))?;
        to.set_if(Metric::TemperatureCelsius, celsius.map(f64::from));
        Ok(())
    }

    fn clocks(&mut self, device: &Device<'_>, to: &mut Readings) -> Result<(), NvmlError> {
        let clock = self.asked.ask("clock", || device.clock_info(Clock::SM))?;
        to.set_if(Metric::ClockMegahertz, clock.map(f64::from));
        let clock = self
            .asked
            .ask("memory clock", || device.clock_info(Clock::Memory))?;
        to.set_if(Metric::MemoryClockMegahertz, clock.map(f64::from));
        let state = self.asked.ask("state", || device.performance_state())?;
        let state = state.map(|it| it.as_c()).filter(|it| *it <= LOWEST_STATE);
        to.set_if(Metric::PerformanceState, state.map(f64::from));
        Ok(())
    }

    fn throttling(&mut self, device: &Device<'_>, to: &mut Readings) -> Result<(), NvmlError> {
        let reasons = self
            .asked
            .ask("throttling", || device.current_throttle_reasons())?;
        let Some(reasons) = reasons else {
            return Ok(());
        };
        let heat = ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN;
        let hardware = ThrottleReasons::HW_SLOWDOWN | ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN;
        let is = |wanted| f64::from(reasons.intersects(wanted));
        to.set(Metric::ThrottledByPower, is(ThrottleReasons::SW_POWER_CAP));
        to.set(Metric::ThrottledByHeat, is(heat));
        to.set(Metric::ThrottledByHardware, is(hardware));
        Ok(())
    }

    /// What is cheap to ask for together: counters of bytes, and the temperature of the memory.
    fn fields(
        &mut self,
        device: &Device<'_>,
        to: &mut Readings,
        now: Instant,
    ) -> Result<(), NvmlError> {
        let wanted = [
            NVML_FI_DEV_MEMORY_TEMP,
            NVML_FI_DEV_PCIE_COUNT_RX_BYTES,
            NVML_FI_DEV_PCIE_COUNT_TX_BYTES,
        ];
        let values = ask_fields(&mut self.asked, "fields", device, &wanted)?;
        let [memory, receive, transmit] = values;
        to.set_if(Metric::MemoryTemperatureCelsius, memory.map(|it| it as f64));
        let counters = [
            (Metric::PcieReceiveBytesPerSecond, receive),
            (Metric::PcieTransmitBytesPerSecond, transmit),
        ];
        for (metric, count) in counters {
            let Some(count) = count else { continue };
            let before = self.counters.insert(metric, (now, count));
            let rate = before.and_then(|(at, before)| {
                let seconds = now.saturating_duration_since(at).as_secs_f64();
                // One that goes backwards began anew.
                let more = count.checked_sub(before)?;
                (seconds > 0.0).then(|| more as f64 / seconds)
            });
            to.set_if(metric, rate);
        }
        self.rare.counts_bytes = receive.is_some() || transmit.is_some();
        Ok(())
    }

    /// Newer ones tell what their units did between two looks, and what went over all links to other GPUs. The fields that
    /// count the latter are of one link each: the wrapper cannot ask for their sum, and a part of it is not told.
    fn units(&mut self, device: &Device<'static>, to: &mut Readings) -> Result<(), NvmlError> {
        let sample = self.asked.ask("units", || {
            if device.gpm_support()? {
                device.gpm_sample()
            } else {
                Err(NvmlError::NotSupported)
            }
        })?;
        if let (Some(before), Some(sample)) = (&self.units, &sample) {
            let wanted = [
                GpmMetricId::SmUtil,
                GpmMetricId::NvlinkTotalRxPerSec,
                GpmMetricId::NvlinkTotalTxPerSec,
            ];
            let [active, receive, transmit] = means(device.nvml(), before, sample, &wanted);
            set_active(to, active);
            let bytes = |mebibytes: f64| mebibytes * 1024.0 * 1024.0;
            to.set_if(Metric::NvlinkReceiveBytesPerSecond, receive.map(bytes));
            to.set_if(Metric::NvlinkTransmitBytesPerSecond, transmit.map(bytes));
        }
        self.units = sample;
        Ok(())
    }
}

/// Means of what is wanted, in its order, of the time between two samples; each where the GPU has it.
fn means<const N: usize>(
    nvml: &'static Nvml,
    before: &GpmSample<'static>,
    now: &GpmSample<'static>,
    wanted: &[GpmMetricId; N],
) -> [Option<f64>; N] {
    let found = gpm_metrics_get(nvml, before, now, wanted).unwrap_or_default();
    let mut means = [None; N];
    for (mean, found) in means.iter_mut().zip(found) {
        let value = found.ok().map(|it| it.value);
        *mean = value.filter(|it| it.is_finite() && *it >= 0.0);
    }
    means
}

fn set_active(to: &mut Readings, percent: Option<f64>) {
    to.set_if(Metric::SmActivePercent, percent.filter(|it| *it <= 100.0));
}

fn set_memory(to: &mut Readings, memory: &MemoryInfo) {
    let (used, total) = (memory.used as f64, memory.total as f64);
    to.set(Metric::MemoryUsedBytes, used);
    to.set(Metric::MemoryTotalBytes, total);
    to.set(Metric::MemoryReservedBytes, memory.reserved as f64);
    if memory.total > 0 {
        to.set(Metric::MemoryPercent, used / total * 100.0);
    }
}

/// Values of fields, each where the GPU has it. Matched by their order: newer drivers number some of them anew.
///
/// # Errors
/// Where the GPU does not answer.
pub(super) fn ask_fields<const N: usize>(
    asked: &mut Asked,
    name: &'static str,
    device: &Device<'_>,
    fields: &[u32; N],
) -> Result<[Option<u64>; N], NvmlError> {
    let ids = fields.map(FieldId);
    let mut values = [None; N];
    let answers = asked.ask(name, || device.field_values_for(&ids))?;
    for (value, answer) in values.iter_mut().zip(answers.into_iter().flatten()) {
        *value = answer.ok().and_then(|it| natural(it.value.ok()?));
    }
    Ok(values)
}

fn natural(value: SampleValue) -> Option<u64> {
    match value {
        SampleValue::U32(value) => Some(u64::from(value)),
        SampleValue::U64(value) => Some(value),
        SampleValue::I64(value) => u64::try_from(value).ok(),
        SampleValue::F64(value) if (0.0..1e18).contains(&value) => Some(value as u64),
        SampleValue::F64(_) => None,
    }
}
