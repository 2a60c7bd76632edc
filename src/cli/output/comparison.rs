//! Runs side by side, and where the time of one went.

use crate::cli::output::progress::bar;
use crate::cli::output::series::{height, worded};
use crate::cli::output::style::{Look, Tone};
use crate::cli::output::table;
use crate::cli::output::text::{cut, duration, harmless, number};
use crate::cli::output::usage::percent;
use crate::wire::comparison::{Comparison, PhaseList, Run, RunPoint, RunQuantity};

/// The name of a run, and of a phase, is not longer.
const LONGEST_NAME: usize = 28;
/// Columns of the course of a value, where there is room.
const COURSE_COLUMNS: usize = 16;
/// Below this width there is none.
const NARROW: u16 = 70;
/// Columns of a bar.
const BAR_COLUMNS: usize = 10;

/// For each quantity a table with one line for each run: its last value, its smallest and largest, and what it was where
/// all runs had come.
#[must_use]
pub fn table(comparison: &Comparison, look: &Look) -> String {
    let names = names(comparison);
    if names.is_empty() {
        return "There is nothing to compare.\n".to_owned();
    }
    let parts = names.iter().map(|name| quantity(comparison, name, look));
    parts.collect::<Vec<_>>().join("\n")
}

/// The quantities, in the order of the answer, each once.
fn names(comparison: &Comparison) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for quantity in comparison.runs.iter().flat_map(|run| &run.quantities) {
        if !names.contains(&quantity.name) {
            names.push(quantity.name.clone());
        }
    }
    names
}

fn quantity(comparison: &Comparison, name: &str, look: &Look) -> String {
    let found = |run: &'_ Run| run.quantities.iter().position(|it| it.name == name);
    let of = |run: &Run| found(run).and_then(|at| run.quantities.get(at).cloned());
    let all: Vec<(&Run, Option<RunQuantity>)> =
        comparison.runs.iter().map(|run| (run, of(run))).collect();
    let unit = all.iter().find_map(|(_, it)| it.as_ref()?.unit.clone());
    let unit = unit.as_deref();
    let common = common(
        all.iter()
            .filter_map(|(_, it)| Some(it.as_ref()?.points.as_slice())),
    );
    let mut title = look.paint(Tone::Strong, &harmless(name));
    if let Some(unit) = unit {
        title += &look.paint(Tone::Faint, &format!("  {}", harmless(unit)));
    }
    let frame = Frame::of(&all).filter(|_| look.width >= NARROW);
    if let Some(frame) = frame.as_ref() {
        let (least, most) = (worded(frame.least, unit), worded(frame.most, unit));
        title += &look.paint(Tone::Faint, &format!("  ▁ {least}  █ {most}"));
    }
    let at = common.map(|x| format!("AT {}", place(&comparison.x, x)));
    let mut head = vec!["RUN", "NAME", "LAST", "LEAST", "MOST"];
    head.extend(at.as_deref());
    let course = frame.as_ref().map(|it| it.title(&comparison.x));
    head.extend(course.as_deref());
    let rows = all.iter().map(|(run, quantity)| {
        let points = quantity.as_ref().map_or(&[][..], |it| &it.points);
        let value = |value: Option<f64>| {
            let text = value.map(|it| worded(it, unit));
            (Tone::Plain, text.unwrap_or_default())
        };
        let mut row = vec![
            (Tone::Strong, format!("{}.{}", run.job, run.attempt)),
            (
                Tone::Plain,
                cut(&harmless(&run.name), LONGEST_NAME).into_owned(),
            ),
            value(points.last().map(|it| it.last)),
            value(points.iter().map(|it| it.min).reduce(f64::min)),
            value(points.iter().map(|it| it.max).reduce(f64::max)),
        ];
        row.extend(common.map(|x| value(at_or_before(points, x))));
        row.extend(frame.as_ref().map(|it| (Tone::Active, it.course(points))));
        row
    });
    format!("{title}\n{}", table::plain(&head, rows.collect(), look))
}

/// How far all runs came that have values at all, where one came further than another.
fn common<'a>(runs: impl Iterator<Item = &'a [RunPoint]>) -> Option<f64> {
    let ends: Vec<f64> = runs.filter_map(|points| Some(points.last()?.x)).collect();
    let first = ends.iter().copied().reduce(f64::min)?;
    (ends.len() > 1).then_some(first)
}

/// The newest value up to there.
fn at_or_before(points: &[RunPoint], x: f64) -> Option<f64> {
    let before = points.iter().take_while(|point| point.x <= x);
    before.last().map(|point| point.last)
}

/// What the courses of all runs are drawn in: one axis and one scale for all, so that they can be compared.
struct Frame {
    begin: f64,
    end: f64,
    least: f64,
    most: f64,
}

impl Frame {
    /// `None` where nothing is to be drawn.
    fn of(runs: &[(&Run, Option<RunQuantity>)]) -> Option<Self> {
        let quantities = runs.iter().filter_map(|(_, quantity)| quantity.as_ref());
        let points: Vec<&RunPoint> = quantities.flat_map(|it| &it.points).collect();
        let first = points.first()?;
        let frame = Self {
            begin: first.x,
            end: first.x,
            least: first.last,
            most: first.last,
        };
        let widen = |frame: Self, point: &&RunPoint| Self {
            begin: frame.begin.min(point.x),
            end: frame.end.max(point.x),
            least: frame.least.min(point.last),
            most: frame.most.max(point.last),
        };
        Some(points.iter().fold(frame, widen))
    }

    fn title(&self, axis: &str) -> String {
        format!("COURSE TO {}", place(axis, self.end))
    }

    /// The newest value in each column; blank before a run began and after it ended.
    fn course(&self, points: &[RunPoint]) -> String {
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return String::new();
        };
        let width = (self.end - self.begin) / COURSE_COLUMNS as f64;
        let column = |n: usize| {
            let from = self.begin + width * n as f64;
            let is_last = n + 1 == COURSE_COLUMNS;
            let to = if is_last { self.end } else { from + width };
            let value = at_or_before(points, to).filter(|_| first.x <= to && from <= last.x);
            value.map_or(' ', |it| height(it, self.least, self.most))
        };
        let columns: String = (0..COURSE_COLUMNS).map(column).collect();
        columns.trim_end().to_owned()
    }
}

fn place(axis: &str, x: f64) -> String {
    match axis {
        "time" if x >= 0.0 => duration(x),
        "percent" => percent(x),
        _ => format!("{} {}", harmless(axis), number(x)),
    }
}

/// The parts of an attempt, the one that took longest first.
#[must_use]
pub fn phases(job: u64, list: &PhaseList, look: &Look) -> String {
    let title = format!("Job {job}, attempt {}", list.attempt);
    let title = look.paint(Tone::Strong, &title);
    if list.items.is_empty() {
        return format!("{title}\nIt told of no phases, epochs or steps.\n");
    }
    let rows = list.items.iter().map(|phase| {
        let share = phase.percent;
        let share = share.map(|it| format!("{} {:>4}", bar(it, BAR_COLUMNS), percent(it)));
        let times = (phase.times > 1).then(|| phase.times.to_string());
        let longest = (phase.times > 1).then(|| duration(phase.longest_seconds));
        vec![
            (Tone::Faint, harmless(&phase.kind).into_owned()),
            (
                Tone::Plain,
                cut(&harmless(&phase.name), LONGEST_NAME).into_owned(),
            ),
            (Tone::Plain, duration(phase.total_seconds)),
            (Tone::Active, share.unwrap_or_default()),
            (Tone::Plain, times.unwrap_or_default()),
            (Tone::Plain, longest.unwrap_or_default()),
        ]
    });
    let head = ["PART", "NAME", "TIME", "OF ALL", "TIMES", "LONGEST"];
    let (head, rows) = table::known_columns(&head, rows.collect());
    format!("{title}\n{}", table::plain(&head, rows, look))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn look(width: u16) -> Look {
        Look {
            colour: false,
            width,
            now: jiff::Timestamp::UNIX_EPOCH,
            zone: jiff::tz::TimeZone::UTC,
        }
    }

    fn run(job: u64, losses: &[(f64, f64)]) -> Value {
        let point = |(x, value): &(f64, f64)| json!({"x": x, "last": value, "min": value - 0.01, "max": value, "mean": value, "count": 2});
        let points: Vec<Value> = losses.iter().map(point).collect();
        json!({"job": job, "attempt": 1, "name": format!("run\u{1b}{job}"),
            "quantities": [{"name": "metric.loss", "points": points}]})
    }

    #[test]
    fn runs_stand_below_each_other() {
        let runs = [
            run(42, &[(60.0, 0.9), (120.0, 0.5), (180.0, 0.25)]),
            run(43, &[(50.0, 0.8), (130.0, 0.3)]),
            run(44, &[]),
        ];
        let comparison = json!({"x": "time", "runs": runs});
        let comparison: Comparison = serde_json::from_value(comparison).unwrap();
        insta::assert_snapshot!(table(&comparison, &look(80)), @r"
    metric.loss  ▁ 0.25  █ 0.9
    RUN   NAME     LAST  LEAST  MOST  AT 2m10s  COURSE TO 3m00s
    42.1  run\e42  0.25  0.24   0.9   0.5        ███████▄▄▄▄▄▄▄▁
    43.1  run\e43  0.3   0.29   0.8   0.3       ▇▇▇▇▇▇▇▇▇▂
    44.1  run\e44
    ");
        insta::assert_snapshot!(table(&comparison, &look(60)), @r"
    metric.loss
    RUN   NAME     LAST  LEAST  MOST  AT 2m10s
    42.1  run\e42  0.25  0.24   0.9   0.5
    43.1  run\e43  0.3   0.29   0.8   0.3
    44.1  run\e44
    ");
    }

    #[test]
    fn phases_say_where_the_time_went() {
        let phase = |kind: &str, name: &str, times: u32, seconds: f64| {
            json!({"kind": kind, "name": name, "began_at": "2026-11-22T12:00:00Z", "times": times,
                "total_seconds": seconds, "longest_seconds": seconds / 2.0, "percent": seconds / 2.0})
        };
        let list = json!({"attempt": 2, "items": [phase("phase", "fit", 3, 150.0), phase("epoch", "1", 1, 20.0)]});
        let list: PhaseList = serde_json::from_value(list).unwrap();
        insta::assert_snapshot!(phases(7, &list, &look(80)), @r"
    Job 7, attempt 2
    PART   NAME  TIME   OF ALL           TIMES  LONGEST
    phase  fit   2m30s  ███████▌░░  75%  3      1m15s
    epoch  1     20s    █░░░░░░░░░  10%
    ");
    }
}
