//! The log of the present slot: what is in memory and in no database yet, so that a killed daemon loses ten seconds and
//! not five minutes.
//!
//! A file is a list of frames, each a length (four bytes, lowest first) and a zstd frame with its checksum. The first
//! frame is the version of this format, the beginning of the slot, and of all metrics names and how many decimals are
//! kept; every other one holds pieces of chunks, as plain bytes, each behind the number of its entity in this log; a
//! number that is new is followed by the name. A frame that is cut off ends the log: it was being written when the daemon
//! was killed. One that is damaged ends it too, as names of entities may be missing behind it, and the file is kept.

use crate::model::entity::Entity;
use crate::model::metric::Metric;
use crate::store::samples::bytes::{Sink, Source};
use crate::store::samples::chunk::{Chunk, pack};
use crate::store::samples::head::{Head, slot_of};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The version of this format.
pub(super) const FORMAT: u64 = 1;

/// No frame is longer than this, unpacked.
const MOST_BYTES: usize = 64 << 20;

/// A log that is being written.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) path: PathBuf,
    file: File,
    entities: BTreeMap<Entity, u64>,
    /// How long it is up to the last frame that was written whole.
    length: u64,
    /// Something may stand behind that.
    is_torn: bool,
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
            is_torn: false,
        };
        let mut head = Sink::default();
        head.number(FORMAT);
        head.signed(slot_ms);
        for metric in Metric::ALL {
            head.bytes(metric.name().as_bytes());
            head.number(u64::from(metric.definition().decimals));
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
        let packed = pack(bytes, true)?;
        let length = u32::try_from(packed.len()).map_err(io::Error::other)?;
        let mut frame = length.to_le_bytes().to_vec();
        frame.extend(packed);
        // What was written of one before would hide all frames after it.
        if self.is_torn {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
        }
        self.is_torn = true;
        self.file.write_all(&frame)?;
        self.is_torn = false;
        self.length += frame.len() as u64;
        Ok(())
    }
}

/// What a file holds.
#[derive(Debug)]
pub(super) enum Content {
    /// Nothing was in it yet when it was cut off.
    Nothing,
    /// What was in memory, as far as it is whole.
    Samples {
        head: Head,
        /// Something behind that is not.
        is_damaged: bool,
    },
    /// Not even its beginning makes sense.
    Damaged,
    /// A newer version wrote it, of this format.
    Newer(u64),
}

enum Frame {
    Whole(Vec<u8>),
    CutOff,
    Damaged,
}

/// What a log holds.
pub(super) fn read(path: &Path) -> io::Result<Content> {
    let bytes = std::fs::read(path)?;
    let mut rest = &bytes[..];
    let first = match next_frame(&mut rest) {
        Frame::Whole(first) => first,
        Frame::CutOff => return Ok(Content::Nothing),
        Frame::Damaged => return Ok(Content::Damaged),
    };
    let mut source = Source(&first);
    let version = source.number();
    if let Some(version) = version.filter(|it| *it > FORMAT) {
        return Ok(Content::Newer(version));
    }
    let slot = source.signed();
    let Some(slot_ms) = slot.filter(|it| slot_of(*it) == *it && version.is_some()) else {
        return Ok(Content::Damaged);
    };
    let mut metrics = Vec::new();
    while let Some((name, decimals)) = source.bytes().zip(source.number()) {
        let metric = std::str::from_utf8(name)
            .ok()
            .and_then(|it| it.parse().ok());
        // Were it kept otherwise than today, its numbers would mean something else.
        let kept_so = |it: &Metric| u64::from(it.definition().decimals) == decimals;
        metrics.push(metric.filter(kept_so));
    }
    let mut head = Head::new(slot_ms);
    let mut entities = Vec::new();
    let is_damaged = loop {
        match next_frame(&mut rest) {
            Frame::Whole(frame) => {
                if take(&frame, &metrics, &mut entities, &mut head).is_none() {
                    break true;
                }
            }
            Frame::CutOff => break false,
            Frame::Damaged => break true,
        }
    };
    Ok(Content::Samples { head, is_damaged })
}

fn next_frame(rest: &mut &[u8]) -> Frame {
    let parts = rest.split_first_chunk::<4>().and_then(|(length, after)| {
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        after.split_at_checked(length)
    });
    let Some((packed, after)) = parts else {
        return Frame::CutOff;
    };
    *rest = after;
    let size = zstd::zstd_safe::get_frame_content_size(packed);
    let size = size.ok().flatten().and_then(|it| usize::try_from(it).ok());
    let whole = size.filter(|it| *it <= MOST_BYTES).and_then(|size| {
        let whole = zstd::bulk::decompress(packed, size);
        whole.ok()
    });
    whole.map_or(Frame::Damaged, Frame::Whole)
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
        let Content::Samples {
            head: read,
            is_damaged: false,
        } = read(&path).unwrap()
        else {
            panic!("it is whole")
        };
        assert_eq!((read.slot_ms, &read.chunks), (head.slot_ms, &head.chunks));
    }

    #[test]
    fn a_frame_that_was_not_written_whole_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Log::begin(path.clone(), 300_000).unwrap();
        let mut head = Head::new(300_000);
        let load: Readings = [(Metric::Load1, 1.0)].into_iter().collect();
        head.add(300_000, &Entity::Host, &load);
        let pieces = head.unlogged();
        // As a full disk does it: a part of the frame is there, and the rest is refused.
        log.file.write_all(&[9; 7]).unwrap();
        log.is_torn = true;
        head.take_back(&pieces);
        head.add(301_000, &Entity::Host, &load);
        log.add(&head.unlogged()).unwrap();
        let Content::Samples { head: read, .. } = read(&path).unwrap() else {
            panic!("it can be read")
        };
        assert_eq!(read.chunks, head.chunks);
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
            let (read, is_damaged) = match read(&path).unwrap() {
                Content::Samples { head, is_damaged } => (head, is_damaged),
                Content::Nothing | Content::Damaged => return Ok(()),
                Content::Newer(version) => panic!("{version}"),
            };
            prop_assert!(flips == 1 || !is_damaged, "what is cut off is not damaged");
            prop_assert!(read.slot_ms == head.slot_ms);
            for (entity, chunk) in &read.chunks {
                let whole = &head.chunks[entity];
                prop_assert_eq!(&chunk.times[..], &whole.times[..chunk.times.len()]);
                prop_assert_eq!(&chunk.columns[0].values[..], &whole.columns[0].values[..chunk.times.len()]);
            }
        }
    }
}
