//! The process that looks at GPUs: asked on its standard input, it answers on its standard output ([`talk`]), and
//! ends with its input.
//!
//! It is hung or killed without harm. Looking is done by a thread of its own, so that the end of the input ends the
//! process even while a driver does not answer. A source that wants to begin anew ends the process, too: the daemon
//! starts another one.
//!
//! [`talk`]: crate::sampling::gpu::talk

use crate::model::gpu::{GpuIdentity, Xid};
use crate::sampling::gpu::amd::AmdSource;
use crate::sampling::gpu::intel::IntelSource;
use crate::sampling::gpu::kernel_log::{KERNEL_LOG, KernelLog};
use crate::sampling::gpu::nvml::{NvmlSource, Options};
use crate::sampling::gpu::pids::PidSpace;
use crate::sampling::gpu::replay::{Replay, Speed};
use crate::sampling::gpu::talk::{LogPlace, Reply, Request, Spot};
use crate::sampling::gpu::watch::wall_ms;
use crate::sampling::gpu::{GpuError, GpuSource, Kind, Looked};
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

/// How long a look that is under way may take at the end: a driver is better not left in the middle of a call.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Where things are that a test puts elsewhere.
#[derive(Clone, Debug)]
pub struct Places {
    /// NVIDIA's library; by its usual name where it is not said.
    pub nvml_library: Option<PathBuf>,
    /// Where the kernel tells of devices.
    pub sys: PathBuf,
    /// Where the kernel tells of processes.
    pub proc: PathBuf,
    /// Where the kernel gives its log.
    pub kernel_log: PathBuf,
    /// Which processes drivers speak of.
    pub pids: PidSpace,
}

impl Places {
    /// As the environment says: `STOKED_NVML_LIBRARY`, `STOKED_GPU_SYS`, `STOKED_GPU_PROC`, `STOKED_KERNEL_LOG`,
    /// `STOKED_GPU_PIDS`.
    #[must_use]
    pub fn of_environment(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let place = |name: &str| {
            let value = variable(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        Self {
            nvml_library: place("STOKED_NVML_LIBRARY"),
            sys: place("STOKED_GPU_SYS").unwrap_or_else(|| "/sys".into()),
            proc: place("STOKED_GPU_PROC").unwrap_or_else(|| "/proc".into()),
            kernel_log: place("STOKED_KERNEL_LOG").unwrap_or_else(|| KERNEL_LOG.into()),
            pids: PidSpace::of_process(variable("STOKED_GPU_PIDS").as_deref()),
        }
    }
}

/// Writes replies, whole lines at a time, from any thread.
#[derive(Clone)]
struct Mouth(Arc<Mutex<dyn Write + Send>>);

impl Mouth {
    /// Nobody hears it only where the daemon is gone; then the input has ended as well.
    fn say(&self, reply: &Reply) {
        let Ok(mut line) = serde_json::to_vec(reply) else {
            return;
        };
        line.push(b'\n');
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _said = out.write_all(&line).and_then(|()| out.flush());
    }
}

/// Looks until the input ends, or the source says that the process should.
///
/// # Errors
/// Where there is no thread to be had.
pub fn run(
    kind: Kind,
    places: Places,
    input: impl BufRead + Send + 'static,
    output: impl Write + Send + 'static,
) -> io::Result<()> {
    let mouth = Mouth(Arc::new(Mutex::new(output)));
    let (requests, inbox) = channel();
    let (looker_over, over) = channel();
    let input_over = looker_over.clone();
    // Neither is joined: one may be in a driver, the other wait for input, and the process ends nevertheless.
    let _looker = Builder::new().name("looks".to_owned()).spawn(move || {
        look(&kind, &places, &inbox, &mouth);
        let _told = looker_over.send(Over::Looking);
    })?;
    let _listener = Builder::new().name("hears".to_owned()).spawn(move || {
        listen(input, &requests);
        drop(requests);
        let _told = input_over.send(Over::Input);
    })?;
    if over.recv() == Ok(Over::Input) {
        let _looked = over.recv_timeout(LAST_LOOK);
    }
    Ok(())
}

/// What ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// There are no more requests.
    Input,
    /// There is nothing more to be looked at.
    Looking,
}

/// Passes requests on until there are no more, or nobody takes them.
fn listen(input: impl BufRead, requests: &Sender<Request>) {
    for line in input.lines().map_while(Result::ok) {
        // What a newer daemon says is passed over.
        if let Ok(request) = serde_json::from_str(&line)
            && requests.send(request).is_err()
        {
            break;
        }
    }
}

fn look(kind: &Kind, places: &Places, inbox: &Receiver<Request>, mouth: &Mouth) {
    let (mut known, mut log, mut rested) = (Vec::new(), LogPlace::End, false);
    let mut source: Option<Box<dyn GpuSource>> = None;
    while let Ok(request) = inbox.recv() {
        let (number, without) = match request {
            Request::Begin {
                known: it,
                log: place,
                rested: was,
            } => {
                (known, log, rested) = (it, place, was);
                continue;
            }
            Request::Sample { number, without } => (number, without),
        };
        let looked = match &mut source {
            Some(source) => look_without(source.as_mut(), without),
            None => match open(
                kind,
                places,
                (std::mem::take(&mut known), rested),
                log,
                mouth,
            ) {
                Ok(opened) => look_without(source.insert(opened).as_mut(), without),
                Err(error) => Err(error),
            },
        };
        match looked {
            Ok(looked) => {
                let rest = looked.rest;
                mouth.say(&Reply::Sample {
                    number,
                    gpus: looked.gpus,
                    rest,
                });
                if rest {
                    return;
                }
            }
            Err(error) => {
                mouth.say(&Reply::Failed {
                    why: error.to_string(),
                });
                return;
            }
        }
    }
}

fn look_without(source: &mut dyn GpuSource, without: Vec<Spot>) -> Result<Looked, GpuError> {
    source.leave_out(without);
    source.sample()
}

fn open(
    kind: &Kind,
    places: &Places,
    (known, rested): (Vec<GpuIdentity>, bool),
    log: LogPlace,
    mouth: &Mouth,
) -> Result<Box<dyn GpuSource>, GpuError> {
    let is_outermost = places.pids == PidSpace::Outermost;
    let sees_all = is_outermost && rustix::process::geteuid().is_root();
    let (sys, proc) = (places.sys.clone(), places.proc.clone());
    Ok(match kind {
        Kind::Nvml => {
            let (mouth, looks) = (mouth.clone(), mouth.clone());
            Box::new(NvmlSource::new(Options {
                library: places.nvml_library.clone(),
                sys,
                known,
                rested,
                sees_all: is_outermost,
                reads_log: follow_log(&places.kernel_log, log, mouth.clone()),
                tell: Arc::new(move |xid: Xid| mouth.say(&Reply::Xid { xid, record: None })),
                looks: Box::new(move |spot| looks.say(&Reply::Looks(spot))),
            }))
        }
        Kind::Amd => {
            let source = AmdSource::new(sys, proc, sees_all);
            Box::new(source.with_pids(places.pids))
        }
        Kind::Intel => Box::new(IntelSource::new(sys, proc, sees_all)),
        Kind::Replay(path) => Box::new(Replay::open(path, Speed::Own)?),
        Kind::Steps(path) => Box::new(Replay::open(path, Speed::Asked)?),
    })
}

/// Tells of errors in the kernel's log, where it may be read, and says whether it may. The thread ends with the process.
fn follow_log(path: &Path, from: LogPlace, mouth: Mouth) -> bool {
    let Ok(log) = KernelLog::open(path, from) else {
        return false;
    };
    mouth.say(&Reply::Log {
        record: log.newest(),
    });
    let thread = Builder::new()
        .name("kernel log".to_owned())
        .stack_size(128 * 1024);
    let thread = thread.spawn(move || {
        log.follow(wall_ms, |record, xid| {
            mouth.say(&Reply::Xid {
                xid,
                record: Some(record),
            });
        });
    });
    thread.is_ok()
}
