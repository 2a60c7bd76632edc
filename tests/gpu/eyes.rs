//! The process that looks, through its link: asked, hung, crashed, replaced.

use crate::fake_nvml::{FakeDriver, gpu, uuid};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stoked::model::gpu::{GpuCondition, Xid};
use stoked::model::metric::Metric;
use stoked::model::time::Stamp;
use stoked::sampling::GpuAnswer;
use stoked::sampling::gpu::link::GpuLink;
use stoked::sampling::gpu::talk::Spot;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a look may take, on the clock of the test, which goes only as the test says.
pub(crate) const WITHIN_MS: u64 = 5_000;

/// The daemon's side, with a clock of its own.
pub(crate) struct Daemon {
    pub(crate) link: GpuLink,
    woken: Receiver<()>,
    pub(crate) now: Stamp,
}

impl Daemon {
    pub(crate) fn of(kind: &str, variables: &[(&str, &Path)]) -> Self {
        let (sender, woken) = channel();
        let sender = Mutex::new(sender);
        let wake = Arc::new(move || {
            // Nobody listens any more at the end of a test.
            let _heard = sender.lock().unwrap().send(());
        });
        let kind = kind.to_owned();
        let variables: Vec<(String, PathBuf)> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.to_path_buf()))
            .collect();
        let launch = Box::new(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_stoked"));
            command
                .args(["--gpu-eyes", &kind])
                .env_clear()
                .envs(variables.clone());
            command
        });
        let now = Stamp {
            wall_ms: 1,
            boot_ms: 1_000,
        };
        Self {
            link: GpuLink::new(7, "test", launch, wake),
            woken,
            now,
        }
    }

    fn with(fake: &FakeDriver) -> Self {
        let log = fake.dir().join("kernel-log");
        let sys = fake.dir().join("sys");
        Self::of(
            "nvml",
            &[
                ("STOKED_NVML_LIBRARY", &fake.library()),
                ("STOKED_KERNEL_LOG", &log),
                ("STOKED_GPU_SYS", &sys),
            ],
        )
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }

    /// Waits until something is there to be taken.
    fn wait<T>(&mut self, what: &str, mut look: impl FnMut(&mut GpuLink, Stamp) -> Option<T>) -> T {
        loop {
            if let Some(found) = look(&mut self.link, self.now) {
                return found;
            }
            let woken = self.woken.recv_timeout(PATIENCE);
            assert!(woken.is_ok(), "no {what} came: {:?}", self.link.trouble());
        }
    }

    pub(crate) fn sample(&mut self) -> GpuAnswer {
        assert!(
            self.link.ask(self.now, WITHIN_MS),
            "{:?}",
            self.link.trouble()
        );
        self.wait("answer", GpuLink::take)
    }

    fn xid(&mut self) -> Xid {
        self.wait("error of the driver", |link, now| link.take_xids(now).pop())
    }

    /// Waits until the process is gone, and the link noticed.
    pub(crate) fn until_gone(&mut self, pid: u32) -> Option<GpuAnswer> {
        let mut newest = None;
        self.wait("end of the process", |link, now| {
            newest = link.take(now).or(newest.take());
            (link.pid() != Some(pid)).then_some(())
        });
        newest
    }

    fn until_looks_at(&mut self, index: u32) {
        while self.link.looks_at(self.now) != Some(&Spot::Index(index)) {
            std::thread::yield_now();
        }
    }

    pub(crate) fn conditions(answer: &GpuAnswer) -> Vec<GpuCondition> {
        answer.gpus.iter().map(|it| it.condition).collect()
    }
}

#[test]
fn it_answers_what_the_driver_says() {
    let fake = FakeDriver::new(&(gpu(0) + &gpu(1) + "process 0 4242 compute 2G 60 0 0 0\n"));
    let mut daemon = Daemon::with(&fake);
    assert_eq!(daemon.link.pid(), None, "nothing runs before it is asked");
    let answer = daemon.sample();
    assert_eq!((answer.source, answer.at), (7, daemon.now));
    assert_eq!(answer.gpus.len(), 2);
    let first = &answer.gpus[0];
    assert_eq!(first.readings.get(Metric::PowerWatts), Some(250.0));
    assert_eq!(
        (
            first.processes[0].pid,
            first.processes[0].utilization_percent
        ),
        (4242, Some(60.0))
    );
    let pid = daemon.link.pid();
    daemon.pass(2_000);
    daemon.sample();
    assert_eq!(daemon.link.pid(), pid, "one process for all looks");
    assert_eq!(daemon.link.trouble(), None);
}

#[test]
fn nobody_is_known_to_be_alone_where_processes_are_counted_otherwise() {
    let fake = FakeDriver::new(&gpu(0));
    for (space, sees_all) in [("outermost", true), ("inner", false)] {
        let variables = [
            ("STOKED_NVML_LIBRARY", fake.library()),
            ("STOKED_GPU_PIDS", space.into()),
        ];
        let variables = variables.each_ref().map(|(name, it)| (*name, it.as_path()));
        let gpu = Daemon::of("nvml", &variables).sample().gpus.remove(0);
        assert_eq!(gpu.sees_all_processes, sees_all, "{space}");
    }
}

#[test]
fn it_holds_nothing_of_the_daemon_and_ends_with_it() {
    let fake = FakeDriver::new(&gpu(0));
    let secret = fs::File::create(fake.dir().join("secret")).unwrap();
    // As a careless library would open it.
    rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).unwrap();
    let mut daemon = Daemon::with(&fake);
    daemon.sample();
    let pid = daemon.link.pid().unwrap();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let open: Vec<_> = open
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .collect();
    assert!(!open.iter().any(|it| it.ends_with("secret")), "{open:?}");
    drop(daemon);
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "it is gone and reaped"
    );
}

#[test]
fn it_ends_by_itself_when_nobody_asks_any_more_even_in_the_driver() {
    let fake = FakeDriver::new(&(gpu(0) + "hang nvmlDeviceGetUUID\n"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_stoked"))
        .args(["--gpu-eyes", "nvml"])
        .env("STOKED_NVML_LIBRARY", fake.library())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"nonsense\n{\"sample\":{\"number\":1}}\n").unwrap();
    while !fake.calls().contains(&"nvmlDeviceGetUUID 0".to_owned()) {
        std::thread::yield_now();
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_driver_that_hangs_is_given_up_and_asked_again_later() {
    let fake = FakeDriver::new(&gpu(0));
    let mut daemon = Daemon::with(&fake);
    daemon.sample();
    let pid = daemon.link.pid().unwrap();
    fake.say(&(gpu(0) + "hang nvmlDeviceGetPowerUsage\n"));
    daemon.pass(2_000);
    assert!(daemon.link.ask(daemon.now, WITHIN_MS));
    let asked = daemon.now;
    daemon.pass(WITHIN_MS - 1);
    assert!(
        daemon.link.take(daemon.now).is_none(),
        "nobody waits for it"
    );
    assert!(!daemon.link.ask(daemon.now, WITHIN_MS), "nor asks again");
    assert_eq!(daemon.link.due_ms(), Some(daemon.now.boot_ms + 1));
    daemon.pass(1);
    let answer = daemon.link.take(daemon.now).unwrap();
    assert_eq!(Daemon::conditions(&answer), [GpuCondition::Unresponsive]);
    assert_eq!(answer.at, asked, "since then");
    assert!(answer.gpus[0].readings.is_empty());
    assert!(daemon.link.trouble().unwrap().contains("does not answer"));
    daemon.until_gone(pid);
    fake.say(&gpu(0));
    assert!(!daemon.link.ask(daemon.now, WITHIN_MS), "not at once");
    daemon.pass(5_000);
    let answer = daemon.sample();
    assert_eq!(Daemon::conditions(&answer), [GpuCondition::Ok]);
    assert_ne!(daemon.link.pid(), Some(pid));
    assert_eq!(daemon.link.trouble(), None);
}

#[test]
fn one_gpu_that_hangs_takes_no_other_with_it() {
    let three = gpu(0) + &gpu(1) + &gpu(2);
    let fake = FakeDriver::new(&three);
    let mut daemon = Daemon::with(&fake);
    daemon.sample();
    let pid = daemon.link.pid().unwrap();
    let (ok, silent) = (GpuCondition::Ok, GpuCondition::Unresponsive);
    let hanging = three.clone() + "hang nvmlDeviceGetPowerUsage 1\n";
    fake.say(&hanging);
    assert!(daemon.link.ask(daemon.now, WITHIN_MS));
    daemon.until_looks_at(1);
    daemon.pass(WITHIN_MS);
    let answer = daemon.link.take(daemon.now).unwrap();
    assert_eq!(Daemon::conditions(&answer), [ok, silent, ok]);
    assert!(answer.gpus[0].readings.is_empty(), "of this pass");
    daemon.until_gone(pid);
    // At once, without it.
    let answer = daemon.sample();
    assert_eq!(Daemon::conditions(&answer), [ok, silent, ok]);
    assert!(!answer.gpus[2].readings.is_empty());
    assert_eq!(daemon.link.trouble(), None);
    let troubles = daemon.link.troubles_of_gpus();
    assert!(troubles[0].contains("hear from GPU 1"), "{troubles:?}");
    // It is tried again, and costs the others one look.
    daemon.pass(5_000);
    let pid = daemon.link.pid().unwrap();
    assert!(daemon.link.ask(daemon.now, WITHIN_MS));
    daemon.until_looks_at(1);
    daemon.pass(WITHIN_MS);
    daemon.until_gone(pid);
    assert_eq!(Daemon::conditions(&daemon.sample()), [ok, silent, ok]);
    fake.say(&three);
    daemon.pass(9_999);
    assert_eq!(Daemon::conditions(&daemon.sample()), [ok, silent, ok]);
    daemon.pass(1);
    assert_eq!(Daemon::conditions(&daemon.sample()), [ok, ok, ok]);
    assert_eq!(daemon.link.troubles_of_gpus(), Vec::<String>::new());
}

#[test]
fn a_driver_that_hangs_when_it_is_opened_is_given_up() {
    let fake = FakeDriver::new(&(gpu(0) + "hang nvmlInit_v2\n"));
    let mut daemon = Daemon::with(&fake);
    assert!(daemon.link.ask(daemon.now, WITHIN_MS));
    let pid = daemon.link.pid().unwrap();
    daemon.pass(WITHIN_MS);
    assert!(daemon.link.take(daemon.now).is_none(), "no GPU is known");
    assert!(daemon.link.trouble().is_some());
    daemon.until_gone(pid);
}

#[test]
fn a_crash_of_the_library_is_survived() {
    let fake = FakeDriver::new(&gpu(0));
    let mut daemon = Daemon::with(&fake);
    daemon.sample();
    fake.say(&(gpu(0) + "crash nvmlDeviceGetPowerUsage\n"));
    let pid = daemon.link.pid().unwrap();
    assert!(daemon.link.ask(daemon.now, WITHIN_MS));
    let answer = daemon.until_gone(pid).unwrap();
    assert_eq!(Daemon::conditions(&answer), [GpuCondition::Unresponsive]);
    let trouble = daemon.link.trouble().unwrap();
    assert!(trouble.contains("signal: 11"), "{trouble}");
    assert_eq!(daemon.link.pid(), None, "it was reaped");
    fake.say(&gpu(0));
    daemon.pass(5_000);
    assert_eq!(Daemon::conditions(&daemon.sample()), [GpuCondition::Ok]);
}

#[test]
fn a_lost_gpu_comes_back_once_the_driver_is_opened_anew() {
    let fake = FakeDriver::new(&(gpu(0) + &gpu(1)));
    let mut daemon = Daemon::with(&fake);
    daemon.sample();
    let pid = daemon.link.pid().unwrap();
    fake.say(&(gpu(0) + &gpu(1) + "gpu 0 lost 1\n"));
    let both = [GpuCondition::Lost, GpuCondition::Ok];
    assert_eq!(Daemon::conditions(&daemon.sample()), both);
    fake.say(&(gpu(0) + &gpu(1)));
    daemon.pass(4_000);
    assert_eq!(Daemon::conditions(&daemon.sample()), both);
    daemon.pass(1_000);
    assert!(
        !daemon.link.ask(daemon.now, WITHIN_MS),
        "it is asked to end"
    );
    daemon.until_gone(pid);
    assert_eq!(Daemon::conditions(&daemon.sample()), [GpuCondition::Ok; 2]);
}

#[test]
fn a_driver_that_is_replaced_is_used_again_when_it_can_be() {
    let fake = FakeDriver::new(&gpu(0));
    let mut daemon = Daemon::with(&fake);
    daemon.sample();
    let pid = daemon.link.pid().unwrap();
    fake.say(&(gpu(0) + "fail * 18\n"));
    assert!(daemon.link.ask(daemon.now, WITHIN_MS));
    let answer = daemon.until_gone(pid).unwrap();
    assert_eq!(Daemon::conditions(&answer), [GpuCondition::Unresponsive]);
    assert!(daemon.link.trouble().unwrap().contains("reboot"));
    fake.say(&(gpu(0) + "driver 580.95.05\n"));
    daemon.pass(5_000);
    let answer = daemon.sample();
    assert_eq!(answer.gpus[0].identity.driver.as_deref(), Some("580.95.05"));
}

#[test]
fn an_absent_library_is_no_more_than_a_message() {
    let missing = Path::new("/no/such/library.so");
    let mut daemon = Daemon::of("nvml", &[("STOKED_NVML_LIBRARY", missing)]);
    assert!(daemon.link.ask(daemon.now, WITHIN_MS));
    let pid = daemon.link.pid().unwrap();
    assert!(daemon.until_gone(pid).is_none());
    let trouble = daemon.link.trouble().unwrap();
    assert!(trouble.contains("/no/such/library.so"), "{trouble}");
}

#[test]
fn what_cannot_be_started_is_tried_again() {
    let wake: stoked::sampling::gpu::link::Wake = Arc::new(|| ());
    let launch = Box::new(|| Command::new("/no/such/program"));
    let mut link = GpuLink::new(0, "test", launch, wake);
    let now = Stamp {
        wall_ms: 0,
        boot_ms: 0,
    };
    assert!(!link.ask(now, WITHIN_MS));
    assert!(link.trouble().unwrap().contains("No such file"));
    assert!(!link.ask(now.plus_ms(5_000), WITHIN_MS));
    assert!(link.take(now).is_none());
}

#[test]
fn gpus_that_may_sleep_are_let_sleep_and_known_when_they_do() {
    let fake = FakeDriver::new(&gpu(0).replace("utilization 85", "utilization 0"));
    let dir = fake.dir().join("sys/bus/pci/devices/0000:60:00.0");
    fs::create_dir_all(dir.join("power")).unwrap();
    for (name, text) in [
        ("vendor", "0x10de"),
        ("class", "0x030200"),
        ("power/runtime_status", "active"),
        ("power/control", "auto"),
    ] {
        fs::write(dir.join(name), text).unwrap();
    }
    let mut daemon = Daemon::with(&fake);
    daemon.sample();
    let pid = daemon.link.pid().unwrap();
    (1..5).for_each(|_| drop(daemon.sample()));
    daemon.until_gone(pid);
    fs::write(dir.join("power/runtime_status"), "suspended").unwrap();
    fake.forget_calls();
    let answer = daemon.sample();
    assert_eq!(Daemon::conditions(&answer), [GpuCondition::Asleep]);
    assert_eq!(answer.gpus[0].identity.uuid.as_str(), uuid(0));
    assert_eq!(fake.calls(), Vec::<String>::new());
    assert_eq!(daemon.link.trouble(), None);
}

/// Stands in for `/dev/kmsg`: a pipe with a name.
fn kernel_log(fake: &FakeDriver) -> fs::File {
    let path = fake.dir().join("kernel-log");
    let status = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(status.success());
    fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

#[test]
fn an_error_that_both_tell_is_one_with_its_process() {
    use std::io::Write;
    let fake = FakeDriver::new(&gpu(0));
    let mut log = kernel_log(&fake);
    writeln!(
        log,
        "6,41,1,-;NVRM: Xid (PCI:0000:60:00): 13, pid=1, name=long ago"
    )
    .unwrap();
    let mut daemon = Daemon::with(&fake);
    daemon.sample();
    writeln!(
        log,
        "4,42,2,-;NVRM: Xid (PCI:0000:60:00): 31, pid=4242, name=python3, Ch 00000008"
    )
    .unwrap();
    let xid = daemon.xid();
    assert_eq!(
        (xid.code, xid.pid, xid.process.as_deref()),
        (31, Some(4242), Some("python3"))
    );
    assert_eq!(xid.uuid.unwrap().to_string(), uuid(0));
    // The library tells of the same, and of another one that the log says nothing of.
    fake.say(&(gpu(0) + "xid 0 31 1\nxid 0 48 2\n"));
    let (mut told, mut ms) = (Vec::new(), 0);
    while told.is_empty() {
        told = daemon.link.take_xids(daemon.now.plus_ms(ms));
        // The one that waits is due once the link heard of it.
        ms = if daemon.link.due_ms().is_some() {
            600
        } else {
            ms
        };
        std::thread::yield_now();
    }
    let codes: Vec<u32> = told.iter().map(|xid| xid.code).collect();
    assert_eq!(codes, [48]);
}

#[test]
fn errors_while_nothing_looked_are_read_afterwards() {
    use std::io::Write;
    let fake = FakeDriver::new(&gpu(0));
    let path = fake.dir().join("kernel-log");
    let line =
        |number: u32| format!("4,{number},2,-;NVRM: Xid (PCI:0000:60:00): {number}, pid=4242\n");
    let mut log = fs::File::create(&path).unwrap();
    log.write_all(line(1).as_bytes()).unwrap();
    let mut daemon = Daemon::with(&fake);
    daemon.sample();
    fake.say(&(gpu(0) + "crash nvmlDeviceGetUUID\n"));
    log.write_all(line(79).as_bytes()).unwrap();
    assert!(daemon.link.ask(daemon.now, WITHIN_MS));
    let pid = daemon.link.pid().unwrap();
    daemon.until_gone(pid);
    fake.say(&gpu(0));
    daemon.pass(5_000);
    daemon.sample();
    let codes: Vec<u32> = std::iter::once(daemon.xid().code).collect();
    assert_eq!(codes, [79]);
}
