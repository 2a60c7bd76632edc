//! Counts as people read them: bytes in the unit that fits, seconds as lengths of time, anything else as it is.

use crate::wire::progress::ProgressView;
use crate::wire::words::{self, duration, harmless};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure<'a> {
    Bytes,
    /// Of the job's own time, as of a film.
    Seconds,
    /// Steps that have no name of their own.
    Steps,
    Other(&'a str),
}

/// How much is done, of how much: `446/600 MiB`, `8s/2m`, `120/500 images`, `step 3/7`.
#[must_use]
pub fn done(progress: &ProgressView) -> Option<String> {
    let (step, total) = (progress.step?, progress.total_steps);
    Some(match measure(progress) {
        Measure::Bytes => bytes(step, total),
        Measure::Seconds => match total {
            Some(total) => format!("{}/{}", seconds(step), seconds(total)),
            None => seconds(step),
        },
        Measure::Steps => format!("step {}", ratio(step, total)),
        Measure::Other(unit) => format!("{} {}", ratio(step, total), harmless(unit)),
    })
}

/// How fast it goes: `44 MiB/s`, `1.5x` of a film, `9.9 it/s`.
#[must_use]
pub fn rate(progress: &ProgressView) -> Option<String> {
    let rate = progress.rate?;
    Some(match measure(progress) {
        Measure::Bytes => {
            let scale = Scale::of(rate);
            let value = rate / scale.size;
            let value = if value.abs() < 10.0 {
                (value * 10.0).round() / 10.0
            } else {
                value.round()
            };
            format!("{} {}/s", words::number(value), scale.name)
        }
        Measure::Seconds => format!("{}x", words::rate(rate)),
        Measure::Steps => format!("{} {}/s", words::rate(rate), unit_name(progress)),
        Measure::Other(unit) => format!("{} {}/s", words::rate(rate), harmless(unit)),
    })
}

/// One number of many.
#[must_use]
pub fn ratio(part: f64, whole: Option<f64>) -> String {
    match whole {
        Some(whole) => format!("{}/{}", words::number(part), words::number(whole)),
        None => words::number(part),
    }
}

fn measure(progress: &ProgressView) -> Measure<'_> {
    match progress.unit.as_deref().map(str::trim) {
        Some("B" | "byte" | "bytes" | "Bytes") => Measure::Bytes,
        Some("s" | "sec" | "second" | "seconds") => Measure::Seconds,
        None | Some("" | "it" | "step" | "steps") => Measure::Steps,
        Some(unit) => Measure::Other(unit),
    }
}

fn unit_name(progress: &ProgressView) -> &str {
    let unit = progress.unit.as_deref().map(str::trim);
    unit.filter(|unit| !unit.is_empty()).unwrap_or("it")
}

/// A power of 1024.
struct Scale {
    size: f64,
    name: &'static str,
}

impl Scale {
    /// The one in which `count` bytes are a number of at most four digits.
    fn of(count: f64) -> Self {
        const NAMES: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let (mut size, mut at) = (1.0, 0);
        while count.abs() / size >= 1023.5 && at + 1 < NAMES.len() {
            size *= 1024.0;
            at += 1;
        }
        Self {
            size,
            name: NAMES[at],
        }
    }
}

/// Both in the unit of the whole. What is done is never rounded up to what there is.
fn bytes(done: f64, total: Option<f64>) -> String {
    let scale = Scale::of(total.unwrap_or(done));
    let part = in_scale(done, &scale, f64::floor);
    match total {
        Some(total) => {
            let total = in_scale(total, &scale, f64::round);
            format!("{part}/{total} {}", scale.name)
        }
        None => format!("{part} {}", scale.name),
    }
}

/// Three digits, as changes all the time; bytes have no parts.
fn in_scale(count: f64, scale: &Scale, round: fn(f64) -> f64) -> String {
    let value = count / scale.size;
    let digits = match value.abs() {
        _ if scale.size <= 1.0 => 1.0,
        0.0..10.0 => 100.0,
        10.0..100.0 => 10.0,
        _ => 1.0,
    };
    words::number(round(value * digits) / digits)
}

/// A length of time without parts that are nothing.
fn seconds(count: f64) -> String {
    if count == 0.0 {
        return "0s".to_owned();
    }
    let text = duration(count);
    for (rest, unit) in [("m00s", 'm'), ("h00m", 'h'), ("d0h", 'd')] {
        if let Some(whole) = text.strip_suffix(rest) {
            return format!("{whole}{unit}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(unit: Option<&str>, step: f64, total: Option<f64>, rate_now: f64) -> [String; 2] {
        let progress = ProgressView {
            step: Some(step),
            total_steps: total,
            rate: Some(rate_now),
            unit: unit.map(str::to_owned),
            ..ProgressView::default()
        };
        [done(&progress).unwrap(), rate(&progress).unwrap()]
    }

    #[test]
    fn counts_are_shown_in_what_they_count() {
        for (unit, step, total, rate, words) in [
            (
                Some("B"),
                468_000_768.0,
                Some(629_145_600.0),
                46_349_205.0,
                ["446/600 MiB", "44 MiB/s"],
            ),
            (
                Some("B"),
                629_145_599.0,
                Some(629_145_600.0),
                900.4,
                ["599/600 MiB", "900 B/s"],
            ),
            (
                Some("bytes"),
                188_743_680.0,
                None,
                1_572_864.0,
                ["180 MiB", "1.5 MiB/s"],
            ),
            (
                Some("B"),
                0.0,
                Some(3.4 * 1_073_741_824.0),
                0.0,
                ["0/3.4 GiB", "0 B/s"],
            ),
            (Some("B"), 511.0, None, 1023.7, ["511 B", "1 KiB/s"]),
            (Some("s"), 8.0, Some(120.0), 4.25, ["8s/2m", "4.25x"]),
            (Some("s"), 0.0, Some(7200.0), 1.0, ["0s/2h", "1x"]),
            (
                Some("images"),
                120.0,
                Some(500.0),
                19.42,
                ["120/500 images", "19.4 images/s"],
            ),
            (Some("e\u{1b}"), 1.0, None, 1.0, ["1 e\\e", "1 e\\e/s"]),
            (Some("it"), 3.0, Some(7.0), 9.876, ["step 3/7", "9.88 it/s"]),
            (None, 3.0, None, 123.4, ["step 3", "123 it/s"]),
        ] {
            assert_eq!(shown(unit, step, total, rate), words, "{unit:?} {step}");
        }
    }
}
