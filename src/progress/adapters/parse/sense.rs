//! Whether the lines of an adapter, each of which can be understood, make sense together.

use std::collections::BTreeSet;

use super::{LineRule, MEANINGS, Meaning, On, Section, meant};

impl Section<'_, '_> {
    /// A line that could never say anything, or keys that contradict each other.
    pub(super) fn check_sense(&mut self, rule: &LineRule) {
        let has = |meaning: &Meaning| {
            rule.groups.iter().any(|(_, it)| it == meaning)
                || rule.set.iter().any(|(it, _)| it == meaning)
        };
        if rule.done && !has(&Meaning::Item) {
            self.fault("done", "it needs a group `item`: what is complete");
        }
        if rule.open && rule.on == On::Osc {
            self.fault("open", "a string for the terminal is never open");
        }
        if rule.open && (rule.count || rule.enter.is_some()) {
            self.fault("open", "what is remembered of a line needs its end");
        }
        if rule.live && (!rule.bar || rule.open) {
            self.fault("live", "it needs `bar`, and no `open`");
        }
        if rule.pass && !(rule.keep || rule.start || rule.enter.is_some()) {
            self.fault(
                "pass",
                "it needs `keep`, `start` or `enter`: something to remember",
            );
        }
        let is_noted = rule.start || rule.count || rule.enter.is_some();
        if rule.groups.is_empty() && rule.set.is_empty() && !is_noted {
            self.fault(
                "pattern",
                "it reads nothing: name a group, or `set` something",
            );
        }
    }

    /// A part of the output that no line begins would never be read.
    pub(super) fn check_parts(&mut self, rules: &[LineRule]) {
        let parts: Vec<&str> = rules.iter().filter_map(|it| it.enter.as_deref()).collect();
        for within in rules.iter().filter_map(|it| it.within.as_deref()) {
            if !parts.contains(&within) {
                let what = format!("no line enters `{within}`{}", meant(within, &parts));
                self.fault("within", what);
            }
        }
    }

    /// Texts may name groups of their own pattern, and those that a line of this adapter keeps.
    pub(super) fn check_names(&mut self, rules: &[LineRule]) {
        let names = |rule: &LineRule| -> BTreeSet<String> {
            let words = rule.groups.iter().filter_map(|(_, meaning)| {
                if let Meaning::Word(word) = meaning {
                    return Some(word.clone());
                }
                let known = MEANINGS.iter().find(|(_, it)| it == meaning);
                known.map(|(name, _)| (*name).to_owned())
            });
            words.collect()
        };
        let kept: BTreeSet<String> = rules.iter().filter(|it| it.keep).flat_map(names).collect();
        for rule in rules {
            let own = names(rule);
            for name in rule.set.iter().flat_map(|(_, text)| text.names()) {
                if !own.contains(name) && !kept.contains(name) {
                    self.fault("set", format!("`{{{name}}}` is no group of this pattern"));
                }
            }
        }
    }
}
