//! The daemon's side of a process that looks at GPUs: starts it, asks, takes what it answers, gives up where it does
//! not, and starts it again. Nothing here waits for it.

pub mod course;
pub mod left_out;
mod words;

use crate::model::gpu::{GpuCondition, GpuIdentity, GpuSample, GpuUuid, Xid};
use crate::model::time::Stamp;
use crate::model::xid::{Teller, Xids};
use crate::sampling::GpuAnswer;
use crate::sampling::gpu::talk::{LogPlace, Reply, Request, Spot};
use course::{Course, Order};
use left_out::LeftOut;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

/// Longest line that is taken: a host has few GPUs, and each a few processes.
const MAX_LINE: u64 = 4 * 1024 * 1024;

/// How long a process that was killed may take to go, when nobody wants it any more.
const LAST_WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// How long a process that was killed may take to go before it is said that it hangs, and so do all GPUs, milliseconds.
const DYING_MS: u64 = 2_000;

/// How long to wait for what a process said last, once it is gone, milliseconds.
const LAST_WORDS_MS: u64 = 1_000;

/// What starts the process; standard input and output are set by the link.
pub type Launch = Box<dyn FnMut() -> Command + Send>;

/// Told whenever there may be something to take.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

enum Heard {
    Reply(Reply),
    /// There is nothing more to hear: it is gone.
    Silence,
}

/// A process that looks at the GPUs of one source.
pub struct GpuLink {
    source: u32,
    name: &'static str,
    launch: Launch,
    wake: Wake,
    course: Course,
    left_out: LeftOut,
    /// Which GPU it asked the driver about last, where it has not answered since.
    looks_at: Option<Spot>,
    /// It was killed because of one GPU; when the others cannot be looked at either, unless it is gone.
    all_hang_ms: Option<u64>,
    running: Option<Running>,
    asked_at: Stamp,
    newest: Vec<GpuSample>,
    known: BTreeMap<GpuUuid, GpuIdentity>,
    answer: Option<GpuAnswer>,
    xids: Xids,
    told: Vec<Xid>,
    log: LogPlace,
    rested: bool,
    trouble: Option<String>,
}

struct Running {
    child: Child,
    input: Option<ChildStdin>,
    heard: Receiver<Heard>,
    listener: Option<JoinHandle<()>>,
    is_silent: bool,
    /// Since when it is gone, where something still holds its output open.
    gone_ms: Option<u64>,
}

impl GpuLink {
    /// Starts nothing yet: the process is started when it is first asked. `source` is what its answers carry.
    #[must_use]
    pub fn new(source: u32, name: &'static str, launch: Launch, wake: Wake) -> Self {
        Self {
            source,
            name,
            launch,
            wake,
            course: Course::default(),
            left_out: LeftOut::default(),
            looks_at: None,
            all_hang_ms: None,
            running: None,
            asked_at: Stamp::default(),
            newest: Vec::new(),
            known: BTreeMap::new(),
            answer: None,
            xids: Xids::default(),
            told: Vec::new(),
            log: LogPlace::End,
            rested: false,
            trouble: None,
        }
    }

    /// Asks for a sample, to come within so many milliseconds. Says whether one is under way from now on.
    pub fn ask(&mut self, now: Stamp, within_ms: u64) -> bool {
        self.poll(now);
        let mut is_asked = false;
        for order in self.course.ask(now.boot_ms, within_ms) {
            let outcome = match order {
                Order::Start => self.start(),
                Order::Ask(number) => {
                    is_asked = true;
                    self.asked_at = now;
                    let without = self.left_out.at(now.boot_ms);
                    self.say(&Request::Sample { number, without })
                }
                Order::Close | Order::Kill => {
                    self.carry_out(order);
                    Ok(())
                }
            };
            if let Err(error) = outcome {
                self.fail(format!(
                    "start or ask a process that looks at GPUs: {error}"
                ));
                if self.running.is_none() {
                    self.course.ended(now.boot_ms);
                }
                return false;
            }
        }
        is_asked
    }

    /// The host slept for so long. What is waited for has as much time left as it had before.
    pub fn slept(&mut self, ms: u64) {
        self.course.slept(ms);
        let gone_ms = self.running.as_mut().map(|it| &mut it.gone_ms);
        for at_ms in gone_ms.into_iter().chain([&mut self.all_hang_ms]).flatten() {
            *at_ms = at_ms.saturating_add(ms);
        }
    }

    /// The newest answer, once. A GPU that does not answer is in it as well.
    pub fn take(&mut self, now: Stamp) -> Option<GpuAnswer> {
        self.poll(now);
        self.answer.take()
    }

    /// Errors that the driver told of, once.
    pub fn take_xids(&mut self, now: Stamp) -> Vec<Xid> {
        self.poll(now);
        self.told.extend(self.xids.due(now.boot_ms));
        std::mem::take(&mut self.told)
    }

    /// When it has to be looked after at the latest, on the boot clock.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        let due = [
            self.course.deadline_ms(),
            self.xids.next_due_ms(),
            self.all_hang_ms,
        ];
        due.into_iter().flatten().min()
    }

    /// What is wrong, completing "failed to"; nothing while it answers.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// What is wrong with GPUs while the others answer, each completing "failed to".
    #[must_use]
    pub fn troubles_of_gpus(&self) -> Vec<String> {
        words::troubles(&self.newest, self.left_out.at(self.asked_at.boot_ms))
    }

    /// Which GPU the driver was last asked about, where that has not answered since.
    pub fn looks_at(&mut self, now: Stamp) -> Option<&Spot> {
        self.poll(now);
        self.looks_at.as_ref()
    }

    /// It was killed and is still there: it hangs in the driver.
    #[must_use]
    pub fn is_dying(&self) -> bool {
        self.course.is_dying()
    }

    /// What its answers carry.
    #[must_use]
    pub fn source(&self) -> u32 {
        self.source
    }

    /// The process that looks, where there is one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    fn start(&mut self) -> io::Result<()> {
        let mut command = (self.launch)();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (sender, heard) = channel();
        let wake = Arc::clone(&self.wake);
        let listener = output.map(|output| {
            let thread = Builder::new().name(format!("hears {}", self.name));
            let thread = thread.stack_size(256 * 1024);
            let pidfd = pidfd_of(&child);
            thread.spawn(move || listen(output, pidfd.as_ref(), &sender, &wake))
        });
        let (listener, failure) = match listener.transpose() {
            Ok(listener) => (listener, None),
            Err(error) => (None, Some(error)),
        };
        self.running = Some(Running {
            child,
            input,
            heard,
            listener,
            is_silent: false,
            gone_ms: None,
        });
        if let Some(error) = failure {
            return Err(error);
        }
        let begin = Request::Begin {
            known: self.known.values().cloned().collect(),
            log: self.log,
            rested: std::mem::take(&mut self.rested),
        };
        self.say(&begin)
    }

    /// The pipe has room for it: there is never more than one request under way.
    fn say(&mut self, request: &Request) -> io::Result<()> {
        let input = self.running.as_mut().and_then(|it| it.input.as_mut());
        let Some(input) = input else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        match input.write_all(&line) {
            // It is gone already, which is noticed in its own way.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome,
        }
    }

    fn carry_out(&mut self, order: Order) {
        let Some(running) = &mut self.running else {
            return;
        };
        running.input = None;
        if order == Order::Kill {
            // Its only reason to fail is that the process is gone.
            let _killed = running.child.kill();
        }
    }

    /// Takes what was said, and notices what was not.
    fn poll(&mut self, now: Stamp) {
        while let Some(heard) = self
            .running
            .as_ref()
            .and_then(|it| it.heard.try_recv().ok())
        {
            match (heard, &mut self.running) {
                (Heard::Reply(reply), _) => self.hear(reply, now),
                (Heard::Silence, Some(running)) => running.is_silent = true,
                (Heard::Silence, None) => {}
            }
        }
        if let Some(order) = self.course.pass(now.boot_ms) {
            match self.looks_at.take() {
                Some(spot) => self.leave_out(spot, now),
                None => self.all_hang(),
            }
            self.carry_out(order);
        }
        if self.all_hang_ms.is_some_and(|at_ms| at_ms <= now.boot_ms) {
            self.all_hang_ms = None;
            self.all_hang();
        }
        let Some(running) = &mut self.running else {
            return;
        };
        if let Ok(Some(status)) = running.child.try_wait() {
            let gone_ms = *running.gone_ms.get_or_insert(now.boot_ms);
            // What it said last may be on its way. A program that the driver's library started may hold the pipe open
            // for ever, though: nobody waits for that.
            if running.is_silent || now.boot_ms.saturating_sub(gone_ms) >= LAST_WORDS_MS {
                self.bury(status, now);
            }
        }
    }

    /// One GPU hangs, and is not asked for a while. The process is killed all the same: it is in the driver.
    fn leave_out(&mut self, spot: Spot, now: Stamp) {
        tracing::warn!(
            source = self.name,
            "{spot} does not answer and is left out for a while"
        );
        self.course.forgive();
        self.all_hang_ms = Some(now.boot_ms.saturating_add(DYING_MS));
        let gpus = words::silenced(std::mem::take(&mut self.newest), &spot);
        if !gpus.is_empty() {
            self.answer(gpus);
        }
        self.left_out.hung(spot, now.boot_ms);
    }

    fn all_hang(&mut self) {
        if self.trouble.is_none() {
            self.fail("hear from the driver of the GPUs: it does not answer".to_owned());
        }
        self.set_all(GpuCondition::Unresponsive);
    }

    /// It is gone.
    fn bury(&mut self, status: ExitStatus, now: Stamp) {
        let Some(running) = self.running.take() else {
            return;
        };
        (self.looks_at, self.all_hang_ms) = (None, None);
        let listener = running.listener.filter(JoinHandle::is_finished);
        if listener.is_some_and(|listener| listener.join().is_err()) {
            tracing::error!("the listener to a process that looks at GPUs panicked");
        }
        if self.course.ended(now.boot_ms) {
            if self.trouble.is_none() {
                self.fail(format!("keep the process that looks at GPUs: {status}"));
            }
            self.set_all(GpuCondition::Unresponsive);
        }
    }

    fn hear(&mut self, reply: Reply, now: Stamp) {
        match reply {
            Reply::Sample { number, gpus, rest } => {
                let is_lost = gpus.iter().any(|gpu| gpu.condition == GpuCondition::Lost);
                if !self.course.answered(number, is_lost, now.boot_ms) {
                    return;
                }
                self.looks_at = None;
                self.left_out.answered(now.boot_ms);
                if rest {
                    self.rested = true;
                    self.course.rests(now.boot_ms);
                }
                if self.trouble.take().is_some() {
                    tracing::info!(source = self.name, "the GPUs answer again");
                } else {
                    words::log_changes(&self.newest, &gpus);
                }
                self.know(&gpus);
                self.answer(gpus);
            }
            Reply::Looks(spot) => self.looks_at = Some(spot),
            Reply::Failed { why } => self.fail(why),
            Reply::Log { record } => {
                self.log = record.map_or(self.log, LogPlace::After);
                self.xids.hear_log();
            }
            Reply::Xid { xid, record } => {
                let teller = match record {
                    Some(record) => {
                        self.log = LogPlace::After(record);
                        self.xids.hear_log();
                        Teller::Log
                    }
                    None => Teller::Library,
                };
                self.told.extend(self.xids.tell(teller, xid, now.boot_ms));
            }
        }
    }

    fn know(&mut self, gpus: &[GpuSample]) {
        for gpu in gpus {
            let identity = &gpu.identity;
            let is_whole = identity.part_of.is_none();
            if gpu.condition != GpuCondition::Ok || !is_whole {
                continue;
            }
            if let Some(place) = &identity.pci_bus_id {
                self.xids.place(place, &identity.uuid);
            }
            if self.known.get(&identity.uuid) != Some(identity) {
                // Another board in the same place takes it over.
                let place = &identity.pci_bus_id;
                self.known
                    .retain(|_, it| it.pci_bus_id.is_none() || it.pci_bus_id != *place);
                self.known.insert(identity.uuid.clone(), identity.clone());
            }
        }
    }

    fn answer(&mut self, gpus: Vec<GpuSample>) {
        self.newest.clone_from(&gpus);
        self.answer = Some(GpuAnswer {
            source: self.source,
            at: self.asked_at,
            gpus,
            has_outer_pids: false,
        });
    }

    /// None of them answers any more.
    fn set_all(&mut self, condition: GpuCondition) {
        if self.newest.is_empty() {
            return;
        }
        let gpus = std::mem::take(&mut self.newest);
        let silent = gpus.into_iter().map(|gpu| {
            let condition = match gpu.condition {
                GpuCondition::Ok | GpuCondition::Asleep => condition,
                worse @ (GpuCondition::Unresponsive | GpuCondition::Lost) => worse,
            };
            GpuSample::unmeasured(gpu.identity, condition)
        });
        let silent = silent.collect();
        self.answer(silent);
    }

    fn fail(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            tracing::warn!(source = self.name, "failed to {why}");
            self.trouble = Some(why);
        }
    }
}

impl Drop for GpuLink {
    fn drop(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        running.input = None;
        let _killed = running.child.kill();
        // One that hangs in the driver is left to the end of this process.
        if let Some(pid) = i32::try_from(running.child.id())
            .ok()
            .and_then(Pid::from_raw)
            && let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty())
        {
            let _gone = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&LAST_WAIT));
        }
        let _reaped = running.child.try_wait();
    }
}

/// What waits for the end of a child, which is not reaped yet.
fn pidfd_of(child: &Child) -> Option<OwnedFd> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Hears it until it is gone.
fn listen(output: ChildStdout, pidfd: Option<&OwnedFd>, to: &Sender<Heard>, wake: &Wake) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = output.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        if !matches!(read, Ok(length) if length > 0) {
            break;
        }
        // What a newer one says is passed over; both are of one program as a rule.
        if let Ok(reply) = serde_json::from_slice(&line) {
            // Where it looks is of use only when nothing more comes.
            let is_news = !matches!(reply, Reply::Looks(_));
            let _heard = to.send(Heard::Reply(reply));
            if is_news {
                wake();
            }
        }
    }
    if let Some(pidfd) = pidfd {
        // It closes its output a moment before it is gone, if it does not hang in the driver.
        while let Err(Errno::INTR) = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], None) {}
    }
    let _heard = to.send(Heard::Silence);
    wake();
}
