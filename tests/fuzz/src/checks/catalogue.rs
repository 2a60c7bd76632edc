//! Files of adapters: what is wrong is said with its place, hinders no other, and the rest reads output safely.

use std::path::Path;

use stoked::model::progress::Source;
use stoked::progress::adapters::load::of_text;

use super::{output, progress};

/// Takes the text of a file of adapters and, after a NUL, output for them.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (text, given) = text.split_once('\0').unwrap_or((&text, &text));
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
    let seen = output::check(&loaded.catalogue, given.as_bytes());
    // Objects of JSON pass on what the job says of itself, true or not.
    let passes_on = |source: &Source| {
        let mut adapters = loaded.catalogue.adapters().iter();
        adapters.any(|it| *source == Source::Adapter(it.name.clone()) && it.text.contains("json"))
    };
    seen.iter()
        .filter(|seen| !passes_on(&seen.source))
        .for_each(progress::is_sound);
    progress::merge(seen);
}
