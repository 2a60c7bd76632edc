//! What a frame of the stream says, read so that a daemon may be older or newer than this client.

use crate::client::error::ClientError;
use crate::client::sse::Frame;
use crate::wire::event::{Bye, EventView, Gap, Hello, StreamMessage};
use crate::wire::values::Cursor;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// What the heartbeat is taken to be where nothing says it.
pub(super) const USUAL_HEARTBEAT_MS: u64 = 15_000;
/// When to come back where a daemon that goes down does not say it.
const USUAL_RETRY_MS: u64 = 1_000;

/// The message in a frame; `None` for one of a newer daemon that says nothing to this client.
///
/// # Errors
/// [`ClientError::Protocol`] where a message that must be understood cannot be.
pub fn message(frame: &Frame) -> Result<Option<StreamMessage>, ClientError> {
    let cursor = || frame.id.as_ref().and_then(|id| id.parse().ok());
    Ok(Some(match frame.event.as_str() {
        "hello" => StreamMessage::Hello(hello(frame)?),
        // Whatever it says of itself: something is missing from here on.
        "gap" => StreamMessage::Gap(serde_json::from_str(&frame.data).unwrap_or(Gap {
            from: 0,
            to: 0,
            reason: String::new(),
        })),
        "bye" => StreamMessage::Bye(serde_json::from_str(&frame.data).unwrap_or(Bye {
            retry_ms: USUAL_RETRY_MS,
            reason: String::new(),
        })),
        "snapshot_end" => StreamMessage::SnapshotEnd,
        "end" => StreamMessage::End,
        "bookmark" => return Ok(cursor().map(StreamMessage::Bookmark)),
        _ => match serde_json::from_str::<EventView>(&frame.data) {
            Ok(event) => StreamMessage::Event(event, cursor()),
            Err(_) => match (&frame.id, serde_json::from_str::<IgnoredAny>(&frame.data)) {
                // An event that has a number must not be passed over as if it had never been.
                (Some(_), Err(error)) => return Err(ClientError::protocol(error.to_string())),
                (Some(_), Ok(_)) => return Ok(cursor().map(StreamMessage::Bookmark)),
                (None, _) => return Ok(None),
            },
        },
    }))
}

/// As much of `hello` as cannot be done without.
#[derive(Deserialize)]
struct LeastHello {
    epoch: String,
    head: u64,
    #[serde(default)]
    oldest: u64,
    #[serde(default)]
    heartbeat_ms: Option<u64>,
    #[serde(default)]
    version: String,
}

fn hello(frame: &Frame) -> Result<Hello, ClientError> {
    let hello: LeastHello = serde_json::from_str(&frame.data)
        .map_err(|error| ClientError::protocol(format!("its greeting: {error}")))?;
    Ok(Hello {
        epoch: hello.epoch,
        head: hello.head,
        oldest: hello.oldest,
        heartbeat_ms: hello.heartbeat_ms.unwrap_or(USUAL_HEARTBEAT_MS),
        version: hello.version,
    })
}

/// The topic of a channel: `state` of `job/42/state`.
pub(super) fn topic(channel: &str) -> &str {
    channel.rsplit_once('/').map_or("", |(_, topic)| topic)
}

/// Whether `cursor` is of something that came no later than `known`.
pub(super) fn is_known(cursor: &Cursor, known: Option<&Cursor>) -> bool {
    known.is_some_and(|known| known.epoch == cursor.epoch && cursor.seq <= known.seq)
}
