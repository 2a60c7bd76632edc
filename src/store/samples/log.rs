//! The log of the present slot: what is in memory and in no database yet, so that a killed daemon loses ten seconds and
//! not ten minutes.
//!
//! A file is a list of frames, each a length (four bytes, lowest first) and a zstd frame with its checksum. The first
//! frame is the version of this format, the beginning of the slot, and of all metrics names and how many decimals are
//! kept; every other one holds [news] of entities, each behind the number of its entity in this log, less that which
//! follows the one before; a number that is new is followed by the name. A frame that is cut off ends the log: it was being written when the daemon was killed.
//! One that is damaged ends it too, as what comes behind builds on it, and the file is kept.
//!
//! [news]: crate::store::samples::news

use crate::model::entity::Entity;
use crate::model::metric::Metric;
use crate::store::samples::bytes::{Sink, Source};
use crate::store::samples::chunk::{Chunk, Column, pack};
use crate::store::samples::head::{Head, MOST_VALUES, slot_of};
use crate::store::samples::news::Known;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The version of this format.
pub(super) const FORMAT: u64 = 2;

/// No frame is longer than this, unpacked.
const MOST_BYTES: usize = 64 << 20;

/// A log that is being written.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) path: PathBuf,
    file: File,
    /// What is in it of each entity, behind the number of that.
    entities: BTreeMap<Entity, (u64, Known)>,
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
        let mut next = self.entities.len() as u64;
        // They mostly come in the order of the frame before.
        let mut expected = 0;
        let mut times: &[i64] = &[];
        let mut now_known = Vec::with_capacity(pieces.len());
        for (entity, piece) in pieces {
            let known = self.entities.get(entity).cloned();
            let is_new = known.is_none();
            let (number, mut known) = known.unwrap_or((next, Known::default()));
            sink.signed(number.wrapping_sub(expected).cast_signed());
            expected = number + 1;
            if is_new {
                sink.bytes(entity.to_string().as_bytes());
                next += 1;
            }
            let columns = piece.columns.iter();
            let columns = columns.map(|it| (it.metric as u64, it.values.as_slice()));
            known.write(&mut sink, &piece.times, times, &columns.collect::<Vec<_>>());
            times = &piece.times;
            now_known.push((entity.clone(), (number, known)));
        }
        self.frame(&sink.0)?;
        // What could not be written is not known.
        self.entities.extend(now_known);
        Ok(())
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
    let Some(slot_ms) = slot.filter(|it| slot_of(*it) == *it && version == Some(FORMAT)) else {
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
    let mut reader = Reader {
        metrics,
        entities: Vec::new(),
        head: Head::new(slot_ms),
    };
    let is_damaged = loop {
        match next_frame(&mut rest) {
            Frame::Whole(frame) => {
                if reader.take(&frame).is_none() {
                    break true;
                }
            }
            Frame::CutOff => break false,
            Frame::Damaged => break true,
        }
    };
    let head = reader.head;
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

/// What was read of a log.
struct Reader {
    /// By their numbers; absent where this version does not know them.
    metrics: Vec<Option<Metric>>,
    entities: Vec<(Option<Entity>, Known)>,
    head: Head,
}

impl Reader {
    /// Adds what a frame tells to the head, up to where it makes no sense.
    fn take(&mut self, frame: &[u8]) -> Option<()> {
        let mut source = Source(frame);
        let (mut expected, mut times) = (0_u64, Vec::new());
        while !source.0.is_empty() {
            let number = expected.wrapping_add(source.signed()?.cast_unsigned());
            expected = number.wrapping_add(1);
            let number = usize::try_from(number).ok()?;
            if number == self.entities.len() {
                let name = std::str::from_utf8(source.bytes()?).ok()?;
                self.entities.push((name.parse().ok(), Known::default()));
            }
            let (entity, known) = self.entities.get_mut(number)?;
            let news = known.read(&mut source, &mut times)?;
            self.head.values += times.len() * news.len();
            // More than the daemon keeps in memory it cannot have logged.
            if self.head.values > 2 * MOST_VALUES {
                return None;
            }
            let metrics = &self.metrics;
            let columns = news.into_iter().filter_map(|(number, values)| {
                let metric = *metrics.get(usize::try_from(number).ok()?)?;
                Some(Column {
                    metric: metric?,
                    values,
                })
            });
            if let Some(entity) = entity {
                let piece = Chunk {
                    times: times.clone(),
                    columns: columns.collect(),
                };
                let chunk = self.head.chunks.entry(entity.clone()).or_default();
                chunk.extend(&piece);
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metric::Readings;
    use proptest::prelude::*;

    fn filled(path: &Path, rounds: i64) -> Head {
        let mut head = Head::new(600_000);
        let mut log = Log::begin(path.to_owned(), 600_000).unwrap();
        for round in 0..rounds {
            for core in 0..3 {
                let load: Readings = [(Metric::CpuPercent, (round * 7 % 100) as f64)]
                    .into_iter()
                    .collect();
                head.add(600_000 + round * 1_000, &Entity::Core(core), &load);
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
        let mut log = Log::begin(path.clone(), 600_000).unwrap();
        let mut head = Head::new(600_000);
        let load: Readings = [(Metric::Load1, 1.0)].into_iter().collect();
        head.add(600_000, &Entity::Host, &load);
        let pieces = head.unlogged();
        // As a full disk does it: a part of the frame is there, and the rest is refused.
        log.file.write_all(&[9; 7]).unwrap();
        log.is_torn = true;
        head.take_back(&pieces);
        head.add(601_000, &Entity::Host, &load);
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
