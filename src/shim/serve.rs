//! The shim's life after the claim: one loop around one `poll`.

mod orders;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::contain::{Containment, ProcessId, Tree, identity, service, socket};
use crate::logs::Stream;
use crate::logs::write::AttemptLog;
use crate::wire::shim::{
    Bytes, Claim, ContainmentKind, ContainmentSpec, FromShim, Hello, Lines, ShimPhase, SpawnError,
    SpawnErrorKind, Started, VERSION,
};

use super::ShimError;
use super::account::Account;
use super::attempt_dir::AttemptDir;
use super::clock;
use super::connections::Connections;
use super::ending::{Ending, Exited};
use super::journal::Journal;
use super::launch::Launch;
use super::lookup::failed;
use super::notify::Notify;
use super::output::Output;
use super::session::{self, Session};
use super::start::{self, Start};

/// The owner of one attempt.
#[derive(Debug)]
pub(super) struct Shim {
    pub(super) launch: Launch,
    pub(super) dir: AttemptDir,
    pub(super) me: ProcessId,
    pub(super) boot_id: String,
    pub(super) connections: Connections,
    pub(super) output: Output,
    pub(super) notify: Option<Notify>,
    pub(super) containment: Containment,
    pub(super) started: Option<Started>,
    pub(super) phase: Phase,
    /// The main process, once it is there, and how it ended, once it has.
    pub(super) main: Option<ProcessId>,
    pub(super) main_status: Option<rustix::process::WaitStatus>,
    pub(super) account: Account,
    /// The PAM session that the command runs in, where one is wanted.
    pub(super) session: Option<Session>,
    listener: Option<UnixListener>,
    signals: SignalFd,
    in_service: bool,
    cgroup_refused: Option<String>,
    frozen: bool,
    /// It was to be killed before anybody knew whom to kill.
    doomed: bool,
}

/// How far the attempt is, with what only that part of its life needs.
#[derive(Debug)]
pub(super) enum Phase {
    /// The session is being opened that the command, which this line describes, is to run in.
    Opening(Vec<u8>),
    /// The process that will become the command is on its way.
    Starting(Start),
    /// The command runs.
    Running,
    /// The main process has ended, or never came to be; what it left behind is being ended.
    Ending(Ending),
    /// The exit record is written and waits to be acknowledged.
    Exited(Box<Exited>),
    /// Nothing is left to do.
    Done,
}

/// What a polled descriptor belongs to.
#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Connection(u64),
    Listener,
    Notify,
    Session,
    Start,
    Output(Stream),
}

impl Shim {
    /// Take the attempt. A refusal is the link with the frame that tells why.
    pub(super) fn claim(
        mut launch: Launch,
        link: UnixStream,
        rest: Lines,
        signals: SignalFd,
    ) -> Result<Self, Box<(UnixStream, FromShim)>> {
        let in_service = launch.containment == ContainmentSpec::Service;
        let cgroup_refused = start::settle(&mut launch.containment);
        let (dir, claim) = match take_attempt(&launch) {
            Ok(Some(taken)) => taken,
            Ok(None) => return Err(Box::new((link, FromShim::Claimed {}))),
            Err(error) => {
                let path = launch.dir.display();
                let message = format!("the attempt directory {path} cannot be used: {error}");
                let error = failed(SpawnErrorKind::System, "claim", &error, message);
                return Err(Box::new((link, FromShim::SpawnFailed(error))));
            }
        };
        let mut connections = Connections::default();
        // A link that fails here shows as ended in the loop, like any other.
        drop(connections.add(link, rest));
        let me = claim.shim.into();
        Ok(Self {
            listener: listen(&dir),
            notify: launch
                .notify
                .then(|| Notify::open(&launch, &dir, me).ok())
                .flatten(),
            output: Output::new(
                AttemptLog::open(&launch.log_dir, launch.log_limit_bytes),
                launch.journal.as_deref().and_then(Journal::open),
            ),
            containment: Containment::Tree(Tree::below(me)),
            me,
            boot_id: claim.boot_id,
            launch,
            dir,
            connections,
            started: None,
            phase: Phase::Running,
            main: None,
            main_status: None,
            account: Account::default(),
            session: None,
            signals,
            in_service,
            cgroup_refused,
            frozen: false,
            doomed: false,
        })
    }

    /// Start the command and stay until its end is in safe hands.
    pub(super) fn run(mut self, line: Vec<u8>, mut buffer: Vec<u8>) -> Result<(), ShimError> {
        self.begin(line);
        let hello = self.hello();
        self.connections.send_all(&hello);
        for frame in self.connections.received_before() {
            self.obey(frame);
        }
        self.advance();
        while !matches!(self.phase, Phase::Done) {
            let ready = self.wait()?;
            for (source, flags) in ready {
                self.serve(source, flags, &mut buffer);
            }
            self.notify.iter_mut().for_each(Notify::wake);
            self.advance();
        }
        Ok(())
    }

    fn begin(&mut self, line: Vec<u8>) {
        let (cgroup, refused) = start::make_cgroup(&self.launch.containment);
        self.cgroup_refused = self.cgroup_refused.take().or(refused);
        if let Some(cgroup) = cgroup {
            if self.in_service {
                service::end_together(&cgroup);
            }
            self.containment = Containment::Cgroup(cgroup);
        }
        match Session::begin(&self.launch) {
            None => self.start(line, None),
            Some(Ok(session)) => {
                self.session = Some(session);
                if let Containment::Tree(_) = &self.containment {
                    self.containment = Containment::Tree(self.below());
                }
                self.phase = Phase::Opening(line);
            }
            Some(Err(error)) => self.end(Some(error)),
        }
    }

    /// Start the command, in the session that has these variables, where there is one.
    fn start(&mut self, line: Vec<u8>, env: Option<Vec<(Bytes, Bytes)>>) {
        let notify = self.notify.as_ref().map(|notify| notify.name().clone());
        let dir = self.cgroup_dir();
        let session = self.session.as_ref().zip(env);
        match Start::begin(&self.launch, line, dir, notify, &mut self.output, session) {
            Ok(start) => {
                self.know_main(start.process);
                self.phase = Phase::Starting(start);
            }
            Err(error) => self.end(Some(error)),
        }
    }

    fn know_main(&mut self, process: Option<ProcessId>) {
        if let Some(main) = process.filter(|_| self.main.is_none()) {
            self.main = Some(main);
            self.account.follow(main.pid);
            if let Containment::Tree(_) = &self.containment {
                self.containment = Containment::Tree(self.below());
            }
            if self.doomed {
                // What fails here is tried again when it ends, or by who asks once more.
                drop(self.sweep());
            }
        }
    }

    fn cgroup_dir(&self) -> Option<PathBuf> {
        match &self.containment {
            Containment::Cgroup(cgroup) => Some(cgroup.dir().to_owned()),
            Containment::Tree(_) => None,
        }
    }

    /// Everything below us that is the attempt's.
    pub(super) fn below(&self) -> Tree {
        let keeper = self.session.as_ref().map(|session| session.process);
        Tree::below(self.me).sparing(keeper, self.main)
    }

    /// Everything that is ready, or nothing when a deadline has passed.
    fn wait(&self) -> Result<Vec<(Source, PollFlags)>, ShimError> {
        let mut sources = Vec::with_capacity(8);
        let mut fds = Vec::with_capacity(8);
        let mut add = |source, fd, flags| {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        let output = |wanted: bool| {
            if wanted {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            }
        };
        add(Source::Signals, self.signals.as_fd(), PollFlags::IN);
        for (id, fd, unsent) in self.connections.polled() {
            add(Source::Connection(id), fd, PollFlags::IN | output(unsent));
        }
        if let Some(listener) = &self.listener {
            add(Source::Listener, listener.as_fd(), PollFlags::IN);
        }
        if let Some(fd) = self.notify.as_ref().and_then(Notify::polled) {
            add(Source::Notify, fd, PollFlags::IN);
        }
        if let Phase::Starting(start) = &self.phase {
            add(Source::Start, start.fd(), PollFlags::IN);
        }
        if let (Phase::Opening(_), Some(session)) = (&self.phase, &self.session) {
            add(Source::Session, session.fd(), PollFlags::IN);
        }
        for (stream, fd, typed) in self.output.polled() {
            add(Source::Output(stream), fd, PollFlags::IN | output(typed));
        }
        let timeout = self.timeout();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(ShimError::at("wait for events")(error)),
        }
        let flags = fds.iter().map(PollFd::revents);
        Ok(sources
            .into_iter()
            .zip(flags)
            .filter(|(_, flags)| !flags.is_empty())
            .collect())
    }

    fn timeout(&self) -> Option<Timespec> {
        let of_phase = match &self.phase {
            Phase::Ending(ending) => {
                let closing = self.session.as_ref().and_then(Session::deadline);
                closing.or(ending.deadline())
            }
            Phase::Exited(exited) => exited.deadline(),
            Phase::Opening(_) | Phase::Starting(_) | Phase::Running | Phase::Done => None,
        };
        let rest = self.notify.as_ref().and_then(Notify::deadline);
        let deadline = of_phase.into_iter().chain(rest).min()?;
        // One millisecond more, so that a deadline has passed for sure when poll returns.
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        Some(identity::timespec(left))
    }

    fn serve(&mut self, source: Source, flags: PollFlags, buffer: &mut [u8]) {
        match source {
            Source::Signals => self.reap(),
            Source::Connection(id) => {
                if flags.contains(PollFlags::OUT) {
                    self.connections.flush(id);
                    self.pass_kept();
                }
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    for frame in self.connections.receive(id, buffer) {
                        self.obey(frame);
                    }
                }
            }
            Source::Listener => {
                let accepted = self
                    .listener
                    .as_ref()
                    .and_then(|listener| self.connections.accept(listener));
                if let Some(id) = accepted {
                    self.tell_facts(id);
                }
            }
            Source::Notify => {
                self.pass_notifications(buffer);
            }
            Source::Session => self.receive_session(),
            Source::Start => self.receive_start(),
            Source::Output(stream) => {
                if flags.contains(PollFlags::OUT) {
                    self.output.pass_typed();
                }
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.output.pump(stream, buffer);
                }
            }
        }
    }

    fn receive_session(&mut self) {
        let (Phase::Opening(line), Some(session)) = (&mut self.phase, &mut self.session) else {
            return;
        };
        let Some(outcome) = session.receive() else {
            return;
        };
        let line = std::mem::take(line);
        match outcome {
            Ok(env) => self.start(line, Some(env)),
            Err(error) => self.end(Some(error)),
        }
    }

    pub(super) fn receive_start(&mut self) {
        let Phase::Starting(start) = &mut self.phase else {
            return;
        };
        let outcome = start.receive();
        let process = start.process;
        self.know_main(process);
        let Some(outcome) = outcome else {
            return;
        };
        if let Some(refused) = outcome.cgroup_refused {
            self.cgroup_refused = Some(refused);
            self.fall_back_to_tree();
        }
        match (outcome.result, self.main) {
            (Ok(()), Some(main)) => self.command_runs(main),
            (Ok(()), None) => self.end(Some(session::lost())),
            (Err(error), _) => self.end(Some(error)),
        }
    }

    fn fall_back_to_tree(&mut self) {
        if let Containment::Cgroup(cgroup) = &self.containment {
            // Nobody entered it; if it stays all the same, the daemon removes it at its start.
            drop(cgroup.remove(Duration::ZERO));
        }
        self.containment = Containment::Tree(self.below());
    }

    fn command_runs(&mut self, main: ProcessId) {
        let cgroup = self.cgroup_dir();
        let started = Started {
            main: main.into(),
            at: clock::now(),
            containment: match &self.containment {
                Containment::Cgroup(_) if self.in_service => ContainmentKind::Service,
                Containment::Cgroup(_) => ContainmentKind::Cgroup,
                Containment::Tree(_) => ContainmentKind::Tree,
            },
            cgroup,
            cgroup_refused: self.cgroup_refused.clone(),
        };
        self.phase = Phase::Running;
        self.connections
            .send_all(&FromShim::Started(started.clone()));
        self.started = Some(started);
    }

    fn hello(&self) -> FromShim {
        FromShim::Hello(Box::new(Hello {
            version: VERSION,
            job: self.launch.job,
            attempt: self.launch.attempt,
            shim: self.me.into(),
            boot_id: self.boot_id.clone(),
            phase: match &self.phase {
                Phase::Opening(_) | Phase::Starting(_) => ShimPhase::Launching,
                Phase::Running => ShimPhase::Running,
                Phase::Ending(_) if self.started.is_some() => ShimPhase::Running,
                Phase::Ending(_) => ShimPhase::Launching,
                Phase::Exited(_) | Phase::Done => ShimPhase::Exited,
            },
            main: self.started.as_ref().map(|started| started.main),
            started: self.started.as_ref().map(|started| started.at),
            meta: self.launch.meta.clone(),
        }))
    }

    /// Tell a daemon that has just come all that it missed.
    fn tell_facts(&mut self, id: u64) {
        let hello = self.hello();
        self.connections.send(id, &hello);
        if let Some(started) = self.started.clone() {
            self.connections.send(id, &FromShim::Started(started));
        }
        if self.frozen {
            self.connections.send(id, &FromShim::Frozen {});
        }
        self.pass_kept();
        if let Phase::Exited(exited) = &self.phase {
            self.connections.send(id, exited.frame());
        }
    }

    /// Pass on what the job says. Whether it may have said more.
    pub(super) fn pass_notifications(&mut self, buffer: &mut [u8]) -> bool {
        let notify = self.notify.as_mut();
        let has_more = notify.is_some_and(|notify| notify.receive(buffer));
        self.pass_kept();
        has_more
    }

    /// Send on what was kept, as far as it is taken.
    fn pass_kept(&mut self) {
        let Some(notify) = &mut self.notify else {
            return;
        };
        while self.connections.is_read()
            && let Some(frame) = notify.next_kept()
        {
            self.connections.send_all(&frame);
        }
    }

    pub(super) fn end(&mut self, error: Option<SpawnError>) {
        self.phase = Phase::Ending(Ending::new(error));
    }

    fn reap(&mut self) {
        // What is read is only that something happened; the kernel merges such news.
        while let Ok(Some(_)) = self.signals.read_signal() {}
        self.reap_children();
    }
}

/// Open the directory and put the claim there; `None` when another shim was first.
fn take_attempt(launch: &Launch) -> io::Result<Option<(AttemptDir, Claim)>> {
    let dir = AttemptDir::open(&launch.dir)?;
    let boot_id = match &launch.boot_id {
        Some(boot_id) => boot_id.clone(),
        None => identity::boot_id()?,
    };
    let claim = Claim {
        version: VERSION,
        shim: identity::own()?.into(),
        boot_id,
        job: launch.job,
        attempt: launch.attempt,
        token: launch.token.clone(),
        containment: launch.containment.clone(),
        meta: launch.meta.clone(),
    };
    Ok(dir.claim(&claim)?.then_some((dir, claim)))
}

/// Without a listener the attempt cannot be adopted while it runs, but its end still is recorded.
fn listen(dir: &AttemptDir) -> Option<UnixListener> {
    let listener = socket::listen(dir.fd(), socket::CONTROL).ok()?;
    listener.set_nonblocking(true).ok()?;
    Some(listener)
}
