//! How long samples are kept: volumes that are too old are unlinked whole, and the oldest where they are too much. As
//! many as the age is of stay, however old they seem: somebody may have set the clock. What is too old is looked for
//! once a day, what is too much whenever more has come.

use crate::store::error::StoreError;
use crate::store::samples::shelf::{Place, Shelf, Tier, size_of};

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

/// Deletes what is too old or too much; answers how many bytes. What is `needed` stays, and so does what is of the present.
pub(super) fn retain(
    shelf: &Shelf,
    retention: &Retention,
    now_ms: i64,
    needed: &dyn Fn(&Place) -> bool,
) -> Result<u64, StoreError> {
    let mut freed = 0;
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
            }
        }
    }
    let stays = |place: &Place| place.end_ms > now_ms || needed(place);
    freed += shrink(shelf, retention.most_bytes, &stays)?;
    Ok(freed)
}

/// Deletes what is too much; answers how many bytes. The finest goes first, and of that the oldest: what it was is in
/// the coarser ones. What `stays` does, however much it is.
pub(super) fn shrink(
    shelf: &Shelf,
    most_bytes: u64,
    stays: &dyn Fn(&Place) -> bool,
) -> Result<u64, StoreError> {
    if most_bytes == 0 {
        return Ok(0);
    }
    let places = Tier::ALL.iter().flat_map(|tier| shelf.places(*tier));
    let places: Vec<Place> = places.collect();
    let logs = shelf.logs();
    let logs = logs.iter().map(|path| size_of(path));
    let mut total: u64 = places.iter().map(Place::bytes).chain(logs).sum();
    let mut freed = 0;
    for place in places.iter().filter(|place| !stays(place)) {
        if total <= most_bytes {
            break;
        }
        let size = unlink(place)?;
        total = total.saturating_sub(size);
        freed += size;
    }
    Ok(freed)
}

fn unlink(place: &Place) -> Result<u64, StoreError> {
    let size = place.bytes();
    std::fs::remove_file(&place.path).map_err(|error| StoreError::of_io(&error, &place.path))?;
    tracing::info!(path = %place.path.display(), "samples that are too old or too much are deleted");
    Ok(size)
}
