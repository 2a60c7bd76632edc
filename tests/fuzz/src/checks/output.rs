//! What must hold of the reading of output by any adapters, however it comes in chunks.

use std::collections::BTreeMap;
use std::sync::Arc;

use stoked::model::progress::{Observation, Source};
use stoked::progress::adapters::{Catalogue, Hints};
use stoked::progress::text::TextFeed;

use super::pieces;

/// Ends whatever is open: only then nothing may remain of how the bytes came.
const END: &[u8] = b"\x1b\\\n";
/// Cutting at every byte is slow; in longer outputs only some places are tried.
const LONGEST_BY_BYTES: usize = 512;

/// Reads the output in several ways, and returns what was seen where it came in pieces.
///
/// Chunks that end where lines end say together what one chunk says. Within a line that is not so: while it is open it
/// may say what the whole of it does not. What is remembered is the same in any case: the same lines say the same after it.
pub(super) fn check(catalogue: &Arc<Catalogue>, output: &[u8]) -> Vec<Observation> {
    let output = [output, END].concat();
    // Neither a line nor an escape goes on after these two; after other ends of lines an escape may.
    let lines: Vec<&[u8]> = output
        .split_inclusive(|byte| matches!(byte, b'\n' | b'\r'))
        .collect();
    let feed = || TextFeed::new(catalogue, &Hints::default());
    let (mut whole, mut by_lines, mut in_pieces) = (feed(), feed(), feed());
    let said = readings(&mut whole, [output.as_slice()]);
    let count = said.len();
    let said = by_source(said);
    assert_eq!(said.len(), count, "an adapter speaks twice in one chunk");
    assert_eq!(
        by_source(readings(&mut by_lines, lines.iter().copied())),
        said,
        "by lines"
    );
    let cut = readings(&mut in_pieces, lines.iter().flat_map(|line| pieces(line)));

    let again = |feed: &mut TextFeed| readings(feed, lines.iter().copied());
    let then = again(&mut whole);
    assert_eq!(again(&mut by_lines), then, "after lines");
    assert_eq!(again(&mut in_pieces), then, "after pieces");
    if output.len() <= LONGEST_BY_BYTES {
        let mut by_bytes = feed();
        readings(&mut by_bytes, output.chunks(1));
        assert_eq!(again(&mut by_bytes), then, "after bytes");
    }
    let sources = said.keys().chain(cut.iter().map(|seen| &seen.source));
    for source in sources {
        let Source::Adapter(name) = source else {
            panic!("{source:?} is no adapter");
        };
        assert!(catalogue.find(name).is_some(), "there is no adapter {name}");
    }
    cut
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

/// What each adapter said in all.
fn by_source(all: Vec<Observation>) -> BTreeMap<Source, Observation> {
    let mut by_source: BTreeMap<Source, Observation> = BTreeMap::new();
    for seen in all {
        match by_source.get_mut(&seen.source) {
            Some(before) => before.absorb(seen),
            None => {
                by_source.insert(seen.source.clone(), seen);
            }
        }
    }
    by_source
}
