//! Errors that drivers tell of twice, made one: the driver's library tells at once and knows which GPU it is, the
//! kernel's log knows which process it happened to.

use crate::model::gpu::{GpuUuid, Xid};
use std::collections::BTreeMap;

/// How long an error that the library told of waits for its line in the log, which comes first as a rule.
pub const PATIENCE_MS: u64 = 500;

/// How long a line of the log stands for what the library may tell of it yet.
pub const MEMORY_MS: u64 = 10_000;

/// Who told of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// The driver's library.
    Library,
    /// The kernel's log.
    Log,
}

/// Makes one of what is told twice. Times are milliseconds on the boot clock.
#[derive(Clone, Debug, Default)]
pub struct Xids {
    /// Which GPU is where on the bus.
    places: BTreeMap<String, GpuUuid>,
    /// Told by the library, and not yet by the log.
    waiting: Vec<(u64, Xid)>,
    /// Told by the log, and not yet by the library.
    told: Vec<(u64, Xid)>,
    /// Whether the log can be read, so that waiting for it makes sense.
    has_log: bool,
}

impl Xids {
    /// A GPU is at this place of the bus.
    pub fn place(&mut self, pci_bus_id: &str, uuid: &GpuUuid) {
        if self.places.get(pci_bus_id) != Some(uuid) {
            self.places.insert(pci_bus_id.to_owned(), uuid.clone());
        }
    }

    /// The kernel's log can be read.
    pub fn hear_log(&mut self) {
        self.has_log = true;
    }

    /// An error was told of. Answers what is to be passed on at once.
    pub fn tell(&mut self, teller: Teller, mut xid: Xid, now_ms: u64) -> Option<Xid> {
        if xid.uuid.is_none() {
            let place = xid.pci_bus_id.as_ref().and_then(|it| self.places.get(it));
            xid.uuid = place.cloned();
        }
        self.told
            .retain(|(at_ms, _)| at_ms.saturating_add(MEMORY_MS) > now_ms);
        let other = match teller {
            Teller::Library => &mut self.told,
            Teller::Log => &mut self.waiting,
        };
        let twin = other.iter().position(|(_, it)| is_same(it, &xid));
        let twin = twin.map(|place| other.remove(place).1);
        match (teller, twin) {
            (Teller::Library, Some(_)) => None,
            (Teller::Library, None) if self.has_log => {
                self.waiting.push((now_ms, xid));
                None
            }
            (Teller::Library, None) => Some(xid),
            (Teller::Log, Some(twin)) => Some(Xid {
                at_ms: twin.at_ms.min(xid.at_ms),
                uuid: xid.uuid.or(twin.uuid),
                ..xid
            }),
            (Teller::Log, None) => {
                self.told.push((now_ms, xid.clone()));
                Some(xid)
            }
        }
    }

    /// Errors that have waited long enough.
    pub fn due(&mut self, now_ms: u64) -> Vec<Xid> {
        let is_due = |(at_ms, _): &mut (u64, Xid)| at_ms.saturating_add(PATIENCE_MS) <= now_ms;
        let due = self.waiting.extract_if(.., is_due);
        due.map(|(_, xid)| xid).collect()
    }

    /// When [`Xids::due`] has something to say.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        let waiting = self.waiting.iter().map(|(at_ms, _)| at_ms + PATIENCE_MS);
        waiting.min()
    }
}

fn is_same(one: &Xid, other: &Xid) -> bool {
    let same_uuid = one.uuid.is_some() && one.uuid == other.uuid;
    let same_place = one.pci_bus_id.is_some() && one.pci_bus_id == other.pci_bus_id;
    one.code == other.code && (same_uuid || same_place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLACE: &str = "0000:61:00.0";

    fn by_library(code: u32) -> Xid {
        Xid {
            at_ms: 1_000,
            uuid: Some(GpuUuid("GPU-a".into())),
            pci_bus_id: Some(PLACE.to_owned()),
            code,
            pid: None,
            process: None,
        }
    }

    fn by_log(code: u32) -> Xid {
        Xid {
            at_ms: 999,
            uuid: None,
            pid: Some(42),
            process: Some("python3".to_owned()),
            ..by_library(code)
        }
    }

    fn whole(code: u32) -> Xid {
        Xid {
            uuid: by_library(code).uuid,
            ..by_log(code)
        }
    }

    #[test]
    fn what_both_tell_is_one_with_its_process() {
        let mut xids = Xids::default();
        xids.hear_log();
        xids.place(PLACE, &GpuUuid("GPU-a".into()));
        assert_eq!(xids.tell(Teller::Log, by_log(31), 0), Some(whole(31)));
        assert_eq!(xids.tell(Teller::Library, by_library(31), 5), None);
        assert_eq!(xids.tell(Teller::Library, by_library(31), 100), None);
        assert_eq!(xids.next_due_ms(), Some(100 + PATIENCE_MS));
        assert_eq!(xids.tell(Teller::Log, by_log(31), 200), Some(whole(31)));
        assert_eq!(xids.next_due_ms(), None);
    }

    #[test]
    fn what_only_the_library_tells_waits_for_the_log_where_there_is_one() {
        let mut xids = Xids::default();
        let alone = xids.tell(Teller::Library, by_library(48), 0);
        assert_eq!(alone, Some(by_library(48)));
        xids.hear_log();
        assert_eq!(xids.tell(Teller::Library, by_library(48), 0), None);
        assert_eq!(xids.due(PATIENCE_MS - 1), []);
        assert_eq!(xids.due(PATIENCE_MS), [by_library(48)]);
        assert_eq!(xids.due(u64::MAX), []);
    }

    #[test]
    fn a_line_does_not_stand_for_what_happens_much_later() {
        let mut xids = Xids::default();
        xids.hear_log();
        assert!(xids.tell(Teller::Log, by_log(13), 0).is_some());
        assert_eq!(xids.tell(Teller::Library, by_library(13), MEMORY_MS), None);
        assert_eq!(xids.due(MEMORY_MS + PATIENCE_MS).len(), 1);
    }

    proptest! {
        /// However they come, each error is passed on once.
        #[test]
        fn none_is_lost_and_none_is_told_twice(order in proptest::collection::vec((0_u32..3, any::<bool>()), 0..40)) {
            let mut xids = Xids::default();
            xids.hear_log();
            let mut passed = BTreeMap::<u32, usize>::new();
            for (code, from_log) in &order {
                let told = if *from_log {
                    xids.tell(Teller::Log, by_log(*code), 1)
                } else {
                    xids.tell(Teller::Library, by_library(*code), 1)
                };
                told.into_iter().for_each(|xid| *passed.entry(xid.code).or_default() += 1);
            }
            xids.due(u64::MAX).into_iter().for_each(|xid| *passed.entry(xid.code).or_default() += 1);
            for code in 0..3 {
                let log = order.iter().filter(|it| **it == (code, true)).count();
                let library = order.iter().filter(|it| **it == (code, false)).count();
                let count = passed.get(&code).copied().unwrap_or(0);
                prop_assert!(count >= log.max(library) && count <= log + library);
            }
        }
    }
}
