//! One file: its text put over the settings so far, key by key, with every problem noted.

use crate::config::keys::{self, GROUP_PARALLELISM, GROUPS};
use crate::config::values::{Field, set};
use crate::config::{GroupSettings, Place, Problem, Settings};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is being read, and what was found wrong.
pub(super) struct Reading<'a> {
    /// The settings so far.
    pub(super) settings: &'a mut Settings,
    /// Where each key that was set has its value from.
    pub(super) places: &'a mut BTreeMap<String, Place>,
    /// What is wrong so far.
    pub(super) problems: &'a mut Vec<Problem>,
}

/// Puts the text of `file` over the settings. What is wrong with one key hinders no other.
pub(super) fn apply(text: &str, file: &Path, reading: &mut Reading<'_>) {
    let source = Source { text, file };
    let before = reading.problems.len();
    let (table, errors) = DeTable::parse_recoverable(text);
    walk(table.get_ref(), "", &source, reading);
    // A line that cannot be read says nothing, and then what it says is not wrong as well.
    let places: Vec<Place> = errors
        .iter()
        .map(|error| source.place(&error.span().unwrap_or(0..0)))
        .collect();
    let read = |problem: &Problem| {
        !places
            .iter()
            .any(|place| problem.place.as_ref() == Some(place))
    };
    let mut found: Vec<Problem> = reading.problems.drain(before..).filter(read).collect();
    for (error, place) in errors.iter().zip(&places) {
        found.push(Problem {
            place: Some(place.clone()),
            key: String::new(),
            what: error.message().to_owned(),
        });
    }
    found.sort_by_key(|problem| problem.place.as_ref().map(|place| place.line));
    reading.problems.extend(found);
}

struct Source<'a> {
    text: &'a str,
    file: &'a Path,
}

impl Source<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        Place {
            file: self.file.to_owned(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
        }
    }
}

impl Reading<'_> {
    fn problem(&mut self, place: Place, key: String, what: String) {
        self.problems.push(Problem {
            place: Some(place),
            key,
            what,
        });
    }

    fn outcome(&mut self, place: Place, key: String, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                self.places.insert(key, place);
            }
            Err(what) => self.problem(place, key, what),
        }
    }
}

fn walk(table: &DeTable<'_>, prefix: &str, source: &Source<'_>, reading: &mut Reading<'_>) {
    for (key, value) in table {
        let name = match prefix {
            "" => key.get_ref().to_string(),
            prefix => format!("{prefix}.{}", key.get_ref()),
        };
        let place = source.place(&key.span());
        if let Some(known) = keys::find(&name) {
            let outcome = set((known.field)(reading.settings), value.get_ref());
            reading.outcome(place, name, outcome);
        } else if name == GROUPS || keys::is_section(&name) {
            section(value, name, place, source, reading);
        } else {
            let what = format!("there is no such key{}", keys::nearest(&name));
            reading.problem(place, name, what);
        }
    }
}

fn section(
    value: &Spanned<DeValue<'_>>,
    name: String,
    place: Place,
    source: &Source<'_>,
    reading: &mut Reading<'_>,
) {
    let Some(table) = value.get_ref().as_table() else {
        let what = format!("this is a section: write [{name}] and its keys below");
        return reading.problem(place, name, what);
    };
    if name == GROUPS {
        groups(table, source, reading);
    } else {
        walk(table, &name, source, reading);
    }
}

fn groups(table: &DeTable<'_>, source: &Source<'_>, reading: &mut Reading<'_>) {
    for (name, value) in table {
        let path = format!("{GROUPS}.{}", name.get_ref());
        let place = source.place(&name.span());
        let Some(entries) = value.get_ref().as_table() else {
            let what = format!("this is a group: write [{path}] and {GROUP_PARALLELISM} = 4 below");
            reading.problem(place, path, what);
            continue;
        };
        let mut parallelism = None;
        for (key, value) in entries {
            let key_path = format!("{path}.{}", key.get_ref());
            let place = source.place(&key.span());
            if key.get_ref() != GROUP_PARALLELISM {
                let what = format!("there is no such key: a group has \"{GROUP_PARALLELISM}\"");
                reading.problem(place, key_path, what);
                continue;
            }
            let mut count = 0;
            let outcome = set(Field::Count(&mut count, 0), value.get_ref());
            parallelism = Some(count);
            reading.outcome(place, key_path, outcome);
        }
        if let Some(parallelism) = parallelism {
            let group = GroupSettings { parallelism };
            reading
                .settings
                .groups
                .insert(name.get_ref().to_string(), group);
        } else if entries.is_empty() {
            let what = format!("it says nothing: write {GROUP_PARALLELISM} = 4 below it");
            reading.problem(place, path, what);
        }
    }
}
