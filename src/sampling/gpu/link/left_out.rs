//! Which GPUs are left out of a look, because a call about them did not return: decided without touching one.
//!
//! One process looks at all GPUs of a driver. When it hangs, it had said which one it was about to ask for; the next
//! process leaves that one out, so that the others are measured. Now and then it is tried again, later each time.

use super::course::{GOOD_MS, backoff_ms};
use crate::sampling::gpu::talk::Spot;
use std::collections::BTreeMap;

/// GPUs that hung. Times are milliseconds on the boot clock.
#[derive(Clone, Debug, Default)]
pub struct LeftOut(BTreeMap<Spot, Out>);

#[derive(Clone, Copy, Debug)]
struct Out {
    hangs: u32,
    until_ms: u64,
}

impl LeftOut {
    /// A call about this one did not return.
    pub fn hung(&mut self, spot: Spot, now_ms: u64) {
        let out = self.0.entry(spot).or_insert(Out {
            hangs: 0,
            until_ms: 0,
        });
        out.hangs = out.hangs.saturating_add(1);
        out.until_ms = now_ms.saturating_add(backoff_ms(out.hangs));
    }

    /// Those that are not to be asked now.
    #[must_use]
    pub fn at(&self, now_ms: u64) -> Vec<Spot> {
        let out = self.0.iter().filter(|(_, out)| out.until_ms > now_ms);
        out.map(|(spot, _)| spot.clone()).collect()
    }

    /// All that were asked have answered. Whoever does so for a while is as good as any other.
    pub fn answered(&mut self, now_ms: u64) {
        self.0
            .retain(|_, out| now_ms < out.until_ms.saturating_add(GOOD_MS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Spot = Spot::Index(1);

    #[test]
    fn one_that_hangs_is_tried_later_each_time() {
        let mut out = LeftOut::default();
        out.hung(SECOND, 1_000);
        assert_eq!(out.at(5_999), [SECOND]);
        assert_eq!(out.at(6_000), []);
        out.hung(SECOND, 11_000);
        assert_eq!(out.at(20_999), [SECOND]);
        assert_eq!(out.at(21_000), []);
    }

    #[test]
    fn one_that_answers_for_a_while_is_as_good_as_any_other() {
        let mut out = LeftOut::default();
        out.hung(SECOND, 0);
        out.hung(SECOND, 5_000);
        out.answered(15_000);
        out.hung(SECOND, 16_000);
        assert_eq!(out.at(35_999), [SECOND], "it has only just come back");
        out.answered(36_000 + GOOD_MS);
        out.hung(SECOND, 200_000);
        assert_eq!(out.at(205_000), []);
    }
}
