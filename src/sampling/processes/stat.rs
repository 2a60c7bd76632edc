//! `/proc/PID/stat`, as much of it as is wanted.

use crate::sampling::fields::{number, words};

/// A process as its `stat` shows it. Times are in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Its name, as the kernel keeps it.
    pub name: Name,
    /// Its parent.
    pub parent: u32,
    /// CPU time in user mode.
    pub user: u64,
    /// CPU time in the kernel.
    pub system: u64,
    /// CPU time in user mode of children that have ended and were waited for.
    pub children_user: u64,
    /// CPU time in the kernel of those.
    pub children_system: u64,
    /// Threads.
    pub threads: u64,
    /// When it started, since boot.
    pub start: u64,
    /// Memory that is in use, pages.
    pub resident_pages: u64,
    /// It has ended, and its parent does not know yet.
    pub is_dead: bool,
}

/// A name of a process: 15 bytes at most of programs, some more of the kernel's own threads.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; 32],
    length: u8,
}

impl Name {
    fn new(text: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let length = text.len().min(bytes.len());
        bytes[..length].copy_from_slice(&text[..length]);
        Self {
            bytes,
            length: u8::try_from(length).unwrap_or(0),
        }
    }

    /// As text; control characters are made harmless.
    #[must_use]
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes[..usize::from(self.length)]);
        text.chars()
            .map(|c| {
                if c.is_control() {
                    char::REPLACEMENT_CHARACTER
                } else {
                    c
                }
            })
            .collect()
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

impl Stat {
    /// Reads the file. A name may hold anything, parentheses and newlines included, so fields are counted from the last
    /// closing parenthesis.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|&byte| byte == b'(')?;
        let close = text.iter().rposition(|&byte| byte == b')')?;
        let name = Name::new(text.get(open + 1..close)?);
        // The first word after the name is the third field of proc(5).
        let mut words = words(&text[close + 1..]);
        let state = words.next()?;
        let mut skip = |count: usize| words.nth(count).and_then(number);
        let parent = u32::try_from(skip(0)?).ok()?;
        let user = skip(9)?;
        let system = skip(0)?;
        let children_user = skip(0)?;
        let children_system = skip(0)?;
        let threads = skip(2)?;
        let start = skip(1)?;
        let resident_pages = skip(1)?;
        Some(Self {
            name,
            parent,
            user,
            system,
            children_user,
            children_system,
            threads,
            start,
            resident_pages,
            // A process whose first thread has ended shows the same while others run on.
            is_dead: matches!(state, b"Z" | b"X" | b"x") && threads <= 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TAIL: &str = "S 41 42 43 0 -1 4194560 1 2 3 4 150 60 7 8 20 0 3 0 99887 2453504 214 18446744073709551615";

    #[test]
    fn a_name_full_of_parentheses_does_not_shift_the_fields() {
        for name in [
            "sh",
            "a) R 1 1 (b",
            ") ) (\n",
            "",
            "kworker/u16:3-events_unbound",
        ] {
            let stat = Stat::parse(format!("42 ({name}) {TAIL}\n").as_bytes()).unwrap();
            assert_eq!(stat.name.text(), name.replace('\n', "\u{fffd}"));
            let wanted = Stat {
                name: stat.name,
                parent: 41,
                user: 150,
                system: 60,
                children_user: 7,
                children_system: 8,
                threads: 3,
                start: 99887,
                resident_pages: 214,
                is_dead: false,
            };
            assert_eq!(stat, wanted);
        }
        assert_eq!(Stat::parse(b"42 (sh"), None);
        assert_eq!(Stat::parse(b"42 )sh( S 1"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    proptest! {
        #[test]
        fn any_bytes_do(text in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..100) {
            let _ = Stat::parse(&text);
            let whole = format!("1 ({}) {TAIL}", String::from_utf8_lossy(&text));
            prop_assert!(Stat::parse(whole.as_bytes()).is_some());
            let cut = whole.len().saturating_sub(cut);
            let _ = Stat::parse(&whole.as_bytes()[..cut]);
        }
    }
}
