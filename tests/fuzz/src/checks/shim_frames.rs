//! Frames between daemon and shim: lines do not depend on how they came, and what is read is written the same.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stoked::wire::shim::{Claim, ExitRecord, FromShim, Lines, ToShim, decode, encode};

use super::pieces;

/// Takes what comes over a link.
pub fn check(data: &[u8]) {
    let whole = lines([data]);
    assert_eq!(lines(pieces(data)), whole, "in pieces");
    let expected = data.split_inclusive(|byte| *byte == b'\n');
    let expected: Vec<&[u8]> = expected
        .filter_map(|line| line.strip_suffix(b"\n"))
        .collect();
    assert_eq!(whole, expected);
    too_long(data);
    for line in data.split(|byte| *byte == b'\n') {
        same_after_writing::<ToShim>(line);
        same_after_writing::<FromShim>(line);
        same_after_writing::<ExitRecord>(line);
        same_after_writing::<Claim>(line);
    }
}

fn lines<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut lines = Lines::new(1 << 20);
    let mut all = Vec::new();
    for chunk in chunks {
        lines
            .push(chunk)
            .expect("no input is as long as the longest line");
        all.extend(std::iter::from_fn(|| lines.next_line()));
    }
    all
}

/// A line that is longer than it may be is refused wherever it is cut, and those before it have come out by then.
fn too_long(data: &[u8]) {
    const LIMIT_BYTES: usize = 32;
    let mut lines = Lines::new(LIMIT_BYTES);
    let mut given = Vec::new();
    let is_refused = pieces(data).into_iter().any(|piece| {
        let is_refused = lines.push(piece).is_err();
        given.extend(std::iter::from_fn(|| lines.next_line()));
        is_refused
    });
    let expected: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let fit = expected.iter().take_while(|line| line.len() <= LIMIT_BYTES);
    let fit = fit.count();
    assert_eq!(is_refused, fit < expected.len());
    assert!(given.len() >= fit.min(expected.len() - 1));
    assert_eq!(given, expected[..given.len()]);
}

fn same_after_writing<T: Serialize + DeserializeOwned + PartialEq + Debug>(line: &[u8]) {
    let Ok(frame) = decode::<T>(line) else {
        return;
    };
    let written = encode(&frame).expect("what was read can be written");
    let newline = written.iter().position(|byte| *byte == b'\n');
    assert_eq!(newline, Some(written.len() - 1), "a frame is one line");
    let read: T = decode(&written).expect("what was written can be read");
    assert_eq!(read, frame);
}
