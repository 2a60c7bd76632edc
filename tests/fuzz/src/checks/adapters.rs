//! The reading of output: it says what can be true, and the same however the output comes in chunks.

use stoked::model::progress::{Observation, Source};
use stoked::progress::adapters::{Catalogue, Hints};
use stoked::progress::text::TextFeed;

use super::{pieces, progress};

/// Ends whatever is open: only then nothing may remain of how the bytes came.
const END: &[u8] = b"\x1b\\\n";
/// Cutting at every byte is slow; in longer outputs only some places are tried.
const LONGEST_BY_BYTES: usize = 512;

/// Takes any output.
pub fn check(data: &[u8]) {
    let output = [data, END].concat();
    let seen = readings([output.as_slice()]);
    let whole = last_words(seen.clone());
    assert_eq!(
        seen.len(),
        whole.len(),
        "more than one observation of an adapter in one chunk"
    );
    let cut = readings(pieces(&output));
    assert_eq!(last_words(cut.clone()), whole, "in pieces");
    if output.len() <= LONGEST_BY_BYTES {
        assert_eq!(
            last_words(readings(output.chunks(1))),
            whole,
            "byte by byte"
        );
    }
    let catalogue = Catalogue::shipped();
    for seen in seen.iter().chain(&cut) {
        progress::is_sound(seen);
        let Source::Adapter(name) = &seen.source else {
            panic!("{:?} is no adapter", seen.source);
        };
        assert!(catalogue.find(name).is_some(), "there is no adapter {name}");
    }
    progress::merge(cut);
}

fn readings<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Observation> {
    let mut feed = TextFeed::new(&Catalogue::shipped(), &Hints::default());
    let mut seen = Vec::new();
    for chunk in chunks {
        feed.push(chunk, &mut seen);
    }
    seen
}

/// The last word of each adapter.
fn last_words(seen: Vec<Observation>) -> Vec<Observation> {
    let mut last: Vec<Observation> = Vec::new();
    for observation in seen {
        match last.iter_mut().find(|it| it.source == observation.source) {
            Some(before) => before.absorb(observation),
            None => last.push(observation),
        }
    }
    last.sort_by(|a, b| a.source.cmp(&b.source));
    last
}
