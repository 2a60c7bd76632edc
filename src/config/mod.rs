//! Configuration: what a file said (fragment), what the merged files said, what the program may rely on (`Settings`).

pub mod paths;

use std::path::PathBuf;

/// TEMPORARY
#[derive(Debug, Clone)]
pub struct Settings {
    pub daemon: DaemonS,
    pub jobs: JobsS,
    pub events: EventsS,
    pub store: StoreS,
}
#[derive(Debug, Clone)]
pub struct DaemonS { pub log: String, pub state_dir: Option<PathBuf>, pub runtime_dir: Option<PathBuf> }
#[derive(Debug, Clone)]
pub struct JobsS { pub containment: Containment, pub log_limit_bytes: u64 }
impl JobsS { pub fn parallelism(&self) -> u32 { std::thread::available_parallelism().map_or(1, |n| n.get() as u32) } }
#[derive(Debug, Clone)]
pub struct EventsS { pub ring: usize, pub keep: u64 }
#[derive(Debug, Clone)]
pub struct StoreS { pub ballast_bytes: u64 }
#[derive(Debug, Clone, Copy)]
pub enum Containment { Auto, Cgroup, Tree }
pub struct Loaded { pub settings: Settings }
#[derive(Default)]
pub struct Changes { pub needs_restart: Vec<String>, pub applied: Vec<String> }
impl Settings { pub fn live_changes(&self, _n: &Settings) -> Changes { Changes::default() } }
pub mod load {
    use super::*;
    pub fn load(_f: Option<&std::path::Path>, _s: bool, _a: &paths::Surroundings) -> anyhow::Result<Loaded> {
        Ok(Loaded { settings: Settings { daemon: DaemonS { log: "info".into(), state_dir: None, runtime_dir: None }, jobs: JobsS { containment: Containment::Auto, log_limit_bytes: 256 << 20 }, events: EventsS { ring: 8192, keep: 1_000_000 }, store: StoreS { ballast_bytes: 8 << 20 } } })
    }
}
