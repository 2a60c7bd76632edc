//! The end of an attempt: everything it left behind is ended, the last output is read, the exit
//! record is written, and the shim stays until a daemon has it or the disk does.

use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, wait, waitpid};

use crate::contain::{ContainError, Containment};
use crate::logs::Stream;
use crate::wire::shim::{ExitRecord, FromShim, SpawnError, VERSION, WireStamp};

use super::attempt_dir::WrittenExit;
use super::clock;
use super::serve::{Phase, Shim};
use super::session::Session;

/// How long killed processes may take before they are looked for again.
const RESWEEP: Duration = Duration::from_millis(50);
/// When to stop waiting for processes that not even SIGKILL ends.
const GIVE_UP: Duration = Duration::from_secs(10);
/// How long an outsider that holds an output open may keep the attempt from ending.
const DRAIN: Duration = Duration::from_secs(1);
/// How often the job is listened to after its end: more than waits in any socket, and not for ever, as an outsider may
/// go on.
const LAST_WORDS: u32 = 32;
/// How long a daemon may take to commit the exit before the shim makes it durable itself.
const ACKNOWLEDGE: Duration = Duration::from_secs(2);
/// How long to wait before trying again to write an exit record to a full disk.
const RETRY: Duration = Duration::from_secs(1);

/// The main process has ended, or never came to be.
#[derive(Debug)]
pub(super) struct Ending {
    error: Option<SpawnError>,
    ended: WireStamp,
    since: Instant,
    next_sweep: Option<Instant>,
    drain_until: Option<Instant>,
    killed: u32,
    survivors: u32,
}

/// The exit record is there.
#[derive(Debug)]
pub(super) struct Exited {
    frame: FromShim,
    record: ExitRecord,
    written: Option<WrittenExit>,
    is_durable: bool,
    next_try: Option<Instant>,
}

impl Ending {
    pub(super) fn new(error: Option<SpawnError>) -> Self {
        Self {
            error,
            ended: clock::now(),
            since: Instant::now(),
            next_sweep: None,
            drain_until: None,
            killed: 0,
            survivors: 0,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.drain_until.or(self.next_sweep)
    }
}

impl Exited {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next_try
    }

    pub(super) fn frame(&self) -> &FromShim {
        &self.frame
    }
}

impl Shim {
    /// Go as far as the attempt can without waiting.
    pub(super) fn advance(&mut self) {
        if matches!(self.phase, Phase::Running) && self.main_status.is_some() {
            self.end(None);
        }
        if matches!(self.phase, Phase::Ending(_))
            && self.leftovers_are_gone()
            && self.session_is_closed()
            && self.is_drained()
        {
            self.record_exit();
        }
        if matches!(self.phase, Phase::Exited(_)) {
            self.secure_exit();
        }
    }

    /// Reap whoever has ended, orphans that came to us as their subreaper included. Says whether
    /// any child is left.
    pub(super) fn reap_children(&mut self) -> bool {
        loop {
            let next = self.account.next_child();
            // Whoever was started in a session said who it is before it ended, if not long before.
            if self.main.is_none() {
                self.receive_start();
            }
            let next = next
                .and_then(|pid| i32::try_from(pid).ok())
                .and_then(Pid::from_raw);
            // Without a process to name, `waitpid` would look at our own process group alone.
            let reaped = match next {
                Some(_) => waitpid(next, WaitOptions::NOHANG),
                None => wait(WaitOptions::NOHANG),
            };
            match reaped {
                Ok(Some((pid, status))) => {
                    let pid = u32::try_from(pid.as_raw_nonzero().get()).ok();
                    if pid == self.main.map(|main| main.pid) && self.main_status.is_none() {
                        self.main_status = Some(status);
                    }
                    if let Some(session) = &mut self.session
                        && Some(session.process.pid) == pid
                    {
                        session.ended();
                    }
                }
                Ok(None) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// SIGKILL for everything the job ever forked; what has left its cgroup is still below us.
    pub(super) fn sweep(&self) -> Result<u32, ContainError> {
        let killed = self.containment.sweep()?;
        match &self.containment {
            Containment::Cgroup(_) => {
                let below = Containment::Tree(self.below()).sweep()?;
                Ok(killed.max(below))
            }
            Containment::Tree(_) => Ok(killed),
        }
    }

    /// What was opened for the attempt is closed before its end is told.
    fn session_is_closed(&mut self) -> bool {
        self.session.as_mut().is_none_or(Session::is_closed)
    }

    /// Everything the job forked descends from us, so nothing of it is alive when we have no
    /// children; the common end costs no look at any other process. With a session there is its
    /// keeper, so that others have to be looked for.
    fn leftovers_are_gone(&mut self) -> bool {
        if !self.reap_children() {
            return true;
        }
        if self.session.is_some() && self.only_the_keeper_is_left() {
            return true;
        }
        let now = Instant::now();
        let due = match &self.phase {
            Phase::Ending(ending) => ending.next_sweep.is_none_or(|at| at <= now),
            Phase::Opening(_)
            | Phase::Starting(_)
            | Phase::Running
            | Phase::Exited(_)
            | Phase::Done => false,
        };
        // A sweep that fails is tried again until the shim gives up.
        let killed = if due { self.sweep().unwrap_or(0) } else { 0 };
        let below = self.below();
        let Phase::Ending(ending) = &mut self.phase else {
            return false;
        };
        if due {
            ending.killed = ending.killed.max(killed);
            ending.next_sweep = Some(now + RESWEEP);
        }
        if ending.since.elapsed() < GIVE_UP {
            return false;
        }
        let left = below.pids().map_or(1, |left| left.len());
        ending.survivors = u32::try_from(left).unwrap_or(u32::MAX);
        true
    }

    fn only_the_keeper_is_left(&self) -> bool {
        let contained = match &self.containment {
            Containment::Cgroup(_) => self.containment.is_empty(),
            // The same processes that are looked at next.
            Containment::Tree(_) => Ok(true),
        };
        contained.unwrap_or(true) && self.below().pids().is_ok_and(|left| left.is_empty())
    }

    /// Whether the outputs have ended, or their time is up.
    fn is_drained(&mut self) -> bool {
        let mut buffer = [0; 4096];
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.drain(stream, &mut buffer);
        }
        let over = self.output.is_over();
        let Phase::Ending(ending) = &mut self.phase else {
            return false;
        };
        let until = *ending.drain_until.get_or_insert(Instant::now() + DRAIN);
        over || until <= Instant::now()
    }

    /// Read what is there now and no more, so that an outsider who writes on cannot hold us.
    fn drain(&mut self, stream: Stream, buffer: &mut [u8]) {
        for _ in 0..1024 {
            let waiting = self.output.polled().any(|(other, fd, _)| {
                let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
                let at_once = Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                other == stream && poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
            });
            if !waiting {
                return;
            }
            self.output.pump(stream, buffer);
        }
    }

    fn record_exit(&mut self) {
        let mut buffer = [0; 4096];
        for _ in 0..LAST_WORDS {
            if !self.pass_notifications(&mut buffer) {
                break;
            }
        }
        let Phase::Ending(ending) = std::mem::replace(&mut self.phase, Phase::Done) else {
            return;
        };
        let record = self.exit_record(&ending);
        let frame = match &record.spawn_error {
            Some(error) => FromShim::SpawnFailed(error.clone()),
            None => FromShim::Exited(Box::new(record.clone())),
        };
        let written = self.dir.write_exit(&record).ok();
        self.connections.send_all(&frame);
        if let Containment::Cgroup(cgroup) = &self.containment {
            // What a stranger moved in is not the job's; the directory then stays, and the
            // daemon's next start removes it.
            drop(cgroup.remove(DRAIN));
        }
        self.phase = Phase::Exited(Box::new(Exited {
            frame,
            record,
            written,
            is_durable: false,
            next_try: Some(Instant::now() + ACKNOWLEDGE),
        }));
    }

    fn exit_record(&mut self, ending: &Ending) -> ExitRecord {
        let ran = ending.error.is_none();
        let status = self.main_status.filter(|_| ran);
        let mut record = ExitRecord {
            version: VERSION,
            job: self.launch.job,
            attempt: self.launch.attempt,
            boot_id: self.boot_id.clone(),
            main: self.started.as_ref().map(|started| started.main),
            started: self.started.as_ref().map(|started| started.at),
            ended: ending.ended,
            code: status.and_then(rustix::process::WaitStatus::exit_status),
            signal: status.and_then(rustix::process::WaitStatus::terminating_signal),
            core_dumped: status.is_some_and(|status| {
                std::process::ExitStatus::from_raw(status.as_raw()).core_dumped()
            }),
            user_cpu_ms: 0,
            system_cpu_ms: 0,
            max_rss_bytes: 0,
            cpu_us: None,
            throttled_us: None,
            memory_peak_bytes: None,
            memory_charged_peak_bytes: None,
            io_read_bytes: None,
            io_write_bytes: None,
            oom_kills: None,
            killed_leftovers: if ran { ending.killed } else { 0 },
            survivors: ending.survivors,
            dropped_output_bytes: self.output.finish(),
            oom_killed: false,
            spawn_error: ending.error.clone(),
        };
        self.account.enter(&self.containment, &mut record);
        record
    }

    /// Make the record durable when no daemon is there to commit it, or none does in time; leave
    /// when it is durable and nobody listens any more.
    fn secure_exit(&mut self) {
        let alone = self.connections.is_empty();
        let Phase::Exited(exited) = &mut self.phase else {
            return;
        };
        let due = exited.next_try.is_some_and(|at| at <= Instant::now());
        if !exited.is_durable && (due || (alone && exited.written.is_some())) {
            if exited.written.is_none() {
                exited.written = self.dir.write_exit(&exited.record).ok();
            }
            exited.is_durable = exited
                .written
                .as_ref()
                .is_some_and(|written| self.dir.sync_exit(written).is_ok());
            exited.next_try = (!exited.is_durable).then(|| Instant::now() + RETRY);
        }
        // A job may have removed the directory with everything in it.
        if alone && (exited.is_durable || self.dir.is_gone()) {
            self.phase = Phase::Done;
        }
    }

    /// The daemon has committed the end: the files have done their duty.
    pub(super) fn acknowledged(&mut self) {
        if matches!(self.phase, Phase::Exited(_)) {
            self.dir.clean_up();
            self.phase = Phase::Done;
        }
    }
}
