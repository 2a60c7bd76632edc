//! Traces of work that is done over time: made up in every way that fools an estimate, and recorded.

use std::path::Path;

/// What was seen of one run.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// How it behaves.
    pub(crate) name: String,
    /// What was seen: milliseconds since the start, and units done by then.
    pub(crate) points: Vec<(u64, f64)>,
    /// Units there are.
    pub(crate) total: f64,
    /// From when to when it was frozen, milliseconds.
    pub(crate) pause: Option<(u64, u64)>,
}

/// A small generator of numbers that look random: the same on every run.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Evenly between 0 and 1, neither included.
    fn part(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        (mixed as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// About a bell curve around 0 with deviation 1.
    fn bell(&mut self) -> f64 {
        (0..12).map(|_| self.part()).sum::<f64>() - 6.0
    }
}

impl Trace {
    /// Looked at every `every_ms`; `rate(milliseconds, units done)` is in units per second.
    fn by_rate(
        name: &str,
        start: f64,
        total: f64,
        every_ms: u64,
        mut rate: impl FnMut(u64, f64) -> f64,
    ) -> Self {
        let mut points = vec![(0, start)];
        let (mut at, mut done) = (0, start);
        while done < total {
            let pace = rate(at, done).max(0.0);
            at += every_ms;
            done = (done + pace * every_ms as f64 / 1000.0).min(total);
            points.push((at, done));
        }
        Self::of(name, points, total)
    }

    /// One unit after the other; `took(number)` is in seconds.
    fn by_unit(name: &str, total: u32, mut took: impl FnMut(u32) -> f64) -> Self {
        let mut points = vec![(0, 0.0)];
        let mut at = 0.0;
        for number in 0..total {
            at += took(number) * 1000.0;
            points.push((at as u64, f64::from(number + 1)));
        }
        Self::of(name, points, f64::from(total))
    }

    fn of(name: &str, points: Vec<(u64, f64)>, total: f64) -> Self {
        Self {
            name: name.to_owned(),
            points,
            total,
            pause: None,
        }
    }

    /// The same, frozen at `at_ms` for `pause_ms`.
    fn frozen(mut self, at_ms: u64, pause_ms: u64) -> Self {
        for (at, _) in self.points.iter_mut().filter(|(at, _)| *at > at_ms) {
            *at += pause_ms;
        }
        self.pause = Some((at_ms, at_ms + pause_ms));
        self
    }

    /// Milliseconds up to `at_ms`, without the pause.
    pub(crate) fn active_ms(&self, at_ms: u64) -> u64 {
        match self.pause {
            Some((from, to)) if at_ms > from => at_ms - (at_ms.min(to) - from),
            _ => at_ms,
        }
    }

    /// When it was done.
    pub(crate) fn end_ms(&self) -> u64 {
        self.points.last().map_or(0, |last| last.0)
    }
}

/// One trace of each sort, with the chances of `seed`.
pub(crate) fn synthetic(seed: u64) -> Vec<Trace> {
    let mut dice = Dice::new(seed);
    let mut traces = vec![
        Trace::by_rate("constant", 0.0, 3000.0, 500, |_, _| 5.0),
        Trace::by_rate("noisy", 0.0, 3000.0, 500, |_, _| dice.part() * 10.0),
    ];
    let mut dice = Dice::new(seed + 100);
    traces.push(Trace::by_unit("noisy steps", 600, |_| {
        (dice.bell() * 0.5).exp()
    }));
    let mut dice = Dice::new(seed + 200);
    traces.push(Trace::by_unit("heavy-tailed steps", 600, |_| {
        0.3 * dice.part().powf(-1.0 / 1.6)
    }));
    let mut dice = Dice::new(seed + 300);
    let mut wave = 0.0_f64;
    traces.push(Trace::by_rate("wandering", 0.0, 3000.0, 1000, |_, _| {
        wave = wave * 0.99 + dice.bell() * 0.05;
        5.0 * wave.exp()
    }));
    let mut noise = Dice::new(seed + 400);
    let mut noisy = move |rate: f64| rate * (1.0 + 0.2 * noise.bell());
    traces.push(Trace::by_rate("slowing", 0.0, 3000.0, 500, |_, done| {
        noisy(10.0 - 9.0 * done / 3000.0)
    }));
    let halfway = |done: f64, before, after| if done < 1500.0 { before } else { after };
    traces.push(Trace::by_rate(
        "slowed at once",
        0.0,
        3000.0,
        500,
        |_, done| noisy(halfway(done, 10.0, 3.0)),
    ));
    traces.push(Trace::by_rate(
        "speeding up",
        0.0,
        3000.0,
        500,
        |_, done| noisy(2.0 + 8.0 * done / 3000.0),
    ));
    traces.push(Trace::by_rate(
        "sped up at once",
        0.0,
        3000.0,
        500,
        |_, done| noisy(halfway(done, 3.0, 10.0)),
    ));
    traces.push(Trace::by_rate("slow start", 0.0, 3000.0, 500, |at, _| {
        noisy(if at < 60_000 { 0.5 } else { 6.0 })
    }));
    let mut dice = Dice::new(seed + 500);
    traces.push(Trace::by_rate("bursty", 0.0, 3000.0, 500, |_, _| {
        if dice.part() < 0.06 { 80.0 } else { 0.2 }
    }));
    traces.push(Trace::by_rate(
        "stalled for a while",
        0.0,
        3000.0,
        500,
        |at, _| {
            if (200_000..320_000).contains(&at) {
                0.0
            } else {
                noisy(6.0)
            }
        },
    ));
    traces.push(Trace::by_rate(
        "resumed at 60 %",
        4500.0,
        7500.0,
        500,
        |_, _| noisy(5.0),
    ));
    let paused = Trace::by_rate("paused for an hour", 0.0, 3000.0, 500, |_, _| noisy(5.0));
    traces.push(paused.frozen(240_000, 3_600_000));
    traces.push(Trace::by_rate(
        "epochs, evaluated",
        0.0,
        4800.0,
        500,
        |at, _| {
            if at % 50_000 < 40_000 {
                noisy(10.0)
            } else {
                0.0
            }
        },
    ));
    let mut dice = Dice::new(seed + 600);
    traces.push(Trace::by_unit("few long steps", 24, |_| {
        30.0 * (dice.bell() * 0.3).exp()
    }));
    traces
}

/// The traces recorded in `folder`, by name.
pub(crate) fn recorded(folder: &Path) -> Vec<Trace> {
    let entries = std::fs::read_dir(folder).expect("the recorded traces are there");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "csv"));
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).expect("a recorded trace is text");
        let mut total = 0.0;
        let points = text.lines().skip(1).map(|line| {
            let mut fields = line.split(',');
            let mut next = || fields.next().expect("ms,done,total");
            let (at, done) = (next(), next());
            total = next().parse().expect("a number");
            (
                at.parse().expect("a number"),
                done.parse().expect("a number"),
            )
        });
        let points = points.collect();
        let name = path.file_stem().expect("it has a name").to_string_lossy();
        Trace::of(&name, points, total)
    };
    paths.iter().map(read).collect()
}
