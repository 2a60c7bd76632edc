//! Files of adapters: what is wrong is said with its place, hinders no other, and the rest reads output safely.

use std::path::Path;
use std::sync::Arc;

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
    let lines = text.split('\n').count();
    for problem in &loaded.problems {
        assert!(
            problem.line <= lines,
            "line {} of {lines}: {problem}",
            problem.line
        );
        assert!(!problem.what.is_empty());
    }
    for adapter in loaded.catalogue.adapters() {
        assert!(!adapter.name.is_empty() && adapter.text.len() <= text.len());
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        assert!(adapter.name.chars().all(is_plain), "{}", adapter.name);
    }
    read(&loaded.catalogue, output);
}

fn read(catalogue: &Arc<Catalogue>, output: &str) {
    let mut feed = TextFeed::new(catalogue, &Hints::default());
    let mut seen: Vec<Observation> = Vec::new();
    for line in output.split_inclusive('\n') {
        feed.push(line.as_bytes(), &mut seen);
    }
    seen.iter().for_each(progress::is_sound);
    progress::merge(seen);
}
