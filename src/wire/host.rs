//! The host and its GPUs, as they are now.

use crate::wire::measured::{
    Measured, OfCore, OfCpu, OfDisk, OfDisks, OfFilesystem, OfGpu, OfMemory, OfNetwork, OfSensor,
    OfTasks,
};
use crate::wire::usage::OperationView;
use crate::wire::values::Cursor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Answer of `GET /v1/host`. Each part but the time is also the body of the events `host/PART/metrics`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostView {
    /// When this was measured.
    pub time: jiff::Timestamp,
    /// Its CPUs.
    pub cpu: CpuView,
    /// Its memory.
    pub memory: Measured<OfMemory>,
    /// What goes on.
    pub tasks: TasksView,
    /// Its disks.
    pub disks: DisksView,
    /// Its network interfaces.
    pub networks: NetworksView,
    /// Its file systems.
    pub filesystems: FilesystemsView,
    /// Its sensors.
    pub sensors: SensorsView,
}

/// The CPUs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CpuView {
    /// All together.
    #[serde(flatten)]
    pub measured: Measured<OfCpu>,
    /// Each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cores: Vec<CoreView>,
}

/// A core.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CoreView {
    /// Its number.
    pub core: u32,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured<OfCore>,
}

/// What goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TasksView {
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured<OfTasks>,
    /// The busiest processes that belong to no job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub busiest: Vec<ProcessView>,
}

/// A process that belongs to no job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessView {
    /// Its id.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// As whom it runs.
    pub uid: u32,
    /// The name of that user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// CPU time, 100 for each whole core.
    pub cpu_percent: f64,
    /// Memory that is its own or shared.
    pub memory_bytes: u64,
}

/// The disks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DisksView {
    /// All together.
    #[serde(flatten)]
    pub measured: Measured<OfDisks>,
    /// Each.
    #[serde(default)]
    pub items: Vec<DiskView>,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiskView {
    /// Its name.
    pub name: String,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured<OfDisk>,
}

/// The network interfaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetworksView {
    /// Each.
    #[serde(default)]
    pub items: Vec<NetworkView>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkView {
    /// Its name.
    pub name: String,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured<OfNetwork>,
}

/// The file systems.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FilesystemsView {
    /// Each.
    #[serde(default)]
    pub items: Vec<FilesystemView>,
}

/// A file system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FilesystemView {
    /// Where it is mounted.
    pub path: String,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured<OfFilesystem>,
}

/// The sensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SensorsView {
    /// Each.
    #[serde(default)]
    pub items: Vec<SensorView>,
}

/// A sensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SensorView {
    /// Its name.
    pub name: String,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured<OfSensor>,
}

/// A GPU; also the body of the events `gpu/INDEX/metrics`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuView {
    /// When this was measured.
    pub time: jiff::Timestamp,
    /// Its number on this host, which no other GPU has: NVIDIA's are as its tools count; may be another one after a restart.
    pub index: u32,
    /// Its identity, which stays with the board.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// `nvidia`, `amd`, `intel`; more may come.
    pub vendor: String,
    /// Its place on the PCI bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_bus_id: Option<String>,
    /// Version of its driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The GPU that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<String>,
    /// `ok`, `asleep` (and left to), `unresponsive` (its driver does not answer) or `lost`.
    pub condition: String,
    /// Since when.
    pub condition_since: jiff::Timestamp,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured<OfGpu>,
    /// The processes that use it.
    #[serde(default)]
    pub processes: Vec<GpuProcessView>,
}

/// A process that uses a GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuProcessView {
    /// Its id.
    pub pid: u32,
    /// `compute`, `graphics` or `mps`.
    pub kind: String,
    /// Memory of the GPU that it holds; absent where the driver does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Share of the time in which it computed; absent where nobody measured that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilization_percent: Option<f64>,
    /// The job that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<u64>,
    /// Which start of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// As whom it runs, where it belongs to no job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The name of that user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its own name, where it belongs to no job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// There is no such process here: it is gone, or lives out of sight, and what it held may still be held.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
}

/// Answer of `GET /v1/gpus`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuList {
    /// The GPUs, by index.
    pub items: Vec<GpuView>,
}

/// Answer of `GET /v1/operations`: everything that is active, with what it uses; or that was, at a time in the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OperationsView {
    /// The time that this shows, where one in the past was asked for. Who held GPUs then besides jobs is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<jiff::Timestamp>,
    /// The state this shows: a watch that starts after this misses nothing.
    pub as_of: Cursor,
    /// Active jobs, newest first.
    pub jobs: Vec<OperationView>,
    /// How many jobs wait.
    pub waiting: u64,
    /// The host; absent while it is not sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostView>,
    /// The GPUs, by index; of the past, those that are still there.
    pub gpus: Vec<GpuView>,
    /// Months of the archive that cannot be read: jobs of theirs are left out of what was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable_months: Vec<String>,
}
