//! The log of the present slot: what is in memory and in no database yet, so that a killed daemon loses ten seconds and
//! not five minutes.
//!
//! A file is a list of frames, each a length (four bytes, lowest first) and a zstd frame with its checksum. The first
//! frame is the beginning of the slot and the names of all metrics; every other one holds pieces of chunks, as plain
//! bytes, each behind the number of its entity in this log; a number that is new is followed by the name. A frame that is
//! cut off or damaged ends the log: it was being written when the power went.

use crate::model::entity::Entity;
use crate::model::metric::Metric;
use crate::store::samples::bytes::{Sink, Source};
use crate::store::samples::chunk::Chunk;
use crate::store::samples::head::Head;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zstd::zstd_safe::CParameter;

/// No frame is longer than this.
const MOST_BYTES: usize = 64 << 20;

/// A log that is being written.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) path: PathBuf,
    file: File,
    entities: BTreeMap<Entity, u64>,
    /// How long it is up to the last frame that was written whole.
    length: u64,
}

impl Log {
    /// Begins a log of a slot.
    pub(super) fn begin(path: PathBuf, slot_ms: i64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let mut log = Self {
            path,
            file,
            entities: BTreeMap::new(),
            length: 0,
        };
        let mut head = Sink::default();
        head.signed(slot_ms);
        for metric in Metric::ALL {
            head.bytes(metric.name().as_bytes());
        }
        log.frame(&head.0)?;
        Ok(log)
    }

    /// Adds pieces of chunks, all or nothing.
    pub(super) fn add(&mut self, pieces: &[(Entity, Chunk)]) -> io::Result<()> {
        let mut sink = Sink::default();
        let known = self.entities.len();
        for (entity, piece) in pieces {
            let next = self.entities.len() as u64;
            let number = *self.entities.entry(entity.clone()).or_insert(next);
            sink.number(number);
            if number == next {
                sink.bytes(entity.to_string().as_bytes());
            }
            sink.bytes(&piece.plain(&|metric| metric as u64));
        }
        let outcome = self.frame(&sink.0);
        if outcome.is_err() {
            // Names that were not written are not known.
            self.entities.retain(|_, number| *number < known as u64);
        }
        outcome
    }

    fn frame(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut packer = zstd::bulk::Compressor::new(3)?;
        packer.set_parameter(CParameter::ChecksumFlag(true))?;
        let packed = packer.compress(bytes)?;
        let length = u32::try_from(packed.len()).map_err(io::Error::other)?;
        let mut frame = length.to_le_bytes().to_vec();
        frame.extend(packed);
        if let Err(error) = self.file.write_all(&frame) {
            // What was written of it would hide all frames after it.
            self.file.set_len(self.length)?;
            io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.length))?;
            return Err(error);
        }
        self.length += frame.len() as u64;
        Ok(())
    }
}

/// What a log holds, as far as it is whole; `None` where not even its beginning is.
pub(super) fn read(path: &Path) -> io::Result<Option<Head>> {
    let bytes = std::fs::read(path)?;
    let mut rest = &bytes[..];
    let Some(first) = next_frame(&mut rest) else {
        return Ok(None);
    };
    let mut source = Source(&first);
    let Some(slot_ms) = source.signed() else {
        return Ok(None);
    };
    let mut metrics = Vec::new();
    while let Some(name) = source.bytes() {
        let name = std::str::from_utf8(name).unwrap_or_default();
        metrics.push(name.parse::<Metric>().ok());
    }
    let mut head = Head::new(slot_ms);
    let mut entities = Vec::new();
    while let Some(frame) = next_frame(&mut rest) {
        if take(&frame, &metrics, &mut entities, &mut head).is_none() {
            break;
        }
    }
    Ok(Some(head))
}

fn next_frame(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (packed, after) = after.split_at_checked(length)?;
    let size = zstd::zstd_safe::get_frame_content_size(packed).ok()??;
    let size = usize::try_from(size).ok().filter(|it| *it <= MOST_BYTES)?;
    *rest = after;
    zstd::bulk::decompress(packed, size).ok()
}

/// Adds the pieces of a frame to a head, all or none of the piece that makes no sense.
fn take(
    frame: &[u8],
    metrics: &[Option<Metric>],
    entities: &mut Vec<Option<Entity>>,
    head: &mut Head,
) -> Option<()> {
    let mut source = Source(frame);
    while !source.0.is_empty() {
        let number = usize::try_from(source.number()?).ok()?;
        if number == entities.len() {
            let name = std::str::from_utf8(source.bytes()?).ok()?;
            entities.push(name.parse().ok());
        }
        let piece = source.bytes()?;
        let metric = |number: u64| *metrics.get(usize::try_from(number).ok()?)?;
        let piece = Chunk::read_plain(piece, &metric, None)?;
        if let Some(entity) = entities.get(number)? {
            head.chunks
                .entry(entity.clone())
                .or_default()
                .extend(&piece);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metric::Readings;
    use proptest::prelude::*;

    fn filled(path: &Path, rounds: i64) -> Head {
        let mut head = Head::new(300_000);
        let mut log = Log::begin(path.to_owned(), 300_000).unwrap();
        for round in 0..rounds {
            for core in 0..3 {
                let load: Readings = [(Metric::CpuPercent, (round * 7 % 100) as f64)]
                    .into_iter()
                    .collect();
                head.add(300_000 + round * 1_000, &Entity::Core(core), &load);
            }
            log.add(&head.unlogged()).unwrap();
        }
        head
    }

    #[test]
    fn a_log_reads_back_what_was_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let head = filled(&path, 20);
        let read = read(&path).unwrap().unwrap();
        assert_eq!((read.slot_ms, &read.chunks), (head.slot_ms, &head.chunks));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_log_that_was_cut_off_or_damaged_gives_what_is_whole(cut in any::<prop::sample::Index>(), flips in 0_u8..2) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log");
            let head = filled(&path, 10);
            let mut bytes = std::fs::read(&path).unwrap();
            let cut = cut.index(bytes.len());
            if flips == 0 {
                bytes.truncate(cut);
            } else {
                bytes[cut] ^= 0x55;
            }
            std::fs::write(&path, &bytes).unwrap();
            let Some(read) = read(&path).unwrap() else { return Ok(()) };
            prop_assert!(read.slot_ms == head.slot_ms);
            for (entity, chunk) in &read.chunks {
                let whole = &head.chunks[entity];
                prop_assert_eq!(&chunk.times[..], &whole.times[..chunk.times.len()]);
                prop_assert_eq!(&chunk.columns[0].values[..], &whole.columns[0].values[..chunk.times.len()]);
            }
        }
    }
}
