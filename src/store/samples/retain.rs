//! How long samples are kept: volumes that are too old are unlinked whole, and the oldest where they are too much. As
//! many as the age is of stay, however old they seem: somebody may have set the clock.

use crate::store::error::StoreError;
use crate::store::samples::shelf::{Place, Shelf, Tier};

/// How long, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Age of raw samples at which they go, milliseconds; 0 is never.
    pub raw_ms: i64,
    /// The same of minutes.
    pub minute_ms: i64,
    /// The same of hours.
    pub hour_ms: i64,
    /// Bytes of all of them beyond which the oldest of the finest go first; 0 is no limit.
    pub most_bytes: u64,
}

impl Retention {
    fn of(&self, tier: Tier) -> i64 {
        match tier {
            Tier::Raw => self.raw_ms,
            Tier::Minute => self.minute_ms,
            Tier::Hour => self.hour_ms,
        }
    }
}

fn bytes(place: &Place) -> u64 {
    place.path.metadata().map_or(0, |data| data.len())
}

/// Deletes what is too old or too much; answers how many bytes. What is `needed` stays, and so does what is written now.
pub(super) fn retain(
    shelf: &Shelf,
    retention: &Retention,
    now_ms: i64,
    needed: &dyn Fn(&Place) -> bool,
) -> Result<u64, StoreError> {
    let mut freed = 0;
    let mut kept: Vec<Place> = Vec::new();
    for tier in Tier::ALL {
        let age_ms = retention.of(tier);
        let places = shelf.places(tier);
        // Of so many volumes the age is. Were the clock years ahead, by it alone everything would go.
        let of_age = age_ms.div_euclid(tier.shortest_ms()).saturating_add(1);
        let newest = usize::try_from(of_age).unwrap_or(usize::MAX);
        let spared = places.len().saturating_sub(newest);
        for (number, place) in places.into_iter().enumerate() {
            let is_old = age_ms > 0 && place.end_ms <= now_ms.saturating_sub(age_ms);
            if is_old && number < spared && !needed(&place) {
                freed += unlink(&place)?;
            } else {
                kept.push(place);
            }
        }
    }
    // The finest first, and of these the oldest: what they were is in the coarser ones.
    let mut total: u64 = kept.iter().map(bytes).sum();
    let is_over = |place: &&Place| place.end_ms <= now_ms && !needed(place);
    for place in kept.iter().filter(is_over) {
        if retention.most_bytes == 0 || total <= retention.most_bytes {
            break;
        }
        let size = unlink(place)?;
        total = total.saturating_sub(size);
        freed += size;
    }
    Ok(freed)
}

fn unlink(place: &Place) -> Result<u64, StoreError> {
    let size = bytes(place);
    std::fs::remove_file(&place.path).map_err(|error| StoreError::of_io(&error, &place.path))?;
    tracing::info!(path = %place.path.display(), "samples that are too old are deleted");
    Ok(size)
}
