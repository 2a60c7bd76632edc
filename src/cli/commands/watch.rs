//! `stoke watch`: events, one line each.

use crate::cli::Session;
use crate::cli::error::CliError;
use crate::cli::output::detail::exit_words;
use crate::cli::output::style::{self, Look, Tone};
use crate::cli::output::text::harmless;
use crate::cli::output::{Output, progress};
use crate::client::{Client, EventQuery, Events, JobQuery, JobStateBody, StreamItem};
use crate::wire::event::{EventView, StreamMessage};
use crate::wire::progress::ProgressView;
use crate::wire::values::Cursor;
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
    while let Some(item) = events.next().await? {
        match item {
            StreamItem::Message(StreamMessage::Event(event, _)) if output.json => {
                output.json_line(&event)?;
            }
            StreamItem::Message(StreamMessage::Event(event, _)) => {
                output.line(&line(&event, &output.look()))?;
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

fn line(event: &EventView, look: &Look) -> String {
    let time = look.paint(Tone::Faint, &look.time_of_day(event.time));
    let state = serde_json::from_value::<JobStateBody>(event.body.clone());
    let what = match (event.kind.as_str(), state) {
        ("state", Ok(body)) => state_line(&body, look),
        ("edited", Ok(body)) => format!("{}  edited", job_head(&body, look)),
        ("progress", _) => {
            let shown = progress_of(&event.body);
            let head = look.paint(Tone::Strong, &harmless(&event.channel));
            // Colour costs no columns, so the width is counted without it.
            let width = usize::from(look.width).saturating_sub(10 + event.channel.len());
            format!("{head}{}", progress::line(look, "", &shown, width))
        }
        (kind, _) => {
            let body = harmless(&event.body.to_string()).into_owned();
            let body = look.paint(Tone::Faint, &body);
            format!("{}  {}  {body}", harmless(&event.channel), harmless(kind))
        }
    };
    format!("{time}  {what}")
}

fn job_head(body: &JobStateBody, look: &Look) -> String {
    let id = look.paint(Tone::Strong, &body.job.to_string());
    format!("{id} {}", harmless(&body.name))
}

fn state_line(body: &JobStateBody, look: &Look) -> String {
    let (glyph, tone) = style::state(&body.state);
    let state = format!("{glyph} {}", harmless(&style::state_words(&body.state)));
    let mut line = format!("{}  {}", job_head(body, look), look.paint(tone, &state));
    let mut facts = Vec::new();
    facts.extend(body.reason.as_deref().map(|it| harmless(it).into_owned()));
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

/// The progress in the body of an event, with whatever else may be around it.
#[must_use]
pub fn progress_of(body: &serde_json::Value) -> ProgressView {
    let inner = body.get("progress").filter(|inner| inner.is_object());
    serde_json::from_value(inner.unwrap_or(body).clone()).unwrap_or_default()
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
        let failed = json!({
            "job": 42, "name": "train\u{1b}", "state": "failed", "from": "running", "attempt": 2,
            "exit": {"code": 3}, "failure": {"class": "exit", "message": "exit status 3"}
        });
        let shown = [
            event("state", "job/42/state", failed),
            event(
                "progress",
                "job/42/progress",
                json!({"percent": 50.0, "phase": "fit"}),
            ),
            event("group", "group/gpu/state", json!({"name": "gpu"})),
        ]
        .map(|event| line(&event, &look));
        assert_eq!(
            shown,
            [
                "12:03:04  42 train\\e  ✘ failed  exit 3  exit status 3  attempt 2",
                "12:03:04  job/42/progress  ████████░░░░░░░░  50%  fit",
                "12:03:04  group/gpu/state  group  {\"name\":\"gpu\"}",
            ]
        );
        assert_eq!([channel("42"), channel("a/b")], ["job/42/*", "a/b"]);
    }
}
