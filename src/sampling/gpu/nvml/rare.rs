//! What is asked for only now and then, because it hardly ever changes or takes the driver long to say. In between
//! its newest value stands.

use super::asked::Asked;
use super::board::ask_fields;
use crate::model::metric::{Metric, Readings};
use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::{
    Clock, EccCounter, MemoryError, PcieUtilCounter, RetirementCause, TemperatureThreshold,
};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::sys_exports::field_id::{
    NVML_FI_DEV_REMAPPED_COR, NVML_FI_DEV_REMAPPED_FAILURE, NVML_FI_DEV_REMAPPED_PENDING,
    NVML_FI_DEV_REMAPPED_UNC,
};
use std::time::{Duration, Instant};

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(10);

/// The newest values of what is rarely asked for.
#[derive(Debug, Default)]
pub(super) struct Rare {
    looked: Option<Instant>,
    newest: Readings,
    /// Bytes over PCI Express are counted, so that they need not be measured.
    pub(super) counts_bytes: bool,
}

impl Rare {
    /// Adds its values, asking where it is time.
    ///
    /// # Errors
    /// Where the GPU does not answer.
    pub(super) fn look(
        &mut self,
        asked: &mut Asked,
        device: &Device<'_>,
        to: &mut Readings,
        now: Instant,
    ) -> Result<(), NvmlError> {
        let is_due = self
            .looked
            .is_none_or(|looked| now.saturating_duration_since(looked) >= PERIOD);
        if is_due {
            self.looked = Some(now);
            let mut newest = Readings::default();
            limits(asked, device, &mut newest)?;
            link(asked, device, &mut newest, !self.counts_bytes)?;
            coders(asked, device, &mut newest)?;
            memory_errors(asked, device, &mut newest)?;
            remapped(asked, device, &mut newest)?;
            self.newest = newest;
        }
        for (metric, value) in self.newest.iter() {
            to.set(metric, value);
        }
        Ok(())
    }
}

fn limits(asked: &mut Asked, device: &Device<'_>, to: &mut Readings) -> Result<(), NvmlError> {
    let limit = asked.ask("power limit", || device.enforced_power_limit())?;
    to.set_if(
        Metric::PowerLimitWatts,
        limit.map(|it| f64::from(it) / 1_000.0),
    );
    let limit = asked.ask("temperature limit", || {
        device.temperature_threshold(TemperatureThreshold::Slowdown)
    })?;
    to.set_if(Metric::TemperatureLimitCelsius, limit.map(f64::from));
    let limit = asked.ask("clock limit", || device.max_clock_info(Clock::SM))?;
    to.set_if(Metric::ClockLimitMegahertz, limit.map(f64::from));
    let fans = asked.ask("fans", || device.num_fans())?.unwrap_or(0);
    let mut fastest = None;
    for fan in 0..fans {
        let percent = asked.ask("fan", || device.fan_speed(fan))?;
        fastest = fastest.max(percent);
    }
    to.set_if(Metric::FanPercent, fastest.map(f64::from));
    Ok(())
}

/// `measures`: also how much went over it, for which the driver waits 20 ms for each direction.
fn link(
    asked: &mut Asked,
    device: &Device<'_>,
    to: &mut Readings,
    measures: bool,
) -> Result<(), NvmlError> {
    let generation = asked.ask("generation", || device.current_pcie_link_gen())?;
    to.set_if(Metric::PcieGeneration, generation.map(f64::from));
    let width = asked.ask("width", || device.current_pcie_link_width())?;
    to.set_if(Metric::PcieWidth, width.map(f64::from));
    let replays = asked.ask("replays", || device.pcie_replay_counter())?;
    to.set_if(Metric::PcieReplays, replays.map(f64::from));
    if measures {
        let bytes = |kilobytes: u32| f64::from(kilobytes) * 1024.0;
        let rate = asked.ask("receive", || {
            device.pcie_throughput(PcieUtilCounter::Receive)
        })?;
        to.set_if(Metric::PcieReceiveBytesPerSecond, rate.map(bytes));
        let rate = asked.ask("send", || device.pcie_throughput(PcieUtilCounter::Send))?;
        to.set_if(Metric::PcieTransmitBytesPerSecond, rate.map(bytes));
    }
    Ok(())
}

fn coders(asked: &mut Asked, device: &Device<'_>, to: &mut Readings) -> Result<(), NvmlError> {
    let encoder = asked.ask("encoder", || device.encoder_utilization())?;
    to.set_if(
        Metric::EncoderPercent,
        encoder.map(|it| f64::from(it.utilization)),
    );
    let decoder = asked.ask("decoder", || device.decoder_utilization())?;
    to.set_if(
        Metric::DecoderPercent,
        decoder.map(|it| f64::from(it.utilization)),
    );
    Ok(())
}

fn memory_errors(
    asked: &mut Asked,
    device: &Device<'_>,
    to: &mut Readings,
) -> Result<(), NvmlError> {
    let count = asked.ask("corrected", || {
        device.total_ecc_errors(MemoryError::Corrected, EccCounter::Volatile)
    })?;
    to.set_if(Metric::EccCorrected, count.map(|it| it as f64));
    let count = asked.ask("uncorrected", || {
        device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile)
    })?;
    to.set_if(Metric::EccUncorrected, count.map(|it| it as f64));
    let single = asked.ask("single", || {
        device.retired_pages(RetirementCause::MultipleSingleBitEccErrors)
    })?;
    let double = asked.ask("double", || {
        device.retired_pages(RetirementCause::DoubleBitEccError)
    })?;
    if let (Some(single), Some(double)) = (single, double) {
        to.set(Metric::PagesRetired, (single.len() + double.len()) as f64);
    }
    Ok(())
}

fn remapped(asked: &mut Asked, device: &Device<'_>, to: &mut Readings) -> Result<(), NvmlError> {
    let fields = [
        NVML_FI_DEV_REMAPPED_COR,
        NVML_FI_DEV_REMAPPED_UNC,
        NVML_FI_DEV_REMAPPED_PENDING,
        NVML_FI_DEV_REMAPPED_FAILURE,
    ];
    let metrics = [
        Metric::RowsRemappedCorrected,
        Metric::RowsRemappedUncorrected,
        Metric::RowRemapPending,
        Metric::RowRemapFailed,
    ];
    let values = ask_fields(asked, "remapped", device, &fields)?;
    for (metric, value) in metrics.into_iter().zip(values) {
        to.set_if(metric, value.map(|it| it as f64));
    }
    Ok(())
}
