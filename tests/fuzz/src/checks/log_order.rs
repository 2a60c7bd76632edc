//! Records of the order of both streams: damage to them costs order, never a byte, and never an endless read.

use std::path::Path;

use stoked::logs::Stream;
use stoked::logs::read::{Chunk, Content, From, Selection, open};

const RECORD_BYTES: usize = 32;

/// Takes the file `order.0`. Both streams hold as much text as the lengths of the records may be about.
pub fn check(data: &[u8]) {
    let room = Path::new("/dev/shm");
    let room = if room.is_dir() {
        room
    } else {
        Path::new("/tmp")
    };
    let dir = tempfile::tempdir_in(room).expect("there is room for a log");
    let text: Vec<u8> = (0..=250).cycle().take(700).collect();
    for (name, bytes) in [
        ("stdout.0", &text[..]),
        ("stderr.0", &text[3..]),
        ("order.0", &sealed(data)),
    ] {
        std::fs::write(dir.path().join(name), bytes).expect("a log can be written");
    }
    let all = read(dir.path(), Selection::Both, From::Start);
    assert!(bytes(&all, Stream::Stdout) == text && bytes(&all, Stream::Stderr) == text[3..]);
    let stdout = read(dir.path(), Selection::Stdout, From::Start);
    assert!(bytes(&stdout, Stream::Stdout) == text && bytes(&stdout, Stream::Stderr).is_empty());
    for from in [
        From::Tail { lines: 2 },
        From::TailBytes(90),
        From::Since { wall_ms: 1_000 },
    ] {
        let tail = read(dir.path(), Selection::Both, from);
        assert!(text.ends_with(&bytes(&tail, Stream::Stdout)), "{from:?}");
        assert!(text.ends_with(&bytes(&tail, Stream::Stderr)), "{from:?}");
    }
}

/// The same with a right check wherever a record is marked by its last byte: by chance the fuzzer would never make one.
fn sealed(data: &[u8]) -> Vec<u8> {
    let mut order = data.to_vec();
    for record in order
        .chunks_exact_mut(RECORD_BYTES)
        .filter(|record| record[31] % 4 != 0)
    {
        record[28] = 1 + record[28] % 2;
        record[29] = 1;
        let hash = record[..30].iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
        let [a, b, c, d] = hash.to_le_bytes();
        (record[30], record[31]) = (a ^ c, b ^ d);
    }
    order
}

/// All of a log, as two readers see it who take turns: the second goes on where the first stood.
fn read(dir: &Path, selection: Selection, from: From) -> Vec<Chunk> {
    let mut reader = open(dir, selection, from).expect("a log can be opened");
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk(64).expect("a log can be read") {
        chunks.push(chunk);
        assert!(chunks.len() <= 2_000, "there is no end");
        if chunks.len() % 5 == 0 {
            let place = reader.cursor().to_string();
            let place = place.parse().expect("a place reads as it prints");
            reader = open(dir, selection, From::Offset(place)).expect("a log can be opened again");
        }
    }
    chunks
}

/// The bytes of one stream, each at its place and none missing.
fn bytes(chunks: &[Chunk], stream: Stream) -> Vec<u8> {
    let mut all: Vec<u8> = Vec::new();
    let mut next = None;
    for chunk in chunks.iter().filter(|chunk| chunk.stream == stream) {
        let Content::Bytes(bytes) = &chunk.content else {
            panic!("bytes are missing at {}", chunk.offset);
        };
        assert!(
            next.is_none_or(|next| next == chunk.offset),
            "not at {}",
            chunk.offset
        );
        next = Some(chunk.offset + bytes.len() as u64);
        all.extend(bytes);
    }
    all
}
