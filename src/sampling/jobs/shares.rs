//! How much of a process's memory is its own: what it shares with others is counted once among all who share it.
//!
//! The kernel walks the whole address space for this, and waits for whoever holds it, so it is asked rarely and on a
//! thread of its own; in between what it shares is taken to stay the same, as memory that grows is mostly its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

use procfs::prelude::FromBufRead;
use procfs::process::SmapsRollup;

use crate::model::time::Stamp;
use crate::sampling::aside::Aside;
use crate::sampling::files::Roots;

/// How long an answer holds.
const HOLDS_MS: u64 = 60_000;
/// How long it holds of a process that has changed since by more than this part of its memory.
const HOLDS_CHANGED_MS: u64 = 5_000;
const CHANGED_PART: f64 = 0.25;
/// How long the thread may take before it is taken to hang.
const WITHIN_MS: u64 = 10_000;
/// Threads that may hang.
const MOST_STUCK: usize = 4;
/// Questions that may wait, so that a pass over many new processes does not make a burst.
const MOST_WAITING: usize = 16;

/// Which process, told apart from a later one of the same id.
pub(super) type Who = (u32, u64);

/// What the kernel told of the memory of a process, bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// What was resident then.
    resident: f64,
    /// What of that counts with others, where all who share a page have an equal part of it.
    others: f64,
    /// What of it is in swap.
    pub(super) swap: f64,
}

/// What is known of the memory of a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Known {
    /// It was asked for a moment ago.
    Nothing,
    /// The kernel does not tell.
    Untold,
    /// What the kernel told.
    Told(Share),
}

impl Share {
    /// What counts with it, now that so many bytes are resident.
    pub(super) fn own(&self, resident: f64) -> f64 {
        let part = 1.0 - self.others / self.resident;
        // Where it has shrunk, what it shared may have gone as well.
        (resident - self.others).max(resident.min(self.resident) * part)
    }

    fn has_changed(&self, resident: f64) -> bool {
        (resident - self.resident).abs() > self.resident * CHANGED_PART
    }
}

type Asker = Aside<Who, (Who, Option<Share>)>;

/// Asks for shares, and keeps the answers.
#[derive(Debug)]
pub(super) struct Shares {
    proc: PathBuf,
    asker: Option<Asker>,
    waiting: usize,
    /// When the last answer came, or the first question after it was asked.
    since: Stamp,
    stuck: Vec<Asker>,
    answers: BTreeMap<Who, (Stamp, Known)>,
}

impl Shares {
    pub(super) fn new(roots: &Roots) -> Self {
        Self {
            proc: roots.proc.clone(),
            asker: None,
            waiting: 0,
            since: Stamp::default(),
            stuck: Vec::new(),
            answers: BTreeMap::new(),
        }
    }

    /// Takes the answers that have come.
    pub(super) fn hear(&mut self, now: Stamp) {
        while let Some(asker) = &self.asker {
            match asker.answer() {
                Ok(Some((who, share))) => {
                    let known = share.map_or(Known::Untold, Known::Told);
                    self.answers.insert(who, (now, known));
                    self.waiting = self.waiting.saturating_sub(1);
                    self.since = now;
                }
                Ok(None) => break,
                Err(_) => self.asker = None,
            }
        }
        if self.waiting > 0 && now.since_ms(self.since) > WITHIN_MS {
            self.stuck.extend(self.asker.take());
            self.waiting = 0;
        }
        self.stuck
            .retain(|asker| matches!(asker.answer(), Ok(None)));
        self.answers
            .retain(|_, (then, _)| now.since_ms(*then) < 2 * HOLDS_MS);
    }

    /// What is known of a process of which so many bytes are resident; asked for again when it is old.
    pub(super) fn of(&mut self, who: Who, resident: f64, now: Stamp) -> Known {
        let Some((then, known)) = self.answers.get(&who).copied() else {
            self.ask(who, now);
            return Known::Nothing;
        };
        let holds_ms = match known {
            Known::Told(share) if share.has_changed(resident) => HOLDS_CHANGED_MS,
            Known::Told(_) | Known::Untold | Known::Nothing => HOLDS_MS,
        };
        if now.since_ms(then) >= holds_ms {
            self.ask(who, now);
        }
        known
    }

    fn ask(&mut self, who: Who, now: Stamp) {
        if self.waiting >= MOST_WAITING {
            return;
        }
        if self.asker.is_none() && self.stuck.len() < MOST_STUCK {
            let proc = self.proc.clone();
            let answer = move |who: Who, told: &Sender<(Who, Option<Share>)>| {
                // Whoever asked may be gone.
                let _gone = told.send((who, read(&proc, who.0)));
            };
            self.asker = Aside::start("stoked-shares", answer);
        }
        if self.waiting == 0 {
            self.since = now;
        }
        let is_asked = self.asker.as_ref().is_some_and(|asker| asker.ask(who));
        if is_asked {
            self.waiting += 1;
            // Until it answers nobody asks again; what was known before still holds.
            let before = self.answers.get(&who).map(|(_, known)| *known);
            let known = before.unwrap_or(Known::Nothing);
            self.answers.insert(who, (now, known));
        }
    }
}

fn read(proc: &Path, pid: u32) -> Option<Share> {
    let text = std::fs::read(proc.join(format!("{pid}/smaps_rollup"))).ok()?;
    parse(&text)
}

fn parse(text: &[u8]) -> Option<Share> {
    let rollup = SmapsRollup::from_buf_read(text).ok()?;
    let sums = &rollup.memory_map_rollup.0.first()?.extension.map;
    let bytes = |key: &str| sums.get(key).copied();
    let resident = bytes("Rss").filter(|bytes| *bytes > 0)?;
    let swap = bytes("SwapPss").or_else(|| bytes("Swap")).unwrap_or(0);
    Some(Share {
        resident: resident as f64,
        others: resident.saturating_sub(bytes("Pss")?) as f64,
        swap: swap as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollup_is_read() {
        let text = b"55d0c8a6b000-7ffe3a5f2000 ---p 00000000 00:00 0                  [rollup]\n\
            Rss:                2000 kB\nPss:                 500 kB\nPss_Dirty:           100 kB\n\
            SwapPss:              64 kB\n";
        let share = parse(text).unwrap();
        let own = |kib: f64| share.own(kib * 1024.0) / 1024.0;
        assert_eq!((own(2_000.0), share.swap), (500.0, 65_536.0));
        assert_eq!(own(12_000.0), 10_500.0, "what is new is its own");
        assert_eq!(own(1_000.0), 250.0, "what is gone may have been shared");
        assert_eq!(own(0.0), 0.0);
        assert!(share.has_changed(3_000.0 * 1024.0) && !share.has_changed(2_200.0 * 1024.0));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"\xff\xfe:"), None);
    }
}
