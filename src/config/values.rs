//! Values: how a time, a size, a signal are written in a file, and what is said where they are not.

use jiff::SignedDuration;
use rustix::process::Signal;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// A field of the settings, by what may be written there.
pub(super) enum Field<'a> {
    /// An absolute path.
    Path(&'a mut PathBuf),
    /// Any text.
    Text(&'a mut String),
    /// A whole number, no less than that.
    Count(&'a mut u32, u32),
    /// A whole number that may be large.
    Large(&'a mut u64),
    /// A size, with its unit.
    Bytes(&'a mut u64),
    /// A length of time, with its unit.
    Time(&'a mut Duration),
    /// A signal, by name or number.
    Signal(&'a mut i32),
    /// One of some names.
    Choice(&'a mut dyn Choice),
    /// Yes or no.
    Flag(&'a mut bool),
    /// A list of names.
    Names(&'a mut Vec<String>),
}

/// Something that is chosen by its name.
pub(super) trait Named: Copy + PartialEq + 'static {
    /// All that there is, by name.
    const ALL: &'static [(&'static str, Self)];
}

/// A field that holds something [`Named`].
pub(super) trait Choice {
    /// All names.
    fn names(&self) -> Vec<&'static str>;
    /// The name of what is chosen.
    fn name(&self) -> &'static str;
    /// Chooses what is called so; whether there is such a thing.
    fn choose(&mut self, name: &str) -> bool;
}

impl<T: Named> Choice for T {
    fn names(&self) -> Vec<&'static str> {
        T::ALL.iter().map(|(name, _)| *name).collect()
    }

    fn name(&self) -> &'static str {
        let found = T::ALL.iter().find(|(_, known)| known == self);
        found.map_or("", |(name, _)| *name)
    }

    fn choose(&mut self, name: &str) -> bool {
        let found = T::ALL.iter().find(|(known, _)| *known == name);
        found.is_some_and(|(_, known)| {
            *self = *known;
            true
        })
    }
}

/// The signals that ask a program to end, or mean something to it.
const SIGNALS: [(&str, Signal); 8] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("TERM", Signal::TERM),
    ("WINCH", Signal::WINCH),
    ("ALRM", Signal::ALARM),
];

/// Units of sizes; the first one that divides a size is the one it is shown in.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// The longest time anybody may set: ten years.
const LONGEST: Duration = Duration::from_hours(24 * 3_660);

/// Sets a field to what is written; says what should have been written where that makes no sense.
pub(super) fn set(field: Field<'_>, value: &DeValue<'_>) -> Result<(), String> {
    match field {
        Field::Path(path) => {
            let text = string(value, "a path, as in \"/var/lib/stoked\"")?;
            if !text.starts_with('/') {
                return Err(format!(
                    "\"{text}\" is not an absolute path: begin it with /"
                ));
            }
            *path = text.into();
        }
        Field::Text(text) => string(value, "a text, as in \"info\"")?.clone_into(text),
        Field::Count(count, least) => {
            let wanted = format!("a whole number from {least} to {}", u32::MAX);
            let number = integer(value, &wanted)?;
            let number = u32::try_from(number).ok().filter(|number| *number >= least);
            *count = number.ok_or_else(|| not(value, &wanted))?;
        }
        Field::Large(count) => {
            let wanted = "a whole number from 0 on";
            *count = u64::try_from(integer(value, wanted)?).map_err(|_| not(value, wanted))?;
        }
        Field::Bytes(bytes) => {
            let wanted = "a size with its unit, as in \"256MiB\"";
            *bytes = size(string(value, wanted)?).ok_or_else(|| not(value, wanted))?;
        }
        Field::Time(time) => {
            let wanted = "a length of time with its unit, as in \"10s\", \"1h 30m\" or \"2d\"";
            *time = duration(string(value, wanted)?).ok_or_else(|| not(value, wanted))?;
        }
        Field::Signal(signal) => {
            let wanted = "a signal by name, as in \"TERM\", or by number";
            *signal = signal_number(value).ok_or_else(|| not(value, wanted))?;
        }
        Field::Choice(choice) => {
            let names: Vec<String> = choice
                .names()
                .iter()
                .map(|it| format!("\"{it}\""))
                .collect();
            let wanted = match names.split_last() {
                Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
                _ => names.concat(),
            };
            let text = string(value, &wanted)?;
            if !choice.choose(text) {
                return Err(not(value, &wanted));
            }
        }
        Field::Flag(flag) => {
            *flag = value.as_bool().ok_or_else(|| not(value, "true or false"))?;
        }
        Field::Names(names) => {
            let wanted = "a list of texts, as in [\"TMUX*\", \"OLDPWD\"]";
            let items = value.as_array().ok_or_else(|| not(value, wanted))?;
            let texts = items
                .iter()
                .map(|item| string(item.get_ref(), wanted).map(str::to_owned));
            *names = texts.collect::<Result<_, _>>()?;
        }
    }
    Ok(())
}

/// What is in a field, as it would be written.
pub(super) fn text(field: &Field<'_>) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    match field {
        Field::Path(path) => quoted(&path.to_string_lossy()),
        Field::Text(text) => quoted(text),
        Field::Count(count, _) => count.to_string(),
        Field::Large(count) => count.to_string(),
        Field::Bytes(bytes) => quoted(&size_text(**bytes)),
        Field::Time(time) => {
            let span = SignedDuration::try_from(**time).unwrap_or(SignedDuration::MAX);
            quoted(&format!("{span:#}"))
        }
        Field::Signal(signal) => SIGNALS
            .iter()
            .find(|(_, known)| known.as_raw() == **signal)
            .map_or_else(|| signal.to_string(), |(name, _)| quoted(name)),
        Field::Choice(choice) => quoted(choice.name()),
        Field::Flag(flag) => flag.to_string(),
        Field::Names(names) => {
            let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
            format!("[{}]", names.join(", "))
        }
    }
}

fn string<'v>(value: &'v DeValue<'_>, wanted: &str) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| not(value, wanted))
}

fn integer(value: &DeValue<'_>, wanted: &str) -> Result<i64, String> {
    let number = value.as_integer().ok_or_else(|| not(value, wanted))?;
    i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| not(value, wanted))
}

/// "3.5 is not a whole number": the value as it is written, where it is short.
fn not(value: &DeValue<'_>, wanted: &str) -> String {
    let written = match value {
        DeValue::String(text) => format!("\"{}\"", text.escape_debug()),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            format!("this {}", value.type_str())
        }
    };
    format!("{written} is not right: write {wanted}")
}

fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let (_, bytes) = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<u64>().ok()?.checked_mul(*bytes)
}

fn size_text(bytes: u64) -> String {
    let fits = |(_, unit): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*unit);
    let (name, unit) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
    format!("{}{name}", bytes / unit)
}

fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    // To a calendar a day is no fixed length of time, but to somebody who waits it is.
    let days = text.strip_suffix("days").or(text.strip_suffix('d'));
    let days = days.and_then(|days| days.trim().parse::<u64>().ok());
    let time = match days {
        Some(days) => Duration::from_secs(days.checked_mul(86_400)?),
        None => Duration::try_from(text.parse::<SignedDuration>().ok()?).ok()?,
    };
    (time <= LONGEST).then_some(time)
}

fn signal_number(value: &DeValue<'_>) -> Option<i32> {
    if let Ok(number) = integer(value, "") {
        return i32::try_from(number)
            .ok()
            .filter(|number| (1..=64).contains(number));
    }
    let upper = value.as_str()?.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let (_, signal) = SIGNALS.iter().find(|(known, _)| *known == name)?;
    Some(signal.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_as_they_are_shown() {
        for (text, bytes) in [
            ("0B", 0),
            ("1B", 1),
            ("64KiB", 65_536),
            ("256MiB", 256 << 20),
            ("3TiB", 3 << 40),
        ] {
            assert_eq!(size(text), Some(bytes));
            assert_eq!(size_text(bytes), text);
        }
        assert_eq!(size("2 gb"), Some(2_000_000_000));
        for wrong in [
            "",
            "1",
            "MiB",
            "-1B",
            "1.5MiB",
            "1XiB",
            "99999999999TiB",
            "1 Mi B",
        ] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
        for (text, seconds) in [
            ("10s", 10),
            ("1h 30m", 5_400),
            ("2d", 172_800),
            ("90m", 5_400),
        ] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in [
            "",
            "10",
            "-5s",
            "s",
            "1y",
            "99999d",
            "99999999999999999999d",
            "1h30",
        ] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
