//! Energy of the CPUs, where their counters may be read.

use crate::model::metric::Metric;
use crate::model::time::Stamp;
use crate::sampling::fields::sole;
use crate::sampling::files::{Files, Roots, Source};
use crate::sampling::rates::{Meter, Total};

use super::Parts;

/// One package of CPUs.
#[derive(Debug)]
struct Zone {
    energy: Source,
    /// What its counter goes up to, microjoules.
    wrap: Option<u64>,
    total: Total,
}

/// Reads the energy of all packages.
#[derive(Debug)]
pub(super) struct Power {
    zones: Vec<Zone>,
    watts: Meter,
}

impl Power {
    pub(super) fn new(roots: &Roots) -> Self {
        let dir = roots.sys.join("class/powercap");
        let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| is_package_zone(name))
            .collect();
        names.sort_unstable();
        let zones = names.into_iter().filter_map(|name| {
            let zone = dir.join(name);
            let read = |file: &str| std::fs::read(zone.join(file)).ok();
            // Others are memory, or the whole board with the packages in it.
            read("name").filter(|text| text.starts_with(b"package"))?;
            Some(Zone {
                energy: Source::new(zone.join("energy_uj")),
                wrap: read("max_energy_range_uj").and_then(|text| sole(&text)),
                total: Total::default(),
            })
        });
        Self {
            zones: zones.collect(),
            watts: Meter::default(),
        }
    }

    pub(super) fn read(&mut self, files: &mut Files, at: Stamp, to: &mut Parts) {
        let mut sum = None;
        for zone in &mut self.zones {
            // The counters are open to root alone on most hosts.
            let Some(energy) = files.read(&mut zone.energy).ok().and_then(sole) else {
                continue;
            };
            let total = zone.total.add(energy, zone.wrap);
            sum = Some(total.saturating_add(sum.unwrap_or(0)));
        }
        let joules = |microjoules: f64| microjoules / 1e6;
        let energy = sum.map(|sum| joules(sum as f64));
        to.host.set_if(Metric::CpuEnergyJoules, energy);
        let watts = self.watts.per_second_of(sum, at);
        to.host.set_if(Metric::CpuPowerWatts, watts.map(joules));
    }
}

/// `intel-rapl:0`, which AMD's CPUs have as well; `intel-rapl:0:0` is a part of it, and `intel-rapl-mmio:0` the same
/// package by another way.
fn is_package_zone(name: &str) -> bool {
    let number = name.strip_prefix("intel-rapl:");
    number.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()))
}
