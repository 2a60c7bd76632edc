//! Numbers as bytes: whole numbers in as few bytes as they need, and columns of them.
//!
//! A column of neighbouring values is stored as differences. What they all have in common (pages of 4096 bytes, ticks of
//! 10 ms) is divided out, and runs of nothing take two bytes. Counters that grow steadily are stored as differences
//! of differences where that is shorter.

/// What is written piece by piece.
#[derive(Debug, Default)]
pub(super) struct Sink(pub(super) Vec<u8>);

impl Sink {
    /// A number, seven bits per byte, the lowest first.
    pub(super) fn number(&mut self, mut value: u64) {
        loop {
            let [low, ..] = (value & 0x7f).to_le_bytes();
            value >>= 7;
            if value == 0 {
                self.0.push(low);
                return;
            }
            self.0.push(low | 0x80);
        }
    }

    /// A number that may be below nothing.
    pub(super) fn signed(&mut self, value: i64) {
        self.number(zigzag(value));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

/// What is read piece by piece. Every call gives `None` where the bytes make no sense.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a>(pub(super) &'a [u8]);

impl<'a> Source<'a> {
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(first & 0x7f).checked_shl(shift)?;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        self.number().map(unzigzag)
    }

    /// A count of things of which each takes a part of a byte at least.
    pub(super) fn count(&mut self, most: usize) -> Option<usize> {
        usize::try_from(self.number()?)
            .ok()
            .filter(|it| *it <= most)
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.count(self.0.len())?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

pub(super) fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Writes a column; how long it is, its reader must know.
pub(super) fn write_column(sink: &mut Sink, values: &[i64]) {
    let once = differences(values);
    let twice = differences(once.get(1..).unwrap_or_default());
    let first = [once.first().copied().unwrap_or(0)];
    let steady: Vec<i64> = first.into_iter().chain(twice).collect();
    let mut plain = Sink::default();
    write_differences(&mut plain, 0, &once);
    let mut other = Sink::default();
    write_differences(&mut other, 1, &steady);
    let shorter = if other.0.len() < plain.0.len() {
        other
    } else {
        plain
    };
    sink.0.extend(shorter.0);
}

/// Reads a column of so many values.
pub(super) fn read_column(source: &mut Source<'_>, count: usize) -> Option<Vec<i64>> {
    let head = source.number()?;
    let (order, divisor) = (head & 1, (head >> 1).cast_signed());
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let value = source.signed()?;
        if value != 0 || values.is_empty() {
            let scale = if values.is_empty() { 1 } else { divisor };
            values.push(value.wrapping_mul(scale));
            continue;
        }
        let run = source.count(count - values.len() - 1)?;
        values.resize(values.len() + run + 1, 0);
    }
    if order == 1 {
        sum(values.get_mut(1..)?);
    }
    sum(&mut values);
    Some(values)
}

/// The first value, and what each differs by from the one before.
fn differences(values: &[i64]) -> Vec<i64> {
    let mut before = 0;
    let differences = values.iter().map(|value| {
        let difference = value.wrapping_sub(before);
        before = *value;
        difference
    });
    differences.collect()
}

fn sum(differences: &mut [i64]) {
    let mut total = 0_i64;
    for value in differences {
        total = total.wrapping_add(*value);
        *value = total;
    }
}

fn write_differences(sink: &mut Sink, order: u64, differences: &[i64]) {
    let Some((first, rest)) = differences.split_first() else {
        sink.number(order);
        return;
    };
    let divisor = rest
        .iter()
        .fold(0, |all, it| divisor(all, it.unsigned_abs()));
    // Larger ones would not fit beside the order; there are none where values are sane.
    let divisor = i64::try_from(divisor)
        .ok()
        .filter(|it| (1..1 << 62).contains(it));
    let divisor = divisor.unwrap_or(1);
    sink.number(divisor.cast_unsigned() << 1 | order);
    sink.signed(*first);
    let mut rest = rest.iter().peekable();
    while let Some(value) = rest.next() {
        sink.signed(value / divisor);
        if *value == 0 {
            let mut run = 0_u64;
            while rest.next_if(|next| **next == 0).is_some() {
                run += 1;
            }
            sink.number(run);
        }
    }
}

/// The largest number that divides both; of nothing and a number that number.
pub(super) fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(values: &[i64]) -> Vec<u8> {
        let mut sink = Sink::default();
        write_column(&mut sink, values);
        sink.0
    }

    #[test]
    fn what_hardly_changes_takes_hardly_any_room() {
        assert!(written(&[1 << 40; 300]).len() <= 11);
        let steady: Vec<i64> = (0..300).map(|at| 1_000_000 + at * 4_096).collect();
        assert!(written(&steady).len() <= 12, "{}", written(&steady).len());
        let pages: Vec<i64> = (0..300).map(|at| (at * 7 % 11) * 4_096).collect();
        assert!(written(&pages).len() <= 310, "a byte for each");
    }

    proptest! {
        #[test]
        fn columns_read_back(values in prop::collection::vec(prop_oneof![any::<i64>(), -300_i64..300, Just(0)], 0..200)) {
            let bytes = written(&values);
            let mut source = Source(&bytes);
            prop_assert_eq!(read_column(&mut source, values.len()), Some(values));
            prop_assert!(source.0.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0_usize..400) {
            let _some = read_column(&mut Source(&bytes), count);
            let mut source = Source(&bytes);
            while source.number().is_some() {}
        }

        #[test]
        fn numbers_read_back(value in any::<u64>(), signed in any::<i64>()) {
            let mut sink = Sink::default();
            sink.number(value);
            sink.signed(signed);
            let mut source = Source(&sink.0);
            prop_assert_eq!((source.number(), source.signed()), (Some(value), Some(signed)));
        }
    }
}
