//! `progress.json`: whatever a job writes, what comes of it is fit to show.

use std::path::Path;

use serde_json::Value;
use stoked::model::progress::{MAX_METRICS, MAX_STEPS, Source};
use stoked::progress::file;
use stoked::progress::text::TextFeed;
use stoked::progress::text::lines::MAX_LINE_BYTES;

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
                same_in_a_line(content);
                all.push(seen);
            }
            Err(error) => assert!(error.to_string().contains("progress.json"), "{error}"),
        }
    }
    progress::merge(all);
}

/// Counts in an object say the same where the job prints it as a line.
fn same_in_a_line(content: &[u8]) {
    let value: Value = serde_json::from_slice(content).expect("it has been read");
    let line = value.to_string();
    let mut expected = file::parse(line.as_bytes(), Path::new("")).expect("it is an object");
    if line.len() > MAX_LINE_BYTES || !expected.has_counts() {
        return;
    }
    // Logs have numbers there.
    expected.status = expected.status.filter(|_| value["status"].is_string());
    expected.source = Source::Adapter("json".to_owned());
    let mut seen = Vec::new();
    let mut feed = TextFeed::default().only("json");
    feed.push(format!("{line}\n").as_bytes(), &mut seen);
    assert_eq!(seen, [expected]);
}
