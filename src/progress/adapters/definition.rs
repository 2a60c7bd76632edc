//! What an adapter is, once its file has been read and found good.

use std::path::PathBuf;
use std::sync::OnceLock;

use regex::Regex;

use super::dialect;
use super::window::Need;

/// How to read the output of one program.
#[derive(Debug)]
pub struct Adapter {
    /// Its name; a later one of the same name takes its place.
    pub name: String,
    /// What it reads, for people.
    pub summary: String,
    /// Patterns of command names that hint at it.
    pub commands: Vec<String>,
    /// Kinds of jobs that hint at it.
    pub kinds: Vec<String>,
    /// It is read only for jobs that a hint fits.
    pub hinted_only: bool,
    /// Where it is from.
    pub origin: Origin,
    /// Its text, as it stands in its file.
    pub text: String,
    pub(in crate::progress) body: Body,
}

impl Adapter {
    /// Its patterns, in the order in which they are tried.
    #[cfg(test)]
    pub(in crate::progress) fn lines(&self) -> &[LineRule] {
        match &self.body {
            Body::Lines(lines) => lines,
            Body::Builtin(_) => &[],
        }
    }
}

/// Where an adapter is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It comes with the program.
    Shipped,
    /// From this file.
    File(PathBuf),
}

/// How an adapter reads.
#[derive(Debug)]
pub(in crate::progress) enum Body {
    /// By patterns of lines.
    Lines(Vec<LineRule>),
    /// By code.
    Builtin(Builtin),
}

/// A reader that is code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::progress) enum Builtin {
    /// Lines that are JSON objects with the fields of a progress file.
    Json,
    /// Guesses from counts and percents.
    Ratio,
}

/// What a pattern is tried on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::progress) enum On {
    /// Lines of text.
    #[default]
    Text,
    /// The payload of a string for the terminal (`ESC ] … ST`).
    Osc,
}

/// One sort of line.
#[derive(Debug)]
pub(in crate::progress) struct LineRule {
    pub pattern: Pattern,
    /// The groups that mean something.
    pub groups: Vec<(usize, Meaning)>,
    pub on: On,
    /// It is tried only for jobs that a hint fits.
    pub hinted_only: bool,
    pub bar: bool,
    /// Bars that are drawn together, from the top of their display.
    pub live: bool,
    pub open: bool,
    pub keep: bool,
    pub start: bool,
    pub done: bool,
    /// Each such line is one step more since the last `start`.
    pub count: bool,
    /// It is only remembered: the adapters after this one are asked about the line too.
    pub pass: bool,
    /// The part of the output that begins with such a line.
    pub enter: Option<String>,
    /// Only read in this part of the output.
    pub within: Option<String>,
    pub unit: Option<String>,
    /// What a prefix of a number means that does not say `iB`.
    pub scale: f64,
    pub set: Vec<(Meaning, Template)>,
    pub pairs: Pattern,
    /// A pair named like a field is that field.
    pub pairs_are_fields: bool,
    /// What a line must have, so that most lines need not be tried.
    pub(super) needs: Vec<Need>,
}

/// A regular expression that is compiled when it is first tried: most programs never are.
#[derive(Debug)]
pub(in crate::progress) struct Pattern {
    text: String,
    regex: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// A pattern of the dialect that was parsed before.
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: dialect::usual(text),
            regex: OnceLock::new(),
        }
    }

    /// The regular expression; none where it is too large to be compiled.
    pub(in crate::progress) fn regex(&self) -> Option<&Regex> {
        self.regex
            .get_or_init(|| Regex::new(&self.text).ok())
            .as_ref()
    }
}

/// What a named group of a pattern says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::progress) enum Meaning {
    Step,
    Total,
    Percent,
    Epoch,
    Epochs,
    /// The number of the last epoch, where they are counted from 0.
    LastEpoch,
    Rate,
    Pace,
    Eta,
    Elapsed,
    ElapsedTotal,
    Unit,
    Phase,
    Message,
    Status,
    Error,
    Item,
    /// Pairs of a name and a number.
    Metrics,
    /// The metric of this name.
    Metric(String),
    /// A word for use in texts.
    Word(String),
}

/// The names that mean something.
pub(super) const MEANINGS: &[(&str, Meaning)] = &[
    ("step", Meaning::Step),
    ("total", Meaning::Total),
    ("percent", Meaning::Percent),
    ("epoch", Meaning::Epoch),
    ("epochs", Meaning::Epochs),
    ("last_epoch", Meaning::LastEpoch),
    ("rate", Meaning::Rate),
    ("pace", Meaning::Pace),
    ("eta", Meaning::Eta),
    ("elapsed", Meaning::Elapsed),
    ("elapsed_total", Meaning::ElapsedTotal),
    ("unit", Meaning::Unit),
    ("phase", Meaning::Phase),
    ("message", Meaning::Message),
    ("status", Meaning::Status),
    ("error", Meaning::Error),
    ("item", Meaning::Item),
    ("metrics", Meaning::Metrics),
];

impl Meaning {
    /// The meaning of a group of this name; none where the name is no good.
    pub(super) fn of(name: &str) -> Option<Self> {
        if let Some((_, meaning)) = MEANINGS.iter().find(|(known, _)| *known == name) {
            return Some(meaning.clone());
        }
        if let Some(metric) = name.strip_prefix("metric.") {
            return (!metric.is_empty()).then(|| Self::Metric(metric.to_owned()));
        }
        let is_word = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        is_word.then(|| Self::Word(name.to_owned()))
    }

    /// The field that a pair of this name is, where pairs are fields.
    pub(in crate::progress) fn of_pair(name: &str) -> Option<Self> {
        Some(match name {
            "step" | "current_step" => Self::Step,
            "total" | "total_steps" => Self::Total,
            "epoch" | "current_epoch" => Self::Epoch,
            "epochs" | "total_epochs" => Self::Epochs,
            "eta_seconds" => Self::Eta,
            "item" | "metrics" => return None,
            _ => {
                return MEANINGS
                    .iter()
                    .find(|(it, _)| *it == name)
                    .map(|it| it.1.clone());
            }
        })
    }
}

/// A text with names in braces: `Receiving {name}`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::progress) struct Template(pub(super) Vec<Piece>);

/// A piece of a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    /// What the group of this name matched.
    Name(String),
}

impl Template {
    /// Takes a text apart; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (before, after) = rest.split_at(open);
            let Some((name, more)) = after[1..].split_once('}') else {
                return Err(format!("`{text}` has a `{{` without its `}}`"));
            };
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Name(name.to_owned()));
            rest = more;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    /// The names in it.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Name(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The text with its names filled in; none where one is not known.
    pub(in crate::progress) fn fill<'a>(
        &self,
        mut word: impl FnMut(&str) -> Option<&'a str>,
    ) -> Option<String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(fixed) => text.push_str(fixed),
                Piece::Name(name) => text.push_str(word(name)?),
            }
        }
        Some(text)
    }
}
