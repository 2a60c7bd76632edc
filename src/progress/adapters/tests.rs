//! The shipped adapters, and files that are wrong.

use super::*;

#[test]
fn shipped_files_have_no_problems() {
    for (name, text) in shipped::FILES {
        let (entries, problems) = parse::parse(text, &Origin::Shipped);
        assert!(problems.is_empty(), "{name}: {}", problems[0]);
        assert!(!entries.is_empty(), "{name}");
    }
}

#[test]
fn shipped_patterns_compile_and_are_tried_on_few_lines() {
    for adapter in Catalogue::shipped().adapters() {
        for (at, rule) in (1..).zip(adapter.lines()) {
            let name = &adapter.name;
            assert!(
                rule.pattern.is_sound() && rule.pairs.is_sound(),
                "{name}, line {at}"
            );
            let rarest = rule.needs.first().map_or(1.0, window::need_weight);
            assert!(
                rarest < 0.002,
                "{name}, line {at}: {rarest} of all places have what it needs"
            );
        }
    }
}
