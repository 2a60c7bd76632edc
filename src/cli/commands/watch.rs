//! `stoke watch`: events, one line each, and on a terminal a bar for each job that runs.

mod lines;
mod metrics;

pub use lines::progress_of;

use crate::cli::Session;
use crate::cli::channels::Channels;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::output::live::Live;
use crate::cli::output::screen::{Screen, Target};
use crate::cli::output::style;
use crate::cli::output::terminal_height;
use crate::cli::stops::Stops;
use crate::client::{
    Client, ClientError, EventQuery, Events, JobQuery, JobStateBody, News, StreamItem,
};
use crate::wire::event::{EventView, StreamMessage};
use crate::wire::job::JobView;
use crate::wire::values::Cursor;
use lines::Lines;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How often bars and countdown are brought up to date.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// The longest page of a list.
const PAGE: u32 = 1000;
/// More bars than this nobody reads; half of the terminal is for the lines.
const MOST_BARS: usize = 12;

/// Which events.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// Channels, with * for any part: job/42/*, job/*/state, group/*/state; all unless given
    #[arg(value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Begin with the present state of everything that matches
    #[arg(long)]
    snapshot: bool,
    /// Begin after this cursor, EPOCH:SEQ; 0 is the oldest that is kept
    #[arg(long, value_name = "CURSOR", value_parser = begin)]
    after: Option<Begin>,
    /// End when none of the jobs that match waits or runs
    #[arg(long)]
    until_idle: bool,
}

/// Where the events begin.
#[derive(Clone, Debug)]
enum Begin {
    Oldest,
    After(Cursor),
}

/// `stoke watch`
pub async fn run(session: &Session, args: WatchArgs) -> Result<ExitCode, CliError> {
    let channels = Channels::of(&args.channels);
    if args.until_idle && !channels.have_states() {
        return Err(
            CliError::usage("these channels never tell that a job ended")
                .hint("--until-idle needs one that does, as job/*/state"),
        );
    }
    let client = session.connect().await?;
    if args.until_idle {
        // Of a job that does not exist nobody would ever hear, and its end would seem to have come.
        for id in channels.only_jobs() {
            client.job(id).await?;
        }
    }
    let mut watching = Watching {
        session,
        events: client.events(EventQuery {
            channels: channels.globs().to_vec(),
            job: None,
            snapshot: args.snapshot,
            from_oldest: matches!(args.after, Some(Begin::Oldest)),
            after: match args.after {
                Some(Begin::After(cursor)) => Some(cursor),
                Some(Begin::Oldest) | None => None,
            },
        }),
        channels,
        screen: Screen::new(!session.output.json),
        connection: Connection::new(session, client.clone(), ""),
        lines: Lines::default(),
        live: BTreeMap::new(),
        shows_bars: false,
        has_snapshot: args.snapshot,
        newest: 0,
        polled_to: None,
        client,
    };
    // Without its state a bar would never know its end.
    watching.shows_bars = watching.screen.has_line()
        && std::io::stdout().is_terminal()
        && watching.channels.have_states();
    let outcome = watching.run(args.until_idle).await;
    watching.screen.erase();
    outcome
}

fn begin(text: &str) -> Result<Begin, String> {
    if text == "0" {
        return Ok(Begin::Oldest);
    }
    let cursor = text.parse().map(Begin::After);
    cursor.map_err(|error| format!("{error}"))
}

async fn stopped(stops: &mut Option<Stops>) {
    match stops {
        Some(stops) => stops.next().await,
        None => std::future::pending().await,
    }
}

struct Watching<'a> {
    session: &'a Session,
    client: Client,
    events: Events,
    channels: Channels,
    screen: Screen,
    connection: Connection<'a>,
    lines: Lines,
    /// The jobs that have not ended, as far as they were heard of.
    live: BTreeMap<u64, Live>,
    shows_bars: bool,
    has_snapshot: bool,
    /// The newest job that was heard of.
    newest: u64,
    /// What happened up to here was shown by looking.
    polled_to: Option<Cursor>,
}

impl Watching<'_> {
    async fn run(&mut self, until_idle: bool) -> Result<ExitCode, CliError> {
        // Events of progress carry no names, and people know their jobs by name.
        if until_idle || !self.session.output.json {
            let as_of = self.know_live_jobs(until_idle).await?;
            if !self.has_snapshot && self.events.cursor().is_none() {
                self.events.resume_after(as_of);
            }
        }
        let mut tick = interval(DRAW_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let draws = self.screen.has_line();
        // Whoever leaves shall find no bars where the prompt comes.
        let mut stops = draws.then(Stops::listen).transpose()?;
        while !(until_idle && self.live.is_empty()) {
            tokio::select! {
                biased;
                () = stopped(&mut stops) => return Ok(ExitCode::from(Stops::STATUS)),
                () = self.connection.revived() => self.events.retry_now(),
                item = self.events.next() => match item? {
                    Some(item) => self.take(item).await?,
                    None => break,
                },
                () = self.screen.resized() => self.draw(),
                _ = tick.tick(), if draws => self.draw(),
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn take(&mut self, item: StreamItem) -> Result<(), CliError> {
        match item {
            StreamItem::Message(StreamMessage::Event(event, cursor)) => {
                let was_polled = cursor.is_some_and(|cursor| self.was_polled(&cursor));
                self.event(&event, was_polled)?;
            }
            StreamItem::Message(_) => {}
            StreamItem::Lost { retry_in, why } => {
                self.connection.lost(&mut self.screen, retry_in, &why);
            }
            StreamItem::Back => {
                self.connection.back(&mut self.screen);
                if self.shows_bars {
                    self.refresh().await?;
                }
            }
            StreamItem::Relist => {
                self.connection.missed(&mut self.screen);
                self.live.clear();
                if let Some(as_of) = self.refresh().await? {
                    self.events.resume_after(as_of);
                }
            }
            StreamItem::Poll => self.poll().await?,
        }
        self.draw();
        Ok(())
    }

    fn was_polled(&self, cursor: &Cursor) -> bool {
        let polled = self.polled_to.as_ref();
        polled.is_some_and(|polled| polled.epoch == cursor.epoch && cursor.seq <= polled.seq)
    }

    fn event(&mut self, event: &EventView, was_polled: bool) -> Result<(), CliError> {
        let output = &self.session.output;
        if output.json {
            output.json_line(event)?;
        }
        match News::of(event) {
            News::State(_) | News::Edited(_) if was_polled => return Ok(()),
            News::State(body) => self.moved(&body),
            News::Removed(id) => drop(self.live.remove(&id)),
            News::Progress(id, body) => {
                if let Some(live) = self.live.get_mut(&id) {
                    live.progress = progress_of(body);
                    if self.shows_bars {
                        return Ok(());
                    }
                }
            }
            News::Edited(_) | News::Other => {}
        }
        if output.json {
            return Ok(());
        }
        match self.lines.of(event, &output.look()) {
            Some(line) => self.screen.write(Target::Stdout, (line + "\n").as_bytes()),
            None => Ok(()),
        }
    }

    fn moved(&mut self, body: &JobStateBody) {
        self.newest = self.newest.max(body.job);
        if style::is_final(&body.state) {
            self.live.remove(&body.job);
        } else {
            let live = self.live.entry(body.job).or_default();
            live.moves(body.name.clone(), body.state.clone(), body.reason.clone());
        }
    }

    /// Learns which jobs there are now: at least those that run, `all` where it must know them all.
    async fn know_live_jobs(&mut self, all: bool) -> Result<Cursor, ClientError> {
        let states: &[&str] = if all {
            &style::LIVE_STATES
        } else {
            &style::ACTIVE_STATES
        };
        let mut query = JobQuery {
            states: states.iter().map(|&state| state.to_owned()).collect(),
            limit: Some(PAGE),
            ..JobQuery::default()
        };
        let first = self.client.jobs(&query).await?;
        let as_of = first.as_of.clone();
        let mut page = first;
        loop {
            page.items.into_iter().for_each(|job| self.know(job));
            query.cursor = page.next.filter(|_| all);
            if query.cursor.is_none() {
                return Ok(as_of);
            }
            page = self.client.jobs(&query).await?;
        }
    }

    fn know(&mut self, job: JobView) {
        self.newest = self.newest.max(job.id);
        self.lines.know(job.id, &job.name);
        if self.channels.has_job(job.id, "state") {
            self.live.insert(job.id, Live::of(job));
        }
    }

    /// Looks what runs now; `None` where the daemon does not answer.
    async fn refresh(&mut self) -> Result<Option<Cursor>, CliError> {
        match self.know_live_jobs(false).await {
            Ok(as_of) => Ok(Some(as_of)),
            // Then the stream goes on from the moment it is back.
            Err(error) if error.is_passing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// No stream can be had. A program gets every event when there is one again; a person is shown now what has
    /// changed, and then not once more.
    async fn poll(&mut self) -> Result<(), CliError> {
        let is_known = self.events.cursor().is_some();
        let outcome = if self.session.output.json && (is_known || self.has_snapshot) {
            Ok(())
        } else {
            self.look().await
        };
        // Only now: from here on nothing is missed.
        self.connection.refused(&mut self.screen);
        outcome
    }

    async fn look(&mut self) -> Result<(), CliError> {
        let query = JobQuery {
            limit: Some(PAGE),
            ..JobQuery::default()
        };
        let list = match self.client.jobs(&query).await {
            Ok(list) => list,
            Err(error) if error.is_passing() => {
                if error.is_absence() {
                    self.events.retry_now();
                }
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if self.session.output.json {
            self.events.resume_after(list.as_of);
            return Ok(());
        }
        let newest = list.items.first().map_or(0, |job| job.id);
        // Oldest first, as their events would have come.
        for job in list.items.into_iter().rev() {
            let known = self.live.get(&job.id).map(|live| live.state.as_str());
            let is_news = match known {
                Some(state) => state != job.state,
                None => job.id > self.newest || !style::is_final(&job.state),
            };
            if is_news && self.channels.has_job(job.id, "state") {
                self.polled(job)?;
            }
        }
        self.newest = self.newest.max(newest);
        self.polled_to = Some(list.as_of);
        Ok(())
    }

    /// Shows the state of a job that was found by looking.
    fn polled(&mut self, job: JobView) -> Result<(), CliError> {
        let look = self.session.output.look();
        let body = JobStateBody {
            job: job.id,
            name: job.name.clone(),
            state: job.state.clone(),
            from: None,
            reason: job.reason.clone(),
            attempt: job.attempt,
            exit: job.exit,
            failure: job.failure.clone(),
        };
        let time = job.finished_at.unwrap_or(look.now);
        let line = self.lines.state(&body, time, &look) + "\n";
        if style::is_final(&job.state) {
            self.live.remove(&job.id);
        } else {
            self.live.insert(job.id, Live::of(job));
        }
        self.screen.write(Target::Stdout, line.as_bytes())
    }

    /// The bars, and the connection where it is lost.
    fn draw(&mut self) {
        if !self.screen.may_draw() {
            return;
        }
        let mut lines = Vec::new();
        if self.shows_bars {
            let look = self.session.output.error_look();
            let room = usize::from(terminal_height(std::io::stderr()).unwrap_or(24)) / 2;
            let runs = |live: &&Live| style::ACTIVE_STATES.contains(&live.state.as_str());
            let running: Vec<_> = self.live.iter().filter(|(_, live)| runs(live)).collect();
            let most = room.clamp(1, MOST_BARS);
            lines.extend(
                running
                    .iter()
                    .take(most)
                    .map(|(id, live)| live.line(**id, &look)),
            );
            if running.len() > most {
                lines.push(format!("  and {} more", running.len() - most));
            }
        }
        lines.extend(self.connection.line());
        if lines.is_empty() {
            self.screen.erase();
        } else {
            self.screen.draw_all(lines);
        }
    }
}
