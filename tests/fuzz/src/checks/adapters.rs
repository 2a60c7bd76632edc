//! The reading of output: it says what can be true, and remembers the same however the output comes in chunks.

use stoked::model::progress::{Observation, Source};
use stoked::progress::adapters::Catalogue;
use stoked::progress::text::TextFeed;

use super::{pieces, progress};

/// Ends whatever is open: only then nothing may remain of how the bytes came.
const END: &[u8] = b"\x1b\\\n";
/// Cutting at every byte is slow; in longer outputs only some places are tried.
const LONGEST_BY_BYTES: usize = 512;

/// Takes any output.
///
/// A line that is still open may say what the whole line does not, and of lines in one chunk that look alike only the
/// last is read. So what is said may differ, but what is remembered may not: the same lines must say the same after it.
pub fn check(data: &[u8]) {
    let output = [data, END].concat();
    let whole = readings(&mut TextFeed::default(), [output.as_slice()]);
    let mut adapters: Vec<&Source> = whole.iter().map(|seen| &seen.source).collect();
    adapters.sort();
    let is_once = adapters.windows(2).all(|two| two[0] != two[1]);
    assert!(is_once, "an adapter speaks twice in one chunk");

    // No chunk has the ends of two lines.
    let lines: Vec<&[u8]> = output.split_inclusive(|byte| *byte < b' ').collect();
    let mut by_lines = TextFeed::default();
    readings(&mut by_lines, lines.iter().copied());
    let then = readings(&mut by_lines, lines.iter().copied());
    let mut in_pieces = TextFeed::default();
    let cut = readings(&mut in_pieces, lines.iter().flat_map(|line| pieces(line)));
    assert_eq!(
        readings(&mut in_pieces, lines.iter().copied()),
        then,
        "after pieces"
    );
    if output.len() <= LONGEST_BY_BYTES {
        let mut by_bytes = TextFeed::default();
        readings(&mut by_bytes, output.chunks(1));
        assert_eq!(
            readings(&mut by_bytes, lines.iter().copied()),
            then,
            "after bytes"
        );
    }
    let catalogue = Catalogue::shipped();
    for seen in whole.iter().chain(&cut) {
        let Source::Adapter(name) = &seen.source else {
            panic!("{:?} is no adapter", seen.source);
        };
        // That one passes on what the job says of itself, true or not, as `progress.json` does.
        if name != "json" {
            progress::is_sound(seen);
        }
        assert!(catalogue.find(name).is_some(), "there is no adapter {name}");
    }
    progress::merge(cut);
}

/// What a feed sees in the next chunks.
fn readings<'a>(
    feed: &mut TextFeed,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<Observation> {
    let mut seen = Vec::new();
    for chunk in chunks {
        feed.push(chunk, &mut seen);
    }
    seen
}
