//! What the daemon and a process that looks at GPUs say to each other: one JSON object a line, each way.

use crate::model::gpu::{GpuIdentity, GpuSample, Xid};
use serde::{Deserialize, Serialize};
use std::fmt;

/// From where on lines of the kernel's log are news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogPlace {
    /// From now on.
    End,
    /// After the record of this number.
    After(u64),
}

/// Which GPU, as its source lists them: by number, or by its place on the bus where some sleep and are not counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spot {
    /// Its number, from 0.
    Index(u32),
    /// Its place: `0000:61:00.0`.
    Bus(String),
}

impl Spot {
    /// Whether it is this one, and no part of one.
    #[must_use]
    pub fn is_of(&self, gpu: &GpuIdentity) -> bool {
        let is_here = match self {
            Self::Index(index) => gpu.index == *index,
            Self::Bus(place) => gpu.pci_bus_id.as_ref() == Some(place),
        };
        is_here && gpu.part_of.is_none()
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "GPU {index}"),
            Self::Bus(place) => write!(f, "the GPU at {place}"),
        }
    }
}

/// What the daemon says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// First of all: what an earlier process of this kind had found.
    Begin {
        /// GPUs that answered before: one that sleeps is known by its place on the bus alone.
        known: Vec<GpuIdentity>,
        /// From where on to read the kernel's log.
        log: LogPlace,
        /// The process before ended so that GPUs could fall asleep.
        rested: bool,
    },
    /// Look at all GPUs, and answer.
    Sample {
        /// With this number.
        number: u64,
        /// These hang: they are not asked.
        #[serde(default)]
        without: Vec<Spot>,
    },
}

/// What the process says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// How the GPUs are.
    Sample {
        /// The number of the request.
        number: u64,
        /// Every GPU there is.
        gpus: Vec<GpuSample>,
        /// It ends now, so that GPUs may fall asleep.
        #[serde(default)]
        rest: bool,
    },
    /// It asks the driver about this one now, which may not return.
    Looks(Spot),
    /// The driver cannot be used. It ends now.
    Failed {
        /// Why, completing "failed to".
        why: String,
    },
    /// A driver told of an error.
    Xid {
        /// What it told.
        xid: Xid,
        /// The number of the record in the kernel's log; absent where the driver told it otherwise.
        #[serde(default)]
        record: Option<u64>,
    },
    /// The kernel's log can be read.
    Log {
        /// The number of its newest record; absent where there is none.
        record: Option<u64>,
    },
}
