//! Channels as somebody asked for them: which ones are meant.

use std::collections::BTreeSet;

/// Globs over channels, as the daemon understands them; none means every channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    globs: Vec<String>,
}

impl Channels {
    /// What was written; a number alone means everything about that job.
    #[must_use]
    pub fn of(written: &[String]) -> Self {
        let glob = |text: &String| match text.parse::<u64>() {
            Ok(id) => format!("job/{id}/*"),
            Err(_) => text.clone(),
        };
        Self {
            globs: written.iter().map(glob).collect(),
        }
    }

    /// The globs, for the daemon.
    #[must_use]
    pub fn globs(&self) -> &[String] {
        &self.globs
    }

    /// The jobs that were asked for by number, each once.
    #[must_use]
    pub fn only_jobs(&self) -> BTreeSet<u64> {
        let number = |glob: &String| match parts(glob)? {
            ["job", id, _] => id.parse().ok(),
            _ => None,
        };
        self.globs.iter().filter_map(number).collect()
    }

    /// Whether the channel of this job and topic is among them.
    #[must_use]
    pub fn has_job(&self, id: u64, topic: &str) -> bool {
        self.has(["job", &id.to_string(), topic])
    }

    /// Whether there may be a job of whose state they tell.
    #[must_use]
    pub fn have_states(&self) -> bool {
        let tells = |glob: &String| {
            parts(glob).is_none_or(|[entity, _, topic]| {
                is_like(entity.as_bytes(), b"job") && is_like(topic.as_bytes(), b"state")
            })
        };
        self.globs.is_empty() || self.globs.iter().any(tells)
    }

    fn has(&self, channel: [&str; 3]) -> bool {
        let matches = |glob: &String| {
            let Some(parts) = parts(glob) else {
                return true;
            };
            let mut pairs = parts.iter().zip(channel);
            pairs.all(|(glob, part)| is_like(glob.as_bytes(), part.as_bytes()))
        };
        self.globs.is_empty() || self.globs.iter().any(matches)
    }
}

/// The parts of a glob; `None` for the one of everything.
fn parts(glob: &str) -> Option<[&str; 3]> {
    let (entity, rest) = glob.split_once('/')?;
    let (id, topic) = rest.rsplit_once('/')?;
    Some([entity, id, topic])
}

/// Whether `text` matches `glob`, in which stars stand for anything. Only the last star is ever tried again, so the time is
/// bounded by the product of the lengths.
fn is_like(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut star = None;
    while place < text.len() {
        if glob.get(at) == Some(&b'*') {
            star = Some((at, place));
            at += 1;
        } else if glob.get(at) == text.get(place) {
            at += 1;
            place += 1;
        } else if let Some((after, from)) = star {
            star = Some((after, from + 1));
            (at, place) = (after + 1, from + 1);
        } else {
            return false;
        }
    }
    glob.get(at..)
        .is_none_or(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_what_the_daemon_takes_them_for() {
        let of = |written: &[&str]| {
            let written: Vec<_> = written.iter().map(|&it| it.to_owned()).collect();
            Channels::of(&written)
        };
        let named = of(&[
            "42",
            "job/7/state",
            "job/7/*",
            "job/*/state",
            "group/3/state",
        ]);
        assert_eq!(named.only_jobs().into_iter().collect::<Vec<_>>(), [7, 42]);
        assert!(of(&[]).has_job(4, "state") && of(&["*"]).has_job(4, "x"));
        assert_eq!(of(&["42", "a/b/c"]).globs(), ["job/42/*", "a/b/c"]);
        assert!(of(&["42"]).has_job(42, "progress") && !of(&["42"]).has_job(4, "progress"));
        assert!(of(&["job/*/st*"]).has_job(7, "state") && !of(&["job/*/st*"]).has_job(7, "log"));
        assert!(!of(&["group/*/state"]).has_job(7, "state"));
        assert!(of(&["job/7/progress", "*/*/state"]).have_states());
        assert!(!of(&["job/*/progress", "group/*/*"]).have_states());
    }
}
