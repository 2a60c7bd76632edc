//! What was measured of something, flat: one field for each quantity, named after it (`power.watts` is
//! `power_watts`). What could not be measured is absent.

use crate::model::metric::{Metric, Readings};
use crate::wire::values::Number;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// A sort of thing that is measured, and what can be measured of it.
pub trait Class {
    /// Its name in the document of the API.
    const NAME: &'static str;
    /// What can be measured of it; a host or a device may tell less.
    const METRICS: &'static [Metric];
}

macro_rules! classes {
    ($($(#[doc = $help:literal])+ $class:ident: $($metric:ident)+;)+) => {
        $($(#[doc = $help])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $class {}

        impl Class for $class {
            const NAME: &'static str = stringify!($class);
            const METRICS: &'static [Metric] = &[$(Metric::$metric),+];
        })+
    };
}

classes! {
    /// The CPUs of a host.
    OfCpu: CpuPercent CpuUserPercent CpuSystemPercent CpuIowaitPercent CpuStealPercent CpuSeconds CpuUserSeconds
        CpuSystemSeconds CpuIdleSeconds CpuIowaitSeconds CpuStealSeconds CpuCount CpuPowerWatts CpuEnergyJoules Load1
        Load5 Load15 ContextSwitches ContextSwitchesPerSecond PressureCpuPercent;
    /// A core.
    OfCore: CpuPercent CpuUserPercent CpuSystemPercent CpuIowaitPercent CpuStealPercent CpuSeconds CpuUserSeconds
        CpuSystemSeconds CpuIdleSeconds CpuIowaitSeconds CpuStealSeconds CpuClockMegahertz;
    /// The memory of a host.
    OfMemory: MemoryTotalBytes MemoryUsedBytes MemoryAvailableBytes MemoryCachedBytes MemoryDirtyBytes MemoryPercent
        SwapBytes SwapTotalBytes SwapInBytes SwapOutBytes SwapInBytesPerSecond SwapOutBytesPerSecond MajorFaults
        MajorFaultsPerSecond OomKills
        PressureMemoryPercent PressureMemoryFullPercent;
    /// What goes on on a host.
    OfTasks: Processes ProcessesRunning ProcessesBlocked Forks ForksPerSecond Threads OpenFiles UptimeSeconds;
    /// The disks of a host, together.
    OfDisks: IoReadBytes IoWriteBytes IoReadBytesPerSecond IoWriteBytesPerSecond PressureIoPercent
        PressureIoFullPercent;
    /// A disk.
    OfDisk: IoReadBytes IoWriteBytes IoReadBytesPerSecond IoWriteBytesPerSecond IoReads IoWrites IoReadsPerSecond
        IoWritesPerSecond IoReadMilliseconds IoWriteMilliseconds IoBusyPercent IoBusySeconds IoQueue;
    /// A network interface.
    OfNetwork: NetReceiveBytes NetTransmitBytes NetReceiveBytesPerSecond NetTransmitBytesPerSecond
        NetReceivePackets NetTransmitPackets NetReceivePacketsPerSecond NetTransmitPacketsPerSecond NetErrors;
    /// A file system.
    OfFilesystem: SpaceTotalBytes SpaceUsedBytes SpaceAvailableBytes SpacePercent InodesPercent;
    /// A sensor.
    OfSensor: TemperatureCelsius;
    /// A GPU.
    OfGpu: UtilizationPercent MemoryUtilizationPercent SmActivePercent MemoryUsedBytes MemoryTotalBytes
        MemoryReservedBytes MemoryPercent EncoderPercent DecoderPercent PowerWatts PowerLimitWatts EnergyJoules
        TemperatureCelsius MemoryTemperatureCelsius TemperatureLimitCelsius FanPercent ClockMegahertz
        MemoryClockMegahertz ClockLimitMegahertz PerformanceState ThrottledByPower ThrottledByHeat ThrottledByHardware
        PcieReceiveBytesPerSecond PcieTransmitBytesPerSecond PcieGeneration PcieWidth PcieReplays
        NvlinkReceiveBytesPerSecond NvlinkTransmitBytesPerSecond EccCorrected EccUncorrected RowsRemappedCorrected
        RowsRemappedUncorrected RowRemapPending RowRemapFailed PagesRetired Xids;
    /// An attempt of a job.
    OfJob: CpuPercent CpuSeconds CpuUserSeconds CpuSystemSeconds CpuThrottledPercent CpuThrottledSeconds MemoryBytes
        MemoryPeakBytes MemoryChargedPeakBytes MemoryLimitBytes MemoryAnonymousBytes MemoryFileBytes MemoryPercent
        SwapBytes MajorFaultsPerSecond OomKills PressureCpuPercent PressureMemoryPercent PressureMemoryFullPercent
        PressureIoPercent PressureIoFullPercent Processes Threads OpenFiles IoReadBytes IoWriteBytes
        IoReadBytesPerSecond IoWriteBytesPerSecond IoReads IoWrites NetReceiveBytes NetTransmitBytes
        NetReceiveBytesPerSecond NetTransmitBytesPerSecond Gpus GpuMemoryBytes GpuPercent GpuSeconds GpuBusySeconds
        EnergyJoules CpuEnergyJoules;
    /// What an attempt uses of a GPU.
    OfJobGpu: UtilizationPercent MemoryBytes MemoryPeakBytes GpuSeconds GpuBusySeconds GpuKnownSeconds EnergyJoules;
}

/// What was measured of a thing of class `C`.
#[derive(Debug)]
pub struct Measured<C> {
    readings: Readings,
    class: PhantomData<C>,
}

impl<C> Clone for Measured<C> {
    fn clone(&self) -> Self {
        Self {
            readings: self.readings.clone(),
            class: PhantomData,
        }
    }
}

impl<C> PartialEq for Measured<C> {
    fn eq(&self, other: &Self) -> bool {
        self.readings == other.readings
    }
}

impl<C> Default for Measured<C> {
    fn default() -> Self {
        Self {
            readings: Readings::default(),
            class: PhantomData,
        }
    }
}

impl<C: Class> Measured<C> {
    /// What of `readings` belongs to this class, rounded as it is kept.
    #[must_use]
    pub fn of(readings: &Readings) -> Self {
        let known = C::METRICS.iter();
        let known = known.filter_map(|metric| Some((*metric, readings.get(*metric)?)));
        Self {
            readings: known
                .map(|(metric, value)| (metric, metric.definition().rounded(value)))
                .collect(),
            class: PhantomData,
        }
    }

    /// The value of a quantity, where it was measured.
    #[must_use]
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.readings.get(metric)
    }
}

impl<C> Serialize for Measured<C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.readings.iter();
        serializer.collect_map(fields.map(|(metric, value)| (metric.field(), Number(value))))
    }
}

impl<'de, C: Class> Deserialize<'de> for Measured<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

struct Fields<C>(PhantomData<C>);

impl<'de, C: Class> Visitor<'de> for Fields<C> {
    type Value = Measured<C>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("measured values")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Measured<C>, M::Error> {
        let mut measured = Measured::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let mut metrics = C::METRICS.iter();
            match metrics.find(|metric| metric.field() == *name) {
                Some(metric) => measured.readings.set(*metric, map.next_value()?),
                // Of a newer daemon, or a field of what this is flattened into.
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(measured)
    }
}

impl<C: Class> JsonSchema for Measured<C> {
    fn schema_name() -> Cow<'static, str> {
        format!("Measured{}", C::NAME).into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let mut properties = serde_json::Map::new();
        for metric in C::METRICS {
            let definition = metric.definition();
            let help = definition.help.trim();
            let description = format!("{help}. Unit: {}.", definition.unit.as_str());
            let property = serde_json::json!({ "type": "number", "description": description });
            properties.insert(metric.field(), property);
        }
        schemars::json_schema!({ "type": "object", "properties": properties })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_flat_rounded_and_read_back() {
        let readings: Readings = [
            (Metric::MemoryUsedBytes, 4_096.0),
            (Metric::UtilizationPercent, 33.333),
            (Metric::Load1, 2.0),
        ]
        .into_iter()
        .collect();
        let measured = Measured::<OfGpu>::of(&readings);
        let json = serde_json::to_string(&measured).unwrap();
        assert_eq!(
            json,
            r#"{"memory_used_bytes":4096,"utilization_percent":33.3}"#
        );
        let newer = json.replace('{', r#"{"name":"H100","more":{"a":[1]},"#);
        let read: Measured<OfGpu> = serde_json::from_str(&newer).unwrap();
        assert_eq!(read, measured);
        assert_eq!(read.get(Metric::UtilizationPercent), Some(33.3));
    }
}
