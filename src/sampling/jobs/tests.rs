//! Readers of attempts, on made-up cgroups and processes and on real ones.

use super::*;
use crate::contain::cgroup::Base;
use crate::model::attempt;
use crate::model::id::JobId;
use nix::sys::resource::{UsageWho, getrusage};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn at(boot_ms: u64) -> Stamp {
    Stamp {
        wall_ms: 0,
        boot_ms,
    }
}

const ATTEMPT: AttemptId = AttemptId {
    job: JobId(7),
    attempt: 1,
};

/// Everything that reads, and a clock.
struct Readers {
    processes: Processes,
    jobs: Jobs,
    boot_ms: u64,
}

impl Readers {
    fn new(roots: &Roots) -> Self {
        let processes = Processes::new(roots, 10);
        let jobs = Jobs::new(roots, &processes);
        Self {
            processes,
            jobs,
            boot_ms: 0,
        }
    }

    fn watch(&mut self, watch: &Watch) {
        self.jobs.watch(watch, &mut self.processes);
    }

    /// A pass, a second after the one before.
    fn pass(&mut self) -> Option<JobSample> {
        self.boot_ms += 1_000;
        self.processes.refresh(at(self.boot_ms));
        let mut samples = self.jobs.read(at(self.boot_ms), &self.processes);
        assert!(samples.len() <= 1);
        samples.pop()
    }

    fn get(&mut self, metric: Metric) -> Option<f64> {
        self.pass().unwrap().readings.get(metric)
    }
}

#[test]
fn a_cgroup_that_is_not_there_has_no_sample() {
    let mut readers = Readers::new(&Roots::default());
    readers.watch(&Watch {
        attempt: ATTEMPT,
        cgroup: Some("/sys/fs/cgroup/no/such".into()),
        ..Watch::default()
    });
    for _ in 0..5 {
        assert_eq!(readers.pass(), None);
    }
    readers
        .jobs
        .forget(ATTEMPT, Stamp::default(), &mut readers.processes);
    assert_eq!(readers.jobs.watched().count(), 0);
}

/// A made-up cgroup, and a host without processes.
struct Made {
    root: tempfile::TempDir,
}

impl Made {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["proc", "sys", "stoked-x/7.1"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        Self { root }
    }

    fn roots(&self) -> Roots {
        Roots {
            proc: self.root.path().join("proc"),
            sys: self.root.path().join("sys"),
        }
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("stoked-x/7.1")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir().join(name), text).unwrap();
    }

    fn cpu(&self, usage: u64, throttled: u64) {
        let half = usage / 2;
        self.write(
            "cpu.stat",
            &format!(
                "usage_usec {usage}\nuser_usec {half}\nsystem_usec {half}\nnr_periods 9\n\
                nr_throttled 1\nthrottled_usec {throttled}\n"
            ),
        );
    }

    fn io(&self, read: u64, written: u64) {
        let line = |device: &str| {
            format!("{device} rbytes={read} wbytes={written} rios=1 wios=2 dbytes=0 dios=0\n")
        };
        self.write("io.stat", &[line("8:0"), line("253:0")].concat());
    }

    /// So much page cache, and a file in memory.
    fn cache(&self, bytes: u64) {
        let half = bytes / 2;
        let text = format!("anon 1000\nfile {}\nshmem 4096\n", bytes + 4_096);
        let lists = format!("inactive_file {half}\nactive_file {half}\nunevictable 4096\n");
        self.write("memory.stat", &(text + &lists));
    }

    fn pressure(&self, name: &str, total: u64) {
        let text = format!("some avg10=0.00 total={total}\nfull avg10=0.00 total={total}\n");
        self.write(&format!("{name}.pressure"), &text);
    }

    fn all(&self) {
        self.cpu(1_000_000, 0);
        self.write("memory.current", "4096000\n");
        self.write("memory.peak", "8192000\n");
        self.write("memory.swap.current", "4096\n");
        self.write("memory.max", "max\n");
        self.cache(96_000);
        self.write("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n");
        self.write("pids.current", "3\n");
        self.io(0, 0);
        for name in ["cpu", "memory", "io"] {
            self.pressure(name, 0);
        }
        // The second device is made of the first.
        let block = self.root.path().join("sys/dev/block");
        fs::create_dir_all(block.join("8:0/slaves")).unwrap();
        fs::create_dir_all(block.join("253:0/slaves/sda")).unwrap();
    }

    fn readers(&self) -> Readers {
        let mut readers = Readers::new(&self.roots());
        readers.watch(&Watch {
            attempt: ATTEMPT,
            cgroup: Some(self.dir()),
            ..Watch::default()
        });
        readers
    }
}

#[test]
fn a_cgroup_with_all_controllers_tells_everything() {
    let made = Made::new();
    made.all();
    let mut readers = made.readers();
    let first = readers.pass().unwrap().readings;
    assert_eq!(first.get(Metric::CpuPercent), None);
    assert_eq!(first.get(Metric::MemoryLimitBytes), None);
    assert_eq!(first.get(Metric::MemoryAnonymousBytes), Some(1_000.0));
    assert_eq!(first.get(Metric::MemoryBytes), Some(4_000_000.0));
    assert_eq!(first.get(Metric::MemoryPeakBytes), Some(8_096_000.0));
    made.cpu(1_500_000, 250_000);
    made.io(1 << 20, 2 << 20);
    made.pressure("memory", 100_000);
    made.write("memory.current", "6000000\n");
    made.write("memory.events", "oom 1\noom_kill 1\n");
    let second = readers.pass().unwrap().readings;
    let get = |metric| second.get(metric).unwrap();
    assert_eq!(get(Metric::CpuPercent), 50.0);
    assert_eq!(get(Metric::CpuUserPercent), 25.0);
    assert_eq!(get(Metric::CpuThrottledPercent), 25.0);
    assert_eq!(get(Metric::CpuSeconds), 1.5);
    assert_eq!(get(Metric::MemoryBytes), 5_904_000.0);
    assert_eq!(get(Metric::MemoryFileBytes), 96_000.0);
    assert_eq!(get(Metric::MemoryPeakBytes), 8_096_000.0);
    assert_eq!(get(Metric::MemoryChargedPeakBytes), 8_192_000.0);
    assert_eq!(get(Metric::SwapBytes), 4_096.0);
    assert_eq!(get(Metric::IoReadBytesPerSecond), f64::from(1 << 20));
    assert_eq!(get(Metric::IoWriteBytes), f64::from(2 << 20));
    assert_eq!(get(Metric::PressureMemoryFullPercent), 10.0);
    assert_eq!(get(Metric::PressureCpuPercent), 0.0);
    assert_eq!(get(Metric::OomKills), 1.0);
    assert_eq!(get(Metric::Threads), 3.0);
}

#[test]
fn what_a_job_writes_to_files_is_no_memory_of_it() {
    let made = Made::new();
    made.all();
    let mut readers = made.readers();
    readers.pass();
    made.cpu(1_100_000, 0);
    made.cache(1 << 40);
    made.write(
        "memory.current",
        &format!("{}\n", (1_u64 << 40) + 4_000_000),
    );
    made.write("memory.peak", &format!("{}\n", (1_u64 << 40) + 4_000_000));
    let sample = readers.pass().unwrap().readings;
    assert_eq!(sample.get(Metric::MemoryBytes), Some(4_000_000.0));
    assert_eq!(sample.get(Metric::MemoryPeakBytes), Some(8_096_000.0));
}

#[test]
fn a_job_that_stands_still_is_hardly_read() {
    let made = Made::new();
    made.all();
    let mut readers = made.readers();
    readers.pass();
    made.cpu(1_100_000, 0);
    made.io(1_000, 0);
    readers.pass();
    // What went on is looked at once more, and nothing else.
    made.io(3_000, 0);
    made.write("memory.swap.current", "8192\n");
    let sample = readers.pass().unwrap().readings;
    assert_eq!(sample.get(Metric::CpuPercent), Some(0.0));
    assert_eq!(sample.get(Metric::IoReadBytesPerSecond), Some(2_000.0));
    assert_eq!(sample.get(Metric::SwapBytes), Some(4_096.0));
    assert_eq!(readers.get(Metric::IoReadBytesPerSecond), Some(0.0));
    made.pressure("io", 900_000);
    let sample = readers.pass().unwrap().readings;
    assert_eq!(sample.get(Metric::PressureIoPercent), Some(0.0));
    assert_eq!(sample.get(Metric::IoReadBytes), Some(3_000.0));
    // Every now and then all is read.
    let swap = (0..10).map(|_| readers.get(Metric::SwapBytes).unwrap());
    assert!(swap.into_iter().any(|bytes| bytes == 8_192.0));
}

#[test]
fn a_controller_that_is_not_there_tells_nothing() {
    let made = Made::new();
    made.cpu(1_000_000, 0);
    let mut readers = made.readers();
    let sample = readers.pass().unwrap().readings;
    assert_eq!(sample.get(Metric::CpuSeconds), Some(1.0));
    assert_eq!(sample.get(Metric::PressureIoPercent), None);
    assert_eq!(sample.get(Metric::OomKills), None);
    // The attempt ends: its cgroup goes, and so does its sample.
    fs::remove_dir_all(made.dir()).unwrap();
    // A descriptor to a file of a real one would tell so.
    let cgroup = Cgroup::new(&made.roots(), &made.dir(), false);
    readers.jobs.readers.get_mut(&ATTEMPT).unwrap().cgroup = Some(cgroup);
    assert_eq!(readers.pass(), None);
}

/// A shell that stands for a shim: it runs its commands, says so, and waits to be let go.
struct Shim {
    shell: Child,
}

impl Shim {
    fn run(script: &str) -> Self {
        let shell = Command::new("sh")
            .args(["-c", &format!("{script}\nread go; true")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        Self {
            shell: shell.unwrap(),
        }
    }

    /// Reads what it says next.
    fn hear(&mut self) -> String {
        let mut line = String::new();
        let mut output = BufReader::with_capacity(1, self.shell.stdout.as_mut().unwrap());
        output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn tell(&mut self, line: &str) {
        // Whoever would hear it may have ended.
        drop(writeln!(self.shell.stdin.as_mut().unwrap(), "{line}"));
    }

    fn identity(&self) -> attempt::Process {
        let id = crate::contain::identity::of_pid(self.shell.id()).unwrap();
        attempt::Process {
            pid: id.pid,
            start_ticks: id.start_ticks,
        }
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        drop(self.shell.wait());
    }
}

fn readers_of(shim: &Shim) -> Readers {
    let mut readers = Readers::new(&Roots::default());
    readers.watch(&Watch {
        attempt: ATTEMPT,
        shim: Some(shim.identity()),
        ..Watch::default()
    });
    readers
}

/// Set for a copy of this program that is to be a load.
const LOAD: &str = "STOKED_TEST_SAMPLED_LOAD";

fn used_us(who: UsageWho) -> i64 {
    let usage = getrusage(who).unwrap();
    let (user, system) = (usage.user_time(), usage.system_time());
    (user.tv_sec() + system.tv_sec()) * 1_000_000 + user.tv_usec() + system.tv_usec()
}

fn burn(us: i64) {
    let end = used_us(UsageWho::RUSAGE_SELF) + us;
    while used_us(UsageWho::RUSAGE_SELF) < end {}
}

fn copy_command() -> String {
    let program = std::env::current_exe().unwrap();
    let name = "sampling::jobs::tests::load";
    format!("{} --exact {name} --nocapture", program.display())
}

/// No test of its own: in a copy that is to be a load it burns CPU time, also in children that are soon gone, says how
/// much, and waits.
#[test]
fn load() {
    match std::env::var(LOAD).as_deref() {
        Ok("parent") => {
            burn(300_000);
            for _ in 0..10 {
                let mut child = Command::new("sh");
                let child = child.args(["-c", &format!("exec {}", copy_command())]);
                let child = child.env(LOAD, "child").stdout(Stdio::null());
                assert!(child.status().unwrap().success());
            }
            let all = used_us(UsageWho::RUSAGE_SELF) + used_us(UsageWho::RUSAGE_CHILDREN);
            println!("\nused {all}");
            std::io::stdin().read_line(&mut String::new()).unwrap();
        }
        Ok(_) => burn(160_000),
        Err(_) => {}
    }
}

#[test]
fn cpu_time_of_children_that_are_gone_is_not_lost() {
    let mut shim = Shim::run(&format!("{LOAD}=parent {}", copy_command()));
    let mut readers = readers_of(&shim);
    readers.pass();
    let used = loop {
        let line = shim.hear();
        if let Some(used) = line.strip_prefix("used ") {
            break used.parse::<f64>().unwrap() / 1e6;
        }
    };
    let seconds = readers.get(Metric::CpuSeconds).unwrap();
    assert!((seconds / used - 1.0).abs() < 0.01, "{seconds} of {used}");
    // The shell waits for it: now the same is in the shell's own sums.
    shim.tell("go");
    while readers.processes.of(ATTEMPT).count() > 0 {
        readers.pass();
    }
    shim.tell("go");
}

#[test]
fn memory_and_files_of_a_process_are_told() {
    let script = "dd if=/dev/zero of=/dev/null bs=64M count=0 2>/dev/null; \
        exec 3</dev/null 4</dev/null; (read a; read b) <&0 & echo here; read c";
    let mut shim = Shim::run(&format!("sh -c '{script}'"));
    assert_eq!(shim.hear(), "here");
    let mut readers = readers_of(&shim);
    let sample = readers.pass().unwrap().readings;
    let get = |metric| sample.get(metric).unwrap();
    assert!(get(Metric::Processes) >= 1.0);
    assert!(get(Metric::Threads) >= get(Metric::Processes));
    assert!(get(Metric::OpenFiles) >= 5.0, "{sample:?}");
    let resident = get(Metric::MemoryBytes);
    assert!(resident > 300_000.0);
    assert_eq!(sample.get(Metric::NetReceiveBytes), None);
    // What is shared with other programs counts in part only, once that is known.
    while readers.get(Metric::MemoryBytes).unwrap() >= resident {
        std::thread::yield_now();
    }
    let peak = readers.get(Metric::MemoryPeakBytes).unwrap();
    assert!(peak >= resident);
    for _ in 0..4 {
        shim.tell("go");
    }
}

#[test]
fn a_cgroup_without_controllers_is_helped_by_its_processes() {
    let name = format!("sampled-{}", std::process::id());
    let base = match Base::probe(&name) {
        Ok(base) => base,
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    let cgroup = base.attempt("7.1");
    cgroup.create().unwrap();
    let enter = format!("echo 0 > {}", cgroup.dir().join("cgroup.procs").display());
    let mut shim = Shim::run(&format!("sh -c '{enter}; echo here; read c'"));
    assert_eq!(shim.hear(), "here");
    let mut readers = Readers::new(&Roots::default());
    readers.watch(&Watch {
        attempt: ATTEMPT,
        cgroup: Some(cgroup.dir().to_owned()),
        ..Watch::default()
    });
    let sample = readers.pass().unwrap().readings;
    let get = |metric| sample.get(metric).unwrap();
    assert_eq!(get(Metric::Processes), 1.0);
    assert!(get(Metric::MemoryBytes) > 100_000.0);
    assert!(get(Metric::CpuSeconds) > 0.0);
    shim.tell("go");
    while cgroup.populated().unwrap() {
        std::thread::yield_now();
    }
    cgroup.remove(std::time::Duration::from_secs(10)).unwrap();
    base.leave();
    drop(shim);
    assert_eq!(readers.pass(), None);
    assert!(!Path::new(cgroup.dir()).exists());
}

#[test]
fn output_of_children_that_are_gone_is_not_lost() {
    // What is built is more often on a disk than what is temporary.
    let program = std::env::current_exe().unwrap();
    let disk = tempfile::tempdir_in(program.parent().unwrap());
    let disk = disk.or_else(|_| tempfile::tempdir()).unwrap();
    let in_memory = [0x0102_1994, 0x8584_58f6];
    let kind = rustix::fs::statfs(disk.path()).unwrap().f_type;
    if in_memory.contains(&kind) {
        println!("skipped: {} is on no disk", disk.path().display());
        return;
    }
    let file = disk.path().join("file").display().to_string();
    let script = format!(
        "dd if=/dev/zero of={file} bs=64k count=32 conv=fsync 2>/dev/null; echo here; read c; true"
    );
    let mut shim = Shim::run(&format!("sh -c '{script}'"));
    let mut readers = readers_of(&shim);
    assert_eq!(shim.hear(), "here");
    let written = readers.get(Metric::IoWriteBytes).unwrap();
    let known = f64::from(32 * 65_536);
    // The file system may write a block or two of its own with them.
    assert!((known..known + 65_536.0).contains(&written), "{written}");
    shim.tell("go");
    shim.tell("go");
}
