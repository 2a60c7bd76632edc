//! How messages of a stream are written: as server-sent events, or as lines of JSON.
//!
//! An event is written the same for everybody of one audience, so it is converted once and not once
//! per watcher.

use crate::model::event::{Event, shown_channel};
use crate::wire::convert::{Audience, event_body, timestamp};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// How a stream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Format {
    /// `text/event-stream`.
    EventStream,
    /// One JSON object per line: `event`, `id` and `data` as in an event stream.
    Lines,
}

/// How many events are remembered as written: those that watchers are at about the same time.
const REMEMBERED: usize = 64;

/// Remembers the JSON of the newest events.
#[derive(Debug, Default)]
pub(in crate::api) struct Renderer {
    newest: Mutex<VecDeque<Written>>,
}

#[derive(Debug)]
struct Written {
    event: Arc<Event>,
    audience: Audience,
    json: Arc<str>,
}

impl Renderer {
    /// The JSON of an event without its last brace, so that what differs per watcher can follow.
    fn open_json(&self, event: &Arc<Event>, audience: Audience) -> Arc<str> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = newest
            .iter()
            .rev()
            .find(|known| known.audience == audience && Arc::ptr_eq(&known.event, event));
        if let Some(known) = known {
            return Arc::clone(&known.json);
        }
        let json: Arc<str> = open_json(event, audience).into();
        if newest.len() >= REMEMBERED {
            newest.pop_front();
        }
        newest.push_back(Written {
            event: Arc::clone(event),
            audience,
            json: Arc::clone(&json),
        });
        json
    }

    /// Adds an event to `out`.
    pub(in crate::api) fn event(
        &self,
        out: &mut String,
        format: Format,
        epoch: &str,
        event: &Arc<Event>,
        audience: Audience,
        coalesced: u64,
    ) {
        let open = self.open_json(event, audience);
        let id = event.seq.map(|seq| format!("{epoch}:{seq}"));
        let tail = match coalesced {
            0 => "}".to_owned(),
            more => format!(",\"coalesced\":{more}}}"),
        };
        frame(out, format, &event.kind, id.as_deref(), &[&open, &tail]);
    }
}

/// Adds a message with a body of its own to `out`.
pub(in crate::api) fn message<T: Serialize>(
    out: &mut String,
    format: Format,
    kind: &str,
    id: Option<&str>,
    body: &T,
) {
    // Bodies are plain data with string keys, which always have a JSON text.
    let json = serde_json::to_string(body).unwrap_or_else(|_| "{}".to_owned());
    frame(out, format, kind, id, &[&json]);
}

/// Adds a sign of life to `out`.
pub(in crate::api) fn heartbeat(out: &mut String, format: Format) {
    out.push_str(match format {
        Format::EventStream => ":\n\n",
        Format::Lines => "\n",
    });
}

fn frame(out: &mut String, format: Format, kind: &str, id: Option<&str>, data: &[&str]) {
    match format {
        Format::EventStream => {
            out.extend(["event: ", kind, "\n"]);
            if let Some(id) = id {
                out.extend(["id: ", id, "\n"]);
            }
            out.push_str("data: ");
            out.extend(data.iter().copied());
            out.push_str("\n\n");
        }
        Format::Lines => {
            out.extend(["{\"event\":\"", kind, "\""]);
            if let Some(id) = id {
                out.extend([",\"id\":\"", id, "\""]);
            }
            out.push_str(",\"data\":");
            out.extend(data.iter().copied());
            out.push_str("}\n");
        }
    }
}

/// What every watcher gets of an event, before its body.
#[derive(Serialize)]
struct Head<'a> {
    time: jiff::Timestamp,
    channel: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

fn open_json(event: &Event, audience: Audience) -> String {
    let head = Head {
        time: timestamp(event.at_ms),
        channel: shown_channel(&event.channel),
        r#type: &event.kind,
        seq: event.seq.map(|seq| seq.0),
    };
    let mut json = serde_json::to_string(&head).unwrap_or_else(|_| "{}".to_owned());
    // The body is JSON already: it follows as it is instead of being read and written again.
    json.pop();
    json.push_str(",\"body\":");
    json.push_str(&event_body(event, audience));
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::Seq;
    use crate::wire::event::EventView;

    fn event(uid: Option<u32>) -> Arc<Event> {
        Arc::new(Event {
            seq: Some(Seq(7)),
            at_ms: 1_000,
            channel: "group/a \"b\"/state".into(),
            kind: "group".into(),
            uid,
            is_final: false,
            body: "{\"name\":1}".into(),
        })
    }

    #[test]
    fn events_are_written_as_the_contract_says() {
        let renderer = Renderer::default();
        let mut out = String::new();
        let format = Format::EventStream;
        renderer.event(&mut out, format, "e1", &event(None), Audience::Anybody, 3);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[..2], ["event: group", "id: e1:7"]);
        let view: EventView =
            serde_json::from_str(lines[2].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!((view.seq, view.coalesced), (Some(7), Some(3)));
        assert_eq!(view.channel, "group/a \"b\"/state");
        assert_eq!(view.body["name"], 1);
        assert!(out.ends_with("\n\n"));
    }

    #[test]
    fn lines_are_one_object_each() {
        let renderer = Renderer::default();
        let mut out = String::new();
        renderer.event(
            &mut out,
            Format::Lines,
            "e1",
            &event(None),
            Audience::Owner,
            0,
        );
        message(&mut out, Format::Lines, "end", None, &serde_json::json!({}));
        for line in out.lines() {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(
                json["event"].is_string() && json["data"].is_object(),
                "{line}"
            );
        }
        assert_eq!(out.lines().count(), 2);
    }

    #[test]
    fn audiences_do_not_get_each_others_text() {
        let renderer = Renderer::default();
        let event = event(Some(1000));
        let owner = renderer.open_json(&event, Audience::Owner);
        let other = renderer.open_json(&event, Audience::Anybody);
        assert!(owner.contains("name") && !other.contains("name"));
        assert!(Arc::ptr_eq(
            &owner,
            &renderer.open_json(&event, Audience::Owner)
        ));
    }
}
