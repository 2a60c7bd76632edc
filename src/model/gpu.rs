//! GPUs as the core sees them: what they are, how they are, and who uses them.

use crate::model::event::Channel;
use crate::model::id::AttemptId;
use crate::model::metric::Readings;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Identity of a GPU, or of a part of one (MIG): it stays with the board, other than its index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GpuUuid(pub Arc<str>);

impl GpuUuid {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GpuUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a GPU is. Changes only with the hardware or its driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuIdentity {
    /// Which it is.
    pub uuid: GpuUuid,
    /// Its number on this host: for NVIDIA's its place as their tools count, for others one that no other GPU has. May be
    /// another one after a restart.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Who made it: `nvidia`, `amd`, `intel`; or where a recording came from.
    pub vendor: String,
    /// Its place on the PCI bus, as `0000:61:00.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_bus_id: Option<String>,
    /// Version of its driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The GPU that it is a part of (a MIG device).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<GpuUuid>,
}

impl GpuIdentity {
    /// A whole GPU of which no more is known.
    #[must_use]
    pub fn new(uuid: GpuUuid, index: u32, vendor: &str, name: &str) -> Self {
        Self {
            uuid,
            index,
            name: name.to_owned(),
            vendor: vendor.to_owned(),
            pci_bus_id: None,
            driver: None,
            part_of: None,
        }
    }
}

/// How a GPU is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuCondition {
    /// It answers.
    #[default]
    Ok,
    /// It sleeps to save energy, and is left to.
    Asleep,
    /// Its driver does not answer.
    Unresponsive,
    /// It is no longer there, or needs a reset.
    Lost,
}

impl GpuCondition {
    /// As it is told.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Asleep => "asleep",
            Self::Unresponsive => "unresponsive",
            Self::Lost => "lost",
        }
    }
}

/// A GPU at one time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuSample {
    /// What it is.
    pub identity: GpuIdentity,
    /// How it is. Unless that is `Ok`, there are neither readings nor processes.
    pub condition: GpuCondition,
    /// What was measured. What a GPU cannot tell is not in it.
    #[serde(default)]
    pub readings: Readings,
    /// Who uses it.
    #[serde(default)]
    pub processes: Vec<GpuProcess>,
    /// Whether these are all of them, so that one who is alone among them is alone on the GPU.
    #[serde(default = "yes")]
    pub sees_all_processes: bool,
    /// Whether errors of its driver (Xids) would be heard of.
    #[serde(default)]
    pub tells_xids: bool,
}

impl GpuSample {
    /// A GPU of which nothing was measured.
    #[must_use]
    pub fn unmeasured(identity: GpuIdentity, condition: GpuCondition) -> Self {
        Self {
            identity,
            condition,
            readings: Readings::default(),
            processes: Vec::new(),
            sees_all_processes: true,
            tells_xids: false,
        }
    }
}

fn yes() -> bool {
    true
}

/// A process that uses a GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuProcess {
    /// Its id, as the host counts.
    pub pid: u32,
    /// What for.
    pub kind: GpuProcessKind,
    /// Memory of the GPU that it holds; absent where the driver does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Share of the time in which it computed; absent where that was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilization_percent: Option<f64>,
    /// Use of the encoders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder_percent: Option<f64>,
    /// Use of the decoders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder_percent: Option<f64>,
}

/// What a process uses a GPU for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuProcessKind {
    /// Computing.
    Compute,
    /// Drawing.
    Graphics,
    /// Computing, through a server that shares the GPU.
    Mps,
}

/// How well the share of a job in a GPU is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareQuality {
    /// The driver measured it, process by process.
    Measured,
    /// Nobody else uses the GPU, so that all of its use is the job's.
    Sole,
    /// How much memory it holds is known, but not how much it computes.
    MemoryOnly,
    /// It uses the GPU, and that is all that is known.
    Unavailable,
}

/// An error that a driver told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xid {
    /// When, wall clock, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Which GPU; absent where only its place on the bus is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<GpuUuid>,
    /// Its place on the PCI bus, as `0000:61:00.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_bus_id: Option<String>,
    /// Its number in the driver's catalogue.
    pub code: u32,
    /// The process that it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The name of that process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
}

/// An error of a driver, with whose it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuFault {
    /// What the driver told.
    #[serde(flatten)]
    pub xid: Xid,
    /// Index of the GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// The attempt that it happened to.
    #[serde(flatten)]
    pub attempt: Option<AttemptId>,
}

impl GpuFault {
    /// Where it is told: `gpu/0/xid`; by place on the bus where nothing else is known.
    #[must_use]
    pub fn channel(&self) -> Channel {
        let index = self.index.map(|index| index.to_string());
        let uuid = self.xid.uuid.as_ref().map(ToString::to_string);
        let known = index.or(uuid).or_else(|| self.xid.pci_bus_id.clone());
        Channel {
            entity: "gpu",
            id: known.unwrap_or_else(|| "unknown".to_owned()),
            topic: "xid",
        }
    }
}
