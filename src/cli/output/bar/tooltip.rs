//! What a bar shows when one points at it: each job and each GPU in a row.

use crate::cli::glance::Glance;
use crate::cli::output::gpus::{self, Names};
use crate::cli::output::progress::{self, bar, known_percent, percent_text};
use crate::cli::output::style::{self, Look, Tone};
use crate::cli::output::table::{self, Cells};
use crate::cli::output::text::{cut, harmless};
use crate::cli::output::usage;
use crate::wire::host::GpuView;
use crate::wire::job::JobView;

/// A tooltip that covers the screen helps nobody.
const MOST_JOBS: usize = 12;
const MOST_GPUS: usize = 8;
const MOST_FAILURES: usize = 5;
const LONGEST_NAME: usize = 24;
const BAR_COLUMNS: usize = 8;
/// Columns there are.
const WIDTH: u16 = 80;

/// The whole of it, in lines.
pub(super) fn of(glance: &Glance, look: &Look) -> String {
    if glance.is_away {
        return "The daemon cannot be reached; this comes back with it.\n".to_owned();
    }
    let look = Look {
        colour: false,
        width: WIDTH,
        ..look.clone()
    };
    let mut parts = vec![format!("{}\n", headline(glance))];
    if !glance.jobs.is_empty() {
        parts.push(jobs(glance, &look));
    }
    if !glance.gpus.is_empty() {
        let gpus: Vec<GpuView> = glance.gpus.values().take(MOST_GPUS).cloned().collect();
        let names = glance.jobs.iter().map(|(id, job)| (*id, job.name.clone()));
        parts.push(gpus::list(&gpus, &names.collect::<Names>(), &look));
    }
    if !glance.failed.is_empty() {
        // The newest ones are at the end.
        let newest = glance.failed.iter().rev().take(MOST_FAILURES);
        parts.push(newest.map(|job| failure(job, &look)).collect());
    }
    parts.join("\n")
}

fn headline(glance: &Glance) -> String {
    let counts = [
        (glance.jobs.len() as u64, "running"),
        (glance.waiting, "waiting"),
        (glance.failed.len() as u64, "failed"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if counts.is_empty() {
        return "Nothing runs or waits.".to_owned();
    }
    counts.join(" · ")
}

fn jobs(glance: &Glance, look: &Look) -> String {
    let plain = |text: String| (Tone::Plain, text);
    let rows = glance.jobs.iter().take(MOST_JOBS).map(|(id, job)| {
        let (glyph, _) = style::state(&job.state);
        let name = harmless(&job.name);
        let usage = job.usage.as_ref();
        let percent = known_percent(&job.progress);
        Vec::from([
            plain(format!("{glyph} {id}")),
            plain(cut(&name, LONGEST_NAME).into_owned()),
            plain(percent.map_or_else(String::new, |it| bar(it, BAR_COLUMNS))),
            plain(percent_text(&job.progress).unwrap_or_default()),
            plain(progress::eta(&job.progress, false).unwrap_or_default()),
            plain(usage.and_then(usage::gpus).unwrap_or_default()),
            plain(usage.and_then(usage::memory).unwrap_or_default()),
        ])
    });
    let head = ["JOB", "NAME", "PROGRESS", "%", "LEFT", "GPU", "MEMORY"];
    let rows: Vec<Cells> = rows.collect();
    let (head, rows) = table::known_columns(&head, rows);
    let mut text = table::plain(&head, rows, look);
    if let Some(more @ 1..) = glance.jobs.len().checked_sub(MOST_JOBS) {
        text += &format!("and {more} more\n");
    }
    text
}

fn failure(job: &JobView, look: &Look) -> String {
    let name = harmless(&job.name);
    let at = job.finished_at.map(|at| look.time_of_day(at));
    format!(
        "{}  {} {}\n",
        at.unwrap_or_default(),
        job.id,
        cut(&format!("{name}  {}", table::state_text(job)), WIDTH.into())
    )
}
