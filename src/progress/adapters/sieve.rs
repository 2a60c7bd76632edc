//! Looks for the windows of all patterns at once: most output has none, and must cost next to nothing.
//!
//! Four consecutive bytes are looked up in four tables of bit masks and the masks put together: a bit that is
//! left is a *bucket* of windows, one of which may stand there. No step waits for the one before, so that the
//! processor does several at once. What a bucket promises is then checked byte by byte.

use memchr::{memchr2, memrchr2};

use super::window::{self, ByteSet, Need, Window};

/// So many bytes are looked up together.
const PROBE: usize = 4;
/// As many as a mask has bits.
const BUCKETS: usize = 64;
/// So many places are looked at between two questions whether there was anything.
const BLOCK: usize = 8;

/// A block, and the bytes after it that its last places are looked up with.
type Block = [u8; BLOCK + PROBE - 1];

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

/// The sets of bytes that are looked up together.
type Probe = [ByteSet; PROBE];

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
    buckets: Vec<Vec<Check>>,
}

impl Sieve {
    /// Tables for these needs; the number of a need is its place.
    pub(super) fn new(needs: &[Need]) -> Self {
        let mut sieve = Self {
            masks: Box::new([[0; 256]; PROBE]),
            buckets: vec![Vec::new(); BUCKETS],
        };
        let mut checks: Vec<(f64, Check)> = Vec::new();
        for (need, windows) in (0..).zip(needs) {
            checks.extend(windows.iter().map(|window| Check::new(window, need)));
        }
        // Frequent ones choose first: they must not be made more frequent still by company.
        checks.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let mut unions = vec![None; BUCKETS];
        for (_, check) in checks {
            let probe = check.probe();
            let cost = |union: &Option<Probe>| {
                likely(&joined(union, &probe)) - union.map_or(0.0, |it| likely(&it))
            };
            let costs = unions.iter().map(cost).enumerate();
            let best = costs.min_by(|(_, a), (_, b)| a.total_cmp(b));
            let bucket = best.map_or(0, |(bucket, _)| bucket);
            unions[bucket] = Some(joined(&unions[bucket], &probe));
            sieve.add(check, bucket);
        }
        sieve
    }

    fn add(&mut self, check: Check, bucket: usize) {
        let bit = 1 << bucket;
        for (masks, set) in self.masks.iter_mut().zip(check.probe()) {
            set.bytes().for_each(|byte| masks[usize::from(byte)] |= bit);
        }
        self.buckets[bucket].push(check);
    }

    /// Notes what the line has, from the place `from` on: what was before it has been looked at.
    pub(in crate::progress) fn scan(&self, line: &[u8], from: usize, found: &mut Found) {
        let mut at = from.saturating_sub(window::MAX_WINDOW);
        while let Some(block) = line[at..].first_chunk() {
            if self.has_any(block) {
                self.look(block, line, at, found);
            }
            at += BLOCK;
        }
        // What is left is filled up with a byte that fits whatever may end a line.
        while at < line.len() {
            let mut block = [0; BLOCK + PROBE - 1];
            let left = &line[at..];
            block[..left.len()].copy_from_slice(left);
            if self.has_any(&block) {
                self.look(&block, line, at, found);
            }
            at += BLOCK;
        }
    }

    /// How many bytes there are of whole lines that steer no terminal and meet no needs that are `wanted`
    /// together: nobody has to look at them. Many lines are looked at as if they were one.
    pub(in crate::progress) fn quiet(
        &self,
        bytes: &[u8],
        found: &mut Found,
        wanted: impl Fn(&Found) -> bool,
    ) -> usize {
        found.clear();
        let mut at = 0;
        // Where what was found last ends.
        let mut seen = 0;
        while let Some(block) = bytes[at..].first_chunk() {
            if steers(block) {
                break;
            }
            if self.has_any(block) {
                // A line that began in the last block with anything may have that, too.
                if at > seen && memchr2(b'\n', b'\r', &bytes[seen..at]).is_some() {
                    found.clear();
                }
                seen = at + BLOCK;
                self.look(block, bytes, at, found);
                if wanted(found) {
                    break;
                }
            }
            at += BLOCK;
        }
        memrchr2(b'\n', b'\r', &bytes[..at]).map_or(0, |end| end + 1)
    }

    /// Which buckets may have a window that begins with these bytes.
    fn buckets(&self, [a, b, c, d]: [u8; PROBE]) -> u64 {
        let [m0, m1, m2, m3] = &*self.masks;
        m0[usize::from(a)] & m1[usize::from(b)] & m2[usize::from(c)] & m3[usize::from(d)]
    }

    fn has_any(&self, block: &Block) -> bool {
        let places = block.array_windows();
        places.fold(0, |any, bytes| any | self.buckets(*bytes)) != 0
    }

    /// Checks all that may stand in a block that begins at a place of the line.
    fn look(&self, block: &Block, line: &[u8], start: usize, found: &mut Found) {
        for (place, bytes) in (start..).zip(block.array_windows()) {
            let mut bits = self.buckets(*bytes);
            while bits != 0 {
                let bucket = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let checks = self.buckets[bucket].iter();
                checks
                    .filter(|check| check.fits(line, place))
                    .for_each(|check| found.insert(check.need));
            }
        }
    }
}

impl Check {
    /// A check of a window for a need, and how likely its looked-up bytes are.
    fn new(window: &Window, need: u16) -> (f64, Self) {
        let last = window.0.len().saturating_sub(PROBE);
        let part = |at: usize| &window.0[at..window.0.len().min(at + PROBE)];
        let likely = |at: usize| window::weights(part(at)).iter().product::<f64>();
        let places = (0..=last).map(|at| (likely(at), at));
        let best = places.min_by(|(a, _), (b, _)| a.total_cmp(b));
        let (likely, offset) = best.unwrap_or((1.0, 0));
        let window = window.0.clone();
        (
            likely,
            Self {
                window,
                offset,
                need,
            },
        )
    }

    /// The bytes that are looked up; whatever stands behind a short window fits.
    fn probe(&self) -> Probe {
        let part = self.window.get(self.offset..).unwrap_or_default();
        std::array::from_fn(|at| part.get(at).copied().unwrap_or(ByteSet::ALL))
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

/// Whether a byte does more than end a line.
fn steers(block: &Block) -> bool {
    let steers = |byte: u8| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    block.iter().fold(false, |any, &byte| any | steers(byte))
}

/// What a bucket lets through with one more in it.
fn joined(bucket: &Option<Probe>, probe: &Probe) -> Probe {
    bucket.map_or(*probe, |bucket| {
        std::array::from_fn(|at| bucket[at].or(probe[at]))
    })
}

/// How likely a place passes.
fn likely(probe: &Probe) -> f64 {
    window::weights(probe).iter().product()
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
