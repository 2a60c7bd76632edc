//! Values as programs print them: amounts with their unit, rates, times. Anything odd is no value.

use crate::progress::number;

/// A number that may carry its unit.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::progress) struct Amount {
    /// How many.
    pub value: f64,
    /// Of what, where that stands behind the number.
    pub unit: Option<String>,
}

/// How fast it goes, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::progress) struct Rate {
    /// Units per second; unknown where the program does not know it yet.
    pub per_second: Option<f64>,
    /// Units of what.
    pub unit: Option<String>,
    /// Its unit counts by 1024, and then all counts beside it do.
    pub in_1024: bool,
}

impl Rate {
    /// The rate where its unit was taken together with the prefix before it: `20.6ktok/s`.
    pub(in crate::progress) fn in_whole_units(self, base: f64) -> Self {
        let Some((power, unit)) = self.unit.as_deref().and_then(|unit| {
            let power = "kMGTP".find(unit.chars().next()?)?;
            Some((i32::try_from(power).ok()? + 1, &unit[1..])).filter(|(_, unit)| !unit.is_empty())
        }) else {
            return self;
        };
        Self {
            per_second: self
                .per_second
                .map(|it| number::scaled(it, base.powi(power))),
            unit: Some(unit.to_owned()),
            in_1024: self.in_1024,
        }
    }
}

/// `12`, `1,234.5`, `3.4M`, `3.4 MiB`, `450it`; `base` is what a prefix means that does not say `iB`.
pub(in crate::progress) fn amount(text: &str, base: f64) -> Option<Amount> {
    let (number, rest) = leading(text.trim())?;
    let (factor, unit) = prefixed(rest.trim(), base)?;
    Some(Amount {
        value: number::scaled(number, factor),
        unit: (!unit.is_empty()).then(|| plain_unit(unit).to_owned()),
    })
}

/// `45`, `45.2` or `45.2 %`, never more than 100.
pub(in crate::progress) fn percent(text: &str) -> Option<f64> {
    let text = text.trim();
    let number = text.strip_suffix('%').unwrap_or(text);
    number::plain(number.trim_end()).filter(|&value| value <= 100.0)
}

/// `35.9it/s`, `3.1 MB/s`, `1.3s/it`, `35.9`, `?it/s`
pub(in crate::progress) fn rate(text: &str, base: f64) -> Rate {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && !"?.,-".contains(c))
        .unwrap_or(text.len());
    let (number, per) = text.split_at(end);
    let value = leading(number)
        .filter(|(value, rest)| *value > 0.0 && rest.is_empty())
        .map(|(value, _)| value);
    let per = per.trim();
    if let Some(unit) = per.strip_prefix("s/") {
        return Rate {
            per_second: value.map(|seconds| 1.0 / seconds),
            unit: named(unit),
            in_1024: unit.trim() == "iB",
        };
    }
    let unit = ["/s", "/sec", "/second"]
        .iter()
        .find_map(|end| per.strip_suffix(end))
        .unwrap_or(per);
    let unit = unit.trim();
    let (factor, unit) = prefixed(unit, base).unwrap_or((1.0, unit));
    Rate {
        per_second: value.map(|value| number::scaled(value, factor)),
        unit: named(unit),
        in_1024: unit == "iB",
    }
}

/// `1.3s/it`, `350ms/step`, `250us/step`, `4s`, `4`: as units per second.
pub(in crate::progress) fn pace(text: &str) -> Rate {
    let (time, unit) = text.split_once('/').unwrap_or((text, ""));
    let seconds = seconds(time).filter(|&seconds| seconds > 0.0);
    Rate {
        per_second: seconds.map(|seconds| 1.0 / seconds),
        unit: named(unit),
        in_1024: false,
    }
}

/// `00:12`, `1:02:03.5`, `1 day, 2:03:04`, `1m02s`, `1h 2m`, `350ms`, `3.5`
pub(in crate::progress) fn seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Some((days, clock)) = text.split_once("day") {
        let days = number::plain(days.trim())?;
        let clock = clock.trim_start_matches(['s', ',', ' ']);
        return Some(days * 86_400.0 + seconds(clock).unwrap_or(0.0));
    }
    if text.contains(':') {
        return clock(text);
    }
    if let Some(seconds) = number::plain(text) {
        return Some(seconds);
    }
    spelled(text)
}

/// `00:12`, `1:02:03` or `00:00:12.34`
fn clock(text: &str) -> Option<f64> {
    match text.split_once('.') {
        Some((whole, fraction)) => {
            Some(number::clock(whole)? + number::plain(&format!("0.{fraction}"))?)
        }
        None => number::clock(text),
    }
}

/// `1h 2m`, `1m02s`, `350ms`: each number with its word.
fn spelled(text: &str) -> Option<f64> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = number::leading(rest)?;
        let after = after.trim_start();
        let end = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (word, more) = after.split_at(end);
        total += number
            * match word {
                "d" | "day" | "days" => 86_400.0,
                "h" | "hr" | "hrs" | "hour" | "hours" => 3_600.0,
                "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
                "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" | "μs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = more.trim_start_matches([' ', ',']);
    }
    (!text.is_empty()).then_some(total)
}

/// The number a text begins with, thousands set apart by commas or `_` allowed, and the rest.
fn leading(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && !".,_".contains(c))
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    if !number.contains([',', '_']) {
        return Some((number::plain(number)?, rest));
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let mut groups = whole.split([',', '_']);
    let first = groups.next()?;
    let is_grouped = (1..=3).contains(&first.len()) && groups.all(|group| group.len() == 3);
    let digits: String = whole.chars().filter(char::is_ascii_digit).collect();
    let value = number::plain(&format!("{digits}.{fraction}"))?;
    is_grouped.then_some((value, rest))
}

/// Splits `MiB` into its factor and its unit; none where the unit is no word.
fn prefixed(text: &str, base: f64) -> Option<(f64, &str)> {
    let is_word = text
        .chars()
        .all(|c| c.is_alphabetic() || " _-./".contains(c));
    if !is_word {
        return None;
    }
    let power = match text.chars().next() {
        Some('k' | 'K') => 1,
        Some('M') => 2,
        Some('G') => 3,
        Some('T') => 4,
        Some('P') => 5,
        _ => return Some((1.0, text)),
    };
    let unit = &text[1..];
    match unit {
        "iB" | "i" | "ibit" | "iB/s" => Some((1024_f64.powi(power), unit)),
        "" | "B" | "b" | "it" | "bit" | "bits" | "bytes" => Some((base.powi(power), unit)),
        _ => Some((1.0, text)),
    }
}

/// What a unit is called in one word.
pub(in crate::progress) fn plain_unit(unit: &str) -> &str {
    match unit.trim() {
        "iB" | "B" | "byte" | "bytes" | "Bytes" => "B",
        unit => unit,
    }
}

fn named(unit: &str) -> Option<String> {
    let unit = plain_unit(unit);
    (!unit.is_empty()).then(|| unit.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (text, value, unit) in [
            ("12", 12.0, None),
            ("1,234.5", 1234.5, None),
            ("1_234_567", 1_234_567.0, None),
            ("3.4M", 3.4e6, None),
            ("3.4 MiB", 3_565_158.0, Some("B")),
            ("512kB", 512e3, Some("B")),
            ("450it", 450.0, Some("it")),
            ("30 examples", 30.0, Some("examples")),
            ("5 keys", 5.0, Some("keys")),
            ("17 bytes", 17.0, Some("B")),
        ] {
            let unit = unit.map(str::to_owned);
            assert_eq!(amount(text, 1000.0), Some(Amount { value, unit }), "{text}");
        }
        assert_eq!(amount("2k", 1024.0).unwrap().value, 2048.0);
        for text in [
            "",
            "x",
            "-1",
            "1e9",
            "12,34",
            "1.2.3",
            "5%",
            "1234567890123456",
        ] {
            assert_eq!(amount(text, 1000.0), None, "{text}");
        }
    }

    #[test]
    fn rates_and_paces() {
        for (text, value, unit) in [
            ("35.9it/s", Some(35.9), Some("it")),
            ("3.1 MB/s", Some(3.1e6), Some("B")),
            ("1.00MiB/s", Some(1_048_576.0), Some("B")),
            ("4.00s/it", Some(0.25), Some("it")),
            ("?it/s", None, Some("it")),
            ("2.5 examples/s", Some(2.5), Some("examples")),
            ("35.2", Some(35.2), None),
            ("1,200 rows/sec", Some(1200.0), Some("rows")),
            ("", None, None),
        ] {
            let rate = rate(text, 1000.0);
            assert_eq!(
                (rate.per_second, rate.unit.as_deref()),
                (value, unit),
                "{text}"
            );
        }
        let whole = rate("20.6ktok/s", 1000.0).in_whole_units(1000.0);
        assert_eq!(
            (whole.per_second, whole.unit.as_deref()),
            (Some(20_600.0), Some("tok"))
        );
        for (text, value, unit) in [
            ("0.5s/it", Some(2.0), Some("it")),
            ("250ms/step", Some(4.0), Some("step")),
            ("4s", Some(0.25), None),
            ("0s", None, None),
            ("?", None, None),
        ] {
            let rate = pace(text);
            assert_eq!(
                (rate.per_second, rate.unit.as_deref()),
                (value, unit),
                "{text}"
            );
        }
    }

    #[test]
    fn times() {
        for (text, expected) in [
            ("00:12", Some(12.0)),
            ("1:02:03", Some(3723.0)),
            ("00:00:12.50", Some(12.5)),
            ("1 day, 2:03:04", Some(93_784.0)),
            ("2 days", Some(172_800.0)),
            ("12s", Some(12.0)),
            ("1m02s", Some(62.0)),
            ("1h 2m", Some(3720.0)),
            ("3 min 5 sec", Some(185.0)),
            ("250ms", Some(0.25)),
            ("3.5", Some(3.5)),
            ("?", None),
            ("--:--", None),
            ("-:--:--", None),
            ("unknown", None),
            ("", None),
            ("1:2:3:4", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
