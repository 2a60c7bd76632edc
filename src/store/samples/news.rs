//! News: what came of an entity since the last frame of a log, told by how it differs from what the log has already.
//!
//! A frame holds a few points of each series, so what a chunk says anew each time (which metrics, since when, in what
//! steps) would be most of it. Here it is said where it changes only, and values that stand still take nothing.

use crate::store::samples::bytes::{
    Sink, Source, divisor, read_column, unzigzag, write_column, zigzag,
};
use crate::store::samples::chunk::{ABSENT, MOST_POINTS};
use crate::store::samples::head::SLOT_MS;

/// So many values, one metric after another, are each as the one before; how many more follows.
const SAME: u64 = 0;
/// So many are missing; how many more follows.
const MISSING: u64 = 1;
/// From here on the differences of this metric are told as multiples of what follows.
const DIVISOR: u64 = 2;
/// The difference follows: this one is too large for what is left of the numbers.
const LARGE: u64 = 3;
/// What a folded difference is moved by; that of nothing would be [`SAME`].
const MOVED: u64 = 3;

/// Most metrics that an entity has in a log: a few times as many as there are.
const MOST_METRICS: usize = 256;

/// Values of one metric, by its number in the log, point by point, or [`ABSENT`].
pub(super) type Values = (u64, Vec<i64>);

/// What a log has of an entity.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known(Vec<Last>);

#[derive(Clone, Debug, PartialEq)]
struct Last {
    /// Of the metric.
    number: u64,
    /// Its newest value; nothing before there is one.
    value: i64,
    /// Whether there is one.
    has_begun: bool,
    /// What all its differences had in common; 0 where there were none.
    divisor: u64,
}

impl Known {
    /// Writes the values of an entity. `times` are those of the entity before in this frame, or none: mostly all were
    /// looked at together.
    pub(super) fn write(
        &mut self,
        sink: &mut Sink,
        times: &[i64],
        before: &[i64],
        news: &[(u64, &[i64])],
    ) {
        let has_times = times != before;
        let is_as_before = |(last, (number, _)): (&Last, &(u64, &[i64]))| last.number == *number;
        let has_metrics = self.0.len() != news.len() || !self.0.iter().zip(news).all(is_as_before);
        sink.number(u64::from(has_times) | u64::from(has_metrics) << 1);
        if has_times {
            sink.number(times.len() as u64);
            write_column(sink, times);
        }
        if has_metrics {
            self.turn_to(news.iter().map(|(number, _)| *number).collect());
            sink.number(news.len() as u64);
            for (number, _) in news {
                sink.number(*number);
            }
        }
        let mut run = Run::default();
        for (last, (_, values)) in self.0.iter_mut().zip(news) {
            last.write(sink, &mut run, values);
        }
        run.end(sink);
    }

    /// What was written; the times too where they are not those before. `None` where it makes no sense.
    pub(super) fn read(
        &mut self,
        source: &mut Source<'_>,
        times: &mut Vec<i64>,
    ) -> Option<Vec<Values>> {
        let flags = source.number().filter(|it| *it < 4)?;
        if flags & 1 != 0 {
            let count = source.count(MOST_POINTS)?;
            *times = read_column(source, count)?;
            if !times.iter().all(|time| (0..SLOT_MS).contains(time)) {
                return None;
            }
        }
        if flags & 2 != 0 {
            let count = source.count(MOST_METRICS)?;
            let numbers: Option<Vec<u64>> = (0..count).map(|_| source.number()).collect();
            self.turn_to(numbers?);
        }
        let (mut run, mut left) = (0, times.len() * self.0.len());
        let mut is_missing = false;
        let mut news = Vec::with_capacity(self.0.len());
        for last in &mut self.0 {
            let mut values = Vec::with_capacity(times.len());
            while values.len() < times.len() {
                if run == 0 {
                    let word = source.number()?;
                    if word > MISSING {
                        if last.read(source, word)? {
                            values.push(last.value);
                            left -= 1;
                        }
                        continue;
                    }
                    is_missing = word == MISSING;
                    run = source.count(left - 1)? + 1;
                }
                let these = run.min(times.len() - values.len());
                let value = if is_missing { ABSENT } else { last.value };
                values.resize(values.len() + these, value);
                (run, left) = (run - these, left - these);
            }
            news.push((last.number, values));
        }
        Some(news)
    }

    /// Other metrics come; what is known of those that stay is kept.
    fn turn_to(&mut self, numbers: Vec<u64>) {
        let before = std::mem::take(&mut self.0);
        let last = |number| {
            let known = before.iter().find(|it| it.number == number);
            known.cloned().unwrap_or(Last {
                number,
                value: 0,
                has_begun: false,
                divisor: 0,
            })
        };
        self.0 = numbers.into_iter().map(last).collect();
    }
}

impl Last {
    fn write(&mut self, sink: &mut Sink, run: &mut Run, values: &[i64]) {
        let common = self.common(values);
        for value in values {
            if *value == ABSENT || *value == self.value {
                self.has_begun |= *value != ABSENT;
                run.add(sink, if *value == ABSENT { MISSING } else { SAME });
                continue;
            }
            run.end(sink);
            if self.has_begun && common != self.divisor {
                self.divisor = common;
                sink.number(DIVISOR);
                sink.number(common);
            }
            self.has_begun = true;
            let difference = value.wrapping_sub(self.value);
            self.value = *value;
            let steps = difference / self.divisor.max(1).cast_signed();
            match zigzag(steps).checked_add(MOVED) {
                Some(word) => sink.number(word),
                None => {
                    sink.number(LARGE);
                    sink.signed(steps);
                }
            }
        }
    }

    /// What all differences have in common, also these. What a metric begins with has nothing to do with its steps.
    fn common(&self, values: &[i64]) -> u64 {
        let present = values.iter().copied().filter(|it| *it != ABSENT);
        let known = self.has_begun.then_some(self.value);
        let values: Vec<i64> = known.into_iter().chain(present).collect();
        let pairs = values.iter().zip(values.iter().skip(1));
        pairs.fold(self.divisor, |all, (before, value)| {
            divisor(all, value.wrapping_sub(*before).unsigned_abs())
        })
    }

    /// Takes in a word that is not of a run; whether it is a value.
    fn read(&mut self, source: &mut Source<'_>, word: u64) -> Option<bool> {
        let steps = match word {
            DIVISOR => {
                self.divisor = source.number().filter(|it| *it > 0)?;
                return Some(false);
            }
            LARGE => source.signed()?,
            _ => unzigzag(word - MOVED),
        };
        let difference = steps.wrapping_mul(self.divisor.max(1).cast_signed());
        self.value = self.value.wrapping_add(difference);
        Some(true)
    }
}

/// Values in a row that are all the same, or all missing.
#[derive(Default)]
struct Run {
    word: u64,
    length: u64,
}

impl Run {
    fn add(&mut self, sink: &mut Sink, word: u64) {
        if self.word != word {
            self.end(sink);
        }
        self.word = word;
        self.length += 1;
    }

    fn end(&mut self, sink: &mut Sink) {
        if self.length > 0 {
            sink.number(self.word);
            sink.number(self.length - 1);
            self.length = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Frame = (Vec<i64>, Vec<Values>);

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let value = prop_oneof![
            4 => Just(5_i64),
            4 => (0_i64..9).prop_map(|pages| pages * 4_096),
            1 => Just(ABSENT),
            1 => (ABSENT + 1)..=i64::MAX,
        ];
        let frame = (1_usize..7).prop_flat_map(move |count| {
            let times = prop_oneof![
                Just((0..count as i64).collect::<Vec<_>>()),
                prop::collection::vec(0..SLOT_MS, count),
            ];
            let numbers = prop::sample::subsequence((0_u64..5).collect::<Vec<_>>(), 0..=5);
            let values = prop::collection::vec(prop::collection::vec(value.clone(), count), 5);
            (times, numbers, values).prop_map(|(times, numbers, values)| {
                (times, numbers.into_iter().zip(values).collect())
            })
        });
        prop::collection::vec(frame, 1..6)
    }

    fn written(frames: &[Frame]) -> Sink {
        let mut sink = Sink::default();
        let mut known = Known::default();
        let mut before: &[i64] = &[];
        for (times, news) in frames {
            let news: Vec<_> = news
                .iter()
                .map(|(number, values)| (*number, &values[..]))
                .collect();
            known.write(&mut sink, times, before, &news);
            before = times;
        }
        sink
    }

    proptest! {
        #[test]
        fn news_read_back(frames in frames()) {
            let sink = written(&frames);
            let mut source = Source(&sink.0);
            let (mut known, mut times) = (Known::default(), Vec::new());
            for (wanted, news) in &frames {
                let read = known.read(&mut source, &mut times);
                prop_assert_eq!(read.as_ref(), Some(news));
                prop_assert_eq!(&times, wanted);
            }
            prop_assert!(source.0.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut source = Source(&bytes);
            let (mut known, mut times) = (Known::default(), Vec::new());
            while !source.0.is_empty() && known.read(&mut source, &mut times).is_some() {}
        }
    }

    #[test]
    fn what_stands_still_takes_nothing_more() {
        let frame = |at: i64| {
            let times = (at..at + 10).collect();
            (
                times,
                (0..40)
                    .map(|number| (number, vec![7_000_000; 10]))
                    .collect(),
            )
        };
        let once = written(&[frame(0)]).0.len();
        let twice = written(&[frame(0), frame(10)]).0.len();
        assert!(twice - once < 12, "{once}, {twice}");
    }

    #[test]
    fn pages_are_told_as_pages() {
        let frame = |first: i64| {
            let values = (first..first + 10).map(|page| (page * page % 50) * 4_096);
            let times: Vec<i64> = (first..first + 10).collect();
            (times, vec![(3, values.collect())])
        };
        let once = written(&[frame(0)]).0.len();
        let twice = written(&[frame(0), frame(10)]).0.len();
        assert!(twice - once < 10 + 10, "{once}, {twice}");
    }
}
