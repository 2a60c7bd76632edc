//! What a line must have so that a pattern can match it, read off the pattern itself.
//!
//! A pattern such as `^\s*(\d+)%.*ETA` can only match where a digit stands before a `%` and where `ETA`
//! stands. Such short runs of sets of bytes are *windows*; the rarest are looked for in all output
//! ([`super::sieve`]), and the pattern itself is tried only on lines that have them.

use regex_syntax::hir::{Class, ClassUnicode, Hir, HirKind, Repetition};
use regex_syntax::utf8::Utf8Sequences;

/// Longest window.
pub(super) const MAX_WINDOW: usize = 12;
/// Most copies of a repeated part, and most positions of a pattern, that are looked at.
const MAX_COPIES: u32 = 8;
const MAX_POSITIONS: usize = 2_000;
/// A window that is likelier than this at any place is no sign of anything.
const MAX_WEIGHT: f64 = 0.05;
/// How likely a byte is of the same sort as the one before it.
const RUNS_ON: f64 = 0.4;
/// How likely a certain letter follows a certain letter, where these make a word.
const WORD_GOES_ON: f64 = 0.1;
/// What words are made of.
const WORD_BYTES: &[u8] = b" 0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// No word is rarer than this.
const WORD: f64 = 1e-5;
/// What is as rare as this says enough by itself. A word has to do as well: others are no rarer.
const RARE_ENOUGH: f64 = 1e-6;
/// Most things one pattern asks of a line.
const MAX_NEEDS: usize = 4;

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ByteSet([u64; 4]);

impl ByteSet {
    /// Every byte.
    pub(super) const ALL: Self = Self([u64::MAX; 4]);

    /// The bytes of both.
    pub(super) fn or(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] | other.0[at]))
    }

    /// These bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut set = Self::default();
        bytes.iter().for_each(|&byte| set.insert(byte));
        set
    }

    /// Adds a byte.
    pub(super) fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    /// Adds all bytes from one to another.
    fn extend(&mut self, first: u8, last: u8) {
        (first..=last).for_each(|byte| self.insert(byte));
    }

    /// Whether the byte is in it.
    pub(super) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> impl Iterator<Item = u8> {
        let set = *self;
        let words = (0..=u8::MAX).step_by(64).zip(set.0);
        words.flat_map(|(first, mut word)| {
            std::iter::from_fn(move || {
                let bit = u8::try_from(word.trailing_zeros()).unwrap_or(64);
                word &= word.wrapping_sub(1);
                (bit < 64).then(|| first + bit)
            })
        })
    }

    /// Whether these are small letters and nothing else.
    fn is_letter(&self) -> bool {
        self.bytes().all(|byte| byte.is_ascii_lowercase())
    }

    /// How much of usual output is among these bytes, from 0 to 1.
    pub(super) fn weight(&self) -> f64 {
        self.bytes().map(frequency).sum()
    }
}

/// Consecutive bytes, each out of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Window(pub(super) Vec<ByteSet>);

impl Window {
    /// Exactly these bytes.
    #[cfg(test)]
    pub(super) fn literal(text: &str) -> Self {
        Self(text.bytes().map(|byte| ByteSet::of(&[byte])).collect())
    }

    /// How likely it is at a place of usual output.
    pub(super) fn weight(&self) -> f64 {
        weight(&self.0)
    }
}

/// One thing a line must have: any of these windows.
pub(super) type Need = Vec<Window>;

/// How likely a place of usual output meets a need.
pub(super) fn need_weight(need: &Need) -> f64 {
    need.iter().map(Window::weight).sum()
}

/// Whether a line that meets this may well be one that the pattern does not match.
pub(super) fn is_common(need: &Need) -> bool {
    (RARE_ENOUGH..WORD).contains(&need_weight(need))
}

/// What every line has that the pattern matches, the rarest first; empty where nothing can be told.
pub(super) fn needs(pattern: &Hir) -> Vec<Need> {
    let mut walk = Walk::default();
    walk.take(pattern);
    let mut needs = walk.finish();
    needs.sort_by(|a, b| need_weight(a).total_cmp(&need_weight(b)));
    needs.dedup();
    let mut is_first = true;
    needs.retain(|need| {
        let most = if is_first { MAX_WEIGHT } else { WORD };
        is_first = false;
        need_weight(need) <= most
    });
    needs.truncate(MAX_NEEDS);
    needs
}

/// Goes through a pattern and notes the runs of bytes it is sure of.
#[derive(Default)]
struct Walk {
    run: Vec<ByteSet>,
    runs: Vec<Vec<ByteSet>>,
    /// From alternations: one window of each branch.
    choices: Vec<Need>,
    positions: usize,
}

impl Walk {
    fn take(&mut self, hir: &Hir) {
        match hir.kind() {
            // What is between bytes leaves them neighbours.
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => literal
                .0
                .iter()
                .for_each(|&byte| self.push(ByteSet::of(&[byte]))),
            HirKind::Class(class) => self.class(class),
            HirKind::Repetition(repetition) => self.repetition(repetition),
            HirKind::Capture(capture) => self.take(&capture.sub),
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.take(part)),
            HirKind::Alternation(branches) => self.alternation(branches),
        }
    }

    fn push(&mut self, set: ByteSet) {
        self.positions += 1;
        if self.positions <= MAX_POSITIONS {
            self.run.push(set);
        } else {
            self.cut();
        }
    }

    /// What comes next need not be a neighbour of what came last.
    fn cut(&mut self) {
        if !self.run.is_empty() {
            self.runs.push(std::mem::take(&mut self.run));
        }
    }

    fn class(&mut self, class: &Class) {
        match class {
            Class::Bytes(class) => {
                let mut set = ByteSet::default();
                let ranges = class.iter();
                ranges.for_each(|range| set.extend(range.start(), range.end()));
                self.push(set);
            }
            Class::Unicode(class) => self.characters(class),
        }
    }

    /// One of these characters, as the bytes it is written in.
    fn characters(&mut self, class: &ClassUnicode) {
        let mut bytes: Vec<ByteSet> = Vec::new();
        let mut last = ByteSet::default();
        let mut is_even = true;
        let ranges = class.iter().map(|range| (range.start(), range.end()));
        for written in ranges.flat_map(|(start, end)| Utf8Sequences::new(start, end)) {
            let written = written.as_slice();
            is_even &= bytes.is_empty() || bytes.len() == written.len();
            bytes.resize(written.len().max(bytes.len()), ByteSet::default());
            for (set, range) in bytes.iter_mut().zip(written) {
                set.extend(range.start, range.end);
            }
            if let Some(range) = written.last() {
                last.extend(range.start, range.end);
            }
        }
        if is_even {
            bytes.into_iter().for_each(|set| self.push(set));
        } else {
            // Of various lengths: only the first and the last byte are surely neighbours of others.
            bytes.truncate(1);
            bytes.into_iter().for_each(|set| self.push(set));
            self.cut();
            self.push(last);
        }
    }

    fn repetition(&mut self, repetition: &Repetition) {
        let copies = repetition.min.min(MAX_COPIES);
        let is_exact = repetition.max == Some(copies);
        for _ in 0..copies {
            self.take(&repetition.sub);
        }
        if !is_exact {
            self.cut();
            for _ in 0..copies {
                self.take(&repetition.sub);
            }
        }
    }

    fn alternation(&mut self, branches: &[Hir]) {
        // What every branch begins with has been taken out of them, and stands right before.
        let before = std::mem::take(&mut self.run);
        let mut choice = Need::new();
        let tail = before[before.len().saturating_sub(MAX_WINDOW)..].to_vec();
        self.runs.push(before);
        for branch in branches {
            let mut walk = Self {
                run: tail.clone(),
                positions: self.positions,
                ..Self::default()
            };
            walk.take(branch);
            self.positions = walk.positions;
            let best = walk
                .finish()
                .into_iter()
                .min_by(|a, b| need_weight(a).total_cmp(&need_weight(b)));
            // A branch that asks for nothing frees the whole alternation of asking.
            let Some(best) = best else { return };
            choice.extend(best);
        }
        choice.sort();
        choice.dedup();
        self.choices.push(choice);
    }

    fn finish(mut self) -> Vec<Need> {
        self.cut();
        let mut needs = self.choices;
        needs.extend(self.runs.iter().filter_map(|run| Some(vec![rarest(run)?])));
        needs
    }
}

/// The rarest window of a run, if it is a sign of anything.
fn rarest(run: &[ByteSet]) -> Option<Window> {
    let window = (0..run.len())
        .map(|start| &run[start..run.len().min(start + MAX_WINDOW)])
        .min_by(|a, b| weight(a).total_cmp(&weight(b)))?;
    // Ends that nearly everything fits say nothing and only take time.
    let is_tight = |set: &ByteSet| set.weight() < 0.6;
    let from = window.iter().position(is_tight)?;
    let to = window.iter().rposition(is_tight)?;
    let window = &window[from..=to];
    (weight(window) <= MAX_WEIGHT).then(|| Window(window.to_vec()))
}

/// How likely each of these bytes follows the one before it.
pub(super) fn weights(sets: &[ByteSet]) -> Vec<f64> {
    let mut before = None;
    sets.iter()
        .map(|set| {
            // Spaces, digits and signs come in runs, letters in words.
            let least = match before.replace(set) {
                Some(before) if before == set => RUNS_ON,
                Some(before) if before.is_letter() && set.is_letter() => WORD_GOES_ON,
                _ => 0.0,
            };
            set.weight().max(least)
        })
        .collect()
}

/// How likely these bytes stand at a place.
fn weight(sets: &[ByteSet]) -> f64 {
    let product: f64 = weights(sets).iter().product();
    // Dates and times are in every log: their bytes never come alone.
    let are_among = |bytes: &[u8]| {
        let some = ByteSet::of(bytes);
        // A digit of any script is one of these; a sign that is never ASCII is not.
        sets.iter().all(|set| {
            let mut ascii = set.bytes().filter(u8::is_ascii).peekable();
            ascii.peek().is_some() && ascii.all(|byte| some.has(byte))
        })
    };
    if are_among(b"0123456789:-./T") {
        product.max(0.01)
    } else if are_among(b"0123456789:-./T ,[]\t\n\r\x0b\x0c") {
        product.max(1e-4)
    } else if are_among(WORD_BYTES) {
        // Words are more frequent than their letters.
        product.max(WORD)
    } else {
        product
    }
}

/// How much of usual output a byte makes up, roughly.
fn frequency(byte: u8) -> f64 {
    match byte {
        b' ' => 0.13,
        b'0'..=b'9' => 0.02,
        b'e' => 0.06,
        b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 0.045,
        b'a'..=b'z' => 0.015,
        b'A'..=b'Z' => 0.004,
        b'.' | b':' | b'-' | b'/' | b'"' => 0.02,
        b',' | b'_' | b'=' => 0.012,
        b'(' | b')' | b'[' | b']' | b'\'' => 0.006,
        b'{' | b'}' => 0.003,
        0x80..=0xff => 0.0005,
        _ => 0.001,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The needs of a pattern, each window as `a[bc]d`.
    fn shown(pattern: &str) -> Vec<Vec<String>> {
        let hir = regex_syntax::parse(pattern).unwrap();
        let set = |set: &ByteSet| {
            let bytes: Vec<char> = set.bytes().filter(u8::is_ascii).map(char::from).collect();
            match bytes.as_slice() {
                _ if bytes.len() < set.bytes().count() => "?".to_owned(),
                [byte] => byte.to_string(),
                [first, .., last] => format!("[{first}-{last}]"),
                [] => String::new(),
            }
        };
        let window = |window: &Window| window.0.iter().map(set).collect::<String>();
        let need = |need: &Need| need.iter().map(window).collect();
        needs(&hir).iter().map(need).collect()
    }

    #[test]
    fn the_rarest_is_found() {
        assert_eq!(shown("abc"), [["abc"]]);
        assert_eq!(shown(r"^\s*(?<percent>[0-9]+)%"), [["[0-9]%"]]);
        assert_eq!(shown(r"x+y|ab"), [["ab".to_owned(), "xy".to_owned()]]);
        assert_eq!(shown(r"(?:foo)?Bar"), [["Bar"]]);
        assert_eq!(shown(r#""(?:loss|step)""#), [[r#""loss"#, r#""step"#]]);
        assert_eq!(
            shown(r#""a"|"status":"|"xy""#),
            [[r#""a""#, r#""status":""#, r#""xy""#]]
        );
        assert_eq!(shown(r"\bETA: [0-9]{2}\b"), [["ETA: [0-9][0-9]"]]);
        assert_eq!(shown(r"(?i)q%"), [["[Q-q]%"]]);
        assert_eq!(shown("[━╸]=+ "), [["???="]]);
        assert_eq!(shown("[a━]="), [["?="]]);
        assert_eq!(shown(r"Downloading it now"), [["Downloading "]]);
    }

    #[test]
    fn a_sign_beyond_ascii_is_rare() {
        assert!(
            needs(&regex_syntax::parse(r"\s*━━\s+").unwrap())
                .first()
                .is_some_and(|need| need_weight(need) < 1e-6)
        );
    }

    #[test]
    fn nothing_is_asked_where_nothing_is_sure() {
        for pattern in [
            ".*",
            r"\w+",
            r"a*",
            "(?:abc)?",
            "ab|",
            r"[0-9]+:[0-9]*|.",
            "",
        ] {
            assert!(shown(pattern).is_empty(), "{pattern}: {:?}", shown(pattern));
        }
    }

    #[test]
    fn deep_repetition_stays_small() {
        let needs = shown("(?:(?:(?:(?:ab){8}){8}){8}){8}%");
        assert!(needs.len() <= MAX_NEEDS);
    }

    /// Patterns of few bytes, so that lines of the same bytes often match them.
    fn pattern() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "a",
            "b",
            "%",
            "█",
            "é",
            "ab%",
            "%█",
            "[ab]",
            "[%█]",
            "[é█]",
            "[^a]",
            "[0-9]",
            r"\w",
            ".",
            "^",
            "$",
            r"(?-u:\b)",
            "(?i:A)",
        ]);
        leaf.prop_map(str::to_owned)
            .prop_recursive(4, 24, 4, |part| {
                prop_oneof![
                    3 => prop::collection::vec(part.clone(), 2..5).prop_map(|parts| parts.concat()),
                    1 => prop::collection::vec(part.clone(), 2..4)
                        .prop_map(|parts| format!("(?:{})", parts.join("|"))),
                    1 => (part, prop::sample::select(vec!["?", "*", "+", "{2}", "{2,3}", "{9,}"]))
                        .prop_map(|(part, times)| format!("(?:{part}){times}")),
                ]
            })
    }

    proptest! {
        #[test]
        fn what_matches_has_all_that_is_needed(
            pattern in pattern(),
            lines in prop::collection::vec("[ab%█é1]{0,16}", 8),
        ) {
            let needs = needs(&regex_syntax::parse(&pattern).unwrap());
            let regex = regex::Regex::new(&pattern).unwrap();
            let stands_in = |window: &Window, line: &str| {
                line.as_bytes()
                    .windows(window.0.len())
                    .any(|bytes| bytes.iter().zip(&window.0).all(|(byte, set)| set.has(*byte)))
            };
            for line in lines.iter().filter(|line| regex.is_match(line)) {
                for need in &needs {
                    let is_met = need.iter().any(|window| stands_in(window, line));
                    prop_assert!(is_met, "{pattern} matches {line:?}, which has none of {need:?}");
                }
            }
        }
    }
}
