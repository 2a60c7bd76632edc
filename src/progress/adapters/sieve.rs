//! Looks for the windows of all patterns at once: most output has none, and must cost next to nothing.
//!
//! Four consecutive bytes are looked up in four tables of bit masks and the masks put together: a bit that is
//! left is a *bucket* of windows, one of which may stand there. No step waits for the one before, so that the
//! processor does several at once. What a bucket promises is then checked byte by byte.

use super::window::{ByteSet, Need, Window};

/// So many bytes are looked up together.
const PROBE: usize = 4;
/// As many as a mask has bits.
const BUCKETS: usize = 64;
/// So many places are looked at between two questions whether there was anything.
const BLOCK: usize = 16;

/// Which needs a line meets.
#[derive(Clone, Debug, Default)]
pub(in crate::progress) struct Found {
    bits: Vec<u64>,
    /// The same in the order they were met.
    needs: Vec<u16>,
}

impl Found {
    /// Forgets everything.
    pub(in crate::progress) fn clear(&mut self) {
        for need in self.needs.drain(..) {
            self.bits[usize::from(need >> 6)] = 0;
        }
    }

    /// The needs that were met.
    pub(in crate::progress) fn needs(&self) -> &[u16] {
        &self.needs
    }

    /// Whether this need was met.
    pub(in crate::progress) fn has(&self, need: u16) -> bool {
        let word = self.bits.get(usize::from(need >> 6));
        word.is_some_and(|word| word >> (need & 63) & 1 == 1)
    }

    fn insert(&mut self, need: u16) {
        let word = usize::from(need >> 6);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if self.bits[word] >> (need & 63) & 1 == 0 {
            self.bits[word] |= 1 << (need & 63);
            self.needs.push(need);
        }
    }
}

/// A window to check where its bucket promises it.
#[derive(Clone, Debug)]
struct Check {
    window: Vec<ByteSet>,
    /// Where in the window the looked-up bytes begin.
    offset: usize,
    need: u16,
}

/// The tables.
#[derive(Clone, Debug)]
pub(in crate::progress) struct Sieve {
    masks: Box<[[u64; 256]; PROBE]>,
    /// What stands behind the end of a line fits where a window is shorter.
    beyond: [u64; PROBE],
    buckets: Vec<Vec<Check>>,
}

impl Sieve {
    /// Tables for these needs; the number of a need is its place.
    pub(super) fn new(needs: &[Need]) -> Self {
        let mut sieve = Self {
            masks: Box::new([[0; 256]; PROBE]),
            beyond: [0; PROBE],
            buckets: vec![Vec::new(); BUCKETS],
        };
        let mut weights = [[0.0; PROBE]; BUCKETS];
        let mut checks: Vec<Check> = Vec::new();
        for (need, windows) in (0..).zip(needs) {
            checks.extend(windows.iter().map(|window| Check {
                offset: rarest_part(window),
                window: window.0.clone(),
                need,
            }));
        }
        // Frequent ones choose first: they must not be made more frequent still by company.
        checks.sort_by(|a, b| total(&b.weights()).total_cmp(&total(&a.weights())));
        for check in checks {
            let own = check.weights();
            let cost = |bucket: &[f64; PROBE]| total(&joined(bucket, &own)) - total(bucket);
            let best =
                (0..BUCKETS).min_by(|&a, &b| cost(&weights[a]).total_cmp(&cost(&weights[b])));
            let bucket = best.unwrap_or(0);
            weights[bucket] = joined(&weights[bucket], &own);
            sieve.add(check, bucket);
        }
        sieve
    }

    fn add(&mut self, check: Check, bucket: usize) {
        let bit = 1 << bucket;
        for at in 0..PROBE {
            match check.window.get(check.offset + at) {
                Some(set) => set
                    .bytes()
                    .for_each(|byte| self.masks[at][usize::from(byte)] |= bit),
                None => {
                    self.masks[at].iter_mut().for_each(|mask| *mask |= bit);
                    self.beyond[at] |= bit;
                }
            }
        }
        self.buckets[bucket].push(check);
    }

    /// Notes what the line has, from the place `from` on: what was before it has been looked at.
    pub(in crate::progress) fn scan(&self, line: &[u8], from: usize, found: &mut Found) {
        let mut at = from.saturating_sub(super::window::MAX_WINDOW);
        while let Some(block) = line.get(at..at + BLOCK + PROBE - 1) {
            if self.has_any(block) {
                for place in at..at + BLOCK {
                    self.look(line, place, found);
                }
            }
            at += BLOCK;
        }
        for place in at..line.len() {
            self.look(line, place, found);
        }
    }

    fn has_any(&self, block: &[u8]) -> bool {
        let [m0, m1, m2, m3] = &*self.masks;
        let mut any = 0;
        for bytes in block.windows(PROBE) {
            let [a, b, c, d] = [bytes[0], bytes[1], bytes[2], bytes[3]].map(usize::from);
            any |= m0[a] & m1[b] & m2[c] & m3[d];
        }
        any != 0
    }

    /// Checks all that may stand at a place.
    fn look(&self, line: &[u8], place: usize, found: &mut Found) {
        let mut bits = u64::MAX;
        for (at, (masks, beyond)) in self.masks.iter().zip(self.beyond).enumerate() {
            bits &= match line.get(place + at) {
                Some(&byte) => masks[usize::from(byte)],
                None => beyond,
            };
        }
        while bits != 0 {
            let bucket = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            for check in &self.buckets[bucket] {
                if check.fits(line, place) {
                    found.insert(check.need);
                }
            }
        }
    }
}

impl Check {
    /// How likely each of the looked-up bytes fits.
    fn weights(&self) -> [f64; PROBE] {
        let mut weights = [1.0; PROBE];
        let part = self.window.iter().skip(self.offset);
        for (weight, set) in weights.iter_mut().zip(part) {
            *weight = set.weight();
        }
        weights
    }

    fn fits(&self, line: &[u8], place: usize) -> bool {
        let Some(start) = place.checked_sub(self.offset) else {
            return false;
        };
        let bytes = line.get(start..start + self.window.len());
        bytes.is_some_and(|bytes| {
            bytes
                .iter()
                .zip(&self.window)
                .all(|(&byte, set)| set.has(byte))
        })
    }
}

/// Where the rarest bytes of a window begin that are looked up together.
fn rarest_part(window: &Window) -> usize {
    let last = window.0.len().saturating_sub(PROBE);
    let part = |at: usize| -> f64 {
        let sets = window.0.iter().skip(at).take(PROBE);
        sets.map(ByteSet::weight).product()
    };
    let best = (0..=last).min_by(|&a, &b| part(a).total_cmp(&part(b)));
    best.unwrap_or(0)
}

fn joined(bucket: &[f64; PROBE], own: &[f64; PROBE]) -> [f64; PROBE] {
    std::array::from_fn(|at| (bucket[at] + own[at]).min(1.0))
}

fn total(weights: &[f64; PROBE]) -> f64 {
    weights.iter().product()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_are_found_wherever_they_stand() {
        let needs: Vec<Need> = vec![
            vec![Window::literal("%")],
            vec![Window::literal("Download")],
            vec![Window::literal("ab"), Window::literal("xyz")],
        ];
        let sieve = Sieve::new(&needs);
        for (line, expected) in [
            ("", &[][..]),
            ("%", &[0]),
            (
                "a long line without any of the things it looks for, %",
                &[0],
            ),
            ("Download", &[1]),
            ("Downloa", &[]),
            ("something Downloading ab", &[1, 2]),
            ("xyz", &[2]),
            ("xy", &[]),
            ("a b", &[]),
        ] {
            let mut found = Found::default();
            sieve.scan(line.as_bytes(), 0, &mut found);
            let mut needs = found.needs().to_vec();
            needs.sort_unstable();
            assert_eq!(needs, expected, "{line}");
            found.clear();
            assert!(!found.has(0) && found.needs().is_empty());
        }
    }

    proptest! {
        #[test]
        fn the_sieve_finds_what_a_search_finds(
            words in prop::collection::vec("[ab%x]{1,8}", 1..120),
            line in "[ab%xy]{0,60}",
            cut in 0..60_usize,
        ) {
            let needs: Vec<Need> = words.iter().map(|word| vec![Window::literal(word)]).collect();
            let sieve = Sieve::new(&needs);
            let mut found = Found::default();
            let cut = cut.min(line.len());
            sieve.scan(&line.as_bytes()[..cut], 0, &mut found);
            sieve.scan(line.as_bytes(), cut, &mut found);
            for (need, word) in (0..).zip(&words) {
                prop_assert_eq!(found.has(need), line.contains(word.as_str()), "{} in {}", word, line);
            }
        }
    }
}
