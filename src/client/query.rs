//! Query strings.

use std::fmt::{Display, Write};

/// Which jobs a list shall have. Empty means no restriction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobQuery {
    /// In one of these states.
    pub states: Vec<String>,
    /// Of this owner: uid or login name.
    pub owner: Option<String>,
    /// In this group.
    pub group: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this name.
    pub name: Option<String>,
    /// Of this flow.
    pub flow: Option<String>,
    /// With all of these labels, `KEY=VALUE` or `KEY`.
    pub labels: Vec<String>,
    /// Submitted at this time or later.
    pub since: Option<jiff::Timestamp>,
    /// Submitted before this time.
    pub until: Option<jiff::Timestamp>,
    /// With a number from the first to the second, both included.
    pub numbers: Option<(u64, u64)>,
    /// At most so many.
    pub limit: Option<u32>,
    /// The page that begins here.
    pub cursor: Option<String>,
}

impl JobQuery {
    pub(crate) fn target(&self) -> String {
        let mut target = Target::new("/v1/jobs");
        if !self.states.is_empty() {
            target.add("state", self.states.join(","));
        }
        target.add_some("owner", self.owner.as_ref());
        target.add_some("group", self.group.as_ref());
        target.add_some("kind", self.kind.as_ref());
        target.add_some("name", self.name.as_ref());
        target.add_some("flow", self.flow.as_ref());
        for label in &self.labels {
            target.add("label", label);
        }
        target.add_some("since", self.since);
        target.add_some("until", self.until);
        let range = self.numbers.map(|(first, last)| format!("{first}-{last}"));
        target.add_some("id", range);
        target.add_some("limit", self.limit);
        target.add_some("cursor", self.cursor.as_ref());
        target.text
    }
}

/// Which flows.
#[derive(Clone, Debug, Default)]
pub struct FlowQuery {
    /// Of this owner: uid or login name.
    pub owner: Option<String>,
    /// At most so many.
    pub limit: Option<u32>,
    /// The page that begins here.
    pub cursor: Option<String>,
}

impl FlowQuery {
    pub(crate) fn target(&self) -> String {
        let mut target = Target::new("/v1/flows");
        target.add_some("owner", self.owner.as_ref());
        target.add_some("limit", self.limit);
        target.add_some("cursor", self.cursor.as_ref());
        target.text
    }
}

/// Which series, when, and how closely.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesQuery {
    /// Their names.
    pub names: Vec<String>,
    /// From this time on.
    pub since: Option<jiff::Timestamp>,
    /// Up to this time.
    pub until: Option<jiff::Timestamp>,
    /// At most so many points of each.
    pub points: Option<u32>,
}

impl SeriesQuery {
    pub(crate) fn target(&self) -> String {
        let mut target = Target::new("/v1/series/query");
        for name in &self.names {
            target.add("name", name);
        }
        target.add_some("since", self.since);
        target.add_some("until", self.until);
        target.add_some("points", self.points);
        target.text
    }
}

/// Which runs are compared, in what, and over which axis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompareQuery {
    /// Jobs (`42`) or attempts (`42.1`).
    pub runs: Vec<String>,
    /// In what; every metric of the first run where empty.
    pub quantities: Vec<String>,
    /// `time`, `step` or `percent`.
    pub x: Option<String>,
    /// At most so many points of each.
    pub points: Option<u32>,
}

impl CompareQuery {
    pub(crate) fn target(&self) -> String {
        let mut target = Target::new("/v1/compare");
        for run in &self.runs {
            target.add("run", run);
        }
        for quantity in &self.quantities {
            target.add("quantity", quantity);
        }
        target.add_some("x", self.x.as_ref());
        target.add_some("points", self.points);
        target.text
    }
}

/// A path with its query, as it grows.
pub(crate) struct Target {
    text: String,
    separator: char,
}

impl Target {
    pub(crate) fn new(path: impl Into<String>) -> Self {
        Self {
            text: path.into(),
            separator: '?',
        }
    }

    pub(crate) fn add(&mut self, name: &str, value: impl Display) {
        self.text.push(self.separator);
        self.separator = '&';
        self.text.push_str(name);
        self.text.push('=');
        self.text.push_str(&encode(&value.to_string()));
    }

    pub(crate) fn add_some(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// Percent-encodes what is not plain in a path segment or a query value.
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b',' => {
                    out.push(byte.into());
                }
                // Writing to a String cannot fail.
                _ => {
                    let _written = write!(out, "%{byte:02X}");
                }
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_only_what_was_asked() {
        assert_eq!(JobQuery::default().target(), "/v1/jobs");
        let query = JobQuery {
            states: vec!["running".into(), "queued".into()],
            name: Some("a b/ü?".into()),
            labels: vec!["run=1&2".into(), "x".into()],
            limit: Some(7),
            ..JobQuery::default()
        };
        assert_eq!(
            query.target(),
            "/v1/jobs?state=running,queued&name=a%20b%2F%C3%BC%3F&label=run%3D1%262&label=x&limit=7"
        );
    }
}
