//! Tables: one line per thing, fitted to the terminal by leaving out what matters least.

use crate::cli::output::progress;
use crate::cli::output::style::{self, Look, Tone};
use crate::cli::output::text::{ago, cut, duration, harmless, rough};
use crate::cli::output::usage;
use crate::wire::group::GroupView;
use crate::wire::job::JobView;
use crate::wire::words::count;
use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row, Table, Width,
};

/// A name is not cut below this.
const SHORTEST_NAME: u16 = 12;

/// A state without what is said beside it, such as `✔ completed`.
const BARE_STATE: u16 = 11;

/// What a column of the job table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Id,
    Name,
    Owner,
    Group,
    State,
    /// The bar, or what is counted where nobody knows of how much.
    Bar,
    /// With the phase it is of: the percentage of the next one begins anew.
    PhasedPercent,
    Percent,
    Eta,
    Cpu,
    Memory,
    Gpu,
    GpuMemory,
    Took,
    When,
}

/// What jobs use, as many of it as there is room for when everything else is there as a whole: with GPUs first where
/// there are some.
const USAGE: [&[Column]; 4] = [
    &[Column::Cpu, Column::Memory, Column::Gpu, Column::GpuMemory],
    &[Column::Gpu, Column::GpuMemory],
    &[Column::Gpu],
    &[Column::Cpu, Column::Memory],
];

/// Left out in this order until the rest fits.
const LEAST_IMPORTANT_FIRST: [Column; 6] = [
    Column::Owner,
    Column::Group,
    Column::Bar,
    Column::When,
    Column::PhasedPercent,
    Column::Eta,
];

/// A table of jobs in the order given.
#[must_use]
pub fn jobs(jobs: &[JobView], look: &Look) -> String {
    let mut columns = useful_columns(jobs);
    let mut table = job_table(jobs, &columns, look);
    for column in LEAST_IMPORTANT_FIRST {
        if fit_name(&mut table, &columns, look.width) {
            break;
        }
        if let Some(at) = columns.iter().position(|&it| it == column) {
            if column == Column::PhasedPercent {
                columns[at] = Column::Percent;
            } else {
                columns.remove(at);
            }
            table = job_table(jobs, &columns, look);
        }
    }
    if let Some(wider) = with_usage(jobs, &columns, look) {
        return render(wider);
    }
    fit_name(&mut table, &columns, look.width);
    render(table)
}

/// The table with what jobs use, where nothing else has to give way for it.
fn with_usage(jobs: &[JobView], columns: &[Column], look: &Look) -> Option<Table> {
    if useful_columns(jobs) != columns {
        return None;
    }
    let place = columns.iter().position(|it| *it == Column::Took)?;
    USAGE.iter().find_map(|more| {
        let is_known = |column: &&Column| jobs.iter().any(|job| column.used(job).is_some());
        let more: Vec<Column> = more.iter().filter(is_known).copied().collect();
        if more.is_empty() {
            return None;
        }
        let mut wider = columns.to_vec();
        wider.splice(place..place, more);
        let mut table = job_table(jobs, &wider, look);
        let widths = table.column_max_content_widths();
        let whole: u32 = widths.iter().map(|width| u32::from(*width) + 2).sum();
        let fits = whole <= u32::from(look.width);
        (fits && fit_name(&mut table, &wider, look.width)).then_some(table)
    })
}

/// A table of groups.
#[must_use]
pub fn groups(groups: &[GroupView], look: &Look) -> String {
    let mut table = empty(look);
    table.set_header(header(
        look,
        &["GROUP", "STATE", "PLACES", "ACTIVE", "WAITING"],
    ));
    for group in groups {
        let (words, tone) = if group.paused {
            ("‖ paused", Tone::Waiting)
        } else {
            ("● open", Tone::Active)
        };
        table.add_row([
            cell(look, Tone::Plain, &harmless(&group.name)),
            cell(look, tone, words),
            right(cell(look, Tone::Plain, &group.parallelism.to_string())),
            right(cell(look, Tone::Plain, &group.active.to_string())),
            right(cell(look, Tone::Plain, &group.waiting.to_string())),
        ]);
    }
    render(table)
}

/// A table of any rows, one line each but for a last column that needs more; every text was made harmless by the
/// caller.
#[must_use]
pub fn plain(head: &[&str], rows: Vec<Vec<(Tone, String)>>, look: &Look) -> String {
    let mut table = empty(look);
    table.set_header(header(look, head));
    for row in rows {
        let cells = row.iter().map(|(tone, text)| cell(look, *tone, text));
        table.add_row(Row::from(cells.collect::<Vec<_>>()));
    }
    render(table)
}

/// The cells of a row, each with what it means.
pub type Cells = Vec<(Tone, String)>;

/// The columns of which something is known in some row.
#[must_use]
pub fn known_columns<'a>(head: &[&'a str], rows: Vec<Cells>) -> (Vec<&'a str>, Vec<Cells>) {
    let is_known = |at: &usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(*at));
        cells.any(|(_, text)| !text.is_empty())
    };
    let known: Vec<usize> = (0..head.len()).filter(is_known).collect();
    let shown = known.iter().filter_map(|at| head.get(*at).copied());
    let of = |row: Cells| {
        let cells = known.iter().filter_map(|at| row.get(*at).cloned());
        cells.collect()
    };
    (shown.collect(), rows.into_iter().map(of).collect())
}

/// Where a job is, in words: its state with what explains it.
#[must_use]
pub fn state_text(job: &JobView) -> String {
    let (glyph, _) = style::state(&job.state);
    let mut text = format!("{glyph} {}", harmless(&style::state_words(&job.state)));
    if let Some(why) = explanation(job) {
        text += &format!(" · {}", harmless(&why));
    }
    text
}

fn explanation(job: &JobView) -> Option<String> {
    if let Some(reason) = &job.reason {
        return Some(words_of(reason));
    }
    let failure = job.failure.as_ref().map(|failure| failure.class.as_str());
    match (job.exit, failure) {
        (Some(exit), None | Some("exit" | "signal")) if job.state != "completed" => {
            match (exit.code, exit.signal) {
                (Some(code), _) if code != 0 => Some(format!("exit {code}")),
                (_, Some(signal)) if job.state != "cancelled" => Some(format!("signal {signal}")),
                _ => None,
            }
        }
        (_, Some("timeout")) if job.state == "timed_out" => None,
        (_, Some(class)) => Some(class.replace('_', " ")),
        (_, None) => None,
    }
}

/// `GroupLimit` as people would say it: `group limit`.
#[must_use]
pub fn words_of(name: &str) -> String {
    name.chars().fold(String::new(), |mut out, c| {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.push(c.to_ascii_lowercase());
        out
    })
}

fn useful_columns(jobs: &[JobView]) -> Vec<Column> {
    let any = |shows: &dyn Fn(&JobView) -> bool| jobs.iter().any(shows);
    let first_owner = jobs.first().map(|job| job.owner.uid);
    let mut columns = vec![Column::Id, Column::Name];
    if any(&|job| Some(job.owner.uid) != first_owner) {
        columns.push(Column::Owner);
    }
    if any(&|job| job.group != "default") {
        columns.push(Column::Group);
    }
    columns.push(Column::State);
    let has_percent = any(&|job| shown_percent(job).is_some());
    if has_percent || any(&|job| shown_count(job).is_some()) {
        columns.push(Column::Bar);
    }
    if has_percent {
        columns.push(Column::PhasedPercent);
    }
    if any(&|job| shown_eta(job).is_some()) {
        columns.push(Column::Eta);
    }
    columns.extend([Column::Took, Column::When]);
    columns
}

fn job_table(jobs: &[JobView], columns: &[Column], look: &Look) -> Table {
    let mut table = empty(look);
    let titles: Vec<_> = columns.iter().map(|column| column.title()).collect();
    table.set_header(header(look, &titles));
    for job in jobs {
        let cells: Vec<_> = columns
            .iter()
            .map(|column| column.cell(job, look))
            .collect();
        table.add_row(one_line(cells));
    }
    for (at, column) in columns.iter().enumerate() {
        let is_number = matches!(
            column,
            Column::Id
                | Column::PhasedPercent
                | Column::Percent
                | Column::Eta
                | Column::Cpu
                | Column::Memory
                | Column::GpuMemory
                | Column::Took
        );
        if let Some(column) = table.column_mut(at).filter(|_| is_number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Gives the name what the other columns leave; says whether that is enough.
fn fit_name(table: &mut Table, columns: &[Column], width: u16) -> bool {
    let widths = table.column_max_content_widths();
    let padding = 2 * u16::try_from(widths.len()).unwrap_or(u16::MAX);
    let mut left = i32::from(width) - i32::from(padding);
    let mut wanted = 0;
    for (column, &width) in columns.iter().zip(&widths) {
        if *column == Column::Name {
            wanted = width;
        } else {
            left -= i32::from(width);
        }
    }
    let enough = left >= i32::from(wanted.min(SHORTEST_NAME));
    // The reason beside the state may give way too, once everything that can be left out is.
    let mut reason = 0;
    if let Some(at) = columns.iter().position(|it| *it == Column::State) {
        let spare = i32::from(widths[at].saturating_sub(BARE_STATE));
        reason = (i32::from(wanted.min(SHORTEST_NAME)) - left).clamp(0, spare);
    }
    let name_width = u16::try_from(left + reason).unwrap_or(0);
    let name_width = name_width.clamp(4, wanted.max(4));
    for (at, column) in columns.iter().enumerate() {
        let constraint = if *column == Column::Name {
            ColumnConstraint::Absolute(Width::Fixed(name_width + 2))
        } else if *column == Column::State && reason > 0 {
            let short = i32::from(widths[at]) - reason;
            ColumnConstraint::Absolute(Width::Fixed(u16::try_from(short).unwrap_or(0) + 2))
        } else {
            ColumnConstraint::ContentWidth
        };
        if let Some(column) = table.column_mut(at) {
            column.set_constraint(constraint);
        }
    }
    enough
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Id => "ID",
            Self::Name => "NAME",
            Self::Owner => "OWNER",
            Self::Group => "GROUP",
            Self::State => "STATE",
            Self::Bar => "PROGRESS",
            Self::PhasedPercent | Self::Percent => "%",
            Self::Eta => "LEFT",
            Self::Cpu => "CPU",
            Self::Memory => "MEMORY",
            Self::Gpu => "GPU",
            Self::GpuMemory => "ON GPU",
            Self::Took => "TIME",
            Self::When => "WHEN",
        }
    }

    fn cell(self, job: &JobView, look: &Look) -> Cell {
        let (tone, text) = match self {
            Self::Id => (Tone::Strong, job.id.to_string()),
            Self::Name => (Tone::Plain, harmless(&job.name).into_owned()),
            Self::Owner => (Tone::Faint, harmless(&job.owner.user).into_owned()),
            Self::Group => (Tone::Faint, harmless(&job.group).into_owned()),
            Self::State => (style::state(&job.state).1, state_text(job)),
            Self::Bar => {
                let bar = shown_percent(job).map(|value| progress::bar(value, 10));
                let bar = bar.or_else(|| shown_count(job));
                (Tone::Active, bar.unwrap_or_default())
            }
            Self::PhasedPercent => (Tone::Plain, percent(job, true).unwrap_or_default()),
            Self::Percent => (Tone::Plain, percent(job, false).unwrap_or_default()),
            Self::Eta => (Tone::Plain, shown_eta(job).unwrap_or_default()),
            Self::Cpu | Self::Memory | Self::Gpu | Self::GpuMemory => {
                (Tone::Plain, self.used(job).unwrap_or_default())
            }
            Self::Took => (Tone::Plain, took(job, look).unwrap_or_default()),
            Self::When => (Tone::Faint, when(job, look)),
        };
        cell(look, tone, &text)
    }

    /// What a job uses, while it runs.
    fn used(self, job: &JobView) -> Option<String> {
        let usage = job
            .usage
            .as_ref()
            .filter(|_| !style::is_final(&job.state))?;
        match self {
            Self::Cpu => usage::cpu(usage),
            Self::Memory => usage::memory(usage),
            Self::Gpu => usage::gpus(usage),
            Self::GpuMemory => usage::gpu_memory(usage),
            Self::Id
            | Self::Name
            | Self::Owner
            | Self::Group
            | Self::State
            | Self::Bar
            | Self::PhasedPercent
            | Self::Percent
            | Self::Eta
            | Self::Took
            | Self::When => None,
        }
    }
}

/// Of a job that succeeded the percentage says nothing; of one that did not, it says how far it came.
fn shown_percent(job: &JobView) -> Option<f64> {
    if job.state == "completed" {
        return None;
    }
    progress::known_percent(job.progress.as_ref()?)
}

/// The percentage of a job, with the phase it is of where `phased` and there is one.
fn percent(job: &JobView, phased: bool) -> Option<String> {
    let progress = job.progress.as_ref()?;
    shown_percent(job)?;
    let percent = progress::percent_text(progress)?;
    let phase = progress::short_phase(progress).filter(|_| phased);
    Some(match phase {
        Some(phase) => format!("{phase} {percent}"),
        None => percent,
    })
}

/// A count is not longer beside bars.
const LONGEST_COUNT: usize = 16;

/// What was counted, where nobody knows of how much.
fn shown_count(job: &JobView) -> Option<String> {
    if job.state == "completed" || shown_percent(job).is_some() {
        return None;
    }
    let count = count::done(job.progress.as_ref()?)?;
    Some(cut(&count, LONGEST_COUNT).into_owned())
}

fn shown_eta(job: &JobView) -> Option<String> {
    let progress = job.progress.as_ref()?;
    if style::is_final(&job.state) {
        return None;
    }
    progress::eta(progress, false)
}

/// How long the present attempt runs, or the last one ran.
#[must_use]
pub fn took(job: &JobView, look: &Look) -> Option<String> {
    let started = job.started_at?;
    let ended = job.finished_at.unwrap_or(look.now);
    Some(duration(
        ended.duration_since(started).as_secs_f64().max(0.0),
    ))
}

/// When it ended; else when it starts, where that is known; else since when it waits.
fn when(job: &JobView, look: &Look) -> String {
    if let Some(ended) = job.finished_at {
        return ago(look.seconds_since(ended));
    }
    let starts = job
        .retry_at
        .or(job.not_before.filter(|_| job.state == "queued"));
    if let Some(starts) = starts.filter(|&starts| starts > look.now) {
        return format!("in {}", rough(-look.seconds_since(starts)));
    }
    match job.state.as_str() {
        "queued" | "held" => format!("since {}", rough(look.seconds_since(job.created_at))),
        _ => String::new(),
    }
}

fn empty(look: &Look) -> Table {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(look.width)
        .set_truncation_indicator("…");
    if look.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

fn header(look: &Look, titles: &[&str]) -> Row {
    let cells = titles.iter().map(|title| cell(look, Tone::Faint, title));
    one_line(cells.collect())
}

fn one_line(cells: Vec<Cell>) -> Row {
    let mut row = Row::from(cells);
    row.max_height(1);
    row
}

fn right(cell: Cell) -> Cell {
    cell.set_alignment(CellAlignment::Right)
}

fn cell(look: &Look, tone: Tone, text: &str) -> Cell {
    let cell = Cell::new(text);
    if !look.colour {
        return cell;
    }
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Bad => cell.fg(Color::DarkRed),
        Tone::Active => cell.fg(Color::DarkCyan),
        Tone::Waiting => cell.fg(Color::DarkYellow),
        Tone::Faint => cell.add_attribute(Attribute::Dim),
        Tone::Strong => cell.add_attribute(Attribute::Bold),
    }
}

/// Blanks at line ends would wrap in a narrower window, and hurt when copied.
fn render(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut out = String::new();
    for line in table.to_string().lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests;
