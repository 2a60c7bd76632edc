//! The client's reading of an event stream: frames do not depend on how they came, and say what they said.

use stoked::client::message;
use stoked::client::sse::{Frame, Parser};
use stoked::wire::event::StreamMessage;

use super::pieces;

/// Takes any stream.
pub fn check(data: &[u8]) {
    let whole = frames([data]);
    assert_eq!(frames(pieces(data)), whole, "in pieces");
    let again: String = whole.iter().map(printed).collect();
    assert_eq!(frames([again.as_bytes()]), whole, "printed as {again:?}");
    for frame in &whole {
        let Ok(Some(message)) = message(frame) else {
            continue;
        };
        match &message {
            // What must not be missed is known by its name, or by its number.
            StreamMessage::Event(event, cursor) => {
                let json = serde_json::to_string(event).expect("an event can be written");
                assert!(!json.contains('\n'));
                assert!(cursor.is_none() || frame.id.is_some());
            }
            StreamMessage::Bookmark(_) => assert!(frame.id.is_some()),
            StreamMessage::Hello(_)
            | StreamMessage::SnapshotEnd
            | StreamMessage::Gap(_)
            | StreamMessage::End
            | StreamMessage::Bye(_) => assert_eq!(message.kind(), frame.event),
        }
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
