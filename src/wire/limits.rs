//! Limits of a job in JSON: what is asked for and what is shown have the same fields. A request with one that is not known
//! is refused, an answer of a later daemon may have more.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! limits {
    ($(#[$about:meta])* $name:ident) => {
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        $(#[$about])*
        pub struct $name {
            /// Most memory of all its processes together, bytes: beyond it they are killed.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub memory_max_bytes: Option<u64>,
            /// Its share of CPU time beside others, 1 to 10000; 100 is usual.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cpu_weight: Option<u64>,
            /// Its share of what disks can do, 1 to 10000; 100 is usual.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub io_weight: Option<u64>,
            /// Most processes and threads at once.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub tasks_max: Option<u64>,
            /// The CPUs that it may run on, as in `0-3,8`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub allowed_cpus: Option<String>,
            /// The GPUs that it may open, by index; none of them where the list is empty.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub gpus: Option<Vec<u32>>,
        }
    };
}

limits! {
    /// What each attempt of a job shall use at most. The kernel keeps it, so it takes a host whose systemd starts the jobs.
    #[serde(deny_unknown_fields)]
    LimitsSubmit
}

limits! {
    /// What each attempt of a job may use at most.
    LimitsView
}

/// Changes to the limits of a waiting job; absent ones stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsEdit {
    /// New limit of memory, bytes; 0 removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max_bytes: Option<u64>,
    /// New share of CPU time, 1 to 10000; 0 makes it the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u64>,
    /// New share of what disks can do, 1 to 10000; 0 makes it the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u64>,
    /// New number of processes and threads; 0 removes the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<u64>,
    /// The CPUs that it may run on from now on, as in `0-3,8`; `all` removes the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_cpus: Option<String>,
    /// The GPUs that it may open from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<GpusEdit>,
}

/// GPUs that a job may open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum GpusEdit {
    /// These, by index; none where the list is empty.
    Only(Vec<u32>),
    /// `all`: the limit is removed.
    Word(String),
}

/// What stands for no limit where things are named.
pub const ALL: &str = "all";
