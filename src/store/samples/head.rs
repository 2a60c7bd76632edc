//! Heads: what was measured in the present slot, still in memory. A slot is ten minutes of the wall clock, so that a
//! chunk never spans two days, and a minute never two chunks.

use crate::model::entity::Entity;
use crate::model::metric::Readings;
use crate::store::samples::chunk::{ABSENT, Chunk, Column, MOST_POINTS, whole};
use std::collections::BTreeMap;
use std::time::Duration;

/// Length of a slot. Were it shorter, what a transaction writes besides the rows would be more than these.
pub(super) const SLOT_MS: i64 = 600_000;

/// Most values in memory of one slot: of a thousand jobs it would be many times what of a host and a few.
pub(super) const MOST_VALUES: usize = 1 << 19;

/// The beginning of the slot that an instant is in.
pub(super) fn slot_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(SLOT_MS) * SLOT_MS
}

/// Whether a slot is over, by the clock on the wall: also when that was set back to before it.
pub(super) fn is_over(slot_ms: i64, now_ms: i64) -> bool {
    slot_of(now_ms) != slot_ms
}

/// How long until a slot is over.
pub(super) fn until_over(slot_ms: i64, now_ms: i64) -> Duration {
    let left_ms = (slot_ms + SLOT_MS).saturating_sub(now_ms);
    Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
}

/// Everything that was measured in one slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    /// When the slot began, wall clock, milliseconds since 1970 UTC.
    pub(super) slot_ms: i64,
    pub(super) chunks: BTreeMap<Entity, Chunk>,
    /// How many points of each are in the log already.
    pub(super) logged: BTreeMap<Entity, usize>,
    /// How many values it holds, absent ones included.
    pub(super) values: usize,
}

impl Head {
    pub(super) fn new(slot_ms: i64) -> Self {
        Self {
            slot_ms,
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Whether no more points fit into it: a slot then takes several rows of each entity.
    pub(super) fn is_full(&self) -> bool {
        let mut chunks = self.chunks.values();
        self.values >= MOST_VALUES || chunks.any(|chunk| chunk.times.len() >= MOST_POINTS)
    }

    /// Takes what was measured of an entity.
    pub(super) fn add(&mut self, at_ms: i64, entity: &Entity, readings: &Readings) {
        let kept = readings.iter().filter(|(metric, _)| metric.is_kept());
        let kept: Vec<_> = kept.collect();
        if kept.is_empty() {
            return;
        }
        if !self.chunks.contains_key(entity) {
            self.chunks.insert(entity.clone(), Chunk::default());
        }
        let Some(chunk) = self.chunks.get_mut(entity) else {
            return;
        };
        let before = chunk.times.len();
        chunk.times.push(at_ms - self.slot_ms);
        // Both are in the order of the table.
        let mut place = 0;
        for (metric, value) in kept {
            while chunk
                .columns
                .get(place)
                .is_some_and(|it| it.metric < metric)
            {
                place += 1;
            }
            if chunk
                .columns
                .get(place)
                .is_none_or(|it| it.metric != metric)
            {
                let values = vec![ABSENT; before];
                chunk.columns.insert(place, Column { metric, values });
            }
            if let Some(column) = chunk.columns.get_mut(place) {
                column.values.push(whole(metric, value));
            }
        }
        for column in &mut chunk.columns {
            column.values.resize(before + 1, ABSENT);
        }
        self.values += chunk.columns.len();
    }

    /// What is not in the log yet, and counts as logged from now on.
    pub(super) fn unlogged(&mut self) -> Vec<(Entity, Chunk)> {
        let mut news = Vec::new();
        for (entity, chunk) in &self.chunks {
            let logged = self.logged.get(entity).copied().unwrap_or(0);
            if logged < chunk.times.len() {
                news.push((entity.clone(), chunk.from(logged)));
                self.logged.insert(entity.clone(), chunk.times.len());
            }
        }
        news
    }

    /// What could not be logged does not count as logged.
    pub(super) fn take_back(&mut self, pieces: &[(Entity, Chunk)]) {
        for (entity, piece) in pieces {
            if let Some(logged) = self.logged.get_mut(entity) {
                *logged -= piece.times.len().min(*logged);
            }
        }
    }
}

impl Chunk {
    /// Its points from a place on.
    fn from(&self, first: usize) -> Self {
        let columns = self.columns.iter().map(|column| Column {
            metric: column.metric,
            values: column.values.get(first..).unwrap_or_default().to_vec(),
        });
        Self {
            times: self.times.get(first..).unwrap_or_default().to_vec(),
            columns: columns.collect(),
        }
    }

    /// Adds the points of another at the end.
    pub(super) fn extend(&mut self, other: &Self) {
        let (before, more) = (self.times.len(), other.times.len());
        self.times.extend(&other.times);
        for column in &other.columns {
            let place = self
                .columns
                .binary_search_by_key(&column.metric, |it| it.metric);
            let place = place.unwrap_or_else(|place| {
                let values = vec![ABSENT; before];
                let metric = column.metric;
                self.columns.insert(place, Column { metric, values });
                place
            });
            if let Some(own) = self.columns.get_mut(place) {
                own.values.extend(&column.values);
            }
        }
        for column in &mut self.columns {
            column.values.resize(before + more, ABSENT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metric::Metric;

    #[test]
    fn metrics_come_and_go_within_a_slot() {
        let mut head = Head::new(slot_of(1_300_000));
        assert_eq!(head.slot_ms, 1_200_000);
        let reading = |values: &[(Metric, f64)]| values.iter().copied().collect::<Readings>();
        head.add(1_200_500, &Entity::Host, &reading(&[(Metric::Load1, 1.5)]));
        let first = head.unlogged();
        head.add(
            1_201_000,
            &Entity::Host,
            &reading(&[(Metric::CpuPercent, 3.26), (Metric::Load5, 9.0)]),
        );
        let chunk = head.chunks[&Entity::Host].clone();
        assert_eq!(chunk.times, [500, 1_000]);
        let columns: Vec<_> = chunk
            .columns
            .iter()
            .map(|it| (it.metric, it.values.clone()))
            .collect();
        assert_eq!(
            columns,
            [
                (Metric::CpuPercent, vec![ABSENT, 33]),
                (Metric::Load1, vec![150, ABSENT])
            ],
            "what is not kept is not here"
        );
        let mut again = Chunk::default();
        for (_, piece) in first.iter().chain(&head.unlogged()) {
            again.extend(piece);
        }
        assert_eq!(again, chunk);
        assert!(head.unlogged().is_empty());
    }
}
