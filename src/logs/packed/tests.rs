//! Compressed logs, read as if they were not.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::logs::Stream;
use crate::logs::read::{Content, Cursor, From, Selection, open};
use crate::logs::retain::{compress, damaged_bytes};
use crate::logs::write::AttemptLog;

fn written(root: &Path) -> PathBuf {
    let dir = root.join("42.1");
    let mut log = AttemptLog::open(&dir, 3 << 20);
    for n in 0..60_000_u32 {
        let (stream, text) = match n % 7 {
            0 => (Stream::Stderr, format!("warning {n}\n")),
            _ => (
                Stream::Stdout,
                format!("step {n} of 60000, loss {}\n", n.wrapping_mul(7919) % 1000),
            ),
        };
        log.append(stream, text.as_bytes(), i64::from(n / 10));
    }
    log.finish();
    dir
}

/// Everything from a place on, with gaps, and the cursors on the way.
fn read_all(dir: &Path, selection: Selection, from: From) -> (Vec<u8>, Vec<Cursor>) {
    let mut reader = open(dir, selection, from).unwrap();
    let (mut text, mut cursors) = (Vec::new(), Vec::new());
    while let Some(chunk) = reader.next_chunk(10_000).unwrap() {
        text.extend_from_slice(&chunk.plain());
        cursors.push(reader.cursor());
    }
    (text, cursors)
}

fn ways() -> Vec<(Selection, From)> {
    let mut ways = Vec::new();
    for selection in [Selection::Both, Selection::Stdout, Selection::Stderr] {
        for from in [
            From::Start,
            From::Tail { lines: 10 },
            From::Tail { lines: 9_999 },
            From::TailBytes(100_000),
            From::Since { wall_ms: 3_000 },
            From::Since { wall_ms: 5_999 },
        ] {
            ways.push((selection, from));
        }
    }
    ways
}

#[test]
fn a_compressed_log_reads_as_before_from_every_place() {
    let root = tempfile::tempdir().unwrap();
    let dir = written(root.path());
    let before: Vec<_> = ways()
        .into_iter()
        .map(|(selection, from)| read_all(&dir, selection, from))
        .collect();
    let saved = compress(&dir).unwrap();
    assert!(saved.packed_bytes * 3 < saved.plain_bytes, "{saved:?}");
    let names: Vec<String> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().any(|name| name == "stdout.0.zst"), "{names:?}");
    assert!(
        !names
            .iter()
            .any(|name| name == "stdout.0" || name.ends_with(".part"))
    );
    for ((selection, from), expected) in ways().into_iter().zip(&before) {
        let found = read_all(&dir, selection, from);
        // Pieces may end elsewhere, where a frame does.
        assert!(found.0 == expected.0, "{selection:?} {from:?}");
    }
    let (_, cursors) = &before[0];
    let cursor = cursors[cursors.len() / 2];
    let (rest, _) = read_all(&dir, Selection::Both, From::Offset(cursor));
    assert!(before[0].0.ends_with(&rest));
    assert_eq!(damaged_bytes(&dir).unwrap(), 0);
    assert_eq!(
        compress(&dir).unwrap(),
        Saved::default(),
        "nothing is left to do"
    );
}

#[test]
fn what_a_crash_leaves_behind_is_read_and_cleared() {
    let root = tempfile::tempdir().unwrap();
    let dir = written(root.path());
    let (before, _) = read_all(&dir, Selection::Both, From::Start);
    // Cut short while it wrote the draft, and after the draft got its name.
    fs::write(dir.join("stderr.0.zst.part"), "half").unwrap();
    let plain = fs::read(dir.join("stdout.0")).unwrap();
    compress(&dir).unwrap();
    fs::write(dir.join("stdout.0"), &plain).unwrap();
    assert!(read_all(&dir, Selection::Both, From::Start).0 == before);
    compress(&dir).unwrap();
    assert!(!dir.join("stdout.0").exists());
    assert!(!dir.join("stderr.0.zst.part").exists());
    assert!(read_all(&dir, Selection::Both, From::Start).0 == before);
}

#[test]
fn damage_is_a_gap_and_nonsense_is_nothing() {
    let root = tempfile::tempdir().unwrap();
    let dir = written(root.path());
    compress(&dir).unwrap();
    let path = dir.join("stdout.0.zst");
    let whole = fs::read(&path).unwrap();
    let mut torn = whole.clone();
    torn[1_000] ^= 0xff;
    fs::write(&path, &torn).unwrap();
    assert_eq!(damaged_bytes(&dir).unwrap(), FRAME_BYTES as u64);
    let mut reader = open(&dir, Selection::Stdout, From::Start).unwrap();
    let first = reader.next_chunk(1_000).unwrap().unwrap();
    assert_eq!(
        first.content,
        Content::Gap {
            bytes: FRAME_BYTES as u64
        }
    );
    let next = reader.next_chunk(1_000).unwrap().unwrap();
    assert!(matches!(next.content, Content::Bytes(_)));
    for cut in [0, 1, 8, 9, 20, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        let _text = read_all(&dir, Selection::Both, From::Tail { lines: 5 });
        assert!(damaged_bytes(&dir).unwrap() >= cut as u64 / 2);
    }
    // A table that claims a terabyte.
    let mut lie = Vec::new();
    for _ in 0..1_000 {
        lie.extend_from_slice(&1_u32.to_le_bytes());
        lie.extend_from_slice(&u32::MAX.to_le_bytes());
    }
    lie.extend_from_slice(&1_000_u32.to_le_bytes());
    lie.push(0);
    lie.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
    fs::write(&path, &lie).unwrap();
    let _text = read_all(&dir, Selection::Both, From::Start);
}
