//! A stream that is opened again when it breaks. Cancelling a call of [`Link::next`] loses nothing.

use crate::client::backoff::Backoff;
use crate::client::error::ClientError;
use crate::client::http::Ask;
use crate::client::routes::Client;
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// What came of the stream.
#[derive(Debug)]
pub(crate) enum Fed {
    /// It was opened; `again` where it had been lost.
    Opened {
        /// Whether somebody was told that it was lost.
        again: bool,
    },
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

type Opening = Pin<Box<dyn Future<Output = Result<Incoming, ClientError>> + Send>>;

enum Phase {
    Closed,
    Waiting(Instant),
    Opening(Opening),
    Open(Incoming),
}

/// The stream, open or not.
pub(crate) struct Link {
    client: Client,
    phase: Phase,
    backoff: Backoff,
    is_lost: bool,
    /// Longest silence before the other side counts as dead.
    pub(crate) silence: Option<Duration>,
}

impl Link {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            phase: Phase::Closed,
            backoff: Backoff::default(),
            is_lost: false,
            silence: None,
        }
    }

    /// Something sensible was read: the next failure is a first one again.
    pub(crate) fn works(&mut self) {
        self.backoff.reset();
    }

    /// Opens it anew with the next call of `next`.
    pub(crate) fn close(&mut self) {
        self.phase = Phase::Closed;
    }

    /// Drops the stream, and says when it is opened again: after `wait`, or as the backoff says.
    pub(crate) fn lose(&mut self, why: ClientError, wait: Option<Duration>) -> Fed {
        let retry_in = wait.unwrap_or_else(|| self.backoff.pause());
        self.is_lost = true;
        self.phase = Phase::Waiting(Instant::now() + retry_in);
        Fed::Lost { retry_in, why }
    }

    /// What comes next. `ask` says what to ask for when the stream is opened.
    pub(crate) async fn next(&mut self, ask: impl Fn() -> Ask) -> Result<Fed, ClientError> {
        loop {
            match &mut self.phase {
                Phase::Closed => {
                    let (http, ask) = (self.client.http(), ask());
                    let opening = async move { http.open(&ask).await };
                    self.phase = Phase::Opening(Box::pin(opening));
                }
                Phase::Waiting(until) => {
                    tokio::time::sleep_until(*until).await;
                    self.phase = Phase::Closed;
                }
                Phase::Opening(opening) => match opening.await {
                    Ok(body) => {
                        self.phase = Phase::Open(body);
                        let again = std::mem::take(&mut self.is_lost);
                        return Ok(Fed::Opened { again });
                    }
                    Err(why) if why.is_absence() => return Ok(self.lose(why, None)),
                    Err(why) => {
                        self.phase = Phase::Closed;
                        return Err(why);
                    }
                },
                Phase::Open(body) => {
                    let read = read(body, self.silence).await;
                    return Ok(match read {
                        Ok(Some(bytes)) => Fed::Bytes(bytes),
                        Ok(None) => {
                            self.phase = Phase::Closed;
                            Fed::Ended
                        }
                        Err(why) => self.lose(why, None),
                    });
                }
            }
        }
    }
}

async fn read(
    body: &mut Incoming,
    silence: Option<Duration>,
) -> Result<Option<Bytes>, ClientError> {
    loop {
        let frame = match silence {
            None => body.frame().await,
            Some(after) => tokio::time::timeout(after, body.frame())
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
