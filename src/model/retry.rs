//! When a failed job starts again by itself.

use crate::model::failure::{Exit, Failure, FailureClass};
use crate::model::id::AttemptId;
use serde::{Deserialize, Serialize};

/// Which failures start a job again, how often, and after how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// How many attempts may be made by themselves, the first included; 1 means no retry.
    pub max_attempts: u32,
    /// Wait before the second attempt, milliseconds; doubles with each further one.
    pub backoff_ms: u64,
    /// Longest wait, milliseconds.
    pub backoff_cap_ms: u64,
    /// Failure classes that retry.
    pub classes: Vec<FailureClass>,
    /// Exit codes that retry; empty means every code other than 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exit_codes: Vec<i32>,
}

/// What retries unless a spec says otherwise. Not `spawn`: a missing command stays missing. Not
/// `host_lost`: what may still be alive, or may have succeeded, is never started again by itself.
pub const DEFAULT_CLASSES: [FailureClass; 6] = [
    FailureClass::Exit,
    FailureClass::Signal,
    FailureClass::Oom,
    FailureClass::Timeout,
    FailureClass::Stalled,
    FailureClass::Gpu,
];

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 1,
            backoff_ms: 1_000,
            backoff_cap_ms: 3_600_000,
            classes: DEFAULT_CLASSES.to_vec(),
            exit_codes: Vec::new(),
        }
    }
}

impl RetryPolicy {
    /// How long to wait before the next attempt, or `None` where there is none.
    ///
    /// `tries` is how many attempts this job has had since it was last queued by a person.
    #[must_use]
    pub fn wait_ms(
        &self,
        id: AttemptId,
        tries: u32,
        failure: &Failure,
        exit: Option<Exit>,
    ) -> Option<u64> {
        let code_counts = match exit.and_then(|exit| exit.code) {
            Some(code) if failure.class == FailureClass::Exit => {
                self.exit_codes.is_empty() || self.exit_codes.contains(&code)
            }
            _ => true,
        };
        let again =
            tries < self.max_attempts && self.classes.contains(&failure.class) && code_counts;
        again.then(|| self.backoff_ms(id, tries))
    }

    /// The longest wait that can come of it, jitter included.
    #[must_use]
    pub fn longest_wait_ms(&self) -> u64 {
        self.backoff_cap_ms.saturating_add(self.backoff_cap_ms / 10)
    }

    /// The wait after `tries` attempts: base · 2ⁿ⁻¹, capped, plus up to a tenth of jitter.
    ///
    /// The jitter spreads jobs that failed together. It comes from the attempt's identity instead of
    /// chance, so that the same history always gives the same decision.
    fn backoff_ms(&self, id: AttemptId, tries: u32) -> u64 {
        let doublings = tries.saturating_sub(1).min(40);
        let wait = self
            .backoff_ms
            .saturating_mul(1 << doublings)
            .min(self.backoff_cap_ms);
        let mixed = (id.job.0 ^ (u64::from(id.attempt) << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        wait.saturating_add((wait / 10).saturating_mul(mixed >> 56) / 255)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::JobId;

    const ID: AttemptId = AttemptId {
        job: JobId(42),
        attempt: 1,
    };

    fn failed(class: FailureClass) -> Failure {
        Failure::new(class, "")
    }

    #[test]
    fn waits_double_and_are_capped() {
        let policy = RetryPolicy {
            max_attempts: 100,
            ..RetryPolicy::default()
        };
        let exit = failed(FailureClass::Exit);
        let waits: Vec<_> = [1, 2, 3, 50]
            .map(|tries| policy.wait_ms(ID, tries, &exit, None).unwrap())
            .into();
        for (wait, base) in waits.iter().zip([1_000, 2_000, 4_000, 3_600_000]) {
            assert!(
                (base..=base + base / 10).contains(wait),
                "{wait} for {base}"
            );
        }
    }

    #[test]
    fn only_what_the_policy_names_retries() {
        let policy = RetryPolicy {
            max_attempts: 2,
            exit_codes: vec![75],
            ..RetryPolicy::default()
        };
        let wait = |class, code| {
            policy
                .wait_ms(ID, 1, &failed(class), Some(Exit::with_code(code)))
                .is_some()
        };
        assert!(wait(FailureClass::Exit, 75));
        assert!(!wait(FailureClass::Exit, 1));
        assert!(!wait(FailureClass::Spawn, 75));
        assert!(!wait(FailureClass::HostLost, 75));
        assert!(
            policy
                .wait_ms(ID, 2, &failed(FailureClass::Exit), None)
                .is_none()
        );
    }
}
