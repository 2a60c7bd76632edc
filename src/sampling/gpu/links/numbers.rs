//! Numbers of GPUs that are unique on the host, where each driver counts its own from nothing.
//!
//! NVIDIA's stand, parts of GPUs included: people give them to CUDA. Any other GPU has its driver's number where nobody
//! else has it, else the lowest that is free, and keeps it for as long as this process lives unless NVIDIA's driver comes
//! to use it. As sources are numbered in their order, each restart comes to the same numbers.

use crate::model::gpu::{GpuSample, GpuUuid};
use crate::sampling::gpu::Kind;
use std::collections::{BTreeMap, BTreeSet};

/// Which numbers are whose.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// NVIDIA's, as of its newest answer.
    firm: BTreeSet<u32>,
    given: BTreeMap<(Kind, GpuUuid), u32>,
    /// Sources that have answered.
    heard: BTreeSet<Kind>,
}

impl Numbers {
    /// Whether a source has answered, so that others know which numbers are left.
    pub(super) fn has_heard(&self, kind: &Kind) -> bool {
        self.heard.contains(kind)
    }

    /// Gives each GPU that a source answered with its number on this host.
    pub(super) fn number(&mut self, kind: &Kind, gpus: &mut [GpuSample]) {
        if !self.heard.contains(kind) {
            self.heard.insert(kind.clone());
        }
        if *kind == Kind::Nvml {
            self.firm = gpus.iter().map(|gpu| gpu.identity.index).collect();
            return;
        }
        // Who keeps his own number goes first, so that as few as possible get another one.
        for is_free_to_choose in [false, true] {
            for gpu in gpus.iter() {
                let identity = &gpu.identity;
                let key = (kind.clone(), identity.uuid.clone());
                let is_known = self
                    .given
                    .get(&key)
                    .is_some_and(|it| !self.firm.contains(it));
                if is_known {
                    continue;
                }
                let own = Some(identity.index).filter(|it| self.is_free(*it));
                let lowest = || (0..u32::MAX).find(|it| self.is_free(*it));
                let number = own.or_else(|| is_free_to_choose.then(lowest).flatten());
                if let Some(number) = number {
                    self.given.insert(key, number);
                }
            }
        }
        for gpu in gpus {
            let identity = &mut gpu.identity;
            let key = (kind.clone(), identity.uuid.clone());
            identity.index = self.given.get(&key).copied().unwrap_or(identity.index);
        }
    }

    fn is_free(&self, number: u32) -> bool {
        !self.firm.contains(&number) && !self.given.values().any(|it| *it == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gpu::{GpuCondition, GpuIdentity};

    /// GPUs of a maker by their own numbers, and the numbers that they get.
    fn numbered(numbers: &mut Numbers, kind: &Kind, own: &[u32]) -> Vec<u32> {
        let mut gpus: Vec<_> = own.iter().map(|index| gpu(kind, *index)).collect();
        numbers.number(kind, &mut gpus);
        gpus.iter().map(|it| it.identity.index).collect()
    }

    fn gpu(kind: &Kind, index: u32) -> GpuSample {
        let identity = GpuIdentity::new(
            GpuUuid(format!("{kind}-{index}").into()),
            index,
            &kind.to_string(),
            "Made",
        );
        GpuSample::unmeasured(identity, GpuCondition::Ok)
    }

    #[test]
    fn no_two_gpus_have_one_number() {
        let mut numbers = Numbers::default();
        assert_eq!(numbered(&mut numbers, &Kind::Nvml, &[0, 1]), [0, 1]);
        assert_eq!(numbered(&mut numbers, &Kind::Amd, &[0, 2]), [3, 2]);
        assert_eq!(numbered(&mut numbers, &Kind::Intel, &[0, 1]), [4, 5]);
        // Nor later on, whoever is away meanwhile.
        assert_eq!(numbered(&mut numbers, &Kind::Amd, &[0]), [3]);
        assert_eq!(numbered(&mut numbers, &Kind::Amd, &[0, 1, 2]), [3, 6, 2]);
        assert_eq!(numbered(&mut numbers, &Kind::Intel, &[0, 1]), [4, 5]);
    }

    #[test]
    fn who_is_alone_keeps_his_own() {
        let mut numbers = Numbers::default();
        assert_eq!(numbered(&mut numbers, &Kind::Amd, &[0, 1]), [0, 1]);
        assert!(numbers.has_heard(&Kind::Amd) && !numbers.has_heard(&Kind::Nvml));
    }

    #[test]
    fn nvidias_numbers_stand_whenever_they_come() {
        let mut numbers = Numbers::default();
        assert_eq!(numbered(&mut numbers, &Kind::Intel, &[0, 1]), [0, 1]);
        assert_eq!(numbered(&mut numbers, &Kind::Nvml, &[0]), [0]);
        assert_eq!(numbered(&mut numbers, &Kind::Intel, &[0, 1]), [2, 1]);
        // Parts that are made later count on.
        assert_eq!(numbered(&mut numbers, &Kind::Nvml, &[0, 1]), [0, 1]);
        assert_eq!(numbered(&mut numbers, &Kind::Intel, &[0, 1]), [2, 3]);
        assert_eq!(numbered(&mut numbers, &Kind::Nvml, &[0]), [0]);
        assert_eq!(numbered(&mut numbers, &Kind::Intel, &[0, 1]), [2, 3]);
    }
}
