//! What the kernel tells of graphics cards in small files.

use crate::sampling::gpu::kernel_log::bus_id;
use std::fs;
use std::path::{Path, PathBuf};

/// A graphics card, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its directory: `/sys/class/drm/card0`.
    pub dir: PathBuf,
    /// Its number among all cards.
    pub number: u32,
    /// Number of its maker among makers of PCI devices.
    pub vendor: u64,
    /// Its place on the bus.
    pub bus_id: String,
    /// Name of its driver.
    pub driver: String,
}

impl Card {
    /// The directory of the device itself.
    #[must_use]
    pub fn device(&self) -> PathBuf {
        self.dir.join("device")
    }

    /// Whether it is switched off to save energy; reading of it would wake it.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        read(&self.device().join("power/runtime_status")).as_deref() == Some("suspended")
    }

    /// The directory of its sensors.
    #[must_use]
    pub fn sensors(&self) -> Option<PathBuf> {
        let mut found: Vec<_> = fs::read_dir(self.device().join("hwmon"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        found.sort();
        found.into_iter().next()
    }
}

/// All cards of a maker, by their place.
#[must_use]
pub fn cards(sys: &Path, vendor: u64) -> Vec<Card> {
    let entries = fs::read_dir(sys.join("class/drm"));
    let entries = entries.into_iter().flatten().flatten();
    let mut cards: Vec<Card> = entries.filter_map(|entry| card(&entry.path())).collect();
    cards.retain(|card| card.vendor == vendor);
    cards.sort_by(|one, other| one.bus_id.cmp(&other.bus_id));
    cards
}

fn card(dir: &Path) -> Option<Card> {
    // Its outputs are listed as `card0-DP-1`.
    let number = dir
        .file_name()?
        .to_str()?
        .strip_prefix("card")?
        .parse()
        .ok()?;
    let device = dir.join("device");
    let place = fs::canonicalize(&device).ok();
    let place = place.as_deref().and_then(Path::file_name)?.to_str()?;
    let driver = fs::read_link(device.join("driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name);
    Some(Card {
        number,
        vendor: read_hex(&device.join("vendor"))?,
        bus_id: bus_id(place)?,
        driver: driver.map_or_else(String::new, |it| it.to_string_lossy().into_owned()),
        dir: dir.to_owned(),
    })
}

/// A small file, without the white space around it; nothing where there is none or it is empty.
#[must_use]
pub fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A number in a small file.
#[must_use]
pub fn read_number(path: &Path) -> Option<f64> {
    read(path)?.parse().ok().filter(|it: &f64| it.is_finite())
}

/// A number with base 16 in a small file, with `0x` or without.
#[must_use]
pub fn read_hex(path: &Path) -> Option<u64> {
    let text = read(path)?;
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

#[cfg(test)]
pub(super) mod tests;
