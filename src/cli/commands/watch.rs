//! `stoke watch`: events, one line each.

use crate::cli::Session;
use crate::cli::error::CliError;
use crate::cli::output::detail::exit_words;
use crate::cli::output::flow::counts;
use crate::cli::output::style::{self, Look, Tone};
use crate::cli::output::table::words_of;
use crate::cli::output::text::harmless;
use crate::cli::output::{Output, progress};
use crate::client::{Client, EventQuery, Events, JobQuery, JobStateBody, StreamItem};
use crate::wire::event::{EventView, StreamMessage};
use crate::wire::flow::FlowView;
use crate::wire::message::ProgressMessage;
use crate::wire::progress::ProgressView;
use crate::wire::values::Cursor;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::process::ExitCode;

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
}

/// `stoke watch`
pub async fn run(session: &Session, args: WatchArgs) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let mut events = client.events(EventQuery {
        channels: args.channels.iter().map(|it| channel(it)).collect(),
        job: None,
        snapshot: args.snapshot,
        after: args.after,
    });
    let output = &session.output;
    let mut lines = Lines::default();
    if !output.json {
        // Events of progress carry no names, and people know their jobs by name.
        for job in client.jobs(&live_jobs()).await?.items {
            lines.know(job.id, &job.name);
        }
    }
    while let Some(item) = events.next().await? {
        match item {
            StreamItem::Message(StreamMessage::Event(event, _)) if output.json => {
                output.json_line(&event)?;
            }
            StreamItem::Message(StreamMessage::Event(event, _)) => {
                if let Some(line) = lines.of(&event, &output.look()) {
                    output.line(&line)?;
                }
            }
            StreamItem::Message(_) => {}
            StreamItem::Lost { .. } => {
                output.note("the connection to the daemon is lost, trying again");
                session.plan.revive(&client).await;
            }
            StreamItem::Back => output.note("connected again"),
            StreamItem::Relist => relist(&client, &mut events, output).await?,
            StreamItem::Poll => {
                output.note("the daemon serves no more streams to you now, trying again");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn live_jobs() -> JobQuery {
    JobQuery {
        states: style::ACTIVE_STATES.map(str::to_owned).to_vec(),
        limit: Some(1000),
        ..JobQuery::default()
    }
}

/// Some events cannot be had any more: say so, and go on from the present state.
async fn relist(client: &Client, events: &mut Events, output: &Output) -> Result<(), CliError> {
    output.note("some events were missed; `stoke ls` shows the present state");
    let query = JobQuery {
        limit: Some(1),
        ..JobQuery::default()
    };
    match client.jobs(&query).await {
        Ok(list) => events.resume_after(list.as_of),
        // Then the stream goes on from the moment it is back.
        Err(error) if error.is_absence() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// A number alone means everything about that job.
fn channel(text: &str) -> String {
    match text.parse::<u64>() {
        Ok(id) => format!("job/{id}/*"),
        Err(_) => text.to_owned(),
    }
}

fn cursor(text: &str) -> Result<Cursor, String> {
    text.parse().map_err(|error| format!("{error}"))
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
}

impl Lines {
    /// The line of an event; `None` where one like it was shown just now.
    fn of(&mut self, event: &EventView, look: &Look) -> Option<String> {
        let time = look.paint(Tone::Faint, &look.time_of_day(event.time));
        let state = serde_json::from_value::<JobStateBody>(event.body.clone());
        let what = match (event.kind.as_str(), state) {
            ("edited", Ok(body)) => {
                self.know(body.job, &body.name);
                format!("{}  edited", job_head(body.job, &body.name, look))
            }
            // Every other event with a state tells of a move: a final one has the type of its state.
            (_, Ok(body)) if event.channel.ends_with("/state") => {
                self.know(body.job, &body.name);
                if style::is_final(&body.state) {
                    // Its last progress may come after its end, and says less.
                    self.shown_at.insert(body.job, event.time);
                }
                state_line(&body, look)
            }
            ("removed", _) if job_of(event).is_some() => {
                format!("{}  removed", job_head(job_of(event)?, "", look))
            }
            ("flow", _) => flow_line(event, look)?,
            ("progress", _) => self.progress(event, look)?,
            (kind, _) => {
                let body = harmless(&event.body.to_string()).into_owned();
                let body = look.paint(Tone::Faint, &body);
                format!("{}  {}  {body}", harmless(&event.channel), harmless(kind))
            }
        };
        Some(format!("{time}  {what}"))
    }

    /// Keeps the names of jobs, of so many that a watch of months stays small.
    fn know(&mut self, id: u64, name: &str) {
        self.names.insert(id, name.to_owned());
        while self.names.len() > MOST_NAMES {
            self.names.pop_first();
        }
    }

    fn progress(&mut self, event: &EventView, look: &Look) -> Option<String> {
        let id = job_of(event)?;
        let since = self
            .shown_at
            .get(&id)
            .map(|&at| event.time.duration_since(at));
        if since.is_some_and(|since| since.as_secs_f64() < PROGRESS_EVERY_SECONDS) {
            return None;
        }
        self.shown_at.insert(id, event.time);
        while self.shown_at.len() > MOST_NAMES {
            self.shown_at.pop_first();
        }
        let name = self.names.get(&id).map_or("", String::as_str);
        let head = job_head(id, name, look);
        // Colour costs no columns, so the width is counted without it.
        let taken = 10 + id.to_string().len() + 1 + harmless(name).chars().count();
        let width = usize::from(look.width).saturating_sub(taken);
        let line = progress::line(look, "", &progress_of(&event.body), width);
        Some(format!("{head}{line}"))
    }
}

/// The job whose channel it is.
fn job_of(event: &EventView) -> Option<u64> {
    let mut parts = event.channel.split('/');
    let is_job = parts.next() == Some("job");
    parts.next().filter(|_| is_job)?.parse().ok()
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

/// `None` where a newer daemon says it otherwise.
fn flow_line(event: &EventView, look: &Look) -> Option<String> {
    let flow: FlowView = serde_json::from_value(event.body.clone()).ok()?;
    let name = look.paint(Tone::Strong, &harmless(&flow.name));
    let percent = flow.percent.unwrap_or_default();
    let bar = look.paint(Tone::Active, &progress::bar(percent, 16));
    let percent = progress::percent(percent);
    Some(format!(
        "flow {name}  {bar}  {percent}  {}",
        counts(&flow.counts)
    ))
}

/// The progress in the body of an event.
#[must_use]
pub fn progress_of(body: &serde_json::Value) -> ProgressView {
    serde_json::from_value::<ProgressMessage>(body.clone())
        .map(ProgressMessage::into_view)
        .unwrap_or_default()
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
        assert_eq!([channel("42"), channel("a/b")], ["job/42/*", "a/b"]);
    }
}
