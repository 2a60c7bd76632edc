//! What sampling costs: CPU time of a reading of the host, of each process that stands still, of each that moves, and
//! of each job; and of a whole pass over 500 processes, 20 of them jobs.
//!
//! `cargo bench --bench sampling`. Processor time of one thread, the median of many rounds. A row above its limit fails
//! the run. Beside them, as a measure, what the `procfs` crate takes for the same files.

#![expect(clippy::print_stdout, reason = "its figures are what it is for")]

use std::hint::black_box;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use procfs::Current;
use procfs::CurrentSI;
use rustix::time::{ClockId, clock_gettime};
use stoked::contain::cgroup::{Base, Cgroup};
use stoked::contain::identity;
use stoked::model::attempt::Process;
use stoked::model::id::{AttemptId, JobId};
use stoked::model::time::Stamp;
use stoked::sampling::files::{Descriptors, Files, Roots};
use stoked::sampling::host::{HostReader, Settings};
use stoked::sampling::jobs::Jobs;
use stoked::sampling::processes::stat::Stat;
use stoked::sampling::processes::{Processes, Watch};

const ROUNDS: usize = 400;
/// Shells with a child each.
const SLEEPERS: usize = 250;
/// So many of them are jobs.
const JOBS: usize = 20;

/// A shell with one child, which stands still until it is given a byte; the shell stands for a shim.
struct Sleeper {
    shell: Child,
}

impl Sleeper {
    fn start() -> Self {
        let shell = Command::new("sh")
            .args(["-c", "cat; true"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut sleeper = Self {
            shell: shell.expect("a shell starts"),
        };
        sleeper.poke();
        sleeper
    }

    /// Makes the child run for a moment, and waits until it has.
    fn poke(&mut self) {
        let input = self.shell.stdin.as_mut().expect("it has an input");
        input.write_all(b"x").expect("it reads");
        let output = self.shell.stdout.as_mut().expect("it has an output");
        output.read_exact(&mut [0]).expect("it writes");
    }

    fn child(&self) -> u32 {
        let pid = self.shell.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.expect("the kernel lists children");
        children.trim().parse().expect("it has one")
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // The child ends with its input.
        drop(self.shell.stdin.take());
        drop(self.shell.wait());
    }
}

/// The clock of the samples, a second further at each pass.
#[derive(Default)]
struct Passes {
    at: Stamp,
}

impl Passes {
    fn next(&mut self) -> Stamp {
        self.at = self.at.plus_ms(1_000);
        self.at
    }
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or(0)
}

/// How long something took, round by round, microseconds.
#[derive(Default)]
struct Timer {
    cpu: Vec<f64>,
    wall: Vec<f64>,
}

impl Timer {
    fn of(rounds: usize, mut round: impl FnMut(&mut Self)) -> Self {
        let mut timer = Self::default();
        (0..rounds).for_each(|_| round(&mut timer));
        timer.cpu.sort_by(f64::total_cmp);
        timer.wall.sort_by(f64::total_cmp);
        timer
    }

    fn time<T>(&mut self, work: impl FnOnce() -> T) {
        let (start, then) = (cpu_ns(), Instant::now());
        drop(black_box(work()));
        self.wall.push(then.elapsed().as_secs_f64() * 1e6);
        self.cpu.push((cpu_ns() - start) as f64 / 1e3);
    }

    /// CPU time of the usual round.
    fn median(&self) -> f64 {
        self.cpu[self.cpu.len() / 2]
    }

    fn mean(&self) -> f64 {
        self.cpu.iter().sum::<f64>() / self.cpu.len() as f64
    }

    /// The slowest round but one in a hundred, by the clock on the wall.
    fn slowest(&self) -> f64 {
        self.wall[self.wall.len() * 99 / 100]
    }
}

/// One row: a name, what was measured, and what it may be.
fn row(failed: &mut bool, name: &str, value: f64, unit: &str, most: f64) {
    let is_over = value > most;
    *failed |= is_over;
    let verdict = if is_over { "  OVER" } else { "" };
    println!("{name:<58} {value:>9.2} {unit:<9} (at most {most}){verdict}");
}

/// A row without a limit.
fn note(name: &str, value: f64) {
    println!("{name:<58} {value:>9.2} us");
}

fn attempt(number: u64) -> AttemptId {
    AttemptId {
        job: JobId(number),
        attempt: 1,
    }
}

fn process(pid: u32) -> Option<Process> {
    let id = identity::of_pid(pid).ok()?;
    Some(Process {
        pid: id.pid,
        start_ticks: id.start_ticks,
    })
}

/// A job of one process.
fn watch(number: u64, sleeper: &Sleeper, base: Option<&Base>) -> (Watch, Option<Cgroup>) {
    let cgroup = base.map(|base| {
        let cgroup = base.attempt(&format!("{number}.1"));
        cgroup.create().expect("a cgroup can be made");
        let procs = cgroup.dir().join("cgroup.procs");
        std::fs::write(procs, sleeper.child().to_string()).expect("it can be entered");
        cgroup
    });
    let watch = Watch {
        attempt: attempt(number),
        shim: process(sleeper.shell.id()),
        main: process(sleeper.child()),
        cgroup: cgroup.as_ref().map(|cgroup| cgroup.dir().to_owned()),
        token: None,
        is_adopted: false,
    };
    (watch, cgroup)
}

fn hosts(failed: &mut bool) {
    let mut passes = Passes::default();
    let mut host = HostReader::new(&Roots::default(), &Settings::default());
    let timer = Timer::of(ROUNDS, |timer| timer.time(|| host.read(passes.next())));
    row(failed, "the host", timer.median(), "us", 250.0);
    let timer = Timer::of(ROUNDS, |timer| {
        timer.time(|| {
            (
                procfs::KernelStats::current(),
                procfs::Meminfo::current(),
                procfs::diskstats(),
                procfs::vmstat(),
            )
        });
    });
    note("  four of its files by procfs", timer.median());
}

/// The file of a process that is read most: kept open and read here, by the `procfs` crate there.
fn files() {
    let mut files = Files::new(Descriptors::by_limit());
    let mut source = Roots::default().proc("self/stat");
    let timer = Timer::of(ROUNDS, |timer| {
        timer.time(|| files.read(&mut source).ok().and_then(Stat::parse));
    });
    note("the stat of a process", timer.median());
    let timer = Timer::of(ROUNDS, |timer| {
        timer.time(|| procfs::process::Process::myself().and_then(|it| it.stat()));
    });
    note("  by procfs", timer.median());
}

fn main() -> ExitCode {
    let mut failed = false;
    hosts(&mut failed);
    files();
    let mut sleepers: Vec<Sleeper> = (0..SLEEPERS).map(|_| Sleeper::start()).collect();
    let (other, own) = sleepers.split_at_mut(SLEEPERS - JOBS);
    let mut passes = Passes::default();
    let mut table = Processes::new(&Roots::default(), 10);
    table.refresh(passes.next());
    let timer = Timer::of(ROUNDS, |timer| timer.time(|| table.refresh(passes.next())));
    let (still, count) = (timer.median(), table.count() as f64);
    println!("{count} processes");
    row(
        &mut failed,
        "a process that stands still",
        still / count,
        "us",
        1.0,
    );
    let timer = Timer::of(ROUNDS / 4, |timer| {
        other.iter_mut().take(100).for_each(Sleeper::poke);
        timer.time(|| table.refresh(passes.next()));
    });
    // Their memory is no longer at hand after so much else ran, as after a second of any host's work.
    let each = timer.median() / count;
    row(
        &mut failed,
        "a process, when 100 of them have moved",
        each,
        "us",
        3.0,
    );
    let base = Base::probe(&format!("bench-{}", std::process::id()));
    jobs(&mut failed, "processes", None, other, own);
    match &base {
        Ok(base) => jobs(&mut failed, "cgroup", Some(base), other, own),
        Err(why) => println!("no cgroups: {why}"),
    }
    drop(sleepers);
    if let Ok(base) = base {
        for name in base.names().unwrap_or_default() {
            drop(base.attempt(&name).remove(Duration::from_secs(5)));
        }
        base.leave();
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn jobs(
    failed: &mut bool,
    name: &str,
    base: Option<&Base>,
    other: &mut [Sleeper],
    own: &mut [Sleeper],
) {
    let mut passes = Passes::default();
    let mut host = HostReader::new(&Roots::default(), &Settings::default());
    let mut table = Processes::new(&Roots::default(), 10);
    let mut jobs = Jobs::new(&Roots::default(), &table);
    for (number, sleeper) in (1..).zip(&*own) {
        jobs.watch(&watch(number, sleeper, base).0, &mut table);
    }
    let at = passes.next();
    table.refresh(at);
    assert_eq!(jobs.read(at, &table).len(), own.len(), "every job is read");
    let count = own.len() as f64;
    let timer = Timer::of(ROUNDS, |timer| {
        let at = passes.next();
        table.refresh(at);
        timer.time(|| jobs.read(at, &table));
    });
    let label = format!("a job that stands still, by its {name}");
    row(failed, &label, timer.median() / count, "us", 5.0);
    let timer = Timer::of(ROUNDS, |timer| {
        own.iter_mut().for_each(Sleeper::poke);
        let at = passes.next();
        table.refresh(at);
        timer.time(|| jobs.read(at, &table));
    });
    let label = format!("a job that moves, by its {name}");
    row(failed, &label, timer.median() / count, "us", 30.0);
    // As on a host that works: every job moves, and one in ten of the others.
    let timer = Timer::of(ROUNDS, |timer| {
        own.iter_mut().for_each(Sleeper::poke);
        other.iter_mut().step_by(10).for_each(Sleeper::poke);
        let at = passes.next();
        timer.time(|| {
            let mut sample = host.read(at);
            table.refresh(at);
            table.tell(&mut sample);
            (sample, jobs.read(at, &table))
        });
    });
    let label = format!("a whole pass, jobs by their {name}");
    row(failed, &label, timer.mean(), "us mean", 2_000.0);
    let label = format!("a whole pass, jobs by their {name}, the slowest");
    row(failed, &label, timer.slowest(), "us p99", 5_000.0);
    let hourly = timer.mean() * 3_600.0 / 1e6;
    row(
        failed,
        "an hour of them, one each second",
        hourly,
        "CPU-s",
        10.0,
    );
}
