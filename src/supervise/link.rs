//! One attempt's task: the connection to its shim, from its launch or adoption to its end.

use crate::model::attempt::{Process, Usage};
use crate::model::failure::{Ending, Exit, Failure, FailureClass};
use crate::model::id::AttemptId;
use crate::model::time::Stamp;
use crate::supervise::launch::{Launch, find_groups};
use crate::supervise::leftovers;
use crate::supervise::systemd::StartError;
use crate::supervise::{Order, Report, Shared, adopt};
use crate::wire::shim::{
    ContainmentKind, ExitRecord, FromShim, Lines, MAX_FRAME_BYTES, Started, ToShim, WireStamp,
    decode, encode,
};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedReceiver;

/// How a connection to a shim ended.
pub(super) enum Parting {
    /// Its end is committed and the shim was told so, or it was reported otherwise.
    Done,
    /// Another shim owns the attempt.
    Claimed,
    /// The shim is gone without having told an end.
    Gone,
}

/// What an attempt's task knows, to be said again when asked.
pub(super) struct Link {
    pub(super) shared: Arc<Shared>,
    pub(super) attempt: AttemptId,
    orders: UnboundedReceiver<Order>,
    /// Orders that make no sense before the command runs.
    deferred: Vec<Order>,
    started: Option<Report>,
    ended: Option<Report>,
    /// The end is committed.
    pub(super) forgotten: bool,
}

impl Link {
    pub(super) fn new(
        shared: Arc<Shared>,
        attempt: AttemptId,
        orders: UnboundedReceiver<Order>,
    ) -> Self {
        Self {
            shared,
            attempt,
            orders,
            deferred: Vec::new(),
            started: None,
            ended: None,
            forgotten: false,
        }
    }

    /// The main process, where it is known.
    pub(super) fn main(&self) -> Option<Process> {
        match &self.started {
            Some(Report::Started { main, .. }) => Some(*main),
            _ => None,
        }
    }

    /// Tells how the attempt ended, unless that was told before.
    pub(super) fn end(&mut self, ending: Ending, usage: Option<Usage>, at: Stamp) {
        if self.ended.is_none() {
            let report = Report::Ended {
                attempt: self.attempt,
                ending,
                usage,
                at,
            };
            self.ended = Some(report.clone());
            self.shared.report(report);
        }
    }

    /// Serves one connection until it ends.
    pub(super) async fn serve(&mut self, stream: UnixStream, mut child: Option<Child>) -> Parting {
        let (mut reader, mut writer) = stream.into_split();
        let mut lines = Lines::new(MAX_FRAME_BYTES);
        let mut chunk = vec![0; 2 * 1024];
        let mut claimed = false;
        loop {
            tokio::select! {
                biased;
                read = reader.read(&mut chunk) => {
                    let count = read.unwrap_or(0);
                    if count == 0 || lines.push(&chunk[..count]).is_err() {
                        break;
                    }
                    while let Some(line) = lines.next_line() {
                        match decode(&line) {
                            Ok(FromShim::Claimed {}) => claimed = true,
                            Ok(frame) => self.hear(frame, &mut writer).await,
                            Err(error) => tracing::warn!(attempt = %self.attempt, %error, "unreadable frame of a shim"),
                        }
                    }
                }
                order = self.orders.recv() => {
                    let Some(order) = order else { break };
                    self.pass_on(order, &mut writer).await;
                }
            }
        }
        if let Some(child) = &mut child {
            // The connection is closed by the shim's end, so this returns at once; it keeps no zombie.
            match child.wait().await {
                Ok(status) if !status.success() => {
                    tracing::warn!(attempt = %self.attempt, %status, "a shim ended");
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(attempt = %self.attempt, %error, "cannot wait for a shim");
                }
            }
        }
        if claimed {
            Parting::Claimed
        } else if self.ended.is_some() {
            Parting::Done
        } else {
            Parting::Gone
        }
    }

    /// Takes a frame of the shim.
    async fn hear(&mut self, frame: FromShim, writer: &mut (impl AsyncWriteExt + Unpin)) {
        match frame {
            FromShim::Started(started) => {
                let report = started_report(self.attempt, &started);
                self.started = Some(report.clone());
                self.shared.report(report);
                for order in std::mem::take(&mut self.deferred) {
                    send(writer, &frame_of(&order)).await;
                }
            }
            FromShim::Exited(record) => {
                let (ending, usage, at) = read_record(&record);
                self.end(ending, Some(usage), at);
            }
            FromShim::Notify { text, .. } => self.shared.report(Report::Notify {
                attempt: self.attempt,
                text,
            }),
            FromShim::Refused { request, message } => {
                // Above all what was asked again after a restart, of an attempt that was over by then.
                tracing::info!(attempt = %self.attempt, request, message, "a shim refused");
            }
            // Nothing follows: a shim that has an attempt waits until this is committed, one that has none leaves.
            FromShim::SpawnFailed(error) => {
                let failure = Failure::new(FailureClass::Spawn, error.message);
                let now = (self.shared.now)();
                self.end(Ending::NotStarted { failure }, None, now);
            }
            FromShim::Hello(_)
            | FromShim::Claimed {}
            | FromShim::Frozen {}
            | FromShim::Thawed {}
            | FromShim::Unknown => {}
        }
    }

    /// Passes an order on, or keeps it until the command runs.
    async fn pass_on(&mut self, order: Order, writer: &mut (impl AsyncWriteExt + Unpin)) {
        match order {
            Order::Restate => {
                let known = self.started.iter().chain(&self.ended).cloned();
                known.for_each(|report| self.shared.report(report));
            }
            Order::Forget => {
                self.forgotten = true;
                send(writer, &ToShim::AckExit).await;
            }
            Order::Signal(..) | Order::Freeze if self.started.is_none() => {
                self.deferred.push(order);
            }
            Order::Signal(..) | Order::Kill | Order::Freeze | Order::Thaw => {
                send(writer, &frame_of(&order)).await;
            }
        }
    }

    /// After the last connection: waits until the end is committed, then clears away what is left.
    pub(super) async fn finish(mut self) {
        while !self.forgotten {
            match self.orders.recv().await {
                Some(Order::Forget) => self.forgotten = true,
                Some(Order::Restate) => {
                    self.ended
                        .iter()
                        .cloned()
                        .for_each(|it| self.shared.report(it));
                }
                Some(_) => {}
                // The daemon goes down; the directory is found again by the next one.
                None => return,
            }
        }
        self.shared.deregister(self.attempt);
        let dir = self.shared.dir(self.attempt);
        if dir.exists() {
            self.shared
                .tasks
                .spawn_blocking(move || leftovers::remove(&dir));
        }
    }
}

/// Starts a shim for an attempt and serves it to its end.
pub(super) async fn launch<F>(
    shared: Arc<Shared>,
    attempt: AttemptId,
    launch: F,
    orders: UnboundedReceiver<Order>,
) where
    F: Future<Output = Result<Launch, String>> + Send + 'static,
{
    let mut link = Link::new(Arc::clone(&shared), attempt, orders);
    let started = match launch.await {
        Ok(launch) => match with_groups(&shared, launch).await {
            Ok(launch) => start_shim(&shared.shim, &launch).await,
            Err(message) => Err(StartError::Failed(message)),
        },
        Err(message) => Err(StartError::Failed(message)),
    };
    match started {
        Ok((stream, child)) => match link.serve(stream, child).await {
            Parting::Done => {}
            Parting::Claimed => {
                let _reported = adopt::find(&mut link, None, true).await;
            }
            Parting::Gone => adopt::shim_died(&mut link).await,
        },
        Err(StartError::Exists) => {
            if !adopt::find(&mut link, None, true).await {
                // The shim of a daemon that died before it could say what to start: it leaves by itself, and then the
                // engine decides anew.
                shared.deregister(attempt);
                return shared.report(Report::NeverStarted { attempt });
            }
        }
        Err(StartError::Failed(message)) => {
            let failure = Failure::new(FailureClass::Spawn, message);
            link.end(Ending::NotStarted { failure }, None, (shared.now)());
        }
    }
    link.finish().await;
}

/// The record with the groups of its user, who is another one only under a system daemon.
async fn with_groups(shared: &Shared, launch: Launch) -> Result<Launch, String> {
    if launch.record.user.is_none() {
        return Ok(launch);
    }
    let found = shared
        .tasks
        .spawn_blocking(move || find_groups(launch))
        .await;
    found.unwrap_or_else(|error| Err(format!("cannot find the groups of its user: {error}")))
}

/// Starts a shim with one end of a socket pair as its standard input, and sends it the record. It is a child where no
/// service manager starts it.
async fn start_shim(
    shim: &Path,
    launch: &Launch,
) -> Result<(UnixStream, Option<Child>), StartError> {
    let failed = |error: &dyn std::fmt::Display| {
        StartError::Failed(format!(
            "cannot start its supervisor {}: {error}; is stoked installed completely?",
            shim.display()
        ))
    };
    let prepare = || -> io::Result<(UnixStream, OwnedFd)> {
        make_private_dir(&launch.record.dir)?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((UnixStream::from_std(ours)?, theirs.into()))
    };
    let (mut stream, theirs) = prepare().map_err(|error| failed(&error))?;
    let child = match &launch.service {
        Some((manager, unit)) => {
            manager.start(unit, shim, theirs).await?;
            None
        }
        None => Some(spawn(shim, theirs).map_err(|error| failed(&error))?),
    };
    let frame = encode(&ToShim::Launch(Box::new(launch.record.clone())))
        .map_err(|error| StartError::Failed(format!("cannot describe its launch: {error}")))?;
    // A shim that dies at once is noticed by the reader.
    drop(stream.write_all(&frame).await);
    Ok((stream, child))
}

fn spawn(shim: &Path, stdin: OwnedFd) -> io::Result<Child> {
    Command::new(shim)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn make_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

async fn send(writer: &mut (impl AsyncWriteExt + Unpin), frame: &ToShim) {
    if let Ok(line) = encode(frame) {
        // A shim that is gone is noticed by the reader.
        drop(writer.write_all(&line).await);
    }
}

fn frame_of(order: &Order) -> ToShim {
    match order {
        Order::Signal(signal, to) => ToShim::Signal {
            signal: *signal,
            to: *to,
        },
        Order::Kill => ToShim::Kill,
        Order::Freeze => ToShim::Freeze,
        Order::Thaw => ToShim::Thaw,
        Order::Forget => ToShim::AckExit,
        Order::Restate => ToShim::Unknown,
    }
}

fn started_report(attempt: AttemptId, started: &Started) -> Report {
    Report::Started {
        attempt,
        main: Process {
            pid: started.main.pid,
            start_ticks: started.main.start_ticks,
        },
        containment: match started.containment {
            ContainmentKind::Service => "service",
            ContainmentKind::Cgroup => "cgroup",
            ContainmentKind::Tree => "tree",
        },
        cgroup: started.cgroup.clone(),
        at: stamp(started.at),
    }
}

pub(super) fn stamp(at: WireStamp) -> Stamp {
    Stamp {
        wall_ms: at.wall_ms,
        boot_ms: at.boot_ms,
    }
}

/// What an exit record says.
pub(super) fn read_record(record: &ExitRecord) -> (Ending, Usage, Stamp) {
    let ending = match &record.spawn_error {
        Some(error) => Ending::NotStarted {
            failure: Failure::new(FailureClass::Spawn, error.message.clone()),
        },
        None => Ending::Exited {
            exit: Exit {
                code: record.code,
                signal: record.signal,
                core_dumped: record.core_dumped,
            },
            oom_killed: record.oom_killed && record.code != Some(0),
        },
    };
    let usage = Usage {
        user_cpu_ms: record.user_cpu_ms,
        system_cpu_ms: record.system_cpu_ms,
        max_rss_bytes: record.max_rss_bytes,
        killed_leftovers: record.killed_leftovers,
        dropped_output_bytes: record.dropped_output_bytes,
        cpu_us: record.cpu_us,
        throttled_us: record.throttled_us,
        memory_peak_bytes: record.memory_peak_bytes,
        memory_charged_peak_bytes: record.memory_charged_peak_bytes,
        io_read_bytes: record.io_read_bytes,
        io_write_bytes: record.io_write_bytes,
        oom_kills: record.oom_kills,
    };
    (ending, usage, stamp(record.ended))
}
