//! What the store of samples costs: bytes for a point, bytes written for those that are kept, CPU time, and how long a
//! query of a month takes.
//!
//! `cargo bench --bench series`; a word after `--` picks the parts whose name has it (`recorded`, `month`).
//! `-- record FILE PASSES` makes a recording of this host instead. A row beyond its limit fails the run.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench prints, and its numbers are small"
)]

#[path = "series/made.rs"]
mod made;
#[path = "series/record.rs"]
mod record;
#[path = "series/trace.rs"]
mod trace;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use stoked::model::entity::{Entity, SeriesKey};
use stoked::model::metric::Metric;
use stoked::model::sample::Pass;
use stoked::store::{Range, Samples, Tier};

/// Monday, 2026-11-02, 00:00 UTC.
const BEGIN_MS: i64 = 1_793_577_600_000;
const DAY_MS: i64 = 86_400_000;
/// How far the log may be behind.
const BEHIND_MS: i64 = 10_000;
const RECORDING: &str = "tests/fixtures/traces/twenty-jobs.zst";
/// For how long a recording is repeated: so long that what a new file takes does not count.
const RECORDED_MS: i64 = 6 * 3_600_000;
/// What budgets are for: so many series, each second.
const SERIES: f64 = 640.0;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| !it.starts_with('-'))
        .collect();
    if let [verb, file, passes] = &words[..]
        && verb == "record"
    {
        record::record(Path::new(file), passes.parse().expect("a number of passes"));
        return ExitCode::SUCCESS;
    }
    let is_wanted =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut report = Report::default();
    if is_wanted("recorded") {
        recorded(&mut report);
    }
    if is_wanted("month") {
        month(&mut report);
    }
    if report.is_over {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn tell(line: &str) {
    println!("{line}");
}

#[derive(Default)]
struct Report {
    is_over: bool,
}

impl Report {
    fn row(&mut self, name: &str, value: f64, unit: &str, most: f64) {
        let is_over = value > most;
        self.is_over |= is_over;
        let verdict = if is_over { "  OVER" } else { "" };
        println!("{name:<54} {value:>9.2} {unit:<10} (at most {most}){verdict}");
    }

    fn note(&self, name: &str, value: f64, unit: &str) {
        println!("{name:<54} {value:>9.2} {unit}");
    }
}

/// What this process has used.
#[derive(Clone, Copy, Default)]
struct Used {
    cpu_s: f64,
    written: u64,
}

impl Used {
    fn now() -> Self {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let io = fs::read_to_string("/proc/self/io").expect("the kernel counts what is written");
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        Self {
            cpu_s: time.tv_sec as f64 + time.tv_nsec as f64 / 1e9,
            written: written
                .and_then(|text| text.parse().ok())
                .expect("a number of bytes"),
        }
    }

    /// Adds what was used since then.
    fn add(&mut self, before: Self) {
        let now = Self::now();
        self.cpu_s += now.cpu_s - before.cpu_s;
        self.written += now.written - before.written;
    }
}

/// Puts passes into a store as a daemon does, and measures.
#[derive(Default)]
struct Feed {
    points: u64,
    /// Of each call of `append`, microseconds for as many series as budgets are for.
    appends: Vec<f64>,
    logged_ms: i64,
}

impl Feed {
    fn append(&mut self, samples: &Samples, pass: &Pass) {
        let kept = pass
            .entities()
            .map(|(_, it)| it.iter().filter(|(metric, _)| metric.is_kept()).count());
        let points = kept.sum::<usize>();
        self.points += points as u64;
        let start = Instant::now();
        samples.append(pass);
        let us = start.elapsed().as_secs_f64() * 1e6;
        self.appends.push(us * SERIES / points.max(1) as f64);
        if pass.at.wall_ms - self.logged_ms >= BEHIND_MS {
            self.logged_ms = pass.at.wall_ms;
            samples.flush().expect("the log can be written");
        }
    }

    fn append_at(&mut self, part: f64) -> f64 {
        self.appends.sort_by(f64::total_cmp);
        self.appends[((self.appends.len() - 1) as f64 * part) as usize]
    }
}

/// The recording, over and over for some hours.
fn recorded(report: &mut Report) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDING);
    for every in [1, 2] {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let samples = Samples::open(dir.path()).expect("the store opens");
        let once: Vec<Pass> = trace::read(&path, BEGIN_MS)
            .into_iter()
            .step_by(every)
            .collect();
        let length_ms =
            once.last().map_or(0, |pass| pass.at.wall_ms) - BEGIN_MS + 1_000 * every as i64;
        let mut feed = Feed::default();
        samples.flush().expect("it is ready");
        let mut used = Used::default();
        for round in 0..RECORDED_MS / length_ms {
            let passes: Vec<Pass> = once
                .iter()
                .map(|pass| trace::later(pass, round * length_ms))
                .collect();
            let before = Used::now();
            for pass in &passes {
                feed.append(&samples, pass);
            }
            used.add(before);
        }
        let before = Used::now();
        samples.settle().expect("all can be written");
        used.add(before);
        let hours = (RECORDED_MS / length_ms * length_ms) as f64 / 3_600_000.0;
        let bytes = samples.bytes();
        let stored: u64 = bytes.values().sum();
        let points = feed.points as f64;
        let rate = points / (hours * 3_600.0);
        println!(
            "recorded, every {every} s: {points} points in {hours:.1} hours, {rate:.0} a second"
        );
        report.row("  raw", bytes[&Tier::Raw] as f64 / points, "B/point", 1.3);
        report.note(
            "  with minutes and hours",
            stored as f64 / points,
            "B/point",
        );
        report.row(
            "  written for what is kept",
            used.written as f64 / stored as f64,
            "times",
            3.0,
        );
        let cpu = used.cpu_s / points * SERIES * 3_600.0;
        report.row("  CPU time, 640 series each second", cpu, "CPU-s/h", 1.0);
        report.row(
            "  taking 640 series, median",
            feed.append_at(0.5),
            "us",
            100.0,
        );
        report.note("  taking 640 series, 99 of 100", feed.append_at(0.99), "us");
        if std::env::var_os("SERIES_KEEP").is_some() {
            println!("{}", dir.keep().display());
        }
    }
}

/// A month that is made up, and questions about it.
fn month(report: &mut Report) {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let samples = Samples::open(dir.path()).expect("the store opens");
    let step_ms = 10_000;
    let passes = 30 * DAY_MS / step_ms;
    let mut world = made::World::new(passes as u64, step_ms);
    let mut feed = Feed::default();
    let start = Instant::now();
    let before = Used::now();
    for number in 0..passes {
        let pass = world.next(BEGIN_MS + number * step_ms);
        feed.append(&samples, &pass);
    }
    samples.settle().expect("all can be written");
    let after = Used::now();
    let bytes = samples.bytes();
    let stored: u64 = bytes.values().sum();
    let points = feed.points as f64;
    println!(
        "a month made up: {} GPUs, {} jobs, {} series at the end, {:.0} million points, made in {:.0} s",
        made::GPUS,
        made::JOBS,
        world.series(),
        points / 1e6,
        start.elapsed().as_secs_f64()
    );
    for (tier, bytes) in &bytes {
        report.note(
            &format!("  {}", tier.as_str()),
            *bytes as f64 / f64::from(1 << 20),
            "MiB",
        );
    }
    report.note("  raw", bytes[&Tier::Raw] as f64 / points, "B/point");
    report.row(
        "  written for what is kept",
        (after.written - before.written) as f64 / stored as f64,
        "times",
        3.0,
    );
    report.note(
        "  CPU time with the making of values",
        (after.cpu_s - before.cpu_s) / points * 1e6,
        "CPU-s/million",
    );
    let keys = questions();
    let month = (BEGIN_MS, BEGIN_MS + 30 * DAY_MS);
    let day = (BEGIN_MS + 20 * DAY_MS, BEGIN_MS + 21 * DAY_MS);
    let hour = (day.0, day.0 + 3_600_000);
    for (name, (since_ms, until_ms), limit) in [
        ("30 days", month, Some(20.0)),
        ("a day", day, None),
        ("an hour", hour, None),
    ] {
        for percentiles in [false, true] {
            let range = Range {
                since_ms,
                until_ms,
                most: 1_000,
                percentiles,
            };
            let mut times: Vec<f64> = keys.iter().map(|key| ask(&samples, key, range)).collect();
            times.sort_by(f64::total_cmp);
            let with = if percentiles {
                ", with percentiles"
            } else {
                ""
            };
            let label = format!("  {name} of one series at 1,000 points{with}, median");
            match limit {
                Some(limit) => report.row(&label, times[times.len() / 2], "ms", limit),
                None => report.note(&label, times[times.len() / 2], "ms"),
            }
            report.note(
                &format!("  {name}{with}, 99 of 100"),
                times[times.len() * 99 / 100],
                "ms",
            );
        }
    }
}

/// How long a question takes, milliseconds.
fn ask(samples: &Samples, key: &SeriesKey, range: Range) -> f64 {
    let start = Instant::now();
    let lines = samples
        .query(std::slice::from_ref(key), range)
        .expect("it is answered");
    let ms = start.elapsed().as_secs_f64() * 1e3;
    assert!(lines[0].len() <= range.most, "no more than was asked for");
    std::hint::black_box(lines);
    ms
}

fn questions() -> Vec<SeriesKey> {
    let mut keys = Vec::new();
    let mut ask = |entity: &Entity, metrics: &[Metric]| {
        keys.extend(metrics.iter().map(|metric| SeriesKey {
            entity: entity.clone(),
            metric: *metric,
        }));
    };
    for gpu in 0..made::GPUS {
        let metrics = [
            Metric::UtilizationPercent,
            Metric::PowerWatts,
            Metric::EnergyJoules,
            Metric::MemoryUsedBytes,
        ];
        ask(&Entity::Gpu(made::gpu(gpu)), &metrics);
    }
    ask(
        &Entity::Host,
        &[Metric::CpuPercent, Metric::Load1, Metric::MemoryUsedBytes],
    );
    for core in 0..8 {
        ask(&Entity::Core(core), &[Metric::CpuPercent]);
    }
    for job in (1..=made::JOBS).step_by(5) {
        ask(
            &Entity::Job(made::job(job)),
            &[Metric::CpuPercent, Metric::MemoryBytes],
        );
    }
    keys
}
