//! Flows: one line each, or one with its jobs.

use crate::cli::output::progress::{self, bar};
use crate::cli::output::style::{self, Look, Tone};
use crate::cli::output::table::{jobs, plain};
use crate::cli::output::text::{ago, duration, harmless};
use crate::wire::flow::{FlowCountsView, FlowView};

/// A list of flows.
#[must_use]
pub fn list(flows: &[FlowView], has_more: bool, look: &Look) -> String {
    if flows.is_empty() {
        let hint = "`stoke run --flow NAME -- COMMAND` makes one";
        return format!("No flows. {}\n", look.paint(Tone::Faint, hint));
    }
    let first = flows.first().map(|flow| flow.owner.uid);
    let several = flows.iter().any(|flow| Some(flow.owner.uid) != first);
    let head: Vec<&str> = ["FLOW", "OWNER", "PROGRESS", "%", "LEFT", "WHEN", "JOBS"]
        .into_iter()
        .filter(|title| *title != "OWNER" || several)
        .collect();
    let rows = flows.iter().map(|flow| row(flow, several, look));
    let mut text = plain(&head, rows.collect(), look);
    if has_more {
        text += &look.paint(Tone::Faint, "There are more: `stoke flows --limit N`");
        text.push('\n');
    }
    text
}

fn row(flow: &FlowView, with_owner: bool, look: &Look) -> Vec<(Tone, String)> {
    let percent = flow.percent.map(progress::percent).unwrap_or_default();
    let bar = flow.percent.map(|it| bar(it, 10)).unwrap_or_default();
    let owner = (Tone::Faint, harmless(&flow.owner.user).into_owned());
    let mut row = vec![(Tone::Strong, harmless(&flow.name).into_owned())];
    row.extend(Some(owner).filter(|_| with_owner));
    row.extend([
        (tone(&flow.counts), bar),
        (Tone::Plain, percent),
        (
            Tone::Plain,
            flow.eta_seconds.map(duration).unwrap_or_default(),
        ),
        (Tone::Faint, when(flow, look).unwrap_or_default()),
        (Tone::Plain, counts(&flow.counts)),
    ]);
    row
}

/// One flow with the newest of its jobs.
#[must_use]
pub fn page(flow: &FlowView, look: &Look) -> String {
    let title = format!("Flow {}", harmless(&flow.name));
    let mut out = format!("{}\n", look.paint(Tone::Strong, &title));
    out += &format!("{}\n\n", counts(&flow.counts));
    let mut field = |name: &str, value: String| {
        let name = look.paint(Tone::Faint, &format!("{name:<11}"));
        out += &format!("{name} {value}\n");
    };
    if let Some(percent) = flow.percent {
        let bar = look.paint(tone(&flow.counts), &bar(percent, 16));
        field("Progress", format!("{bar}  {}", progress::percent(percent)));
    }
    if let Some(eta) = flow.eta_seconds {
        field(
            "Left",
            format!("{}, for the longest that runs", duration(eta)),
        );
    } else if flow.counts.pending > 0 {
        let text = "unknown, for nobody knows how long what waits will take";
        field("Left", look.paint(Tone::Faint, text));
    }
    field("Owner", harmless(&flow.owner.user).into_owned());
    for (name, at) in [
        ("Submitted", flow.first_submitted_at),
        ("Last ended", flow.last_finished_at),
    ] {
        if let Some(at) = at {
            let ago = ago(look.seconds_since(at));
            field(name, format!("{} ({ago})", look.date_time(at)));
        }
    }
    out.push('\n');
    out += &jobs(&flow.jobs, look);
    if flow.next.is_some() {
        let more = format!(
            "There are more: `stoke ls -a --flow {}`",
            harmless(&flow.name)
        );
        out += &format!("{}\n", look.paint(Tone::Faint, &more));
    }
    out
}

/// A flow on one line.
#[must_use]
pub fn line(flow: &FlowView, look: &Look) -> String {
    let name = look.paint(Tone::Strong, &harmless(&flow.name));
    let percent = flow.percent.unwrap_or_default();
    let bar = look.paint(tone(&flow.counts), &bar(percent, 16));
    let (percent, counts) = (progress::percent(percent), counts(&flow.counts));
    format!("flow {name}  {bar}  {percent}  {counts}")
}

/// Whether nothing of it goes on by itself.
#[must_use]
pub fn is_over(counts: &FlowCountsView) -> bool {
    counts.running + counts.pending == 0
}

/// How many of its jobs are where, what matters most first.
#[must_use]
pub fn counts(counts: &FlowCountsView) -> String {
    let all = [
        (counts.running, "running", "running"),
        (counts.failed, "failed", "failed"),
        (counts.completed, "completed", "completed"),
        (counts.pending, "queued", "pending"),
        (counts.cancelled, "cancelled", "cancelled"),
        (counts.skipped, "skipped", "skipped"),
    ];
    let some = all.into_iter().filter(|(count, ..)| *count > 0);
    let words =
        some.map(|(count, state, word)| format!("{} {count} {word}", style::state(state).0));
    words.collect::<Vec<_>>().join("  ")
}

fn tone(counts: &FlowCountsView) -> Tone {
    if counts.failed + counts.skipped > 0 {
        Tone::Bad
    } else if counts.completed == counts.total {
        Tone::Good
    } else {
        Tone::Active
    }
}

/// When it ended, where nothing of it goes on.
fn when(flow: &FlowView, look: &Look) -> Option<String> {
    let ended = flow.last_finished_at.filter(|_| is_over(&flow.counts))?;
    Some(ago(look.seconds_since(ended)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn flow(counts: &serde_json::Value) -> FlowView {
        let flow = json!({
            "name": "night\u{1b}ly", "owner": {"uid": 1, "user": "ann"}, "percent": 42.5, "counts": counts,
            "first_submitted_at": "2026-11-22T10:00:00Z", "last_finished_at": "2026-11-22T10:00:30Z",
            "jobs": [{"id": 7, "name": "fetch", "group": "default", "owner": {"uid": 1, "user": "ann"},
                "state": "completed", "created_at": "2026-11-22T10:00:00Z", "priority": 5, "command": []}],
            "next": "7"
        });
        serde_json::from_value(flow).unwrap()
    }

    #[test]
    fn a_flow_shows_how_far_it_is_and_what_became_of_its_jobs() {
        let look = Look {
            colour: false,
            width: 100,
            now: "2026-11-22T10:01:00Z".parse().unwrap(),
            zone: jiff::tz::TimeZone::UTC,
        };
        let going = flow(
            &json!({"total": 5, "pending": 1, "running": 2, "completed": 1, "failed": 1,
            "cancelled": 0, "skipped": 0}),
        );
        let text = page(&going, &look);
        for line in [
            "Flow night\\ely",
            "● 2 running  ✘ 1 failed  ✔ 1 completed  ○ 1 pending",
            "Progress    ██████▊░░░░░░░░░  42%",
            "Left        unknown, for nobody knows how long what waits will take",
            "Last ended  2026-11-22 10:00:30 (30s ago)",
            "There are more: `stoke ls -a --flow night\\ely`",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        let over = flow(
            &json!({"total": 1, "pending": 0, "running": 0, "completed": 1, "failed": 0,
            "cancelled": 0, "skipped": 0}),
        );
        let text = list(&[going, over], true, &look);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "FLOW       PROGRESS    %    LEFT  WHEN     JOBS");
        assert_eq!(
            lines[2],
            "night\\ely  ████▎░░░░░  42%        30s ago  ✔ 1 completed"
        );
        assert_eq!(lines[3], "There are more: `stoke flows --limit N`");
        assert!(list(&[], false, &look).starts_with("No flows."));
    }
}
