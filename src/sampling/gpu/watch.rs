//! The clocks of a process that looks at GPUs.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Milliseconds since 1970 UTC.
#[must_use]
pub fn wall_ms() -> i64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Realtime);
    tv_sec * 1_000 + tv_nsec / 1_000_000
}

/// Microseconds since 1970 UTC.
#[must_use]
pub fn wall_us() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Realtime);
    u64::try_from(tv_sec * 1_000_000 + tv_nsec / 1_000).unwrap_or(0)
}
