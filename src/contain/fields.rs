//! Words and numbers out of what the kernel writes, without a copy. Whatever the bytes are, what is not of the expected
//! form is left out.

/// The lines that are not empty.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// The words of a line.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

/// A number that is nothing but digits and fits.
#[must_use]
pub fn number(word: &[u8]) -> Option<u64> {
    let first = *word.first()?;
    if !first.is_ascii_digit() {
        return None;
    }
    word.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The only number of a file that has just one.
#[must_use]
pub fn sole(text: &[u8]) -> Option<u64> {
    number(text.trim_ascii())
}

/// A number that may have a sign, such as a temperature.
#[must_use]
pub fn signed(text: &[u8]) -> Option<i64> {
    let text = text.trim_ascii();
    match text.strip_prefix(b"-") {
        Some(digits) => i64::try_from(number(digits)?).ok().map(|it| -it),
        None => i64::try_from(number(text)?).ok(),
    }
}

/// A number with a point, such as a load.
#[must_use]
pub fn decimal(word: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(word).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

/// The first word of a line, and the number after it.
#[must_use]
pub fn pair(line: &[u8]) -> Option<(&[u8], u64)> {
    let mut words = words(line);
    let key = words.next()?;
    Some((key, number(words.next()?)?))
}

/// Text of one line, as it is told: what is no text is made harmless.
#[must_use]
pub fn name(text: &[u8]) -> String {
    String::from_utf8_lossy(text.trim_ascii()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_or_left_out() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for odd in [
            &b""[..],
            b"18446744073709551616",
            b"-1",
            b"1.5",
            b"max",
            b"+1",
        ] {
            assert_eq!(number(odd), None, "{odd:?}");
        }
        assert_eq!(signed(b" -12000\n"), Some(-12000));
        assert_eq!(decimal(b"0.52"), Some(0.52));
        assert_eq!(decimal(b"nan"), None);
        assert_eq!(pair(b"MemTotal:   123 kB"), Some((&b"MemTotal:"[..], 123)));
    }

    proptest! {
        #[test]
        fn any_bytes_do(text in prop::collection::vec(any::<u8>(), 0..200)) {
            for line in lines(&text) {
                let _ = (pair(line), sole(line), signed(line), decimal(line));
            }
        }

        #[test]
        fn every_number_reads_back(value: u64) {
            prop_assert_eq!(number(value.to_string().as_bytes()), Some(value));
        }
    }
}
