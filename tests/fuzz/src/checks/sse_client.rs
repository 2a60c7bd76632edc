//! The client's reading of an event stream: frames do not depend on how they came, and say what they said.

use serde::Serialize;
use serde_json::Value;
use stoked::client;
use stoked::client::sse::{Frame, Parser};
use stoked::wire::event::StreamMessage;
use stoked::wire::values::Cursor;

use super::pieces;

/// Takes any stream.
pub fn check(data: &[u8]) {
    let whole = frames([data]);
    assert_eq!(frames(pieces(data)), whole, "in pieces");
    let again: String = whole.iter().map(printed).collect();
    assert_eq!(frames([again.as_bytes()]), whole, "printed as {again:?}");
    for frame in &whole {
        let Ok(Some(message)) = client::message(frame) else {
            continue;
        };
        let (data, id) = match &message {
            StreamMessage::Hello(hello) => (json(hello), None),
            StreamMessage::Event(event, cursor) => (json(event), cursor.as_ref()),
            StreamMessage::Bookmark(cursor) => (String::new(), Some(cursor)),
            StreamMessage::Gap(gap) => (json(gap), None),
            StreamMessage::Bye(bye) => (json(bye), None),
            StreamMessage::SnapshotEnd | StreamMessage::End => (String::new(), None),
        };
        // What must not be missed is known by its name, or by its number.
        assert!(id.is_none() || frame.id.is_some());
        let again = Frame {
            event: message.kind().to_owned(),
            data,
            id: id.map(Cursor::to_string),
        };
        let written = printed(&again);
        assert_eq!(frames([written.as_bytes()]), std::slice::from_ref(&again));
        let read = client::message(&again).expect("a message reads as it was written");
        assert_eq!(read.map(without_body), Some(without_body(message)));
    }
}

fn frames<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
    let mut parser = Parser::default();
    for chunk in chunks {
        parser
            .feed(chunk)
            .expect("no input is as long as the longest frame");
    }
    std::iter::from_fn(|| parser.pop()).collect()
}

/// What is said in one line.
fn json(message: &impl Serialize) -> String {
    let json = serde_json::to_string(message).expect("a message can be written");
    assert!(!json.contains('\n'), "{json}");
    json
}

/// Numbers in a body may lose their last digit; the rest may not change.
fn without_body(mut message: StreamMessage) -> StreamMessage {
    if let StreamMessage::Event(event, _) = &mut message {
        event.body = Value::Null;
    }
    message
}

/// The frame as a daemon would send it.
fn printed(frame: &Frame) -> String {
    let Frame { event, data, id } = frame;
    let id = id
        .as_ref()
        .map_or_else(String::new, |id| format!("id: {id}\n"));
    let data: String = data
        .split('\n')
        .map(|line| format!("data: {line}\n"))
        .collect();
    format!("event: {event}\n{id}{data}\n")
}
