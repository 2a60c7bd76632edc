//! One bar of tqdm, taken apart.

use std::collections::BTreeMap;

use crate::model::progress::MAX_METRICS;
use crate::progress::number;

/// What a bar shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    /// The words before it.
    pub description: String,
    /// Units done.
    pub done: f64,
    /// Units there are.
    pub total: Option<f64>,
    /// What a unit is called.
    pub unit: String,
    /// Units per second.
    pub rate: Option<f64>,
    /// How long it thinks it needs.
    pub left_seconds: Option<f64>,
    /// The numbers behind it.
    pub metrics: BTreeMap<String, f64>,
}

/// What stands in the brackets.
struct Times<'a> {
    /// Missing where the total is unknown; `Some(None)` where it is not known yet.
    left_seconds: Option<Option<f64>>,
    rate: Option<f64>,
    unit: &'a str,
    /// What one scaled unit counts: bytes in `iB` count by 1024.
    in_1024: bool,
    postfix: &'a str,
}

/// Reads the first bar of a line. What follows the bar changes nothing.
pub(super) fn read(line: &str) -> Option<Bar> {
    let (head, inside) = line.match_indices('[').find_map(|(at, _)| {
        let inside = &line[at + 1..];
        let (elapsed, _) = inside.split_once(['<', ',', ']'])?;
        number::clock(elapsed).map(|_| (&line[..at], inside))
    })?;
    let times = times(&inside[..closing(inside)?])?;
    let head = head.trim_end();
    let (before, count) = head
        .rfind([' ', '|', ':', '\t'])
        .map_or(("", head), |at| head.split_at(at + 1));
    let base = if times.in_1024 { 1024.0 } else { 1000.0 };
    let mut unit = times.unit;
    let (done, total, description) = if times.left_seconds.is_some() {
        let (done, total) = count.split_once('/')?;
        let (done, total) = (amount(done, base)?, amount(total, base)?);
        // With total 0 there is nothing to be a part of.
        let total = (total > 0.0).then_some(total);
        (done.min(total.unwrap_or(done)), total, label(before))
    } else {
        let (done, words, before) = counted(before, count)?;
        if unit.is_empty() {
            unit = words;
        }
        (done, None, label(before))
    };
    Some(Bar {
        description: description.to_owned(),
        done,
        total,
        unit: if unit == "iB" { "B" } else { unit }.to_owned(),
        rate: times.rate,
        left_seconds: times.left_seconds.flatten(),
        metrics: metrics(times.postfix),
    })
}

/// Where the bracket closes that `inside` stands in; a postfix may have lists in it.
fn closing(inside: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' if depth == 0 => return Some(at),
            b']' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// `00:12<00:15, 35.9it/s, loss=0.2`
fn times(inside: &str) -> Option<Times<'_>> {
    let (clocks, more) = inside.split_once(',')?;
    let (rate, postfix) = more.split_once(',').unwrap_or((more, ""));
    let left_seconds = clocks.split_once('<').map(|(_, left)| number::clock(left));
    let rate = rate.trim();
    let number_end = rate
        .find(|c: char| !c.is_ascii_digit() && !"?.".contains(c))
        .unwrap_or(rate.len());
    let (value, per) = rate.split_at(number_end);
    let value = number::plain(value).filter(|&value| value > 0.0);
    if let Some(unit) = per.strip_prefix("s/") {
        let unit = unit.trim();
        return Some(Times {
            left_seconds,
            rate: value.map(|seconds| 1.0 / seconds),
            unit,
            in_1024: unit == "iB",
            postfix,
        });
    }
    let (factor, unit) = number::scale(per.strip_suffix("/s")?);
    Some(Times {
        left_seconds,
        rate: value.map(|value| number::scaled(value, factor)),
        unit: unit.trim(),
        in_1024: unit == "iB",
        postfix,
    })
}

/// `450` or `1.20M`
fn amount(text: &str, base: f64) -> Option<f64> {
    let (number, prefix) = number::leading(text)?;
    let power = ["", "k", "M", "G", "T", "P"]
        .into_iter()
        .position(|it| it == prefix)?;
    Some(number::scaled(
        number,
        base.powi(i32::try_from(power).ok()?),
    ))
}

/// `512kB` or `30 examples`: a count with its unit, and what stands before it.
fn counted<'a>(before: &'a str, count: &'a str) -> Option<(f64, &'a str, &'a str)> {
    if let Some((number, unit)) = number::leading(count) {
        let (factor, unit) = number::scale(unit);
        return Some((number::scaled(number, factor), unit, before));
    }
    let (before, number) = before
        .trim_end()
        .rsplit_once(' ')
        .unwrap_or(("", before.trim_end()));
    let (number, prefix) = number::leading(number)?;
    let (factor, rest) = number::scale(prefix);
    rest.is_empty()
        .then_some((number::scaled(number, factor), count, before))
}

/// The words before a bar: `Epoch 2:  45%|████▌     |` is described by `Epoch 2`.
fn label(before: &str) -> &str {
    let before = before.trim_end();
    let before = match (before.find("%|"), before.strip_suffix('%')) {
        (Some(at), _) => before[..at].trim_end_matches(|c: char| c.is_ascii_digit()),
        (None, Some(percent)) => percent.trim_end_matches(|c: char| c.is_ascii_digit()),
        (None, None) => before,
    };
    let before = before.trim();
    before.strip_suffix(':').unwrap_or(before).trim()
}

/// `loss=0.2, acc=0.9`; what is not a number is left out.
fn metrics(postfix: &str) -> BTreeMap<String, f64> {
    postfix
        .split(',')
        .filter_map(|entry| {
            let (name, value) = entry.split_once('=')?;
            let value = value.trim();
            let value = number::measured(value.strip_suffix('%').unwrap_or(value))?;
            Some((name.trim().to_owned(), value))
        })
        .take(MAX_METRICS)
        .collect()
}
