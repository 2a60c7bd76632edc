//! The stream of events, without gaps: reconnects, resumes after the last cursor, says when that cannot be.

use crate::client::error::ClientError;
use crate::client::http::{Ask, accept_events};
use crate::client::link::{Fed, Link};
use crate::client::query::Target;
use crate::client::routes::Client;
use crate::client::sse::{Frame, Parser};
use crate::wire::error::ProblemKind;
use crate::wire::event::{EventView, StreamMessage};
use crate::wire::job::{ExitView, FailureView};
use crate::wire::values::Cursor;
use hyper::header::HeaderName;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::Instant;

/// Silence that is no cause for concern, in heartbeats.
const PATIENCE_HEARTBEATS: f64 = 2.5;
/// What the heartbeat is taken to be before `hello` says it.
const USUAL_HEARTBEAT: Duration = Duration::from_secs(15);
/// How often to look where a stream cannot be had.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// After so many looks the stream is tried again.
const POLLS_PER_ATTEMPT: u32 = 5;
/// A server that goes down may not send its clients away for longer.
const LONGEST_AWAY: Duration = Duration::from_secs(30);

/// Which events shall come.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Globs of channels; none means every channel.
    pub channels: Vec<String>,
    /// Only this job: the stream ends with it.
    pub job: Option<u64>,
    /// Whether the present state comes first.
    pub snapshot: bool,
    /// The last event already known; only newer ones come.
    pub after: Option<Cursor>,
}

/// What [`Events::next`] returns.
#[derive(Debug)]
pub enum StreamItem {
    /// A message of the daemon.
    Message(StreamMessage),
    /// The connection is lost; the next attempt comes after `retry_in`.
    Lost {
        /// Time until then.
        retry_in: Duration,
        /// What happened.
        why: ClientError,
    },
    /// The connection is back; nothing was missed unless [`StreamItem::Relist`] says so.
    Back,
    /// Events were missed: list again, then go on ([`Events::resume_after`]).
    Relist,
    /// A stream cannot be had now: look for yourself, this comes again in two seconds.
    Poll,
}

/// The body of a `job/N/state` event, as far as clients need it. More fields may come.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct JobStateBody {
    /// The job.
    pub job: u64,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The state it is in now.
    pub state: String,
    /// The state it came from.
    pub from: Option<String>,
    /// Why it waits.
    pub reason: Option<String>,
    /// Number of its present attempt.
    pub attempt: Option<u32>,
    /// How the attempt ended.
    pub exit: Option<ExitView>,
    /// Why it failed.
    pub failure: Option<FailureView>,
}

enum Mode {
    Stream,
    Poll { left: u32, next: Instant },
    Relist,
    Done,
}

/// A subscription that outlives connections.
pub struct Events {
    link: Link,
    query: EventQuery,
    parser: Parser,
    mode: Mode,
}

impl Events {
    pub(crate) fn new(client: Client, query: EventQuery) -> Self {
        let mut link = Link::new(client);
        link.silence = Some(USUAL_HEARTBEAT.mul_f64(PATIENCE_HEARTBEATS));
        Self {
            link,
            query,
            parser: Parser::default(),
            mode: Mode::Stream,
        }
    }

    /// The next connection starts after `cursor`.
    pub fn resume_after(&mut self, cursor: Cursor) {
        self.query.after = Some(cursor);
    }

    /// What comes next; `None` when the stream of one job is complete. Safe to cancel.
    ///
    /// # Errors
    /// [`ClientError`] where trying again would not help: the subscription itself was refused.
    pub async fn next(&mut self) -> Result<Option<StreamItem>, ClientError> {
        loop {
            match &mut self.mode {
                Mode::Done => return Ok(None),
                Mode::Relist => {
                    self.mode = Mode::Stream;
                    return Ok(Some(StreamItem::Relist));
                }
                Mode::Poll { left: 0, .. } => self.mode = Mode::Stream,
                Mode::Poll { left, next } => {
                    tokio::time::sleep_until(*next).await;
                    *left -= 1;
                    *next = Instant::now() + POLL_EVERY;
                    return Ok(Some(StreamItem::Poll));
                }
                Mode::Stream => {
                    if let Some(item) = self.read().await? {
                        return Ok(Some(item));
                    }
                }
            }
        }
    }

    /// One read of the stream; `None` where nothing is to be told yet.
    async fn read(&mut self) -> Result<Option<StreamItem>, ClientError> {
        while let Some(frame) = self.parser.pop() {
            if let Some(message) = message(&frame)? {
                return Ok(Some(self.take(message)));
            }
        }
        let query = &self.query;
        let fed = match self.link.next(|| request(query)).await {
            Ok(fed) => fed,
            Err(error) => return self.refused(error).map(Some),
        };
        Ok(match fed {
            Fed::Opened { again } => {
                self.parser = Parser::default();
                again.then_some(StreamItem::Back)
            }
            Fed::Bytes(bytes) => match self.parser.feed(&bytes) {
                Ok(()) => None,
                Err(error) => return Err(ClientError::protocol(error.to_string())),
            },
            Fed::Ended => {
                let why = ClientError::broken("the daemon closed the stream");
                Some(lost(self.link.lose(why, None)))
            }
            fed @ Fed::Lost { .. } => Some(lost(fed)),
        })
    }

    fn take(&mut self, message: StreamMessage) -> StreamItem {
        match &message {
            StreamMessage::Hello(hello) => {
                let heartbeat = Duration::from_millis(hello.heartbeat_ms.max(100));
                self.link.silence = Some(heartbeat.mul_f64(PATIENCE_HEARTBEATS));
                self.link.works();
                // From here on nothing may be missed, also if no event comes before a restart.
                self.query.after.get_or_insert_with(|| Cursor {
                    epoch: hello.epoch.clone(),
                    seq: hello.head,
                });
            }
            StreamMessage::Event(_, Some(cursor)) | StreamMessage::Bookmark(cursor) => {
                self.query.after = Some(cursor.clone());
            }
            StreamMessage::Event(_, None) | StreamMessage::SnapshotEnd => {}
            StreamMessage::Gap(_) => {
                self.forget();
                self.mode = Mode::Relist;
            }
            StreamMessage::End => self.mode = Mode::Done,
            StreamMessage::Bye(bye) => {
                let wait = Duration::from_millis(bye.retry_ms).min(LONGEST_AWAY);
                let why = ClientError::broken("the daemon goes down");
                return lost(self.link.lose(why, Some(wait)));
            }
        }
        StreamItem::Message(message)
    }

    fn refused(&mut self, error: ClientError) -> Result<StreamItem, ClientError> {
        if error.problem(ProblemKind::CursorGone).is_some() {
            self.forget();
            return Ok(StreamItem::Relist);
        }
        if error.problem(ProblemKind::LimitReached).is_some() {
            self.mode = Mode::Poll {
                left: POLLS_PER_ATTEMPT,
                next: Instant::now(),
            };
            return Ok(StreamItem::Poll);
        }
        self.mode = Mode::Done;
        Err(error)
    }

    fn forget(&mut self) {
        self.query.after = None;
        self.link.close();
        self.parser = Parser::default();
    }
}

fn lost(fed: Fed) -> StreamItem {
    match fed {
        Fed::Lost { retry_in, why } => StreamItem::Lost { retry_in, why },
        Fed::Opened { .. } | Fed::Bytes(_) | Fed::Ended => StreamItem::Back,
    }
}

fn request(query: &EventQuery) -> Ask {
    let mut target = Target::new("/v1/events");
    for channel in &query.channels {
        target.add("channel", channel);
    }
    target.add_some("job", query.job);
    if query.snapshot && query.after.is_none() {
        target.add("snapshot", 1);
    }
    let ask = accept_events(Ask::get(target.into_text()));
    match &query.after {
        Some(cursor) => {
            let name = HeaderName::from_static("last-event-id");
            ask.with_header(name, cursor.to_string())
        }
        None => ask,
    }
}

/// The message in a frame; `None` for one of a newer daemon that says nothing to this client.
fn message(frame: &Frame) -> Result<Option<StreamMessage>, ClientError> {
    let cursor = || frame.id.as_ref().and_then(|id| id.parse().ok());
    let message = match frame.event.as_str() {
        "hello" => StreamMessage::Hello(parse(frame)?),
        "gap" => StreamMessage::Gap(parse(frame)?),
        "bye" => StreamMessage::Bye(parse(frame)?),
        "snapshot_end" => StreamMessage::SnapshotEnd,
        "end" => StreamMessage::End,
        "bookmark" => return Ok(cursor().map(StreamMessage::Bookmark)),
        _ => match serde_json::from_str::<EventView>(&frame.data) {
            Ok(event) => StreamMessage::Event(event, cursor()),
            Err(_) => return Ok(None),
        },
    };
    Ok(Some(message))
}

fn parse<T: serde::de::DeserializeOwned>(frame: &Frame) -> Result<T, ClientError> {
    serde_json::from_str(&frame.data)
        .map_err(|error| ClientError::protocol(format!("{} message: {error}", frame.event)))
}

#[cfg(test)]
mod tests;
