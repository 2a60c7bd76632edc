//! The stream of events, without gaps: reconnects, resumes after the last cursor, says when that cannot be.

mod message;

use crate::client::backoff::spread;
use crate::client::error::ClientError;
use crate::client::http::{Ask, accept_events};
use crate::client::link::{Fed, Link, patience};
use crate::client::query::Target;
use crate::client::routes::Client;
use crate::client::sse::Parser;
use crate::wire::error::ProblemKind;
use crate::wire::event::{Hello, StreamMessage};
use crate::wire::values::Cursor;
use hyper::header::HeaderName;
pub use message::message;
use message::{USUAL_HEARTBEAT_MS, is_known, topic};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

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
    /// Whether the present state comes first. What of it has no history (progress) is told again after each
    /// reconnection, as it may have changed unseen.
    pub snapshot: bool,
    /// The last event already known; only newer ones come.
    pub after: Option<Cursor>,
    /// Where no event is known: whether all that are kept come, and not only those from now on.
    pub from_oldest: bool,
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
    /// The stream is back after [`StreamItem::Lost`] or [`StreamItem::Poll`]; nothing was missed unless
    /// [`StreamItem::Relist`] says so.
    Back,
    /// Events were missed: list again, then go on ([`Events::resume_after`]).
    Relist,
    /// A stream cannot be had now: look for yourself, this comes again in about two seconds.
    Poll,
}

enum Mode {
    Stream,
    Poll { left: u32, next: Instant },
    Done,
}

/// A subscription that outlives connections.
///
/// Whatever happens to the connection: every lifecycle event after the first `hello` comes exactly once and in order,
/// or [`StreamItem::Relist`] says that some cannot be had.
pub struct Events {
    link: Link,
    query: EventQuery,
    parser: Parser,
    mode: Mode,
    /// What comes before anything is read.
    ready: VecDeque<StreamItem>,
    /// Somebody was told that there is no stream, and not yet that it is back.
    is_away: bool,
    /// Whether the caller has a whole snapshot, and heard of every change since.
    has_snapshot: bool,
    /// Whether the daemon is repeating a snapshot of which the caller needs only what has no history.
    is_repeating: bool,
}

impl Events {
    pub(crate) fn new(client: Client, query: EventQuery) -> Self {
        let mut link = Link::new(client);
        link.silence = Some(patience(USUAL_HEARTBEAT_MS));
        Self {
            link,
            query,
            parser: Parser::default(),
            mode: Mode::Stream,
            ready: VecDeque::new(),
            is_away: false,
            has_snapshot: false,
            is_repeating: false,
        }
    }

    /// The next connection starts after `cursor`.
    pub fn resume_after(&mut self, cursor: Cursor) {
        self.query.after = Some(cursor);
    }

    /// The last event that is known, where one is.
    #[must_use]
    pub fn cursor(&self) -> Option<&Cursor> {
        self.query.after.as_ref()
    }

    /// There is reason to think that the daemon is there: does not wait any longer before the next attempt.
    pub fn retry_now(&mut self) {
        if let Mode::Poll { left, .. } = &mut self.mode {
            *left = 0;
        }
        self.link.hurry();
    }

    /// What comes next; `None` when the stream of one job is complete. Safe to cancel.
    ///
    /// # Errors
    /// [`ClientError`] where trying again would not help: the subscription itself was refused.
    pub async fn next(&mut self) -> Result<Option<StreamItem>, ClientError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            match &mut self.mode {
                Mode::Done => return Ok(None),
                Mode::Poll { left: 0, .. } => self.mode = Mode::Stream,
                Mode::Poll { left, next } => {
                    tokio::time::sleep_until(*next).await;
                    *left -= 1;
                    *next = Instant::now() + spread(POLL_EVERY);
                    return Ok(Some(StreamItem::Poll));
                }
                Mode::Stream => self.read().await?,
            }
        }
    }

    /// One step: a frame that was read already, or the next read.
    async fn read(&mut self) -> Result<(), ClientError> {
        if let Some(frame) = self.parser.pop() {
            match message(&frame) {
                Ok(Some(message)) => self.take(message),
                Ok(None) => {}
                Err(why) => self.lose(why, None),
            }
            return Ok(());
        }
        let query = &self.query;
        match self.link.next(|| request(query)).await {
            Ok(Fed::Opened) => {
                self.parser = Parser::default();
                self.is_repeating = self.has_snapshot;
            }
            Ok(Fed::Bytes(bytes)) => {
                if let Err(error) = self.parser.feed(&bytes) {
                    self.lose(ClientError::protocol(error.to_string()), None);
                }
            }
            Ok(Fed::Ended) => {
                self.lose(ClientError::broken("the daemon closed the stream"), None);
            }
            Ok(Fed::Lost { retry_in, why }) => self.lost(retry_in, why),
            Err(error) => return self.refused(error),
        }
        Ok(())
    }

    fn take(&mut self, message: StreamMessage) {
        match &message {
            StreamMessage::Hello(hello) => {
                if !self.greeted(hello) {
                    return self.relist();
                }
                if std::mem::take(&mut self.is_away) {
                    self.ready.push_back(StreamItem::Back);
                }
            }
            StreamMessage::Event(_, Some(cursor)) | StreamMessage::Bookmark(cursor) => {
                // A daemon that replays what was asked to be left out, or a proxy that sends twice.
                if is_known(cursor, self.query.after.as_ref()) {
                    return;
                }
                self.query.after = Some(cursor.clone());
            }
            StreamMessage::Event(event, None) => {
                if self.is_repeating && topic(&event.channel) == "state" {
                    return;
                }
            }
            StreamMessage::SnapshotEnd => {
                if std::mem::take(&mut self.is_repeating) {
                    return;
                }
                self.has_snapshot = self.query.snapshot;
            }
            StreamMessage::Gap(_) => {
                self.ready.push_back(StreamItem::Message(message));
                return self.relist();
            }
            StreamMessage::End => self.mode = Mode::Done,
            StreamMessage::Bye(bye) => {
                let wait = Duration::from_millis(bye.retry_ms).min(LONGEST_AWAY);
                let why = ClientError::broken("the daemon goes down");
                return self.lose(why, Some(wait));
            }
        }
        self.ready.push_back(StreamItem::Message(message));
    }

    /// Whether the stream goes on where this client was.
    fn greeted(&mut self, hello: &Hello) -> bool {
        self.link.silence = Some(patience(hello.heartbeat_ms));
        let reaches = |cursor: &Cursor| cursor.epoch == hello.epoch && cursor.seq <= hello.head;
        if self.query.after.as_ref().is_some_and(|it| !reaches(it)) {
            return false;
        }
        // From here on nothing may be missed, also if no event comes before a restart.
        self.query.after.get_or_insert_with(|| Cursor {
            epoch: hello.epoch.clone(),
            seq: if self.query.from_oldest {
                hello.oldest.saturating_sub(1)
            } else {
                hello.head
            },
        });
        true
    }

    fn refused(&mut self, error: ClientError) -> Result<(), ClientError> {
        if error.problem(ProblemKind::CursorGone).is_some() {
            self.relist();
        } else if error.is_limit() {
            self.is_away = true;
            self.mode = Mode::Poll {
                left: POLLS_PER_ATTEMPT,
                next: Instant::now(),
            };
        } else if error.is_passing() {
            self.lose(error, None);
        } else {
            self.mode = Mode::Done;
            return Err(error);
        }
        Ok(())
    }

    fn lose(&mut self, why: ClientError, wait: Option<Duration>) {
        let retry_in = self.link.lose(wait);
        self.lost(retry_in, why);
    }

    fn lost(&mut self, retry_in: Duration, why: ClientError) {
        self.is_away = true;
        // Half a frame is of no use: the next connection sends it whole.
        self.parser = Parser::default();
        self.ready.push_back(StreamItem::Lost { retry_in, why });
    }

    /// The cursor is dead. It is never used again; one that dies again and again is asked for more and more slowly.
    fn relist(&mut self) {
        self.query.after = None;
        self.query.from_oldest = false;
        self.has_snapshot = false;
        self.parser = Parser::default();
        self.link.reopen();
        self.ready.push_back(StreamItem::Relist);
    }
}

fn request(query: &EventQuery) -> Ask {
    let mut target = Target::new("/v1/events");
    for channel in &query.channels {
        target.add("channel", channel);
    }
    target.add_some("job", query.job);
    if query.snapshot {
        target.add("snapshot", 1);
    }
    if query.from_oldest {
        target.add("after", 0);
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

#[cfg(test)]
mod tests;
