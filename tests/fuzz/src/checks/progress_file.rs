//! `progress.json`: whatever a job writes, what comes of it is fit to show.

use std::path::Path;

use stoked::model::progress::{MAX_METRICS, MAX_STEPS, Source};
use stoked::progress::file;

use super::{parts, progress};

/// Takes the contents of the file as they follow each other, with NUL between them.
pub fn check(data: &[u8]) {
    let path = Path::new("progress.json");
    let mut all = Vec::new();
    for content in parts(data) {
        match file::parse(content, path) {
            Ok(seen) => {
                assert_eq!(seen.source, Source::File);
                assert!(seen.metrics.len() <= MAX_METRICS && seen.steps.len() <= MAX_STEPS);
                all.push(seen);
            }
            Err(error) => assert!(error.to_string().contains("progress.json"), "{error}"),
        }
    }
    progress::merge(all);
}
