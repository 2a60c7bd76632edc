//! Staying with a job to its end: its output, a progress line, Ctrl-C, and the daemon's restarts.
//!
//! Nothing here waits for the daemon alone: whatever it is asked, a wish to stop is heard meanwhile.

use crate::cli::Session;
use crate::cli::commands::{progress_of, write_log};
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::exit::Outcome;
use crate::cli::output::live::Live;
use crate::cli::output::screen::Screen;
use crate::cli::output::text::harmless;
use crate::cli::stops::Stops;
use crate::cli::waits::Waits;
use crate::client::{
    Client, ClientError, EventQuery, Events, JobStateBody, LogFollow, LogItem, LogQuery, News,
    StreamItem,
};
use crate::wire::event::StreamMessage;
use crate::wire::job::JobView;
use crate::wire::request::StopRequest;
use crate::wire::values::Span;
use serde_json::json;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often the progress line is brought up to date where nothing else happens.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// While the connection is lost, a daemon that may be back gets so long to hear a wish to stop; one that has to be
/// started first, longer.
const LAST_TRY: Duration = Duration::from_millis(500);
const LAST_START: Duration = Duration::from_secs(5);

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
    let mut following = Following {
        session,
        id,
        events: client.events(query(id)),
        log: None,
        screen: Screen::new(!session.output.json),
        connection: Connection::new(session, client.clone(), "; the job goes on"),
        asking: None,
        looking: None,
        stops_seen: 0,
        attempt_read: 0,
        attempt_known: 0,
        live: Live::default(),
        waits: Waits::default(),
        outcome: None,
        client,
    };
    let outcome = following.run(stops).await;
    following.screen.erase();
    let Some(outcome) = outcome? else {
        return Ok(ExitCode::from(Stops::STATUS));
    };
    if let Some(text) = outcome.explanation(id) {
        following.screen.note(&harmless(&text));
    }
    Ok(ExitCode::from(outcome.status()))
}

fn query(id: u64) -> EventQuery {
    EventQuery {
        job: Some(id),
        snapshot: true,
        ..EventQuery::default()
    }
}

/// An answer that is awaited beside everything else.
type Awaited<T> = Option<Pin<Box<dyn Future<Output = Result<T, ClientError>>>>>;

struct Following<'a> {
    session: &'a Session,
    client: Client,
    id: u64,
    events: Events,
    log: Option<LogFollow>,
    screen: Screen,
    connection: Connection<'a>,
    /// The daemon is being asked to end the job.
    asking: Awaited<()>,
    /// The daemon is being asked how the job is.
    looking: Awaited<JobView>,
    stops_seen: u32,
    /// The attempt whose output is read, or was read last.
    attempt_read: u32,
    /// The newest attempt there is.
    attempt_known: u32,
    live: Live,
    waits: Waits,
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
                () = stops.next() => if self.stop() { return Ok(None) },
                answer = awaited(&mut self.asking) => if self.answered(answer)? { return Ok(None) },
                () = self.connection.revived() => self.retry_now(),
                item = next_piece(&mut self.log) => self.piece(item)?,
                item = self.events.next(), if !has_ended && self.looking.is_none() => self.event(item)?,
                job = awaited(&mut self.looking) => self.looked(job)?,
                () = self.waits.look(), if !has_ended && self.looking.is_none() => self.look(),
                () = self.screen.resized() => self.draw(),
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

    fn piece(&mut self, item: Result<Option<LogItem>, ClientError>) -> Result<(), CliError> {
        match item? {
            Some(LogItem::Piece(piece, _)) => {
                write_log(&mut self.screen, piece, false)?;
                self.draw();
            }
            // The stream of events tells the person; only after its end the log has to.
            Some(LogItem::Lost { .. } | LogItem::Back) if self.outcome.is_none() => {}
            Some(LogItem::Lost { retry_in, why }) => {
                self.connection.lost(&mut self.screen, retry_in, &why);
            }
            Some(LogItem::Back) => self.connection.back(&mut self.screen),
            None => self.log = None,
        }
        Ok(())
    }

    fn event(&mut self, item: Result<Option<StreamItem>, ClientError>) -> Result<(), CliError> {
        match item? {
            Some(StreamItem::Message(StreamMessage::Event(event, _))) => match News::of(&event) {
                News::Progress(_, body) => self.live.progress = progress_of(body),
                News::State(body) | News::Edited(body) => self.moved(body),
                News::Removed(_) => self.look(),
                News::Other => {}
            },
            Some(StreamItem::Message(_)) => {}
            Some(StreamItem::Lost { retry_in, why }) => {
                self.connection.lost(&mut self.screen, retry_in, &why);
            }
            Some(StreamItem::Back) => self.connection.back(&mut self.screen),
            Some(StreamItem::Relist) => self.look(),
            Some(StreamItem::Poll) => {
                self.connection.refused(&mut self.screen);
                self.look();
            }
            // The stream is complete although the job, as far as is known here, is not.
            None => {
                self.events = self.client.events(query(self.id));
                self.look();
            }
        }
        self.draw();
        Ok(())
    }

    fn moved(&mut self, body: JobStateBody) {
        self.outcome = Outcome::of_event(&body);
        self.know(body.attempt, body.name, body.state, body.reason);
    }

    fn know(&mut self, attempt: Option<u32>, name: String, state: String, reason: Option<String>) {
        self.attempt_known = self.attempt_known.max(attempt.unwrap_or(0));
        self.waits.is_in(&state);
        self.live.moves(name, state, reason);
    }

    /// Asks for the state instead of hearing of it.
    fn look(&mut self) {
        let (client, id) = (self.client.clone(), self.id);
        self.looking = Some(Box::pin(async move { client.job(id).await }));
    }

    fn looked(&mut self, job: Result<JobView, ClientError>) -> Result<(), CliError> {
        self.looking = None;
        let job = match job {
            Ok(job) => job,
            // The stream says so, and the next look comes.
            Err(error) if error.is_passing() => {
                if error.is_absence() {
                    self.events.retry_now();
                }
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.outcome = Outcome::of(&job);
        if let Some(why) = self.waits.news(&job) {
            self.say_why_it_waits(&job, &why);
        }
        self.know(job.attempt, job.name, job.state, job.reason);
        self.live.progress = job.progress.unwrap_or_default();
        self.draw();
        Ok(())
    }

    /// On a terminal the line says it all the time.
    fn say_why_it_waits(&mut self, job: &JobView, why: &str) {
        if self.session.output.json {
            let (id, state, reason) = (job.id, &job.state, &job.reason);
            let note = json!({"job": id, "state": state, "reason": reason});
            self.session.output.json_note(&note);
        } else if !self.screen.has_line() {
            self.screen.note(&harmless(why));
        }
    }

    /// Passes a wish to stop on to the job; true where the person does not want to wait any longer.
    fn stop(&mut self) -> bool {
        self.stops_seen += 1;
        let id = self.id;
        let is_away = self.connection.is_away();
        let (how, said) = match self.stops_seen {
            1 => (
                StopRequest::default(),
                format!("asking job {id} to end; Ctrl-C again kills it"),
            ),
            2 if !is_away => (
                StopRequest {
                    grace: Some(Span::from_ms(0)),
                },
                format!("killing job {id}"),
            ),
            _ => {
                self.screen.note(&format!("leaving job {id} to the daemon"));
                return true;
            }
        };
        if !is_away {
            self.screen.note(&said);
        }
        let client = self.client.clone();
        let patience = is_away.then(|| {
            let is_own = self.session.plan.may_revive(&client);
            if is_own { LAST_START } else { LAST_TRY }
        });
        self.asking = Some(Box::pin(async move {
            match patience {
                None => client.cancel(id, &how).await,
                Some(after) => timeout(after, client.cancel(id, &how))
                    .await
                    .unwrap_or(Err(ClientError::Silent { after })),
            }
        }));
        false
    }

    /// Whether there is nobody who could end the job, so that there is nothing to wait for.
    fn answered(&mut self, answer: Result<(), ClientError>) -> Result<bool, CliError> {
        self.asking = None;
        let id = self.id;
        match answer {
            Ok(()) => {
                if self.connection.is_away() {
                    self.screen.note(&format!("job {id} was asked to end"));
                    self.retry_now();
                }
                Ok(false)
            }
            Err(error) if error.is_absence() => {
                self.screen.note(&format!(
                    "the daemon does not answer, and job {id} goes on: `stoke cancel {id}` ends it"
                ));
                Ok(true)
            }
            Err(error) if error.is_limit() => {
                self.stops_seen = self.stops_seen.saturating_sub(1);
                self.screen
                    .note("the daemon has no time for that now; press Ctrl-C again");
                Ok(false)
            }
            // It has ended in the meantime, and its end is on the way.
            Err(ClientError::Problem(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn retry_now(&mut self) {
        self.events.retry_now();
        if let Some(log) = &mut self.log {
            log.retry_now();
        }
    }

    fn draw(&mut self) {
        if !self.screen.may_draw() {
            return;
        }
        if let Some(line) = self.connection.line() {
            self.screen.draw(&line);
        } else if !self.live.state.is_empty() {
            let look = self.session.output.error_look();
            self.screen.draw(&self.live.line(self.id, &look));
        }
    }
}

async fn next_piece(log: &mut Option<LogFollow>) -> Result<Option<LogItem>, ClientError> {
    match log {
        Some(log) => log.next().await,
        None => std::future::pending().await,
    }
}

async fn awaited<T>(answer: &mut Awaited<T>) -> Result<T, ClientError> {
    match answer {
        Some(answer) => answer.await,
        None => std::future::pending().await,
    }
}
