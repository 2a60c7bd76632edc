//! Reading the two clocks of a stamp.

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::wire::shim::WireStamp;

/// This instant on both clocks.
pub(super) fn now() -> WireStamp {
    WireStamp {
        wall_ms: wall_ms(),
        boot_ms: u64::try_from(millis(clock_gettime(ClockId::Boottime))).unwrap_or(0),
    }
}

/// This instant on the wall clock.
pub(super) fn wall_ms() -> i64 {
    millis(clock_gettime(ClockId::Realtime))
}

fn millis(time: Timespec) -> i64 {
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}
