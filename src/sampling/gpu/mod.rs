//! GPUs: sources that measure them, and the processes that run these sources.
//!
//! A call into a driver may never return, and the driver's library may crash. So a [`GpuSource`] runs in a process of
//! its own ([`eyes`]), which knows nothing that matters and may be killed at any time. The daemon's side is
//! [`link`]: it asks, waits for nothing, and starts that process anew where it has to.

pub mod amd;
pub mod cards;
pub mod drm;
pub mod eyes;
pub mod intel;
pub mod kernel_log;
pub mod kfd;
pub mod link;
pub mod links;
pub mod nvml;
pub mod pids;
pub mod probe;
pub mod replay;
pub mod sleep;
pub mod talk;
pub mod watch;

use crate::model::gpu::GpuSample;
use crate::sampling::gpu::talk::Spot;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What a source of GPUs says in one pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Looked {
    /// Every GPU there is, also those that do not answer.
    pub gpus: Vec<GpuSample>,
    /// The process should end, so that the GPUs may sleep: its hold on the driver keeps them awake.
    pub rest: bool,
}

/// Measures GPUs. A call may block for ever, or end the process.
pub trait GpuSource: Send {
    /// Looks at all of them once.
    ///
    /// # Errors
    /// Where the driver as a whole cannot be used; the process should be started anew then.
    fn sample(&mut self) -> Result<Looked, GpuError>;

    /// These hang: they are not asked, and said not to answer. A source of which each GPU is a file of its own may
    /// pass this over.
    fn leave_out(&mut self, _spots: Vec<Spot>) {}
}

/// Why GPUs cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// The library is not there, or is none.
    #[error("load the library of the NVIDIA driver: {0}")]
    Library(String),
    /// There is no driver in the kernel.
    #[error("reach the NVIDIA driver: it is not loaded")]
    NoDriver,
    /// The library is of another version than the driver in the kernel.
    #[error("use the NVIDIA driver: it was replaced while it ran; reboot, or load it anew")]
    Mismatch,
    /// The device nodes may not be opened.
    #[error(
        "open the NVIDIA driver: not permitted; let the daemon open /dev/nvidiactl and /dev/nvidia* (DeviceAllow= of its unit)"
    )]
    Permission,
    /// Anything else that the driver says.
    #[error("ask the NVIDIA driver: {0}")]
    Driver(String),
    /// A recording cannot be played.
    #[error("play {path}, line {line}: {source}")]
    Recording {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// No kind of source is called that.
    #[error(
        "find a source of GPUs called {0}: there are nvml, amd, intel, replay=FILE and steps=FILE"
    )]
    Kind(String),
}

/// A kind of source; each runs in a process of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// NVIDIA's, through its library.
    Nvml,
    /// AMD's, through files of the kernel.
    Amd,
    /// Intel's, through files of the kernel.
    Intel,
    /// A recording, at its own pace.
    Replay(PathBuf),
    /// A recording, one line whenever it is asked.
    Steps(PathBuf),
}

impl Kind {
    /// For messages, without what is particular.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nvml => "nvml",
            Self::Amd => "amd",
            Self::Intel => "intel",
            Self::Replay(_) => "replay",
            Self::Steps(_) => "steps",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Nvml | Self::Amd | Self::Intel => Ok(()),
            Self::Replay(path) | Self::Steps(path) => write!(f, "={}", path.display()),
        }
    }
}

impl FromStr for Kind {
    type Err = GpuError;

    fn from_str(text: &str) -> Result<Self, GpuError> {
        match text.split_once('=') {
            Some(("replay", path)) => Ok(Self::Replay(path.into())),
            Some(("steps", path)) => Ok(Self::Steps(path.into())),
            None if text == "nvml" => Ok(Self::Nvml),
            None if text == "amd" => Ok(Self::Amd),
            None if text == "intel" => Ok(Self::Intel),
            _ => Err(GpuError::Kind(text.to_owned())),
        }
    }
}
