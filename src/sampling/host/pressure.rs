//! Pressure: the share of the time in which tasks stood still for want of CPU, memory or disks.
//!
//! The kernel's own averages lag behind by seconds and know their own windows only, so shares are made from its sums
//! over the very interval between two readings.

use crate::model::metric::{Metric, Readings};
use crate::model::time::Stamp;
use crate::sampling::fields::{lines, number, words};
use crate::sampling::files::{Files, Missing, Roots, Source};
use crate::sampling::rates::Meter;

use super::Parts;

/// Sums of a pressure file, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalls {
    /// Some task stood still.
    pub some: Option<u64>,
    /// All tasks did.
    pub full: Option<u64>,
}

impl Stalls {
    /// Reads the file, of a host or of a cgroup.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut stalls = Self::default();
        for line in lines(text) {
            let mut words = words(line);
            let kind = words.next();
            let total = words
                .find_map(|word| word.strip_prefix(b"total="))
                .and_then(number);
            match kind {
                Some(b"some") => stalls.some = total,
                Some(b"full") => stalls.full = total,
                _ => {}
            }
        }
        stalls
    }
}

/// One pressure file, and what it tells.
#[derive(Debug)]
pub struct Gauge {
    /// The file.
    pub source: Source,
    some: Meter,
    full: Meter,
    some_metric: Metric,
    full_metric: Option<Metric>,
}

impl Gauge {
    /// Of want of CPU. That all tasks wait for one means nothing on a host, and in a cgroup that it is throttled.
    #[must_use]
    pub fn cpu(source: Source) -> Self {
        Self::new(source, Metric::PressureCpuPercent, None)
    }

    /// Of want of memory.
    #[must_use]
    pub fn memory(source: Source) -> Self {
        let full = Some(Metric::PressureMemoryFullPercent);
        Self::new(source, Metric::PressureMemoryPercent, full)
    }

    /// Of want of disks.
    #[must_use]
    pub fn io(source: Source) -> Self {
        let full = Some(Metric::PressureIoFullPercent);
        Self::new(source, Metric::PressureIoPercent, full)
    }

    fn new(source: Source, some_metric: Metric, full_metric: Option<Metric>) -> Self {
        Self {
            source,
            some: Meter::default(),
            full: Meter::default(),
            some_metric,
            full_metric,
        }
    }

    /// Reads it, and tells the shares since the reading before.
    pub fn read(
        &mut self,
        files: &mut Files,
        at: Stamp,
        to: &mut Readings,
    ) -> Result<Stalls, Missing> {
        let stalls = files.read(&mut self.source).map(Stalls::parse);
        let told = stalls.unwrap_or_default();
        let some = self.some.per_second_of(told.some, at);
        to.set_if(self.some_metric, some.map(percent));
        if let Some(metric) = self.full_metric {
            let full = self.full.per_second_of(told.full, at);
            to.set_if(metric, full.map(percent));
        }
        stalls
    }

    /// Tells that nothing stood still, of a file that is not read since nothing went on either.
    pub fn still(&self, to: &mut Readings) {
        for metric in self.metrics() {
            if to.get(metric).is_some() {
                to.set(metric, 0.0);
            }
        }
    }

    /// Takes away what was told before.
    pub fn clear(&self, to: &mut Readings) {
        for metric in self.metrics() {
            to.set(metric, f64::NAN);
        }
    }

    fn metrics(&self) -> impl Iterator<Item = Metric> + use<> {
        std::iter::once(self.some_metric).chain(self.full_metric)
    }
}

/// Microseconds of each second as a share; the two clocks are not read at one instant, so it may seem more than all.
fn percent(us_per_second: f64) -> f64 {
    (us_per_second / 10_000.0).min(100.0)
}

/// The host's three files.
#[derive(Debug)]
pub(super) struct Pressure {
    gauges: [Gauge; 3],
}

impl Pressure {
    pub(super) fn new(roots: &Roots) -> Self {
        Self {
            gauges: [
                Gauge::cpu(roots.proc("pressure/cpu")),
                Gauge::memory(roots.proc("pressure/memory")),
                Gauge::io(roots.proc("pressure/io")),
            ],
        }
    }

    pub(super) fn read(&mut self, files: &mut Files, at: Stamp, to: &mut Parts) {
        for gauge in &mut self.gauges {
            // A kernel without pressure tells none.
            let _none = gauge.read(files, at, &mut to.host);
        }
    }
}
