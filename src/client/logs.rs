//! What an attempt wrote, piece by piece and byte for byte, also across restarts of the daemon.

use crate::client::backoff::spread;
use crate::client::error::ClientError;
use crate::client::http::Ask;
use crate::client::link::{Fed, Link};
use crate::client::query::Target;
use crate::client::routes::Client;
use crate::wire::log::LogPiece;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::VecDeque;
use std::time::Duration;

/// The longest line that is read; a piece is far smaller.
const LARGEST_LINE_BYTES: usize = 64 << 20;

/// Whose output, and from where.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// The job.
    pub job: u64,
    /// The attempt; the newest unless given.
    pub attempt: Option<u32>,
    /// `stdout` or `stderr`; both unless given.
    pub stream: Option<String>,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Only what was written at this time or later.
    pub since: Option<jiff::Timestamp>,
    /// Whether to wait for more until the attempt ends.
    pub follow: bool,
}

/// What is at one place of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Bytes of standard output.
    Stdout(Vec<u8>),
    /// Bytes of standard error.
    Stderr(Vec<u8>),
    /// So many bytes were not kept.
    Gap(u64),
}

/// What [`LogFollow::next`] returns.
#[derive(Debug)]
pub enum LogItem {
    /// The next piece, and the line of JSON it came in.
    Piece(LogOutput, LogPiece),
    /// The connection is lost; the next attempt comes after `retry_in`.
    Lost {
        /// Time until then.
        retry_in: Duration,
        /// What happened.
        why: ClientError,
    },
    /// The connection is back, and nothing was missed.
    Back,
}

/// A log that is being read.
pub struct LogFollow {
    link: Link,
    client: Client,
    query: LogQuery,
    cursor: Option<String>,
    lines: Lines,
    ready: VecDeque<LogPiece>,
    /// The attempt was seen to be over before the stream was opened: what comes now is all there is.
    was_over: bool,
    is_done: bool,
    is_lost: bool,
    /// The stream has something in it that is no piece of a log.
    spoilt: Option<ClientError>,
}

impl LogFollow {
    pub(crate) fn new(client: Client, query: LogQuery) -> Self {
        Self {
            link: Link::new(client.clone()),
            client,
            query,
            cursor: None,
            lines: Lines::default(),
            ready: VecDeque::new(),
            was_over: false,
            is_done: false,
            is_lost: false,
            spoilt: None,
        }
    }

    /// The next piece; `None` at the end. Safe to cancel.
    ///
    /// # Errors
    /// [`ClientError`] where trying again would not help.
    pub async fn next(&mut self) -> Result<Option<LogItem>, ClientError> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                if let Some(item) = self.take(piece)? {
                    return Ok(Some(item));
                }
                continue;
            }
            if self.is_done {
                return Ok(None);
            }
            if let Some(why) = self.spoilt.take() {
                return Ok(Some(self.lose(why, None)));
            }
            if let Some(item) = self.read().await? {
                return Ok(Some(item));
            }
        }
    }

    /// There is reason to think that the daemon is there: does not wait any longer before the next attempt.
    pub fn retry_now(&mut self) {
        self.link.hurry();
    }

    async fn read(&mut self) -> Result<Option<LogItem>, ClientError> {
        let (query, cursor) = (&self.query, self.cursor.as_deref());
        let fed = match self.link.next(|| request(query, cursor)).await {
            Ok(fed) => fed,
            Err(why) if why.is_passing() => {
                let wait = why.retry_after().map(spread);
                return Ok(Some(self.lose(why, wait)));
            }
            Err(error) => return Err(error),
        };
        Ok(match fed {
            Fed::Opened => {
                self.lines = Lines::default();
                std::mem::take(&mut self.is_lost).then_some(LogItem::Back)
            }
            Fed::Bytes(bytes) => match self.lines.feed(&bytes, &mut self.ready) {
                Ok(()) => None,
                // What was understood before it still counts, and says where to go on.
                Err(why) => {
                    self.spoilt = Some(why);
                    None
                }
            },
            Fed::Ended => self.ended().await,
            Fed::Lost { retry_in, why } => {
                self.is_lost = true;
                Some(LogItem::Lost { retry_in, why })
            }
        })
    }

    fn lose(&mut self, why: ClientError, wait: Option<Duration>) -> LogItem {
        self.is_lost = true;
        let retry_in = self.link.lose(wait);
        LogItem::Lost { retry_in, why }
    }

    /// A daemon that goes down ends its answers properly too, so the end of an answer is believed only
    /// where the attempt was over before the answer began.
    async fn ended(&mut self) -> Option<LogItem> {
        if !self.query.follow || self.was_over {
            self.is_done = true;
            return None;
        }
        let why = match self.client.job(self.query.job).await {
            Ok(job) => {
                let attempt = self.query.attempt.or(job.attempt);
                let of_it = job.attempts.iter().find(|it| Some(it.attempt) == attempt);
                self.was_over =
                    job.finished_at.is_some() || of_it.is_some_and(|it| it.finished_at.is_some());
                if self.was_over {
                    return None;
                }
                ClientError::broken("the daemon closed the stream")
            }
            Err(why) => why,
        };
        Some(self.lose(why, None))
    }

    fn take(&mut self, piece: LogPiece) -> Result<Option<LogItem>, ClientError> {
        if let Some(cursor) = &piece.cursor {
            self.cursor = Some(cursor.clone());
        }
        if piece.end {
            self.is_done = true;
            return Ok(None);
        }
        Ok(output(&piece)?.map(|output| LogItem::Piece(output, piece)))
    }
}

fn request(query: &LogQuery, cursor: Option<&str>) -> Ask {
    let mut target = Target::new(format!("/v1/jobs/{}/logs", query.job));
    target.add("format", "json");
    target.add_some("attempt", query.attempt);
    target.add_some("stream", query.stream.as_ref());
    if query.follow {
        target.add("follow", 1);
    }
    match cursor {
        Some(cursor) => target.add("offset", cursor),
        None => {
            target.add_some("tail", query.tail);
            target.add_some("since", query.since);
        }
    }
    Ask::get(target.into_text())
}

fn output(piece: &LogPiece) -> Result<Option<LogOutput>, ClientError> {
    if let Some(bytes) = piece.gap_bytes {
        return Ok(Some(LogOutput::Gap(bytes)));
    }
    let bytes = match (&piece.text, &piece.base64) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(text)) => STANDARD
            .decode(text)
            .map_err(|error| ClientError::protocol(format!("a piece of a log: {error}")))?,
        (None, None) => return Ok(None),
    };
    Ok(Some(match piece.stream.as_deref() {
        Some("stderr") => LogOutput::Stderr(bytes),
        Some(_) | None => LogOutput::Stdout(bytes),
    }))
}

/// Lines of JSON from a stream that may be cut into pieces anywhere.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8], out: &mut VecDeque<LogPiece>) -> Result<(), ClientError> {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.rest.extend_from_slice(part);
            if self.rest.len() > LARGEST_LINE_BYTES {
                return Err(ClientError::protocol("a line of the log has no end"));
            }
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.rest);
                if !line.trim_ascii().is_empty() {
                    let piece = serde_json::from_slice(&line)
                        .map_err(|error| ClientError::protocol(error.to_string()))?;
                    out.push_back(piece);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_may_be_cut_anywhere() {
        let text =
            "{\"stream\":\"stdout\",\"text\":\"é\\u0000\"}\n\n{\"gap_bytes\":7}\n{\"end\":true}\n";
        for cut in 0..text.len() {
            let (mut lines, mut out) = (Lines::default(), VecDeque::new());
            let (head, tail) = text.as_bytes().split_at(cut);
            lines.feed(head, &mut out).unwrap();
            lines.feed(tail, &mut out).unwrap();
            let pieces: Vec<_> = out.iter().map(|piece| output(piece).unwrap()).collect();
            let expected = [
                Some(LogOutput::Stdout("é\0".as_bytes().to_vec())),
                Some(LogOutput::Gap(7)),
                None,
            ];
            assert_eq!(pieces, expected);
        }
    }
}
