//! Makes the answer of one log request, piece by piece, from the files of one attempt or of several.

use crate::api::Shared;
use crate::api::logs::missing_attempt;
use crate::api::problem::{Failure, internal};
use crate::api::pull::Pull;
use crate::api::visit::Visit;
use crate::events::Subscription;
use crate::events::pattern::{Filter, Pattern};
use crate::events::queue::{Delivery, QueueOptions};
use crate::logs::read::{self, Chunk, Content, Cursor, From, Reader, Selection};
use crate::logs::watch::Watch;
use crate::model::id::{AttemptId, JobId};
use crate::store::JobHistory;
use crate::wire::convert::timestamp;
use crate::wire::log::LogPiece;
use axum::body::Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Bytes read from the files for one piece of the answer.
const PIECE_BYTES: usize = 64 << 10;

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
}

/// Which attempts are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempts {
    /// The newest when the request came.
    Newest,
    /// One by number.
    One(u32),
    /// This one and all that follow.
    AllFrom(u32),
}

/// The attempt and the place of a cursor as clients get them, `ATTEMPT:PLACE`.
pub(super) fn attempt_cursor(cursor: &str) -> Option<(u32, Cursor)> {
    let (attempt, place) = cursor.split_once(':')?;
    let attempt = attempt.parse().ok().filter(|number| *number > 0)?;
    Some((attempt, place.parse().ok()?))
}

/// What makes the answer.
pub(super) struct Feed {
    shared: Visit,
    attempt: AttemptId,
    /// Whether the attempts after this one follow.
    goes_on: bool,
    selection: Selection,
    format: Format,
    reader: Reader,
    follow: Option<Follow>,
    standing: Standing,
    ended: bool,
}

/// What wakes a follower.
struct Follow {
    events: Subscription,
    watch: Watch,
    /// When a sign of life is due.
    quiet_until: Instant,
}

/// Why a follower was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    ToRead,
    ToBeat,
}

/// What is known of the attempt that is read. Learned before its files are read: what was written
/// before an attempt ended is then read after its end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    /// It has ended, or will never be.
    over: bool,
    /// Another one has followed.
    has_next: bool,
}

fn standing(record: &JobHistory, number: u32) -> Standing {
    let newest = record
        .attempts
        .iter()
        .map(|attempt| attempt.id.attempt)
        .max();
    let has_next = newest.is_some_and(|newest| newest > number);
    let attempt = record
        .attempts
        .iter()
        .find(|attempt| attempt.id.attempt == number);
    let ended = attempt.is_some_and(|attempt| attempt.ending.is_some());
    Standing {
        over: ended || has_next || record.job.state.is_final(),
        has_next,
    }
}

impl Feed {
    pub(super) async fn open(
        shared: &Visit,
        id: JobId,
        wanted: Attempts,
        selection: Selection,
        start: From,
        format: Format,
        follow: bool,
    ) -> Result<Self, Failure> {
        let events = follow.then(|| subscribe(shared, id));
        let record = shared.job(id).await?;
        let newest = record
            .attempts
            .iter()
            .map(|attempt| attempt.id.attempt)
            .max();
        let (number, goes_on) = match wanted {
            // Following a job that has not started yet begins with its first attempt.
            Attempts::Newest => (newest.unwrap_or(1), false),
            Attempts::One(number) => (number, false),
            Attempts::AllFrom(number) => (number, true),
        };
        if wanted == Attempts::One(number) && newest.is_none_or(|newest| number > newest) {
            return Err(missing_attempt(number, id));
        }
        let attempt = AttemptId {
            job: id,
            attempt: number,
        };
        let follow = events.map(|events| Follow {
            events,
            watch: shared.logs.watch(attempt),
            quiet_until: Instant::now() + shared.limits.heartbeat,
        });
        let dir = shared.logs.of(attempt);
        let opened = shared.blocking(move || read::open(&dir, selection, start));
        Ok(Self {
            reader: opened.await?.map_err(internal)?,
            shared: shared.clone(),
            attempt,
            goes_on,
            selection,
            format,
            follow,
            standing: standing(&record, number),
            ended: false,
        })
    }

    /// After how much silence a sign of life comes.
    pub(super) fn heartbeat(&self) -> Option<Duration> {
        let has_room = self.follow.is_some() && self.format == Format::Json;
        has_room.then_some(self.shared.limits.heartbeat)
    }

    /// Reads what there is now. The reader goes to the reading thread and comes back.
    async fn read(mut self) -> io::Result<(Vec<u8>, Self)> {
        let shared = self.shared.clone();
        let read = move || {
            let mut text = Vec::new();
            while text.len() < PIECE_BYTES {
                let Some(chunk) = self.reader.next_chunk(PIECE_BYTES - text.len())? else {
                    break;
                };
                self.write(&chunk, &mut text);
            }
            Ok((text, self))
        };
        shared.blocking(read).await.map_err(broken)?
    }

    fn write(&self, chunk: &Chunk, text: &mut Vec<u8>) {
        match (self.format, &chunk.content) {
            (Format::Text, _) => text.extend_from_slice(&chunk.plain()),
            (Format::Json, content) => {
                let mut piece = LogPiece {
                    attempt: Some(self.attempt.attempt),
                    stream: Some(chunk.stream.as_str().to_owned()),
                    offset: Some(chunk.offset),
                    time: Some(timestamp(chunk.at_wall_ms)),
                    cursor: Some(self.cursor()),
                    ..LogPiece::default()
                };
                match content {
                    Content::Gap { bytes } => piece.gap_bytes = Some(*bytes),
                    Content::Bytes(bytes) => match std::str::from_utf8(bytes) {
                        Ok(utf8) => piece.text = Some(utf8.to_owned()),
                        Err(_) => piece.base64 = Some(STANDARD.encode(bytes)),
                    },
                }
                line(&piece, text);
            }
        }
    }

    /// The last piece.
    fn end(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let end = LogPiece {
            attempt: Some(self.attempt.attempt),
            cursor: Some(self.cursor()),
            end: true,
            ..LogPiece::default()
        };
        line(&end, &mut text);
        text
    }

    fn cursor(&self) -> String {
        format!("{}:{}", self.attempt.attempt, self.reader.cursor())
    }

    /// Goes on with the next attempt.
    async fn advance(&mut self) -> io::Result<()> {
        self.attempt.attempt += 1;
        let attempt = self.attempt;
        if let Some(follow) = &mut self.follow {
            follow.watch = self.shared.logs.watch(attempt);
        }
        let (dir, selection) = (self.shared.logs.of(attempt), self.selection);
        let open = move || read::open(&dir, selection, From::Start);
        let opened = self.shared.blocking(open).await.map_err(broken)?;
        self.reader = opened?;
        self.look_again().await
    }

    async fn look_again(&mut self) -> io::Result<()> {
        let record = self.shared.job(self.attempt.job).await.map_err(broken)?;
        self.standing = standing(&record, self.attempt.attempt);
        Ok(())
    }

    /// Waits until there may be more to read, or a sign of life is due.
    async fn wait(&mut self) -> io::Result<Woken> {
        let beats = self.heartbeat().is_some();
        let Some(follow) = &mut self.follow else {
            return Ok(Woken::ToRead);
        };
        let delivery = tokio::select! {
            () = follow.watch.changed() => return Ok(Woken::ToRead),
            () = self.shared.stop.cancelled() => return Err(io::ErrorKind::ConnectionAborted.into()),
            () = sleep_until(follow.quiet_until), if beats => return Ok(Woken::ToBeat),
            delivery = follow.events.next() => delivery,
        };
        match delivery {
            Delivery::Closed { .. } => return Err(io::ErrorKind::ConnectionAborted.into()),
            Delivery::Event(..) | Delivery::Bookmark(_) => {}
            Delivery::Gap { .. } | Delivery::Behind { .. } => {
                // Only that something happened counts here, not what.
                follow.events = subscribe(&self.shared, self.attempt.job);
            }
        }
        self.look_again().await?;
        Ok(Woken::ToRead)
    }

    /// A piece of the answer goes out now.
    fn piece(mut self, text: Vec<u8>) -> Option<(Bytes, Self)> {
        if let Some(follow) = &mut self.follow {
            follow.quiet_until = Instant::now() + self.shared.limits.heartbeat;
        }
        Some((text.into(), self))
    }
}

impl Pull for Feed {
    async fn pull(mut self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            if self.ended {
                return Ok(None);
            }
            // What is known now was true before the files are read.
            let known = self.standing;
            let (text, feed) = self.read().await?;
            self = feed;
            if !text.is_empty() {
                return Ok(self.piece(text));
            }
            let follows = self.follow.is_some();
            if self.goes_on && known.over && known.has_next {
                self.advance().await?;
                continue;
            }
            let is_over = if self.goes_on && follows {
                self.is_job_over(known).await?
            } else {
                known.over || !follows
            };
            if is_over {
                self.ended = true;
                if self.format == Format::Json {
                    let end = self.end();
                    return Ok(self.piece(end));
                }
            } else if self.wait().await? == Woken::ToBeat {
                return Ok(self.piece(b"\n".to_vec()));
            }
        }
    }
}

impl Feed {
    /// Whether nothing will follow the attempt that is read.
    async fn is_job_over(&mut self, known: Standing) -> io::Result<bool> {
        if !known.over {
            return Ok(false);
        }
        let record = self.shared.job(self.attempt.job).await.map_err(broken)?;
        self.standing = standing(&record, self.attempt.attempt);
        Ok(record.job.state.is_final() && !self.standing.has_next)
    }
}

fn subscribe(shared: &Shared, id: JobId) -> Subscription {
    let state: Option<Pattern> = format!("job/{id}/state").parse().ok();
    let filter = Filter::of(state.into_iter().collect());
    shared.bus.subscribe(filter, QueueOptions::default())
}

/// The answer has begun already, so all that is left is to break it off.
fn broken(failure: Failure) -> io::Error {
    io::Error::other(failure.0.title)
}

fn line(piece: &LogPiece, text: &mut Vec<u8>) {
    // A piece is plain data with string keys, which always has a JSON text.
    drop(serde_json::to_writer(&mut *text, piece));
    text.push(b'\n');
}
