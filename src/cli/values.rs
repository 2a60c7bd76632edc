//! Values of options: what people write, and what it means.

use crate::wire::values::Span;
use jiff::civil;
use jiff::{Timestamp, Zoned};

/// A length of time: seconds, `90s`, `1h30m`, or as Slurm has it `MM:SS`, `HH:MM:SS`, `D-HH:MM:SS`.
pub fn span(text: &str) -> Result<Span, String> {
    if text.contains(':') {
        return clock_span(text).ok_or_else(|| {
            format!("\"{text}\" is not a length of time: write 90s, 1h30m or HH:MM:SS")
        });
    }
    text.parse().map_err(|error| format!("{error}"))
}

fn clock_span(text: &str) -> Option<Span> {
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (days.parse::<u64>().ok()?, clock),
        None => (0, text),
    };
    let parts: Vec<u64> = clock
        .split(':')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let seconds = match parts[..] {
        [hours, minutes, seconds] => hours
            .checked_mul(3600)?
            .checked_add(minutes * 60 + seconds)?,
        [minutes, seconds] if days == 0 => minutes.checked_mul(60)?.checked_add(seconds)?,
        _ => return None,
    };
    let seconds = days.checked_mul(86_400)?.checked_add(seconds)?;
    // Through the text form, so that the same limits hold.
    seconds.to_string().parse().ok()
}

/// A point in time, from now on: see [`moment_from`].
pub fn moment(text: &str) -> Result<Timestamp, String> {
    moment_from(text, &Zoned::now())
}

/// A point in time: RFC 3339, `+2h`, `now+2h`, `HH:MM` (the next one), or a date with or without a time of day.
pub fn moment_from(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let refuse = || {
        format!(
            "\"{text}\" is not a time: write +2h, 18:30, 2026-12-01T06:00 or 2026-12-01T06:00:00Z"
        )
    };
    if let Some(after) = text.strip_prefix("now").unwrap_or(text).strip_prefix('+') {
        let ms = i64::try_from(span(after)?.ms).map_err(|_| refuse())?;
        let later = now.timestamp() + jiff::SignedDuration::from_millis(ms);
        return Ok(later);
    }
    if text == "now" {
        return Ok(now.timestamp());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let in_zone = |at: civil::DateTime| {
        let zoned = at.to_zoned(now.time_zone().clone());
        zoned.map(|zoned| zoned.timestamp()).map_err(|_| refuse())
    };
    let is_clock = text.contains(':') && !text.contains('-');
    if is_clock && let Ok(clock) = text.parse::<civil::Time>() {
        let today = in_zone(now.date().to_datetime(clock))?;
        if today > now.timestamp() {
            return Ok(today);
        }
        let tomorrow = now.date().tomorrow().map_err(|_| refuse())?;
        return in_zone(tomorrow.to_datetime(clock));
    }
    let date_time = text.parse::<civil::DateTime>();
    in_zone(date_time.map_err(|_| refuse())?)
}

/// A point in time in the past, seen from now: see [`past_from`].
pub fn past(text: &str) -> Result<Timestamp, String> {
    past_from(text, &Zoned::now())
}

/// A point in time in the past: `1h` or `-1h` ago, `HH:MM` (the last one), `today`, `yesterday` (as they began), a date with
/// or without a time of day, or RFC 3339.
pub fn past_from(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let refuse = || {
        format!(
            "\"{text}\" is no time in the past: write 2h (ago), 09:00, today, yesterday, 2026-11-22, \
             2026-11-22T09:00 or 2026-11-22T09:00:00Z"
        )
    };
    let ago = text.strip_prefix('-').unwrap_or(text);
    if !ago.starts_with('+')
        && let Ok(span) = ago.parse::<Span>()
    {
        let ms = i64::try_from(span.ms).map_err(|_| refuse())?;
        let ago = jiff::SignedDuration::from_millis(ms);
        return now.timestamp().checked_sub(ago).map_err(|_| refuse());
    }
    let beginning = |day: civil::Date| {
        let zoned = day.to_zoned(now.time_zone().clone());
        zoned.map(|zoned| zoned.timestamp()).map_err(|_| refuse())
    };
    let yesterday = || now.date().yesterday().map_err(|_| refuse());
    match text {
        "now" => return Ok(now.timestamp()),
        "today" => return beginning(now.date()),
        "yesterday" => return beginning(yesterday()?),
        _ => {}
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let in_zone = |at: civil::DateTime| {
        let zoned = at.to_zoned(now.time_zone().clone());
        zoned.map(|zoned| zoned.timestamp()).map_err(|_| refuse())
    };
    let is_clock = text.contains(':') && !text.contains('-');
    if is_clock && let Ok(clock) = text.parse::<civil::Time>() {
        let today = in_zone(now.date().to_datetime(clock))?;
        if today <= now.timestamp() {
            return Ok(today);
        }
        return in_zone(yesterday()?.to_datetime(clock));
    }
    let date_time = text.parse::<civil::DateTime>();
    in_zone(date_time.map_err(|_| refuse())?)
}

/// `KEY=VALUE`; the value may be empty, the key not.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("\"{text}\" is not of the form KEY=VALUE")),
    }
}

/// `NAME=NUMBER`.
pub fn metric(text: &str) -> Result<(String, f64), String> {
    let (name, value) = key_value(text)?;
    Ok((name, number(&value)?))
}

/// `NAME`, or `NAME=NUMBER`: a step, and what it weighs.
pub fn weighed(text: &str) -> Result<(String, Option<f64>), String> {
    if !text.contains('=') {
        let name = text.trim();
        let missing = || Err("a step needs a name: write --steps prepare,fit=8".to_owned());
        return if name.is_empty() {
            missing()
        } else {
            Ok((name.to_owned(), None))
        };
    }
    let (name, weight) = key_value(text)?;
    Ok((name, Some(amount(&weight)?)))
}

/// A number that is not negative.
pub fn amount(text: &str) -> Result<f64, String> {
    let value = number(text)?;
    if value < 0.0 {
        return Err(format!("{text} is less than nothing"));
    }
    Ok(value)
}

/// The name of a step.
pub fn step_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() {
        return Err("a step needs a name".to_owned());
    }
    Ok(name.to_owned())
}

/// `NAME=PERCENT`.
pub fn part(text: &str) -> Result<(String, f64), String> {
    let (name, value) = key_value(text)?;
    Ok((name, percent(&value)?))
}

/// `3/10`, or `3` alone.
pub fn ratio(text: &str) -> Result<(f64, Option<f64>), String> {
    match text.split_once('/') {
        Some((part, whole)) => {
            let (part, whole) = (amount(part)?, amount(whole)?);
            if whole == 0.0 {
                return Err(
                    "of nothing there is no part: the second number is more than 0".to_owned(),
                );
            }
            if part > whole {
                return Err(format!(
                    "{part} is more than all there are, which is {whole}"
                ));
            }
            Ok((part, Some(whole)))
        }
        None => Ok((amount(text)?, None)),
    }
}

/// Percent, with or without its sign.
pub fn percent(text: &str) -> Result<f64, String> {
    let value = number(text.trim_end_matches('%'))?;
    if (0.0..=100.0).contains(&value) {
        Ok(value)
    } else {
        Err(format!("{text} is not between 0 and 100"))
    }
}

fn number(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("\"{text}\" is not a number")),
    }
}

/// 0–9, with or without a `P` before it.
pub fn priority(text: &str) -> Result<u8, String> {
    let digits = text.strip_prefix(['P', 'p']).unwrap_or(text);
    match digits.parse() {
        Ok(priority @ 0..=9) => Ok(priority),
        _ => Err(format!(
            "\"{text}\" is not a priority: 0 (most urgent) to 9"
        )),
    }
}

/// Bytes: a number with an optional unit, `64M`, `1.5GiB`, `500kB`. K, M, G and T alone are powers of 1024.
pub fn byte_count(text: &str) -> Result<u64, String> {
    let refuse = || format!("\"{text}\" is not a size: write 64M, 1GiB or a number of bytes");
    let at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(at);
    let value: f64 = digits.parse().map_err(|_| refuse())?;
    let unit = unit.trim().to_ascii_lowercase();
    let (unit, base) = match unit.strip_suffix("ib") {
        Some(unit) => (unit, 1024.0_f64),
        None => match unit.strip_suffix('b') {
            Some(unit) if !unit.is_empty() => (unit, 1000.0),
            Some(unit) => (unit, 1024.0),
            None => (unit.as_str(), 1024.0),
        },
    };
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(refuse()),
    };
    let bytes = value * base.powi(power);
    if !(0.0..1e18).contains(&bytes) {
        return Err(refuse());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked"
    )]
    Ok(bytes.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_and_slurm_write_them() {
        for (text, seconds) in [
            ("90", 90),
            ("1h30m", 5400),
            ("10:00", 600),
            ("01:30:00", 5400),
            ("2-12:00:00", 216_000),
        ] {
            assert_eq!(span(text).map(|span| span.ms), Ok(seconds * 1000), "{text}");
        }
        for text in [
            "1:",
            ":",
            "a:b",
            "1-10:00",
            "1:2:3:4",
            "99999999999999999:00:00",
        ] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_in_the_caller_s_zone() {
        let now: Zoned = "2026-11-22T12:00:00+01:00[Europe/Berlin]".parse().unwrap();
        for (text, time) in [
            ("+2h", "2026-11-22T13:00:00Z"),
            ("now+90", "2026-11-22T11:01:30Z"),
            ("now", "2026-11-22T11:00:00Z"),
            ("18:30", "2026-11-22T17:30:00Z"),
            ("06:00", "2026-11-23T05:00:00Z"),
            ("2026-12-01", "2026-11-30T23:00:00Z"),
            ("2026-12-01T06:00", "2026-12-01T05:00:00Z"),
            ("2026-12-01T06:00:00Z", "2026-12-01T06:00:00Z"),
        ] {
            let expected: Timestamp = time.parse().unwrap();
            assert_eq!(moment_from(text, &now), Ok(expected), "{text}");
        }
        for text in ["", "soon", "+soon", "25:00", "2026-13-01", "+-1h"] {
            assert!(moment_from(text, &now).is_err(), "{text}");
        }
    }

    #[test]
    fn the_past_is_before_now() {
        let now: Zoned = "2026-11-22T12:00:00+01:00[Europe/Berlin]".parse().unwrap();
        for (text, time) in [
            ("2h", "2026-11-22T09:00:00Z"),
            ("-90", "2026-11-22T10:58:30Z"),
            ("now", "2026-11-22T11:00:00Z"),
            ("09:00", "2026-11-22T08:00:00Z"),
            ("23:00", "2026-11-21T22:00:00Z"),
            ("today", "2026-11-21T23:00:00Z"),
            ("yesterday", "2026-11-20T23:00:00Z"),
            ("2026-11-01", "2026-10-31T23:00:00Z"),
            ("2026-11-22T09:00:00Z", "2026-11-22T09:00:00Z"),
        ] {
            let expected: Timestamp = time.parse().unwrap();
            assert_eq!(past_from(text, &now), Ok(expected), "{text}");
        }
        for text in ["", "soon", "+2h", "25:00", "2026-13-01", "tomorrow"] {
            let refused = past_from(text, &now).unwrap_err();
            assert!(
                refused.contains("yesterday") && !refused.contains("+2h,"),
                "{refused}"
            );
        }
    }

    #[test]
    fn small_values_are_strict() {
        assert_eq!(key_value("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert!(key_value("=b").is_err() && key_value("A").is_err());
        assert_eq!(metric("loss=0.2"), Ok(("loss".into(), 0.2)));
        assert!(metric("loss=NaN").is_err() && metric("loss").is_err());
        assert_eq!(ratio("3/10"), Ok((3.0, Some(10.0))));
        assert_eq!(ratio("3"), Ok((3.0, None)));
        for text in ["3/", "5/3", "0/0", "-1/3", "-1"] {
            assert!(ratio(text).is_err(), "{text}");
        }
        assert!(step_name(" ").is_err());
        assert_eq!(step_name("fit "), Ok("fit".to_owned()));
        assert_eq!(percent("45%"), Ok(45.0));
        assert!(percent("101").is_err());
        assert_eq!([priority("P0"), priority("9")], [Ok(0), Ok(9)]);
        assert!(priority("10").is_err() && priority("-1").is_err());
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("512", 512),
            ("64M", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("500kB", 500_000),
            ("10b", 10),
        ] {
            assert_eq!(byte_count(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "1X", "-1", "1e99T", "999999999T"] {
            assert!(byte_count(text).is_err(), "{text}");
        }
    }
}
