//! The only time type that the core sees; always passed in, never read here.

use serde::{Deserialize, Serialize};

/// One instant on two clocks: the wall clock is for showing, the boot clock for measuring.
///
/// `boot_ms` counts from the start of the host and goes on while it sleeps (`CLOCK_BOOTTIME`), so a
/// timeout neither stretches over a suspend nor jumps when somebody sets the wall clock. It means
/// nothing after a reboot: then only `wall_ms` may be compared.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp {
    /// Milliseconds since 1970-01-01 UTC.
    pub wall_ms: i64,
    /// Milliseconds since the host started.
    pub boot_ms: u64,
}

impl Stamp {
    /// The instant `ms` milliseconds later, on both clocks.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self {
            wall_ms: self
                .wall_ms
                .saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)),
            boot_ms: self.boot_ms.saturating_add(ms),
        }
    }

    /// The instant `ms` milliseconds earlier, on both clocks.
    #[must_use]
    pub fn minus_ms(self, ms: u64) -> Self {
        Self {
            wall_ms: self
                .wall_ms
                .saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX)),
            boot_ms: self.boot_ms.saturating_sub(ms),
        }
    }

    /// Milliseconds on the boot clock from `earlier` to this instant; 0 where it is not later.
    #[must_use]
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.boot_ms.saturating_sub(earlier.boot_ms)
    }

    /// The same wall-clock instant, seen from a host whose clocks now read `now`.
    ///
    /// Used for instants that were written down before a reboot.
    #[must_use]
    pub fn rebased(self, now: Self) -> Self {
        let ahead = self.wall_ms.saturating_sub(now.wall_ms);
        Self {
            wall_ms: self.wall_ms,
            boot_ms: now.boot_ms.saturating_add_signed(ahead),
        }
    }
}
