//! The reader against what the writer wrote, whole and damaged, finished and growing.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::logs::write::AttemptLog;

mod hostile;

type Merged = Vec<(Stream, u8)>;

/// One `append`: stream, bytes, and milliseconds since the one before.
#[derive(Debug, Clone)]
struct Write(Stream, Vec<u8>, i64);

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let stream = prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)];
    let bytes = prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n')], 1..60);
    let later_ms = prop_oneof![Just(0_i64), 0..20_i64];
    let one = (stream, bytes, later_ms).prop_map(|(stream, bytes, ms)| Write(stream, bytes, ms));
    prop::collection::vec(one, 0..60)
}

fn merged(writes: &[Write]) -> Merged {
    let tagged = |write: &Write| {
        let stream = write.0;
        write.1.clone().into_iter().map(move |byte| (stream, byte))
    };
    writes.iter().flat_map(tagged).collect()
}

fn log_dir() -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("42.1");
    (root, dir)
}

fn write_all(dir: &Path, limit: u64, writes: &[Write]) -> AttemptLog {
    let mut log = AttemptLog::open(dir, limit);
    let mut now = 1_000;
    for Write(stream, bytes, later_ms) in writes {
        now += later_ms;
        log.append(*stream, bytes, now);
    }
    log
}

fn drain(reader: &mut Reader, max: usize) -> Vec<Chunk> {
    std::iter::from_fn(|| reader.next_chunk(max).unwrap()).collect()
}

fn read(dir: &Path, selection: Selection, from: From) -> Vec<Chunk> {
    drain(&mut open(dir, selection, from).unwrap(), 1 << 20)
}

fn flat(chunks: &[Chunk]) -> Merged {
    let mut merged = Vec::new();
    for chunk in chunks {
        if let Content::Bytes(bytes) = &chunk.content {
            merged.extend(bytes.iter().map(|byte| (chunk.stream, *byte)));
        }
    }
    merged
}

fn text(chunks: &[Chunk]) -> String {
    let plain: Vec<u8> = chunks.iter().flat_map(|c| c.plain().into_owned()).collect();
    String::from_utf8_lossy(&plain).into_owned()
}

/// On a full disk the writer makes an empty segment anew with all that is refused.
#[test]
fn what_was_lost_later_does_not_make_bytes_newer() {
    let (_root, dir) = log_dir();
    let _log = write_all(&dir, 1 << 20, &[Write(Stream::Stdout, b"kept".to_vec(), 0)]);
    let written = fs::metadata(dir.join("stdout.0"))
        .unwrap()
        .modified()
        .unwrap();
    let marker = fs::File::create(dir.join("stdout.9")).unwrap();
    let later = written + std::time::Duration::from_secs(60);
    marker.set_modified(later).unwrap();
    let chunks = read(&dir, Selection::Both, From::Start);
    let since = written.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(chunks[0].content, Content::Bytes(b"kept".to_vec()));
    assert_eq!(
        chunks[0].at_wall_ms,
        i64::try_from(since.as_millis()).unwrap()
    );
    assert_eq!(chunks[1].content, Content::Gap { bytes: 5 });
}

fn only(merged: &Merged, stream: Stream) -> Vec<u8> {
    let of_stream = merged.iter().filter(|(s, _)| *s == stream);
    of_stream.map(|(_, byte)| *byte).collect()
}

fn gaps(chunks: &[Chunk]) -> u64 {
    let gap = |chunk: &Chunk| match chunk.content {
        Content::Gap { bytes } => bytes,
        Content::Bytes(_) => 0,
    };
    chunks.iter().map(gap).sum()
}

/// Offsets go up without overlap, and what is delivered is what was written there.
fn assert_true(chunks: &[Chunk], written: &Merged) {
    let mut next = [0_u64; 2];
    let whole = [only(written, Stream::Stdout), only(written, Stream::Stderr)];
    for chunk in chunks {
        let at = &mut next[chunk.stream.index()];
        assert_eq!(chunk.offset, *at, "repeated or left out");
        match &chunk.content {
            Content::Gap { bytes } => *at += bytes,
            Content::Bytes(bytes) => {
                let from = usize::try_from(*at).unwrap();
                let there = &whole[chunk.stream.index()][from..from + bytes.len()];
                assert_eq!(bytes, there, "invented");
                *at += bytes.len() as u64;
            }
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    files.sort();
    files
}

fn size(dir: &Path, prefix: &str) -> u64 {
    let of_kind = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(prefix)
    };
    let lengths = files(dir).into_iter().filter(of_kind);
    lengths.map(|path| path.metadata().unwrap().len()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_interleaving_comes_back_in_order(writes in writes(), max in 1_usize..100, finish: bool) {
        let (_root, dir) = log_dir();
        let mut log = write_all(&dir, 1 << 20, &writes);
        if finish {
            log.finish();
        }
        let written = merged(&writes);
        let mut reader = open(&dir, Selection::Both, From::Start).unwrap();
        prop_assert_eq!(&flat(&drain(&mut reader, max)), &written);
        for (stream, selection) in [(Stream::Stdout, Selection::Stdout), (Stream::Stderr, Selection::Stderr)] {
            let alone = read(&dir, selection, From::Start);
            prop_assert_eq!(only(&flat(&alone), stream), only(&written, stream));
        }
    }

    #[test]
    fn a_cursor_goes_on_from_every_boundary(writes in writes(), max in 1_usize..40, split in 0_usize..60) {
        let (_root, dir) = log_dir();
        let written = merged(&writes);
        let split = split.min(writes.len());
        let mut log = write_all(&dir, 1 << 20, &writes[..split]);
        let mut got = Vec::new();
        let mut cursor = Cursor::default();
        let mut go_on = |got: &mut Merged| {
            loop {
                // A new reader for every chunk: nothing may live outside the cursor's string.
                let from = From::Offset(cursor.to_string().parse().unwrap());
                let mut reader = open(&dir, Selection::Both, from).unwrap();
                let Some(chunk) = reader.next_chunk(max).unwrap() else { break };
                got.extend(flat(&[chunk]));
                cursor = reader.cursor();
            }
        };
        go_on(&mut got);
        for Write(stream, bytes, _) in &writes[split..] {
            log.append(*stream, bytes, 2_000);
            go_on(&mut got);
        }
        log.finish();
        go_on(&mut got);
        prop_assert_eq!(got, written);
    }

    #[test]
    fn a_log_cut_anywhere_loses_only_what_was_cut(
        writes in writes(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
        limit in prop_oneof![Just(4096_u64), Just(1 << 20)],
    ) {
        let (_root, dir) = log_dir();
        let mut log = write_all(&dir, limit, &writes);
        log.finish();
        let files = files(&dir);
        for (file, at) in cuts {
            if files.is_empty() {
                break;
            }
            let path = file.get(&files);
            let length = path.metadata().unwrap().len();
            let kept = at.index(usize::try_from(length).unwrap() + 1) as u64;
            OpenOptions::new().write(true).open(path).unwrap().set_len(kept).unwrap();
        }
        let left = size(&dir, "std");
        let chunks = read(&dir, Selection::Both, From::Start);
        assert_true(&chunks, &merged(&writes));
        prop_assert_eq!(flat(&chunks).len() as u64, left, "what is on disk is delivered");
        for lines in 0..4 {
            read(&dir, Selection::Both, From::Tail { lines });
        }
    }

    #[test]
    fn damaged_order_never_damages_data(writes in writes(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let (_root, dir) = log_dir();
        write_all(&dir, 1 << 20, &writes).finish();
        let order = dir.join("order.0");
        if let Ok(mut bytes) = fs::read(&order) {
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            fs::write(&order, bytes).unwrap();
        }
        let chunks = read(&dir, Selection::Both, From::Start);
        let written = merged(&writes);
        assert_true(&chunks, &written);
        prop_assert_eq!(flat(&chunks).len(), written.len());
    }

    #[test]
    fn the_cap_holds_and_every_dropped_byte_is_counted(writes in prop::collection::vec(
        (any::<bool>(), 1_usize..900, 0_i64..10), 0..80)) {
        let (_root, dir) = log_dir();
        let writes: Vec<Write> = writes.into_iter().enumerate().map(|(n, (out, length, ms))| {
            let stream = if out { Stream::Stdout } else { Stream::Stderr };
            let bytes = (0..length).map(|i| u8::try_from((n * 7 + i) % 251).unwrap()).collect();
            Write(stream, bytes, ms)
        }).collect();
        let mut log = AttemptLog::open(&dir, 5_000);
        let mut followed = open(&dir, Selection::Both, From::Start).unwrap();
        let mut followed_chunks = Vec::new();
        for (n, Write(stream, bytes, ms)) in writes.iter().enumerate() {
            log.append(*stream, bytes, *ms);
            prop_assert!(size(&dir, "std") <= 5_000);
            if n % 5 == 0 {
                followed_chunks.extend(drain(&mut followed, 300));
            }
        }
        log.finish();
        let written = merged(&writes);
        let chunks = read(&dir, Selection::Both, From::Start);
        assert_true(&chunks, &written);
        prop_assert_eq!(gaps(&chunks), log.dropped_bytes());
        prop_assert_eq!(flat(&chunks).len() as u64 + gaps(&chunks), written.len() as u64);
        let head = written.len().min(1_250);
        prop_assert_eq!(&flat(&chunks)[..head], &written[..head]);
        followed_chunks.extend(drain(&mut followed, 300));
        assert_true(&followed_chunks, &written);
    }

    #[test]
    fn the_last_lines_are_those_of_a_naive_count(writes in writes(), lines in 0_u64..12, finish: bool, which in 0..3) {
        let (_root, dir) = log_dir();
        let mut log = write_all(&dir, 1 << 20, &writes);
        if finish {
            log.finish();
        }
        let selection = [Selection::Stdout, Selection::Stderr, Selection::Both][usize::try_from(which).unwrap()];
        let written: Merged = merged(&writes).into_iter().filter(|(s, _)| selection.has(*s)).collect();
        let chunks = read(&dir, selection, From::Tail { lines });
        prop_assert_eq!(flat(&chunks), naive_tail(&written, lines));
    }

    #[test]
    fn the_last_bytes_are_the_last_bytes(writes in writes(), bytes in 0_usize..400) {
        let (_root, dir) = log_dir();
        let _log = write_all(&dir, 1 << 20, &writes);
        let written = merged(&writes);
        let from = written.len().saturating_sub(bytes);
        let chunks = read(&dir, Selection::Both, From::TailBytes(bytes as u64));
        prop_assert_eq!(&flat(&chunks)[..], &written[from..]);
    }
}

/// Lines of each stream by where they end; the last `lines` of them.
fn naive_tail(written: &Merged, lines: u64) -> Merged {
    let mut open: [Vec<usize>; 2] = Default::default();
    let mut ended: Vec<Vec<usize>> = Vec::new();
    let last_of = |stream| written.iter().rposition(|(s, _)| *s == stream);
    let lasts = Stream::ALL.map(last_of);
    for (at, (stream, byte)) in written.iter().enumerate() {
        open[stream.index()].push(at);
        if *byte == b'\n' || lasts[stream.index()] == Some(at) {
            ended.push(std::mem::take(&mut open[stream.index()]));
        }
    }
    let from = ended.len().saturating_sub(usize::try_from(lines).unwrap());
    let mut kept: Vec<usize> = ended[from..].concat();
    kept.sort_unstable();
    kept.into_iter().map(|at| written[at]).collect()
}

#[test]
fn nothing_exists_before_the_first_byte_and_a_missing_log_is_empty() {
    let (_root, dir) = log_dir();
    let mut log = AttemptLog::open(&dir, 1 << 20);
    log.append(Stream::Stdout, b"", 1);
    log.finish();
    assert!(!dir.exists());
    for from in [
        From::Start,
        From::Tail { lines: 3 },
        From::TailBytes(3),
        From::Since { wall_ms: 0 },
    ] {
        let mut reader = open(&dir, Selection::Both, from).unwrap();
        assert_eq!(reader.next_chunk(10).unwrap(), None);
    }
    let mut reader = open(&dir, Selection::Both, From::Start).unwrap();
    log.append(Stream::Stderr, b"late", 2);
    assert_eq!(text(&drain(&mut reader, 100)), "late");
    assert_eq!(files(&dir).len(), 1, "{:?}", files(&dir));
    assert_eq!(fs::read(dir.join("stderr.0")).unwrap(), b"late");
}

#[test]
fn files_are_private() {
    let (_root, dir) = log_dir();
    write_all(&dir, 1 << 20, &[Write(Stream::Stdout, b"x".to_vec(), 0)]).finish();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in files(&dir) {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
}

#[test]
fn bars_count_as_one_line_and_the_open_line_counts() {
    let (_root, dir) = log_dir();
    let bar = b"start\n10%\r20%\r30%\r".to_vec();
    let _log = write_all(&dir, 1 << 20, &[Write(Stream::Stderr, bar, 0)]);
    let tail = |lines| text(&read(&dir, Selection::Both, From::Tail { lines }));
    assert_eq!(tail(0), "");
    assert_eq!(tail(1), "10%\r20%\r30%\r");
    assert_eq!(tail(2), "start\n10%\r20%\r30%\r");
    assert_eq!(tail(99), "start\n10%\r20%\r30%\r");
}

#[test]
fn a_tail_of_a_big_log_reads_little() {
    let (_root, dir) = log_dir();
    let mut log = AttemptLog::open(&dir, 1 << 40);
    let line = [vec![b'x'; 99], vec![b'\n']].concat();
    let megabyte = line.repeat(10_000);
    for at in 0..40 {
        log.append(Stream::Stdout, &megabyte, at);
    }
    log.append(Stream::Stderr, &vec![b'y'; 20 << 20], 100);
    let chunks = read(&dir, Selection::Stdout, From::Tail { lines: 3 });
    assert_eq!(flat(&chunks).len(), 300);
    // One line of 20 MiB: the tail is cut rather than read whole.
    let cut = flat(&read(&dir, Selection::Stderr, From::Tail { lines: 1 }));
    assert_eq!(cut.len(), 16 << 20);
}

#[test]
fn since_begins_at_its_time() {
    let (_root, dir) = log_dir();
    let mut log = AttemptLog::open(&dir, 1 << 20);
    for second in 0..100 {
        let stream = if second % 3 == 0 {
            Stream::Stderr
        } else {
            Stream::Stdout
        };
        log.append(stream, format!("{second}\n").as_bytes(), second * 1_000);
    }
    let since = |wall_ms| text(&read(&dir, Selection::Both, From::Since { wall_ms }));
    assert!(since(97_000).starts_with("97\n98\n99\n"));
    assert!(since(96_500).starts_with("97\n"));
    assert!(since(i64::MIN).starts_with("0\n1\n"));
    // The last piece has no record yet: its time is that of its file, which is long after 1970.
    assert_eq!(since(200_000), "99\n");
    assert_eq!(since(i64::MAX), "");
}

#[test]
fn a_follower_gets_everything_while_it_is_written() {
    let (_root, dir) = log_dir();
    let (tell, told) = std::sync::mpsc::channel();
    let writer_dir = dir.clone();
    let writer = std::thread::spawn(move || {
        let mut log = AttemptLog::open(&writer_dir, 64 << 20);
        for n in 0..20_000_i64 {
            let stream = if n % 7 < 4 {
                Stream::Stdout
            } else {
                Stream::Stderr
            };
            log.append(stream, format!("{n}\n").as_bytes(), n / 50);
        }
        log.finish();
        tell.send(()).unwrap();
    });
    let mut reader = open(&dir, Selection::Both, From::Start).unwrap();
    let mut got = Vec::new();
    let mut finished = false;
    loop {
        while let Some(chunk) = reader.next_chunk(500).unwrap() {
            got.extend_from_slice(&chunk.plain());
        }
        if finished {
            break;
        }
        finished = told.try_recv().is_ok();
        std::thread::yield_now();
    }
    writer.join().unwrap();
    let expected: String = (0..20_000).map(|n| format!("{n}\n")).collect();
    assert!(got == expected.as_bytes(), "order and bytes as written");
}

#[test]
fn a_follower_behind_a_rolling_log_sees_true_gaps() {
    let (_root, dir) = log_dir();
    let (tell, told) = std::sync::mpsc::channel();
    let writer_dir = dir.clone();
    let writer = std::thread::spawn(move || {
        let mut log = AttemptLog::open(&writer_dir, 64 << 10);
        for n in 0..20_000_u32 {
            log.append(
                Stream::Stdout,
                &n.to_le_bytes().repeat(16),
                i64::from(n / 10),
            );
        }
        log.finish();
        tell.send(()).unwrap();
    });
    let mut reader = open(&dir, Selection::Both, From::Start).unwrap();
    let mut next = 0;
    let mut finished = false;
    loop {
        while let Some(chunk) = reader.next_chunk(64).unwrap() {
            assert_eq!(chunk.offset, next);
            match chunk.content {
                Content::Gap { bytes } => next += bytes,
                Content::Bytes(bytes) => {
                    for (at, byte) in (next..).zip(&bytes) {
                        let n = u32::try_from(at / 64).unwrap().to_le_bytes();
                        assert_eq!(*byte, n[usize::try_from(at % 4).unwrap()]);
                    }
                    next += bytes.len() as u64;
                }
            }
        }
        if finished {
            break;
        }
        finished = told.try_recv().is_ok();
    }
    writer.join().unwrap();
    assert_eq!(next, 20_000 * 64);
}
