//! Reads a file of adapters. What is wrong with one adapter is said with its place, and hinders no other.

mod keys;
mod sense;

use std::fmt;
use std::ops::Range;

use regex_syntax::hir::Hir;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::definition::{
    Adapter, Body, Builtin, LineRule, MEANINGS, Meaning, On, Origin, Pattern, Template,
};
use super::{dialect, window};

/// How pairs of a name and a number are found unless an adapter says otherwise.
const PAIRS: &str = r"(?<name>[\w./-]+)\s*[=:]\s*(?<value>\S+)";

const ADAPTER_KEYS: &[&str] = &[
    "name",
    "summary",
    "commands",
    "kinds",
    "hinted_only",
    "unit",
    "scale",
    "disabled",
    "builtin",
    "line",
];
const LINE_KEYS: &[&str] = &[
    "pattern",
    "on",
    "hinted_only",
    "bar",
    "live",
    "open",
    "keep",
    "start",
    "done",
    "count",
    "pass",
    "enter",
    "within",
    "unit",
    "scale",
    "set",
    "metrics",
    "pairs",
];

/// One thing that is wrong with a file of adapters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file; none for what comes with the program.
    pub origin: Origin,
    /// The line, from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// The adapter, as far as its name is known.
    pub adapter: String,
    /// The key, as it is written; empty where none is meant.
    pub key: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, self.line) {
            (Origin::Shipped, line) => write!(f, "shipped:{line}: ")?,
            (Origin::File(file), 0) => write!(f, "{}: ", file.display())?,
            (Origin::File(file), line) => write!(f, "{}:{line}: ", file.display())?,
        }
        if !self.adapter.is_empty() {
            write!(f, "adapter {}: ", self.adapter)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// What a file says of one adapter.
#[derive(Debug)]
pub(super) enum Entry {
    Adapter(Box<Adapter>),
    /// The adapter of this name is switched off.
    Disabled(String),
}

/// What is in a file, and what is wrong with it.
pub(super) fn parse(text: &str, origin: &Origin) -> (Vec<Entry>, Vec<Problem>) {
    let mut file = File {
        text,
        origin,
        problems: Vec::new(),
    };
    let mut entries = Vec::new();
    match DeTable::parse(text) {
        Ok(table) => file.table(table.get_ref(), &mut entries),
        Err(error) => {
            let line = file.line(&error.span().unwrap_or(0..0));
            file.problem(line, "", "", error.message().to_owned());
        }
    }
    (entries, file.problems)
}

struct File<'a> {
    text: &'a str,
    origin: &'a Origin,
    problems: Vec<Problem>,
}

/// The reading of one table: an adapter or one of its lines.
struct Section<'f, 'a> {
    file: &'f mut File<'a>,
    adapter: String,
    line: usize,
    is_good: bool,
}

impl File<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn problem(&mut self, line: usize, adapter: &str, key: &str, what: String) {
        self.problems.push(Problem {
            origin: self.origin.clone(),
            line,
            adapter: adapter.to_owned(),
            key: key.to_owned(),
            what,
        });
    }

    fn table(&mut self, table: &DeTable<'_>, entries: &mut Vec<Entry>) {
        let mut starts = Vec::new();
        for (key, value) in table {
            let line = self.line(&key.span());
            let key = key.get_ref().as_ref();
            let what = match (key, value.get_ref().as_array()) {
                ("adapter", Some(adapters)) => {
                    starts.extend(adapters.iter());
                    continue;
                }
                ("adapter", None) => "adapters begin with `[[adapter]]`",
                _ => "a file of adapters has `[[adapter]]` and nothing beside it",
            };
            self.problem(line, "", key, what.to_owned());
        }
        let lines: Vec<usize> = starts.iter().map(|it| self.line(&it.span())).collect();
        for (at, adapter) in starts.into_iter().enumerate() {
            let text = self.lines(lines[at], lines.get(at + 1).copied());
            entries.extend(self.adapter(adapter, lines[at], text));
        }
    }

    /// The text from one line up to another, with the comments above the first.
    fn lines(&self, from: usize, to: Option<usize>) -> String {
        let all: Vec<&str> = self.text.lines().collect();
        let above = |line: usize| {
            let before = all[..line.saturating_sub(1).min(all.len())].iter().rev();
            line - before.take_while(|text| text.starts_with('#')).count()
        };
        let from = above(from).saturating_sub(1).min(all.len());
        let to = to.map_or(all.len(), |line| above(line).saturating_sub(1));
        all[from..to.max(from)].join("\n").trim().to_owned()
    }

    fn adapter(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        line: usize,
        text: String,
    ) -> Option<Entry> {
        let DeValue::Table(table) = value.get_ref() else {
            self.problem(line, "", "adapter", "an adapter is a table".to_owned());
            return None;
        };
        let name = match table.get("name").map(Spanned::get_ref) {
            Some(DeValue::String(name)) => name.to_string(),
            _ => String::new(),
        };
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        let has_name = !name.is_empty() && name.len() <= 64 && name.chars().all(is_name);
        let origin = self.origin.clone();
        let mut section = Section {
            file: self,
            adapter: name.clone(),
            line,
            is_good: true,
        };
        if !has_name {
            section.fault(
                "name",
                "a name of a-z, 0-9, `.`, `_` and `-` is needed, such as \"rsync\"",
            );
        }
        section.check_keys(table, ADAPTER_KEYS);
        if section.flag(table, "disabled") {
            return section.is_good.then_some(Entry::Disabled(name));
        }
        let adapter = Adapter {
            summary: section.text(table, "summary").unwrap_or_default(),
            commands: section.texts(table, "commands"),
            kinds: section.texts(table, "kinds"),
            hinted_only: section.flag(table, "hinted_only"),
            body: section.body(table)?,
            name,
            origin,
            text,
        };
        section.is_good.then(|| Entry::Adapter(Box::new(adapter)))
    }
}

impl Section<'_, '_> {
    fn body(&mut self, table: &DeTable<'_>) -> Option<Body> {
        let builtin = self.text(table, "builtin");
        let (unit, scale) = (self.text(table, "unit"), self.scale(table));
        let lines = match self.get(table, "line") {
            None => Vec::new(),
            Some(DeValue::Array(lines)) => lines.iter().collect(),
            Some(_) => {
                self.fault("line", "lines begin with `[[adapter.line]]`");
                return None;
            }
        };
        match (builtin.as_deref(), lines.is_empty()) {
            (None, false) => {
                let rules: Vec<_> = lines
                    .into_iter()
                    .filter_map(|line| self.rule(line, unit.as_deref(), scale))
                    .collect();
                self.check_names(&rules);
                self.check_parts(&rules);
                Some(Body::Lines(rules))
            }
            (Some("json"), true) => Some(Body::Builtin(Builtin::Json)),
            (Some("ratio"), true) => Some(Body::Builtin(Builtin::Ratio)),
            (Some("json" | "ratio"), false) => {
                self.fault("builtin", "an adapter has either `builtin` or lines");
                None
            }
            (Some(_), _) => {
                self.fault("builtin", "it is \"json\" or \"ratio\"");
                None
            }
            (None, true) => {
                self.fault("line", "at least one `[[adapter.line]]` is needed");
                None
            }
        }
    }

    fn rule(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        unit: Option<&str>,
        scale: Option<f64>,
    ) -> Option<LineRule> {
        self.at(value);
        let start = self.line;
        let DeValue::Table(table) = value.get_ref() else {
            self.fault("line", "a line is a table");
            return None;
        };
        self.check_keys(table, LINE_KEYS);
        self.line = start;
        let Some(pattern) = self.text(table, "pattern") else {
            self.fault("pattern", "a regular expression is needed");
            return None;
        };
        let (hir, names) = self.regex("pattern", &pattern)?;
        let groups = self.groups(&names);
        let set = self.set(table);
        let rule = LineRule {
            needs: window::needs(&hir),
            pattern: Pattern::new(&pattern),
            on: self.on(table),
            hinted_only: self.flag(table, "hinted_only"),
            bar: self.flag(table, "bar"),
            live: self.flag(table, "live"),
            open: self.flag(table, "open"),
            keep: self.flag(table, "keep"),
            start: self.flag(table, "start"),
            done: self.flag(table, "done"),
            count: self.flag(table, "count"),
            pass: self.flag(table, "pass"),
            enter: self.text(table, "enter"),
            within: self.text(table, "within"),
            unit: self.text(table, "unit").or_else(|| unit.map(str::to_owned)),
            scale: self.scale(table).or(scale).unwrap_or(1000.0),
            pairs: self.pairs(table),
            pairs_are_fields: self.flag(table, "pairs"),
            groups,
            set,
        };
        self.line = start;
        self.check_sense(&rule);
        Some(rule)
    }

    fn on(&mut self, table: &DeTable<'_>) -> On {
        match self.text(table, "on").as_deref() {
            None | Some("text") => On::Text,
            Some("osc") => On::Osc,
            Some(_) => {
                self.fault("on", "it is \"text\" or \"osc\"");
                On::Text
            }
        }
    }

    /// The pattern and the names of its groups, by number.
    fn regex(&mut self, key: &str, pattern: &str) -> Option<(Hir, Vec<Option<String>>)> {
        let usual = dialect::usual(pattern);
        match (regex_syntax::parse(&usual), self.file.origin) {
            (Err(error), _) => {
                let what = match &error {
                    regex_syntax::Error::Parse(error) => error.kind().to_string(),
                    regex_syntax::Error::Translate(error) => error.kind().to_string(),
                    _ => "it cannot be understood".to_owned(),
                };
                self.fault(key, format!("no regular expression: {what}"));
                None
            }
            // What is shipped is compiled by its test.
            (Ok(_), Origin::File(_)) if regex::Regex::new(&usual).is_err() => {
                self.fault(key, "the regular expression is too large");
                None
            }
            (Ok(hir), _) => {
                let mut names = vec![None; hir.properties().explicit_captures_len() + 1];
                note_names(&hir, &mut names);
                Some((hir, names))
            }
        }
    }

    fn groups(&mut self, names: &[Option<String>]) -> Vec<(usize, Meaning)> {
        let mut groups = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let Some(name) = name else { continue };
            match Meaning::of(name) {
                Some(meaning) => groups.push((at, meaning)),
                None => {
                    let known: Vec<&str> = MEANINGS.iter().map(|(name, _)| *name).collect();
                    let what = format!(
                        "the group `{name}` means nothing{}; other names are of a-z, 0-9 and `_`",
                        meant(name, &known)
                    );
                    self.fault("pattern", what);
                }
            }
        }
        groups
    }

    fn pairs(&mut self, table: &DeTable<'_>) -> Pattern {
        let Some(pattern) = self.text(table, "metrics") else {
            return Pattern::new(PAIRS);
        };
        if let Some((_, names)) = self.regex("metrics", &pattern) {
            let has = |name: &str| names.iter().flatten().any(|it| it == name);
            if !has("name") || !has("value") {
                self.fault("metrics", "it needs the groups `name` and `value`");
            }
        }
        Pattern::new(&pattern)
    }

    fn set(&mut self, table: &DeTable<'_>) -> Vec<(Meaning, Template)> {
        let values = match self.get(table, "set") {
            None => return Vec::new(),
            Some(DeValue::Table(values)) => values,
            Some(_) => {
                self.fault("set", "it is a table, such as { phase = \"Receiving\" }");
                return Vec::new();
            }
        };
        let mut set = Vec::new();
        for (key, value) in values {
            self.at(value);
            let key = key.get_ref().as_ref();
            let meaning =
                Meaning::of(key).filter(|it| !matches!(it, Meaning::Word(_) | Meaning::Metrics));
            let value = value.get_ref();
            let integer = value.as_integer().map(|number| number.as_str());
            let float = value.as_float().map(|number| number.as_str());
            let text = value.as_str().or(integer).or(float);
            let key = format!("set.{key}");
            match (meaning, text.map(Template::parse)) {
                (Some(meaning), Some(Ok(template))) => set.push((meaning, template)),
                (_, Some(Err(what))) => self.fault(&key, what),
                (Some(_), None) => self.fault(&key, "it is a text or a number"),
                (None, _) => {
                    let known: Vec<&str> = MEANINGS.iter().map(|(name, _)| *name).collect();
                    self.fault(
                        &key,
                        format!("there is no such field{}", meant(&key[4..], &known)),
                    );
                }
            }
        }
        set
    }
}

fn note_names(hir: &Hir, names: &mut [Option<String>]) {
    use regex_syntax::hir::HirKind;
    match hir.kind() {
        HirKind::Capture(capture) => {
            if let Some(place) = names.get_mut(capture.index as usize) {
                *place = capture.name.as_deref().map(str::to_owned);
            }
            note_names(&capture.sub, names);
        }
        HirKind::Repetition(repetition) => note_names(&repetition.sub, names),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().for_each(|part| note_names(part, names));
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => {}
    }
}

/// `: do you mean …?`, where something known is near.
fn meant(key: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|it| (strsim::damerau_levenshtein(key, it), it))
        .filter(|(distance, it)| *distance <= 1 + it.len() / 4)
        .min();
    near.map(|(_, it)| format!(": do you mean `{it}`?"))
        .unwrap_or_default()
}
