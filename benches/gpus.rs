//! What a process that looks at GPUs costs: time of a look, and memory after very many of them.
//!
//! `cargo bench --bench gpus [-- LOOKS]`; on the fake driver, so without what a real one takes.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it prints what it measured, and stops at what it did not expect"
)]

#[path = "../tests/fake-nvml/mod.rs"]
#[expect(dead_code, reason = "tests of the sources use the rest")]
mod fake_nvml;

use fake_nvml::{FakeDriver, gpu};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How many looks, unless said otherwise.
const LOOKS: u64 = 100_000;

/// Looks after which memory has settled.
const SETTLED: u64 = 1_000;

/// How much more memory it may use in the end, KiB.
const MOST_GROWTH: u64 = 256;

fn main() {
    let asked = std::env::args().find_map(|argument| argument.parse().ok());
    let looks: u64 = asked.unwrap_or(LOOKS);
    let processes: String = (0..8)
        .map(|it| format!("process 0 10{it} compute 1G 10 0 0 0\n"))
        .collect();
    let gpus: String = (0..8).map(gpu).collect();
    let fake = FakeDriver::new("");
    fake.say_silently(&(gpus + &processes));
    let mut child = Command::new(env!("CARGO_BIN_EXE_stoked"))
        .args(["--gpu-eyes", "nvml"])
        .env("STOKED_NVML_LIBRARY", fake.library())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut output = BufReader::new(output);
    let (mut line, mut settled) = (String::new(), (0, Duration::ZERO));
    let start = Instant::now();
    for number in 1..=looks {
        writeln!(input, "{{\"sample\":{number}}}").unwrap();
        line.clear();
        while !line.contains("\"gpus\"") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "it ended");
        }
        if number == SETTLED.min(looks) {
            settled = (resident_kib(child.id()), start.elapsed());
        }
    }
    let resident = resident_kib(child.id());
    let each = start.elapsed() / u32::try_from(looks).unwrap();
    println!("{looks} looks at 8 GPUs with 8 processes: {each:?} each");
    println!(
        "resident memory: {} KiB after {SETTLED}, {resident} KiB in the end",
        settled.0
    );
    drop(input);
    assert!(child.wait().unwrap().success());
    assert!(resident <= settled.0 + MOST_GROWTH, "it grows");
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}
