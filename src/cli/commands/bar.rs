//! `stoke bar`: one line for each change, for a bar of a desktop.
//!
//! It only looks: no daemon is started for it, and while nothing runs it hears of jobs' states alone, so that nothing is
//! measured for its sake and nothing wakes up. It ends with whoever reads it.

use crate::cli::Session;
use crate::cli::error::CliError;
use crate::cli::glance::{BAD_STATES, Change, Glance};
use crate::cli::output::bar::BarFormat;
use crate::cli::output::style::Look;
use crate::cli::reader::Reader;
use crate::cli::values::span;
use crate::client::{Client, ClientError, EventQuery, Events, JobQuery, StreamItem};
use crate::wire::event::StreamMessage;
use crate::wire::values::{Cursor, Span};
use jiff::{SignedDuration, Timestamp};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// Shortest time between two lines.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How soon it is looked again for a daemon where none answers, at first and at last.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_SELDOM: Duration = Duration::from_secs(16);
/// So many failures are looked through for those of late.
const MOST_FAILURES: u32 = 50;
/// What is heard while nothing runs.
const STATES: &str = "job/*/state";
/// What is heard besides while something does.
const TELEMETRY: [&str; 3] = ["job/*/progress", "job/*/metrics", "gpu/*/metrics"];

/// For whom, and how long failures are of interest.
#[derive(Debug, clap::Args)]
pub struct BarArgs {
    /// What reads the lines
    #[arg(long, short, value_enum, default_value_t)]
    format: BarFormat,
    /// How long a job of yours that failed is shown, unless it is retried or removed
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = span)]
    failures_for: Span,
}

/// `stoke bar`
pub async fn run(session: &Session, args: BarArgs) -> Result<ExitCode, CliError> {
    let format = if session.output.json {
        BarFormat::Json
    } else {
        args.format
    };
    let reader = Reader::watch()?;
    let mut bar = Bar {
        format,
        look: session.output.look(),
        failures_for: SignedDuration::from_millis(
            i64::try_from(args.failures_for.ms).unwrap_or(i64::MAX),
        ),
        glance: Glance::of_nobody(),
        shown: String::new(),
    };
    tokio::select! {
        biased;
        () = reader.gone() => Ok(ExitCode::SUCCESS),
        outcome = bar.run(session) => outcome,
    }
}

/// What is shown, and how.
struct Bar {
    format: BarFormat,
    look: Look,
    failures_for: SignedDuration,
    glance: Glance,
    /// The newest line.
    shown: String,
}

impl Bar {
    async fn run(&mut self, session: &Session) -> Result<ExitCode, CliError> {
        print(self.format.prologue())?;
        let client = self.reach(session).await?;
        let events = events(&client, false, None);
        let mut following = Following {
            bar: self,
            client,
            events,
            hears_telemetry: false,
            needs_look: true,
            due: Some(Instant::now()),
            turned_at: None,
        };
        following.run().await
    }

    /// The first daemon that answers; says so meanwhile where none does.
    async fn reach(&mut self, session: &Session) -> Result<Client, CliError> {
        let mut pause = LOOK_EVERY;
        loop {
            for candidate in &session.plan.candidates {
                if let Ok(client) = candidate.connect(None).await {
                    return Ok(client);
                }
            }
            self.show()?;
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_SELDOM);
        }
    }

    /// Prints the line where it is another one than before.
    fn show(&mut self) -> Result<(), CliError> {
        let line = self.format.line(&self.glance, &self.look);
        if line != self.shown {
            print(&format!("{line}\n"))?;
            self.shown = line;
        }
        Ok(())
    }

    /// When the oldest failure is not shown any more.
    fn next_forgotten(&self) -> Option<Timestamp> {
        self.glance
            .oldest_failure()?
            .checked_add(self.failures_for)
            .ok()
    }
}

/// A daemon that was there once.
struct Following<'a> {
    bar: &'a mut Bar,
    client: Client,
    events: Events,
    hears_telemetry: bool,
    /// What is known has to be asked for anew.
    needs_look: bool,
    /// When there is something to do besides hearing.
    due: Option<Instant>,
    /// When that was done last.
    turned_at: Option<Instant>,
}

impl Following<'_> {
    async fn run(&mut self) -> Result<ExitCode, CliError> {
        loop {
            let due = self.due;
            let due = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = due => self.turn().await?,
                item = self.events.next() => match item? {
                    Some(item) => self.take(item),
                    None => return Ok(ExitCode::SUCCESS),
                },
            }
        }
    }

    fn take(&mut self, item: StreamItem) {
        match item {
            StreamItem::Message(StreamMessage::Event(event, cursor)) => {
                match self.bar.glance.hear(&event, cursor.as_ref()) {
                    Change::Nothing => return,
                    Change::Seen => {}
                    Change::LookAgain => self.needs_look = true,
                }
            }
            StreamItem::Message(_) => return,
            StreamItem::Lost { .. } => {
                self.bar.glance.is_away = true;
                self.needs_look = false;
            }
            StreamItem::Back | StreamItem::Relist | StreamItem::Poll => self.needs_look = true,
        }
        self.hasten();
    }

    /// There is news: it is shown at once, or a while after what was shown last.
    fn hasten(&mut self) {
        let now = Instant::now();
        let soonest = self.turned_at.map_or(now, |at| (at + SHOW_EVERY).max(now));
        self.due = Some(self.due.map_or(soonest, |due| due.min(soonest)));
    }

    /// Looks where that is needed, and shows what is new.
    async fn turn(&mut self) -> Result<(), CliError> {
        self.due = None;
        let began = Instant::now();
        self.turned_at = Some(began);
        let is_busy = !self.bar.glance.jobs.is_empty();
        let is_away = self.bar.glance.is_away && !self.needs_look;
        let flips = is_busy != self.hears_telemetry && !is_away;
        if self.needs_look || flips {
            match self.look().await {
                Ok(()) => self.needs_look = false,
                // The stream says soon what is wrong, or the next look succeeds.
                Err(error) if error.is_passing() => {
                    self.needs_look = true;
                    self.due = Some(began + SHOW_EVERY);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.subscribe();
        let now = Timestamp::now();
        if let Ok(up_to) = now.checked_sub(self.bar.failures_for) {
            self.bar.glance.forget_failures(up_to);
        }
        self.bar.show()?;
        if let Some(at) = self.bar.next_forgotten() {
            let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            // Its time is over when it is past, and no timer is exact.
            let at = Instant::now() + left + Duration::from_millis(1);
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<(), ClientError> {
        let seen = self.client.operations().await?;
        let failed = JobQuery {
            states: BAD_STATES.map(str::to_owned).to_vec(),
            owner: Some(rustix::process::geteuid().as_raw().to_string()),
            limit: Some(MOST_FAILURES),
            ..JobQuery::default()
        };
        let failed = self.client.jobs(&failed).await?.items;
        if self.events.cursor().is_none() {
            self.events.resume_after(seen.as_of.clone());
        }
        self.bar.glance = Glance::of(seen, failed);
        Ok(())
    }

    /// Hears what is needed now: all while something runs, else only that something begins.
    fn subscribe(&mut self) {
        let is_busy = !self.bar.glance.jobs.is_empty();
        if is_busy == self.hears_telemetry || self.bar.glance.is_away {
            return;
        }
        let after = self.bar.glance.as_of().cloned();
        self.events = events(&self.client, is_busy, after);
        self.hears_telemetry = is_busy;
    }
}

fn events(client: &Client, with_telemetry: bool, after: Option<Cursor>) -> Events {
    let more = TELEMETRY.iter().filter(|_| with_telemetry);
    let channels = std::iter::once(&STATES).chain(more);
    client.events(EventQuery {
        channels: channels.map(|&it| it.to_owned()).collect(),
        after,
        ..EventQuery::default()
    })
}

/// Writes at once, and whole: a bar reads line by line.
fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}
