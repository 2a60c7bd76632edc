//! Finds the clients of graphics devices among all processes, and what they did since the look before.

use super::{Engine, FdInfo, parse};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time between two looks at the descriptors of all processes, which is dear; in between only those are looked at
/// that used a graphics device.
const PERIOD: Duration = Duration::from_secs(5);

/// A process that uses a device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Client {
    /// Its id.
    pub pid: u32,
    /// Memory of the device that it holds.
    pub memory_bytes: Option<u64>,
    /// Share of the time in which each engine worked for it, percent; absent at the first look.
    pub engines: Option<BTreeMap<String, f64>>,
    /// Engines that have worked for it at all.
    pub used: BTreeSet<String>,
}

/// Finds the clients of all graphics devices.
#[derive(Debug)]
pub struct Scan {
    proc: PathBuf,
    scanned: Option<Instant>,
    pids: BTreeSet<u32>,
    before: BTreeMap<(String, u64), (Instant, BTreeMap<String, Engine>)>,
    /// Whether other users' processes can be looked at.
    pub sees_all: bool,
}

impl Scan {
    /// `proc` is where the kernel tells of processes: `/proc`.
    #[must_use]
    pub fn new(proc: PathBuf, sees_all: bool) -> Self {
        Self {
            proc,
            scanned: None,
            pids: BTreeSet::new(),
            before: BTreeMap::new(),
            sees_all,
        }
    }

    /// The clients of each device, by its place on the bus.
    pub fn look(&mut self, now: Instant) -> BTreeMap<String, Vec<Client>> {
        let is_due = self
            .scanned
            .is_none_or(|at| now.saturating_duration_since(at) >= PERIOD);
        if is_due {
            self.scanned = Some(now);
            self.pids = numbers(&self.proc).collect();
        }
        let mut seen = BTreeMap::new();
        let mut users = BTreeSet::new();
        for pid in &self.pids {
            for info in infos(&self.proc.join(pid.to_string())) {
                users.insert(*pid);
                let (Some(bus_id), Some(client)) = (info.bus_id.clone(), info.client) else {
                    continue;
                };
                // A client that was inherited is listed with each of its processes.
                seen.entry((bus_id, client)).or_insert((*pid, info));
            }
        }
        self.pids = users;
        self.join(seen, now)
    }

    fn join(
        &mut self,
        seen: BTreeMap<(String, u64), (u32, FdInfo)>,
        now: Instant,
    ) -> BTreeMap<String, Vec<Client>> {
        let mut found: BTreeMap<String, BTreeMap<u32, Client>> = BTreeMap::new();
        let mut newest = BTreeMap::new();
        for (key, (pid, info)) in seen {
            let before = self.before.get(&key);
            let shares = before.map(|(at, before)| {
                shares(before, &info.engines, now.saturating_duration_since(*at))
            });
            let clients = found.entry(key.0.clone()).or_default();
            let client = clients.entry(pid).or_insert_with(|| Client {
                pid,
                ..Client::default()
            });
            client.add(&info, shares);
            newest.insert(key, (now, info.engines));
        }
        self.before = newest;
        let found = found.into_iter();
        found
            .map(|(bus_id, clients)| (bus_id, clients.into_values().collect()))
            .collect()
    }
}

impl Client {
    fn add(&mut self, info: &FdInfo, shares: Option<BTreeMap<String, f64>>) {
        if let Some(bytes) = info.device_bytes() {
            self.memory_bytes = Some(self.memory_bytes.unwrap_or(0).saturating_add(bytes));
        }
        for (name, percent) in shares.into_iter().flatten() {
            let sum = self
                .engines
                .get_or_insert_default()
                .entry(name)
                .or_default();
            *sum = (*sum + percent).min(100.0);
        }
        let worked = |it: &Engine| it.busy_ns.or(it.cycles.0).is_some_and(|work| work > 0);
        let used = info.engines.iter().filter(|(_, it)| worked(it));
        self.used.extend(used.map(|(name, _)| name.clone()));
    }
}

/// Shares of the time, percent, of each engine that is counted at both ends of it.
fn shares(
    before: &BTreeMap<String, Engine>,
    now: &BTreeMap<String, Engine>,
    time: Duration,
) -> BTreeMap<String, f64> {
    let mut shares = BTreeMap::new();
    for (name, engine) in now {
        let Some(before) = before.get(name) else {
            continue;
        };
        let difference = |before: Option<u64>, now: Option<u64>| now?.checked_sub(before?);
        let (work, whole) = match difference(before.busy_ns, engine.busy_ns) {
            Some(busy_ns) => (busy_ns as f64, time.as_nanos() as f64),
            None => {
                let work = difference(before.cycles.0, engine.cycles.0);
                let whole = difference(before.cycles.1, engine.cycles.1);
                let (Some(work), Some(whole)) = (work, whole) else {
                    continue;
                };
                (work as f64, whole as f64)
            }
        };
        if whole > 0.0 {
            let capacity = engine.capacity.max(1) as f64;
            shares.insert(name.clone(), (work / whole / capacity * 100.0).min(100.0));
        }
    }
    shares
}

/// What drivers tell of the descriptors of a process.
fn infos(dir: &Path) -> Vec<FdInfo> {
    let entries = fs::read_dir(dir.join("fd")).into_iter().flatten().flatten();
    let devices = entries.filter(|entry| {
        let target = fs::read_link(entry.path());
        target.is_ok_and(|target| target.as_os_str().as_bytes().starts_with(b"/dev/dri/"))
    });
    let texts = devices
        .filter_map(|entry| fs::read_to_string(dir.join("fdinfo").join(entry.file_name())).ok());
    texts.filter_map(|text| parse(&text)).collect()
}

fn numbers(proc: &Path) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
