//! How fast output is read by the adapters: MB/s for each sort of output, most of which matches nothing.
//!
//! `cargo bench --bench adapters`; a word after `--` picks the sorts whose name has it. One core, processor time, the
//! median of several rounds, 64 KiB at a time as the daemon reads a flood, and 4 KiB as programs write it. A sort below
//! its floor, or far below it by 4 KiB, fails the run. No work may grow with the length of a chunk times that of an open line, whatever
//! bytes these are made of: what a terminal would make of output is nobody's promise.

use std::hint::black_box;
use std::process::ExitCode;

use rustix::time::{ClockId, clock_gettime};
use stoked::progress::adapters::{Catalogue, Hints};
use stoked::progress::text::TextFeed;

use Make::{Bytes, Text};

/// How much of each sort is made.
const SORT_BYTES: usize = 8 << 20;
const CHUNK_BYTES: [usize; 2] = [64 << 10, 4 << 10];
const ROUNDS: usize = 9;

/// What must be reached where nothing matches, where output nearly matches, and where it is read.
const USUAL_MB_PER_S: f64 = 500.0;
const ODD_MB_PER_S: f64 = 150.0;
/// Where lines have but a few bytes, and none is passed over together with others.
const CUT_UP_MB_PER_S: f64 = 40.0;
/// How much of what odd output has to reach is enough with small chunks.
const SMALL_SHARE: f64 = 0.8;
const READ_MB_PER_S: f64 = 20.0;

/// What makes a piece of output, often a line.
#[derive(Clone, Copy)]
enum Make {
    Text(fn(&mut Chance) -> String),
    Bytes(fn(&mut Chance) -> Vec<u8>),
}

/// A name, the floor in MB/s, and what it is made of.
type Sort = (&'static str, f64, Make);

const SORTS: &[Sort] = &[
    ("service logs", USUAL_MB_PER_S, Text(service_log)),
    ("JSON logs", USUAL_MB_PER_S, Text(json_log)),
    ("access logs", USUAL_MB_PER_S, Text(access_log)),
    ("compiler output", USUAL_MB_PER_S, Text(compiler)),
    ("base64", USUAL_MB_PER_S, Text(base64)),
    ("hex dump", USUAL_MB_PER_S, Text(hex_dump)),
    ("prose", USUAL_MB_PER_S, Text(prose)),
    ("paths", USUAL_MB_PER_S, Text(paths)),
    ("numbers", USUAL_MB_PER_S, Text(numbers)),
    ("lines of 8 KiB", USUAL_MB_PER_S, Text(long_line)),
    ("one endless line", USUAL_MB_PER_S, Text(endless)),
    ("coloured logs", ODD_MB_PER_S, Text(coloured)),
    ("short lines", ODD_MB_PER_S, Text(short_line)),
    ("empty lines", ODD_MB_PER_S, Text(empty_line)),
    ("dates with strokes", ODD_MB_PER_S, Text(stroked_date)),
    ("percents that are none", ODD_MB_PER_S, Text(false_percent)),
    ("control bytes", ODD_MB_PER_S, Text(control_byte)),
    ("brackets and clocks", ODD_MB_PER_S, Text(brackets)),
    ("a flood of bars (read)", READ_MB_PER_S, Text(bar)),
    ("[12/340] lines (read)", READ_MB_PER_S, Text(count)),
    ("NUL without end", ODD_MB_PER_S, Bytes(|_| vec![0; 4096])),
    (
        "lines of NUL",
        ODD_MB_PER_S,
        Text(|_| "\0".repeat(80) + "\n"),
    ),
    (
        "short lines of NUL",
        CUT_UP_MB_PER_S,
        Text(|_| "\0\0\0\n".to_owned()),
    ),
    ("backspaces", ODD_MB_PER_S, Bytes(|_| vec![8; 4096])),
    (
        "carriage returns",
        ODD_MB_PER_S,
        Bytes(|_| vec![b'\r'; 4096]),
    ),
    (
        "colours alone",
        ODD_MB_PER_S,
        Text(|_| "\x1b[0m".to_owned()),
    ),
    (
        "colours in lines",
        ODD_MB_PER_S,
        Text(|_| "\x1b[0m".repeat(20) + "\n"),
    ),
    // Of each 50 bytes one ends a line, ten others steer, and what looks like a percent is everywhere.
    ("random bytes", CUT_UP_MB_PER_S, Bytes(random)),
    // A line of one letter each: what is to be done for a line counts, not what for a byte.
    (
        "letters struck out",
        CUT_UP_MB_PER_S,
        Text(|_| "a\x08".to_owned()),
    ),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| !it.starts_with('-'))
        .collect();
    let mut report = format!("{} adapters\n", Catalogue::shipped().adapters().len());
    let mut is_good = true;
    for (name, floor, make) in SORTS {
        if !wanted.is_empty() && !wanted.iter().any(|it| name.contains(it.as_str())) {
            continue;
        }
        let text = output(*make);
        let rounds = CHUNK_BYTES.map(|size| {
            let mut rates: Vec<f64> = (0..ROUNDS).map(|_| rate(&text, size)).collect();
            rates.sort_by(f64::total_cmp);
            rates
        });
        let [rates, by_less] = &rounds;
        let less = by_less[ROUNDS / 2];
        let whole = rates[ROUNDS / 2];
        // Small chunks cut long lines, which are looked at once more when they end; they must only not grow dear.
        let is_slow = whole < *floor || less < floor.min(ODD_MB_PER_S) * SMALL_SHARE;
        let verdict = if is_slow { "  too slow" } else { "" };
        let culprits = if verdict.is_empty() {
            String::new()
        } else {
            busiest(&text)
        };
        is_good &= verdict.is_empty();
        let (low, high) = (rates[0], rates[ROUNDS - 1]);
        report += &format!(
            "{name:24} {whole:6.0} MB/s  ({low:.0}–{high:.0}), by 4 KiB {less:.0}{verdict}{culprits}\n"
        );
    }
    print(&report);
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[expect(clippy::print_stdout, reason = "the report is what a bench is for")]
fn print(report: &str) {
    print!("{report}");
}

fn output(make: Make) -> Vec<u8> {
    let mut chance = Chance(0x5eed);
    let mut output = Vec::with_capacity(SORT_BYTES + CHUNK_BYTES[0]);
    while output.len() < SORT_BYTES {
        match make {
            Text(make) => output.extend(make(&mut chance).into_bytes()),
            Bytes(make) => output.extend(make(&mut chance)),
        }
    }
    output
}

#[expect(clippy::cast_precision_loss, reason = "a rate in three digits")]
fn rate(text: &[u8], chunk_bytes: usize) -> f64 {
    let mut feed = TextFeed::new(&Catalogue::shipped(), &Hints::default());
    let mut seen = Vec::new();
    let start = processor_seconds();
    for chunk in text.chunks(chunk_bytes) {
        feed.push(black_box(chunk), &mut seen);
        seen.clear();
    }
    text.len() as f64 / 1e6 / (processor_seconds() - start)
}

/// The adapters whose patterns are tried most often.
fn busiest(text: &[u8]) -> String {
    let mut feed = TextFeed::default();
    let mut seen = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        feed.push(line, &mut seen);
        seen.clear();
    }
    let mut tallies: Vec<(u64, &str)> = feed.tallies().map(|it| (it.tried, it.adapter)).collect();
    tallies.sort_unstable();
    let lines = text.split(|byte| matches!(byte, b'\n' | b'\r')).count();
    let busiest = tallies.iter().rev().filter(|(tried, _)| *tried > 0).take(4);
    let named: Vec<String> = busiest
        .map(|(tried, adapter)| format!("{adapter} {tried} times"))
        .collect();
    format!(", of {lines} lines tried: {}", named.join(", "))
}

/// What this thread has used: others on the host do not count.
#[expect(clippy::cast_precision_loss, reason = "a run takes seconds")]
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Numbers that are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap_or(0) % limit
    }

    fn pick<T: Copy>(&mut self, things: &[T]) -> T {
        let count = u32::try_from(things.len()).unwrap_or(1);
        things[usize::try_from(self.below(count)).unwrap_or(0)]
    }

    fn word(&mut self) -> &'static str {
        self.pick(WORDS)
    }

    fn words(&mut self, count: usize) -> String {
        let words: Vec<&str> = (0..count).map(|_| self.word()).collect();
        words.join(" ")
    }

    fn time(&mut self) -> String {
        let (hour, minute, second) = (self.below(24), self.below(60), self.below(60));
        format!("{hour:02}:{minute:02}:{second:02}.{:03}", self.below(1000))
    }
}

const WORDS: &[&str] = &[
    "connection",
    "from",
    "worker",
    "the",
    "request",
    "of",
    "a",
    "opened",
    "queue",
    "finished",
    "with",
    "in",
    "cache",
    "user",
    "is",
    "token",
    "sent",
    "and",
    "to",
    "store",
    "retry",
    "not",
    "found",
    "value",
    "state",
    "changed",
];
const LEVELS: &[&str] = &["INFO", "DEBUG", "WARN", "ERROR", "TRACE"];

fn service_log(it: &mut Chance) -> String {
    let (time, level, module, words) = (it.time(), it.pick(LEVELS), it.word(), it.words(6));
    let (id, host, port, ms) = (
        it.below(100_000),
        it.below(256),
        it.below(65_536),
        it.below(5000),
    );
    format!(
        "2026-11-22T{time}Z {level:5} app::{module}: id={id} peer=10.0.3.{host}:{port} {words} took {ms}ms ({id} bytes)\n"
    )
}

fn json_log(it: &mut Chance) -> String {
    let (time, level, words, logger) = (it.time(), it.pick(LEVELS), it.words(5), it.word());
    let (status, ms, item) = (200 + it.below(300), it.below(900), it.below(9000));
    format!(
        "{{\"time\":\"2026-11-22T{time}Z\",\"level\":\"{level}\",\"msg\":\"{words}\",\"logger\":\"app.{logger}\",\
         \"status\":{status},\"duration_ms\":{ms},\"path\":\"/v1/items/{item}\",\"ok\":true}}\n"
    )
}

fn access_log(it: &mut Chance) -> String {
    let (time, dir, file, version) = (it.time(), it.word(), it.word(), it.below(99));
    let (host, status, bytes) = (it.below(256), 200 + it.below(300), it.below(100_000));
    format!(
        "10.1.3.{host} - - [22/Nov/2026:{time} +0000] \"GET /static/{dir}/{file}.js?v={version} HTTP/1.1\" {status} {bytes} \
         \"-\" \"Mozilla/5.0 (X11; Linux x86_64)\"\n"
    )
}

fn compiler(it: &mut Chance) -> String {
    let (dir, file, line, column) = (it.word(), it.word(), it.below(900), it.below(80));
    match it.below(4) {
        0 => format!(
            "cc -O2 -Wall -Iinclude -I../lib/{dir} -c -o build/{file}.o src/{dir}/{file}.c\n"
        ),
        1 => format!(
            "src/{dir}/{file}.c:{line}:{column}: warning: unused variable '{file}' [-Wunused-variable]\n"
        ),
        2 => format!("  {line} |     int {file} = {dir}_{column}({file}, &{dir}->{file});\n"),
        _ => "      |         ^~~~~~~~~~~~~~~~\n".to_owned(),
    }
}

fn base64(it: &mut Chance) -> String {
    const SIGNS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut line: String = (0..76).map(|_| char::from(it.pick(SIGNS))).collect();
    line.push('\n');
    line
}

fn hex_dump(it: &mut Chance) -> String {
    let bytes: Vec<String> = (0..16).map(|_| format!("{:02x}", it.below(256))).collect();
    format!(
        "{:08x}  {}  |................|\n",
        it.below(1 << 31),
        bytes.join(" ")
    )
}

fn prose(it: &mut Chance) -> String {
    format!("{}.\n", it.words(12))
}

fn paths(it: &mut Chance) -> String {
    let depth = 3 + it.below(6);
    let parts: Vec<String> = (0..depth)
        .map(|_| format!("/{}{}", it.word(), it.below(20)))
        .collect();
    format!("{}\n", parts.concat())
}

fn numbers(it: &mut Chance) -> String {
    let cells: Vec<String> = (0..8)
        .map(|_| format!("{}.{:04}", it.below(1000), it.below(10_000)))
        .collect();
    format!("{}\n", cells.join(","))
}

fn long_line(it: &mut Chance) -> String {
    let mut line = String::new();
    while line.len() < 8_100 {
        line += &format!("{} {} ", it.words(8), it.below(1000));
    }
    line.push('\n');
    line
}

fn endless(it: &mut Chance) -> String {
    format!("{} ", it.words(8))
}

fn coloured(it: &mut Chance) -> String {
    let (time, level, words, id) = (it.time(), it.pick(LEVELS), it.words(6), it.below(100_000));
    format!(
        "\x1b[2m2026-11-22T{time}Z\x1b[0m \x1b[32m{level:5}\x1b[0m \x1b[2mapp\x1b[0m: {words} \x1b[3mid\x1b[0m={id}\n"
    )
}

fn short_line(it: &mut Chance) -> String {
    format!("{}\n", it.below(100_000))
}

fn empty_line(_: &mut Chance) -> String {
    "\n".to_owned()
}

fn stroked_date(it: &mut Chance) -> String {
    let (day, time, words) = (1 + it.below(30), it.time(), it.words(6));
    format!("2026/11/{day:02} {time} {words}\n")
}

fn false_percent(it: &mut Chance) -> String {
    let (before, percent, after) = (it.words(4), it.below(100), it.words(4));
    format!("{before} at {percent}%-quantile {after}\n")
}

fn control_byte(it: &mut Chance) -> String {
    let (before, control, after) = (it.words(2), it.below(7), it.words(2));
    let control = char::from_u32(control).unwrap_or('\0');
    format!("{before}{control}{after}\n")
}

fn random(it: &mut Chance) -> Vec<u8> {
    (0..4096)
        .map(|_| u8::try_from(it.below(256)).unwrap_or(0))
        .collect()
}

fn brackets(it: &mut Chance) -> String {
    let cell = |it: &mut Chance| {
        format!(
            "[{}, {:02}:{:02}]",
            it.below(100),
            it.below(60),
            it.below(60)
        )
    };
    let cells: Vec<String> = (0..10).map(|_| cell(it)).collect();
    format!("{}\n", cells.join(", "))
}

fn bar(it: &mut Chance) -> String {
    let (done, rate) = (it.below(1000), it.below(90));
    let signs = "█".repeat(usize::try_from(done / 20).unwrap_or(0));
    let (percent, seconds) = (done / 10, done / 20);
    format!(
        "\rtrain: {percent:3}%|{signs:50}| {done}/1000 [00:{seconds:02}<00:15, {rate}.9it/s, loss=0.{done}]"
    )
}

fn count(it: &mut Chance) -> String {
    format!("[{}/34000] CXX src/{}.o\n", it.below(34_000), it.word())
}
