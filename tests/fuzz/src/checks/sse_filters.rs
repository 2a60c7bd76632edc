//! Patterns over channels: they print as they were given, and match what a plain definition of them matches.

use stoked::api::check_event_query;
use stoked::events::pattern::{Filter, Pattern, Sight};
use stoked::model::event::{Event, shown_channel};
use stoked::model::id::Seq;

/// Longer texts make the plain definition slow, and are no channels.
const LONGEST_BYTES: usize = 80;

/// As many channels, types and users may a query name.
const MOST: usize = 5;

/// Takes patterns, channels and queries, a line each; every pattern meets every channel.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines: Vec<&str> = text.split('\n').take(16).collect();
    let mut patterns: Vec<(&str, Pattern)> = Vec::new();
    lines.iter().for_each(|line| query(line));
    for line in &lines {
        match line.parse::<Pattern>() {
            Ok(pattern) => {
                assert_eq!(pattern.to_string(), *line);
                patterns.push((line, pattern));
            }
            Err(error) => assert!(!error.to_string().chars().any(char::is_control)),
        }
    }
    for line in lines {
        let Some(parts) = channel(line) else { continue };
        let event = event(line);
        for (text, pattern) in &patterns {
            let is_match = pattern.matches(line);
            assert_eq!(is_match, plainly_matches(text, parts), "{text} on {line}");
            let filter = Filter::of(vec![pattern.clone()]);
            assert_eq!(filter.admits(&event), is_match, "{text} on {line}");
            assert!(!is_match || filter.reaches(parts[0]), "{text} on {line}");
            if let (true, Some(id)) = (is_match, pattern.single_job()) {
                assert_eq!([parts[0], parts[1]], ["job", id.to_string().as_str()]);
            }
            // Nobody sees what is somebody else's, whatever is asked for.
            let sight = Sight::Only(7);
            assert!(!Filter { sight, ..filter }.admits(&event));
        }
        let all = Filter::of(
            patterns
                .iter()
                .map(|(_, pattern)| pattern.clone())
                .collect(),
        );
        let any = patterns.iter().any(|(_, pattern)| pattern.matches(line));
        assert_eq!(all.admits(&event), any, "{line}");
    }
}

/// The query of `GET /v1/events`: accepted within limits, or refused with a reason that can be shown.
fn query(text: &str) {
    match check_event_query(&format!("/v1/events?{text}"), MOST) {
        Ok(filter) => {
            assert!((1..=MOST).contains(&filter.channels.len()), "{text}");
            assert!(
                filter.kinds.len() <= MOST && filter.owners.len() <= MOST,
                "{text}"
            );
            for pattern in &filter.channels {
                let printed = pattern.to_string();
                assert_eq!(printed.parse().as_ref(), Ok(pattern), "{text}");
            }
        }
        Err(problem) => {
            assert_eq!(problem.status, 400, "{problem:?}");
            let json = serde_json::to_string(&problem).expect("a problem can be written");
            assert!(json.len() <= 2_000, "{json}");
            let texts = [
                Some(problem.title),
                problem.detail,
                problem.hint,
                problem.field,
            ];
            for text in texts.into_iter().flatten() {
                assert!(
                    !text.is_empty() && !text.chars().any(char::is_control),
                    "{text:?}"
                );
            }
        }
    }
}

/// Entity, id and topic, if it is a channel at all.
fn channel(text: &str) -> Option<[&str; 3]> {
    // Flows of one name are told apart by their owner, whom nobody asks for.
    let (entity, rest) = shown_channel(text).split_once('/')?;
    let (id, topic) = rest.rsplit_once('/')?;
    (text.len() <= LONGEST_BYTES).then_some([entity, id, topic])
}

/// A durable event of user 6 on this channel.
fn event(channel: &str) -> Event {
    Event {
        seq: Some(Seq(1)),
        at_ms: 0,
        channel: channel.into(),
        kind: "state".into(),
        uid: Some(6),
        is_final: false,
        body: "{}".into(),
    }
}

fn plainly_matches(pattern: &str, parts: [&str; 3]) -> bool {
    pattern == "*"
        || pattern
            .split('/')
            .zip(parts)
            .all(|(pattern, part)| fits(pattern.as_bytes(), part.as_bytes()))
}

/// Whether a text fits a pattern: row by row, which of its beginnings fit a beginning of the pattern.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    for &sign in pattern {
        let before = row.clone();
        for end in 0..row.len() {
            row[end] = match (sign, end.checked_sub(1)) {
                (b'*', Some(one_less)) => before[end] || row[one_less],
                (b'*', None) => before[end],
                (_, Some(one_less)) => before[one_less] && text[one_less] == sign,
                (_, None) => false,
            };
        }
    }
    row[text.len()]
}
