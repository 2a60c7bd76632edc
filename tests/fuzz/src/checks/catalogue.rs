//! Files of adapters: what is wrong is said with its place, hinders no other, and the rest reads output safely.

use std::path::Path;

use stoked::model::progress::Observation;
use stoked::progress::adapters::load::of_text;
use stoked::progress::adapters::{Catalogue, Hints};
use stoked::progress::text::TextFeed;

use super::progress;

/// Takes the text of a file of adapters and, after a NUL, output for them.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (text, output) = text.split_once('\0').unwrap_or((&text, &text));
    let loaded = of_text(text, Path::new("fuzz.toml"));
    let lines = text.lines().count().max(1);
    for problem in &loaded.problems {
        assert!(
            problem.line <= lines,
            "line {} of {lines}: {problem}",
            problem.line
        );
        assert!(!problem.what.is_empty());
    }
    let shipped = Catalogue::shipped();
    for adapter in loaded.catalogue.adapters() {
        let is_new = shipped.find(&adapter.name).is_none();
        assert!(
            !is_new || text.contains(&adapter.name) || text.contains('\\'),
            "{}",
            adapter.name
        );
        assert!(adapter.text.len() <= text.len().max(64 << 10));
    }
    // Most inputs are no good file, and reading by the shipped adapters alone is another target's.
    if loaded.catalogue.adapters().len() > shipped.adapters().len() {
        read(&loaded.catalogue, output);
    }
}

fn read(catalogue: &std::sync::Arc<Catalogue>, output: &str) {
    let mut feed = TextFeed::new(catalogue, &Hints::default());
    let mut seen: Vec<Observation> = Vec::new();
    for line in output.split_inclusive('\n') {
        feed.push(line.as_bytes(), &mut seen);
    }
    seen.iter().for_each(progress::is_sound);
    progress::merge(seen);
}
