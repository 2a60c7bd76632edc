//! A chunk: some minutes of everything that was measured of one entity, in one blob.
//!
//! Times and values are columns. The blob begins with a byte that says how it is packed (0 as it is, 1 zstd); then
//! follow the number of points, the column of times (milliseconds after the beginning of the slot), and for each metric
//! its number in the catalogue of the file, how many bytes it takes, where it is missing, and the column of its values,
//! as whole numbers of its smallest unit that is kept.

use crate::model::metric::Metric;
use crate::store::samples::bytes::{Sink, Source, read_column, write_column};
use crate::store::samples::head::SLOT_MS;
use std::borrow::Cow;
use std::io;
use zstd::zstd_safe::CParameter;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// How hard zstd tries: more takes longer and saves little on so few bytes.
const LEVEL: i32 = 3;

/// Most points of one chunk, and most bytes that one is unpacked to: what is more was not written here.
pub(super) const MOST_POINTS: usize = 4_096;
const MOST_BYTES: usize = 16 << 20;

/// Stands where a metric was not measured.
pub(super) const ABSENT: i64 = i64::MIN;

/// What was measured of one metric, point by point.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) metric: Metric,
    /// In units of its smallest one, or [`ABSENT`]; one for each time.
    pub(super) values: Vec<i64>,
}

/// Some minutes of one entity.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Chunk {
    /// Milliseconds after the beginning of the slot.
    pub(super) times: Vec<i64>,
    pub(super) columns: Vec<Column>,
}

/// A value in units of the smallest one that is kept.
pub(super) fn whole(metric: Metric, value: f64) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what is larger than any 64-bit number is the largest of these"
    )]
    let whole = (value * metric.definition().scale()).round() as i64;
    whole.max(ABSENT + 1)
}

/// The value again.
pub(super) fn value(metric: Metric, whole: i64) -> f64 {
    whole as f64 / metric.definition().scale()
}

impl Chunk {
    /// As a blob. `number` gives the number of a metric in the catalogue.
    pub(super) fn pack(&self, number: &dyn Fn(Metric) -> u64) -> Vec<u8> {
        packed(self.plain(number))
    }

    /// As bytes that are not packed.
    pub(super) fn plain(&self, number: &dyn Fn(Metric) -> u64) -> Vec<u8> {
        let mut sink = Sink::default();
        sink.number(self.times.len() as u64);
        write_column(&mut sink, &self.times);
        for column in &self.columns {
            sink.number(number(column.metric));
            let mut body = Sink::default();
            write_presence(&mut body, &column.values);
            let present = column.values.iter().copied();
            let present: Vec<i64> = present.filter(|it| *it != ABSENT).collect();
            write_column(&mut body, &present);
            sink.bytes(&body.0);
        }
        sink.0
    }

    /// From a blob; of `wanted` metrics alone where that is given. `None` where it makes no sense. Metrics that the
    /// catalogue has and this version does not know are passed over.
    pub(super) fn unpack(
        blob: &[u8],
        metric: &dyn Fn(u64) -> Option<Metric>,
        wanted: Option<&[Metric]>,
    ) -> Option<Self> {
        Self::read_plain(&unpacked(blob)?, metric, wanted)
    }

    /// The same from bytes that are not packed.
    pub(super) fn read_plain(
        bytes: &[u8],
        metric: &dyn Fn(u64) -> Option<Metric>,
        wanted: Option<&[Metric]>,
    ) -> Option<Self> {
        let mut source = Source(bytes);
        let count = source.count(MOST_POINTS)?;
        let times = read_column(&mut source, count)?;
        if !times.iter().all(|time| (0..SLOT_MS).contains(time)) {
            return None;
        }
        let mut columns = Vec::new();
        while !source.0.is_empty() {
            let number = source.number()?;
            let mut body = Source(source.bytes()?);
            let Some(metric) = metric(number) else {
                continue;
            };
            if wanted.is_some_and(|wanted| !wanted.contains(&metric)) {
                continue;
            }
            let is_there = read_presence(&mut body, count)?;
            let present = is_there.iter().filter(|it| **it).count();
            let mut values = read_column(&mut body, present)?.into_iter();
            let values = is_there.iter().map(|is_there| {
                let present = if *is_there { values.next() } else { None };
                present.unwrap_or(ABSENT)
            });
            columns.push(Column {
                metric,
                values: values.collect(),
            });
        }
        Some(Self { times, columns })
    }
}

/// Lengths of stretches in which values are there and missing, in turn; nothing where none is missing.
fn write_presence(sink: &mut Sink, values: &[i64]) {
    let mut runs = Vec::new();
    let mut values = values.iter().peekable();
    let mut is_there = true;
    while values.peek().is_some() {
        let mut run = 0;
        while values.next_if(|it| (**it != ABSENT) == is_there).is_some() {
            run += 1;
        }
        runs.push(run);
        is_there = !is_there;
    }
    if runs.len() <= 1 {
        runs.clear();
    }
    sink.number(runs.len() as u64);
    for run in runs {
        sink.number(run);
    }
}

fn read_presence(source: &mut Source<'_>, count: usize) -> Option<Vec<bool>> {
    let runs = source.count(count.saturating_add(1))?;
    if runs == 0 {
        return Some(vec![true; count]);
    }
    let mut is_there = Vec::with_capacity(count);
    for place in 0..runs {
        let run = source.count(count - is_there.len())?;
        is_there.resize(is_there.len() + run, place % 2 == 0);
    }
    (is_there.len() == count).then_some(is_there)
}

/// Packs bytes as they are shortest, with a first byte that says how.
pub(super) fn packed(plain: Vec<u8>) -> Vec<u8> {
    let (how, body) = match pack(&plain, plain.len() >= CHECKED_BYTES) {
        Ok(smaller) if smaller.len() + LENGTH_BYTES < plain.len() => (ZSTD, smaller),
        Ok(_) | Err(_) => (PLAIN, plain),
    };
    let mut blob = Vec::with_capacity(body.len() + 1);
    blob.push(how);
    blob.extend(body);
    blob
}

/// A zstd frame. SQLite has no checksums, and other numbers than were measured should not be told; where there are few
/// it would be as long as some of them.
pub(super) fn pack(plain: &[u8], with_checksum: bool) -> io::Result<Vec<u8>> {
    let mut packer = zstd::bulk::Compressor::new(LEVEL)?;
    packer.set_parameter(CParameter::ChecksumFlag(with_checksum))?;
    packer.compress(plain)
}

/// From this length on chunks and rollups have checksums.
const CHECKED_BYTES: usize = 1_024;

/// What makes it worth to unpack again.
const LENGTH_BYTES: usize = 8;

/// The bytes again; `None` where they make no sense.
pub(super) fn unpacked(blob: &[u8]) -> Option<Cow<'_, [u8]>> {
    let (how, body) = blob.split_first()?;
    match *how {
        PLAIN => Some(Cow::Borrowed(body)),
        ZSTD => {
            let size = zstd::zstd_safe::get_frame_content_size(body).ok()??;
            let size = usize::try_from(size).ok().filter(|it| *it <= MOST_BYTES)?;
            zstd::bulk::decompress(body, size).ok().map(Cow::Owned)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(metric: Metric) -> u64 {
        metric as u64
    }

    fn metric(number: u64) -> Option<Metric> {
        Metric::ALL.get(usize::try_from(number).ok()?).copied()
    }

    fn chunks() -> impl Strategy<Value = Chunk> {
        (0_usize..60).prop_flat_map(|count| {
            let times = prop::collection::vec(0_i64..SLOT_MS, count);
            let values =
                prop::collection::vec(prop_oneof![9 => any::<i64>(), 1 => Just(ABSENT)], count);
            let metrics = prop::sample::subsequence(Metric::ALL.to_vec(), 0..6);
            let columns = metrics.prop_flat_map(move |metrics| {
                let values = values.clone();
                let columns = metrics.into_iter().map(move |metric| {
                    values
                        .clone()
                        .prop_map(move |values| Column { metric, values })
                });
                columns.collect::<Vec<_>>()
            });
            (times, columns).prop_map(|(times, columns)| Chunk { times, columns })
        })
    }

    proptest! {
        #[test]
        fn chunks_read_back(chunk in chunks()) {
            let blob = chunk.pack(&number);
            let back = Chunk::unpack(&blob, &metric, None);
            prop_assert_eq!(back.as_ref(), Some(&chunk));
            if let Some(first) = chunk.columns.first() {
                let one = Chunk::unpack(&blob, &metric, Some(&[first.metric])).unwrap();
                prop_assert_eq!(&one.columns[..], std::slice::from_ref(first));
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(mut blob in prop::collection::vec(any::<u8>(), 0..300), how in 0_u8..3) {
            blob.insert(0, how);
            let _some = Chunk::unpack(&blob, &metric, None);
        }

        #[test]
        fn values_are_kept_as_exactly_as_said(value in -1e9_f64..1e9, metric in prop::sample::select(Metric::ALL)) {
            let back = super::value(metric, whole(metric, value));
            let step = 1.0 / metric.definition().scale();
            prop_assert!((back - value).abs() <= step / 2.0 + 1e-6);
        }
    }
}
