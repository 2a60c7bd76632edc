//! The clock that stands still while a job is frozen.

/// Milliseconds on the boot clock, pauses left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct ActiveClock {
    paused_ms: u64,
    paused_since_ms: Option<u64>,
}

impl ActiveClock {
    /// The job was frozen at `boot_ms`. Said again, it changes nothing.
    pub fn paused(&mut self, boot_ms: u64) {
        self.paused_since_ms.get_or_insert(boot_ms);
    }

    /// The job runs again since `boot_ms`. Said again, it changes nothing.
    pub fn resumed(&mut self, boot_ms: u64) {
        if let Some(since) = self.paused_since_ms.take() {
            self.paused_ms += boot_ms.saturating_sub(since);
        }
    }

    /// Whether it stands still.
    #[must_use]
    pub fn stands_still(&self) -> bool {
        self.paused_since_ms.is_some()
    }

    /// What this clock shows at `boot_ms`.
    #[must_use]
    pub fn active_ms(&self, boot_ms: u64) -> u64 {
        let now_ms = self
            .paused_since_ms
            .map_or(boot_ms, |since| since.min(boot_ms));
        now_ms.saturating_sub(self.paused_ms)
    }

    /// When, on the boot clock, this clock will show `active_ms`, if the job runs on; `None` while it is frozen.
    #[must_use]
    pub fn boot_ms(&self, active_ms: u64) -> Option<u64> {
        (!self.stands_still()).then(|| active_ms.saturating_add(self.paused_ms))
    }
}
