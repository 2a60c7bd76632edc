//! Staying with a job to its end: its output, a progress line, Ctrl-C, and the daemon's restarts.

use crate::cli::Session;
use crate::cli::commands::{progress_of, write_log};
use crate::cli::error::CliError;
use crate::cli::exit::Outcome;
use crate::cli::output::progress;
use crate::cli::output::screen::Screen;
use crate::cli::output::style;
use crate::cli::output::table::words_of;
use crate::cli::output::text::{duration, harmless};
use crate::client::{
    Client, ClientError, EventQuery, Events, JobStateBody, LogFollow, LogItem, LogQuery, StreamItem,
};
use crate::wire::event::{EventView, StreamMessage};
use crate::wire::job::JobView;
use crate::wire::progress::ProgressView;
use crate::wire::request::StopRequest;
use crate::wire::values::Span;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often the progress line is brought up to date where nothing else happens.
const DRAW_EVERY: Duration = Duration::from_millis(250);

/// Wishes to stop: Ctrl-C, and SIGTERM.
#[derive(Debug)]
pub struct Stops {
    interrupt: Signal,
    terminate: Signal,
}

impl Stops {
    /// From now on they do not end this process.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn listen() -> Result<Self, CliError> {
        let listen =
            |kind| signal(kind).map_err(|error| CliError::failed("listen to signals", &error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Shows job `id` until it has ended; the exit status is the job's.
///
/// # Errors
/// Where the daemon refuses, or the output cannot be written.
pub async fn follow(
    session: &Session,
    client: Client,
    id: u64,
    stops: Stops,
) -> Result<ExitCode, CliError> {
    let events = client.events(EventQuery {
        job: Some(id),
        snapshot: true,
        ..EventQuery::default()
    });
    let mut following = Following {
        session,
        id,
        events,
        log: None,
        screen: Screen::new(!session.output.json),
        stops_seen: 0,
        attempt_read: 0,
        attempt_known: 0,
        shown: Shown::default(),
        is_away: false,
        outcome: None,
        client,
    };
    let outcome = following.run(stops).await;
    following.screen.erase();
    let Some(outcome) = outcome? else {
        return Ok(ExitCode::from(130));
    };
    if let Some(text) = outcome.explanation(id) {
        following.screen.note(&harmless(&text));
    }
    Ok(ExitCode::from(outcome.status()))
}

/// What the progress line tells.
#[derive(Debug, Default)]
struct Shown {
    name: String,
    state: String,
    reason: Option<String>,
    progress: ProgressView,
    running_since: Option<Instant>,
}

struct Following<'a> {
    session: &'a Session,
    client: Client,
    id: u64,
    events: Events,
    log: Option<LogFollow>,
    screen: Screen,
    stops_seen: u32,
    /// The attempt whose output is read, or was read last.
    attempt_read: u32,
    /// The newest attempt there is.
    attempt_known: u32,
    shown: Shown,
    is_away: bool,
    outcome: Option<Outcome>,
}

impl Following<'_> {
    /// `None` where the person left.
    async fn run(&mut self, mut stops: Stops) -> Result<Option<Outcome>, CliError> {
        let mut tick = interval(DRAW_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let draws = self.screen.has_line();
        loop {
            self.open_log();
            if self.log.is_none()
                && let Some(outcome) = self.outcome.take()
            {
                return Ok(Some(outcome));
            }
            let has_ended = self.outcome.is_some();
            // Output comes before the news that the job has ended, and both before drawing.
            tokio::select! {
                biased;
                () = stops.next() => if self.stop().await? { return Ok(None) },
                item = next_piece(&mut self.log) => self.piece(item).await?,
                item = self.events.next(), if !has_ended => self.event(item).await?,
                _ = tick.tick(), if draws => self.draw(),
            }
        }
    }

    /// Attempts are read one after the other; the next one only when all of the last one was shown.
    fn open_log(&mut self) {
        if self.log.is_none() && self.attempt_read < self.attempt_known {
            self.attempt_read += 1;
            self.log = Some(self.client.logs(LogQuery {
                job: self.id,
                attempt: Some(self.attempt_read),
                follow: true,
                ..LogQuery::default()
            }));
        }
    }

    async fn piece(&mut self, item: Result<Option<LogItem>, ClientError>) -> Result<(), CliError> {
        match item? {
            Some(LogItem::Piece(piece, _)) => {
                write_log(&mut self.screen, piece, false)?;
                self.draw();
            }
            // The stream of events tells the person; only after its end the log has to.
            Some(LogItem::Lost { .. }) if self.outcome.is_none() => {
                self.session.plan.revive(&self.client).await;
            }
            Some(LogItem::Back) if self.outcome.is_none() => {}
            Some(LogItem::Lost { .. }) => self.lost().await,
            Some(LogItem::Back) => self.back(),
            None => self.log = None,
        }
        Ok(())
    }

    async fn event(
        &mut self,
        item: Result<Option<StreamItem>, ClientError>,
    ) -> Result<(), CliError> {
        match item? {
            Some(StreamItem::Message(StreamMessage::Event(event, _))) => self.news(event),
            Some(StreamItem::Message(_)) => {}
            Some(StreamItem::Lost { .. }) => self.lost().await,
            Some(StreamItem::Back) => self.back(),
            Some(StreamItem::Relist | StreamItem::Poll) | None => self.look().await?,
        }
        self.draw();
        Ok(())
    }

    fn news(&mut self, event: EventView) {
        if event.kind == "progress" {
            self.shown.progress = progress_of(&event.body);
        } else if let Ok(body) = serde_json::from_value::<JobStateBody>(event.body) {
            self.outcome = Outcome::of_event(&body);
            self.know(body.attempt, body.name, body.state, body.reason);
        }
    }

    /// Asks for the state instead of hearing of it.
    async fn look(&mut self) -> Result<(), CliError> {
        match self.client.job(self.id).await {
            Ok(job) => {
                self.outcome = Outcome::of(&job);
                let JobView {
                    attempt,
                    name,
                    state,
                    reason,
                    progress,
                    ..
                } = job;
                self.shown.progress = progress.unwrap_or_default();
                self.know(attempt, name, state, reason);
                Ok(())
            }
            Err(error) if error.is_absence() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn know(&mut self, attempt: Option<u32>, name: String, state: String, reason: Option<String>) {
        self.attempt_known = self.attempt_known.max(attempt.unwrap_or(0));
        let shown = &mut self.shown;
        if state == "running" && shown.state != "running" {
            shown.running_since = Some(Instant::now());
        } else if state != "running" {
            shown.running_since = None;
        }
        (shown.name, shown.state, shown.reason) = (name, state, reason);
    }

    /// Passes a wish to stop on to the job; true where the person does not want to wait any longer.
    async fn stop(&mut self) -> Result<bool, CliError> {
        self.stops_seen += 1;
        let id = self.id;
        let (how, said) = match self.stops_seen {
            1 => (
                StopRequest::default(),
                format!("asking job {id} to end; Ctrl-C again kills it"),
            ),
            2 => (
                StopRequest {
                    grace: Some(Span::from_ms(0)),
                },
                format!("killing job {id}"),
            ),
            _ => {
                self.screen.note(&format!("leaving job {id} to the daemon"));
                return Ok(true);
            }
        };
        self.screen.note(&said);
        match self.client.cancel(id, &how).await {
            Ok(()) => {}
            Err(error) if error.is_absence() => {
                self.screen
                    .note("the daemon does not answer; once more leaves the job alone");
                // A second wish would only find the same.
                self.stops_seen = 2;
            }
            // It has ended in the meantime, and its end is on the way.
            Err(ClientError::Problem(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(false)
    }

    async fn lost(&mut self) {
        if !self.is_away {
            self.is_away = true;
            self.screen
                .note("the connection to the daemon is lost, trying again; the job goes on");
        }
        self.session.plan.revive(&self.client).await;
    }

    fn back(&mut self) {
        if std::mem::take(&mut self.is_away) {
            self.screen.note("connected again");
        }
    }

    fn draw(&mut self) {
        if !self.screen.may_draw() || self.shown.state.is_empty() {
            return;
        }
        let look = self.session.output.error_look();
        let shown = &self.shown;
        let (glyph, _) = style::state(&shown.state);
        let mut head = format!("{glyph} {} {}", self.id, harmless(&shown.name));
        match (&shown.reason, shown.running_since) {
            (_, Some(since)) => head += &format!("  {}", duration(since.elapsed().as_secs_f64())),
            (Some(reason), None) => {
                head += &format!("  {} · {}", shown.state, harmless(&words_of(reason)));
            }
            (None, None) => head += &format!("  {}", style::state_words(&shown.state)),
        }
        let width = usize::from(look.width).saturating_sub(1);
        let line = progress::line(&look, &head, &shown.progress, width);
        self.screen.draw(&line);
    }
}

async fn next_piece(log: &mut Option<LogFollow>) -> Result<Option<LogItem>, ClientError> {
    match log {
        Some(log) => log.next().await,
        None => std::future::pending().await,
    }
}
