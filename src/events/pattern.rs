//! Which events a subscriber wants: patterns over channels, and whose events it may see.

use crate::model::event::{Event, shown_channel};
use crate::model::id::JobId;
use std::fmt;
use std::str::FromStr;

/// A pattern over channels: `job/*/state`, `job/42/*`, `group/train*/state`, or `*` for everything.
///
/// A star stands for any characters of one part, a slash never among them. What is measured comes all the time, so
/// that `*` leaves it out: `*/*/metrics` and `*/*/*` ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Entity, id and topic; `None` is the pattern that matches everything but what is measured.
    parts: Option<[Box<str>; 3]>,
}

/// A text that is not a pattern.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "\"{0}\" is not a channel: write ENTITY/ID/TOPIC, where each part may contain *, as in job/42/* or job/*/state"
)]
pub struct NotAPattern(String);

/// The longest pattern that is looked at; the longest channel there is is shorter.
const MAX_PATTERN_BYTES: usize = 256;

impl Pattern {
    /// Everything about one job.
    #[must_use]
    pub fn job(id: JobId) -> Self {
        Self {
            parts: Some(["job".into(), id.to_string().into(), "*".into()]),
        }
    }

    /// Whether `channel` matches.
    #[must_use]
    pub fn matches(&self, channel: &str) -> bool {
        let Some(parts) = &self.parts else {
            return !is_measured(channel);
        };
        parts
            .iter()
            .zip(split(shown_channel(channel)))
            .all(|(pattern, part)| part_matches(pattern, part))
    }

    /// Whether it asks for what is measured, and for nothing else.
    #[must_use]
    pub fn is_of_metrics(&self) -> bool {
        let parts = self.parts.as_ref();
        parts.is_some_and(|[.., topic]| &**topic == METRICS)
    }

    /// Whether it admits anything that is measured.
    #[must_use]
    pub fn admits_metrics(&self) -> bool {
        let parts = self.parts.as_ref();
        parts.is_some_and(|[.., topic]| part_matches(topic, METRICS))
    }

    /// The one job whose channels this pattern matches, where it is about exactly one.
    #[must_use]
    pub fn single_job(&self) -> Option<JobId> {
        let [entity, id, topic] = self.parts.as_ref()?;
        let about_all = &**entity == "job" && &**topic == "*";
        let number = about_all.then(|| id.parse().ok().map(JobId)).flatten();
        // No channel has another form of the number, such as `06`.
        number.filter(|number| number.to_string() == **id)
    }
}

impl FromStr for Pattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self { parts: None });
        }
        let parts: Vec<&str> = text.split('/').collect();
        let [entity, id, topic] = parts[..] else {
            return Err(refused(text));
        };
        let empty = entity.is_empty() || id.is_empty() || topic.is_empty();
        if empty || text.len() > MAX_PATTERN_BYTES || text.chars().any(char::is_control) {
            return Err(refused(text));
        }
        Ok(Self {
            parts: Some([entity.into(), id.into(), topic.into()]),
        })
    }
}

fn refused(text: &str) -> NotAPattern {
    NotAPattern(text.chars().filter(|c| !c.is_control()).take(80).collect())
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.parts {
            None => f.write_str("*"),
            Some([entity, id, topic]) => write!(f, "{entity}/{id}/{topic}"),
        }
    }
}

/// The topic of what is measured.
const METRICS: &str = "metrics";

fn is_measured(channel: &str) -> bool {
    split(channel)[2] == METRICS
}

fn is_state_of_job(channel: &str) -> bool {
    matches!(split(channel), ["job", _, "state"])
}

/// Entity, id and topic of a channel. An id may contain slashes, so it is what is left in the middle.
fn split(channel: &str) -> [&str; 3] {
    let (entity, rest) = channel.split_once('/').unwrap_or((channel, ""));
    let (id, topic) = rest.rsplit_once('/').unwrap_or((rest, ""));
    [entity, id, topic]
}

/// The part of a channel that all channels of one entity share, with the last slash.
pub(crate) fn entity_prefix(channel: &str) -> &str {
    channel
        .rfind('/')
        .and_then(|slash| channel.get(..=slash))
        .unwrap_or(channel)
}

/// Whether `text` matches `pattern`. Remembers only the last star, so time is bounded by the product
/// of the lengths whatever the pattern is.
fn part_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == text.get(t) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern
        .get(p..)
        .is_some_and(|rest| rest.iter().all(|c| *c == b'*'))
}

/// Whose events a subscriber may see at all; what it sees of others' is decided where it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Everybody's.
    Everybody,
    /// Those of one user, the states of the jobs of others, and what is nobody's.
    States(u32),
    /// Those of one user, and those that are nobody's.
    Only(u32),
}

/// What sort of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Durable, numbered, never left out.
    Lifecycle,
    /// Progress and the like: only the newest value counts.
    Telemetry,
}

/// What a subscriber wants and may see.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Patterns, of which one must match.
    pub channels: Vec<Pattern>,
    /// Whose events it may see.
    pub sight: Sight,
    /// About the entities of these users alone; empty means of anybody.
    pub owners: Vec<u32>,
    /// Of these types alone; empty means of any.
    pub kinds: Vec<Box<str>>,
    /// Of this class alone.
    pub class: Option<Class>,
}

impl Filter {
    /// Everything, of everybody.
    #[must_use]
    pub fn everything() -> Self {
        Self::of(vec![Pattern { parts: None }])
    }

    /// Everything on channels that match one of these patterns, of everybody.
    #[must_use]
    pub fn of(channels: Vec<Pattern>) -> Self {
        Self {
            channels,
            sight: Sight::Everybody,
            owners: Vec::new(),
            kinds: Vec::new(),
            class: None,
        }
    }

    /// Whether `event` is wanted and may be seen.
    #[must_use]
    pub fn admits(&self, event: &Event) -> bool {
        let seen = match (self.sight, event.uid) {
            (Sight::Everybody, _) | (_, None) => true,
            (Sight::States(uid), Some(owner)) => uid == owner || is_state_of_job(&event.channel),
            (Sight::Only(uid), Some(owner)) => uid == owner,
        };
        seen && self.is_wanted(event) && self.channels.iter().any(|p| p.matches(&event.channel))
    }

    fn is_wanted(&self, event: &Event) -> bool {
        // The end of the one job that is watched ends the stream, whatever else is wanted of it.
        if event.is_final && self.single_job().is_some() {
            return true;
        }
        let class = match event.seq {
            Some(_) => Class::Lifecycle,
            None => Class::Telemetry,
        };
        let owners = &self.owners;
        self.class.is_none_or(|wanted| wanted == class)
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| **kind == *event.kind))
            && (owners.is_empty() || event.uid.is_some_and(|uid| owners.contains(&uid)))
    }

    /// Whether somebody who wants this looks at what is measured.
    #[must_use]
    pub fn asks_for_metrics(&self) -> bool {
        self.channels.iter().any(Pattern::is_of_metrics)
    }

    /// Whether it can admit anything that is measured.
    #[must_use]
    pub fn admits_metrics(&self) -> bool {
        self.channels.iter().any(Pattern::admits_metrics)
    }

    /// Whether it can admit anything of such entities (`job`, `group`, …).
    #[must_use]
    pub fn reaches(&self, entity: &str) -> bool {
        self.channels.iter().any(|pattern| match &pattern.parts {
            None => true,
            Some([part, ..]) => part_matches(part, entity),
        })
    }

    /// The one job this filter is about, where it is about exactly one.
    #[must_use]
    pub fn single_job(&self) -> Option<JobId> {
        let [pattern] = &self.channels[..] else {
            return None;
        };
        pattern.single_job()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_they_read() {
        for (pattern, channel, wanted) in [
            ("*", "job/42/state", true),
            ("*", "daemon/self/health", true),
            ("*", "host/cpu/metrics", false),
            ("*/*/*", "host/cpu/metrics", true),
            ("*/*/metrics", "job/42/metrics", true),
            ("job/42/*", "job/42/metrics", true),
            ("job/*/state", "job/42/state", true),
            ("job/*/state", "job/42/progress", false),
            ("job/*/state", "group/train/state", false),
            ("job/42/*", "job/42/progress", true),
            ("job/42/*", "job/421/progress", false),
            ("job/42/*", "job/4/progress", false),
            ("job/4*/state", "job/42/state", true),
            ("job/4*/state", "job/24/state", false),
            ("job/*2/state", "job/42/state", true),
            ("job/*2*2/state", "job/4242/state", true),
            ("job/*2*2/state", "job/4243/state", false),
            ("group/train/state", "group/train/state", true),
            ("group/train/state", "group/trains/state", false),
            ("group/*/state", "group/a/b/state", true),
            ("flow/a/progress", "flow/a/progress@1000", true),
            ("flow/*/progress", "flow/a@b/c/progress@1000", true),
            ("flow/a/progress@1000", "flow/a/progress@1000", false),
            ("*/*/state", "group/train/state", true),
            ("*/*/*", "job/1/log", true),
            ("job/**/state", "job/1/state", true),
        ] {
            let parsed: Pattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(channel), wanted, "{pattern} on {channel}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let long = format!("job/{}/state", "9".repeat(300));
        for text in [
            "",
            "job",
            "job/42",
            "job/42/",
            "/42/state",
            "a/b/c/d",
            "j\nb/1/x",
            &long,
        ] {
            assert!(text.parse::<Pattern>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_the_pattern_of_a_whole_job_is_of_one_job() {
        for (pattern, wanted) in [
            ("job/42/*", Some(JobId(42))),
            ("job/42/state", None),
            ("job/*/*", None),
            ("job/042/*", None),
            ("job/+42/*", None),
            ("group/42/*", None),
            ("*", None),
        ] {
            assert_eq!(
                pattern.parse::<Pattern>().unwrap().single_job(),
                wanted,
                "{pattern}"
            );
        }
    }

    #[test]
    fn the_prefix_of_an_entity_ends_with_a_slash() {
        assert_eq!(entity_prefix("job/42/state"), "job/42/");
        assert_eq!(entity_prefix("group/a/b/state"), "group/a/b/");
    }
}
