//! Events as lines for people.

use crate::cli::commands::watch::metrics;
use crate::cli::output::detail::exit_words;
use crate::cli::output::flow;
use crate::cli::output::progress::{self, Head};
use crate::cli::output::style::{self, Look, Tone};
use crate::cli::output::table::words_of;
use crate::cli::output::text::{columns, harmless};
use crate::client::{JobStateBody, News};
use crate::wire::event::EventView;
use crate::wire::flow::FlowView;
use crate::wire::message::ProgressMessage;
use crate::wire::progress::ProgressView;
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A person reads one line of progress per job and second; a program gets them all, with --json.
const PROGRESS_EVERY_SECONDS: f64 = 1.0;

/// Columns of a percentage, with the gap before it.
const SHORTEST_NEWS: usize = 7;

/// Of so many jobs the name is remembered.
const MOST_NAMES: usize = 10_000;

/// Makes lines of events, and remembers what makes them readable.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Names of the jobs heard of.
    names: BTreeMap<u64, String>,
    /// When a job's progress was shown last.
    shown_at: BTreeMap<u64, Timestamp>,
    /// When a flow, by owner and name, was shown last.
    flows_shown_at: BTreeMap<(u32, String), Timestamp>,
}

impl Lines {
    /// The line of an event; `None` where one like it was shown just now.
    pub(super) fn of(&mut self, event: &EventView, look: &Look) -> Option<String> {
        let what = match News::of(event) {
            News::State(body) => return Some(self.state(&body, event.time, look)),
            News::Edited(body) => {
                self.know(body.job, &body.name);
                format!("{}  edited", job_head(body.job, &body.name, look))
            }
            News::Removed(id) => format!("{}  removed", job_head(id, "", look)),
            News::Progress(id, body) => self.progress(id, body, event.time, look)?,
            News::Other if event.kind == "flow" => self.flow(event, look)?,
            News::Other => match metrics::of(event, &self.names, look) {
                Some(line) => line,
                None => other(event, look),
            },
        };
        Some(timed(event.time, &what, look))
    }

    /// The line of a job that moved.
    pub(super) fn state(&mut self, body: &JobStateBody, time: Timestamp, look: &Look) -> String {
        self.know(body.job, &body.name);
        if style::is_final(&body.state) {
            // Its last progress may come after its end, and says less.
            self.shown_at.insert(body.job, time);
        }
        timed(time, &state_line(body, look), look)
    }

    /// Keeps the names of jobs, of so many that a watch of months stays small.
    pub(super) fn know(&mut self, id: u64, name: &str) {
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
        let taken = 10 + id.to_string().len() + 1 + columns(&harmless(name));
        // A line that is too long for a narrow terminal is continued; one without news is none.
        let width = usize::from(look.width).saturating_sub(taken);
        let width = width.max(SHORTEST_NEWS);
        let line = progress::line(look, Head::default(), &progress_of(body), width);
        Some(format!("{head}{line}"))
    }
}

/// An event that has no words of its own yet.
fn other(event: &EventView, look: &Look) -> String {
    let body = harmless(&event.body.to_string()).into_owned();
    let body = look.paint(Tone::Faint, &body);
    let (channel, kind) = (harmless(&event.channel), harmless(&event.kind));
    format!("{channel}  {kind}  {body}")
}

fn timed(time: Timestamp, what: &str, look: &Look) -> String {
    let time = look.paint(Tone::Faint, &look.time_of_day(time));
    format!("{time}  {what}")
}

pub(super) fn job_head(id: u64, name: &str, look: &Look) -> String {
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
