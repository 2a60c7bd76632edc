//! `stoke watch`: events, one line each, and on a terminal a bar for each job that runs.

use crate::cli::Session;
use crate::cli::channels::Channels;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::output::detail::exit_words;
use crate::cli::output::flow;
use crate::cli::output::live::Live;
use crate::cli::output::progress;
use crate::cli::output::screen::{Screen, Target};
use crate::cli::output::style::{self, Look, Tone};
use crate::cli::output::table::words_of;
use crate::cli::output::terminal_height;
use crate::cli::output::text::harmless;
use crate::client::{
    Client, ClientError, EventQuery, Events, JobQuery, JobStateBody, News, StreamItem,
};
use crate::wire::event::{EventView, StreamMessage};
use crate::wire::flow::FlowView;
use crate::wire::job::JobView;
use crate::wire::message::ProgressMessage;
use crate::wire::progress::ProgressView;
use crate::wire::values::Cursor;
use jiff::Timestamp;
use serde::Deserialize;
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
    /// Begin after this cursor, EPOCH:SEQ
    #[arg(long, value_name = "CURSOR", value_parser = cursor)]
    after: Option<Cursor>,
    /// End when none of the jobs that match waits or runs
    #[arg(long)]
    until_idle: bool,
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
    let mut watching = Watching {
        session,
        events: client.events(EventQuery {
            channels: channels.globs().to_vec(),
            job: None,
            snapshot: args.snapshot,
            after: args.after,
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

fn cursor(text: &str) -> Result<Cursor, String> {
    text.parse().map_err(|error| format!("{error}"))
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
        while !(until_idle && self.live.is_empty()) {
            tokio::select! {
                biased;
                () = self.connection.revived() => self.events.retry_now(),
                item = self.events.next() => match item? {
                    Some(item) => self.take(item).await?,
                    None => break,
                },
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

/// A person reads one line of progress per job and second; a program gets them all, with --json.
const PROGRESS_EVERY_SECONDS: f64 = 1.0;

/// Of so many jobs the name is remembered.
const MOST_NAMES: usize = 10_000;

/// Makes lines of events, and remembers what makes them readable.
#[derive(Debug, Default)]
struct Lines {
    /// Names of the jobs heard of.
    names: BTreeMap<u64, String>,
    /// When a job's progress was shown last.
    shown_at: BTreeMap<u64, Timestamp>,
    /// When a flow, by owner and name, was shown last.
    flows_shown_at: BTreeMap<(u32, String), Timestamp>,
}

impl Lines {
    /// The line of an event; `None` where one like it was shown just now.
    fn of(&mut self, event: &EventView, look: &Look) -> Option<String> {
        let what = match News::of(event) {
            News::State(body) => return Some(self.state(&body, event.time, look)),
            News::Edited(body) => {
                self.know(body.job, &body.name);
                format!("{}  edited", job_head(body.job, &body.name, look))
            }
            News::Removed(id) => format!("{}  removed", job_head(id, "", look)),
            News::Progress(id, body) => self.progress(id, body, event.time, look)?,
            News::Other if event.kind == "flow" => self.flow(event, look)?,
            News::Other => {
                let body = harmless(&event.body.to_string()).into_owned();
                let body = look.paint(Tone::Faint, &body);
                let (channel, kind) = (harmless(&event.channel), harmless(&event.kind));
                format!("{channel}  {kind}  {body}")
            }
        };
        Some(timed(event.time, &what, look))
    }

    /// The line of a job that moved.
    fn state(&mut self, body: &JobStateBody, time: Timestamp, look: &Look) -> String {
        self.know(body.job, &body.name);
        if style::is_final(&body.state) {
            // Its last progress may come after its end, and says less.
            self.shown_at.insert(body.job, time);
        }
        timed(time, &state_line(body, look), look)
    }

    /// Keeps the names of jobs, of so many that a watch of months stays small.
    fn know(&mut self, id: u64, name: &str) {
        self.names.insert(id, name.to_owned());
        while self.names.len() > MOST_NAMES {
            self.names.pop_first();
        }
    }

    /// `None` where one like it was shown just now, or a newer daemon says it otherwise. The last one is always shown.
    fn flow(&mut self, event: &EventView, look: &Look) -> Option<String> {
        let flow = FlowView::deserialize(&event.body).ok()?;
        let key = (flow.owner.uid, flow.name.clone());
        if flow::is_over(&flow.counts) {
            self.flows_shown_at.remove(&key);
            return Some(flow::line(&flow, look));
        }
        let shown_at = self.flows_shown_at.get(&key).copied();
        let since = shown_at.map(|at| event.time.duration_since(at).as_secs_f64());
        if since.is_some_and(|since| since < PROGRESS_EVERY_SECONDS) {
            return None;
        }
        self.flows_shown_at.insert(key, event.time);
        while self.flows_shown_at.len() > MOST_NAMES {
            self.flows_shown_at.pop_first();
        }
        Some(flow::line(&flow, look))
    }

    fn progress(
        &mut self,
        id: u64,
        body: &serde_json::Value,
        time: Timestamp,
        look: &Look,
    ) -> Option<String> {
        let since = self.shown_at.get(&id).map(|&at| time.duration_since(at));
        if since.is_some_and(|since| since.as_secs_f64() < PROGRESS_EVERY_SECONDS) {
            return None;
        }
        self.shown_at.insert(id, time);
        while self.shown_at.len() > MOST_NAMES {
            self.shown_at.pop_first();
        }
        let name = self.names.get(&id).map_or("", String::as_str);
        let head = job_head(id, name, look);
        // Colour costs no columns, so the width is counted without it.
        let taken = 10 + id.to_string().len() + 1 + harmless(name).chars().count();
        let width = usize::from(look.width).saturating_sub(taken);
        let line = progress::line(look, "", &progress_of(body), width);
        Some(format!("{head}{line}"))
    }
}

fn timed(time: Timestamp, what: &str, look: &Look) -> String {
    let time = look.paint(Tone::Faint, &look.time_of_day(time));
    format!("{time}  {what}")
}

fn job_head(id: u64, name: &str, look: &Look) -> String {
    let id = look.paint(Tone::Strong, &id.to_string());
    if name.is_empty() {
        return id;
    }
    format!("{id} {}", harmless(name))
}

fn state_line(body: &JobStateBody, look: &Look) -> String {
    let (glyph, tone) = style::state(&body.state);
    let state = format!("{glyph} {}", harmless(&style::state_words(&body.state)));
    let mut line = format!(
        "{}  {}",
        job_head(body.job, &body.name, look),
        look.paint(tone, &state)
    );
    let mut facts = Vec::new();
    let reason = body.reason.as_deref().map(words_of);
    facts.extend(reason.map(|it| harmless(&it).into_owned()));
    facts.extend(
        body.exit
            .filter(|_| style::is_final(&body.state))
            .map(exit_words),
    );
    let message = body.failure.as_ref();
    facts.extend(message.map(|it| {
        let text = it.message.as_deref().unwrap_or(&it.class);
        harmless(text).into_owned()
    }));
    if let Some(attempt) = body.attempt.filter(|&attempt| attempt > 1) {
        facts.push(format!("attempt {attempt}"));
    }
    for fact in facts {
        line += &look.paint(Tone::Faint, &format!("  {fact}"));
    }
    line
}

/// The progress in the body of an event.
#[must_use]
pub fn progress_of(body: &serde_json::Value) -> ProgressView {
    match ProgressMessage::deserialize(body) {
        Ok(message) => message.into_view(),
        // A daemon from before tells it in an object of its own.
        Err(_) => body
            .get("progress")
            .and_then(|inner| ProgressView::deserialize(inner).ok())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, channel: &str, body: serde_json::Value) -> EventView {
        EventView {
            time: "2026-11-22T12:03:04Z".parse().unwrap(),
            channel: channel.into(),
            kind: kind.into(),
            seq: None,
            coalesced: None,
            body,
        }
    }

    #[test]
    fn events_are_lines() {
        let look = Look {
            colour: false,
            width: 80,
            now: jiff::Timestamp::UNIX_EPOCH,
            zone: jiff::tz::TimeZone::UTC,
        };
        let running = json!({
            "job": 42, "name": "train\u{1b}", "state": "running", "from": "starting", "attempt": 2
        });
        let failed = json!({
            "job": 42, "name": "train\u{1b}", "state": "failed", "from": "running", "attempt": 2,
            "exit": {"code": 3}, "failure": {"class": "exit", "message": "exit status 3"}
        });
        let fit = json!({"job": 42, "attempt": 2, "status": "running", "progress": 50.0, "phase": "fit",
            "timestamp": "2026-11-22T12:03:04Z"});
        let mut lines = Lines::default();
        let shown = [
            event("progress", "job/42/progress", fit.clone()),
            event("state", "job/42/state", running),
            event("progress", "job/42/progress", fit.clone()),
            event("failed", "job/42/state", failed),
            event("group", "group/gpu/state", json!({"name": "gpu"})),
        ]
        .map(|event| lines.of(&event, &look));
        let bar = "12:03:04  42  ████████░░░░░░░░  50%  fit";
        let running = "12:03:04  42 train\\e  ● running  attempt 2";
        let failed = "12:03:04  42 train\\e  ✘ failed  exit 3  exit status 3  attempt 2";
        let group = "12:03:04  group/gpu/state  group  {\"name\":\"gpu\"}";
        assert_eq!(
            shown.each_ref().map(Option::as_deref),
            [Some(bar), Some(running), None, Some(failed), Some(group)]
        );
        let later = EventView {
            time: "2026-11-22T12:03:06Z".parse().unwrap(),
            ..event("progress", "job/42/progress", fit)
        };
        assert!(lines.of(&later, &look).is_some(), "a second has passed");
        let flow = |percent: f64, running: u64| {
            let counts = json!({"total": 2, "pending": 0, "running": running, "completed": 2 - running, "failed": 0,
                "cancelled": 0, "skipped": 0});
            let body = json!({"name": "n", "owner": {"uid": 1, "user": "ann"}, "percent": percent, "counts": counts});
            event("flow", "flow/n/progress", body)
        };
        let shown = [flow(50.0, 2), flow(60.0, 1), flow(100.0, 0)].map(|it| lines.of(&it, &look));
        assert_eq!(
            shown.each_ref().map(Option::as_deref),
            [
                Some("12:03:04  flow n  ████████░░░░░░░░  50%  ● 2 running"),
                None,
                Some("12:03:04  flow n  ████████████████  100%  ✔ 2 completed")
            ]
        );
        let flat = json!({"job": 42, "attempt": 1, "status": "running", "progress": 50.0,
            "timestamp": "2026-11-22T12:03:06Z", "new": {}});
        let nested = json!({"progress": {"percent": 50.0, "updated_at": "2026-11-22T12:03:06Z"}});
        assert_eq!(progress_of(&flat), progress_of(&nested));
        assert_eq!(progress_of(&flat).percent, Some(50.0));
    }
}
