//! What an attempt may use at most, and what it gets beside others: kept by the kernel, not by us.

use serde::{Deserialize, Serialize};

/// The lowest and the highest weight there is; what asks for none has 100.
pub const WEIGHTS: std::ops::RangeInclusive<u64> = 1..=10_000;

/// The highest number of a CPU that can be named.
pub const LAST_CPU: u32 = 8_191;

/// The highest index of a GPU that can be named.
pub const LAST_GPU: u32 = 255;

/// Limits of each attempt of a job; none where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Most memory of all its processes together, bytes: beyond it the kernel ends them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max_bytes: Option<u64>,
    /// Its share of CPU time beside others that want it too, of [`WEIGHTS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u64>,
    /// Its share of what disks can do, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u64>,
    /// Most processes and threads at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<u64>,
    /// The CPUs that it may run on, in order; all where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_cpus: Vec<u32>,
    /// The GPUs that it may open, by index, and no other devices than those every program needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Vec<u32>>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Allowed CPUs as a mask, 8 to a byte and the lowest first; empty where all are allowed.
    #[must_use]
    pub fn cpu_mask(&self) -> Vec<u8> {
        let mut mask = Vec::new();
        for cpu in &self.allowed_cpus {
            let (byte, bit) = ((cpu / 8) as usize, cpu % 8);
            if mask.len() <= byte {
                mask.resize(byte + 1, 0);
            }
            if let Some(place) = mask.get_mut(byte) {
                *place |= 1 << bit;
            }
        }
        mask
    }
}

/// Changes to limits: what is `None` stays, and `Some(None)` takes a limit away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitChanges {
    /// See [`Limits::memory_max_bytes`].
    pub memory_max_bytes: Option<Option<u64>>,
    /// See [`Limits::cpu_weight`].
    pub cpu_weight: Option<Option<u64>>,
    /// See [`Limits::io_weight`].
    pub io_weight: Option<Option<u64>>,
    /// See [`Limits::tasks_max`].
    pub tasks_max: Option<Option<u64>>,
    /// See [`Limits::allowed_cpus`]; none of them takes the limit away.
    pub allowed_cpus: Option<Vec<u32>>,
    /// See [`Limits::gpus`].
    pub gpus: Option<Option<Vec<u32>>>,
}

impl LimitChanges {
    /// Whether anything is limited anew, and not only less.
    #[must_use]
    pub fn limits_anything(&self) -> bool {
        let mut limits = Limits::default();
        self.clone().apply(&mut limits);
        !limits.is_empty()
    }

    /// Changes `limits`.
    pub fn apply(self, limits: &mut Limits) {
        fn change<T>(change: Option<T>, limit: &mut T) {
            if let Some(value) = change {
                *limit = value;
            }
        }
        change(self.memory_max_bytes, &mut limits.memory_max_bytes);
        change(self.cpu_weight, &mut limits.cpu_weight);
        change(self.io_weight, &mut limits.io_weight);
        change(self.tasks_max, &mut limits.tasks_max);
        change(self.allowed_cpus, &mut limits.allowed_cpus);
        change(self.gpus, &mut limits.gpus);
    }
}

/// Numbers and ranges of them, as in `0-3,8`: in order, each once.
#[must_use]
pub fn parse_numbers(text: &str, last: u32) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u32, u32) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        if from > to || to > last {
            return None;
        }
        numbers.extend(from..=to);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

/// The shortest text that [`parse_numbers`] reads as these numbers, which are in order.
#[must_use]
pub fn write_numbers(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, to)) if to.checked_add(1) == Some(*number) => *to = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let ranges = ranges.iter().map(|(from, to)| match from == to {
        true => from.to_string(),
        false => format!("{from}-{to}"),
    });
    ranges.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cpus_are_named_one_by_one_or_in_ranges() {
        assert_eq!(parse_numbers("3,0-1,1", 7), Some(vec![0, 1, 3]));
        for wrong in ["", "a", "3-1", "0-8", "1,,2", "-1", "0x1"] {
            assert_eq!(parse_numbers(wrong, 7), None, "{wrong}");
        }
    }

    #[test]
    fn a_mask_has_the_lowest_cpu_first() {
        let limits = Limits {
            allowed_cpus: vec![0, 9],
            ..Limits::default()
        };
        assert_eq!(limits.cpu_mask(), [1, 2]);
        assert!(Limits::default().cpu_mask().is_empty() && Limits::default().is_empty());
    }

    #[test]
    fn limits_are_changed_one_by_one_and_taken_away() {
        let mut limits = Limits {
            memory_max_bytes: Some(1),
            tasks_max: Some(2),
            gpus: Some(vec![0]),
            ..Limits::default()
        };
        let changes = LimitChanges {
            memory_max_bytes: Some(None),
            tasks_max: Some(Some(3)),
            gpus: Some(None),
            ..LimitChanges::default()
        };
        assert!(changes.limits_anything());
        changes.apply(&mut limits);
        let wanted = Limits {
            tasks_max: Some(3),
            ..Limits::default()
        };
        assert_eq!(limits, wanted);
        let less = LimitChanges {
            tasks_max: Some(None),
            allowed_cpus: Some(Vec::new()),
            ..LimitChanges::default()
        };
        assert!(!less.limits_anything() && !LimitChanges::default().limits_anything());
        less.apply(&mut limits);
        assert!(limits.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(numbers in prop::collection::btree_set(0..200_u32, 1..40)) {
            let numbers: Vec<u32> = numbers.into_iter().collect();
            prop_assert_eq!(parse_numbers(&write_numbers(&numbers), 200), Some(numbers));
        }
    }
}
