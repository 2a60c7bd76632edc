//! Numbers as programs print them: counts, scaled sizes, clocks. Anything odd is no number.

/// More digits than this are an identifier, not a count.
const MAX_DIGITS: usize = 15;

/// A count such as `12` or `0.5`: digits with at most one point, no sign, no exponent.
pub(super) fn plain(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() + fraction.len() > MAX_DIGITS {
        return None;
    }
    text.parse().ok()
}

/// A measured value such as `-1.5e-05`; what is not finite is no value.
pub(super) fn measured(text: &str) -> Option<f64> {
    let starts_well = text
        .trim_start_matches(['+', '-'])
        .starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let value: f64 = starts_well.then(|| text.parse().ok())??;
    value.is_finite().then_some(value)
}

/// `12/340`: how many of how many, never more than all.
pub(super) fn ratio(text: &str) -> Option<(f64, f64)> {
    let (done, total) = text.split_once('/')?;
    fits(plain(done.trim())?, plain(total.trim())?)
}

/// Both numbers, if the first can be a part of the second.
pub(super) fn fits(done: f64, total: f64) -> Option<(f64, f64)> {
    (total > 0.0 && done <= total).then_some((done, total))
}

/// `45%` or `45.2 %`, never more than 100.
pub(super) fn percent(text: &str) -> Option<f64> {
    plain(text.trim().strip_suffix('%')?.trim_end()).filter(|&value| value <= 100.0)
}

/// Splits `512kB` into its number and the rest.
pub(super) fn leading(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    Some((plain(number)?, rest))
}

/// So many of a scaled unit; whole, because a bar shows three digits and not a fraction of a byte.
pub(super) fn scaled(number: f64, factor: f64) -> f64 {
    if factor > 1.0 {
        (number * factor).round()
    } else {
        number
    }
}

/// `00:12` or `1:00:12` in seconds.
pub(super) fn clock(text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    let mut parts = 0;
    for part in text.split(':') {
        let is_number = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_number || part.len() > 6 || (parts > 0 && part.len() != 2) {
            return None;
        }
        seconds = seconds * 60.0 + part.parse::<f64>().ok()?;
        parts += 1;
    }
    (2..=3).contains(&parts).then_some(seconds)
}
