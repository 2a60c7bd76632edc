//! A stream that is opened again when it breaks. Cancelling a call of [`Link::next`] loses nothing.

use crate::client::backoff::Backoff;
use crate::client::error::ClientError;
use crate::client::http::Ask;
use crate::client::routes::Client;
use crate::wire::log::HEARTBEAT_HEADER;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// What came of the stream.
#[derive(Debug)]
pub(crate) enum Fed {
    /// It was opened.
    Opened,
    /// Its next bytes.
    Bytes(Bytes),
    /// It came to a proper end.
    Ended,
    /// It broke; it is opened again after `retry_in`.
    Lost {
        /// Time until then.
        retry_in: Duration,
        /// What happened.
        why: ClientError,
    },
}

/// Silence that is no cause for concern, in heartbeats.
const PATIENCE_HEARTBEATS: f64 = 2.5;
/// No daemon is expected to be silent for longer, whatever it says.
const LONGEST_HEARTBEAT_MS: u64 = 600_000;

type Opening = Pin<Box<dyn Future<Output = Result<Response<Incoming>, ClientError>> + Send>>;

enum Phase {
    Closed,
    Waiting(Instant),
    Opening(Opening),
    /// And when it was heard of last: a caller that comes and goes must not make silence look short.
    Open(Incoming, Instant),
}

/// A connection that held for so long was no accident: the next failure is a first one again. One that is lost
/// sooner, again and again, is tried more and more seldom.
const STABLE: Duration = Duration::from_secs(2);

/// The stream, open or not.
pub(crate) struct Link {
    client: Client,
    phase: Phase,
    backoff: Backoff,
    opened_at: Option<Instant>,
    has_reopened: bool,
    /// Longest silence before the other side counts as dead.
    pub(crate) silence: Option<Duration>,
}

impl Link {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            phase: Phase::Closed,
            backoff: Backoff::default(),
            opened_at: None,
            has_reopened: false,
            silence: None,
        }
    }

    /// Drops the stream, and says when it is opened again: after `wait`, or as the backoff says.
    pub(crate) fn lose(&mut self, wait: Option<Duration>) -> Duration {
        self.close();
        let retry_in = wait.unwrap_or_else(|| self.backoff.pause());
        self.phase = Phase::Waiting(Instant::now() + retry_in);
        retry_in
    }

    /// Drops a stream that cannot go on, and opens another one: at once, but not again and again at once.
    pub(crate) fn reopen(&mut self) {
        self.close();
        if std::mem::replace(&mut self.has_reopened, true) {
            self.phase = Phase::Waiting(Instant::now() + self.backoff.pause());
        }
    }

    /// Does not wait any longer.
    pub(crate) fn hurry(&mut self) {
        if matches!(self.phase, Phase::Waiting(_)) {
            self.phase = Phase::Closed;
        }
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        if self
            .opened_at
            .take()
            .is_some_and(|at| at.elapsed() >= STABLE)
        {
            self.backoff.reset();
            self.has_reopened = false;
        }
    }

    /// What comes next. `ask` says what to ask for when the stream is opened.
    pub(crate) async fn next(&mut self, ask: impl Fn() -> Ask) -> Result<Fed, ClientError> {
        loop {
            match &mut self.phase {
                Phase::Closed => {
                    let (http, ask, patience) = (self.client.http(), ask(), self.silence);
                    let opening = async move { http.open(&ask, patience).await };
                    self.phase = Phase::Opening(Box::pin(opening));
                }
                Phase::Waiting(until) => {
                    tokio::time::sleep_until(*until).await;
                    self.phase = Phase::Closed;
                }
                Phase::Opening(opening) => match opening.await {
                    Ok(response) => {
                        let now = Instant::now();
                        let heartbeat = heartbeat_ms(response.headers());
                        self.silence = heartbeat.map(patience).or(self.silence);
                        self.phase = Phase::Open(response.into_body(), now);
                        self.opened_at = Some(now);
                        return Ok(Fed::Opened);
                    }
                    Err(why) if why.is_absence() => {
                        let retry_in = self.lose(None);
                        return Ok(Fed::Lost { retry_in, why });
                    }
                    Err(why) => {
                        self.phase = Phase::Closed;
                        return Err(why);
                    }
                },
                Phase::Open(body, heard_at) => {
                    let read = read(body, *heard_at, self.silence).await;
                    *heard_at = Instant::now();
                    return Ok(match read {
                        Ok(Some(bytes)) => Fed::Bytes(bytes),
                        Ok(None) => {
                            self.close();
                            Fed::Ended
                        }
                        Err(why) => {
                            let retry_in = self.lose(None);
                            Fed::Lost { retry_in, why }
                        }
                    });
                }
            }
        }
    }
}

async fn read(
    body: &mut Incoming,
    heard_at: Instant,
    silence: Option<Duration>,
) -> Result<Option<Bytes>, ClientError> {
    loop {
        let frame = match silence {
            None => body.frame().await,
            Some(after) => tokio::time::timeout_at(heard_at + after, body.frame())
                .await
                .map_err(|_| ClientError::Silent { after })?,
        };
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(ClientError::broken(error)),
            Some(Ok(frame)) => {
                // Trailers say nothing here.
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

/// How long a daemon may be silent that says how often it shows a sign of life.
pub(crate) fn patience(heartbeat_ms: u64) -> Duration {
    let heartbeat = Duration::from_millis(heartbeat_ms.clamp(100, LONGEST_HEARTBEAT_MS));
    heartbeat.mul_f64(PATIENCE_HEARTBEATS)
}

fn heartbeat_ms(headers: &HeaderMap) -> Option<u64> {
    headers.get(HEARTBEAT_HEADER)?.to_str().ok()?.parse().ok()
}
