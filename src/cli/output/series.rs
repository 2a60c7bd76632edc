//! Series: which there are, and their points as a table, as CSV, or as lines of JSON.

use crate::cli::output::style::{Look, Tone};
use crate::cli::output::table;
use crate::cli::output::text::{ago, duration, harmless, number, rate};
use crate::cli::output::usage::size;
use crate::wire::series::{Series, SeriesInfo, SeriesPoint};
use jiff::Timestamp;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// So many points are asked for where a person reads them.
pub const FEW_POINTS: u32 = 20;

/// The series that there are, with what they are counted in, and since when there are values.
#[must_use]
pub fn list(series: &[SeriesInfo], look: &Look) -> String {
    if series.is_empty() {
        return "Nothing was measured yet.\n".to_owned();
    }
    let moment = |time: Option<Timestamp>| match time {
        Some(time) => ago(look.seconds_since(time)),
        None => String::new(),
    };
    let has_times = series.iter().any(|it| it.first.is_some());
    let rows = series.iter().map(|info| {
        let unit = info.unit.as_deref().unwrap_or_default();
        let mut row = vec![
            (Tone::Plain, harmless(&info.name).into_owned()),
            (Tone::Faint, harmless(&unit.replace('_', " ")).into_owned()),
        ];
        if has_times {
            row.push((Tone::Plain, moment(info.first)));
            row.push((Tone::Plain, moment(info.last)));
        }
        row
    });
    let head = ["SERIES", "UNIT", "FROM", "TO"];
    let shown = if has_times { 4 } else { 2 };
    // Names are there to be copied, by people and programs: a line that is too long is better than a name in parts.
    let look = Look {
        width: u16::MAX,
        ..look.clone()
    };
    table::plain(head.get(..shown).unwrap_or(&head), rows.collect(), &look)
}

/// The points of a few series: with all that is known of each where there is one series, side by side by time where
/// there are more.
#[must_use]
pub fn points(series: &[Series], look: &Look) -> String {
    match series {
        [one] => alone(one, look),
        _ => beside(series, look),
    }
}

fn alone(series: &Series, look: &Look) -> String {
    let mut out = look.paint(Tone::Strong, &harmless(&series.name));
    if let Some(unit) = &series.unit {
        out += &look.paint(Tone::Faint, &format!("  {}", harmless(unit)));
    }
    out.push('\n');
    if series.points.is_empty() {
        return out + "No values in this time.\n";
    }
    let unit = series.unit.as_deref();
    let has_rank = series.points.iter().any(|point| point.p50.is_some());
    let rows = series.points.iter().map(|point| {
        let mut row = vec![(Tone::Faint, look.date_time(point.time))];
        let value = |value: f64| (Tone::Plain, worded(value, unit));
        row.extend([point.last, point.min, point.mean, point.max].map(value));
        if has_rank {
            let ranks = [point.p50, point.p95, point.p99];
            row.extend(ranks.map(|rank| rank.map_or((Tone::Plain, String::new()), value)));
        }
        row.push((Tone::Faint, point.count.to_string()));
        row
    });
    let mut head = vec!["TIME", "LAST", "MIN", "MEAN", "MAX"];
    if has_rank {
        head.extend(["P50", "P95", "P99"]);
    }
    head.push("COUNT");
    out + &table::plain(&head, rows.collect(), look)
}

/// The newest value of each in each stretch of time. Series are measured at moments of their own, so their points are
/// shown together where they are of the same second.
fn beside(series: &[Series], look: &Look) -> String {
    let mut rows: BTreeMap<i64, Vec<Option<f64>>> = BTreeMap::new();
    for (at, it) in series.iter().enumerate() {
        for point in &it.points {
            let second = point.time.as_second();
            let row = rows
                .entry(second)
                .or_insert_with(|| vec![None; series.len()]);
            if let Some(value) = row.get_mut(at) {
                *value = Some(point.last);
            }
        }
    }
    let titles = titles(series);
    let mut head = vec!["TIME"];
    head.extend(titles.iter().map(String::as_str));
    let rows = rows.into_iter().map(|(second, values)| {
        let time = Timestamp::from_second(second).unwrap_or(look.now);
        let cells = values.into_iter().zip(series).map(|(value, series)| {
            let text = value.map(|it| worded(it, series.unit.as_deref()));
            (Tone::Plain, text.unwrap_or_default())
        });
        let time = (Tone::Faint, look.date_time(time));
        std::iter::once(time).chain(cells).collect()
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return "No values in this time.\n".to_owned();
    }
    table::plain(&head, rows, look)
}

/// Names without what all of them begin with.
fn titles(series: &[Series]) -> Vec<String> {
    let entity = |series: &Series| {
        let name = &series.name;
        name.rfind('/').map_or("", |at| &name[..=at]).to_owned()
    };
    let first = series.first().map(entity).unwrap_or_default();
    let same = series.iter().all(|it| entity(it) == first);
    let names = series.iter().map(|it| {
        let name = if same {
            it.name.strip_prefix(&first).unwrap_or(&it.name)
        } else {
            &it.name
        };
        harmless(name).into_owned()
    });
    names.collect()
}

/// A value in its unit.
#[must_use]
pub fn worded(value: f64, unit: Option<&str>) -> String {
    match unit {
        Some("bytes") => size(value),
        Some("bytes_per_second") => format!("{}/s", size(value)),
        Some("seconds") if value >= 0.0 => duration(value),
        Some("percent") => format!("{}%", rate(value)),
        Some("watts") => format!("{} W", rate(value)),
        Some("celsius") => format!("{value:.0}°C"),
        Some(_) | None => number(value),
    }
}

/// One point of one series, in the order in which it is written everywhere.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Line<'a> {
    /// The series.
    pub name: &'a str,
    /// What it is counted in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<&'a str>,
    /// The point.
    #[serde(flatten)]
    pub point: &'a SeriesPoint,
}

/// All points, one after the other.
pub fn lines(series: &[Series]) -> impl Iterator<Item = Line<'_>> {
    series.iter().flat_map(|series| {
        series.points.iter().map(|point| Line {
            name: &series.name,
            unit: series.unit.as_deref(),
            point,
        })
    })
}

/// The names of the columns of comma-separated values, as the first line of them.
pub const CSV_HEAD: &str = "name,unit,time,last,min,max,mean,count,p50,p95,p99\n";

/// Comma-separated values, one line for each point.
#[must_use]
pub fn csv(series: &[Series]) -> String {
    let mut out = String::new();
    for line in lines(series) {
        let point = line.point;
        let rank = |value: Option<f64>| value.map(|it| it.to_string()).unwrap_or_default();
        let cells = [
            escaped(line.name).into_owned(),
            escaped(line.unit.unwrap_or_default()).into_owned(),
            point.time.to_string(),
            point.last.to_string(),
            point.min.to_string(),
            point.max.to_string(),
            point.mean.to_string(),
            point.count.to_string(),
            rank(point.p50),
            rank(point.p95),
            rank(point.p99),
        ];
        out += &cells.join(",");
        out.push('\n');
    }
    out
}

/// As RFC 4180 has it. Control characters come out too: it may be a terminal that shows this.
fn escaped(text: &str) -> Cow<'_, str> {
    let text = harmless(text);
    if text.contains([',', '"']) {
        return Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")));
    }
    text
}

/// A block as high as a value is between the smallest and the largest.
#[must_use]
pub fn height(value: f64, least: f64, most: f64) -> char {
    let range = most - least;
    let share = if range > 0.0 {
        (value - least) / range * 100.0
    } else {
        50.0
    };
    crate::cli::output::host::block(share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn series(name: &str, unit: Option<&str>, values: &[f64]) -> Series {
        let points = values.iter().enumerate();
        let points = points.map(|(n, value)| {
            json!({"time": format!("2026-11-22T12:00:{n:02}.5Z"), "last": value, "min": 0, "max": value, "mean": 1.5, "count": 2})
        });
        let points: Vec<Value> = points.collect();
        let text = json!({"name": name, "unit": unit, "points": points});
        serde_json::from_value(text).unwrap()
    }

    fn look() -> Look {
        Look {
            colour: false,
            width: 80,
            now: "2026-11-22T12:02:00Z".parse().unwrap(),
            zone: jiff::tz::TimeZone::UTC,
        }
    }

    #[test]
    fn series_are_tables() {
        let memory = series("job/1/memory.bytes", Some("bytes"), &[1_048_576.0, 0.0]);
        let loss = series("job/1/metric.a,\u{1b}b", None, &[0.25]);
        insta::assert_snapshot!(points(std::slice::from_ref(&memory), &look()), @r"
    job/1/memory.bytes  bytes
    TIME                 LAST     MIN  MEAN  MAX      COUNT
    2026-11-22 12:00:00  1.0 MiB  0 B  2 B   1.0 MiB  2
    2026-11-22 12:00:01  0 B      0 B  2 B   0 B      2
    ");
        insta::assert_snapshot!(points(&[memory.clone(), loss.clone()], &look()), @r"
    TIME                 memory.bytes  metric.a,\eb
    2026-11-22 12:00:00  1.0 MiB       0.25
    2026-11-22 12:00:01  0 B
    ");
        insta::assert_snapshot!(CSV_HEAD.to_owned() + &csv(&[loss]), @r#"
    name,unit,time,last,min,max,mean,count,p50,p95,p99
    "job/1/metric.a,\eb",,2026-11-22T12:00:00.5Z,0.25,0,0.25,1.5,2,,,
    "#);
        assert_eq!(
            [0.0, 1.0, 2.0].map(|it| height(it, 0.0, 2.0)),
            ['▁', '▅', '█']
        );
        assert_eq!(height(3.0, 3.0, 3.0), '▅');
    }

    #[test]
    fn what_there_is_is_listed_with_its_time() {
        let info = |name: &str, first: Option<&str>| {
            let text =
                json!({"name": name, "unit": "bytes_per_second", "first": first, "last": first});
            serde_json::from_value(text).unwrap()
        };
        let known = [
            info(
                "host/io.read.bytes_per_second",
                Some("2026-11-22T12:00:00Z"),
            ),
            info("host/io.write.bytes_per_second", None),
        ];
        insta::assert_snapshot!(list(&known, &look()), @r"
    SERIES                          UNIT              FROM    TO
    host/io.read.bytes_per_second   bytes per second  2m ago  2m ago
    host/io.write.bytes_per_second  bytes per second
    ");
        insta::assert_snapshot!(list(&known[1..], &look()), @r"
    SERIES                          UNIT
    host/io.write.bytes_per_second  bytes per second
    ");
    }
}
