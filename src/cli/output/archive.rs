//! The archive and the samples beside it, in words and tables.

use crate::cli::output::style::{Look, Tone};
use crate::cli::output::table;
use crate::wire::archive::{
    ArchiveMonth, ArchiveRestored, ArchiveRun, ArchiveSamples, ArchiveVerified, ArchiveView,
};
use crate::wire::words::{bytes, duration, harmless};

/// The months, what samples take, and how the last run went.
#[must_use]
pub fn months(view: &ArchiveView, look: &Look) -> String {
    let mut text = if view.items.is_empty() {
        let hint = look.paint(
            Tone::Faint,
            "`stoke archive now` archives what is old enough",
        );
        format!("Nothing is archived. {hint}\n")
    } else {
        let head = ["MONTH", "JOBS", "EVENTS", "SIZE", "STATE"];
        let rows = view.items.iter().map(month).collect();
        let mut text = table::plain(&head, rows, look);
        text += &format!("{} in {}.\n", counted(view.jobs, "job"), bytes(view.bytes));
        text
    };
    text += &samples(&view.samples);
    if view.running {
        text += "Archiving goes on now.\n";
    } else if let Some(last) = &view.last_run {
        text += "Last run: ";
        text += &run(last);
        if let Some(problem) = &last.problem {
            text += &format!("It ended early: {}\n", harmless(problem));
        }
    }
    text
}

/// What is kept of what was measured, and how much that is.
fn samples(samples: &[ArchiveSamples]) -> String {
    let kept = samples.iter().filter(|tier| tier.files > 0);
    let parts = kept.map(|tier| {
        let fineness = match tier.tier.as_str() {
            "raw" => "as measured".to_owned(),
            other => format!("by the {}", harmless(other)),
        };
        format!("{} {fineness}", bytes(tier.bytes))
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("Samples beside it: {}.\n", parts.join(", "))
}

fn month(month: &ArchiveMonth) -> Vec<(Tone, String)> {
    let (tone, state) = match &month.problem {
        None => (Tone::Plain, "● present".to_owned()),
        Some(problem) => (Tone::Bad, format!("✗ {}", harmless(problem))),
    };
    vec![
        (Tone::Plain, harmless(&month.month).into_owned()),
        (Tone::Plain, month.jobs.to_string()),
        (Tone::Plain, month.events.to_string()),
        (Tone::Plain, bytes(month.bytes)),
        (tone, state),
    ]
}

/// What a run has done.
#[must_use]
pub fn run(run: &ArchiveRun) -> String {
    let mut parts = vec![
        format!("{} archived", counted(run.jobs, "job")),
        format!("{} moved", counted(run.events, "event")),
    ];
    if run.log_bytes_before > 0 {
        parts.push(format!(
            "logs compressed from {} to {}",
            bytes(run.log_bytes_before),
            bytes(run.log_bytes_after)
        ));
    }
    if run.logs_deleted > 0 {
        parts.push(format!(
            "logs of {} deleted",
            counted(run.logs_deleted, "job")
        ));
    }
    if !run.months_deleted.is_empty() {
        parts.push(format!("deleted {}", run.months_deleted.join(", ")));
    }
    #[expect(clippy::cast_precision_loss, reason = "it is shown in seconds")]
    let seconds = run.took_ms as f64 / 1000.0;
    format!("{} in {}.\n", parts.join(", "), duration(seconds))
}

/// What came back.
#[must_use]
pub fn restored(restored: &ArchiveRestored) -> String {
    if let Some(month) = &restored.month {
        let known = counted(restored.known_again, "job");
        return format!(
            "{} is part of the archive; {known} known again.\n",
            harmless(month)
        );
    }
    if restored.jobs.is_empty() {
        return "Nothing is to be brought back: it is not archived.\n".to_owned();
    }
    let mut text = format!("{} back.\n", counted(restored.jobs.len() as u64, "job"));
    if !restored.without_environment.is_empty() {
        let ids: Vec<String> = restored
            .without_environment
            .iter()
            .map(u64::to_string)
            .collect();
        text += &format!(
            "Environments are not archived: retried, these start with a clean one: {}\n",
            ids.join(" ")
        );
    }
    text
}

/// What is wrong, or that nothing is.
#[must_use]
pub fn verified(verified: &ArchiveVerified) -> String {
    if verified.faults.is_empty() {
        return format!(
            "{} and {} of samples read through: all is well.\n",
            counted(verified.months, "month"),
            counted(verified.sample_files, "file")
        );
    }
    let mut text = String::new();
    for fault in &verified.faults {
        let month = if fault.month.is_empty() {
            String::new()
        } else {
            format!("{}: ", harmless(&fault.month))
        };
        text += &format!("{month}{}\n", harmless(&fault.what));
    }
    text
}

fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
