//! What is told of the connection: that it is lost, when it is tried again, that it is back. Standard output stays what
//! it is; programs (`--json`) get a line of JSON on standard error, people a line of words, and on a terminal a countdown.

use crate::cli::Session;
use crate::cli::output::screen::Screen;
use crate::cli::output::text::duration;
use crate::client::{Client, ClientError};
use serde_json::json;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// The connection of one command, as its user was told of it.
pub struct Connection<'a> {
    session: &'a Session,
    client: Client,
    /// What goes on meanwhile, for people.
    comfort: &'static str,
    away: Option<Away>,
    reviving: Option<Pin<Box<dyn Future<Output = bool>>>>,
}

/// There is no connection.
#[derive(Debug)]
struct Away {
    since: Instant,
    /// When it is tried again.
    retry_at: Option<Instant>,
}

impl<'a> Connection<'a> {
    /// A connection that works. `comfort` completes "the connection to the daemon is lost".
    #[must_use]
    pub fn new(session: &'a Session, client: Client, comfort: &'static str) -> Self {
        Self {
            session,
            client,
            comfort,
            away: None,
            reviving: None,
        }
    }

    /// Whether the daemon cannot be reached, as far as is known.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// It is lost, and tried again after `retry_in`. A daemon that this user has to start is started.
    pub fn lost(&mut self, screen: &mut Screen, retry_in: Duration, why: &ClientError) {
        let retry_at = Some(Instant::now() + retry_in);
        match &mut self.away {
            Some(away) => away.retry_at = retry_at,
            None => {
                let since = Instant::now();
                self.away = Some(Away { since, retry_at });
                if self.session.output.json {
                    let retry_seconds = retry_in.as_secs_f64();
                    let why = format!("failed to {why}");
                    self.session.output.json_note(
                        &json!({"connection": "lost", "retry_seconds": retry_seconds, "why": why}),
                    );
                } else {
                    let comfort = self.comfort;
                    screen.note(&format!(
                        "the connection to the daemon is lost, trying again{comfort}"
                    ));
                }
            }
        }
        if self.reviving.is_none() {
            let (plan, client) = (self.session.plan.clone(), self.client.clone());
            self.reviving = plan
                .may_revive(&client)
                .then(|| Box::pin(async move { plan.revive(&client).await }) as _);
        }
    }

    /// The daemon is there, but serves no more streams to this user now.
    pub fn refused(&mut self, screen: &mut Screen) {
        if self.away.is_some() {
            return;
        }
        self.away = Some(Away {
            since: Instant::now(),
            retry_at: None,
        });
        if self.session.output.json {
            self.session
                .output
                .json_note(&json!({"connection": "refused"}));
        } else {
            screen.note(
                "the daemon serves no more streams to you now: looking every 2 s, trying again",
            );
        }
    }

    /// It is back.
    pub fn back(&mut self, screen: &mut Screen) {
        let Some(away) = self.away.take() else {
            return;
        };
        let seconds = away.since.elapsed().as_secs_f64();
        if self.session.output.json {
            self.session
                .output
                .json_note(&json!({"connection": "back", "away_seconds": seconds}));
        } else {
            screen.note(&format!("connected again after {}", duration(seconds)));
        }
    }

    /// Events cannot be had any more.
    pub fn missed(&self, screen: &mut Screen) {
        if self.session.output.json {
            self.session
                .output
                .json_note(&json!({"connection": "missed_events"}));
        } else {
            screen.note("some events were missed; `stoke ls` shows the present state");
        }
    }

    /// Returns when a daemon was brought back, so that there is nothing to wait for. Safe to cancel.
    pub async fn revived(&mut self) {
        loop {
            let Some(reviving) = &mut self.reviving else {
                return std::future::pending().await;
            };
            let is_there = reviving.await;
            self.reviving = None;
            if is_there {
                return;
            }
        }
    }

    /// The line at the bottom of a terminal while the connection is lost.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        let away = self.away.as_ref()?;
        let seconds = away.since.elapsed().as_secs_f64().floor();
        let since = if seconds < 1.0 {
            String::new()
        } else {
            format!(" for {}", duration(seconds))
        };
        Some(match away.retry_at {
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now()).as_secs_f64();
                let left = duration(left.ceil().max(1.0));
                format!("↻ no connection{since}, next try in {left}")
            }
            None => format!("↻ no stream{since}"),
        })
    }
}
