//! The reading of output by the shipped adapters: it says what can be true.

use stoked::model::progress::Source;
use stoked::progress::adapters::Catalogue;

use super::{output, progress};

/// Takes any output.
pub fn check(data: &[u8]) {
    let seen = output::check(&Catalogue::shipped(), data);
    // That one passes on what the job says of itself, true or not, as `progress.json` does.
    let json = Source::Adapter("json".to_owned());
    seen.iter()
        .filter(|seen| seen.source != json)
        .for_each(progress::is_sound);
    progress::merge(seen);
}
