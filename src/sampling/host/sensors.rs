//! Temperatures, clocks of cores, and whether the host runs on its battery. All of it may sit behind a slow bus.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::entity::Entity;
use crate::model::metric::{Metric, Readings};
use crate::model::time::Stamp;
use crate::sampling::aside::Aside;
use crate::sampling::fields::{name, signed, sole};
use crate::sampling::files::Roots;
use crate::sampling::rates::is_due;

use super::{Parts, Settings};

/// Chips that are left alone: GPUs, which have their own readers and may sleep, and disks that reading keeps awake.
const LEFT_ALONE: &[&str] = &["amdgpu", "drivetemp", "i915", "nouveau", "radeon", "xe"];
/// What a chip tells for an input with nothing connected is beyond these, in degrees.
const PLAUSIBLE: std::ops::Range<f64> = -40.0..150.0;

/// What one look found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// Temperatures by chip and label, degrees Celsius.
    pub temperatures: BTreeMap<Arc<str>, f64>,
    /// Clocks by core, megahertz.
    pub clocks: BTreeMap<u32, f64>,
    /// Whether the host runs on its battery; absent where it has none.
    pub is_on_battery: Option<bool>,
}

impl Look {
    /// Looks at all that is below `sys`, at most so many of each.
    #[must_use]
    pub fn take(sys: &Path, most: usize) -> Self {
        Self {
            temperatures: temperatures(&sys.join("class/hwmon"), most),
            clocks: clocks(&sys.join("devices/system/cpu")),
            is_on_battery: battery(&sys.join("class/power_supply")),
        }
    }
}

/// Reads them at their own pace.
#[derive(Debug)]
pub(super) struct Sensors {
    aside: Option<Aside<(), Look>>,
    /// When it was asked last, and whether it has answered since.
    asked: Option<Stamp>,
    is_busy: bool,
    newest: Option<(Stamp, Look)>,
    before: Option<Stamp>,
    every_ms: u64,
    within_ms: u64,
}

impl Sensors {
    pub(super) fn new(roots: &Roots, settings: &Settings) -> Self {
        let sys = roots.sys.clone();
        let most = settings.most_parts;
        let look = move |(), told: &std::sync::mpsc::Sender<Look>| {
            // Whoever asked may be gone.
            let _gone = told.send(Look::take(&sys, most));
        };
        Self {
            aside: Aside::start("stoked-sensors", look),
            asked: None,
            is_busy: false,
            newest: None,
            before: None,
            every_ms: settings.sensors_every_ms,
            within_ms: settings.answer_within_ms,
        }
    }

    pub(super) fn read(&mut self, at: Stamp, to: &mut Parts) {
        let Some(aside) = &self.aside else { return };
        let pass_ms = self.before.replace(at).map_or(0, |then| at.since_ms(then));
        while let Ok(Some(look)) = aside.answer() {
            self.newest = Some((at, look));
            self.is_busy = false;
        }
        if !self.is_busy && is_due(self.asked, at, self.every_ms, pass_ms) {
            self.is_busy = aside.ask(());
            self.asked = Some(at);
        }
        let keep_ms = self.every_ms + self.within_ms + pass_ms;
        self.newest
            .take_if(|(then, _)| at.since_ms(*then) > keep_ms);
        let looks = self.newest.iter();
        for (sensor, celsius) in looks.flat_map(|(_, look)| &look.temperatures) {
            let reading = (Metric::TemperatureCelsius, *celsius);
            let readings = Readings::from_iter([reading]);
            to.parts
                .push((Entity::Sensor(Arc::clone(sensor)), readings));
        }
    }

    /// Adds the clocks to the cores that are told.
    pub(super) fn tell_clocks(&self, to: &mut Parts) {
        let Some((_, look)) = &self.newest else {
            return;
        };
        for (entity, readings) in &mut to.parts {
            if let Entity::Core(core) = entity {
                readings.set_if(Metric::CpuClockMegahertz, look.clocks.get(core).copied());
            }
        }
    }

    pub(super) fn is_on_battery(&self) -> Option<bool> {
        self.newest.as_ref()?.1.is_on_battery
    }

    /// Waits for the answer to what was asked.
    #[cfg(test)]
    pub(super) fn settle(&mut self, at: Stamp) {
        let look = self.aside.as_ref().unwrap().wait();
        self.newest = Some((at, look));
        self.is_busy = false;
    }
}

fn text(path: &Path) -> Option<Vec<u8>> {
    std::fs::read(path).ok()
}

/// Entries of a directory, in the order of their names, numbers by value.
fn entries(dir: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect();
    found.sort_unstable_by(|(one, _), (other, _)| (one.len(), one).cmp(&(other.len(), other)));
    found
}

fn temperatures(hwmon: &Path, most: usize) -> BTreeMap<Arc<str>, f64> {
    let mut chips: Vec<(String, String, PathBuf)> = Vec::new();
    for (_, dir) in entries(hwmon) {
        let Some(chip) = text(&dir.join("name")).map(|it| name(&it)) else {
            continue;
        };
        // A device that sleeps would be woken.
        let sleeps = text(&dir.join("device/power/runtime_status"));
        let sleeps = sleeps.is_some_and(|it| it.starts_with(b"suspended"));
        if !sleeps && !LEFT_ALONE.contains(&chip.as_str()) {
            let device = std::fs::canonicalize(dir.join("device")).unwrap_or_default();
            let device = device.file_name().unwrap_or_default();
            chips.push((chip, device.to_string_lossy().into_owned(), dir));
        }
    }
    let mut found = BTreeMap::new();
    for (chip, device, dir) in &chips {
        // Two of one sort are told apart by what they sit on, which stays over a restart; their number does not.
        let is_one_of_many = chips.iter().filter(|(other, _, _)| other == chip).count() > 1;
        let chip = match is_one_of_many && !device.is_empty() {
            true => format!("{chip}-{device}"),
            false => chip.clone(),
        };
        for (label, celsius) in inputs(dir) {
            if found.len() >= most {
                return found;
            }
            let sensor: String = format!("{chip}:{label}")
                .chars()
                .map(|c| if c.is_whitespace() { '_' } else { c })
                .collect();
            found.entry(sensor.into()).or_insert(celsius);
        }
    }
    found
}

/// The temperatures of a chip, by label; one without a label is called as its input is.
fn inputs(chip: &Path) -> Vec<(String, f64)> {
    let inputs = entries(chip).into_iter().filter_map(|(file, path)| {
        let input = file.strip_suffix("_input")?;
        if !input.starts_with("temp") {
            return None;
        }
        let thousandths = signed(&text(&path)?)?;
        let celsius = thousandths as f64 / 1000.0;
        let label = text(&chip.join(format!("{input}_label")));
        let label = label.map(|it| name(&it)).filter(|it| !it.is_empty());
        let label = label.unwrap_or_else(|| input.to_owned());
        PLAUSIBLE.contains(&celsius).then_some((label, celsius))
    });
    inputs.collect()
}

fn clocks(cpus: &Path) -> BTreeMap<u32, f64> {
    let clocks = entries(cpus).into_iter().filter_map(|(cpu, dir)| {
        let core: u32 = cpu.strip_prefix("cpu")?.parse().ok()?;
        let kilohertz = sole(&text(&dir.join("cpufreq/scaling_cur_freq"))?)?;
        Some((core, kilohertz as f64 / 1000.0))
    });
    clocks.collect()
}

/// Whether the battery feeds the host, and nothing else does; absent without a battery.
fn battery(supplies: &Path) -> Option<bool> {
    let (mut discharges, mut is_fed) = (None, false);
    for (_, dir) in entries(supplies) {
        let is = |file: &str, value: &[u8]| {
            text(&dir.join(file)).is_some_and(|text| text.trim_ascii() == value)
        };
        // The battery of a mouse is none of the host.
        if is("scope", b"Device") {
            continue;
        }
        is_fed |= is("online", b"1");
        if is("type", b"Battery") {
            discharges = Some(discharges.unwrap_or(false) || is("status", b"Discharging"));
        }
    }
    discharges.map(|discharges| discharges && !is_fed)
}
